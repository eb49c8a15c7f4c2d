//! `knhk performance analyze`: where the hot path's ticks go, and what costs the service speed.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::Folder;
use super::service::{self, Running};
use crate::cli::client::{Client, Paging, encode};
use crate::cli::table::{self, Side};
use crate::cli::ui::Form;
use crate::cli::{Context, Error};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::threads::{available_cores, pause_us};
use crate::perf::durable::{self, Rounds, SyncFigures};
use crate::perf::exposition::Page;
use crate::perf::machine::Machine;
use crate::perf::pieces::{self, Piece};
use crate::perf::rules::{self, Finding, HeavyNet, Weight};
use crate::perf::spans::{Seen, Spent};
use crate::perf::watch::{HotThread, Look};

/// Find where the hot path's ticks go and what costs the service speed
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "analyze", help_triggers("-h", "--help", "help"))]
pub(super) struct Analyze {
    /// analyze the hot path; there is nothing else to analyze yet
    #[argh(switch)]
    #[expect(dead_code, reason = "the guide types it, and another analysis may come")]
    hot_path: bool,
    /// watch the service for so many seconds: 1 to 60, by default 2
    #[argh(option, default = "2")]
    seconds: u64,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

/// Longest watch.
const SECONDS_MAX: u64 = 60;
/// Specification versions whose nets are looked at, the first by id; a service with more is told so.
const SPECIFICATIONS_MAX: u64 = 500;
/// How long the disk is tried.
const SYNC_ROUNDS: Rounds = Rounds { most: 200, us_max: 1_000_000 };
/// Between two lines of progress.
const PAUSE_US: u64 = 100_000;

/// Everything that was seen.
#[derive(Debug)]
struct Facts {
    machine: Machine,
    service: Result<Service, String>,
    pieces: Vec<Piece>,
    sync: Result<SyncFigures, String>,
}

/// What was seen of the service.
#[derive(Debug, Serialize)]
struct Service {
    pid: Option<u32>,
    since: Option<String>,
    degraded: Vec<String>,
    /// Specification versions that were not looked at.
    is_cut: bool,
    nets: Vec<HeavyNet>,
    /// What was written between two looks, and all there is.
    watched: Seen,
    total: Seen,
    hot_threads: Vec<HotThread>,
    /// Microseconds that the thread which commits waited for a core, in the watch and in all.
    journal_waited_us: Option<u64>,
    journal_waited_us_total: Option<u64>,
}

pub(super) fn run(context: &mut Context, command: &Analyze) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.quiet {
        context.ui.be_quiet();
    }
    if !(1..=SECONDS_MAX).contains(&command.seconds) {
        let message = format!("--seconds is 1 to {SECONDS_MAX}");
        return Err(Error::usage(message, "knhk performance analyze"));
    }
    let config = context.config()?;
    let client = Client::new(config.clone());
    let mut machine = Machine::look(&config.state_dir, available_cores().len());
    let service = match service::ask(&client) {
        Ok(running) => {
            machine.tick_hertz = super::report::hertz(running.page.value("knhk_hot_path_tick_hertz"));
            Ok(watch(context, &client, running, command.seconds)?)
        }
        Err(reason) => Err(reason),
    };
    // Only now: the watch is to see the service, and not this.
    let pieces = pieces::measure(|what| {
        let now_us = context.clock.monotonic_us();
        context.ui.progress(now_us, &format!("this machine: {what}"));
    });
    let sync = sync(context, &config);
    let facts = Facts { machine, service, pieces, sync };
    let found = findings(&facts, &config);
    if context.ui.form() == Form::Json {
        context.ui.document(&document(&facts, &found))?;
    } else {
        show(context, &facts, &found)?;
    }
    let count = found.iter().filter(|finding| finding.weight == Weight::Finding).count();
    if count == 0 { Ok(()) } else { Err(Error::Found { count }) }
}

/// Looks at the service twice, and at what it has registered.
fn watch(context: &mut Context, client: &Client, running: Running, seconds: u64) -> Result<Service, Error> {
    let (nets, is_cut) = heavy_nets(client)?;
    let before = running.pid.map(Look::now);
    let first = service::page(client)?;
    let began_us = context.clock.monotonic_us();
    let end_us = began_us + seconds * 1_000_000;
    while context.clock.monotonic_us() < end_us {
        let now_us = context.clock.monotonic_us();
        context.ui.progress(now_us, &format!("watching the service for {seconds} s"));
        pause_us(PAUSE_US.min(end_us - now_us.min(end_us)));
    }
    let last = service::page(client)?;
    let watched_us = context.clock.monotonic_us().saturating_sub(began_us);
    let after = running.pid.map(Look::now);
    let hot_threads = match (running.pid, &before, &after) {
        (Some(pid), Some(before), Some(after)) => after.hot_threads(before, pid),
        _ => Vec::new(),
    };
    let waited = |look: &Option<Look>| look.as_ref().and_then(Look::journal_waited_us);
    let started = last.value("knhk_start_time_seconds");
    #[expect(clippy::cast_precision_loss, reason = "microseconds of today are below 2^53")]
    let (watched_s, lived_s) = (watched_us as f64 / 1e6, context.clock.now().0 as f64 / 1e6 - started);
    Ok(Service {
        pid: running.pid,
        since: super::report::since(started),
        degraded: running.degraded,
        is_cut,
        nets,
        watched: Seen::between(&first, &last, watched_s),
        total: Seen::between(&Page::default(), &last, lived_s.max(watched_s)),
        hot_threads,
        journal_waited_us: waited(&after)
            .zip(waited(&before))
            .map(|(after, before)| after.saturating_sub(before)),
        journal_waited_us_total: waited(&after),
    })
}

/// Returns the nets that do not fit one word of bits, and whether some were not looked at.
fn heavy_nets(client: &Client) -> Result<(Vec<HeavyNet>, bool), Error> {
    let mut versions = Vec::new();
    let paging = Paging { limit: Some(SPECIFICATIONS_MAX), after: None };
    let next = client.pages("/workflows", &[], &paging, |items| {
        let names = items.iter().map(|item| format!("{}@{}", text(item, "id"), item["version"]));
        versions.extend(names);
        Ok(())
    })?;
    let mut heavy = Vec::new();
    for workflow in versions {
        let document = client.get(format!("/workflows/{}", encode(&workflow)))?;
        let nets = document["nets"].as_array().into_iter().flatten();
        let nets = nets.map(|net| {
            let count = |name: &str| net[name].as_array().map_or(0, Vec::len);
            HeavyNet {
                workflow: workflow.clone(),
                net: text(net, "id"),
                // Each task has a place of its own for the token that it holds while it is busy.
                places: count("conditions") + count("tasks"),
                at_most_one_token: net["at_most_one_token"] != false,
            }
        });
        heavy.extend(nets.filter(|net| net.places > rules::WORD_PLACES_MAX || !net.at_most_one_token));
    }
    Ok((heavy, next.is_some()))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn sync(context: &mut Context, config: &Config) -> Result<SyncFigures, String> {
    let now_us = context.clock.monotonic_us();
    context.ui.progress(now_us, "this machine: single syncs");
    let folder = Folder::make(config)?;
    let measured = folder.within("sync", |place| durable::syncs(place, SYNC_ROUNDS, &context.clock));
    measured.map_err(|error| error.to_string())
}

/// Asks all rules.
fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let machine = &facts.machine;
    let mut found = Vec::new();
    let sync_us = facts.sync.as_ref().ok().map(|sync| sync.fastest_tenth_us);
    let command_us_max = config.warm_path_timeout_ms * 1_000;
    let mut settings = rules::Settings {
        degraded: Vec::new(),
        frequency_governor: machine.frequency_governor.clone(),
        huge_pages: machine.huge_pages.clone(),
        steady_ticks: machine.steady_ticks,
    };
    match &facts.service {
        Err(_) => {
            let disk =
                rules::Disk { sync_us_fastest_tenth: sync_us, command_us_max, ..rules::Disk::default() };
            found.extend(rules::disk(&disk));
        }
        Ok(service) => {
            settings.degraded.clone_from(&service.degraded);
            found.extend(service.hot_threads.iter().filter_map(|hot| rules::hot_core(hot, machine.cores)));
            let (watched, total) = (&service.watched, &service.total);
            found.extend(rules::cache(
                &watched.or(total, |seen| seen.steps >= rules::STEPS_MIN).cache(machine.memory_bytes),
            ));
            let large = pieces::ticks_of_large_waves(&facts.pieces);
            let (recent, waited_us) = if watched.commits.count >= rules::COMMITS_MIN {
                (watched, service.journal_waited_us)
            } else {
                (total, service.journal_waited_us_total)
            };
            let waited_us_mean = waited_us.and_then(|us| us.checked_div(recent.commits.count));
            found.extend(rules::disk(&recent.disk(waited_us_mean, sync_us, command_us_max)));
            let recent = watched.or(total, |seen| seen.steps >= rules::STEPS_MIN);
            found.extend(rules::nets(&recent.markings(service.nets.clone())));
            found.extend(rules::waves(&watched.waves(large), &config.listen.to_string()));
        }
    }
    found.extend(rules::settings(&settings));
    found.sort_by_key(|finding| finding.weight == Weight::Note);
    found
}

fn cache_misses(machine: &Machine) -> &'static str {
    if machine.hardware_counters {
        "not read: this command does not ask for the processor's counters; perf stat -e cache-misses -t THREAD does"
    } else {
        "not read: this machine shows no counters of the processor"
    }
}

fn document(facts: &Facts, found: &[Finding]) -> Value {
    let (service, reason) = match &facts.service {
        Ok(service) => (json!(service), Value::Null),
        Err(reason) => (Value::Null, json!(reason)),
    };
    json!({
        "machine": facts.machine,
        "service": service,
        "service_not_seen": reason,
        "this_machine": facts.pieces,
        "sync": facts.sync.as_ref().ok(),
        "sync_not_measured": facts.sync.as_ref().err(),
        "cache_misses": cache_misses(&facts.machine),
        "findings": found,
    })
}

fn show(context: &mut Context, facts: &Facts, found: &[Finding]) -> Result<(), Error> {
    match &facts.service {
        Ok(service) => show_service(context, service)?,
        Err(reason) => context.ui.note(&format!("only this machine is looked at: {reason}")),
    }
    let rows: Vec<Vec<String>> = facts
        .pieces
        .iter()
        .map(|piece| {
            vec![
                piece.what.to_owned(),
                piece.wave_steps.to_string(),
                format!("{:.1}", piece.ticks_p50),
                format!("{:.1}", piece.ticks_mean),
            ]
        })
        .collect();
    let columns = [
        ("THIS MACHINE", Side::Left),
        ("STEPS A WAVE", Side::Right),
        ("TICKS A STEP, P50", Side::Right),
        ("MEAN", Side::Right),
    ];
    context.ui.table(&table::render(&columns, &rows, true))?;
    let sync = match &facts.sync {
        Ok(sync) => format!(
            "one sync of {} bytes: {} us (p50), one in ten below {} us, 99 in 100 below {} us",
            sync.bytes, sync.p50_us, sync.fastest_tenth_us, sync.p99_us
        ),
        Err(reason) => format!("one sync: not measured: {reason}"),
    };
    context.ui.answer(&format!("\n{sync}\ncache misses: {}\n", cache_misses(&facts.machine)))?;
    for finding in found {
        let word = if finding.weight == Weight::Finding { "finding" } else { "note" };
        let heading = format!("{word} {}: {}", finding.name, finding.what);
        context.ui.answer(&format!("\n{}\n  {}\n", table::plain(&heading), finding.advice))?;
        if let Some(command) = &finding.command {
            context.ui.answer(&format!("  $ {}\n", table::plain(command)))?;
        }
    }
    if found.iter().all(|finding| finding.weight == Weight::Note) {
        let what =
            if facts.service.is_ok() { "the service speed" } else { "speed; the service was not seen" };
        context.ui.answer(&format!("\nnothing was found that costs {what}\n"))?;
    }
    Ok(())
}

fn show_service(context: &mut Context, service: &Service) -> Result<(), Error> {
    let is_busy = service.watched.steps >= rules::STEPS_MIN;
    let (seen, when) = if is_busy {
        (&service.watched, format!("in the last {:.1} s", service.watched.seconds))
    } else {
        (&service.total, format!("since {}", service.since.as_deref().unwrap_or("its start")))
    };
    let rows: Vec<Vec<String>> =
        [("wave of", &seen.by_wave), ("markings", &seen.by_markings), ("join", &seen.by_join)]
            .into_iter()
            .flat_map(|(by, spent)| {
                spent.iter().filter(|spent| spent.steps > 0).map(move |spent| (by, spent))
            })
            .map(|(by, spent): (&str, &Spent)| {
                let ticks = spent.ticks_a_step().map_or_else(String::new, |ticks| format!("{ticks:.1}"));
                vec![format!("{by} {}", spent.kind), spent.steps.to_string(), ticks]
            })
            .collect();
    let columns = [("THE SERVICE", Side::Left), ("STEPS", Side::Right), ("TICKS A STEP", Side::Right)];
    context.ui.answer(&format!("{} steps {when}\n", seen.steps))?;
    if !rows.is_empty() {
        context.ui.table(&table::render(&columns, &rows, true))?;
    }
    for hot in &service.hot_threads {
        let core = hot.core.map_or_else(|| "no core of its own".to_owned(), |core| format!("core {core}"));
        let line = format!(
            "{} on {core}: ran {:.0} ms, waited {:.0} ms for it; others took {:.0} %\n",
            hot.thread,
            hot.ran_ms,
            hot.waited_ms,
            hot.others_share * 100.0
        );
        context.ui.answer(&line)?;
    }
    if service.pid.is_none() || service.hot_threads.is_empty() {
        context.ui.note("the service's threads cannot be seen by this user or from here; who shares their cores is not told");
    }
    if service.is_cut {
        context
            .ui
            .note(&format!("only the first {SPECIFICATIONS_MAX} specification versions were looked at"));
    }
    context.ui.answer("\n")
}
