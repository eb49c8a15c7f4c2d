use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::Instant;

use crate::common::{HTTPVersion, Header, Method};
use crate::State;

/// A request, read whole.
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) http_version: HTTPVersion,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Body,
    pub(crate) received: Instant,
    pub(crate) close: bool,
}

/// The bytes of a body, counted among those of all bodies for as long as they are held.
pub(crate) struct Body {
    bytes: Vec<u8>,
    counted: usize,
    state: Arc<State>,
}

impl Body {
    pub(crate) fn new(state: &Arc<State>) -> Body {
        Body { bytes: Vec::new(), counted: 0, state: Arc::clone(state) }
    }

    pub(crate) fn len(&self) -> usize {
        self.counted
    }

    /// Adds a piece; `false` when all bodies together would be too many bytes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> bool {
        let before = self.state.bodies_bytes.fetch_add(piece.len(), SeqCst);
        if before + piece.len() > self.state.options.bodies_bytes_max {
            self.state.bodies_bytes.fetch_sub(piece.len(), SeqCst);
            return false;
        }
        self.counted += piece.len();
        self.bytes.extend_from_slice(piece);
        true
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.state.bodies_bytes.fetch_sub(self.counted, SeqCst);
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
        std::mem::take(&mut self.body.bytes)
    }

    /// Returns when the first byte of the request came.
    #[inline]
    pub fn received(&self) -> Instant {
        self.received
    }

    /// Returns how many clients are connected.
    pub fn num_connections(&self) -> usize {
        self.body.state.connections.load(SeqCst)
    }

    /// Returns how many requests were read and are not answered yet, this one among them.
    pub fn num_answering(&self) -> usize {
        self.body.state.answering.load(SeqCst)
    }
}
