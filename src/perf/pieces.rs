//! What a step costs on this machine, by what it depends on: the size of its wave, how its marking is held, its join.

use serde::Serialize;

use super::kernel::{Options, measure_on};
use super::load::{Held, Nets};
use crate::engine::ticks;
use crate::net::Gate;

/// A large wave.
const LARGE: usize = 256;
/// Live cases of each piece: their markings fit the processor's caches, so that what is compared is the work.
const CASES: usize = 10_000;
/// Steps of each piece, in waves of whatever size.
const STEPS: usize = 256_000;
/// Most waves of a piece.
const WAVES_MAX: usize = 20_000;

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Piece {
    /// What it is.
    pub what: &'static str,
    /// Steps of each wave.
    pub wave_steps: usize,
    /// Ticks a step, half of the waves below.
    pub ticks_p50: f64,
    /// Ticks a step over all waves.
    pub ticks_mean: f64,
}

const PIECES: [(&str, Nets, Held, usize); 9] = [
    ("typical nets", Nets::Typical, Held::Bits, 1),
    ("typical nets", Nets::Typical, Held::Bits, 8),
    ("typical nets", Nets::Typical, Held::Bits, 64),
    (TYPICAL, Nets::Typical, Held::Bits, LARGE),
    ("counters in place of bits", Nets::Typical, Held::Counters, LARGE),
    ("81 places in place of 64 and less", Nets::Wide, Held::Bits, LARGE),
    ("every second task an AND-join", Nets::Joins(Gate::And), Held::Bits, LARGE),
    ("every second task an XOR-join", Nets::Joins(Gate::Xor), Held::Bits, LARGE),
    ("every second task an OR-join", Nets::Joins(Gate::Or), Held::Bits, LARGE),
];
const TYPICAL: &str = "typical nets";

/// Measures all pieces; takes a second or two. `tell` hears what comes next.
pub fn measure(mut tell: impl FnMut(&str)) -> Vec<Piece> {
    let measure = |&(what, nets, held, wave_steps): &(&'static str, Nets, Held, usize)| {
        tell(what);
        let waves = (STEPS / wave_steps).min(WAVES_MAX);
        let options = Options { cases: CASES, wave_steps, waves, held, way: None, seed: 1 };
        let figures = measure_on(nets, &options, ticks);
        Piece { what, wave_steps, ticks_p50: figures.ticks_p50, ticks_mean: figures.ticks_mean }
    };
    PIECES.iter().map(measure).collect()
}

/// Returns the ticks a step of large waves of typical nets.
pub fn ticks_of_large_waves(pieces: &[Piece]) -> f64 {
    let large = pieces.iter().find(|piece| piece.what == TYPICAL && piece.wave_steps == LARGE);
    large.map_or(f64::NAN, |piece| piece.ticks_p50)
}
