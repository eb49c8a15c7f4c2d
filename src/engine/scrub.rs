//! The scrub: right after a start the rows of all tables that were not loaded whole are counted anew and compared with
//! the sums kept at each checkpoint, so that no row can be missing for long. It runs on the `cold` thread in small
//! pieces, between which a checkpoint may come; /health says so until it is done.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::cold;
use super::loading::LOADED;
use super::request::Message;
use super::shared::Shared;
use super::tables;
use crate::store::{Disk, Scrubbed, Table, Tables};
use crate::telemetry::words;

/// Rows of one piece: a few hundredths of a second, during which nobody else writes the working environment.
const PIECE_ROWS: usize = 16_384;

/// How far it has come.
pub(super) struct Scrub {
    left: VecDeque<Table>,
}

impl Scrub {
    /// Returns a scrub of whatever was not checked when it was loaded; nothing if the environment was just made.
    pub(super) fn new<D: Disk, T: Tables>(shared: &Shared<D, T>) -> Self {
        let is_needed = shared.condition.is_scrubbing.load(Ordering::Acquire);
        let tables = tables::ALL.iter().map(|entry| entry.0).filter(|table| !LOADED.contains(table));
        Self { left: tables.filter(|_| is_needed).collect() }
    }

    /// Checks the next piece; tells whether there is more. What is damaged is made anew from the journal, and cases
    /// that were read from it are read again.
    pub(super) fn step<D: Disk, T: Tables>(&mut self, shared: &Shared<D, T>) -> bool {
        let Some(table) = self.left.front() else { return false };
        let environment = shared.environment();
        let tables = shared.tables();
        match tables.scrub(*table, PIECE_ROWS) {
            Ok(Scrubbed::More) => return true,
            Ok(Scrubbed::Whole) => drop(self.left.pop_front()),
            Err(error) => {
                shared.metrics.workflow_errors.increment();
                tracing::error!("{}: {error}; it is made anew from the journal", words::STATE_DAMAGED);
                self.left.clear();
                cold::rebuild(shared, &environment);
                for inbox in &shared.inboxes {
                    inbox.tell(Message::Doubt);
                }
            }
        }
        if self.left.is_empty() {
            shared.condition.is_scrubbing.store(false, Ordering::Release);
        }
        !self.left.is_empty()
    }
}
