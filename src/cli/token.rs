//! `knhk token`: who may come in from other machines. The service sees a change at its next request.

use std::os::unix::fs::{MetadataExt, chown};

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::duration::{self, Duration};
use super::table::{self, Side};
use super::ui::Form;
use super::{Context, Error};
use crate::api::remote::{Day, Days, Folder, Scope, Token};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::threads::become_owner;
use crate::id::Time;

/// Make, list and revoke the tokens of other machines
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "token", help_triggers("-h", "--help", "help"))]
pub(super) struct TokenNoun {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token and print it: it is not kept, and not to be had again
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create", help_triggers("-h", "--help", "help"))]
struct Create {
    /// name of the program or person that will have it
    #[argh(option)]
    name: String,
    /// what it may do: read, work (also cases and work items), admin (also specifications and the state)
    #[argh(option)]
    scope: Scope,
    /// when it ends, such as 90d; never, if not given
    #[argh(option)]
    expires: Option<Duration>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// List tokens, expired ones too, and the day of their last use
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help", "help"))]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Take a token away
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "revoke", help_triggers("-h", "--help", "help"))]
struct Revoke {
    /// name of the token
    #[argh(positional)]
    name: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(context: &mut Context, noun: TokenNoun) -> Result<(), Error> {
    let config = context.config()?;
    match noun.verb {
        Verb::Create(command) => create(context, &config, &command),
        Verb::List(command) => list(context, &config, &command),
        Verb::Revoke(command) => revoke(context, &config, &command),
    }
}

/// Returns the folder of the tokens, after becoming its owner: the service reads it, whoever writes it. Root makes one
/// that is not there for whoever has the state.
fn folder(config: &Config, is_to_be: bool) -> Result<Folder, Error> {
    let path = &config.remote_dir;
    let folder = Folder::at(path);
    if is_to_be && !path.exists() {
        folder.make()?;
        if let Ok(state) = std::fs::metadata(&config.state_dir)
            && nix::unistd::geteuid().is_root()
        {
            chown(path, Some(state.uid()), Some(state.gid()))
                .map_err(Error::system("give the folder of tokens to the owner of the state"))?;
        }
    }
    become_owner(path).map_err(Error::system("become the owner of the folder of tokens"))?;
    Ok(folder)
}

fn create(context: &mut Context, config: &Config, command: &Create) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let now = context.clock.now();
    let after = command.expires.as_ref().and_then(|length| duration::microseconds(&length.0));
    let expires = after.map(|us| Time(now.0.saturating_add(us)));
    let token = folder(config, true)?.create(&command.name, command.scope, now, expires)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&json!({
            "name": command.name,
            "scope": command.scope,
            "expires": expires.map(Time::rfc3339),
            "token": token,
        }));
    }
    context.ui.note("this is the only time that the token is shown; send it as Authorization: Bearer TOKEN");
    context.ui.answer(&format!("{token}\n"))
}

fn list(context: &mut Context, config: &Config, command: &List) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let folder = folder(config, false)?;
    let (tokens, days) = (folder.list()?, folder.days());
    let now = context.clock.now();
    if context.ui.form() == Form::Json {
        let items: Vec<Value> = tokens.iter().map(|token| json_of(token, &days, now)).collect();
        return context.ui.document(&json!({ "items": items }));
    }
    let columns = ["NAME", "SCOPE", "CREATED", "LAST USED", "EXPIRES"].map(|name| (name, Side::Left));
    let row = |token: &Token| {
        let expires = match token.expires() {
            None => "never".to_owned(),
            Some(time) if token.is_expired(now) => format!("{} (expired)", time.rfc3339()),
            Some(time) => time.rfc3339(),
        };
        let used = token.last_used(&days).map_or_else(|| "never".to_owned(), Day::date);
        vec![token.name.clone(), token.scope.word().to_owned(), token.created().rfc3339(), used, expires]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    context.ui.table(&table::render(&columns, &rows, true))
}

fn json_of(token: &Token, days: &Days, now: Time) -> Value {
    json!({
        "name": token.name,
        "scope": token.scope,
        "created": token.created().rfc3339(),
        "last_used": token.last_used(days).map(Day::date),
        "expires": token.expires().map(Time::rfc3339),
        "expired": token.is_expired(now),
    })
}

fn revoke(context: &mut Context, config: &Config, command: &Revoke) -> Result<(), Error> {
    context.ui.set_json(command.json);
    folder(config, false)?.revoke(&command.name)?;
    if context.ui.form() == Form::Json {
        return context.ui.document(&json!({ "name": command.name, "revoked": true }));
    }
    context.ui.answer(&format!("{} is revoked\n", command.name))
}
