//! Stores that earlier releases left behind (`scripts/golden-store` made them): they open, hold what they held, and go
//! on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{create, json_of, ok};
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
