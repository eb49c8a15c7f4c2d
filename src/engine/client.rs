//! The engine as clients' requests see it: the one implementation of [`Service`] over running threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, PoisonError};
use std::time::{Duration, Instant};

use super::answers;
use super::archiving;
use super::clock::deadline_in_us;
use super::cost;
use super::keeping::Asked;
use super::loading::{COMMAND_HEAD_BYTES, shard_of};
use super::pending::{Again, Pending, Settled};
use super::places::What;
use super::prepare::{self, Prepared};
use super::proof;
use super::queries::{self, Repeated};
use super::record::Maker;
use super::request::{CLASSES, Class, Repeat, Request};
use super::restoring;
use super::room::{Answers, Room};
use super::running::Engine;
use super::service::{
    Answer, ArchiveOrder, ArchivedSlice, Begun, CaseFilter, CaseSummary, CaseView, Health, HistoryView,
    IsNew, ItemFilter, ItemView, Maintained, Maintenance, Nets, Once, Operation, Page, PageOf, Refusal,
    RestoreOrder, Service, SpecificationView,
};
use super::shard::{Held, QUESTIONS_MAX};
use super::shared::OPEN_REQUESTS_FACTOR;
use super::tables::{CASE_STATES, ITEM_STATES};
use super::ticket::ticket;
use super::traced::Traced;
use crate::case::row::ItemState;
use crate::case::view::CaseState;
use crate::error::Kind;
use crate::id::{CaseId, ItemId, SpecNumber};
use crate::store::{Disk, Tables};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels::{self, Cache, Queue};
use crate::telemetry::traces::{QUEUE_SPANS_MAX, Tracer};
use crate::telemetry::words;

/// How long whoever asks something of the state on disk waits for it, in microseconds; then it goes on alone.
const MAINTENANCE_US: u64 = 20_000_000;

/// The number of this process; the system is asked once.
static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
/// Counts keys that this process made.
static KEY_COUNT: AtomicU64 = AtomicU64::new(0);

impl<D: Disk, T: Tables> Engine<D, T> {
    /// Tells why no change is taken now, if so.
    fn refuses_changes(&self) -> Result<(), Refusal> {
        let shared = self.shared();
        if shared.condition.is_stopping.load(Ordering::Acquire) {
            return Err(answers::read_only("it is stopping"));
        }
        if let Some(why) = shared.journal.why_failing() {
            return Err(answers::read_only(&why));
        }
        if shared.condition.is_disk_low.load(Ordering::Acquire) {
            return Err(answers::read_only("the disk is below its reserve"));
        }
        let options = shared.options();
        if shared.condition.changed_bytes.load(Ordering::Acquire) > options.queues.changed_bytes_max {
            return Err(answers::busy("changes that wait for a checkpoint"));
        }
        if self.is_follower_late() {
            return Err(answers::busy("frames that the follower has to fold"));
        }
        Ok(())
    }

    /// Returns whether the follower has more frames, or bytes of frames, to fold than it may.
    fn is_follower_late(&self) -> bool {
        let (shared, options) = (self.shared(), self.shared().options());
        shared.lag_frames() > options.follower_lag_max
            || shared.condition.lag.bytes() > options.queues.lag_bytes_max
    }

    /// Returns why something asked is not done, if no change is taken now, and counts it when a queue is the reason.
    fn take_change(&self) -> Result<(), Refusal> {
        let refused = self.refuses_changes();
        if refused.as_ref().is_err_and(|refusal| refusal.kind == Kind::Busy) {
            self.shared().metrics.queue_refused.of(Queue::Follower).increment();
        }
        refused
    }

    /// Tells whether shards and timers move: what a watchdog wants to know.
    pub fn is_moving(&self) -> bool {
        let shared = self.shared();
        let beat_us = shared.condition.timer_beat_us.load(Ordering::Acquire);
        let is_late = shared.clock.monotonic_us().saturating_sub(beat_us) > TIMER_LATE_US;
        !is_late && shared.condition.stuck_shard.load(Ordering::Acquire) == 0
    }

    /// Tells whether the journal's writer has been at one step for long.
    fn is_journal_stuck(&self) -> bool {
        let since_us = self.shared().condition.journal_since_us.load(Ordering::Acquire);
        since_us != 0 && self.shared().clock.monotonic_us().saturating_sub(since_us) > JOURNAL_STUCK_US
    }

    /// Makes a key for a client that gave none; it hears of it only when the outcome is unknown.
    fn own_key(&self) -> String {
        let count = KEY_COUNT.fetch_add(1, Ordering::Relaxed);
        prepare::own_key(self.shared().clock.now(), *PROCESS, count)
    }

    /// Turns an operation into a request of its shard.
    fn prepare(&self, operation: Operation, once: &Once) -> Result<Prepared, Refusal> {
        let traced = once.trace.map(|request| Traced::new(request, &operation, self.shared().clock.now()));
        let prepared = prepare::operation(&self.shared().registry, operation, once, || self.own_key())?;
        Ok(Prepared { traced, ..prepared })
    }

    /// Hands requests to their shards, all of one call together; each is to be answered within so many microseconds.
    fn ask(
        &self,
        requests: Vec<Result<Prepared, Refusal>>,
        class: Class,
        limit_us: u64,
    ) -> Vec<Result<Pending, Refusal>> {
        let shared = self.shared();
        let deadline = deadline_in_us(limit_us);
        let requests_max = shared.options().shard_requests_max;
        let mut by_shard: Vec<Vec<Request>> = shared.inboxes.iter().map(|_| Vec::new()).collect();
        let mut asked: Vec<Result<Pending, Refusal>> = Vec::with_capacity(requests.len());
        let mut shards = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Err(refusal) => {
                    asked.push(Err(refusal));
                    shards.push(None);
                }
                Ok(Prepared { act, key, text, traced, room }) => {
                    let shard = shard_of(act.partition(), shared.inboxes.len());
                    let (waits, answerer) = ticket();
                    by_shard[shard].push(Request {
                        act,
                        key,
                        place: None,
                        class,
                        asked_at: None,
                        answerer,
                        traced,
                        room: room.clone(),
                    });
                    asked.push(Ok(Pending::new(waits, key.request, text, deadline, room)));
                    shards.push(Some(shard));
                }
            }
        }
        for (shard, requests) in by_shard.into_iter().enumerate().filter(|(_, requests)| !requests.is_empty())
        {
            if shared.inboxes[shard].put(class, requests, requests_max).is_err() {
                shared.metrics.queue_refused.of(class.queue()).increment();
                for (at, _) in shards.iter().enumerate().filter(|(_, of)| **of == Some(shard)) {
                    asked[at] = Err(answers::busy("requests"));
                }
            }
        }
        asked
    }

    /// Begins operations, unless no change is taken now.
    fn begin_all(
        &self,
        operations: Vec<(Operation, Once)>,
        class: Class,
        limit_us: u64,
    ) -> Vec<Result<Pending, Refusal>> {
        if let Err(refusal) = self.take_change() {
            return operations.iter().map(|_| Err(refusal.clone())).collect();
        }
        let prepared =
            operations.into_iter().map(|(operation, once)| self.prepare(operation, &once)).collect();
        self.ask(prepared, class, limit_us)
    }

    /// Looks up what a repeat was answered the first time.
    fn look_up(&self, again: Again) -> Result<Waited, Refusal> {
        let shared = self.shared();
        let follower = shared.read(again.deadline)?;
        let Again { repeat, request, room, .. } = again;
        let is_business = matches!(repeat, Repeat::Business(_, Maker::Client));
        let repeated = queries::repeat(&follower, &shared.registry, repeat, &request, &room)?;
        drop(follower);
        let waited = match repeated {
            Repeated::Answer(answer) => Waited::Answer(answer),
            Repeated::Entry(row) => {
                Waited::Answer(queries::answer_at(&shared.reader, &shared.registry, &row, &room)?)
            }
            Repeated::Archived(id, row) => {
                let view = queries::archived::view(&shared.reader, &shared.registry, id, &row)?;
                Waited::Answer(answers::case_answer(view, Some(IsNew::No), &room))
            }
            Repeated::Specification(number) => Waited::Specification(self.known(number, IsNew::Yes)?),
        };
        Ok(match waited {
            Waited::Answer(answer) if is_business => Waited::Answer(Answer::NotRemembered(Box::new(answer))),
            waited => waited,
        })
    }

    fn wait(&self, pending: Result<Pending, Refusal>) -> Result<Waited, Refusal> {
        match pending?.wait() {
            Settled::Done(answer) => Ok(Waited::Answer(answer)),
            Settled::Registered(view) => Ok(Waited::Specification(view)),
            Settled::Refused(refusal) => Err(refusal),
            Settled::Again(again) => self.look_up(again),
        }
    }

    fn known(&self, number: SpecNumber, is_new: IsNew) -> Result<SpecificationView, Refusal> {
        let spec = self.shared().registry.get(number);
        let spec = spec.ok_or_else(|| answers::unreadable("a registered specification is missing"))?;
        Ok(answers::specification(&spec, is_new))
    }

    /// Counts cases and items anew; while the rows are being changed, the figures stay as they were.
    fn count_cases(&self) {
        let shared = self.shared();
        let Some(Ok(counts)) = shared.glance().map(|follower| queries::counts(&follower)) else { return };
        for (state, count) in CASE_STATES.into_iter().zip(counts.cases) {
            let label = match state {
                CaseState::Running => labels::CaseState::Running,
                CaseState::Suspended => labels::CaseState::Suspended,
                CaseState::Incident => labels::CaseState::Incident,
                CaseState::Completed => labels::CaseState::Completed,
                CaseState::Cancelled => labels::CaseState::Cancelled,
            };
            shared.metrics.cases.of(label).set(count);
        }
        for (state, count) in ITEM_STATES.into_iter().zip(counts.items) {
            let label = match state {
                ItemState::Enabled | ItemState::Reoffered => labels::ItemState::Enabled,
                ItemState::Executing => labels::ItemState::Executing,
                ItemState::Failed => labels::ItemState::Failed,
            };
            shared.metrics.work_items.of(label).set(count);
        }
    }

    /// Tells how much is held of everything that is bounded, and what bounds it.
    fn count_held(&self) {
        let shared = self.shared();
        let (metrics, options, condition) = (&shared.metrics, shared.options(), &shared.condition);
        let shards = shared.inboxes.len();
        let held = |count: fn(&Held) -> usize| {
            shared.inboxes.iter().map(|inbox| count(&inbox.held())).sum::<usize>() as u64
        };
        // Of each class.
        let requests = options.shard_requests_max.saturating_mul(shards);
        let open = requests.saturating_mul(OPEN_REQUESTS_FACTOR * CLASSES.len()) as u64;
        let queue = |queue, count, limit| {
            metrics.queue_depth.of(queue).set(count);
            metrics.queue_limit.of(queue).set(limit);
        };
        for class in CLASSES {
            let waiting: usize = shared.inboxes.iter().map(|inbox| inbox.waiting(class)).sum();
            queue(class.queue(), waiting as u64, requests as u64);
        }
        queue(Queue::Parked, held(|held| held.parked), open);
        queue(Queue::Journal, condition.staged_count.load(Ordering::Acquire) as u64, open);
        queue(Queue::Follower, shared.lag_frames(), options.follower_lag_max);
        let questions = condition.question_count.load(Ordering::Acquire) as u64;
        queue(Queue::Helper, questions, QUESTIONS_MAX.saturating_mul(shards) as u64);
        queue(Queue::Keys, held(|held| held.keys), options.keys_max as u64);
        if let Some(tracer) = shared.tracer() {
            queue(Queue::Spans, tracer.waiting() as u64, QUEUE_SPANS_MAX as u64);
        }
        let cache = |cache, bytes, limit: usize| {
            metrics.cache_bytes.of(cache).set(bytes);
            metrics.cache_limit_bytes.of(cache).set(limit as u64);
        };
        cache(Cache::Cases, held(|held| held.case_bytes), options.cache_bytes);
        cache(Cache::Undurable, held(|held| held.undurable_bytes), options.queues.undurable_bytes_max);
        let changed = condition.changed_bytes.load(Ordering::Acquire) as u64;
        cache(Cache::ChangedRows, changed, options.queues.changed_bytes_max);
        let requests = shared.requests.taken_bytes() as u64;
        cache(Cache::Requests, requests, options.queues.requests_bytes_max);
        let lag = condition.lag.bytes() as u64;
        cache(Cache::Lag, lag, options.queues.lag_bytes_max);
    }

    /// Returns a case, live or archived.
    fn find_case(&self, id: CaseId) -> Result<CaseView, Refusal> {
        let shared = self.shared();
        let follower = shared.read(self.reading())?;
        let refusal = match queries::case(&follower, &shared.registry, id) {
            Err(refusal) if refusal.kind == Kind::NotFound => refusal,
            found => return found,
        };
        let row = queries::archived::row(&follower, id).map_err(|reason| answers::unreadable(&reason))?;
        drop(follower);
        let row = row.ok_or(refusal)?;
        queries::archived::view(&shared.reader, &shared.registry, id, &row)
    }

    fn reading(&self) -> Instant {
        deadline_in_us(self.shared().options().bulk_us_max)
    }
}

/// What came of waiting.
enum Waited {
    Answer(Answer),
    Specification(SpecificationView),
}

impl Waited {
    fn into_answer(self) -> Result<Answer, Refusal> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Specification(_) => Err(answers::unreadable("a key of another kind of request")),
        }
    }
}

impl<D: Disk, T: Tables> Service for Engine<D, T> {
    fn register(&self, source: &[u8], once: &Once) -> Result<SpecificationView, Refusal> {
        self.take_change()?;
        let options = self.shared().options();
        let limit = options.frame_bytes_max.saturating_sub(COMMAND_HEAD_BYTES);
        let traced = once.trace.map(|request| Traced::named(request, "register", self.shared().clock.now()));
        let prepared = prepare::registration(source, limit, once, || self.own_key())?;
        let prepared = Prepared { traced, ..prepared };
        let mut asked = self.ask(vec![Ok(prepared)], Class::Single, options.bulk_us_max);
        match self.wait(asked.pop().expect("invariant: one request was asked"))? {
            Waited::Specification(view) => {
                if view.is_new {
                    tracing::info!(
                        id = view.id,
                        version = view.version,
                        "{}",
                        words::SPECIFICATION_REGISTERED
                    );
                }
                Ok(view)
            }
            Waited::Answer(_) => Err(answers::unreadable("a key of another kind of request")),
        }
    }

    fn begin(&self, operations: Vec<(Operation, Once)>) -> Vec<Begun> {
        let asked = self.begin_all(operations, Class::Single, self.shared().options().command_us_max);
        asked.into_iter().map(|asked| asked.map_or_else(Begun::Refused, Begun::Pending)).collect()
    }

    fn again(&self, again: Again) -> Result<Answer, Refusal> {
        self.look_up(again)?.into_answer()
    }

    fn operate(&self, operations: Vec<(Operation, Once)>) -> Vec<Result<Answer, Refusal>> {
        let options = self.shared().options();
        let (class, limit_us) = if operations.len() == 1 {
            (Class::Single, options.command_us_max)
        } else {
            (Class::Bulk, options.bulk_us_max)
        };
        let asked = self.begin_all(operations, class, limit_us);
        asked.into_iter().map(|pending| self.wait(pending)?.into_answer()).collect()
    }

    fn answers(&self) -> &Arc<Answers> {
        &self.shared().answers
    }

    fn case(&self, id: CaseId, room: &Room) -> Result<CaseView, Refusal> {
        let view = self.find_case(id)?;
        room.take(cost::case(&view)).map_err(|full| answers::no_room(full, room))?;
        Ok(view)
    }

    fn item(&self, id: ItemId, room: &Room) -> Result<ItemView, Refusal> {
        let shared = self.shared();
        queries::item(shared.read(self.reading())?, &shared.registry, id, (&shared.long_expressions, room))
    }

    fn cases(&self, filter: &CaseFilter, page: &PageOf, room: &Room) -> Result<Page<CaseSummary>, Refusal> {
        let shared = self.shared();
        let now = shared.clock.now();
        queries::cases(&*shared.read(self.reading())?, &shared.registry, filter, page, (now, room))
    }

    fn check_cases(&self, ids: &[CaseId]) -> BTreeMap<CaseId, Result<Option<String>, Refusal>> {
        let shared = self.shared();
        proof::check_cases(&shared.reader, ids, &|id| {
            queries::case_rows(&*shared.read(self.reading())?, id).map_err(|why| answers::unreadable(&why))
        })
    }

    fn items(&self, filter: &ItemFilter, page: &PageOf, room: &Room) -> Result<Page<ItemView>, Refusal> {
        let shared = self.shared();
        let deadline = self.reading();
        queries::items(
            &|| shared.read(deadline),
            &shared.registry,
            filter,
            page,
            (&shared.long_expressions, room),
        )
    }

    fn history(&self, id: CaseId, page: &PageOf, room: &Room) -> Result<Page<HistoryView>, Refusal> {
        let shared = self.shared();
        let place = queries::place(&*shared.read(self.reading())?, id)?;
        queries::history(&shared.reader, &shared.registry, id, place, (page, room))
    }

    fn specifications(&self, page: &PageOf, room: &Room) -> Result<Page<SpecificationView>, Refusal> {
        queries::specifications(&self.shared().registry, page, room)
    }

    fn specification(&self, id: &str) -> Result<SpecificationView, Refusal> {
        let spec = self.shared().registry.find(id).ok_or_else(|| answers::no_specification(id))?;
        Ok(answers::specification(&spec, IsNew::No))
    }

    fn nets_of(&self, id: CaseId) -> Result<Nets, Refusal> {
        let shared = self.shared();
        queries::nets_of(&*shared.read(self.reading())?, &shared.registry, id)
    }

    fn maintain(&self, what: Maintenance) -> Result<Maintained, Refusal> {
        let (answer, answered) = mpsc::channel();
        if self.shared().maintenance.send(Asked { what, answer }).is_err() {
            return Err(answers::read_only("it stops"));
        }
        match answered.recv_timeout(Duration::from_micros(MAINTENANCE_US)) {
            Ok(done) => done.map_err(|error| answers::not_maintained(&error)),
            Err(RecvTimeoutError::Timeout) => Err(answers::goes_on(MAINTENANCE_US)),
            Err(RecvTimeoutError::Disconnected) => Err(answers::read_only("it stops")),
        }
    }

    fn reload(&self) -> Result<serde_json::Value, Refusal> {
        self.reloader().map_or_else(|| Err(answers::no_configuration()), |reload| reload())
    }

    fn archive(&self, order: &ArchiveOrder) -> Result<ArchivedSlice, Refusal> {
        self.take_change()?;
        archiving::slice(self.shared(), order, self.shared().options().bulk_us_max)
    }

    fn restore(&self, order: RestoreOrder, room: &Room) -> Result<Answer, Refusal> {
        self.take_change()?;
        let case = order.case;
        let register = |source: &[u8]| {
            let once = Once { key: None, request: *blake3::hash(source).as_bytes(), ..Once::default() };
            self.register(source, &once).map(drop)
        };
        restoring::restore(self.shared(), order, &register, self.shared().options().bulk_us_max)?;
        Ok(answers::case_answer(self.find_case(case)?, None, room))
    }

    fn health(&self) -> Health {
        let shared = self.shared();
        let condition = &shared.condition;
        let mut health = Health::default();
        let mut failing = |is: bool, why: &str| {
            if is {
                health.failing.push(why.to_owned());
            }
        };
        failing(condition.is_stopping.load(Ordering::Acquire), "stopping");
        let why = shared.journal.why_failing();
        failing(why.is_some(), why.as_deref().unwrap_or_default());
        failing(self.is_journal_stuck(), "the journal does not move");
        failing(condition.is_disk_low.load(Ordering::Acquire), "the disk is below its reserve");
        failing(
            condition.is_follower_broken.load(Ordering::Acquire),
            "the working environment cannot be used",
        );
        failing(condition.stuck_shard.load(Ordering::Acquire) != 0, "a shard does not move");
        let beat_us = condition.timer_beat_us.load(Ordering::Acquire);
        let is_late = shared.clock.monotonic_us().saturating_sub(beat_us) > TIMER_LATE_US;
        failing(is_late, "the timer thread does not move");
        if condition.is_scrubbing.load(Ordering::Acquire) {
            health.degraded.push("scrub running".to_owned());
        }
        let ahead_s = condition.clock_ahead_us.load(Ordering::Acquire) / 1_000_000;
        if ahead_s > 0 {
            health.degraded.push(format!("the clock jumped ahead by {ahead_s} s, which is not believed yet"));
        }
        if condition.is_clock_behind.load(Ordering::Acquire) {
            health.degraded.push("the clock was set back, and time goes on without it".to_owned());
        }
        let damages = condition.damages.lock().unwrap_or_else(PoisonError::into_inner);
        health.degraded.extend(damages.iter().cloned());
        drop(damages);
        let options = shared.options();
        health.degraded.extend(shared.places.used_up().map(|what| keys_refused(what, options.keys_max)));
        let newest = *condition.newest_backup.lock().unwrap_or_else(PoisonError::into_inner);
        health.degraded.extend(newest.complaint(shared.clock.now()));
        let aside = *condition.set_aside.lock().unwrap_or_else(PoisonError::into_inner);
        health.degraded.extend(aside.complaint(shared.clock.now()));
        let unlocked_bytes = condition.unlocked_bytes.load(Ordering::Acquire);
        if unlocked_bytes > 0 {
            let all_bytes = unlocked_bytes + condition.locked_bytes.load(Ordering::Acquire);
            let why = format!("memory not locked: {unlocked_bytes} of {all_bytes} bytes");
            health.degraded.push(why);
        }
        if condition.unpinned_count.load(Ordering::Acquire) > 0 {
            health.degraded.push("cores not pinned".to_owned());
        }
        if shared.tracer().is_some_and(Tracer::is_collector_away) {
            health.degraded.push("collector away".to_owned());
        }
        health
    }

    fn metrics(&self) -> &Metrics {
        &self.shared().metrics
    }

    fn tracer(&self) -> Option<&Tracer> {
        self.shared().tracer()
    }

    fn measure(&self) {
        let shared = self.shared();
        let metrics = &shared.metrics;
        self.count_held();
        let locked = shared.condition.locked_bytes.load(Ordering::Acquire);
        metrics.memory_locked_bytes.set(locked as u64);
        self.count_cases();
        metrics.follower_lag_frames.set(shared.lag_frames());
        metrics.disk_free_bytes.set(shared.condition.free_bytes.load(Ordering::Acquire));
        metrics.disk_reserve_bytes.set(shared.options().reserve_bytes);
        metrics.hot_path_max_ticks.set(shared.options().hot_path_ticks_max);
        let health = self.health();
        metrics.health_failing.set(health.failing.len() as u64);
        metrics.health_degraded.set(health.degraded.len() as u64);
        let is_read_only = self.refuses_changes().is_err();
        metrics.read_only.set(u64::from(is_read_only));
    }
}

/// Returns what /health says when new keys are refused.
fn keys_refused(what: What, limit: usize) -> String {
    let why = match what {
        What::All => format!("idempotency_keys_max of {limit} is reached"),
        What::Share(count) => format!("a caller has {count}, all it may of idempotency_keys_max of {limit}"),
    };
    format!("new idempotency keys are refused: {why}")
}

/// An append that takes so long hangs: the disk does not answer.
const JOURNAL_STUCK_US: u64 = 10_000_000;
/// The timer looks at the clock every second; so late it does not move.
const TIMER_LATE_US: u64 = 10_000_000;
