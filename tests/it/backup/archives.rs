//! Archives that are not what they should be: cut short, changed, empty, of something else. `backup verify` says where,
//! and `backup restore` changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{backup, busy, json_of, ok, refused, told};
use crate::support::random::Random;
use crate::support::service::{Place, files};

/// Bytes that are flipped in each archive, one at a time.
const FLIPS: u64 = 12;

/// Returns what `backup verify` says of a bad file.
#[track_caller]
fn damage(place: &Place, file: &Path) -> Value {
    let output = place.knhk(&["backup", "verify", file.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}: {}", file.display(), told(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["ok"], false, "{said}");
    said
}

fn tar(place: &Place, arguments: &[&str], file: &str) -> PathBuf {
    let file = place.path(file);
    let status = Command::new("tar").args(&arguments[..1]).arg(&file).args(&arguments[1..]).status().unwrap();
    assert!(status.success(), "{arguments:?}");
    file
}

fn unzipped(file: &Path) -> Vec<u8> {
    Command::new("gzip").arg("-dc").stdin(fs::File::open(file).unwrap()).output().unwrap().stdout
}

#[test]
fn every_form_of_the_state_is_taken() {
    let (place, mut service, _) = busy();
    assert!(service.stop().success());
    let state = place.path("state");
    let state = state.to_str().unwrap();
    let all = [
        tar(&place, &["-czf", state], "absolute.tar.gz"),
        tar(&place, &["-cf", state], "absolute.tar"),
        tar(&place, &["-czf", "-C", state, "."], "relative.tar.gz"),
        tar(&place, &["-cf", "-C", place.path("").to_str().unwrap(), "state"], "one-level.tar"),
        tar(&place, &["-czf", "--format=posix", state], "posix.tar.gz"),
        tar(&place, &["-cSzf", state], "sparse.tar.gz"),
    ];
    let expected = super::shown(&place);
    for file in all {
        let said = json_of(&place, &["backup", "verify", file.to_str().unwrap()]);
        assert_eq!(said["ok"], true, "{said}");
        let other = Place::new();
        ok(&other, &["backup", "restore", file.to_str().unwrap(), "--yes"]);
        assert_eq!(super::shown(&other), expected, "{}", file.display());
    }
}

#[test]
fn what_is_wrong_with_an_archive_is_said_with_its_place() {
    let (place, mut service, _) = busy();
    let zipped = backup(&place);
    assert!(service.stop().success());
    let state = place.path("state");
    let plain = tar(&place, &["-cf", state.to_str().unwrap()], "plain.tar");
    let bad = place.path("bad");
    for good in [&zipped, &plain] {
        let whole = fs::read(good).unwrap();
        // Cut short anywhere, also between two members, and in the end mark.
        for length in [1, 100, 511, 512, 1024, whole.len() / 3, whole.len() / 2] {
            fs::write(&bad, &whole[..length]).unwrap();
            let said = damage(&place, &bad);
            assert_eq!(said["code"], "KN0454", "{length} of {}: {said}", whole.len());
            let message = said["message"].as_str().unwrap();
            assert!(message.contains(" at byte ") && message.contains("/bad: "), "{message}");
        }
    }
    let whole = fs::read(&zipped).unwrap();
    fs::write(&bad, &whole[..whole.len() - 4]).unwrap();
    assert_eq!(damage(&place, &bad)["code"], "KN0454");
    let mut random = Random(5);
    for _ in 0..FLIPS {
        let at = usize::try_from(random.below(whole.len() as u64)).unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << random.below(8);
        fs::write(&bad, &flipped).unwrap();
        let output = place.knhk(&["backup", "verify", bad.to_str().unwrap(), "--json"]);
        // Some bytes say nothing: a time in the head, or from which of many zeros others are repeated.
        let is_same = || unzipped(&bad) == unzipped(&zipped);
        assert!(output.status.code() == Some(1) || is_same(), "byte {at}: {}", told(&output));
    }
    // In a plain tar file nothing but the verification of the state sees it: in history, damage; in the newest segment,
    // what an opening of a copy leaves out, with its place.
    let mut flipped = fs::read(&plain).unwrap();
    let at = flipped.windows(5).position(|window| window == b"order").unwrap();
    flipped[at] ^= 1;
    fs::write(&bad, &flipped).unwrap();
    let said = json_of(&place, &["backup", "verify", bad.to_str().unwrap()]);
    let inside = format!(" at byte 4608 of {}/journal/", state.strip_prefix("/").unwrap().display());
    assert!(said["seq"] == 1 && said["notes"][0].as_str().unwrap().contains(&inside), "{said}");
    let header = flipped.windows(8).position(|window| window == b"KNHKJRNL").unwrap();
    flipped[header + 100] ^= 1;
    fs::write(&bad, &flipped).unwrap();
    let said = damage(&place, &bad);
    let finding = said["findings"][0]["message"].as_str().unwrap();
    let inside = format!("of {}/journal/", state.strip_prefix("/").unwrap().display());
    assert!(said["code"] == "KN0456" && finding.contains(&inside), "{said}");
    assert!(!finding.contains("knhk-backup-"), "names are those of the archive: {finding}");
}

#[test]
fn files_of_another_kind_are_no_backups_and_change_nothing() {
    let (place, mut service, _) = busy();
    assert!(service.stop().success());
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("letter"), "nothing").unwrap();
    let empty = place.path("empty");
    fs::write(&empty, "").unwrap();
    let text = place.path("text");
    fs::write(&text, "a".repeat(2_000)).unwrap();
    let other = tar(&place, &["-czf", outside.to_str().unwrap()], "other.tar.gz");
    let two = place.path("two");
    for name in ["one", "other"] {
        fs::create_dir_all(two.join(name).join("journal")).unwrap();
    }
    let two = tar(&place, &["-czf", two.to_str().unwrap()], "two.tar.gz");
    let leads_out = place.path("leads-out.tar");
    let made = Command::new("tar")
        .args(["-cPf"])
        .arg(&leads_out)
        .args(["--transform", "s,.*,../../escaped,"])
        .arg(outside.join("letter"))
        .status()
        .unwrap();
    assert!(made.success());
    let before = files(&place.path("state"));
    for (file, code) in
        [(&empty, "KN0454"), (&text, "KN0454"), (&other, "KN0455"), (&two, "KN0455"), (&leads_out, "KN0454")]
    {
        assert_eq!(damage(&place, file)["code"], code, "{}", file.display());
        let (found, said) = refused(&place, &["backup", "restore", file.to_str().unwrap(), "--yes"], 1);
        assert_eq!(found, code, "{said}");
    }
    assert_eq!(files(&place.path("state")), before);
    assert!(!place.path("escaped").exists());
}
