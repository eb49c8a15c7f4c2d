//! The kernel: every form of marking and both ways of running give what the plain interpreter gives.

use std::collections::BTreeSet;
use std::sync::Arc;

use knhk::kernel::{
    Kernel, NetHandle, Outcome, Phase, Slot, Step, TOKENS_MAX, WAVE_LIST_MAX, WAVE_STEPS_MAX, Wave, Way, run,
};
use knhk::net::{Gate, Net, PlaceKey, Shape, ShapeTask};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

use crate::support::interpreter::{Interpreter, Moved};
use crate::support::nets;

/// One net in one form: the same conditions and tasks, perhaps more places, bits or counters.
struct Twin {
    net: Arc<Net>,
    handle: NetHandle,
    slot: Slot,
    is_bits: bool,
    /// Place of the plain net to place of this one.
    places: Vec<u16>,
}

fn twin(kernel: &mut Kernel, shape: &Shape, plain: &Net, padding: usize, is_bits: bool) -> Twin {
    let mut padded = shape.clone();
    padded.conditions.extend((0..padding).map(|at| format!("pad{at}")));
    let mut net = padded.net("twin");
    net.is_safe = is_bits;
    let find = |key: &PlaceKey| net.places.iter().position(|other| other == key).unwrap();
    let places: Vec<u16> = plain.places.iter().map(|key| u16::try_from(find(key)).unwrap()).collect();
    net.output = places[usize::from(plain.output)];
    let net = Arc::new(net);
    let handle = kernel.add_net(&net);
    let slot = kernel.open(handle, net.input);
    Twin { net, handle, slot, is_bits, places }
}

impl Twin {
    /// Returns places of this net by the numbers of the plain one.
    fn plain(&self, places: impl Iterator<Item = u16>) -> BTreeSet<u16> {
        let number = |place| self.places.iter().position(|other| *other == place).unwrap();
        places.map(|place| u16::try_from(number(place)).unwrap()).collect()
    }

    fn moved(&self, outcome: &Outcome<'_>) -> Moved {
        Moved {
            taken: self.plain(outcome.taken()),
            removed: self.plain(outcome.removed()),
            put: self.plain(outcome.put()),
            stopped: outcome.stopped().collect(),
        }
    }

    fn marking(&self, kernel: &Kernel) -> Vec<(u16, u16)> {
        let count = |place: &u16| kernel.count(self.handle, self.slot, *place);
        let all = (0..).zip(self.places.iter().map(count));
        all.filter(|entry: &(u16, u16)| entry.1 > 0).collect()
    }
}

/// How a task stands: 0 = cannot start, 1 = an OR-join to be judged, 2 = can start.
fn standing(plain: &Interpreter<'_>, task: u16) -> u8 {
    match (plain.is_enabled(task, |_| false), plain.is_enabled(task, |_| true)) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

/// One step for all twins in one wave, and once more for those that had to be widened.
fn check_step(
    kernel: &mut Kernel,
    wave: &mut Wave,
    twins: &mut [Twin],
    plain: &mut Interpreter<'_>,
    (task, phase, chosen): (u16, Phase, &BTreeSet<u16>),
) -> Result<(), TestCaseError> {
    let before = plain.clone();
    let moved = plain.step(task, phase, chosen);
    if moved.is_none() {
        *plain = before.clone();
    }
    let second = moved.as_ref().is_some_and(|moved| moved.put.iter().any(|place| plain.count(*place) > 1));
    let tasks = 0..u16::try_from(twins[0].net.tasks.len()).unwrap();
    let mut waiting: Vec<usize> = (0..twins.len()).collect();
    while !waiting.is_empty() {
        wave.clear();
        for &at in &waiting {
            let twin = &twins[at];
            let put: Vec<u16> = chosen.iter().map(|place| twin.places[usize::from(*place)]).collect();
            let step = Step { net: twin.handle, slot: twin.slot, task, phase, put: &put };
            prop_assert!(!wave.has(twin.handle, twin.slot));
            wave.push(step).unwrap();
            prop_assert!(wave.has(twin.handle, twin.slot));
        }
        run(kernel, wave);
        let mut again = Vec::new();
        for (index, &at) in waiting.iter().enumerate() {
            let twin = &twins[at];
            let outcome = wave.outcome(kernel, index);
            prop_assert_eq!(outcome.refused(), moved.is_none());
            let overflows = twin.is_bits && second;
            prop_assert_eq!(outcome.overflow(), overflows, "twin {}", at);
            if overflows {
                prop_assert_eq!(twin.marking(kernel), before.marking());
                prop_assert_eq!(twin.moved(&outcome), Moved::default());
                again.push(at);
                continue;
            }
            prop_assert_eq!(twin.marking(kernel), plain.marking(), "twin {}", at);
            prop_assert_eq!(twin.moved(&outcome), moved.clone().unwrap_or_default(), "twin {}", at);
            prop_assert_eq!(outcome.output_marked(), plain.count(plain.net.output) > 0);
            prop_assert_eq!(outcome.is_empty(), plain.tokens.is_empty());
            if moved.is_some() {
                check_enabling(twin, &outcome, &before, plain, tasks.clone())?;
            }
        }
        for &at in &again {
            twins[at].slot = kernel.widen(twins[at].handle, twins[at].slot);
            twins[at].is_bits = false;
        }
        waiting = again;
    }
    Ok(())
}

fn check_enabling(
    twin: &Twin,
    outcome: &Outcome<'_>,
    before: &Interpreter<'_>,
    after: &Interpreter<'_>,
    tasks: std::ops::Range<u16>,
) -> Result<(), TestCaseError> {
    let enabled: BTreeSet<u16> = outcome.enabled().collect();
    let withdrawn: BTreeSet<u16> = outcome.withdrawn().collect();
    let changed: BTreeSet<u16> = outcome.changed().collect();
    for task in tasks {
        let (was, now) = (standing(before, task), standing(after, task));
        prop_assert_eq!(enabled.contains(&task), now == 2 && was < 2, "enabled {}", task);
        prop_assert_eq!(withdrawn.contains(&task), now == 0 && was > 0, "withdrawn {}", task);
        if changed.contains(&task) {
            prop_assert_eq!(now, 1, "changed {}", task);
        } else if now == 1 {
            // Not reported: then nothing that its judgement looks at may differ.
            let key = |plain: &Interpreter<'_>| {
                let shifted: Vec<(u16, u16)> = plain
                    .marking()
                    .iter()
                    .map(|entry| (twin.places[usize::from(entry.0)], entry.1))
                    .collect();
                knhk::net::orjoin::projection(&twin.net, task, &shifted)
            };
            prop_assert_eq!(key(before), key(after), "unchanged {}", task);
        }
    }
    Ok(())
}

fn choose(net: &Net, task: u16, dice: u8) -> BTreeSet<u16> {
    let task = &net.tasks[usize::from(task)];
    let places: Vec<u16> = task.flows.iter().map(|flow| flow.place).collect();
    match task.split {
        Gate::And => places.into_iter().collect(),
        Gate::Xor => BTreeSet::from([places[usize::from(dice) % places.len()]]),
        Gate::Or => {
            let some = (0..places.len()).filter(|at| dice >> at & 1 == 1).map(|at| places[at]);
            let some: BTreeSet<u16> = some.collect();
            if some.is_empty() { BTreeSet::from([places[0]]) } else { some }
        }
    }
}

proptest! {
    #[test]
    fn kernel_gives_what_the_plain_interpreter_gives(
        shape in nets::shape(),
        script in prop::collection::vec((any::<u8>(), 0_u8..6, any::<u8>()), 1..60),
    ) {
        let net = shape.net("plain");
        for way in [Way::Scalar, Way::Avx2] {
            let mut kernel = Kernel::with_way(way);
            let mut wave = Wave::new();
            let forms = [(0, true), (0, false), (64, true), (64, false)];
            let mut twins: Vec<Twin> =
                forms.iter().map(|(padding, is_bits)| twin(&mut kernel, &shape, &net, *padding, *is_bits)).collect();
            let mut plain = Interpreter::new(&net);
            for (which, phase, dice) in &script {
                let task = u16::from(*which) % u16::try_from(net.tasks.len()).unwrap();
                let phase = match phase {
                    0 | 1 => Phase::Start,
                    2 | 3 => Phase::Complete,
                    _ => Phase::Pass,
                };
                let chosen = if phase == Phase::Start { BTreeSet::new() } else { choose(&net, task, *dice) };
                check_step(&mut kernel, &mut wave, &mut twins, &mut plain, (task, phase, &chosen))?;
            }
        }
    }

    #[test]
    fn a_net_shown_safe_never_overflows(
        shape in nets::shape(),
        script in prop::collection::vec((any::<u8>(), 0_u8..6, any::<u8>()), 1..60),
    ) {
        let net = shape.net("plain");
        let mut plain = Interpreter::new(&net);
        for (which, phase, dice) in script {
            let task = u16::from(which) % u16::try_from(net.tasks.len()).unwrap();
            let phase = if phase < 3 { Phase::Start } else { Phase::Complete };
            let judgement = knhk::net::orjoin::judge(&net, task, &plain.marking());
            let is_or = net.tasks[usize::from(task)].join == Gate::Or;
            if phase == Phase::Start && is_or && judgement == knhk::net::orjoin::Judgement::Waits {
                continue;
            }
            let kept = plain.clone();
            if plain.step(task, phase, &choose(&net, task, dice)).is_none() {
                plain = kept;
            }
            prop_assert!(!net.is_safe || plain.tokens.values().all(|count| *count == 1));
        }
    }
}

fn pump() -> Shape {
    let task = ShapeTask {
        id: "pump".into(),
        join: Gate::And,
        split: Gate::And,
        preset: vec![0],
        flows: vec![0, 1],
        removes: vec![],
        stops: vec![],
    };
    Shape { conditions: vec!["i".into(), "o".into()], tasks: vec![task] }
}

#[test]
fn counters_answer_overflow_at_their_limit() {
    for padding in [0, 70] {
        let mut shape = pump();
        shape.conditions.extend((0..padding).map(|at| format!("pad{at}")));
        let net = Arc::new(shape.net("pump"));
        assert!(!net.is_safe);
        let mut kernel = Kernel::new();
        let handle = kernel.add_net(&net);
        let slot = kernel.open(handle, 0);
        let mut wave = Wave::new();
        for count in 0..=TOKENS_MAX {
            wave.clear();
            let put = [0, 1];
            wave.push(Step { net: handle, slot, task: 0, phase: Phase::Pass, put: &put }).unwrap();
            run(&mut kernel, &mut wave);
            assert_eq!(wave.outcome(&kernel, 0).overflow(), count == TOKENS_MAX);
        }
        assert_eq!(kernel.tokens(handle, slot), [(0, 1), (1, TOKENS_MAX)]);
        assert!(kernel.load(handle, &[(0, TOKENS_MAX)]).is_ok());
        assert!(kernel.load(handle, &[(0, TOKENS_MAX), (0, 1)]).is_err());
        assert!(kernel.load(handle, &[(u16::MAX, 1)]).is_err());
    }
}

#[test]
fn a_wave_is_full_at_its_limit_and_takes_steps_again_when_cleared() {
    let mut kernel = Kernel::new();
    let handle = kernel.add_net(&Arc::new(pump().net("pump")));
    let mut wave = Wave::new();
    for round in 0..2 {
        for _ in 0..WAVE_STEPS_MAX {
            let slot = kernel.open(handle, 0);
            wave.push(Step { net: handle, slot, task: 0, phase: Phase::Start, put: &[] }).unwrap();
        }
        let slot = kernel.open(handle, 0);
        let step = Step { net: handle, slot, task: 0, phase: Phase::Start, put: &[] };
        assert!(wave.push(step).is_err(), "round {round}");
        run(&mut kernel, &mut wave);
        assert!(wave.outcome(&kernel, WAVE_STEPS_MAX - 1).is_done());
        wave.clear();
    }
}

#[test]
fn slots_are_given_out_again_and_begin_anew() {
    let mut kernel = Kernel::new();
    let handle = kernel.add_net(&Arc::new(pump().net("pump")));
    let slot = kernel.load(handle, &[(0, 3), (1, 7)]).unwrap();
    kernel.end(handle, slot);
    let again = kernel.open(handle, 0);
    assert_eq!(kernel.tokens(handle, again), [(0, 1)]);
    assert!(kernel.is_only(handle, again, 0) && !kernel.is_empty(handle, again));
}

#[test]
#[should_panic(expected = "at most one step a marking")]
fn two_steps_on_one_marking_are_refused() {
    let mut kernel = Kernel::new();
    let handle = kernel.add_net(&Arc::new(pump().net("pump")));
    let slot = kernel.open(handle, 0);
    let mut wave = Wave::new();
    for _ in 0..2 {
        wave.push(Step { net: handle, slot, task: 0, phase: Phase::Start, put: &[] }).unwrap();
    }
}

#[test]
fn a_wave_is_full_when_its_outcomes_might_list_too_much() {
    let half = 4_000_u16;
    let task = ShapeTask {
        id: "move".into(),
        join: Gate::And,
        split: Gate::And,
        preset: (0..half).collect(),
        flows: (half..2 * half).collect(),
        removes: vec![],
        stops: vec![],
    };
    let shape = Shape { conditions: (0..2 * half).map(|at| format!("c{at}")).collect(), tasks: vec![task] };
    let mut kernel = Kernel::new();
    let handle = kernel.add_net(&Arc::new(shape.net("large")));
    let tokens: Vec<(u16, u16)> = (0..half).map(|place| (place, 1)).collect();
    let put: Vec<u16> = (half..2 * half).collect();
    let mut wave = Wave::new();
    let pushed = (0..WAVE_STEPS_MAX).position(|_| {
        let slot = kernel.load(handle, &tokens).unwrap();
        wave.push(Step { net: handle, slot, task: 0, phase: Phase::Pass, put: &put }).is_err()
    });
    // A step may list 8,000 places moved, one busy place, and one task.
    let listed = 2 * usize::from(half) + 2 + 1;
    assert_eq!(pushed, Some(WAVE_LIST_MAX / listed));
    run(&mut kernel, &mut wave);
    let outcome = wave.outcome(&kernel, wave.len() - 1);
    assert_eq!((outcome.taken().count(), outcome.put().count()), (4_000, 4_000));
    assert!(!outcome.refused() && !outcome.is_empty() && outcome.output_marked());
    assert_eq!(outcome.withdrawn().collect::<Vec<_>>(), [0]);
}
