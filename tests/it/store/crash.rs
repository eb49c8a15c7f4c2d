//! Crashes, lost power and errors of the disk, at every place where they can happen.

use knhk::store::{Error, Level, PlantedBug};

use super::Bench;
use crate::sim::disk::Faults;

#[test]
fn what_was_appended_is_there_after_the_power_was_lost() {
    let mut bench = Bench::new(1);
    for _ in 0..5 {
        let mut store = bench.open().unwrap();
        for step in 0..20 {
            bench.append(&mut store).unwrap();
            if step == 11 {
                store.follower.checkpoint().unwrap();
            }
        }
        bench.check(&store).unwrap();
        drop(store);
        bench.disk.power_cycle();
    }
    let store = bench.open().unwrap();
    bench.check(&store).unwrap();
    assert!(bench.segments().len() > 10, "segments are rolled: {:?}", bench.segments());
}

/// How a run is interrupted.
#[derive(Debug, Clone, Copy)]
enum End {
    Restart,
    PowerCycle,
}

/// Opens, appends and checkpoints until the disk crashes or the work is done; errors of the disk are taken as they come.
fn work(bench: &mut Bench, frames: u64) -> Result<(), String> {
    let mut store = match bench.open() {
        Ok(store) => store,
        Err(_) if bench.disk.is_crashed() => return Ok(()),
        Err(Error::Io { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    bench.check(&store).or_else(|error| if bench.disk.is_crashed() { Ok(()) } else { Err(error) })?;
    let mut preparer = store.journal.preparer();
    for step in 0..frames {
        bench.clock += bench.disk.take_late_us();
        if step % 5 == 3 {
            let _ = preparer.step();
        }
        if let Err(error) = bench.append(&mut store)
            && !error.is_outcome_unknown()
        {
            return Err(error.to_string());
        }
        if step % 7 == 6 {
            store.follower.checkpoint().map_err(|error| error.to_string())?;
        }
    }
    let _ = store.marker.stopped();
    Ok(())
}

/// Works, crashes after `crash_at` calls, works on, loses power, and checks.
fn run(seed: u64, crash_at: u64, faults: Faults, planted: Option<PlantedBug>) -> Result<(), String> {
    let mut bench = Bench::new(seed);
    bench.options.planted = planted;
    bench.disk.set_faults(faults);
    bench.disk.crash_at(Some(crash_at));
    let ends = if seed.is_multiple_of(2) {
        [End::PowerCycle, End::PowerCycle, End::PowerCycle]
    } else {
        [End::Restart, End::PowerCycle, End::Restart]
    };
    for (phase, end) in (0_u64..).zip(ends) {
        // Now and then there is little space, for a while.
        let is_tight = seed % 5 == phase + 2;
        let budget = bench.disk.used_bytes() + usize::try_from(bench.draw(60_000)).unwrap();
        bench.disk.set_budget(is_tight.then_some(budget));
        work(&mut bench, 12)?;
        match end {
            End::Restart => bench.disk.restart(),
            End::PowerCycle => bench.disk.power_cycle(),
        }
    }
    bench.disk.set_faults(Faults::default());
    bench.disk.set_budget(None);
    bench.disk.power_cycle();
    let store = bench.open().map_err(|error| error.to_string())?;
    bench.check(&store)?;
    let report = bench.verify(Level::Full);
    match report.findings.first() {
        None => Ok(()),
        Some(finding) => Err(format!("verify: {finding}")),
    }
}

const ROUGH: Faults = Faults { write_errors: 20, sync_errors: 60, late_syncs: 20 };

#[test]
fn a_crash_between_any_two_disk_calls_loses_nothing_acknowledged() {
    // An even seed loses power each time, an odd one ends the process.
    for seed in 0..2 {
        let mut bench = Bench::new(seed);
        work(&mut bench, 12).unwrap();
        let calls = bench.disk.calls();
        assert!(calls > 30, "{calls}");
        for crash_at in 0..=calls {
            run(seed, crash_at, Faults::default(), None)
                .unwrap_or_else(|error| panic!("SEED={seed} crash at {crash_at}: {error}"));
        }
    }
}

#[test]
fn errors_of_the_disk_lose_nothing_acknowledged() {
    for seed in 0..80 {
        run(seed, 20 + seed * 7 % 100, ROUGH, None).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    }
}

/// Returns the first seed that finds a planted bug.
fn first_finding(planted: PlantedBug) -> Option<(u64, String)> {
    (0..300).find_map(|seed| {
        run(seed, 20 + seed * 7 % 100, ROUGH, Some(planted)).err().map(|error| (seed, error))
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "the seeds are worth knowing")]
fn planted_bugs_are_found() {
    for planted in [
        PlantedBug::AcknowledgeBeforeSync,
        PlantedBug::WriteOnAfterFailedSync,
        PlantedBug::TrustLastFrame,
        PlantedBug::SkipTornTailCut,
    ] {
        let found = first_finding(planted).unwrap_or_else(|| panic!("{planted:?} is not found"));
        println!("{planted:?}: SEED={} {}", found.0, found.1);
    }
}
