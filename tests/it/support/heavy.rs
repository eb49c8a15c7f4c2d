//! Specifications whose mappings run close to a number of evaluation steps.

use knhk::expr::{Document, STEPS_MAX, compile};
use std::fmt::Write as _;

use super::sketch;

/// Returns a mapping that takes nearly so many steps, and gives a number.
pub(crate) fn mapping(steps_max: u64) -> String {
    let text = |count: u32| {
        let numbers: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
        let list = numbers.join(", ");
        format!("count(for $a in ({list}) for $b in ({list}) return 1)")
    };
    let takes = |count| {
        let document = Document { root: "n", variables: &[] };
        let (value, cost) = compile(&text(count)).unwrap().evaluate_within(&document, steps_max);
        value.is_some_and(|value| value.is_ok()).then_some(cost.steps)
    };
    let last = (10..1_000).take_while(|count| takes(*count).is_some()).last().unwrap();
    let steps = takes(last).unwrap();
    assert!(steps > steps_max / 10 * 9, "{steps} steps are not close to {steps_max}");
    text(last)
}

/// Returns a specification with one task that runs by itself so many times; its mapping takes nearly as many steps as one
/// may.
pub(crate) fn repeated(uri: &str, count: u32) -> Vec<u8> {
    repeated_with(uri, count, STEPS_MAX)
}

/// Returns the same with a mapping that takes nearly so many steps.
pub(crate) fn repeated_with(uri: &str, count: u32, steps_max: u64) -> Vec<u8> {
    let mapping = mapping(steps_max);
    named(
        uri,
        &format!(
            "net N
             var n integer 0
             i > a
             more > a
             a auto xor xor > more o
               when more /N/n < {count}
               give n integer /N/n + 1
               give w integer {mapping}
               take n integer n /a/n"
        ),
    )
}

/// Returns a specification whose first task runs by itself and whose second is for a person; its input takes
/// `mappings` more. Each takes nearly as many steps as one may.
pub(crate) fn once(uri: &str, mappings: u32) -> Vec<u8> {
    once_with(uri, mappings, STEPS_MAX)
}

/// Returns the same with mappings that take nearly so many steps each.
pub(crate) fn once_with(uri: &str, mappings: u32, steps_max: u64) -> Vec<u8> {
    let mapping = mapping(steps_max);
    let mut inputs = String::new();
    for number in 0..mappings {
        write!(inputs, "\n give w{number} integer {mapping}").unwrap();
    }
    named(
        uri,
        &format!(
            "net N
             i > a
             a auto xor and > m
               give w integer {mapping}
             m manual xor and > o{inputs}"
        ),
    )
}

fn named(uri: &str, sketch: &str) -> Vec<u8> {
    sketch::xml(sketch).replace("uri=\"sketch\"", &format!("uri=\"{uri}\"")).into_bytes()
}
