//! The only writer to stdout and stderr.
//!
//! stdout carries the answer, stderr everything else. A write to a closed pipe ends the command quietly.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::error::Error;
use crate::config::Environment;

/// Redraws of a progress line come at least this far apart.
const REDRAW_US: u64 = 100_000;
/// A progress line appears after this long.
const FIRST_DRAW_US: u64 = 500_000;
/// Without a terminal a plain line comes this often.
const PLAIN_US: u64 = 10_000_000;
/// Longest answer to a question.
const REPLY_BYTES_MAX: u64 = 64;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    /// On a terminal, unless the environment speaks against it.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl std::str::FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is not auto, always or never")),
        }
    }
}

/// Whether the command prints for programs or for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON document.
    Json,
    /// Text.
    Text,
}

/// How this command speaks.
#[derive(Debug)]
pub(super) struct Ui {
    form: Form,
    color: Color,
    /// The environment allows colours.
    environment_allows: bool,
    progress: Progress,
}

impl Ui {
    pub(super) fn new(environment: &Environment, form: Form) -> Self {
        let dumb = environment.term.as_deref() == Some("dumb");
        let wanted = !environment.no_progress && form == Form::Text;
        Self {
            form,
            color: Color::Auto,
            environment_allows: !environment.no_color && !dumb,
            progress: Progress { wanted, ..Progress::default() },
        }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Prints for programs from now on, if the command says so.
    pub(super) fn set_json(&mut self, json: bool) {
        if json {
            self.form = Form::Json;
            self.progress.wanted = false;
        }
    }

    pub(super) fn set_color(&mut self, color: Option<Color>) {
        self.color = color.unwrap_or(Color::Auto);
    }

    pub(super) fn be_quiet(&mut self) {
        self.progress.wanted = false;
    }

    /// Writes a part of the answer.
    pub(super) fn answer(&mut self, text: &str) -> Result<(), Error> {
        self.answer_bytes(text.as_bytes())
    }

    /// Writes a part of the answer as it is.
    pub(super) fn answer_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.clear_progress();
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Write)
    }

    /// Writes a table, its header in bold where there are colours.
    pub(super) fn table(&mut self, text: &str) -> Result<(), Error> {
        let colored = self.colored(io::stdout().is_terminal());
        match text.split_once('\n') {
            Some((header, rows)) if colored => self.answer(&format!("\u{1b}[1m{header}\u{1b}[0m\n{rows}")),
            _ => self.answer(text),
        }
    }

    /// Writes the whole answer as one document.
    pub(super) fn document(&mut self, document: &Value) -> Result<(), Error> {
        self.answer(&format!("{document}\n"))
    }

    /// Says something beside the answer.
    pub(super) fn note(&mut self, text: &str) {
        self.clear_progress();
        to_stderr(&format!("{}\n", super::table::plain(text)));
    }

    /// Says what went wrong: every mistake, the error, its causes, the hint.
    pub(super) fn error(&mut self, error: &Error) {
        self.clear_progress();
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            causes.push(next.to_string());
            cause = next.source();
        }
        let text = match self.form {
            Form::Json => {
                let document = json!({
                    "code": error.code().map(|code| code.to_string()),
                    "message": error.to_string(),
                    "causes": causes,
                    "hint": error.hint(),
                    "mistakes": error.mistakes(),
                });
                format!("{document}\n")
            }
            Form::Text => self.error_text(error, &causes),
        };
        to_stderr(&text);
    }

    fn error_text(&self, error: &Error, causes: &[String]) -> String {
        let colored = self.colored(io::stderr().is_terminal());
        let mut text = String::new();
        for mistake in error.mistakes() {
            let member = |name: &str| mistake.get(name).and_then(Value::as_str).unwrap_or_default();
            let word = if member("severity") == "warning" { "warning" } else { "error" };
            let message = super::mistakes::sentence(&mistake, "");
            line(&mut text, colored, &format!("{word}[{}]", member("code")), &message);
            if !member("hint").is_empty() {
                line(&mut text, false, "hint", member("hint"));
            }
        }
        let label = error.code().map_or_else(|| "error".to_owned(), |code| format!("error[{code}]"));
        line(&mut text, colored, &label, &error.to_string());
        for cause in causes {
            line(&mut text, false, "caused by", cause);
        }
        if let Some(hint) = error.hint() {
            line(&mut text, false, "hint", &hint);
        }
        text
    }

    /// Asks for a yes; `None` when there is nobody to ask.
    pub(super) fn ask(&mut self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() || self.form == Form::Json {
            return None;
        }
        self.clear_progress();
        to_stderr(&format!("{} [y/N] ", super::table::plain(question)));
        let mut reply = String::new();
        let mut input = io::Read::take(io::stdin().lock(), REPLY_BYTES_MAX);
        let read = input.read_line(&mut reply).is_ok();
        Some(read && matches!(reply.trim(), "y" | "Y" | "yes"))
    }

    /// Shows how far a long command has come, if it is time to.
    pub(super) fn progress(&mut self, now_us: u64, text: &str) {
        let is_terminal = io::stderr().is_terminal();
        if self.progress.is_due(now_us, is_terminal) {
            let text = super::table::plain(text);
            to_stderr(&if is_terminal { format!("\r\u{1b}[K{text}") } else { format!("{text}\n") });
            self.progress.on_screen = is_terminal;
        }
    }

    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.progress.on_screen) {
            to_stderr("\r\u{1b}[K");
        }
    }

    fn colored(&self, is_terminal: bool) -> bool {
        match self.color {
            Color::Auto => is_terminal && self.environment_allows,
            Color::Always => true,
            Color::Never => false,
        }
    }
}

fn line(text: &mut String, colored: bool, label: &str, message: &str) {
    let message = super::table::plain(message);
    let (before, after) = if colored { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    text.extend([before, label, after, ": ", &message, "\n"]);
}

/// Says something beside the answer, from where no progress is shown.
pub(super) fn note(text: &str) {
    to_stderr(&format!("note: {}\n", super::table::plain(text)));
}

/// Writes to stderr; if that fails there is nowhere left to say so.
fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// When a progress line is due.
#[derive(Debug, Default)]
struct Progress {
    wanted: bool,
    on_screen: bool,
    started_us: Option<u64>,
    drawn_us: Option<u64>,
}

impl Progress {
    fn is_due(&mut self, now_us: u64, is_terminal: bool) -> bool {
        let started = *self.started_us.get_or_insert(now_us);
        let (first, next) = if is_terminal { (FIRST_DRAW_US, REDRAW_US) } else { (PLAIN_US, PLAIN_US) };
        let due_us = self.drawn_us.map_or(started.saturating_add(first), |drawn| drawn.saturating_add(next));
        let is_due = self.wanted && now_us >= due_us;
        if is_due {
            self.drawn_us = Some(now_us);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_waits_half_a_second_and_redraws_ten_times_a_second_at_most() {
        let draws = |is_terminal, wanted| {
            let mut progress = Progress { wanted, ..Progress::default() };
            (0..=1_000).filter(|step| progress.is_due(step * 25_000, is_terminal)).count()
        };
        assert_eq!(draws(true, true), 1 + (25_000_000 - 500_000) / 100_000);
        assert_eq!(draws(false, true), 2);
        assert_eq!(draws(true, false), 0);
    }

    #[test]
    fn colours_keep_to_the_rules() {
        let mut ui = Ui::new(&Environment::default(), Form::Text);
        assert!(ui.colored(true) && !ui.colored(false));
        let dumb = Environment { term: Some("dumb".to_owned()), ..Environment::default() };
        ui = Ui::new(&dumb, Form::Text);
        assert!(!ui.colored(true));
        ui.set_color(Some(Color::Always));
        assert!(ui.colored(false));
        let none = Environment { no_color: true, ..Environment::default() };
        ui = Ui::new(&none, Form::Text);
        assert!(!ui.colored(true));
        ui.set_color(Some(Color::Never));
        assert!(!ui.colored(true));
    }
}
