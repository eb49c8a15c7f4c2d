//! `knhk performance`: what this machine does, and whether the hot path keeps its budget.

use std::path::PathBuf;
use std::sync::Arc;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::table::{self, Side};
use super::ui::Form;
use super::{Context, Error};
use crate::config::Config;
use crate::engine::clock::{Clock, SystemClock};
use crate::perf::durable::{self, CommitFigures, EngineFigures};
use crate::perf::kernel::{self, Figures};
use crate::perf::load::Held;

/// Measure what this machine does
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "performance", help_triggers("-h", "--help", "help"))]
pub(super) struct Performance {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Benchmark(Benchmark),
}

/// Measure hot path, journal and engine, and judge the hot path by its budget
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "benchmark", help_triggers("-h", "--help", "help"))]
struct Benchmark {
    /// measure less, in a few seconds
    #[argh(switch)]
    quick: bool,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// show no progress
    #[argh(switch)]
    quiet: bool,
}

/// Waves of at least so many steps are what the budget is for.
const WAVE_STEPS: usize = 256;

/// One line about the hot path.
struct Hot {
    cases: usize,
    held: Held,
    figures: Figures,
}

pub(super) fn run(context: &mut Context, noun: Performance) -> Result<(), Error> {
    match noun.verb {
        Verb::Benchmark(command) => benchmark(context, &command),
    }
}

fn benchmark(context: &mut Context, command: &Benchmark) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.quiet {
        context.ui.be_quiet();
    }
    let config = context.config()?;
    let hot = hot_path(context, command.quick);
    let folder = Folder::new(&config);
    let (commits, steps) = durable(context, &config, &folder, command.quick)?;
    drop(folder);
    // The budget is that of waves which amortise the clock, in bits, with caches as a busy service has them.
    let judged = hot.iter().find(|line| line.held == Held::Bits && line.cases == 100_000);
    let ticks_p99 = judged.map_or(f64::NAN, |line| line.figures.ticks_p99);
    #[expect(clippy::cast_precision_loss, reason = "a budget is a few ticks")]
    let is_within = ticks_p99 <= config.hot_path_max_ticks as f64;
    if context.ui.form() == Form::Json {
        context.ui.document(&document(&hot, &commits, &steps, &config, ticks_p99, is_within))?;
    } else {
        show(context, &hot, &commits, &steps)?;
        let verdict = if is_within { "within" } else { "over" };
        context.ui.answer(&format!(
            "\n{ticks_p99:.1} ticks a step (99 % of waves of {WAVE_STEPS}, 100000 live cases), {verdict} the budget of {}\n",
            config.hot_path_max_ticks
        ))?;
    }
    if is_within { Ok(()) } else { Err(Error::OverBudget { limit: config.hot_path_max_ticks }) }
}

fn hot_path(context: &mut Context, is_quick: bool) -> Vec<Hot> {
    let sizes: &[usize] = if is_quick { &[100_000] } else { &[1_000, 100_000, 1_000_000] };
    let mut lines = Vec::new();
    for &cases in sizes {
        for held in [Held::Bits, Held::Counters] {
            let now_us = context.clock.monotonic_us();
            context.ui.progress(now_us, &format!("hot path, {cases} live cases"));
            let options = kernel::Options {
                cases,
                wave_steps: WAVE_STEPS,
                waves: if is_quick { 1_000 } else { 4_000 },
                held,
                way: None,
                seed: 1,
            };
            lines.push(Hot { cases, held, figures: kernel::measure(&options, crate::engine::ticks) });
        }
    }
    lines
}

/// A folder of this run, beside the working environment, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(config: &Config) -> Self {
        Self(config.cache_dir.join(format!("benchmark-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the cache folder, where anything may be deleted.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

type Durable = (Vec<CommitFigures>, Vec<EngineFigures>);

fn durable(
    context: &mut Context,
    config: &Config,
    folder: &Folder,
    is_quick: bool,
) -> Result<Durable, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rounds = if is_quick { 50 } else { 500 };
    let mut commits = Vec::new();
    for entries in [1, 64, 512] {
        context.ui.progress(context.clock.monotonic_us(), &format!("commits of {entries}"));
        let place = folder.0.join(format!("commit-{entries}"));
        commits.push(durable::commits(&place, entries, rounds, clock.as_ref())?);
    }
    let mut steps = Vec::new();
    for operations in [1, 64, 1_024] {
        context
            .ui
            .progress(context.clock.monotonic_us(), &format!("engine, {operations} operations at a time"));
        let place = folder.0.join(format!("engine-{operations}"));
        steps.push(durable::steps(&place, operations, rounds.div_ceil(4), config.engine(), &clock)?);
    }
    Ok((commits, steps))
}

fn held(held: Held) -> &'static str {
    match held {
        Held::Bits => "bits",
        Held::Counters => "counters",
    }
}

fn show(
    context: &mut Context,
    hot: &[Hot],
    commits: &[CommitFigures],
    steps: &[EngineFigures],
) -> Result<(), Error> {
    let rows: Vec<Vec<String>> = hot
        .iter()
        .map(|line| {
            vec![
                line.cases.to_string(),
                held(line.held).to_owned(),
                format!("{:.1}", line.figures.ticks_p50),
                format!("{:.1}", line.figures.ticks_p99),
            ]
        })
        .collect();
    let columns = [
        ("LIVE CASES", Side::Right),
        ("MARKINGS", Side::Left),
        ("TICKS A STEP, P50", Side::Right),
        ("P99", Side::Right),
    ];
    context.ui.table(&table::render(&columns, &rows, true))?;
    let rows: Vec<Vec<String>> = commits
        .iter()
        .map(|line| {
            vec![line.entries.to_string(), line.raw_us.to_string(), line.journal_us.to_string(), ratio(line)]
        })
        .collect();
    let columns = [
        ("ENTRIES A COMMIT", Side::Right),
        ("RAW APPEND US", Side::Right),
        ("JOURNAL US", Side::Right),
        ("RATIO", Side::Right),
    ];
    context.ui.answer("\n")?;
    context.ui.table(&table::render(&columns, &rows, true))?;
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|line| {
            vec![line.operations.to_string(), line.round_us.to_string(), line.steps_per_second.to_string()]
        })
        .collect();
    let columns =
        [("OPERATIONS AT A TIME", Side::Right), ("MEDIAN US", Side::Right), ("DURABLE STEPS/S", Side::Right)];
    context.ui.answer("\n")?;
    context.ui.table(&table::render(&columns, &rows, true))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a commit are far below 2^52")]
fn ratio(line: &CommitFigures) -> String {
    format!("{:.2}", line.journal_us as f64 / line.raw_us.max(1) as f64)
}

fn document(
    hot: &[Hot],
    commits: &[CommitFigures],
    steps: &[EngineFigures],
    config: &Config,
    ticks_p99: f64,
    is_within: bool,
) -> Value {
    let hot: Vec<Value> = hot
        .iter()
        .map(|line| {
            json!({
                "live_cases": line.cases,
                "markings": held(line.held),
                "wave_steps": WAVE_STEPS,
                "ticks_p50": line.figures.ticks_p50,
                "ticks_p99": line.figures.ticks_p99,
                "ticks_mean": line.figures.ticks_mean,
                "way": format!("{:?}", line.figures.way).to_lowercase(),
            })
        })
        .collect();
    let commits: Vec<Value> = commits
        .iter()
        .map(|line| json!({ "entries": line.entries, "raw_us_p50": line.raw_us, "journal_us_p50": line.journal_us }))
        .collect();
    let steps: Vec<Value> = steps
        .iter()
        .map(|line| {
            json!({
                "operations": line.operations,
                "round_us_p50": line.round_us,
                "steps_per_second_p50": line.steps_per_second,
            })
        })
        .collect();
    json!({
        "hot_path": hot,
        "commits": commits,
        "engine": steps,
        "budget_ticks": config.hot_path_max_ticks,
        "verdict_ticks_p99": ticks_p99,
        "within_budget": is_within,
    })
}
