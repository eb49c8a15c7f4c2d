//! The plain, slow interpreter of semantics.md 5.1 to 5.3: a map of tokens, and the rules as they are written.
//!
//! It shares the net with the kernel, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use knhk::kernel::Phase;
use knhk::net::{Gate, Net};

/// A net instance: its tokens by place.
#[derive(Debug, Clone)]
pub(crate) struct Interpreter<'a> {
    pub(crate) net: &'a Net,
    pub(crate) tokens: BTreeMap<u16, u32>,
}

/// What a step moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Moved {
    pub(crate) taken: BTreeSet<u16>,
    pub(crate) removed: BTreeSet<u16>,
    pub(crate) put: BTreeSet<u16>,
    pub(crate) stopped: BTreeSet<u16>,
}

impl<'a> Interpreter<'a> {
    /// Begins with one token on the input condition.
    pub(crate) fn new(net: &'a Net) -> Self {
        Self { net, tokens: BTreeMap::from([(net.input, 1)]) }
    }

    pub(crate) fn count(&self, place: u16) -> u32 {
        self.tokens.get(&place).copied().unwrap_or(0)
    }

    /// Returns the marking as the kernel gives it.
    pub(crate) fn marking(&self) -> Vec<(u16, u16)> {
        self.tokens.iter().map(|(place, count)| (*place, u16::try_from(*count).unwrap())).collect()
    }

    pub(crate) fn is_busy(&self, task: u16) -> bool {
        self.count(self.net.tasks[usize::from(task)].busy) > 0
    }

    /// Returns the marked places of a task's preset.
    pub(crate) fn marked(&self, task: u16) -> Vec<u16> {
        let preset = &self.net.tasks[usize::from(task)].preset;
        preset.iter().copied().filter(|place| self.count(*place) > 0).collect()
    }

    /// Tells whether the task may start; `judge` is asked about OR-joins of which only some places are marked.
    pub(crate) fn is_enabled(&self, task: u16, judge: impl FnOnce(&Self) -> bool) -> bool {
        let marked = self.marked(task).len();
        let whole = marked == self.net.tasks[usize::from(task)].preset.len();
        if self.is_busy(task) || marked == 0 {
            return false;
        }
        match self.net.tasks[usize::from(task)].join {
            Gate::And => whole,
            Gate::Xor => true,
            Gate::Or => whole || judge(self),
        }
    }

    /// Takes a step, or says that it cannot be taken. `chosen` are the places of the split's flows.
    pub(crate) fn step(&mut self, task: u16, phase: Phase, chosen: &BTreeSet<u16>) -> Option<Moved> {
        let mut moved = Moved::default();
        match phase {
            Phase::Start => self.start(task, &mut moved)?,
            Phase::Complete => self.complete(task, chosen, &mut moved)?,
            Phase::Pass => {
                self.start(task, &mut moved)?;
                self.complete(task, chosen, &mut moved)?;
                let busy = self.net.tasks[usize::from(task)].busy;
                moved.taken.remove(&busy);
                moved.put.remove(&busy);
            }
        }
        Some(moved)
    }

    fn start(&mut self, task: u16, moved: &mut Moved) -> Option<()> {
        if !self.is_enabled(task, |_| true) {
            return None;
        }
        let mut from = self.marked(task);
        if self.net.tasks[usize::from(task)].join == Gate::Xor {
            from.truncate(1);
        }
        for place in from {
            self.take(place);
            moved.taken.insert(place);
        }
        let busy = self.net.tasks[usize::from(task)].busy;
        self.put(busy);
        moved.put.insert(busy);
        Some(())
    }

    fn complete(&mut self, task: u16, chosen: &BTreeSet<u16>, moved: &mut Moved) -> Option<()> {
        if !self.is_busy(task) {
            return None;
        }
        let busy = self.net.tasks[usize::from(task)].busy;
        self.take(busy);
        moved.taken.insert(busy);
        for place in &self.net.tasks[usize::from(task)].removes {
            if self.tokens.remove(place).is_some() {
                moved.removed.insert(*place);
                let owner = self.net.tasks.iter().position(|other| other.busy == *place);
                moved.stopped.extend(owner.map(|task| u16::try_from(task).unwrap()));
            }
        }
        for place in chosen {
            self.put(*place);
            moved.put.insert(*place);
        }
        Some(())
    }

    fn take(&mut self, place: u16) {
        let count = self.tokens.get_mut(&place).unwrap();
        *count -= 1;
        if *count == 0 {
            self.tokens.remove(&place);
        }
    }

    fn put(&mut self, place: u16) {
        *self.tokens.entry(place).or_insert(0) += 1;
    }
}
