//! What a wave is made of, as far as it tells what its steps cost.

use crate::kernel::{Held, Phase};
use crate::net::Gate;
use crate::telemetry::metrics::labels::{Join, Markings};

/// The steps of a wave and their kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mix {
    /// How many they are.
    pub steps: usize,
    /// How their markings are held and which join they ask; `None` without steps.
    pub kinds: Option<(Markings, Join)>,
}

impl Mix {
    /// Hears of one more step.
    pub(super) fn add(&mut self, held: Held, phase: Phase, join: Gate) {
        let markings = match held {
            Held::Bits => Markings::Bits,
            Held::Counters => Markings::Counters,
            Held::WideBits => Markings::WideBits,
            Held::WideCounters => Markings::WideCounters,
        };
        let join = match (phase, join) {
            (Phase::Complete, _) => Join::Nothing,
            (_, Gate::And) => Join::And,
            (_, Gate::Xor) => Join::Xor,
            (_, Gate::Or) => Join::Or,
        };
        let (before, asked) = self.kinds.unwrap_or((markings, join));
        let markings = if before == markings { markings } else { Markings::Mixed };
        let join = if asked == join { join } else { Join::Mixed };
        self.kinds = Some((markings, join));
        self.steps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_of_a_kind_when_all_its_steps_are() {
        let mut mix = Mix::default();
        assert_eq!(mix.kinds, None);
        mix.add(Held::Bits, Phase::Start, Gate::And);
        mix.add(Held::Bits, Phase::Pass, Gate::And);
        assert_eq!(mix, Mix { steps: 2, kinds: Some((Markings::Bits, Join::And)) });
        mix.add(Held::Bits, Phase::Complete, Gate::And);
        assert_eq!(mix.kinds, Some((Markings::Bits, Join::Mixed)));
        mix.add(Held::WideBits, Phase::Complete, Gate::Or);
        mix.add(Held::Bits, Phase::Start, Gate::And);
        assert_eq!(mix, Mix { steps: 5, kinds: Some((Markings::Mixed, Join::Mixed)) });
        let mut single = Mix::default();
        single.add(Held::Counters, Phase::Complete, Gate::Or);
        assert_eq!(single.kinds, Some((Markings::Counters, Join::Nothing)));
    }
}
