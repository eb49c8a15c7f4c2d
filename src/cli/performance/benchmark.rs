//! `knhk performance benchmark`: whether the hot path keeps its budget on this machine, and what its disk does.

use std::sync::Arc;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::folder::Folder;
use crate::cli::table::{self, Side};
use crate::cli::ui::Form;
use crate::cli::{Context, Error};
use crate::config::Config;
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::threads::available_cores;
use crate::engine::{self, HotCores};
use crate::perf::durable::{self, CommitFigures, EngineFigures, Rounds};
use crate::perf::kernel::{self, Figures};
use crate::perf::load::Held;
use crate::perf::machine::Machine;

/// Measure hot path, journal and engine, and judge the hot path by its budget
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "benchmark", help_triggers("-h", "--help", "help"))]
pub(super) struct Benchmark {
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
/// The budget is that of markings in bits, with caches as a busy service has them.
const JUDGED_CASES: usize = 100_000;
/// Entries of the commits that are measured.
const COMMIT_ENTRIES: [usize; 3] = [1, 64, 512];
/// Operations that the engine is given at a time.
const OPERATIONS: [usize; 3] = [1, 64, 1_024];

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// What the verdict takes.
    Quick,
    /// With a view of how it grows.
    Full,
}

impl Extent {
    fn cases(self) -> &'static [usize] {
        if self == Self::Quick { &[JUDGED_CASES] } else { &[1_000, JUDGED_CASES, 1_000_000] }
    }

    fn waves(self) -> usize {
        if self == Self::Quick { 1_000 } else { 4_000 }
    }

    /// Each part that touches the disk has a time of its own, so that a slow one does not take minutes.
    fn rounds(self) -> Rounds {
        if self == Self::Quick {
            Rounds { most: 50, us_max: 500_000 }
        } else {
            Rounds { most: 500, us_max: 2_000_000 }
        }
    }

    /// Says how long it takes at the most: the parts on the disk their time and a little more, the rest a few seconds.
    fn how_long(self) -> &'static str {
        if self == Self::Quick { "a few seconds" } else { "up to 20 s, on a quick disk less than 10 s" }
    }

    fn parts(self) -> usize {
        2 * self.cases().len() + COMMIT_ENTRIES.len() + OPERATIONS.len()
    }
}

/// One line about the hot path.
struct Hot {
    cases: usize,
    held: Held,
    figures: Figures,
}

/// What was measured.
pub(super) struct Measured {
    hot: Vec<Hot>,
    /// Otherwise why the disk was not.
    durable: Result<(Vec<CommitFigures>, Vec<EngineFigures>), String>,
    is_beside_service: bool,
    seconds: f64,
    pub(super) tick_hertz: Option<u64>,
}

pub(super) fn run(context: &mut Context, command: &Benchmark) -> Result<(), Error> {
    context.ui.set_json(command.json);
    if command.quiet {
        context.ui.be_quiet();
    }
    let config = context.config()?;
    let extent = if command.quick { Extent::Quick } else { Extent::Full };
    let is_beside_service = context.client()?.service_pid().is_ok();
    if context.ui.form() == Form::Text && !command.quiet {
        let beside =
            if is_beside_service { ", beside the running service, which it leaves alone" } else { "" };
        context.ui.note(&format!("measuring takes {}{beside}", extent.how_long()));
    }
    let measured = measure(context, &config, extent, is_beside_service)?;
    let limit = config.hot_path_max_ticks;
    if context.ui.form() == Form::Json {
        context.ui.document(&measured.document(limit))?;
    } else {
        show(context, &measured)?;
        let machine = Machine::look(&config.state_dir, available_cores().len());
        context.ui.answer(&closing(&measured, &machine, limit))?;
    }
    if measured.is_within(limit) { Ok(()) } else { Err(Error::OverBudget { limit }) }
}

/// Measures. Beside a running service the engine that is measured takes no core of its own, which would be the service's.
pub(super) fn measure(
    context: &mut Context,
    config: &Config,
    extent: Extent,
    is_beside_service: bool,
) -> Result<Measured, Error> {
    let (began_us, began_ticks) = (context.clock.monotonic_us(), engine::ticks());
    let hot = hot_path(context, extent);
    let options = config.engine();
    let hot_cores = if is_beside_service { HotCores::Unpinned } else { options.hot_cores.clone() };
    let options = engine::Options { hot_cores, ..options };
    let durable = match Folder::make(config) {
        Ok(folder) => Ok(on_disk(context, &options, &folder, extent)?),
        Err(reason) => Err(reason),
    };
    let took_us = context.clock.monotonic_us().saturating_sub(began_us).max(1);
    let ticks = engine::ticks().saturating_sub(began_ticks);
    let hertz = u128::from(ticks) * 1_000_000 / u128::from(took_us);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^52")]
    let seconds = took_us as f64 / 1e6;
    Ok(Measured { hot, durable, is_beside_service, seconds, tick_hertz: u64::try_from(hertz).ok() })
}

fn hot_path(context: &mut Context, extent: Extent) -> Vec<Hot> {
    let mut lines = Vec::new();
    for &cases in extent.cases() {
        for held in [Held::Bits, Held::Counters] {
            tell(context, extent, lines.len(), &format!("hot path, {cases} live cases in {}", name_of(held)));
            let (wave_steps, waves) = (WAVE_STEPS, extent.waves());
            let options = kernel::Options { cases, wave_steps, waves, held, way: None, seed: 1 };
            lines.push(Hot { cases, held, figures: kernel::measure(&options, engine::ticks) });
        }
    }
    lines
}

fn on_disk(
    context: &mut Context,
    options: &engine::Options,
    folder: &Folder,
    extent: Extent,
) -> Result<(Vec<CommitFigures>, Vec<EngineFigures>), Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rounds = extent.rounds();
    let before = 2 * extent.cases().len();
    let mut commits = Vec::new();
    for entries in COMMIT_ENTRIES {
        tell(context, extent, before + commits.len(), &format!("commits of {entries} entries"));
        let measure = |place: &_| durable::commits(place, entries, rounds, clock.as_ref());
        commits.push(folder.within("commit", measure)?);
    }
    let before = before + commits.len();
    let rounds = Rounds { most: rounds.most.div_ceil(4), ..rounds };
    let mut steps = Vec::new();
    for operations in OPERATIONS {
        tell(context, extent, before + steps.len(), &format!("engine, {operations} operations at a time"));
        let measure = |place: &_| durable::steps(place, operations, rounds, options.clone(), &clock);
        steps.push(folder.within("engine", measure)?);
    }
    Ok((commits, steps))
}

fn tell(context: &mut Context, extent: Extent, done: usize, what: &str) {
    let now_us = context.clock.monotonic_us();
    context.ui.progress(now_us, &format!("{} of {}: {what}", done + 1, extent.parts()));
}

fn name_of(held: Held) -> &'static str {
    match held {
        Held::Bits => "bits",
        Held::Counters => "counters",
    }
}

impl Measured {
    /// Ticks a step that 99 of 100 judged waves are below.
    fn judged_ticks(&self) -> f64 {
        let judged = self.hot.iter().find(|line| line.held == Held::Bits && line.cases == JUDGED_CASES);
        judged.map_or(f64::NAN, |line| line.figures.ticks_p99)
    }

    #[expect(clippy::cast_precision_loss, reason = "a budget is a few ticks")]
    fn is_within(&self, limit: u64) -> bool {
        self.judged_ticks() <= limit as f64
    }

    /// Returns all figures; fields are added, never changed.
    pub(super) fn document(&self, limit: u64) -> Value {
        let hot = self.hot.iter().map(|line| {
            json!({
                "live_cases": line.cases,
                "markings": name_of(line.held),
                "wave_steps": WAVE_STEPS,
                "ticks_p50": line.figures.ticks_p50,
                "ticks_p99": line.figures.ticks_p99,
                "ticks_mean": line.figures.ticks_mean,
                "way": format!("{:?}", line.figures.way).to_lowercase(),
            })
        });
        let commit = |line: &CommitFigures| json!({ "entries": line.entries, "raw_us_p50": line.raw_us, "journal_us_p50": line.journal_us });
        let engine = |line: &EngineFigures| {
            json!({
                "operations": line.operations,
                "round_us_p50": line.round_us,
                "steps_per_second_p50": line.steps_per_second,
            })
        };
        let durable = self.durable.as_ref();
        json!({
            "hot_path": hot.collect::<Vec<_>>(),
            "commits": durable.ok().map(|parts| parts.0.iter().map(commit).collect::<Vec<_>>()),
            "engine": durable.ok().map(|parts| parts.1.iter().map(engine).collect::<Vec<_>>()),
            "disk_not_measured": durable.err(),
            "beside_service": self.is_beside_service,
            "seconds": self.seconds,
            "tick_hertz": self.tick_hertz,
            "budget_ticks": limit,
            "verdict_ticks_p99": self.judged_ticks(),
            "within_budget": self.is_within(limit),
        })
    }
}

fn show(context: &mut Context, measured: &Measured) -> Result<(), Error> {
    let rows: Vec<Vec<String>> = measured
        .hot
        .iter()
        .map(|line| {
            vec![
                line.cases.to_string(),
                name_of(line.held).to_owned(),
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
    let (commits, steps) = match &measured.durable {
        Ok(durable) => durable,
        Err(reason) => {
            context.ui.note(&format!("the disk was not measured: {reason}"));
            return Ok(());
        }
    };
    let rows: Vec<Vec<String>> = commits
        .iter()
        .map(|line| {
            vec![line.entries.to_string(), line.raw_us.to_string(), line.journal_us.to_string(), ratio(line)]
        })
        .collect();
    let columns = [
        ("ENTRIES A COMMIT", Side::Right),
        ("RAW APPEND US, P50", Side::Right),
        ("JOURNAL US, P50", Side::Right),
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
        [("OPERATIONS AT A TIME", Side::Right), ("US, P50", Side::Right), ("DURABLE STEPS/S", Side::Right)];
    context.ui.answer("\n")?;
    context.ui.table(&table::render(&columns, &rows, true))
}

/// Says what all this was measured on, how long it took, and the verdict.
fn closing(measured: &Measured, machine: &Machine, limit: u64) -> String {
    let processor = machine.processor.as_deref().unwrap_or("an unknown processor");
    let file_system = machine.file_system.as_deref().unwrap_or("an unknown file system");
    let tick = measured.tick_hertz.filter(|hertz| *hertz > 0).map_or_else(String::new, |hertz| {
        #[expect(clippy::cast_precision_loss, reason = "a frequency is far below 2^52")]
        let ns = 1e9 / hertz as f64;
        format!(", a tick is {ns:.3} ns")
    });
    let verdict = if measured.is_within(limit) { "within" } else { "over" };
    format!(
        "\nmeasured in {:.1} s on {} cores of {processor}, {file_system}{tick}\n\
         {:.1} ticks a step (99 % of waves of {WAVE_STEPS}, {JUDGED_CASES} live cases), {verdict} the budget of {limit}\n",
        measured.seconds,
        machine.cores,
        measured.judged_ticks()
    )
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a commit are far below 2^52")]
fn ratio(line: &CommitFigures) -> String {
    format!("{:.2}", line.journal_us as f64 / line.raw_us.max(1) as f64)
}
