//! Which cases are in memory, and in which form: those at work as rows with their markings in the kernel's slabs, those
//! that nobody has asked for lately as the bytes of their rows. After a while, or beyond a limit, the idle ones are
//! encoded, and beyond another the ones that were encoded longest ago leave. It knows no journal: whoever calls it says
//! which cases must stay as they are.

use std::collections::VecDeque;
use std::mem::size_of;

use foldhash::HashMap;

use super::slabs::Slabs;
use super::{Entry, OwnWork, Registered, Rows};
use crate::case::event::VariableNumber;
use crate::case::row::{InstanceRow, ItemRow, Status};
use crate::case::state::Instance;
use crate::expr::Fragment;
use crate::id::{CaseId, SpecNumber, Time};

/// One part in so many of the limit is for cases at work; the rest is for encoded ones, which take far less each.
pub const AT_WORK_SHARE: usize = 8;
/// So many cases are looked at for each that was put in since the last time, and some more, so that a turn never goes
/// through all cases of a shard.
const LOOKS_PER_CASE: usize = 4;
const LOOKS_MORE: usize = 4_096;
/// A case at work that nobody has asked for so long is encoded, in microseconds. Waking it up again costs less than a
/// tenth of a step.
pub const REST_US: u64 = 5_000_000;
/// All cases at work are looked at for that once in so long, in microseconds.
pub const ROUND_US: u64 = 2_000_000;
/// So many of them are looked at in one turn.
const REST_LOOKS: usize = 1_024;
/// Bytes that the allocator takes besides what was asked for, and what rounding up wastes.
const ALLOCATION_BYTES: usize = 16;
/// Bytes of the maps and queues for one case, with the free places that a map keeps.
const PLACE_BYTES: usize = 48;
/// No case at work takes less.
pub(super) const CASE_BYTES_MIN: usize = PLACE_BYTES + ALLOCATION_BYTES + size_of::<Entry>();
/// Bytes of an instance's marking: its cell, and the number that stands for it.
const MARKING_BYTES: usize = 32;

/// All cases of a shard that are in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// A case that was taken out leaves its place empty until it is put back.
    at_work: HashMap<CaseId, Option<Box<Entry>>>,
    at_work_bytes: usize,
    /// Of those among them that have something to do by themselves and were not put off.
    unfinished_bytes: usize,
    /// Cases at work in the order in which they are looked at; a case that is no longer at work is passed over.
    ring: VecDeque<CaseId>,
    encoded: HashMap<CaseId, Encoded>,
    encoded_bytes: usize,
    /// Encoded cases, oldest first; one that is encoded under another number is passed over.
    order: VecDeque<(u64, CaseId)>,
    next_number: u64,
    /// Cases put in since the limit was last seen to.
    put_count: usize,
    /// The latest time that anything was done with.
    now: Time,
    /// Places of the ring that are still to be looked at in this round, and when the next round begins.
    round_left: usize,
    next_round: Time,
    /// What cases run.
    specs: HashMap<SpecNumber, Registered>,
}

/// An idle case.
#[derive(Debug)]
struct Encoded {
    rows: Box<[u8]>,
    number: u64,
}

impl Encoded {
    fn bytes(&self) -> usize {
        // Twice a place: one in the map, one in the order.
        2 * PLACE_BYTES + ALLOCATION_BYTES + self.rows.len()
    }

    fn decode(&self) -> Rows {
        let (case, instances, items) =
            postcard::from_bytes(&self.rows).expect("invariant: these bytes were made here");
        Rows { case, instances, items }
    }
}

impl Memory {
    pub(super) fn contains(&self, id: CaseId) -> bool {
        self.get(id).is_some() || self.encoded.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.at_work.len() + self.encoded.len()
    }

    /// Hears what time it is.
    pub(super) fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// Returns the bytes that all cases take, as far as they can be told.
    pub(super) fn bytes(&self) -> usize {
        self.at_work_bytes + self.encoded_bytes
    }

    /// Returns the bytes that one case takes.
    pub(super) fn bytes_of(&self, id: CaseId) -> usize {
        let encoded = || self.encoded.get(&id).map_or(0, Encoded::bytes);
        self.get(id).map_or_else(encoded, |entry| entry.bytes)
    }

    pub(super) fn get(&self, id: CaseId) -> Option<&Entry> {
        self.at_work.get(&id)?.as_deref()
    }

    /// Returns a case at work for a change that leaves its size as it is.
    pub(super) fn get_mut(&mut self, id: CaseId) -> Option<&mut Entry> {
        self.at_work.get_mut(&id)?.as_deref_mut()
    }

    /// Returns the bytes of cases that have something to do by themselves.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.unfinished_bytes
    }

    /// Notes that a case that has something to do by itself is to leave memory.
    pub(super) fn put_off(&mut self, id: CaseId) {
        let Some(Some(entry)) = self.at_work.get_mut(&id) else { return };
        self.unfinished_bytes -= unfinished_bytes(entry);
        if entry.own_work == OwnWork::Some {
            entry.own_work = OwnWork::PutOff;
        }
    }

    /// Notes that a case that was put off is to go on after all.
    pub(super) fn resume(&mut self, id: CaseId) {
        if let Some(Some(entry)) = self.at_work.get_mut(&id)
            && entry.own_work == OwnWork::PutOff
        {
            entry.own_work = OwnWork::Some;
            self.unfinished_bytes += unfinished_bytes(entry);
        }
    }

    /// Takes a case at work out, to be put back.
    pub(super) fn take(&mut self, id: CaseId) -> Option<Box<Entry>> {
        let mut entry = self.at_work.get_mut(&id)?.take()?;
        self.at_work_bytes -= entry.bytes;
        self.unfinished_bytes -= unfinished_bytes(&entry);
        if entry.own_work == OwnWork::PutOff {
            entry.own_work = OwnWork::Some;
        }
        Some(entry)
    }

    /// Takes a case at work out for good; whoever does ends its markings.
    pub(super) fn remove(&mut self, id: CaseId) -> Option<Box<Entry>> {
        let entry = self.at_work.remove(&id)??;
        self.at_work_bytes -= entry.bytes;
        self.unfinished_bytes -= unfinished_bytes(&entry);
        Some(entry)
    }

    pub(super) fn put(&mut self, mut entry: Box<Entry>) {
        let id = entry.case.id;
        entry.bytes = bytes_of(&entry);
        entry.touched = self.now;
        self.at_work_bytes += entry.bytes;
        self.unfinished_bytes += unfinished_bytes(&entry);
        self.put_count += 1;
        if !entry.is_in_ring {
            entry.is_in_ring = true;
            self.ring.push_back(id);
        }
        let before = self.at_work.entry(id).or_default().replace(entry);
        assert!(before.is_none(), "invariant: a case is in memory once");
    }

    /// Remembers what cases of a specification run.
    pub(super) fn know(&mut self, registered: &Registered) {
        self.specs.entry(registered.number).or_insert_with(|| registered.clone());
    }

    /// Takes an encoded case out, with what it runs.
    pub(super) fn take_encoded(&mut self, id: CaseId) -> Option<(Rows, Registered)> {
        if self.encoded.is_empty() {
            return None;
        }
        let encoded = self.encoded.remove(&id)?;
        self.encoded_bytes -= encoded.bytes();
        let rows = encoded.decode();
        let registered = self.specs.get(&rows.case.spec).expect("invariant: what a case runs is known");
        Some((rows, registered.clone()))
    }

    /// Returns the rows of an encoded case.
    pub(super) fn encoded_rows(&self, id: CaseId) -> Option<Rows> {
        self.encoded.get(&id).map(Encoded::decode)
    }

    /// Makes room: cases at work that nobody has asked for lately are encoded beyond their share of `bytes_max`, and
    /// encoded ones leave beyond the whole. `must_stay` tells which cases at work stay as they are.
    pub(super) fn shrink(
        &mut self,
        slabs: &mut Slabs,
        bytes_max: usize,
        must_stay: &mut dyn FnMut(&Entry) -> bool,
    ) {
        let looks = (LOOKS_PER_CASE * self.put_count + LOOKS_MORE).min(2 * self.ring.len());
        self.put_count = 0;
        for _ in 0..looks {
            if self.at_work_bytes <= bytes_max / AT_WORK_SHARE {
                break;
            }
            let Some(id) = self.ring.pop_front() else { break };
            let Some(Some(entry)) = self.at_work.get_mut(&id) else { continue };
            if entry.is_used || is_busy(entry) || must_stay(entry) {
                entry.is_used = false;
                self.ring.push_back(id);
            } else {
                self.encode(slabs, id);
            }
        }
        while self.bytes() > bytes_max
            && let Some((number, id)) = self.order.pop_front()
        {
            if self.encoded.get(&id).is_some_and(|encoded| encoded.number == number)
                && let Some(encoded) = self.encoded.remove(&id)
            {
                self.encoded_bytes -= encoded.bytes();
            }
        }
        self.tidy();
    }

    /// Encodes cases at work that nobody has asked for since [`REST_US`]: looks at some of them at each call, and at all
    /// in one round.
    pub(super) fn rest(&mut self, slabs: &mut Slabs, must_stay: &mut dyn FnMut(&Entry) -> bool) {
        if self.round_left == 0 {
            if self.now < self.next_round {
                return;
            }
            self.round_left = self.ring.len();
            self.next_round = self.now.plus_us(ROUND_US);
        }
        let looks = self.round_left.min(REST_LOOKS);
        self.round_left -= looks;
        for _ in 0..looks {
            let Some(id) = self.ring.pop_front() else { break };
            let Some(Some(entry)) = self.at_work.get(&id) else { continue };
            if self.now < entry.touched.plus_us(REST_US) || is_busy(entry) || must_stay(entry) {
                self.ring.push_back(id);
            } else {
                self.encode(slabs, id);
            }
        }
        self.tidy();
    }

    /// Tells whether a round has begun and is not over.
    pub(super) fn is_in_round(&self) -> bool {
        self.round_left > 0
    }

    /// Returns all cases that could leave.
    pub(super) fn idle(&self, must_stay: &mut dyn FnMut(&Entry) -> bool) -> Vec<CaseId> {
        let at_work = self.at_work.values().flatten().filter(|entry| !is_busy(entry) && !must_stay(entry));
        at_work.map(|entry| entry.case.id).chain(self.encoded.keys().copied()).collect()
    }

    fn encode(&mut self, slabs: &mut Slabs, id: CaseId) {
        let entry = self.remove(id).expect("invariant: the case is at work");
        let rows = entry.rows(slabs).expect("invariant: the case was created");
        for instance in &entry.case.instances {
            slabs.free(instance.slot);
        }
        let rows = postcard::to_stdvec(&(rows.case, rows.instances, rows.items));
        let rows = rows.expect("invariant: rows have a stored form").into_boxed_slice();
        let encoded = Encoded { rows, number: self.next_number };
        self.order.push_back((self.next_number, id));
        self.next_number += 1;
        self.encoded_bytes += encoded.bytes();
        self.encoded.insert(id, encoded);
    }

    /// Forgets places of cases that are not there any more when most are such.
    fn tidy(&mut self) {
        if self.ring.len() > 2 * self.at_work.len() + LOOKS_MORE {
            self.ring = self.at_work.keys().copied().collect();
        }
        if self.order.len() > 2 * self.encoded.len() + LOOKS_MORE {
            let encoded = &self.encoded;
            self.order.retain(|(number, id)| encoded.get(id).is_some_and(|found| found.number == *number));
        }
        if self.at_work.len() <= LOOKS_MORE && self.at_work.capacity() > 4 * LOOKS_MORE {
            self.at_work.shrink_to(2 * LOOKS_MORE);
            self.ring.shrink_to(2 * LOOKS_MORE);
        }
    }

    /// Drops an encoded case.
    pub(super) fn forget_encoded(&mut self, id: CaseId) {
        if let Some(encoded) = self.encoded.remove(&id) {
            self.encoded_bytes -= encoded.bytes();
        }
    }
}

/// Tells whether a case has something to do, or is about to leave anyway.
fn is_busy(entry: &Entry) -> bool {
    entry.own_work != OwnWork::None || matches!(entry.case.existing().status, Status::Closed(_))
}

/// Returns the bytes of a case that has something to do by itself, and stays in memory for it.
fn unfinished_bytes(entry: &Entry) -> usize {
    if entry.own_work == OwnWork::Some { entry.bytes } else { 0 }
}

fn bytes_of(entry: &Entry) -> usize {
    let text = |bytes: usize| if bytes == 0 { 0 } else { bytes + 2 * ALLOCATION_BYTES };
    let mut sum = CASE_BYTES_MIN;
    if let Some(row) = &entry.case.row {
        sum += row.business_key.as_ref().map_or(0, |key| text(key.len()));
        sum += row.incidents.iter().map(|open| size_of_val(open) + text(open.detail.len())).sum::<usize>();
        sum += row.output.iter().map(|value| size_of_val(value) + text(value.1.len_bytes())).sum::<usize>();
    }
    sum += ALLOCATION_BYTES + entry.case.instances.capacity() * size_of::<Instance>();
    for instance in &entry.case.instances {
        let InstanceRow { data, tokens, .. } = &instance.row;
        sum += MARKING_BYTES + text(data.capacity() * size_of::<(VariableNumber, Fragment)>());
        sum += data.iter().map(|value| text(value.1.len_bytes())).sum::<usize>();
        sum += text(size_of_val(tokens.as_slice()));
    }
    sum += ALLOCATION_BYTES + entry.case.items.capacity() * size_of::<(u32, ItemRow)>();
    for (_, item) in &entry.case.items {
        sum += item.data.as_ref().map_or(0, |data| text(data.len_bytes()));
        sum += item.reason.as_ref().map_or(0, |reason| text(reason.len()));
    }
    sum
}
