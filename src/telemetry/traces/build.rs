//! From spans as the service makes them to those of OTLP.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1 as otlp;
use opentelemetry_proto::transform::common::tonic::Attributes;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{About, CaseSpan, Options, Outcome, Span, TaskSpan};
use crate::id::Time;
use crate::telemetry::metrics::labels::Label;

/// Returns what says of everything that this process sends where it comes from; spans and figures must say the same.
fn attributes(options: &Options) -> [KeyValue; 5] {
    [
        KeyValue::new("service.name", "knhk"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{:032x}", u128::from_be_bytes(options.instance))),
        KeyValue::new("host.name", options.host.clone()),
        KeyValue::new("process.pid", i64::from(options.process)),
    ]
}

/// Returns the sender for spans.
pub(super) fn resource(options: &Options) -> Resource {
    Resource::builder_empty().with_attributes(attributes(options)).build()
}

/// Returns the sender for figures.
pub(super) fn resource_of_figures(options: &Options) -> otlp::Resource {
    let Attributes(attributes) = Attributes::from(attributes(options));
    otlp::Resource { attributes, ..otlp::Resource::default() }
}

/// Returns who makes the spans.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("knhk").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Returns a span as OTLP has it.
pub(super) fn span(span: Span, scope: &InstrumentationScope) -> SpanData {
    let Span { context, parent, start, end, about } = span;
    let (name, kind, status, attributes) = describe(about);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(context.trace),
            SpanId::from(context.span),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.context.span)),
        parent_span_is_remote: parent.is_some_and(|parent| parent.is_remote),
        span_kind: kind,
        name: name.into(),
        start_time: at(start),
        end_time: at(end.max(start)),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope.clone(),
    }
}

fn at(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(time.0)
}

fn describe(about: About) -> (String, SpanKind, Status, Vec<KeyValue>) {
    match about {
        About::Request { route, status } => {
            let name = route.value();
            let (method, path) = name.split_once(' ').unwrap_or(("_OTHER", name));
            let mut attributes =
                vec![KeyValue::new("http.request.method", method), KeyValue::new("http.route", path)];
            attributes
                .extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
            let status = match status {
                None => status_of(true, "the client went away"),
                Some(status) => status_of(status >= 500, ""),
            };
            (name.to_owned(), SpanKind::Server, status, attributes)
        }
        About::Case(case) => describe_case(*case),
        About::Task(task) => describe_task(*task),
        About::Commit { frame, entry_count } => {
            let attributes = vec![
                KeyValue::new("knhk.commit.frame", integer(frame)),
                KeyValue::new("knhk.commit.entries", integer(entry_count)),
            ];
            ("commit".to_owned(), SpanKind::Internal, Status::Unset, attributes)
        }
    }
}

fn describe_case(case: CaseSpan) -> (String, SpanKind, Status, Vec<KeyValue>) {
    let CaseSpan { operation, case, workflow, state, outcome, more_tasks } = case;
    let mut attributes = vec![KeyValue::new("knhk.operation", operation)];
    if let Some(case) = case {
        attributes.push(KeyValue::new("knhk.case.id", case.to_string()));
    }
    if !workflow.is_empty() {
        attributes.push(KeyValue::new("knhk.workflow.id", workflow));
    }
    if !state.is_empty() {
        attributes.push(KeyValue::new("knhk.case.state", state));
    }
    let word = match outcome {
        Outcome::Done => "done",
        Outcome::Repeated => "repeated",
        Outcome::Refused => "refused",
        Outcome::Unknown => "unknown",
    };
    attributes.push(KeyValue::new("knhk.outcome", word));
    if more_tasks > 0 {
        attributes.push(KeyValue::new("knhk.tasks_without_span", i64::from(more_tasks)));
    }
    let status = status_of(outcome == Outcome::Unknown, "the journal failed");
    (format!("case {operation}"), SpanKind::Internal, status, attributes)
}

fn describe_task(task: TaskSpan) -> (String, SpanKind, Status, Vec<KeyValue>) {
    let TaskSpan { case, workflow, task, phase } = task;
    let name = format!("task {task}");
    let mut attributes = vec![
        KeyValue::new("knhk.workflow.id", workflow),
        KeyValue::new("knhk.task.id", task),
        KeyValue::new("knhk.task.phase", phase),
    ];
    attributes.extend(case.map(|case| KeyValue::new("knhk.case.id", case.to_string())));
    (name, SpanKind::Internal, Status::Unset, attributes)
}

fn status_of(is_error: bool, why: &'static str) -> Status {
    if is_error { Status::error(why) } else { Status::Unset }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
