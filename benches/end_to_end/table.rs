//! Figures as tables: for the terminal, and as docs/performance.md holds them. Pure; a test compares the two.

#![expect(clippy::format_push_string, reason = "texts are short, and this reads best")]

use serde_json::Value;

/// Returns all tables for people at a terminal.
pub(crate) fn text(document: &Value) -> String {
    markdown(document)
        .lines()
        .filter(|line| !line.starts_with("|-"))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Returns all tables of a run.
pub(crate) fn markdown(document: &Value) -> String {
    let (machine, run) = (&document["machine"], &document["run"]);
    let mut out = format!(
        "`{}`, commit {}, {}, on {} cores of {}, {} MB, Linux {}, {}; others used {} % of the processors; {} rounds of {} s.\n\n",
        word(&run["command"]),
        word(&machine["commit"]),
        word(&machine["date"]),
        word(&machine["cores"]),
        word(&machine["processor"]),
        word(&machine["memory_mb"]),
        word(&machine["kernel"]),
        word(&machine["file_system"]),
        number(&run["others_percent"]),
        word(&run["rounds"]),
        word(&run["slice_s"]),
    );
    let rows = list(&document["rows"]).iter().map(|row| {
        let unit = row["unit"].as_str().unwrap_or_default();
        let measured = with_unit(number(&row["measured"]["median"]), unit);
        let spread = format!("{} to {}", number(&row["measured"]["low"]), number(&row["measured"]["high"]));
        let is_measured = row["verdict"] != "not measured";
        [
            word(&row["name"]),
            word(&row["what"]),
            word(&row["goal"]),
            word(&row["floor"]),
            if is_measured { measured } else { "-".to_owned() },
            if is_measured { spread } else { "-".to_owned() },
            word(&row["verdict"]),
            word(&row["said"]),
        ]
    });
    out += &table(
        &["Goal", "What", "Goal", "Floor", "Median", "Spread", "Verdict", "Measured"],
        &rows.map(Vec::from).collect::<Vec<_>>(),
    );
    out += &grown(
        "live_cases",
        &document["live"],
        &[
            ("Live cases", "live_cases"),
            ("Steps/s, single", "steps_per_second"),
            ("Of the smallest server", "ratio_to_smallest_server"),
            ("Steps/s, batch", "batch_steps_per_second"),
            ("Of appends", "ratio_to_appends"),
            ("Anonymous B a case", "anonymous_bytes_per_case"),
            ("State B a case", "state_bytes_per_case"),
            ("Start, s", "start_s"),
            ("Cold, s", "start_cold_s"),
        ],
    );
    out += &grown(
        "closed_cases",
        &document["closed"],
        &[
            ("Closed cases", "closed_cases"),
            ("Cases/s made", "cases_per_second"),
            ("Steps/s, batch", "batch_steps_per_second"),
            ("Without them", "batch_steps_per_second_without"),
            ("Ratio", "ratio_to_none"),
            ("Anonymous B", "anonymous_bytes"),
            ("State B a case", "state_bytes_per_case"),
            ("A page of `list --older-than`, ms", "list_ms"),
            ("When there is none, ms", "list_nothing_ms"),
        ],
    );
    out
}

/// Returns the table of how something grows, or nothing when it was not measured.
fn grown(key: &str, points: &Value, columns: &[(&str, &str)]) -> String {
    let points: Vec<&Value> = list(points).iter().filter(|point| !point[key].is_null()).collect();
    if points.is_empty() {
        return String::new();
    }
    let cell = |value: &Value| if value.is_object() { number(&value["median"]) } else { number(value) };
    let rows: Vec<Vec<String>> =
        points.iter().map(|point| columns.iter().map(|column| cell(&point[column.1])).collect()).collect();
    let heads: Vec<&str> = columns.iter().map(|column| column.0).collect();
    "\n".to_owned() + &table(&heads, &rows)
}

fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        out += &format!("| {} |\n", row.join(" | "));
    }
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns a text or number as it is; a dash for nothing.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns a number with three digits that count, or all before the point.
fn number(value: &Value) -> String {
    match value.as_f64() {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn with_unit(number: String, unit: &str) -> String {
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}
