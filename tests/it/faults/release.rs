//! The release before and this one in turn over one store, each killed: nothing acknowledged is lost, until the
//! upgrade; then the release before refuses, and changes nothing.
//!
//! The release before is this one, told to know no format but the oldest, in a process of its own: this test program,
//! which is asked for one test alone.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use knhk::api::{Gate, Listener, Server};
use knhk::config::{Environment, Layers, load as load_config};
use knhk::engine::clock::{Clock, SystemClock};
use knhk::engine::running::{Engine, open_store};
use knhk::engine::shared;
use knhk::store::{FORMAT_OLDEST, LmdbTables, Options, RealDisk, Start, StoreId};
use knhk::telemetry::metrics::Metrics;

use super::killed::{self, UPKEEP};
use super::{Fault, rounds, workers};
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::{Place, Service, files};
use crate::support::wait;

const FAULT: &str = "fall-back to the release before";
/// Names the configuration of a process that imitates the release before.
const FORMER: &str = "KNHK_TEST_RELEASE_BEFORE";
/// Kills of each release in a round.
const KILLS: u64 = 2;
/// Acknowledged requests before a kill: at least, and at most so many more.
const BEFORE: (u64, u64) = (20, 60);
const STORE: StoreId = StoreId([1; 16]);

fn command(place: &Place) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "faults::release::the_release_before_serves"]);
    command.env(FORMER, place.path("knhk.toml"));
    command
}

fn start_former(place: &Place) -> Service {
    let mut service = place.spawn_command(command(place));
    service.wait_until_live().unwrap_or_else(|status| panic!("{status}:\n{}", place.log()));
    service
}

#[test]
#[ignore = "the process in which another test imitates the release before"]
fn the_release_before_serves() {
    let Some(config) = wait::variable(FORMER).map(PathBuf::from) else { return };
    let environment = Environment { config: Some(config), ..Environment::default() };
    let config = load_config(&environment, &Layers::system()).unwrap().config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metrics = Arc::new(Metrics::new());
    let gate = Gate::open(config.gate(), Arc::clone(&clock), crate::api::lane()).unwrap();
    let listeners = vec![Listener::tcp(config.listen).unwrap(), Listener::unix(&config.socket).unwrap()];
    let disk = Arc::new(RealDisk);
    let options = Options { format_max: FORMAT_OLDEST, ..config.store() };
    let start = Start { now: clock.now(), fresh_id: STORE };
    let tables = Arc::new(LmdbTables::at(&config.cache_dir));
    let (opened, _) = open_store(Arc::clone(&disk), tables, &options, start, &mut |_| {})
        .unwrap_or_else(|error| panic!("{}: {error}", error.code()));
    let place = shared::Place { disk, state_dir: options.state_dir, cache_dir: options.cache_dir };
    let engine = Engine::start(config.engine(), opened, clock, metrics, place).unwrap();
    let _server = Server::start(listeners, gate, &config.server(), Arc::new(engine)).unwrap();
    loop {
        std::thread::sleep(Duration::from_secs(60)); // Until it is killed.
    }
}

/// This release keeps history and snapshots, and takes nothing away.
fn keep(place: &Place) {
    for arguments in UPKEEP {
        let output = place.knhk(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", place.log());
        assert!(arguments[1] != "trim" || said.starts_with("0 files"), "{said}");
    }
}

fn work_and_kill(service: &mut Service, workers: &mut [load::Worker], random: &mut Random) {
    load::while_working(service.address, workers, |progress| {
        progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
        service.kill();
    });
}

/// The release before ends with the code of the format, and leaves everything as it is.
#[track_caller]
fn check_refusal(place: &Place) {
    let state = || ["state", "cache"].map(|name| files(&place.path(name)));
    let (before, said_before) = (state(), place.log().len());
    let mut service = place.spawn_command(command(place));
    assert!(!service.wait().success(), "it opens the store");
    let said = place.log().split_off(said_before);
    assert!(said.contains("KN0405"), "{said}");
    assert_eq!(state(), before, "a refusal changes nothing");
}

#[test]
fn falling_back_to_the_release_before_loses_nothing_until_the_upgrade() {
    let fault = Fault::begin(FAULT);
    let mut random = fault.random();
    let mut place = killed::place();
    let mut service = start_former(&place);
    load::register(&service);
    let mut workers = workers(&mut random);
    for _ in 0..KILLS * rounds() {
        work_and_kill(&mut service, &mut workers, &mut random);
        service = place.start();
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        keep(&place);
        work_and_kill(&mut service, &mut workers, &mut random);
        service = start_former(&place);
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        place.verify();
    }
    service.kill();

    service = place.start();
    load::while_working(service.address, &mut workers, |progress| {
        progress.wait_for(BEFORE.0);
        let output = place.knhk(&["state", "upgrade", "--yes"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        service.kill();
    });
    check_refusal(&place);
    // A clock that is ahead: what the service's keys lie in may go.
    service = killed::start(&mut place, 1);
    load::compare(&service, &mut workers, usize::MAX, &mut random);
    let upkeep = killed::upkeep_done(&place);
    assert!(service.stop().success(), "{}", place.log());
    check_refusal(&place);
    place.verify();
    let acknowledged: usize = workers.iter().map(load::Worker::acknowledged).sum();
    fault.report(
        &format!("{} kills in turn, an upgrade, {acknowledged} acknowledged", 2 * KILLS * rounds()),
        &format!("nothing lost, nothing twice; KN0405 after the upgrade; {upkeep}"),
    );
}
