//! The engine as it runs: opens the store, loads what lives, starts the threads, stops them again.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::Options;
use super::budget::Budget;
use super::clock::{Clock, deadline_in_us, until};
use super::cold;
use super::fold::EngineFold;
use super::keeping::Asked;
use super::loading;
use super::locked::Locked;
use super::meter::TickMeter;
use super::places::Places;
use super::queries;
use super::registry::Registry;
use super::request::{Computation, Found, Message, Question, Staged, Told};
use super::service::Refusal;
use super::shard::{EFFORT, NextTurn, Progress, Shard, Turned};
use super::shared::{Inbox, Place, Shared};
use super::telling::Telling;
use super::threads::{self, Threads};
use super::traced::{Commit, Traced};
use super::turn::Tally;
use super::writer::{JournalState, Writer, Written};
use crate::id::Time;
use crate::store::{
    self, Disk, Entry, Follower, Frame, Journal, JournalReader, Keeper, Marker, OpenReport, Opened, Preparer,
    Tables,
};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels::Queue;
use crate::telemetry::traces::Tracer;
use crate::telemetry::words;

/// Most messages that a shard takes into one turn.
const TURN_MESSAGES_MAX: usize = 4_096;
/// Most staged batches that the writer takes into one step.
const STEP_BATCHES_MAX: usize = 256;
/// Most frames that the follower folds before it lets readers in.
const FOLD_FRAMES_MAX: usize = 64;
/// How often the timers look at the clock, in microseconds.
const TIMER_US: u64 = 1_000_000;
/// How often the helper looks whether everything stops, in microseconds.
const HELPER_US: u64 = 100_000;
/// How often a journal that waits for the follower looks whether it may go on, in microseconds.
const GIVE_WAY_US: u64 = 10_000;
/// How often a failing journal is tried again, in microseconds.
const PROBE_US: u64 = 500_000;
/// A shard looks for its next message so long before it parks: longer than one client that waits for each answer takes
/// to ask again. Beside builds that kept 2 cores busy (2026-11-24), one client's step took 2 to 4 ms (p50) when the shard
/// parked, and 0.3 ms when it looked.
const SPIN_US: u64 = 300;
/// With more requests that are not answered the shard does not look for the next: others need its core.
const SPIN_REQUESTS_MAX: usize = 2;
/// A shard that has been without a message for so long is at leisure, in microseconds: longer than a busy client takes
/// to ask again.
const LEISURE_US: u64 = 2_000;
/// A shard that waits for the journal looks so often how far it is, in microseconds.
const DURABLE_US: u64 = 500;
/// Shards look this often for keys that expire, in microseconds.
const EXPIRE_EVERY_US: u64 = 60_000_000;
/// A key makes room no later than this after its end: at the next look, which may come a second late, and once the shard
/// learns that its expiry is durable, at the next beat at the latest.
pub const EXPIRE_LATE_US: u64 = EXPIRE_EVERY_US + 2_000_000;
/// Answers to questions wait so long for the follower, in microseconds.
const QUESTION_US: u64 = 10_000_000;
/// Questions that the helper answers before it lets the follower fold again.
const ANSWERED_AT_ONCE_MAX: usize = 64;
/// How long an opening waits for the lock of the store, in microseconds: commands that read or write without the
/// service have it for a moment.
const LOCK_WAIT_US: u64 = 3_000_000;
/// How often it looks meanwhile, in microseconds.
const LOCK_LOOK_US: u64 = 20_000;

/// A running engine. Drop it only after [`Engine::stop`].
pub struct Engine<D: Disk, T: Tables> {
    shared: Arc<Shared<D, T>>,
    threads: Mutex<Option<Threads>>,
    reload: OnceLock<Reload>,
}

/// What reads the configuration again; the engine knows none.
type Reload = Box<dyn Fn() -> Result<serde_json::Value, Refusal> + Send + Sync>;

impl<D: Disk, T: Tables> std::fmt::Debug for Engine<D, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not be opened.
    #[error("cannot open the state")]
    Store(#[source] store::Error),
    /// The stored state does not fit together.
    #[error("the stored state does not fit together: {0}")]
    State(String),
    /// The system has no room for a thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Returns the permanent code.
    pub fn code(&self) -> crate::error::Code {
        match self {
            Self::Store(error) => error.code(),
            Self::State(_) => crate::error::Code(320),
            Self::Thread(_) => crate::error::Code(321),
        }
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> crate::error::Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::State(_) => crate::error::Kind::Corrupt,
            Self::Thread(_) => crate::error::Kind::Io,
        }
    }
}

/// Ends of the channels between threads.
struct Ends {
    inboxes: Vec<Receiver<Message>>,
    questions: Receiver<(usize, Question)>,
    staged: (Sender<Staged>, Receiver<Staged>),
    frames: (Sender<Durable>, Receiver<Durable>),
}

/// A durable frame for the follower, with the bytes that it counts in the lag.
struct Durable {
    frame: Arc<Frame>,
    bytes: usize,
}

/// What the `cold` thread owns.
struct ForCold<D: Disk> {
    preparer: Preparer<D>,
    marker: Marker<D>,
    keeper: Keeper<D>,
    asked: Receiver<Asked>,
}

impl<D: Disk, T: Tables> Engine<D, T> {
    /// Starts over an open store.
    ///
    /// # Errors
    /// The stored state does not fit together, or there is no room for threads.
    pub fn start(
        options: Options,
        opened: Opened<D, T>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        place: Place<D>,
    ) -> Result<Self, Error> {
        let Opened { journal, mut follower, mut marker, keeper, report } = opened;
        let plan = threads::plan(&options.hot_cores, &threads::available_cores());
        let shard_count = plan.hot.len();
        let progress: Vec<_> = (0..shard_count).map(|_| Arc::new(Progress::default())).collect();
        let loaded = load(&mut follower, &journal.reader(), &options, &progress, clock.now());
        if loaded.is_err() {
            // An orderly end says nothing against the working environment. If the note fails, it is only made anew.
            let _ = marker.stopped();
        }
        let (registry, shards) = loaded?;
        let places = shards
            .first()
            .map_or_else(|| Places::new(options.keys_max, 0), |shard| Arc::clone(shard.places()));
        let state = Arc::new(JournalState::default());
        state.durable_seq.store(journal.seq(), Ordering::Release);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shard_count).map(|_| mpsc::channel()).unzip();
        let (question_sender, questions) = mpsc::channel();
        let (maintenance, asked) = mpsc::channel();
        let requests = Budget::new(options.queues.requests_bytes_max);
        let inboxes = senders
            .into_iter()
            .zip(&progress)
            .map(|(sender, of)| Inbox::new(sender, Arc::clone(of), Arc::clone(&requests)))
            .collect();
        let cold = ForCold { preparer: journal.preparer(), marker, keeper, asked };
        let shared = Arc::new(Shared::new(
            options.clone(),
            clock,
            Arc::clone(&registry),
            metrics,
            Arc::clone(&state),
            journal.reader(),
            (inboxes, places, requests),
            (question_sender, maintenance),
            follower,
            place,
        ));
        // What was just made from the journal is what was written.
        let is_made = report.is_new || report.discarded.is_some();
        shared.condition.is_scrubbing.store(!is_made, Ordering::Release);
        shared.look_at_disk();
        shared.condition.timer_beat_us.store(shared.clock.monotonic_us(), Ordering::Release);
        let ends = Ends { inboxes: receivers, questions, staged: mpsc::channel(), frames: mpsc::channel() };
        let writer =
            Writer::new(journal, options.frame_bytes_max, registry, progress, state).map_err(Error::Store)?;
        let threads = start_threads(&shared, ends, shards, writer, cold, plan).map_err(Error::Thread)?;
        Ok(Self { shared, threads: Mutex::new(Some(threads)), reload: OnceLock::new() })
    }

    /// Returns what clients' requests speak to.
    pub fn shared(&self) -> &Arc<Shared<D, T>> {
        &self.shared
    }

    /// Works by other bounds and times from now on, and keeps files that nobody needs for `grace_us`. What only the
    /// start reads stays as it is: cores, and the size of frames.
    pub fn retune(&self, options: &Options, grace_us: u64) {
        self.shared.retune(options, grace_us);
    }

    /// Has `reload` called when a client asks that the configuration is read again. The first one stays.
    pub fn reload_by(&self, reload: impl Fn() -> Result<serde_json::Value, Refusal> + Send + Sync + 'static) {
        let _ = self.reload.set(Box::new(reload));
    }

    /// Returns what reads the configuration again, if anything does.
    pub(super) fn reloader(&self) -> Option<&Reload> {
        self.reload.get()
    }

    /// Takes nothing new, finishes what is under way, makes a last checkpoint and joins the threads; returns the
    /// names of threads that ended badly.
    pub fn stop(&self) -> Vec<String> {
        self.shared.condition.is_stopping.store(true, Ordering::Release);
        for inbox in &self.shared.inboxes {
            inbox.tell(Message::Stop);
        }
        let threads = self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        threads.map(Threads::join).unwrap_or_default()
    }
}

/// Opens the store of an engine: the same fold for everyone who opens one. Waits a moment while another process has
/// it.
///
/// # Errors
/// The state cannot be read, is damaged or in use.
pub fn open_store<D: Disk, T: Tables>(
    disk: Arc<D>,
    tables: Arc<T>,
    options: &store::Options,
    start: store::Start,
    progress: &mut dyn FnMut(store::Progress),
) -> Result<(Opened<D, T>, OpenReport), Error> {
    let deadline = deadline_in_us(LOCK_WAIT_US);
    loop {
        let (disk, tables) = (Arc::clone(&disk), Arc::clone(&tables));
        match store::open(disk, tables, Arc::new(EngineFold), options, start, progress) {
            Err(store::Error::Locked { .. }) if !until(deadline).is_zero() => threads::pause_us(LOCK_LOOK_US),
            opened => {
                let opened = opened.map_err(Error::Store)?;
                let report = opened.report.clone();
                return Ok((opened, report));
            }
        }
    }
}

/// Loads what lives. Rows that cannot be loaded are made anew from the journal, once.
fn load<D: Disk, T: Tables>(
    follower: &mut Follower<T>,
    journal: &JournalReader<D>,
    options: &Options,
    progress: &[Arc<Progress>],
    now: Time,
) -> Result<(Arc<Registry>, Vec<Shard>), Error> {
    let load = |follower: &Follower<T>| {
        let registry = Arc::new(Registry::default());
        let limits = (now, loading::JUDGED_STATES_MAX, EFFORT);
        let shards = loading::shards(follower, journal, &registry, options, progress, limits)?;
        Ok((registry, shards))
    };
    let reason = match load(follower) {
        Err(loading::Error::Rows(reason)) => reason,
        loaded => return loaded.map_err(|error| Error::State(error.to_string())),
    };
    tracing::warn!("{}: {reason}", words::ENVIRONMENT_REBUILT);
    let warnings = follower.rebuild(journal).map_err(Error::Store)?;
    for warning in warnings {
        tracing::warn!("{}: {warning}", words::STATE_MENDED);
    }

    load(follower).map_err(|error| Error::State(error.to_string()))
}

fn start_threads<D: Disk, T: Tables>(
    shared: &Arc<Shared<D, T>>,
    ends: Ends,
    shards: Vec<Shard>,
    writer: Writer<Journal<D>>,
    cold: ForCold<D>,
    plan: threads::CorePlan,
) -> io::Result<Threads> {
    let mut threads = Threads::new(plan.others);
    let Ends { inboxes, questions, staged, frames } = ends;
    for (number, ((shard, inbox), core)) in shards.into_iter().zip(inboxes).zip(plan.hot).enumerate() {
        let (computations, for_computer) = mpsc::channel();
        let computer_shared = Arc::clone(shared);
        threads.spawn(&format!("compute-{number}"), move || {
            run_computer(&computer_shared, number, &for_computer);
        })?;
        let shared = Arc::clone(shared);
        let staged = staged.0.clone();
        threads.spawn_hot(&format!("hot-{number}"), core, move |is_pinned| {
            if core.is_some() && !is_pinned {
                shared.condition.unpinned_count.fetch_add(1, Ordering::AcqRel);
                tracing::warn!(shard = number, "{}", words::CORES_NOT_PINNED);
            }
            // Also when it panics, or others would wait for it for ever.
            let condition = &shared.condition;
            let _ended = AtEnd(|| {
                condition.ended_shard_count.fetch_add(1, Ordering::AcqRel);
            });
            run_shard(&shared, number, shard, &inbox, (&staged, &computations));
        })?;
    }
    // The server's threads are started by whoever starts the engine.
    threads.keep_caller_off_hot_cores();
    drop(staged.0);
    let (frame_sender, frame_receiver) = frames;
    let for_journal = Arc::clone(shared);
    threads.spawn("journal", move || run_journal(&for_journal, writer, &staged.1, &frame_sender))?;
    let for_follower = Arc::clone(shared);
    threads.spawn("follower", move || {
        let _done = AtEnd(|| for_follower.condition.is_follower_done.store(true, Ordering::Release));
        run_follower(&for_follower, &frame_receiver);
    })?;
    let for_helper = Arc::clone(shared);
    threads.spawn("helper", move || run_helper(&for_helper, &questions))?;
    let for_cold = Arc::clone(shared);
    threads.spawn("cold", move || {
        let ForCold { preparer, marker, keeper, asked } = cold;
        cold::run(&for_cold, preparer, marker, keeper, asked);
    })?;
    let for_timers = Arc::clone(shared);
    threads.spawn("timers", move || run_timers(&for_timers))?;
    Ok(threads)
}

/// Calls something when it is dropped.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn run_shard<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    number: usize,
    mut shard: Shard,
    inbox: &Receiver<Message>,
    (staged, computations): (&Sender<Staged>, &Sender<Computation>),
) {
    let mut meter = TickMeter::new(Arc::clone(&shared.metrics), shared.options().hot_path_ticks_max);
    let mut locked = Locked::new();
    // Told once, until there is room again.
    let mut are_keys_full = false;
    loop {
        // Of many clients one is always about to ask; of few, each waits for this thread to wake up.
        let is_quiet = shared.inboxes[number].open() <= SPIN_REQUESTS_MAX;
        let spun = if is_quiet { spin(&*shared.clock, inbox, shard.next_turn()) } else { None };
        let first = spun.map_or_else(|| first_message(inbox, shard.next_turn()), |message| Ok(vec![message]));
        let Ok(mut messages) = first else { break };
        while messages.len() < TURN_MESSAGES_MAX
            && let Ok(more) = inbox.try_recv()
        {
            messages.push(more);
        }
        shared.inboxes[number].taken(&messages);
        if messages.iter().any(|message| matches!(message, Message::Bounds(_))) {
            meter.set_budget(shared.options().hot_path_ticks_max);
        }
        let was_resting = shard.next_turn() == NextTurn::AtLeisure;
        let now = shared.clock.now();
        let mut turned = shard.turn(now, messages, &mut meter);
        for traced in turned.batches.iter_mut().flat_map(|batch| &mut batch.traced) {
            traced.turned(now, shared.clock.now());
        }
        count_turn(&shared.metrics, &turned);
        // First of all: who waits for them waits for nothing else.
        shared.condition.staged_count.fetch_add(turned.batches.len(), Ordering::AcqRel);
        if turned.batches.into_iter().any(|batch| staged.send(batch).is_err()) {
            break;
        }
        if let Some(mean) = meter.look(shared.clock.monotonic_us()) {
            let budget = meter.budget();
            tracing::warn!(mean, budget, "{}: {mean}, budget {budget}", words::SLOW_STEPS);
        }
        let held = shard.held();
        shared.inboxes[number].holds(&held);
        for queue in turned.overfull {
            shared.metrics.queue_refused.of(queue).increment();
            if queue == Queue::Keys && !are_keys_full {
                are_keys_full = true;
                tracing::warn!(shard = number, keys = held.keys, "{}", words::KEYS_FULL);
            }
        }
        if are_keys_full {
            are_keys_full = shared.places.used_up().is_some();
        }
        locked.look(&shard.cases().regions(), &shared.condition);
        ask_others(shared, number, turned.questions, (turned.computations, computations));
        if shard.is_stopping() && !shard.is_waiting() {
            break;
        }
        if was_resting && shard.next_turn() == NextTurn::OnMessage {
            threads::give_own_memory_back();
        }
    }
}

/// Hands on what a shard does not answer by itself. Whoever answers is gone only when everything stops.
fn ask_others<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    shard: usize,
    questions: Vec<Question>,
    (computations, computer): (Vec<Computation>, &Sender<Computation>),
) {
    shared.condition.question_count.fetch_add(questions.len() + computations.len(), Ordering::AcqRel);
    for question in questions {
        drop(shared.questions.send((shard, question)));
    }
    for computation in computations {
        drop(computer.send(computation));
    }
}

/// Counts what a turn used up, and who waited for it.
fn count_turn(metrics: &Metrics, turned: &Turned) {
    metrics.commands_not_begun.add(turned.unawaited as u64);
    metrics.evaluation_steps.add(turned.used.evaluated);
    for steps in &turned.waited_steps {
        metrics.command_wait_steps.observe(*steps);
    }
}

/// Looks for a message for a while without giving the core back, but lets others have it in between.
fn spin(clock: &dyn Clock, inbox: &Receiver<Message>, next: NextTurn) -> Option<Message> {
    if !matches!(next, NextTurn::OnMessage | NextTurn::AtLeisure) {
        return None;
    }
    let end = clock.monotonic_us() + SPIN_US;
    while clock.monotonic_us() < end {
        if let Ok(message) = inbox.try_recv() {
            return Some(message);
        }
        std::thread::yield_now();
    }
    None
}

/// Waits for a message as long as the shard wants to; none when it wants its turn without one.
fn first_message(inbox: &Receiver<Message>, next: NextTurn) -> Result<Vec<Message>, RecvTimeoutError> {
    let wait_us = match next {
        NextTurn::OnMessage => return Ok(vec![inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)?]),
        NextTurn::Now => 0,
        NextTurn::WhenDurable => DURABLE_US,
        NextTurn::AtLeisure => LEISURE_US,
    };
    match inbox.recv_timeout(Duration::from_micros(wait_us)) {
        Ok(message) => Ok(vec![message]),
        Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
        Err(gone) => Err(gone),
    }
}

fn run_journal<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    mut writer: Writer<Journal<D>>,
    staged: &Receiver<Staged>,
    frames: &Sender<Durable>,
) {
    loop {
        let mut batches = match staged.recv_timeout(Duration::from_micros(PROBE_US)) {
            Ok(first) => vec![first],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while batches.len() < STEP_BATCHES_MAX
            && let Ok(more) = staged.try_recv()
        {
            batches.push(more);
        }
        shared.condition.staged_count.fetch_sub(batches.len(), Ordering::AcqRel);
        give_way(shared);
        let was_failing = shared.journal.is_failing.load(Ordering::Acquire);
        let start = shared.clock.monotonic_us();
        shared.condition.journal_since_us.store(start.max(1), Ordering::Release);
        let now = shared.clock.now();
        let mut written = if batches.is_empty() {
            threads::give_own_memory_back();
            writer.probe(now)
        } else {
            writer.step(now, batches)
        };
        let took = shared.clock.monotonic_us().saturating_sub(start);
        shared.condition.journal_since_us.store(0, Ordering::Release);
        shared.appended_bytes.store(writer.log_mut().appended_bytes(), Ordering::Release);
        let traced = std::mem::take(&mut written.traced);
        hand_on(shared, written, frames, took, was_failing);
        if let Some(tracer) = shared.tracer().filter(|_| !traced.is_empty()) {
            finish_traced(tracer, traced, now, took);
        }
    }
}

/// Waits while the follower has more than it may: then shards wait for the journal, and clients for them, so that what is
/// under way already cannot pile up behind it either.
fn give_way<D: Disk, T: Tables>(shared: &Shared<D, T>) {
    let condition = &shared.condition;
    while shared.is_follower_full()
        && !condition.is_stopping.load(Ordering::Acquire)
        && !condition.is_follower_done.load(Ordering::Acquire)
    {
        shared.wait_for_follower(Duration::from_micros(GIVE_WAY_US));
    }
}

/// Makes the spans of commands that came out of one step of the journal.
fn finish_traced(tracer: &Tracer, traced: Vec<(Traced, Option<(u64, usize)>)>, start: Time, took_us: u64) {
    let end = Time(start.0.saturating_add(took_us));
    for (traced, frame) in traced {
        let commit = frame.map(|(frame, count)| Commit { start, end, frame, entry_count: count as u64 });
        traced.finish(tracer, commit, end);
    }
}

fn hand_on<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    written: Written,
    frames: &Sender<Durable>,
    took_us: u64,
    was_failing: bool,
) {
    // Before the answers: whoever hears one finds it counted.
    count(&shared.metrics, &written.tally);
    let incidents = u64::from(written.tally.errors);
    shared.condition.incident_count.fetch_add(incidents, Ordering::AcqRel);
    if took_us > shared.options().command_us_max {
        shared.condition.slow_commit_count.fetch_add(1, Ordering::AcqRel);
        shared.condition.slow_commit_us_max.fetch_max(took_us, Ordering::AcqRel);
    }
    // Before all else: who waits for them waits for nothing else.
    for (answerer, reply) in written.replies {
        answerer.answer(reply);
    }
    let mut held_bytes = written.held_bytes;
    for frame in written.frames {
        shared.metrics.journal_commit_us.observe(took_us);
        shared.metrics.journal_batch_events.observe(frame.entries.len() as u64);
        let bytes: usize = frame.entries.iter().map(Entry::stored_bytes).sum();
        shared.metrics.journal_entry_bytes.add(bytes as u64);
        // All cases of the step with its first frame: together they are folded soon.
        let bytes = bytes.max(std::mem::take(&mut held_bytes));
        shared.condition.lag.add(bytes);
        if frames.send(Durable { frame, bytes }).is_err() {
            shared.condition.lag.folded(bytes);
        }
    }
    if let Some(error) = &written.rejected {
        shared.metrics.workflow_errors.increment();
        tracing::error!("{}: {error}; it was not done", words::FRAME_REFUSED);
    }
    let is_failing = shared.journal.is_failing.load(Ordering::Acquire);
    if let Some(error) = &written.failed {
        shared.metrics.journal_failures.increment();
        if !was_failing {
            shared.metrics.workflow_errors.increment();
            let cause = error.cause();
            tracing::error!(%cause, "{}: {error}: {cause}", words::READ_ONLY);
        }
    } else if was_failing && !is_failing {
        tracing::info!("{}", words::WRITABLE);
    }
}

fn run_follower<D: Disk, T: Tables>(shared: &Shared<D, T>, frames: &Receiver<Durable>) {
    loop {
        match frames.recv_timeout(Duration::from_micros(TIMER_US)) {
            Ok(first) => {
                let mut group = vec![first];
                while group.len() < FOLD_FRAMES_MAX
                    && let Ok(more) = frames.try_recv()
                {
                    group.push(more);
                }
                fold(shared, &group);
            }
            Err(RecvTimeoutError::Timeout) => {
                threads::give_own_memory_back();
                if shared.condition.is_follower_broken.load(Ordering::Acquire) {
                    cold::rebuild(shared, &shared.environment());
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn fold<D: Disk, T: Tables>(shared: &Shared<D, T>, group: &[Durable]) {
    let mut follower = shared.write();
    let mut failed = None;
    for Durable { frame, .. } in group {
        // A rebuild may have folded it from the journal.
        if frame.seq > follower.seq()
            && let Err(error) = follower.apply(frame)
        {
            failed = Some((frame.seq, error));
            break;
        }
    }
    let (seq, bytes) = (follower.seq(), follower.changed_bytes());
    drop(follower);
    shared.condition.changed_bytes.store(bytes, Ordering::Release);
    shared.condition.lag.folded(group.iter().map(|durable| durable.bytes).sum());
    shared.folded(seq);
    if let Some((frame, error)) = failed {
        tracing::error!(frame, "{}: {error}", words::FOLD_FAILED);
        shared.metrics.workflow_errors.increment();
        cold::rebuild(shared, &shared.environment());
    }
}

/// Answers what has been asked so far, all from the same rows.
fn answer_questions<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    asked: Vec<(usize, Question)>,
) -> Vec<(usize, Told)> {
    let follower = shared.read(deadline_in_us(QUESTION_US));
    let answer = |question| match &follower {
        Ok(follower) => queries::answer(follower, question),
        Err(refusal) => queries::cannot_answer(question, refusal.clone()),
    };
    asked.into_iter().map(|(shard, question)| (shard, answer(question))).collect()
}

fn run_helper<D: Disk, T: Tables>(shared: &Shared<D, T>, questions: &Receiver<(usize, Question)>) {
    let mut has_answered = false;
    loop {
        match questions.recv_timeout(Duration::from_micros(HELPER_US)) {
            Ok(first) => {
                let mut asked = vec![first];
                while asked.len() < ANSWERED_AT_ONCE_MAX
                    && let Ok(more) = questions.try_recv()
                {
                    asked.push(more);
                }
                shared.condition.question_count.fetch_sub(asked.len(), Ordering::AcqRel);
                has_answered = true;
                for (shard, told) in answer_questions(shared, asked) {
                    if matches!(told, Told::Loaded(_, Ok(Found::Rows(_)))) {
                        shared.metrics.cases_read_back.increment();
                    }
                    shared.inboxes[shard].tell(Message::Told(told));
                }
            }
            Err(RecvTimeoutError::Timeout) if !shared.are_shards_gone() => {
                if std::mem::take(&mut has_answered) {
                    threads::give_own_memory_back();
                }
            }
            Err(_) => return,
        }
    }
}

/// Works out what takes a shard too long, one after the other.
fn run_computer<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    shard: usize,
    computations: &Receiver<Computation>,
) {
    let mut has_worked = false;
    loop {
        match computations.recv_timeout(Duration::from_micros(HELPER_US)) {
            Ok(computation) => {
                shared.condition.question_count.fetch_sub(1, Ordering::AcqRel);
                has_worked = true;
                // A search for an OR-join takes little memory, and holds nobody up.
                let is_expression = matches!(computation, Computation::Evaluate(..));
                let turn = is_expression.then(|| shared.long_expressions.of_shard());
                // Who has little to do goes first, and need not wait until the system takes the core away.
                let (told, steps) = computation.work_out(&std::thread::yield_now);
                drop(turn);
                shared.metrics.evaluation_steps.add(steps);
                shared.inboxes[shard].tell(Message::Told(told));
            }
            Err(RecvTimeoutError::Timeout) => {
                if std::mem::take(&mut has_worked) {
                    threads::give_own_memory_back();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn run_timers<D: Disk, T: Tables>(shared: &Shared<D, T>) {
    let mut minute_us = shared.clock.monotonic_us();
    let mut telling = Telling::default();
    while !shared.condition.is_stopping.load(Ordering::Acquire) {
        let now_us = shared.clock.monotonic_us();
        shared.condition.timer_beat_us.store(now_us, Ordering::Release);
        let stuck = shared.inboxes.iter().enumerate().filter(|(_, inbox)| inbox.ask_to_move()).last();
        shared.condition.stuck_shard.store(stuck.map_or(0, |(shard, _)| shard + 1), Ordering::Release);
        if now_us.saturating_sub(minute_us) >= EXPIRE_EVERY_US {
            minute_us = now_us;
            for inbox in &shared.inboxes {
                inbox.tell(Message::Minute);
            }
        }
        shared.look_at_disk();
        shared.look_at_clock();
        telling.look(&shared.condition, now_us);
        for _ in 0..4 {
            if !shared.condition.is_stopping.load(Ordering::Acquire) {
                threads::pause_us(TIMER_US / 4);
            }
        }
    }
    // What came since the last look.
    telling.look(&shared.condition, shared.clock.monotonic_us());
}

fn count(metrics: &Metrics, tally: &Tally) {
    metrics.workflow_cases.add(u64::from(tally.created));
    metrics.workflow_tasks_completed.add(u64::from(tally.tasks_completed));
    metrics.workflow_errors.add(u64::from(tally.errors));
}
