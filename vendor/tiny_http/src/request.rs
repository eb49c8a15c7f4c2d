//! A request, and what it takes of what all requests share.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::Instant;

use crate::head::Head;
use crate::heads::Heads;
use crate::strangers::{take, Place};
use crate::{Mark, State};

/// A request, read whole.
pub struct Request {
    pub head: Head,
    pub body: Vec<u8>,
    /// When the first byte of the request came.
    pub received: Instant,
    /// What [`Options::admit`](crate::Options::admit) made of the request.
    pub mark: Mark,
    /// To be kept for as long as anything of the head or the body is in memory, also when the client has gone.
    pub held: Held,
}

/// What a request takes of what all requests share: the bytes of its head and of its body, and a stranger's place. It is
/// counted for as long as this lives.
pub struct Held {
    body_bytes: usize,
    head_bytes: usize,
    is_strangers: bool,
    place: Option<Place>,
    state: Arc<State>,
}

impl Held {
    /// Returns what a request holds whose head is whole, and was counted as its connection's.
    pub(crate) fn new(heads: &mut Heads) -> Held {
        let (is_strangers, state) = (heads.are_strangers(), Arc::clone(heads.state()));
        Held { body_bytes: 0, head_bytes: heads.hand_over(), is_strangers, place: None, state }
    }

    /// Takes the place that a stranger needs to be answered; `false` when there is none.
    pub(crate) fn take_place(&mut self) -> bool {
        self.place = Place::of_request(&self.state);
        self.place.is_some()
    }

    /// Counts more bytes of the body; `false` when all bodies together would be too many.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let fits = take(&self.state.bodies_bytes, bytes, self.state.options.bodies_bytes_max);
        if fits {
            self.body_bytes += bytes;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.body_bytes > 0 {
            self.state.bodies_bytes.fetch_sub(self.body_bytes, SeqCst);
        }
        self.state.give_heads(self.head_bytes, self.is_strangers);
    }
}
