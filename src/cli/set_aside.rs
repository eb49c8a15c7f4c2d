//! What openings, repairs and restorings moved aside: shown with its age by `knhk state info`, and deleted by `knhk state
//! trim --aside` alone.

use serde_json::{Value, json};

use super::table::{self, Side};
use super::ui::Form;
use super::{Context, Error, duration};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::id::Time;
use crate::store::{SetAside, delete_aside, list_asides};

/// What is younger, in microseconds, may still be being moved, and stays.
const YOUNG_US: u64 = 10 * 60_000_000;
/// What those who delete it must know.
const WARNING: &str =
    "it may be the only copy of what was cut off, replaced or could not be read; it cannot be had again";

pub(super) fn json_of(all: &[SetAside], now: Time) -> Value {
    let one = |aside: &SetAside| {
        json!({
            "name": aside.name(),
            "made": aside.made.rfc3339(),
            "age_us": age_us(aside, now),
            "files": aside.files,
            "bytes": aside.bytes,
        })
    };
    all.iter().map(one).collect()
}

fn age_us(aside: &SetAside, now: Time) -> u64 {
    now.0.saturating_sub(aside.made.0)
}

/// Shows what lies aside; nothing where nothing does.
pub(super) fn show(context: &mut Context, all: &[SetAside]) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let now = context.clock.now();
    let row = |aside: &SetAside| {
        vec![
            aside.name(),
            duration::short(age_us(aside, now)),
            aside.files.to_string(),
            aside.bytes.to_string(),
            "by knhk state trim --aside".to_owned(),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let columns = [
        ("ASIDE", Side::Left),
        ("AGE", Side::Right),
        ("FILES", Side::Right),
        ("BYTES", Side::Right),
        ("FREED", Side::Left),
    ];
    context.ui.table(&table::render(&columns, &rows, true))
}

/// Deletes what lies aside, after asking.
pub(super) fn delete(context: &mut Context, config: &Config, is_agreed: bool) -> Result<(), Error> {
    let now = context.clock.now();
    let (all, young): (Vec<_>, Vec<_>) =
        list_asides(&config.state_dir)?.into_iter().partition(|aside| age_us(aside, now) >= YOUNG_US);
    for aside in &young {
        let minutes = YOUNG_US / 60_000_000;
        context.ui.note(&format!("{} stays: it was begun less than {minutes} minutes ago", aside.name()));
    }
    let bytes: u64 = all.iter().map(|aside| aside.bytes).sum();
    if !all.is_empty() {
        for aside in &all {
            let (name, made) = (aside.path.display(), aside.made.rfc3339());
            context.ui.note(&format!("{name}, of {made}: {} files, {} bytes", aside.files, aside.bytes));
        }
        let what = format!("deleting what was moved aside, {bytes} bytes, for ever");
        context.ui.note(&format!("{what}: {WARNING}"));
        if !is_agreed && context.ui.ask("do it?") != Some(true) {
            return Err(Error::NotAgreed { what });
        }
    }
    for aside in &all {
        delete_aside(aside)?;
    }
    if context.ui.form() == Form::Json {
        return context
            .ui
            .document(&json!({ "asides": json_of(&all, now), "bytes": bytes, "kept": young.len() }));
    }
    let folders = if all.len() == 1 { "folder" } else { "folders" };
    let are = if all.len() == 1 { "is" } else { "are" };
    context.ui.answer(&format!("{} {folders} with {bytes} bytes {are} gone\n", all.len()))
}
