//! `knhk config`: what is configured, where from, how it is changed, and what is wrong with it.

mod fix;
mod memory;
mod set;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Map, Value as Json, json};

use super::table::{self, Side};
use super::ui::{Color, Form};
use super::{Context, Error};
use crate::config::{KEYS, Key, Memory, Origin, Value};

/// Show, change and check the configuration
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "config", help_triggers("-h", "--help", "help"))]
pub(super) struct ConfigNoun {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Show(Show),
    Set(set::Set),
    Unset(set::Unset),
    Validate(fix::Validate),
    Fix(fix::Fix),
}

/// Print every key with its value, and what the service's memory is for
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help", "help"))]
struct Show {
    /// add where each value comes from
    #[argh(switch)]
    origin: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// when to use colours: auto, always, never
    #[argh(option)]
    color: Option<Color>,
}

pub(super) fn run(context: &mut Context, noun: ConfigNoun) -> Result<(), Error> {
    match noun.verb {
        Verb::Show(command) => show(context, &command),
        Verb::Set(command) => set::set(context, &command),
        Verb::Unset(command) => set::unset(context, &command),
        Verb::Validate(command) => fix::validate(context, &command),
        Verb::Fix(command) => fix::fix(context, &command),
    }
}

fn show(context: &mut Context, command: &Show) -> Result<(), Error> {
    context.ui.set_json(command.json);
    context.ui.set_color(command.color);
    let loaded = context.load()?;
    if context.ui.form() == Form::Json {
        let mut members: Map<String, Json> = KEYS
            .iter()
            .zip(&loaded.values)
            .map(|(key, (value, origin))| {
                let value = json_of(value);
                let member = if command.origin {
                    json!({ "value": value, "origin": origin_of(origin) })
                } else {
                    value
                };
                (key.name.to_owned(), member)
            })
            .collect();
        members.insert("memory".to_owned(), memory::document(&Memory::of(&loaded.config)));
        return context.ui.document(&Json::Object(members));
    }
    let mut columns = vec![("KEY", Side::Left), ("VALUE", Side::Left)];
    if command.origin {
        columns.push(("ORIGIN", Side::Left));
    }
    let rows: Vec<Vec<String>> = KEYS
        .iter()
        .zip(&loaded.values)
        .map(|(key, (value, origin))| vec![shown_name(key), value.to_string(), origin.to_string()])
        .collect();
    let keys = table::render(&columns, &rows, true);
    context.ui.table(&format!("{keys}\n{}", memory::table(&Memory::of(&loaded.config))))
}

/// Returns the name as `config show` prints it: people look for telemetry with `grep OTEL`.
fn shown_name(key: &Key) -> String {
    if key.name.starts_with("otel_") { key.name.to_uppercase() } else { key.name.to_owned() }
}

/// Returns a value as it stands in documents.
pub(super) fn json_of(value: &Value) -> Json {
    match value {
        Value::Integer(value) => json!(value),
        Value::Flag(value) => json!(value),
        Value::Text(value) => json!(value),
    }
}

fn origin_of(origin: &Origin) -> Json {
    match origin {
        Origin::BuiltIn => json!({ "from": "built-in" }),
        Origin::File { path, line } => {
            json!({ "from": "file", "file": path.display().to_string(), "line": line })
        }
        Origin::Machine => json!({ "from": "machine" }),
        Origin::Variable(name) => json!({ "from": "environment", "variable": name }),
    }
}
