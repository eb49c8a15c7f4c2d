//! `knhk workflow validate`: the checks of a registration, without a service and without storing.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use crate::cli::ui::Form;
use crate::cli::{Context, Error, input, mistakes, table};
use crate::engine::prepare;
use crate::spec::{Mistake, SOURCE_BYTES_MAX, Severity};

/// Check specifications as a registration would, without storing them
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "validate", help_triggers("-h", "--help", "help"))]
pub(super) struct Validate {
    /// the files, - for standard input
    #[argh(positional)]
    files: Vec<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// What is said of one file.
struct Verdict {
    file: String,
    /// Id of the specification, when it would be registered.
    id: Option<String>,
    /// Every mistake, in JSON; those that refuse it and warnings.
    mistakes: Vec<Value>,
    /// What a registration would answer as warnings.
    warnings: Vec<String>,
}

pub(super) fn validate(context: &mut Context, command: &Validate) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.files.is_empty() {
        return Err(Error::usage("a file is missing", "knhk workflow validate"));
    }
    let (mut refused, mut documents) = (0, Vec::new());
    for file in &command.files {
        let verdict = judge(file)?;
        refused += usize::from(verdict.id.is_none());
        if context.ui.form() == Form::Json {
            documents.push(json!({
                "file": verdict.file,
                "accepted": verdict.id.is_some(),
                "id": verdict.id,
                "mistakes": verdict.mistakes,
                "warnings": verdict.warnings,
            }));
        } else {
            context.ui.answer(&said(&verdict))?;
        }
    }
    if context.ui.form() == Form::Json {
        context.ui.document(&json!({ "files": documents }))?;
    }
    if refused > 0 { Err(Error::Refused { refused, files: command.files.len() }) } else { Ok(()) }
}

/// Judges one file; the only place that knows how.
fn judge(file: &str) -> Result<Verdict, Error> {
    // One byte more than the limit, so that the reader of specifications says itself what is too large.
    let source = match input::file(file, SOURCE_BYTES_MAX as u64) {
        Err(Error::FileTooLarge { .. }) => vec![b' '; SOURCE_BYTES_MAX + 1],
        source => source?,
    };
    Ok(match prepare::specification(&source) {
        Ok(new) => Verdict {
            file: file.to_owned(),
            id: Some(new.registration.uri),
            mistakes: Vec::new(),
            warnings: new.registration.warnings,
        },
        Err(refusal) => Verdict {
            file: file.to_owned(),
            id: None,
            mistakes: refusal.mistakes.iter().map(document).collect(),
            warnings: Vec::new(),
        },
    })
}

fn document(mistake: &Mistake) -> Value {
    json!({
        "code": mistake.code.to_string(),
        "severity": if mistake.severity == Severity::Warning { "warning" } else { "error" },
        "line": mistake.at.line,
        "column": mistake.at.column,
        "message": mistake.message,
        "hint": mistake.hint,
    })
}

fn said(verdict: &Verdict) -> String {
    let file = table::plain(&verdict.file);
    let mut text = String::new();
    for mistake in &verdict.mistakes {
        let member = |name: &str| mistake.get(name).and_then(Value::as_str).unwrap_or_default();
        let sentence = table::plain(&mistakes::sentence(mistake, &verdict.file));
        text.extend([member("severity"), "[", member("code"), "]: ", &sentence, "\n"]);
        if !member("hint").is_empty() {
            text.extend(["hint: ", &table::plain(member("hint")), "\n"]);
        }
    }
    for warning in &verdict.warnings {
        text.extend(["warning: ", &file, ": ", &table::plain(warning), "\n"]);
    }
    match &verdict.id {
        Some(id) => text.extend([&file, ": accepted: ", &table::plain(id), "\n"]),
        None => text.extend([&file, ": refused\n"]),
    }
    text
}
