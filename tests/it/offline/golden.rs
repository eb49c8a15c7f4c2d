//! Stores that earlier releases left behind (`scripts/golden-store` made them): they open, hold what they held, and go
//! on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{create, json_of, ok, told};
use crate::support::service::Place;

/// Unpacks a golden store into a place.
fn unpack(name: &str) -> (Place, Value) {
    let place = Place::new();
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
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
    let cases = fs::read(golden.join("cases.json")).unwrap();
    (place, serde_json::from_slice(&cases).unwrap())
}

fn format(state: &Path) -> u32 {
    u32::from_le_bytes(fs::read(state.join("store")).unwrap()[8..12].try_into().unwrap())
}

#[test]
fn a_store_of_format_1_holds_its_cases_goes_on_and_stays_of_format_1() {
    let (place, cases) = unpack("store-1");
    assert_eq!(cases["items"].as_array().unwrap().len(), 5);
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
    assert_eq!(json_of(&place, &["workflow", "list"]), cases);
    let case = create(&place, "frieda");
    assert!(ok(&place, &["workflow", "list"]).contains(&case));
    let after = json_of(&place, &["workflow", "list"]);
    let known = &after["items"].as_array().unwrap()[..5];
    assert_eq!(known, cases["items"].as_array().unwrap().as_slice());
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
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
    let (mut place, cases) = unpack("store-1");
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
    // Needs no consent: nothing is to be done. The service has the store here.
    let mut service = place.start();
    assert!(ok(&place, &["state", "upgrade"]).contains("nothing was done"));
    assert_eq!(json_of(&place, &["workflow", "list"]), cases);
    assert!(service.stop().success());
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
}

#[test]
fn a_running_service_upgrades_its_store() {
    let (mut place, cases) = unpack("store-1");
    let mut service = place.start();
    assert_eq!(json_of(&place, &["state", "upgrade", "--yes"]), serde_json::json!({ "from": 1, "to": 2 }));
    assert_eq!(format(&place.path("state")), 2);
    assert_eq!(json_of(&place, &["workflow", "list"]), cases);
    assert!(service.stop().success());
}
