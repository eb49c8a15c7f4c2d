//! P1 and P1b: ticks a step of the kernel, in this process.

use knhk::perf::kernel::{Figures, Options, measure};
use knhk::perf::load::Held;
use serde_json::json;

use super::Setup;
use super::figures::Spread;
use super::goals::Row;

/// Steps of a wave.
const WAVE_STEPS: usize = 256;
/// Waves of a round.
const WAVES: usize = 4_000;
/// Waves of a round that must be short.
const WAVES_QUICK: usize = 500;

/// Measures bits and counters at 100 k cases, and bits at 1 M and 4 M.
pub(crate) fn p1(setup: &Setup) -> Vec<Row> {
    if cfg!(debug_assertions) {
        let why = || "only an optimised build says anything".to_owned();
        return ["P1", "P1 p50", "P1b 1M", "P1b 4M"].map(|name| Row::new(name, &[], why(), json!({}))).into();
    }
    let rounds = |cases, held| -> Vec<Figures> {
        (0..setup.rounds).map(|round| measure_round(setup, cases, held, round as u64)).collect()
    };
    let bits = rounds(100_000, Held::Bits);
    let counters = rounds(100_000, Held::Counters);
    let p50 = |figures: &[Figures]| figures.iter().map(|round| round.ticks_p50).collect::<Vec<_>>();
    let p99: Vec<f64> = bits.iter().map(|round| round.ticks_p99).collect();
    let ratio = Spread::of(&p50(&counters)).median / Spread::of(&p50(&bits)).median;
    let way = bits.first().map(|round| format!("{:?}", round.way));
    let detail = |cases: usize| json!({ "live_cases": cases, "wave_steps": WAVE_STEPS, "way": way });
    let beside = format!("counters {:.1} ticks, {ratio:.2} of the bits'", Spread::of(&p50(&counters)).median);
    let mut rows = vec![
        Row::new("P1", &p99, format!("waves of {WAVE_STEPS}"), detail(100_000)),
        Row::new("P1 p50", &p50(&bits), beside, detail(100_000)),
    ];
    for (name, cases) in [("P1b 1M", 1_000_000), ("P1b 4M", 4_000_000)] {
        let ticks = p50(&rounds(cases, Held::Bits));
        rows.push(Row::new(name, &ticks, format!("waves of {WAVE_STEPS}"), detail(cases)));
    }
    rows
}

fn measure_round(setup: &Setup, cases: usize, held: Held, seed: u64) -> Figures {
    let waves = if setup.is_quick() { WAVES_QUICK } else { WAVES };
    let options = Options { cases, wave_steps: WAVE_STEPS, waves, held, way: None, seed: seed + 1 };
    measure(&options, knhk::engine::ticks)
}
