//! One case in memory: its rows, and where each instance's marking lies.

use super::event::{InstanceNumber, ItemNumber, PlaceNumber};
use super::fold::{State, move_counts};
use super::row::{CaseRow, InstanceRow, ItemRow};
use crate::id::CaseId;

/// A live net instance in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its number within the case.
    pub number: InstanceNumber,
    /// Its row.
    pub row: InstanceRow,
    /// Where its marking lies, in words of whoever keeps markings.
    pub slot: u32,
}

/// A case in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its id.
    pub id: CaseId,
    /// Its row; `None` before it was created.
    pub row: Option<CaseRow>,
    /// Live net instances by number.
    pub instances: Vec<Instance>,
    /// Live work items by number.
    pub items: Vec<(ItemNumber, ItemRow)>,
}

impl Case {
    /// Returns a case that is not created yet.
    pub fn new(id: CaseId) -> Self {
        Self { id, row: None, instances: Vec::new(), items: Vec::new() }
    }

    /// Returns the row of a case that exists.
    ///
    /// # Panics
    /// If it was not created yet.
    pub fn existing(&self) -> &CaseRow {
        self.row.as_ref().expect("invariant: the case was created")
    }

    /// Returns a live instance.
    pub fn instance(&self, number: InstanceNumber) -> Option<&Instance> {
        let at = self.instances.binary_search_by_key(&number, |instance| instance.number).ok()?;
        Some(&self.instances[at])
    }

    /// Returns a live item.
    pub fn item(&self, number: ItemNumber) -> Option<&ItemRow> {
        let at = self.items.binary_search_by_key(&number, |entry| entry.0).ok()?;
        Some(&self.items[at].1)
    }

    /// Returns `number` and all instances below it, ascending, so parents first.
    pub fn subtree(&self, number: InstanceNumber) -> Vec<InstanceNumber> {
        let mut found = vec![number];
        for instance in &self.instances {
            // Children have higher numbers than their parents, so one pass in order finds all.
            if instance.row.parent.is_some_and(|(parent, _)| found.binary_search(&parent).is_ok()) {
                found.push(instance.number);
            }
        }
        found
    }
}

/// Keeps markings: a shard's slabs, or the rows themselves.
pub trait Keeper {
    /// Makes room for the marking of an instance of `net` with one token in `place`; returns its slot.
    fn open(&mut self, case: &CaseRow, net: u16, row: &mut InstanceRow, place: PlaceNumber) -> u32;
    /// Gives the room back.
    fn end(&mut self, slot: u32);
    /// Hears of a step's tokens.
    ///
    /// # Errors
    /// The tokens do not fit the marking.
    fn moved(
        &mut self,
        instance: &mut Instance,
        taken: &[PlaceNumber],
        removed: &[PlaceNumber],
        put: &[PlaceNumber],
    ) -> Result<(), String>;
}

/// Keeps markings in the instances' own rows.
#[derive(Debug, Default, Clone, Copy)]
pub struct InRows;

impl Keeper for InRows {
    fn open(&mut self, _case: &CaseRow, _net: u16, row: &mut InstanceRow, place: PlaceNumber) -> u32 {
        row.tokens = vec![(place, 1)];
        0
    }

    fn end(&mut self, _slot: u32) {}

    fn moved(
        &mut self,
        instance: &mut Instance,
        taken: &[PlaceNumber],
        removed: &[PlaceNumber],
        put: &[PlaceNumber],
    ) -> Result<(), String> {
        move_counts(&mut instance.row.tokens, taken, removed, put)
    }
}

/// A case and the keeper of its markings: what events are folded into in memory.
#[derive(Debug)]
pub struct Live<'a, K> {
    /// The case.
    pub case: &'a mut Case,
    /// Who keeps its markings.
    pub keeper: &'a mut K,
}

impl<K: Keeper> State for Live<'_, K> {
    fn case(&mut self) -> Option<&mut CaseRow> {
        self.case.row.as_mut()
    }

    fn create(&mut self, row: CaseRow) {
        self.case.row = Some(row);
    }

    fn instance(&mut self, number: InstanceNumber) -> Option<&mut InstanceRow> {
        let at = self.case.instances.binary_search_by_key(&number, |instance| instance.number).ok()?;
        Some(&mut self.case.instances[at].row)
    }

    fn open(&mut self, number: InstanceNumber, mut row: InstanceRow, place: PlaceNumber) {
        let slot = self.keeper.open(self.case.existing(), row.net, &mut row, place);
        let at = self.case.instances.partition_point(|instance| instance.number < number);
        self.case.instances.insert(at, Instance { number, row, slot });
    }

    fn end(&mut self, number: InstanceNumber) -> Option<InstanceRow> {
        let at = self.case.instances.binary_search_by_key(&number, |instance| instance.number).ok()?;
        let instance = self.case.instances.remove(at);
        self.keeper.end(instance.slot);
        Some(instance.row)
    }

    fn move_tokens(
        &mut self,
        number: InstanceNumber,
        taken: &[PlaceNumber],
        removed: &[PlaceNumber],
        put: &[PlaceNumber],
    ) -> Result<(), String> {
        let at = self
            .case
            .instances
            .binary_search_by_key(&number, |instance| instance.number)
            .map_err(|_| "tokens move in an instance that does not exist".to_owned())?;
        self.keeper.moved(&mut self.case.instances[at], taken, removed, put)
    }

    fn item(&mut self, number: ItemNumber) -> Option<&mut ItemRow> {
        let at = self.case.items.binary_search_by_key(&number, |entry| entry.0).ok()?;
        Some(&mut self.case.items[at].1)
    }

    fn offer(&mut self, number: ItemNumber, row: ItemRow) {
        let at = self.case.items.partition_point(|entry| entry.0 < number);
        self.case.items.insert(at, (number, row));
    }

    fn withdraw(&mut self, number: ItemNumber) -> Option<ItemRow> {
        let at = self.case.items.binary_search_by_key(&number, |entry| entry.0).ok()?;
        Some(self.case.items.remove(at).1)
    }
}
