//! The list of messages against the sources: whatever is written at warning or above is on it, with what to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use knhk::telemetry::logs::LogLevel;
use knhk::telemetry::words::{self, Words};

use crate::support::service::root;

/// What `grep -i "tick\|performance\|slow"` finds.
const SLOW: [&str; 3] = ["tick", "performance", "slow"];
/// Macros that write an event, with the level of what they write.
const MACROS: [(&str, LogLevel); 3] =
    [("error", LogLevel::Error), ("warn", LogLevel::Warning), ("info", LogLevel::Info)];

fn sources(folder: &Path, out: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // Tests of private parts write what they like.
            let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            out.push((path, code.collect::<Vec<_>>().join("\n")));
        }
    }
}

/// Returns the sources without tests and comments, and without the list itself.
fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    found.retain(|(path, _)| !path.ends_with("telemetry/words.rs"));
    found
}

/// Returns what stands between a bracket that was just opened and its end.
fn within(text: &str) -> &str {
    let (mut depth, mut is_quoted, mut is_escaped) = (1_u32, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// Returns the names of the constants of the list that stand in a text.
fn named(text: &str) -> Vec<String> {
    let names = text.split("words::").skip(1);
    names.map(|rest| rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect()).collect()
}

/// Returns every constant of the list with its message.
fn constants() -> BTreeMap<String, Words> {
    let text = fs::read_to_string(root().join("src/telemetry/words.rs")).unwrap();
    let rows = text.split("\nwords! {\n").nth(1).unwrap().lines();
    let names = rows.filter_map(|row| Some(row.strip_prefix("    ")?.split_once(": ")?.0.to_owned()));
    let found: BTreeMap<_, _> = names.zip(words::ALL.iter().copied()).collect();
    assert_eq!(found.len(), words::ALL.len());
    found
}

#[test]
fn every_event_at_warning_or_above_is_on_the_list_and_at_its_level() {
    let constants = constants();
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        if path.starts_with(root().join("src/telemetry")) {
            continue;
        }
        let mut complain = |what: String| wrong.push(format!("{}: {what}", path.display()));
        for plain in ["use tracing", "event!("] {
            if text.contains(plain) {
                complain(format!("write tracing::warn! and its like in full, not by {plain}"));
            }
        }
        for (name, level) in MACROS {
            for (at, opening) in text.match_indices(&format!("tracing::{name}!(")) {
                let inside = within(&text[at + opening.len()..]);
                let said = named(inside);
                match said.as_slice() {
                    [] if level > LogLevel::Warning => {}
                    [one] if constants.get(one).is_some_and(|words| words.level == level) => {}
                    [one] => complain(format!("{one} is not on the list for tracing::{name}!: {inside}")),
                    _ => complain(format!("says not one message of telemetry/words.rs: {inside}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_of_the_list_is_written_somewhere() {
    let used: Vec<String> = all_sources().iter().flat_map(|(_, text)| named(text)).collect();
    let unused: Vec<_> = constants().into_keys().filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "nothing in src writes {unused:?}");
}

#[test]
fn the_reference_has_every_message_with_when_and_what_to_do() {
    let mut page = "\
# Log messages

Written from src/telemetry/words.rs; a test fails when the two differ (`UPDATE_EXPECT=1` writes it anew).
Under systemd the log goes to the journal (`journalctl -u knhk`), fields as `KNHK_NAME`; else to stderr, one line each.
The message of an error begins `error: `, that of a warning `warning: `; what is known only then follows after the text
below. Nothing else has one of the two words in its message, so that these find what a person should see, and nothing when
all is well:

    journalctl -u knhk | grep -i error
    journalctl -u knhk | grep -i warn
    journalctl -u knhk | grep -i \"tick\\|performance\\|slow\"

A service that cannot start says why in a line `error[KN0000]: ` with the code of [docs/errors](../errors).
At most `log_lines_per_second_max` lines go out in a second. With `log_level` info and above no line has data of a case, a
reason that somebody gave, a business key or an idempotency key.

The audit trail, a line `remote change` for each request that may change something and comes from another machine or with a
token by the port (`listen_allow = \"token\"`), has a lane of its own. It is written whatever `log_level` says, is not counted in `log_lines_per_second_max`, and takes nothing from other
lines. Room for its line is taken before such a request is begun, up to 20000 in a second, shared by token; without room the
answer is 503 ([KN0376](../errors/KN0376.md)) and nothing is done. The line is written when the request has been answered,
also when its client has gone; `status=unknown` when the service stopped before. Only a crash of the process or the machine
in between leaves a change without it, and what the system's log itself does not take.

## Errors and warnings

| Level | Message | When | What to do |
|---|---|---|---|
"
    .to_owned();
    let name = |words: &Words| LogLevel::ALL.iter().find(|(level, _)| *level == words.level).unwrap().1;
    let loud = |words: &&Words| words.level <= LogLevel::Warning;
    for level in [LogLevel::Error, LogLevel::Warning] {
        for words in words::ALL.iter().filter(|words| words.level == level) {
            assert!(!words.what_to_do.is_empty(), "{}", words.text);
            let level = name(words);
            writeln!(page, "| {level} | `{}` | {} | {} |", words.text, words.when, words.what_to_do).unwrap();
        }
    }
    page.push_str("\n## Changes of state\n\n| Message | When |\n|---|---|\n");
    for words in words::ALL.iter().filter(|words| !loud(words)) {
        assert!(words.what_to_do.is_empty(), "{}", words.text);
        writeln!(page, "| `{}` | {} |", words.text, words.when).unwrap();
    }
    expect_file!["../../../docs/reference/logs.md"].assert_eq(&page);
}

#[test]
fn searches_find_what_is_slow_and_are_silent_about_what_is_well() {
    for slow in [words::SLOW_STEPS, words::SLOW_COMMIT, words::CORES_NOT_PINNED, words::MEMORY_NOT_LOCKED] {
        assert!(SLOW.iter().any(|word| slow.contains(word)), "{slow}");
    }
    for words in words::ALL.iter().filter(|words| words.level > LogLevel::Warning) {
        let text = words.text.to_lowercase();
        let alarms = ["error", "warn"].iter().chain(&SLOW);
        assert!(alarms.clone().all(|word| !text.contains(word)), "{text} would alarm somebody");
    }
    // Also what follows the message, and messages that have no constant.
    for (path, text) in all_sources() {
        for (at, opening) in text.match_indices("tracing::info!(") {
            let inside = within(&text[at + opening.len()..]);
            let quoted: String =
                inside.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
            assert!(!quoted.contains("error") && !quoted.contains("warn"), "{}: {inside}", path.display());
        }
    }
}
