//! Lines of a file set aside: made comments that say why and when, so that what is left can be read. Pure.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::file::{Lines, MISTAKE_COUNT_MAX, read};

/// Unchanged lines around a change that a diff shows.
const CONTEXT_LINES: usize = 3;

/// A line that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Its number in the file before, from 1.
    pub line: usize,
    /// What it says; bytes that are no text are replaced.
    pub text: String,
    /// Why; empty for the further lines of a value or section.
    pub reason: String,
}

/// A file, line by line.
#[derive(Debug)]
pub(super) struct Sheet {
    lines: Vec<Line>,
    ends_with_break: bool,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// Why it is set aside.
    reason: Option<String>,
}

impl Sheet {
    /// Returns the lines of a file; those that are no text are set aside.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let ends_with_break = bytes.last().is_none_or(|&last| last == b'\n');
        let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Line { text: text.to_owned(), reason: None },
            Err(_) => Line {
                text: String::from_utf8_lossy(bytes).into_owned(),
                reason: Some("is not UTF-8".to_owned()),
            },
        };
        let lines = if bytes.is_empty() {
            Vec::new()
        } else {
            whole.split(|&byte| byte == b'\n').map(line).collect()
        };
        Self { lines, ends_with_break }
    }

    /// Sets lines aside for the mistakes found in [`Self::text`], each a line from 1 and a reason; tells whether there
    /// was one to set aside.
    pub(super) fn set_aside(&mut self, mistakes: &[(usize, String)]) -> bool {
        let before = self.asides().len();
        if mistakes.len() >= MISTAKE_COUNT_MAX {
            self.keep_what_stands_alone();
        } else {
            let text = self.text();
            for (line, reason) in mistakes {
                self.set_one_aside(&text, *line, reason);
            }
        }
        self.asides().len() > before
    }

    /// Sets a line aside, with all of the value or section that it begins.
    fn set_one_aside(&mut self, text: &str, line: usize, reason: &str) {
        let Some(first) = self.lines.get(line.wrapping_sub(1)).filter(|line| line.reason.is_none()) else {
            return;
        };
        let last = if first.text.trim_start().starts_with('[') {
            let is_header = |line: &Line| line.text.trim_start().starts_with('[');
            self.lines[line..].iter().position(is_header).map_or(self.lines.len(), |more| line + more)
        } else {
            last_line_of_value(text, line).clamp(line, self.lines.len())
        };
        self.lines[line - 1].reason = Some(reason.to_owned());
        // Comments and empty lines in it do no harm.
        for more in self.lines[line..last].iter_mut().filter(|more| more.says_something()) {
            more.reason.get_or_insert_default();
        }
    }

    /// Of a file that is hardly one of ours, keeps the lines that set a key by themselves, and comments.
    fn keep_what_stands_alone(&mut self) {
        let mut seen = BTreeSet::new();
        for line in self.lines.iter_mut().filter(|line| line.reason.is_none()) {
            let (settings, mistakes) = read("", &line.text);
            let reason = match (settings.first(), mistakes.first()) {
                (_, Some(mistake)) => mistake.message.clone(),
                (Some(setting), None) if !seen.insert(setting.key_index) => "duplicate key".to_owned(),
                _ => continue,
            };
            line.reason = Some(reason);
        }
    }

    /// Returns the text without what is set aside; line numbers stay.
    pub(super) fn text(&self) -> String {
        self.joined(|line| if line.reason.is_some() { "#" } else { &line.text })
    }

    fn joined<'a>(&'a self, shown: impl Fn(&'a Line) -> &'a str) -> String {
        let lines: Vec<&str> = self.lines.iter().map(shown).collect();
        lines.join("\n") + if self.ends_with_break && !lines.is_empty() { "\n" } else { "" }
    }

    /// Returns what is set aside.
    pub(super) fn asides(&self) -> Vec<Aside> {
        let lines = self.lines.iter().zip(1..);
        let aside = |(line, number): (&Line, usize)| {
            let reason = line.reason.clone()?;
            Some(Aside { line: number, text: line.text.clone(), reason })
        };
        lines.filter_map(aside).collect()
    }

    /// Returns the file anew: what is set aside as comments, below a note of `date`.
    pub(super) fn written(&self, date: &str) -> String {
        let mut text = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            for new in line.written(date) {
                text.push_str(&new);
                text.push('\n');
            }
            if at + 1 == self.lines.len() && !self.ends_with_break {
                text.pop();
            }
        }
        text
    }

    /// Returns what changes, as a unified diff of two files with these names.
    pub(super) fn diff(&self, old: &str, new: &str, date: &str) -> String {
        let changed: Vec<usize> =
            (0..self.lines.len()).filter(|&at| self.lines[at].reason.is_some()).collect();
        let mut text = format!("--- {old}\n+++ {new}\n");
        let (mut next, mut added) = (0, 0);
        while let Some(&first) = changed.iter().find(|&&at| at >= next) {
            let start = first.saturating_sub(CONTEXT_LINES);
            let mut end = first + 1;
            while let Some(&more) = changed.iter().find(|&&at| at >= end && at <= end + 2 * CONTEXT_LINES) {
                end = more + 1;
            }
            let end = (end + CONTEXT_LINES).min(self.lines.len());
            let (body, new_count) = self.hunk(start, end, date);
            let old_count = end - start;
            let (old, new) = (range(start, old_count), range(start + added, new_count));
            text.extend(["@@ -", &old, " +", &new, " @@\n", &body]);
            added += new_count - old_count;
            next = end;
        }
        text
    }

    /// Returns the lines of a hunk, and how many it has afterwards.
    fn hunk(&self, start: usize, end: usize, date: &str) -> (String, usize) {
        let (mut body, mut added, mut count) = (String::new(), String::new(), 0);
        for at in start..end {
            let line = &self.lines[at];
            let is_last = at + 1 == self.lines.len() && !self.ends_with_break;
            let without_break = if is_last { "\n\\ No newline at end of file" } else { "" };
            let new = line.written(date);
            count += new.len();
            if line.reason.is_none() {
                body.push_str(&std::mem::take(&mut added));
                body.extend([" ", &line.text, without_break, "\n"]);
                continue;
            }
            body.extend(["-", &line.text, without_break, "\n"]);
            for (number, new_line) in new.iter().enumerate() {
                let without_break = if number + 1 == new.len() { without_break } else { "" };
                added.extend(["+", new_line, without_break, "\n"]);
            }
        }
        (body + &added, count)
    }
}

impl Line {
    fn says_something(&self) -> bool {
        let text = self.text.trim();
        !text.is_empty() && !text.starts_with('#')
    }

    /// Returns the lines that stand in its place afterwards.
    fn written(&self, date: &str) -> Vec<String> {
        match self.reason.as_deref() {
            None => vec![self.text.clone()],
            Some("") => vec![comment(&self.text)],
            Some(reason) => {
                let note = format!("# set aside by `knhk config fix` on {date}: {}", plain(reason));
                vec![note, comment(&self.text)]
            }
        }
    }
}

/// Returns lines of a file as the head of a hunk has them.
fn range(start: usize, count: usize) -> String {
    if count == 1 { (start + 1).to_string() } else { format!("{},{count}", start + 1) }
}

/// Returns a line as a comment, in which TOML allows no control characters; the kept file has them still.
fn comment(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let letter = |letter: char| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter };
    format!("# {}", line.chars().map(letter).collect::<String>())
}

/// Returns a reason on one line, so that no part of it is read as a setting.
fn plain(reason: &str) -> String {
    reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Returns the last line of the value that begins on a line; that line when none does.
fn last_line_of_value(text: &str, line: usize) -> usize {
    let lines = Lines::of(text);
    let (table, _) = DeTable::parse_recoverable(text);
    let value = table.get_ref().iter().find(|(key, _)| lines.line(key.span().start) == line);
    value.map_or(line, |(_, value)| lines.line(value.span().end.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::{collection, proptest};

    use super::*;

    /// Sets aside until nothing is wrong with the rest; returns the file anew.
    fn mended(bytes: &[u8]) -> (Sheet, String) {
        let mut sheet = Sheet::of(bytes);
        loop {
            let (_, mistakes) = read("", &sheet.text());
            let mistakes: Vec<_> = mistakes.into_iter().map(|it| (it.line, it.message)).collect();
            if mistakes.is_empty() {
                let text = sheet.written("DAY");
                return (sheet, text);
            }
            assert!(
                sheet.set_aside(&mistakes),
                "no line to set aside for {mistakes:?} in {:?}",
                sheet.text()
            );
        }
    }

    #[test]
    fn a_value_of_several_lines_and_a_section_go_as_a_whole() {
        let text = "listen = \"\"\"\nx = 1\n\"\"\"\n[a]\n# note\nlog_level = \"info\"\n\n[b]\ny = 2\n";
        let (sheet, text) = mended(text.as_bytes());
        let lines: Vec<usize> = sheet.asides().iter().map(|aside| aside.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 6, 8, 9]);
        assert!(text.contains("\n# note\n") && text.contains("\n# log_level = \"info\"\n\n"), "{text}");
    }

    #[test]
    fn what_is_good_stays_byte_by_byte() {
        for text in ["", "\n", "# only\n", "cache_size_mb = 64", "cache_size_mb = 64\r\n\r\n# end"] {
            let (sheet, written) = mended(text.as_bytes());
            assert_eq!((written.as_str(), sheet.asides().len()), (text, 0));
        }
    }

    proptest! {
        #[test]
        fn of_any_bytes_what_is_left_is_a_configuration(
            lines in collection::vec("[a-z\\[\\]{}\"'=#. 0-9\\\\]{0,12}|cache_size_mb *= *[0-9]{1,3}|log_level=\"info\"", 0..12),
            noise in collection::vec(any::<u8>(), 0..40),
        ) {
            for bytes in [lines.join("\n").into_bytes(), [lines.join("\n").as_bytes(), &noise].concat()] {
                let (_, text) = mended(&bytes);
                let (_, mistakes) = read("", &text);
                assert!(mistakes.is_empty(), "{mistakes:?} in {text:?}");
            }
        }
    }
}
