//! `knhk workflow list`: cases by filters, and how any list is printed.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::case::text;
use crate::cli::client::Paging;
use crate::cli::duration::{self, Duration};
use crate::cli::table::{self, Column, Side};
use crate::cli::ui::{Color, Form};
use crate::cli::{Context, Error};
use crate::engine::clock::Clock;
use crate::id::Time;

/// List cases
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
#[expect(clippy::struct_excessive_bools, reason = "a switch each")]
pub(super) struct List {
    /// only in this state: running, suspended, incident, completed, cancelled
    #[argh(option)]
    state: Option<String>,
    /// only of this specification: id, or id@version
    #[argh(option)]
    workflow: Option<String>,
    /// only unchanged for so long, such as 90d
    #[argh(option)]
    older_than: Option<Duration>,
    /// follow each case's own history back, and mark those of which it is damaged; with -q print only these
    #[argh(switch)]
    verify: bool,
    /// those in archives, in place of those in the live store
    #[argh(switch)]
    archived: bool,
    /// most cases
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

pub(super) fn list(context: &mut Context, command: List) -> Result<(), Error> {
    const COLUMNS: &[Column] = &[
        ("ID", Side::Left),
        ("WORKFLOW", Side::Left),
        ("VERSION", Side::Right),
        ("STATE", Side::Left),
        ("AGE", Side::Right),
        ("ENABLED", Side::Right),
    ];
    context.ui.set_json(command.json);
    context.ui.set_color(command.color);
    let now = context.clock.now();
    let mut filters = filters(command.state, command.workflow, command.older_than).to_vec();
    filters.push(("archived", command.archived.then(|| "true".to_owned())));
    let paging = Paging { limit: command.limit, after: command.after };
    if command.verify {
        filters.push(("verify", Some("true".to_owned())));
        return verified(context, &filters, &paging, command.quiet);
    }
    if command.quiet {
        return print(context, "/cases", &filters, &paging, &COLUMNS[..0], |case| vec![text(case, "id")]);
    }
    print(context, "/cases", &filters, &paging, COLUMNS, |case| {
        let number = |name: &str| case.get(name).map(ToString::to_string).unwrap_or_default();
        vec![
            text(case, "id"),
            text(case, "workflow"),
            number("version"),
            text(case, "state"),
            age(now, &text(case, "changed")),
            number("enabled_count"),
        ]
    })
}

/// Lists cases with what is wrong with their histories; an error says how many are damaged.
fn verified(
    context: &mut Context,
    filters: &[(&str, Option<String>)],
    paging: &Paging,
    quiet: bool,
) -> Result<(), Error> {
    const COLUMNS: &[Column] = &[
        ("ID", Side::Left),
        ("WORKFLOW", Side::Left),
        ("VERSION", Side::Right),
        ("STATE", Side::Left),
        ("AGE", Side::Right),
        ("CHAIN", Side::Left),
        ("DAMAGE", Side::Left),
    ];
    let now = context.clock.now();
    let is_damaged = |case: &Value| case.get("chain").is_some_and(|chain| chain != "ok");
    let mut count = 0;
    let mut watch = |items: &[Value]| count += items.iter().filter(|case| is_damaged(case)).count();
    let unlisted = if quiet {
        let id = |case: &Value| if is_damaged(case) { vec![text(case, "id")] } else { Vec::new() };
        print_watched(context, "/cases", filters, paging, &COLUMNS[..0], id, &mut watch)?
    } else {
        let row = |case: &Value| {
            let version = case.get("version").map(ToString::to_string).unwrap_or_default();
            let age = age(now, &text(case, "changed"));
            let [id, workflow, state, chain, damage] =
                ["id", "workflow", "state", "chain", "damage"].map(|name| text(case, name));
            vec![id, workflow, version, state, age, chain, damage]
        };
        print_watched(context, "/cases", filters, paging, COLUMNS, row, &mut watch)?
    };
    count += unlisted;
    if count > 0 { Err(Error::DamagedCases { count }) } else { Ok(()) }
}

/// Returns the filters of cases as parameters.
pub(super) fn filters(
    state: Option<String>,
    workflow: Option<String>,
    older_than: Option<Duration>,
) -> [(&'static str, Option<String>); 3] {
    [("state", state), ("workflow", workflow), ("older_than", older_than.map(|length| length.0))]
}

/// Prints a list page by page, so that it may be longer than memory. Without columns: the first cell alone.
pub(in crate::cli) fn print(
    context: &mut Context,
    path: &str,
    filters: &[(&str, Option<String>)],
    paging: &Paging,
    columns: &[Column],
    row: impl Fn(&Value) -> Vec<String>,
) -> Result<(), Error> {
    print_watched(context, path, filters, paging, columns, row, &mut |_| {}).map(drop)
}

/// Does what [`print`] does, and gives each page to `watch` first. Returns how many cases cannot be listed.
fn print_watched(
    context: &mut Context,
    path: &str,
    filters: &[(&str, Option<String>)],
    paging: &Paging,
    columns: &[Column],
    row: impl Fn(&Value) -> Vec<String>,
    watch: &mut dyn FnMut(&[Value]),
) -> Result<usize, Error> {
    let client = context.client()?;
    let ui = &mut context.ui;
    let is_json = ui.form() == Form::Json;
    let mut is_first = true;
    let next = client.pages(path, filters, paging, |items| {
        watch(items);
        if is_json {
            let before = if is_first { "{\"items\":[" } else { "" };
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            let between = if is_first || items.is_empty() { "" } else { "," };
            is_first = false;
            return ui.answer(&format!("{before}{between}{}", items.join(",")));
        }
        let rows: Vec<Vec<String>> = items.iter().map(&row).collect();
        let with_header = std::mem::take(&mut is_first);
        if columns.is_empty() {
            let ids: String = rows.iter().flatten().map(|id| table::plain(id) + "\n").collect();
            ui.answer(&ids)
        } else if with_header {
            ui.table(&table::render(columns, &rows, true))
        } else {
            ui.answer(&table::render(columns, &rows, false))
        }
    })?;
    if is_json {
        ui.answer(&format!("],\"next\":{}}}\n", json!(next)))?;
        return Ok(client.unlisted_count());
    }
    if let Some(token) = next {
        ui.note(&format!("there is more: --after {token}"));
    }
    Ok(client.unlisted_count())
}

/// Returns how long ago a time was, in its largest unit; `-` when it is none.
pub(in crate::cli) fn age(now: Time, since: &str) -> String {
    let since: Option<jiff::Timestamp> = since.parse().ok();
    let since_us = since.and_then(|since| u64::try_from(since.as_microsecond()).ok());
    since_us.map_or_else(|| "-".to_owned(), |since_us| duration::short(now.0.saturating_sub(since_us)))
}
