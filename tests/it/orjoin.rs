//! OR-joins: the recorded answers, and that the quick ways give what the search gives.

use std::collections::BTreeMap;
use std::io::Write;

use knhk::net::orjoin::{Judgement, judge, judge_within, projection};
use knhk::net::{Net, PlaceKey};

use crate::support::oracle;

/// Reads `c1|c1|c3`: places by name, and busy tasks by id.
fn marking(net: &Net, text: &str) -> Vec<(u16, u16)> {
    let mut counts = BTreeMap::new();
    for name in text.split('|').filter(|name| !name.is_empty() && *name != "-") {
        let is_it = |key: &PlaceKey| match key {
            PlaceKey::Busy(id) => id == name,
            other => other.name().is_some_and(|other| other == name),
        };
        let place = net.places.iter().position(is_it).unwrap_or_else(|| panic!("{name} is no place"));
        *counts.entry(u16::try_from(place).unwrap()).or_insert(0_u16) += 1;
    }
    counts.into_iter().collect()
}

#[test]
fn orjoin_answers_are_the_recorded_ones() {
    let nets = oracle::nets();
    let (mut compared, mut skipped, mut wrong) = (0, 0, Vec::new());
    for row in oracle::rows("orjoin-markings.tsv") {
        let net = &nets[&row[0]];
        let task = net.tasks.iter().position(|task| task.id == row[1]).unwrap();
        let task = u16::try_from(task).unwrap();
        let expected = match row[3].as_str() {
            "1" => Judgement::Enabled,
            "0" => Judgement::Waits,
            _ => {
                skipped += 1;
                continue;
            }
        };
        let marking = marking(net, &row[2]);
        let answer = judge(net, task, &marking);
        compared += 1;
        if answer != expected {
            wrong.push(format!("{}: {answer:?}, recorded {expected:?}", row.join(" ")));
        }
        assert_eq!(judge(net, task, &projection(net, task, &marking)), answer, "projected: {row:?}");
    }
    writeln!(std::io::stdout(), "orjoin: compared {compared} markings, skipped {skipped}").unwrap();
    assert!(compared > 0, "nothing was compared");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_judgement_beyond_its_bound_of_states_is_undecided() {
    let nets = oracle::nets();
    let mut undecided = 0;
    for row in oracle::rows("orjoin-markings.tsv") {
        let net = &nets[&row[0]];
        let task = u16::try_from(net.tasks.iter().position(|task| task.id == row[1]).unwrap()).unwrap();
        let marking = marking(net, &row[2]);
        let full = judge(net, task, &marking);
        for bound in [0, 1, 5] {
            match judge_within(net, task, &marking, bound) {
                Judgement::Undecided => undecided += 1,
                answer => assert_eq!(answer, full, "{row:?} within {bound}"),
            }
        }
    }
    assert!(undecided > 0);
}
