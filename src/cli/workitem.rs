//! `knhk workitem`: the work list, for people and scripts.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::client::{Paging, encode};
use super::table::{self, Column, Side};
use super::ui::{Color, Form};
use super::workflow::{age, list, text};
use super::{Context, Error, input};
use crate::engine::clock::Clock;

/// See and do the work of cases
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "workitem", help_triggers("-h", "--help", "help"))]
pub(super) struct Workitem {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    List(List),
    Start(Start),
    Complete(Complete),
    Fail(Fail),
    Skip(Skip),
}

/// List work items
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// only of this case
    #[argh(option)]
    case: Option<String>,
    /// only of this specification: id, or id@version
    #[argh(option)]
    workflow: Option<String>,
    /// only of this task
    #[argh(option)]
    task: Option<String>,
    /// only in this state: enabled, executing, failed
    #[argh(option)]
    state: Option<String>,
    /// most items
    #[argh(option)]
    limit: Option<u64>,
    /// where to begin: the token of an earlier answer
    #[argh(option)]
    after: Option<String>,
    /// print only the ids
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// when to use colours: auto, always, never
    #[argh(option)]
    color: Option<Color>,
}

/// Take a work item
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "start", help_triggers("-h", "--help", "help"))]
struct Start {
    /// the work item
    #[argh(positional)]
    id: String,
    /// key that makes asking again safe
    #[argh(option)]
    idempotency_key: Option<String>,
    /// print nothing but errors
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Hand in the outputs of a work item
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "complete", help_triggers("-h", "--help", "help"))]
struct Complete {
    /// the work item
    #[argh(positional)]
    id: String,
    /// outputs: a JSON object, or a file that holds one, - for standard input
    #[argh(option)]
    data: Option<String>,
    /// key that makes asking again safe
    #[argh(option)]
    idempotency_key: Option<String>,
    /// print nothing but errors
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Give a work item up: its case becomes an incident
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "fail", help_triggers("-h", "--help", "help"))]
struct Fail {
    /// the work item
    #[argh(positional)]
    id: String,
    /// why, for the history
    #[argh(option)]
    reason: String,
    /// key that makes asking again safe
    #[argh(option)]
    idempotency_key: Option<String>,
    /// print nothing but errors
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Go on without a work item; its outputs stay unset
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "skip", help_triggers("-h", "--help", "help"))]
struct Skip {
    /// the work item
    #[argh(positional)]
    id: String,
    /// why, for the history
    #[argh(option)]
    reason: String,
    /// key that makes asking again safe
    #[argh(option)]
    idempotency_key: Option<String>,
    /// print nothing but errors
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(context: &mut Context, noun: Workitem) -> Result<(), Error> {
    match noun.verb {
        Verb::List(command) => list_items(context, command),
        Verb::Start(command) => {
            context.ui.set_json(command.json);
            let key = command.idempotency_key.as_deref();
            act(context, &command.id, "start", &json!({}), key, says(command.quiet))
        }
        Verb::Complete(command) => {
            context.ui.set_json(command.json);
            let data = input::data(command.data.as_deref(), context.config()?.body_bytes_max)?;
            let (body, key) = (json!({ "data": data }), command.idempotency_key.as_deref());
            act(context, &command.id, "complete", &body, key, says(command.quiet))
        }
        Verb::Fail(command) => {
            context.ui.set_json(command.json);
            let (body, key) = (json!({ "reason": command.reason }), command.idempotency_key.as_deref());
            act(context, &command.id, "fail", &body, key, says(command.quiet))
        }
        Verb::Skip(command) => {
            context.ui.set_json(command.json);
            let (body, key) = (json!({ "reason": command.reason }), command.idempotency_key.as_deref());
            act(context, &command.id, "skip", &body, key, says(command.quiet))
        }
    }
}

#[derive(PartialEq)]
enum Says {
    Item,
    Nothing,
}

fn says(is_quiet: bool) -> Says {
    if is_quiet { Says::Nothing } else { Says::Item }
}

fn list_items(context: &mut Context, command: List) -> Result<(), Error> {
    const COLUMNS: &[Column] = &[
        ("ID", Side::Left),
        ("WORKFLOW", Side::Left),
        ("TASK", Side::Left),
        ("STATE", Side::Left),
        ("AGE", Side::Right),
    ];
    context.ui.set_json(command.json);
    context.ui.set_color(command.color);
    let now = context.clock.now();
    let filters = [
        ("case", command.case),
        ("workflow", command.workflow),
        ("task", command.task),
        ("state", command.state),
    ];
    let paging = Paging { limit: command.limit, after: command.after };
    let columns = if command.quiet { &COLUMNS[..0] } else { COLUMNS };
    let is_quiet = command.quiet;
    list(context, "/workitems", &filters, &paging, columns, |item| {
        if is_quiet {
            return vec![text(item, "id")];
        }
        let mut row: Vec<String> = ["id", "workflow", "task", "state"].map(|name| text(item, name)).into();
        row.push(age(now, &text(item, "since")));
        row
    })
}

fn act(
    context: &mut Context,
    id: &str,
    verb: &str,
    body: &Value,
    key: Option<&str>,
    says: Says,
) -> Result<(), Error> {
    let item = context.client()?.post(format!("/workitems/{}/{verb}", encode(id)), body, key)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&item);
    }
    if says == Says::Nothing {
        return Ok(());
    }
    let facts = ["id", "task", "state", "case", "case_state"].map(|name| (name, text(&item, name)));
    context.ui.answer(&table::facts(&facts))
}
