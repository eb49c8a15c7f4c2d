//! The text of `/metrics` back to figures. Pure.

use serde::Serialize;

/// What the service said of itself at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A line of the page cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number} of the service's figures cannot be understood: {line}")]
pub struct Misread {
    /// Which, from 1.
    pub number: usize,
    /// As it stands there.
    pub line: String,
}

/// A distribution over buckets.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// Values in all.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Upper edge of each bucket and the values up to it; the last has no edge.
    pub buckets: Vec<Bucket>,
}

/// Values up to an edge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bucket {
    /// The edge; `None` for the last bucket.
    pub le: Option<f64>,
    /// Values up to it.
    pub count: u64,
}

impl Page {
    /// Reads Prometheus text, as the service writes it.
    ///
    /// # Errors
    /// A line is none of that.
    pub fn read(text: &str) -> Result<Self, Misread> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|(at, line)| {
            sample(line).ok_or_else(|| Misread { number: at + 1, line: line.chars().take(200).collect() })
        });
        Ok(Self { samples: samples.collect::<Result<_, _>>()? })
    }

    /// Returns a figure that has no labels; 0 when it is not there, as it is with a service of another version.
    pub fn value(&self, name: &str) -> f64 {
        let found = self.samples.iter().find(|sample| sample.name == name && sample.labels.is_empty());
        found.map_or(0.0, |sample| sample.value)
    }

    /// Returns the figures of a family by their one label, in the order of the page.
    pub fn family(&self, name: &str) -> Vec<(&str, f64)> {
        let members = self.samples.iter().filter(|sample| sample.name == name);
        members.filter_map(|sample| Some((sample.labels.first()?.1.as_str(), sample.value))).collect()
    }

    /// Returns all figures of a name with their labels.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a [(String, String)], f64)> {
        let members = self.samples.iter().filter(move |sample| sample.name == name);
        members.map(|sample| (sample.labels.as_slice(), sample.value))
    }

    /// Returns a figure of a family; 0 when it is not there.
    pub fn of(&self, name: &str, label: &str) -> f64 {
        self.family(name).into_iter().find(|member| member.0 == label).map_or(0.0, |member| member.1)
    }

    /// Returns the value of a label of a figure, such as the version of the build.
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        let sample = self.samples.iter().find(|sample| sample.name == name)?;
        Some(sample.labels.iter().find(|known| known.0 == label)?.1.as_str())
    }

    /// Returns a distribution without labels of its own; an empty one when it is not there.
    pub fn distribution(&self, name: &str) -> Distribution {
        self.distributions(name)
            .into_iter()
            .find(|found| found.0.is_empty())
            .map_or_else(Distribution::default, |found| found.1)
    }

    /// Returns the distributions of a family with their labels, the edges aside.
    pub fn distributions(&self, name: &str) -> Vec<(Vec<(String, String)>, Distribution)> {
        let mut found: Vec<(Vec<(String, String)>, Distribution)> = Vec::new();
        for sample in &self.samples {
            let Some(part) = sample.name.strip_prefix(name) else { continue };
            if !matches!(part, "_bucket" | "_sum" | "_count") {
                continue;
            }
            let mut labels = sample.labels.clone();
            labels.retain(|label| label.0 != "le");
            let place = found.iter().position(|known| known.0 == labels).unwrap_or(found.len());
            if place == found.len() {
                found.push((labels, Distribution::default()));
            }
            let distribution = &mut found[place].1;
            match part {
                "_sum" => distribution.sum = sample.value,
                "_count" => distribution.count = whole(sample.value),
                _ => {
                    let edge =
                        sample.labels.iter().find(|label| label.0 == "le").map(|label| label.1.as_str());
                    let le = edge.and_then(|edge| edge.parse().ok()).filter(|edge: &f64| edge.is_finite());
                    distribution.buckets.push(Bucket { le, count: whole(sample.value) });
                }
            }
        }
        found
    }
}

impl Distribution {
    /// Returns what came since `before`, a look at the same distribution; all of it when that is no such look.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if before.buckets.len() != self.buckets.len() || before.count > self.count {
            return self.clone();
        }
        let buckets = self.buckets.iter().zip(&before.buckets);
        let buckets = buckets
            .map(|(now, then)| Bucket { le: now.le, count: now.count.saturating_sub(then.count) })
            .collect();
        Self { count: self.count - before.count, sum: (self.sum - before.sum).max(0.0), buckets }
    }

    /// Returns the mean; `None` without values.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Returns the edges between which the value lies below which `percent` of all are. The lower is 0 in the first bucket,
    /// the upper is missing in the last. `None` without values.
    pub fn percentile(&self, percent: u64) -> Option<(f64, Option<f64>)> {
        if self.count == 0 {
            return None;
        }
        let rank = (self.count * percent).div_ceil(100).max(1);
        let at = self.buckets.iter().position(|bucket| bucket.count >= rank)?;
        let lower = at.checked_sub(1).and_then(|before| self.buckets[before].le).unwrap_or(0.0);
        Some((lower, self.buckets[at].le))
    }

    /// Returns how many values lie at or below an edge; 0 when there is no such edge.
    pub fn up_to(&self, edge: f64) -> u64 {
        let is_edge = |bucket: &&Bucket| bucket.le.is_some_and(|le| (le - edge).abs() < f64::EPSILON);
        self.buckets.iter().find(is_edge).map_or(0, |bucket| bucket.count)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match head.split_once('{') {
        None => (head, Vec::new()),
        Some((name, labels)) => (name, read_labels(labels.strip_suffix('}')?)?),
    };
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
    is_name.then(|| Sample { name: name.to_owned(), labels, value })
}

/// Reads `a="b",c="d"`. The service's labels hold no quotes.
fn read_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = rest.split_once('"')?;
        labels.push((name.to_owned(), value.to_owned()));
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::metrics::labels::{Cache, Route, Status};

    fn page(metrics: &Metrics) -> Page {
        Page::read(&metrics.render(false)).unwrap()
    }

    #[test]
    fn what_the_service_writes_is_read_back() {
        let metrics = Metrics::new();
        let before = page(&metrics);
        metrics.hot_path_ticks.observe_mean(2_560, 256);
        metrics.cases_read_back.add(3);
        metrics.cache_bytes.of(Cache::Cases).set(77);
        metrics.http_request_us.of((Route::CaseGet, Status::of(200))).observe(99);
        let page = page(&metrics);
        assert_eq!((page.value("knhk_cases_read_back_total"), page.value("nothing")), (3.0, 0.0));
        assert_eq!(page.family("knhk_cache_bytes")[0], ("cases", 77.0));
        assert_eq!(page.label("knhk_build_info", "version"), Some(env!("CARGO_PKG_VERSION")));
        let ticks = page.distribution("knhk_hot_path_ticks");
        assert_eq!(
            (ticks.count, ticks.mean(), ticks.percentile(99)),
            (256, Some(10.0), Some((9.0, Some(10.0))))
        );
        assert_eq!(ticks.since(&before.distribution("knhk_hot_path_ticks")), ticks);
        assert_eq!(ticks.since(&ticks).percentile(50), None);
        let routes = page.distributions("knhk_http_request_seconds");
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].0[0], ("route".to_owned(), "GET /cases/{id}".to_owned()));
        assert_eq!(routes[0].1.up_to(0.0001), 1);
    }

    #[test]
    fn percentiles_lie_between_edges() {
        let bucket = |le, count| Bucket { le, count };
        let buckets = vec![bucket(Some(1.0), 1), bucket(Some(2.0), 99), bucket(None, 100)];
        let found = Distribution { count: 100, sum: 200.0, buckets };
        assert_eq!(found.percentile(1), Some((0.0, Some(1.0))));
        assert_eq!(found.percentile(2), Some((1.0, Some(2.0))));
        assert_eq!(found.percentile(99), Some((1.0, Some(2.0))));
        assert_eq!(found.percentile(100), Some((2.0, None)));
        assert_eq!(Distribution::default().percentile(50), None);
    }

    #[test]
    fn other_text_is_refused_with_its_line() {
        for wrong in ["knhk_x", "knhk_x{a=\"b\" 1", "knhk x y 1", "knhk_x{a=b} 1", "{} 1"] {
            let text = format!("# HELP\nknhk_y 1\n{wrong}\n");
            let misread = Page::read(&text).unwrap_err();
            assert_eq!((misread.number, misread.line.as_str()), (3, wrong));
        }
    }
}
