//! The frames that one reader of many entries read last: most of what it wants next lies in them again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::entry::Frame;

/// Most bytes of frames that are kept, as they lie in the journal: a few of the longest, or many short ones.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Frames by number of the segment and place in it; those read first go first.
#[derive(Debug, Default)]
pub(super) struct KeptFrames {
    frames: BTreeMap<(u64, u64), (Arc<Frame>, usize)>,
    order: VecDeque<(u64, u64)>,
    bytes: usize,
}

impl KeptFrames {
    pub(super) fn get(&self, place: (u64, u64)) -> Option<Arc<Frame>> {
        self.frames.get(&place).map(|kept| Arc::clone(&kept.0))
    }

    pub(super) fn put(&mut self, place: (u64, u64), frame: &Arc<Frame>, bytes: usize) {
        if bytes > KEPT_BYTES_MAX || self.frames.contains_key(&place) {
            return;
        }
        // Ends: without frames there are no bytes.
        while self.bytes + bytes > KEPT_BYTES_MAX {
            let oldest = self.order.pop_front().and_then(|oldest| self.frames.remove(&oldest));
            self.bytes -= oldest.map_or(self.bytes, |(_, bytes)| bytes);
        }
        self.frames.insert(place, (Arc::clone(frame), bytes));
        self.order.push_back(place);
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Time;

    #[test]
    fn frames_that_were_read_first_make_room() {
        let frame =
            Arc::new(Frame { seq: 1, before: [0; 32], hash: [0; 32], time: Time(0), entries: Vec::new() });
        let mut kept = KeptFrames::default();
        let half = KEPT_BYTES_MAX / 2;
        kept.put((1, 4096), &frame, KEPT_BYTES_MAX + 1);
        assert!(kept.get((1, 4096)).is_none(), "one that is larger than all that is kept");
        for offset in [1, 2, 1, 3] {
            kept.put((1, offset), &frame, half);
        }
        let found: Vec<u64> = (0..5).filter(|offset| kept.get((1, *offset)).is_some()).collect();
        assert_eq!((found, kept.bytes, kept.order.len()), (vec![2, 3], 2 * half, 2));
    }
}
