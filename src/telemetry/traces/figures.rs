//! The service's figures as OTLP has them, made from the page that Prometheus gets, so that the two never differ.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use crate::id::Time;
use crate::telemetry::metrics::names::{self, Description, Kind};

/// Every figure is counted from the start of the process.
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Returns the figures of a page in the Prometheus text format 0.0.4, which were counted from `start` until `now`.
pub fn figures(page: &str, start: Time, now: Time) -> Vec<Metric> {
    let times = Times { start_ns: nanoseconds(start), now_ns: nanoseconds(now) };
    let mut metrics: Vec<Metric> = Vec::new();
    let mut family = None;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("# TYPE ") {
            let name = heading.split(' ').next().unwrap_or_default();
            family = names::ALL.iter().find(|about| about.name == name);
            metrics.extend(family.map(empty));
        } else if let (Some(about), Some(metric), Some(sample)) = (family, metrics.last_mut(), read(line)) {
            add(metric, about, sample, times);
        }
    }
    metrics.retain(has_points);
    metrics
}

#[derive(Clone, Copy)]
struct Times {
    start_ns: u64,
    now_ns: u64,
}

struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: &'a str,
}

/// Reads a line that is no comment. Values of labels are the service's own and have neither quotes nor escapes in them.
fn read(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    if series.starts_with('#') {
        return None;
    }
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample { name: series, labels: Vec::new(), value });
    };
    let labels = labels.strip_suffix("\"}")?.split("\",").map(|label| label.split_once("=\""));
    Some(Sample { name, labels: labels.collect::<Option<_>>()?, value })
}

fn empty(about: &Description) -> Metric {
    let unit = match about.unit {
        "seconds" => "s",
        "bytes" => "By",
        "hertz" => "Hz",
        other => other,
    };
    let data = match about.kind {
        Kind::Counter => {
            Data::Sum(Sum { data_points: vec![], aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        Kind::Gauge | Kind::Info => Data::Gauge(Gauge { data_points: vec![] }),
        Kind::Histogram => {
            Data::Histogram(Histogram { data_points: vec![], aggregation_temporality: CUMULATIVE })
        }
    };
    Metric {
        name: about.name.to_owned(),
        description: about.help.to_owned(),
        unit: unit.to_owned(),
        metadata: vec![],
        data: Some(data),
    }
}

fn has_points(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        _ => false,
    }
}

fn add(metric: &mut Metric, about: &Description, sample: Sample<'_>, times: Times) {
    match &mut metric.data {
        Some(Data::Sum(sum)) => sum.data_points.extend(number(&sample, times)),
        Some(Data::Gauge(gauge)) => gauge.data_points.extend(number(&sample, times)),
        Some(Data::Histogram(histogram)) => {
            let part = sample.name.strip_prefix(about.name).unwrap_or_default();
            add_to_histogram(&mut histogram.data_points, part, &sample, times);
        }
        _ => {}
    }
}

fn number(sample: &Sample<'_>, times: Times) -> Option<NumberDataPoint> {
    let value = match sample.value.parse() {
        Ok(integer) => Value::AsInt(integer),
        Err(_) => Value::AsDouble(sample.value.parse().ok()?),
    };
    Some(NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: times.start_ns,
        time_unix_nano: times.now_ns,
        exemplars: vec![],
        flags: 0,
        value: Some(value),
    })
}

/// Adds one line of a histogram: buckets come first and ascending, then the sum, then the count.
fn add_to_histogram(points: &mut Vec<HistogramDataPoint>, part: &str, sample: &Sample<'_>, times: Times) {
    let labels: Vec<_> = sample.labels.iter().copied().filter(|(name, _)| *name != "le").collect();
    let attributes = attributes(&labels);
    if points.last().is_none_or(|point| point.attributes != attributes) {
        let start_time_unix_nano = times.start_ns;
        let time_unix_nano = times.now_ns;
        points.push(HistogramDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            ..HistogramDataPoint::default()
        });
    }
    let point = points.last_mut().expect("invariant: there is one now");
    match part {
        "_bucket" => {
            let before: u64 = point.bucket_counts.iter().sum();
            let seen = sample.value.parse().unwrap_or(before);
            point.bucket_counts.push(seen.saturating_sub(before));
            let edge = sample.labels.iter().find(|(name, _)| *name == "le").map(|(_, edge)| *edge);
            point
                .explicit_bounds
                .extend(edge.filter(|edge| *edge != "+Inf").and_then(|edge| edge.parse::<f64>().ok()));
        }
        "_sum" => point.sum = sample.value.parse().ok(),
        "_count" => point.count = sample.value.parse().unwrap_or_default(),
        _ => {}
    }
}

fn attributes(labels: &[(&str, &str)]) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(name, value)| attribute(name, any_value::Value::StringValue((*value).to_owned())))
        .collect()
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanoseconds(time: Time) -> u64 {
    time.0.saturating_mul(1_000)
}
