//! `knhk workflow`: specifications and the cases that run by them.

mod act;
mod archive;
mod case;
mod list;
mod register;
mod show;
mod validate;

use argh::{ArgsInfo, FromArgs};

use super::{Context, Error};

pub(super) use case::text;
pub(super) use list::{age, print as list};

/// Register specifications, start cases, see and steer them
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "workflow", help_triggers("-h", "--help", "help"))]
pub(super) struct Workflow {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Register(register::Register),
    Validate(validate::Validate),
    Show(show::Show),
    Create(case::Create),
    List(list::List),
    Get(case::Get),
    History(case::History),
    Cancel(act::Cancel),
    Suspend(act::Suspend),
    Resume(act::Resume),
    Retry(act::Retry),
    Archive(archive::Archive),
    Restore(archive::Restore),
}

pub(super) fn run(context: &mut Context, noun: Workflow) -> Result<(), Error> {
    match noun.verb {
        Verb::Register(command) => register::register(context, &command),
        Verb::Validate(command) => validate::validate(context, &command),
        Verb::Show(command) => show::show(context, &command),
        Verb::Create(command) => case::create(context, &command),
        Verb::List(command) => list::list(context, command),
        Verb::Get(command) => case::get(context, &command),
        Verb::History(command) => case::history(context, command),
        Verb::Cancel(command) => act::cancel(context, command),
        Verb::Suspend(command) => act::suspend(context, command),
        Verb::Resume(command) => act::resume(context, command),
        Verb::Retry(command) => act::retry(context, command),
        Verb::Archive(command) => archive::archive(context, &command),
        Verb::Restore(command) => archive::restore(context, &command),
    }
}
