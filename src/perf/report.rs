//! What a running service says of itself, as a document: every figure of `/metrics`, distributions with their percentiles.
//! Pure. docs/reference/performance-commands.md describes the document; members are added, never changed.

use serde_json::{Map, Value, json};

use super::exposition::{Distribution, Page};
use crate::telemetry::metrics::names::{self, Description, Kind};

/// Version of the document; it grows only if a member has to change its meaning.
pub const SCHEMA: u32 = 1;
/// Percentiles that are told of each distribution.
const PERCENTILES: [u64; 3] = [50, 90, 99];

/// Returns the build of this program. The commit is known where `KNHK_COMMIT` was set when it was built.
pub fn build() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": option_env!("KNHK_COMMIT"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

/// Returns all distributions that have values, in the order of the documentation.
pub fn distributions(page: &Page) -> Vec<Value> {
    let histograms = names::ALL.iter().filter(|about| about.kind == Kind::Histogram);
    let members = histograms
        .flat_map(|about| page.distributions(about.name).into_iter().map(move |found| (about, found)));
    members.map(|(about, (labels, found))| distribution(about, &labels, &found)).collect()
}

fn distribution(about: &Description, labels: &[(String, String)], found: &Distribution) -> Value {
    let percentiles: Map<String, Value> = PERCENTILES
        .iter()
        .map(|percent| {
            let edges = found.percentile(*percent);
            let edges = edges.map(|(least, most)| json!({ "at_least": least, "at_most": most }));
            (format!("p{percent}"), edges.unwrap_or(Value::Null))
        })
        .collect();
    let mut out = json!({
        "name": about.name,
        "help": about.help,
        "unit": about.unit,
        "labels": labels_of(labels),
        "count": found.count,
        "sum": found.sum,
        "mean": found.mean(),
    });
    if let Value::Object(members) = &mut out {
        members.extend(percentiles);
        members.insert("buckets".to_owned(), json!(found.buckets));
    }
    out
}

/// Returns all counts and levels, in the order of the documentation.
pub fn figures(page: &Page) -> Vec<Value> {
    let plain = names::ALL.iter().filter(|about| matches!(about.kind, Kind::Counter | Kind::Gauge));
    let members = plain.flat_map(|about| page.values(about.name).map(move |found| (about, found)));
    members
        .map(|(about, (labels, value))| {
            json!({
                "name": about.name,
                "help": about.help,
                "unit": about.unit,
                "labels": labels_of(labels),
                "value": number(value),
            })
        })
        .collect()
}

/// Returns whole numbers without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what has no fraction and is below 2^52 is kept as it is"
)]
fn number(value: f64) -> Value {
    const WHOLE_MAX: f64 = 4_503_599_627_370_496.0;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX { json!(value as i64) } else { json!(value) }
}

fn labels_of(labels: &[(String, String)]) -> Value {
    labels
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect::<Map<_, _>>()
        .into()
}
