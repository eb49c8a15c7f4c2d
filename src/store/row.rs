//! How a row and the meta look as bytes, and how rows add up: the same for every kind of tables.

use super::bytes::{Fields, length_u32};
use super::entry::StoreId;
use super::error::Error;
use super::tables::{Change, KEY_BYTES_MAX, Meta, Sum, Sums, TABLE_COUNT_MAX, Table, VALUE_BYTES_MAX};
use crate::id::{PARTITION_COUNT, Partition, Time};

/// Format of rows; another only means that the environment is rebuilt.
const ROW_FORMAT: u8 = 1;
/// Format of the meta, and of which tables there are; another only means that the environment is rebuilt.
const META_FORMAT: u32 = 2;
/// Bytes before a value: format, partition, checksum.
const ROW_HEAD_BYTES: usize = 1 + 2 + 4;

/// Returns a row's value as it is stored: format, partition, checksum over table, partition, key and value, value.
pub(super) fn encode(change: &Change<'_>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROW_HEAD_BYTES + value.len());
    out.push(ROW_FORMAT);
    out.extend_from_slice(&change.partition.0.to_le_bytes());
    out.extend_from_slice(&checksum(change.table, change.partition, change.key, value).to_le_bytes());
    out.extend_from_slice(value);
    out
}

/// Reads a stored value; an error when it is not what was written under this key.
pub(super) fn decode<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Result<(Partition, &'a [u8]), Error> {
    decode_fields(table, key, stored).ok_or_else(|| {
        let key = key.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        Error::Row { table, key }
    })
}

fn decode_fields<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Option<(Partition, &'a [u8])> {
    let mut fields = Fields::new(stored);
    let format = fields.take(1)?;
    let partition = Partition(fields.u16()?);
    let found = fields.u32()?;
    let value = fields.take(fields.left())?;
    let is_good = format == [ROW_FORMAT]
        && partition.index() < PARTITION_COUNT
        && found == checksum(table, partition, key, value);
    is_good.then_some((partition, value))
}

fn checksum(table: Table, partition: Partition, key: &[u8], value: &[u8]) -> u32 {
    let key_bytes = length_u32(key.len()).to_le_bytes();
    let head = crc32c::crc32c_append(crc32c::crc32c(&[table.0]), &partition.0.to_le_bytes());
    let with_key = crc32c::crc32c_append(crc32c::crc32c_append(head, &key_bytes), key);
    crc32c::crc32c_append(with_key, value)
}

/// Says whether a change can be stored.
pub(super) fn check(change: &Change<'_>) -> Result<(), Error> {
    assert!(change.table.0 < TABLE_COUNT_MAX, "invariant: a table's number is below the number of tables");
    let (key_bytes, value_bytes) = (change.key.len(), change.value.map_or(0, <[u8]>::len));
    if key_bytes == 0 || key_bytes > KEY_BYTES_MAX {
        let (least_bytes, most_bytes) = (1, KEY_BYTES_MAX);
        return Err(Error::RowSize { what: "key", found_bytes: key_bytes, least_bytes, most_bytes });
    }
    if value_bytes > VALUE_BYTES_MAX {
        let (least_bytes, most_bytes) = (0, VALUE_BYTES_MAX);
        return Err(Error::RowSize { what: "value", found_bytes: value_bytes, least_bytes, most_bytes });
    }
    Ok(())
}

/// Returns the part of the sum that one row makes.
fn row_hash(table: Table, partition: Partition, key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[table.0]);
    hasher.update(&partition.0.to_le_bytes());
    hasher.update(&length_u32(key.len()).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Adds a row to its sum.
pub(super) fn add(sum: &mut Sum, table: Table, partition: Partition, key: &[u8], value: &[u8]) {
    sum.rows = sum.rows.wrapping_add(1);
    sum.hashes = sum.hashes.wrapping_add(row_hash(table, partition, key, value));
}

/// Takes the row before a change out of the sums, and the row after it in; returns what to store.
pub(super) fn change(
    sums: &mut Sums,
    change: &Change<'_>,
    before: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Error> {
    count(sums, change, before)?;
    Ok(change.value.map(|value| encode(change, value)))
}

/// Takes the row before a change out of the sums, and the row after it in.
pub(super) fn count(sums: &mut Sums, change: &Change<'_>, before: Option<&[u8]>) -> Result<(), Error> {
    if let Some(stored) = before {
        let (partition, value) = decode(change.table, change.key, stored)?;
        let sum = sums.entry((change.table, partition)).or_default();
        sum.rows = sum.rows.wrapping_sub(1);
        sum.hashes = sum.hashes.wrapping_sub(row_hash(change.table, partition, change.key, value));
    }
    if let Some(value) = change.value {
        let sum = sums.entry((change.table, change.partition)).or_default();
        add(sum, change.table, change.partition, change.key, value);
    }
    Ok(())
}

/// Returns meta and sums as bytes: format, store, seq, hash, time, positions, sums, checksum.
pub(super) fn encode_meta(meta: &Meta, sums: &Sums) -> Vec<u8> {
    let mut out = META_FORMAT.to_le_bytes().to_vec();
    out.extend_from_slice(&meta.store.0);
    out.extend_from_slice(&meta.seq.to_le_bytes());
    out.extend_from_slice(&meta.hash);
    out.extend_from_slice(&meta.time.0.to_le_bytes());
    for position in &meta.positions {
        out.extend_from_slice(&position.to_le_bytes());
    }
    out.extend_from_slice(&length_u32(sums.len()).to_le_bytes());
    for ((table, partition), sum) in sums {
        out.push(table.0);
        out.extend_from_slice(&partition.0.to_le_bytes());
        out.extend_from_slice(&sum.rows.to_le_bytes());
        out.extend_from_slice(&sum.hashes.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads meta and sums.
pub(super) fn decode_meta(bytes: &[u8]) -> Result<(Meta, Sums), Error> {
    decode_meta_fields(bytes)
        .ok_or_else(|| Error::Tables { reason: "its meta is not what was written".to_owned() })
}

fn decode_meta_fields(bytes: &[u8]) -> Option<(Meta, Sums)> {
    let (covered, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(covered).to_le_bytes() != *checksum {
        return None;
    }
    let mut fields = Fields::new(covered);
    if fields.u32()? != META_FORMAT {
        return None;
    }
    let store = StoreId(fields.array()?);
    let (seq, hash, time) = (fields.u64()?, fields.array()?, Time(fields.u64()?));
    let meta = Meta { store, seq, hash, time, positions: fields.u64s()? };
    let mut sums = Sums::new();
    for _ in 0..fields.u32()? {
        let table = Table(fields.take(1)?[0]);
        let partition = Partition(fields.u16()?);
        sums.insert((table, partition), Sum { rows: fields.u64()?, hashes: fields.u64()? });
    }
    (fields.left() == 0).then_some((meta, sums))
}
