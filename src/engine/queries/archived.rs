//! What archives answer, and the one way back through the entries of a case: from its newest on, into the archive that one
//! names or the history that one holds.

use super::{HISTORY_ENTRIES_MAX, PAGE_ROWS_MAX, bad_token, fit, known, text};
use crate::case::row::Link;
use crate::engine::answers;
use crate::engine::cost;
use crate::engine::past::{self, Past, VisitEntry};
use crate::engine::record::{self, Body, Record};
use crate::engine::registry::Registry;
use crate::engine::room::Room;
use crate::engine::service::{CaseFilter, CaseSummary, CaseView, Page, PageOf, Refusal};
use crate::engine::tables::{self, ArchivedRow};
use crate::id::{CaseId, Time};
use crate::store::{
    self, ARCHIVED_CASE_BYTES_MAX, ArchiveId, Before, CaseHistory, Disk, Entry, Follower, JournalReader,
    NotUnpacked, Tables, Unpacking,
};

/// Returns the row of an archived case.
///
/// # Errors
/// It cannot be read.
pub fn row<T: Tables>(follower: &Follower<T>, id: CaseId) -> Result<Option<ArchivedRow>, String> {
    let bytes = follower.get(tables::ARCHIVED, &tables::case_key(id)).map_err(text)?;
    bytes.map(|bytes| tables::decode(&bytes)).transpose()
}

/// Returns the view of an archived case, read from its archive. Not with the follower's lock held.
///
/// # Errors
/// The archive cannot be read.
pub fn view<D: Disk>(
    journal: &JournalReader<D>,
    registry: &Registry,
    id: CaseId,
    row: &ArchivedRow,
) -> Result<CaseView, Refusal> {
    let mut past = Past::new(id);
    let heard = entries(journal, id, row.last, &mut |entry| past.hear(entry).map(|()| true));
    heard.map_err(|reason| answers::not_unpacked(reason, answers::unreadable))?;
    if past.case.row.is_none() {
        return Err(answers::unreadable("an archived case of which nothing is known"));
    }
    let spec = known(registry, row.fact.spec)?;
    Ok(CaseView { archived: Some(row.fact.id().to_string()), ..answers::case_view(&past.case, &spec) })
}

/// Lists archived cases in order of their ids.
///
/// # Errors
/// A bad token, or rows that cannot be read.
pub fn list<T: Tables>(
    follower: &Follower<T>,
    registry: &Registry,
    filter: &CaseFilter,
    page: &PageOf,
    (now, room): (Time, &Room),
) -> Result<Page<CaseSummary>, Refusal> {
    let after = page.after.as_deref().map(|text| CaseId::parse(text).ok_or_else(|| bad_token(text)));
    let from = after.transpose()?.map_or(CaseId(0), |id| CaseId(id.0 + 1));
    let specs = filter.workflow.as_deref().map(|text| registry.numbers(text));
    let changed_before = filter.older_than_us.map(|age| now.minus_us(age));
    let wanted = |row: &ArchivedRow| {
        specs.as_ref().is_none_or(|specs| specs.contains(&row.fact.spec))
            && changed_before.is_none_or(|before| row.fact.changed <= before)
            && filter.state.is_none_or(|state| state == row.state())
    };
    let limit = page.limit as usize;
    let (mut found, mut wrong, mut visited, mut next) = (Vec::new(), None, 0, None);
    let mut last = None;
    let scanned = follower.scan(tables::ARCHIVED, &tables::case_key(from), &mut |key, value| {
        if found.len() == limit || visited == PAGE_ROWS_MAX {
            next = last;
            return false;
        }
        visited += 1;
        last = tables::case_of(key);
        match (last, tables::decode::<ArchivedRow>(value)) {
            (Some(id), Ok(row)) if wanted(&row) => found.push((id, row)),
            (Some(_), Ok(_)) => {}
            (None, _) => wrong = Some("an archived case without its id".to_owned()),
            (_, Err(reason)) => wrong = Some(reason),
        }
        wrong.is_none()
    });
    scanned.map_err(|error| answers::unreadable(&text(error)))?;
    if let Some(reason) = wrong {
        return Err(answers::unreadable(&reason));
    }
    let summaries = found.into_iter().map(|(id, row)| summary(registry, id, row));
    let mut items = summaries.collect::<Result<Vec<_>, _>>()?;
    if fit(&mut items, cost::summary, room)? {
        next = items.last().map(|item| item.id);
    }
    Ok(Page { items, next: next.map(|id| id.to_string()) })
}

fn summary(registry: &Registry, id: CaseId, row: ArchivedRow) -> Result<CaseSummary, Refusal> {
    let spec = known(registry, row.fact.spec)?;
    Ok(CaseSummary {
        id,
        workflow: spec.workflow.uri.clone(),
        version: spec.version,
        state: row.state(),
        archived: Some(row.fact.id().to_string()),
        business_key: row.fact.business_key,
        created: row.fact.created,
        changed: row.fact.changed,
        enabled_count: 0,
    })
}

/// Visits the entries of a case, oldest first, until `visit` returns false. They are found by following them back
/// from `last`, and are those of an archive or of a restored history from there on; only positions are kept meanwhile,
/// because a case's history may be larger than memory.
///
/// # Errors
/// An entry is missing or not the one that the next refers to, there is no room for what a history unpacks to, or `visit`
/// fails.
pub fn entries<D: Disk>(
    journal: &JournalReader<D>,
    case: CaseId,
    last: Link,
    visit: &mut VisitEntry<'_>,
) -> Result<(), NotUnpacked> {
    let mut unpacking = journal.unpacking();
    let mut positions = Vec::new();
    let mut link = last;
    let mut below = None;
    // Why the archive cannot be read, if so: a copy may lack the file, and have what history still held then.
    let mut unread = None;
    while link.n != 0 && below.is_none() {
        if positions.len() == HISTORY_ENTRIES_MAX {
            return Err(format!("the case has more than {HISTORY_ENTRIES_MAX} journal entries").into());
        }
        let entry = entry_before(journal, case, link).map_err(|reason| unread.take().unwrap_or(reason))?;
        positions.push(link.n);
        link = Link { n: entry.previous.n, hash: entry.previous.hash };
        below = match record::before(&entry.payload) {
            Before::Needed => None,
            Before::Archived(id) => match archive_of(journal, case, id, entry.previous, &mut unpacking) {
                Ok(history) => Some(history),
                Err(NotUnpacked::Damaged(reason)) => {
                    unread = Some(reason);
                    None
                }
                Err(none) => return Err(none),
            },
            Before::Within => match Record::decode(&entry.payload)?.body {
                Body::Restored(fact) => Some(unpacking.history(&fact.packed)?),
                _ => return Err("an entry that holds no history".into()),
            },
        };
    }
    if let Some(history) = below
        && !past::each(&history, &mut unpacking, visit)?
    {
        return Ok(());
    }
    for n in positions.into_iter().rev() {
        if !visit(&entry_at(journal, case, n)?)? {
            break;
        }
    }
    Ok(())
}

/// Returns what an archive has of a case, whose last entry there must be this one. Its bytes stay taken.
pub(in crate::engine) fn archive_of<D: Disk>(
    journal: &JournalReader<D>,
    case: CaseId,
    id: ArchiveId,
    last: store::Link,
    unpacking: &mut Unpacking,
) -> Result<CaseHistory, NotUnpacked> {
    let before = unpacking.bytes();
    unpacking.take(journal.archived_bytes(id, case))?;
    let history = journal.archived(id, case).map_err(text)?;
    // More before less, so that nobody else takes what is in use.
    let kept = before + store::memory_bytes(&history);
    unpacking.take(kept.saturating_sub(unpacking.bytes()))?;
    unpacking.give_back_to(kept);
    if history.check()? == last {
        Ok(history)
    } else {
        Err(format!("the archive {id} does not end where the case was archived").into())
    }
}

/// Returns what happened in a case of the live store: its entries from the first on, or from the one that holds all before
/// it. `None` when that is more than an archive takes, or than a request could read out of one again.
///
/// # Errors
/// An entry is missing or not the one that the next refers to, or it begins with a history that cannot be read now.
pub fn history_of<D: Disk>(
    journal: &JournalReader<D>,
    case: CaseId,
    last: Link,
) -> Result<Option<CaseHistory>, String> {
    let (mut entries, mut bytes, mut link) = (Vec::new(), 0, last);
    let mut unpacking = journal.unpacking();
    while link.n != 0 {
        let entry = entry_before(journal, case, link)?;
        bytes += entry.stored_bytes();
        if bytes > ARCHIVED_CASE_BYTES_MAX || store::archived_memory_bytes(bytes) > unpacking.limit_bytes() {
            return Ok(None);
        }
        link = Link { n: entry.previous.n, hash: entry.previous.hash };
        let is_first = record::before(&entry.payload) != Before::Needed;
        entries.push(entry);
        if is_first {
            break;
        }
    }
    entries.reverse();
    let history = CaseHistory { case, entries, specifications: Vec::new() };
    match read_again(&history, &mut unpacking) {
        Ok(()) => Ok(Some(history)),
        Err(NotUnpacked::TooMuch { .. }) => Ok(None),
        Err(reason) => Err(reason.into()),
    }
}

/// Takes what it takes to read a history that comes out of an archive, and what lies within it.
fn read_again(history: &CaseHistory, unpacking: &mut Unpacking) -> Result<(), NotUnpacked> {
    unpacking.take(store::memory_bytes(history))?;
    let begins = history.entries.first().map(|entry| record::before(&entry.payload));
    if begins == Some(Before::Within) {
        past::each(history, unpacking, &mut |_| Ok(true))?;
    }
    Ok(())
}

fn entry_before<D: Disk>(journal: &JournalReader<D>, case: CaseId, link: Link) -> Result<Entry, String> {
    let entry = entry_at(journal, case, link.n)?;
    if entry.subject == case.0 && entry.hash() == link.hash {
        Ok(entry)
    } else {
        Err(format!("journal entry {} is not the one that its case refers to", link.n))
    }
}

pub(super) fn entry_at<D: Disk>(
    journal: &JournalReader<D>,
    case: CaseId,
    n: u64,
) -> Result<store::Entry, String> {
    let found = journal.entry(case.partition(), case.0, n).map_err(text)?;
    found.ok_or_else(|| format!("journal entry {n} is missing"))
}

pub(super) fn link(entry: &Entry) -> Link {
    let link = entry.link();
    Link { n: link.n, hash: link.hash }
}
