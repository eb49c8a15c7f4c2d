//! `knhk health`: whether the running service can do its work, for people, scripts and the health check of a container.

use argh::{ArgsInfo, FromArgs};
use serde_json::Value;

use super::ui::Form;
use super::{Context, Error};

/// Ask the running service whether it can do its work; exit 0 when it can
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "health", help_triggers("-h", "--help", "help"))]
pub(super) struct Health {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(context: &mut Context, command: &Health) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let answer = context.client()?.health()?;
    let strings = |member: &str| -> Vec<String> {
        let all = answer[member].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let failing = strings("failing");
    if !failing.is_empty() {
        return Err(Error::NotHealthy { reasons: failing.join("; ") });
    }
    if context.ui.form() == Form::Json {
        return context.ui.document(&answer);
    }
    let mut lines = vec![answer["status"].as_str().unwrap_or("unknown").to_owned()];
    lines.extend(strings("degraded"));
    context.ui.answer(&(lines.join("\n") + "\n"))
}
