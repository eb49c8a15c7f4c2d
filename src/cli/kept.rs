//! `knhk state snapshot|trim|upgrade`, and what `knhk state info` says of when files go.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::client::Client;
use super::set_aside;
use super::table::{self, Side};
use super::ui::Form;
use super::{Context, Error};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::store::{self, FileKind, FileRow, Now, RealDisk, Trim, Until, When};

/// Write a snapshot of the state now
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "snapshot", help_triggers("-h", "--help", "help"))]
pub(super) struct Snapshot {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Take away files that nobody needs any longer
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "trim", help_triggers("-h", "--help", "help"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct TrimCommand {
    /// do not wait for the grace that keeps running copies whole
    #[argh(switch)]
    now: bool,
    /// instead, delete what a start, a repair or a restore moved aside
    #[argh(switch)]
    aside: bool,
    /// do it without asking
    #[argh(switch)]
    yes: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Raise the store to the newest format
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "upgrade", help_triggers("-h", "--help", "help"))]
pub(super) struct Upgrade {
    /// do it without asking
    #[argh(switch)]
    yes: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn snapshot(context: &mut Context, config: Config, command: &Snapshot) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let answer = Client::new(config).post("/state/snapshot".to_owned(), &json!({}), None)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&answer);
    }
    let seq = &answer["seq"];
    context.ui.answer(&match answer["bytes"].as_u64() {
        Some(bytes) => format!("a snapshot of {bytes} bytes holds everything up to frame {seq}\n"),
        None => format!("nothing is new since the snapshot of frame {seq}\n"),
    })
}

pub(super) fn trim(context: &mut Context, config: Config, command: &TrimCommand) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.aside && command.now {
        return Err(Error::usage("--now and --aside do not go together", "knhk state trim"));
    }
    if command.aside {
        return set_aside::delete(context, &config, command.yes);
    }
    if !command.now {
        let rows = rows(context, &config, Trim::Due)?;
        if context.ui.form() == Form::Json {
            return context.ui.document(&json!({ "files": json_of(&rows) }));
        }
        context.ui.note("files go by themselves, as shown; --now does not wait for the grace");
        return show(context, &rows, 0);
    }
    let rows = rows(context, &config, Trim::Now)?;
    let going: Vec<&FileRow> = rows.iter().filter(|row| row.when == When::In(0)).collect();
    let bytes: u64 = going.iter().map(|row| row.bytes).sum();
    let what = format!("taking {} files with {bytes} bytes away at once", going.len());
    context.ui.note(&format!("{what}: a copy of the state that is being made now may become incomplete"));
    if !command.yes && context.ui.ask("do it?") != Some(true) {
        return Err(Error::NotAgreed { what });
    }
    let answer = Client::new(config).post("/state/trim".to_owned(), &json!({}), None)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&answer);
    }
    context.ui.answer(&format!("{} files with {} bytes are gone\n", answer["files"], answer["bytes"]))
}

pub(super) fn upgrade(context: &mut Context, config: Config, command: &Upgrade) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let options = config.store();
    let what = format!("upgrading the store to format {}", options.format_max);
    // One that cannot be read is told where it is to be written.
    if store::format(&RealDisk, &options).ok().flatten().is_none_or(|format| format < options.format_max) {
        context.ui.note(&format!("{what}: the release before this one cannot read it from then on"));
        if !command.yes && context.ui.ask("do it?") != Some(true) {
            return Err(Error::NotAgreed { what });
        }
    }
    let answer = Client::new(config).post("/state/upgrade".to_owned(), &json!({}), None)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&answer);
    }
    let (from, to) = (&answer["from"], &answer["to"]);
    context.ui.answer(&if from == to {
        format!("the store has format {to} already; nothing was done\n")
    } else {
        format!("the store has format {to} now, and had format {from}\n")
    })
}

/// Returns the files of the state and when each goes.
pub(super) fn rows(context: &Context, config: &Config, trim: Trim) -> Result<Vec<FileRow>, Error> {
    let now = Now { moment: context.clock.moment(), time: context.clock.now() };
    Ok(store::retention(&RealDisk, &config.store(), now, trim)?)
}

pub(super) fn json_of(rows: &[FileRow]) -> Value {
    let row = |row: &FileRow| {
        let (freed_in_us, waits_for) = match row.when {
            When::In(us) => (Some(us), None),
            When::Not(until) => (None, Some(waits_for(until))),
        };
        json!({
            "kind": kind(row.kind),
            "name": row.name,
            "bytes": row.bytes,
            "freed_in_us": freed_in_us,
            "waits_for": waits_for,
        })
    };
    rows.iter().map(row).collect()
}

/// Shows how much there is of each kind, and when it goes; files that go for one reason stand together, and the working
/// environment last, if it has `environment_bytes`.
pub(super) fn show(context: &mut Context, rows: &[FileRow], environment_bytes: u64) -> Result<(), Error> {
    let mut groups: Vec<(FileKind, When, Vec<&FileRow>)> = Vec::new();
    for row in rows {
        let is_like = |when: &When| match (when, row.when) {
            (When::In(_), When::In(_)) => true,
            (one, other) => *one == other,
        };
        match groups.iter_mut().find(|(kind, when, _)| *kind == row.kind && is_like(when)) {
            Some((_, _, rows)) => rows.push(row),
            None => groups.push((row.kind, row.when, vec![row])),
        }
    }
    let mut lines: Vec<Vec<String>> = groups
        .iter()
        .map(|(of, _, rows)| {
            let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
            vec![kind(*of).to_owned(), rows.len().to_string(), bytes.to_string(), freed(rows)]
        })
        .collect();
    if environment_bytes > 0 {
        let freed = "not: it is the state, and can be made anew from the other files";
        let cells =
            ["environment".to_owned(), "1".to_owned(), environment_bytes.to_string(), freed.to_owned()];
        lines.push(cells.to_vec());
    }
    let columns =
        [("KIND", Side::Left), ("FILES", Side::Right), ("BYTES", Side::Right), ("FREED", Side::Left)];
    context.ui.table(&table::render(&columns, &lines, true))
}

fn freed(rows: &[&FileRow]) -> String {
    let times = rows.iter().filter_map(|row| match row.when {
        When::In(us) => Some(us),
        When::Not(_) => None,
    });
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
        return rows.first().map_or_else(String::new, |row| match row.when {
            When::Not(until) => format!("not yet: {}", waits_for(until)),
            When::In(_) => String::new(),
        });
    };
    let why = match rows.first().map(|row| row.kind) {
        Some(FileKind::Segment | FileKind::Void) => "history and a snapshot cover them",
        _ => "newer ones take their place",
    };
    let when = if length(first) == length(last) {
        format!("in {}", length(last))
    } else {
        format!("in {} to {}", length(first), length(last))
    };
    format!("{when}: {why}")
}

/// Returns a length of time in its two largest units: `3 h 12 min`.
fn length(us: u64) -> String {
    let seconds = us.div_ceil(1_000_000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Segment => "journal",
        FileKind::Void => "journal, void",
        FileKind::History => "history",
        FileKind::Snapshot => "snapshot",
        FileKind::Archive => "archive",
    }
}

fn waits_for(until: Until) -> &'static str {
    match until {
        Until::Complete => "it is written to, or what made it void is",
        Until::History => "no history file covers it",
        Until::Snapshot => "no snapshot covers it",
        Until::Newer => "it is in use",
        Until::Upgrade => "the release before needs it; `knhk state upgrade` ends that",
        Until::Restored => "archived cases are in it",
        Until::Read => "it cannot be read; `knhk state verify` says more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units() {
        let lengths = [0, 1, 59_000_000, 60_000_000, 11_520_000_000].map(length);
        assert_eq!(lengths, ["0 s", "1 s", "59 s", "1 min 0 s", "3 h 12 min"]);
    }

    #[test]
    fn what_goes_for_one_reason_is_said_once() {
        let row = |kind, when| FileRow { kind, name: String::new(), bytes: 7, when };
        let said = |rows: &[FileRow]| freed(&rows.iter().collect::<Vec<_>>());
        assert_eq!(
            said(&[row(FileKind::Segment, When::In(0)), row(FileKind::Segment, When::In(11_520_000_000))]),
            "in 0 s to 3 h 12 min: history and a snapshot cover them"
        );
        assert_eq!(
            said(&[row(FileKind::Snapshot, When::In(5_000_000))]),
            "in 5 s: newer ones take their place"
        );
        assert_eq!(
            said(&[row(FileKind::Segment, When::Not(Until::History))]),
            "not yet: no history file covers it"
        );
    }
}
