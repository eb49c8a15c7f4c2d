//! What was measured, and the page and pictures that show it: all are made from the files of the runs.
//!
//! `scripts/bench --record` writes the files; `UPDATE_EXPECT=1` writes page and pictures anew.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use serde_json::{Value, json};

use crate::support::wait;

#[path = "../../benches/end_to_end/plot.rs"]
mod plot;
#[path = "../../benches/end_to_end/table.rs"]
mod table;

/// Between these lines of docs/performance.md is what `table` makes.
const BEGIN: &str = "<!-- made from docs/measurements/bench.json -->\n";
/// And between these what a soak was.
const BEGIN_SOAK: &str = "<!-- made from docs/measurements/soak.json -->\n";
const END: &str = "<!-- end -->\n";
/// Stands there until a run is recorded.
const NOTHING: &str = "No run has been recorded yet: `scripts/bench --full --record` does.\n";
/// Goals that the page has a line for.
const GOALS: [&str; 12] = ["P1", "P1b", "P2", "P3", "P4", "P6", "P7", "P8", "P9", "P10", "P11", "P12"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn recorded(name: &str) -> Option<Value> {
    let text = fs::read_to_string(docs().join("measurements").join(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Holds what stands on the page behind a line against what was made, or writes it there.
fn check_page(begin: &str, made: &str) {
    let path = docs().join("performance.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(begin).expect("a place for it");
    let (found, after) = rest.split_once(END).expect("an end of that place");
    if found != made && wait::variable("UPDATE_EXPECT").is_some() {
        fs::write(&path, [before, begin, made, END, after].concat()).unwrap();
        return;
    }
    assert!(found == made, "docs/performance.md is not of this run; UPDATE_EXPECT=1 writes it anew");
}

/// Says what a soak was: half of its samples are below a median.
fn soak_text(run: &Value) -> String {
    let samples = run["samples"].as_array().unwrap();
    let column = |of: &dyn Fn(&Value) -> &Value| {
        let mut column: Vec<f64> = samples.iter().filter_map(|sample| of(sample).as_f64()).collect();
        column.sort_by(f64::total_cmp);
        column
    };
    let median = |name: &str| column(&|sample| &sample[name]).get(samples.len() / 2).copied().unwrap_or(0.0);
    let most = |of: &dyn Fn(&Value) -> &Value| column(of).last().copied().unwrap_or(0.0);
    let verdict = run["verdict"].as_array().unwrap();
    let verdict = if verdict.is_empty() { "nothing was found" } else { "see the file for what was found" };
    format!(
        "`{}`, commit {}, {}, {} cores of {}, others used {:.0} % of the processors: {verdict}.\n\n\
         | Steps/s, single | Steps/s, batch | p50, ms | p99, ms | Longest, ms | Memory, MB, median | Most | Journal, GB, most | Snapshots, MB, most |\n\
         |---|---|---|---|---|---|---|---|---|\n\
         | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} |\n",
        run["run"]["command"].as_str().unwrap(),
        run["machine"]["commit"].as_str().unwrap(),
        run["machine"]["date"].as_str().unwrap(),
        run["machine"]["cores"],
        run["machine"]["processor"].as_str().unwrap(),
        run["run"]["others_percent"].as_f64().unwrap(),
        median("steps_per_second"),
        median("batch_steps_per_second"),
        median("p50_us") / 1e3,
        median("p99_us") / 1e3,
        most(&|sample| &sample["max_us"]) / 1e3,
        median("anonymous_bytes") / 1e6,
        most(&|sample| &sample["anonymous_bytes"]) / 1e6,
        most(&|sample| &sample["bytes"]["state/journal"]) / 1e9,
        most(&|sample| &sample["bytes"]["state/snapshot"]) / 1e6,
    )
}

#[test]
fn the_page_has_the_figures_of_the_recorded_run() {
    check_page(BEGIN, &recorded("bench.json").map_or(NOTHING.to_owned(), |run| table::markdown(&run)));
    check_page(BEGIN_SOAK, &recorded("soak.json").map_or(NOTHING.to_owned(), |run| soak_text(&run)));
}

#[test]
fn the_page_says_why_for_every_goal() {
    let page = fs::read_to_string(docs().join("performance.md")).unwrap();
    for goal in GOALS {
        assert!(page.contains(&format!("| {goal} |")), "docs/performance.md has no line for {goal}");
    }
}

#[test]
fn pictures_show_the_recorded_runs() {
    let pictures = recorded("bench.json").map(|run| plot::all(&run)).unwrap_or_default();
    let soak = recorded("soak.json").map(|run| plot::soak(&run)).unwrap_or_default();
    for (name, picture) in pictures.into_iter().chain(soak) {
        expect_file![docs().join("measurements").join(name)].assert_eq(&picture);
    }
}

/// A run with one figure of each kind, so that tables and pictures are looked at also when nothing is recorded.
fn some() -> Value {
    let spread = |value: f64| json!({ "median": value, "low": value / 2.0, "high": value * 2.0 });
    let row = |name, verdict: &str, median: Value| {
        json!({ "name": name, "what": "w", "goal": ">= 0.8", "floor": ">= 0.4", "unit": "s", "verdict": verdict,
            "said": "1 of 2", "measured": { "median": median, "low": 0.5, "high": 120.0 } })
    };
    let point =
        |cases: u64| json!({ "live_cases": cases, "steps_per_second": spread(50.0), "start_s": spread(1.0) });
    json!({
        "machine": { "processor": "X", "cores": 2 },
        "run": { "command": "scripts/bench", "rounds": 5, "slice_s": 2.0, "others_percent": 3.0 },
        "rows": [row("P2", "goal met", json!(0.9)), row("P11", "not measured", Value::Null)],
        "live": [point(1_000), point(10_000)],
    })
}

#[test]
fn tables_say_what_was_measured_and_what_was_not() {
    expect_test::expect![[r"
        `scripts/bench`, commit -, -, on 2 cores of X, - MB, Linux -, -; others used 3.00 % of the processors; 5 rounds of 2.0 s.

        | Goal | What | Goal | Floor | Median | Spread | Verdict | Measured |
        |---|---|---|---|---|---|---|---|
        | P2 | w | >= 0.8 | >= 0.4 | 0.90 s | 0.50 to 120 | goal met | 1 of 2 |
        | P11 | w | >= 0.8 | >= 0.4 | - | - | not measured | 1 of 2 |

        | Live cases | Steps/s, single | Of the smallest server | Steps/s, batch | Of appends | Anonymous B a case | State B a case | Start, s | Cold, s |
        |---|---|---|---|---|---|---|---|---|
        | 1000 | 50.0 | - | - | - | - | - | 1.00 | - |
        | 10000 | 50.0 | - | - | - | - | - | 1.00 | - |
    "]]
    .assert_eq(&table::markdown(&some()));
    assert_eq!(table::text(&some()).lines().filter(|line| line.starts_with("|-")).count(), 0);
}

#[test]
fn pictures_are_made_of_what_has_two_points_or_more() {
    let pictures = plot::all(&some());
    let names: Vec<&str> = pictures.iter().map(|picture| picture.0).collect();
    assert_eq!(names, ["live-throughput.svg", "live-start.svg"]);
    for (name, picture) in &pictures {
        assert!(roxmltree::Document::parse(picture).is_ok(), "{name}");
        assert_eq!(picture.matches("<circle").count(), 2, "{name}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{name}");
    }
    let samples = [json!({ "at_s": 5.0, "p50_us": 100.0, "bytes": { "cache": 1 } }), json!({ "at_s": 10.0 })];
    let soak = plot::soak(&json!({ "samples": samples }));
    assert_eq!(soak.len(), 3);
    assert!(soak.iter().all(|picture| roxmltree::Document::parse(&picture.1).is_ok()));
}
