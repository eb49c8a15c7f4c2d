//! Stand-in for the kernel until it is merged.
use crate::net::{Gate, Net};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Kernel {
    nets: Vec<Arc<Net>>,
    slabs: Vec<Vec<u16>>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetHandle(u32);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    Complete,
    Pass,
}
pub(super) struct Step<'a> {
    pub net: NetHandle,
    pub slot: Slot,
    pub task: u16,
    pub phase: Phase,
    pub put: &'a [u16],
}
#[derive(Debug, Default)]
pub(super) struct Wave {
    steps: Vec<(NetHandle, Slot, u16, Phase, Vec<u16>)>,
    outcomes: Vec<Outcome>,
}
#[derive(Debug, Default)]
pub(super) struct Outcome {
    refused: bool,
    overflow: bool,
    taken: Vec<u16>,
    removed: Vec<u16>,
    put: Vec<u16>,
    stopped: Vec<u16>,
}
pub(super) const WAVE_STEPS_MAX: usize = 4096;

impl Kernel {
    pub(super) fn add_net(&mut self, net: &Arc<Net>) -> NetHandle {
        self.nets.push(net.clone());
        NetHandle(self.nets.len() as u32 - 1)
    }
    pub(super) fn open(&mut self, net: NetHandle, place: u16) -> Slot {
        self.load(net, &[(place, 1)]).expect("ok")
    }
    pub(super) fn load(&mut self, net: NetHandle, tokens: &[(u16, u16)]) -> Result<Slot, String> {
        let mut counts = vec![0; self.nets[net.0 as usize].places.len()];
        for (place, count) in tokens {
            *counts.get_mut(usize::from(*place)).ok_or("no such place")? = *count;
        }
        self.slabs.push(counts);
        Ok(Slot(self.slabs.len() as u32 - 1))
    }
    pub(super) fn end(&mut self, _: NetHandle, slot: Slot) {
        self.slabs[slot.0 as usize].clear();
    }
    pub(super) fn tokens(&self, _: NetHandle, slot: Slot) -> Vec<(u16, u16)> {
        (0..).zip(&self.slabs[slot.0 as usize]).filter(|(_, c)| **c > 0).map(|(p, c)| (p, *c)).collect()
    }
    pub(super) fn is_marked(&self, _: NetHandle, slot: Slot, place: u16) -> bool {
        self.slabs[slot.0 as usize][usize::from(place)] > 0
    }
    pub(super) fn is_empty(&self, n: NetHandle, slot: Slot) -> bool {
        self.tokens(n, slot).is_empty()
    }
    pub(super) fn is_only(&self, n: NetHandle, slot: Slot, place: u16) -> bool {
        self.tokens(n, slot) == [(place, 1)]
    }
    pub(super) fn widen(&mut self, _: NetHandle, slot: Slot) -> Slot {
        slot
    }
}
impl Wave {
    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.outcomes.clear();
    }
    pub(super) fn push(&mut self, step: Step<'_>) {
        self.steps.push((step.net, step.slot, step.task, step.phase, step.put.to_vec()));
    }
    pub(super) fn outcome(&self, i: usize) -> &Outcome {
        &self.outcomes[i]
    }
}
impl Outcome {
    pub(super) fn refused(&self) -> bool {
        self.refused
    }
    pub(super) fn overflow(&self) -> bool {
        self.overflow
    }
    pub(super) fn taken(&self) -> Vec<u16> {
        self.taken.clone()
    }
    pub(super) fn removed(&self) -> Vec<u16> {
        self.removed.clone()
    }
    pub(super) fn put(&self) -> Vec<u16> {
        self.put.clone()
    }
    pub(super) fn stopped(&self) -> Vec<u16> {
        self.stopped.clone()
    }
}
pub(super) fn run(kernel: &mut Kernel, wave: &mut Wave) {
    for (net, slot, task, phase, put) in &wave.steps {
        let n = kernel.nets[net.0 as usize].clone();
        let t = &n.tasks[usize::from(*task)];
        let before = kernel.slabs[slot.0 as usize].clone();
        let m = &mut kernel.slabs[slot.0 as usize];
        let mut o = Outcome::default();
        if *phase == Phase::Complete {
            if m[usize::from(t.busy)] == 0 {
                o.refused = true;
            } else {
                m[usize::from(t.busy)] -= 1;
                o.taken.push(t.busy);
            }
        } else {
            let marked: Vec<u16> = t.preset.iter().copied().filter(|p| m[usize::from(*p)] > 0).collect();
            if m[usize::from(t.busy)] > 0
                || marked.is_empty()
                || (t.join == Gate::And && marked.len() < t.preset.len())
            {
                o.refused = true;
            } else {
                let take = if t.join == Gate::Xor { vec![marked[0]] } else { marked };
                for p in &take {
                    m[usize::from(*p)] -= 1;
                }
                o.taken = take;
            }
        }
        if !o.refused && *phase == Phase::Start {
            m[usize::from(t.busy)] += 1;
            o.put.push(t.busy);
        } else if !o.refused {
            for p in &t.removes {
                if m[usize::from(*p)] > 0 {
                    m[usize::from(*p)] = 0;
                    o.removed.push(*p);
                    if let Some(s) = n.tasks.iter().position(|t| t.busy == *p) {
                        o.stopped.push(s as u16);
                    }
                }
            }
            for p in put {
                if m[usize::from(*p)] == 255 {
                    o.overflow = true;
                } else {
                    m[usize::from(*p)] += 1;
                }
            }
            o.put.clone_from(put);
        }
        if o.overflow {
            kernel.slabs[slot.0 as usize] = before;
        }
        wave.outcomes.push(o);
    }
}
