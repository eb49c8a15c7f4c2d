//! Private invariants: the memory of verdicts is bounded.

use super::judgements::{JUDGEMENTS_MAX, Join, Judgements};
use crate::id::SpecNumber;
use crate::net::orjoin::Judgement;
use crate::net::{Gate, Shape, ShapeTask};

#[test]
fn the_oldest_verdict_goes_when_there_are_too_many() {
    let task = |id: &str, join, preset: &[u16], flows: &[u16]| ShapeTask {
        id: id.to_owned(),
        join,
        split: Gate::Xor,
        preset: preset.to_vec(),
        flows: flows.to_vec(),
        removes: Vec::new(),
        stops: Vec::new(),
    };
    // A cycle before the join keeps the bit test from answering.
    let shape = Shape {
        conditions: ["i", "a", "b", "o"].map(str::to_owned).to_vec(),
        tasks: vec![
            task("split", Gate::Xor, &[0], &[1, 2]),
            task("back", Gate::Xor, &[2], &[0, 2]),
            task("join", Gate::Or, &[1, 2], &[3]),
        ],
    };
    let net = shape.net("N");
    let join = Join { spec: SpecNumber(1), number: 0, net: &net, task: 2 };
    let mut judgements = Judgements::default();
    let marking = |number: usize| {
        let digit = |number: usize| u16::try_from(number % 300).unwrap();
        vec![(0, 1 + digit(number)), (1, 1 + digit(number / 300))]
    };
    for number in 0..JUDGEMENTS_MAX {
        judgements.learn(join, &marking(number), Judgement::Waits);
    }
    assert_eq!(judgements.judge(join, &marking(0), 0), Some(Judgement::Waits));
    judgements.learn(join, &marking(JUDGEMENTS_MAX), Judgement::Waits);
    assert_eq!(judgements.judge(join, &marking(0), 0), None);
    assert_eq!(judgements.judge(join, &marking(1), 0), Some(Judgement::Waits));
    assert_eq!(judgements.judge(join, &marking(JUDGEMENTS_MAX), 0), Some(Judgement::Waits));
}
