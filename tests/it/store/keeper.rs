//! History, snapshots and what leaves: nothing too early, and everything acknowledged still there.

use expect_test::{Expect, expect};
use knhk::store::{FileKind, Keeper, Kept, Moment, Now, Trim, look};
use std::fmt::Write as _;

use super::*;

const BOOT: [u8; 16] = [1; 16];

pub(super) struct Keeping {
    pub(super) bench: Bench,
    pub(super) store: Store,
    keeper: Keeper<SimDisk>,
    us: u64,
}

impl Keeping {
    pub(super) fn over(mut bench: Bench) -> Self {
        let store = bench.open().unwrap();
        let keeper = Keeper::new(Arc::new(bench.disk.clone()), store.journal.reader(), &bench.options);
        Self { bench, store, keeper, us: 1_000_000 }
    }

    pub(super) fn new() -> Self {
        Self::over(Bench::new(11))
    }

    pub(super) fn now(&self) -> Now {
        Now { moment: Moment { boot: BOOT, us: self.us }, time: Time(self.bench.clock) }
    }

    pub(super) fn append(&mut self, frames: usize) {
        for _ in 0..frames {
            self.bench.append(&mut self.store).unwrap();
        }
    }

    /// Steps until there is nothing to do; returns how many history files were written and which files went.
    pub(super) fn settle(&mut self, trim: Trim) -> (usize, Vec<FileKind>) {
        let (mut written, mut removed) = (0, Vec::new());
        for _ in 0..1_000 {
            match self.keeper.step(self.now(), trim, &mut |_| Ok(())).unwrap() {
                Kept::Nothing => return (written, removed),
                Kept::History { .. } => written += 1,
                Kept::Removed { kind, .. } => removed.push(kind),
                Kept::Checked { .. } | Kept::Rewritten { .. } => {}
                Kept::Damaged { name, why, .. } => panic!("{name}: {why}"),
            }
        }
        panic!("it never settles");
    }

    pub(super) fn snapshot(&mut self) -> Option<u64> {
        self.store.follower.checkpoint().unwrap();
        let tables = Arc::clone(&self.bench.tables);
        let moment = self.now().moment;
        self.keeper.snapshot(&*tables, moment, 0, &mut |_| Ok(())).unwrap().map(|sealed| sealed.seq)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let files = self.bench.disk.files(&self.bench.options.state_dir.join(folder));
        files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn sheet(&mut self, expected: Expect) {
        let mut text = String::new();
        let rows = self.keeper.sheet(self.now(), Trim::Due).unwrap();
        let mut last = None;
        let mut count = 0;
        for row in rows.iter().map(|row| Some((row.kind, row.when))).chain([None]) {
            if row != last {
                if let Some((kind, when)) = last {
                    writeln!(text, "{count} {kind:?} {when:?}").unwrap();
                }
                count = 0;
            }
            last = row;
            count += 1;
        }
        expected.assert_eq(&text);
    }
}

#[test]
fn segments_go_a_grace_after_both_history_and_a_snapshot_cover_them() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.sheet(expect![[r"
        8 Segment Not(History)
    "]]);
    let (written, removed) = kept.settle(Trim::Due);
    assert!(written > 3 && removed.is_empty(), "{written} {removed:?}");
    kept.us += 10 * GRACE_US;
    kept.sheet(expect![[r"
        8 Segment Not(Snapshot)
        8 History Not(Newer)
    "]]);
    assert_eq!(kept.settle(Trim::Due), (0, Vec::new()));
    kept.snapshot().unwrap();
    kept.us += GRACE_US - 1;
    kept.sheet(expect![[r"
        8 Segment In(1)
        8 History Not(Newer)
        1 Snapshot Not(Newer)
    "]]);
    assert_eq!(kept.settle(Trim::Due), (0, Vec::new()));
    let before = kept.names("journal").len();
    kept.us += 1;
    let (_, removed) = kept.settle(Trim::Due);
    // All but the head.
    assert_eq!(removed, vec![FileKind::Segment; before - 1]);
    assert_eq!(kept.names("journal").len(), 1);
    assert!(kept.store.journal.reader().first_seq() > 20);
    kept.bench.check_entries(&kept.store).unwrap();
    // Histories go on across the border.
    kept.append(30);
    kept.settle(Trim::Due);
    kept.bench.check_entries(&kept.store).unwrap();
}

impl Keeping {
    /// Steps until there is nothing to do; returns what was done, each as one word and a name.
    fn steps(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..1_000 {
            match self.keeper.step(self.now(), Trim::Due, &mut |_| Ok(())).unwrap() {
                Kept::Nothing => return text,
                Kept::History { name, .. } => writeln!(text, "wrote {name}").unwrap(),
                Kept::Checked { name } => writeln!(text, "checked {name}").unwrap(),
                Kept::Damaged { name, .. } => writeln!(text, "damaged {name}").unwrap(),
                Kept::Removed { name, .. } => writeln!(text, "removed {name}").unwrap(),
                Kept::Rewritten { name, .. } => writeln!(text, "wrote {name} anew").unwrap(),
            }
        }
        panic!("it never settles");
    }
}

#[test]
fn nothing_goes_on_the_word_of_a_damaged_history_file_which_is_written_anew() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    let (segments, history) = (kept.names("journal"), kept.names("history"));
    kept.bench.flip("history", &history[2]);
    kept.us += GRACE_US;
    let done = kept.steps();
    let third = format!("damaged {}\nwrote {}\n", history[2], history[2]);
    assert!(done.contains(&third), "{done}");
    // Those before it are gone, and its own stay a grace longer, as those behind it.
    let removed = done.lines().filter(|line| line.starts_with("removed")).count();
    assert_eq!((removed, kept.names("journal")), (2, segments[2..].to_vec()), "{done}");
    assert_eq!(kept.names("history"), history);
    assert!(kept.keeper.damages().unwrap().is_empty());
    kept.us += GRACE_US - 1;
    assert_eq!(kept.steps(), "");
    kept.us += 1;
    kept.settle(Trim::Due);
    assert_eq!(kept.names("journal").len(), 1);
    kept.bench.check_entries(&kept.store).unwrap();
    assert!(kept.bench.verify(Level::Full).findings.is_empty());
}

#[test]
fn what_comes_later_leaves_though_history_of_what_is_gone_is_damaged() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.settle(Trim::Now);
    let history = kept.names("history");
    // One that cannot even be opened, and one that is damaged inside; another keeper finds both.
    kept.bench.flip("history", &history[1]);
    let path = kept.bench.options.state_dir.join("history").join(&history[2]);
    kept.bench.disk.damage(&path, |bytes| bytes[0] ^= 1);
    let reader = kept.store.journal.reader();
    kept.keeper = Keeper::new(Arc::new(kept.bench.disk.clone()), reader, &kept.bench.options);
    kept.append(60);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.us += 2 * GRACE_US;
    kept.settle(Trim::Due);
    assert_eq!(kept.names("journal").len(), 1, "the disk would fill for ever");
    let damages = kept.keeper.damages().unwrap();
    assert!(damages.len() == 1 && damages[0].contains(&history[2]), "{damages:?}");
}

#[test]
fn nothing_goes_on_the_word_of_a_damaged_snapshot_and_another_is_made() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    let first = kept.snapshot().unwrap();
    kept.append(3);
    let second = kept.snapshot().unwrap();
    let names = kept.names("snapshot");
    kept.bench.flip("snapshot", &names[1]);
    let before = kept.names("journal").len();
    kept.us += GRACE_US;
    let done = kept.steps();
    // The first covers most of the journal, and stays as long as the second is all that there is behind it.
    assert!(done.contains(&format!("damaged {}", names[1])), "{done}");
    assert!(done.contains("removed") && kept.names("journal").len() < before, "{done}");
    assert_eq!(kept.names("snapshot"), names, "{done}");
    assert!(kept.keeper.damages().unwrap()[0].contains(&names[1]));
    assert_eq!(kept.keeper.snapshot_seq().unwrap(), first);
    assert!(kept.keeper.wants_snapshot(0, u64::MAX).unwrap());
    assert_eq!(kept.snapshot(), Some(second));
    assert!(!kept.keeper.wants_snapshot(0, u64::MAX).unwrap());
    assert!(kept.keeper.damages().unwrap().is_empty());
    kept.us += GRACE_US;
    assert!(kept.steps().contains(&format!("removed {}", names[0])));
    assert!(kept.bench.verify(Level::Full).findings.is_empty());
}

#[test]
fn a_snapshot_covers_nothing_behind_it_and_an_older_one_goes_a_grace_after_a_newer() {
    let mut kept = Keeping::new();
    kept.append(20);
    let first = kept.snapshot().unwrap();
    assert_eq!(kept.snapshot(), None, "nothing is new");
    kept.append(20);
    kept.settle(Trim::Due);
    kept.us += GRACE_US;
    kept.settle(Trim::Due);
    let reader = kept.store.journal.reader();
    assert!(reader.first_seq() > 1 && reader.first_seq() <= first + 1, "{}", reader.first_seq());
    kept.us += 5 * GRACE_US;
    let second = kept.snapshot().unwrap();
    kept.us += GRACE_US - 1;
    assert_eq!(kept.settle(Trim::Due), (0, Vec::new()));
    assert_eq!(kept.names("snapshot").len(), 2);
    kept.us += 1;
    let (_, removed) = kept.settle(Trim::Due);
    assert!(removed.contains(&FileKind::Snapshot) && removed.contains(&FileKind::Segment), "{removed:?}");
    assert_eq!(kept.names("snapshot"), [format!("{second:020}.snp")]);
    kept.us += 100 * GRACE_US;
    assert_eq!(kept.settle(Trim::Now), (0, Vec::new()), "the newest stays");
    kept.bench.check_entries(&kept.store).unwrap();
}

#[test]
fn frames_that_are_young_stay_whatever_covers_them() {
    let mut bench = Bench::new(12);
    bench.options.keep_us = 600_000_000;
    let mut kept = Keeping::over(bench);
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.us += 2 * GRACE_US;
    assert_eq!(kept.settle(Trim::Now).1, []);
    kept.bench.clock += 600_000_000 - 100_000;
    assert_eq!(kept.settle(Trim::Now).1, []);
    kept.bench.clock += 100_000;
    assert!(kept.settle(Trim::Now).1.len() > 3);
    // A clock that jumps ahead for a moment: the times of frames are ahead of it for a year.
    let ahead_us = 365 * 86_400_000_000;
    kept.bench.clock += ahead_us;
    kept.append(30);
    kept.bench.clock -= ahead_us;
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.settle(Trim::Now);
    kept.us += 600_000_000 - 1;
    assert_eq!(kept.settle(Trim::Now).1, []);
    kept.us += 1;
    assert!(kept.settle(Trim::Now).1.len() > 3);
}

#[test]
fn trimming_now_waits_for_no_grace_but_for_what_covers() {
    let mut kept = Keeping::new();
    kept.append(30);
    assert_eq!(kept.settle(Trim::Now).1, []);
    kept.snapshot().unwrap();
    assert_eq!(kept.settle(Trim::Due).1, []);
    assert!(kept.settle(Trim::Now).1.len() > 3);
    kept.bench.check_entries(&kept.store).unwrap();
}

#[test]
fn after_the_machine_began_anew_the_grace_begins_with_the_opening() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    // The same store, looked after by another process: the same run of the machine, then another.
    for (boot, us, expected) in
        [(BOOT, 1_000_000 + GRACE_US - 1, 0), ([2; 16], 50, 0), (BOOT, 1_000_000 + GRACE_US, 5)]
    {
        let reader = kept.store.journal.reader();
        let mut keeper = Keeper::new(Arc::new(kept.bench.disk.clone()), reader, &kept.bench.options);
        let mut now = Now { moment: Moment { boot, us }, ..kept.now() };
        let mut removed = |now| {
            let mut step = || keeper.step(now, Trim::Due, &mut |_| Ok(())).unwrap();
            let step = |_| loop {
                match step() {
                    Kept::Removed { .. } => return true,
                    Kept::Checked { .. } => {}
                    other => panic!("{other:?}"),
                }
            };
            (0..expected).all(step) && expected > 0
        };
        assert_eq!(removed(now), expected > 0);
        if boot != BOOT {
            now.moment.us += GRACE_US - 1;
            assert_eq!(keeper.step(now, Trim::Due, &mut |_| Ok(())).unwrap(), Kept::Nothing);
        }
    }
}

#[test]
fn a_store_of_the_format_before_loses_nothing_until_it_is_upgraded() {
    let mut bench = Bench::new(13);
    bench.options.format_max = 1;
    drop(bench.open().unwrap());
    bench.options.format_max = knhk::store::FORMAT;
    let mut kept = Keeping::over(bench);
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.us += 2 * GRACE_US;
    assert_eq!(kept.settle(Trim::Now), (0, Vec::new()));
    kept.sheet(expect![[r"
        1 Void Not(Upgrade)
        8 Segment Not(Upgrade)
        8 History Not(Newer)
        1 Snapshot Not(Newer)
    "]]);
    kept.store.journal.reader().upgrade(&kept.bench.options).unwrap();
    assert!(kept.settle(Trim::Due).1.len() > 3);
}

#[test]
fn the_bug_that_drops_before_the_grace_does() {
    let mut bench = Bench::new(14);
    bench.options.planted = Some(knhk::store::PlantedBug::DropBeforeGrace);
    let mut kept = Keeping::over(bench);
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    assert!(kept.settle(Trim::Due).1.len() > 3);
}

#[test]
fn void_segments_go_with_those_that_made_them_void() {
    let mut bench = Bench::new(15);
    for _ in 0..3 {
        // Each opening holds the last frame again, and makes the segment before void that held nothing else.
        drop(bench.open().unwrap());
    }
    let mut kept = Keeping::over(bench);
    kept.sheet(expect![[r"
        3 Void Not(Complete)
    "]]);
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.sheet(expect![[r"
        3 Void In(60000000)
        7 Segment In(60000000)
        7 History Not(Newer)
        1 Snapshot Not(Newer)
    "]]);
    kept.us += GRACE_US;
    let (_, removed) = kept.settle(Trim::Due);
    assert_eq!(removed.iter().filter(|kind| **kind == FileKind::Void).count(), 3);
    assert_eq!(kept.names("journal").len(), 1);
}

#[test]
fn small_segments_share_a_history_file() {
    let mut bench = Bench::new(16);
    bench.options.hurried_bytes = 4096;
    for _ in 0..9 {
        let mut store = bench.open().unwrap();
        bench.append(&mut store).unwrap();
    }
    let mut kept = Keeping::over(bench);
    let segments = kept.names("journal").len();
    let (written, _) = kept.settle(Trim::Due);
    assert!(written > 0 && written < segments / 2, "{written} for {segments}");
    kept.snapshot().unwrap();
    kept.settle(Trim::Now);
    // The head, and what it made void.
    assert_eq!(kept.names("journal").len(), 2);
    kept.bench.check_entries(&kept.store).unwrap();
}

#[test]
fn what_fails_is_done_later_and_leaves_nothing_behind() {
    let mut kept = Keeping::new();
    kept.append(30);
    let mut failures = 0;
    for round in 0..200 {
        match round % 3 {
            0 => kept.bench.disk.fail_next_write(),
            1 => kept.bench.disk.fail_next_sync(),
            _ => {}
        }
        let now = kept.now();
        match kept.keeper.step(now, Trim::Due, &mut |_| Ok(())) {
            Ok(Kept::Nothing) => break,
            Ok(_) => {}
            Err(_) => failures += 1,
        }
    }
    assert!(failures > 5, "{failures}");
    kept.bench.disk.fail_next_write();
    let (tables, moment) = (Arc::clone(&kept.bench.tables), kept.now().moment);
    kept.store.follower.checkpoint().unwrap();
    kept.keeper.snapshot(&*tables, moment, 0, &mut |_| Ok(())).unwrap_err();
    assert!(kept.names("snapshot").is_empty());
    kept.append(1);
    kept.snapshot().unwrap();
    assert!(kept.names("history").iter().all(|name| name.strip_suffix(".his").is_some()));
    kept.settle(Trim::Now);
    kept.bench.check_entries(&kept.store).unwrap();
}

#[test]
fn a_snapshot_is_wanted_when_the_journal_has_grown_by_the_environment_and_a_segment() {
    let mut kept = Keeping::new();
    let wants = |kept: &mut Keeping, appended, environment| {
        kept.keeper.wants_snapshot(appended, environment).unwrap()
    };
    assert!(!wants(&mut kept, SEGMENT_BYTES - 1, 0));
    assert!(wants(&mut kept, SEGMENT_BYTES, 0));
    assert!(!wants(&mut kept, 10 * SEGMENT_BYTES, 10 * SEGMENT_BYTES + 1));
    kept.append(30);
    // Another process: what lies behind the last snapshot counts.
    let reader = kept.store.journal.reader();
    kept.keeper = Keeper::new(Arc::new(kept.bench.disk.clone()), reader, &kept.bench.options);
    assert!(wants(&mut kept, 0, 5 * SEGMENT_BYTES));
    kept.snapshot().unwrap();
    assert!(!wants(&mut kept, SEGMENT_BYTES - 1, 0));
    assert!(wants(&mut kept, SEGMENT_BYTES, 0));
}

#[test]
fn a_snapshot_is_not_wanted_again_and_again_when_the_environment_holds_nothing_newer() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.snapshot().unwrap();
    assert!(kept.keeper.wants_snapshot(SEGMENT_BYTES, 0).unwrap());
    let (tables, moment) = (Arc::clone(&kept.bench.tables), kept.now().moment);
    assert_eq!(kept.keeper.snapshot(&*tables, moment, SEGMENT_BYTES, &mut |_| Ok(())).unwrap(), None);
    assert!(!kept.keeper.wants_snapshot(2 * SEGMENT_BYTES - 1, 0).unwrap());
    assert!(kept.keeper.wants_snapshot(2 * SEGMENT_BYTES, 0).unwrap());
}

#[test]
fn history_is_paced_by_the_bytes_of_the_journal_read_once() {
    let mut kept = Keeping::new();
    kept.append(30);
    let rows = kept.keeper.sheet(kept.now(), Trim::Due).unwrap();
    let journal_bytes: u64 = rows.iter().map(|row| row.bytes).sum();
    let (mut paced_bytes, mut calls, mut written) = (0, 0, 0);
    loop {
        let now = kept.now();
        let mut pace = |bytes| {
            paced_bytes += bytes;
            calls += 1;
            Ok(())
        };
        match kept.keeper.step(now, Trim::Now, &mut pace).unwrap() {
            Kept::History { .. } => written += 1,
            _ => break,
        }
    }
    assert!(written > 3 && calls > 20, "{written} {calls}");
    assert!(paced_bytes > 0 && paced_bytes <= journal_bytes, "{paced_bytes} of {journal_bytes}");
}

#[test]
fn whoever_looks_beside_a_service_looks_anew_when_a_file_goes_that_it_has_just_seen() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    let (disk, options) = (kept.bench.disk.clone(), kept.bench.options.clone());
    let folder = options.state_dir.join("journal");
    let segments = kept.names("journal");
    disk.take_away_when_listed(folder.join(&segments[0]));
    let rows = knhk::store::retention(&disk, &options, kept.now(), Trim::Due).unwrap();
    assert!(rows.iter().all(|row| row.name != segments[0]), "{rows:?}");
    assert!(rows.iter().any(|row| row.name == segments[1]), "{rows:?}");
    disk.take_away_when_listed(folder.join(&segments[1]));
    let info = knhk::store::info(&disk, None::<&MemTables>, &options).unwrap();
    assert!(info.damage.is_none(), "{info:?}");
    assert_eq!(info.segments[0].name, segments[2]);
    disk.take_away_when_listed(folder.join(&segments[2]));
    disk.hold(7);
    let fold: Arc<dyn Fold> = Arc::new(Chains);
    let looked = look(&Arc::new(disk), || Ok(None::<MemTables>), &fold, &options, &[]).unwrap().unwrap();
    assert_eq!((looked.follower.seq(), looked.holder), (kept.store.follower.seq(), Some(7)));
    assert!(!kept.names("journal").contains(&segments[2]), "nothing went");
}

#[test]
fn a_verification_begins_anew_when_what_it_reads_is_trimmed_and_a_snapshot_is_sealed_meanwhile() {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.us += 10 * GRACE_US;
    let (disk, options) = (kept.bench.disk.clone(), kept.bench.options.clone());
    let tables = Arc::clone(&kept.bench.tables);
    let mut removed = Vec::new();
    let report = knhk::store::verify(
        &disk,
        Some(&*tables),
        Arc::new(Chains),
        &options,
        Level::Full,
        knhk::store::Part::WHOLE,
        &mut |_| {
            if removed.is_empty() {
                kept.append(3);
                kept.snapshot().unwrap();
                removed = kept.settle(Trim::Due).1;
            }
        },
    );
    assert!(removed.contains(&FileKind::Segment), "nothing was in the way: {removed:?}");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}
