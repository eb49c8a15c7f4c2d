//! Specifications whose mappings run close to the limit of evaluation steps.

use std::fmt::Write as _;
use std::sync::LazyLock;

use knhk::expr::{Document, STEPS_MAX, compile};

use super::sketch;

/// A mapping that takes nearly as many steps as one may, and gives a number.
static MAPPING: LazyLock<String> = LazyLock::new(|| {
    let text = |count: u32| {
        let numbers: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
        let list = numbers.join(", ");
        format!("count(for $a in ({list}) for $b in ({list}) return 1)")
    };
    let takes = |count| {
        let document = Document { root: "n", variables: &[] };
        let (value, cost) = compile(&text(count)).unwrap().evaluate_counted(&document);
        value.is_ok().then_some(cost.steps)
    };
    let last = (100..).step_by(5).take_while(|count| takes(*count).is_some()).last().unwrap();
    let steps = takes(last).unwrap();
    assert!(steps > STEPS_MAX / 10 * 9, "{steps} steps are not close to {STEPS_MAX}");
    text(last)
});

/// Returns a specification with one task that runs by itself so many times.
pub(crate) fn repeated(uri: &str, count: u32) -> Vec<u8> {
    let mapping = &*MAPPING;
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
/// `mappings` more.
pub(crate) fn once(uri: &str, mappings: u32) -> Vec<u8> {
    let mapping = &*MAPPING;
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
