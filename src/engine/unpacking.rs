//! What requests unpack, all together: histories that clients give, and those that lie in archives and in restored cases.

use std::sync::Arc;

use super::budget::{Budget, Taken};
use crate::store::{Held, Room, UNPACKED_BYTES_MAX};

/// Most bytes of memory that all requests together unpack at a time, on machines that have much: the largest history, and a
/// few ordinary ones beside it. Others have less: [`unpacked_bytes_max`](super::queues::Queues::unpacked_bytes_max).
pub const UNPACKED_BYTES_TOGETHER_MAX: usize = 384 * 1024 * 1024;
const _: () = assert!(UNPACKED_BYTES_TOGETHER_MAX > UNPACKED_BYTES_MAX);

/// The room that all requests share.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Budget>);

impl Room for Shared {
    fn begin(&self) -> Box<dyn Held> {
        Box::new(self.0.take(0).expect("invariant: no bytes always fit"))
    }

    fn limit_bytes(&self) -> usize {
        self.0.limit_bytes()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NotUnpacked, Unpacking};

    #[test]
    fn what_alone_is_more_than_all_may_have_is_too_much_and_never_busy() {
        let all = Budget::new(10);
        let room = Shared(Arc::clone(&all));
        let mut first = Unpacking::within(UNPACKED_BYTES_MAX, &room);
        assert_eq!(first.take(11), Err(NotUnpacked::TooMuch { limit_bytes: 10 }));
        first.take(6).expect("there is room");
        let mut second = Unpacking::within(UNPACKED_BYTES_MAX, &room);
        assert_eq!(second.take(6), Err(NotUnpacked::Busy));
        drop(first);
        second.take(6).expect("it was given back");
        // One request never has more than it may, however much there is.
        all.set_limit(usize::MAX);
        let mut third = Unpacking::within(UNPACKED_BYTES_MAX, &room);
        let limit_bytes = UNPACKED_BYTES_MAX;
        assert_eq!(third.take(limit_bytes + 1), Err(NotUnpacked::TooMuch { limit_bytes }));
    }
}
