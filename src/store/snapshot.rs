//! Snapshots: the rows of the working environment right after a checkpoint, in a sealed file.
//!
//! Rows, not pages: nothing that was not checked is ever mapped, the file goes through the [`Disk`] as all others, and
//! it does not hang on the page format of LMDB. A snapshot is only made of rows that add up to the sums kept with
//! them. Start at [`seal`], then [`Snapshot`].

use std::path::Path;
use std::sync::Arc;

use super::bytes::Fields;
use super::disk::{Disk, DiskFile};
use super::error::Error;
use super::history::Pace;
use super::row;
use super::sealed::{self, Kind, Moment, Sealed, Writer};
use super::tables::{Change, Meta, Sums, TABLE_COUNT_MAX, Table, Tables};
use crate::id::{PARTITION_COUNT, Partition};

/// The folder in the state folder.
pub(super) const SNAPSHOT_FOLDER: &str = "snapshot";
const KIND: Kind = Kind { name: *b"KNHKSNAP", format: 1 };
const NAME_ENDING: &str = ".snp";
/// Rows are read from the environment, and put into it, in batches of about so many bytes: no transaction is held
/// for long.
const BATCH_BYTES: usize = 512 * 1024;
/// And of so many when a snapshot is loaded: each batch is a commit that waits for the disk.
const LOAD_BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Returns a snapshot's name.
pub(super) fn name(seq: u64) -> String {
    format!("{seq:020}{NAME_ENDING}")
}

/// Reads a snapshot's name; `None` when it is none.
pub(super) fn parse_name(file_name: &str) -> Option<u64> {
    let seq = file_name.strip_suffix(NAME_ENDING)?.parse().ok()?;
    (name(seq) == file_name).then_some(seq)
}

/// Returns the last frames of the snapshots of a state folder, in order.
pub(super) fn list<D: Disk>(disk: &D, folder: &Path) -> Result<Vec<u64>, Error> {
    let mut out: Vec<u64> = sealed::names(disk, folder)?.iter().filter_map(|name| parse_name(name)).collect();
    out.sort_unstable();
    Ok(out)
}

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// When it was written.
    pub(super) sealed: Moment,
    /// Up to where its rows are folded.
    pub(super) meta: Meta,
    /// What its rows add up to.
    pub(super) sums: Sums,
}

impl About {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.sealed.encode(&mut out);
        out.extend_from_slice(&row::encode_meta(&self.meta, &self.sums));
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let sealed = Moment::decode(&mut fields)?;
        let (meta, sums) = row::decode_meta(fields.take(fields.left())?).ok()?;
        Some(Self { sealed, meta, sums })
    }
}

/// A row with the table and partition that it belongs to.
struct Owned {
    table: Table,
    partition: Partition,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Owned {
    fn change(&self) -> Change<'_> {
        let Self { table, partition, ref key, ref value } = *self;
        Change { table, partition, key, value: Some(value) }
    }
}

/// Writes a snapshot of an environment, which nobody may change meanwhile; returns what it says about itself and its
/// length. `None` when the environment holds nothing yet.
///
/// # Errors
/// The rows cannot be read, or do not add up to their sums: then the environment is damaged. Or the file cannot be
/// written. Nothing is left of it then.
pub(super) fn seal<D: Disk>(
    disk: &Arc<D>,
    folder: &Path,
    tables: &dyn Tables,
    sealed: Moment,
    pace: &mut Pace<'_>,
) -> Result<Option<(About, u64)>, Error> {
    let Some(meta) = tables.meta()? else { return Ok(None) };
    let about = About { sealed, meta, sums: tables.sums()? };
    let (store, file_name) = (about.meta.store, name(about.meta.seq));
    let mut writer = Writer::begin(disk, folder, &file_name, KIND, store, &about.encode())?;
    let mut found = Sums::new();
    for table in (0..TABLE_COUNT_MAX).map(Table) {
        put_table(&mut writer, tables, table, &mut found, pace)?;
    }
    check_sums(&about.sums, &found)?;
    if tables.meta()?.as_ref() != Some(&about.meta) {
        return Err(Error::Tables { reason: "it was changed while its rows were read".to_owned() });
    }
    let length = writer.finish()?;
    Ok(Some((about, length)))
}

fn put_table<D: Disk>(
    writer: &mut Writer<D>,
    tables: &dyn Tables,
    table: Table,
    found: &mut Sums,
    pace: &mut Pace<'_>,
) -> Result<(), Error> {
    let mut from = Vec::new();
    let mut file_key = Vec::new();
    let mut file_value = Vec::new();
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        tables.rows(table, &from, &mut |key, partition, value| {
            bytes += key.len() + value.len();
            batch.push(Owned { table, partition, key: key.to_vec(), value: value.to_vec() });
            bytes < BATCH_BYTES
        })?;
        for row in &batch {
            add(found, &row.change());
            file_key.clear();
            file_key.push(table.0);
            file_key.extend_from_slice(&row.key);
            file_value.clear();
            file_value.extend_from_slice(&row.partition.0.to_le_bytes());
            file_value.extend_from_slice(&row.value);
            writer.put(&file_key, &file_value)?;
        }
        let Some(last) = batch.last() else { return Ok(()) };
        // The least key behind it.
        from.clone_from(&last.key);
        from.push(0);
        pace(bytes as u64)?;
    }
}

fn check_sums(expected: &Sums, found: &Sums) -> Result<(), Error> {
    for &(table, partition) in expected.keys().chain(found.keys()) {
        let of = |sums: &Sums| sums.get(&(table, partition)).copied().unwrap_or_default();
        if of(expected) != of(found) {
            let (found, expected) = (of(found).rows, of(expected).rows);
            return Err(Error::Sums { table, partition, found, expected });
        }
    }
    Ok(())
}

/// A snapshot, open for reading.
pub(super) struct Snapshot<F: DiskFile> {
    pub(super) about: About,
    pub(super) sealed: Sealed<F>,
}

impl<F: DiskFile> Snapshot<F> {
    /// Opens the snapshot whose last frame is `seq`; its header, footer and index are checked, its rows when they are
    /// read.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, folder: &Path, seq: u64) -> Result<Self, Error> {
        let sealed = Sealed::open(disk, &folder.join(name(seq)), KIND)?;
        let about = About::decode(&sealed.about)
            .ok_or_else(|| sealed.damaged(0, "what it says about itself cannot be read"))?;
        if about.meta.seq != seq || about.meta.store != sealed.store {
            return Err(sealed.damaged(0, "the file's name is not the one in its header"));
        }
        Ok(Self { about, sealed })
    }

    /// Visits all rows by table and key, until `visit` returns false or fails.
    pub(super) fn each(&self, visit: &mut dyn FnMut(Change<'_>) -> Result<bool, Error>) -> Result<(), Error> {
        self.sealed.scan(&[], &mut |file_key, file_value| {
            if let Some(row) = parse_row(file_key, file_value) {
                return visit(row);
            }
            let block = self.sealed.block_of(file_key).unwrap_or(0);
            Err(self.sealed.damaged(self.sealed.offset_of(block), "a row is none of a table"))
        })
    }

    /// Checks the hash of the file, and that its rows add up to its sums.
    pub(super) fn check(&self, pace: &mut Pace<'_>) -> Result<(), Error> {
        self.sealed.check(pace)?;
        let mut found = Sums::new();
        self.each(&mut |row| {
            add(&mut found, &row);
            Ok(true)
        })?;
        check_sums(&self.about.sums, &found)
            .map_err(|error| self.sealed.damaged(0, format!("its rows are not whole: {error}")))
    }

    /// Throws away what the tables hold and puts the rows in, checked; the meta comes with the last of them, so that
    /// nobody believes a part.
    ///
    /// # Errors
    /// The snapshot is damaged, or the tables cannot be written. They may hold a part then, and no meta.
    pub(super) fn load(&self, tables: &dyn Tables, pace: &mut Pace<'_>) -> Result<(), Error> {
        self.sealed.check(pace)?;
        tables.clear()?;
        let (mut batch, mut bytes): (Vec<Owned>, usize) = (Vec::new(), 0);
        let mut found = Sums::new();
        self.each(&mut |row| {
            add(&mut found, &row);
            let value = row.value.unwrap_or_default();
            bytes += row.key.len() + value.len();
            let (table, partition) = (row.table, row.partition);
            batch.push(Owned { table, partition, key: row.key.to_vec(), value: value.to_vec() });
            if bytes >= LOAD_BATCH_BYTES {
                tables.fill(&changes(&batch), None)?;
                pace(bytes as u64)?;
                batch.clear();
                bytes = 0;
            }
            Ok(true)
        })?;
        check_sums(&self.about.sums, &found)
            .map_err(|error| self.sealed.damaged(0, format!("its rows are not whole: {error}")))?;
        tables.fill(&changes(&batch), Some((&self.about.meta, &self.about.sums)))
    }
}

fn changes(batch: &[Owned]) -> Vec<Change<'_>> {
    batch.iter().map(Owned::change).collect()
}

fn add(sums: &mut Sums, row: &Change<'_>) {
    let sum = sums.entry((row.table, row.partition)).or_default();
    row::add(sum, row.table, row.partition, row.key, row.value.unwrap_or_default());
}

fn parse_row<'a>(file_key: &'a [u8], file_value: &'a [u8]) -> Option<Change<'a>> {
    let (&table, key) = file_key.split_first()?;
    let mut fields = Fields::new(file_value);
    let partition = Partition(fields.u16()?);
    let value = fields.take(fields.left())?;
    let is_possible = table < TABLE_COUNT_MAX && partition.index() < PARTITION_COUNT && !key.is_empty();
    is_possible.then_some(Change { table: Table(table), partition, key, value: Some(value) })
}
