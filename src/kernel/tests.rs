//! Private invariants of the kernel.

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::Way;
use super::table::{Chunk, Masks, Row};
use super::word::{Lanes, OneByOne};

/// A row is two cache lines, the masks of four affected tasks among them.
const _: () = assert!(size_of::<Row>() == 128 && align_of::<Row>() == 64);

proptest! {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn four_lanes_at_once_are_the_same_as_one_by_one(
        care in any::<[u64; 4]>(),
        any_of in any::<[u64; 4]>(),
        before in any::<u64>(),
        pick in 0_usize..4,
        narrow in any::<bool>(),
    ) {
        if Way::best() != Way::Avx2 {
            return Ok(());
        }
        // Random masks are hardly ever satisfied: let some lanes ask for exactly what is there.
        let mut chunk = Chunk { care: Masks(care), any: Masks(any_of) };
        chunk.any.0[pick] = before & care[pick] | any_of[pick] & !care[pick];
        if narrow {
            chunk.any = Masks(any_of.map(|mask| mask & 3));
        }
        let after = before ^ 1;
        // SAFETY: the processor has AVX2, as `Way::best` says.
        let at_once = unsafe { super::word::FourAtOnce::compare(&chunk, before, after) };
        // SAFETY: needs no special instructions.
        let one_by_one = unsafe { OneByOne::compare(&chunk, before, after) };
        prop_assert_eq!(at_once, one_by_one);
    }
}
