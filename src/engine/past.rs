//! A case told from its entries, one after the other: what a restored case is made of, and how an archived one is shown.

use super::record::{Body, Record};
use crate::case::encode;
use crate::case::event::Event;
use crate::case::fold::fold;
use crate::case::row::Link;
use crate::case::state::{Case, InRows, Live};
use crate::id::{CaseId, Time};
use crate::store::{CaseHistory, Entry};

/// Most histories that lie within each other: a case that was restored holds the one that it was restored from, which may
/// itself hold one.
pub const RESTORED_DEPTH_MAX: usize = 32;

/// Visits entries that are told from the oldest on.
pub type VisitEntry<'a> = dyn FnMut(&Entry) -> Result<bool, String> + 'a;

/// Visits the entries of a history, and before them those of the one that it begins with, until `visit` returns false;
/// returns whether it wants more.
///
/// # Errors
/// A history within cannot be read or lies too deep, or `visit` fails.
pub fn each(history: &CaseHistory, visit: &mut VisitEntry<'_>) -> Result<bool, String> {
    each_up_to(history, RESTORED_DEPTH_MAX, visit)
}

/// As [`each`], but with no more than so many histories within each other.
///
/// # Errors
/// As there.
pub fn each_up_to(history: &CaseHistory, depth: usize, visit: &mut VisitEntry<'_>) -> Result<bool, String> {
    if let Some(first) = history.entries.first()
        && let Body::Restored(fact) = Record::decode(&first.payload)?.body
    {
        if depth == 0 {
            return Err("it was restored too often: too many histories lie within each other".to_owned());
        }
        if !each_up_to(&fact.history()?, depth - 1, visit)? {
            return Ok(false);
        }
    }
    for entry in &history.entries {
        if !visit(entry)? {
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
    /// Its entries do not fit each other.
    pub fn of(history: &CaseHistory) -> Result<Self, String> {
        let mut past = Self::new(history.case);
        each(history, &mut |entry| past.hear(entry).map(|()| true))?;
        Ok(past)
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
