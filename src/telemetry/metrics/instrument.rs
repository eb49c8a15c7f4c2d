//! What a figure can be: a count, a level, a distribution, and a family of these by label.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::labels::Labels;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the hot path spent on some steps.
#[derive(Debug, Default)]
pub struct Spent {
    /// The steps.
    pub steps: Counter,
    /// Their ticks together.
    pub ticks: Counter,
}

impl Spent {
    /// Adds a wave.
    pub fn add(&self, steps: u64, ticks: u64) {
        self.steps.add(steps);
        self.ticks.add(ticks);
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the value; beyond the largest it stays there.
    pub fn set(&self, value: u64) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Adds `change`, which may be negative.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Returns the present value. Below zero only while threads count at the same time.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution over fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    edges: &'static [u64],
    /// Observations by bucket; the last one has no upper edge.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Returns an empty histogram with these upper edges, which must grow.
    pub fn new(edges: &'static [u64]) -> Self {
        assert!(edges.is_sorted_by(|a, b| a < b), "invariant: bucket edges grow");
        let buckets = (0..=edges.len()).map(|_| AtomicU64::new(0)).collect();
        Self { edges, buckets, sum: AtomicU64::new(0) }
    }

    /// Records one value.
    pub fn observe(&self, value: u64) {
        self.observe_mean(value, 1);
    }

    /// Records `count` observations that are `total` together, each as their mean. Exact: no rounding.
    pub fn observe_mean(&self, total: u64, count: u64) {
        if count == 0 {
            return;
        }
        let bucket =
            self.edges.partition_point(|&edge| u128::from(edge) * u128::from(count) < u128::from(total));
        self.buckets[bucket].fetch_add(count, Ordering::Relaxed);
        self.sum.fetch_add(total, Ordering::Relaxed);
    }

    /// Returns how many values were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Returns the sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Returns (upper edge, observations up to it), the last without an edge. The counts never shrink.
    pub(super) fn cumulative(&self) -> Vec<(Option<u64>, u64)> {
        let mut seen = 0;
        let edges = self.edges.iter().copied().map(Some).chain([None]);
        edges
            .zip(&self.buckets)
            .map(|(edge, bucket)| {
                seen += bucket.load(Ordering::Relaxed);
                (edge, seen)
            })
            .collect()
    }
}

/// One figure for each value of a closed set of labels.
#[derive(Debug)]
pub struct Family<L, I> {
    members: Box<[I]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, I> Family<L, I> {
    pub(super) fn new(make: impl Fn() -> I) -> Self {
        Self { members: (0..L::COUNT).map(|_| make()).collect(), labels: PhantomData }
    }

    /// Returns the figure of one label.
    pub fn of(&self, label: L) -> &I {
        &self.members[label.index()]
    }

    /// Returns every figure with the text of its labels.
    pub(super) fn members(&self) -> impl Iterator<Item = (String, &I)> {
        self.members.iter().enumerate().map(|(index, member)| (L::text(index), member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_counts_in_the_bucket_of_its_exact_value() {
        let histogram = Histogram::new(&[1, 8, 10]);
        histogram.observe_mean(256 * 8, 256);
        histogram.observe_mean(256 * 8 + 1, 256);
        histogram.observe(11);
        histogram.observe(0);
        histogram.observe_mean(5, 0);
        histogram.observe_mean(u64::MAX, 2);
        assert_eq!(histogram.cumulative(), [(Some(1), 1), (Some(8), 257), (Some(10), 513), (None, 516)]);
        assert_eq!(histogram.count(), 516);
    }
}
