//! All rows of a working environment, read in a process of their own: a damaged one can kill whoever reads it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use knhk::store::{LmdbTables, TABLE_COUNT_MAX, Table, Tables};

use super::rest::Rest;
use crate::support::service::Place;
use crate::support::wait;

/// Names the folder of the environment, and the file with the rows that it should have.
const CACHE: &str = "KNHK_FAULTS_ROWS_CACHE";
const EXPECTED: &str = "KNHK_FAULTS_ROWS_EXPECTED";

/// Rows by table: number of the table, key, value.
type Rows = Vec<(u8, Vec<u8>, Vec<u8>)>;

/// Reads in order; also the last frame that the rows hold.
fn read(cache: &Path) -> (u64, Rows) {
    let tables = LmdbTables::open_resting(cache).unwrap().expect("an environment");
    let seq = tables.meta().unwrap().expect("a meta").seq;
    let mut rows = Rows::new();
    for table in 0..TABLE_COUNT_MAX {
        let mut add = |key: &[u8], value: &[u8]| {
            rows.push((table, key.to_vec(), value.to_vec()));
            true
        };
        tables.scan(Table(table), &[], &mut add).unwrap();
    }
    (seq, rows)
}

/// Writes the rows of an environment into a file.
pub(super) fn write(cache: &Path, path: &Path) {
    let rows = read(cache);
    assert!(!rows.1.is_empty());
    fs::write(path, serde_json::to_vec(&rows).unwrap()).unwrap();
}

/// Reads all rows back in another process, which is this test binary with nothing but the test below.
pub(super) fn check(place: &Place, rest: &Rest) -> Result<(), String> {
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "faults::flips::rows::rows_are_those_that_were_written"])
        .current_dir(place.path(""))
        .env(CACHE, rest.cache())
        .env(EXPECTED, &rest.rows)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("1 passed") {
        return Ok(());
    }
    Err(format!("nothing is found, and rows do not read back: {}\n{said}", output.status))
}

/// Reads in order, one by one, and from each on. Without the variables there is nothing to read.
#[test]
fn rows_are_those_that_were_written() {
    let (Some(cache), Some(expected)) = (wait::variable(CACHE), wait::variable(EXPECTED)) else { return };
    let expected: (u64, Rows) = serde_json::from_slice(&fs::read(expected).unwrap()).unwrap();
    let found = read(Path::new(&cache));
    // LMDB keeps two heads, and a damaged one may make it believe the older: a good environment too, from which the
    // journal is folded on. That its rows are those of its frame is what the verification said.
    assert!(found == expected || found.0 < expected.0, "read in order, rows are missing or others");
    let tables = LmdbTables::open_resting(Path::new(&cache)).unwrap().expect("an environment");
    for (table, key, value) in &found.1 {
        let one = tables.get(Table(*table), key).unwrap();
        assert!(one.as_ref() == Some(value), "the row of table {table} with key {key:02x?} is not found");
        let mut first = None;
        let mut note = |key: &[u8], value: &[u8]| {
            first = Some((key.to_vec(), value.to_vec()));
            false
        };
        tables.scan(Table(*table), key, &mut note).unwrap();
        assert!(first.as_ref() == Some(&(key.clone(), value.clone())), "table {table} from {key:02x?} on");
    }
}
