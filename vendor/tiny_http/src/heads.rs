//! Bytes of heads: counted for each connection and for all of them, from the first byte until the request is gone.

use std::mem;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

use crate::State;

/// Bytes that a header takes besides its text: its place, and two pieces of memory.
const HEADER_BYTES: usize = 256;

/// What a connection holds of heads.
pub(crate) struct Heads {
    /// Of the head that is being read, or was.
    head: usize,
    /// Counted among those of all connections.
    counted: usize,
    state: Arc<State>,
}

impl Heads {
    pub(crate) fn new(state: &Arc<State>) -> Heads {
        Heads { head: 0, counted: 0, state: Arc::clone(state) }
    }

    /// Hears that so many bytes more belong to the head.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.head += bytes;
    }

    /// Hears that the head is whole and has so many headers.
    pub(crate) fn is_whole(&mut self, headers: usize) {
        self.head += headers * HEADER_BYTES;
    }

    /// Hands the head over, which is whole and counted, to whoever holds the request; returns its bytes.
    pub(crate) fn hand_over(&mut self) -> usize {
        let bytes = mem::take(&mut self.head).min(self.counted);
        self.counted -= bytes;
        bytes
    }

    /// Returns what all connections share.
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Hears that the answer is out.
    pub(crate) fn is_over(&mut self) {
        self.head = 0;
    }

    /// Counts what the connection holds now, with what came and is not read; `false` when all would be too many.
    pub(crate) fn count(&mut self, unread: usize) -> bool {
        let now = self.head + unread;
        if now <= self.counted {
            self.state.heads_bytes.fetch_sub(self.counted - now, SeqCst);
            self.counted = now;
            return true;
        }
        let more = now - self.counted;
        let before = self.state.heads_bytes.fetch_add(more, SeqCst);
        if before + more > self.state.options.heads_bytes_max {
            self.state.heads_bytes.fetch_sub(more, SeqCst);
            return false;
        }
        self.counted = now;
        true
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.state.heads_bytes.fetch_sub(self.counted, SeqCst);
    }
}
