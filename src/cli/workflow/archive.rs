//! `knhk workflow archive|restore`: closed cases leave the live store, and come back.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::case::{print, text};
use crate::cli::client::{Client, encode, query_of};
use crate::cli::duration::{self, Duration};
use crate::cli::ui::Form;
use crate::cli::{Context, Error, table};
use crate::engine::archiving::CASES_MAX;
use crate::engine::clock::Clock;

/// Slices after which the command ends: more than any store holds.
const SLICES_MAX: usize = 10_000_000;

/// Move closed cases out of the live store into archive files
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "archive", help_triggers("-h", "--help", "help"))]
pub(super) struct Archive {
    /// those unchanged for so long, such as 90d
    #[argh(option)]
    older_than: Duration,
    /// only of this specification: id, or id@version
    #[argh(option)]
    workflow: Option<String>,
    /// only in this state: completed, cancelled
    #[argh(option)]
    state: Option<String>,
    /// most cases
    #[argh(option)]
    limit: Option<u64>,
    /// say how many cases and bytes it would be, and do nothing
    #[argh(switch)]
    dry_run: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Bring an archived case back into the live store
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "restore", help_triggers("-h", "--help", "help"))]
pub(super) struct Restore {
    /// the case
    #[argh(option)]
    case_id: String,
    /// also when the case here is newer or another
    #[argh(switch)]
    force: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// What all slices came to.
#[derive(Default)]
struct Sum {
    archived: u64,
    bytes: u64,
    files: Vec<String>,
    kept_back: u64,
    refused: u64,
}

pub(super) fn archive(context: &mut Context, command: &Archive) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let config = context.config()?;
    let client = context.client()?;
    let sum = slices(context, &client, command)?;
    // A grace until entries leave history, and one until the file goes that held them.
    let freed_in_us = config.backup_grace_hours.0.saturating_mul(2);
    if context.ui.form() == Form::Json {
        let Sum { archived, bytes, files, kept_back, refused } = sum;
        return context.ui.document(&json!({
            "archived": archived,
            "bytes": bytes,
            "files": files,
            "kept_back": kept_back,
            "refused": refused,
            "dry_run": command.dry_run,
            "freed_in_us": freed_in_us,
        }));
    }
    context.ui.answer(&said(&sum, command.dry_run, freed_in_us))
}

/// Asks for one slice after the other. What was archived stays so, wherever this ends.
fn slices(context: &mut Context, client: &Client, command: &Archive) -> Result<Sum, Error> {
    let mut sum = Sum::default();
    let mut after: Option<String> = None;
    for _ in 0..SLICES_MAX {
        let left = command.limit.map_or(u64::MAX, |limit| limit.saturating_sub(sum.archived));
        if left == 0 {
            return Ok(sum);
        }
        let body = json!({
            "older_than": command.older_than.0,
            "workflow": command.workflow,
            "state": command.state,
            "limit": left.min(u64::from(CASES_MAX)),
            "after": after,
            "dry_run": command.dry_run,
        });
        let slice = client.post("/archive".to_owned(), &body, None)?;
        let number = |name: &str| slice.get(name).and_then(Value::as_u64).unwrap_or_default();
        sum.archived += number("archived");
        sum.bytes += number("bytes");
        sum.kept_back += number("kept_back");
        sum.refused += number("refused");
        sum.files.extend(slice.get("file").and_then(Value::as_str).map(str::to_owned));
        let verb = if command.dry_run { "counted" } else { "archived" };
        context.ui.progress(context.clock.monotonic_us(), &format!("{verb}: {} cases", sum.archived));
        after = slice.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            return Ok(sum);
        }
    }
    Err(Error::Answer { what: "the slices do not end".to_owned() })
}

fn said(sum: &Sum, is_trial: bool, freed_in_us: u64) -> String {
    let Sum { archived, bytes, files, kept_back, refused } = sum;
    let when = duration::short(freed_in_us);
    let mut out = match (is_trial, archived) {
        (_, 0) => "no case is to be archived\n".to_owned(),
        (true, _) => format!(
            "{archived} cases would be archived; about {bytes} bytes would come back, about {when} later\n"
        ),
        (false, _) => format!(
            "{archived} cases were archived in {} files; about {bytes} bytes come back in about {when}, at once with \
             `knhk state trim --now`\n",
            files.len()
        ),
    };
    for file in files {
        out.extend([&table::plain(file), "\n"]);
    }
    if *kept_back > 0 {
        let why = "idempotency keys that were used for them are still good";
        out.extend([&kept_back.to_string(), " cases stay: ", why, "\n"]);
    }
    if *refused > 0 {
        out.extend([&refused.to_string(), " cases stay for now; the log of the service says why\n"]);
    }
    out
}

pub(super) fn restore(context: &mut Context, command: &Restore) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let force = command.force.then(|| "true".to_owned());
    let path = format!("/cases/{}/restore{}", encode(&command.case_id), query_of(&[("force", force)]));
    let case = context.client()?.post(path, &json!({}), None)?;
    if context.ui.form() == Form::Text {
        context.ui.note(&format!("case {} is in the live store again", table::plain(&text(&case, "id"))));
    }
    print(context, &case)
}
