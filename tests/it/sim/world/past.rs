//! Worlds whose store was made by the release before, which knows only the journal from its first frame on: that
//! release and this one open it in turn, and at some moment it is upgraded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knhk::id::Time;
use knhk::store::{Error, FORMAT, FORMAT_OLDEST, MemTables, Options, Upgraded};

use super::super::disk::SimDisk;
use super::super::node::{Node, Setting};
use super::super::random::Random;
use super::World;

/// So often a service that may be of the release before is started again, until it is of this one.
const GO_FORTH_MAX: u32 = 20;

/// In which format a store is, as far as somebody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nobody has asked for an upgrade.
    Before,
    /// Somebody has, and was not told that it is done.
    Asked,
    /// It was told, or seen by an opening.
    After,
}

/// Such a store.
#[derive(Debug)]
pub(super) struct Past {
    known: Known,
    /// What the running service goes by.
    format: u32,
}

impl Past {
    pub(super) fn new() -> Self {
        Self { known: Known::Before, format: FORMAT_OLDEST }
    }

    /// Chooses the release that opens the store next, and returns the newest format that it knows.
    pub(super) fn choose(
        &mut self,
        random: &mut Random,
        disk: &SimDisk,
        state: &Path,
    ) -> Result<u32, String> {
        let Some(found) = format_on(disk, state) else {
            // There is no store yet, and it is that release which makes it.
            return Ok(FORMAT_OLDEST);
        };
        match (self.known, found) {
            (Known::Before, FORMAT_OLDEST) | (Known::Asked, _) | (Known::After, FORMAT) => {}
            (known, found) => return Err(format!("the store has format {found}, and it was {known:?}")),
        }
        self.format = found;
        Ok(if found == FORMAT_OLDEST && random.is_one_in(2) { FORMAT_OLDEST } else { FORMAT })
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.format == FORMAT
    }

    /// The store was opened, and what it says is durable with that.
    pub(super) fn opened(&mut self) {
        if self.is_upgraded() {
            self.known = Known::After;
        }
    }

    /// Somebody asks for the upgrade, and may not live to hear the answer.
    pub(super) fn asked(&mut self) {
        if self.known == Known::Before {
            self.known = Known::Asked;
        }
    }

    /// Hears what came of it; returns whether it is done.
    pub(super) fn answered(&mut self, answer: Result<Upgraded, Error>) -> Result<bool, String> {
        match answer {
            Ok(Upgraded { to: FORMAT, .. }) => {
                (self.known, self.format) = (Known::After, FORMAT);
                Ok(true)
            }
            Err(Error::Io { .. }) => Ok(false),
            other => Err(format!("upgrading: {other:?}")),
        }
    }

    /// The release before refuses an upgraded store, and changes no byte.
    pub(super) fn refuses(
        disk: &SimDisk,
        tables: &Arc<MemTables>,
        options: &Options,
        (setting, now): (Setting, Time),
    ) -> Result<(), String> {
        let former = Options { format_max: FORMAT_OLDEST, ..options.clone() };
        let bytes = || {
            let files = [&options.state_dir, &options.cache_dir].map(|folder| disk.files(folder)).concat();
            files.into_iter().map(|path| (disk.contents(&path), path)).collect::<Vec<_>>()
        };
        let before = bytes();
        match Node::open(disk, tables, &former, setting, now) {
            Ok(_) => return Err("the release before opens a store of another format".to_owned()),
            Err(why) if why.contains("reads formats up to 1") => {}
            Err(why) => return Err(format!("the release before does not say that it is the format: {why}")),
        }
        if bytes() == before { Ok(()) } else { Err("the release before changed what it refused".to_owned()) }
    }
}

/// Returns the format that the file which names the store says, or a segment if it is of a later one.
fn format_on(disk: &SimDisk, state: &Path) -> Option<u32> {
    let files = disk.files(state);
    let says = files.iter().filter(|path| **path == state.join("store") || is_kept(path));
    let of_journal = says.filter(|path| path.extension().is_none_or(|ending| ending == "jnl"));
    let format = |path: &PathBuf| {
        let bytes = disk.contents(path);
        bytes.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    };
    of_journal.filter_map(format).max()
}

/// Returns the names of files that wait for an upgrade before they go.
pub(super) fn kept(disk: &SimDisk, state: &Path) -> BTreeSet<PathBuf> {
    disk.files(state).into_iter().filter(|path| is_kept(path)).collect()
}

fn is_kept(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["jnl", "his", "snp"].iter().any(|kept| ending == *kept))
}

impl World {
    /// Whether there is a store to upgrade, and a release that can.
    pub(super) fn may_upgrade(&self) -> bool {
        self.options.format_max == FORMAT && self.past.as_ref().is_some_and(|past| !past.is_upgraded())
    }

    /// Asks for the upgrade of the store, and may die in the middle of it.
    pub(super) fn upgrade(&mut self) -> Result<(), String> {
        if self.random.is_one_in(2) {
            let after = self.disk.calls() + self.random.below(6);
            self.disk.crash_at(Some(after));
        }
        let answer = self.node().keeper.upgrade();
        self.say(|| format!("an upgrade: {answer:?}"));
        let Some(past) = &mut self.past else { return Ok(()) };
        past.asked();
        self.stats.upgrades += u64::from(past.answered(answer)?);
        Ok(())
    }

    /// Sees to it that this release runs, and mostly that it has upgraded the store.
    pub(super) fn go_forth(&mut self) -> Result<(), String> {
        for _ in 0..GO_FORTH_MAX {
            if self.options.format_max == FORMAT {
                break;
            }
            self.crash_now()?;
        }
        if self.may_upgrade() && !self.random.is_one_in(3) {
            self.upgrade()?;
            self.disk.crash_at(None);
            if self.disk.is_crashed() {
                self.crash()?;
            }
        }
        Ok(())
    }

    /// In a world with a past, either release opens the store; after the upgrade, the one before refuses.
    pub(super) fn choose_release(&mut self) -> Result<(), String> {
        let Some(past) = &mut self.past else { return Ok(()) };
        self.options.format_max = past.choose(&mut self.random, &self.disk, &self.options.state_dir)?;
        if self.options.format_max < FORMAT {
            self.stats.former += 1;
        } else if past.is_upgraded() && self.random.is_one_in(2) {
            let how = (self.setting, Time(self.clock));
            Past::refuses(&self.disk, &self.tables, &self.options, how)?;
            self.stats.refusals += 1;
        }
        let format = self.options.format_max;
        self.say(|| format!("the release that knows formats up to {format} begins"));
        Ok(())
    }
}
