//! `knhk config set|unset`: one key changed, and what the running service makes of it.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value as Json, json};

use super::{json_of, origin_of};
use crate::cli::client::Client;
use crate::cli::table;
use crate::cli::ui::Form;
use crate::cli::{Context, Error};
use crate::config::{self, Changed, Layers, Origin, Takes, Value};

/// Change one key in the administrator's file
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "set", help_triggers("-h", "--help", "help"))]
pub(super) struct Set {
    /// name of the key
    #[argh(positional)]
    key: String,
    /// its value, without quotes
    #[argh(positional)]
    value: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Take one key out of the administrator's file
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "unset", help_triggers("-h", "--help", "help"))]
pub(super) struct Unset {
    /// name of the key
    #[argh(positional)]
    key: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn set(context: &mut Context, command: &Set) -> Result<(), Error> {
    context.ui.set_json(command.json);
    change(context, |context| {
        config::set(&context.environment, &Layers::system(), &command.key, &command.value)
    })
}

pub(super) fn unset(context: &mut Context, command: &Unset) -> Result<(), Error> {
    context.ui.set_json(command.json);
    change(context, |context| config::unset(&context.environment, &Layers::system(), &command.key))
}

fn change(
    context: &mut Context,
    change: impl FnOnce(&Context) -> Result<Changed, config::Error>,
) -> Result<(), Error> {
    // A running service listens where the files said before.
    let asked = context.load().ok().map(|loaded| loaded.config);
    let changed = change(context)?;
    let client = Client::new(asked.unwrap_or_else(|| changed.loaded.config.clone()));
    let took = Took::of(&client, &changed);
    show(context, &changed, &took)
}

/// What the running service makes of a change.
enum Took {
    /// It has no use for the key.
    NoUse,
    /// It has the value.
    Now,
    /// It has another one until it is started again.
    AfterRestart(Json),
    /// It has another one, which a later layer gives here too.
    Overridden(Json),
    /// It has another one, which other files or its environment give.
    Other(Json),
    /// It found mistakes in its files or its certificate and keeps what it has.
    Refused(String),
    /// None runs.
    NotRunning,
    /// It could not be asked.
    Unknown(String),
}

impl Took {
    /// Has the service read its files again.
    fn of(client: &Client, changed: &Changed) -> Self {
        if changed.key.takes == Takes::Command {
            return Self::NoUse;
        }
        let answer = match client.post_to_service("/service/reload".to_owned()) {
            Ok(answer) => answer,
            Err(Error::NoService { .. }) => return Self::NotRunning,
            // Of the configuration, or of the certificate that is read with it.
            Err(Error::Service(problem))
                if problem.code.is_some_and(|code| [620, 555, 556].contains(&code.0)) =>
            {
                return Self::Refused(problem.to_string());
            }
            Err(error) => return Self::Unknown(error.to_string()),
        };
        let name = changed.key.name;
        let has = answer["values"][name].clone();
        let wanted = json_of(&changed.wanted);
        let mut waits = answer["needs_restart"].as_array().into_iter().flatten();
        if has == wanted {
            Self::Now
        } else if waits.any(|change| change["key"] == name && change["to"] == wanted) {
            Self::AfterRestart(has)
        } else if has == json_of(&changed.now().0) {
            Self::Overridden(has)
        } else {
            Self::Other(has)
        }
    }

    /// Returns one word of it.
    fn word(&self) -> &'static str {
        match self {
            Self::NoUse => "no_use",
            Self::Now => "took",
            Self::AfterRestart(_) => "needs_restart",
            Self::Overridden(_) => "overridden",
            Self::Other(_) => "has_another",
            Self::Refused(_) => "refused",
            Self::NotRunning => "not_running",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Returns it in words for people.
    fn words(&self) -> String {
        let shown = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match self {
            Self::NoUse => "has no use for it; the next command takes it".to_owned(),
            Self::Now => "has it now".to_owned(),
            Self::AfterRestart(has) => {
                format!("has {} until it is restarted: systemctl restart knhk", shown(has))
            }
            Self::Overridden(has) => format!("has {}, as overridden", shown(has)),
            Self::Other(has) => {
                format!("has {}: it reads other files, or its environment overrides them", shown(has))
            }
            Self::Refused(why) => format!("keeps what it has: {why}"),
            Self::NotRunning => "does not run; it takes it at its start".to_owned(),
            Self::Unknown(why) => format!("could not be asked: {why}"),
        }
    }

    /// Returns the value that the service has, where it is another one.
    fn other(&self) -> Option<&Json> {
        match self {
            Self::AfterRestart(has) | Self::Overridden(has) | Self::Other(has) => Some(has),
            _ => None,
        }
    }
}

fn show(context: &mut Context, changed: &Changed, took: &Took) -> Result<(), Error> {
    let (value, origin) = changed.now();
    if context.ui.form() == Form::Json {
        return context.ui.document(&json!({
            "key": changed.key.name,
            "value": json_of(value),
            "origin": origin_of(origin),
            "before": { "value": json_of(&changed.before.0), "origin": origin_of(&changed.before.1) },
            "file": changed.file.display().to_string(),
            "line": changed.line,
            "is_changed": changed.is_changed,
            "overridden_by": changed.overridden_by.as_ref().map(origin_of),
            "takes_effect": changed.key.takes.word(),
            "service": took.word(),
            "service_value": took.other(),
        }));
    }
    let mut facts = vec![("key", changed.key.name.to_owned()), ("value", with_origin(value, origin))];
    facts.push(("before", with_origin(&changed.before.0, &changed.before.1)));
    facts.push(("file", file_words(changed)));
    if let Some(origin) = &changed.overridden_by {
        facts.push(("warning", format!("{origin} overrides {}", changed.file.display())));
    }
    facts.push(("service", took.words()));
    context.ui.answer(&table::facts(&facts))
}

fn with_origin(value: &Value, origin: &Origin) -> String {
    format!("{value} ({origin})")
}

fn file_words(changed: &Changed) -> String {
    let path = changed.file.display();
    match (changed.is_changed, changed.line) {
        (true, line) => format!("{path}, line {line}"),
        (false, 0) => format!("{path} does not set it"),
        (false, line) => format!("{path}, line {line}, had it already"),
    }
}
