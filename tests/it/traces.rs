//! Spans and figures on their way to a collector: one in this process, none, one that never answers, and the real one.

mod collector;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use knhk::engine::threads::Threads;
use knhk::id::Time;
use knhk::telemetry::metrics::Metrics;
use knhk::telemetry::metrics::labels::{CaseState, Queue, Route, Status};
use knhk::telemetry::metrics::names;
use knhk::telemetry::traces::{
    About, Exporter, Options, Parent, QUEUE_SPANS_MAX, Span, Times, Tracer, figures, traces,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde_json::json;

use crate::support::http::{Answer, Client};
use crate::support::service::{Place, Service, root};
use crate::support::wait;
use receiver::Receiver;

/// Longest wait for anything here; reaching it is a failure, not a pause.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a client of a trace of its own sends.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Returns the attributes of a span or resource as text.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

/// Returns the service of a place that sends its spans to `collector`.
fn serve(collector: SocketAddr, traces_per_second_max: u64) -> (Place, Service) {
    let mut place = Place::with(&[
        ("otel_enabled", "true"),
        ("otel_endpoint", &format!("\"http://{collector}\"")),
        ("otel_traces_per_second_max", &traces_per_second_max.to_string()),
    ]);
    let service = place.start();
    (place, service)
}

fn register(client: &mut Client) {
    let source = std::fs::read(root().join("examples/order/order.yawl")).unwrap();
    let answer = client.send("POST", "/workflows", &[("Content-Type", "application/xml")], &source).unwrap();
    answer.expect(201);
}

fn post(client: &mut Client, path: &str, traceparent: Option<&str>, body: &serde_json::Value) -> Answer {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(traceparent.map(|value| ("traceparent", value)));
    client.send("POST", path, &headers, body.to_string().as_bytes()).unwrap()
}

fn create(client: &mut Client, traceparent: Option<&str>) -> Answer {
    post(client, "/cases", traceparent, &json!({"workflow": "order", "data": {"customer": "c"}}))
}

/// Returns a figure of the service without labels.
fn figure(client: &mut Client, name: &str) -> u64 {
    let page = client.get("/metrics").unwrap().text();
    let line = page.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until every span that was made was sent or dropped.
fn settle(client: &mut Client) -> (u64, u64) {
    let settled = wait::until(PATIENCE, || {
        let [made, exported, dropped] =
            ["spans", "exported", "dropped"].map(|what| figure(client, &format!("knhk_otlp_{what}_total")));
        (made > 0 && made == exported + dropped).then_some((exported, dropped))
    });
    settled.expect("spans neither sent nor dropped")
}

fn spans_of(receiver: &Receiver) -> Vec<otlp::Span> {
    receiver.look(|taken| {
        let scopes = taken.spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.iter().cloned()).collect()
    })
}

/// Writes a trace as an indented tree: name, kind, and those attributes that do not differ from run to run.
fn tree(spans: &[otlp::Span], under: &[u8], depth: usize, out: &mut String) {
    let mut children: Vec<_> = spans.iter().filter(|span| span.parent_span_id == under).collect();
    children.sort_by_key(|span| (span.name.clone(), span.start_time_unix_nano));
    for span in children {
        let mut attributes = texts(&span.attributes);
        for id in ["knhk.case.id", "knhk.commit.frame"] {
            attributes.remove(id);
        }
        let attributes: Vec<_> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase();
        let indent = "  ".repeat(depth);
        writeln!(out, "{indent}{} [{kind}] {}", span.name, attributes.join(" ")).unwrap();
        tree(spans, &span.span_id, depth + 1, out);
    }
}

#[test]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
fn a_request_its_command_tasks_and_commit_are_one_trace_of_the_client() {
    let receiver = Receiver::start(any_port());
    let (_place, mut service) = serve(receiver.address, 1_000);
    let mut client = service.client();
    register(&mut client);
    let created = create(&mut client, None);
    let case = created.expect(201)["id"].as_str().unwrap().to_owned();
    let item = client.get(&format!("/workitems?case={case}")).unwrap().expect(200)["items"][0]["id"].clone();
    let path = format!("/workitems/{}/complete", item.as_str().unwrap());
    let done = post(&mut client, &path, Some(TRACEPARENT), &json!({"data": {"amount": 7}}));
    done.expect(200);
    let given = Parent::read(TRACEPARENT).unwrap().context;
    let answered = Parent::read(done.header("traceparent").expect("traced")).unwrap();
    assert!(answered.is_sampled);
    assert_eq!(answered.context.trace, given.trace);
    settle(&mut client);

    let spans = spans_of(&receiver);
    let of_client: Vec<_> =
        spans.iter().filter(|span| span.trace_id == given.trace.to_be_bytes()).cloned().collect();
    let mut seen = String::new();
    tree(&of_client, &given.span.to_be_bytes(), 0, &mut seen);
    expect_test::expect![[r#"
        POST /workitems/{id}/complete [server] http.request.method=POST http.response.status_code=200 http.route=/workitems/{id}/complete
          case complete [internal] knhk.case.state=running knhk.operation=complete knhk.outcome=done knhk.workflow.id=order
            commit [internal] knhk.commit.entries=1
            task enter [internal] knhk.task.id=enter knhk.task.phase=pass knhk.workflow.id=order
    "#]]
    .assert_eq(&seen);
    for span in &of_client {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        if span.name != "POST /workitems/{id}/complete" && span.name != "commit" {
            assert_eq!(texts(&span.attributes)["knhk.case.id"], case);
        }
    }
    let request = of_client.iter().find(|span| span.parent_span_id == given.span.to_be_bytes()).unwrap();
    assert_eq!(request.span_id, answered.context.span.to_be_bytes());
    // A trace that begins here has no parent, and nobody asks for the health of the service by one.
    let begun = Parent::read(created.header("traceparent").unwrap()).unwrap().context;
    let first = spans.iter().find(|span| span.span_id == begun.span.to_be_bytes()).unwrap();
    assert!(first.parent_span_id.is_empty(), "{first:?}");
    assert!(spans.iter().all(|span| span.name != "GET /health" && span.name != "GET /metrics"));
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), spans.len(), "every id once");

    let resource = receiver.look(|taken| texts(&taken.spans[0].resource.as_ref().unwrap().attributes));
    assert_eq!(resource["service.name"], "knhk");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["process.pid"], service.pid().to_string());
    assert_eq!(resource["service.instance.id"].len(), 32);
    assert!(!resource["host.name"].is_empty());

    // A stop sends the figures once more, so that what was counted last is there too.
    assert!(service.stop().success());
    let cases = receiver.look(|taken| {
        let all = taken.metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let mut named =
            all.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == "knhk_workflow_cases_total");
        named.next_back().and_then(|metric| metric.data.clone())
    });
    let Some(Data::Sum(sum)) = cases else { panic!("{cases:?}") };
    assert_eq!(sum.data_points[0].value, Some(Value::AsInt(1)));
}

#[test]
fn each_line_of_a_batch_is_a_command_of_its_own_and_counts_as_a_trace() {
    let receiver = Receiver::start(any_port());
    let (_place, service) = serve(receiver.address, 1_000_000);
    let mut client = service.client();
    register(&mut client);
    let line = json!({"op": "create", "workflow": "order", "data": {"customer": "c"}}).to_string();
    let batch = [line.as_str(); 5].join("\n");
    let headers = [("Content-Type", "application/x-ndjson"), ("traceparent", TRACEPARENT)];
    let answer = client.send("POST", "/batch", &headers, batch.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = Parent::read(answer.header("traceparent").unwrap()).unwrap().context;
    settle(&mut client);
    let spans = spans_of(&receiver);
    let commands = spans.iter().filter(|span| span.parent_span_id == request.span.to_be_bytes());
    assert_eq!(commands.filter(|span| span.name == "case create").count(), 5, "{spans:?}");
}

#[test]
fn what_is_not_traced_has_no_spans_and_what_is_beyond_the_rate_is_counted() {
    let receiver = Receiver::start(any_port());
    let (_place, service) = serve(receiver.address, 0);
    let mut client = service.client();
    register(&mut client);
    assert_eq!(create(&mut client, None).header("traceparent"), None);
    assert_eq!(create(&mut client, Some(TRACEPARENT)).header("traceparent"), None);
    // A client that does not trace is not counted: it wanted none.
    let untraced = TRACEPARENT.replace("-01", "-00");
    assert_eq!(create(&mut client, Some(&untraced)).header("traceparent"), None);
    assert_eq!(figure(&mut client, "knhk_otlp_unsampled_total"), 3);
    assert_eq!(figure(&mut client, "knhk_otlp_spans_total"), 0);
}

#[test]
fn a_client_that_does_not_trace_gets_no_spans() {
    let receiver = Receiver::start(any_port());
    let (_place, service) = serve(receiver.address, 1_000);
    let mut client = service.client();
    register(&mut client);
    let untraced = TRACEPARENT.replace("-01", "-00");
    assert_eq!(create(&mut client, Some(&untraced)).header("traceparent"), None);
    let wrong = create(&mut client, Some("00-wrong"));
    assert!(wrong.header("traceparent").is_some(), "what is no traceparent counts as none");
    settle(&mut client);
    let creates = spans_of(&receiver).iter().filter(|span| span.name == "POST /cases").count();
    assert_eq!(creates, 1);
}

#[test]
fn without_telemetry_there_is_no_thread_and_no_header() {
    let mut place = Place::new();
    let service = place.start();
    let mut client = service.client();
    register(&mut client);
    assert_eq!(create(&mut client, Some(TRACEPARENT)).header("traceparent"), None);
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.map(|task| name(task.unwrap()).trim().to_owned()).collect::<Vec<_>>()
    };
    let names = threads();
    assert!(names.iter().any(|name| name == "journal"), "{names:?}");
    assert!(names.iter().all(|name| name != "telemetry"), "{names:?}");
}

/// Times so short that a test need not wait for long.
const SHORT: Times = Times {
    look: Duration::from_millis(1),
    figures: Duration::from_secs(3_600),
    // Long, because a busy machine answers late; only a collector that never answers is given up soon.
    answer: PATIENCE,
    pause: Duration::from_millis(1),
    away: Duration::from_millis(20),
    stop: PATIENCE,
};

fn exporter(collector: SocketAddr, times: Times) -> (Arc<Tracer>, Exporter, Arc<Metrics>) {
    let (clock, metrics) = (AtomicU64::new(1_769_851_800_123_456), Arc::new(Metrics::new()));
    let (tracer, exporter) = traces(Options {
        endpoint: format!("http://{collector}"),
        traces_per_second_max: 10,
        times,
        host: "host".to_owned(),
        process: 1,
        instance: [7; 16],
        now: Arc::new(move || Time(clock.fetch_add(1, Ordering::Relaxed))),
        metrics: Arc::clone(&metrics),
    });
    (tracer, exporter, metrics)
}

fn run(exporter: Exporter) -> Threads {
    let mut threads = Threads::new(Vec::new());
    threads.spawn("exporter", move || exporter.run(String::new)).unwrap();
    threads
}

fn make(tracer: &Tracer, count: usize) {
    let context = tracer.begin(None).unwrap_or_else(|| Parent::read(TRACEPARENT).unwrap().context);
    for _ in 0..count {
        let (start, about) = (tracer.now(), About::Commit { frame: 1, entry_count: 1 });
        let (context, parent) = tracer.under(context);
        tracer.take(Span { context, parent: Some(parent), start, end: tracer.now(), about });
    }
}

/// Returns how many spans were made, sent and dropped.
fn counts(metrics: &Metrics) -> (u64, u64, u64) {
    (metrics.otlp_spans.get(), metrics.otlp_exported.get(), metrics.otlp_dropped.get())
}

#[test]
fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
    let (tracer, exporter, metrics) = exporter(any_port(), SHORT);
    make(&tracer, QUEUE_SPANS_MAX + 5);
    assert_eq!(tracer.waiting(), QUEUE_SPANS_MAX);
    assert_eq!(metrics.otlp_dropped.get(), 5);
    assert_eq!(metrics.queue_refused.of(Queue::Spans).get(), 5);
    // The same spans arrive once there is a collector.
    let receiver = Receiver::start(any_port());
    drop(exporter);
    let (tracer, exporter, metrics) = self::exporter(receiver.address, SHORT);
    make(&tracer, QUEUE_SPANS_MAX + 5);
    let threads = run(exporter);
    tracer.stop();
    assert!(threads.join().is_empty());
    let limit = QUEUE_SPANS_MAX as u64;
    assert_eq!(counts(&metrics), (limit + 5, limit, 5));
    assert_eq!(spans_of(&receiver).len(), QUEUE_SPANS_MAX);
}

#[test]
fn a_collector_that_is_not_there_loses_spans_and_is_used_again_when_it_is_back() {
    let address = {
        let listener = TcpListener::bind(any_port()).unwrap();
        listener.local_addr().unwrap()
    };
    let (tracer, exporter, metrics) = exporter(address, SHORT);
    let threads = run(exporter);
    make(&tracer, 20);
    wait::until(PATIENCE, || tracer.is_collector_away().then_some(())).expect("nobody says that it is away");
    wait::until(PATIENCE, || (tracer.waiting() == 0).then_some(())).expect("spans wait for ever");

    let receiver = Receiver::start(address);
    // Figures are tried too, so that it is found without a new span.
    wait::until(PATIENCE, || (!tracer.is_collector_away()).then_some(())).expect("it is not found again");
    make(&tracer, 30);
    tracer.stop();
    assert!(threads.join().is_empty());
    let (made, exported, dropped) = counts(&metrics);
    assert_eq!((made, exported + dropped), (50, 50));
    assert!(exported >= 30, "{exported} sent, {dropped} dropped");
    assert_eq!(spans_of(&receiver).len() as u64, exported);
}

#[test]
fn a_collector_that_never_answers_holds_nobody() {
    // Connections are taken by the system, and nobody reads from them.
    let silent = TcpListener::bind(any_port()).unwrap();
    let times = Times { answer: Duration::from_millis(50), stop: Duration::from_millis(50), ..SHORT };
    let (tracer, exporter, metrics) = exporter(silent.local_addr().unwrap(), times);
    let threads = run(exporter);
    make(&tracer, 1_000);
    wait::until(PATIENCE, || tracer.is_collector_away().then_some(())).expect("nobody says that it is away");
    make(&tracer, QUEUE_SPANS_MAX);
    tracer.stop();
    assert!(threads.join().is_empty());
    let made = 1_000 + QUEUE_SPANS_MAX as u64;
    assert_eq!(counts(&metrics), (made, 0, made));
    // What comes after the end is dropped too.
    make(&tracer, 1);
    assert_eq!(counts(&metrics), (made + 1, 0, made + 1));
}

#[test]
fn at_most_so_many_traces_begin_in_a_second() {
    let (tracer, _exporter, metrics) = exporter(any_port(), SHORT);
    let begun = (0..25).filter_map(|_| tracer.begin(None)).collect::<Vec<_>>();
    assert_eq!((begun.len(), metrics.otlp_unsampled.get()), (10, 15));
    let traces: BTreeSet<_> = begun.iter().map(|context| context.trace).collect();
    assert_eq!(traces.len(), 10);
}

#[test]
fn figures_are_those_of_the_page() {
    let metrics = Metrics::new();
    metrics.workflow_cases.add(42);
    metrics.cases.of(CaseState::Incident).set(3);
    metrics.hot_path_ticks.observe_mean(2_000, 256);
    metrics.journal_commit_us.observe(99);
    metrics.journal_commit_us.observe(1_000_000);
    metrics.http_request_us.of((Route::CaseGet, Status::of(200))).observe(1_234);
    let sent = figures(&metrics.render(false), Time(5), Time(7));
    // Every figure that the page has is there, with its kind and unit.
    let shown: BTreeSet<_> = sent.iter().map(|metric| metric.name.as_str()).collect();
    let known: BTreeSet<_> = names::ALL.iter().map(|about| about.name).collect();
    assert_eq!(shown, known);
    let find = |name: &str| sent.iter().find(|metric| metric.name == name).unwrap();
    for about in names::ALL {
        let fits = match (&find(about.name).data, about.kind) {
            (Some(Data::Sum(sum)), names::Kind::Counter) => sum.is_monotonic,
            (Some(Data::Gauge(_)), names::Kind::Gauge | names::Kind::Info)
            | (Some(Data::Histogram(_)), names::Kind::Histogram) => true,
            _ => false,
        };
        assert!(fits, "{}", about.name);
    }
    let Some(Data::Sum(cases)) = &find("knhk_workflow_cases_total").data else { panic!() };
    assert_eq!(cases.data_points[0].value, Some(Value::AsInt(42)));
    assert_eq!(
        (cases.data_points[0].start_time_unix_nano, cases.data_points[0].time_unix_nano),
        (5_000, 7_000)
    );
    let Some(Data::Gauge(states)) = &find("knhk_cases").data else { panic!() };
    let incidents = states.data_points.iter().find(|point| texts(&point.attributes)["state"] == "incident");
    assert_eq!(incidents.unwrap().value, Some(Value::AsInt(3)));
    let commit = find("knhk_journal_commit_seconds");
    let Some(Data::Histogram(commits)) = &commit.data else { panic!() };
    assert_eq!(commit.unit, "s");
    let point = &commits.data_points[0];
    assert_eq!((point.count, point.sum), (2, Some(1.000_099)));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 2);
    assert_eq!((point.explicit_bounds[1], point.bucket_counts[1]), (0.000_1, 1));
    // Values of labels with braces in them.
    let Some(Data::Histogram(requests)) = &find("knhk_http_request_seconds").data else { panic!() };
    let labels = texts(&requests.data_points[0].attributes);
    assert_eq!((labels["route"].as_str(), labels["status"].as_str()), ("GET /cases/{id}", "200"));
    assert_eq!(labels.len(), 2);
}
