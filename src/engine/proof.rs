//! Whether what happened in a case comes to what its rows say: its own chain is followed back, and folded.

use super::queries;
use super::tables;
use super::turn::Rows;
use crate::case::encode;
use crate::case::event::Event;
use crate::case::fold::fold;
use crate::case::row::{CaseRow, Status};
use crate::case::state::{Case, InRows, Live};
use crate::id::CaseId;
use crate::store::{self, Disk, JournalReader, Table};

/// Follows the chain of a case back and folds it; takes as long as its history is, so not with the follower's lock held.
///
/// # Errors
/// An entry is missing or not the one that is referred to, or they come to something else; says which.
pub fn check<D: Disk>(journal: &JournalReader<D>, id: CaseId, rows: &Rows) -> Result<(), String> {
    let last = store::Link { n: rows.case.last.n, hash: rows.case.last.hash };
    let mut case = Case::new(id);
    queries::entries(journal, id, last, &mut |entry| {
        let (at, events) = queries::events(entry)?;
        for event in &events {
            fold(&mut Live { case: &mut case, keeper: &mut InRows }, event, at)?;
        }
        Ok(true)
    })?;
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

/// Returns the number of the specification that an entry of a case names: its first does, and no other.
pub fn specification_of(entry: &store::Entry) -> Option<u32> {
    let (_, events) = queries::events(entry).ok()?;
    events.iter().find_map(|event| match event {
        Event::Created { spec, .. } => Some(spec.0),
        _ => None,
    })
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
