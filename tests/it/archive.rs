//! Cases leave the live store for archive files, space comes back, and cases come back, with the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knhk::engine::fold::EngineFold;
use knhk::engine::{queries, tables};
use knhk::id::CaseId;
use knhk::store::{self, Fold, MemTables, RealDisk};
use serde_json::{Value, json};

use crate::hot_tar::{self, Copy, GRACE, Seen};
use crate::offline::document::{Bytes, read_sealed};
use crate::offline::golden;
use crate::support::random::Random;
use crate::support::service::{Place, Service};
use crate::support::wait;

const ORDER: &str = "examples/order/order.yawl";
/// Cases that are closed, and cases that run on.
const CLOSED: usize = 120;
const RUNNING: usize = 5;
/// Pauses from the snapshot that knows what is archived until a copy begins: somewhat less than the grace.
const COPY_AFTER_PAUSES: u32 = 1_200;
/// Bytes of the reason for which a case is cancelled: most of its history.
const REASON_BYTES: usize = 3_000;

/// A store with closed cases in several segments, behind a service.
struct Bench {
    place: Place,
    service: Service,
    closed: Vec<String>,
    running: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        Self::with_grace("0")
    }

    fn with_grace(grace: &str) -> Self {
        let mut place = Place::with(&[
            ("segment_bytes", "65536"),
            ("frame_bytes_max", "32768"),
            ("body_bytes_max", "32768"),
            ("backup_grace_hours", grace),
            ("checkpoint_seconds", "1"),
        ]);
        let service = place.start();
        let mut bench = Self { place, service, closed: Vec::new(), running: Vec::new() };
        bench.ok(&["workflow", "register", ORDER]);
        bench.close(CLOSED);
        for number in 0..RUNNING {
            let case = bench.create(&format!("running {number}"), None);
            bench.running.push(case);
        }
        bench
    }

    /// Has so many more closed cases.
    fn close(&mut self, more: usize) {
        for number in self.closed.len()..self.closed.len() + more {
            let case = self.create(&format!("closed {number}"), Some(&format!("order {number}")));
            let reason = noise(number, REASON_BYTES);
            self.post(&format!("/cases/{case}/cancel"), &json!({ "reason": reason }));
            self.closed.push(case);
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.service.client().post(path, None, body).unwrap();
        assert!(matches!(answer.status, 200 | 201), "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    fn create(&self, customer: &str, key: Option<&str>) -> String {
        let body = json!({ "workflow": "order", "data": { "customer": customer }, "key": key });
        self.post("/cases", &body)["id"].as_str().unwrap().to_owned()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        ok(&self.place, arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Archives everything that is closed.
    fn archive(&self) -> Value {
        self.json(&["workflow", "archive", "--older-than", "0s"])
    }

    fn trim(&self) {
        self.ok(&["state", "trim", "--now", "--yes"]);
    }

    /// Ends the service as a crash would and starts it anew without a working environment.
    fn begin_anew(&mut self) {
        self.service.kill();
        fs::remove_dir_all(self.place.path("cache")).unwrap();
        self.service = self.place.start();
    }

    fn archive_file(&self) -> PathBuf {
        let mut files = archive_files(&self.place);
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

fn ok(place: &Place, arguments: &[&str]) -> String {
    let output = place.knhk(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{out}{err}{}", output.status, place.log());
    out.into_owned()
}

/// Returns text that cannot be packed to less than half.
fn noise(seed: usize, bytes: usize) -> String {
    let hash = |part: usize| blake3::hash(&[seed.to_le_bytes(), part.to_le_bytes()].concat()).to_hex();
    (0..=bytes / 64).map(|part| hash(part).to_string()).collect::<String>()[..bytes].to_owned()
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { bytes_in(&path) } else { fs::metadata(&path).map_or(0, |meta| meta.len()) }
        })
        .sum()
}

fn archive_files(place: &Place) -> Vec<PathBuf> {
    let Ok(months) = fs::read_dir(place.path("state/archive")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = months
        .flat_map(|month| fs::read_dir(month.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Verifies a store that is not well; returns what was said.
fn findings(place: &Place) -> String {
    let output = place.knhk(&["state", "verify"]);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn what_is_archived_leaves_the_store_and_gives_its_space_back() {
    let mut bench = Bench::new();
    bench.trim();
    let folder = bench.place.path("state/history");
    let before = bytes_in(&folder);
    let trial = bench.json(&["workflow", "archive", "--older-than", "0s", "--dry-run"]);
    assert_eq!((&trial["archived"], &trial["dry_run"]), (&json!(CLOSED), &json!(true)));
    assert!(trial["bytes"].as_u64().unwrap() > 0 && archive_files(&bench.place).is_empty(), "{trial}");

    let done = bench.archive();
    assert_eq!(
        (&done["archived"], &done["kept_back"], &done["refused"]),
        (&json!(CLOSED), &json!(0), &json!(0))
    );
    assert_eq!(bench.archive()["archived"], 0, "a second time nothing is left to do");
    let info = bench.json(&["state", "info"]);
    let files = info["files"].as_array().unwrap();
    let archives: Vec<&Value> = files.iter().filter(|file| file["kind"] == "archive").collect();
    assert_eq!(archives.len(), 1, "{info}");
    assert_eq!(archives[0]["name"], done["files"][0]);
    bench.place.verify();
    bench.trim();
    let after = bytes_in(&folder);
    assert!(after < before / 4, "history had {before} bytes and has {after}");
    bench.place.verify();

    for round in 0..2 {
        let listed = bench.ok(&["workflow", "list", "--archived", "-q"]);
        let mut expected = bench.closed.clone();
        expected.sort();
        assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
        let live = bench.ok(&["workflow", "list", "-q"]);
        assert_eq!(live.lines().count(), RUNNING, "{live}");
        let case = &bench.closed[7];
        let shown = bench.json(&["workflow", "get", case]);
        assert_eq!((&shown["archived"], &shown["state"]), (&json!(true), &json!("cancelled")), "{shown}");
        assert!(bench.ok(&["workflow", "get", case]).contains("in file "), "for people too");
        let history = bench.json(&["workflow", "history", case]);
        let events = history["items"].as_array().unwrap();
        assert_eq!(events.last().unwrap()["event"], "archived");
        let closed = events.iter().find(|event| event["event"] == "closed").unwrap();
        assert_eq!(closed["reason"], noise(7, REASON_BYTES).as_str());
        assert_eq!(bench.create("again", Some("order 7")), *case, "the same key is the same case");
        let refused = bench.place.knhk(&["workflow", "cancel", case]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("KN0330"));
        if round == 0 {
            bench.begin_anew();
            bench.place.verify();
        }
    }
    // Without any snapshot, history and journal alone give the same rows.
    assert!(bench.service.stop().success());
    fs::remove_dir_all(bench.place.path("cache")).unwrap();
    bench.service = bench.place.start();
    bench.place.verify();
}

#[test]
fn a_case_comes_back_as_it_was_and_goes_again() {
    let mut bench = Bench::new();
    let case = bench.closed[3].clone();
    let before = bench.json(&["workflow", "get", &case]);
    let events = bench.json(&["workflow", "history", &case])["items"].as_array().unwrap().clone();
    bench.archive();
    bench.trim();
    for round in 1..=3 {
        let back = bench.json(&["workflow", "restore", "--case-id", &case]);
        for name in ["id", "workflow", "version", "state", "data", "created", "key"] {
            assert_eq!(back[name], before[name], "{name} in round {round}");
        }
        assert!(back.get("archived").is_none(), "{back}");
        let now = bench.json(&["workflow", "history", &case])["items"].as_array().unwrap().clone();
        assert_eq!(now[..events.len()], events[..], "round {round}");
        assert_eq!(now.len(), events.len() + round, "each restoring is told");
        assert!(now[events.len()..].iter().all(|event| event["event"] == "restored"));
        assert!(bench.ok(&["workflow", "list", "-q"]).contains(&case));
        let again = bench.place.knhk(&["workflow", "restore", "--case-id", &case]);
        assert!(String::from_utf8_lossy(&again.stderr).contains("KN0336"), "round {round}");
        bench.place.verify();
        if round == 2 {
            bench.begin_anew();
        }
        assert_eq!(bench.archive()["archived"], 1);
        bench.trim();
        bench.place.verify();
    }
    assert_eq!(bench.json(&["workflow", "get", &case])["archived"], true);
}

/// Makes a plain tar file of the state, as the operations guide does.
fn tar(place: &Place, name: &str) -> String {
    let file = place.path(name);
    let made = std::process::Command::new("tar").arg("-cf").arg(&file).arg(place.path("state")).status();
    assert!(made.unwrap().code().is_some_and(|code| code < 2));
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_case_comes_out_of_a_backup_whatever_became_of_it_since_and_before() {
    let bench = Bench::new();
    let running = bench.running[0].clone();
    let early = tar(&bench.place, "early.tar");
    let restore = |case: &str, file: &str, more: &[&str]| {
        let words = ["workflow", "restore", "--case-id", case, "--from-backup", file];
        bench.place.knhk(&[&words[..], more].concat())
    };
    // What has gone on since is kept, unless it is said otherwise.
    bench.post(&format!("/cases/{running}/cancel"), &json!({}));
    let refused = restore(&running, &early, &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(bench.json(&["workflow", "get", &running])["state"], "cancelled");
    assert!(restore(&running, &early, &["--force"]).status.success());
    assert_eq!(bench.json(&["workflow", "get", &running])["state"], "running");

    // What was archived since comes back: also what had been archived and restored before the backup was made, so that its
    // history there does not begin with its creation.
    let case = bench.closed[3].clone();
    let before = bench.json(&["workflow", "get", &case]);
    bench.archive();
    bench.trim();
    bench.ok(&["workflow", "restore", "--case-id", &case]);
    bench.trim();
    let late = tar(&bench.place, "late.tar");
    for (file, more) in [(&late, &[][..]), (&early, &["--force"])] {
        bench.archive();
        bench.trim();
        let back = restore(&case, file, more);
        assert_eq!(back.status.code(), Some(0), "{file}: {}", String::from_utf8_lossy(&back.stderr));
        let now = bench.json(&["workflow", "get", &case]);
        for name in ["id", "workflow", "version", "state", "data", "created", "key"] {
            assert_eq!(now[name], before[name], "{name} out of {file}");
        }
        let history = bench.json(&["workflow", "history", &case]);
        let last = history["items"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["event"], last["from"].as_str()), (&json!("restored"), file.rsplit('/').next()));
        bench.place.verify();
    }
    assert!(bench.ok(&["workflow", "list", "--verify", "-q"]).is_empty());
}

/// Takes a copy of a store in which history is just being written anew without the cases that are archived, and midway
/// archives the others and restores one.
fn take_a_copy(copy: Copy, random: &mut Random) {
    let mut bench = Bench::with_grace(GRACE);
    let archived = bench.archive();
    assert_eq!(archived["archived"], CLOSED, "{archived}");
    bench.ok(&["state", "snapshot"]);
    bench.close(CLOSED / 3);
    let state = bench.place.path("state");
    // A grace after that snapshot, which the copy is to see.
    (0..COPY_AFTER_PAUSES).for_each(|_| wait::pause());
    let back = bench.closed[3].clone();
    let before = Seen::now(&state);
    let restored = Place::new();
    copy.take(&state, &restored.path("state"), random, &|| {
        assert_eq!(bench.archive()["archived"], CLOSED / 3);
        bench.ok(&["workflow", "restore", "--case-id", &back]);
        bench.ok(&["state", "snapshot"]);
        before.wait_for_history_anew(&state);
    });
    assert!(before.is_whole(&state), "{copy:?} took longer than a grace of {GRACE}");
    assert!(before.is_history_anew(&state), "history was not written anew\n{}", bench.place.log());
    bench.check_restored(restored, &back);
}

impl Bench {
    /// Opens a copy and compares: every case is there once, with all that happened in it.
    fn check_restored(&self, mut place: Place, back: &str) {
        place.verify();
        let service = place.start();
        let list = |more: &[&str]| -> Vec<String> {
            let said = ok(&place, &[&["workflow", "list", "-q"], more].concat());
            said.lines().map(str::to_owned).collect()
        };
        let (live, archived) = (list(&[]), list(&["--archived"]));
        let mut found = [&live[..], &archived[..]].concat();
        found.sort();
        let mut expected = [&self.closed[..], &self.running[..]].concat();
        expected.sort();
        assert_eq!(found, expected, "each once");
        let gone = self.closed[..CLOSED].iter().filter(|case| *case != back);
        assert!(gone.clone().all(|case| archived.contains(case)), "what was archived before is archived");
        let mut client = service.client();
        for (number, case) in self.closed.iter().enumerate() {
            let history = client.get(&format!("/cases/{case}/history?limit=1000")).unwrap().expect(200);
            let events = history["items"].as_array().unwrap();
            let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
            let (created, closed) = (of("created"), of("closed"));
            assert_eq!((created.len(), closed.len()), (1, 1), "{history}");
            assert_eq!(closed[0]["reason"], noise(number, REASON_BYTES).as_str(), "{case}");
        }
    }
}

#[test]
fn a_copy_taken_while_cases_leave_has_each_of_them_once() {
    let (rounds, seed) = hot_tar::rounds_and_seed();
    let mut random = Random(seed);
    for round in 0..rounds {
        let copy = Copy::of_round(round);
        if copy.is_possible() {
            take_a_copy(copy, &mut random);
        } else {
            wait::absent(&format!("archive: {copy:?}, because its program is not here"));
        }
    }
}

#[test]
fn archiving_works_without_the_service_and_on_new_stores_only() {
    let mut bench = Bench::new();
    assert!(bench.service.stop().success());
    let done = bench.archive();
    assert_eq!(done["archived"], CLOSED);
    let case = &bench.closed[0];
    assert_eq!(bench.json(&["workflow", "get", case])["archived"], true);
    assert_eq!(bench.json(&["workflow", "restore", "--case-id", case])["id"], case.as_str());
    bench.place.verify();

    let old = golden::unpack("store-1");
    let refused = old.knhk(&["workflow", "archive", "--older-than", "0s"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("KN0334") && said.contains("knhk state upgrade"), "{said}");
}

#[test]
fn a_flipped_byte_and_a_missing_file_are_told_with_their_cases() {
    let mut bench = Bench::new();
    bench.archive();
    bench.trim();
    assert!(bench.service.stop().success());
    let path = bench.archive_file();
    let whole = fs::read(&path).unwrap();
    for place in [3, whole.len() / 3, whole.len() / 2, whole.len() - 40] {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let said = findings(&bench.place);
        assert!(said.contains(path.to_str().unwrap()), "byte {place}: {said}");
    }
    fs::remove_file(&path).unwrap();
    let said = findings(&bench.place);
    assert!(said.contains("KN0441") && said.contains(&bench.closed[0]), "{said}");
    fs::write(&path, &whole).unwrap();
    bench.place.verify();
}

#[test]
fn the_document_is_enough_to_read_an_archive_alone() {
    let bench = Bench::new();
    bench.archive();
    let path = bench.archive_file();
    let (about, rows) = read_sealed(&path, "KNHKARCH");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, format!("{:020}.arc", Bytes(&about).number(8)));
    let (mut cases, mut specifications) = (Vec::new(), 0);
    for (key, value) in rows {
        let mut key = Bytes(&key);
        if key.number(1) == 0 {
            assert_eq!((key.big(4), value[0]), (1, 1));
            let mut row = Bytes(&value[1..]);
            row.fields("nR");
            assert!(row.0.is_empty());
            specifications += 1;
            continue;
        }
        let case = key.big(8);
        let mut row = Bytes(&value);
        let (partition, subject) = (row.number(2), row.number(8));
        assert_eq!((subject, partition), (case, case % 64));
        let mut before = (row.number(8), row.take(16).to_vec());
        assert_eq!(before, (0, vec![0; 16]));
        let end = (row.number(8), row.take(16).to_vec());
        for _ in 0..row.number(4) {
            let n = row.number(8);
            let length = usize::try_from(row.number(4)).unwrap();
            let payload = row.take(length);
            let partition = u16::try_from(partition).unwrap().to_le_bytes();
            let numbers = [n, subject, before.0].map(u64::to_le_bytes).concat();
            let all = [&partition[..], &numbers, &before.1, payload].concat();
            before = (n, blake3::hash(&all).as_bytes()[..16].to_vec());
        }
        assert_eq!(before, end, "the chain comes to its end");
        let numbers: Vec<_> = (0..row.number(4)).map(|_| (row.number(4), row.number(4))).collect();
        assert_eq!((numbers, row.0.is_empty()), (vec![(1, 0)], true));
        cases.push(CaseId(case).to_string());
    }
    let mut expected = bench.closed.clone();
    expected.sort();
    assert_eq!((cases, specifications), (expected, 1));
}

/// Returns all that happened in a case of a store, as a backup of it gives it.
fn packed(place: &Place, case: &str) -> Vec<u8> {
    let fold: Arc<dyn Fold> = Arc::new(EngineFold);
    let options = golden::options(place);
    let looked = store::look(&Arc::new(RealDisk), || Ok(None::<MemTables>), &fold, &options, &[]);
    let looked = looked.unwrap().unwrap();
    let id = CaseId::parse(case).unwrap();
    let row = queries::case_rows(&looked.follower, id).unwrap().unwrap().case;
    let mut history = queries::archived::history_of(&looked.journal, id, row.last).unwrap().unwrap();
    let specification = looked.follower.get(tables::SPECS, &tables::spec_key(row.spec)).unwrap().unwrap();
    history.specifications = vec![(row.spec.0, specification)];
    history.pack().unwrap()
}

#[test]
fn a_running_case_comes_into_another_store_and_goes_on_there() {
    let mut from = Place::new();
    let mut service = from.start();
    ok(&from, &["workflow", "register", ORDER]);
    let data = json!({ "workflow": "order", "data": { "customer": "Ann" }, "key": "K-1" });
    let case = service.client().post("/cases", None, &data).unwrap().expect(201);
    let id = case["id"].as_str().unwrap().to_owned();
    assert!(service.stop().success());
    let history = packed(&from, &id);

    let mut to = Place::new();
    let service = to.start();
    let mut client = service.client();
    let bytes = [("Content-Type", "application/octet-stream")];
    let path = format!("/cases/{id}/restore?from=a%20backup");
    let back = client.send("POST", &path, &bytes, &history).unwrap().expect(200);
    for name in ["id", "workflow", "state", "marking", "enabled", "data", "created", "key"] {
        assert_eq!(back[name], case[name], "{name}");
    }
    assert_eq!(
        client.post("/cases", None, &data).unwrap().expect(200)["id"],
        id.as_str(),
        "its key is known"
    );
    assert_eq!(client.send("POST", &path, &bytes, &history).unwrap().expect(409)["code"], "KN0336");
    let items = client.get(&format!("/workitems?case={id}")).unwrap().expect(200);
    let item = items["items"][0]["id"].as_str().unwrap().to_owned();
    client.post(&format!("/workitems/{item}/start"), None, &json!({})).unwrap().expect(200);
    let gone_on = client.get(&format!("/cases/{id}")).unwrap().expect(200);
    assert_ne!(gone_on["busy"], case["busy"]);
    assert_eq!(client.send("POST", &path, &bytes, &history).unwrap().expect(409)["code"], "KN0337");
    let forced = client.send("POST", &format!("{path}&force=true"), &bytes, &history).unwrap().expect(200);
    assert_eq!((&forced["busy"], &forced["enabled"]), (&case["busy"], &case["enabled"]));
    let mut damaged = history.clone();
    damaged[30] ^= 1;
    assert_eq!(client.send("POST", &path, &bytes, &damaged).unwrap().expect(422)["code"], "KN0335");
    let other = format!("/cases/{}/restore", "0".repeat(12));
    assert_eq!(client.send("POST", &other, &bytes, &history).unwrap().expect(422)["code"], "KN0335");
    to.verify();
}
