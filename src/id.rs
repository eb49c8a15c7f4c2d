//! Identifiers, times and sizes as types of their own.
//!
//! A case id is 60 bits: microseconds since 2025-01-01 (54 bits, enough until the year 2595), then the
//! partition (6 bits). As text it is 12 characters of base 32, so that texts sort as numbers do, by creation.

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

/// Partitions that cases are spread over; fixed when a store is made.
pub const CASE_PARTITION_COUNT: u16 = 64;
/// All partitions: those of cases and the one of specifications.
pub const PARTITION_COUNT: usize = CASE_PARTITION_COUNT as usize + 1;
const PARTITION_BITS: u32 = 6;
const _: () = assert!(1 << PARTITION_BITS == CASE_PARTITION_COUNT);
/// 2025-01-01T00:00:00Z in microseconds of the Unix epoch; case ids count from here.
const ID_EPOCH_US: u64 = 1_735_689_600_000_000;
const CASE_TEXT_LEN: usize = 12;
const TIME_TEXT_LEN: usize = 27;
const TIME_PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
/// Crockford's base 32: no i, l, o, u, so that an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The unit of order, replay and ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u16);

impl Partition {
    /// The partition of specifications.
    pub const SPECIFICATIONS: Self = Self(CASE_PARTITION_COUNT);

    /// Returns all partitions in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=CASE_PARTITION_COUNT).map(Self)
    }

    /// Returns the place of this partition in an array of [`PARTITION_COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Microseconds of the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// Returns this time plus `us` microseconds, never beyond the largest time.
    #[must_use]
    pub fn plus_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Returns this time as RFC 3339 in UTC with microseconds; beyond the year 9999 the last time that it can say.
    pub fn rfc3339(self) -> String {
        let mut out = Vec::with_capacity(TIME_TEXT_LEN);
        self.write_rfc3339(&mut out);
        String::from_utf8(out).expect("invariant: digits and signs are ASCII")
    }

    /// Writes what [`Self::rfc3339`] returns: most answers say a time.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let microseconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        let timestamp = Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX);
        TIME_PRINTER.print_timestamp(&timestamp, out).expect("invariant: memory takes all");
    }

    /// Returns this time less `us` microseconds, never before the epoch.
    #[must_use]
    pub fn minus_us(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }
}

/// Id of a case; its last bits are its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CaseId(pub u64);

impl CaseId {
    /// Returns the id of a case made in `partition` at `now`, later than `last`, the shard's newest id.
    /// A clock that stands still or goes back still gives ids that grow.
    pub fn next(now: Time, partition: Partition, last: Option<Self>) -> Self {
        assert!(partition.0 < CASE_PARTITION_COUNT, "invariant: cases live in case partitions");
        let count = now.0.saturating_sub(ID_EPOCH_US);
        let count = last.map_or(count, |last| count.max((last.0 >> PARTITION_BITS) + 1));
        Self((count << PARTITION_BITS) | u64::from(partition.0))
    }

    /// Returns the least id of a case that was made at a time or later; `None` before ids count.
    pub fn first_of(time: Time) -> Option<Self> {
        time.0.checked_sub(ID_EPOCH_US).map(|count| Self(count << PARTITION_BITS))
    }

    /// Returns the partition in the last bits.
    pub fn partition(self) -> Partition {
        Partition(
            u16::try_from(self.0 & u64::from(CASE_PARTITION_COUNT - 1)).expect("invariant: six bits fit"),
        )
    }

    /// Returns the text form; all of it is ASCII.
    pub fn letters(self) -> [u8; CASE_TEXT_LEN] {
        std::array::from_fn(|at| ALPHABET[((self.0 >> (5 * (CASE_TEXT_LEN - 1 - at))) & 31) as usize])
    }

    /// Reads the text form; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != CASE_TEXT_LEN {
            return None;
        }
        let mut value = 0_u64;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|&letter| letter == byte.to_ascii_lowercase())?;
            value = (value << 5) | digit as u64;
        }
        Some(Self(value))
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.letters()).expect("invariant: the alphabet is ASCII"))
    }
}

/// Id of a work item: its case and a counter within the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId {
    /// The case that the item belongs to.
    pub case: CaseId,
    /// Counts the case's items from 1.
    pub number: u32,
}

impl ItemId {
    /// Reads the text form, `CASE-NUMBER`; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (case, number) = text.split_once('-')?;
        if number.starts_with(['+', '0']) {
            return None;
        }
        Some(Self { case: CaseId::parse(case)?, number: number.parse().ok()? })
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.case, self.number)
    }
}

/// Number of a registered specification version in this store, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpecNumber(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_ids_sort_as_text_by_creation_and_carry_their_partition() {
        let mut last = None;
        let mut texts = Vec::new();
        for step in 0..200_u64 {
            let clock_that_goes_back = Time(ID_EPOCH_US + 1_000_000 - step * 7);
            let id = CaseId::next(clock_that_goes_back, Partition(u16::try_from(step % 64).unwrap()), last);
            assert_eq!(u64::from(id.partition().0), step % 64);
            assert_eq!(CaseId::parse(&id.to_string()), Some(id));
            texts.push(id.to_string());
            last = Some(id);
        }
        assert!(texts.is_sorted());
    }

    #[test]
    fn times_say_their_microseconds_and_end_with_the_year_9999() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_764_000_000_123_456, "2025-11-24T16:00:00.123456Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (u64::MAX, "9999-12-30T22:00:00.999999Z"),
        ] {
            assert_eq!(Time(us).rfc3339(), text);
        }
    }

    #[test]
    fn item_ids_read_back_and_nothing_else_does() {
        let item = ItemId { case: CaseId(77), number: 3 };
        assert_eq!(ItemId::parse(&item.to_string()), Some(item));
        for wrong in [
            "",
            "-",
            "00000000002d-03",
            "00000000002d-+3",
            "00000000002u-3",
            "2d-3",
            "00000000002d-4294967296",
        ] {
            assert_eq!(ItemId::parse(wrong), None, "{wrong}");
        }
    }
}
