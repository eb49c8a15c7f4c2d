use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::Instant;

use crate::common::{Header, Method};
use crate::State;

/// A request, read whole.
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Vec<u8>,
    pub(crate) received: Instant,
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

impl Request {
    /// Returns the method requested by the client (eg. `GET`, `POST`, etc.).
    #[inline]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the resource requested by the client.
    #[inline]
    pub fn url(&self) -> &str {
        &self.path
    }

    /// Returns a list of all headers sent by the client.
    #[inline]
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Returns the body and leaves none. Its bytes are counted until the request is answered.
    #[inline]
    pub fn take_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Returns when the first byte of the request came.
    #[inline]
    pub fn received(&self) -> Instant {
        self.received
    }
}
