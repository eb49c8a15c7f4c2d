//! Sealed files: rows sorted by key, written once under a temporary name, never changed. History, snapshots and
//! archives are such files.
//!
//! Every byte is under a checksum that is looked at before the byte is believed: a flipped one is an error that names
//! file and place, never a wrong row. What keys and values mean is the business of [`super::history`],
//! [`super::snapshot`] and [`super::archive`]. Start at [`Writer`], then [`Sealed`]; docs/reference/store.md has the layout.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use zstd::bulk::{Compressor, Decompressor};

use super::bytes::{Fields, length_u32, put_varint};
use super::disk::{Disk, DiskFile};
use super::entry::StoreId;
use super::error::Error;
use super::segment::TEMPORARY;
use super::tables::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Longest key of a row: that of a table, and what stands before it.
pub(super) const ROW_KEY_BYTES_MAX: usize = KEY_BYTES_MAX + 32;
/// Longest value of a row: that of a table, and what stands before it.
pub(super) const ROW_VALUE_BYTES_MAX: usize = VALUE_BYTES_MAX + 64;
/// Longest text that a file says about itself.
pub(super) const ABOUT_BYTES_MAX: usize = 256 * 1024;
/// A block is closed when its rows have so many bytes.
const BLOCK_BYTES: usize = 64 * 1024;
/// Most bytes of a block's rows: what does not close it, and the longest row behind that.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + ROW_KEY_BYTES_MAX + ROW_VALUE_BYTES_MAX + 32;
const _: () = assert!(BLOCK_BYTES_MAX < u32::MAX as usize / 2);
/// Most bytes of a block besides the value of its last row.
pub(super) const BLOCK_BESIDE_BYTES_MAX: usize = BLOCK_BYTES_MAX - ROW_VALUE_BYTES_MAX;
/// Most blocks of a file: 64 GiB of rows.
const BLOCK_COUNT_MAX: u32 = 1 << 20;
/// Greatest length of an index in bytes.
const INDEX_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How hard blocks are compressed: the least, because speed counts and more saves little.
pub const SEALED_COMPRESSION_LEVEL: i32 = 1;
/// How much is written at once.
const WRITE_BYTES: usize = 256 * 1024;
/// How much is written between two syncs, so that the journal's own syncs never wait for a heap of dirty pages.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;
/// How much is read at once when a file is checked.
const CHECK_BYTES: usize = 256 * 1024;
/// Lengths of both forms of a block, checksum.
const BLOCK_HEAD_BYTES: usize = 4 + 4 + 4;
/// Kind, format, store, length of what follows.
const HEADER_FIXED_BYTES: usize = 8 + 4 + 16 + 4;
const CHECKSUM_BYTES: usize = 4;
/// Offset, length and count of the index, rows, hash, checksum, ending.
const FOOTER_BYTES: usize = 8 + 8 + 4 + 8 + 32 + 4 + 8;
const FOOTER_HASHED_BYTES: usize = 8 + 8 + 4 + 8;
const ENDING: &[u8; 8] = b"KNHKSEAL";

/// A moment on a clock that only goes forward, and only as long as the machine runs: how old a file is must not hang
/// on a clock that people set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Which run of the machine.
    pub boot: [u8; 16],
    /// Microseconds since it began.
    pub us: u64,
}

impl Moment {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.boot);
        out.extend_from_slice(&self.us.to_le_bytes());
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { boot: fields.array()?, us: fields.u64()? })
    }
}

/// What a sealed file is for, and the format of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: [u8; 8],
    pub(super) format: u32,
}

/// Writes a sealed file. Unless it is finished, what was written is taken away again.
pub(super) struct Writer<D: Disk> {
    disk: Arc<D>,
    folder: PathBuf,
    temporary: PathBuf,
    path: PathBuf,
    file: D::File,
    /// What is not written yet.
    out: Vec<u8>,
    written_bytes: u64,
    synced_bytes: u64,
    hasher: blake3::Hasher,
    compressor: Compressor<'static>,
    packed: Vec<u8>,
    block: Block,
    last_key: Vec<u8>,
    index: Vec<u8>,
    block_count: u32,
    row_count: u64,
    is_finished: bool,
}

/// Rows that are not a block yet.
#[derive(Default)]
struct Block {
    first_key: Vec<u8>,
    rows: Vec<u8>,
}

impl<D: Disk> Writer<D> {
    /// Begins a file that will have `name` in `folder`, which exists.
    pub(super) fn begin(
        disk: &Arc<D>,
        folder: &Path,
        name: &str,
        kind: Kind,
        store: StoreId,
        about: &[u8],
    ) -> Result<Self, Error> {
        let path = folder.join(name);
        if about.len() > ABOUT_BYTES_MAX {
            let reason =
                format!("{} bytes about it are more than the limit of {ABOUT_BYTES_MAX}", about.len());
            return Err(Error::SealedRow { path, reason });
        }
        let mut out = kind.name.to_vec();
        out.extend_from_slice(&kind.format.to_le_bytes());
        out.extend_from_slice(&store.0);
        out.extend_from_slice(&length_u32(about.len()).to_le_bytes());
        out.extend_from_slice(about);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        let temporary = folder.join(format!("{name}{TEMPORARY}"));
        let compressor = Compressor::new(SEALED_COMPRESSION_LEVEL).map_err(Error::io("write", &temporary))?;
        let file = disk.create(&temporary).map_err(Error::io("create", &temporary))?;
        Ok(Self {
            disk: Arc::clone(disk),
            folder: folder.to_owned(),
            temporary,
            path,
            file,
            out,
            written_bytes: 0,
            synced_bytes: 0,
            hasher: blake3::Hasher::new(),
            compressor,
            packed: Vec::new(),
            block: Block::default(),
            last_key: Vec::new(),
            index: Vec::new(),
            block_count: 0,
            row_count: 0,
            is_finished: false,
        })
    }

    /// Returns the bytes written so far, those that wait among them.
    pub(super) fn bytes(&self) -> u64 {
        self.written_bytes + self.out.len() as u64
    }

    /// Puts the next row; keys must grow.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.check_row(key, value)?;
        let is_first = self.block.rows.is_empty();
        if is_first {
            self.block.first_key.clear();
            self.block.first_key.extend_from_slice(key);
        }
        let shared = if is_first { 0 } else { shared_bytes(&self.last_key, key) };
        let rows = &mut self.block.rows;
        put_varint(rows, shared as u64);
        put_varint(rows, (key.len() - shared) as u64);
        rows.extend_from_slice(&key[shared..]);
        put_varint(rows, value.len() as u64);
        rows.extend_from_slice(value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.row_count += 1;
        if self.block.rows.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn check_row(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let reason = if key.len() > ROW_KEY_BYTES_MAX {
            format!("its key has {} bytes, more than the limit of {ROW_KEY_BYTES_MAX}", key.len())
        } else if value.len() > ROW_VALUE_BYTES_MAX {
            format!("its value has {} bytes, more than the limit of {ROW_VALUE_BYTES_MAX}", value.len())
        } else if self.row_count > 0 && *key <= *self.last_key {
            "its key does not come after the one before".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::SealedRow { path: self.path.clone(), reason })
    }

    fn close_block(&mut self) -> Result<(), Error> {
        let Block { first_key, rows } = &mut self.block;
        if rows.is_empty() {
            return Ok(());
        }
        let index_bytes = self.index.len() + 2 + first_key.len() + 8;
        if self.block_count >= BLOCK_COUNT_MAX || index_bytes > INDEX_BYTES_MAX {
            let reason = format!(
                "it would be block {} with an index of {index_bytes} bytes, more than the limits of \
                 {BLOCK_COUNT_MAX} and {INDEX_BYTES_MAX}",
                self.block_count + 1
            );
            return Err(Error::SealedRow { path: self.path.clone(), reason });
        }
        let offset = self.written_bytes + self.out.len() as u64;
        let key_bytes = u16::try_from(first_key.len()).expect("invariant: keys are below their limit");
        self.index.extend_from_slice(&key_bytes.to_le_bytes());
        self.index.extend_from_slice(first_key);
        self.index.extend_from_slice(&offset.to_le_bytes());
        self.block_count += 1;
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(rows.len()));
        self.compressor
            .compress_to_buffer(rows.as_slice(), &mut self.packed)
            .map_err(Error::io("compress", &self.temporary))?;
        let mut head = [0; BLOCK_HEAD_BYTES];
        head[..4].copy_from_slice(&length_u32(self.packed.len()).to_le_bytes());
        head[4..8].copy_from_slice(&length_u32(rows.len()).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..8]), &self.packed);
        head[8..].copy_from_slice(&checksum.to_le_bytes());
        self.out.extend_from_slice(&head);
        self.out.extend_from_slice(&self.packed);
        if rows.capacity() > 4 * BLOCK_BYTES {
            // A row of uncommon length; its memory is not kept.
            (self.block.rows, self.packed) = (Vec::new(), Vec::new());
        } else {
            rows.clear();
        }
        if self.out.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.out);
        self.file.write_at(self.written_bytes, &self.out).map_err(Error::io("write", &self.temporary))?;
        self.written_bytes += self.out.len() as u64;
        self.out.clear();
        if self.written_bytes - self.synced_bytes >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.synced_bytes = self.written_bytes;
        self.file.sync().map_err(Error::io("sync", &self.temporary))
    }

    /// Writes what is left, and returns the file's length when it has its name and all of it is durable.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        self.close_block()?;
        let index_offset = self.written_bytes + self.out.len() as u64;
        let mut index = std::mem::take(&mut self.index);
        let checksum = crc32c::crc32c(&index);
        index.extend_from_slice(&checksum.to_le_bytes());
        self.out.append(&mut index);
        let index_bytes = self.written_bytes + self.out.len() as u64 - index_offset;
        let mut footer = index_offset.to_le_bytes().to_vec();
        footer.extend_from_slice(&index_bytes.to_le_bytes());
        footer.extend_from_slice(&self.block_count.to_le_bytes());
        footer.extend_from_slice(&self.row_count.to_le_bytes());
        self.out.extend_from_slice(&footer);
        self.write_out()?;
        footer.extend_from_slice(self.hasher.finalize().as_bytes());
        let checksum = crc32c::crc32c(&footer);
        self.out.extend_from_slice(&footer[FOOTER_HASHED_BYTES..]);
        self.out.extend_from_slice(&checksum.to_le_bytes());
        self.out.extend_from_slice(ENDING);
        self.write_out()?;
        self.sync()?;
        self.disk.rename(&self.temporary, &self.path).map_err(Error::io("rename", &self.temporary))?;
        self.is_finished = true;
        if let Err(error) = self.disk.sync_folder(&self.folder) {
            // A name that may be gone without power must not be taken for a file that is there.
            let _ = self.disk.unlink(&self.path);
            return Err(Error::io("sync", &self.folder)(error));
        }
        Ok(self.written_bytes)
    }
}

impl<D: Disk> Drop for Writer<D> {
    fn drop(&mut self) {
        if !self.is_finished {
            // Its space may be what is needed next; what stays is ignored.
            let _ = self.disk.unlink(&self.temporary);
        }
    }
}

fn shared_bytes(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// A sealed file, open for reading; header, footer and index have been checked.
pub(super) struct Sealed<F: DiskFile> {
    pub(super) path: PathBuf,
    pub(super) store: StoreId,
    /// What the file says about itself.
    pub(super) about: Vec<u8>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it"))]
    pub(super) row_count: u64,
    /// The file's length.
    pub(super) bytes: u64,
    file: F,
    places: Vec<Place>,
    /// Where the blocks end.
    index_offset: u64,
    hash: [u8; 32],
    kept: Mutex<Kept>,
}

/// Where a block lies.
struct Place {
    first_key: Box<[u8]>,
    offset: u64,
}

/// The last block that somebody asked for a row of: who asks for one mostly asks for its neighbour next.
struct Kept {
    unpacker: Unpacker,
    block: Option<usize>,
    rows: Vec<u8>,
}

struct Unpacker {
    decompressor: Decompressor<'static>,
    stored: Vec<u8>,
}

impl Unpacker {
    fn new(path: &Path) -> Result<Self, Error> {
        let decompressor = Decompressor::new().map_err(Error::io("read", path))?;
        Ok(Self { decompressor, stored: Vec::new() })
    }
}

/// Whether a scan wants more.
pub(super) type VisitRow<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Error> + 'a;

impl<F: DiskFile> Sealed<F> {
    /// Opens a file, and checks its header, footer and index.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, path: &Path, kind: Kind) -> Result<Self, Error> {
        let file = disk.open(path).map_err(Error::io("open", path))?;
        let bytes = file.length().map_err(Error::io("read", path))?;
        let (store, about) = read_header(&file, path, kind)?;
        let header_bytes = (HEADER_FIXED_BYTES + about.len() + CHECKSUM_BYTES) as u64;
        let footer = read_footer(&file, path, bytes, header_bytes)?;
        let mut stored = vec![0; footer.index_bytes];
        read_exactly(&file, path, footer.index_offset, &mut stored)?;
        let damaged = |reason: &str| damaged(path, footer.index_offset, reason);
        let (covered, checksum) =
            stored.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged("the index is cut short"))?;
        if crc32c::crc32c(covered).to_le_bytes() != *checksum {
            return Err(damaged("the index fails its checksum"));
        }
        let places = read_places(covered, &footer, header_bytes)
            .ok_or_else(|| damaged("the index does not fit the file"))?;
        let kept = Kept { unpacker: Unpacker::new(path)?, block: None, rows: Vec::new() };
        Ok(Self {
            path: path.to_owned(),
            store,
            about,
            row_count: footer.row_count,
            bytes,
            file,
            places,
            index_offset: footer.index_offset,
            hash: footer.hash,
            kept: Mutex::new(kept),
        })
    }

    /// Returns how many blocks of rows there are.
    pub(super) fn block_count(&self) -> usize {
        self.places.len()
    }

    /// Returns the error for damage here.
    pub(super) fn damaged(&self, offset: u64, reason: impl Into<String>) -> Error {
        damaged(&self.path, offset, reason)
    }

    /// Returns the value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(block) = self.block_of(key) else { return Ok(None) };
        let mut found = None;
        self.rows(block, &mut |other, value| {
            if other == key {
                found = Some(value.to_vec());
            }
            Ok(other < key)
        })?;
        Ok(found)
    }

    /// Returns how many bytes are unpacked to find a key: those of a block of rows, as its head says.
    pub(super) fn unpacked_bytes(&self, key: &[u8]) -> Result<usize, Error> {
        let Some(block) = self.block_of(key) else { return Ok(0) };
        let mut head = [0; BLOCK_HEAD_BYTES];
        read_exactly(&self.file, &self.path, self.offset_of(block), &mut head)?;
        let mut fields = Fields::new(&head);
        let raw_bytes = fields.u32().and_then(|_| fields.u32()).unwrap_or_default() as usize;
        // What says more is refused when it is read.
        Ok(raw_bytes.min(BLOCK_BYTES_MAX))
    }

    /// Visits rows in the order of their keys from `from` on, until `visit` returns false or fails.
    pub(super) fn scan(&self, from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), Error> {
        let mut unpacker = Unpacker::new(&self.path)?;
        let mut rows = Vec::new();
        for block in self.block_of(from).unwrap_or(0)..self.places.len() {
            self.unpack(block, &mut unpacker, &mut rows)?;
            let is_wanted = self.each(block, &rows, &mut |key, value| {
                if key < from { Ok(true) } else { visit(key, value) }
            })?;
            if !is_wanted {
                break;
            }
        }
        Ok(())
    }

    /// Returns the block that a key would lie in; `None` when all keys come after it.
    pub(super) fn block_of(&self, key: &[u8]) -> Option<usize> {
        self.places.partition_point(|place| *place.first_key <= *key).checked_sub(1)
    }

    /// Returns where a block begins in the file.
    pub(super) fn offset_of(&self, block: usize) -> u64 {
        self.places.get(block).map_or(self.index_offset, |place| place.offset)
    }

    /// Visits the rows of one block, until `visit` returns false or fails. `visit` must not call this file.
    pub(super) fn rows(&self, block: usize, visit: &mut VisitRow<'_>) -> Result<(), Error> {
        let mut kept = self.kept.lock().expect("invariant: nobody panics with a block's lock held");
        let Kept { unpacker, block: held, rows } = &mut *kept;
        if *held != Some(block) {
            *held = None;
            self.unpack(block, unpacker, rows)?;
            *held = Some(block);
        }
        let visited = self.each(block, rows, visit);
        if rows.capacity() > 4 * BLOCK_BYTES {
            // A row of uncommon length; its memory is not kept.
            (*held, *rows, unpacker.stored) = (None, Vec::new(), Vec::new());
        }
        visited.map(|_| ())
    }

    fn each(&self, block: usize, rows: &[u8], visit: &mut VisitRow<'_>) -> Result<bool, Error> {
        let mut fields = Fields::new(rows);
        let mut key: Vec<u8> = Vec::new();
        let end = self.places.get(block + 1).map(|next| &*next.first_key);
        let mut is_first = true;
        while fields.left() > 0 {
            let value = next_row(&mut fields, &mut key, is_first);
            let value = value.filter(|_| end.is_none_or(|end| *key < *end));
            let value = value.filter(|_| !is_first || *key == *self.places[block].first_key);
            let value =
                value.ok_or_else(|| self.damaged(self.offset_of(block), "its rows cannot be read"))?;
            is_first = false;
            if !visit(&key, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unpack(&self, block: usize, unpacker: &mut Unpacker, rows: &mut Vec<u8>) -> Result<(), Error> {
        let (start, end) = (self.offset_of(block), self.offset_of(block + 1));
        let damaged = |reason: &str| self.damaged(start, reason);
        // The index is checked: blocks lie between header and index, and none is longer than its limit.
        let length = usize::try_from(end - start).expect("invariant: a block fits memory");
        unpacker.stored.resize(length, 0);
        read_exactly(&self.file, &self.path, start, &mut unpacker.stored)?;
        let (head, packed) = unpacker.stored.split_at(BLOCK_HEAD_BYTES);
        let mut fields = Fields::new(head);
        let lengths = (fields.u32(), fields.u32());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..8]), packed);
        let (Some(packed_bytes), Some(raw_bytes)) = lengths else { return Err(damaged("it is cut short")) };
        if fields.u32() != Some(checksum) {
            return Err(damaged("a block of rows fails its checksum"));
        }
        let raw_bytes = raw_bytes as usize;
        if packed_bytes as usize != packed.len() || raw_bytes > BLOCK_BYTES_MAX {
            return Err(damaged("a block of rows has an impossible length"));
        }
        rows.clear();
        rows.reserve_exact(raw_bytes);
        let unpacked = unpacker.decompressor.decompress_to_buffer(packed, rows);
        match unpacked {
            Ok(count) if count == raw_bytes => Ok(()),
            Ok(_) => Err(damaged("a block of rows has another length than it says")),
            Err(error) => Err(self.damaged(start, format!("a block of rows cannot be unpacked: {error}"))),
        }
    }

    /// Reads the whole file and compares its hash; `each` is told the bytes read since it was told last, and ends
    /// the check by an error.
    pub(super) fn check(&self, each: &mut dyn FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
        let hashed_bytes = self.bytes - (FOOTER_BYTES - FOOTER_HASHED_BYTES) as u64;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; CHECK_BYTES];
        let mut offset = 0;
        while offset < hashed_bytes {
            let wanted = usize::try_from(hashed_bytes - offset).unwrap_or(CHECK_BYTES).min(CHECK_BYTES);
            read_exactly(&self.file, &self.path, offset, &mut chunk[..wanted])?;
            hasher.update(&chunk[..wanted]);
            offset += wanted as u64;
            each(wanted as u64)?;
        }
        if *hasher.finalize().as_bytes() == self.hash {
            return Ok(());
        }
        // The checksums of blocks know where, mostly.
        self.scan(&[], &mut |_, _| Ok(true))?;
        Err(self.damaged(0, "it does not have the hash that it was sealed with"))
    }
}

/// Reads the next row; the key before it is in `key`, and so is its own then. Keys grow.
fn next_row<'a>(fields: &mut Fields<'a>, key: &mut Vec<u8>, is_first: bool) -> Option<&'a [u8]> {
    let shared = usize::try_from(fields.varint()?).ok()?;
    let rest_bytes = usize::try_from(fields.varint()?).ok()?;
    let rest = fields.take(rest_bytes)?;
    // Behind what they share, the key before must end or be less.
    let is_after = match key.get(shared..)?.first() {
        Some(before) => rest.first().is_some_and(|first| first > before),
        None => is_first || !rest.is_empty(),
    };
    if !is_after || shared + rest_bytes > ROW_KEY_BYTES_MAX {
        return None;
    }
    key.truncate(shared);
    key.extend_from_slice(rest);
    let value_bytes = usize::try_from(fields.varint()?).ok()?;
    fields.take(value_bytes)
}

struct Footer {
    index_offset: u64,
    index_bytes: usize,
    block_count: u32,
    row_count: u64,
    hash: [u8; 32],
}

fn damaged(path: &Path, offset: u64, reason: impl Into<String>) -> Error {
    Error::SealedDamaged { path: path.to_owned(), offset, reason: reason.into() }
}

fn read_exactly<F: DiskFile>(file: &F, path: &Path, offset: u64, into: &mut [u8]) -> Result<(), Error> {
    let count = file.read_at(offset, into).map_err(Error::io("read", path))?;
    if count == into.len() { Ok(()) } else { Err(damaged(path, offset, "the file is cut short")) }
}

fn read_header<F: DiskFile>(file: &F, path: &Path, kind: Kind) -> Result<(StoreId, Vec<u8>), Error> {
    let mut fixed = [0; HEADER_FIXED_BYTES];
    let count = file.read_at(0, &mut fixed).map_err(Error::io("read", path))?;
    if count < HEADER_FIXED_BYTES || fixed[..8] != kind.name {
        return Err(damaged(path, 0, "this is not the header of such a file"));
    }
    let cut = || damaged(path, 0, "the header is cut short");
    let mut fields = Fields::new(&fixed[8..]);
    let format = fields.u32().ok_or_else(cut)?;
    let store = StoreId(fields.array().ok_or_else(cut)?);
    let about_bytes = fields.u32().ok_or_else(cut)? as usize;
    if about_bytes > ABOUT_BYTES_MAX {
        return Err(damaged(path, 0, "the header has an impossible length"));
    }
    let mut rest = vec![0; about_bytes + CHECKSUM_BYTES];
    read_exactly(file, path, HEADER_FIXED_BYTES as u64, &mut rest)?;
    let (about, checksum) = rest.split_at(about_bytes);
    if crc32c::crc32c_append(crc32c::crc32c(&fixed), about).to_le_bytes() != *checksum {
        return Err(damaged(path, 0, "the header fails its checksum"));
    }
    if format != kind.format {
        return Err(Error::Format { path: path.to_owned(), found: format, known: kind.format });
    }
    rest.truncate(about_bytes);
    Ok((store, rest))
}

fn read_footer<F: DiskFile>(
    file: &F,
    path: &Path,
    file_bytes: u64,
    header_bytes: u64,
) -> Result<Footer, Error> {
    let offset = file_bytes.saturating_sub(FOOTER_BYTES as u64);
    let damaged = |reason: &str| damaged(path, offset, reason);
    if offset < header_bytes {
        return Err(damaged("the file is cut short"));
    }
    let mut bytes = [0; FOOTER_BYTES];
    read_exactly(file, path, offset, &mut bytes)?;
    let (covered, rest) = bytes.split_at(FOOTER_BYTES - CHECKSUM_BYTES - ENDING.len());
    let (checksum, ending) = rest.split_at(CHECKSUM_BYTES);
    if ending != ENDING || crc32c::crc32c(covered).to_le_bytes() != *checksum {
        return Err(damaged("it does not end as a sealed file does"));
    }
    let fields = |covered| {
        let mut fields = Fields::new(covered);
        let (index_offset, index_bytes) = (fields.u64()?, fields.u64()?);
        let (block_count, row_count, hash) = (fields.u32()?, fields.u64()?, fields.array()?);
        let index_bytes = usize::try_from(index_bytes).ok()?;
        Some(Footer { index_offset, index_bytes, block_count, row_count, hash })
    };
    let footer = fields(covered).ok_or_else(|| damaged("the footer cannot be read"))?;
    let is_possible = footer.index_bytes >= CHECKSUM_BYTES
        && footer.index_bytes <= INDEX_BYTES_MAX + CHECKSUM_BYTES
        && footer.block_count <= BLOCK_COUNT_MAX
        && footer.index_offset >= header_bytes
        && footer.index_offset.checked_add(footer.index_bytes as u64) == Some(offset);
    if is_possible { Ok(footer) } else { Err(damaged("the footer does not fit the file")) }
}

fn read_places(covered: &[u8], footer: &Footer, header_bytes: u64) -> Option<Vec<Place>> {
    let mut fields = Fields::new(covered);
    let mut places: Vec<Place> = Vec::new();
    for _ in 0..footer.block_count {
        let key_bytes = usize::from(fields.u16()?);
        let first_key: Box<[u8]> = fields.take(key_bytes)?.into();
        places.push(Place { first_key, offset: fields.u64()? });
    }
    let is_first_right = places.first().map_or(footer.index_offset, |first| first.offset) == header_bytes;
    let ends = places.iter().skip(1).map(|place| place.offset).chain([footer.index_offset]);
    let lengths = places.iter().zip(ends).map(|(place, end)| end.checked_sub(place.offset));
    let most = (BLOCK_HEAD_BYTES + zstd::zstd_safe::compress_bound(BLOCK_BYTES_MAX)) as u64;
    let mut are_right =
        lengths.map(|length| length.is_some_and(|l| l >= BLOCK_HEAD_BYTES as u64 && l <= most));
    let is_sorted = places.windows(2).all(|pair| pair[0].first_key < pair[1].first_key);
    (fields.left() == 0 && is_first_right && is_sorted && are_right.all(|is_right| is_right))
        .then_some(places)
}

/// Makes a folder for sealed files durable, with the names in it, and takes away what was not finished in it.
pub(super) fn prepare_folder<D: Disk>(disk: &D, folder: &Path) -> Result<(), Error> {
    disk.create_folder(folder).map_err(Error::io("make the folder", folder))?;
    for name in names(disk, folder)?.into_iter().filter(|name| name.ends_with(TEMPORARY)) {
        // What stays is ignored again.
        let _ = disk.unlink(&folder.join(name));
    }
    // A process may have died between giving a file its name and the sync of that name.
    disk.sync_folder(folder).map_err(Error::io("sync", folder))?;
    let Some(above) = folder.parent() else { return Ok(()) };
    disk.sync_folder(above).map_err(Error::io("sync", above))
}

/// Returns the names in a folder, none where there is none.
pub(super) fn names<D: Disk>(disk: &D, folder: &Path) -> Result<Vec<String>, Error> {
    match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(Error::io("list", folder)),
    }
}
