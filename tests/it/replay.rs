//! Replays task sequences that another engine was driven through, and compares what was recorded after each.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use knhk::case::Command;
use knhk::case::view::{CaseState, CaseView, NetView};
use knhk::engine::turn::Outcome;
use knhk::expr::Fragment;

use crate::support::driver::{Driver, counted, workflow};
use crate::support::oracle;

/// Rows whose answer differs on purpose: (net, sequence). docs/reference/semantics.md argues each.
const DIFFERENT_ON_PURPOSE: &[(&str, &str)] = &[];

/// Returns the folder of YAWL files that the sequences were recorded with.
fn corpus() -> Option<PathBuf> {
    if let Some(folder) = variable("KNHK_CORPUS_DIR") {
        return Some(PathBuf::from(folder));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../shared/corpora/yawl", "../../shared/corpora/yawl"];
    places.iter().map(|place| root.join(place)).find(|folder| folder.is_dir())
}

#[expect(clippy::disallowed_methods, reason = "a test's own switches")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[test]
fn replay_gives_what_was_recorded() {
    let mut out = std::io::stdout();
    let Some(corpus) = corpus() else {
        writeln!(out, "replay: there is no folder of YAWL files, nothing was compared").unwrap();
        assert!(variable("CI").is_none_or(|ci| ci != "true"), "CI needs the YAWL files");
        return;
    };
    let (mut compared, mut skipped, mut wrong) = (0, 0, Vec::new());
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    for row in oracle::rows("replay.tsv") {
        let [net, sequence, enabled, marking, status] = &row[..] else { panic!("not five columns: {row:?}") };
        let source = std::fs::read(corpus.join(net)).unwrap_or_else(|error| panic!("{net}: {error}"));
        let workflow = match workflow(&source) {
            Ok(workflow) => workflow,
            Err(refusal) if refusal.is_not_yet => {
                skipped += 1;
                refused.insert(net.clone(), refusal.mistakes);
                continue;
            }
            Err(refusal) => panic!("{net} is not accepted: {}", refusal.mistakes),
        };
        if DIFFERENT_ON_PURPOSE.contains(&(net.as_str(), sequence.as_str())) {
            skipped += 1;
            continue;
        }
        compared += 1;
        let expected = (set(enabled), set(marking), status.clone());
        match drive(Driver::new(workflow), sequence) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                wrong.push(format!("{net}: {sequence}:\n  found {found:?}\n  recorded {expected:?}"));
            }
            Err(error) => wrong.push(format!("{net}: {sequence}: {error}")),
        }
    }
    for (net, mistakes) in refused {
        writeln!(out, "replay: {net} is not run yet: {mistakes}").unwrap();
    }
    writeln!(out, "replay: compared {compared} rows, skipped {skipped}").unwrap();
    assert!(compared > 0, "nothing was compared");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

type Recorded = (BTreeSet<String>, BTreeSet<String>, String);

fn set(list: &str) -> BTreeSet<String> {
    list.split(',').filter(|word| *word != "-").map(str::to_owned).collect()
}

/// Starts and completes the tasks of a sequence; a suffix `.1` names the first child case that lives, and so on.
fn drive(mut driver: Driver, sequence: &str) -> Result<Recorded, String> {
    match driver.create(Fragment::empty()) {
        Outcome::Done(_) => {}
        other => return Err(format!("create: {other:?}")),
    }
    for word in sequence.split_whitespace() {
        let children = children(&driver);
        let (task, instance) = match word.rsplit_once('.') {
            Some((task, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number: usize = number.parse().unwrap();
                (task, children.get(number.wrapping_sub(1)).copied())
            }
            _ => (word, Some(0)),
        };
        let instance = instance.ok_or_else(|| format!("{word}: there is no such child"))?;
        let item = driver.item(task, Some(instance)).ok_or_else(|| format!("{word} is not offered"))?;
        for command in [Command::Start(item), Command::Complete(item, Fragment::empty())] {
            match driver.command(command) {
                Outcome::Done(done) if done.parked.is_none() => {}
                other => return Err(format!("{word}: {other:?}")),
            }
        }
    }
    let view = driver.view().unwrap();
    Ok((enabled(&view), marking(&view), status(&view)))
}

/// Numbers of live child instances, ascending: the recorded suffixes in order.
fn children(driver: &Driver) -> Vec<u32> {
    let case = driver.cases.get(driver.id).unwrap();
    case.instances.iter().map(|instance| instance.number).filter(|number| *number > 0).collect()
}

fn status(view: &CaseView) -> String {
    match view.state {
        CaseState::Completed => "finished",
        CaseState::Incident => "GONE",
        CaseState::Running => "running",
        CaseState::Suspended | CaseState::Cancelled => "ended otherwise",
    }
    .to_owned()
}

fn enabled(view: &CaseView) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    each_net(view, &mut |net, suffix| set.extend(net.enabled.iter().map(|task| format!("{task}{suffix}"))));
    set
}

fn marking(view: &CaseView) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    each_net(view, &mut |net, suffix| {
        set.extend(net.marking.iter().map(|(name, count)| counted(&format!("{name}{suffix}"), *count)));
        set.extend(net.busy.iter().map(|task| format!("[{task}{suffix}]")));
    });
    set
}

/// Visits the root and all nets below it with the suffix that names them: children by their numbers from 1.
fn each_net<'a>(view: &'a CaseView, act: &mut impl FnMut(&'a NetView, &str)) {
    let mut nets = vec![&view.root];
    let mut at = 0;
    while at < nets.len() {
        let net = nets[at];
        nets.extend(net.children.iter().flat_map(|(_, children)| children));
        at += 1;
    }
    nets.sort_by_key(|net| net.number);
    for (at, net) in nets.iter().enumerate() {
        let suffix = if at == 0 { String::new() } else { format!(".{at}") };
        act(net, &suffix);
    }
}
