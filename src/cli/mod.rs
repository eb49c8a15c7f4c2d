//! Commands, and what people see.
//!
//! A command decodes its arguments, asks the service (or does what needs none), and shows the answer; no
//! rule of workflows lives here. A file for each family of commands; [`ui`] alone writes to stdout and
//! stderr. Start at [`run`].

mod backup;
mod backup_look;
mod casualties;
mod client;
mod completions;
mod config;
mod duration;
mod environment;
mod error;
mod explain;
mod health;
mod http;
mod input;
mod kept;
mod local;
mod man;
mod mistakes;
mod owner;
mod pages;
mod performance;
mod problem;
mod reference;
mod reload;
mod serve;
mod set_aside;
mod state;
mod table;
mod token;
mod ui;
mod workflow;
mod workitem;

use std::ffi::OsString;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

pub use error::Error;
pub use problem::Problem;
pub use reference::reference;

use crate::config::{Config, Environment, Layers, Loaded, nearest};
use crate::engine::clock::SystemClock;
use client::Client;
use ui::{Form, Ui};

/// Run workflows: register specifications, start cases, work their items, see what happened
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help", "help"))]
struct Knhk {
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    noun: Option<Noun>,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Noun {
    Serve(serve::Serve),
    Health(health::Health),
    Workflow(workflow::Workflow),
    Workitem(workitem::Workitem),
    State(state::State),
    Backup(backup::Backup),
    Config(config::ConfigNoun),
    Token(token::TokenNoun),
    Performance(performance::Performance),
    Explain(explain::Explain),
    Completions(completions::Completions),
    Man(man::Man),
}

/// What every command is given.
#[derive(Debug)]
struct Context {
    environment: Environment,
    ui: Ui,
    clock: SystemClock,
}

impl Context {
    fn load(&self) -> Result<Loaded, Error> {
        Ok(crate::config::load(&self.environment, &Layers::system())?)
    }

    fn config(&self) -> Result<Config, Error> {
        Ok(self.load()?.config)
    }

    fn client(&self) -> Result<Client, Error> {
        Ok(Client::new(self.config()?))
    }
}

/// Runs the command line `arguments`, without the program's name, and returns its exit status
/// (docs/reference/statuses.md).
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments: Result<Vec<String>, OsString> = arguments.into_iter().map(OsString::into_string).collect();
    // Also of a command line that cannot be understood.
    let is_json = arguments.as_ref().is_ok_and(|all| all.iter().any(|argument| argument == "--json"));
    let environment = Environment::read();
    let form = if is_json { Form::Json } else { Form::Text };
    let ui = Ui::new(&environment, form);
    let mut context = Context { environment, ui, clock: SystemClock::new() };
    let result = arguments
        .map_err(|argument| Error::usage(format!("{} is not UTF-8", argument.to_string_lossy()), "knhk"))
        .and_then(|arguments| parse(&arguments))
        .and_then(|asked| obey(&mut context, asked));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed the pipe has seen enough.
        Err(Error::Write(source)) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            context.ui.error(&error);
            ExitCode::from(error.kind().outside().exit)
        }
    }
}

/// What a command line asks for.
enum Asked {
    /// A text that is known already: help.
    Text(String),
    /// A command.
    Command(Knhk),
}

fn parse(arguments: &[String]) -> Result<Asked, Error> {
    // argh takes a lone - for an option.
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| if argument == "-" { input::STANDARD_INPUT } else { argument.as_str() })
        .collect();
    match Knhk::from_args(&["knhk"], &arguments) {
        Ok(command) => Ok(Asked::Command(command)),
        Err(exit) if exit.status.is_ok() => Ok(Asked::Text(exit.output)),
        Err(exit) => {
            let words = exit.output.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut letters = words.chars();
            let first = letters.next().map(|letter| letter.to_ascii_lowercase());
            let message: String = first.into_iter().chain(letters).collect();
            let message = message.trim_end_matches('.').to_owned();
            let (command, nearest) = deepest(&arguments);
            Err(Error::Usage { message, command, nearest })
        }
    }
}

/// Returns the longest beginning of the arguments that names a command, to ask for its help, and what the
/// argument after it was probably meant to be.
fn deepest(arguments: &[&str]) -> (String, Option<String>) {
    let mut command = Knhk::get_args_info();
    let mut path = "knhk".to_owned();
    for argument in arguments {
        let Some(index) = command.commands.iter().position(|below| below.name == *argument) else {
            let names = command.commands.iter().map(|below| below.name);
            let names = names.chain(command.flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.long));
            let typed = argument.split('=').next().unwrap_or_default();
            let is_value = command.commands.is_empty() && !typed.starts_with('-');
            let meant = nearest(typed, names).filter(|meant| !is_value && *meant != *argument);
            let value = argument.split_once('=').map(|(_, value)| format!(" {value}"));
            return (path, meant.map(|meant| meant.to_owned() + &value.unwrap_or_default()));
        };
        command = command.commands.swap_remove(index).command;
        path = format!("{path} {argument}");
    }
    (path, None)
}

fn obey(context: &mut Context, asked: Asked) -> Result<(), Error> {
    let command = match asked {
        Asked::Text(text) => return context.ui.answer(&text),
        Asked::Command(command) => command,
    };
    if command.version {
        return context.ui.answer(concat!("knhk ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    match command.noun {
        None => Err(Error::usage("a command is missing", "knhk")),
        Some(Noun::Serve(command)) => serve::run(context, &command),
        Some(Noun::Health(command)) => health::run(context, &command),
        Some(Noun::State(noun)) => state::run(context, noun),
        Some(Noun::Backup(noun)) => backup::run(context, noun),
        Some(Noun::Workflow(noun)) => workflow::run(context, noun),
        Some(Noun::Workitem(noun)) => workitem::run(context, noun),
        Some(Noun::Config(noun)) => config::run(context, noun),
        Some(Noun::Token(noun)) => token::run(context, noun),
        Some(Noun::Performance(noun)) => performance::run(context, noun),
        Some(Noun::Explain(command)) => explain::run(context, &command),
        Some(Noun::Man(command)) => man::run(context, &command),
        Some(Noun::Completions(command)) => completions::run(context, &command),
    }
}
