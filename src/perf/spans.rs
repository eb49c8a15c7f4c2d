//! What a service did in a span of time, from two looks at its figures. Pure.

use serde::Serialize;

use super::exposition::{Distribution, Page};
use super::rules::{Cache, Disk, HeavyNet, Markings, Waves};

/// A span.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Its length.
    pub seconds: f64,
    /// Steps of the hot path.
    pub steps: u64,
    /// Ticks of these steps.
    pub ticks: u64,
    /// Waves that they came in.
    pub waves: u64,
    /// Seconds of commits.
    pub commits: Distribution,
    /// Cases read back.
    pub read_back: u64,
    /// Bytes of cases in memory at the end.
    pub cases_bytes: u64,
    /// Bytes that they may take.
    pub cases_limit_bytes: u64,
    /// Steps by the size of their wave.
    pub by_wave: Vec<Spent>,
    /// Steps by how the markings of their wave are held.
    pub by_markings: Vec<Spent>,
    /// Steps by the joins that their wave asks.
    pub by_join: Vec<Spent>,
}

/// Steps of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// The kind.
    pub kind: String,
    /// How many.
    pub steps: u64,
    /// Their ticks.
    pub ticks: u64,
}

impl Spent {
    /// Returns their mean; `None` without steps.
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of a service's life are below 2^63, and a mean need not be exact"
    )]
    pub fn ticks_a_step(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.ticks as f64 / self.steps as f64)
    }
}

impl Seen {
    /// Returns what came between two looks, `seconds` apart; an empty page is the look of before the start.
    pub fn between(first: &Page, last: &Page, seconds: f64) -> Self {
        let grown = |name: &str| whole(last.value(name) - first.value(name));
        let spent = |by: &str| spent(first, last, by);
        let by_wave = spent("wave");
        let waves = last
            .distribution("knhk_hot_path_wave_steps")
            .since(&first.distribution("knhk_hot_path_wave_steps"));
        let name = "knhk_journal_commit_seconds";
        Self {
            seconds,
            steps: by_wave.iter().map(|spent| spent.steps).sum(),
            ticks: by_wave.iter().map(|spent| spent.ticks).sum(),
            waves: waves.count,
            commits: last.distribution(name).since(&first.distribution(name)),
            read_back: grown("knhk_cases_read_back_total"),
            cases_bytes: whole(last.of("knhk_cache_bytes", "cases")),
            cases_limit_bytes: whole(last.of("knhk_cache_limit_bytes", "cases")),
            by_wave,
            by_markings: spent("markings"),
            by_join: spent("join"),
        }
    }

    /// Returns this span if it tells enough, otherwise the other, which is longer.
    #[must_use]
    pub fn or<'a>(&'a self, longer: &'a Self, tells: impl Fn(&Self) -> bool) -> &'a Self {
        if tells(self) { self } else { longer }
    }

    /// Returns what [`super::rules::cache`] looks at.
    pub fn cache(&self, memory_bytes: Option<u64>) -> Cache {
        Cache {
            bytes: self.cases_bytes,
            limit_bytes: self.cases_limit_bytes,
            read_back: self.read_back,
            steps: self.steps,
            memory_bytes,
        }
    }

    /// Returns what [`super::rules::disk`] looks at.
    pub fn disk(
        &self,
        waited_us_mean: Option<u64>,
        sync_us_fastest_tenth: Option<u64>,
        command_us_max: u64,
    ) -> Disk {
        let least = |percent| self.commits.percentile(percent).map_or(0, |edges| in_us(edges.0));
        Disk {
            commits: self.commits.count,
            commit_us_p50_min: least(50),
            commit_us_p99_min: least(99),
            commit_us_mean: in_us(self.commits.mean().unwrap_or(0.0)),
            waited_us_mean,
            sync_us_fastest_tenth,
            command_us_max,
        }
    }

    /// Returns what [`super::rules::nets`] looks at. Waves of several kinds tell nothing.
    pub fn markings(&self, nets: Vec<HeavyNet>) -> Markings {
        let of = |is: &dyn Fn(&str) -> bool| {
            self.by_markings.iter().filter(|spent| is(&spent.kind)).map(|spent| spent.steps).sum()
        };
        Markings {
            steps: of(&|kind| kind != "mixed"),
            heavy_steps: of(&|kind| kind != "mixed" && kind != "bits"),
            nets,
        }
    }

    /// Returns what [`super::rules::waves`] looks at.
    #[expect(clippy::cast_precision_loss, reason = "ticks of a watch are below 2^52")]
    pub fn waves(&self, ticks_a_step_large: f64) -> Waves {
        Waves {
            seconds: self.seconds,
            steps: self.steps,
            waves: self.waves,
            ticks_a_step: if self.steps == 0 { 0.0 } else { self.ticks as f64 / self.steps as f64 },
            ticks_a_step_large,
            commits: self.commits.count,
            commit_seconds: self.commits.sum,
        }
    }
}

fn spent(first: &Page, last: &Page, by: &str) -> Vec<Spent> {
    let (steps, ticks) =
        (format!("knhk_hot_path_steps_by_{by}_total"), format!("knhk_hot_path_ticks_by_{by}_total"));
    let kinds = last.family(&steps).into_iter();
    kinds
        .map(|(kind, now)| Spent {
            kind: kind.to_owned(),
            steps: whole(now - first.of(&steps, kind)),
            ticks: whole(last.of(&ticks, kind) - first.of(&ticks, kind)),
        })
        .collect()
}

/// A service that started anew between two looks has less than before: that is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole, and below zero is cut off"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

fn in_us(seconds: f64) -> u64 {
    whole(seconds * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::metrics::labels::{Markings as Kind, WaveSize};

    #[test]
    fn a_span_is_what_came_between_two_looks() {
        let metrics = Metrics::new();
        let page = || Page::read(&metrics.render(false)).unwrap();
        metrics.hot_path_by_wave.of(WaveSize::One).add(10, 5_000);
        metrics.journal_commit_us.observe(700);
        let first = page();
        metrics.hot_path_by_wave.of(WaveSize::Many).add(200, 2_000);
        metrics.hot_path_wave_steps.observe(200);
        for (kind, steps) in [(Kind::Bits, 100), (Kind::WideBits, 60), (Kind::Mixed, 40)] {
            metrics.hot_path_by_markings.of(kind).add(steps, 1);
        }
        metrics.journal_commit_us.observe(6_000);
        metrics.journal_commit_us.observe(70_000);
        let last = page();
        let seen = Seen::between(&first, &last, 2.0);
        assert_eq!((seen.steps, seen.ticks, seen.waves, seen.commits.count), (200, 2_000, 1, 2));
        let markings = seen.markings(Vec::new());
        assert_eq!((markings.steps, markings.heavy_steps), (160, 60));
        let disk = seen.disk(Some(3), None, 9);
        assert_eq!((disk.commits, disk.commit_us_p50_min, disk.commit_us_p99_min), (2, 5_000, 50_000));
        assert_eq!(disk.commit_us_mean, 38_000);
        let total = Seen::between(&Page::default(), &last, 9.0);
        assert_eq!((total.steps, total.commits.count), (210, 3));
        assert!(seen.or(&total, |seen| seen.steps > 200) == &total);
        // Another process since the first look.
        assert_eq!(Seen::between(&last, &first, 2.0).steps, 0);
    }
}
