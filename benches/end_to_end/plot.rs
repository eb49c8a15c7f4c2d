//! Figures as pictures: a small writer of SVG, enough for lines over an axis. Pure.

#![expect(clippy::format_push_string, reason = "texts are short, and this reads best")]

use std::fmt::Write as _;

use serde_json::Value;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 4] = ["#1f5fa8", "#b3471d", "#3d7a2d", "#6b3fa0"];

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0 on, evenly.
    Linear,
    /// By powers of ten.
    Log,
}

/// One line of a picture: points with how far they spread, low and high.
pub(crate) struct Series {
    /// What it is.
    pub(crate) name: String,
    /// Where, middle, low, high.
    pub(crate) points: Vec<(f64, f64, f64, f64)>,
}

/// What a picture is about.
pub(crate) struct Picture<'a> {
    /// Its heading.
    pub(crate) title: &'a str,
    /// What goes to the right.
    pub(crate) x: &'a str,
    /// How that is divided.
    pub(crate) x_scale: Scale,
    /// What goes up.
    pub(crate) y: &'a str,
    /// How that is divided.
    pub(crate) y_scale: Scale,
}

/// Returns the pictures of a run by the names of their files.
pub(crate) fn all(document: &Value) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let mut add = |file, title, x, key, y, scale, lines: &[(&str, &str)]| {
        let series: Vec<Series> = lines.iter().map(|(name, of)| series(document, key, name, of)).collect();
        if series.iter().any(|series| series.points.len() > 1) {
            let about = Picture { title, x, x_scale: Scale::Log, y, y_scale: scale };
            out.push((file, draw(&about, &series)));
        }
    };
    let single = ("single, over HTTP", "steps_per_second");
    let batch = ("by /batch", "batch_steps_per_second");
    add(
        "live-throughput.svg",
        "Durable steps a second",
        "live cases",
        "live",
        "steps/s",
        Scale::Log,
        &[single, batch],
    );
    let memory = ("anonymous memory", "anonymous_bytes_per_case");
    let state = ("state on disk", "state_bytes_per_case");
    add("live-bytes.svg", "Bytes a live case", "live cases", "live", "bytes", Scale::Log, &[memory, state]);
    let starts = [("after kill -9", "start_s"), ("files not cached", "start_cold_s")];
    add(
        "live-start.svg",
        "Start until /health is 200",
        "live cases",
        "live",
        "seconds",
        Scale::Linear,
        &starts,
    );
    let ratio = [("throughput, with / without", "ratio_to_none")];
    add(
        "closed-throughput.svg",
        "Throughput beside closed cases",
        "closed cases",
        "closed",
        "ratio",
        Scale::Linear,
        &ratio,
    );
    add(
        "closed-bytes.svg",
        "Bytes on disk a closed case",
        "closed cases",
        "closed",
        "bytes",
        Scale::Linear,
        &[state],
    );
    out
}

/// Returns the pictures of a long run by the names of their files.
pub(crate) fn soak(document: &Value) -> Vec<(&'static str, String)> {
    let samples = document["samples"].as_array().map_or(&[][..], Vec::as_slice);
    let line = |name: &str, scale: f64, value: &dyn Fn(&Value) -> Option<f64>| {
        let points = samples.iter().filter_map(|sample| {
            let y = value(sample)? / scale;
            Some((sample["at_s"].as_f64()? / 60.0, y, y, y))
        });
        Series { name: name.to_owned(), points: points.collect() }
    };
    let about = |title, y, y_scale| Picture { title, x: "minutes", x_scale: Scale::Linear, y, y_scale };
    let field = |key: &'static str| move |sample: &Value| sample[key].as_f64();
    let memory = [line("anonymous", 1e6, &field("anonymous_bytes"))];
    let mut kinds: Vec<String> = Vec::new();
    for sample in samples {
        let fresh = sample["bytes"].as_object().into_iter().flat_map(|bytes| bytes.keys());
        let fresh: Vec<String> = fresh.filter(|kind| !kinds.contains(kind)).cloned().collect();
        kinds.extend(fresh);
    }
    let disk: Vec<Series> = kinds
        .iter()
        .map(|kind| line(kind, 1e6, &|sample| Some(sample["bytes"][kind].as_f64().unwrap_or_default())))
        .collect();
    let latency = [
        line("p50", 1e3, &field("p50_us")),
        line("p99", 1e3, &field("p99_us")),
        line("slowest", 1e3, &field("max_us")),
    ];
    vec![
        ("soak-memory.svg", draw(&about("Memory under full load", "MB", Scale::Linear), &memory)),
        ("soak-disk.svg", draw(&about("State on disk under full load", "MB", Scale::Linear), &disk)),
        (
            "soak-latency.svg",
            draw(&about("Latency of single steps under full load", "ms", Scale::Log), &latency),
        ),
    ]
}

fn series(document: &Value, key: &str, name: &str, of: &str) -> Series {
    let x_key = format!("{key}_cases");
    let points = document[key].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(|point| {
        let x = point[&x_key].as_f64()?;
        let value = &point[of];
        if let Some(single) = value.as_f64() {
            return Some((x, single, single, single));
        }
        Some((x, value["median"].as_f64()?, value["low"].as_f64()?, value["high"].as_f64()?))
    });
    Series { name: name.to_owned(), points: points.collect() }
}

/// An axis: from a value to a place on the paper.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    scale: Scale,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64, scale: Scale) -> Self {
        let most = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        if scale == Scale::Linear {
            return Self { low: 0.0, high: rounded_up(most), from, to, scale };
        }
        let least = values.filter(|value| *value > 0.0).fold(most, f64::min);
        let low = least.log10().floor();
        let high = most.log10().ceil().max(low + 1.0);
        Self { low: 10_f64.powf(low), high: 10_f64.powf(high), from, to, scale }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Log => {
                let value = value.max(self.low).log10();
                (value - self.low.log10()) / (self.high.log10() - self.low.log10())
            }
        };
        self.from + (self.to - self.from) * share
    }

    fn marks(&self) -> Vec<f64> {
        if self.scale == Scale::Linear {
            return (0..=5).map(|at| self.high * f64::from(at) / 5.0).collect();
        }
        let mut marks = vec![self.low];
        while marks.len() < 20 && marks[marks.len() - 1] * 9.0 < self.high {
            marks.push(marks[marks.len() - 1] * 10.0);
        }
        marks
    }
}

/// Returns the next of 1, 2, 2.5, 5 times a power of ten, so that fifths of it are short.
fn rounded_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

/// Draws lines.
pub(crate) fn draw(about: &Picture<'_>, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| series.points.iter());
    let x = Axis::new(points().map(|point| point.0), LEFT, WIDTH - RIGHT, about.x_scale);
    let y = Axis::new(points().flat_map(|point| [point.2, point.3]), HEIGHT - BOTTOM, TOP, about.y_scale);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
        escaped(about.title)
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for mark in y.marks() {
        let at = y.place(mark);
        out += &format!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\n");
        out += &format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 6.0,
            at + 4.0,
            short(mark)
        );
    }
    for mark in x.marks() {
        let at = x.place(mark);
        out += &format!("<path d=\"M{at:.1} {bottom}v5\" stroke=\"#444\"/>\n");
        out += &format!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 18.0,
            short(mark)
        );
    }
    out += &format!("<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#444\"/>\n");
    out += &format!(
        "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
        HEIGHT - 10.0,
        escaped(about.x)
    );
    out += &format!("<text x=\"6\" y=\"{}\">{}</text>\n", TOP - 8.0, escaped(about.y));
    let mut left = LEFT + 40.0;
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        out += &drawn(line, colour, &x, &y);
        out += &format!("<path d=\"M{left} {}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>\n", TOP - 12.0);
        out += &format!("<text x=\"{}\" y=\"{}\">{}</text>\n", left + 23.0, TOP - 8.0, escaped(&line.name));
        left += 130.0;
    }
    out + "</svg>\n"
}

fn drawn(line: &Series, colour: &str, x: &Axis, y: &Axis) -> String {
    let mut out = String::new();
    let path: Vec<String> =
        line.points.iter().map(|point| format!("{:.1} {:.1}", x.place(point.0), y.place(point.1))).collect();
    if path.len() > 1 {
        // Writing to a text does not fail.
        let _ = writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            path.join("L")
        );
    }
    // So many points are a line; fewer are shown one by one, with their spread.
    if line.points.len() > 50 {
        return out;
    }
    for (at, middle, low, high) in &line.points {
        let (at, middle, low, high) = (x.place(*at), y.place(*middle), y.place(*low), y.place(*high));
        let _ = writeln!(out, "<circle cx=\"{at:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"{colour}\"/>");
        let _ = writeln!(out, "<path d=\"M{at:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\"/>");
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns a number for a mark: 1 M, 20 k, 0.4.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e9 => (value / 1e9, " G"),
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let text = format!("{value:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}
