//! Copies of the state folder, taken while the service works as hard as it can: everything acknowledged before the
//! copy began is in it, once, and nothing that nobody sent.
//!
//! Segments are small, checkpoints and snapshots frequent, and the grace is little longer than a copy takes, so that
//! sealing, history, snapshots and trimming all happen while it is taken. `KNHK_HOT_TAR_ROUNDS` and
//! `KNHK_HOT_TAR_SEED` say how often and with which choices; scripts/hot-tar sets them.

mod clients;
mod copy;
mod restored;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use self::clients::Clients;
use self::copy::Copy;
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::Place;
use crate::support::wait;

/// Rounds in the ordinary suite.
const ROUNDS: u64 = 1;
/// Rounds until a new store is begun: comparing takes the longer the more there is.
const ROUNDS_PER_STORE: u64 = 5;
/// Whether the store writes history and snapshots, and trims.
const HAS_UPKEEP: bool = false;
/// Connections that send batches.
const CLIENTS: u64 = 3;
/// Acknowledged operations before the first copy begins, and before each later one.
const WARM_UP: (u64, u64) = (3_000, 1_000);

fn number(name: &str, otherwise: u64) -> u64 {
    wait::variable(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Names of the state files, by which one sees what happened meanwhile.
fn names(state: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["journal", "history", "snapshot"] {
        let Ok(entries) = fs::read_dir(state.join(folder)) else { continue };
        let found = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.extend(found.filter(|name| ending(name) != "tmp"));
    }
    names
}

fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

/// What happened while copies were taken.
#[derive(Debug, Default)]
struct Happened {
    sealed: usize,
    histories: usize,
    snapshots: usize,
    trimmed: usize,
}

impl Happened {
    fn between(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Self {
        let count = |left: &BTreeSet<String>, right: &BTreeSet<String>, wanted: &str| {
            left.difference(right).filter(|name| ending(name) == wanted).count()
        };
        Self {
            sealed: count(after, before, "jnl"),
            histories: count(after, before, "his"),
            snapshots: count(after, before, "snp"),
            trimmed: count(before, after, "jnl"),
        }
    }

    fn check(&self, copy: Copy) {
        assert!(self.sealed > 0, "no segment was sealed during {copy:?}: {self:?}");
        if HAS_UPKEEP {
            assert!(self.histories > 0 && self.snapshots > 0, "{copy:?} was too short: {self:?}");
            assert!(self.trimmed > 0, "nothing was trimmed during {copy:?}: {self:?}");
        }
    }
}

#[test]
fn a_copy_taken_under_load_holds_everything_acknowledged_before_it_began() {
    let (rounds, seed) = (number("KNHK_HOT_TAR_ROUNDS", ROUNDS), number("KNHK_HOT_TAR_SEED", 1));
    let mut out = std::io::stdout();
    let _ = writeln!(out, "hot-tar: KNHK_HOT_TAR_SEED={seed}, {rounds} rounds");
    let mut random = Random(seed);
    for first in (0..rounds).step_by(usize::try_from(ROUNDS_PER_STORE).unwrap()) {
        copy_one_store(first..rounds.min(first + ROUNDS_PER_STORE), &mut random);
    }
}

fn copy_one_store(rounds: Range<u64>, random: &mut Random) {
    let mut place = Place::with(&[
        ("segment_bytes", "131072"),
        ("frame_bytes_max", "65536"),
        ("body_bytes_max", "65536"),
        ("checkpoint_seconds", "1"),
        // Each operation has a key, and five minutes at full load use more than the default.
        ("idempotency_keys_max", "100000000"),
        ("checkpoint_bytes", "1048576"),
    ]);
    let mut service = place.start();
    load::register(&service);
    let mut clients = Clients::new(CLIENTS, random);
    for round in rounds.clone() {
        let copy = Copy::of_round(round);
        if !copy.is_possible() {
            wait::absent(&format!("hot-tar: {copy:?}, because its program is not here"));
            continue;
        }
        let restored = Place::with(&[("checkpoint_seconds", "1"), ("idempotency_keys_max", "100000000")]);
        let warm_up = if round == rounds.start { WARM_UP.0 } else { WARM_UP.1 };
        let (before, happened) = clients.while_working(service.address, |clients| {
            clients.wait_for(warm_up);
            let known = clients.known();
            let names_before = names(&place.path("state"));
            copy.take(&place.path("state"), &restored.path("state"), random);
            (known, Happened::between(&names_before, &names(&place.path("state"))))
        });
        happened.check(copy);
        let found = restored::check(restored, &before, &clients.known(), random);
        let mut out = std::io::stdout();
        let _ = writeln!(out, "hot-tar: round {}, {copy:?}, {happened:?}, {found}", round + 1);
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
}
