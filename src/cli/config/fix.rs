//! `knhk config validate|fix`: everything that is wrong with files and folders, told or mended.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value as Json, json};

use crate::cli::ui::Form;
use crate::cli::{Context, Error, table};
use crate::config::{self, Fixed, FixedFile, How, Layers};
use crate::engine::clock::Clock;

/// Find every mistake in the configuration and in the folders that it names
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "validate", help_triggers("-h", "--help", "help"))]
pub(super) struct Validate {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Mend whatever has one safe repair: lines are set aside, folders made and given to the service
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "fix", help_triggers("-h", "--help", "help"))]
pub(super) struct Fix {
    /// show what would be done, and do nothing
    #[argh(switch)]
    dry_run: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn validate(context: &mut Context, command: &Validate) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let (loaded, unseen) = config::check(&context.environment, &Layers::system());
    for path in &unseen {
        context.ui.note(&format!("note: this user may not look into {}", path.display()));
    }
    let loaded = loaded?;
    let files: Vec<String> = loaded.files.iter().map(|path| path.display().to_string()).collect();
    if context.ui.form() == Form::Json {
        return context.ui.document(&json!({ "valid": true, "files": files, "mistakes": [] }));
    }
    let read = if files.is_empty() { "built-in values only".to_owned() } else { files.join(", ") };
    context.ui.answer(&format!("valid: {read}\n"))
}

pub(super) fn fix(context: &mut Context, command: &Fix) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let how = if command.dry_run { How::DryRun } else { How::Really };
    let time = context.clock.now().rfc3339();
    let fixed = config::fix(&context.environment, &Layers::system(), how, &time)?;
    for path in &fixed.unseen {
        context.ui.note(&format!("note: this user may not look into {}", path.display()));
    }
    if context.ui.form() == Form::Json {
        context.ui.document(&document(&fixed, how))?;
    } else {
        context.ui.answer(&text(&fixed, how))?;
    }
    if fixed.left.is_empty() {
        return Ok(());
    }
    Err(config::Error::Invalid { mistakes: fixed.left, files: Vec::new() }.into())
}

fn document(fixed: &Fixed, how: How) -> Json {
    let file = |file: &FixedFile| {
        let asides = file.asides.iter();
        let asides: Vec<Json> = asides
            .map(|aside| json!({ "line": aside.line, "text": aside.text, "reason": aside.reason }))
            .collect();
        json!({
            "file": file.path.display().to_string(),
            "kept_as": file.kept.as_ref().map(|path| path.display().to_string()),
            "set_aside": asides,
            "diff": file.diff,
        })
    };
    json!({
        "dry_run": how == How::DryRun,
        "files": fixed.files.iter().map(file).collect::<Vec<_>>(),
        "repairs": fixed.repairs,
        "left_count": fixed.left.len(),
    })
}

fn text(fixed: &Fixed, how: How) -> String {
    let mut text = String::new();
    for file in &fixed.files {
        // A line at a time, so that the breaks stay and nothing in them moves the cursor.
        for line in file.diff.lines() {
            text.extend([&table::plain(line), "\n"]);
        }
        if let Some(kept) = &file.kept {
            text.extend(["kept as ", &table::plain(&kept.display().to_string()), "\n"]);
        }
    }
    for repair in &fixed.repairs {
        text.extend([&table::plain(repair), "\n"]);
    }
    if how == How::DryRun && !text.is_empty() {
        text.push_str("nothing was changed: this is what would be done\n");
    }
    if text.is_empty() && fixed.left.is_empty() {
        text.push_str("nothing needs mending\n");
    }
    text
}
