//! What requests unpack, all together: histories that clients give, and those that lie in archives and in restored cases.

use std::sync::Arc;

use super::budget::{Budget, Taken};
use crate::store::{Held, Room, UNPACKED_BYTES_MAX};

/// Most bytes of memory that all requests together unpack at a time: the largest history, and a few ordinary ones beside it.
pub const UNPACKED_BYTES_TOGETHER_MAX: usize = 384 * 1024 * 1024;
const _: () = assert!(UNPACKED_BYTES_TOGETHER_MAX > UNPACKED_BYTES_MAX);

/// The room that all requests share.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Budget>);

impl Room for Shared {
    fn begin(&self) -> Box<dyn Held> {
        Box::new(self.0.take(0).expect("invariant: no bytes always fit"))
    }
}

impl Held for Taken {
    fn grow_to(&mut self, bytes: usize) -> bool {
        Taken::grow_to(self, bytes)
    }

    fn shrink_to(&mut self, bytes: usize) {
        Taken::shrink_to(self, bytes);
    }
}
