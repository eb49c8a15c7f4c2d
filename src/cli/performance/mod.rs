//! `knhk performance`: what this machine does, how the running service fares on it, and what costs it speed.

mod analyze;
mod benchmark;
mod folder;
mod report;
mod service;

use argh::{ArgsInfo, FromArgs};

use super::{Context, Error};

/// Measure this machine, and find what slows the service
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "performance", help_triggers("-h", "--help", "help"))]
pub(super) struct Performance {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Benchmark(benchmark::Benchmark),
    Report(report::Report),
    Analyze(analyze::Analyze),
}

pub(super) fn run(context: &mut Context, noun: Performance) -> Result<(), Error> {
    match noun.verb {
        Verb::Benchmark(command) => benchmark::run(context, &command),
        Verb::Report(command) => report::run(context, &command),
        Verb::Analyze(command) => analyze::run(context, &command),
    }
}
