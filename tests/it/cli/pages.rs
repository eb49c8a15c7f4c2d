//! Pages that are written from tables, or held against them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{expect, expect_file};
use knhk::error::Kind;

use super::Home;

fn names_in(folder: &Path, found: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found(&fs::read_to_string(path).unwrap());
        }
    }
}

/// Returns the three-digit number that a text begins with, as its code is written.
fn number_at(text: &str) -> Option<String> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    (digits.len() == 3).then(|| format!("0{digits}"))
}

#[test]
fn pages_and_codes_pair_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root.join("docs/errors")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let number = name.strip_prefix("KN").and_then(|name| name.strip_suffix(".md")).unwrap().to_owned();
        let text = fs::read_to_string(root.join("docs/errors").join(&name)).unwrap();
        assert!(text.starts_with(&format!("# KN{number}: ")), "{name}: its first line");
        for heading in ["\n## What happened\n\n", "\n## What to do\n\n"] {
            assert!(text.contains(heading), "{name}: {heading:?} is missing");
        }
        pages.insert(number);
    }
    let mut source = "\
//! Every page of docs/errors, built in. A test holds it against the folder: `UPDATE_EXPECT=1` writes it anew.

/// Number of each code, and its page.
pub(super) static PAGES: &[(u16, &str)] = &[
"
    .to_owned();
    for number in &pages {
        let plain = number.trim_start_matches('0');
        let line = format!("    ({plain}, include_str!(\"../../docs/errors/KN{number}.md\")),\n");
        source.push_str(&line);
    }
    source.push_str("];\n");
    expect_file!["../../../src/cli/pages.rs"].assert_eq(&source);

    let (mut used, mut mentioned) = (BTreeSet::new(), BTreeSet::new());
    names_in(&root.join("src"), &mut |text| {
        if text != source {
            let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
            mentioned.extend(words.filter(|word| word.len() == 3).filter_map(number_at));
        }
        used.extend(text.match_indices("Code(").filter_map(|(at, _)| number_at(&text[at + 5..])));
        // A table in `fn code` names the numbers alone.
        for (at, _) in text.match_indices("fn code(") {
            let body = text[at..].split("\n    }\n").next().unwrap_or_default();
            used.extend(body.match_indices("=> ").filter_map(|(at, _)| number_at(&body[at + 3..])));
        }
    });
    let without_page: Vec<_> = used.difference(&pages).collect();
    assert!(without_page.is_empty(), "codes without a page in docs/errors: {without_page:?}");
    let without_code: Vec<_> = pages.difference(&mentioned).collect();
    assert!(without_code.is_empty(), "pages of codes that nothing uses: {without_code:?}");
}

#[test]
fn completions_know_every_command() {
    let home = Home::new("");
    let script = home.run(&["completions", "bash"]);
    let reference = knhk::cli::reference();
    for command in ["workflow register", "workflow retry", "workitem skip", "config validate", "explain"] {
        assert!(reference.contains(&format!("## `knhk {command}")), "{command}");
    }
    for line in reference.lines().filter_map(|line| line.strip_prefix("## `knhk ")) {
        let command: Vec<_> =
            line.split([' ', '`']).take_while(|word| word.chars().all(char::is_lowercase)).collect();
        let path = command
            .iter()
            .filter(|word| !word.is_empty())
            .fold(String::new(), |path, word| path + " " + word);
        assert!(script.contains(&format!("\"{path}\") echo")), "{path}");
    }
    expect_file!["../../../docs/reference/commands.md"].assert_eq(&reference);
    // The shell itself says what it would offer.
    let script = script.trim_end_matches("= 0\n");
    let question = "COMP_WORDS=(knhk workflow --json re); COMP_CWORD=3; _knhk; echo ${COMPREPLY[@]}";
    let output =
        Command::new("bash").args(["--norc", "-c", &format!("{script}\n{question}")]).output().unwrap();
    expect![[r#"
        register resume retry restore
        = 0
    "#]]
    .assert_eq(&home.text(&output));
}

#[test]
fn the_page_of_statuses_says_what_the_table_says() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/statuses.md")).unwrap();
    for kind in [
        Kind::Invalid,
        Kind::Unacceptable,
        Kind::NotFound,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::Busy,
        Kind::Unknown,
        Kind::Unavailable,
        Kind::Usage,
        Kind::Configuration,
        Kind::Io,
        Kind::Corrupt,
        Kind::Internal,
    ] {
        let outside = kind.outside();
        let line = format!("\n| {kind:?} | {} | {} |", outside.exit, outside.http);
        assert!(page.contains(&line), "{line:?} is not in docs/reference/statuses.md");
    }
}
