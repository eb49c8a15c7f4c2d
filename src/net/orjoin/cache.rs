//! A bounded memory of judgements, by what they depend on.

use std::collections::{HashMap, VecDeque};

use super::Judgement;

/// Judgements by specification, net, task and projected marking; the oldest goes when there are too many.
#[derive(Debug)]
pub struct Cache {
    entries_max: usize,
    judgements: HashMap<Box<[u16]>, Judgement>,
    order: VecDeque<Box<[u16]>>,
}

/// What a judgement depends on, as the cache keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<[u16]>);

impl Key {
    /// Makes the key of a judgement: number of the specification, of the net and of the task, and
    /// [`super::projection`] of the marking.
    pub fn new(specification: u32, net: u16, task: u16, projection: &[(u16, u16)]) -> Self {
        let [low, high] = [specification & 0xffff, specification >> 16]
            .map(|half| u16::try_from(half).expect("invariant: half of 32 bits"));
        let head = [low, high, net, task];
        let tokens = projection.iter().flat_map(|(place, count)| [*place, *count]);
        Self(head.into_iter().chain(tokens).collect())
    }
}

impl Cache {
    /// Makes a cache of at most `entries_max` judgements.
    pub fn new(entries_max: usize) -> Self {
        Self { entries_max, judgements: HashMap::new(), order: VecDeque::new() }
    }

    /// Returns a judgement made before.
    pub fn get(&self, key: &Key) -> Option<Judgement> {
        self.judgements.get(&key.0).copied()
    }

    /// Keeps a judgement.
    pub fn put(&mut self, key: Key, judgement: Judgement) {
        if self.entries_max == 0 {
            return;
        }
        if self.judgements.insert(key.0.clone(), judgement).is_some() {
            return;
        }
        self.order.push_back(key.0);
        if self.order.len() > self.entries_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.judgements.remove(&oldest);
        }
    }

    /// Returns how many judgements are kept.
    pub fn len(&self) -> usize {
        self.judgements.len()
    }

    /// Tells whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.judgements.is_empty()
    }
}
