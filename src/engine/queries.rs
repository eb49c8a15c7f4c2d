//! Questions that the follower's rows and the journal answer: cases, lists, histories. Nothing here changes
//! anything, and a list visits a bounded number of rows a page, so that folding is never held up for long.

pub mod archived;

use std::ops::Deref;

use super::answers::{self, ItemPlace};
use super::cost;
use super::long_expressions::{Reading, Turns};
use super::past::Past;
use super::record::{Act, Body, Hash16, Record};
use super::registry::Registry;
use super::request::{Found, Question, Repeat, Told};
use super::room::{Cost, Room};
use super::service::{
    Answer, CaseFilter, CaseSummary, CaseView, HistoryView, IsNew, ItemFilter, ItemView, Nets, Page, PageOf,
    Refusal,
};
use super::tables::{self, ArchivedRow, KeyRow, PartitionRow};
use super::turn::Rows;
use crate::case::encode;
use crate::case::row::{CaseRow, InstanceRow, ItemRow, Link, Status};
use crate::case::state::{Case, Instance};
use crate::case::view;
use crate::error::{Code, Kind};
use crate::expr::STEPS_MAX;
use crate::id::{CaseId, ItemId, Partition, SpecNumber, Time};
use crate::store::{self, Disk, Follower, JournalReader, NotUnpacked, Table, Tables};
pub use archived::entries;

/// Most rows that one page of a list looks at; a page that ends there is short and says where to go on.
pub const PAGE_ROWS_MAX: usize = 20_000;
/// A page of work items ends early once their inputs took so many evaluation steps: ten times what one mapping may take.
/// The last of them is worked out whole.
pub const PAGE_STEPS_MAX: u64 = 10 * STEPS_MAX;
/// Most entries of one case that are followed back for its history or for a repeated answer.
pub const HISTORY_ENTRIES_MAX: usize = 1_000_000;
/// The id of a case says when it was made; where many were made in the same microsecond, or a clock was set back, by so
/// much too late at the most.
pub const ID_AHEAD_US: u64 = 3_600_000_000;

/// Reads one case's rows.
///
/// # Errors
/// A row cannot be read.
pub fn case_rows<T: Tables>(follower: &Follower<T>, case: CaseId) -> Result<Option<Rows>, String> {
    let Some(row) = case_row(follower, case)? else { return Ok(None) };
    if matches!(row.status, Status::Closed(_)) {
        return Ok(Some(Rows { case: row, instances: Vec::new(), items: Vec::new() }));
    }
    let instances = parts::<_, InstanceRow>(follower, tables::INSTANCES, case)?;
    let items = parts::<_, ItemRow>(follower, tables::ITEMS, case)?;
    Ok(Some(Rows { case: row, instances, items }))
}

fn case_row<T: Tables>(follower: &Follower<T>, case: CaseId) -> Result<Option<CaseRow>, String> {
    let key = tables::case_key(case);
    for table in [tables::CASES, tables::CLOSED] {
        if let Some(bytes) = follower.get(table, &key).map_err(text)? {
            return encode::row_from_bytes(&bytes).map(Some).map_err(text);
        }
    }
    Ok(None)
}

fn parts<T: Tables, R: encode::Row>(
    follower: &Follower<T>,
    table: Table,
    case: CaseId,
) -> Result<Vec<(u32, R)>, String> {
    let mut found = Vec::new();
    let mut wrong = None;
    let visited = follower.prefix(table, &tables::case_key(case), &mut |key, value| {
        match (tables::part_of(key), encode::row_from_bytes(value)) {
            (Some((_, number)), Ok(row)) => found.push((number, row)),
            (None, _) => wrong = Some("a row of a case without its number".to_owned()),
            (_, Err(error)) => wrong = Some(text(error)),
        }
        wrong.is_none()
    });
    visited.map_err(text)?;
    wrong.map_or(Ok(found), Err)
}

/// Returns what there is of a case.
///
/// # Errors
/// A row cannot be read.
pub fn find<T: Tables>(follower: &Follower<T>, case: CaseId) -> Result<Found, String> {
    if let Some(rows) = case_rows(follower, case)? {
        return Ok(Found::Rows(Box::new(rows)));
    }
    Ok(archived::row(follower, case)?.map_or(Found::Nothing, |row| Found::Archived(Box::new(row))))
}

/// Answers a question of a shard, from durable rows.
pub fn answer<T: Tables>(follower: &Follower<T>, question: Question) -> Told {
    match question {
        Question::Load(case) => {
            Told::Loaded(case, find(follower, case).map_err(|reason| answers::unreadable(&reason)))
        }
        Question::Business(partition, hash) => {
            let found = business_case(follower, partition, &hash);
            Told::Business(partition, hash, found.map_err(|reason| answers::unreadable(&reason)))
        }
    }
}

/// Answers a question when the rows cannot be had.
pub fn cannot_answer(question: Question, refusal: Refusal) -> Told {
    match question {
        Question::Load(case) => Told::Loaded(case, Err(refusal)),
        Question::Business(partition, hash) => Told::Business(partition, hash, Err(refusal)),
    }
}

/// Returns the case of a business key.
///
/// # Errors
/// The row cannot be read.
pub fn business_case<T: Tables>(
    follower: &Follower<T>,
    partition: Partition,
    hash: &Hash16,
) -> Result<Option<CaseId>, String> {
    let found = follower.get(tables::BUSINESS_KEYS, &tables::hash_key(partition, hash)).map_err(text)?;
    found
        .map(|bytes| tables::case_of(&bytes).ok_or_else(|| "a business key without its case".to_owned()))
        .transpose()
}

/// Returns a case as rows hold it: markings lie in its instances' rows.
pub fn case_of_rows(id: CaseId, rows: Rows) -> Case {
    let instance = |(number, row)| Instance { number, row, slot: 0 };
    Case {
        id,
        row: Some(rows.case),
        instances: rows.instances.into_iter().map(instance).collect(),
        items: rows.items,
    }
}

/// Returns how many cases and work items there are, by state: what the rows of all partitions add up to.
///
/// # Errors
/// A row cannot be read.
pub fn counts<T: Tables>(follower: &Follower<T>) -> Result<PartitionRow, String> {
    let mut sum = PartitionRow::default();
    let mut wrong = None;
    let visited = follower.scan(tables::PARTITIONS, &[], &mut |_, value| {
        match tables::decode::<PartitionRow>(value) {
            Ok(row) => {
                sum.cases.iter_mut().zip(row.cases).for_each(|(sum, count)| *sum += count);
                sum.items.iter_mut().zip(row.items).for_each(|(sum, count)| *sum += count);
            }
            Err(error) => wrong = Some(error),
        }
        wrong.is_none()
    });
    visited.map_err(text)?;
    wrong.map_or(Ok(sum), Err)
}

/// Returns the view of a case.
///
/// # Errors
/// There is none, or its rows cannot be read.
pub fn case<T: Tables>(follower: &Follower<T>, registry: &Registry, id: CaseId) -> Result<CaseView, Refusal> {
    let rows = case_rows(follower, id).map_err(|reason| answers::unreadable(&reason))?;
    let rows = rows.ok_or_else(|| answers::refusal(&crate::case::Error::NoCase))?;
    let spec = known(registry, rows.case.spec)?;
    Ok(answers::case_view(&case_of_rows(id, rows), &spec))
}

/// Returns the view of a live item. The follower is let go before the item's input is worked out, which may take long.
///
/// # Errors
/// There is none, its rows cannot be read, or there is no room for it.
pub fn item<T: Tables, F: Deref<Target = Follower<T>>>(
    follower: F,
    registry: &Registry,
    id: ItemId,
    (turns, room): (&Turns, &Room),
) -> Result<ItemView, Refusal> {
    let rows = case_rows(&follower, id.case).map_err(|reason| answers::unreadable(&reason))?;
    let rows = rows.ok_or_else(|| answers::refusal(&crate::case::Error::NoItem))?;
    drop(follower);
    let spec = known(registry, rows.case.spec)?;
    let case = case_of_rows(id.case, rows);
    let view = Reading::new(turns)
        .read(|effort| view::live_item(&case, &spec.workflow, id.number, effort))
        .ok_or_else(|| answers::refusal(&crate::case::Error::NoItem))?;
    room.take(cost::item(&view)).map_err(|full| answers::no_room(full, room))?;
    Ok(view)
}

/// Lists cases in order of their ids.
///
/// # Errors
/// A bad token, or rows that cannot be read.
pub fn cases<T: Tables>(
    follower: &Follower<T>,
    registry: &Registry,
    filter: &CaseFilter,
    page: &PageOf,
    (now, room): (Time, &Room),
) -> Result<Page<CaseSummary>, Refusal> {
    if filter.is_archived {
        return archived::list(follower, registry, filter, page, (now, room));
    }
    let after = page.after.as_deref().map(|text| CaseId::parse(text).ok_or_else(|| bad_token(text)));
    let from = after.transpose()?.map_or(CaseId(0), |id| CaseId(id.0 + 1));
    let specs = filter.workflow.as_deref().map(|text| registry.numbers(text));
    let changed_before = filter.older_than_us.map(|age| now.minus_us(age));
    let wanted = |row: &CaseRow| {
        specs.as_ref().is_none_or(|specs| specs.contains(&row.spec))
            && changed_before.is_none_or(|before| row.changed <= before)
    };
    let limit = page.limit as usize;
    // A case does not change before it is made.
    let until = changed_before.and_then(|before| CaseId::first_of(before.plus_us(ID_AHEAD_US)));
    let mut pages = Vec::new();
    for (table, is_closed) in [(tables::CASES, false), (tables::CLOSED, true)] {
        if filter.state.is_none_or(|state| state.is_closed() == is_closed) {
            pages.push(rows_from(follower, table, (from, until), limit, &|id, row: &CaseRow| {
                if !wanted(row) {
                    return Ok(None);
                }
                let summary = summary(registry, id, row)?;
                Ok(Some(summary).filter(|found| filter.state.is_none_or(|state| found.state == state)))
            })?);
        }
    }
    // Each table's part is complete up to its own end, so the merged page is up to the smaller of them.
    let end = pages.iter().filter_map(|part| part.end).min();
    let mut items: Vec<CaseSummary> = pages.into_iter().flat_map(|part| part.found).collect();
    items.sort_unstable_by_key(|item| item.id);
    items.retain(|item| end.is_none_or(|end| item.id <= end));
    let is_cut = items.len() > limit;
    items.truncate(limit);
    let is_short = fit(&mut items, cost::summary, room)?;
    let next = if is_cut || is_short { items.last().map(|item| item.id) } else { end };
    Ok(Page { items, next: next.map(|id| id.to_string()) })
}

/// Ends a page where the room for it does, and returns whether it does; there is always room for one item, or none at all.
fn fit<T>(items: &mut Vec<T>, cost: impl Fn(&T) -> Cost, room: &Room) -> Result<bool, Refusal> {
    for at in 0..items.len() {
        match room.take(cost(&items[at])) {
            Ok(()) => {}
            Err(full) if at == 0 => return Err(answers::no_room(full, room)),
            Err(_) => {
                items.truncate(at);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Rows that were wanted, and the last row looked at when the table goes on behind it.
struct Part<R> {
    found: Vec<R>,
    end: Option<CaseId>,
}

type Pick<'a, R> = dyn Fn(CaseId, &CaseRow) -> Result<Option<R>, Refusal> + 'a;

fn rows_from<T: Tables, R>(
    follower: &Follower<T>,
    table: Table,
    (from, until): (CaseId, Option<CaseId>),
    limit: usize,
    pick: &Pick<'_, R>,
) -> Result<Part<R>, Refusal> {
    // The rows are taken first: the tables must not be asked again from inside a scan.
    let mut rows: Vec<(CaseId, Result<CaseRow, String>)> = Vec::new();
    let mut found = Vec::new();
    let mut from = from;
    let mut visited = 0;
    loop {
        rows.clear();
        let chunk = limit.clamp(64, 1_024);
        follower
            .scan(table, &tables::case_key(from), &mut |key, value| {
                let id = tables::case_of(key).filter(|id| until.is_none_or(|until| *id <= until));
                let Some(id) = id else { return false };
                rows.push((id, encode::row_from_bytes(value).map_err(text)));
                rows.len() < chunk
            })
            .map_err(|error| answers::unreadable(&text(error)))?;
        let is_last = rows.len() < chunk;
        for (id, row) in &rows {
            let row = row.as_ref().map_err(|reason| answers::unreadable(reason))?;
            found.extend(pick(*id, row)?);
            visited += 1;
            if found.len() > limit || (visited >= PAGE_ROWS_MAX && !is_last) {
                return Ok(Part { found, end: Some(*id) });
            }
        }
        match rows.last() {
            Some((id, _)) if !is_last => from = CaseId(id.0 + 1),
            _ => return Ok(Part { found, end: None }),
        }
    }
}

fn summary(registry: &Registry, id: CaseId, row: &CaseRow) -> Result<CaseSummary, Refusal> {
    let spec = known(registry, row.spec)?;
    Ok(CaseSummary {
        id,
        workflow: spec.workflow.uri.clone(),
        version: spec.version,
        state: view::state(row),
        business_key: row.business_key.clone(),
        created: row.created,
        changed: row.changed,
        enabled_count: row.enabled_count,
        archived: None,
    })
}

/// Lists live items in order of their ids. `read` gives the follower; it is asked for each case and held only while that
/// case's rows are read, because working out the inputs of items may take long. A page ends early when the room is full, or
/// after [`PAGE_STEPS_MAX`].
///
/// # Errors
/// A bad token, rows that cannot be read, or no room for the first item.
pub fn items<T: Tables, F: Deref<Target = Follower<T>>>(
    read: &dyn Fn() -> Result<F, Refusal>,
    registry: &Registry,
    filter: &ItemFilter,
    page: &PageOf,
    (turns, room): (&Turns, &Room),
) -> Result<Page<ItemView>, Refusal> {
    let after = page.after.as_deref().map(|text| ItemId::parse(text).ok_or_else(|| bad_token(text)));
    let after = after.transpose()?;
    let first = ItemId { case: filter.case.unwrap_or(CaseId(0)), number: 0 };
    let mut from = after.map_or(first, |id| ItemId { number: id.number.saturating_add(1), ..id }.max(first));
    let specs = filter.workflow.as_deref().map(|text| registry.numbers(text));
    let limit = page.limit as usize;
    let mut views: Vec<ItemView> = Vec::new();
    let reading = Reading::new(turns);
    let mut visited = 0;
    loop {
        let Some((case, rows)) = next_case_with_items(&*read()?, from, filter.case)? else {
            return Ok(Page { items: views, next: None });
        };
        let first = if case == from.case { from.number } else { 0 };
        let spec = known(registry, rows.case.spec)?;
        let is_wanted = specs.as_ref().is_none_or(|specs| specs.contains(&rows.case.spec));
        let case_in_memory = case_of_rows(case, rows);
        for (number, row) in case_in_memory.items.iter().filter(|entry| is_wanted && entry.0 >= first) {
            visited += 1;
            let Some((task, state)) = view::task_and_state(&case_in_memory, &spec.workflow, row) else {
                continue;
            };
            if filter.task.as_ref().is_some_and(|asked| *asked != task)
                || filter.state.as_ref().is_some_and(|asked| asked != state)
            {
                continue;
            }
            let is_full = views.len() == limit || reading.used() >= PAGE_STEPS_MAX;
            let view = if is_full {
                None
            } else {
                reading.read(|effort| view::live_item(&case_in_memory, &spec.workflow, *number, effort))
            };
            let taken = match &view {
                Some(view) => room.take(cost::item(view)).map_err(Some),
                None => Err(None),
            };
            match (taken, view, views.last()) {
                (Ok(()), view, _) => views.extend(view),
                (Err(Some(full)), _, None) => return Err(answers::no_room(full, room)),
                (Err(_), _, last) => {
                    let next = last.map(|last| last.id.to_string());
                    return Ok(Page { items: views, next });
                }
            }
        }
        visited += 1;
        if visited >= PAGE_ROWS_MAX {
            let end = ItemId { case, number: u32::MAX };
            return Ok(Page { items: views, next: Some(end.to_string()) });
        }
        let Some(after) = case.0.checked_add(1) else { return Ok(Page { items: views, next: None }) };
        from = ItemId { case: CaseId(after), number: 0 };
    }
}

/// Returns the first case from an item on that has live items, with its rows; `None` when there is none, or not `only`.
fn next_case_with_items<T: Tables>(
    follower: &Follower<T>,
    from: ItemId,
    only: Option<CaseId>,
) -> Result<Option<(CaseId, Rows)>, Refusal> {
    let mut found = None;
    let visited = follower.scan(tables::ITEMS, &tables::part_key(from.case, from.number), &mut |key, _| {
        found = tables::case_of(key);
        false
    });
    visited.map_err(|error| answers::unreadable(&text(error)))?;
    let Some(case) = found.filter(|case| only.is_none_or(|only| only == *case)) else { return Ok(None) };
    let rows = case_rows(follower, case).map_err(|reason| answers::unreadable(&reason))?;
    let rows = rows.ok_or_else(|| answers::unreadable("a work item without its case"))?;
    Ok(Some((case, rows)))
}

/// Where what happened in a case is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What it runs.
    spec: SpecNumber,
    /// Its newest entry.
    last: Link,
}

/// Returns where the history of a case begins to be read.
///
/// # Errors
/// There is no such case, or its row cannot be read.
pub fn place<T: Tables>(follower: &Follower<T>, id: CaseId) -> Result<Place, Refusal> {
    match case_row(follower, id).map_err(|reason| answers::unreadable(&reason))? {
        Some(row) => Ok(Place { spec: row.spec, last: row.last }),
        None => match archived::row(follower, id).map_err(|reason| answers::unreadable(&reason))? {
            Some(row) => Ok(Place { spec: row.fact.spec, last: row.last }),
            None => Err(answers::refusal(&crate::case::Error::NoCase)),
        },
    }
}

/// Returns what happened in a case, oldest first. Takes as long as its history is: not with the follower's lock held.
///
/// # Errors
/// Its history cannot be read.
pub fn history<D: Disk>(
    journal: &JournalReader<D>,
    registry: &Registry,
    id: CaseId,
    place: Place,
    (page, room): (&PageOf, &Room),
) -> Result<Page<HistoryView>, Refusal> {
    let after = page.after.as_deref().map(|text| text.parse::<u32>().map_err(|_| bad_token(text)));
    let after = after.transpose()?.unwrap_or(0);
    let spec = known(registry, place.spec)?;
    let mut historian = view::Historian::new(&spec.workflow);
    let mut page_of: Page<HistoryView> = Page { items: Vec::new(), next: None };
    let mut no_room = None;
    let visited = entries(journal, id, place.last, &mut |entry| {
        for view in lines(&mut historian, entry)? {
            if view.seq <= after {
                continue;
            }
            let is_full = page_of.items.len() == page.limit as usize;
            let taken = if is_full { Err(None) } else { room.take(cost::event(&view)).map_err(Some) };
            match taken {
                Ok(()) => page_of.items.push(view),
                Err(full) => {
                    no_room = full.filter(|_| page_of.items.is_empty());
                    page_of.next = Some((view.seq - 1).to_string());
                    return Ok(false);
                }
            }
        }
        Ok(true)
    });
    visited.map_err(|reason| answers::not_unpacked(reason, answers::unreadable))?;
    no_room.map_or(Ok(page_of), |full| Err(answers::no_room(full, room)))
}

/// Tells an entry of a case.
fn lines(historian: &mut view::Historian<'_>, entry: &store::Entry) -> Result<Vec<HistoryView>, String> {
    let record = Record::decode(&entry.payload)?;
    let text = |text: String| view::Detail::Text(text);
    Ok(match record.body {
        Body::Case(payload) => {
            let events = encode::events_from_bytes(payload).map_err(self::text)?;
            events.iter().map(|event| historian.tell(event, record.at)).collect()
        }
        Body::Archived(fact) => {
            vec![historian.note("archived", record.at, vec![("file", text(fact.id().to_string()))])]
        }
        Body::Restored(fact) => vec![historian.note("restored", record.at, vec![("from", text(fact.from))])],
        Body::Registered(_) | Body::KeysExpired { .. } => {
            return Err("an entry of a case that holds no events".to_owned());
        }
    })
}

/// Finds what a key was used for, if the request is the same.
///
/// # Errors
/// It is another request, or its row cannot be read.
pub fn repeat<T: Tables>(
    follower: &Follower<T>,
    registry: &Registry,
    repeat: Repeat,
    request: &super::record::Hash16,
    room: &Room,
) -> Result<Repeated, Refusal> {
    let row = match repeat {
        Repeat::Business(id, _) => {
            let row = archived::row(follower, id).map_err(|reason| answers::unreadable(&reason))?;
            if let Some(row) = row {
                return Ok(Repeated::Archived(id, Box::new(row)));
            }
            let view = case(follower, registry, id)?;
            return Ok(Repeated::Answer(answers::case_answer(view, Some(IsNew::No), room)));
        }
        Repeat::Service(_, row) => row,
        Repeat::Client(partition, at, key) => {
            let bytes = follower.get(tables::KEYS, &tables::used_key(partition, at, &key));
            let bytes = bytes.map_err(|error| answers::unreadable(&text(error)))?;
            let bytes = bytes.ok_or_else(expired_key)?;
            tables::decode::<KeyRow>(&bytes).map_err(|reason| answers::unreadable(&reason))?
        }
    };
    if row.request != *request {
        return Err(other_request());
    }
    if let (Act::Register, Some(number)) = (row.act, row.spec) {
        return Ok(Repeated::Specification(number));
    }
    let archived = archived::row(follower, row.case).map_err(|reason| answers::unreadable(&reason))?;
    let archived = archived.map(|archived| archived.last);
    Ok(Repeated::Entry(Box::new(Earlier { row, archived })))
}

/// What a key was used for.
#[derive(Debug)]
pub enum Repeated {
    /// The answer to an operation.
    Answer(Answer),
    /// A registration.
    Specification(SpecNumber),
    /// The entry of an operation, which [`answer_at`] makes the answer of.
    Entry(Box<Earlier>),
    /// A case that is archived, which [`archived::view`] makes the answer of.
    Archived(CaseId, Box<ArchivedRow>),
}

/// An operation that was done before.
#[derive(Debug)]
pub struct Earlier {
    /// Its key.
    row: KeyRow,
    /// The newest entry of its case, if that is archived: what was before it is in an archive.
    archived: Option<Link>,
}

/// Folds a case up to the entry that a key names, and answers as then. Takes as long as its history is: not with the
/// follower's lock held.
///
/// # Errors
/// The answer cannot be made again.
pub fn answer_at<D: Disk>(
    journal: &JournalReader<D>,
    registry: &Registry,
    earlier: &Earlier,
    room: &Room,
) -> Result<Answer, Refusal> {
    let folded = fold_to(journal, registry, earlier, room);
    folded.map_err(|reason| answers::not_unpacked(reason, answers::unreadable))
}

fn fold_to<D: Disk>(
    journal: &JournalReader<D>,
    registry: &Registry,
    earlier: &Earlier,
    room: &Room,
) -> Result<Answer, NotUnpacked> {
    let Earlier { row, archived } = earlier;
    let last = match archived {
        Some(last) => *last,
        None => archived::link(&archived::entry_at(journal, row.case, row.n)?),
    };
    let mut past = Past::new(row.case);
    let mut place = None;
    let mut is_found = false;
    entries(journal, row.case, last, &mut |entry| {
        is_found = entry.n == row.n && (archived.is_some() || archived::link(entry) == last);
        if let (true, Act::Item(number)) = (is_found, row.act) {
            place = ItemPlace::of(&past.case, number);
        }
        past.hear(entry)?;
        Ok(!is_found)
    })?;
    if !is_found || past.case.row.is_none() {
        return Err(format!("journal entry {} is missing", row.n).into());
    }
    let spec = registry.get(past.case.existing().spec).ok_or("its specification is not registered")?;
    let (workflow, version) = (&spec.workflow, spec.version);
    let left = answers::Left { case: &past.case, workflow, version, tokens: answers::marking_in_row };
    let answer = answers::answer(&left, row.act, place.as_ref(), (&past.last.1, past.last.0), room);
    answer.ok_or_else(|| format!("journal entry {} is about a work item that never was", row.n).into())
}

fn known(
    registry: &Registry,
    number: SpecNumber,
) -> Result<std::sync::Arc<super::registry::Registered>, Refusal> {
    registry.get(number).ok_or_else(|| answers::unreadable("the specification of a case is not registered"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn bad_token(token: &str) -> Refusal {
    Refusal {
        code: Code(310),
        kind: Kind::Invalid,
        message: format!("{token:?} is no place in this list"),
        hint: Some("give `after` the value of `next` of the page before".to_owned()),
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

fn expired_key() -> Refusal {
    Refusal {
        code: Code(312),
        kind: Kind::Conflict,
        message: "this idempotency key has just come to the end of its time".to_owned(),
        hint: Some("what it was used for was done; look at the case before asking with a new key".to_owned()),
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

fn other_request() -> Refusal {
    Refusal {
        code: Code(311),
        kind: Kind::Unacceptable,
        message: "this idempotency key was used for another request".to_owned(),
        hint: Some("use a new key for a new request; repeat a request byte for byte".to_owned()),
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

/// Lists registered specifications: every version, by uri.
///
/// # Errors
/// A bad token.
pub fn specifications(
    registry: &Registry,
    page: &PageOf,
    room: &Room,
) -> Result<Page<super::service::SpecificationView>, Refusal> {
    let after = page.after.as_deref().map(|token| {
        let (version, uri) = token.split_once('@').ok_or_else(|| bad_token(token))?;
        Ok((uri.to_owned(), version.parse::<u32>().map_err(|_| bad_token(token))?))
    });
    let limit = page.limit as usize;
    let mut found = registry.list(after.transpose()?.as_ref(), limit + 1);
    let is_cut = found.len() > limit;
    found.truncate(limit);
    let mut items: Vec<_> = found.iter().map(|spec| answers::specification(spec, IsNew::No)).collect();
    let is_short = fit(&mut items, cost::specification, room)?;
    let last = items.last().filter(|_| is_cut || is_short);
    let next = last.map(|last| format!("{}@{}", last.version, last.id));
    Ok(Page { items, next })
}

/// Returns the nets of a case's own version.
///
/// # Errors
/// There is no such case, or its row cannot be read.
pub fn nets_of<T: Tables>(follower: &Follower<T>, registry: &Registry, id: CaseId) -> Result<Nets, Refusal> {
    Ok(answers::nets(&*known(registry, place(follower, id)?.spec)?))
}
