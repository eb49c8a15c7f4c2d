//! Single failures of the engine's state machines, driven one call at a time.

mod keys;
mod specifications;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use knhk::engine::prepare::{self, Prepared};
use knhk::engine::registry::Registry;
use knhk::engine::request::{Message, Reply, Staged};
use knhk::engine::room::Room;
use knhk::engine::service::{
    Answer, Caller, CaseAct, CaseFilter, CaseState, Fragment, Once, Operation, PageOf,
};
use knhk::engine::shard::{NextTurn, Progress};
use knhk::engine::ticket::{Ticket, ticket};
use knhk::engine::turn::{AT_WORK_SHARE, REST_US, ROUND_US, Tally};
use knhk::engine::writer::{JournalState, Writer};
use knhk::engine::{queries, tables};
use knhk::error::Kind;
use knhk::id::{CaseId, Partition, Time};
use knhk::store::{AppendError, Entry, FORMAT, FORMAT_OLDEST, Link, MemTables, Options, Table};

use super::disk::{Faults, SimDisk};
use super::node::{Node, Setting};
use crate::support::heavy;

const SEQUENCE: &[u8] = include_bytes!("../../data/spec/sequence.yawl");
const COUNT: &[u8] = include_bytes!("../../data/spec/count.yawl");
const START: Time = Time(1_800_000_000_000_000);

pub(super) struct Bench {
    disk: SimDisk,
    tables: Arc<MemTables>,
    pub(super) node: Node,
    now: Time,
}

fn store_options() -> Options {
    Options {
        state_dir: PathBuf::from("/state"),
        cache_dir: PathBuf::from("/cache"),
        segment_bytes: 256 * 1024,
        hurried_bytes: 256 * 1024,
        frame_bytes_max: Setting::default().frame_bytes_max,
        grace_us: 0,
        keep_us: 0,
        format_max: FORMAT,
        planted: None,
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let disk = SimDisk::new(1);
        let tables = Arc::new(MemTables::default());
        let node = Self::open(&disk, &tables, START);
        Self { disk, tables, node, now: START }
    }

    fn open(disk: &SimDisk, tables: &Arc<MemTables>, now: Time) -> Node {
        Node::open(disk, tables, &store_options(), Setting::default(), now).unwrap()
    }

    /// With so much memory for cases.
    fn with_cache(cache_bytes: usize) -> Self {
        Self::with(Setting { cache_bytes, ..Setting::default() })
    }

    pub(super) fn with(setting: Setting) -> Self {
        let mut bench = Self::new();
        bench.node = Node::open(&bench.disk, &bench.tables, &store_options(), setting, START).unwrap();
        bench
    }

    /// Lets the shard hear what became durable.
    fn beat(&mut self) {
        self.node.inboxes[0].push_back(Message::Beat);
        self.rest();
    }

    fn reopen(&mut self) {
        self.node = Self::open(&self.disk, &self.tables, self.now);
    }

    fn ask(&mut self, prepared: Prepared) -> Ticket<Reply> {
        self.node.ask(vec![prepared]).remove(0).0
    }

    pub(super) fn register(&mut self, source: &[u8]) {
        let own = format!("register {}", blake3::hash(source));
        let prepared = prepare::registration(source, 40_000, &Once::default(), || own);
        let ticket = self.ask(prepared.unwrap());
        self.rest();
        assert!(matches!(ticket.poll(), Some(Reply::Registered(_))));
    }

    pub(super) fn operate(&mut self, operation: Operation, key: Option<&str>) -> Ticket<Reply> {
        let request = *blake3::hash(format!("{operation:?}").as_bytes()).as_bytes();
        let once = Once {
            key: key.map(str::to_owned),
            request,
            trace: None,
            caller: Caller::Local,
            room: Room::default(),
        };
        let own = format!("own {}", self.now.0);
        self.now = self.now.plus_us(1);
        let prepared = prepare::operation(&self.node.registry, operation, &once, || own).unwrap();
        self.ask(prepared)
    }

    pub(super) fn create(&mut self, workflow: &str, key: &str, words: &str) -> Ticket<Reply> {
        let data = if words.is_empty() {
            Vec::new()
        } else {
            vec![("words".to_owned(), Fragment::from_text(words))]
        };
        let workflow = workflow.to_owned();
        self.operate(Operation::Create { workflow, data, business_key: None }, Some(key))
    }

    /// Sends several operations, each with its key, in one message.
    pub(super) fn batch(
        &mut self,
        lines: impl IntoIterator<Item = (Operation, String)>,
    ) -> Vec<Ticket<Reply>> {
        let prepare = |(operation, key): (Operation, String)| {
            let request = *blake3::hash(format!("{operation:?}").as_bytes()).as_bytes();
            let once = Once { key: Some(key), request, ..Once::default() };
            prepare::operation(&self.node.registry, operation, &once, String::new).unwrap()
        };
        let prepared = lines.into_iter().map(prepare).collect();
        self.node.ask(prepared).into_iter().map(|asked| asked.0).collect()
    }

    /// One turn with the first `count` messages, and what becomes durable of it.
    pub(super) fn turn(&mut self, count: usize) {
        self.node.turn(0, count, self.now);
        self.write();
    }

    /// Returns the evaluation steps of the shard so far.
    pub(super) fn evaluated(&self) -> u64 {
        self.node.progress[0].pulse.evaluated()
    }

    pub(super) fn now(&self) -> Time {
        self.now
    }

    fn write(&mut self) {
        for (answerer, reply) in self.node.write(&mut |count| count, self.now) {
            answerer.answer(reply);
        }
    }

    pub(super) fn rest(&mut self) {
        for _ in 0..1_000 {
            self.node.turn(0, usize::MAX, self.now);
            self.write();
            self.node.follow(usize::MAX).unwrap();
            self.node.answer().unwrap();
            while !self.node.computations.is_empty() {
                self.node.compute();
            }
            if self.node.is_quiet() && !self.node.is_failing() {
                return;
            }
        }
        panic!("the service does not come to rest");
    }

    fn rows(&self, table: Table) -> usize {
        let mut count = 0;
        let counted = self.node.follower.scan(table, &[], &mut |_, _| {
            count += 1;
            true
        });
        counted.unwrap();
        count
    }

    pub(super) fn cases(&self) -> usize {
        self.rows(tables::CASES) + self.rows(tables::CLOSED)
    }
}

pub(super) fn created(ticket: &Ticket<Reply>) -> CaseId {
    match ticket.poll() {
        Some(Reply::Done(Answer::Created(view, _))) => view.id,
        other => panic!("not created: {other:?}"),
    }
}

fn kind(ticket: &Ticket<Reply>) -> Kind {
    match ticket.poll() {
        Some(Reply::Refused(refusal)) => refusal.kind,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_turn_that_takes_several_frames_of_which_the_second_fails_goes_on_and_doubles_nothing() {
    let mut bench = Bench::with(Setting { turn_steps: 1_000_000, ..Setting::default() });
    bench.register(COUNT);
    let words = "x".repeat(6_000);
    let keys: Vec<String> = (0..16).map(|number| format!("key {number}")).collect();
    let first: Vec<_> = keys.iter().map(|key| bench.create("count", key, &words)).collect();
    bench.node.turn(0, usize::MAX, bench.now);
    let staged = bench.node.staged[0].len();
    assert!(staged > 1, "one frame took all");
    // The first frame goes through, the second does not, and what lies behind it is void.
    let mut step = 0;
    for (answerer, reply) in bench.node.write(&mut |_| 1, bench.now) {
        answerer.answer(reply);
        step += 1;
    }
    assert!(step > 0 && step < 16);
    bench.disk.fail_next_sync();
    bench.write();
    assert!(bench.node.is_failing());
    bench.rest();
    let again: Vec<_> = keys.iter().map(|key| bench.create("count", key, &words)).collect();
    bench.rest();
    let answered = first.iter().filter(|ticket| matches!(ticket.poll(), Some(Reply::Done(_)))).count();
    assert_eq!(answered, step, "what was durable was answered");
    let repeated = again.iter().filter(|ticket| matches!(ticket.poll(), Some(Reply::Repeat(_)))).count();
    assert_eq!(repeated, step, "a key of a durable frame was forgotten");
    assert_eq!(bench.cases(), 16);
}

#[test]
fn a_chain_that_the_journals_failure_interrupts_goes_on_by_itself() {
    let mut bench = Bench::new();
    bench.register(COUNT);
    let words = "x".repeat(4_000);
    let ticket = bench.create("count", "key", &words);
    bench.node.turn(0, usize::MAX, bench.now);
    bench.node.turn(0, usize::MAX, bench.now);
    let staged = bench.node.staged[0].len();
    assert!(staged > 1, "the chain fits one frame");
    for (answerer, reply) in bench.node.write(&mut |_| 1, bench.now) {
        answerer.answer(reply);
    }
    let case = created(&ticket);
    bench.disk.fail_next_write();
    bench.write();
    assert!(bench.node.is_failing());
    bench.rest();
    let view = queries::case(&bench.node.follower, &bench.node.registry, case).unwrap();
    assert!(view.state.is_closed(), "nobody went on with it: {view:?}");
}

#[test]
fn a_frame_that_is_refused_for_its_size_or_order_is_not_done_and_the_journal_does_not_fail() {
    let disk = SimDisk::new(1);
    let tables = Arc::new(MemTables::default());
    let start = knhk::store::Start { now: START, fresh_id: knhk::store::StoreId([7; 16]) };
    let fold = super::node::fold(false);
    let opened =
        knhk::store::open(Arc::new(disk), tables, fold, &store_options(), start, &mut |_| {}).unwrap();
    let progress = vec![Arc::new(Progress::default()), Arc::new(Progress::default())];
    let state = Arc::new(JournalState::default());
    let max = store_options().frame_bytes_max;
    let registry = Arc::new(Registry::default());
    let mut writer =
        Writer::new(opened.journal, max, registry, progress.clone(), Arc::clone(&state)).unwrap();
    let staged = |shard, n, bytes| {
        let (ticket, answerer) = ticket();
        let partition = Partition(u16::try_from(shard).unwrap());
        let entry = Entry::new(partition, n, 0, Link::default(), vec![0; bytes]);
        let reply = Reply::Refused(knhk::engine::service::Refusal {
            code: knhk::error::Code(300),
            kind: Kind::Invalid,
            message: "carried out".to_owned(),
            hint: None,
            key: None,
            mistakes: Vec::new(),
            retry_after_s: None,
        });
        let staged = Staged {
            shard,
            batch: 1,
            generation: 0,
            at: START,
            bytes,
            held_bytes: bytes,
            entries: vec![entry],
            publish: Vec::new(),
            replies: vec![(answerer, reply)],
            tally: Tally::default(),
            traced: Vec::new(),
        };
        (ticket, staged)
    };
    let (large, large_batch) = staged(0, 1, max);
    let (small, small_batch) = staged(1, 1, 10);
    let written = writer.step(START, vec![large_batch, small_batch]);
    assert!(matches!(written.rejected, Some(AppendError::TooLarge { .. })) && written.failed.is_none());
    written.replies.into_iter().for_each(|(answerer, reply)| answerer.answer(reply));
    assert_eq!((kind(&large), kind(&small)), (Kind::Unavailable, Kind::Invalid));
    assert!(!state.is_failing.load(Ordering::Acquire));
    let generations: Vec<_> = progress.iter().map(|shard| shard.generation.load(Ordering::Acquire)).collect();
    assert_eq!(generations, [1, 0], "only the shard that it concerns takes anything back");
    assert_eq!(progress[0].positions.lock().unwrap()[0], 0, "and goes on from the journal's positions");
}

#[test]
fn frames_are_no_older_than_what_they_hold_though_the_clock_goes_back() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let late = START.plus_us(3_600_000_000);
    let ticket = bench.create("sequence", "key", "");
    bench.node.turn(0, usize::MAX, late);
    bench.write();
    created(&ticket);
    bench.node.follow(usize::MAX).unwrap();
    assert_eq!(bench.node.follower.time(), late);
}

#[test]
fn a_key_that_the_service_made_is_known_again_after_a_restart_for_ten_minutes() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let create = Operation::Create { workflow: "sequence".to_owned(), data: Vec::new(), business_key: None };
    let own = format!("own {}", bench.now.0);
    let ticket = bench.operate(create.clone(), None);
    bench.rest();
    created(&ticket);
    bench.reopen();
    let again = bench.operate(create.clone(), Some(&own));
    bench.rest();
    assert!(matches!(again.poll(), Some(Reply::Repeat(_))));
    bench.now = bench.now.plus_us(knhk::engine::shard::SERVICE_KEY_US + 1_000_000);
    bench.reopen();
    let late = bench.operate(create, Some(&own));
    bench.rest();
    created(&late);
}

#[test]
fn a_key_whose_end_did_not_become_durable_is_still_known() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let first = bench.create("sequence", "k", "");
    bench.rest();
    created(&first);
    bench.now = bench.now.plus_us(super::node::KEY_US + 1_000_000);
    bench.node.inboxes[0].push_back(Message::Minute);
    bench.node.turn(0, usize::MAX, bench.now);
    bench.disk.fail_next_sync();
    bench.write();
    assert!(bench.node.is_failing(), "the end of the key was to be lost");
    let again = bench.create("sequence", "k", "");
    bench.rest();
    assert!(matches!(again.poll(), Some(Reply::Repeat(_))), "the rows still hold the key");
    assert_eq!(bench.cases(), 1);
}

#[test]
fn one_key_names_one_thing_in_each_partition_whatever_the_shards() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let business = |key: &str| Operation::Create {
        workflow: "sequence".to_owned(),
        data: Vec::new(),
        business_key: Some(key.to_owned()),
    };
    let tickets: Vec<_> =
        ["a", "b", "c", "d"].iter().map(|key| bench.operate(business(key), Some("same"))).collect();
    bench.rest();
    let cases: std::collections::BTreeSet<CaseId> = tickets.iter().map(created).collect();
    assert_eq!(cases.len(), 4);
}

#[test]
fn a_closed_case_leaves_memory_when_it_is_durable() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let ticket = bench.create("sequence", "key", "");
    bench.rest();
    let case = created(&ticket);
    let cancel = Operation::Case(case, CaseAct::Cancel { reason: "enough".to_owned() });
    let ticket = bench.operate(cancel, Some("cancel"));
    bench.rest();
    assert!(matches!(ticket.poll(), Some(Reply::Done(_))));
    bench.beat();
    assert!(!bench.node.shards[0].cases().contains(case));
}

#[test]
fn an_idle_case_leaves_memory_beyond_the_limit_and_is_read_back_for_the_next_command() {
    let mut bench = Bench::with_cache(0);
    bench.register(SEQUENCE);
    let ticket = bench.create("sequence", "key", "");
    bench.node.turn(0, usize::MAX, bench.now);
    assert_eq!(bench.node.shards[0].cases().len(), 1, "it is not durable");
    bench.rest();
    let case = created(&ticket);
    bench.beat();
    assert!(bench.node.shards[0].cases().is_empty());
    let suspend = bench.operate(Operation::Case(case, CaseAct::Suspend), Some("suspend"));
    bench.rest();
    assert!(
        matches!(suspend.poll(), Some(Reply::Done(Answer::Case(view))) if view.state == CaseState::Suspended)
    );
    bench.beat();
    assert!(bench.node.shards[0].cases().is_empty());
    assert_eq!(bench.node.shards[0].cases().marking_count(), 0, "markings were left behind");
}

#[test]
fn idle_cases_are_kept_encoded_and_the_ones_idle_longest_leave_first() {
    let mut bench = Bench::with_cache(16_000);
    bench.register(SEQUENCE);
    let mut cases = Vec::new();
    for number in 0..200 {
        let ticket = bench.create("sequence", &format!("key {number}"), "");
        bench.rest();
        cases.push(created(&ticket));
    }
    bench.beat();
    let shard = &bench.node.shards[0];
    let (bytes, bytes_max) = (shard.held().case_bytes, 16_000);
    assert!(bytes <= bytes_max, "{bytes} of {bytes_max}");
    let is_there: Vec<bool> = cases.iter().map(|case| shard.cases().contains(*case)).collect();
    let count = is_there.iter().filter(|is| **is).count();
    assert!(count > 20 && count < 150, "{count} cases fit {bytes_max} bytes");
    assert!(is_there.is_sorted(), "the oldest have left: {is_there:?}");
    let at_work = cases.iter().filter(|case| shard.cases().get(**case).is_some()).count();
    assert!(at_work < count, "all {count} are as large as when they work");
    let encoded = cases[cases.len() - count + 1];
    assert!(shard.cases().get(encoded).is_none());
    let rows = shard.cases().rows(encoded).unwrap();
    assert_eq!(Some(rows), queries::case_rows(&bench.node.follower, encoded).unwrap());
    let cancel = CaseAct::Cancel { reason: "enough".to_owned() };
    let ticket = bench.operate(Operation::Case(encoded, cancel), Some("cancel"));
    bench.rest();
    assert!(matches!(ticket.poll(), Some(Reply::Done(_))));
}

#[test]
fn a_case_that_nobody_asks_for_is_encoded_after_a_while_though_there_is_room() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let cases: Vec<CaseId> = (0..3)
        .map(|number| {
            let ticket = bench.create("sequence", &format!("key {number}"), "");
            bench.rest();
            created(&ticket)
        })
        .collect();
    bench.now = bench.now.plus_us(REST_US - 1_000);
    bench.beat();
    assert_eq!(bench.node.shards[0].cases().marking_count(), 3);
    let suspend = bench.operate(Operation::Case(cases[0], CaseAct::Suspend), Some("suspend"));
    bench.rest();
    assert!(matches!(suspend.poll(), Some(Reply::Done(_))));
    // Whatever came before: within a round all are looked at again.
    bench.now = bench.now.plus_us(ROUND_US + 1_000);
    bench.beat();
    let shard = &bench.node.shards[0];
    let at_work: Vec<bool> = cases.iter().map(|case| shard.cases().get(*case).is_some()).collect();
    assert_eq!(at_work, [true, false, false], "only the one that was asked for is at work");
    assert_eq!((shard.cases().len(), shard.cases().marking_count()), (3, 1));
    for case in &cases {
        let rows = shard.cases().rows(*case).unwrap();
        assert_eq!(Some(rows), queries::case_rows(&bench.node.follower, *case).unwrap());
    }
    // It is woken up for the next command, and nothing is read back.
    let suspend = bench.operate(Operation::Case(cases[1], CaseAct::Suspend), Some("another"));
    bench.node.turn(0, usize::MAX, bench.now);
    assert!(bench.node.questions.is_empty());
    // What is not durable stays as it is, whatever time passes.
    bench.now = bench.now.plus_us(10 * REST_US);
    bench.node.turn(0, 0, bench.now);
    assert!(bench.node.shards[0].cases().get(cases[1]).is_some());
    bench.rest();
    assert!(matches!(suspend.poll(), Some(Reply::Done(_))));
    bench.now = bench.now.plus_us(REST_US + ROUND_US);
    bench.beat();
    assert_eq!(bench.node.shards[0].cases().marking_count(), 0);
}

#[test]
fn a_turn_encodes_a_bounded_number_of_cases_and_none_while_there_is_work() {
    const COUNT: usize = 1_500;
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let tickets: Vec<_> =
        (0..COUNT).map(|number| bench.create("sequence", &format!("key {number}"), "")).collect();
    bench.rest();
    let case = created(&tickets[COUNT - 1]);
    bench.beat();
    bench.now = bench.now.plus_us(REST_US + ROUND_US);
    let _waits = bench.operate(Operation::Case(case, CaseAct::Suspend), Some("suspend"));
    bench.node.turn(0, usize::MAX, bench.now);
    let at_work = |bench: &Bench| bench.node.shards[0].cases().marking_count();
    assert_eq!(at_work(&bench), COUNT);
    bench.node.turn(0, 0, bench.now);
    let left = at_work(&bench);
    assert!((1..COUNT).contains(&left), "{left}: all at once, or none");
    assert_eq!(bench.node.shards[0].next_turn(), NextTurn::AtLeisure);
    bench.node.turn(0, 0, bench.now);
    assert_eq!((at_work(&bench), bench.node.shards[0].cases().len()), (1, COUNT));
    assert_eq!(bench.node.shards[0].next_turn(), NextTurn::OnMessage);
}

#[test]
fn a_start_takes_only_cases_into_memory_that_have_something_to_do() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    bench.register(COUNT);
    let idle = bench.create("sequence", "idle", "");
    bench.rest();
    let words = "x".repeat(4_000);
    let _waits = bench.create("count", "key", &words);
    bench.node.turn(0, usize::MAX, bench.now);
    // What follows its first frame goes on in the next turn.
    bench.node.turn(0, usize::MAX, bench.now);
    assert!(bench.node.staged[0].len() > 1, "the chain fits one frame");
    for (answerer, reply) in bench.node.write(&mut |_| 1, bench.now) {
        answerer.answer(reply);
    }
    bench.node.follow(usize::MAX).unwrap();
    assert_eq!(bench.rows(tables::UNFINISHED), 1);
    bench.reopen();
    assert!(bench.node.shards[0].cases().is_empty());
    bench.node.turn(0, 0, bench.now);
    assert_eq!(bench.node.questions.len(), 1);
    bench.rest();
    assert!(!bench.node.shards[0].cases().contains(created(&idle)));
    assert_eq!(
        (bench.rows(tables::UNFINISHED), bench.rows(tables::CLOSED)),
        (0, 1),
        "nobody went on with it"
    );
}

#[test]
fn an_upgrade_that_was_told_outlives_a_loss_of_power_though_tries_before_it_failed() {
    const TRIES_MAX: usize = 100;
    let mut failed = 0;
    for seed in 0..50 {
        let (disk, tables) = (SimDisk::new(seed), Arc::new(MemTables::default()));
        let former = Options { format_max: FORMAT_OLDEST, ..store_options() };
        drop(Node::open(&disk, &tables, &former, Setting::default(), START).unwrap());
        let mut node = Bench::open(&disk, &tables, START);
        disk.set_faults(Faults { sync_errors: 500, ..Faults::default() });
        failed += (0..TRIES_MAX).position(|_| node.keeper.upgrade().is_ok()).expect("it fails each time");
        disk.set_faults(Faults::default());
        disk.power_cycle();
        let named = disk.contents(Path::new("/state/store"));
        assert_eq!(named[8..12], FORMAT.to_le_bytes(), "seed {seed}");
    }
    assert!(failed > 0);
}

/// Lets some cases with an endless chain come to their incidents; returns how many turns that took.
fn turns_of_endless_chains(cache_bytes: usize) -> usize {
    const CASES: usize = 6;
    let mut bench = Bench::with(Setting { cache_bytes, turn_steps: 1, ..Setting::default() });
    bench.register(&heavy::repeated_with("endless", 10_000, 1_000));
    let key = |number: usize| format!("case {number}");
    let create = Operation::Create { workflow: "endless".to_owned(), data: Vec::new(), business_key: None };
    let _tickets: Vec<_> =
        (0..CASES).map(|number| bench.operate(create.clone(), Some(&key(number)))).collect();
    let mut turns = 0;
    while !bench.node.is_quiet() {
        bench.turn(usize::MAX);
        bench.node.follow(usize::MAX).unwrap();
        bench.node.answer().unwrap();
        turns += 1;
        assert!(turns < 20_000, "a chain that leaves memory begins to be counted from its beginning");
    }
    let page = PageOf { after: None, limit: 10 };
    let now = (bench.now, &Room::default());
    let cases =
        queries::cases(&bench.node.follower, &bench.node.registry, &CaseFilter::default(), &page, now);
    let cases = cases.unwrap().items;
    assert_eq!(cases.len(), CASES);
    for case in cases {
        let view = queries::case(&bench.node.follower, &bench.node.registry, case.id).unwrap();
        let kinds: Vec<_> = view.incidents.iter().map(|incident| incident.kind).collect();
        assert_eq!(kinds, ["chain"], "{view:?}");
    }
    turns
}

#[test]
fn a_chain_is_counted_also_while_its_case_leaves_memory_again_and_again() {
    let at_ease = turns_of_endless_chains(1 << 30);
    // From room for one of them to room for all.
    for cache_bytes in (0..80_000).step_by(4_000) {
        let turns = turns_of_endless_chains(cache_bytes);
        assert!(turns < 4 * at_ease, "{turns} turns with {cache_bytes} bytes, {at_ease} with enough");
    }
}

#[test]
fn cases_with_something_to_do_take_no_more_than_their_part_of_memory_and_all_come_to_their_end() {
    const CASES: usize = 60;
    const CACHE_BYTES: usize = 1 << 20;
    let mut bench = Bench::with(Setting { cache_bytes: CACHE_BYTES, turn_steps: 1, ..Setting::default() });
    bench.register(COUNT);
    let words = "x".repeat(20_000);
    let tickets: Vec<_> =
        (0..CASES).map(|number| bench.create("count", &format!("key {number}"), &words)).collect();
    let (mut most, mut all, mut turns) = (0, 0, 0);
    while !bench.node.is_quiet() {
        bench.turn(usize::MAX);
        bench.node.follow(usize::MAX).unwrap();
        bench.node.answer().unwrap();
        bench.node.compute();
        most = most.max(bench.node.shards[0].cases().unfinished_bytes());
        all = all.max(bench.node.shards[0].cases().bytes());
        turns += 1;
        assert!(turns < 20_000, "they come to no end");
    }
    // One case has its data in its net and in its item.
    let largest = 3 * words.len();
    assert!(most <= CACHE_BYTES / AT_WORK_SHARE + largest, "{most} bytes of unfinished cases");
    assert!(most > CACHE_BYTES / AT_WORK_SHARE / 2, "there is room for more than {most} bytes");
    assert!(all <= CACHE_BYTES, "{all} bytes of cases, and what is not durable");
    for ticket in &tickets {
        let view = queries::case(&bench.node.follower, &bench.node.registry, created(ticket)).unwrap();
        assert!(view.state.is_closed(), "{view:?}");
    }
}
