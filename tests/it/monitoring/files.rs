//! What docs/monitoring says, read as files: alerts, their tests, and panels.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use knhk::telemetry::metrics::names;
use serde_json::Value;

use super::prometheus;
use crate::support::service::root;
use crate::support::wait;

fn read(name: &str) -> String {
    fs::read_to_string(root().join("docs/monitoring").join(name)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana-dashboard.json")).unwrap()
}

/// Returns the panels that show something.
fn panels() -> Vec<Value> {
    let all = dashboard()["panels"].as_array().unwrap().clone();
    all.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// Returns every query of the dashboard with the title of its panel.
pub(super) fn panel_queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "panel {title} shows nothing");
        for target in targets {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    assert!(found.len() > 20);
    found
}

/// Returns the words after `key: ` of the lines that have it, without quotes.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key));
    lines.filter_map(|rest| rest.strip_prefix(": ")).map(|value| value.trim_matches('"').to_owned()).collect()
}

/// Returns the names of figures in a text, without what Prometheus adds for histograms.
fn figures(text: &str) -> BTreeSet<String> {
    let is_of_a_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let found = text.match_indices("knhk_").filter(|(at, _)| !text[..*at].ends_with(is_of_a_name));
    let names = found.map(|(at, _)| text[at..].chars().take_while(|c| is_of_a_name(*c)).collect::<String>());
    names.collect()
}

#[test]
fn every_figure_that_is_named_exists() {
    let known: BTreeSet<String> = names::ALL
        .iter()
        .flat_map(|about| {
            let endings: &[&str] =
                if about.kind == names::Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            endings.iter().map(|ending| format!("{}{ending}", about.name))
        })
        .collect();
    for file in ["knhk.rules.yml", "knhk.rules.test.yml", "grafana-dashboard.json"] {
        let unknown: Vec<_> = figures(&read(file)).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

#[test]
fn every_alert_says_what_to_do_and_where_and_has_a_test() {
    let (rules, tests) = (read("knhk.rules.yml"), read("knhk.rules.test.yml"));
    let alerts = values(&rules, "alert");
    assert!(alerts.len() >= 10, "{alerts:?}");
    for key in ["summary", "action", "runbook", "severity"] {
        assert_eq!(values(&rules, key).len(), alerts.len(), "each alert has one {key}");
    }
    for runbook in values(&rules, "runbook") {
        let (page, heading) = runbook.split_once('#').unwrap();
        let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let is_there = text.lines().any(|line| line.starts_with('#') && slug(line) == heading);
        assert!(is_there, "{page} has no heading {heading}");
    }
    for alert in alerts {
        let part = tests.split("  - name: ").find(|part| part.lines().next() == Some(&alert));
        let part = part.unwrap_or_else(|| panic!("{alert} has no test"));
        assert!(
            part.contains("exp_labels:") && part.contains("exp_alerts: []"),
            "{alert} fires never or always"
        );
    }
}

/// No engine of the tests has images of the others; what can be read is that it names what is there.
#[test]
fn compose_names_files_that_are_there_and_the_image_of_this_version() {
    let folder = root().join("image/container");
    let text = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    assert!(text.contains(&format!("image: knhk:{}\n", env!("CARGO_PKG_VERSION"))));
    let mounted = text.lines().filter_map(|line| line.trim().strip_prefix("- ../").map(|rest| ("../", rest)));
    let mounted = mounted.map(|(up, rest)| format!("{up}{}", rest.split(':').next().unwrap()));
    let secret = |path: &String| path.starts_with("secrets/");
    let named: Vec<String> =
        values(&text, "file").into_iter().filter(|path| !secret(path)).chain(mounted).collect();
    assert!(named.len() >= 6, "{named:?}");
    for path in named {
        assert!(folder.join(&path).is_file(), "{path} is not there");
    }
    // The secrets are the operator's; the page beside it says how to make them.
    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    for path in values(&text, "file").into_iter().filter(secret) {
        assert!(page.contains(path.trim_start_matches("secrets/")), "{path} is not on the page");
    }
}

#[test]
fn promtool_finds_the_rules_right_and_every_alert_fires() {
    let Some(promtool) = prometheus::program("promtool") else { return wait::absent("promtool is not here") };
    let folder = root().join("docs/monitoring");
    for arguments in [
        ["check", "rules", "knhk.rules.yml"],
        ["test", "rules", "knhk.rules.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let output = Command::new(&promtool).args(arguments).current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

#[test]
fn the_dashboard_is_one_that_can_be_provisioned() {
    let board = dashboard();
    for member in ["uid", "title", "schemaVersion", "panels", "templating", "time"] {
        assert!(!board[member].is_null(), "no {member}");
    }
    // An id would be one of somebody else's Grafana.
    assert!(board["id"].is_null());
    let variables = board["templating"]["list"].as_array().unwrap();
    assert!(
        variables.iter().any(|variable| variable["type"] == "datasource" && variable["name"] == "datasource")
    );
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id twice");
        let place = |member: &str| panel["gridPos"][member].as_u64().unwrap();
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + w <= 24, "{} is too far right", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies over another panel", panel["title"]);
        }
    }
    for panel in panels() {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}
