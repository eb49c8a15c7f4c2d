//! `knhk performance report`: machine, build, the service's own figures and a short benchmark, as JSON and as a page.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::benchmark::{self, Extent};
use super::service;
use crate::cli::ui::Form;
use crate::cli::{Context, Error};
use crate::engine::clock::Clock;
use crate::engine::threads::available_cores;
use crate::id::Time;
use crate::perf::machine::Machine;
use crate::perf::{page, report};

/// Write what there is to know of machine and service into a JSON file, and into an HTML page beside it
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "report", help_triggers("-h", "--help", "help"))]
pub(super) struct Report {
    /// the JSON file; the page has its name with .html; what is there is replaced
    #[argh(option)]
    output: PathBuf,
    /// leave out the short benchmark
    #[argh(switch)]
    no_benchmark: bool,
    /// print the names of the files as JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

pub(super) fn run(context: &mut Context, command: &Report) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.quiet {
        context.ui.be_quiet();
    }
    let html = command.output.with_extension("html");
    if html == command.output || command.output.file_name().is_none() {
        let message = "--output names the JSON file; the page goes beside it under its name with .html";
        return Err(Error::usage(message, "knhk performance report"));
    }
    // Before anything takes time: whether it can be written.
    Files::check(&command.output)?;
    let document = document(context, command)?;
    let json =
        format!("{}\n", serde_json::to_string_pretty(&document).expect("invariant: a document has a text"));
    Files::replace(&command.output, json.as_bytes())?;
    Files::replace(&html, page::html(&document).as_bytes())?;
    let (output, html) = (command.output.display().to_string(), html.display().to_string());
    if context.ui.form() == Form::Json {
        return context
            .ui
            .document(&json!({ "files": [output, html], "service": document["service"]["running"] }));
    }
    if document["service"]["running"] != true {
        let reason = document["service"]["reason"].as_str().unwrap_or_default();
        context.ui.note(&format!("the report has no figures of the service: {reason}"));
    }
    context.ui.answer(&format!("wrote {output}\nwrote {html}\n"))
}

fn document(context: &mut Context, command: &Report) -> Result<Value, Error> {
    let config = context.config()?;
    let mut machine = Machine::look(&config.state_dir, available_cores().len());
    let asked = service::ask(&context.client()?);
    let service = match &asked {
        Ok(running) => {
            machine.tick_hertz = hertz(running.page.value("knhk_hot_path_tick_hertz"));
            json!({
                "running": true,
                "reason": null,
                "pid": running.pid,
                "version": running.page.label("knhk_build_info", "version"),
                "since": since(running.page.value("knhk_start_time_seconds")),
                "degraded": running.degraded,
                "distributions": report::distributions(&running.page),
                "figures": report::figures(&running.page),
            })
        }
        Err(reason) => json!({ "running": false, "reason": reason }),
    };
    let benchmark = if command.no_benchmark {
        Value::Null
    } else {
        let measured = benchmark::measure(context, &config, Extent::Quick, asked.is_ok())?;
        machine.tick_hertz = machine.tick_hertz.or(measured.tick_hertz);
        measured.document(config.hot_path_max_ticks)
    };
    Ok(json!({
        "schema": report::SCHEMA,
        "made_at": context.clock.now().rfc3339(),
        "machine": machine,
        "build": report::build(),
        "service": service,
        "benchmark": benchmark,
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a frequency is whole and not negative"
)]
pub(super) fn hertz(value: f64) -> Option<u64> {
    (value > 0.0).then_some(value as u64)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of today are whole and few"
)]
pub(super) fn since(seconds: f64) -> Option<String> {
    (seconds > 0.0).then(|| Time(seconds as u64 * 1_000_000).rfc3339())
}

/// Files that are there as a whole or not at all.
struct Files;

impl Files {
    fn check(path: &Path) -> Result<(), Error> {
        let temporary = temporary(path);
        let failed = |source| Error::Save { path: path.to_owned(), source };
        fs::File::create(&temporary).map_err(failed)?;
        fs::remove_file(&temporary).map_err(failed)
    }

    fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let temporary = temporary(path);
        let written = fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| {
            // Nothing is lost if it stays.
            drop(fs::remove_file(&temporary));
            Error::Save { path: path.to_owned(), source }
        })
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}
