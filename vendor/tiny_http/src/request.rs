//! A request, and the bytes of bodies that are held.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::Instant;

use crate::head::Head;
use crate::{Mark, State};

/// A request, read whole.
pub struct Request {
    pub head: Head,
    /// Its bytes are counted until the request is answered.
    pub body: Vec<u8>,
    /// When the first byte of the request came.
    pub received: Instant,
    /// What [`Options::admit`](crate::Options::admit) made of the request.
    pub mark: Mark,
}

/// Bytes of a body, counted among those of all bodies for as long as this lives.
pub(crate) struct Held {
    bytes: usize,
    state: Arc<State>,
}

impl Held {
    pub(crate) fn new(state: &Arc<State>) -> Held {
        Held { bytes: 0, state: Arc::clone(state) }
    }

    /// Counts more bytes; `false` when all bodies together would be too many.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let before = self.state.bodies_bytes.fetch_add(bytes, SeqCst);
        if before + bytes > self.state.options.bodies_bytes_max {
            self.state.bodies_bytes.fetch_sub(bytes, SeqCst);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.state.bodies_bytes.fetch_sub(self.bytes, SeqCst);
        }
    }
}
