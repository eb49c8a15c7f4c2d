//! Verdicts on OR-joins, kept by what they depend on: net, task and the part of the marking that matters.

use std::collections::VecDeque;

use foldhash::HashMap;

use crate::id::SpecNumber;
use crate::net::Net;
use crate::net::orjoin::{Judgement, ORJOIN_STATES_MAX, judge_within, projection};

/// Most verdicts kept; the oldest goes first.
pub const JUDGEMENTS_MAX: usize = 65_536;
/// Most bytes that they take; the oldest goes first.
pub const JUDGEMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a verdict besides what it depends on: its places in a map that has room, and in the order.
const JUDGEMENT_BYTES: usize = 96;

/// What a verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    spec: SpecNumber,
    net: u16,
    task: u16,
    tokens: Vec<(u16, u16)>,
}

impl Key {
    /// Returns the bytes of a verdict under this key, which lies in the map and in the order.
    fn bytes(&self) -> usize {
        JUDGEMENT_BYTES + 2 * size_of_val(self.tokens.as_slice())
    }
}

/// Verdicts that were worked out before.
#[derive(Debug, Default)]
pub(super) struct Judgements {
    known: HashMap<Key, Judgement>,
    order: VecDeque<Key>,
    bytes: usize,
}

/// An OR-join of one net instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Join<'a> {
    pub(super) spec: SpecNumber,
    pub(super) number: u16,
    pub(super) net: &'a Net,
    pub(super) task: u16,
}

impl Judgements {
    /// Judges, searching at most `states_max` states; `None` when that does not decide.
    pub(super) fn judge(
        &mut self,
        join: Join<'_>,
        tokens: &[(u16, u16)],
        states_max: usize,
    ) -> Option<Judgement> {
        match judge_within(join.net, join.task, tokens, 0) {
            Judgement::Undecided => {}
            decided => return Some(decided),
        }
        let key = key(join, tokens);
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        let judgement = judge_within(join.net, join.task, tokens, states_max.min(ORJOIN_STATES_MAX));
        if judgement == Judgement::Undecided && states_max < ORJOIN_STATES_MAX {
            return None;
        }
        self.keep(key, judgement);
        Some(judgement)
    }

    /// Keeps a verdict that was worked out elsewhere.
    pub(super) fn learn(&mut self, join: Join<'_>, tokens: &[(u16, u16)], judgement: Judgement) {
        self.keep(key(join, tokens), judgement);
    }

    fn keep(&mut self, key: Key, judgement: Judgement) {
        if self.known.insert(key.clone(), judgement).is_none() {
            self.bytes += key.bytes();
            self.order.push_back(key);
        }
        while (self.order.len() > JUDGEMENTS_MAX || self.bytes > JUDGEMENTS_BYTES_MAX)
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= oldest.bytes();
            self.known.remove(&oldest);
        }
    }
}

fn key(join: Join<'_>, tokens: &[(u16, u16)]) -> Key {
    let tokens = projection(join.net, join.task, tokens);
    Key { spec: join.spec, net: join.number, task: join.task, tokens }
}
