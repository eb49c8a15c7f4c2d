//! P6 to P10: how throughput, memory, state, start and verification grow with live and with closed cases.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use knhk::engine::turn::{REST_US, ROUND_US};
use serde_json::{Value, json};

use super::disk::LoopDisk;
use super::drive::Pace;
use super::figures::{Spread, percentile, short};
use super::goals::Row;
use super::world::World;
use super::{Outcome, Setup, keeping, speed};

/// Connections and steps a request where throughput is compared with itself.
const CONNECTIONS: usize = 4;
/// Steps of one of these requests, and the goal that they are measured as.
const LINES: usize = 1024;
const BATCH_GOAL: &str = "P4 1024";
/// Lines of the batches of P8, each of which becomes one frame.
const WRITE_LINES: usize = 64;
/// Rounds of starts and verifications, which take long.
pub(crate) const SLOW_ROUNDS: usize = 3;
/// The default of `checkpoint_seconds`, which P8 is measured with.
const CHECKPOINT_SECONDS: u64 = 60;
/// With fewer checkpoints P8 says too little.
const CHECKPOINTS_MIN: f64 = 3.0;
/// Live cases beside the closed ones.
const BESIDE: usize = 10_000;
/// What has happened by the time that memory is looked at: cases are at rest, and what was freed has gone back.
const IDLE: Duration = Duration::from_micros(REST_US + ROUND_US + 3_000_000);
/// Time for which cases are changed before a kill, so that there is something to fold.
const CHANGING: Duration = Duration::from_millis(500);

/// Lets live cases grow from size to size and measures at each.
pub(crate) fn live(setup: &Setup) -> Outcome<(Vec<Value>, Vec<Row>)> {
    let mut points = Vec::new();
    let mut rows = Vec::new();
    let mut world = World::new(&setup.folder, &setup.binary, &setup.settings(), 0)?;
    world.settle(setup)?;
    let empty = world.service.anonymous_bytes()?;
    let before: u64 = world.place.disk_bytes().values().sum();
    for &size in setup.live_sizes() {
        world.add_live(size - world.cases.len())?;
        world.settle(setup)?;
        let state: u64 = world.place.disk_bytes().values().sum();
        let memory = memory(&mut world, setup, empty)?;
        let p2 = speed::p2(setup, &mut world)?.json();
        let p4 = speed::p4_of(setup, &mut world, LINES, BATCH_GOAL)?.json();
        let (starts, cold) = starts(&mut world, setup)?;
        points.push(json!({
            "live_cases": size,
            "steps_per_second": p2["detail"]["steps_per_second"],
            "batch_steps_per_second": p4["detail"]["steps_per_second"],
            "ratio_to_smallest_server": p2["measured"],
            "ratio_to_appends": p4["measured"],
            "anonymous_bytes_per_case": short(memory),
            "state_bytes_per_case": short((state - before.min(state)) as f64 / size as f64),
            "start_s": Spread::of(&starts).json(),
            "start_cold_s": short(cold),
        }));
        if Some(&size) == setup.live_sizes().last() {
            let said = format!("{size} live cases");
            let row = Row::new("P7", &[memory], said.clone(), json!({ "live_cases": size }));
            rows.push(if setup.is_quick() {
                row.unjudged("so few that what a service has anyway shows")
            } else {
                row
            });
            let said = format!("{said}; {cold:.2} s with the files out of the cache");
            rows.push(Row::new("P9", &starts, said, json!({ "live_cases": size, "cold_s": short(cold) })));
        }
    }
    Ok((points, rows))
}

/// Returns the anonymous memory a live case, of a service that has been idle for a while.
fn memory(world: &mut World, setup: &Setup, empty: u64) -> Outcome<f64> {
    world.settle(setup)?;
    std::thread::sleep(IDLE);
    let full = world.service.anonymous_bytes()?;
    Ok(full.saturating_sub(empty) as f64 / world.cases.len() as f64)
}

/// Returns how long starts after kill -9 took, and the last with the files not in the system's cache.
fn starts(world: &mut World, setup: &Setup) -> Outcome<(Vec<f64>, f64)> {
    let mut warm = Vec::new();
    let mut cold = f64::NAN;
    let rounds = SLOW_ROUNDS.min(setup.rounds);
    for round in 0..=rounds {
        world.drive(CONNECTIONS, LINES, CHANGING, Pace::Closed, 9)?;
        world.service.kill()?;
        if round == rounds {
            forget(world)?;
        }
        let (service, took) = world.place.start()?;
        world.service = service;
        if round == rounds {
            cold = took.as_secs_f64();
        } else {
            warm.push(took.as_secs_f64());
        }
        // Two unclean ends soon after each other would make the next start another one: from the journal alone.
        world.service.stop()?;
        world.service = world.place.start()?.0;
    }
    Ok((warm, cold))
}

/// Asks the system to forget what it holds of the files.
pub(crate) fn forget(world: &World) -> Outcome<()> {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    for path in world.place.files() {
        let file = File::open(path)?;
        file.sync_all()?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

/// P8: what reaches the device for what was recorded, checkpoints and the file system's own writes included.
pub(crate) fn written(setup: &Setup) -> Outcome<Row> {
    let disk = match LoopDisk::new(&setup.folder, setup.disk_bytes()) {
        Ok(disk) => disk,
        Err(error) => {
            return Ok(Row::new("P8", &[], format!("a disk of its own takes root: {error}"), json!({})));
        }
    };
    let live = setup.live_sizes().last().copied().unwrap_or(setup.live);
    // What the disk is made to write hangs on how often there is a checkpoint.
    let checkpoint_seconds = if setup.is_quick() { setup.checkpoint_seconds() } else { CHECKPOINT_SECONDS };
    let settings = [("checkpoint_seconds", checkpoint_seconds.to_string())];
    let mut world = World::new(&disk.path(), &setup.binary, &settings, live)?;
    world.settle_every(checkpoint_seconds)?;
    let (bytes, before) = (disk.written_bytes()?, world.service.metrics()?);
    let began = Instant::now();
    let (mut steps, mut round) = (0, 0);
    while steps < setup.written_steps() && began.elapsed() < setup.written_time() {
        steps += world.drive(1, WRITE_LINES, setup.slice, Pace::Closed, round)?.steps;
        round += 1;
    }
    world.settle_every(checkpoint_seconds)?;
    let (bytes, after) = (disk.written_bytes()? - bytes, world.service.metrics()?);
    let grown = |name: &str| after.of(name) - before.of(name);
    let entries = grown("knhk_journal_entry_bytes_total");
    let checkpoints = grown("knhk_checkpoint_seconds_count");
    let frames = grown("knhk_journal_batch_events_count");
    let said = format!(
        "{live} live cases, {steps} steps, {:.0} a frame, {checkpoints} checkpoints, {:.0} B a record",
        steps as f64 / frames,
        entries / steps as f64
    );
    let detail = json!({
        "live_cases": live,
        "steps": steps,
        "device_bytes": bytes,
        "record_bytes": entries,
        "frames": frames,
        "checkpoints": checkpoints,
    });
    let row = Row::new("P8", &[bytes as f64 / entries], said, detail);
    Ok(if setup.is_quick() || checkpoints < CHECKPOINTS_MIN {
        row.unjudged("too short a run for checkpoints to come as often as they do")
    } else {
        row
    })
}

/// Lets closed cases grow from size to size beside a service that has none, and measures at each.
pub(crate) fn closed(setup: &Setup) -> Outcome<(Vec<Value>, Vec<Row>)> {
    let mut empty = World::new(&setup.folder, &setup.binary, &setup.settings(), BESIDE)?;
    let mut full = World::new(&setup.folder, &setup.binary, &setup.settings(), BESIDE)?;
    full.settle(setup)?;
    let before: u64 = full.place.disk_bytes().values().sum();
    let (mut points, mut rows, mut made) = (Vec::new(), Vec::new(), 0);
    for &size in setup.closed_sizes() {
        let began = Instant::now();
        full.add_closed(size - made)?;
        let rate = (size - made) as f64 / began.elapsed().as_secs_f64();
        made = size;
        full.settle(setup)?;
        let state: u64 = full.place.disk_bytes().values().sum();
        let (mut ratios, mut rates, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=setup.rounds {
            let none = empty.drive(CONNECTIONS, LINES, setup.slice, Pace::Closed, round as u64)?.rate();
            let many = full.drive(CONNECTIONS, LINES, setup.slice, Pace::Closed, round as u64)?.rate();
            if round > 0 {
                ratios.push(many / none);
                rates.push(many);
                without.push(none);
            }
        }
        points.push(json!({
            "closed_cases": size,
            "cases_per_second": short(rate),
            "batch_steps_per_second": Spread::of(&rates).json(),
            "batch_steps_per_second_without": Spread::of(&without).json(),
            "ratio_to_none": Spread::of(&ratios).json(),
            "anonymous_bytes": full.service.anonymous_bytes()?,
            "state_bytes_per_case": short((state - before.min(state)) as f64 / size as f64),
            "state_bytes": full.place.disk_bytes(),
            "list_ms": listed(&full, setup, "0s")?,
            "list_nothing_ms": listed(&full, setup, "90d")?,
        }));
        if Some(&size) == setup.closed_sizes().last() {
            let said = format!(
                "{size} closed cases: {:.0} steps/s of {:.0}",
                Spread::of(&rates).median,
                Spread::of(&without).median
            );
            rows.push(Row::new("P6", &ratios, said, json!({ "closed_cases": size })));
        }
    }
    drop(empty);
    full.service.stop()?;
    rows.push(verified(setup, &full)?);
    rows.push(keeping::backed_up(setup, &full)?);
    drop(full);
    rows.push(keeping::archived(setup)?);
    Ok((points, rows))
}

/// Returns how many milliseconds `workflow list` takes for a page of cases that are unchanged for so long.
fn listed(world: &World, setup: &Setup, older_than: &str) -> Outcome<Value> {
    let mut took = Vec::new();
    for round in 0..=setup.rounds {
        let mut command = world.place.command();
        command.args(["workflow", "list", "--older-than", older_than, "--limit", "100", "-q"]);
        let took_s = timed(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        if round > 0 {
            took.push(took_s * 1_000.0);
        }
    }
    Ok(Spread::of(&took).json())
}

/// P10: `state verify` against `cat` of the same files, turn by turn, each with the files out of the cache: what an
/// audit finds. How fast `cat` is with the files in it is told beside it.
fn verified(setup: &Setup, world: &World) -> Outcome<Row> {
    let files = world.place.files();
    let cat = || timed(Command::new("cat").args(&files).stdout(Stdio::null()));
    let (mut ratios, mut took, mut read, mut entries) = (Vec::new(), Vec::new(), Vec::new(), Value::Null);
    for round in 0..=SLOW_ROUNDS.min(setup.rounds) {
        forget(world)?;
        let cat = cat()?;
        forget(world)?;
        let out = world.place.path().join("verify.json");
        let mut command = world.place.command();
        command.args(["state", "verify", "--json"]).stdout(File::create(&out)?);
        let verify = timed(&mut command)?;
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&out)?)?;
        entries = report["entries"].clone();
        if round > 0 {
            ratios.push(verify / cat);
            took.push(verify);
            read.push(cat);
        }
    }
    let bytes = bytes_of(&files)?;
    let said = format!(
        "{entries} entries, {:.0} MB: {:.2} s of {:.2} s; cat {:.2} s from the cache",
        bytes as f64 / 1e6,
        percentile(&took, 50.0),
        percentile(&read, 50.0),
        cat()?
    );
    let detail = json!({ "entries": entries, "bytes": bytes, "verify_s": Spread::of(&took).json(), "cat_s": Spread::of(&read).json() });
    Ok(Row::new("P10 verify", &ratios, said, detail))
}

pub(crate) fn bytes_of(files: &[std::path::PathBuf]) -> Outcome<u64> {
    let mut sum = 0;
    for path in files {
        sum += std::fs::metadata(path)?.len();
    }
    Ok(sum)
}

pub(crate) fn timed(command: &mut Command) -> Outcome<f64> {
    let began = Instant::now();
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(began.elapsed().as_secs_f64())
}

/// P11: the size of a stripped static binary.
pub(crate) fn size(path: Option<&Path>) -> Outcome<Row> {
    let Some(path) = path else {
        return Ok(Row::new("P11", &[], "no --static-binary was given".to_owned(), json!({})));
    };
    let bytes = std::fs::metadata(path)?.len();
    Ok(Row::new("P11", &[bytes as f64 / 1e6], format!("{bytes} bytes"), json!({ "bytes": bytes })))
}
