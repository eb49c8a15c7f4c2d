//! What becomes of a case's rows when it is archived or restored: all of them go, and one says where it is; or they are
//! made anew from the history that the entry holds.
//!
//! Both give the same rows whatever was there before, because entries before them may be gone.

use super::{Counted, business_hash, text};
use crate::case::encode::{self, Row};
use crate::case::row::{CaseRow, ItemRow, Link, Status};
use crate::case::view;
use crate::engine::past::Past;
use crate::engine::record::{Archived, Restored};
use crate::engine::tables::{self, ArchivedRow};
use crate::id::{CaseId, Time};
use crate::store::{Entry, Is, Rows, Table, Unpacking};

/// Takes a case out of the live store.
pub(super) fn archive(rows: &mut Rows<'_>, at: Time, entry: &Entry, fact: &Archived) -> Result<(), String> {
    let case = CaseId(entry.subject);
    let counted = clear(rows, case)?;
    counted.put(rows, case.partition(), Some(case))?;
    put_business_key(rows, case, fact.business_key.as_deref())?;
    let link = entry.link();
    let row = ArchivedRow { fact: fact.clone(), at, last: Link { n: link.n, hash: link.hash } };
    rows.put(tables::ARCHIVED, &tables::case_key(case), &tables::encode(&row))
}

/// Puts the rows of a case that comes from somewhere else.
pub(super) fn restore(rows: &mut Rows<'_>, entry: &Entry, fact: &Restored) -> Result<(), String> {
    let id = CaseId(entry.subject);
    let mut counted = clear(rows, id)?;
    let mut past = Past::of(&fact.history()?, &mut Unpacking::known())?;
    past.hear(entry)?;
    let case = past.case;
    let row = case.row.ok_or("a restored case of which nothing is known")?;
    counted.case(view::state(&row), 1);
    for instance in case.instances {
        let key = tables::part_key(id, instance.number);
        rows.keep(tables::INSTANCES, &key, Box::new(instance.row), Is::Perhaps)?;
    }
    for (number, item) in case.items {
        counted.item(item.state, 1);
        rows.keep(tables::ITEMS, &tables::part_key(id, number), Box::new(item), Is::Perhaps)?;
    }
    counted.put(rows, id.partition(), Some(id))?;
    put_business_key(rows, id, row.business_key.as_deref())?;
    let key = tables::case_key(id);
    if row.unfinished {
        rows.put(tables::UNFINISHED, &key, &[])?;
    }
    if !matches!(row.status, Status::Closed(_)) {
        return rows.keep(tables::CASES, &key, Box::new(row), Is::Perhaps);
    }
    rows.put(tables::CLOSED_BY_DAY, &tables::day_key(row.changed, id), &[])?;
    rows.keep(tables::CLOSED, &key, Box::new(row), Is::Perhaps)
}

fn put_business_key(rows: &mut Rows<'_>, case: CaseId, key: Option<&str>) -> Result<(), String> {
    let Some(key) = key else { return Ok(()) };
    let key = tables::hash_key(case.partition(), &business_hash(key));
    rows.put(tables::BUSINESS_KEYS, &key, &case.0.to_be_bytes())
}

/// Takes all rows of a case away, and returns by how much the counts change.
fn clear(rows: &mut Rows<'_>, case: CaseId) -> Result<Counted, String> {
    let mut counted = Counted::default();
    let key = tables::case_key(case);
    for table in [tables::CASES, tables::CLOSED] {
        let Some(bytes) = rows.get(table, &key)? else { continue };
        let row: CaseRow = encode::row_from_bytes(&bytes).map_err(text)?;
        counted.case(view::state(&row), -1);
        if table == tables::CLOSED {
            rows.delete(tables::CLOSED_BY_DAY, &tables::day_key(row.changed, case))?;
        }
        rows.delete(table, &key)?;
    }
    for (key, item) in parts::<ItemRow>(rows, tables::ITEMS, case)? {
        counted.item(item.state, -1);
        rows.delete(tables::ITEMS, &key)?;
    }
    for (key, _) in parts::<crate::case::row::InstanceRow>(rows, tables::INSTANCES, case)? {
        rows.delete(tables::INSTANCES, &key)?;
    }
    for table in [tables::UNFINISHED, tables::ARCHIVED] {
        if rows.get(table, &key)?.is_some() {
            rows.delete(table, &key)?;
        }
    }
    Ok(counted)
}

/// Returns what lies under a case in a table, by key.
fn parts<R: Row>(rows: &mut Rows<'_>, table: Table, case: CaseId) -> Result<Vec<(Vec<u8>, R)>, String> {
    let (mut found, mut wrong) = (Vec::new(), None);
    rows.prefix(table, &tables::case_key(case), &mut |key, value| {
        match encode::row_from_bytes(value) {
            Ok(row) => found.push((key.to_vec(), row)),
            Err(error) => wrong = Some(text(error)),
        }
        wrong.is_none()
    })?;
    wrong.map_or(Ok(found), Err)
}
