//! `knhk workflow create|get|history`: one case.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use crate::cli::client::{Paging, encode};
use crate::cli::table::{self, Side};
use crate::cli::ui::{Color, Form};
use crate::cli::{Context, Error, input};

/// Start a case
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create", help_triggers("-h", "--help", "help"))]
pub(super) struct Create {
    /// the specification: id, or id@version
    #[argh(positional)]
    spec: String,
    /// input data: a JSON object, or a file that holds one, - for standard input
    #[argh(option)]
    data: Option<String>,
    /// business key: the same key gives the same case
    #[argh(option)]
    key: Option<String>,
    /// key that makes asking again safe
    #[argh(option)]
    idempotency_key: Option<String>,
    /// print only the id
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Print where a case is
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "get", help_triggers("-h", "--help", "help"))]
pub(super) struct Get {
    /// the case
    #[argh(positional)]
    id: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Print what happened in a case
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "history", help_triggers("-h", "--help", "help"))]
pub(super) struct History {
    /// the case
    #[argh(positional)]
    id: String,
    /// most events
    #[argh(option)]
    limit: Option<u64>,
    /// where to begin: the token of an earlier answer
    #[argh(option)]
    after: Option<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// when to use colours: auto, always, never
    #[argh(option)]
    color: Option<Color>,
}

pub(super) fn create(context: &mut Context, command: &Create) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let config = context.config()?;
    let data = input::data(command.data.as_deref(), config.body_bytes_max)?;
    let mut body = json!({ "workflow": command.spec, "data": data });
    if let Some(key) = &command.key {
        body["key"] = key.as_str().into();
    }
    let case = context.client()?.post("/cases".to_owned(), &body, command.idempotency_key.as_deref())?;
    if context.ui.form() == Form::Text && command.quiet {
        return context.ui.answer(&format!("{}\n", text(&case, "id")));
    }
    print(context, &case)
}

pub(super) fn get(context: &mut Context, command: &Get) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let case = context.client()?.get(format!("/cases/{}", encode(&command.id)))?;
    print(context, &case)
}

/// Prints a case as the service sent it.
pub(super) fn print(context: &mut Context, case: &Value) -> Result<(), Error> {
    if context.ui.form() == Form::Json {
        return context.ui.document(case);
    }
    context.ui.answer(&facts_of(case))
}

/// Returns that the idempotency key of a request is not remembered, if the answer says so.
pub(super) fn not_remembered(answer: &Value) -> Option<(&'static str, String)> {
    let is_said = answer.get("remembered") == Some(&Value::Bool(false));
    is_said.then(|| ("idempotency key", "not remembered: nothing was done".to_owned()))
}

/// Returns a case for people.
pub(super) fn facts_of(case: &Value) -> String {
    let version = case.get("version").map(ToString::to_string).unwrap_or_default();
    let mut facts = vec![
        ("id", text(case, "id")),
        ("workflow", format!("{}@{version}", text(case, "workflow"))),
        ("state", text(case, "state")),
    ];
    if let Some(file) = case.get("archive").and_then(Value::as_str) {
        facts.push(("archived", format!("in file {file}")));
    }
    facts.extend(not_remembered(case));
    for name in ["created", "changed", "key"] {
        if let Some(value) = case.get(name).and_then(Value::as_str) {
            facts.push((name, value.to_owned()));
        }
    }
    facts.push(("enabled", names(case.get("enabled"))));
    facts.push(("busy", names(case.get("busy"))));
    facts.push(("marking", marking(case.get("marking"))));
    for incident in case.get("incidents").and_then(Value::as_array).into_iter().flatten() {
        facts.push(("incident", members(incident, &[])));
    }
    for (task, nets) in case.get("children").and_then(Value::as_object).into_iter().flatten() {
        for net in nets.as_array().into_iter().flatten() {
            let (enabled, busy) = (names(net.get("enabled")), names(net.get("busy")));
            let inside = format!("{task}: {}; enabled {enabled}; busy {busy}", marking(net.get("marking")));
            facts.push(("below", inside));
        }
    }
    let mut facts = table::facts(&facts);
    if let Some(data) = case.get("data").filter(|data| data.as_object().is_some_and(|data| !data.is_empty()))
    {
        facts.extend(["data\n", &format!("{data:#}"), "\n"]);
    }
    facts
}

pub(super) fn history(context: &mut Context, command: History) -> Result<(), Error> {
    const COLUMNS: &[table::Column] =
        &[("SEQ", Side::Right), ("TIME", Side::Left), ("EVENT", Side::Left), ("DETAILS", Side::Left)];
    context.ui.set_json(command.json);
    context.ui.set_color(command.color);
    let path = format!("/cases/{}/history", encode(&command.id));
    let paging = Paging { limit: command.limit, after: command.after };
    super::list::print(context, &path, &[], &paging, COLUMNS, |event| {
        let seq = event.get("seq").map(ToString::to_string).unwrap_or_default();
        vec![seq, text(event, "time"), text(event, "event"), members(event, &["seq", "time", "event"])]
    })
}

/// Returns a member that is text, else nothing.
pub(in crate::cli) fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the members but some as `name=value`; text without quotes.
fn members(value: &Value, but: &[&str]) -> String {
    let members = value.as_object().into_iter().flatten();
    let members = members.filter(|(name, value)| !but.contains(&name.as_str()) && !value.is_null());
    let pairs: Vec<String> = members
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    pairs.join(" ")
}

fn names(list: Option<&Value>) -> String {
    let names: Vec<&str> =
        list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn marking(marking: Option<&Value>) -> String {
    let places = marking.and_then(Value::as_object).into_iter().flatten();
    let places: Vec<String> = places
        .map(|(place, count)| if count == 1 { place.clone() } else { format!("{place}={count}") })
        .collect();
    if places.is_empty() { "-".to_owned() } else { places.join(", ") }
}
