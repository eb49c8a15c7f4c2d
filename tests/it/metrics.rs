//! The figures as text, and what Prometheus' own checker says of them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "snapshots are long")]
#![expect(clippy::disallowed_methods, reason = "whether this is CI is known from the environment alone")]

use std::fmt::Write as _;
use std::io::Write;
use std::process::{Command, Stdio};

use expect_test::{expect, expect_file};
use knhk::telemetry::metrics::Metrics;
use knhk::telemetry::metrics::labels::{CaseState, Queue, Route, Status};
use knhk::telemetry::metrics::names::{ALL, Kind};

fn some() -> Metrics {
    let metrics = Metrics::new();
    metrics.workflow_cases.add(41);
    metrics.workflow_cases.increment();
    metrics.cases.of(CaseState::Incident).set(3);
    metrics.queue_depth.of(Queue::Journal).add(-1);
    metrics.hot_path_ticks.observe_mean(2_000, 256);
    metrics.journal_commit_us.observe(99);
    metrics.journal_commit_us.observe(1_000_000);
    metrics.http_request_us.of((Route::CaseCreate, Status::of(201))).observe(1_234);
    metrics.http_request_us.of((Route::Other, Status::of(418))).observe(u64::MAX);
    metrics
}

/// Returns the lines that begin with `prefix` or are headings of it.
fn of(page: &str, prefix: &str) -> String {
    let about = |line: &&str| {
        let line = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        line.trim_start_matches("# UNIT ").starts_with(prefix)
    };
    page.lines().filter(about).fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn both_forms_say_the_same_in_their_own_grammar() {
    let (text, open) = (some().render(false), some().render(true));
    for (prefix, in_text, in_open) in [
        (
            "knhk_workflow_cases",
            expect![[r#"
            # HELP knhk_workflow_cases_total Cases started.
            # TYPE knhk_workflow_cases_total counter
            knhk_workflow_cases_total 42
        "#]],
            expect![[r#"
            # HELP knhk_workflow_cases Cases started.
            # TYPE knhk_workflow_cases counter
            knhk_workflow_cases_total 42
        "#]],
        ),
        (
            "knhk_cases",
            expect![[r##"
                # HELP knhk_cases_read_back_total Cases that were not in memory when they were asked for, and were read back.
                # TYPE knhk_cases_read_back_total counter
                knhk_cases_read_back_total 0
                # HELP knhk_cases Cases by state.
                # TYPE knhk_cases gauge
                knhk_cases{state="running"} 0
                knhk_cases{state="suspended"} 0
                knhk_cases{state="incident"} 3
                knhk_cases{state="completed"} 0
                knhk_cases{state="cancelled"} 0
            "##]],
            expect![[r##"
                # HELP knhk_cases_read_back Cases that were not in memory when they were asked for, and were read back.
                # TYPE knhk_cases_read_back counter
                knhk_cases_read_back_total 0
                # HELP knhk_cases Cases by state.
                # TYPE knhk_cases gauge
                knhk_cases{state="running"} 0
                knhk_cases{state="suspended"} 0
                knhk_cases{state="incident"} 3
                knhk_cases{state="completed"} 0
                knhk_cases{state="cancelled"} 0
            "##]],
        ),
        (
            "knhk_journal_commit",
            expect![[r##"
            # HELP knhk_journal_commit_seconds Time from writing a frame to the return of its sync.
            # TYPE knhk_journal_commit_seconds histogram
            knhk_journal_commit_seconds_bucket{le="0.00005"} 0
            knhk_journal_commit_seconds_bucket{le="0.0001"} 1
            knhk_journal_commit_seconds_bucket{le="0.00025"} 1
            knhk_journal_commit_seconds_bucket{le="0.0005"} 1
            knhk_journal_commit_seconds_bucket{le="0.001"} 1
            knhk_journal_commit_seconds_bucket{le="0.0025"} 1
            knhk_journal_commit_seconds_bucket{le="0.005"} 1
            knhk_journal_commit_seconds_bucket{le="0.01"} 1
            knhk_journal_commit_seconds_bucket{le="0.025"} 1
            knhk_journal_commit_seconds_bucket{le="0.05"} 1
            knhk_journal_commit_seconds_bucket{le="0.1"} 1
            knhk_journal_commit_seconds_bucket{le="0.25"} 1
            knhk_journal_commit_seconds_bucket{le="0.5"} 1
            knhk_journal_commit_seconds_bucket{le="1.0"} 2
            knhk_journal_commit_seconds_bucket{le="2.5"} 2
            knhk_journal_commit_seconds_bucket{le="10.0"} 2
            knhk_journal_commit_seconds_bucket{le="+Inf"} 2
            knhk_journal_commit_seconds_sum 1.000099
            knhk_journal_commit_seconds_count 2
        "##]],
            expect![[r##"
            # HELP knhk_journal_commit_seconds Time from writing a frame to the return of its sync.
            # TYPE knhk_journal_commit_seconds histogram
            # UNIT knhk_journal_commit_seconds seconds
            knhk_journal_commit_seconds_bucket{le="0.00005"} 0
            knhk_journal_commit_seconds_bucket{le="0.0001"} 1
            knhk_journal_commit_seconds_bucket{le="0.00025"} 1
            knhk_journal_commit_seconds_bucket{le="0.0005"} 1
            knhk_journal_commit_seconds_bucket{le="0.001"} 1
            knhk_journal_commit_seconds_bucket{le="0.0025"} 1
            knhk_journal_commit_seconds_bucket{le="0.005"} 1
            knhk_journal_commit_seconds_bucket{le="0.01"} 1
            knhk_journal_commit_seconds_bucket{le="0.025"} 1
            knhk_journal_commit_seconds_bucket{le="0.05"} 1
            knhk_journal_commit_seconds_bucket{le="0.1"} 1
            knhk_journal_commit_seconds_bucket{le="0.25"} 1
            knhk_journal_commit_seconds_bucket{le="0.5"} 1
            knhk_journal_commit_seconds_bucket{le="1.0"} 2
            knhk_journal_commit_seconds_bucket{le="2.5"} 2
            knhk_journal_commit_seconds_bucket{le="10.0"} 2
            knhk_journal_commit_seconds_bucket{le="+Inf"} 2
            knhk_journal_commit_seconds_sum 1.000099
            knhk_journal_commit_seconds_count 2
        "##]],
        ),
        (
            "knhk_http_request_seconds_count",
            expect![[r#"
            knhk_http_request_seconds_count{route="POST /cases",status="201"} 1
            knhk_http_request_seconds_count{route="other",status="other"} 1
        "#]],
            expect![[r#"
            knhk_http_request_seconds_count{route="POST /cases",status="201"} 1
            knhk_http_request_seconds_count{route="other",status="other"} 1
        "#]],
        ),
        (
            "knhk_build",
            expect![[r##"
            # HELP knhk_build_info Version of the running program.
            # TYPE knhk_build_info gauge
            knhk_build_info{version="0.1.0"} 1
        "##]],
            expect![[r##"
            # HELP knhk_build Version of the running program.
            # TYPE knhk_build info
            knhk_build_info{version="0.1.0"} 1
        "##]],
        ),
    ] {
        in_text.assert_eq(&of(&text, prefix));
        in_open.assert_eq(&of(&open, prefix));
    }
    assert!(open.ends_with("\n# EOF\n"));
    assert!(!text.contains("EOF"));
}

#[test]
fn every_name_is_on_the_page_once_and_in_the_reference() {
    let page = some().render(false);
    let mut reference = "\
# Metrics

Written from the names in src/telemetry/metrics/names.rs; a test fails when the two differ (`UPDATE_EXPECT=1` writes it anew).
`GET /metrics` answers Prometheus text format 0.0.4, or OpenMetrics 1.0 when `Accept` names it.

| Name | Kind | Meaning |
|---|---|---|
"
    .to_owned();
    for about in ALL {
        assert_eq!(page.matches(&format!("# HELP {} ", about.name)).count(), 1, "{}", about.name);
        let name = about.name.trim_end_matches("_total");
        assert!(about.unit.is_empty() || name.ends_with(about.unit), "{}", about.name);
        assert_eq!(about.kind == Kind::Counter, about.name.ends_with("_total"), "{}", about.name);
        let kind = format!("{:?}", about.kind).to_lowercase();
        writeln!(reference, "| `{}` | {kind} | {} |", about.name, about.help).unwrap();
    }
    assert_eq!(page.matches("# HELP ").count(), ALL.len());
    expect_file!["../../docs/reference/metrics.md"].assert_eq(&reference);
}

#[test]
fn the_names_of_the_guide_stay() {
    let page = some().render(false);
    for name in [
        "\nknhk_workflow_cases_total 42\n",
        "\nknhk_workflow_tasks_completed_total 0\n",
        "\nknhk_workflow_errors_total 0\n",
        "\nknhk_hot_path_ticks_bucket{le=\"7\"} 0\nknhk_hot_path_ticks_bucket{le=\"8\"} 256\n",
    ] {
        assert!(format!("\n{page}").contains(name), "{name}");
    }
}

#[test]
fn buckets_of_ticks_are_narrow_where_quantiles_are_read() {
    let page = some().render(false);
    let edges: Vec<u64> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix("knhk_hot_path_ticks_bucket{le=\"")?.split('"').next()?.parse().ok()
        })
        .filter(|edge| *edge <= 64)
        .collect();
    assert_eq!((edges.first(), edges.last()), (Some(&1), Some(&64)));
    for pair in edges.windows(2) {
        let (below, above) = (pair[0], pair[1]);
        assert!(above - below == 1 || above * 4 <= below * 5, "{below} to {above} is more than a quarter");
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    for page in [some().render(false), Metrics::new().render(false)] {
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                writeln!(std::io::stdout(), "metrics: promtool is absent ({error}), not checked").unwrap();
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must have promtool");
                return;
            }
        };
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{}: {said}\n{page}", output.status);
    }
}
