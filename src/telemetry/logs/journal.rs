//! Puts `error: ` and `warning: ` before the message on its way to journald.
//!
//! tracing-journald takes an event as it is, so a copy of the event goes to it, whose message is another.
//! All values become text on the way, as they would in the journal.

use std::fmt::{Debug, Display};

use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::gate::{Gate, Pass};
use super::prefix;

/// A layer that hands everything to `inner`, events with their message prefixed.
pub(super) struct Prefixed<L> {
    pub(super) inner: L,
    pub(super) gate: Gate,
}

impl<S, L> Layer<S> for Prefixed<L>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.inner.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.inner.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Pass::Yes { dropped } = self.gate.pass(event.metadata()) else { return };
        let mut before = prefix(*event.metadata().level()).to_owned();
        if dropped > 0 {
            // The report rides on the next message: an event of its own would need a call site of its own. Whoever
            // searches for warnings finds it, whatever the level of that message.
            before = format!("{}{}; {before}", prefix(tracing::Level::WARN), self.gate.report(dropped));
        }
        let fields = event.metadata().fields();
        let mut texts = Texts { before, by_field: vec![None; fields.len()] };
        event.record(&mut texts);
        let values: Vec<Option<&dyn Value>> =
            texts.by_field.iter().map(|text| text.as_ref().map(|text| text as &dyn Value)).collect();
        let values = fields.value_set_all(&values);
        let copy = if event.is_contextual() {
            Event::new(event.metadata(), &values)
        } else {
            Event::new_child_of(event.parent().cloned(), event.metadata(), &values)
        };
        self.inner.on_event(&copy, context);
    }
}

/// The values of an event as text, by the number of their field, the message prefixed.
struct Texts {
    before: String,
    by_field: Vec<Option<String>>,
}

impl Texts {
    fn set(&mut self, field: &Field, text: impl Display) {
        let before = if field.name() == "message" { self.before.as_str() } else { "" };
        if let Some(slot) = self.by_field.get_mut(field.index()) {
            *slot = Some(format!("{before}{text}"));
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::id::Time;
    use crate::telemetry::logs::{LogLevel, Options};
    use crate::telemetry::metrics::Metrics;

    /// Stands where tracing-journald does and writes what it is given.
    struct Recorder(Arc<Mutex<String>>);

    struct Fields<'a>(&'a mut String);

    impl Visit for Fields<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "[{}={value:?}]", field.name()).unwrap();
        }
    }

    impl<S: Subscriber> Layer<S> for Recorder {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut text = self.0.lock().unwrap();
            write!(text, "{} ", event.metadata().level()).unwrap();
            event.record(&mut Fields(&mut text));
            text.push('\n');
        }
    }

    #[test]
    fn what_reaches_journald_begins_with_its_level_and_keeps_its_fields() {
        let text = Arc::new(Mutex::new(String::new()));
        let second = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let clock = Arc::clone(&second);
        let options = Options {
            level: LogLevel::Info,
            lines_per_second_max: 4,
            journal_stream: None,
            now: Arc::new(move || Time(clock.load(std::sync::atomic::Ordering::Relaxed) * 1_000_000)),
            metrics: Arc::new(Metrics::new()),
        };
        let layer = Prefixed { inner: Recorder(Arc::clone(&text)), gate: Gate::new(&options) };
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::error!(path = "/x", bytes = 7, "journal is not writable");
            tracing::warn!(name: "w", "{} is slow", "disk");
            tracing::info!(started = true, ratio = 0.5);
            let span = tracing::info_span!("request");
            tracing::error!(parent: &span, "under a span");
            tracing::error!("dropped");
            tracing::error!("dropped");
            second.store(1, std::sync::atomic::Ordering::Relaxed);
            tracing::warn!("heard again");
            (0..4).for_each(|_| tracing::debug!("dropped in part"));
            second.store(2, std::sync::atomic::Ordering::Relaxed);
            tracing::info!("calm");
        });
        expect_test::expect![[r#"
            ERROR [message="error: journal is not writable"][path="/x"][bytes="7"]
            WARN [message="warning: disk is slow"]
            INFO [started="true"][ratio="0.5"]
            ERROR [message="error: under a span"]
            WARN [message="warning: log lines dropped: 2 beyond 4 a second; warning: heard again"]
            DEBUG [message="dropped in part"]
            DEBUG [message="dropped in part"]
            DEBUG [message="dropped in part"]
            INFO [message="warning: log lines dropped: 1 beyond 4 a second; calm"]
        "#]]
        .assert_eq(&text.lock().unwrap());
        assert_eq!(options.metrics.log_lines_dropped.get(), 3);
    }
}
