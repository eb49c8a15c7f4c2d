//! A store that holds all the specification versions it may.

use std::sync::Arc;

use knhk::engine::places::Places;
use knhk::engine::prepare;
use knhk::engine::registry::Registry;
use knhk::engine::request::{Class, Message, Reply, Request};
use knhk::engine::room::Room;
use knhk::engine::service::Once;
use knhk::engine::shard::{Bounds, EFFORT, Keys, Options, Progress, SPECIFICATIONS_MAX, Shard, Start};
use knhk::engine::ticket::ticket;
use knhk::engine::turn::{Limits, NoTimer};
use knhk::error::Kind;
use knhk::id::PARTITION_COUNT;

use super::{SEQUENCE, START};

/// Asks a shard that has registered so many versions for one more, and returns what it says.
fn register_after(spec_count: u32, specifications_bytes_max: usize) -> Reply {
    let start = Start {
        positions: vec![0; PARTITION_COUNT],
        last_cases: vec![None; PARTITION_COUNT],
        time: START,
        keys: Keys::new(Places::new(10, 1), 0),
        service_keys: Vec::new(),
        spec_count,
        unfinished: Vec::new(),
    };
    let limits = Limits { automated_steps_max: 100, frame_bytes: 20_000, judged_states: 0, effort: EFFORT };
    let bounds = Bounds {
        automated_steps_max: 100,
        key_us: 1,
        cache_bytes: 1 << 20,
        undurable_bytes_max: 1 << 20,
        specifications_bytes_max,
    };
    let options = Options { shard: 0, limits, bounds, batch_bytes_max: 40_000 };
    let mut shard = Shard::new(options, Arc::new(Registry::default()), Arc::new(Progress::default()), start);
    let prepared = prepare::registration(SEQUENCE, 40_000, &Once::default(), || "own".to_owned()).unwrap();
    let (_waits, answerer) = ticket();
    let request = Request {
        act: prepared.act,
        key: prepared.key,
        place: None,
        class: Class::Single,
        asked_at: None,
        answerer,
        traced: None,
        room: Room::default(),
    };
    let mut turned = shard.turn(START, vec![Message::Requests(vec![request])], &mut NoTimer);
    turned.batches.remove(0).replies.remove(0).1
}

#[test]
fn one_version_too_many_is_refused_for_good_and_not_as_busy() {
    assert!(matches!(register_after(SPECIFICATIONS_MAX - 1, 1 << 20), Reply::Registered(_)));
    for (spec_count, bytes_max) in [(SPECIFICATIONS_MAX, 1 << 20), (0, 1_000)] {
        let reply = register_after(spec_count, bytes_max);
        let Reply::Refused(refusal) = reply else { panic!("not refused: {reply:?}") };
        assert_eq!((refusal.code.0, refusal.kind), (317, Kind::Conflict), "{refusal}");
    }
}
