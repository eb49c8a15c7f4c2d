//! A report as a page for people: one HTML file with everything in it, tables and distributions as pictures. Pure.

#![expect(clippy::format_push_string, reason = "texts are short, and this reads best")]

use serde_json::Value;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// Colours of both schemes; bars and lines take them from here.
const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1d1d1f;--dim:#6a6a70;--line:#d8d8dc;--bar:#1f5fa8}
@media(prefers-color-scheme:dark){:root{--back:#161618;--text:#ececee;--dim:#9a9aa2;--line:#3a3a40;--bar:#6ea8e8}}
body{background:var(--back);color:var(--text);font:15px/1.5 sans-serif;max-width:760px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}h3{font-size:1em;margin-bottom:.2em}
p.help{color:var(--dim);margin:.1em 0}
table{border-collapse:collapse;margin:.6em 0}th,td{text-align:left;padding:.15em 1em .15em 0;border-bottom:1px solid var(--line)}
td.number,th.number{text-align:right}
svg{width:100%;height:auto}svg text{fill:var(--dim);font-size:10px}svg rect{fill:var(--bar)}svg path{stroke:var(--line)}
";

/// Returns the page of a report.
pub fn html(report: &Value) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>knhk performance report</title>\n\
         <style>\n{STYLE}</style></head><body>\n<h1>knhk performance report</h1>\n<p class=\"help\">{}</p>\n",
        text(&report["made_at"])
    );
    out += &facts("Machine", &report["machine"]);
    out += &facts("Build", &report["build"]);
    out += &service(&report["service"]);
    out += &benchmark(&report["benchmark"]);
    out + "</body></html>\n"
}

fn facts(title: &str, members: &Value) -> String {
    let rows: Vec<Vec<String>> = members
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![escaped(&name.replace('_', " ")), text(value)])
        .collect();
    format!("<h2>{title}</h2>\n{}", table(&[], &rows, 0))
}

fn service(service: &Value) -> String {
    let mut out = "<h2>Running service</h2>\n".to_owned();
    if service["running"] != true {
        return out + &format!("<p>None was asked: {}.</p>\n", text(&service["reason"]));
    }
    out += &format!(
        "<p class=\"help\">process {}, since {}</p>\n",
        text(&service["pid"]),
        text(&service["since"])
    );
    for found in service["distributions"].as_array().into_iter().flatten() {
        out += &distribution(found);
    }
    let rows: Vec<Vec<String>> = service["figures"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|figure| figure["value"] != 0)
        .map(|figure| {
            let name = format!("<span title=\"{}\">{}</span>", text(&figure["help"]), text(&figure["name"]));
            vec![name, labels(&figure["labels"]), text(&figure["value"])]
        })
        .collect();
    out + "<h2>Counts and levels</h2>\n<p class=\"help\">Those at 0 are in the JSON file.</p>\n"
        + &table(&["figure", "", "value"], &rows, 2)
}

fn distribution(found: &Value) -> String {
    let unit = found["unit"].as_str().unwrap_or_default();
    let mut out = format!("<h3>{} {}</h3>\n", text(&found["name"]), labels(&found["labels"]));
    out += &format!("<p class=\"help\">{}</p>\n", text(&found["help"]));
    if found["count"] == 0 {
        return out + "<p class=\"help\">no values yet</p>\n";
    }
    let percentile = |name: &str| match found[name]["at_most"].as_f64() {
        Some(most) => format!("{name} &le; {}", edge(most, unit)),
        None => format!("{name} &gt; {}", edge(found[name]["at_least"].as_f64().unwrap_or_default(), unit)),
    };
    let mean = found["mean"].as_f64().map_or_else(String::new, |mean| edge(mean, unit));
    out += &format!(
        "<p class=\"help\">{} values, mean {mean}, {}</p>\n",
        text(&found["count"]),
        ["p50", "p90", "p99"].map(percentile).join(", ")
    );
    out + &bars(found, unit)
}

/// Draws how many of all values lie in each bucket, from the first that has any to the last.
fn bars(found: &Value, unit: &str) -> String {
    let buckets = found["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    let mut before = 0.0;
    let bars: Vec<(String, f64)> = buckets
        .iter()
        .map(|bucket| {
            let count = bucket["count"].as_f64().unwrap_or_default();
            let of_it = count - std::mem::replace(&mut before, count);
            (bucket["le"].as_f64().map_or_else(|| "more".to_owned(), |le| edge(le, unit)), of_it)
        })
        .collect();
    let first = bars.iter().position(|bar| bar.1 > 0.0).unwrap_or(0);
    let last = bars.iter().rposition(|bar| bar.1 > 0.0).unwrap_or(0);
    let bars = bars.get(first..=last).unwrap_or_default();
    let all: f64 = bars.iter().map(|bar| bar.1).sum();
    let most = bars.iter().map(|bar| bar.1).fold(f64::MIN_POSITIVE, f64::max);
    let bottom = HEIGHT - BOTTOM;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    for part in [0.0, 0.5, 1.0] {
        let y = bottom - (bottom - TOP) * part;
        out += &format!("<path d=\"M{LEFT} {y:.1}H{WIDTH}\"/>\n");
        let percent = part * most * 100.0 / all.max(f64::MIN_POSITIVE);
        out += &format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent:.1} %</text>\n",
            LEFT - 5.0,
            y + 3.0
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a histogram has some twenty buckets")]
    let wide = (WIDTH - LEFT) / bars.len().max(1) as f64;
    let mut left = LEFT;
    for (edge, count) in bars {
        let high = (bottom - TOP) * count / most;
        out += &format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{high:.1}\"><title>up to {edge}: {count}</title></rect>\n",
            left + wide * 0.1,
            bottom - high,
            wide * 0.8
        );
        out += &format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{edge}</text>\n",
            left + wide / 2.0,
            bottom + 14.0
        );
        left += wide;
    }
    out + "</svg>\n"
}

fn benchmark(benchmark: &Value) -> String {
    let mut out = "<h2>Short benchmark of this machine</h2>\n".to_owned();
    let Some(members) = benchmark.as_object() else {
        return out + "<p>It was left out.</p>\n";
    };
    for (name, lines) in members {
        let Some(lines) = lines.as_array() else {
            out += &format!("<p>{}: {}</p>\n", escaped(&name.replace('_', " ")), text(lines));
            continue;
        };
        let columns: Vec<&str> = lines
            .first()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|member| member.0.as_str())
            .collect();
        let rows: Vec<Vec<String>> =
            lines.iter().map(|line| columns.iter().map(|column| text(&line[*column])).collect()).collect();
        out += &format!("<h3>{}</h3>\n", escaped(&name.replace('_', " ")));
        out += &table(&columns, &rows, usize::MAX);
    }
    out
}

/// Writes a table of cells that are HTML; from column `numbers` on they stand to the right.
fn table(columns: &[&str], rows: &[Vec<String>], numbers: usize) -> String {
    let class = |at: usize| if numbers > 0 && at >= numbers { " class=\"number\"" } else { "" };
    let mut out = "<table>\n".to_owned();
    if !columns.is_empty() {
        let cells = columns.iter().enumerate();
        let cells =
            cells.map(|(at, name)| format!("<th{}>{}</th>", class(at), escaped(&name.replace('_', " "))));
        out += &format!("<tr>{}</tr>\n", cells.collect::<String>());
    }
    for row in rows {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("<td{}>{cell}</td>", class(at)));
        out += &format!("<tr>{}</tr>\n", cells.collect::<String>());
    }
    out + "</table>\n"
}

fn labels(labels: &Value) -> String {
    let values = labels.as_object().into_iter().flatten().map(|(_, value)| text(value));
    values.collect::<Vec<_>>().join(" ")
}

/// Returns a value as it is read, safe inside HTML.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => escaped(text),
        Value::Number(number) => match number.as_f64() {
            Some(found) if found.fract() != 0.0 => format!("{found:.2}"),
            _ => number.to_string(),
        },
        other => escaped(&other.to_string()),
    }
}

/// Returns an edge with its unit: seconds in the largest unit that leaves a whole part.
fn edge(value: f64, unit: &str) -> String {
    if unit != "seconds" {
        return if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    }
    let (scaled, name) = match value {
        value if value < 0.001 => (value * 1e6, "µs"),
        value if value < 1.0 => (value * 1e3, "ms"),
        value => (value, "s"),
    };
    let digits = format!("{scaled:.2}");
    format!("{} {name}", digits.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edges_are_short_and_have_units() {
        let edges =
            [(0.000_05, "50 µs"), (0.0025, "2.5 ms"), (0.25, "250 ms"), (2.5, "2.5 s"), (10.0, "10 s")];
        for (value, expected) in edges {
            assert_eq!(edge(value, "seconds"), expected);
        }
        assert_eq!((edge(4_096.0, "").as_str(), edge(7.125, "").as_str()), ("4096", "7.12"));
    }

    #[test]
    fn a_bar_stands_for_its_own_bucket_and_empty_ends_are_left_out() {
        let bucket = |le: Option<f64>, count: u64| json!({ "le": le, "count": count });
        let buckets = [(Some(1.0), 0), (Some(2.0), 3), (Some(4.0), 3), (Some(8.0), 4), (None, 4)];
        let found = json!({ "buckets": buckets.map(|(le, count)| bucket(le, count)) });
        let svg = bars(&found, "");
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        for title in ["up to 2: 3", "up to 4: 0", "up to 8: 1"] {
            assert!(svg.contains(title), "{svg}");
        }
    }

    #[test]
    fn nothing_of_a_report_becomes_markup() {
        let page =
            html(&json!({ "machine": { "processor": "<script>\"&" }, "service": { "reason": "<b>" } }));
        assert!(page.contains("&lt;script&gt;&quot;&amp;") && page.contains("&lt;b&gt;"), "{page}");
    }
}
