//! The journal's writer: makes one frame of what all shards staged, and lets answers go once it is durable.
//! A state machine; the journal thread drives it, or the simulator does.
//!
//! When a frame fails, nothing of it is acknowledged. Every shard learns of it by the generation in its
//! [`Progress`]; what was staged before a shard knew is void. The service is read-only until a frame goes through
//! again, which [`Writer::probe`] tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::answers;
use super::registry::Registry;
use super::request::{Key, Reply, Staged};
use super::shard::Progress;
use super::ticket::Answerer;
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
}

/// What a step of the writer brought.
#[derive(Debug, Default)]
pub struct Written {
    /// Frames that are durable now, in order; the follower gets them before any answer leaves.
    pub frames: Vec<Arc<Frame>>,
    /// Answers that may leave.
    pub replies: Vec<(Answerer<Reply>, Reply)>,
    /// Why the journal failed, if it did.
    pub failed: Option<AppendError>,
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
        let mut group_bytes = 0;
        for batch in staged {
            let shard = &self.progress[batch.shard];
            if batch.generation != shard.generation.load(Ordering::Acquire) {
                void(&mut written, batch);
                continue;
            }
            let bytes: usize = batch.entries.iter().map(|entry| entry.payload.len() + ENTRY_BYTES).sum();
            if group_bytes + bytes > self.frame_bytes_max && !group.is_empty() {
                self.write(now, std::mem::take(&mut group), &mut written);
                group_bytes = 0;
                if batch.generation != self.progress[batch.shard].generation.load(Ordering::Acquire) {
                    void(&mut written, batch);
                    continue;
                }
            }
            group_bytes += bytes;
            group.push(batch);
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
                Err(error) => written.failed = Some(error),
            }
        }
        written
    }

    fn write(&mut self, now: Time, group: Vec<Staged>, written: &mut Written) {
        let mut replies = Vec::new();
        let mut publish = Vec::new();
        let mut batches = Vec::new();
        let mut entries = Vec::new();
        for batch in group {
            batches.push((batch.shard, batch.batch));
            entries.extend(batch.entries);
            publish.extend(batch.publish);
            replies.extend(batch.replies);
        }
        for part in self.parts(entries) {
            match self.log.append(now, part) {
                Ok(frame) => self.durable(frame, written),
                Err(error) => {
                    self.fail(error, replies, written);
                    return;
                }
            }
        }
        for registered in publish {
            self.registry.add(registered);
        }
        for (shard, batch) in batches {
            self.progress[shard].durable_batch.fetch_max(batch, Ordering::AcqRel);
        }
        written.replies.extend(replies.into_iter().map(|(answerer, reply, _)| (answerer, reply)));
    }

    /// Cuts entries so that each part fits a frame. A command is one entry, so none is torn.
    fn parts(&self, entries: Vec<Entry>) -> Vec<Vec<Entry>> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut part_bytes = 0;
        for entry in entries {
            let bytes = entry.payload.len() + ENTRY_BYTES;
            if part_bytes + bytes > self.frame_bytes_max && !part.is_empty() {
                parts.push(std::mem::take(&mut part));
                part_bytes = 0;
            }
            part_bytes += bytes;
            part.push(entry);
        }
        if !part.is_empty() {
            parts.push(part);
        }
        parts
    }

    fn durable(&mut self, frame: Arc<Frame>, written: &mut Written) {
        self.state.durable_seq.store(frame.seq, Ordering::Release);
        self.state.is_failing.store(false, Ordering::Release);
        written.frames.push(frame);
    }

    fn fail(
        &mut self,
        error: AppendError,
        replies: Vec<(Answerer<Reply>, Reply, Key)>,
        written: &mut Written,
    ) {
        self.state.is_failing.store(true, Ordering::Release);
        self.state.failure_count.fetch_add(1, Ordering::AcqRel);
        for shard in &self.progress {
            shard.generation.fetch_add(1, Ordering::AcqRel);
        }
        let reason = format!("the journal failed while this was written: {error}");
        for (answerer, ..) in replies {
            written.replies.push((answerer, Reply::Refused(answers::unknown(&reason, None))));
        }
        written.failed = Some(error);
    }
}

/// Bytes of an entry in a frame besides its payload, at most; the store's documentation has the format.
const ENTRY_BYTES: usize = 96;

fn void(written: &mut Written, batch: Staged) {
    for (answerer, _, _) in batch.replies {
        written.replies.push((answerer, Reply::Refused(answers::not_done())));
    }
}
