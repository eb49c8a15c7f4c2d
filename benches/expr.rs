//! Predicates and mappings: compiling them, which registration does, and evaluating them, which steps do.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use knhk::expr::{Document, Fragment, compile};

/// From a constant to a loop over all lines of an order.
const TEXTS: [(&str, &str); 5] = [
    ("constant", "true()"),
    ("comparison", "/Net/Paid/text() = 'true'"),
    ("number", "number(/Net/Total/text()) * 2 > 10"),
    ("copy", "<Copy>{/Net/Order/Line/Item}</Copy>"),
    ("loop", "sum(for $l in /Net/Order/Line return number($l/Price) * number($l/Count))"),
];

fn expressions(criterion: &mut Criterion) {
    let line = "<Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line>";
    let order = Fragment::parse(&line.repeat(10)).expect("a fragment");
    let (paid, total) = (Fragment::from_text("true"), Fragment::from_text("8.5"));
    let variables = [("Order", &order), ("Paid", &paid), ("Total", &total)];
    let document = Document { root: "Net", variables: &variables };
    let mut group = criterion.benchmark_group("expr");
    for (name, text) in TEXTS {
        let expression = compile(text).expect("an expression");
        group.bench_function(format!("{name}, compiled"), |bench| {
            bench.iter(|| compile(black_box(text)).expect("an expression"));
        });
        group.bench_function(format!("{name}, evaluated"), |bench| {
            bench.iter(|| black_box(&expression).evaluate(black_box(&document)).expect("a value"));
        });
    }
    group.finish();
}

criterion_group!(benches, expressions);
criterion_main!(benches);
