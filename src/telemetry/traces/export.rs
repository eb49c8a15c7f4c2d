//! Sends spans and figures to the collector: a loop in a thread of its own, with the only asynchronous runtime of the
//! program in it. Whatever the collector does, nobody but this thread waits for it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::task::Poll;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::{Options, Span, Tracer, build, figures};
use crate::id::Time;
use crate::telemetry::metrics::labels::Queue;
use crate::telemetry::words;

/// Most spans that are sent together.
const BATCH_SPANS_MAX: usize = 512;
/// Most spans that are risked to find out whether a collector that failed is back.
const PROBE_SPANS_MAX: usize = 8;

/// How long the exporter takes for what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Pause between two looks for spans.
    pub look: Duration,
    /// Pause between two sets of figures.
    pub figures: Duration,
    /// Longest time for the collector to answer.
    pub answer: Duration,
    /// Pause after a failure.
    pub pause: Duration,
    /// A collector that has failed for so long is away.
    pub away: Duration,
    /// Longest time that a stop takes to send what is left.
    pub stop: Duration,
}

/// The times of the service; only tests have others.
pub const TIMES: Times = Times {
    look: Duration::from_millis(50),
    figures: Duration::from_secs(15),
    answer: Duration::from_secs(5),
    pause: Duration::from_secs(1),
    away: Duration::from_secs(10),
    stop: Duration::from_secs(2),
};

/// Sends what a [`Tracer`] takes.
pub struct Exporter {
    options: Options,
    tracer: Arc<Tracer>,
    spans: Receiver<Span>,
    /// Spans that were sent and not answered yet.
    sent_count: Cell<u64>,
    /// Since when the collector has failed.
    failing_since: Cell<Option<Instant>>,
    takes_figures: Cell<bool>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// The ways to the collector, over one connection.
struct Ways {
    spans: SpanExporter,
    scope: InstrumentationScope,
    figures: MetricsServiceClient<Channel>,
}

impl Exporter {
    pub(super) fn new(options: Options, tracer: Arc<Tracer>, spans: Receiver<Span>) -> Self {
        Self {
            options,
            tracer,
            spans,
            sent_count: Cell::new(0),
            failing_since: Cell::new(None),
            takes_figures: Cell::new(true),
        }
    }

    /// Sends until the tracer is stopped. `page` returns the figures in the Prometheus text format.
    pub fn run(self, page: impl Fn() -> String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
            runtime.block_on(async {
                let ways = self.ways()?;
                let mut rounds = pin!(self.rounds(&ways, &page));
                let mut stops = pin!(self.tracer.stops.notified());
                let is_done = poll_fn(|context| match rounds.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(true),
                    Poll::Pending => stops.as_mut().poll(context).map(|()| false),
                });
                if !is_done.await {
                    // What is under way goes on, and what waits is sent, as long as there is time.
                    let _ = timeout(self.options.times.stop, rounds).await;
                }
                Ok(())
            })
        });
        if let Err(error) = done {
            self.tracer.is_away.store(true, Ordering::Release);
            tracing::error!(error, "no spans are sent: {error}");
        }
        let left = self.spans.try_iter().inspect(|_| self.taken()).count() as u64;
        self.options.metrics.otlp_dropped.add(left + self.sent_count.get());
    }

    fn ways(&self) -> Result<Ways, String> {
        let Options { endpoint, times, .. } = &self.options;
        let described = |error: &dyn std::fmt::Display| format!("otel_endpoint = \"{endpoint}\": {error}");
        let way = Endpoint::from_shared(endpoint.clone()).map_err(|error| described(&error))?;
        let channel = way.connect_timeout(times.answer).connect_lazy();
        // A batch that fails is lost: to send it again could show its spans twice.
        let once = RetryPolicy::default().with_max_retries(0);
        let mut spans = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel.clone())
            .with_retry_policy(once)
            .with_timeout(times.answer)
            .build()
            .map_err(|error| described(&error))?;
        spans.set_resource(&build::resource(&self.options));
        Ok(Ways { spans, scope: build::scope(), figures: MetricsServiceClient::new(channel) })
    }

    /// Sends until the tracer is stopped and nothing waits, or the collector fails then.
    async fn rounds(&self, ways: &Ways, page: &dyn Fn() -> String) {
        let start = self.tracer.now();
        let mut figures_at = Instant::now() + self.options.times.figures;
        loop {
            let is_stopping = self.tracer.is_stopping.load(Ordering::Acquire);
            self.options.metrics.queue_depth.of(Queue::Spans).set(self.tracer.waiting() as u64);
            let has_sent = self.send_waiting(ways).await;
            let is_failing = self.failing_since.get().is_some();
            let are_figures_due = figures_at <= Instant::now() || is_stopping || (is_failing && !has_sent);
            if are_figures_due && !(is_failing && has_sent) {
                self.send_figures(ways, page, start).await;
                figures_at = Instant::now() + self.options.times.figures;
            }
            let is_failing = self.failing_since.get().is_some();
            if is_stopping && (is_failing || self.tracer.waiting() == 0) {
                return;
            }
            let Times { look, pause, .. } = self.options.times;
            if !self.tracer.is_stopping.load(Ordering::Acquire) {
                sleep(if is_failing { pause } else { look }).await;
            }
        }
    }

    /// Sends the spans that wait, until one batch fails; tells whether there were any.
    async fn send_waiting(&self, ways: &Ways) -> bool {
        let mut has_sent = false;
        loop {
            let is_failing = self.failing_since.get().is_some();
            let limit = if is_failing { PROBE_SPANS_MAX } else { BATCH_SPANS_MAX };
            let batch = self.spans.try_iter().take(limit).inspect(|_| self.taken());
            let batch: Vec<_> = batch.map(|span| build::span(span, &ways.scope)).collect();
            if batch.is_empty() {
                return has_sent;
            }
            has_sent = true;
            let count = batch.len() as u64;
            self.sent_count.set(count);
            let answer = timeout(self.options.times.answer, ways.spans.export(batch)).await;
            self.sent_count.set(0);
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(self.no_answer()),
            };
            let metrics = &self.options.metrics;
            if answer.is_ok() {
                metrics.otlp_exported.add(count);
            } else {
                metrics.otlp_dropped.add(count);
            }
            let is_sent = answer.is_ok();
            self.heard(answer);
            if !is_sent {
                return true;
            }
        }
    }

    async fn send_figures(&self, ways: &Ways, page: &dyn Fn() -> String, start: Time) {
        if !self.takes_figures.get() {
            return;
        }
        let metrics = figures::figures(&page(), start, self.tracer.now());
        let scope = common::InstrumentationScope {
            name: ways.scope.name().to_owned(),
            version: ways.scope.version().unwrap_or_default().to_owned(),
            ..common::InstrumentationScope::default()
        };
        let resource = build::resource_of_figures(&self.options);
        let of_scope = ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() };
        let of_resource = ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![of_scope],
            schema_url: String::new(),
        };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![of_resource] };
        let answer = timeout(self.options.times.answer, ways.figures.clone().export(request)).await;
        self.heard(match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                // It is there, and takes spans only.
                self.takes_figures.set(false);
                Ok(())
            }
            Ok(Err(status)) => Err(status.to_string()),
            Err(_) => Err(self.no_answer()),
        });
    }

    /// Notes that a span was taken out of the queue.
    fn taken(&self) {
        self.tracer.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    fn no_answer(&self) -> String {
        format!("no answer within {} ms", self.options.times.answer.as_millis())
    }

    /// Notes whether the collector did its work, and says once that it is away, and once that it is back.
    fn heard(&self, answer: Result<(), String>) {
        let is_away = &self.tracer.is_away;
        match answer {
            Ok(()) => {
                self.failing_since.set(None);
                if is_away.swap(false, Ordering::AcqRel) {
                    tracing::info!("{}", words::COLLECTOR_BACK);
                }
            }
            Err(error) => {
                let since = self.failing_since.get().unwrap_or_else(Instant::now);
                self.failing_since.set(Some(since));
                if since.elapsed() >= self.options.times.away && !is_away.swap(true, Ordering::AcqRel) {
                    let endpoint = &self.options.endpoint;
                    tracing::warn!(%endpoint, error, "{}: {endpoint}: {error}", words::COLLECTOR_AWAY);
                }
            }
        }
    }
}
