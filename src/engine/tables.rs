//! Tables of the working environment: numbers, keys and values. Keys sort in the order in which they are read;
//! numbers in them are big-endian. Values begin with a format byte of their own encoder.

use serde::{Deserialize, Serialize};

use super::record::{Act, Archived, Hash16};
use crate::case::encode::append;
use crate::case::event::End;
use crate::case::row::{ItemState, Link};
use crate::case::view::CaseState;
use crate::id::{CaseId, Partition, SpecNumber, Time};
use crate::store::Table;

/// Specifications: number -> registration and its time.
pub const SPECS: Table = Table(0);
/// Live cases: case -> row.
pub const CASES: Table = Table(1);
/// Closed cases: case -> row.
pub const CLOSED: Table = Table(2);
/// Closed cases by the day of their last change: day since 1970, case -> nothing.
pub const CLOSED_BY_DAY: Table = Table(3);
/// Live net instances: case, number -> row.
pub const INSTANCES: Table = Table(4);
/// Live work items: case, number -> row.
pub const ITEMS: Table = Table(5);
/// Timers, for the language issue: nothing writes it yet.
pub const TIMERS: Table = Table(6);
/// Idempotency keys of clients: partition, time of use, hash -> [`KeyRow`]. Those that come to their end first lie
/// first, and new ones lie side by side.
pub const KEYS: Table = Table(7);
/// Business keys: partition, hash -> case.
pub const BUSINESS_KEYS: Table = Table(8);
/// What is known of a partition as a whole: partition -> [`PartitionRow`].
pub const PARTITIONS: Table = Table(9);
/// Live cases that have something to do by themselves: case -> nothing. A start takes these into memory, and no other.
pub const UNFINISHED: Table = Table(10);
/// Archived cases: case -> [`ArchivedRow`].
pub const ARCHIVED: Table = Table(11);
/// All tables with their names, in order of number.
pub const ALL: [(Table, &str); 12] = [
    (SPECS, "specs"),
    (CASES, "cases"),
    (CLOSED, "closed"),
    (CLOSED_BY_DAY, "closed_by_day"),
    (INSTANCES, "instances"),
    (ITEMS, "work_items"),
    (TIMERS, "timers"),
    (KEYS, "keys"),
    (BUSINESS_KEYS, "business_keys"),
    (PARTITIONS, "partitions"),
    (UNFINISHED, "unfinished"),
    (ARCHIVED, "archived"),
];

/// A used key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Position in the partition of the entry that used it.
    pub n: u64,
    /// Case that it belongs to; 0 for a registration, whose number is then in `spec`.
    pub case: CaseId,
    /// The specification that was registered.
    pub spec: Option<SpecNumber>,
    /// Hash of the request.
    pub request: Hash16,
    /// What kind of answer it had.
    pub act: Act,
    /// When it was used.
    pub at: Time,
}

/// An archived case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedRow {
    /// What its entry says.
    pub fact: Archived,
    /// When it was archived.
    pub at: Time,
    /// The entry that says so.
    pub last: Link,
}

impl ArchivedRow {
    /// Returns the case's state, as it was when it was archived.
    pub fn state(&self) -> CaseState {
        if self.fact.how == End::Cancelled { CaseState::Cancelled } else { CaseState::Completed }
    }
}

/// What is known of a partition as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionRow {
    /// Its newest case, so that ids grow also when the clock was set back.
    pub last_case: Option<CaseId>,
    /// Its cases in the live store by state, in the order of [`CASE_STATES`].
    pub cases: [u64; CASE_STATES.len()],
    /// Its live work items by state, in the order of [`ITEM_STATES`].
    pub items: [u64; ITEM_STATES.len()],
}

/// States that cases are counted by.
pub const CASE_STATES: [CaseState; 5] = [
    CaseState::Running,
    CaseState::Suspended,
    CaseState::Incident,
    CaseState::Completed,
    CaseState::Cancelled,
];
/// States that work items are counted by; one that is offered anew counts as enabled.
pub const ITEM_STATES: [ItemState; 3] = [ItemState::Enabled, ItemState::Executing, ItemState::Failed];

/// Key of a case in [`CASES`] and [`CLOSED`], and prefix of its keys elsewhere.
pub fn case_key(case: CaseId) -> [u8; 8] {
    case.0.to_be_bytes()
}

/// Reads a case back from the first eight bytes of a key.
pub fn case_of(key: &[u8]) -> Option<CaseId> {
    key.first_chunk::<8>().map(|bytes| CaseId(u64::from_be_bytes(*bytes)))
}

/// Key of something numbered within a case.
pub fn part_key(case: CaseId, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&case_key(case));
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Reads case and number back.
pub fn part_of(key: &[u8]) -> Option<(CaseId, u32)> {
    let case = case_of(key)?;
    let number = key.get(8..)?.first_chunk::<4>()?;
    Some((case, u32::from_be_bytes(*number)))
}

/// Key of a specification.
pub fn spec_key(number: SpecNumber) -> [u8; 4] {
    number.0.to_be_bytes()
}

/// Key of a hash within a partition.
pub fn hash_key(partition: Partition, hash: &Hash16) -> [u8; 18] {
    let mut key = [0; 18];
    key[..2].copy_from_slice(&partition.0.to_be_bytes());
    key[2..].copy_from_slice(hash);
    key
}

/// Key of an idempotency key that was used at a time, within a partition.
pub fn used_key(partition: Partition, at: Time, hash: &Hash16) -> [u8; 26] {
    let mut key = [0; 26];
    key[..2].copy_from_slice(&partition.0.to_be_bytes());
    key[2..10].copy_from_slice(&at.0.to_be_bytes());
    key[10..].copy_from_slice(hash);
    key
}

/// Reads partition, time and hash of a used key back.
pub fn used_of(key: &[u8]) -> Option<(Partition, Time, Hash16)> {
    let (partition, rest) = key.split_first_chunk::<2>()?;
    let (at, hash) = rest.split_first_chunk::<8>()?;
    let hash = hash.first_chunk::<16>()?;
    Some((Partition(u16::from_be_bytes(*partition)), Time(u64::from_be_bytes(*at)), *hash))
}

/// Key of a closed case by the day of its last change.
pub fn day_key(changed: Time, case: CaseId) -> [u8; 12] {
    let day = day_of(changed);
    let mut key = [0; 12];
    key[..4].copy_from_slice(&day.to_be_bytes());
    key[4..].copy_from_slice(&case_key(case));
    key
}

/// Returns the day since 1970 that a time lies in.
pub fn day_of(time: Time) -> u32 {
    const DAY_US: u64 = 86_400_000_000;
    u32::try_from(time.0 / DAY_US).unwrap_or(u32::MAX)
}

/// Reads day and case of a closed case back.
pub fn by_day_of(key: &[u8]) -> Option<(u32, CaseId)> {
    let (day, rest) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*day), case_of(rest)?))
}

/// Returns the stored form of a small row of this module.
pub fn encode(row: &impl Serialize) -> Vec<u8> {
    append(row, vec![1])
}

/// Reads a small row of this module.
///
/// # Errors
/// Another format, or damage.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((1, rest)) => postcard::from_bytes(rest).map_err(|error| format!("row: {error}")),
        _ => Err("row of another format".to_owned()),
    }
}
