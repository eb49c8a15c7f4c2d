//! The journal's writer: makes one frame of what all shards staged, and lets answers go once it is durable.
//! A state machine; the journal thread drives it, or the simulator does.
//!
//! When a frame fails, nothing of it is acknowledged. Every shard learns of it by the generation in its
//! [`Progress`]; what was staged before a shard knew is void. The service is read-only until a frame goes through
//! again, which [`Writer::probe`] tries.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::answers;
use super::registry::Registry;
use super::request::{FRAME_HEAD_BYTES, Reply, Staged};
use super::shard::Progress;
use super::ticket::Answerer;
use super::traced::Traced;
use super::turn::Tally;
use crate::id::{Partition, Time};
use crate::store::{self, AppendError, Entry, Frame, Log};

/// What everyone may know about the journal.
#[derive(Debug, Default)]
pub struct JournalState {
    /// Number of the last durable frame.
    pub durable_seq: AtomicU64,
    /// The last append failed; nothing can be written until one succeeds.
    pub is_failing: AtomicBool,
    /// Appends that failed, ever.
    pub failure_count: AtomicU64,
    /// What the disk said to the last append that failed.
    cause: Mutex<String>,
}

impl JournalState {
    /// Tells why nothing can be written, if so.
    pub fn why_failing(&self) -> Option<String> {
        let cause = || self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let is_failing = self.is_failing.load(Ordering::Acquire);
        is_failing.then(|| format!("the journal cannot be written: {}", cause()))
    }

    fn failed(&self, error: &AppendError) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = error.cause();
        self.is_failing.store(true, Ordering::Release);
    }
}

/// What a step of the writer brought.
#[derive(Debug, Default)]
pub struct Written {
    /// Frames that are durable now, in order; the follower gets them before any answer leaves.
    pub frames: Vec<Arc<Frame>>,
    /// Bytes of what is durable now, and of the cases that it changed.
    pub held_bytes: usize,
    /// Answers that may leave.
    pub replies: Vec<(Answerer<Reply>, Reply)>,
    /// What became durable, to be counted.
    pub tally: Tally,
    /// Commands that are traced; with the number of the frame that made them durable, and of its entries.
    pub traced: Vec<(Traced, Option<(u64, usize)>)>,
    /// Why the journal failed, if it did.
    pub failed: Option<AppendError>,
    /// Why the journal did not take a frame though nothing is wrong with the disk: a fault of the program.
    pub rejected: Option<AppendError>,
}

/// The writer.
#[derive(Debug)]
pub struct Writer<L> {
    log: L,
    frame_bytes_max: usize,
    registry: Arc<Registry>,
    progress: Vec<Arc<Progress>>,
    state: Arc<JournalState>,
}

impl<L: Log> Writer<L> {
    /// Returns a writer over an open log, of which it becomes the owner; `progress` has an entry for each shard.
    ///
    /// # Errors
    /// A partition belongs to somebody else.
    pub fn new(
        mut log: L,
        frame_bytes_max: usize,
        registry: Arc<Registry>,
        progress: Vec<Arc<Progress>>,
        state: Arc<JournalState>,
    ) -> Result<Self, store::Error> {
        for partition in Partition::all() {
            log.claim(partition)?;
        }
        Ok(Self { log, frame_bytes_max, registry, progress, state })
    }

    /// Returns the log, for those who prepare its files.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// Makes what was staged durable, in as few frames as the limit of a frame allows. Blocks for the disk.
    pub fn step(&mut self, now: Time, staged: Vec<Staged>) -> Written {
        let mut written = Written::default();
        let mut group = Vec::new();
        let mut group_bytes = FRAME_HEAD_BYTES;
        for batch in staged {
            if group_bytes + batch.bytes > self.frame_bytes_max && !group.is_empty() {
                self.write(now, std::mem::take(&mut group), &mut written);
                group_bytes = FRAME_HEAD_BYTES;
            }
            if batch.generation == self.progress[batch.shard].generation.load(Ordering::Acquire) {
                group_bytes += batch.bytes;
                group.push(batch);
            } else {
                void(&mut written, batch);
            }
        }
        if !group.is_empty() {
            self.write(now, group, &mut written);
        }
        written
    }

    /// Tries whether a failing journal takes frames again, by an empty one.
    pub fn probe(&mut self, now: Time) -> Written {
        let mut written = Written::default();
        if self.state.is_failing.load(Ordering::Acquire) {
            match self.log.append(now, Vec::new()) {
                Ok(frame) => self.durable(frame, &mut written),
                Err(error) => {
                    self.state.failed(&error);
                    written.failed = Some(error);
                }
            }
        }
        written
    }

    /// Writes whole batches as one frame; each becomes durable with all that belongs to it, or not at all.
    fn write(&mut self, now: Time, mut group: Vec<Staged>, written: &mut Written) {
        // A shard's clock never goes back; a frame is no older than what it holds.
        let time = group.iter().map(|batch| batch.at).fold(now, Time::max);
        let mut entries: Vec<Entry> =
            group.iter_mut().flat_map(|batch| std::mem::take(&mut batch.entries)).collect();
        // A frame names the partition of entries that follow each other once, and remembers their place once.
        entries.sort_by_key(|entry| entry.partition);
        let mut commit = None;
        if !entries.is_empty() {
            match self.log.append(time, entries) {
                Ok(frame) => {
                    commit = Some((frame.seq, frame.entries.len()));
                    self.durable(frame, written);
                }
                Err(error) => return self.fail(error, group, written),
            }
        }
        for batch in group {
            for registered in batch.publish {
                self.registry.add(registered);
            }
            written.held_bytes += batch.held_bytes;
            self.progress[batch.shard].durable_batch.fetch_max(batch.batch, Ordering::AcqRel);
            written.tally.add(&batch.tally);
            written.replies.extend(batch.replies);
            written.traced.extend(batch.traced.into_iter().map(|traced| (traced, commit)));
        }
    }

    fn durable(&mut self, frame: Arc<Frame>, written: &mut Written) {
        self.state.durable_seq.store(frame.seq, Ordering::Release);
        self.state.is_failing.store(false, Ordering::Release);
        written.frames.push(frame);
    }

    /// Nothing of the group is durable: shards take it back. An error that the disk has no part in is no reason to be
    /// read-only, and what was not written at all is known not to be done.
    fn fail(&mut self, error: AppendError, group: Vec<Staged>, written: &mut Written) {
        let is_of_disk = error.is_outcome_unknown();
        let positions = self.log.positions();
        for (shard, progress) in self.progress.iter().enumerate() {
            if is_of_disk || group.iter().any(|batch| batch.shard == shard) {
                *progress.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions.to_vec();
                progress.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
        if !is_of_disk {
            for batch in group {
                void(written, batch);
            }
            written.rejected = Some(error);
            return;
        }
        self.state.failed(&error);
        self.state.failure_count.fetch_add(1, Ordering::AcqRel);
        let reason = format!("the journal failed while this was written: {error}");
        for batch in group {
            for (answerer, _) in batch.replies {
                written.replies.push((answerer, Reply::Refused(answers::unknown(&reason, None))));
            }
            for mut traced in batch.traced {
                traced.unknown();
                written.traced.push((traced, None));
            }
        }
        written.failed = Some(error);
    }
}

fn void(written: &mut Written, batch: Staged) {
    for (answerer, _) in batch.replies {
        written.replies.push((answerer, Reply::Refused(answers::not_done())));
    }
    for mut traced in batch.traced {
        traced.not_done();
        written.traced.push((traced, None));
    }
}
