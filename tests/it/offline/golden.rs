//! Stores that earlier releases left behind (`scripts/golden-store` made them): they open, hold what they held, and go
//! on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use expect_test::expect_file;
use knhk::config::{Environment, Layers, load};
use knhk::engine::fold::EngineFold;
use knhk::id::{CaseId, Partition};
use knhk::store::{self, FORMAT_OLDEST, Fold, MemTables, Options, RealDisk};
use serde_json::Value;

use super::{create, json_of, ok, told};
use crate::support::fake_time;
use crate::support::service::{Place, files};

/// What fills the data of the cases of the second one; what it said was recorded without.
const FILLING_CHARS: usize = 8_000;
/// A moment at which the key that was sent while it was made is good.
const KEY_IS_GOOD: &str = "FAKETIME=@2026-01-01 12:00:00";

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Unpacks a golden store into a place.
pub(crate) fn unpack(name: &str) -> Place {
    let place = Place::new();
    let golden = golden(name);
    let mut folders = vec![golden.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "zst") {
                let inside = path.strip_prefix(&golden).unwrap().with_extension("");
                let target = place.path("state").join(inside);
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(target, zstd::decode_all(&*fs::read(&path).unwrap()).unwrap()).unwrap();
            }
        }
    }
    place
}

/// Unpacks the one of format 1; returns also the cases that it showed.
fn unpack_1() -> (Place, Value) {
    let cases = fs::read(golden("store-1").join("cases.json")).unwrap();
    (unpack("store-1"), serde_json::from_slice(&cases).unwrap())
}

fn format(state: &Path) -> u32 {
    u32::from_le_bytes(fs::read(state.join("store")).unwrap()[8..12].try_into().unwrap())
}

/// Returns the options of a place's store.
pub(crate) fn options(place: &Place) -> Options {
    let environment = Environment { config: Some(place.path("knhk.toml")), ..Environment::default() };
    load(&environment, &Layers::system()).unwrap().config.store()
}

/// Returns the cases that the release before sees, which knows format 1 alone.
fn seen_by_the_release_before(place: &Place) -> Result<Vec<String>, store::Error> {
    let options = Options { format_max: FORMAT_OLDEST, ..options(place) };
    let fold: Arc<dyn Fold> = Arc::new(EngineFold);
    let looked = store::look(&Arc::new(RealDisk), || Ok(None::<MemTables>), &fold, &options, &[])?.unwrap();
    let mut seen = Vec::new();
    for partition in Partition::all() {
        looked.journal.entries(partition, 1, &mut |entry| {
            seen.push(CaseId(entry.subject).to_string());
            true
        })?;
    }
    seen.sort();
    seen.dedup();
    Ok(seen)
}

#[test]
fn a_store_of_format_1_holds_its_cases_goes_on_and_stays_of_format_1() {
    let (place, cases) = unpack_1();
    assert_eq!(cases["items"].as_array().unwrap().len(), 5);
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
    assert_eq!(json_of(&place, &["workflow", "list"]), cases);
    let case = create(&place, "frieda");
    assert!(ok(&place, &["workflow", "list"]).contains(&case));
    let after = json_of(&place, &["workflow", "list"]);
    let known = &after["items"].as_array().unwrap()[..5];
    assert_eq!(known, cases["items"].as_array().unwrap().as_slice());
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
    let listed =
        after["items"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap().to_owned());
    let listed: Vec<String> = listed.collect();
    let mut seen = seen_by_the_release_before(&place).unwrap();
    seen.retain(|case| *case != CaseId(0).to_string());
    assert_eq!((seen, listed.len()), (listed, 6));
    assert_eq!(format(&place.path("state")), 1);
    for entry in fs::read_dir(place.path("state/journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jnl") {
            assert_eq!(fs::read(&path).unwrap()[8..12], 1_u32.to_le_bytes(), "{}", path.display());
        }
    }
}

#[test]
fn a_store_of_format_1_is_upgraded_when_that_was_agreed_to() {
    let (mut place, cases) = unpack_1();
    let info = json_of(&place, &["state", "info"]);
    assert_eq!((&info["format"], &info["upgrade_to"]), (&Value::from(1), &Value::from(2)), "{info}");
    let refused = place.knhk(&["state", "upgrade"]);
    assert_ne!(refused.status.code(), Some(0), "{}", told(&refused));
    assert!(told(&refused).contains("upgrading the store to format 2"), "{}", told(&refused));
    assert_eq!(format(&place.path("state")), 1);
    let done = json_of(&place, &["state", "upgrade", "--yes"]);
    assert_eq!(done, serde_json::json!({ "from": 1, "to": 2 }));
    assert_eq!(format(&place.path("state")), 2);
    let info = json_of(&place, &["state", "info"]);
    assert_eq!((&info["format"], &info["upgrade_to"]), (&Value::from(2), &Value::Null), "{info}");
    assert_eq!(seen_by_the_release_before(&place).unwrap_err().code().0, 405);
    // Needs no consent: nothing is to be done. The service has the store here.
    let mut service = place.start();
    assert!(ok(&place, &["state", "upgrade"]).contains("nothing was done"));
    assert_eq!(json_of(&place, &["workflow", "list"]), cases);
    assert!(service.stop().success());
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
}

#[test]
fn a_running_service_upgrades_its_store() {
    let (mut place, cases) = unpack_1();
    let mut service = place.start();
    assert_eq!(json_of(&place, &["state", "upgrade", "--yes"]), serde_json::json!({ "from": 1, "to": 2 }));
    assert_eq!(format(&place.path("state")), 2);
    assert_eq!(json_of(&place, &["workflow", "list"]), cases);
    assert!(service.stop().success());
}

/// Asks what was asked when the one of format 2 was made.
fn said_2(place: &Place) -> String {
    let recorded = fs::read_to_string(golden("store-2").join("said.txt")).unwrap();
    let mut said = String::new();
    for question in recorded.lines().filter(|line| line.starts_with("$ knhk ")) {
        let arguments: Vec<&str> = question.split(' ').skip(2).collect();
        said += question;
        said += "\n";
        said += &ok(place, &arguments);
    }
    said.replace(&"x".repeat(FILLING_CHARS), "...")
}

/// It says what it said.
#[track_caller]
fn check_said_2(place: &Place) {
    expect_file!["../../data/store-2/said.txt"].assert_eq(&said_2(place));
}

/// Returns the names of a folder of the state, in order.
pub(super) fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path("state").join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_store_of_format_2_whose_journal_begins_late_holds_what_it_held_and_goes_on() {
    let mut place = unpack("store-2");
    assert_eq!(format(&place.path("state")), 2);
    assert!(names(&place, "journal")[0].starts_with(&format!("{:020}", 10)), "it begins late");
    check_said_2(&place);
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);

    let before = fake_time::under(KEY_IS_GOOD);
    let mut service = place.start_under(&before.iter().map(String::as_str).collect::<Vec<_>>());
    check_said_2(&place);
    if !before.is_empty() {
        let data = format!(r#"{{"customer": "fred {}"}}"#, "x".repeat(FILLING_CHARS));
        let asked = ["workflow", "create", "order", "--data", &data, "--idempotency-key", "golden-key", "-q"];
        let answered = ok(&place, &asked);
        let shown = json_of(&place, &["workflow", "get", answered.trim()]);
        assert!(shown["data"]["customer"].as_str().unwrap().starts_with("fred"), "{shown}");
        check_said_2(&place); // It made no other.
    }
    create(&place, "lena");
    assert!(service.stop().success(), "{}", place.log());
    assert_eq!(json_of(&place, &["workflow", "list"])["items"].as_array().unwrap().len(), 12);
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
}

#[test]
fn a_store_of_format_2_opens_from_history_or_a_snapshot() {
    for kept in [0, 1] {
        let mut place = unpack("store-2");
        // The newer one, and then also the older one.
        for name in names(&place, "snapshot").split_off(kept) {
            fs::remove_file(place.path("state/snapshot").join(name)).unwrap();
        }
        check_said_2(&place);
        let mut service = place.start();
        check_said_2(&place);
        assert!(service.stop().success(), "{}", place.log());
        let is_from_snapshot = place.log().contains("loaded from the snapshot of frame 11");
        assert_eq!(is_from_snapshot, kept == 1, "{}", place.log());
        place.verify();
    }
}

#[test]
fn a_store_of_format_2_without_its_history_is_refused_and_left_as_it_is() {
    let place = unpack("store-2");
    fs::remove_file(place.path("state/history").join(&names(&place, "history")[0])).unwrap();
    let before = files(&place.path("state"));
    let mut service = place.spawn(&[]);
    assert_ne!(service.wait().code(), Some(0), "{}", place.log());
    assert!(place.log().contains("KN0403"), "{}", place.log());
    let mut after = files(&place.path("state"));
    after.retain(|path, _| !path.ends_with("/lock"));
    assert_eq!(after, before);
    let output = place.knhk(&["state", "verify"]);
    assert_ne!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("KN0403"), "{}", told(&output));
}
