//! Private invariants of nets: the quick answer about an OR-join is that of the search.

use proptest::prelude::{any, prop, prop_assert, proptest};

use super::orjoin::{Judgement, judge};
use super::{Gate, Shape, ShapeTask};

/// Layers of conditions with tasks from each to later ones, so that there is no cycle; the last task joins.
fn layered(flows: &[(u8, u8, u8)], split: &[u8]) -> Shape {
    let conditions = 8_u16;
    let mut tasks: Vec<ShapeTask> = flows
        .iter()
        .zip(split)
        .enumerate()
        .map(|(at, ((from, to, other), split))| {
            let from = u16::from(*from) % (conditions - 1);
            let later = |to: u8| from + 1 + u16::from(to) % (conditions - 1 - from);
            let also = u16::from(*other) % (from + 1);
            ShapeTask {
                id: format!("t{at}"),
                join: if split % 2 == 0 { Gate::Xor } else { Gate::Or },
                split: [Gate::And, Gate::Xor, Gate::Or][usize::from(split % 3)],
                preset: vec![from, also],
                flows: vec![later(*to), later(*other)],
                removes: Vec::new(),
                stops: Vec::new(),
            }
        })
        .collect();
    tasks.push(ShapeTask {
        id: "join".to_owned(),
        join: Gate::Or,
        split: Gate::And,
        preset: vec![conditions - 1, conditions - 2, conditions - 3],
        flows: vec![conditions],
        removes: Vec::new(),
        stops: Vec::new(),
    });
    Shape { conditions: (0..=conditions).map(|at| format!("c{at}")).collect(), tasks }
}

proptest! {
    #[test]
    fn the_bit_test_gives_what_the_search_gives(
        flows in prop::collection::vec(any::<(u8, u8, u8)>(), 1..6),
        split in prop::collection::vec(any::<u8>(), 6),
        tokens in prop::collection::vec((0_u16..13, 1_u16..3), 0..5),
    ) {
        let mut net = layered(&flows, &split).net("layered");
        let join = u16::try_from(net.tasks.len() - 1).unwrap();
        let mut marking: Vec<(u16, u16)> =
            tokens.into_iter().filter(|entry| usize::from(entry.0) < net.places.len()).collect();
        marking.sort_unstable();
        marking.dedup_by_key(|entry| entry.0);
        prop_assert!(net.or_joins.last().unwrap().is_plain());
        let quick = judge(&net, join, &marking);
        net.or_joins.last_mut().unwrap().forget_reach();
        let searched = judge(&net, join, &marking);
        prop_assert!(
            quick == searched || searched == Judgement::Undecided,
            "{:?} {:?} {:?}", quick, searched, marking
        );
    }
}
