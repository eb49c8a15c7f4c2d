//! Whether what happened in a case comes to what its rows say: its own chain is followed back, and folded.

use std::collections::BTreeMap;

use super::answers;
use super::past::Past;
use super::queries;
use super::record::{Body, Record};
use super::service::Refusal;
use super::tables;
use super::turn::Rows;
use crate::case::event::Event;
use crate::case::row::{CaseRow, Status};
use crate::case::{self, encode};
use crate::id::CaseId;
use crate::store::{self, Disk, JournalReader, Table};

/// Follows the chain of a case back and folds it; takes as long as its history is, so not with the follower's lock held.
///
/// # Errors
/// An entry is missing or not the one that is referred to, or they come to something else; says which.
pub fn check<D: Disk>(journal: &JournalReader<D>, id: CaseId, rows: &Rows) -> Result<(), String> {
    let mut past = Past::new(id);
    queries::entries(journal, id, rows.case.last, &mut |entry| past.hear(entry).map(|()| true))?;
    let case = &mut past.case;
    let Some(row) = &mut case.row else {
        return Err("its history does not begin with its creation".to_owned());
    };
    row.last = rows.case.last;
    if *row != rows.case {
        return Err("folding its history does not give its row".to_owned());
    }
    if matches!(row.status, Status::Closed(_)) {
        return Ok(());
    }
    let instances = case.instances.iter().map(|instance| (instance.number, &instance.row));
    if !instances.eq(rows.instances.iter().map(|(number, row)| (*number, row))) {
        return Err("folding its history does not give the rows of its nets".to_owned());
    }
    if case.items != rows.items {
        return Err("folding its history does not give the rows of its work items".to_owned());
    }
    Ok(())
}

/// Checks many cases; `rows` gives what is known of one. Each frame that several of them have entries in is read once.
pub(super) fn check_cases<D: Disk>(
    journal: &JournalReader<D>,
    ids: &[CaseId],
    rows: &dyn Fn(CaseId) -> Result<Option<Rows>, Refusal>,
) -> BTreeMap<CaseId, Result<Option<String>, Refusal>> {
    let journal = journal.keeping();
    let check = |id: CaseId| {
        let rows = rows(id)?.ok_or_else(|| answers::refusal(&case::Error::NoCase))?;
        Ok(check(&journal, id, &rows).err())
    };
    // As history files have them.
    let mut ids = ids.to_vec();
    ids.sort_unstable_by_key(|id| (id.partition(), *id));
    ids.into_iter().map(|id| (id, check(id))).collect()
}

/// Returns the number of the specification that an entry of a case names: its first does, and those by which it was
/// archived and restored.
pub fn specification_of(entry: &store::Entry) -> Option<u32> {
    match Record::decode(&entry.payload).ok()?.body {
        Body::Case(payload) => {
            encode::events_from_bytes(payload).ok()?.iter().find_map(|event| match event {
                Event::Created { spec, .. } => Some(spec.0),
                _ => None,
            })
        }
        Body::Archived(fact) => Some(fact.spec.0),
        Body::Restored(fact) => Some(fact.spec.0),
        Body::Registered(_) | Body::KeysExpired { .. } => None,
    }
}

/// Visits rows in order until told not to; as [`store::Tables::scan`] and [`store::Follower::scan`] do.
pub type Scan<'a> = dyn FnMut(Table, &mut dyn FnMut(&[u8], &[u8]) -> bool) + 'a;

/// Tells each case that rows know, with the position of its last entry. Rows that cannot be read tell nothing.
pub fn last_entries(scan: &mut Scan<'_>, tell: &mut dyn FnMut(u64, u64)) {
    for table in [tables::CASES, tables::CLOSED] {
        scan(table, &mut |key, value| {
            if let (Some(case), Ok(row)) = (tables::case_of(key), encode::row_from_bytes::<CaseRow>(value)) {
                tell(case.0, row.last.n);
            }
            true
        });
    }
}
