//! Faults of the machine under the real binary: a full disk, a file system that turns read-only, low limits, a clock
//! that jumps, damaged bytes, kills. After each, everything acknowledged is there, once.
//!
//! `KNHK_FAULTS_ROUNDS` says how often (1 in the ordinary suite), `KNHK_FAULTS_SEED` with which choices;
//! `KNHK_FAULTS_TABLE` names a file that gets a line for each fault. scripts/faults sets them.

mod clock;
mod disk_full;
pub(crate) mod flips;
mod image;
mod killed;
mod limits;
mod memory;
mod read_only;
mod release;

use std::io::Write;
use std::time::Duration;

use crate::support::http::Client;
use crate::support::load::Worker;
use crate::support::random::Random;
use crate::support::service::Service;
use crate::support::wait;

/// Clients at a time.
const WORKERS: u64 = 4;
/// Longest time until `/health` says what it should.
const HEALTH_MAX: Duration = Duration::from_secs(60);

fn number(name: &str, otherwise: u64) -> u64 {
    wait::variable(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn rounds() -> u64 {
    number("KNHK_FAULTS_ROUNDS", 1)
}

/// A fault that is being tried. It gets a line in the table, however that ends.
#[derive(Debug)]
struct Fault {
    name: &'static str,
    is_told: bool,
}

impl Fault {
    fn begin(name: &'static str) -> Self {
        Self { name, is_told: false }
    }

    /// Returns what chooses, and says by which seed it can be had again.
    fn random(&self) -> Random {
        let seed = number("KNHK_FAULTS_SEED", 1);
        let _ = writeln!(std::io::stdout(), "{}: KNHK_FAULTS_SEED={seed}, {} rounds", self.name, rounds());
        Random(seed)
    }

    /// Says that it was withstood.
    fn report(mut self, done: &str, said: &str) {
        self.tell(done, said, "withstood");
    }

    /// Says that it could not be tried; a failure where it must be (`CI=true`).
    fn skip(mut self, why: &str) {
        self.tell("nothing", why, "SKIPPED");
        wait::absent(&format!("{}: {why}", self.name));
    }

    fn tell(&mut self, done: &str, said: &str, verdict: &str) {
        self.is_told = true;
        let text = format!("{}\t{done}\t{said}\t{verdict}\n", self.name);
        let _ = write!(std::io::stdout(), "{text}");
        if let Some(path) = wait::variable("KNHK_FAULTS_TABLE") {
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell("see what the test printed", "-", "FAILED");
        }
    }
}

fn workers(random: &mut Random) -> Vec<Worker> {
    (0..WORKERS).map(|worker| Worker::new(worker, random.next())).collect()
}

/// Waits until `/health` answers with a status, and returns what it says.
#[track_caller]
fn wait_for_health(service: &Service, status: u16) -> serde_json::Value {
    let mut client = Client::new(service.address);
    let found = wait::until(HEALTH_MAX, || {
        let answer = client.get("/health").ok()?;
        (answer.status == status).then(|| answer.json())
    });
    found.unwrap_or_else(|| panic!("/health is not {status} after {HEALTH_MAX:?}"))
}

/// What `/health` says before the cause when the journal cannot be written.
const NOT_WRITTEN: &str = "the journal cannot be written: ";

/// Waits until `/health` is 503, and returns why. What the disk says must be one of `causes`.
#[track_caller]
fn wait_for_refusal(service: &Service, causes: &[&str]) -> String {
    let health = wait_for_health(service, 503);
    let reasons: Vec<_> =
        health["failing"].as_array().unwrap().iter().filter_map(|why| why.as_str()).collect();
    assert!(!reasons.is_empty(), "{health}");
    check_cause(&reasons.join("; "), causes);
    reasons.join("; ")
}

/// Where something says that the journal cannot be written, it says why.
#[track_caller]
fn check_cause(said: &str, causes: &[&str]) {
    if let Some((_, cause)) = said.split_once(NOT_WRITTEN.trim_end_matches(": ")) {
        let is_known = |&known: &&str| cause.strip_prefix(": ").is_some_and(|cause| cause.starts_with(known));
        assert!(causes.iter().any(is_known), "{said}: none of {causes:?}");
    }
}

/// Changes are refused with a reason, and reads are answered.
#[track_caller]
fn check_read_only(service: &Service, causes: &[&str]) -> String {
    let mut client = service.client();
    let case = serde_json::json!({"workflow": "order", "data": {"customer": "nobody"}});
    // A key that no worker has, so that it is no repeat; and it must not be carried out.
    let refused = client.post("/cases", Some("while-read-only"), &case).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    let detail = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(!detail.is_empty(), "{}", refused.text());
    check_cause(&detail, causes);
    client.get("/cases?limit=10").unwrap().expect(200);
    client.get("/workitems?limit=10").unwrap().expect(200);
    let metrics = client.get("/metrics").unwrap().text();
    assert!(metrics.lines().any(|line| line == "knhk_read_only 1"), "{metrics}");
    detail
}
