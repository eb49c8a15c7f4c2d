//! End to end: the real service over its real interface, against what the machine allows in the same run.
//!
//! `cargo bench --bench end_to_end -- p2 p3 p4` measures these; `scripts/bench` has the whole of it. Start at
//! [`run`]; `speed` and its like measure, `goals` judges, `table` and `plot` show. Nothing here is part of the service.

#![expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]

mod ceiling;
mod disk;
mod drive;
mod fair;
mod figures;
mod goals;
mod growth;
mod http;
mod keeping;
mod kernel;
mod machine;
mod place;
mod plot;
mod setup;
mod soak;
mod speed;
mod table;
mod work;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use serde_json::{Value, json};

use machine::Processor;
pub(crate) use setup::{Mode, Setup};
use world::World;

/// Most of the processors that others may use for floors to be judged, in percent.
const OTHERS_PERCENT_MAX: f64 = 15.0;
/// Exit status for a machine that is busy with other things.
const BUSY: u8 = 75;

/// Minutes of a long run when none are given.
const SOAK_MINUTES: f64 = 20.0;

/// What a benchmark comes to; whatever goes wrong ends it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Measure the real service end to end
#[derive(FromArgs)]
struct Arguments {
    /// what to measure: p1 p2 p3 p4 p6 p7 p8 p9 p10 p11 p12, or all; or: soak [MINUTES]
    #[argh(positional)]
    what: Vec<String>,
    /// measure little, in less than two minutes
    #[argh(switch)]
    quick: bool,
    /// measure up to 1 M live and 10 M closed cases
    #[argh(switch)]
    full: bool,
    /// rounds that count
    #[argh(option)]
    rounds: Option<usize>,
    /// seconds of one turn of a round
    #[argh(option)]
    seconds: Option<f64>,
    /// live cases
    #[argh(option)]
    live: Option<usize>,
    /// connections of p2
    #[argh(option)]
    connections: Option<usize>,
    /// the program under test
    #[argh(option)]
    binary: Option<PathBuf>,
    /// the same as a static and stripped program, for p11
    #[argh(option)]
    static_binary: Option<PathBuf>,
    /// how the run was started, for the file
    #[argh(option)]
    command: Option<String>,
    /// write what was measured to this file
    #[argh(option)]
    json: Option<PathBuf>,
    /// folder for the state of the services, on a real disk
    #[argh(option)]
    folder: Option<PathBuf>,
    /// given by cargo bench; without it, and without a wish, hardly anything is measured, to see that it works
    #[argh(switch)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut err = std::io::stderr();
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Without stderr there is nobody to tell.
            drop(writeln!(err, "error: {error}"));
            ExitCode::from(1)
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let arguments: Arguments = argh::from_env();
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    if arguments.what.first().is_some_and(|what| what == "smallest-server") {
        ceiling::serve(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let setup = setup(&arguments, folder);
    if arguments.what.first().is_some_and(|what| what == "soak") {
        return long(&setup, &arguments);
    }
    let document = measure(&setup, &arguments)?;
    let mut out = std::io::stdout();
    write!(out, "{}", table::text(&document))?;
    if let Some(path) = &arguments.json {
        write_with(path, &document, &plot::all(&document))?;
    }
    judge(&setup, &document)
}

/// Runs for minutes and fails when something grows or is slow without a word.
fn long(setup: &Setup, arguments: &Arguments) -> Outcome<ExitCode> {
    let minutes = arguments.what.get(1).map_or(Ok(SOAK_MINUTES), |text| text.parse::<f64>())?;
    let document = soak::run(setup, Duration::from_secs_f64(minutes * 60.0))?;
    if let Some(path) = &arguments.json {
        write_with(path, &document, &plot::soak(&document))?;
    }
    let wrong = document["verdict"].as_array().map_or(&[][..], Vec::as_slice);
    let mut out = std::io::stdout();
    for line in wrong {
        writeln!(out, "{}", line.as_str().unwrap_or_default())?;
    }
    if wrong.is_empty() {
        writeln!(out, "{minutes} minutes: memory and disk are flat, and nothing was slow without a word")?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("{} findings in {minutes} minutes", wrong.len()).into())
}

/// Writes a document, and the pictures beside it.
fn write_with(path: &Path, document: &Value, pictures: &[(&str, String)]) -> Outcome<()> {
    std::fs::write(path, serde_json::to_string_pretty(document)? + "\n")?;
    for (name, picture) in pictures {
        std::fs::write(path.with_file_name(name), picture)?;
    }
    Ok(())
}

/// Fails when a figure is below its floor; on a machine that others use, or in a quick run, figures say too little for
/// that.
fn judge(setup: &Setup, document: &Value) -> Outcome<ExitCode> {
    let failed = goals::below_floor(document["rows"].as_array().map_or(&[], Vec::as_slice));
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let failed = format!("below the floor: {}", failed.join("; "));
    let mut err = std::io::stderr();
    if setup.is_quick() {
        writeln!(err, "warning: {failed}")?;
        writeln!(err, "hint: a quick run shows that all can be measured; one without --quick judges")?;
        return Ok(ExitCode::SUCCESS);
    }
    let others = document["run"]["others_percent"].as_f64().unwrap_or_default();
    if others <= OTHERS_PERCENT_MAX {
        return Err(failed.into());
    }
    writeln!(err, "warning: {failed}")?;
    writeln!(err, "hint: others used {others:.0} % of the processors: measure again when they do not")?;
    Ok(ExitCode::from(BUSY))
}

fn setup(arguments: &Arguments, folder: PathBuf) -> Setup {
    let mode = match (arguments.quick, arguments.full) {
        (true, _) => Mode::Quick,
        (_, true) => Mode::Full,
        // As with criterion's: without cargo bench and without a wish it is a test.
        _ if !arguments.bench && arguments.what.is_empty() => Mode::Smoke,
        _ => Mode::Ordinary,
    };
    let (rounds, seconds) = match mode {
        Mode::Smoke => (1, 0.02),
        Mode::Quick => (5, 0.3),
        _ => (5, 2.0),
    };
    Setup {
        binary: arguments.binary.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_knhk"))),
        static_binary: arguments.static_binary.clone(),
        folder,
        command: arguments.command.clone().unwrap_or_else(|| "cargo bench --bench end_to_end".to_owned()),
        mode,
        rounds: arguments.rounds.unwrap_or(rounds).max(1),
        slice: Duration::from_secs_f64(arguments.seconds.unwrap_or(seconds)),
        live: arguments.live.unwrap_or(10_000),
        connections: arguments.connections.unwrap_or(64),
    }
}

/// Measures what was asked for and returns it as it goes to the file.
fn measure(setup: &Setup, arguments: &Arguments) -> Outcome<Value> {
    let what = &arguments.what;
    let wants = |names: &[&str]| match setup.mode {
        Mode::Smoke => names.contains(&"p2"),
        _ => what.is_empty() || what.iter().any(|what| what == "all" || names.contains(&what.as_str())),
    };
    let before = Processor::now();
    let mut rows = Vec::new();
    if wants(&["p1"]) {
        rows.extend(kernel::p1(setup));
    }
    if wants(&["p2", "p3", "p4"]) {
        let mut world = World::new(&setup.folder, &setup.binary, &setup.settings(), setup.live)?;
        if wants(&["p2"]) {
            rows.push(speed::p2(setup, &mut world)?);
        }
        if wants(&["p3"]) || setup.mode == Mode::Smoke {
            rows.push(speed::p3(setup, &mut world)?);
        }
        if wants(&["p4"]) || setup.mode == Mode::Smoke {
            rows.extend(speed::p4(setup, &mut world)?);
        }
    }
    let (mut live, mut closed) = (Vec::new(), Vec::new());
    if wants(&["p6", "p10"]) {
        let (points, more) = growth::closed(setup)?;
        closed = points;
        rows.extend(more);
    }
    if wants(&["p7", "p9"]) {
        let (points, more) = growth::live(setup)?;
        live = points;
        rows.extend(more);
    }
    if wants(&["p8"]) {
        rows.push(growth::written(setup)?);
    }
    if wants(&["p11"]) {
        rows.push(growth::size(setup.static_binary.as_deref())?);
    }
    if wants(&["p12"]) {
        rows.extend(fair::p12(setup)?);
    }
    rows.sort_by_key(goals::Row::place);
    if setup.mode == Mode::Smoke {
        rows = rows.into_iter().map(|row| row.unjudged("only to see that it works")).collect();
    }
    Ok(json!({
        "machine": machine::about(&setup.folder),
        "run": {
            "command": setup.command,
            "mode": setup.mode.name(),
            "rounds": setup.rounds,
            "slice_s": setup.slice.as_secs_f64(),
            "checkpoint_seconds": setup.checkpoint_seconds(),
            "others_percent": figures::short(Processor::now().others_percent_since(before)),
        },
        "rows": rows.iter().map(goals::Row::json).collect::<Vec<_>>(),
        "live": live,
        "closed": closed,
    }))
}
