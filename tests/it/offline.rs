//! Commands without the service: the real binary over a store that nobody serves, that somebody holds and does not
//! serve, and that cannot be served.

mod damaged;
pub(crate) mod document;
pub(crate) mod golden;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::support::service::{Place, Service, files};

/// Cases that a service makes while its store is read.
const CASE_COUNT: usize = 200;
const ORDER: &str = "examples/order/order.yawl";

fn ok(place: &Place, arguments: &[&str]) -> String {
    let output = place.knhk(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(place: &Place, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    serde_json::from_str(&ok(place, &arguments)).unwrap()
}

/// Returns all that a command says, and how it ended.
fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}--\n{err}-- {}\n", output.status)
}

fn create(place: &Place, customer: &str) -> String {
    let data = json!({ "customer": customer }).to_string();
    ok(place, &["workflow", "create", "order", "--data", &data, "-q"]).trim().to_owned()
}

fn only_item(place: &Place, case: &str) -> String {
    let list = json_of(place, &["workitem", "list", "--case", case]);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    list["items"][0]["id"].as_str().unwrap().to_owned()
}

fn state(place: &Place) -> [BTreeMap<String, String>; 2] {
    ["state", "cache"].map(|name| files(&place.path(name)))
}

/// Says what commands that only read say. Ages change by themselves, so they are left out.
fn reads(place: &Place, case: &str) -> String {
    let commands: [&[&str]; 14] = [
        &["workflow", "list", "--json"],
        &["workflow", "list", "-q", "--state", "running"],
        &["workflow", "list", "-q", "--limit", "1"],
        &["workflow", "list", "--json", "--older-than", "90d"],
        &["workflow", "get", case],
        &["workflow", "get", case, "--json"],
        &["workflow", "history", case],
        &["workflow", "history", case, "--limit", "1", "--json"],
        &["workflow", "show", case],
        &["workflow", "show", case, "--svg"],
        &["workflow", "show", "order@1", "--json"],
        &["workitem", "list", "--json"],
        &["workflow", "get", "zzzzzzzzzzzzz"],
        &["workflow", "list", "--state", "runing"],
    ];
    commands.iter().map(|command| told(&place.knhk(command))).collect()
}

/// Checks that reads say what they said with the service, and touch nothing.
#[track_caller]
fn check_reads(place: &Place, case: &str, expected: &str) {
    let before = state(place);
    assert_eq!(reads(place, case), expected);
    assert_eq!(state(place), before, "a read changed a file");
}

/// Starts a service and gives it some work; returns the last case.
fn work(place: &mut Place) -> (Service, String) {
    let service = place.start();
    ok(place, &["workflow", "register", ORDER]);
    let cancelled = create(place, "first");
    ok(place, &["workflow", "cancel", &cancelled, "--reason", "not wanted"]);
    let case = create(place, "second & <third>");
    let item = only_item(place, &case);
    ok(place, &["workitem", "start", &item]);
    (service, case)
}

#[test]
fn what_a_service_shows_is_shown_without_it() {
    let mut place = Place::new();
    let (mut service, case) = work(&mut place);
    let expected = reads(&place, &case);
    for word in [case.as_str(), "second", "-- exit status: 1", "<svg", "zzzzzzzzzzzzz"] {
        assert!(expected.contains(word), "{word} is not in {expected}");
    }
    assert!(service.stop().success());
    // Everything is in the environment.
    check_reads(&place, &case, &expected);

    // The environment ends where the service was stopped, and the journal goes on behind it.
    let mut service = place.start();
    create(&place, "fourth");
    let expected = reads(&place, &case);
    service.kill();
    fs::remove_file(place.path("cache/starts")).unwrap();
    check_reads(&place, &case, &expected);

    // The environment is not to be believed: damaged, and gone.
    let environment = place.path("cache/live.mdb");
    let length = usize::try_from(fs::metadata(&environment).unwrap().len()).unwrap();
    fs::write(&environment, vec![0x5a; length]).unwrap();
    check_reads(&place, &case, &expected);
    fs::remove_dir_all(place.path("cache")).unwrap();
    check_reads(&place, &case, &expected);
    assert!(!place.path("cache").exists());

    // A copy without its lock.
    fs::remove_file(place.path("state/lock")).unwrap();
    check_reads(&place, &case, &expected);
}

fn journal_bytes(place: &Place) -> u64 {
    let entries = fs::read_dir(place.path("state/journal")).unwrap().map(Result::unwrap);
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "jnl"));
    segments.map(|segment| segment.metadata().unwrap().len()).sum()
}

#[test]
fn what_a_command_changes_without_a_service_is_what_a_service_finds() {
    let mut place = Place::new();
    assert!(place.start().stop().success());
    let before = journal_bytes(&place);
    ok(&place, &["workflow", "register", ORDER]);
    let added = journal_bytes(&place) - before;
    assert!(added <= 128 * 1024, "a command adds {added} bytes to the journal");
    let create =
        ["workflow", "create", "order", "--data", r#"{"customer":"one"}"#, "--idempotency-key", "k-1"];
    let made = json_of(&place, &create);
    assert_eq!(json_of(&place, &create)["id"], made["id"], "the key is known");
    let id = made["id"].as_str().unwrap().to_owned();
    let item = only_item(&place, &id);
    ok(&place, &["workitem", "start", &item]);
    let other = place.knhk(&["workitem", "start", &item]);
    assert_eq!(other.status.code(), Some(1), "{}", told(&other));
    // Reads, asks, and changes each of several: one command that looks first and has the store alone then.
    let more: Vec<String> = (0..3).map(|number| self::create(&place, &format!("more {number}"))).collect();
    ok(&place, &["workflow", "suspend", &more[0]]);
    ok(&place, &["workflow", "cancel", "--state", "suspended", "--yes"]);
    let without = [json_of(&place, &["workflow", "list"]), json_of(&place, &["workflow", "history", &id])];

    let mut service = place.start();
    let with = [json_of(&place, &["workflow", "list"]), json_of(&place, &["workflow", "history", &id])];
    assert_eq!(with, without);
    let states: Vec<&str> =
        with[0]["items"].as_array().unwrap().iter().map(|case| case["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running", "cancelled", "running", "running"]);
    assert_eq!(json_of(&place, &create)["id"], made["id"], "the service knows the key");
    assert!(service.stop().success());
    let verified = json_of(&place, &["state", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn beside_a_service_that_does_not_answer_reads_show_the_journal() {
    let mut place = Place::new();
    let (mut service, case) = work(&mut place);
    let expected = place.knhk(&["workflow", "get", &case, "--json"]);
    let text = fs::read_to_string(place.path("knhk.toml")).unwrap();
    fs::write(place.path("knhk.toml"), text + "client_timeout_ms = 300\n").unwrap();
    service.hold();
    let before = files(&place.path("state"));
    let shown = place.knhk(&["workflow", "get", &case, "--json"]);
    assert_eq!((shown.status.code(), &shown.stdout), (Some(0), &expected.stdout), "{}", told(&shown));
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    let pid = service.pid();
    for part in [&format!("process {pid} has the state"), "up to frame ", " ago"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(place.knhk(&["workflow", "history", &case]).status.code(), Some(0));
    assert_eq!(files(&place.path("state")), before);
    // It was sent, and happens when the service goes on.
    let sent = place.knhk(&["workflow", "suspend", &case]);
    assert_eq!(sent.status.code(), Some(75), "{}", told(&sent));

    // Nothing can be sent, and the store is another's.
    fs::rename(place.path("knhk.sock"), place.path("elsewhere.sock")).unwrap();
    assert_eq!(place.knhk(&["workflow", "get", &case]).status.code(), Some(0));
    let refused = place.knhk(&["workflow", "cancel", &case]);
    assert_eq!(refused.status.code(), Some(69), "{}", told(&refused));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("KN0401") && said.contains(&format!("process {pid}")), "{said}");
    assert_eq!(files(&place.path("state")), before);

    fs::rename(place.path("elsewhere.sock"), place.path("knhk.sock")).unwrap();
    service.go_on();
    assert!(service.stop().success());
}

#[test]
fn beside_a_service_at_work_reads_show_what_was_acknowledged_before() {
    let mut place = Place::new();
    let (service, case) = work(&mut place);
    fs::rename(place.path("knhk.sock"), place.path("elsewhere.sock")).unwrap();
    let acknowledged = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = service.client();
            for _ in 0..CASE_COUNT {
                let body = json!({ "workflow": "order", "data": { "customer": "x".repeat(20_000) } });
                client.post("/cases", None, &body).unwrap().expect(201);
                acknowledged.fetch_add(1, Ordering::AcqRel);
            }
        });
        // Ends: with the cases, or by failing.
        loop {
            let before = acknowledged.load(Ordering::Acquire);
            let shown = ok(&place, &["workflow", "list", "-q"]).lines().count();
            assert!(shown >= before, "{shown} cases are shown, {before} were acknowledged");
            ok(&place, &["workflow", "history", &case]);
            if before == CASE_COUNT + 2 {
                break;
            }
        }
    });
    // It went on in more segments than it began with.
    assert!(journal_bytes(&place) > 2 * 1024 * 1024, "{} bytes", journal_bytes(&place));
}

#[test]
fn a_service_waits_for_a_reader_and_then_says_who_it_is() {
    let mut place = Place::new();
    assert!(place.start().stop().success());
    let lock = || {
        let file = fs::File::open(place.path("state/lock")).unwrap();
        Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, error)| error).unwrap()
    };
    let reader = lock();
    let mut service = place.spawn(&[]);
    assert_eq!(service.wait().code(), Some(69), "{}", place.log());
    let log = place.log();
    assert!(log.contains("KN0401") && log.contains(&format!("process {}", std::process::id())), "{log}");
    let mut service = place.spawn(&[]);
    drop(reader);
    service.wait_until_live().unwrap();
    assert!(service.stop().success());
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let place = Place::new();
    for arguments in [&["workflow", "list"][..], &["workflow", "register", ORDER]] {
        let output = place.knhk(arguments);
        assert_eq!(output.status.code(), Some(69), "{}", told(&output));
        assert!(told(&output).contains("KN0651"), "{}", told(&output));
    }
    assert!(!place.path("state").exists() && !place.path("cache").exists());
}

#[test]
fn a_store_that_cannot_be_opened_says_why() {
    let mut place = Place::new();
    let (mut service, case) = work(&mut place);
    assert!(service.stop().success());
    let journal = place.path("state/journal");
    let check = |code: &str| {
        let before = state(&place);
        for arguments in [&["workflow", "get", &case][..], &["workflow", "cancel", &case]] {
            let output = place.knhk(arguments);
            assert_eq!(output.status.code(), Some(1), "{}", told(&output));
            assert!(told(&output).contains(code), "{code} is not in {}", told(&output));
        }
        assert_eq!(state(&place), before);
    };
    let segments: Vec<_> = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).collect();
    let segment =
        segments.iter().filter(|path| path.extension().is_some_and(|it| it == "jnl")).max().unwrap();
    let bytes = fs::read(segment).unwrap();
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    fs::write(segment, &damaged).unwrap();
    check("KN0402");
    fs::remove_dir_all(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    check("KN0418");
}

/// Returns every file and folder in a folder, and it.
fn paths(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_keys().map(PathBuf::from).chain([folder.to_owned()]).collect()
}

#[test]
fn root_becomes_the_owner_and_nobody_else_hears_more_than_before() {
    const OWNER: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(std::io::stdout(), "skipped: only root can become somebody");
        return;
    }
    let mut place = Place::new();
    assert!(place.start().stop().success());
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    for path in ["state", "cache"].into_iter().flat_map(|name| paths(&place.path(name))) {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    ok(&place, &["workflow", "register", ORDER]);
    create(&place, "one");
    for path in ["state", "cache"].into_iter().flat_map(|name| paths(&place.path(name))) {
        assert_eq!(fs::metadata(&path).unwrap().uid(), OWNER, "{}", path.display());
    }

    // Now the state is another's, and this user may not look into it.
    for path in paths(&place.path("state")) {
        chown(path, Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o700)).unwrap();
    let binary = place.path("knhk");
    // By another process: of a file that this one writes, a child that another test forks just then has the descriptor until
    // its own program begins, and a file that somebody may write to cannot be run ("Text file busy").
    let copied = std::process::Command::new("cp").arg(Place::binary()).arg(&binary).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
    let binary = binary.display().to_string();
    let user =
        [&format!("--reuid={OWNER}"), &format!("--regid={OWNER}"), "--clear-groups"].map(str::to_owned);
    for arguments in [["workflow", "list"], ["workflow", "get"]] {
        let mut command = std::process::Command::new("setpriv");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("KNHK_CONFIG", place.path("knhk.toml"));
        command.args(&user).arg(&binary).args(arguments).args((arguments[1] == "get").then_some("x"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{}", told(&output));
        assert!(told(&output).contains("KN0651"), "{}", told(&output));
    }
}
