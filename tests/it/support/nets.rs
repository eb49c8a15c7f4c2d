//! Generated nets.

use knhk::net::{Gate, Shape, ShapeTask};
use proptest::prelude::{Just, Strategy, any, prop};

/// Most conditions of a generated net.
const CONDITION_COUNT_MAX: u16 = 9;
/// Most tasks of a generated net.
const TASK_COUNT_MAX: u16 = 7;

fn gate() -> impl Strategy<Value = Gate> {
    prop::sample::select(vec![Gate::And, Gate::Xor, Gate::Or])
}

/// Nets of any form: joins, splits, cycles, remove sets; sound or not.
pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    (3..=CONDITION_COUNT_MAX, 1..=TASK_COUNT_MAX).prop_flat_map(|(conditions, tasks)| {
        let places = |most: usize| prop::collection::vec(0..conditions, 1..=most);
        let rarely = |number: u16| prop_oneof_none(prop::collection::vec(0..number, 1..=3));
        let task = (gate(), gate(), places(3), places(3), rarely(conditions), rarely(tasks));
        let count = usize::from(tasks);
        (Just(conditions), prop::collection::vec(task, count..=count)).prop_map(|(conditions, tasks)| Shape {
            conditions: (0..conditions).map(|at| format!("c{at}")).collect(),
            tasks: (0..)
                .zip(tasks)
                .map(|(at, (join, split, preset, flows, removes, stops))| ShapeTask {
                    id: format!("t{at}"),
                    join,
                    split,
                    preset,
                    flows,
                    removes,
                    stops,
                })
                .collect(),
        })
    })
}

fn prop_oneof_none(some: impl Strategy<Value = Vec<u16>>) -> impl Strategy<Value = Vec<u16>> {
    (any::<u8>(), some).prop_map(|(die, members)| if die < 64 { members } else { Vec::new() })
}
