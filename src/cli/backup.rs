//! `knhk backup`: backups made, listed, verified and restored.

use std::fs::File;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::owner;
use super::table::{self, Side};
use super::ui::{Form, Ui};
use super::{Context, Error, duration, state};
use crate::backup::{self, Checked, Host, Listed, Restored, To, Work};
use crate::config::Config;
use crate::engine::clock::{Clock, SystemClock};
use crate::id::Time;
use crate::store::{self, Level, LmdbTables, VerifyReport};

const MIB: u64 = 1 << 20;

/// Make, list, verify and restore backups of the state
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "backup", help_triggers("-h", "--help", "help"))]
pub(super) struct Backup {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Verify(Verify),
    Restore(Restore),
}

/// Back the state up, beside a running service or without one, and verify that what was written is whole
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create", help_triggers("-h", "--help", "help"))]
struct Create {
    /// where to: a folder or a file; without it the folder of the configuration, where old backups are deleted too
    #[argh(option)]
    to: Option<PathBuf>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

/// List backups, the newest first
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Verify a backup: ours, or any tar file of the state folder, gzipped or not
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "verify", help_triggers("-h", "--help", "help"))]
struct Verify {
    /// the backup
    #[argh(positional)]
    file: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

/// Put a backup in the place of the state, which is moved aside; the service must be stopped
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "restore", help_triggers("-h", "--help", "help"))]
struct Restore {
    /// the backup
    #[argh(positional)]
    file: PathBuf,
    /// do it without asking
    #[argh(switch)]
    yes: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

pub(super) fn run(context: &mut Context, noun: Backup) -> Result<(), Error> {
    let config = context.config()?;
    match noun.verb {
        Verb::Create(command) => create(context, &config, &command),
        Verb::List(command) => list(context, &config, &command),
        Verb::Verify(command) => verify(context, &config, &command),
        Verb::Restore(command) => restore(context, &config, &command),
    }
}

/// Verifies for the backups, and shows how far they are.
pub(super) struct Screen<'a> {
    ui: &'a mut Ui,
    clock: &'a SystemClock,
}

impl<'a> Screen<'a> {
    pub(super) fn of(context: &'a mut Context) -> Self {
        Self { ui: &mut context.ui, clock: &context.clock }
    }
}

impl Host for Screen<'_> {
    fn verify(&mut self, options: &store::Options, level: Level) -> VerifyReport {
        let mut tell = |seq: u64| {
            self.ui.progress(self.clock.monotonic_us(), &format!("verified up to frame {seq}"));
        };
        state::verify_store(None::<&LmdbTables>, options, level, &mut tell)
    }

    fn progress(&mut self, work: Work, done_bytes: u64, total_bytes: u64) {
        let verb = match work {
            Work::Pack => "packed",
            Work::Unpack => "unpacked",
        };
        let text = format!("{verb} {} of {} MiB", done_bytes / MIB, total_bytes.max(done_bytes) / MIB);
        self.ui.progress(self.clock.monotonic_us(), &text);
    }
}

fn prepare(context: &mut Context, json: bool, quiet: bool) {
    context.ui.set_json(json);
    if quiet {
        context.ui.be_quiet();
    }
}

fn create(context: &mut Context, config: &Config, command: &Create) -> Result<(), Error> {
    prepare(context, command.json, command.quiet);
    let to = match &command.to {
        None => To::BackupDir,
        Some(path) if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            To::Folder(path.clone())
        }
        Some(path) => To::File(path.clone()),
    };
    owner::become_where_owned(to.folder(&config.backup_dir), config)?;
    let now = context.clock.now();
    let created = backup::create(&config.backup(), &to, now, &mut Screen::of(context))?;
    let deleted: Vec<String> = created.deleted.iter().map(|path| path.display().to_string()).collect();
    let checked = &created.checked;
    if context.ui.form() == Form::Json {
        let mut document = document(checked);
        document["deleted"] = json!(deleted);
        return context.ui.document(&document);
    }
    tell(context, checked, "backup made, and verified")?;
    for path in deleted {
        let days = config.backup_retain_days;
        context.ui.note(&format!("{path} was deleted: it was older than {days} days"));
    }
    Ok(())
}

fn document(checked: &Checked) -> Value {
    json!({
        "ok": true,
        "file": checked.path.display().to_string(),
        "bytes": checked.bytes,
        "files": checked.files,
        "state_bytes": checked.state_bytes,
        "store": checked.store.map(|store| store.to_string()),
        "seq": checked.seq,
        "time": checked.time.map(Time::rfc3339),
        "left_out": checked.left_out,
        "notes": checked.notes,
    })
}

fn tell(context: &mut Context, checked: &Checked, verdict: &str) -> Result<(), Error> {
    for note in &checked.notes {
        context.ui.note(&format!("note: {note}"));
    }
    let unknown = || "unknown".to_owned();
    context.ui.answer(&table::facts(&[
        ("file", checked.path.display().to_string()),
        ("bytes", checked.bytes.to_string()),
        ("files in it", checked.files.to_string()),
        ("bytes of these", checked.state_bytes.to_string()),
        ("left out", checked.left_out.to_string()),
        ("store", checked.store.map_or_else(unknown, |store| store.to_string())),
        ("last frame", checked.seq.to_string()),
        ("last frame at", checked.time.map_or_else(unknown, Time::rfc3339)),
        ("verdict", verdict.to_owned()),
    ]))
}

fn list(context: &mut Context, config: &Config, command: &List) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let backups = backup::list(&config.backup_dir)?;
    let now = context.clock.now();
    if context.ui.form() == Form::Json {
        let items: Vec<Value> = backups.iter().map(item).collect();
        return context.ui.document(&json!({ "items": items }));
    }
    let rows: Vec<Vec<String>> = backups
        .iter()
        .map(|one| {
            let age = duration::short(now.0.saturating_sub(one.written.0));
            vec![one.path.display().to_string(), age, one.bytes.to_string(), one.verdict.name().to_owned()]
        })
        .collect();
    let columns =
        [("FILE", Side::Left), ("AGE", Side::Right), ("BYTES", Side::Right), ("VERIFIED", Side::Left)];
    context.ui.table(&table::render(&columns, &rows, true))
}

fn item(one: &Listed) -> Value {
    json!({
        "file": one.path.display().to_string(),
        "name": one.name(),
        "bytes": one.bytes,
        "written": one.written.rfc3339(),
        "verified": one.verdict.name(),
        "verified_at": one.checked.map(Time::rfc3339),
        "seq": one.seq,
    })
}

fn verify(context: &mut Context, config: &Config, command: &Verify) -> Result<(), Error> {
    prepare(context, command.json, command.quiet);
    let now = context.clock.now();
    match backup::check(&config.backup(), &command.file, now, &mut Screen::of(context)) {
        Ok(checked) if context.ui.form() == Form::Json => context.ui.document(&document(&checked)),
        Ok(checked) => tell(context, &checked, "good"),
        Err(error) => {
            // The answer is no, and said where answers are said; why is said beside it too.
            if context.ui.form() == Form::Json {
                let findings: Vec<Value> = findings(&error);
                context.ui.document(&json!({
                    "ok": false,
                    "file": command.file.display().to_string(),
                    "code": error.code().to_string(),
                    "message": error.to_string(),
                    "findings": findings,
                }))?;
            }
            Err(error.into())
        }
    }
}

/// Returns what is wrong with the state in a backup, one document each.
pub(super) fn findings(error: &backup::Error) -> Vec<Value> {
    let one =
        |finding: &backup::Finding| json!({ "code": finding.code.to_string(), "message": finding.message });
    error.findings().iter().map(one).collect()
}

fn restore(context: &mut Context, config: &Config, command: &Restore) -> Result<(), Error> {
    prepare(context, command.json, command.quiet);
    // Whoever calls may read the backup; the files then belong to whom the state does.
    let file = open(&command.file)?;
    owner::become_of_service(&context.environment, config, "the same restore again")?;
    let now = context.clock.now();
    let ready = backup::prepare(&config.backup(), &command.file, file, now, &mut Screen::of(context))?;
    let checked = &ready.checked;
    let until = checked.time.map_or_else(String::new, |time| format!(", of {}", time.rfc3339()));
    let what =
        format!("restoring the state up to frame {}{until}, from {}", checked.seq, checked.path.display());
    let aside = ready.aside.as_ref();
    let old =
        aside.map_or_else(String::new, |aside| format!("; what is there now moves to {}", aside.display()));
    context.ui.note(&format!("{what}{old}"));
    if !command.yes && context.ui.ask("do it?") != Some(true) {
        return Err(Error::NotAgreed { what });
    }
    let Restored { checked, aside } = ready.replace()?;
    let aside = aside.map(|aside| aside.display().to_string());
    if context.ui.form() == Form::Json {
        let mut document = document(&checked);
        document["aside"] = json!(aside);
        return context.ui.document(&document);
    }
    tell(context, &checked, "restored")?;
    if let Some(aside) = aside {
        context.ui.note(&format!(
            "the state before lies in {aside}; knhk state trim --aside deletes it when all is well"
        ));
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
