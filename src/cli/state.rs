//! `knhk state`: the state on disk, looked at, verified and repaired; `kept` has what is written about it and goes.

use std::sync::Arc;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::casualties::Concerned;
use super::environment;
use super::kept;
use super::set_aside;
use super::table::{self, Side};
use super::ui::Form;
use super::{Context, Error};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::fold::EngineFold;
use crate::engine::memory;
use crate::engine::tables;
use crate::engine::threads::{self, become_owner};
use crate::store::{
    self, Act, FileRow, Info, Level, LmdbTables, Part, RealDisk, RepairReport, Tables, Trim, VerifyReport,
};

/// Most parts of a store that are verified at the same time: each holds some rows of its own.
const VERIFY_PARTS_MAX: usize = 8;
/// Bytes of memory set aside for a row while it is verified: key, value, its places in map and order, and its chain.
const VERIFY_ROW_BYTES: u64 = 512;
/// One part in so many of the memory that is free is used for that.
const VERIFY_MEMORY_SHARE: u64 = 4;

/// Look at, verify, repair, trim and upgrade the state on disk
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "state", help_triggers("-h", "--help", "help"))]
pub(super) struct State {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Verify(Verify),
    Info(InfoCommand),
    Repair(Repair),
    Snapshot(kept::Snapshot),
    Trim(kept::TrimCommand),
    Upgrade(kept::Upgrade),
}

/// Verify journal, chains, rows and sums, beside a running service or without one
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "verify", help_triggers("-h", "--help", "help"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Verify {
    /// verify heads and sums only
    #[argh(switch)]
    quick: bool,
    /// walk the environment and say nothing
    #[argh(switch, hidden_help)]
    environment_only: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

/// Print sizes and positions of the state
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "info", help_triggers("-h", "--help", "help"))]
struct InfoCommand {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Cut a damaged journal where it is damaged, and move the rest aside
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "repair", help_triggers("-h", "--help", "help"))]
struct Repair {
    /// do it without asking
    #[argh(switch)]
    yes: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(context: &mut Context, noun: State) -> Result<(), Error> {
    let config = context.config()?;
    become_owner(&config.state_dir).map_err(Error::system("become the owner of the state folder"))?;
    match noun.verb {
        Verb::Verify(command) => verify(context, &config, &command),
        Verb::Info(command) => info(context, &config, &command),
        Verb::Repair(command) => repair(context, &config, &command),
        Verb::Snapshot(command) => kept::snapshot(context, config, &command),
        Verb::Trim(command) => kept::trim(context, config, &command),
        Verb::Upgrade(command) => kept::upgrade(context, config, &command),
    }
}

fn verify(context: &mut Context, config: &Config, command: &Verify) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.quiet {
        context.ui.be_quiet();
    }
    if command.environment_only {
        environment::walk(config);
        return Ok(());
    }
    let (tables, unreadable) = environment::open(config)?;
    let level = if command.quick { Level::Quick } else { Level::Full };
    let (ui, clock) = (&mut context.ui, &context.clock);
    let mut tell = |seq: u64| ui.progress(clock.monotonic_us(), &format!("verified up to frame {seq}"));
    let mut report = verify_store(tables.as_ref(), &config.store(), level, &mut tell);
    report.findings.extend(unreadable);
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| json!({ "code": finding.code().to_string(), "message": finding.to_string() }))
        .collect();
    let is_concerned = level == Level::Full && !report.findings.is_empty();
    let concerned = is_concerned.then(|| Concerned::find(config, tables.as_ref(), &report.findings));
    if context.ui.form() == Form::Json {
        let mut document = json!({
            "ok": findings.is_empty(),
            "findings": findings,
            "notes": report.notes,
            "segments": report.segments,
            "frames": report.frames,
            "entries": report.entries,
            "files": report.files,
            "history_entries": report.history_entries,
            "archived_cases": report.archived_cases,
            "rows": report.rows,
            "seq": report.seq,
        });
        if let Some(concerned) = concerned.as_ref().map(Concerned::json) {
            let members = concerned.as_object().into_iter().flatten();
            members.for_each(|(name, value)| document[name] = value.clone());
        }
        context.ui.document(&document)?;
    } else {
        let concerned = concerned.map(|concerned| concerned.text()).unwrap_or_default();
        context.ui.answer(&(verified(&report) + &concerned))?;
    }
    match report.findings.len() {
        0 => Ok(()),
        count => Err(Error::NotVerified { count }),
    }
}

/// Verifies a store by as many threads as there are cores for; `tell` hears how far it is.
pub(super) fn verify_store(
    tables: Option<&LmdbTables>,
    options: &store::Options,
    level: Level,
    tell: &mut dyn FnMut(u64),
) -> VerifyReport {
    let part = |part, tell: &mut dyn FnMut(u64)| {
        store::verify(&RealDisk, tables, Arc::new(EngineFold), options, level, part, tell)
    };
    // What is folded can be shared out, what is read cannot.
    let is_shared = level == Level::Full;
    let count = if is_shared { threads::available_cores().len().clamp(1, VERIFY_PARTS_MAX) } else { 1 };
    let free_bytes = memory::available_bytes().unwrap_or_default();
    let rows_max = (free_bytes / VERIFY_MEMORY_SHARE / VERIFY_ROW_BYTES).max(store::PASS_ROWS) / count as u64;
    let reports = threads::side_by_side(
        "verify",
        count,
        || part(Part { number: 0, count, rows_max }, tell),
        |number| part(Part { number, count, rows_max }, &mut |_| {}),
    );
    let mut reports = reports.into_iter();
    let mut report = reports.next().expect("invariant: the first part is done here");
    reports.for_each(|other| report.join(other));
    report
}

fn verified(report: &VerifyReport) -> String {
    let mut text: String = report
        .findings
        .iter()
        .map(|finding| format!("damaged [{}]: {finding}\n", finding.code()))
        .chain(report.notes.iter().map(|note| format!("note: {note}\n")))
        .collect();
    text.push_str(&table::facts(&[
        ("segments", report.segments.to_string()),
        ("frames", report.frames.to_string()),
        ("entries", report.entries.to_string()),
        ("sealed files", report.files.to_string()),
        ("entries of history", report.history_entries.to_string()),
        ("archived cases", report.archived_cases.to_string()),
        ("rows", report.rows.to_string()),
        ("last frame", report.seq.to_string()),
        ("verdict", if report.findings.is_empty() { "ok".to_owned() } else { "damaged".to_owned() }),
    ]));
    text
}

fn info(context: &mut Context, config: &Config, command: &InfoCommand) -> Result<(), Error> {
    context.ui.set_json(command.json);
    // An environment that cannot be read is shown as none; `state verify` says what is wrong with it.
    let tables = LmdbTables::open_existing(&config.cache_dir).ok().flatten();
    let info = store::info(&RealDisk, tables.as_ref(), &config.store())?;
    // What is damaged stands under damage.
    let files = kept::rows(context, config, Trim::Due).unwrap_or_default();
    let lmdb_bytes = std::fs::metadata(config.cache_dir.join("live.mdb")).map_or(0, |file| file.len());
    let format = store::format(&RealDisk, &config.store()).ok().flatten();
    let upgrade_to =
        format.map(|_| config.store().format_max).filter(|to| format.is_some_and(|from| from < *to));
    let asides = store::asides(&config.state_dir);
    if context.ui.form() == Form::Json {
        let mut document = info_json(&info, &files, lmdb_bytes, (format, upgrade_to));
        document["asides"] = set_aside::json_of(&asides, context.clock.now());
        return context.ui.document(&document);
    }
    let none = || "none".to_owned();
    context.ui.answer(&table::facts(&[
        ("store", info.store.map_or_else(none, |store| store.to_string())),
        ("format", format.map_or_else(none, |format| formatted(format, upgrade_to))),
        ("last frame", info.seq.to_string()),
        ("last frame at", info.time.rfc3339()),
        ("journal bytes", info.journal_bytes.to_string()),
        ("void segments", info.void_segments.to_string()),
        ("environment bytes", lmdb_bytes.to_string()),
        ("environment at frame", info.environment.as_ref().map_or_else(none, |meta| meta.seq.to_string())),
        ("free bytes", info.free_bytes.to_string()),
        ("damage", info.damage.as_ref().map_or_else(none, ToString::to_string)),
    ]))?;
    kept::show(context, &files, lmdb_bytes)?;
    set_aside::show(context, &asides)?;
    let rows: Vec<Vec<String>> = info
        .segments
        .iter()
        .map(|segment| {
            let kind = if segment.is_copy { "copy" } else { "own" };
            vec![
                segment.name.clone(),
                segment.bytes.to_string(),
                segment.first_seq.to_string(),
                kind.to_owned(),
            ]
        })
        .collect();
    let columns =
        [("SEGMENT", Side::Left), ("BYTES", Side::Right), ("FIRST FRAME", Side::Right), ("KIND", Side::Left)];
    context.ui.table(&table::render(&columns, &rows, true))?;
    let rows: Vec<Vec<String>> =
        row_counts(&info).iter().map(|(name, count)| vec![(*name).to_owned(), count.to_string()]).collect();
    context.ui.table(&table::render(&[("TABLE", Side::Left), ("ROWS", Side::Right)], &rows, true))
}

/// Says a store's format, and whether an upgrade waits.
fn formatted(format: u32, upgrade_to: Option<u32>) -> String {
    match upgrade_to {
        Some(to) => format!("{format}; `knhk state upgrade` makes it {to}"),
        None => format.to_string(),
    }
}

/// Rows of the environment by table, up to its own frame.
fn row_counts(info: &Info) -> Vec<(&'static str, u64)> {
    let count = |table| info.sums.iter().filter(|((of, _), _)| *of == table).map(|(_, sum)| sum.rows).sum();
    tables::ALL.iter().map(|(table, name)| (*name, count(*table))).collect()
}

fn info_json(
    info: &Info,
    files: &[FileRow],
    lmdb_bytes: u64,
    (format, upgrade_to): (Option<u32>, Option<u32>),
) -> Value {
    let segments: Vec<Value> = info
        .segments
        .iter()
        .map(|segment| {
            json!({
                "name": segment.name,
                "bytes": segment.bytes,
                "first_seq": segment.first_seq,
                "is_copy": segment.is_copy,
            })
        })
        .collect();
    let rows: serde_json::Map<String, Value> =
        row_counts(info).into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    json!({
        "store": info.store.map(|store| store.to_string()),
        "format": format,
        "upgrade_to": upgrade_to,
        "seq": info.seq,
        "time": info.time.rfc3339(),
        "journal_bytes": info.journal_bytes,
        "void_segments": info.void_segments,
        "environment_bytes": lmdb_bytes,
        "environment_seq": info.environment.as_ref().map(|meta| meta.seq),
        "free_bytes": info.free_bytes,
        "damage": info.damage.as_ref().map(ToString::to_string),
        "segments": segments,
        "files": kept::json_of(files),
        "rows": rows,
    })
}

fn repair(context: &mut Context, config: &Config, command: &Repair) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let disk = Arc::new(RealDisk);
    let now = context.clock.now();
    // One that cannot be read is made anew by the next opening in any case.
    let tables = LmdbTables::open_existing(&config.cache_dir).ok().flatten();
    let tables = tables.as_ref().map(|tables| tables as &dyn Tables);
    let repair = |act| store::repair(&disk, &config.store(), tables, now, act);
    let planned = repair(Act::Tell)?;
    if planned.damages.is_empty() {
        if context.ui.form() == Form::Json {
            let nothing: [&str; 0] = [];
            return context.ui.document(&json!({
                "repaired": false, "damages": nothing, "is_cut": false, "lost": nothing, "moved": nothing,
            }));
        }
        return context.ui.answer("nothing is damaged; nothing was done\n");
    }
    let (what, loss) = planned_repair(&planned);
    context.ui.note(&format!("{}{what} {loss}", lines(&planned.damages)));
    if !command.yes && context.ui.ask("do it?") != Some(true) {
        return Err(Error::NotAgreed { what });
    }
    let done = repair(Act::Do)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&json!({
            "repaired": true,
            "damages": done.damages.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "is_cut": done.is_cut,
            "kept_seq": done.kept_seq,
            "lost": done.lost,
            "moved": done.moved,
            "aside": done.aside.display().to_string(),
        }));
    }
    context.ui.answer(&format!(
        "the journal ends with frame {}; what was moved lies in {}\n",
        done.kept_seq,
        done.aside.display()
    ))
}

/// Says what a repair would do, and what is lost by it.
fn planned_repair(planned: &RepairReport) -> (String, String) {
    let moving = format!("moving {} files to {}", planned.moved.len(), planned.aside.display());
    let what = if planned.is_cut {
        let (seq, time) = (planned.kept_seq, planned.kept_time.rfc3339());
        format!("cutting the journal after frame {seq}, of {time}, and {moving}")
    } else {
        moving
    };
    let cut = planned.is_cut.then(|| "loses what was acknowledged after that frame".to_owned());
    let loss = match (cut, planned.lost.is_empty()) {
        (None, true) => "loses nothing: other files hold it".to_owned(),
        (None, false) => format!("loses what cannot be read any longer: {}", planned.lost.join("; ")),
        (Some(cut), _) => std::iter::once(&cut).chain(&planned.lost).cloned().collect::<Vec<_>>().join("; "),
    };
    (what, loss)
}

fn lines(damages: &[store::Error]) -> String {
    damages.iter().fold(String::new(), |text, damage| text + &damage.to_string() + "\n")
}
