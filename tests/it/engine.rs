//! The engine with its real threads: over a real folder, a disk layer that fails or hangs on demand, and rows in memory.

mod answers;
mod archives;
mod disk;
mod health;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use knhk::api::Listener;
use knhk::api::server::{self, Server};
use knhk::engine::clock::{Clock, SystemClock, deadline_in_us, until};
use knhk::engine::queues::Queues;
use knhk::engine::request::Class;
use knhk::engine::room::{self, Room};
use knhk::engine::running::{Engine, open_store};
use knhk::engine::service::{
    Answer, ArchiveOrder, Caller, CaseAct, CaseFilter, ItemAct, ItemFilter, Once, Operation, PageOf, Refusal,
    Service,
};
use knhk::engine::shard::SLICE_STEPS;
use knhk::engine::shared::Place;
use knhk::engine::tables::{CASES, case_key};
use knhk::engine::{HotCores, Options};
use knhk::error::Kind;
use knhk::id::{CaseId, ItemId};
use knhk::store::{self, Start, StoreId};
use knhk::telemetry::metrics::Metrics;
use knhk::telemetry::metrics::labels::{Cache, CaseState, ItemState, Queue};
use serde_json::json;

use self::disk::{LossyTables, SwitchDisk};
use crate::support::http::Client;
use crate::support::{heavy, wait};

const SEQUENCE: &[u8] = include_bytes!("../data/spec/sequence.yawl");
const CREATES: u32 = 25;
const THREADS: u32 = 4;

struct Running {
    engine: Engine<SwitchDisk, LossyTables>,
    disk: SwitchDisk,
    folder: tempfile::TempDir,
}

fn options() -> Options {
    Options {
        hot_cores: HotCores::Unpinned,
        hot_path_ticks_max: 1_000_000,
        command_us_max: 20_000_000,
        bulk_us_max: 20_000_000,
        automated_steps_max: 10_000,
        frame_bytes_max: 1024 * 1024,
        answers: room::Limits { answer_bytes_max: 16 << 20, answers_bytes_max: 128 << 20 },
        shard_requests_max: 64,
        follower_lag_max: 65_536,
        queues: Queues::AMPLE,
        cache_bytes: 64 << 20,
        key_us: 3_600_000_000,
        keys_max: 100_000,
        checkpoint_bytes: 16 * 1024,
        checkpoint_us: 50_000,
        archive_after_us: 0,
        reserve_bytes: 0,
    }
}

fn store_in(folder: &tempfile::TempDir) -> store::Options {
    store::Options {
        state_dir: folder.path().join("state"),
        cache_dir: folder.path().join("cache"),
        segment_bytes: 4 * 1024 * 1024,
        frame_bytes_max: options().frame_bytes_max,
        hurried_bytes: 1024 * 1024,
        grace_us: 0,
        keep_us: 0,
        format_max: knhk::store::FORMAT,
        planted: None,
    }
}

fn start(options: Options, tables: LossyTables) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let disk = SwitchDisk::default();
    let store = store_in(&folder);
    let engine = open(options, &disk, tables, store);
    wait_for(|| engine.register(SEQUENCE, &Once::default()).is_ok());
    Running { engine, disk, folder }
}

fn open(
    options: Options,
    disk: &SwitchDisk,
    tables: LossyTables,
    store: store::Options,
) -> Engine<SwitchDisk, LossyTables> {
    open_at(Arc::new(SystemClock::new()), options, disk, tables, store)
}

fn open_at(
    clock: Arc<dyn Clock>,
    options: Options,
    disk: &SwitchDisk,
    tables: LossyTables,
    store: store::Options,
) -> Engine<SwitchDisk, LossyTables> {
    let start = Start { now: clock.now(), fresh_id: StoreId([3; 16]) };
    let disk = Arc::new(disk.clone());
    let (opened, _) = open_store(Arc::clone(&disk), Arc::new(tables), &store, start, &mut |_| {}).unwrap();
    let place = Place { disk, state_dir: store.state_dir, cache_dir: store.cache_dir };
    Engine::start(options, opened, clock, Arc::new(Metrics::new()), place).unwrap()
}

fn create(key: Option<&str>) -> (Operation, Once) {
    let operation =
        Operation::Create { workflow: "sequence".to_owned(), data: Vec::new(), business_key: None };
    (
        operation,
        Once {
            key: key.map(str::to_owned),
            request: [1; 32],
            trace: None,
            caller: Caller::Local,
            room: Room::default(),
        },
    )
}

impl Running {
    fn operate(&self, operation: (Operation, Once)) -> Result<Answer, Refusal> {
        self.engine.operate(vec![operation]).remove(0)
    }

    fn create(&self, key: Option<&str>) -> Result<CaseId, Refusal> {
        match self.operate(create(key))? {
            Answer::Created(view, _) => Ok(view.id),
            other => panic!("not a created case: {other:?}"),
        }
    }

    fn complete(&self, item: ItemId) -> Result<Answer, Refusal> {
        self.operate((Operation::Item(item, ItemAct::Complete(Vec::new())), Once::default()))
    }

    fn count(&self) -> usize {
        let mut count = 0;
        let mut page = PageOf { after: None, limit: 1_000 };
        loop {
            let found = self.engine.cases(&CaseFilter::default(), &page, &Room::default()).unwrap();
            count += found.items.len();
            match found.next {
                Some(next) => page.after = Some(next),
                None => return count,
            }
        }
    }

    fn stop(self) {
        let deadline = deadline_in_us(5_000_000);
        let bad = self.engine.stop();
        assert!(bad.is_empty(), "threads ended badly: {bad:?}");
        assert!(until(deadline) > Duration::ZERO, "it took more than five seconds to stop");
    }
}

#[track_caller]
fn wait_for(condition: impl Fn() -> bool) {
    let waited = wait::until(Duration::from_secs(20), || condition().then_some(()));
    assert!(waited.is_some(), "it did not come to be");
}

fn together(count: u32, work: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..count {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

#[test]
fn when_the_disk_fails_the_service_is_read_only_says_so_and_goes_on_by_itself() {
    let service = start(options(), LossyTables::default());
    let before = service.create(Some("before")).unwrap();
    service.disk.fail(true);
    let refusal = service.create(Some("during")).unwrap_err();
    assert_eq!(refusal.kind, Kind::Unknown, "{refusal}");
    let refusal = service.create(Some("later")).unwrap_err();
    assert_eq!((refusal.kind, refusal.code.0), (Kind::Unavailable, 303), "{refusal}");
    let health = service.engine.health();
    assert_eq!(health.failing, ["the journal cannot be written: told to fail"]);
    assert!(refusal.to_string().contains("the journal cannot be written: told to fail"), "{refusal}");
    assert_eq!(service.engine.case(before, &Room::default()).unwrap().id, before, "reads go on");
    service.disk.fail(false);
    wait_for(|| service.engine.health().failing.is_empty());
    let during = service.create(Some("during")).unwrap();
    assert_eq!(service.create(Some("during")).unwrap(), during);
    assert_eq!(service.count(), 2, "the key names one case, whatever became of the first try");
    service.stop();
}

#[test]
fn requests_beyond_what_may_wait_for_a_shard_are_answered_busy_and_a_hanging_disk_shows() {
    let options = Options { command_us_max: 50_000, bulk_us_max: 50_000, ..options() };
    let service = start(options, LossyTables::default());
    service.disk.hang(true);
    // Nothing is answered while the disk hangs: requests pile up to the limit and no further.
    let limit = service.engine.shared().options().shard_requests_max;
    let kinds = |count: usize| {
        let batch = (0..count).map(|_| create(None)).collect();
        let answers = service.engine.operate(batch).into_iter();
        answers.map(|answer| answer.unwrap_err().kind).collect::<Vec<_>>()
    };
    let asked = (0..32).find(|_| kinds(limit).contains(&Kind::Busy));
    assert!(asked.is_some_and(|batches| batches >= 8), "refused after {asked:?} batches");
    assert!(service.engine.shared().inboxes[0].open() <= 17 * limit);
    service.disk.hang(false);
    wait_for(|| service.engine.shared().inboxes[0].open() == 0);
    wait_for(|| service.create(None).is_ok());
    service.stop();
}

#[test]
fn over_http_an_outcome_that_does_not_come_is_told_and_the_same_key_finds_it_later() {
    let Running { engine, disk, folder } =
        start(Options { command_us_max: 50_000, ..options() }, LossyTables::default());
    let engine = Arc::new(engine);
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let Listener::Tcp(socket) = &listener else { panic!("a TCP listener") };
    let address = socket.local_addr().unwrap();
    let options = server::Options {
        http_workers: 2,
        connections_max: 10,
        times: server::TIMES,
        limits: crate::api::LIMITS,
    };
    let service: Arc<dyn Service> = Arc::<Engine<SwitchDisk, LossyTables>>::clone(&engine);
    let server = Server::start(vec![listener], crate::api::gate(), &options, service).unwrap();
    let mut client = Client::new(address);
    let mut ask = || client.post("/cases", Some("k"), &json!({ "workflow": "sequence" })).unwrap();
    disk.hang(true);
    // Nobody calls while the disk hangs.
    let problem = ask().expect(504);
    assert_eq!((&problem["code"], &problem["key"]), (&"KN0301".into(), &"k".into()), "{problem}");
    disk.hang(false);
    wait_for(|| engine.shared().inboxes[0].open() == 0);
    let first = ask().expect(201);
    assert_eq!(ask().expect(201), first);
    server.stop();
    assert!(engine.stop().is_empty());
    drop(folder);
}

#[test]
fn a_stop_under_load_takes_less_than_five_seconds_and_leaves_nobody_waiting() {
    let service = start(options(), LossyTables::default());
    std::thread::scope(|scope| {
        let engine = &service.engine;
        for _ in 0..THREADS {
            scope.spawn(move || while engine.operate(vec![create(None)]).remove(0).is_ok() {});
        }
        wait_for(|| service.count() > 20);
        let deadline = deadline_in_us(5_000_000);
        assert!(engine.stop().is_empty());
        assert!(until(deadline) > Duration::ZERO, "it took more than five seconds to stop");
    });
}

#[test]
fn beside_a_create_and_a_batch_at_the_step_limit_a_single_command_waits_for_one_slice_at_most() {
    const LINES: usize = 10_000;
    const SINGLES: u32 = 20;
    // Who asked for the batch waits no longer than this; what is not begun by then never is.
    let options = Options { bulk_us_max: 1_000_000, shard_requests_max: 4_096, ..options() };
    let service = start(options, LossyTables::default());
    for source in [heavy::repeated("chain", 10_000), heavy::once("line", 0)] {
        service.engine.register(&source, &Once::default()).unwrap();
    }
    let create = |workflow: &str| {
        let create =
            Operation::Create { workflow: workflow.to_owned(), data: Vec::new(), business_key: None };
        (create, Once::default())
    };
    // Its first slice is the answer; the others go on beside all else.
    let chain = service.operate(create("chain")).unwrap();
    assert!(matches!(&chain, Answer::Created(view, _) if !view.state.is_closed()), "{chain:?}");
    let metrics = service.engine.metrics();
    let evaluated = metrics.evaluation_steps.get();
    let answers = std::thread::scope(|scope| {
        let batch = (0..LINES).map(|_| create("line")).collect();
        let batch = scope.spawn(|| service.engine.operate(batch));
        wait_for(|| {
            service
                .engine
                .shared()
                .inboxes
                .iter()
                .any(|inbox| inbox.open() > LINES / 4 && inbox.waiting(Class::Bulk) == 0)
        });
        let case = service.create(None).unwrap();
        for number in 0..SINGLES {
            let act = if number % 2 == 0 { CaseAct::Suspend } else { CaseAct::Resume };
            service.operate((Operation::Case(case, act), Once::default())).unwrap();
        }
        batch.join().unwrap()
    });
    assert!(metrics.evaluation_steps.get() > evaluated, "nothing was done beside the single commands");
    let page = metrics.render(false);
    let observed = |line: &str| {
        let value = page.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        value.trim().parse::<u64>().unwrap()
    };
    let within_slice = format!("knhk_command_wait_steps_bucket{{le=\"{SLICE_STEPS}\"}}");
    let all = observed("knhk_command_wait_steps_count");
    assert!(all >= u64::from(SINGLES), "{all} single commands");
    assert_eq!(observed(&within_slice), all, "one waited for more than a slice: {page}");
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(
        answers.iter().flat_map(Result::as_ref).count() == done && done < LINES,
        "{done} lines were done"
    );
    wait_for(|| service.engine.shared().inboxes.iter().all(|inbox| inbox.open() == 0));
    let not_begun = metrics.commands_not_begun.get();
    assert!(not_begun > 0 && not_begun + done as u64 <= LINES as u64, "{not_begun} lines were not begun");
    assert!(service.engine.is_moving());
    service.stop();
}

#[test]
fn of_several_who_complete_one_item_one_wins() {
    let service = start(options(), LossyTables::default());
    for _ in 0..CREATES {
        let case = service.create(None).unwrap();
        let filter = ItemFilter { case: Some(case), ..ItemFilter::default() };
        let items = service
            .engine
            .items(&filter, &PageOf { after: None, limit: 10 }, &Room::default())
            .unwrap()
            .items;
        let won = std::sync::atomic::AtomicU32::new(0);
        together(THREADS, |_| match service.complete(items[0].id) {
            Ok(_) => {
                won.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
            }
            Err(refusal) => assert!(matches!(refusal.kind, Kind::Conflict | Kind::NotFound), "{refusal}"),
        });
        assert_eq!(won.into_inner(), 1);
    }
    service.stop();
}

#[test]
fn everyone_reads_what_was_acknowledged_while_others_write() {
    let service = start(options(), LossyTables::default());
    together(THREADS, |number| {
        for round in 0..CREATES {
            let case = service.create(None).unwrap();
            let view = service.engine.case(case, &Room::default()).unwrap();
            assert_eq!(view.id, case);
            let filter = ItemFilter { case: Some(case), ..ItemFilter::default() };
            let items = service
                .engine
                .items(&filter, &PageOf { after: None, limit: 10 }, &Room::default())
                .unwrap()
                .items;
            service.complete(items[0].id).unwrap();
            let history =
                service.engine.history(case, &PageOf { after: None, limit: 100 }, &Room::default()).unwrap();
            assert!(history.items.len() >= 3, "{history:?}");
            if (number + round) % 5 == 0 {
                let cancel = Operation::Case(case, CaseAct::Cancel { reason: String::new() });
                service.operate((cancel, Once::default())).unwrap();
                assert!(service.engine.case(case, &Room::default()).unwrap().state.is_closed());
            }
        }
    });
    assert_eq!(service.count(), (THREADS * CREATES) as usize);
    let shards = service.engine.shared().inboxes.len();
    service.engine.measure();
    let metrics = service.engine.metrics();
    let closed = metrics.cases.of(CaseState::Cancelled).get();
    let running = metrics.cases.of(CaseState::Running).get();
    assert_eq!((running + closed, closed), (i64::from(THREADS * CREATES), 20));
    assert_eq!(metrics.work_items.of(ItemState::Enabled).get(), running);
    assert_eq!(metrics.workflow_cases.get(), u64::from(THREADS * CREATES));
    assert_eq!(metrics.queue_depth.of(Queue::Parked).get(), 0);
    assert_eq!(metrics.queue_limit.of(Queue::Inbox).get(), 64 * i64::try_from(shards).unwrap());
    let held = metrics.cache_bytes.of(Cache::Cases).get();
    assert!(held > 0 && held < metrics.cache_limit_bytes.of(Cache::Cases).get(), "{held}");
    wait_for(|| metrics.journal_bytes.get() > 0 && metrics.hot_path_tick_hertz.get() > 0);
    service.stop();
}

#[test]
fn a_key_that_is_sent_by_many_at_once_has_one_effect() {
    let service = start(options(), LossyTables::default());
    for round in 0..CREATES {
        let key = format!("key {round}");
        let cases = std::sync::Mutex::new(std::collections::BTreeSet::new());
        together(THREADS, |_| {
            let case = service.create(Some(&key)).unwrap();
            cases.lock().unwrap().insert(case);
        });
        assert_eq!(cases.into_inner().unwrap().len(), 1);
    }
    assert_eq!(service.count(), CREATES as usize);
    service.stop();
}

#[test]
fn rows_that_are_missing_from_the_environment_are_made_anew_at_the_start() {
    let tables = LossyTables::default();
    let service = start(options(), tables.clone());
    let case = service.create(None).unwrap();
    assert!(service.engine.stop().is_empty());
    let Running { engine, folder, .. } = service;
    drop(engine);
    tables.lose();
    let engine = open(options(), &SwitchDisk::default(), tables, store_in(&folder));
    assert_eq!(engine.case(case, &Room::default()).unwrap().id, case);
    assert!(engine.stop().is_empty());
}

#[test]
fn rows_that_are_missing_where_nobody_looked_are_found_by_the_scrub_and_made_anew() {
    let tables = LossyTables::default();
    let service = start(options(), tables.clone());
    let case = service.create(None).unwrap();
    assert!(service.engine.stop().is_empty());
    let Running { engine, folder, .. } = service;
    drop(engine);
    tables.remove_unseen(CASES, &case_key(case));
    let engine = open(options(), &SwitchDisk::default(), tables, store_in(&folder));
    wait_for(|| !engine.health().degraded.iter().any(|why| why == "scrub running"));
    assert_eq!(engine.case(case, &Room::default()).unwrap().id, case);
    let suspend = (Operation::Case(case, CaseAct::Suspend), Once::default());
    engine.operate(vec![suspend]).remove(0).unwrap();
    assert_eq!(engine.metrics().workflow_errors.get(), 1, "nobody was told");
    assert!(engine.stop().is_empty());
}

fn archived() -> CaseFilter {
    CaseFilter { is_archived: true, ..CaseFilter::default() }
}

fn page() -> PageOf {
    PageOf { after: None, limit: 100 }
}

fn cancel(service: &Running, id: CaseId) {
    let act = CaseAct::Cancel { reason: "not wanted".to_owned() };
    service.operate((Operation::Case(id, act), Once::default())).unwrap();
}

#[test]
fn old_cases_are_archived_without_being_asked_and_those_that_run_stay() {
    let service = start(Options { archive_after_us: 1, ..options() }, LossyTables::default());
    let closed: Vec<CaseId> = (0..3).map(|_| service.create(None).unwrap()).collect();
    let running = service.create(None).unwrap();
    for id in &closed {
        cancel(&service, *id);
    }
    wait_for(|| {
        let found = service.engine.cases(&archived(), &page(), &Room::default()).unwrap().items;
        found.iter().map(|case| case.id).collect::<Vec<_>>() == closed
    });
    assert_eq!(
        service.engine.case(closed[0], &Room::default()).unwrap().state,
        knhk::case::view::CaseState::Cancelled
    );
    assert!(service.engine.case(running, &Room::default()).unwrap().archived.is_none());
    service.stop();
}

/// Returns the order to archive all closed cases, however young.
fn everything_closed() -> ArchiveOrder {
    ArchiveOrder { older_than_us: 0, workflow: None, state: None, limit: 10, after: None, is_trial: false }
}

#[test]
fn a_case_stays_as_long_as_a_key_that_was_used_for_it_is_good() {
    let service = start(options(), LossyTables::default());
    let with_key = service.create(Some("mine")).unwrap();
    cancel(&service, with_key);
    let done = service.engine.archive(&everything_closed()).unwrap();
    assert_eq!((done.cases, done.kept_back, done.file), (0, 1, None));
    assert_eq!(service.create(Some("mine")).unwrap(), with_key, "a repeat is answered as the first was");
    service.stop();
}

#[test]
fn a_list_of_old_cases_does_not_look_at_those_that_were_made_since() {
    /// Rows that one page looks at when nothing is old: the first that is too young of each table, and a few that are read
    /// with it.
    const ROWS_MAX: u64 = 20;
    let tables = LossyTables::default();
    let service = start(options(), tables.clone());
    for number in 0..200 {
        let id = service.create(None).unwrap();
        if number % 2 == 0 {
            cancel(&service, id);
        }
    }
    let older_than = |older_than_us| {
        let filter = CaseFilter { older_than_us, ..CaseFilter::default() };
        tables.looked_at();
        let found =
            service.engine.cases(&filter, &PageOf { after: None, limit: 1_000 }, &Room::default()).unwrap();
        (found.items.len(), tables.looked_at())
    };
    // Once a checkpoint has written them.
    wait_for(|| older_than(None).1 >= 200);
    let (count, rows) = older_than(Some(3 * 3_600_000_000));
    assert!(count == 0 && rows <= ROWS_MAX, "{count} cases of {rows} rows");
    service.stop();
}
