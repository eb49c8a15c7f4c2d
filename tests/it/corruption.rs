//! Planted damage of many kinds in a resting store, and what an operator who knows only the guide finds and does:
//! `state verify` names the place and the cases, `workflow list --verify` the cases, neither changes anything, and both
//! ways of recovery bring back what the backup had.

mod plant;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use self::plant::{Damage, Expected};
use crate::faults::flips::rest::Rest;
use crate::faults::flips::{self, Model};
use crate::support::random::Random;
use crate::support::service::{Place, files};

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}--\n{err}-- {}", output.status)
}

/// A store whose oldest entries lie in history alone, with a backup of it.
struct Bed {
    place: Place,
    rest: Rest,
    model: Model,
    /// Segments that history makes dispensable, and that are gone.
    gone: Vec<PathBuf>,
    backup: PathBuf,
}

impl Bed {
    fn make() -> Self {
        let (place, rest, model) = flips::store(&mut Random(11));
        fs::create_dir(place.path("backup")).unwrap();
        let mut bed = Self { place, rest, model, gone: Vec::new(), backup: PathBuf::new() };
        bed.drop_segments();
        let backup = bed.place.path("backup/knhk-state-plain.tar.gz");
        let state = bed.place.path("state");
        assert!(Command::new("tar").arg("-czf").arg(&backup).arg(state).status().unwrap().success());
        bed.backup = backup;
        bed
    }

    /// Takes away, oldest first, what the store does without.
    fn drop_segments(&mut self) {
        let mut segments: Vec<PathBuf> =
            plant::segments(&self.rest).iter().map(|file| file.path.clone()).collect();
        segments.sort();
        // The head, and one that is damaged in its place.
        segments.truncate(segments.len().saturating_sub(2));
        for path in segments {
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            if !self.place.knhk(&["state", "verify", "--quick"]).status.success() {
                fs::write(&path, bytes).unwrap();
                break;
            }
            self.gone.push(path);
        }
        self.reset();
        self.place.verify();
        assert!(!self.gone.is_empty(), "history makes no segment dispensable");
    }

    fn reset(&self) {
        for folder in ["state", "cache"] {
            let folders = fs::read_dir(self.place.path(folder)).unwrap().map(|entry| entry.unwrap().path());
            for aside in folders.filter(|path| path.to_string_lossy().contains("/aside-")) {
                fs::remove_dir_all(aside).unwrap();
            }
        }
        self.rest.reset();
        for path in &self.gone {
            fs::remove_file(path).unwrap();
        }
    }

    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let output = self.place.knhk(&[arguments, &["--json"]].concat());
        let said = told(&output);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
    }

    /// What `state verify` says: whether it finds something, all its words, and the cases.
    #[track_caller]
    fn verified(&self, damage: &Damage) -> (String, BTreeSet<String>, BTreeSet<String>) {
        let (status, report, said) = self.json(&["state", "verify"]);
        assert_eq!(status, Some(1), "{}: {said}", damage.name);
        let of = |why: &str| {
            let cases = report["cases"].as_array().unwrap_or_else(|| panic!("{}: {said}", damage.name));
            let cases = cases.iter().filter(|case| case["why"] == why);
            cases.map(|case| case["id"].as_str().unwrap().to_owned()).collect()
        };
        assert!(!report["advice"].as_array().unwrap().is_empty(), "{said}");
        (report["findings"].to_string(), of("lost"), of("behind"))
    }

    /// What `workflow list --verify` says: the damaged cases, if it can list any.
    fn listed(&self, damage: &Damage, is_bad: bool) -> Option<BTreeSet<String>> {
        let (status, list, said) = self.json(&["workflow", "list", "--verify"]);
        assert_eq!(status, Some(i32::from(is_bad)), "{}: {said}", damage.name);
        let items = list["items"].as_array()?;
        let bad = items.iter().filter(|case| case["chain"] == "damaged");
        let bad: BTreeSet<String> = bad.map(|case| case["id"].as_str().unwrap().to_owned()).collect();
        assert!(items.iter().all(|case| case["damage"].is_null() == (case["chain"] == "ok")), "{said}");
        Some(bad)
    }

    /// Restores everything as the guide does, and compares.
    fn recover_fully(&mut self, damage: &Damage) {
        for entry in fs::read_dir(self.place.path("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let unpacked = Command::new("tar").arg("-xzf").arg(&self.backup).args(["-C", "/"]).status().unwrap();
        assert!(unpacked.success());
        let mut service = self.place.start();
        service.wait_until_scrubbed();
        let cases: Vec<String> = self.cases();
        let found = flips::answers(&mut service.client(), &cases);
        assert!(found == self.model, "{}: what was restored is not what the backup had", damage.name);
        assert!(service.stop().success());
        self.place.verify();
    }

    fn cases(&self) -> Vec<String> {
        let all = self.model["/cases?limit=1000"]["items"].as_array().unwrap();
        all.iter().map(|case| case["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Each case that has lost something is in the backup with all of its history.
    fn check_backup(&self, damage: &Damage, cases: &BTreeSet<String>) {
        for name in cases {
            let events =
                self.model[&format!("/cases/{name}/history?limit=1000")]["items"].as_array().unwrap().len();
            let found = plant::recall(&self.place, &self.backup, name);
            assert_eq!(found, events, "{}: {name} in the backup", damage.name);
        }
    }
}

#[test]
fn damage_of_every_kind_is_found_told_and_recovered_from() {
    let mut bed = Bed::make();
    // Who reads the environment is noted in a file of its own.
    let is_kept = |name: &String| !name.ends_with("live.mdb-lock");
    let folders = |place: &Place| {
        ["state", "cache"].map(|name| {
            files(&place.path(name)).into_iter().filter(|file| is_kept(&file.0)).collect::<Vec<_>>()
        })
    };
    for damage in plant::all() {
        let expected = (damage.plant)(&bed.rest, &bed.place);
        let before = folders(&bed.place);
        let (findings, lost, behind) = bed.verified(&damage);
        for word in &expected.words {
            assert!(findings.contains(word), "{}: {word} is not in {findings}", damage.name);
        }
        let listed = bed.listed(&damage, !lost.is_empty() || !behind.is_empty());
        assert_eq!(folders(&bed.place), before, "{}: looking changed something", damage.name);
        if let Some(wanted) = &expected.lost {
            assert_eq!(&lost, wanted, "{}: cases that have lost something; findings {findings}", damage.name);
        }
        let known: BTreeSet<String> = bed.cases().into_iter().collect();
        assert!(lost.is_subset(&known) && behind.is_subset(&known), "{}: cases that never were", damage.name);
        if let Some(listed) = &listed {
            let concerned: BTreeSet<String> = lost.union(&behind).cloned().collect();
            assert!(
                listed.is_subset(&concerned),
                "{}: {listed:?} are listed, {concerned:?} told",
                damage.name
            );
            if !expected.is_closed {
                assert_eq!(listed, &concerned, "{}: the list and the verification differ", damage.name);
            }
        }
        bed.check_backup(&damage, &lost);
        // No backup is made of a damaged state; what is outside of it is made anew from it.
        let file = bed.place.path("more.tar.gz");
        let made = bed.place.knhk(&["backup", "create", "--to", file.to_str().unwrap()]);
        let is_of_cache = damage.name == plant::ENVIRONMENT;
        assert_eq!(
            (made.status.success(), file.exists()),
            (is_of_cache, is_of_cache),
            "{}: {}",
            damage.name,
            String::from_utf8_lossy(&made.stderr)
        );
        drop(fs::remove_file(file));
        let mut out = std::io::stdout();
        let listed = listed.map_or_else(|| "refused".to_owned(), |listed| listed.len().to_string());
        let Expected { is_closed, .. } = expected;
        let _ = writeln!(
            out,
            "{}: {} lost, {} behind, {listed} listed, closed {is_closed}",
            damage.name,
            lost.len(),
            behind.len()
        );
        bed.recover_fully(&damage);
        bed.reset();
    }
}

/// Beside a running service the same is told, as far as it concerns files that are read.
#[test]
fn a_running_service_lists_the_cases_of_a_damaged_history_file() {
    let mut bed = Bed::make();
    let mut service = bed.place.start();
    let damage = plant::all().into_iter().find(|damage| damage.name == plant::HISTORY_BLOCK).unwrap();
    let expected = (damage.plant)(&bed.rest, &bed.place);
    let (findings, lost, behind) = bed.verified(&damage);
    assert!(expected.words.iter().all(|word| findings.contains(word)), "{findings}");
    assert!(!lost.is_empty() && behind.is_empty(), "{lost:?} {behind:?}");
    assert_eq!(bed.listed(&damage, true), Some(lost.clone()), "{}", bed.place.log());
    let quiet = bed.place.knhk(&["workflow", "list", "--verify", "-q"]);
    assert_eq!(quiet.status.code(), Some(1));
    let ids: BTreeSet<String> = String::from_utf8_lossy(&quiet.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids, lost);
    let text = told(&bed.place.knhk(&["state", "verify"]));
    let first = lost.first().unwrap();
    let advice =
        format!("knhk workflow restore --case-id {first} --from-backup {}", Path::new(&bed.backup).display());
    assert!(text.contains(&advice), "{advice} is not in {text}");
    assert!(service.stop().success());
}
