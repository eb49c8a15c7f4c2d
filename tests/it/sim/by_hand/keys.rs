//! Clients' keys: which are remembered, and who may have how many.

use knhk::engine::prepare;
use knhk::engine::request::{Message, Reply};
use knhk::engine::room::Room;
use knhk::engine::service::{Answer, Caller, CaseAct, Once, Operation, Refusal};
use knhk::engine::tables;
use knhk::engine::ticket::Ticket;
use knhk::error::Kind;
use knhk::id::CaseId;

use super::super::node::{KEY_US, Node, Setting};
use super::{Bench, SEQUENCE, START, created, kind, store_options};

/// Returns a service that remembers so many keys at most, and knows `sequence`.
fn bench(keys_max: usize) -> Bench {
    let mut bench = Bench::new();
    let setting = Setting { keys_max, ..Setting::default() };
    bench.node = Node::open(&bench.disk, &bench.tables, &store_options(), setting, START).unwrap();
    bench.register(SEQUENCE);
    bench
}

fn ask(bench: &mut Bench, operation: Operation, key: &str, caller: Caller) -> Ticket<Reply> {
    let request = *blake3::hash(format!("{operation:?}").as_bytes()).as_bytes();
    let once = Once { key: Some(key.to_owned()), request, trace: None, caller, room: Room::default() };
    bench.now = bench.now.plus_us(1);
    let prepared = prepare::operation(&bench.node.registry, operation, &once, || unreachable!()).unwrap();
    bench.ask(prepared)
}

fn create(bench: &mut Bench, key: &str, caller: Caller) -> Ticket<Reply> {
    let workflow = "sequence".to_owned();
    ask(bench, Operation::Create { workflow, data: Vec::new(), business_key: None }, key, caller)
}

fn execute(bench: &mut Bench, case: CaseId, key: &str, caller: Caller) -> Ticket<Reply> {
    ask(bench, Operation::Case(case, CaseAct::Execute), key, caller)
}

/// Creates cases, one after the other, until one is refused; returns how many were created, and the refusal.
fn create_until_refused(bench: &mut Bench, caller: Caller) -> (usize, Refusal) {
    for count in 0.. {
        let ticket = create(bench, &format!("{caller:?} {count}"), caller);
        bench.rest();
        match ticket.poll() {
            Some(Reply::Done(_)) => {}
            Some(Reply::Refused(refusal)) => return (count, refusal),
            other => panic!("neither done nor refused: {other:?}"),
        }
    }
    unreachable!()
}

#[track_caller]
fn is_not_remembered(ticket: &Ticket<Reply>) {
    let reply = ticket.poll();
    assert!(matches!(reply, Some(Reply::Done(Answer::NotRemembered(_)))), "{reply:?}");
}

#[test]
fn what_has_no_effect_is_not_remembered_and_its_repeat_is_a_new_request() {
    let mut bench = bench(100);
    let ticket = create(&mut bench, "create", Caller::Local);
    bench.rest();
    let case = created(&ticket);
    let positions = bench.node.reader.positions();
    for _ in 0..2 {
        let ticket = execute(&mut bench, case, "execute", Caller::Local);
        bench.rest();
        is_not_remembered(&ticket);
    }
    assert_eq!(bench.node.reader.positions(), positions, "it was written");
    assert_eq!((bench.rows(tables::KEYS), bench.node.shards[0].places().taken()), (1, (1, 0)));
    let suspend = |bench: &mut Bench| {
        let ticket = ask(bench, Operation::Case(case, CaseAct::Suspend), "suspend", Caller::Local);
        bench.rest();
        ticket.poll()
    };
    let (first, again) = (suspend(&mut bench), suspend(&mut bench));
    assert!(matches!(first, Some(Reply::Done(Answer::Case(_)))), "{first:?}");
    assert!(matches!(again, Some(Reply::Repeat(_))), "{again:?}");
    // The case is held now: a remembered answer would be given again, a new request is refused.
    let ticket = execute(&mut bench, case, "execute", Caller::Local);
    bench.rest();
    assert_eq!(kind(&ticket), Kind::Conflict);
}

#[test]
fn nobody_fills_the_table_with_requests_that_do_nothing() {
    let mut bench = bench(8);
    let ticket = create(&mut bench, "create", Caller::Token(1));
    bench.rest();
    let case = created(&ticket);
    for number in 0..100 {
        let ticket = execute(&mut bench, case, &format!("nothing {number}"), Caller::Token(1));
        bench.rest();
        is_not_remembered(&ticket);
    }
    let ticket = create(&mut bench, "another's", Caller::Token(2));
    bench.rest();
    created(&ticket);
}

#[test]
fn a_caller_has_a_share_of_the_keys_and_is_told_when_there_is_room_again() {
    let mut bench = bench(8);
    let (count, refusal) = create_until_refused(&mut bench, Caller::Token(1));
    assert_eq!((count, refusal.code.0), (6, 314), "{refusal}");
    // Until the oldest key has come to its end, that is looked at, each minute, and it is durable.
    assert_eq!(refusal.retry_after_s, Some(86_400 + 62));
    let (count, refusal) = create_until_refused(&mut bench, Caller::User(1_000));
    assert_eq!((count, refusal.code.0), (2, 308), "{refusal}");
    // A known key is known, and what has none takes no place.
    let known = create(&mut bench, "Token(1) 3", Caller::Token(1));
    bench.rest();
    assert!(matches!(known.poll(), Some(Reply::Repeat(_))));
    bench.now = bench.now.plus_us(u64::from(refusal.retry_after_s.unwrap()) * 1_000_000);
    assert!(bench.now.0 < START.0 + KEY_US + 120_000_000);
    bench.node.inboxes[0].push_back(Message::Minute);
    bench.rest();
    bench.beat();
    assert_eq!(bench.node.shards[0].places().taken(), (0, 0));
    let ticket = create(&mut bench, "later", Caller::Token(1));
    bench.rest();
    created(&ticket);
}

#[test]
fn requests_under_way_take_places_and_promise_no_wait_of_hours() {
    let mut bench = bench(8);
    let tickets: Vec<_> =
        (0..20).map(|number| create(&mut bench, &format!("at once {number}"), Caller::Local)).collect();
    bench.rest();
    let refused: Vec<_> = tickets
        .iter()
        .filter_map(|ticket| match ticket.poll() {
            Some(Reply::Refused(refusal)) => Some((refusal.code.0, refusal.retry_after_s)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, vec![(314, Some(1)); 14]);
    assert_eq!(bench.node.shards[0].places().taken(), (6, 0));
}

#[test]
fn keys_from_before_the_start_are_nobodys_and_count_against_all() {
    let mut bench = bench(8);
    create_until_refused(&mut bench, Caller::Token(1));
    let setting = Setting { keys_max: 8, ..Setting::default() };
    bench.node = Node::open(&bench.disk, &bench.tables, &store_options(), setting, bench.now).unwrap();
    assert_eq!(bench.node.shards[0].places().taken(), (6, 0));
    let known = create(&mut bench, "Token(1) 0", Caller::Token(1));
    bench.rest();
    assert!(matches!(known.poll(), Some(Reply::Repeat(_))));
    let ticket = create(&mut bench, "one more", Caller::Token(1));
    bench.rest();
    created(&ticket);
}
