//! P2, P3, P4: durable steps against what the disk allows, turn by turn in the same run.

use serde_json::json;

use super::ceiling::{Appends, Ceiling};
use super::drive::{self, Pace};
use super::figures::{Spread, short};
use super::goals::Row;
use super::work::Stepper;
use super::world::World;
use super::{Outcome, Setup};

/// Steps and appends of one turn of P3.
const TURN: u64 = 20;
/// Most batches in flight in P4.
const BATCH_CONNECTIONS: usize = 4;
/// Steps in flight at most: a shard refuses requests beyond `shard_requests_max`, whose default this is.
const IN_FLIGHT: usize = 4096;
/// Steps a request in P4, and the goal's name.
const BATCHES: [(usize, &str); 3] = [(256, "P4 256"), (1024, "P4 1024"), (4096, "P4 4096")];
/// Bytes of the smallest frame that a step can be in: frames begin at sectors.
const FRAME_BYTES_LEAST: f64 = 512.0;
/// Shares of the highest rate at which latencies are measured.
const SHARES: [f64; 3] = [0.25, 0.5, 0.8];
/// Most rounds of P4 for want of checkpoints.
const ROUNDS_MAX: usize = 60;

/// Single operations over HTTP against the smallest honest server.
pub(crate) fn p2(setup: &Setup, world: &mut World) -> Outcome<Row> {
    let mut ceiling = Ceiling::start(&world.place.path().join("ceiling"), setup.connections)?;
    let (mut ratios, mut rates, mut ceilings) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut processor) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=setup.rounds {
        let above = ceiling.run(setup.slice)?;
        let before = world.service.processor_seconds()?;
        let run = world.drive(setup.connections, 0, setup.slice, Pace::Closed, round as u64)?;
        if round == 0 {
            continue;
        }
        processor.push((world.service.processor_seconds()? - before) * 1e6 / run.steps as f64);
        ratios.push(run.rate() / above.rate());
        rates.push(run.rate());
        ceilings.push(above.rate());
        p50.push(run.latency_us(50.0));
        p99.push(run.latency_us(99.0));
    }
    drop(ceiling);
    let highest = Spread::of(&rates).median;
    let mut paced = Vec::new();
    for share in SHARES {
        let rate = highest * share;
        let run = world.drive(setup.connections, 0, setup.slice, Pace::Rate(rate), 77)?;
        paced.push(json!({
            "steps_per_second": short(rate),
            "p50_us": short(run.latency_us(50.0)),
            "p99_us": short(run.latency_us(99.0)),
            "max_us": short(run.latency_us(100.0)),
        }));
    }
    let detail = json!({
        "connections": setup.connections,
        "live_cases": world.cases.len(),
        "steps_per_second": Spread::of(&rates).json(),
        "ceiling_per_second": Spread::of(&ceilings).json(),
        "p50_us": Spread::of(&p50).json(),
        "p99_us": Spread::of(&p99).json(),
        "processor_us_per_step": Spread::of(&processor).json(),
        "at_a_fixed_rate": paced,
    });
    Ok(Row::new(
        "P2",
        &ratios,
        format!("{highest:.0} steps/s of {:.0}", Spread::of(&ceilings).median),
        detail,
    ))
}

/// One client's steps against appends of as many bytes, a few of each in turn.
pub(crate) fn p3(setup: &Setup, world: &mut World) -> Outcome<Row> {
    let mut appends = Appends::new(&world.place.path().join("ceiling"))?;
    let mut client = world.client()?;
    let mut steppers = Stepper::deal(&std::mem::take(&mut world.cases), 1, 0, 3);
    let (mut ratios, mut steps, mut raws, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let before = world.service.metrics()?;
    let mut bytes = FRAME_BYTES_LEAST;
    for round in 0..=setup.rounds {
        let (mut of_steps, mut of_raws) = (Vec::new(), Vec::new());
        let began = std::time::Instant::now();
        while began.elapsed() < setup.slice {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a frame")]
            let raw = appends.repeat(bytes as usize, 1, TURN)?;
            of_raws.extend(raw.latencies_us);
            of_steps.extend(drive::alone(&mut client, &mut steppers[0], TURN)?.latencies_us);
        }
        let after = world.service.metrics()?;
        let entry_bytes = grown(&before, &after, "knhk_journal_entry_bytes_total")
            / grown(&before, &after, "knhk_journal_batch_events_sum");
        bytes = (entry_bytes / FRAME_BYTES_LEAST).ceil().max(1.0) * FRAME_BYTES_LEAST;
        if round == 0 {
            continue;
        }
        let median = |values: &[f64]| super::figures::percentile(values, 50.0);
        ratios.push(median(&of_steps) / median(&of_raws));
        steps.push(median(&of_steps));
        raws.push(median(&of_raws));
        p99.push(super::figures::percentile(&of_steps, 99.0));
    }
    world.cases = Stepper::into_cases(steppers);
    let detail = json!({
        "live_cases": world.cases.len(),
        "append_bytes": bytes,
        "step_p50_us": Spread::of(&steps).json(),
        "step_p99_us": Spread::of(&p99).json(),
        "append_p50_us": Spread::of(&raws).json(),
    });
    let said = format!("{:.0} us of {:.0} us", Spread::of(&steps).median, Spread::of(&raws).median);
    Ok(Row::new("P3", &ratios, said, detail))
}

/// Batches of each size; every one is judged.
pub(crate) fn p4(setup: &Setup, world: &mut World) -> Outcome<Vec<Row>> {
    BATCHES.iter().map(|(lines, name)| p4_of(setup, world, *lines, name)).collect()
}

/// Batches of one size against appends of as many bytes.
pub(crate) fn p4_of(setup: &Setup, world: &mut World, lines: usize, name: &'static str) -> Outcome<Row> {
    let mut appends = Appends::new(&world.place.path().join("ceiling"))?;
    let connections = (IN_FLIGHT / lines).clamp(1, BATCH_CONNECTIONS);
    let lines = lines.min(world.cases.len() / connections);
    let (mut ratios, mut rates, mut raws, mut processor) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let first_checkpoint = world.checkpoints()?;
    let mut p99 = Vec::new();
    let mut round = 0_u64;
    loop {
        let before = world.service.metrics()?;
        let used = world.service.processor_seconds()?;
        let run = world.drive(connections, lines, setup.slice, Pace::Closed, round)?;
        let used = world.service.processor_seconds()? - used;
        let after = world.service.metrics()?;
        let bytes = grown(&before, &after, "knhk_journal_entry_bytes_total") / run.steps as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a frame")]
        let raw = appends.run((bytes * lines as f64) as usize, lines as u64, setup.slice)?;
        round += 1;
        if round == 1 {
            continue;
        }
        ratios.push(run.rate() / raw.rate());
        rates.push(run.rate());
        raws.push(raw.rate());
        p99.push(run.latency_us(99.0));
        processor.push(used * 1e6 / run.steps as f64);
        let is_enough = world.checkpoints()? - first_checkpoint >= setup.checkpoints();
        if ratios.len() >= setup.rounds && (is_enough || ratios.len() >= ROUNDS_MAX) {
            break;
        }
    }
    let (rate, raw) = (Spread::of(&rates), Spread::of(&raws));
    let detail = json!({
        "steps_per_request": lines,
        "connections": connections,
        "live_cases": world.cases.len(),
        "checkpoints": world.checkpoints()? - first_checkpoint,
        "steps_per_second": rate.json(),
        "append_per_second": raw.json(),
        "request_p99_us": Spread::of(&p99).json(),
        "processor_us_per_step": Spread::of(&processor).json(),
    });
    let said = format!("{lines} a request: {:.0} steps/s of {:.0}", rate.median, raw.median);
    Ok(Row::new(name, &ratios, said, detail))
}

fn grown(before: &super::place::Figures, after: &super::place::Figures, name: &str) -> f64 {
    after.of(name) - before.of(name)
}
