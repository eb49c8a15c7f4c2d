//! From journal entries to rows: what the follower, start, verification and restore all do with an entry.
//!
//! The events of a case are folded by the one `case::fold`; here only its rows are fetched, when an event touches
//! them, and put back once the whole entry is folded.

use super::record::{Body, KeyFact, Maker, Record, Registration};
use super::tables::{self, CASE_STATES, ITEM_STATES, KeyRow, PartitionRow};
use crate::case::encode;
use crate::case::event::{Event, InstanceNumber, ItemNumber, PlaceNumber};
use crate::case::fold::{State, fold, move_counts};
use crate::case::row::{CaseRow, InstanceRow, ItemRow, ItemState, Link, Status};
use crate::case::view::{self, CaseState};
use crate::id::{CaseId, Partition, SpecNumber, Time};
use crate::store::{self, Entry, Rows};

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
        }
        match record.key {
            Some(fact) if fact.maker == Maker::Client => put_key(rows, time, entry, fact, &record.body),
            _ => Ok(()),
        }
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
    let key = tables::hash_key(entry.partition, &fact.key);
    rows.put(tables::KEYS, &key, &tables::encode(&row))
}

fn expire_keys(rows: &mut Rows<'_>, partition: Partition, before: Time) -> Result<(), String> {
    let from = tables::hash_key(partition, &[0; 16]);
    let mut expired = Vec::new();
    let mut wrong = None;
    rows.scan(tables::KEYS, &from, &mut |key, value| {
        if key[..2] != from[..2] {
            return false;
        }
        match tables::decode::<KeyRow>(value) {
            Ok(row) if row.at < before => expired.push(key.to_vec()),
            Ok(_) => {}
            Err(error) => wrong = Some(error),
        }
        true
    })?;
    if let Some(error) = wrong {
        return Err(error);
    }
    expired.iter().try_for_each(|key| rows.delete(tables::KEYS, key))
}

fn fold_case(rows: &mut Rows<'_>, time: Time, entry: &Entry, payload: &[u8]) -> Result<(), String> {
    let events = encode::events_from_bytes(payload).map_err(text)?;
    let mut touched = Touched::fetch(rows, CaseId(entry.subject))?;
    for event in &events {
        touched.prepare(rows, event)?;
        fold(&mut touched, event, time)?;
    }
    let row = touched.row.as_mut().ok_or("events of a case that was not created")?;
    let link = entry.link();
    row.last = Link { n: link.n, hash: link.hash };
    touched.put_back(rows, time, &events)
}

/// Rows of one case that the events of one entry touch.
struct Touched {
    case: CaseId,
    row: Option<CaseRow>,
    was_closed: bool,
    /// What the rows counted for before.
    counted: Counted,
    instances: Vec<(InstanceNumber, Option<InstanceRow>)>,
    items: Vec<(ItemNumber, Option<ItemRow>)>,
}

impl Touched {
    fn fetch(rows: &mut Rows<'_>, case: CaseId) -> Result<Self, String> {
        let key = tables::case_key(case);
        let mut row = rows.get(tables::CASES, &key)?;
        let mut was_closed = false;
        if row.is_none() {
            row = rows.get(tables::CLOSED, &key)?;
            was_closed = row.is_some();
        }
        let row = row.map(|bytes| encode::row_from_bytes(&bytes)).transpose().map_err(text)?;
        let mut counted = Counted::default();
        if let Some(row) = &row {
            counted.case(view::state(row), -1);
        }
        Ok(Self { case, row, was_closed, counted, instances: Vec::new(), items: Vec::new() })
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
        let bytes = rows.get(tables::INSTANCES, &tables::part_key(self.case, number))?;
        let row = bytes.map(|bytes| encode::row_from_bytes(&bytes)).transpose().map_err(text)?;
        self.instances.push((number, row));
        Ok(())
    }

    fn fetch_item(&mut self, rows: &mut Rows<'_>, number: ItemNumber) -> Result<(), String> {
        if self.items.iter().any(|entry| entry.0 == number) {
            return Ok(());
        }
        let bytes = rows.get(tables::ITEMS, &tables::part_key(self.case, number))?;
        let row: Option<ItemRow> =
            bytes.map(|bytes| encode::row_from_bytes(&bytes)).transpose().map_err(text)?;
        if let Some(row) = &row {
            self.counted.item(row.state, -1);
        }
        self.items.push((number, row));
        Ok(())
    }

    fn put_back(self, rows: &mut Rows<'_>, time: Time, events: &[Event]) -> Result<(), String> {
        let row = self.row.ok_or("events of a case that was not created")?;
        let mut counted = self.counted;
        counted.case(view::state(&row), 1);
        self.items.iter().filter_map(|entry| entry.1.as_ref()).for_each(|item| counted.item(item.state, 1));
        let created = matches!(events.first(), Some(Event::Created { .. })).then_some(self.case);
        counted.put(rows, self.case.partition(), created)?;
        if let Some(Event::Created { business_key: Some(business_key), .. }) = events.first() {
            let key = tables::hash_key(self.case.partition(), &business_hash(business_key));
            rows.put(tables::BUSINESS_KEYS, &key, &self.case.0.to_be_bytes())?;
        }
        for (number, instance) in &self.instances {
            let key = tables::part_key(self.case, *number);
            match instance {
                Some(row) => rows.put(tables::INSTANCES, &key, &encode::row_to_bytes(row)),
                None => rows.delete(tables::INSTANCES, &key),
            }?;
        }
        for (number, item) in &self.items {
            let key = tables::part_key(self.case, *number);
            match item {
                Some(row) => rows.put(tables::ITEMS, &key, &encode::row_to_bytes(row)),
                None => rows.delete(tables::ITEMS, &key),
            }?;
        }
        let key = tables::case_key(self.case);
        let value = encode::row_to_bytes(&row);
        if !matches!(row.status, Status::Closed(_)) {
            return rows.put(tables::CASES, &key, &value);
        }
        if !self.was_closed {
            rows.delete(tables::CASES, &key)?;
            rows.put(tables::CLOSED_BY_DAY, &tables::day_key(time, self.case), &[])?;
        }
        rows.put(tables::CLOSED, &key, &value)
    }
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
        self.row.as_mut()
    }

    fn create(&mut self, row: CaseRow) {
        self.row = Some(row);
    }

    fn instance(&mut self, number: InstanceNumber) -> Option<&mut InstanceRow> {
        find(&mut self.instances, number)?.as_mut()
    }

    fn open(&mut self, number: InstanceNumber, mut row: InstanceRow, place: PlaceNumber) {
        row.tokens = vec![(place, 1)];
        put(&mut self.instances, number, row);
    }

    fn end(&mut self, number: InstanceNumber) -> Option<InstanceRow> {
        find(&mut self.instances, number)?.take()
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
        find(&mut self.items, number)?.as_mut()
    }

    fn offer(&mut self, number: ItemNumber, row: ItemRow) {
        put(&mut self.items, number, row);
    }

    fn withdraw(&mut self, number: ItemNumber) -> Option<ItemRow> {
        find(&mut self.items, number)?.take()
    }
}

fn find<T>(rows: &mut [(u32, Option<T>)], number: u32) -> Option<&mut Option<T>> {
    rows.iter_mut().find(|entry| entry.0 == number).map(|entry| &mut entry.1)
}

fn put<T>(rows: &mut Vec<(u32, Option<T>)>, number: u32, row: T) {
    match find(rows, number) {
        Some(slot) => *slot = Some(row),
        None => rows.push((number, Some(row))),
    }
}
