//! One case out of a backup, whoever made it and whatever else is damaged in it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use knhk::backup::{self, Error, Host, Options, Work};
use knhk::engine::fold::EngineFold;
use knhk::engine::proof::specification_of;
use knhk::id::CaseId;
use knhk::store::{self, CaseHistory, Fold, Level, VerifyReport};

use super::{backup, busy, json_of};
use crate::support::service::Place;

/// Nobody who looks or verifies.
struct Nobody;

impl Host for Nobody {
    fn verify(&mut self, _options: &store::Options, _level: Level) -> VerifyReport {
        panic!("one case is proven by its own chain")
    }

    fn progress(&mut self, _work: Work, _done_bytes: u64, _total_bytes: u64) {}
}

fn options(place: &Place) -> Options {
    Options {
        store: store::Options {
            state_dir: place.path("state"),
            cache_dir: place.path("cache"),
            segment_bytes: 1 << 20,
            hurried_bytes: 1 << 16,
            frame_bytes_max: 1 << 19,
            grace_us: 0,
            keep_us: 0,
            format_max: store::FORMAT,
            planted: None,
        },
        backup_dir: place.path("backup"),
        retain_us: 0,
        reserve_bytes: 0,
    }
}

fn history(place: &Place, file: &Path, case: CaseId) -> Result<CaseHistory, Error> {
    let fold: Arc<dyn Fold> = Arc::new(EngineFold);
    backup::case_history(&options(place), file, case, &fold, &specification_of, &mut Nobody)
}

#[test]
fn a_case_comes_out_of_any_backup_with_its_specification() {
    let (place, mut service, cases) = busy();
    let zipped = backup(&place);
    let plain = place.path("plain.tar");
    let status = Command::new("tar").arg("-cf").arg(&plain).arg(place.path("state")).status().unwrap();
    assert!(status.code().is_some_and(|code| code < 2));
    for file in [&zipped, &plain] {
        for name in &cases {
            let case = CaseId::parse(name).unwrap();
            let found = history(&place, file, case).unwrap();
            assert_eq!(found.case, case);
            let end = found.check().unwrap();
            assert_eq!(found.entries.last().unwrap().link(), end);
            // A command is one entry: created, and for the first one more.
            assert_eq!(found.entries.len(), if *name == cases[0] { 2 } else { 1 });
            let [(number, row)] = found.specifications.as_slice() else { panic!("one specification") };
            assert_eq!(specification_of(&found.entries[0]), Some(*number));
            assert!(row.windows(5).any(|window| window == b"order"));
            assert_eq!(CaseHistory::unpack(&found.pack().unwrap()).unwrap(), found);
        }
    }
    let unknown = CaseId(CaseId::parse(&cases[0]).unwrap().0 + 64);
    assert!(matches!(history(&place, &zipped, unknown), Err(Error::NoCase { .. })));
    let left: Vec<_> =
        fs::read_dir(place.path("backup")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.is_dir()), "what was unpacked is gone: {left:?}");
    // In a backup that is damaged behind it, a case is whole all the same.
    let seq = json_of(&place, &["state", "info"])["seq"].as_u64().unwrap();
    assert!(service.stop().success());
    let mut bytes = fs::read(&plain).unwrap();
    let last = b"customer 4";
    let at = bytes.windows(last.len()).position(|window| window == last).unwrap();
    bytes[at] ^= 1;
    let damaged = place.path("damaged.tar");
    fs::write(&damaged, bytes).unwrap();
    assert!(seq > 4);
    let first = CaseId::parse(&cases[0]).unwrap();
    assert_eq!(history(&place, &damaged, first).unwrap().entries.len(), 1, "created before the damage");
    let lost = CaseId::parse(&cases[4]).unwrap();
    assert!(matches!(history(&place, &damaged, lost), Err(Error::NoCase { .. })));
}
