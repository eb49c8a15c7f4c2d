//! What the threads of a running engine share: the rows, the journal's state, the inboxes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    TryLockError,
};
use std::time::{Duration, Instant};

use super::Options;
use super::answers;
use super::budget::{Budget, Taken};
use super::clock::{Clock, JUMP_LASTS_US, Skew, until};
use super::keeping::Asked;
use super::long_expressions::Turns;
use super::places::Places;
use super::queues::Lag;
use super::registry::Registry;
use super::request::{CLASSES, Class, Message, Question, Request};
use super::room::Answers;
use super::service::Refusal;
use super::shard::{Bounds, Held, Progress};
use super::ticket;
use super::unpacking;
use super::writer::JournalState;
use crate::id::Time;
use crate::store::{ASIDE_TOLD_US, Disk, DiskFile, Follower, JournalReader, Tables};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Tracer;
use crate::telemetry::words;

/// For each request of a class that may wait in an inbox, so many of it may be taken and not be answered yet: parked, or
/// staged while the disk is slow.
pub(super) const OPEN_REQUESTS_FACTOR: usize = 16;
/// One part in this many of the bytes for requests is kept for single commands.
const SINGLES_PART: usize = 8;
/// A shard or the journal that has not moved for so many looks, a second apart, is stuck.
const STUCK_LOOKS: u32 = 5;
/// No grace was set since the store was opened.
const AS_OPENED: u64 = u64::MAX;

/// Requests of one class in an inbox.
#[derive(Debug, Default)]
struct Lane {
    waiting: AtomicUsize,
    /// Requests that are not answered, those that wait among them.
    open: Arc<AtomicUsize>,
}

impl Lane {
    /// Counts requests that come; returns false, and counts none, when others wait and there would be more than `limit`,
    /// or when far more are not answered yet.
    fn take_in(&self, count: usize, limit: usize) -> bool {
        if self.open.load(Ordering::Acquire) >= limit.saturating_mul(OPEN_REQUESTS_FACTOR) {
            return false;
        }
        let more = |before: usize| (before == 0 || before + count <= limit).then_some(before + count);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn let_out(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::AcqRel);
    }
}

/// A shard's inbox: requests are counted by class and bounded, so that a batch takes no place of a single command; answers
/// to questions always fit.
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Message>,
    /// With the shard's signs of life.
    progress: Arc<Progress>,
    singles: Lane,
    bulk: Lane,
    /// Their bytes, and those of all other inboxes.
    bytes: Arc<Budget>,
    /// Commands that wait for a parked case or for the answer about a business key.
    parked: AtomicUsize,
    /// Bytes of cases in memory.
    case_bytes: AtomicUsize,
    /// Bytes staged and not durable.
    undurable_bytes: AtomicUsize,
    /// Keys of clients.
    keys: AtomicUsize,
    /// Looks since the shard last moved.
    still_looks: AtomicU32,
    /// Its signs of life at the last look.
    seen_beats: AtomicU64,
}

impl Inbox {
    /// Returns the inbox of the shard that shows `progress`, over a channel; what its requests carry is taken from
    /// `bytes`.
    pub fn new(sender: Sender<Message>, progress: Arc<Progress>, bytes: Arc<Budget>) -> Self {
        Self {
            sender,
            progress,
            singles: Lane::default(),
            bulk: Lane::default(),
            bytes,
            parked: AtomicUsize::new(0),
            case_bytes: AtomicUsize::new(0),
            undurable_bytes: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
            still_looks: AtomicU32::new(0),
            seen_beats: AtomicU64::new(u64::MAX),
        }
    }

    fn lane(&self, class: Class) -> &Lane {
        match class {
            Class::Single => &self.singles,
            Class::Bulk => &self.bulk,
        }
    }

    /// Puts requests of one class in, all or none: none when others of it wait and there would be more than `limit`, when
    /// far more of it are not answered yet, or when all that are not answered would take more bytes than they may.
    pub fn put(&self, class: Class, mut requests: Vec<Request>, limit: usize) -> Result<(), Vec<Request>> {
        debug_assert!(
            requests.iter().all(|request| request.class == class),
            "invariant: one class at a time"
        );
        let (lane, count) = (self.lane(class), requests.len());
        if !lane.take_in(count, limit) {
            return Err(requests);
        }
        let taken: Option<Vec<Taken>> =
            requests.iter().map(|request| self.take_bytes(class, request.bytes())).collect();
        let Some(taken) = taken else {
            lane.let_out(count);
            return Err(requests);
        };
        for (request, bytes) in requests.iter_mut().zip(taken) {
            request.answerer.keep(ticket::Place::take(&lane.open, Some(bytes), request.room.clone()));
            request.asked_at = Some(self.progress.pulse.evaluated());
        }
        self.sender.send(Message::Requests(requests)).map_err(|error| {
            lane.let_out(count);
            match error.0 {
                Message::Requests(requests) => requests,
                _ => Vec::new(),
            }
        })
    }

    fn take_bytes(&self, class: Class, bytes: usize) -> Option<Taken> {
        let left_bytes = match class {
            Class::Single => 0,
            Class::Bulk => self.bytes.limit_bytes() / SINGLES_PART,
        };
        let mut taken = Taken::none(&self.bytes);
        taken.grow_leaving(bytes, left_bytes).then_some(taken)
    }

    /// Puts something in that always fits.
    pub fn tell(&self, message: Message) {
        // A shard that is gone has nothing to hear.
        drop(self.sender.send(message));
    }

    /// Hears what the shard holds.
    pub fn holds(&self, held: &Held) {
        self.parked.store(held.parked, Ordering::Release);
        self.case_bytes.store(held.case_bytes, Ordering::Release);
        self.undurable_bytes.store(held.undurable_bytes, Ordering::Release);
        self.keys.store(held.keys, Ordering::Release);
    }

    /// Returns what the shard held when it was last heard of.
    pub fn held(&self) -> Held {
        Held {
            parked: self.parked.load(Ordering::Acquire),
            case_bytes: self.case_bytes.load(Ordering::Acquire),
            undurable_bytes: self.undurable_bytes.load(Ordering::Acquire),
            keys: self.keys.load(Ordering::Acquire),
        }
    }

    /// Hears that the shard took these messages.
    pub fn taken(&self, messages: &[Message]) {
        for message in messages {
            if let Message::Requests(requests) = message
                && let Some(first) = requests.first()
            {
                self.lane(first.class).let_out(requests.len());
            }
        }
    }

    /// Returns how many requests of a class wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.lane(class).waiting.load(Ordering::Acquire)
    }

    /// Returns how many requests are not answered, those that wait among them.
    pub fn open(&self) -> usize {
        CLASSES.iter().map(|class| self.lane(*class).open.load(Ordering::Acquire)).sum()
    }

    /// Asks the shard to show that it moves; returns whether it has given no sign of life for long. It gives some in the
    /// middle of a turn, however long that is.
    pub fn ask_to_move(&self) -> bool {
        let beats = self.progress.pulse.beats();
        if self.seen_beats.swap(beats, Ordering::AcqRel) != beats {
            self.still_looks.store(0, Ordering::Release);
        }
        let looks = self.still_looks.fetch_add(1, Ordering::AcqRel);
        if looks == 0 {
            self.tell(Message::Beat);
        }
        looks >= STUCK_LOOKS
    }
}

/// A newest backup that is older than this is no recent one, in microseconds: they are made once a day, and one may take
/// its time or come late after a restart.
pub const BACKUP_RECENT_US: u64 = 36 * 3_600_000_000;

/// What is known of the newest backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewestBackup {
    /// Nobody looked.
    #[default]
    Unknown,
    /// There is none.
    None,
    /// It was written then.
    Of(Time),
}

impl NewestBackup {
    /// Returns what is less than well about it.
    pub fn complaint(self, now: Time) -> Option<String> {
        match self {
            Self::Of(time) if now.0.saturating_sub(time.0) > BACKUP_RECENT_US => {
                Some(format!("no recent backup: the newest is of {}", time.rfc3339()))
            }
            Self::None => Some("no recent backup: there is none".to_owned()),
            Self::Unknown | Self::Of(_) => None,
        }
    }
}

/// What lies aside in the state folder: nobody reads it, and nobody but a person deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aside {
    /// When the oldest of it was moved there; `None` when nothing lies aside.
    pub oldest: Option<Time>,
    /// Bytes of all of it.
    pub bytes: u64,
}

impl Aside {
    /// Returns what is less than well about it.
    pub fn complaint(self, now: Time) -> Option<String> {
        let oldest = self.oldest.filter(|oldest| now.0.saturating_sub(oldest.0) >= ASIDE_TOLD_US)?;
        let (bytes, since) = (self.bytes, oldest.rfc3339());
        Some(format!("files moved aside take {bytes} bytes, since {since}"))
    }
}

/// What is less than well, set by whoever notices.
#[derive(Debug, Default)]
pub struct Condition {
    /// The service is starting or stopping.
    pub is_stopping: AtomicBool,
    /// Free space is below the reserve.
    pub is_disk_low: AtomicBool,
    /// The follower cannot fold, or makes the working environment anew: it answers nothing.
    pub is_follower_broken: AtomicBool,
    /// What is wrong with each history file and snapshot that is known to be damaged.
    pub damages: Mutex<Vec<String>>,
    /// By how much the wall clock jumped ahead, in microseconds, while that is not believed; else 0.
    pub clock_ahead_us: AtomicU64,
    /// The wall clock is behind the time that is told.
    pub is_clock_behind: AtomicBool,
    /// Batches that wait for the journal.
    pub staged_count: AtomicUsize,
    /// Questions that wait for the helper.
    pub question_count: AtomicUsize,
    /// A shard has not moved for seconds; its number plus one.
    pub stuck_shard: AtomicUsize,
    /// The timer's last beat, monotonic microseconds.
    pub timer_beat_us: AtomicU64,
    /// Shards whose thread has ended.
    pub ended_shard_count: AtomicUsize,
    /// The follower's thread has ended: nothing more changes.
    pub is_follower_done: AtomicBool,
    /// Free bytes for the state, when last looked.
    pub free_bytes: AtomicU64,
    /// Hot threads that could not be pinned.
    pub unpinned_count: AtomicUsize,
    /// Bytes of hot memory that are locked.
    pub locked_bytes: AtomicUsize,
    /// Bytes of hot memory in use that the system refused to lock.
    pub unlocked_bytes: AtomicUsize,
    /// Rows are compared with the sums kept, after a start.
    pub is_scrubbing: AtomicBool,
    /// Bytes of the rows that changed since the last checkpoint.
    pub changed_bytes: AtomicUsize,
    /// What the follower has before it.
    pub lag: Lag,
    /// The newest backup.
    pub newest_backup: Mutex<NewestBackup>,
    /// What lies aside in the state folder.
    pub set_aside: Mutex<Aside>,
    /// When the journal's writer began the step that it is at, in monotonic microseconds; 0 when it waits.
    pub journal_since_us: AtomicU64,
    /// Incidents that the log has not told of.
    pub incident_count: AtomicU64,
    /// Commits that took longer than a command may, of which the log has not told.
    pub slow_commit_count: AtomicU64,
    /// The longest of them, in microseconds.
    pub slow_commit_us_max: AtomicU64,
}

/// Where the state lies.
#[derive(Debug)]
pub struct Place<D> {
    /// The file layer.
    pub disk: Arc<D>,
    /// The folder of the truth.
    pub state_dir: PathBuf,
    /// The folder of the working environment.
    pub cache_dir: PathBuf,
}

impl<D: Disk> Place<D> {
    /// Returns the bytes of all files in a folder; what cannot be looked at counts nothing.
    fn bytes_of(&self, folder: &Path) -> u64 {
        let names = self.disk.list(folder).unwrap_or_default();
        let lengths = names.iter().filter_map(|name| self.disk.open(&folder.join(name)).ok()?.length().ok());
        lengths.sum()
    }
}

/// Everything that the threads share.
pub struct Shared<D: Disk, T: Tables> {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Compiled specifications.
    pub registry: Arc<Registry>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// How the journal is.
    pub journal: Arc<JournalState>,
    /// Reads durable frames.
    pub reader: JournalReader<D>,
    /// Bytes that all requests unpack together, of what [`Self::reader`] reads and clients give.
    pub unpacked: Arc<Budget>,
    /// The shards' inboxes, by shard.
    pub inboxes: Vec<Inbox>,
    /// Places for clients' keys.
    pub places: Arc<Places>,
    /// Where questions go, with the number of the shard that asks.
    pub questions: Sender<(usize, Question)>,
    /// Where goes what somebody asks of the state.
    pub maintenance: Sender<Asked>,
    /// How all is.
    pub condition: Condition,
    /// Bytes of requests that are not answered.
    pub requests: Arc<Budget>,
    /// Bytes appended to the journal since the start.
    pub appended_bytes: AtomicU64,
    /// Bounds and times, as they are now.
    options: RwLock<Arc<Options>>,
    /// How long files of the state stay that nobody needs; [`AS_OPENED`] until somebody sets it.
    grace_us: AtomicU64,
    place: Place<D>,
    follower: RwLock<Follower<T>>,
    folded: Mutex<u64>,
    is_folded: Condvar,
    environment: Mutex<()>,
    tracer: OnceLock<Arc<Tracer>>,
    /// Room of all answers.
    pub answers: Arc<Answers>,
    /// Held by who archives: one at a time.
    pub archiving: Mutex<()>,
    /// Whose turn it is to evaluate an expression that takes long.
    pub long_expressions: Turns,
}

impl<D: Disk, T: Tables> Shared<D, T> {
    /// Puts the parts together.
    #[expect(clippy::too_many_arguments, reason = "the parts of the whole, each of its own type")]
    pub fn new(
        options: Options,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        journal: Arc<JournalState>,
        reader: JournalReader<D>,
        (inboxes, places, requests): (Vec<Inbox>, Arc<Places>, Arc<Budget>),
        (questions, maintenance): (Sender<(usize, Question)>, Sender<Asked>),
        follower: Follower<T>,
        place: Place<D>,
    ) -> Self {
        let folded = Mutex::new(follower.seq());
        let answers = Answers::new(options.answers);
        let unpacked = Budget::new(options.queues.unpacked_bytes_max);
        let reader = reader.within(Arc::new(unpacking::Shared(Arc::clone(&unpacked))));
        Self {
            unpacked,
            clock,
            registry,
            metrics,
            journal,
            reader,
            inboxes,
            places,
            questions,
            maintenance,
            condition: Condition::default(),
            requests,
            appended_bytes: AtomicU64::new(0),
            options: RwLock::new(Arc::new(options)),
            grace_us: AtomicU64::new(AS_OPENED),
            place,
            follower: RwLock::new(follower),
            folded,
            is_folded: Condvar::new(),
            environment: Mutex::new(()),
            tracer: OnceLock::new(),
            answers,
            archiving: Mutex::new(()),
            long_expressions: Turns::default(),
        }
    }

    /// Returns bounds and times as they are now.
    pub fn options(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Works by other bounds and times from now on. Those that only the start reads stay as they are.
    pub(super) fn retune(&self, options: &Options, grace_us: u64) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options.clone());
        self.grace_us.store(grace_us, Ordering::Release);
        self.answers.set_limits(options.answers);
        self.places.set_limit(options.keys_max);
        self.requests.set_limit(options.queues.requests_bytes_max);
        self.unpacked.set_limit(options.queues.unpacked_bytes_max);
        for inbox in &self.inboxes {
            inbox.tell(Message::Bounds(Bounds::of(options, self.inboxes.len())));
        }
        self.look_at_disk();
    }

    /// Returns how long files stay that nobody needs, if that was set since the store was opened.
    pub(super) fn grace_us(&self) -> Option<u64> {
        let grace_us = self.grace_us.load(Ordering::Acquire);
        (grace_us != AS_OPENED).then_some(grace_us)
    }

    /// Has requests traced from now on; only the first call counts.
    pub fn trace_with(&self, tracer: Arc<Tracer>) {
        self.tracer.get_or_init(|| tracer);
    }

    /// Returns what decides which requests are traced, if any are.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.get().map(|tracer| &**tracer)
    }

    /// Returns the follower once it has folded the last frame that is durable now.
    ///
    /// # Errors
    /// It does not come so far before `deadline`.
    pub fn read(&self, deadline: Instant) -> Result<RwLockReadGuard<'_, Follower<T>>, Refusal> {
        let wanted = self.journal.durable_seq.load(Ordering::Acquire);
        let is_broken = || self.condition.is_follower_broken.load(Ordering::Acquire);
        let mut folded = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        while *folded < wanted || is_broken() {
            let left = until(deadline);
            if left.is_zero() || is_broken() {
                return Err(answers::busy("frames that the follower has to fold"));
            }
            (folded, _) = self.is_folded.wait_timeout(folded, left).unwrap_or_else(PoisonError::into_inner);
        }
        drop(folded);
        Ok(self.read_as_is())
    }

    /// Returns whether the follower has, or is about to get, more than it may: then the journal waits for it.
    pub fn is_follower_full(&self) -> bool {
        let queues = self.options().queues;
        let held = self.condition.lag.bytes() + self.condition.changed_bytes.load(Ordering::Acquire);
        held >= queues.lag_bytes_max + queues.changed_bytes_max
    }

    /// Waits until the follower has folded more, or for `time`.
    pub fn wait_for_follower(&self, time: Duration) {
        let folded = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.is_folded.wait_timeout(folded, time).unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns when nobody else writes the working environment: a checkpoint that is being written while the
    /// environment is rebuilt would leave rows of two times in it. Take it before [`Self::write`], never after.
    pub fn environment(&self) -> MutexGuard<'_, ()> {
        self.environment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the follower as it is now, however far that is.
    pub fn read_as_is(&self) -> RwLockReadGuard<'_, Follower<T>> {
        self.follower.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the follower as it is now, however far that is, unless it is being changed: for figures.
    pub fn glance(&self) -> Option<RwLockReadGuard<'_, Follower<T>>> {
        match self.follower.try_read() {
            Ok(follower) => Some(follower),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns the follower to change it: for the thread that folds, and for the ends of a checkpoint.
    pub fn write(&self) -> RwLockWriteGuard<'_, Follower<T>> {
        self.follower.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells readers how far the follower has come.
    pub fn folded(&self, seq: u64) {
        *self.folded.lock().unwrap_or_else(PoisonError::into_inner) = seq;
        self.is_folded.notify_all();
    }

    /// Tells whether all shards have ended.
    pub fn are_shards_gone(&self) -> bool {
        self.condition.ended_shard_count.load(Ordering::Acquire) >= self.inboxes.len()
    }

    /// Looks how much space is left; below the reserve the service takes no changes.
    pub fn look_at_disk(&self) {
        // A disk that does not even answer shows in the journal soon enough.
        let Ok(free) = self.place.disk.free_bytes(&self.place.state_dir) else { return };
        self.condition.free_bytes.store(free, Ordering::Release);
        let reserve = self.options().reserve_bytes;
        let is_low = free < reserve;
        if is_low != self.condition.is_disk_low.swap(is_low, Ordering::AcqRel) {
            if is_low {
                tracing::error!(free, reserve, "{}: {free} bytes free, reserve {reserve}", words::DISK_LOW);
            } else {
                tracing::info!(free, "{}: the disk has space", words::WRITABLE);
            }
        }
    }

    /// Looks whether somebody set the clock, and says so once.
    pub fn look_at_clock(&self) {
        // Asked for, so that the end of a jump is seen though nobody else asks what time it is.
        self.clock.now();
        let (ahead_us, behind_us) = match self.clock.skew() {
            Skew::None => (0, 0),
            Skew::Ahead(us) => (us, 0),
            Skew::Behind(us) => (0, us),
        };
        let was_ahead = self.condition.clock_ahead_us.swap(ahead_us, Ordering::AcqRel) != 0;
        let was_behind = self.condition.is_clock_behind.swap(behind_us != 0, Ordering::AcqRel);
        let seconds = (ahead_us + behind_us) / 1_000_000;
        if ahead_us != 0 && !was_ahead {
            let lasts = JUMP_LASTS_US / 1_000_000;
            tracing::warn!(
                seconds,
                "{}: by {seconds} s; believed once it has lasted {lasts} s",
                words::CLOCK_AHEAD
            );
        } else if behind_us != 0 && !was_behind {
            tracing::warn!(seconds, "{}: by {seconds} s", words::CLOCK_BEHIND);
        } else if (was_ahead || was_behind) && ahead_us == 0 && behind_us == 0 {
            tracing::info!("{}", words::CLOCK_RIGHT);
        }
    }

    /// Returns the working environment, which only who has [`Self::environment`] may read as a whole.
    pub fn tables(&self) -> Arc<T> {
        self.read_as_is().tables()
    }

    /// Returns the folder of the truth.
    pub fn state_dir(&self) -> &Path {
        &self.place.state_dir
    }

    /// Returns the bytes of the working environment's files.
    pub fn environment_bytes(&self) -> u64 {
        self.place.bytes_of(&self.place.cache_dir)
    }

    /// Looks how large the files are, for the figures.
    pub fn look_at_sizes(&self) {
        self.metrics.journal_bytes.set(self.place.bytes_of(&self.place.state_dir.join("journal")));
        self.metrics.lmdb_bytes.set(self.environment_bytes());
        self.metrics.archive_bytes.set(self.reader.archive_bytes());
    }

    /// Returns how many durable frames are not folded yet.
    pub fn lag_frames(&self) -> u64 {
        let folded = *self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        self.journal.durable_seq.load(Ordering::Acquire).saturating_sub(folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::command::Command;
    use crate::engine::record::Maker;
    use crate::engine::request::{self, Key, Reply};
    use crate::engine::room::Room;
    use crate::engine::service::Caller;
    use crate::id::CaseId;

    #[test]
    fn what_lies_aside_is_told_of_after_thirty_days() {
        let aside = Aside { oldest: Some(Time(1_764_122_405_000_000)), bytes: 17 };
        let then = aside.oldest.unwrap().plus_us(ASIDE_TOLD_US);
        let told = "files moved aside take 17 bytes, since 2025-11-26T02:00:05.000000Z";
        assert_eq!(aside.complaint(then).as_deref(), Some(told));
        assert_eq!(aside.complaint(Time(then.0 - 1)), None);
        assert_eq!(Aside::default().complaint(then), None);
    }

    #[test]
    fn a_shard_is_stuck_when_it_gives_no_sign_of_life_and_not_because_its_turn_is_long() {
        let (sender, messages) = std::sync::mpsc::channel();
        let progress = Arc::new(Progress::default());
        let inbox = Inbox::new(sender, Arc::clone(&progress), Budget::new(1));
        let looks = STUCK_LOOKS as usize;
        // It takes no message, and moves.
        for _ in 0..3 * looks {
            progress.pulse.beat();
            assert!(!inbox.ask_to_move());
        }
        // Nor is one stuck that was only not asked.
        let stuck: Vec<bool> = (0..2 * looks).map(|_| inbox.ask_to_move()).collect();
        assert_eq!(stuck.iter().position(|is| *is), Some(looks - 1), "{stuck:?}");
        progress.pulse.beat();
        assert!(!inbox.ask_to_move());
        assert_eq!(
            messages.try_iter().filter(|message| matches!(message, Message::Beat)).count(),
            3 * looks + 1
        );
    }

    /// Returns requests of a class, and who waits for their answers.
    fn requests(class: Class, count: usize) -> (Vec<Request>, Vec<ticket::Ticket<Reply>>) {
        let one = || {
            let (waits, answerer) = ticket::ticket();
            let act = request::Asked::Case(CaseId(64), Command::Suspend);
            let key = Key { hash: [0; 16], request: [0; 16], maker: Maker::Client, caller: Caller::Local };
            let (place, asked_at, traced, room) = (None, None, None, Room::default());
            (Request { act, key, place, class, asked_at, answerer, traced, room }, waits)
        };
        (0..count).map(|_| one()).unzip()
    }

    #[test]
    fn lines_of_batches_take_no_place_and_not_all_bytes_of_single_commands() {
        const LIMIT: usize = 4;
        const BYTES: usize = 80 * 1024;
        let (sender, messages) = std::sync::mpsc::channel();
        let inbox = Inbox::new(sender, Arc::default(), Budget::new(BYTES));
        let put = |class, count| inbox.put(class, requests(class, count).0, LIMIT).is_ok();
        // One batch always fits an empty inbox; the next has to wait.
        assert!(put(Class::Bulk, 10 * LIMIT) && !put(Class::Bulk, 1));
        assert!(put(Class::Single, 1) && put(Class::Single, LIMIT - 1) && !put(Class::Single, 1));
        let waiting = || CLASSES.map(|class| inbox.waiting(class));
        assert_eq!((waiting(), inbox.open()), ([LIMIT, 10 * LIMIT], 11 * LIMIT));
        // The shard takes them, and they are dropped without an answer.
        let taken: Vec<Message> = messages.try_iter().collect();
        inbox.taken(&taken);
        drop(taken);
        assert_eq!((waiting(), inbox.open()), ([0, 0], 0));
        // Far more of batches than may be unanswered: that, too, is theirs alone.
        let mut held = Vec::new();
        while put(Class::Bulk, LIMIT) {
            held.extend(messages.try_iter().inspect(|message| inbox.taken(std::slice::from_ref(message))));
        }
        assert_eq!(inbox.open(), LIMIT * OPEN_REQUESTS_FACTOR);
        assert!(put(Class::Single, 1));
    }

    #[test]
    fn a_part_of_the_bytes_is_kept_for_single_commands() {
        let (sender, messages) = std::sync::mpsc::channel();
        let (one, _) = requests(Class::Single, 1);
        let bytes = one[0].bytes();
        let inbox = Inbox::new(sender, Arc::default(), Budget::new(SINGLES_PART * bytes));
        let put = |class| inbox.put(class, requests(class, 1).0, usize::MAX).is_ok();
        let accepted = |class| std::iter::repeat_with(|| put(class)).take_while(|is| *is).count();
        assert_eq!((accepted(Class::Bulk), accepted(Class::Single)), (SINGLES_PART - 1, 1));
        drop(messages);
    }

    #[test]
    fn a_backup_is_recent_for_a_day_and_a_half() {
        let written = Time(1_764_122_405_000_000);
        let newest = NewestBackup::Of(written);
        assert_eq!(newest.complaint(written.plus_us(BACKUP_RECENT_US)), None);
        let late = newest.complaint(written.plus_us(BACKUP_RECENT_US + 1)).unwrap();
        assert_eq!(late, "no recent backup: the newest is of 2025-11-26T02:00:05.000000Z");
        // A clock that was set back since says nothing against it.
        assert_eq!(newest.complaint(Time(0)), None);
        assert_eq!(NewestBackup::Unknown.complaint(written), None);
        assert_eq!(NewestBackup::None.complaint(written).unwrap(), "no recent backup: there is none");
    }
}
