//! `knhk workflow register`: a specification for the service to keep.

use argh::{ArgsInfo, FromArgs};
use serde_json::Value;

use crate::cli::client::query_of;
use crate::cli::ui::Form;
use crate::cli::{Context, Error, input, mistakes, table};

/// Store a specification
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "register", help_triggers("-h", "--help", "help"))]
pub(super) struct Register {
    /// the file, - for standard input
    #[argh(positional)]
    file: String,
    /// store it also when its net is unsound
    #[argh(switch)]
    accept_unsound: bool,
    /// key that makes asking again safe
    #[argh(option)]
    idempotency_key: Option<String>,
    /// print only id@version
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn register(context: &mut Context, command: &Register) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let config = context.config()?;
    let source = input::file(&command.file, config.body_bytes_max)?;
    let accept = command.accept_unsound.then(|| "true".to_owned());
    let path = format!("/workflows{}", query_of(&[("accept_unsound", accept)]));
    let key = command.idempotency_key.as_deref();
    let answer = context.client()?.post_as(path, "application/xml", source, key);
    let answer = answer.map_err(|error| with_file(error, &command.file))?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&answer);
    }
    let id = answer.get("id").and_then(Value::as_str).unwrap_or_default();
    let version = answer.get("version").map(ToString::to_string).unwrap_or_default();
    if command.quiet {
        return context.ui.answer(&format!("{}@{version}\n", table::plain(id)));
    }
    let mut facts = vec![("id", id.to_owned()), ("version", version)];
    facts.extend(super::case::not_remembered(&answer));
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        facts.push(("warning", said(warning, &command.file)));
    }
    context.ui.answer(&table::facts(&facts))
}

/// Returns a warning in one line; the service sends text, or an object with its place.
fn said(warning: &Value, file: &str) -> String {
    warning.as_str().map_or_else(|| mistakes::sentence(warning, file), str::to_owned)
}

/// Adds the name of the file to mistakes that the service found in it; it knows only the bytes.
fn with_file(error: Error, file: &str) -> Error {
    let Error::Service(mut problem) = error else { return error };
    for mistake in &mut problem.mistakes {
        if let Value::Object(members) = mistake {
            members.entry("file").or_insert_with(|| file.into());
        }
    }
    Error::Service(problem)
}
