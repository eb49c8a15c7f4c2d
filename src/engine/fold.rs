//! From journal entries to rows: what the follower, start, verification and restore all do with an entry.
//!
//! The events of a case are folded by the one `case::fold`; here only its rows are fetched, when an event touches
//! them, and put back once the whole entry is folded.

mod moving;

use super::record::{Body, KeyFact, Maker, Record, Registration};
use super::tables::{self, CASE_STATES, ITEM_STATES, KeyRow, PartitionRow};
use crate::case::encode;
use crate::case::event::{Event, InstanceNumber, ItemNumber, PlaceNumber};
use crate::case::fold::{State, fold, move_counts};
use crate::case::row::{CaseRow, InstanceRow, ItemRow, ItemState, Link, Status};
use crate::case::view::{self, CaseState};
use crate::id::{CaseId, Partition, SpecNumber, Time};
use crate::store::{self, Before, Entry, Is, RowValue, Rows, Table};

/// Folds entries of this engine; the store knows nothing of what they say.
#[derive(Debug, Default, Clone, Copy)]
pub struct EngineFold;

impl store::Fold for EngineFold {
    fn fold(&self, rows: &mut Rows<'_>, entry: &Entry) -> Result<(), String> {
        let record = Record::decode(&entry.payload)?;
        let time = record.at;
        match &record.body {
            Body::Case(payload) => fold_case(rows, time, entry, payload)?,
            Body::Registered(registration) => register(rows, time, registration)?,
            Body::KeysExpired { before } => expire_keys(rows, entry.partition, *before)?,
            Body::Archived(fact) => moving::archive(rows, time, entry, fact)?,
            Body::Restored(fact) => moving::restore(rows, entry, fact)?,
        }
        match record.key {
            Some(fact) if fact.maker == Maker::Client => put_key(rows, time, entry, fact, &record.body),
            _ => Ok(()),
        }
    }

    fn before(&self, entry: &Entry) -> Before {
        super::record::before(&entry.payload)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn register(rows: &mut Rows<'_>, time: Time, registration: &Registration) -> Result<(), String> {
    let value = tables::encode(&(time, registration));
    rows.put(tables::SPECS, &tables::spec_key(registration.number), &value)
}

fn put_key(
    rows: &mut Rows<'_>,
    at: Time,
    entry: &Entry,
    fact: KeyFact,
    body: &Body<'_>,
) -> Result<(), String> {
    let spec: Option<SpecNumber> = match body {
        Body::Registered(registration) => Some(registration.number),
        _ => None,
    };
    let row =
        KeyRow { n: entry.n, case: CaseId(entry.subject), spec, request: fact.request, act: fact.act, at };
    let key = tables::used_key(entry.partition, at, &fact.key);
    rows.put(tables::KEYS, &key, &tables::encode(&row))
}

fn expire_keys(rows: &mut Rows<'_>, partition: Partition, before: Time) -> Result<(), String> {
    let mut expired = Vec::new();
    let mut wrong = None;
    rows.prefix(tables::KEYS, &partition.0.to_be_bytes(), &mut |key, _| {
        match tables::used_of(key) {
            Some((_, at, _)) if at < before => expired.push(key.to_vec()),
            Some(_) => return false,
            None => wrong = Some("a key's row without its key"),
        }
        wrong.is_none()
    })?;
    if let Some(reason) = wrong {
        return Err(reason.to_owned());
    }
    expired.iter().try_for_each(|key| rows.delete(tables::KEYS, key))
}

fn fold_case(rows: &mut Rows<'_>, time: Time, entry: &Entry, payload: &[u8]) -> Result<(), String> {
    let events = encode::events_from_bytes(payload).map_err(text)?;
    let case = CaseId(entry.subject);
    let mut touched = match events.first() {
        // Its id was never used: nothing needs to be looked for.
        Some(Event::Created { .. }) => Touched::none(case),
        _ => Touched::fetch(rows, case)?,
    };
    if rows.has_gaps() && entry.previous.n != 0 && !touched.is_continued_by(entry) {
        // What was just before it is gone, because a later entry says what the case came to.
        return touched.leave(rows);
    }
    for event in &events {
        touched.prepare(rows, event)?;
        fold(&mut touched, event, time)?;
    }
    let row = touched.row.as_mut().ok_or("events of a case that was not created")?;
    let link = entry.link();
    row.last = Link { n: link.n, hash: link.hash };
    touched.put_back(rows, &events)
}

impl<R: encode::Row + Send + Sync + 'static> RowValue for R {
    fn to_bytes(&self) -> Vec<u8> {
        encode::row_to_bytes(self)
    }

    fn bytes(&self) -> usize {
        size_of::<R>() + self.heap_bytes()
    }
}

/// A row that was fetched or made, if there is one, and whether there can be one in the rows.
type Part<R> = (u32, Option<Box<R>>, Is);

/// Rows of one case that the events of one entry touch: taken out of the rows, and put back when all is folded.
struct Touched {
    case: CaseId,
    row: Option<Box<CaseRow>>,
    was: Was,
    was_unfinished: bool,
    /// What the rows counted for before.
    counted: Counted,
    instances: Vec<Part<InstanceRow>>,
    items: Vec<Part<ItemRow>>,
}

/// Where a case's row lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Nowhere,
    Live,
    Closed,
}

fn take<R: encode::Row + Send + Sync + 'static>(
    rows: &mut Rows<'_>,
    table: Table,
    key: &[u8],
) -> Result<Option<Box<R>>, String> {
    rows.take(table, key, |bytes| encode::row_from_bytes(bytes).map_err(text))
}

impl Touched {
    fn none(case: CaseId) -> Self {
        let (counted, instances, items) = (Counted::default(), Vec::new(), Vec::new());
        Self { case, row: None, was: Was::Nowhere, was_unfinished: false, counted, instances, items }
    }

    fn fetch(rows: &mut Rows<'_>, case: CaseId) -> Result<Self, String> {
        let key = tables::case_key(case);
        let mut touched = Self::none(case);
        for (table, was) in [(tables::CASES, Was::Live), (tables::CLOSED, Was::Closed)] {
            let Some(row) = take::<CaseRow>(rows, table, &key)? else { continue };
            touched.counted.case(view::state(&row), -1);
            touched.was_unfinished = row.unfinished;
            (touched.row, touched.was) = (Some(row), was);
            break;
        }
        Ok(touched)
    }

    /// Tells whether an entry continues the last one that the case's row knows.
    fn is_continued_by(&self, entry: &Entry) -> bool {
        let store::Link { n, hash } = entry.previous;
        self.row.as_ref().is_some_and(|row| row.last == Link { n, hash })
    }

    /// Puts the case's row back as it was.
    fn leave(self, rows: &mut Rows<'_>) -> Result<(), String> {
        let table = if self.was == Was::Closed { tables::CLOSED } else { tables::CASES };
        match self.row {
            Some(row) => rows.keep(table, &tables::case_key(self.case), row, Is::Perhaps),
            None => Ok(()),
        }
    }

    /// Fetches what an event is about to ask for.
    fn prepare(&mut self, rows: &mut Rows<'_>, event: &Event) -> Result<(), String> {
        match event {
            Event::Stepped { instance, .. } | Event::Ended { instance, .. } => {
                self.fetch_instance(rows, *instance)
            }
            // The root net's data become the case's output.
            Event::Closed { .. } => self.fetch_instance(rows, 0),
            Event::Started { item, .. }
            | Event::Finished { item, .. }
            | Event::Withdrawn { item, .. }
            | Event::Failed { item, .. }
            | Event::Reoffered { item } => self.fetch_item(rows, *item),
            _ => Ok(()),
        }
    }

    fn fetch_instance(&mut self, rows: &mut Rows<'_>, number: InstanceNumber) -> Result<(), String> {
        if self.instances.iter().any(|entry| entry.0 == number) {
            return Ok(());
        }
        let row = take(rows, tables::INSTANCES, &tables::part_key(self.case, number))?;
        self.instances.push((number, row, Is::Perhaps));
        Ok(())
    }

    fn fetch_item(&mut self, rows: &mut Rows<'_>, number: ItemNumber) -> Result<(), String> {
        if self.items.iter().any(|entry| entry.0 == number) {
            return Ok(());
        }
        let row: Option<Box<ItemRow>> = take(rows, tables::ITEMS, &tables::part_key(self.case, number))?;
        if let Some(row) = &row {
            self.counted.item(row.state, -1);
        }
        self.items.push((number, row, Is::Perhaps));
        Ok(())
    }

    fn put_back(self, rows: &mut Rows<'_>, events: &[Event]) -> Result<(), String> {
        let row = self.row.ok_or("events of a case that was not created")?;
        let mut counted = self.counted;
        counted.case(view::state(&row), 1);
        self.items.iter().filter_map(|entry| entry.1.as_ref()).for_each(|item| counted.item(item.state, 1));
        let created = (self.was == Was::Nowhere).then_some(self.case);
        counted.put(rows, self.case.partition(), created)?;
        if let Some(Event::Created { business_key: Some(business_key), .. }) = events.first() {
            let key = tables::hash_key(self.case.partition(), &business_hash(business_key));
            rows.put(tables::BUSINESS_KEYS, &key, &self.case.0.to_be_bytes())?;
        }
        put_parts(rows, tables::INSTANCES, self.case, self.instances)?;
        put_parts(rows, tables::ITEMS, self.case, self.items)?;
        let key = tables::case_key(self.case);
        match (self.was_unfinished, row.unfinished) {
            (false, true) => rows.put(tables::UNFINISHED, &key, &[])?,
            (true, false) => rows.delete(tables::UNFINISHED, &key)?,
            _ => {}
        }
        if !matches!(row.status, Status::Closed(_)) {
            let is = if self.was == Was::Nowhere { Is::New } else { Is::Perhaps };
            return rows.keep(tables::CASES, &key, row, is);
        }
        if self.was == Was::Closed {
            return rows.keep(tables::CLOSED, &key, row, Is::Perhaps);
        }
        if self.was == Was::Live {
            rows.delete(tables::CASES, &key)?;
        }
        rows.put(tables::CLOSED_BY_DAY, &tables::day_key(row.changed, self.case), &[])?;
        rows.keep(tables::CLOSED, &key, row, Is::New)
    }
}

fn put_parts<R: encode::Row + Send + Sync + 'static>(
    rows: &mut Rows<'_>,
    table: Table,
    case: CaseId,
    parts: Vec<Part<R>>,
) -> Result<(), String> {
    for (number, row, is) in parts {
        let key = tables::part_key(case, number);
        match row {
            Some(row) => rows.keep(table, &key, row, is),
            None if is == Is::New => Ok(()),
            None => rows.delete(table, &key),
        }?;
    }
    Ok(())
}

/// By how much the counts of a partition change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    cases: [i64; CASE_STATES.len()],
    items: [i64; ITEM_STATES.len()],
}

impl Counted {
    fn case(&mut self, state: CaseState, by: i64) {
        let place = CASE_STATES.iter().position(|counted| *counted == state);
        self.cases[place.expect("invariant: cases of every state are counted")] += by;
    }

    fn item(&mut self, state: ItemState, by: i64) {
        let state = if state == ItemState::Reoffered { ItemState::Enabled } else { state };
        let place = ITEM_STATES.iter().position(|counted| *counted == state);
        self.items[place.expect("invariant: items of every state are counted")] += by;
    }

    /// Changes the row of a partition, if anything changes.
    fn put(&self, rows: &mut Rows<'_>, partition: Partition, created: Option<CaseId>) -> Result<(), String> {
        if *self == Self::default() && created.is_none() {
            return Ok(());
        }
        let key = partition.0.to_be_bytes();
        let known = rows.get(tables::PARTITIONS, &key)?;
        let mut row =
            known.map_or(Ok(PartitionRow::default()), |bytes| tables::decode::<PartitionRow>(&bytes))?;
        row.last_case = row.last_case.max(created);
        let counts = row.cases.iter_mut().zip(self.cases).chain(row.items.iter_mut().zip(self.items));
        for (count, by) in counts {
            *count = count.checked_add_signed(by).ok_or("more has ended in a partition than began")?;
        }
        rows.put(tables::PARTITIONS, &key, &tables::encode(&row))
    }
}

/// Returns the hash under which a business key is kept.
pub fn business_hash(business_key: &str) -> super::record::Hash16 {
    super::record::hash16(&[b"business", business_key.as_bytes()])
}

impl State for Touched {
    fn case(&mut self) -> Option<&mut CaseRow> {
        self.row.as_deref_mut()
    }

    fn create(&mut self, row: CaseRow) {
        self.row = Some(Box::new(row));
    }

    fn instance(&mut self, number: InstanceNumber) -> Option<&mut InstanceRow> {
        find(&mut self.instances, number)?.as_deref_mut()
    }

    fn open(&mut self, number: InstanceNumber, mut row: InstanceRow, place: PlaceNumber) {
        row.tokens = vec![(place, 1)];
        make(&mut self.instances, number, row);
    }

    fn end(&mut self, number: InstanceNumber) -> Option<InstanceRow> {
        find(&mut self.instances, number)?.take().map(|row| *row)
    }

    fn move_tokens(
        &mut self,
        number: InstanceNumber,
        taken: &[PlaceNumber],
        removed: &[PlaceNumber],
        put: &[PlaceNumber],
    ) -> Result<(), String> {
        let row = self.instance(number).ok_or("tokens move in an instance that does not exist")?;
        move_counts(&mut row.tokens, taken, removed, put)
    }

    fn item(&mut self, number: ItemNumber) -> Option<&mut ItemRow> {
        find(&mut self.items, number)?.as_deref_mut()
    }

    fn offer(&mut self, number: ItemNumber, row: ItemRow) {
        make(&mut self.items, number, row);
    }

    fn withdraw(&mut self, number: ItemNumber) -> Option<ItemRow> {
        find(&mut self.items, number)?.take().map(|row| *row)
    }
}

fn find<R>(rows: &mut [Part<R>], number: u32) -> Option<&mut Option<Box<R>>> {
    rows.iter_mut().find(|entry| entry.0 == number).map(|entry| &mut entry.1)
}

/// Adds a row of a number that never was: numbers count up.
fn make<R>(rows: &mut Vec<Part<R>>, number: u32, row: R) {
    match find(rows, number) {
        Some(slot) => *slot = Some(Box::new(row)),
        None => rows.push((number, Some(Box::new(row)), Is::New)),
    }
}
