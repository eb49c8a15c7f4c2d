//! What happened in worlds, counted.

use std::fmt;

/// What happened, to show that things did happen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) acknowledged: u64,
    pub(crate) repeated: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) crashes: u64,
    pub(crate) failed_appends: u64,
    pub(crate) checkpoints: u64,
    pub(crate) histories: u64,
    pub(crate) snapshots: u64,
    pub(crate) removed: u64,
    pub(crate) from_snapshot: u64,
    pub(crate) copies: u64,
    pub(crate) former: u64,
    pub(crate) upgrades: u64,
    pub(crate) refusals: u64,
    pub(crate) archived: u64,
    pub(crate) restored: u64,
    pub(crate) rewritten: u64,
    pub(crate) left_over: u64,
    pub(crate) without_place: u64,
    pub(crate) not_remembered: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.crashes += other.crashes;
        self.failed_appends += other.failed_appends;
        self.checkpoints += other.checkpoints;
        self.histories += other.histories;
        self.snapshots += other.snapshots;
        self.removed += other.removed;
        self.from_snapshot += other.from_snapshot;
        self.copies += other.copies;
        self.former += other.former;
        self.upgrades += other.upgrades;
        self.refusals += other.refusals;
        self.archived += other.archived;
        self.restored += other.restored;
        self.rewritten += other.rewritten;
        self.left_over += other.left_over;
        self.without_place += other.without_place;
        self.not_remembered += other.not_remembered;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {} repeated, {} refused, {} unknown, {} crashes, {} failed appends, {} checkpoints, \
             {} history files, {} snapshots, {} files removed, {} openings from a snapshot, {} copies, \
             {} openings by the release before, {} upgrades, {} refusals by the release before, \
             {} cases archived, {} restored, {} history files written anew, {} archives left over, \
             {} keys without a place, {} answers that are not remembered",
            self.acknowledged,
            self.repeated,
            self.refused,
            self.unknown,
            self.crashes,
            self.failed_appends,
            self.checkpoints,
            self.histories,
            self.snapshots,
            self.removed,
            self.from_snapshot,
            self.copies,
            self.former,
            self.upgrades,
            self.refusals,
            self.archived,
            self.restored,
            self.rewritten,
            self.left_over,
            self.without_place,
            self.not_remembered
        )
    }
}
