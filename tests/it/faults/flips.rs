//! Bytes that change by themselves, one at a time, in every kind of state file of a resting store.
//!
//! `state verify` names each, or the byte is proven unused: by the file's own map of what is used, or, in the working
//! environment, by reading all rows back, in order and one by one. For a sample the service is started on the damaged
//! store: it serves nothing that the undamaged one did not, or refuses and says which file and what to do.
//!
//! `KNHK_FAULTS_FLIPS` and `KNHK_FAULTS_STARTS` say how many.

mod map;
pub(crate) mod rest;
mod rows;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use self::map::Use;
use self::rest::{Kind, Rest};
use super::{Fault, number, workers};
use crate::support::http::Client;
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::{Place, Service};
use crate::support::wait;

const FAULT: &str = "byte flips";
const STARTS_FAULT: &str = "start on flipped bytes";
/// Flips and starts in the ordinary suite.
const FLIPS: u64 = 50;
const STARTS: u64 = 4;
/// Runs whose work the store holds, so that it has several segments.
const RUNS: u64 = 3;
/// Acknowledged requests of each run.
const REQUESTS: u64 = 80;
/// Deaths by a signal in a row: after two the environment is made anew.
const DEATHS_MAX: u32 = 3;
/// Longest time until a scrub is over.
const SCRUB_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// Longest time until history is written: the service looks every second.
const HISTORY_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// Bytes before and behind the place of a flip that a failure shows.
const SHOWN_BYTES: usize = 8;

/// What the undamaged store answers, by path.
pub(crate) type Model = BTreeMap<String, Value>;

/// A byte and what is to be laid over it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flip {
    file: usize,
    offset: usize,
    mask: u8,
}

/// Makes a store with some work in it, and returns it at rest with what it answers.
pub(crate) fn store(random: &mut Random) -> (Place, Rest, Model) {
    let mut place = Place::with(&[
        ("segment_bytes", "65536"),
        ("frame_bytes_max", "32768"),
        ("body_bytes_max", "32768"),
        ("checkpoint_seconds", "1"),
    ]);
    let mut workers = workers(random);
    let mut model = Model::new();
    for run in 0..RUNS {
        let mut service = place.start();
        if run == 0 {
            load::register(&service);
        }
        load::while_working(service.address, &mut workers, |progress| progress.wait_for(REQUESTS));
        load::compare(&service, &mut workers, usize::MAX, random);
        if run + 1 == RUNS {
            assert!(place.knhk(&["state", "snapshot"]).status.success(), "{}", place.log());
            wait_for_history(&place);
            let cases: Vec<String> = workers.iter().flat_map(load::Worker::case_ids).collect();
            model = answers(&mut service.client(), &cases);
        }
        assert!(service.stop().success(), "{}", place.log());
    }
    place.verify();
    let rest = Rest::new(&place);
    for kind in [Kind::Journal, Kind::History, Kind::Snapshot, Kind::Environment] {
        assert!(!rest.of_kind(kind).is_empty(), "{kind:?} is not among the files");
    }
    (place, rest, model)
}

/// Waits until complete segments stand in history too.
fn wait_for_history(place: &Place) {
    let found = wait::until(HISTORY_MAX, || {
        let mut files = std::fs::read_dir(place.path("state/history")).ok()?;
        files.find(|file| rest::ending(file.as_ref().unwrap().file_name().to_str().unwrap()) == "his")
    });
    assert!(found.is_some(), "no history:\n{}", place.log());
}

/// Asks for everything that can be read.
pub(crate) fn answers(client: &mut Client, cases: &[String]) -> Model {
    let lists =
        ["/workflows", "/workflows/order", "/cases?limit=1000", "/workitems?limit=1000"].map(str::to_owned);
    let of_cases = cases.iter().flat_map(|case| {
        [
            format!("/cases/{case}"),
            format!("/cases/{case}/history?limit=1000"),
            format!("/workitems?case={case}"),
        ]
    });
    lists
        .into_iter()
        .chain(of_cases)
        .map(|path| {
            let answer = client.get(&path).unwrap_or_else(|error| panic!("{path}: {error}")).expect(200);
            (path, answer)
        })
        .collect()
}

impl Flip {
    /// Chooses: kinds of files in turn; in it a byte anywhere, or three times of four one that is used.
    fn choose(rest: &Rest, kinds: &[Kind], turn: u64, random: &mut Random) -> Self {
        let kind = kinds[usize::try_from(turn).unwrap() % kinds.len()];
        let files = rest.of_kind(kind);
        let file = files[pick(random, files.len())];
        let length = rest.files[file].bytes.len();
        let used = rest.used(file);
        let offset = if random.below(4) == 0 || used.is_empty() {
            pick(random, length)
        } else {
            let range = &used[pick(random, used.len())];
            range.start + pick(random, range.len())
        };
        Self { file, offset, mask: u8::try_from(1 + random.below(255)).unwrap() }
    }

    fn tell(&self, rest: &Rest) -> String {
        let file = &rest.files[self.file];
        let around =
            self.offset.saturating_sub(SHOWN_BYTES)..(self.offset + SHOWN_BYTES).min(file.bytes.len());
        let mut text = format!("byte {} of {} ^ {:#04x}; it was ", self.offset, file.name, self.mask);
        for place in around {
            let mark = if place == self.offset { ">" } else { "" };
            let _ = write!(text, "{mark}{:02x} ", file.bytes[place]);
        }
        text
    }
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(u64::try_from(count).unwrap())).unwrap()
}

/// What came of one flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Named,
    Unused,
    /// All rows read back as they are, or as they were one checkpoint before.
    Repeated,
}

/// Verifies the damaged store, and says what is wrong with what the verification says.
fn judge(place: &Place, rest: &Rest, flip: &Flip) -> Result<Outcome, String> {
    let file = &rest.files[flip.file];
    let output = place.knhk(&["state", "verify", "--json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&said)
        .map_err(|error| format!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)))?;
    let findings = report["findings"].as_array().unwrap();
    if output.status.code() != Some(i32::from(!findings.is_empty())) {
        return Err(format!("{} with {report}", output.status));
    }
    match (file.kind.use_of(rest, flip.file, flip.offset), findings.is_empty()) {
        (Use::Used, false) if said.contains(&file.name) || !file.kind.is_named_by_file() => {
            Ok(Outcome::Named)
        }
        (Use::Used, false) => Err(format!("the file is not named: {report}")),
        (Use::Used | Use::Last, true) => Err(format!("nothing is found: {report}")),
        (Use::Unused, true) => Ok(Outcome::Unused),
        (Use::Unused, false) => Err(format!("the byte is unused: {report}")),
        // What is at the very end looks like an append that was cut short; the environment knows better.
        (Use::Unknown | Use::Last, false) => Ok(Outcome::Named),
        (Use::Unknown, true) => rows::check(place, rest).map(|()| Outcome::Repeated),
    }
}

#[test]
fn every_flipped_byte_is_named_or_proven_unused() {
    let fault = Fault::begin(FAULT);
    let mut random = fault.random();
    let (place, rest, _) = store(&mut random);
    let kinds = rest.kinds(|kind| kind != Kind::Marker);
    let flips = number("KNHK_FAULTS_FLIPS", FLIPS);
    let mut counts: BTreeMap<(Kind, Outcome), u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for turn in 0..flips {
        let flip = Flip::choose(&rest, &kinds, turn, &mut random);
        rest.apply(&flip);
        match judge(&place, &rest, &flip) {
            Ok(outcome) => *counts.entry((rest.files[flip.file].kind, outcome)).or_default() += 1,
            Err(what) => wrong.push(format!("flip {turn}: {}\n  {what}", flip.tell(&rest))),
        }
        rest.undo(&flip);
    }
    place.verify();
    assert!(wrong.is_empty(), "{} of {flips} flips:\n{}", wrong.len(), wrong.join("\n"));
    let mut said = Vec::new();
    for kind in kinds {
        let count = |outcome| counts.get(&(kind, outcome)).copied().unwrap_or_default();
        let (named, unused) = (count(Outcome::Named), count(Outcome::Unused) + count(Outcome::Repeated));
        said.push(format!("{kind:?} {named} named {unused} unused"));
    }
    fault.report(&format!("{flips} bytes, state verify"), &said.join(", "));
}

/// What came of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Started {
    Refused,
    Same,
    /// A page killed whoever read it, until the environment was made anew.
    SameAfterDeaths,
    /// The last append was taken for one that was cut short, and the log says so.
    Cut,
}

/// Starts the service on a damaged store, again as whoever watches it would while it is killed by what it reads.
fn start(place: &mut Place, rest: &Rest, flip: &Flip, model: &Model) -> Result<Started, String> {
    let before = place.log().len();
    for death in 0..=DEATHS_MAX {
        let started = start_once(place, rest, flip, model);
        let log = &place.log()[before..];
        match started {
            Ok(Some(Started::Same)) if death > 0 => return Ok(Started::SameAfterDeaths),
            Ok(Some(started)) => return Ok(started),
            Ok(None) if rest.files[flip.file].kind != Kind::Environment => {
                return Err(format!("a signal ended it:\n{log}"));
            }
            Ok(None) => {}
            Err(what) => return Err(format!("{what}\n{log}")),
        }
    }
    Err(format!("signals end it again and again:\n{}", &place.log()[before..]))
}

/// Starts once; `None` when a signal ended it.
fn start_once(place: &mut Place, rest: &Rest, flip: &Flip, model: &Model) -> Result<Option<Started>, String> {
    let before = place.log().len();
    let mut service = place.spawn(&[]);
    let file = &rest.files[flip.file];
    if let Err(status) = service.wait_until_answering() {
        if status.code().is_none() {
            return Ok(None);
        }
        let log = &place.log()[before..];
        let error = log.find("error").map_or("", |at| &log[at..]);
        return if error.contains(&file.name) && error.contains("hint: ") {
            Ok(Some(Started::Refused))
        } else {
            Err("it does not say which file and what to do".to_owned())
        };
    }
    let compared = compare(&service, model);
    let status = service.stop();
    if status.code().is_none() {
        return Ok(None);
    }
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    let is_last = file.kind.use_of(rest, flip.file, flip.offset) == Use::Last;
    match compared {
        Ok(()) => Ok(Some(Started::Same)),
        Err(_) if is_last && place.log()[before..].contains("was cut off") => Ok(Some(Started::Cut)),
        Err(what) => Err(what),
    }
}

/// Compares all answers with the model until none is missing any more; while a scrub runs, rows may be.
fn compare(service: &Service, model: &Model) -> Result<(), String> {
    let mut client = service.client();
    let compared = wait::until(SCRUB_MAX, || {
        let health = client.get("/health").ok()?.text();
        let is_scrubbing = health.contains("scrub running");
        for (path, expected) in model {
            let answer = client.get(path).map_err(|error| format!("{path}: {error}"));
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return Some(Err(error)),
            };
            let is_missing = answer.status == 404 || answer.status == 503;
            if is_scrubbing && (is_missing || (answer.status == 200 && is_part(&answer.json(), expected))) {
                continue;
            }
            if answer.status != 200 || answer.json() != *expected {
                return Some(Err(format!(
                    "{path}: {} {}\nnot {expected}\n{health}",
                    answer.status,
                    answer.text()
                )));
            }
        }
        (!is_scrubbing).then_some(Ok(()))
    });
    compared.unwrap_or_else(|| Err("the scrub does not end".to_owned()))
}

/// Returns whether an answer says nothing but what the expected one says: what rows that are missing make it is fewer
/// items in lists.
fn is_part(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.iter().all(|item| expected.iter().any(|other| is_part(item, other)))
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.keys().eq(expected.keys())
                && found.iter().all(|(key, value)| is_part(value, &expected[key.as_str()]))
        }
        _ => found == expected,
    }
}

#[test]
fn a_service_on_flipped_bytes_serves_what_it_should_or_refuses() {
    let fault = Fault::begin(STARTS_FAULT);
    let mut random = fault.random();
    let (mut place, rest, model) = store(&mut random);
    let kinds = rest.kinds(|_| true);
    let starts = number("KNHK_FAULTS_STARTS", STARTS);
    let mut counts: BTreeMap<Started, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for turn in 0..starts {
        let flip = Flip::choose(&rest, &kinds, turn, &mut random);
        rest.apply(&flip);
        match start(&mut place, &rest, &flip, &model) {
            Ok(outcome) => *counts.entry(outcome).or_default() += 1,
            Err(what) => wrong.push(format!("start {turn}: {}\n  {what}", flip.tell(&rest))),
        }
        rest.reset();
    }
    place.verify();
    assert!(wrong.is_empty(), "{} of {starts} starts:\n{}", wrong.len(), wrong.join("\n"));
    let said: Vec<String> = counts.iter().map(|(outcome, count)| format!("{outcome:?} {count}")).collect();
    fault.report(&format!("{starts} starts, {} answers each", model.len()), &said.join(", "));
}
