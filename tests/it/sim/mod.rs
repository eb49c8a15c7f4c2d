//! The simulator: the real engine, journal and recovery in one thread, over a simulated world, replayed from a seed.
//!
//! `KNHK_SIM_SEEDS` says how many seeds, `KNHK_SIM_SEED` runs one and prints what happened. Start at [`world::World`].

mod by_hand;
mod check;
mod client;
mod copy;
pub(crate) mod disk;
mod fair;
mod node;
mod random;
mod stats;
mod world;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use knhk::engine::shard::PlantedBug as PlantedKeys;
use knhk::store::PlantedBug;
use stats::Stats;
use world::{Plan, World};

/// Seeds in the suite.
const SEEDS: u64 = 2_000;
/// Within so many seeds each planted bug is found.
const PLANTED_SEEDS_MAX: u64 = 1_000;

#[expect(
    clippy::disallowed_methods,
    reason = "says how many worlds are run, nothing about what happens in one"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed; a violated check and a panic of the engine are both what the simulator looks for.
fn run(seed: u64, plan: Plan) -> Result<Stats, String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, plan).run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

#[test]
fn every_seed_keeps_what_was_acknowledged_and_doubles_nothing() {
    let mut out = std::io::stdout();
    if let Some(seed) = number("KNHK_SIM_SEED") {
        writeln!(out, "SEED={seed}").unwrap();
        let stats = run(seed, Plan { is_loud: true, ..Plan::default() });
        writeln!(out, "{stats:?}").unwrap();
        stats.unwrap();
        return;
    }
    let seeds = number("KNHK_SIM_SEEDS").unwrap_or(SEEDS);
    let total = run_all(seeds);
    writeln!(out, "sim: {seeds} seeds, {total}").unwrap();
    assert!(
        total.crashes > 0 && total.acknowledged > 0 && total.failed_appends > 0,
        "nothing was put to the test"
    );
    assert!(
        total.histories > 0 && total.snapshots > 0 && total.removed > 0 && total.from_snapshot > 0,
        "nothing was kept beside the journal"
    );
    assert!(total.copies > 0, "no copy came to its end");
    assert!(
        total.archived > 0 && total.restored > 0 && total.rewritten > 0 && total.left_over > 0,
        "nothing came of archives"
    );
    assert!(total.without_place > 0 && total.not_remembered > 0, "no share of the keys was used up");
    assert!(
        total.former > 0 && total.upgrades > 0 && total.refusals > 0,
        "the release before had nothing to do with it"
    );
}

/// Runs seeds 0 to `seeds` on all cores. A seed's world has nothing to do with another's, so which core runs it when
/// says nothing about what happens in it; the lowest seed that fails is told.
fn run_all(seeds: u64) -> Stats {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Stats::default());
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failed.lock().unwrap().is_some() {
                return;
            }
            match run(seed, Plan::default()) {
                Ok(stats) => total.lock().unwrap().add(&stats),
                Err(why) => {
                    let mut failed = failed.lock().unwrap();
                    if failed.as_ref().is_none_or(|(known, _)| seed < *known) {
                        *failed = Some((seed, why));
                    }
                }
            }
            if seeds > SEEDS && seed % 1_000 == 999 {
                writeln!(std::io::stdout(), "sim: {} seeds of {seeds}", seed + 1).unwrap_or_default();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    if let Some((seed, why)) = failed.into_inner().unwrap() {
        panic!("SEED={seed}: {why}");
    }
    total.into_inner().unwrap()
}

fn finds(plan: Plan, name: &str) {
    let found = (0..PLANTED_SEEDS_MAX).find_map(|seed| run(seed, plan).err().map(|why| (seed, why)));
    let (seed, why) = found.unwrap_or_else(|| panic!("the planted bug {name} was not found"));
    let why = why.lines().next().unwrap_or_default();
    let mut out = std::io::stdout();
    writeln!(out, "sim: {name}: found by SEED={seed}: {why}").unwrap();
}

#[test]
fn a_frame_acknowledged_before_its_sync_is_found() {
    finds(Plan::with_bug(PlantedBug::AcknowledgeBeforeSync), "acknowledge before sync");
}

#[test]
fn writing_on_after_a_failed_sync_is_found() {
    finds(Plan::with_bug(PlantedBug::WriteOnAfterFailedSync), "write on after a failed sync");
}

#[test]
fn trusting_the_last_frame_at_opening_is_found() {
    finds(Plan::with_bug(PlantedBug::TrustLastFrame), "trust the last frame");
}

#[test]
fn skipping_the_torn_tail_cut_is_found() {
    finds(Plan::with_bug(PlantedBug::SkipTornTailCut), "skip the torn tail cut");
}

#[test]
fn a_segment_that_goes_before_the_grace_is_found() {
    finds(Plan::with_bug(PlantedBug::DropBeforeGrace), "drop before the grace");
}

#[test]
fn a_snapshot_beyond_the_journal_that_is_believed_is_found() {
    finds(Plan::with_bug(PlantedBug::SnapshotBeyondJournal), "a snapshot beyond the journal");
}

#[test]
fn a_store_that_is_trimmed_before_its_upgrade_is_found() {
    finds(Plan::with_bug(PlantedBug::TrimBeforeUpgrade), "trim before the upgrade");
}

#[test]
fn a_place_that_an_expired_key_keeps_is_found() {
    let planted_keys = Some(PlantedKeys::KeepPlaceOfExpired);
    finds(Plan { planted_keys, ..Plan::default() }, "keep the place of an expired key");
}

#[test]
fn a_key_that_is_remembered_without_effect_is_found() {
    let planted_keys = Some(PlantedKeys::KeepKeyWithoutEffect);
    finds(Plan { planted_keys, ..Plan::default() }, "remember a key without effect");
}

#[test]
fn an_expression_that_stays_under_way_for_nobody_is_found() {
    let planted_keys = Some(PlantedKeys::KeepEvaluationOfNobody);
    finds(Plan { planted_keys, ..Plan::default() }, "keep an expression of nobody under way");
}

#[test]
fn a_case_that_is_put_off_for_ever_is_found() {
    let planted_keys = Some(PlantedKeys::ForgetWhatIsPutOff);
    finds(Plan { planted_keys, ..Plan::default() }, "forget what is put off");
}

#[test]
fn a_batch_that_never_gives_way_is_found() {
    finds(Plan { never_gives_way: true, ..Plan::default() }, "a batch that never gives way");
}

#[test]
fn forgetting_a_key_after_replay_is_found() {
    finds(Plan { forgets_keys: true, ..Plan::default() }, "forget a key after replay");
}
