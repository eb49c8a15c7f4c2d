//! What docs/ tells people to do: blocks are commands of a shell, those that can be tried here are tried, what is named
//! exists, and links lead somewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::service::{Place, root};
use crate::support::wait;

/// Pages whose blocks people paste into a shell.
const PAGES: [&str; 5] =
    ["operations.md", "deployment.md", "implementation.md", "troubleshooting.md", "monitoring/README.md"];
/// What waits for somebody, or never ends, or is to be filled in first: not in a block.
const NOT_IN_A_BLOCK: [&str; 8] =
    ["-f\n", " -f ", "less ", "systemctl edit", "top -p", "telnet", "docker logs", "<case"];
/// The address that pages name; the test's service has another.
const ADDRESS: &str = "localhost:8080";

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the blocks of a page that are meant to be run, with the number of their first line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match open.as_mut() {
            None if line == "```bash" => open = Some((number + 2, String::new())),
            None => {}
            Some(_) if line == "```" => found.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block without its end");
    found
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_block_is_a_script_that_ends_by_itself() {
    for name in PAGES {
        for (line, block) in blocks(&page(name)) {
            let output = Command::new("bash").args(["-n", "-c", &block]).output().unwrap();
            assert!(output.status.success(), "docs/{name}:{line}: {}", told(&output));
            for wrong in NOT_IN_A_BLOCK {
                let is_tail = block.contains("rm -rf") && wrong == " -f ";
                assert!(
                    is_tail || !block.contains(wrong),
                    "docs/{name}:{line}: {wrong:?} does not end by itself"
                );
            }
        }
    }
    assert!(blocks(&page("operations.md")).len() > 20);
}

/// Returns what follows `knhk ` in a text, as far as it can be a command: noun and verb.
fn commands(text: &str) -> BTreeSet<String> {
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("knhk ") {
        let is_whole = text[..at].chars().next_back().is_none_or(|before| "`( \n".contains(before));
        let line = text[at + 5..].lines().next().unwrap_or_default();
        let words: Vec<&str> = line.split([' ', '`', ')']).take(2).collect();
        if let [noun, verb] = words.as_slice()
            && is_whole
            && is_word(noun)
            && is_word(verb)
        {
            found.insert(format!("{noun} {verb}"));
        }
    }
    found
}

#[test]
fn every_command_that_is_named_exists() {
    let reference = page("reference/commands.md");
    let headings = reference.lines().filter_map(|line| line.strip_prefix("## `knhk "));
    let known: BTreeSet<String> = headings
        .map(|rest| rest.trim_end_matches('`').split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert!(known.contains("workflow list"), "{known:?}");
    let nouns: BTreeSet<&str> =
        known.iter().map(String::as_str).filter_map(|command| command.split(' ').next()).collect();
    for name in PAGES {
        for command in commands(&page(name)) {
            let (noun, _) = command.split_once(' ').unwrap();
            // "knhk serves" and the like are sentences.
            if nouns.contains(noun) {
                assert!(known.contains(&command), "docs/{name}: knhk {command}");
            }
        }
    }
}

#[test]
fn every_key_that_is_set_exists() {
    let keys = page("reference/config.md");
    for name in PAGES {
        let text = page(name);
        for (at, opening) in text.match_indices("knhk config set ") {
            let key = text[at + opening.len()..].split(' ').next().unwrap();
            assert!(keys.contains(&format!("| `{key}` |")), "docs/{name}: {key}");
        }
    }
}

/// Returns the anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

fn markdown(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            out.push(path);
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut files = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    markdown(&root().join("docs"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (at, opening) in text.match_indices("](") {
            let target = text[at + opening.len()..].split(')').next().unwrap();
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let found = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let is_there = found.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&found).unwrap_or_default()).contains(anchor));
            if !is_there {
                wrong.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A shell in which `knhk` is the binary under test and the page's address that of a service.
fn shell(place: &Place, folder: &Path, script: &str) -> Output {
    let path = folder.join("bin");
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).current_dir(folder);
    command.env("KNHK_CONFIG", place.path("knhk.toml"));
    command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", path.display()));
    command.output().unwrap()
}

#[test]
fn the_blocks_of_the_implementation_guide_do_what_it_says() {
    if !Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return wait::absent("curl is not here");
    }
    let mut place = Place::new();
    let mut service = place.start();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(Place::binary(), folder.path().join("bin/knhk")).unwrap();
    let address = service.address.to_string();
    // One shell for all, as a reader has it, that ends at the first command that fails.
    let mut script = "set -euo pipefail\n".to_owned();
    for (line, block) in blocks(&page("implementation.md")) {
        write!(script, "echo '== {line}'\n{}", block.replace(ADDRESS, &address)).unwrap();
    }
    let output = shell(&place, folder.path(), &script);
    let said = told(&output);
    assert!(output.status.success(), "{said}");
    for expected in ["claim@1", "claim@2", "\"state\":\"completed\"", "R-1", "\"status\":201"] {
        assert!(said.contains(expected), "{expected} is missing:\n{said}");
    }
    // The first two calls and the two repeats gave one case, the batch two, and the versions one each.
    let count = place.knhk(&["workflow", "list", "--workflow", "claim", "--quiet"]);
    assert_eq!(told(&count).lines().count(), 6, "{}\n{said}", told(&count));
    assert!(service.stop().success(), "{}", place.log());
}

#[test]
fn every_reason_of_health_in_the_reference_is_one_that_the_service_gives() {
    let text = page("reference/http.md");
    let section = text.split("\n## Health\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let sources = ["src/engine/client.rs", "src/engine/shared.rs", "src/engine/writer.rs", "src/api/mod.rs"];
    let code: String = sources.iter().map(|file| fs::read_to_string(root().join(file)).unwrap()).collect();
    let reasons: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(reasons.len() >= 12, "{reasons:?}");
    for reason in &reasons {
        assert!(code.contains(reason), "nothing says {reason:?}");
    }
    // And the guide says what to do about each.
    let guide = page("troubleshooting.md");
    let untold: Vec<_> = reasons.iter().filter(|reason| !guide.contains(&format!("`{reason}`"))).collect();
    assert!(untold.is_empty(), "docs/troubleshooting.md is silent about {untold:?}");
}
