//! Backups by the real binary: made, listed, verified, restored, and refused.

mod archives;
mod case;
mod refusals;
mod strangers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::flips::rest::ending;
use crate::support::service::{Place, Service, files};
use crate::support::wait;

/// Longest time until `/health` says what it should: the service looks for backups each 10 s.
const HEALTH_MAX: Duration = Duration::from_secs(60);
/// The script of the operations guide, as it stands there.
const GUIDE_SCRIPT: &str = r#"#!/bin/bash
BACKUP_DIR=/var/backups/knhk
DATE=$(date +%Y%m%d_%H%M%S)
tar -czf $BACKUP_DIR/knhk-state-$DATE.tar.gz /var/lib/knhk
# Keep only last 30 days
find $BACKUP_DIR -name "knhk-state-*.tar.gz" -mtime +30 -delete
"#;

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}--\n{err}-- {}", output.status)
}

#[track_caller]
fn ok(place: &Place, arguments: &[&str]) -> String {
    let output = place.knhk(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json_of(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(place, &[arguments, &["--json"]].concat())).unwrap()
}

/// Returns the code of the error that a command ends with, and all that it says.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], status: i32) -> (String, String) {
    let output = place.knhk(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", told(&output));
    // The last line; what is planned may be said before it.
    let complained = String::from_utf8_lossy(&output.stderr);
    let error = complained.trim_end().lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(error).unwrap_or_else(|_| panic!("{}", told(&output)));
    (error["code"].as_str().unwrap_or_default().to_owned(), told(&output))
}

/// Returns a place with a service that has some cases, one of them done by half.
fn busy() -> (Place, Service, Vec<String>) {
    let mut place = Place::new();
    fs::create_dir(place.path("backup")).unwrap();
    let service = place.start();
    ok(&place, &["workflow", "register", "examples/order/order.yawl"]);
    let cases: Vec<String> = (0..5).map(|number| create(&place, &format!("customer {number}"))).collect();
    let item = json_of(&place, &["workitem", "list", "--case", &cases[0]])["items"][0]["id"].clone();
    ok(&place, &["workitem", "complete", item.as_str().unwrap(), "--data", r#"{"amount":7}"#]);
    (place, service, cases)
}

fn create(place: &Place, customer: &str) -> String {
    let data = json!({ "customer": customer }).to_string();
    ok(place, &["workflow", "create", "order", "--data", &data, "-q"]).trim().to_owned()
}

/// Returns all that is shown of each case.
fn shown(place: &Place) -> Vec<Value> {
    let list = json_of(place, &["workflow", "list"]);
    let cases = list["items"].as_array().unwrap();
    let history = |case: &Value| json_of(place, &["workflow", "history", case["id"].as_str().unwrap()]);
    cases.iter().flat_map(|case| [case.clone(), history(case)]).collect()
}

fn backup(place: &Place) -> PathBuf {
    PathBuf::from(json_of(place, &["backup", "create"])["file"].as_str().unwrap())
}

/// Unpacks a backup as the guide does, but below another root, and returns a place that has the state in it.
fn unpacked(backup: &Path, from: &Place) -> Place {
    let place = Place::new();
    let root = place.path("root");
    fs::create_dir(&root).unwrap();
    let status = Command::new("tar").arg("-xzf").arg(backup).arg("-C").arg(&root).status().unwrap();
    assert!(status.success());
    let inside = from.path("state");
    fs::rename(root.join(inside.strip_prefix("/").unwrap()), place.path("state")).unwrap();
    place
}

fn degraded(service: &Service) -> Vec<String> {
    let health = service.client().get("/health").unwrap().expect(200);
    health["degraded"].as_array().unwrap().iter().map(|why| why.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_backup_of_a_running_service_is_restored_by_tar_and_by_the_command() {
    let (place, mut service, cases) = busy();
    let complains = || degraded(&service).iter().any(|why| why.starts_with("no recent backup"));
    assert!(wait::until(HEALTH_MAX, || complains().then_some(())).is_some(), "{:?}", degraded(&service));
    let expected = shown(&place);
    let made = json_of(&place, &["backup", "create"]);
    let file = PathBuf::from(made["file"].as_str().unwrap());
    assert_eq!(made["seq"], json_of(&place, &["state", "info"])["seq"]);
    assert!(wait::until(HEALTH_MAX, || (!complains()).then_some(())).is_some(), "{:?}", degraded(&service));
    let list = json_of(&place, &["backup", "list"]);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&list["items"][0]["verified"], &list["items"][0]["seq"]), (&json!("yes"), &made["seq"]));
    // Nothing else lies there but what is known of it, and a lock.
    let mut names: Vec<_> = files(&place.path("backup")).into_keys().collect();
    names.retain(|name| !["gz", "check", "lock"].contains(&ending(name)));
    assert_eq!(names, Vec::<String>::new());

    // What happens after it is not in it.
    create(&place, "too late");
    let by_tar = unpacked(&file, &place);
    assert_eq!(shown(&by_tar), expected);
    by_tar.verify();
    let by_command = Place::new();
    let restored = json_of(&by_command, &["backup", "restore", file.to_str().unwrap(), "--yes"]);
    assert_eq!((&restored["seq"], &restored["aside"]), (&made["seq"], &Value::Null));
    for mut other in [by_tar, by_command] {
        assert_eq!(shown(&other), expected);
        let mut restored = other.start();
        assert_eq!(shown(&other), expected);
        create(&other, "goes on");
        assert!(restored.stop().success());
        other.verify();
    }

    // In place: refused while the service runs, and the state before is kept.
    let restore = ["backup", "restore", file.to_str().unwrap(), "--yes"];
    assert_eq!(refused(&place, &restore, 69).0, "KN0458");
    let newer = shown(&place);
    assert!(service.stop().success());
    let before = files(&place.path("state"));
    assert_eq!(refused(&place, &["backup", "restore", file.to_str().unwrap()], 2).0, "KN0659");
    assert_eq!(files(&place.path("state")), before, "nobody agreed");
    let aside = PathBuf::from(json_of(&place, &restore)["aside"].as_str().unwrap());
    assert_eq!(shown(&place), expected);
    place.verify();
    assert!(cases.iter().all(|case| expected.iter().any(|shown| shown["id"] == case.as_str())));
    // What was moved aside is a whole state.
    let old = Place::new();
    fs::rename(aside, old.path("state")).unwrap();
    assert_eq!(shown(&old), newer);
    old.verify();
}

#[test]
fn the_script_of_the_guide_works_as_it_stands() {
    let (place, service, _) = busy();
    let expected = shown(&place);
    // Its folders lie in this place.
    let script = GUIDE_SCRIPT
        .replace("/var/backups/knhk", place.path("backup").to_str().unwrap())
        .replace("/var/lib/knhk", place.path("state").to_str().unwrap());
    fs::write(place.path("knhk-backup.sh"), script).unwrap();
    let output = Command::new("bash").arg(place.path("knhk-backup.sh")).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let list = json_of(&place, &["backup", "list"]);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["items"][0]["verified"], "no");
    let recent = || degraded(&service).iter().all(|why| !why.starts_with("no recent backup"));
    assert!(wait::until(HEALTH_MAX, || recent().then_some(())).is_some(), "{:?}", degraded(&service));
    let file = list["items"][0]["file"].as_str().unwrap();
    assert_eq!(json_of(&place, &["backup", "verify", file])["ok"], true);
    assert_eq!(json_of(&place, &["backup", "list"])["items"][0]["verified"], "yes");
    assert_eq!(shown(&unpacked(Path::new(file), &place)), expected);
    let other = Place::new();
    ok(&other, &["backup", "restore", file, "--yes"]);
    assert_eq!(shown(&other), expected);
}

#[test]
fn the_script_of_the_timer_makes_one_and_tells_how_it_ended() {
    let (place, _service, _) = busy();
    let run = || {
        let binary = Place::binary();
        let script = crate::support::service::root().join("scripts/knhk-backup.sh");
        let names = place.path("bin");
        let _ = fs::create_dir(&names);
        let _ = std::os::unix::fs::symlink(binary, names.join("knhk"));
        // The script looks in the usual folders first, where there may be another knhk.
        let text =
            fs::read_to_string(script).unwrap().replace("/usr/local/sbin:", &format!("{}:", names.display()));
        fs::write(place.path("script"), text).unwrap();
        let mut command = Command::new("bash");
        command.env_clear().env("KNHK_CONFIG", place.path("knhk.toml")).arg(place.path("script"));
        command.output().unwrap()
    };
    let output = run();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(json_of(&place, &["backup", "list"])["items"].as_array().unwrap().len(), 1);
    fs::remove_dir_all(place.path("backup")).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(74), "{}", told(&output));
    assert!(told(&output).contains("no backup was made"), "{}", told(&output));
}

#[test]
fn old_backups_are_deleted_only_once_a_newer_one_is_good() {
    let (place, mut service, _) = busy();
    let path = |name: &str| place.path("backup").join(name);
    let old = ["knhk-state-20200101_020000.tar.gz", "knhk-state-backup-20200101.tar.gz"];
    let kept = ["notes.txt", "other-20200101.tar.gz"];
    let age = |name: &str| {
        fs::write(path(name), "an old one").unwrap();
        let touched = Command::new("touch").args(["-d", "2020-01-01"]).arg(path(name)).status().unwrap();
        assert!(touched.success());
    };
    old.iter().chain(&kept).for_each(|name| age(name));
    fs::write(path("knhk-state-20190101_020000.tar.gz.check"), "{}").unwrap();
    let names = || -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(place.path("backup"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| ending(name) != "lock");
        names.sort();
        names
    };
    // To another place nothing is deleted.
    ok(&place, &["backup", "create", "--to", place.path("elsewhere.tar.gz").to_str().unwrap()]);
    assert!(old.iter().all(|name| path(name).exists()), "{:?}", names());
    // One that is not good deletes nothing.
    assert!(service.stop().success());
    let mut all = fs::read_dir(place.path("state/journal")).unwrap().map(|entry| entry.unwrap().path());
    let segment = all.find(|path| path.extension().is_some_and(|ending| ending == "jnl")).unwrap();
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[5000] ^= 1;
    // In place, so that it stays the same file.
    fs::write(&segment, &damaged).unwrap();
    let before = names();
    assert_eq!(refused(&place, &["backup", "create"], 1).0, "KN0456");
    assert_eq!(names(), before);
    fs::write(&segment, &whole).unwrap();
    let made = json_of(&place, &["backup", "create"]);
    let mut deleted: Vec<String> =
        made["deleted"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect();
    deleted.sort();
    assert_eq!(deleted, old.map(|name| path(name).display().to_string()));
    let left = names();
    assert!(kept.iter().all(|name| left.iter().any(|left| left == name)), "{left:?}");
    assert_eq!(left.iter().filter(|name| name.ends_with(".tar.gz")).count(), 2, "{left:?}");
    assert_eq!(left.iter().filter(|name| ending(name) == "check").count(), 1, "{left:?}");
}

#[test]
fn a_restoring_that_was_cut_short_is_done_again_and_no_new_store_is_made() {
    let (mut place, mut service, _) = busy();
    let file = backup(&place);
    let expected = shown(&place);
    assert!(service.stop().success());
    // As far as a restoring has come when the old journal is aside, and the new one not in its place.
    fs::create_dir(place.path("state/aside-1")).unwrap();
    fs::rename(place.path("state/journal"), place.path("state/aside-1/journal")).unwrap();
    fs::create_dir(place.path("state/.knhk-backup-4294967295-unpacked")).unwrap();
    let mut refusing = place.spawn(&[]);
    assert_eq!(refusing.wait().code(), Some(1), "{}", place.log());
    assert!(place.log().contains("KN0418"), "{}", place.log());
    ok(&place, &["backup", "restore", file.to_str().unwrap(), "--yes"]);
    assert_eq!(shown(&place), expected);
    assert!(!place.path("state/.knhk-backup-4294967295-unpacked").exists());
    let mut service = place.start();
    assert_eq!(shown(&place), expected);
    assert!(service.stop().success());
    place.verify();
}
