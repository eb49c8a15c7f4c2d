//! Queues are bounded in bytes: what is large is refused, what is small goes on, and what is under way waits.

use std::sync::atomic::Ordering;

use knhk::engine::service::{Begun, CaseAct, Once, Operation, Service};
use knhk::error::Kind;
use knhk::telemetry::metrics::labels::{Cache, Queue};

use super::disk::LossyTables;
use super::{Options, Queues, Running, create, options, start, wait_for};

const KIB: usize = 1 << 10;
const COMMANDS: usize = 64;
const COMMAND_BYTES: usize = 16 * KIB;
/// An entry, and the case that it changes, besides what its command hands in.
const ENTRY_BYTES: usize = 4 * KIB;

/// A create that carries about so many bytes.
fn large(number: usize, bytes: usize) -> (Operation, Once) {
    let business_key = Some(format!("{number:0bytes$}"));
    let operation = Operation::Create { workflow: "sequence".to_owned(), data: Vec::new(), business_key };
    (operation, Once::default())
}

fn with(queues: Queues) -> Running {
    // Checkpoints only where a test is about them.
    let options = Options { queues, checkpoint_bytes: u64::MAX, checkpoint_us: u64::MAX, ..options() };
    start(options, LossyTables::default())
}

#[test]
fn requests_that_take_more_bytes_than_all_may_are_refused_and_small_ones_go_on() {
    let service = with(Queues { requests_bytes_max: 100 * KIB, ..Queues::AMPLE });
    let case = service.create(None).unwrap();
    service.disk.hang(true);
    let begun = service.engine.begin(vec![large(1, 60 * KIB)]);
    assert!(matches!(&begun[..], [Begun::Pending(_)]), "{begun:?}");
    let refused = service.engine.begin(vec![large(2, 60 * KIB)]);
    let [Begun::Refused(refusal)] = &refused[..] else { panic!("taken: {refused:?}") };
    assert_eq!((refusal.kind, refusal.code.0), (Kind::Busy, 300), "{refusal}");
    let metrics = service.engine.metrics();
    assert_eq!(metrics.queue_refused.of(Queue::Inbox).get(), 1);
    service.engine.measure();
    let held = metrics.cache_bytes.of(Cache::Requests).get();
    assert!((60 << 10..100 << 10).contains(&held), "{held}");
    assert_eq!(metrics.cache_limit_bytes.of(Cache::Requests).get(), 100 << 10);
    let small = service.engine.begin(vec![(Operation::Case(case, CaseAct::Suspend), Once::default())]);
    assert!(matches!(&small[..], [Begun::Pending(_)]), "{small:?}");
    // What is answered gives its bytes back.
    service.disk.hang(false);
    wait_for(|| service.engine.shared().requests.taken_bytes() == 0);
    let begun = service.engine.begin(vec![large(2, 60 * KIB)]);
    assert!(matches!(&begun[..], [Begun::Pending(_)]), "{begun:?}");
    service.stop();
}

#[test]
fn new_changes_are_refused_while_too_many_rows_wait_for_a_checkpoint() {
    let queues = Queues { changed_bytes_max: 100 * KIB, ..Queues::AMPLE };
    let tables = LossyTables::default();
    let options = Options { queues, checkpoint_bytes: u64::MAX, checkpoint_us: u64::MAX, ..options() };
    let service = start(options, tables.clone());
    tables.hold_commits(true);
    let mut made = 0;
    let refusal = loop {
        match service.create(None) {
            Ok(_) => made += 1,
            Err(refusal) => break refusal,
        }
        assert!(made < 100 * KIB, "no bound");
    };
    assert_eq!((refusal.kind, refusal.code.0), (Kind::Busy, 300), "{refusal}");
    assert!(refusal.message.contains("changes that wait for a checkpoint"), "{refusal}");
    tables.hold_commits(false);
    wait_for(|| service.create(None).is_ok());
    wait_for(|| service.count() == made + 1);
    service.stop();
}

#[test]
fn the_journal_waits_for_the_follower_and_new_changes_are_refused_meanwhile() {
    let queues = Queues {
        undurable_bytes_max: 64 * KIB,
        lag_bytes_max: 100 * KIB,
        changed_bytes_max: 100 * KIB,
        ..Queues::AMPLE
    };
    let service = with(queues);
    let shared = service.engine.shared();
    let shards = shared.inboxes.len();
    let cases: Vec<_> = (0..COMMANDS).map(|_| service.create(None).unwrap()).collect();
    wait_for(|| shared.condition.lag.bytes() == 0);
    let folded = shared.condition.changed_bytes.load(Ordering::Acquire);
    // Nobody folds while somebody reads. All are asked while nothing is durable, so that none is refused.
    let reading = shared.read_as_is();
    service.disk.hang(true);
    // Who begins them waits for all of them: what nobody waits for is not done.
    let mut waiting = Vec::new();
    for case in cases {
        let cancel = CaseAct::Cancel { reason: "x".repeat(COMMAND_BYTES) };
        let begun = service.engine.begin(vec![(Operation::Case(case, cancel), Once::default())]);
        assert!(matches!(&begun[..], [Begun::Pending(_)]), "{begun:?}");
        waiting.push(begun);
    }
    service.disk.hang(false);
    wait_for(|| shared.is_follower_full());
    let undurable = || shared.inboxes.iter().map(|inbox| inbox.held().undurable_bytes).sum::<usize>();
    wait_for(|| undurable() >= queues.undurable_bytes_max / shards);
    // It stands: what is durable is what the follower may have, and one step of the journal.
    let durable = shared.condition.lag.bytes();
    let most =
        queues.lag_bytes_max + queues.changed_bytes_max + queues.undurable_bytes_max + shards * COMMAND_BYTES;
    assert!(folded + durable <= most + shards * ENTRY_BYTES, "{folded} and {durable} of {most}");
    assert!(most + COMMAND_BYTES < COMMANDS * COMMAND_BYTES, "they would all fit");
    let refused = service.engine.begin(vec![create(None)]);
    let [Begun::Refused(refusal)] = &refused[..] else { panic!("taken: {refused:?}") };
    assert_eq!((refusal.kind, refusal.code.0), (Kind::Busy, 300), "{refusal}");
    assert_eq!(service.engine.metrics().queue_refused.of(Queue::Follower).get(), 1);
    drop(reading);
    // Folded, they are rows that wait for a checkpoint, which is due at a quarter.
    wait_for(|| shared.requests.taken_bytes() == 0 && shared.condition.lag.bytes() == 0);
    wait_for(|| service.create(None).is_ok());
    drop(waiting);
    assert_eq!(service.count(), COMMANDS + 1);
    service.stop();
}
