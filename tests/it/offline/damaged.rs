//! A damaged working environment: verification survives it, and a start makes it anew.

use std::fs;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, EnvOpenOptions};
use serde_json::Value;

use super::{create, json_of, ok, only_item, reads, told, work};
use crate::support::service::Place;

/// Size of a page of LMDB where the tests run.
const PAGE_BYTES: usize = 4_096;
/// How many damages are tried.
const DAMAGE_COUNT: usize = 96;

/// What happens to a page: its head is where LMDB keeps how to walk.
fn damage(bytes: &mut [u8], number: usize) {
    let pages = bytes.len() / PAGE_BYTES;
    let page = (number * 7 + number / pages) % pages * PAGE_BYTES;
    match number % 4 {
        // One bit, anywhere.
        0 => bytes[page + (number * 997) % PAGE_BYTES] ^= 1 << (number % 8),
        // The head: number, flags, bounds of the free space.
        1 => bytes[page + 8 + number % 8] ^= 0xff,
        // Where nodes lie, and what begins them.
        2 => bytes[page + 16..page + 64].fill(0xff),
        _ => bytes[page + 16..page + PAGE_BYTES]
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_mul(167) ^ 0x5a),
    }
}

#[test]
fn verification_survives_every_damage_of_the_environment() {
    let mut place = Place::new();
    let (mut service, _) = work(&mut place);
    for number in 0..20 {
        create(&place, &format!("customer {number}"));
    }
    assert!(service.stop().success());
    let environment = place.path("cache/live.mdb");
    let whole = fs::read(&environment).unwrap();
    let verify = |_: &Path| place.knhk(&["state", "verify", "--json"]);
    assert_eq!(verify(&environment).status.code(), Some(0));
    let (mut found, mut killed) = (0, 0);
    for number in 0..DAMAGE_COUNT {
        let mut bytes = whole.clone();
        damage(&mut bytes, number);
        fs::write(&environment, &bytes).unwrap();
        let output = verify(&environment);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("damage {number}: {error}: {}", told(&output)));
        let findings = report["findings"].as_array().unwrap();
        // Without a finding the rows are those of the journal: nobody uses what was damaged.
        assert_eq!(output.status.code(), Some(i32::from(!findings.is_empty())), "damage {number}: {report}");
        found += usize::from(!findings.is_empty());
        killed += usize::from(report.to_string().contains("is killed by SIG"));
    }
    assert!(found > DAMAGE_COUNT / 8, "{found} of {DAMAGE_COUNT} found");
    assert!(killed > 0, "no damage killed a reader, so nothing shows that one is survived");
}

#[test]
fn rows_that_are_missing_are_folded_again_at_the_start() {
    let mut place = Place::new();
    let (mut service, case) = work(&mut place);
    let expected = reads(&place, &case);
    assert!(service.stop().success());
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(32);
    // SAFETY: it only says that the path is the file itself.
    unsafe { options.flags(heed::EnvFlags::NO_SUB_DIR) };
    // SAFETY: the service that had it open has ended.
    let env = unsafe { options.open(place.path("cache/live.mdb")) }.unwrap();
    let transaction = env.read_txn().unwrap();
    let rows = env.open_databases_and_commit(transaction, |opener, transaction| {
        // The live cases (engine::tables::CASES).
        let found = opener.open_database::<Bytes, Bytes>(transaction, Some("t01"))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(found.expect("a table of live cases")))
    });
    let rows = rows.unwrap().commit().unwrap();
    let mut transaction = env.write_txn().unwrap();
    assert!(rows.len(&transaction).unwrap() > 0);
    rows.clear(&mut transaction).unwrap();
    transaction.commit().unwrap();
    drop(env);

    // Without the service the environment is left aside.
    assert_eq!(reads(&place, &case), expected);
    assert_eq!(place.knhk(&["state", "verify"]).status.code(), Some(1));
    let mut service = place.start();
    service.wait_until_scrubbed();
    assert_eq!(reads(&place, &case), expected);
    assert!(place.log().contains("made anew"), "{}", place.log());
    ok(&place, &["workitem", "complete", &only_item(&place, &case), "--data", r#"{"amount":5}"#]);
    assert!(service.stop().success());
    let verified = json_of(&place, &["state", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn a_damaged_snapshot_is_repaired_after_asking_and_nothing_is_lost() {
    let mut place = Place::new();
    let (mut service, case) = work(&mut place);
    ok(&place, &["state", "snapshot"]);
    let expected = reads(&place, &case);
    assert!(service.stop().success());
    let nothing = json_of(&place, &["state", "repair"]);
    assert_eq!((&nothing["repaired"], &nothing["damages"]), (&false.into(), &Value::Array(Vec::new())));
    let snapshot = fs::read_dir(place.path("state/snapshot")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&snapshot).unwrap();
    let last = bytes.len() - 200;
    bytes[last] ^= 1;
    fs::write(&snapshot, &bytes).unwrap();
    let name = snapshot.file_name().unwrap().to_str().unwrap();
    // Nobody is there to be asked.
    let refused = place.knhk(&["state", "repair"]);
    let said = told(&refused);
    assert!(!refused.status.success() && snapshot.exists(), "{said}");
    assert!(said.contains(name) && said.contains("loses nothing: other files hold it"), "{said}");
    let done = json_of(&place, &["state", "repair", "--yes"]);
    assert_eq!(done["moved"], serde_json::json!([format!("snapshot/{name}")]), "{done}");
    assert_eq!((&done["is_cut"], &done["lost"]), (&false.into(), &Value::Array(Vec::new())), "{done}");
    assert!(!snapshot.exists());
    assert_eq!(json_of(&place, &["state", "verify"])["ok"], true);
    assert_eq!(reads(&place, &case), expected);
}
