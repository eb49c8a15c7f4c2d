//! Identifiers, times and sizes as types of their own.
//!
//! A case id is 60 bits: microseconds since 2025-01-01 (54 bits, enough until the year 2595), then the
//! partition (6 bits). As text it is 12 characters of base 32, so that texts sort as numbers do, by creation.

use std::fmt;

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
/// The last time of which a text is made, 9999-12-30T22:00:00.999999Z: what calendars that know zones hold.
const LAST_TIME_US: u64 = 253_402_207_200_999_999;
const US_PER_DAY: u64 = 86_400_000_000;
/// Days from the first of March of the year 0 to 1970-01-01.
const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
/// Days of 400 years.
const DAYS_PER_ERA: u64 = 146_097;
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
        let us = self.0.min(LAST_TIME_US);
        let (days, second) = (us / US_PER_DAY, us % US_PER_DAY / 1_000_000);
        // The calendar repeats every 400 years, and its years begin in March here, so that leap days end them.
        let day = days + DAYS_FROM_MARCH_OF_YEAR_0;
        let (era, day) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        write_digits::<4>(out, era * 400 + year + next_year);
        for (sign, number) in
            [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
        {
            out.push(sign);
            write_digits::<2>(out, number);
        }
        out.push(b'.');
        write_digits::<6>(out, us % 1_000_000);
        out.push(b'Z');
    }

    /// Returns this time less `us` microseconds, never before the epoch.
    #[must_use]
    pub fn minus_us(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }
}

/// Writes the last `COUNT` digits of a number.
fn write_digits<const COUNT: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).expect("invariant: a digit is less than ten");
        number /= 10;
    }
    out.extend_from_slice(&digits);
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
    fn times_are_written_as_a_calendar_library_writes_them() {
        let library = |time: Time| {
            let microseconds = i64::try_from(time.0).unwrap_or(i64::MAX);
            let timestamp = jiff::Timestamp::from_microsecond(microseconds).unwrap_or(jiff::Timestamp::MAX);
            format!("{timestamp:.6}")
        };
        // Every day of more than two rounds of the calendar, each at another time of the day.
        let days = (0..2 * DAYS_PER_ERA + 500).map(|day| day * US_PER_DAY + day * 7_919_123_457 % US_PER_DAY);
        let last_days = (0..500).map(|day| LAST_TIME_US - day * US_PER_DAY);
        let edges = [0, US_PER_DAY - 1, LAST_TIME_US, LAST_TIME_US + 1, i64::MAX as u64, u64::MAX];
        for time in days.chain(last_days).chain(edges).map(Time) {
            assert_eq!(time.rfc3339(), library(time), "{}", time.0);
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
