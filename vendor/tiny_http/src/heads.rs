//! Bytes of heads: counted for each connection and for all of them, from the first byte until the request is gone.

use std::mem;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

use crate::strangers::{part, take, Standing};
use crate::State;

/// Bytes that a header takes besides its text: its place, and two pieces of memory.
const HEADER_BYTES: usize = 256;

/// What a connection holds of heads.
pub(crate) struct Heads {
    /// Of the head that is being read, or was.
    head: usize,
    /// Counted among those of all connections.
    counted: usize,
    /// Whether they are counted among those of strangers too.
    is_strangers: bool,
    state: Arc<State>,
}

impl State {
    /// Counts more bytes of heads; `false` when all together, or those of strangers, would be too many.
    fn take_heads(&self, bytes: usize, is_strangers: bool) -> bool {
        let bytes_max = self.options.heads_bytes_max;
        if is_strangers && !take(&self.strangers.heads_bytes, bytes, part(bytes_max)) {
            return false;
        }
        let fits = take(&self.heads_bytes, bytes, bytes_max);
        if !fits && is_strangers {
            self.strangers.heads_bytes.fetch_sub(bytes, SeqCst);
        }
        fits
    }

    pub(crate) fn give_heads(&self, bytes: usize, is_strangers: bool) {
        self.heads_bytes.fetch_sub(bytes, SeqCst);
        if is_strangers {
            self.strangers.heads_bytes.fetch_sub(bytes, SeqCst);
        }
    }
}

impl Heads {
    pub(crate) fn new(state: &Arc<State>, standing: Standing) -> Heads {
        Heads { head: 0, counted: 0, is_strangers: standing == Standing::Stranger, state: Arc::clone(state) }
    }

    /// Hears that the connection is no stranger's any more.
    pub(crate) fn are_known(&mut self) {
        if mem::take(&mut self.is_strangers) {
            self.state.strangers.heads_bytes.fetch_sub(self.counted, SeqCst);
        }
    }

    /// Returns whether they are a stranger's.
    pub(crate) fn are_strangers(&self) -> bool {
        self.is_strangers
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
            self.state.give_heads(self.counted - now, self.is_strangers);
            self.counted = now;
            return true;
        }
        let fits = self.state.take_heads(now - self.counted, self.is_strangers);
        if fits {
            self.counted = now;
        }
        fits
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.state.give_heads(self.counted, self.is_strangers);
    }
}
