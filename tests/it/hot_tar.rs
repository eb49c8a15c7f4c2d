//! Copies of the state folder, taken while the service works as hard as it can: everything acknowledged before the
//! copy began is in it, once, and nothing that nobody sent.
//!
//! Segments are small, a snapshot is asked for again and again, and the grace is little longer than a copy takes, so
//! that all the time segments are sealed, history and snapshots written, and segments and snapshots trimmed. Each copy
//! stops midway until each of these has happened since it began. History written anew, and cases on their way into an
//! archive, are in tests/it/archive.rs: keys of clients that are still good would hold them back here.
//!
//! Segments also stay until keys that the service made itself are ten minutes old, by the wall clock: libfaketime lets
//! that one run ahead by two minutes a second. The monotonic clock is left alone. So the grace passes in seconds of the
//! copy, and no timeout of the service is shortened.
//!
//! `KNHK_HOT_TAR_ROUNDS` and `KNHK_HOT_TAR_SEED` say how often and with which choices; scripts/hot-tar sets them.

mod backup;
mod clients;
mod copy;
mod restored;
mod upkeep;

use std::io::Write;
use std::ops::Range;

use self::clients::{Case, Clients, Working};
pub(crate) use self::copy::Copy;
pub(crate) use self::upkeep::{GRACE, Seen};
use self::upkeep::{Happened, Upkeep};
use crate::support::fake_time;
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::Place;
use crate::support::wait;

/// Rounds in the ordinary suite.
const ROUNDS: u64 = 1;
/// Rounds until a new store is begun: a snapshot, and comparing, take the longer the more there is.
const ROUNDS_PER_STORE: u64 = 2;
/// Times that a copy is tried that takes longer than the grace.
const TRIES_MAX: u32 = 5;
/// Connections that send batches.
const CLIENTS: u64 = 3;
/// Acknowledged operations before a copy begins, at least.
const WARM_UP: u64 = 3_000;

fn number(name: &str, otherwise: u64) -> u64 {
    wait::variable(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Returns how many copies are to be taken, and where chance begins.
pub(crate) fn rounds_and_seed() -> (u64, u64) {
    (number("KNHK_HOT_TAR_ROUNDS", ROUNDS), number("KNHK_HOT_TAR_SEED", 1))
}

#[test]
fn a_copy_taken_under_load_holds_everything_acknowledged_before_it_began() {
    let (rounds, seed) = rounds_and_seed();
    let mut out = std::io::stdout();
    let _ = writeln!(out, "hot-tar: KNHK_HOT_TAR_SEED={seed}, {rounds} rounds");
    let mut random = Random(seed);
    for first in (0..rounds).step_by(usize::try_from(ROUNDS_PER_STORE).unwrap()) {
        copy_one_store(first..rounds.min(first + ROUNDS_PER_STORE), &mut random);
    }
}

fn copy_one_store(rounds: Range<u64>, random: &mut Random) {
    let mut place = Place::with(&[
        ("segment_bytes", "1048576"),
        ("frame_bytes_max", "65536"),
        ("body_bytes_max", "65536"),
        ("checkpoint_seconds", "5"),
        ("checkpoint_bytes", "16777216"),
        ("backup_grace_hours", GRACE),
        // The clock goes far ahead, and each operation has a key.
        ("idempotency_hours", "8760"),
        ("idempotency_keys_max", "100000000"),
    ]);
    fake_time::set(&place, "+0m");
    let mut service = fake_time::start(&mut place);
    load::register(&service);
    let mut clients = Clients::new(CLIENTS, random);
    let mut upkeep = Upkeep::new(&place);
    for round in rounds {
        let copy = Copy::of_round(round);
        if !copy.is_possible() {
            wait::absent(&format!("hot-tar: {copy:?}, because its program is not here"));
            continue;
        }
        let taken = clients.while_working(service.address, |clients| {
            clients.wait_for(WARM_UP);
            upkeep.while_busy(|| {
                upkeep::wait_until_trimming(&place);
                clients.hurry();
                take(copy, &place, clients, random)
            })
        });
        assert!(taken.happened.is_all(), "{copy:?}: {:?}\n{}", taken.happened, place.log());
        let found = restored::check(taken.restored, &taken.known, &clients.known(), random);
        let mut out = std::io::stdout();
        let _ = writeln!(out, "hot-tar: round {}, {copy:?}, {:?}, {found}", round + 1, taken.happened);
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
}

/// A copy that was taken.
struct Taken {
    restored: Place,
    /// What was acknowledged before it began.
    known: Vec<Case>,
    happened: Happened,
}

/// Takes a copy, anew when it took longer than the grace, as whoever takes copies has to.
fn take(copy: Copy, place: &Place, clients: &Working<'_>, random: &mut Random) -> Taken {
    let state = place.path("state");
    for _ in 0..TRIES_MAX {
        let restored = Place::with(&[("checkpoint_seconds", "1"), ("idempotency_keys_max", "100000000")]);
        let known = clients.known();
        let before = Seen::now(&state);
        copy.take(&state, &restored.path("state"), random, &|| upkeep::wait_until_all(&before, &state));
        if before.is_whole(&state) {
            return Taken { restored, known, happened: Happened::between(&before, &Seen::now(&state)) };
        }
    }
    panic!("{copy:?} took longer than a grace of {GRACE}, {TRIES_MAX} times");
}
