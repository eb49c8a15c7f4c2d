//! Numbers of many rounds to a few that say what was measured.

use serde_json::{Value, json};

/// Returns the value that this share of all, in percent, does not exceed; not a number when there is none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let at = ((sorted.len() as f64 * percent / 100.0) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Median and spread of the rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// The middle round; the lower of two.
    pub(crate) median: f64,
    /// The lowest.
    pub(crate) low: f64,
    /// The highest.
    pub(crate) high: f64,
}

impl Spread {
    /// Sums up the rounds.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { median: at(last / 2), low: at(0), high: at(last) }
    }

    /// Returns the form in files.
    pub(crate) fn json(self) -> Value {
        json!({ "median": short(self.median), "low": short(self.low), "high": short(self.high) })
    }
}

/// Returns a number with four digits that count.
pub(crate) fn short(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    format!("{value:.3e}").parse::<f64>().map_or(Value::Null, |value| json!(value))
}
