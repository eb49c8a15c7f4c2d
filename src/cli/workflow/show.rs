//! `knhk workflow show`: the net of a specification, or of a case with its tokens.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::case::{self, text};
use crate::cli::client::{Client, encode};
use crate::cli::table::{self, Column, Side};
use crate::cli::ui::{Color, Form};
use crate::cli::{Context, Error};
use crate::error::Kind;
use crate::id::CaseId;

/// Print a net as tables, or as a picture
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help", "help"))]
pub(super) struct Show {
    /// a specification (id, or id@version) or a case
    #[argh(positional)]
    id: String,
    /// print the picture as SVG
    #[argh(switch)]
    svg: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// when to use colours: auto, always, never
    #[argh(option)]
    color: Option<Color>,
}

const COLUMNS: &[Column] = &[
    ("TASK", Side::Left),
    ("KIND", Side::Left),
    ("JOIN", Side::Left),
    ("SPLIT", Side::Left),
    ("FROM", Side::Left),
    ("TO", Side::Left),
    ("REMOVES", Side::Left),
];

pub(super) fn show(context: &mut Context, command: &Show) -> Result<(), Error> {
    context.ui.set_json(command.json);
    context.ui.set_color(command.color);
    let client = context.client()?;
    // Ids of cases have a form of their own, but nothing keeps a specification from being called like one.
    if CaseId::parse(&command.id).is_some() {
        match show_case(context, &client, command) {
            Err(Error::Service(problem)) if problem.kind == Kind::NotFound => {}
            result => return result,
        }
    }
    let id = encode(&command.id);
    if command.svg {
        let picture = client.get_as(format!("/workflows/{id}.svg"), "image/svg+xml")?;
        return context.ui.answer_bytes(&picture);
    }
    let workflow = client.get(format!("/workflows/{id}"))?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&workflow);
    }
    let version = workflow.get("version").map(ToString::to_string).unwrap_or_default();
    let mut facts = vec![("id", text(&workflow, "id")), ("version", version)];
    for warning in workflow.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        facts.push(("warning", warning.as_str().unwrap_or_default().to_owned()));
    }
    context.ui.answer(&table::facts(&facts))?;
    nets(context, &workflow)
}

fn show_case(context: &mut Context, client: &Client, command: &Show) -> Result<(), Error> {
    let id = encode(&command.id);
    if command.svg {
        let picture = client.get_as(format!("/cases/{id}.svg"), "image/svg+xml")?;
        return context.ui.answer_bytes(&picture);
    }
    let case = client.get(format!("/cases/{id}"))?;
    let version = case.get("version").map(ToString::to_string).unwrap_or_default();
    let workflow = format!("{}@{version}", text(&case, "workflow"));
    let workflow = client.get(format!("/workflows/{}", encode(&workflow)))?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&json!({ "case": case, "workflow": workflow }));
    }
    context.ui.answer(&case::facts_of(&case))?;
    nets(context, &workflow)
}

fn nets(context: &mut Context, workflow: &Value) -> Result<(), Error> {
    for net in workflow.get("nets").and_then(Value::as_array).into_iter().flatten() {
        context.ui.answer(&format!("\nnet {}\n", table::plain(&text(net, "id"))))?;
        let tasks = net.get("tasks").and_then(Value::as_array).into_iter().flatten();
        let rows: Vec<Vec<String>> = tasks
            .map(|task| {
                let kind = match task.get("net").and_then(Value::as_str) {
                    Some(below) => format!("{} {below}", text(task, "kind")),
                    None => text(task, "kind"),
                };
                let mut row = vec![text(task, "id"), kind, text(task, "join"), text(task, "split")];
                row.extend(["from", "to", "removes"].map(|name| names(task.get(name))));
                row
            })
            .collect();
        context.ui.table(&table::render(COLUMNS, &rows, true))?;
    }
    Ok(())
}

fn names(list: Option<&Value>) -> String {
    let names = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}
