//! One case out of a store that nobody has open: its entries from journal and history, and the specifications that it
//! runs. Nothing else is folded, so that a large store takes little memory, and damage elsewhere does not matter.

use std::sync::Arc;

use super::Options;
use super::beside::Beside;
use super::disk::Disk;
use super::entry::{Entry, Link};
use super::error::Error;
use super::follower::{Before, Fold, Follower};
use super::look::journal_of;
use super::mem::MemTables;
use super::past::CaseHistory;
use super::tables::{Meta, Table};
use crate::id::{CaseId, Partition};

/// The table in which specifications lie by their number.
const SPECIFICATIONS: Table = Table(0);

/// Returns what happened in a case; `None` when the store does not know it. `fold` makes the rows of specifications, and
/// `specification_of` says which one an entry of the case names, if it names one.
///
/// # Errors
/// The journal cannot be read, or the case's own chain is not whole.
pub fn recall<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    case: CaseId,
    fold: &Arc<dyn Fold>,
    specification_of: &dyn Fn(&Entry) -> Option<u32>,
) -> Result<Option<CaseHistory>, Error> {
    let beside = Beside::of_format(&**disk, options)?;
    let Some((journal, ends, _)) = journal_of(disk, options, &beside)? else { return Ok(None) };
    let partition = case.partition();
    let mut entries: Vec<Entry> = Vec::new();
    journal.entries(partition, 1, &mut |entry| {
        if entry.subject == case.0 {
            entries.push(entry.clone());
        }
        true
    })?;
    if entries.is_empty() {
        return Ok(None);
    }
    // One that was archived and restored holds what was before, or names the archive that does.
    let begins = entries[0].previous;
    let mut last = if fold.before(&entries[0]) == Before::Needed { Link::default() } else { begins };
    for entry in &entries {
        if entry.previous != last {
            return Err(Error::ChainBroken { partition, n: entry.n, subject: case.0 });
        }
        last = entry.link();
    }
    let mut wanted: Vec<u32> = entries.iter().filter_map(specification_of).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut registered = Vec::new();
    journal.entries(Partition::SPECIFICATIONS, 1, &mut |entry| {
        registered.push(entry.clone());
        true
    })?;
    let meta = Meta::empty(ends.store);
    let mut follower = Follower::new(Arc::new(MemTables::default()), Arc::clone(fold), meta.clone());
    follower.apply_held(registered.iter(), meta)?;
    let mut specifications = Vec::new();
    for number in wanted {
        let row = follower.get(SPECIFICATIONS, &number.to_be_bytes())?;
        let lost =
            || Error::Tables { reason: format!("the case runs specification {number}, which is not there") };
        specifications.push((number, row.ok_or_else(lost)?));
    }
    Ok(Some(CaseHistory { case, entries, specifications }))
}
