//! Markings of live net instances, where the kernel keeps them.
//!
//! A case knows its marking by a number ([`Instance::slot`](crate::case::state::Instance)); here is what the
//! number stands for. Nothing else in `engine` speaks to the kernel.

use std::sync::Arc;

use foldhash::HashMap;

use super::mix::Mix;
use crate::case::event::{Phase, PlaceNumber};
use crate::case::fold::move_counts;
use crate::case::plan::Step;
use crate::case::row::{CaseRow, InstanceRow};
use crate::case::settle::Done;
use crate::case::state::{Instance, Keeper};
use crate::id::SpecNumber;
use crate::kernel::{self, Kernel, NetHandle, Region, Slot, Wave};
use crate::net::Net;

pub(super) use crate::kernel::WAVE_STEPS_MAX;

/// Whether rows keep their tokens beside the kernel's, so that one can be held against the other.
const IS_CHECKED: bool = cfg!(debug_assertions);

/// Markings of a shard's live net instances.
#[derive(Debug, Default)]
pub(super) struct Slabs {
    kernel: Kernel,
    wave: Wave,
    /// What is in the wave.
    mix: Mix,
    nets: HashMap<SpecNumber, Vec<NetHandle>>,
    slots: Vec<(NetHandle, Slot)>,
    free: Vec<u32>,
}

/// What the kernel did with a step.
#[derive(Debug)]
pub(super) enum Fired {
    /// Nothing: its task is not enabled, or not busy.
    Refused,
    /// Nothing: a place would hold more tokens than its marking can count.
    Overflow,
    /// It took it.
    Done(Done),
}

impl Slabs {
    /// Makes room for so many markings, so that they need not move when more come.
    pub(super) fn reserve(&mut self, markings: usize) {
        self.kernel.reserve(markings);
        // Without it they move, and nothing else changes.
        let _ = self.slots.try_reserve_exact(markings);
    }

    /// Returns where markings lie, and the numbers that stand for them.
    pub(super) fn regions(&self) -> [Region; 3] {
        let [words, tallies] = self.kernel.regions();
        [words, tallies, Region::of(&self.slots)]
    }

    /// Returns how many markings are open.
    pub(super) fn open_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Makes the nets of a specification known; once is enough.
    pub(super) fn know(&mut self, spec: SpecNumber, nets: &[Arc<Net>]) {
        if !self.nets.contains_key(&spec) {
            let handles = nets.iter().map(|net| self.kernel.add_net(net)).collect();
            self.nets.insert(spec, handles);
        }
    }

    /// Puts the marking of a stored instance; returns its number.
    ///
    /// # Errors
    /// The tokens lie in places that the net does not have, or are too many.
    pub(super) fn load(&mut self, spec: SpecNumber, net: u16, row: &mut InstanceRow) -> Result<u32, String> {
        let handle = self.handle(spec, net);
        let slot = self.kernel.load(handle, &row.tokens).map_err(|error| error.to_string())?;
        if !IS_CHECKED {
            row.tokens = Vec::new();
        }
        Ok(self.number(handle, slot))
    }

    /// Returns marked places with their tokens, ascending.
    pub(super) fn tokens(&self, number: u32) -> Vec<(PlaceNumber, u16)> {
        let (net, slot) = self.at(number);
        self.kernel.tokens(net, slot)
    }

    pub(super) fn is_marked(&self, number: u32, place: PlaceNumber) -> bool {
        let (net, slot) = self.at(number);
        self.kernel.is_marked(net, slot, place)
    }

    pub(super) fn is_empty(&self, number: u32) -> bool {
        let (net, slot) = self.at(number);
        self.kernel.is_empty(net, slot)
    }

    pub(super) fn is_only(&self, number: u32, place: PlaceNumber) -> bool {
        let (net, slot) = self.at(number);
        self.kernel.is_only(net, slot, place)
    }

    /// Begins a wave.
    pub(super) fn begin_wave(&mut self) {
        self.wave.clear();
        self.mix = Mix::default();
    }

    /// Puts a step into the wave, at most one an instance; tells whether there was room.
    pub(super) fn push(&mut self, number: u32, step: &Step) -> bool {
        let (net, slot) = self.at(number);
        let phase = match step.phase {
            Phase::Start => kernel::Phase::Start,
            Phase::Complete => kernel::Phase::Complete,
            Phase::Pass => kernel::Phase::Pass,
        };
        let step = kernel::Step { net, slot, task: step.task, phase, put: &step.put };
        let is_in = self.wave.push(step).is_ok();
        if is_in {
            self.mix.add(slot.held(), phase, self.kernel.join(net, step.task));
        }
        is_in
    }

    /// Returns what is in the wave.
    pub(super) fn mix(&self) -> Mix {
        self.mix
    }

    /// Carries out the wave: the one hot call.
    pub(super) fn run(&mut self) {
        kernel::run(&mut self.kernel, &mut self.wave);
    }

    /// Returns what became of a step of the wave just run.
    pub(super) fn fired(&self, at: usize) -> Fired {
        let outcome = self.wave.outcome(&self.kernel, at);
        if outcome.refused() {
            Fired::Refused
        } else if outcome.overflow() {
            Fired::Overflow
        } else {
            Fired::Done(Done {
                taken: outcome.taken().collect(),
                removed: outcome.removed().collect(),
                put: outcome.put().collect(),
                stopped: outcome.stopped().collect(),
            })
        }
    }

    /// Gives an instance a marking that counts, after an overflow.
    pub(super) fn widen(&mut self, number: u32) {
        let (net, slot) = self.at(number);
        self.slots[number as usize].1 = self.kernel.widen(net, slot);
    }

    /// Holds the kernel's marking against the one that folding made; a difference is a fault of the program.
    pub(super) fn check(&self, instance: &Instance) {
        if IS_CHECKED {
            assert_eq!(
                self.tokens(instance.slot),
                instance.row.tokens,
                "invariant: the kernel's marking is what folding the facts gives"
            );
        }
    }

    /// Gives the room of a marking back.
    pub(super) fn free(&mut self, number: u32) {
        let (net, slot) = self.at(number);
        self.kernel.end(net, slot);
        self.free.push(number);
    }

    fn handle(&self, spec: SpecNumber, net: u16) -> NetHandle {
        self.nets[&spec][usize::from(net)]
    }

    fn at(&self, number: u32) -> (NetHandle, Slot) {
        self.slots[number as usize]
    }

    fn number(&mut self, handle: NetHandle, slot: Slot) -> u32 {
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = (handle, slot);
            return number;
        }
        self.slots.push((handle, slot));
        u32::try_from(self.slots.len() - 1).expect("invariant: memory ends before the numbers of slots do")
    }
}

impl Keeper for Slabs {
    fn open(&mut self, case: &CaseRow, net: u16, row: &mut InstanceRow, place: PlaceNumber) -> u32 {
        if IS_CHECKED {
            row.tokens = vec![(place, 1)];
        }
        let handle = self.handle(case.spec, net);
        let slot = self.kernel.open(handle, place);
        self.number(handle, slot)
    }

    fn end(&mut self, number: u32) {
        self.free(number);
    }

    fn moved(
        &mut self,
        instance: &mut Instance,
        taken: &[PlaceNumber],
        removed: &[PlaceNumber],
        put: &[PlaceNumber],
    ) -> Result<(), String> {
        // The kernel has moved them already.
        if IS_CHECKED { move_counts(&mut instance.row.tokens, taken, removed, put) } else { Ok(()) }
    }
}
