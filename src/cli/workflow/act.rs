//! `knhk workflow cancel|suspend|resume|retry`: one case, several, or all that filters name.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::case::text;
use super::list::filters;
use crate::cli::client::{Client, Paging, encode};
use crate::cli::duration::Duration;
use crate::cli::ui::Form;
use crate::cli::{Context, Error, table};
use crate::engine::clock::Clock;

/// Most cases that one command changes; above that, filter in steps.
const CASE_COUNT_MAX: usize = 1_000_000;

/// Writes one command for each verb: they differ only in name and description.
macro_rules! verbs {
    ($($function:ident, $name:literal, $(#[$doc:meta])* $command:ident;)+) => {$(
        #[derive(Debug, FromArgs, ArgsInfo)]
        $(#[$doc])*
        pub(super) struct $command {
            /// the cases
            #[argh(positional)]
            ids: Vec<String>,
            /// all in this state
            #[argh(option)]
            state: Option<String>,
            /// all of this specification: id, or id@version
            #[argh(option)]
            workflow: Option<String>,
            /// all unchanged for so long, such as 90d
            #[argh(option)]
            older_than: Option<Duration>,
            /// why, for the history
            #[argh(option)]
            reason: Option<String>,
            /// do not ask
            #[argh(switch)]
            yes: bool,
            /// key that makes asking again safe; for one case
            #[argh(option)]
            idempotency_key: Option<String>,
            /// print nothing but errors
            #[argh(switch, short = 'q')]
            quiet: bool,
            /// print JSON
            #[argh(switch)]
            json: bool,
        }

        pub(super) fn $function(context: &mut Context, command: $command) -> Result<(), Error> {
            context.ui.set_json(command.json);
            act(context, Act {
                verb: $name,
                ids: command.ids,
                filters: filters(command.state, command.workflow, command.older_than),
                reason: command.reason,
                agreement: if command.yes { Agreement::Given } else { Agreement::Ask },
                key: command.idempotency_key,
                says: if command.quiet { Says::Errors } else { Says::Each },
            })
        }
    )+};
}

verbs! {
    cancel, "cancel",
    /// End cases
    #[argh(subcommand, name = "cancel", help_triggers("-h", "--help", "help"))]
    Cancel;
    suspend, "suspend",
    /// Hold cases
    #[argh(subcommand, name = "suspend", help_triggers("-h", "--help", "help"))]
    Suspend;
    resume, "resume",
    /// Let held cases go on
    #[argh(subcommand, name = "resume", help_triggers("-h", "--help", "help"))]
    Resume;
    retry, "retry",
    /// Try again what failed in cases
    #[argh(subcommand, name = "retry", help_triggers("-h", "--help", "help"))]
    Retry;
}

struct Act {
    verb: &'static str,
    ids: Vec<String>,
    filters: [(&'static str, Option<String>); 3],
    reason: Option<String>,
    agreement: Agreement,
    key: Option<String>,
    says: Says,
}

#[derive(PartialEq)]
enum Agreement {
    Given,
    Ask,
}

#[derive(Clone, Copy, PartialEq)]
enum Says {
    Each,
    Errors,
}

fn act(context: &mut Context, act: Act) -> Result<(), Error> {
    let usage = |message: &str| Error::usage(message, format!("knhk workflow {}", act.verb));
    if act.verb != "cancel" && act.reason.is_some() {
        return Err(usage("only a cancel has a reason"));
    }
    let has_filters = act.filters.iter().any(|(_, value)| value.is_some());
    match (act.ids.is_empty(), has_filters) {
        (true, false) => {
            return Err(usage("name cases, or choose them by --state, --workflow, --older-than"));
        }
        (false, true) => return Err(usage("name cases or choose them by filters, not both")),
        _ => {}
    }
    if act.key.is_some() && act.ids.len() != 1 {
        return Err(usage("a key is for one case"));
    }
    let client = context.client()?;
    let ids = if has_filters { chosen(context, &client, &act)? } else { act.ids.clone() };
    each(context, &client, &act, &ids)
}

/// Returns the cases that the filters name, after somebody agreed to change them all.
fn chosen(context: &mut Context, client: &Client, act: &Act) -> Result<Vec<String>, Error> {
    let mut ids = Vec::new();
    client.pages("/cases", &act.filters, &Paging::default(), |cases| {
        // What has ended cannot change; the filters speak of the others.
        let live =
            cases.iter().filter(|case| !["completed", "cancelled"].contains(&text(case, "state").as_str()));
        ids.extend(live.map(|case| text(case, "id")));
        if ids.len() > CASE_COUNT_MAX {
            let message = format!("the filters name more than {CASE_COUNT_MAX} cases");
            return Err(Error::usage(message, format!("knhk workflow {}", act.verb)));
        }
        Ok(())
    })?;
    let what = format!("to {} {} cases", act.verb, ids.len());
    if !ids.is_empty() && act.agreement == Agreement::Ask && context.ui.ask(&format!("{what}?")) != Some(true)
    {
        return Err(Error::NotAgreed { what });
    }
    Ok(ids)
}

fn each(context: &mut Context, client: &Client, act: &Act, ids: &[String]) -> Result<(), Error> {
    if act.says == Says::Errors {
        context.ui.be_quiet();
    }
    let body = act.reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (index, id) in ids.iter().enumerate() {
        let path = format!("/cases/{}/{}", encode(id), act.verb);
        match client.post(path, &body, act.key.as_deref()) {
            Ok(case) => show(context, act, &mut done, case)?,
            Err(error @ Error::Service(_)) if ids.len() > 1 => {
                let code = error.code().map(|code| code.to_string());
                if context.ui.form() == Form::Text {
                    context.ui.note(&format!("{id}: {error}"));
                }
                failures.push(json!({ "id": id, "code": code, "message": error.to_string() }));
            }
            Err(error) => return Err(error),
        }
        context
            .ui
            .progress(context.clock.monotonic_us(), &format!("{}: {} of {}", act.verb, index + 1, ids.len()));
    }
    let failed = failures.len();
    if context.ui.form() == Form::Json {
        let document = match (ids.len(), done.pop()) {
            (1, Some(case)) if act.key.is_some() || !act.ids.is_empty() => case,
            (_, last) => {
                done.extend(last);
                json!({ "done": done.len(), "failed": failures })
            }
        };
        context.ui.document(&document)?;
    }
    if failed > 0 { Err(Error::Partly { failed, total: ids.len() }) } else { Ok(()) }
}

fn show(context: &mut Context, act: &Act, done: &mut Vec<Value>, case: Value) -> Result<(), Error> {
    if context.ui.form() == Form::Text && act.says == Says::Each {
        let line = format!("{}  {}\n", table::plain(&text(&case, "id")), table::plain(&text(&case, "state")));
        context.ui.answer(&line)?;
    }
    done.push(case);
    Ok(())
}
