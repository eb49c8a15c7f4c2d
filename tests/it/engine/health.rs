//! What `/health` says, over HTTP, of an engine whose disk, clock and rows are the test's. `/health/live` is 200 in each case.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use knhk::api::Listener;
use knhk::api::server::{self, Server};
use knhk::engine::clock::{Clock, Skew, SystemClock};
use knhk::engine::running::Engine;
use knhk::engine::service::{Once, Service};
use knhk::engine::{HotCores, Options};
use knhk::id::Time;
use knhk::store::Moment;
use serde_json::Value;

use super::disk::{LossyTables, SwitchDisk};
use super::{SEQUENCE, create, open_at, options, store_in, wait_for};
use crate::support::http::Client;

/// So long the journal may be at one step before it counts as stuck, and some more, in microseconds.
const STUCK_US: u64 = 11_000_000;

/// The machine's clocks, set ahead or behind.
#[derive(Default)]
struct SetClock {
    clock: SystemClock,
    ahead_us: AtomicU64,
    skew_s: AtomicI64,
}

impl Clock for SetClock {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn skew(&self) -> Skew {
        let seconds = self.skew_s.load(Ordering::Acquire);
        let us = seconds.unsigned_abs() * 1_000_000;
        match seconds.signum() {
            1 => Skew::Ahead(us),
            -1 => Skew::Behind(us),
            _ => Skew::None,
        }
    }

    fn monotonic_us(&self) -> u64 {
        self.clock.monotonic_us() + self.ahead_us.load(Ordering::Acquire)
    }

    fn moment(&self) -> Moment {
        self.clock.moment()
    }
}

/// An engine with a server before it.
struct Served {
    engine: Arc<Engine<SwitchDisk, LossyTables>>,
    server: Server,
    client: Client,
    disk: SwitchDisk,
    clock: Arc<SetClock>,
    folder: tempfile::TempDir,
}

fn early_server() -> (Server, Client) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let Listener::Tcp(socket) = &listener else { panic!("a TCP listener") };
    let client = Client::new(socket.local_addr().unwrap());
    let limits = crate::api::LIMITS;
    let options = server::Options { http_workers: 2, connections_max: 10, times: server::TIMES, limits };
    (Server::start_early(vec![listener], crate::api::gate(), &options).unwrap(), client)
}

impl Served {
    fn start(options: Options, tables: LossyTables) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), options, tables)
    }

    fn start_in(folder: tempfile::TempDir, options: Options, tables: LossyTables) -> Self {
        let (disk, clock) = (SwitchDisk::default(), Arc::new(SetClock::default()));
        let (server, client) = early_server();
        let told: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
        let engine = Arc::new(open_at(told, options, &disk, tables, store_in(&folder)));
        server.serve(Arc::<Engine<SwitchDisk, LossyTables>>::clone(&engine));
        Self { engine, server, client, disk, clock, folder }
    }

    /// Returns the status of `/health` and one of its lists.
    fn ask(&mut self, list: &str) -> (u16, Vec<String>) {
        assert_eq!(self.client.get("/health/live").unwrap().status, 200);
        let health = self.client.get("/health").unwrap();
        let document = health.json();
        let reasons = document[list].as_array().into_iter().flatten();
        (health.status, reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect())
    }

    /// Waits until a list is exactly this, and checks the status that goes with it.
    #[track_caller]
    fn check(&mut self, list: &str, expected: &[&str]) {
        let this = std::cell::RefCell::new(self);
        wait_for(|| this.borrow_mut().ask(list).1 == expected);
        let status = this.borrow_mut().ask(list).0;
        assert_eq!(status, if list == "failing" && !expected.is_empty() { 503 } else { 200 });
    }

    fn end(self) -> tempfile::TempDir {
        self.server.stop();
        assert!(self.engine.stop().is_empty());
        self.folder
    }
}

#[test]
fn a_journal_that_fails_and_one_that_does_not_move_are_told() {
    let quick = Options { command_us_max: 50_000, bulk_us_max: 50_000, ..options() };
    let mut served = Served::start(quick, LossyTables::default());
    wait_for(|| served.engine.register(SEQUENCE, &Once::default()).is_ok());
    served.check("failing", &[]);
    served.disk.fail(true);
    assert!(served.engine.operate(vec![create(None)]).remove(0).is_err());
    served.check("failing", &["the journal cannot be written: told to fail"]);
    served.disk.fail(false);
    served.check("failing", &[]);
    served.disk.hang(true);
    assert!(served.engine.operate(vec![create(None)]).remove(0).is_err());
    served.clock.ahead_us.store(STUCK_US, Ordering::Release);
    served.check("failing", &["the journal does not move"]);
    assert!(served.engine.is_moving(), "the watchdog must not end a service whose disk hangs");
    served.disk.hang(false);
    served.check("failing", &[]);
    served.end();
}

#[test]
fn a_disk_below_its_reserve_is_told() {
    let greedy = Options { reserve_bytes: u64::MAX, ..options() };
    let mut served = Served::start(greedy, LossyTables::default());
    served.check("failing", &["the disk is below its reserve"]);
    served.end();
}

#[test]
fn a_clock_that_somebody_set_degrades() {
    let mut served = Served::start(options(), LossyTables::default());
    for (seconds, expected) in [
        (3_600, "the clock jumped ahead by 3600 s, which is not believed yet"),
        (-3_600, "the clock was set back, and time goes on without it"),
    ] {
        served.clock.skew_s.store(seconds, Ordering::Release);
        let this = std::cell::RefCell::new(&mut served);
        wait_for(|| this.borrow_mut().ask("degraded").1.iter().any(|reason| reason == expected));
        served.clock.skew_s.store(0, Ordering::Release);
        let this = std::cell::RefCell::new(&mut served);
        wait_for(|| !this.borrow_mut().ask("degraded").1.iter().any(|reason| reason.contains("clock")));
    }
    assert_eq!(served.ask("degraded").0, 200);
    served.end();
}

#[test]
fn a_scrub_that_runs_degrades_until_it_is_done() {
    let tables = LossyTables::default();
    let served = Served::start(options(), tables.clone());
    wait_for(|| served.engine.register(SEQUENCE, &Once::default()).is_ok());
    let folder = served.end();
    tables.scrub_without_end(true);
    let mut served = Served::start_in(folder, options(), tables.clone());
    let (status, degraded) = served.ask("degraded");
    assert!(status == 200 && degraded.iter().any(|reason| reason == "scrub running"), "{degraded:?}");
    tables.scrub_without_end(false);
    let this = std::cell::RefCell::new(&mut served);
    wait_for(|| !this.borrow_mut().ask("degraded").1.iter().any(|reason| reason == "scrub running"));
    served.end();
}

#[test]
fn a_core_that_does_not_exist_degrades() {
    let mut served = Served::start(
        Options { hot_cores: HotCores::These(vec![1_000]), ..options() },
        LossyTables::default(),
    );
    let this = std::cell::RefCell::new(&mut served);
    wait_for(|| this.borrow_mut().ask("degraded").1.iter().any(|reason| reason == "cores not pinned"));
    served.end();
}

#[test]
fn an_engine_that_was_told_to_stop_says_so() {
    let mut served = Served::start(options(), LossyTables::default());
    assert!(served.engine.stop().is_empty());
    let (status, failing) = served.ask("failing");
    assert!(status == 503 && failing.iter().any(|reason| reason == "stopping"), "{failing:?}");
    served.server.stop();
    // What waited its turn when the server was told to stop hears the same.
    let late = knhk::api::respond_late();
    let problem: Value = serde_json::from_slice(&late.body).unwrap();
    assert_eq!((late.status, &problem["failing"]), (503, &serde_json::json!(["stopping"])), "{problem}");
}

#[test]
fn before_there_is_a_service_everything_that_is_right_hears_that_it_is_starting() {
    let (server, mut client) = early_server();
    assert_eq!(client.get("/health/live").unwrap().status, 200);
    for (method, path) in [
        ("GET", "/health"),
        ("GET", "/cases"),
        ("GET", "/metrics"),
        ("POST", "/batch"),
        ("POST", "/workflows"),
    ] {
        let answer = client.send(method, path, &[], b"").unwrap();
        let problem = answer.expect(503);
        assert_eq!(
            (&problem["code"], &problem["failing"]),
            (&"KN0522".into(), &serde_json::json!(["starting"])),
            "{path}"
        );
        assert_eq!(answer.header("retry-after"), Some("1"), "{path}");
    }
    assert_eq!(client.get("/nowhere").unwrap().status, 404);
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let engine = open_at(clock, options(), &SwitchDisk::default(), LossyTables::default(), store_in(&folder));
    let engine = Arc::new(engine);
    server.serve(Arc::<Engine<SwitchDisk, LossyTables>>::clone(&engine));
    client.get("/cases").unwrap().expect(200);
    assert_eq!(client.get("/health").unwrap().status, 200);
    server.stop();
    assert!(engine.stop().is_empty());
}
