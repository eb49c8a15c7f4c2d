//! A case told from its entries, one after the other: what a restored case is made of, and how an archived one is shown.

use super::record::{Body, Record};
use crate::case::encode;
use crate::case::event::{Event, ItemNumber};
use crate::case::fold::fold;
use crate::case::row::{ItemRow, Link};
use crate::case::state::{Case, InRows, Instance, Live};
use crate::id::{CaseId, Time};
use crate::store::{CaseHistory, Entry, NotUnpacked, Unpacking};

/// Most histories that lie within each other: a case that was restored holds the one that it was restored from, which may
/// itself hold one.
pub const RESTORED_DEPTH_MAX: usize = 32;

/// Visits entries that are told from the oldest on.
pub type VisitEntry<'a> = dyn FnMut(&Entry) -> Result<bool, String> + 'a;
/// Bytes of memory that a fact takes while it is folded, and the row that it may leave.
const FACT_BYTES: usize = size_of::<Event>() + ROW_BYTES;
/// Bytes of memory that a row of a case takes beside the texts in it.
const ROW_BYTES: usize = size_of::<(ItemNumber, ItemRow)>() + size_of::<Instance>();

/// As that, with what counts the bytes that are unpacked.
pub type VisitUnpacked<'a> = dyn FnMut(&Entry, &mut Unpacking) -> Result<bool, NotUnpacked> + 'a;

/// Visits the entries of a history, and before them those of the one that it begins with, until `visit` returns false;
/// returns whether it wants more.
///
/// # Errors
/// A history within cannot be read or lies too deep, there is no room for what it unpacks to, or `visit` fails.
pub fn each(
    history: &CaseHistory,
    unpacking: &mut Unpacking,
    visit: &mut VisitEntry<'_>,
) -> Result<bool, NotUnpacked> {
    each_up_to(history, RESTORED_DEPTH_MAX, unpacking, &mut |entry, _| Ok(visit(entry)?))
}

/// As [`each`], but with no more than so many histories within each other.
///
/// # Errors
/// As there.
pub fn each_up_to(
    history: &CaseHistory,
    depth: usize,
    unpacking: &mut Unpacking,
    visit: &mut VisitUnpacked<'_>,
) -> Result<bool, NotUnpacked> {
    if let Some(first) = history.entries.first()
        && let Body::Restored(fact) = Record::decode(&first.payload)?.body
    {
        if depth == 0 {
            return Err("it was restored too often: too many histories lie within each other".into());
        }
        let before = unpacking.bytes();
        let within = unpacking.history(&fact.packed)?;
        let taken = unpacking.bytes() - before;
        if !each_up_to(&within, depth - 1, unpacking, visit)? {
            return Ok(false);
        }
        drop(within);
        // What `visit` took meanwhile stays.
        unpacking.give_back_to(unpacking.bytes() - taken);
    }
    for entry in &history.entries {
        if !visit(entry, unpacking)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A case as it is after the entries heard so far. Its markings lie in its rows.
#[derive(Debug)]
pub struct Past {
    /// The case.
    pub case: Case,
    /// What the last entry said, and when.
    pub last: (Time, Vec<Event>),
}

impl Past {
    /// Returns a case of which nothing was heard.
    pub fn new(case: CaseId) -> Self {
        Self { case: Case::new(case), last: (Time(0), Vec::new()) }
    }

    /// Returns the case that a history tells of.
    ///
    /// # Errors
    /// Its entries do not fit each other, or there is no room for what they come to; nothing of it stays taken.
    pub fn of(history: &CaseHistory, unpacking: &mut Unpacking) -> Result<Self, NotUnpacked> {
        let mut past = Self::new(history.case);
        let before = unpacking.bytes();
        let mut held = 0;
        each_up_to(history, RESTORED_DEPTH_MAX, unpacking, &mut |entry, unpacking| {
            let (others, now) = (unpacking.bytes() - held, past.rows_bytes());
            // What is there already, and what the facts of this one may come to.
            unpacking.give_back_to(others);
            unpacking.take(now + facts_bytes(entry)?)?;
            past.hear(entry)?;
            past.last.1.shrink_to_fit();
            held = past.rows_bytes();
            unpacking.take((others + held).saturating_sub(unpacking.bytes()))?;
            unpacking.give_back_to(others + held);
            Ok(true)
        })?;
        unpacking.give_back_to(before);
        Ok(past)
    }

    /// Returns how many bytes of memory it takes, but for the texts in it.
    fn rows_bytes(&self) -> usize {
        let rows = self.case.items.capacity() + self.case.instances.capacity();
        rows * ROW_BYTES + self.last.1.capacity() * size_of::<Event>()
    }

    /// Hears the next entry. Those of a history that one holds within are to be heard before it.
    ///
    /// # Errors
    /// It does not fit what was heard before.
    pub fn hear(&mut self, entry: &Entry) -> Result<(), String> {
        let Record { at, body, .. } = Record::decode(&entry.payload)?;
        self.last = (at, Vec::new());
        match body {
            Body::Case(payload) => {
                let events = encode::events_from_bytes(payload).map_err(|error| error.to_string())?;
                for event in &events {
                    fold(&mut Live { case: &mut self.case, keeper: &mut InRows }, event, at)?;
                }
                self.last.1 = events;
            }
            Body::Restored(fact) => {
                let row = self.case.row.as_mut().ok_or("a restored case of which nothing is known")?;
                row.spec = fact.spec;
                row.event_count = row.event_count.saturating_add(1);
                row.changed = row.changed.max(at);
            }
            Body::Archived(_) => {}
            Body::Registered(_) | Body::KeysExpired { .. } => {
                return Err("an entry of a case that holds no events".to_owned());
            }
        }
        if let Some(row) = &mut self.case.row {
            let link = entry.link();
            row.last = Link { n: link.n, hash: link.hash };
        }
        Ok(())
    }
}

/// Returns how many bytes of memory the facts of an entry take while they are folded, at most.
fn facts_bytes(entry: &Entry) -> Result<usize, String> {
    Ok(match Record::decode(&entry.payload)?.body {
        Body::Case(payload) => {
            let count = encode::event_count(payload).map_err(|error| error.to_string())?;
            count.saturating_mul(FACT_BYTES).saturating_add(payload.len())
        }
        _ => entry.payload.len(),
    })
}
