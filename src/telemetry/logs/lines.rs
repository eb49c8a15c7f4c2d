//! One line an event: `2026-01-31T09:30:00.000000Z error: journal is not writable path=/var/lib/knhk`.

use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::gate::{Gate, Pass};
use super::prefix;
use crate::id::Time;

/// Longest line; what is longer is cut and says so.
const LINE_BYTES_MAX: usize = 8 * 1_024;

/// Writes lines to a writer, each by one call, so that two processes do not mix theirs.
pub(super) struct Lines {
    gate: Gate,
    now: Arc<dyn Fn() -> Time + Send + Sync>,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl Lines {
    pub(super) fn new(
        gate: Gate,
        now: Arc<dyn Fn() -> Time + Send + Sync>,
        writer: Box<dyn Write + Send>,
    ) -> Self {
        Self { gate, now, writer: Mutex::new(writer) }
    }

    fn write(&self, level: tracing::Level, text: &str) {
        let mut line = format!("{} {}{text}", (self.now)().rfc3339(), prefix(level));
        if line.len() > LINE_BYTES_MAX {
            let mut end = LINE_BYTES_MAX;
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            line.truncate(end);
            line.push_str(" (cut)");
        }
        line.push('\n');
        let mut writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A log that cannot be written has no place left to say so.
        let _ = writer.write_all(line.as_bytes());
        let _ = writer.flush();
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Pass::Yes { dropped } = self.gate.pass(event.metadata()) else { return };
        if dropped > 0 {
            self.write(tracing::Level::WARN, &self.gate.report(dropped));
        }
        let mut text = Text::default();
        event.record(&mut text);
        let separator = if text.message.is_empty() || text.fields.is_empty() { "" } else { " " };
        self.write(*event.metadata().level(), &format!("{}{separator}{}", text.message, text.fields));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = on_one_line(value);
            return;
        }
        if !self.fields.is_empty() {
            self.fields.push(' ');
        }
        let plain =
            !value.is_empty() && !value.contains(|letter: char| letter.is_whitespace() || letter == '"');
        let shown = if plain { on_one_line(value) } else { format!("{value:?}") };
        write!(self.fields, "{}={shown}", field.name())
            .expect("invariant: writing to a string does not fail");
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Writes line breaks and other control characters out, so that no value can forge a line.
fn on_one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, letter| {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
        line
    })
}
