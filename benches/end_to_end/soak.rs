//! Full load for long, with small segments and short grace, so that checkpoints, history, snapshots and retention are at
//! work all the time: memory and disk must be flat in the second half, and slow answers explained.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::drive::{Driver, Pace, Run};
use super::figures::short;
use super::work::{self, Stepper};
use super::world::World;
use super::{Outcome, Setup, machine};

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(5);
/// Live cases that take single steps, and as many that take steps in batches.
const CASES: usize = 20_000;
/// Connections of single steps.
const CONNECTIONS: usize = 16;
/// Steps of a batch.
const LINES: usize = 256;
/// Cases that begin and end between two samples.
const CLOSED: usize = 2_000;
/// By how much memory and each kind of file may grow from the third quarter to the last, as a share.
const GROWTH_MAX: f64 = 0.10;
/// What may be added to that, in bytes: a segment or two more or less at the moment of a sample.
const GROWTH_BYTES: f64 = 16e6;
/// Bytes of history that an entry may add: what it has in the journal, uncompressed.
const HISTORY_RATIO_MAX: f64 = 1.0;
/// Longest answer that needs no explanation.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Folder of history: it holds every event of every stored case, so it grows with these.
const HISTORY: &str = "state/history";
/// Least samples that say something about a second half.
const SAMPLES_LEAST: usize = 8;

/// Runs for so long and returns all samples with the verdict.
pub(crate) fn run(setup: &Setup, time: Duration) -> Outcome<Value> {
    let settings = [
        ("segment_bytes", (4 << 20).to_string()),
        ("frame_bytes_max", (1 << 20).to_string()),
        ("body_bytes_max", (1 << 20).to_string()),
        ("checkpoint_bytes", (16 << 20).to_string()),
        ("checkpoint_seconds", "5".to_owned()),
        ("backup_grace_hours", "0".to_owned()),
    ];
    let mut world = World::new(&setup.folder, &setup.binary, &settings, 2 * CASES)?;
    let batched = world.cases.split_off(CASES);
    let mut load = Load {
        single: Stepper::deal(&world.cases, CONNECTIONS, 0, 1),
        batched: Stepper::deal(&batched, 1, LINES, 2),
        single_driver: Driver::new(world.service.address, CONNECTIONS)?,
        batch_driver: Driver::new(world.service.address, 1)?,
    };
    let before = machine::Processor::now();
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut log_len = world.place.log().len();
    while began.elapsed() < time {
        let (single, batch) = load.run()?;
        work::create(&mut world.client()?, "short", CLOSED)?;
        let log = world.place.log();
        let said: Vec<&str> = log.get(log_len..).unwrap_or_default().lines().collect();
        let figures = world.service.metrics()?;
        samples.push(json!({
            "at_s": short(began.elapsed().as_secs_f64()),
            "steps_per_second": short(single.rate()),
            "batch_steps_per_second": short(batch.rate()),
            "p50_us": short(single.latency_us(50.0)),
            "p99_us": short(single.latency_us(99.0)),
            "max_us": short(single.latency_us(100.0).max(batch.latency_us(100.0))),
            "anonymous_bytes": world.service.anonymous_bytes()?,
            "bytes": world.place.disk_bytes(),
            "entry_bytes": figures.of("knhk_journal_entry_bytes_total"),
            "log": said,
        }));
        log_len = log.len();
    }
    world.service.stop()?;
    let verdict = verdict(&samples);
    Ok(json!({
        "machine": machine::about(&setup.folder),
        "run": {
            "command": setup.command,
            "minutes": short(time.as_secs_f64() / 60.0),
            "others_percent": short(machine::Processor::now().others_percent_since(before)),
        },
        "verdict": verdict,
        "samples": samples,
    }))
}

/// What keeps the service busy between two samples.
struct Load {
    single: Vec<Stepper>,
    batched: Vec<Stepper>,
    single_driver: Driver,
    batch_driver: Driver,
}

impl Load {
    fn run(&mut self) -> Outcome<(Run, Run)> {
        let (single, batched) = (&mut self.single, &mut self.batched);
        let (single_driver, batch_driver) = (&mut self.single_driver, &mut self.batch_driver);
        std::thread::scope(|scope| {
            let work = || batch_driver.run(batched, SAMPLE, Pace::Closed).map_err(|error| error.to_string());
            let batch = scope.spawn(work);
            let single = single_driver.run(single, SAMPLE, Pace::Closed)?;
            let batch = batch.join().map_err(|_| "the thread of the batches ended by a fault")??;
            Ok((single, batch))
        })
    }
}

/// Returns what is wrong, one sentence each.
fn verdict(samples: &[Value]) -> Vec<String> {
    if samples.len() < SAMPLES_LEAST {
        return vec![format!("{} samples say nothing; {SAMPLES_LEAST} are the least", samples.len())];
    }
    let mut wrong = Vec::new();
    let mut check = |what: &str, values: Vec<f64>| {
        let (third, last) = quarters(&values);
        if last > third * (1.0 + GROWTH_MAX) + GROWTH_BYTES {
            wrong.push(format!(
                "{what} grows in the second half: {third:.0} bytes in its first, {last:.0} in its last"
            ));
        }
    };
    check("memory", samples.iter().map(|sample| number(&sample["anonymous_bytes"])).collect());
    for kind in kinds(samples).iter().filter(|kind| *kind != HISTORY) {
        check(kind, samples.iter().map(|sample| number(&sample["bytes"][kind])).collect());
    }
    let of = |place: usize, value: &dyn Fn(&Value) -> f64| samples.get(place).map_or(0.0, value);
    let grown = |value: &dyn Fn(&Value) -> f64| of(samples.len() - 1, value) - of(samples.len() / 2, value);
    let history = grown(&|sample| number(&sample["bytes"][HISTORY]));
    let entries = grown(&|sample| number(&sample["entry_bytes"]));
    if history > entries * HISTORY_RATIO_MAX + GROWTH_BYTES {
        wrong.push(format!("history grew by {history:.0} bytes for {entries:.0} bytes of entries"));
    }
    for (at, sample) in samples.iter().enumerate() {
        let slowest = number(&sample["max_us"]);
        let said = |sample: &Value| sample["log"].as_array().is_some_and(|lines| !lines.is_empty());
        // What explains it may be said just before or after the sample ends.
        let near = &samples[at.saturating_sub(1)..(at + 2).min(samples.len())];
        if slowest > ANSWER_MAX.as_secs_f64() * 1e6 && !near.iter().any(said) {
            wrong.push(format!(
                "an answer took {:.2} s at {} s, and the log says nothing",
                slowest / 1e6,
                sample["at_s"]
            ));
        }
    }
    wrong
}

/// Returns the means of the third and the last quarter.
fn quarters(values: &[f64]) -> (f64, f64) {
    let quarter = values.len() / 4;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    (
        mean(&values[values.len() - 2 * quarter..values.len() - quarter]),
        mean(&values[values.len() - quarter..]),
    )
}

/// Returns the folders that any sample names.
fn kinds(samples: &[Value]) -> Vec<String> {
    let all = samples
        .iter()
        .filter_map(|sample| sample["bytes"].as_object())
        .flat_map(|bytes| bytes.keys().cloned());
    all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}
