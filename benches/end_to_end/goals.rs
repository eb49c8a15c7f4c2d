//! The goals: what each figure is, what it should be, and below what a release fails.

use serde_json::{Value, json};

use super::figures::{Spread, short};

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// One goal.
struct Goal {
    name: &'static str,
    what: &'static str,
    better: Better,
    wanted: f64,
    floor: f64,
    unit: &'static str,
    /// For a floor that docs/performance.md shows to be out of reach: what a release fails at instead, so that it
    /// does not get worse unseen.
    known: Option<f64>,
}

/// All goals that are measured here; P5 compares with another engine and is measured elsewhere.
const GOALS: [Goal; 19] = [
    goal("P1", "ticks a step, 100 k live cases, p99", Better::Less, 8.0, f64::INFINITY, "ticks"),
    goal("P1 p50", "ticks a step, 100 k live cases, p50", Better::Less, 8.0, 16.0, "ticks"),
    goal("P1b 1M", "ticks a step, 1 M live cases, p50", Better::Less, 12.0, 32.0, "ticks"),
    goal("P1b 4M", "ticks a step, 4 M live cases, p50", Better::Less, 30.0, 64.0, "ticks"),
    goal("P2", "single durable steps over HTTP / smallest honest server", Better::More, 0.8, 0.4, ""),
    goal("P3", "p50 of one durable step / one append", Better::Less, 1.3, 2.0, ""),
    goal("P4 256", "durable steps by /batch / appends of as many bytes", Better::More, 0.5, 0.1, ""),
    goal("P4 1024", "durable steps by /batch / appends of as many bytes", Better::More, 0.5, 0.1, "")
        .known(0.02),
    goal("P4 4096", "durable steps by /batch / appends of as many bytes", Better::More, 0.5, 0.1, "")
        .known(0.006),
    goal("P6", "throughput with many closed cases / with none", Better::More, 0.95, 0.8, ""),
    goal("P7", "anonymous memory a live idle case", Better::Less, 256.0, 1024.0, "B"),
    goal("P8", "bytes written to the device / bytes of records", Better::Less, 5.0, 10.0, ""),
    goal("P9", "start after kill -9 until /health is 200", Better::Less, 2.0, 10.0, "s"),
    goal("P10 verify", "state verify / cat of the same files, out of the cache", Better::Less, 2.0, 6.0, "")
        .known(30.0),
    goal("P10 backup", "backup create / tar through the same compressor", Better::Less, 1.1, 2.0, ""),
    goal("P10 archive", "workflow archive / tar through the same compressor", Better::Less, 1.1, 2.0, "")
        .known(20.0),
    goal("P11", "stripped static binary", Better::Less, 10.0, 20.0, "MB"),
    goal(
        "P12 create",
        "p99 of one client beside 10,000 tasks at the step limit / alone",
        Better::Less,
        5.0,
        10.0,
        "",
    ),
    goal(
        "P12 batch",
        "p99 of one client beside a batch of 10,000 such lines / alone",
        Better::Less,
        5.0,
        10.0,
        "",
    ),
];

const fn goal(
    name: &'static str,
    what: &'static str,
    better: Better,
    wanted: f64,
    floor: f64,
    unit: &'static str,
) -> Goal {
    Goal { name, what, better, wanted, floor, unit, known: None }
}

impl Goal {
    /// Returns the goal with a floor that is known to be out of reach.
    const fn known(self, bound: f64) -> Self {
        Self { known: Some(bound), ..self }
    }

    /// Tells whether a figure is no worse than a bound.
    fn is_within(&self, figure: f64, bound: f64) -> bool {
        match self.better {
            Better::More => figure >= bound,
            Better::Less => figure <= bound,
        }
    }
}

/// What was measured for one goal.
pub(crate) struct Row {
    name: &'static str,
    rounds: Vec<f64>,
    said: String,
    detail: Value,
    is_judged: bool,
}

impl Row {
    /// Makes a row of the rounds' figures; no rounds say that it was not measured, and `said` why.
    pub(crate) fn new(name: &'static str, rounds: &[f64], said: String, detail: Value) -> Self {
        Self { name, rounds: rounds.to_vec(), said, detail, is_judged: true }
    }

    /// Returns the row without a verdict, and why there is none.
    pub(crate) fn unjudged(mut self, why: &str) -> Self {
        self.is_judged = false;
        self.said += "; ";
        self.said += why;
        self
    }

    /// Returns its place in the table.
    pub(crate) fn place(&self) -> usize {
        GOALS.iter().position(|goal| goal.name == self.name).unwrap_or(usize::MAX)
    }

    /// Returns the row as it goes to the file: the table is made from this alone.
    pub(crate) fn json(&self) -> Value {
        let goal = GOALS.iter().find(|goal| goal.name == self.name).expect("invariant: rows are of goals");
        let spread = Spread::of(&self.rounds);
        let is_within = |bound: f64| goal.is_within(spread.median, bound);
        let verdict = if self.rounds.is_empty() {
            "not measured"
        } else if !self.is_judged {
            "not judged"
        } else if is_within(goal.wanted) {
            "goal met"
        } else if is_within(goal.floor) {
            "above floor"
        } else if goal.known.is_some_and(is_within) {
            "below floor, as known"
        } else {
            "BELOW FLOOR"
        };
        let sign = if goal.better == Better::More { ">=" } else { "<=" };
        let bound = |value: f64| {
            if value.is_finite() {
                format!("{sign} {value} {}", goal.unit).trim_end().to_owned()
            } else {
                "-".to_owned()
            }
        };
        json!({
            "name": goal.name,
            "what": goal.what,
            "goal": bound(goal.wanted),
            "floor": bound(goal.floor),
            "unit": goal.unit,
            "measured": spread.json(),
            "rounds": self.rounds.iter().map(|value| short(*value)).collect::<Vec<_>>(),
            "said": self.said,
            "verdict": verdict,
            "detail": self.detail,
        })
    }
}

/// Returns the names of rows that fail a release.
pub(crate) fn below_floor(rows: &[Value]) -> Vec<String> {
    let failed = rows.iter().filter(|row| row["verdict"] == "BELOW FLOOR");
    failed
        .map(|row| format!("{} {}", row["name"].as_str().unwrap_or_default(), row["measured"]["median"]))
        .collect()
}
