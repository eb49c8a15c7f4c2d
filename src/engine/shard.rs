//! A shard: all live cases of some partitions, and what is asked of them. A state machine with an inbox and an
//! outbox; a pinned thread drives it, or the simulator does. It never waits and never touches a file or socket.
//!
//! What it does is only staged: the journal's writer makes it durable, lets the answers go and says so through
//! [`Progress`]. When the journal fails, everything since the last durable batch is forgotten and fetched anew.
//! [`keys`] has what is known of keys, [`batches`] what a turn stages, [`work`] the jobs.

mod batches;
mod keys;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::answers;
use super::record::{Act, Body, Hash16, Maker, Record};
use super::registry::{Registered, Registry};
use super::request::{Asked, Key, Message, NewSpecification, Question, Repeat, Reply, Request, Staged, Told};
use super::service::{Answer, IsNew, Refusal};
use super::tables::KeyRow;
use super::turn::{self, Cases, Job, Limits, Outcome, Rows, Timer, What};
use crate::case::encode;
use crate::case::event::Event;
use crate::case::row::{Link, Status};
use crate::case::{self, Command};
use crate::error::Kind;
use crate::id::{CaseId, PARTITION_COUNT, Partition, SpecNumber, Time};
use crate::store::{self, Entry};

use batches::{Turn, Undo};
use keys::{KeyUse, Keys};
pub use keys::{SERVICE_KEY_US, SERVICE_KEYS_MAX};
use work::{Client, Work};

/// Most commands that wait for one parked case.
pub const PARKED_COMMANDS_MAX: usize = 64;
/// Most questions that a shard has open; more are answered Busy.
pub const QUESTIONS_MAX: usize = 4_096;
/// A shard asks for so many cases at once that have something to do by themselves: after a start, and after a failure
/// of the journal. The others have their turn when these are in memory.
pub const DUTIES_AT_ONCE_MAX: usize = 256;
/// Most specification versions that a store holds.
pub const SPECIFICATIONS_MAX: u32 = 65_536;
/// A turn takes no more jobs once it has staged so many full batches; they have the next turn.
const TURN_BATCHES_MAX: usize = 4;
/// Most bytes that a shard has staged and that are not durable; then its jobs wait for the journal.
pub const UNDURABLE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a shard is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Its number.
    pub shard: usize,
    /// Bounds of one command.
    pub limits: Limits,
    /// Clients' keys are kept so long, in microseconds.
    pub key_us: u64,
    /// Most clients' keys in a shard.
    pub keys_max: usize,
    /// Most bytes of a batch: what a frame has room for.
    pub batch_bytes_max: usize,
    /// Bytes for cases in memory; beyond that idle ones leave.
    pub cache_bytes: usize,
}

/// What the writer tells a shard: how far it is durable, and how often the journal failed.
#[derive(Debug, Default)]
pub struct Progress {
    /// The shard's last durable batch.
    pub durable_batch: AtomicU64,
    /// How often something of this shard was not written, or the journal failed.
    pub generation: AtomicU64,
    /// The positions that the shard goes on from in this generation; empty in the first.
    pub positions: Mutex<Vec<u64>>,
}

/// What a shard knew of its partitions before it read anything else.
#[derive(Debug, Default, Clone)]
pub struct Start {
    /// Position of the last entry of each partition.
    pub positions: Vec<u64>,
    /// Newest case of each partition.
    pub last_cases: Vec<Option<CaseId>>,
    /// The clock at the start, and never earlier than what is stored.
    pub time: Time,
    /// Clients' keys in use; those of a partition in order of time.
    pub keys: Vec<(Partition, Time, Hash16)>,
    /// Keys of the service's own that are still good.
    pub service_keys: Vec<(Hash16, Partition, KeyRow)>,
    /// Specification versions registered so far.
    pub spec_count: u32,
    /// Cases that have something to do by themselves.
    pub unfinished: Vec<CaseId>,
}

/// What a turn brought.
#[derive(Debug)]
pub struct Turned {
    /// For the journal, oldest first.
    pub batches: Vec<Staged>,
    /// For whoever answers questions.
    pub questions: Vec<Question>,
}

/// How much of what is bounded a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Commands that wait for a parked case or for the answer about a business key.
    pub parked: usize,
    /// Bytes of cases in memory, as far as they can be told.
    pub case_bytes: usize,
    /// Bytes of batches that are not durable.
    pub undurable_bytes: usize,
    /// Clients' keys.
    pub keys: usize,
}

/// When a shard wants its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// When there is a message for it.
    OnMessage,
    /// At once: jobs wait that a turn had no room for.
    Now,
    /// When more is durable: jobs wait for the journal.
    WhenDurable,
}

/// How much room cases make in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    WithinLimit,
    All,
}

/// One shard.
pub struct Shard {
    options: Options,
    registry: Arc<Registry>,
    progress: Arc<Progress>,
    cases: Cases,
    positions: [u64; PARTITION_COUNT],
    last_cases: [Option<CaseId>; PARTITION_COUNT],
    keys: Keys,
    /// Cases begun under a business key and not durable yet; the follower knows the others.
    business: HashMap<Hash16, CaseId>,
    /// Specifications registered and not durable yet.
    specs: Vec<Arc<Registered>>,
    spec_count: u32,
    /// Requests that wait for a parked case, or for the answer about a business key.
    parked: HashMap<CaseId, VecDeque<Work>>,
    asked_business: HashMap<Hash16, VecDeque<Request>>,
    /// Requests whose key is that of one that waits.
    same_key: VecDeque<Request>,
    waiting_keys: HashSet<Hash16>,
    /// Jobs that the turns so far had no room for.
    jobs: VecDeque<Work>,
    /// Cases, not in memory, that may have something to do by themselves.
    duties: VecDeque<CaseId>,
    /// The latest time that anything was done with.
    now: Time,
    batch: u64,
    /// The last batch that is known to be durable.
    durable: u64,
    generation: u64,
    undo: VecDeque<Undo>,
    /// Bytes of all batches that are not durable.
    undurable_bytes: usize,
    is_stopping: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("shard", &self.options.shard)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// Returns a shard that holds no case yet.
    pub fn new(options: Options, registry: Arc<Registry>, progress: Arc<Progress>, start: Start) -> Self {
        let mut positions = [0; PARTITION_COUNT];
        positions.copy_from_slice(&start.positions);
        let mut last_cases = [None; PARTITION_COUNT];
        last_cases.copy_from_slice(&start.last_cases);
        let mut keys = Keys::default();
        for (partition, at, hash) in start.keys {
            keys.put_client(partition, at, hash);
        }
        for (hash, partition, row) in start.service_keys {
            keys.put_service(partition, hash, row);
        }
        Self {
            options,
            registry,
            generation: progress.generation.load(Ordering::Acquire),
            progress,
            cases: Cases::new(),
            positions,
            last_cases,
            keys,
            business: HashMap::new(),
            specs: Vec::new(),
            spec_count: start.spec_count,
            parked: HashMap::new(),
            asked_business: HashMap::new(),
            same_key: VecDeque::new(),
            waiting_keys: HashSet::new(),
            jobs: VecDeque::new(),
            duties: start.unfinished.into(),
            now: start.time,
            batch: 0,
            durable: 0,
            undo: VecDeque::new(),
            undurable_bytes: 0,
            is_stopping: false,
        }
    }

    fn take_in(&mut self, id: CaseId, rows: Rows) -> Result<(), String> {
        let spec = self.registry.get(rows.case.spec).ok_or("its specification is not registered")?;
        self.cases.load(id, rows, spec.run()).map_err(|error| error.to_string())
    }

    /// Returns what the shard knows of its cases, for checks.
    pub fn cases(&self) -> &Cases {
        &self.cases
    }

    /// Tells whether the shard was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Tells whether somebody waits for something that the shard has not done yet.
    pub fn is_waiting(&self) -> bool {
        let is_asked = |work: &Work| work.client.is_some();
        self.parked.values().any(|queue| queue.iter().any(is_asked))
            || self.jobs.iter().any(is_asked)
            || !self.asked_business.is_empty()
    }

    /// Tells when the shard wants its next turn.
    pub fn next_turn(&self) -> NextTurn {
        if self.jobs.is_empty() && (self.duties.is_empty() || self.parked.len() >= DUTIES_AT_ONCE_MAX) {
            NextTurn::OnMessage
        } else if self.undurable_bytes >= UNDURABLE_BYTES_MAX {
            NextTurn::WhenDurable
        } else {
            NextTurn::Now
        }
    }

    /// Works through messages and what earlier turns had no room for. Whatever `Turned` holds must be handed on.
    pub fn turn(&mut self, now: Time, messages: Vec<Message>, timer: &mut impl Timer) -> Turned {
        self.follow_progress();
        self.now = self.now.max(now);
        let mut turn = Turn::new(self.now, self.options.shard, self.batch + 1, self.generation);
        turn.jobs = std::mem::take(&mut self.jobs);
        let mut is_doubtful = false;
        for message in messages {
            match message {
                Message::Requests(requests) => {
                    for request in requests {
                        self.admit(&mut turn, request);
                    }
                }
                Message::Told(told) => self.told(&mut turn, told),
                Message::Beat => {}
                Message::Minute => self.expire_keys(&mut turn),
                Message::Doubt => is_doubtful = true,
                Message::Stop => self.is_stopping = true,
            }
        }
        self.run(&mut turn, timer);
        while self.release_same_key(&mut turn) {
            self.run(&mut turn, timer);
        }
        if self.is_stopping {
            // What cases have to do by themselves is derived again at the next start.
            self.jobs.retain(|work| work.client.is_some());
            self.duties.clear();
        }
        self.see_to_duties(&mut turn);
        let turned = self.finish(turn);
        self.make_room(if is_doubtful { Room::All } else { Room::WithinLimit });
        turned
    }

    fn finish(&mut self, mut turn: Turn) -> Turned {
        let questions = std::mem::take(&mut turn.questions);
        let visited = std::mem::take(&mut turn.visited);
        let mut batches = Vec::new();
        for (staged, undo) in turn.into_batches() {
            self.batch = staged.batch;
            self.undurable_bytes += undo.bytes;
            if !staged.entries.is_empty() {
                self.undo.push_back(undo);
            }
            batches.push(staged);
        }
        for case in visited {
            self.forget_if_closed(case);
        }
        Turned { batches, questions }
    }

    /// Lets idle cases go: all, or when those in memory take more than they may.
    fn make_room(&mut self, room: Room) {
        if room == Room::WithinLimit && self.cases.bytes() <= self.options.cache_bytes / turn::AT_WORK_SHARE {
            return;
        }
        let (parked, waiting) = (&self.parked, self.cases_with_jobs());
        let must_stay = |case| parked.contains_key(&case) || waiting.contains(&case);
        match room {
            Room::WithinLimit => self.cases.shrink(self.options.cache_bytes, self.durable, &must_stay),
            Room::All => self.cases.forget_idle(self.durable, &must_stay),
        }
    }

    fn cases_with_jobs(&self) -> HashSet<CaseId> {
        self.jobs.iter().map(|work| work.job.case).collect()
    }

    /// Tells whether cases take no more memory than they may, those aside that cannot leave yet. For checks.
    pub fn is_within_memory(&self) -> bool {
        let waiting = self.cases_with_jobs();
        let must_stay = |case| self.parked.contains_key(&case) || waiting.contains(&case);
        self.cases.bytes() <= self.options.cache_bytes || !self.cases.could_shrink(self.durable, &must_stay)
    }

    /// Returns how much of everything the shard holds.
    pub fn held(&self) -> Held {
        let creates = self.asked_business.values().map(VecDeque::len);
        Held {
            parked: self.parked.values().map(VecDeque::len).chain(creates).sum(),
            case_bytes: self.cases.bytes(),
            undurable_bytes: self.undurable_bytes,
            keys: self.keys.client_count(),
        }
    }

    /// Hears what became of earlier batches.
    fn follow_progress(&mut self) {
        let generation = self.progress.generation.load(Ordering::Acquire);
        self.durable = self.progress.durable_batch.load(Ordering::Acquire);
        while self.undo.front().is_some_and(|undo| undo.batch <= self.durable) {
            let Some(undo) = self.undo.pop_front() else { break };
            self.undurable_bytes -= undo.bytes;
            for hash in undo.business {
                self.business.remove(&hash);
            }
            self.specs.retain(|spec| !undo.specs.iter().any(|durable| durable.number == spec.number));
            for case in undo.cases {
                self.forget_if_closed(case);
            }
        }
        if generation != self.generation {
            self.generation = generation;
            self.take_all_back();
        }
    }

    /// Makes as if nothing had been done that is not durable. Cases are fetched anew, because they may have duties.
    fn take_all_back(&mut self) {
        let positions = self.progress.positions.lock().unwrap_or_else(PoisonError::into_inner);
        self.positions.copy_from_slice(&positions);
        drop(positions);
        let mut forgotten = BTreeSet::new();
        while let Some(undo) = self.undo.pop_back() {
            self.undurable_bytes -= undo.bytes;
            for (partition, key) in undo.keys.iter().rev() {
                self.keys.take_back(*partition, key);
            }
            self.keys.put_back(undo.expired_keys);
            for hash in undo.business {
                self.business.remove(&hash);
            }
            for spec in undo.specs {
                self.specs.retain(|staged| staged.number != spec.number);
                self.spec_count -= 1;
            }
            forgotten.extend(undo.cases);
        }
        for case in forgotten {
            self.cases.forget(case);
            self.duties.push_back(case);
        }
    }

    /// Asks for some of the cases that have something to do by themselves.
    fn see_to_duties(&mut self, turn: &mut Turn) {
        while self.parked.len() < DUTIES_AT_ONCE_MAX
            && let Some(case) = self.duties.pop_front()
        {
            // Whatever is taken into memory goes on by itself first.
            if !self.cases.contains(case) && !self.parked.contains_key(&case) {
                self.fetch(turn, Work::go_on(case));
            }
        }
    }

    fn forget_if_closed(&mut self, case: CaseId) {
        let is_closed =
            self.cases.get(case).is_some_and(|case| matches!(case.existing().status, Status::Closed(_)));
        if is_closed && self.cases.is_durable(case, self.durable) {
            self.cases.forget(case);
        }
    }

    fn admit(&mut self, turn: &mut Turn, request: Request) {
        let key = request.key.hash;
        if self.waiting_keys.contains(&key) {
            if self.same_key.len() >= PARKED_COMMANDS_MAX {
                return turn.refuse(request, answers::busy("requests under one key"));
            }
            return self.same_key.push_back(request);
        }
        if let Some(used) = self.keys.get(&key) {
            let repeat = match used {
                KeyUse::Client(at) => Repeat::Client(request.act.partition(), at, key),
                KeyUse::Service(partition, row) => Repeat::Service(partition, row),
            };
            let reply = Reply::Repeat(Box::new(repeat));
            return turn.answer(request, reply);
        }
        if request.key.maker == Maker::Client && self.keys.client_count() >= self.options.keys_max {
            return turn.refuse(request, answers::busy("idempotency keys"));
        }
        let is_known = match &request.act {
            // More commands on a case that waits are bounded by themselves.
            Asked::Case(case, _) | Asked::Item(case, ..) => self.parked.contains_key(case),
            Asked::Create { .. } | Asked::Register(_) => false,
        };
        if !is_known && self.parked.len() + self.asked_business.len() >= QUESTIONS_MAX {
            return turn.refuse(request, answers::busy("open questions"));
        }
        match &request.act {
            Asked::Register(_) => self.register(turn, request),
            Asked::Create { business_key: Some((_, hash)), .. } => {
                let hash = *hash;
                self.admit_business(turn, request, hash);
            }
            Asked::Create { .. } => self.begin(turn, request),
            Asked::Case(case, _) | Asked::Item(case, ..) => {
                let case = *case;
                self.admit_case(turn, request, case);
            }
        }
    }

    fn admit_business(&mut self, turn: &mut Turn, request: Request, hash: Hash16) {
        if let Some(case) = self.business.get(&hash) {
            let reply = Reply::Repeat(Box::new(Repeat::Business(*case)));
            return turn.answer(request, reply);
        }
        let partition = request.act.partition();
        let is_asked = self.asked_business.contains_key(&hash);
        let queue = self.asked_business.entry(hash).or_default();
        if queue.len() >= PARKED_COMMANDS_MAX {
            return turn.refuse(request, answers::busy("creates under one business key"));
        }
        self.waiting_keys.insert(request.key.hash);
        queue.push_back(request);
        if !is_asked {
            turn.questions.push(Question::Business(partition, hash));
        }
    }

    fn admit_case(&mut self, turn: &mut Turn, request: Request, case: CaseId) {
        if let Some(queue) = self.parked.get_mut(&case) {
            if queue.len() >= PARKED_COMMANDS_MAX {
                return turn.refuse(request, answers::busy("commands of one parked case"));
            }
            self.waiting_keys.insert(request.key.hash);
            return queue.push_back(Work::of(request));
        }
        if self.cases.contains(case) {
            self.waiting_keys.insert(request.key.hash);
            return turn.jobs.push_back(Work::of(request));
        }
        self.waiting_keys.insert(request.key.hash);
        self.fetch(turn, Work::of(request));
    }

    /// Parks the first work of a case that is not in memory, and asks for its rows.
    fn fetch(&mut self, turn: &mut Turn, work: Work) {
        let case = work.job.case;
        self.parked.insert(case, VecDeque::from([work]));
        turn.questions.push(Question::Load(case));
    }

    fn begin(&mut self, turn: &mut Turn, request: Request) {
        let Request { act: Asked::Create { partition, spec, data, business_key }, key, answerer } = request
        else {
            unreachable!("invariant: only creates come here")
        };
        let case = CaseId::next(turn.now, partition, self.last_cases[partition.index()]);
        self.last_cases[partition.index()] = Some(case);
        self.waiting_keys.insert(key.hash);
        let business = business_key.as_ref().map(|entry| entry.1);
        let business_key = business_key.map(|entry| entry.0);
        let command = Command::Create { spec: spec.number, business_key, data };
        turn.jobs.push_back(Work {
            job: Job { case, registered: Some(spec.run()), what: What::Command(command) },
            client: Some(Client { key, act: Act::Create, business, answerer }),
        });
    }

    fn register(&mut self, turn: &mut Turn, request: Request) {
        let Request { act: Asked::Register(new), key, answerer } = request else {
            unreachable!("invariant: only registrations come here")
        };
        let client = Client { key, act: Act::Register, business: None, answerer };
        let NewSpecification { mut registration, workflow } = *new;
        let mut versions = self.registry.versions(&registration.uri);
        versions.extend(self.specs.iter().filter(|spec| spec.workflow.uri == registration.uri).cloned());
        if let Some(same) = versions.iter().find(|spec| spec.source == registration.hash) {
            let view = answers::specification(same, IsNew::No);
            return turn.reply(client, Reply::Registered(view));
        }
        if self.spec_count >= SPECIFICATIONS_MAX {
            return turn.reply(client, Reply::Refused(answers::busy("registered specifications")));
        }
        self.spec_count += 1;
        registration.number = SpecNumber(self.spec_count);
        registration.version = versions.iter().map(|spec| spec.version).max().unwrap_or(0) + 1;
        let registered = Arc::new(Registered {
            number: registration.number,
            version: registration.version,
            at: turn.now,
            warnings: registration.warnings.clone(),
            source: registration.hash,
            workflow,
        });
        let key_fact = Some(key.fact(Act::Register));
        let record = Record { at: turn.now, key: key_fact, body: Body::Registered(Box::new(registration)) };
        let n = self.stage(turn, Partition::SPECIFICATIONS, 0, Link::default(), record.encode()).n;
        let row = KeyRow {
            n,
            case: CaseId(0),
            spec: Some(registered.number),
            request: key.request,
            act: Act::Register,
            at: turn.now,
        };
        self.use_key(turn, key, Partition::SPECIFICATIONS, row);
        self.specs.push(Arc::clone(&registered));
        turn.undo.specs.push(Arc::clone(&registered));
        let view = answers::specification(&registered, IsNew::Yes);
        turn.staged.publish.push(registered);
        turn.reply(client, Reply::Registered(view));
    }

    fn told(&mut self, turn: &mut Turn, told: Told) {
        match told {
            Told::Loaded(case, rows) => self.loaded(turn, case, rows),
            Told::Business(partition, hash, found) => {
                let queue = self.asked_business.remove(&hash).unwrap_or_default();
                for request in queue {
                    self.waiting_keys.remove(&request.key.hash);
                    match &found {
                        Err(refusal) => turn.refuse(request, refusal.clone()),
                        Ok(Some(case)) => {
                            let reply = Reply::Repeat(Box::new(Repeat::Business(*case)));
                            turn.answer(request, reply);
                        }
                        // The first begins it; the others then find it in memory, or ask again if it was refused.
                        Ok(None) if self.business_is_free(turn, hash) => self.begin(turn, request),
                        Ok(None) => self.admit_later(request),
                    }
                }
                debug_assert!(partition.index() < PARTITION_COUNT);
            }
            Told::Judged(case, question, judgement) => {
                let Some(queue) = self.parked.remove(&case) else { return };
                if self.cases.get(case).is_none() {
                    // The journal failed meanwhile and the case was forgotten: its duties are derived anew.
                    self.parked.insert(case, queue);
                    return turn.questions.push(Question::Load(case));
                }
                let job = Job { case, registered: None, what: What::Judged(*question, judgement) };
                turn.jobs.push_back(Work { job, client: None });
                turn.jobs.extend(queue);
            }
        }
    }

    fn business_is_free(&self, turn: &Turn, hash: Hash16) -> bool {
        let is_begun = |work: &Work| work.client.as_ref().is_some_and(|client| client.business == Some(hash));
        !self.business.contains_key(&hash) && !turn.jobs.iter().any(is_begun)
    }

    fn admit_later(&mut self, request: Request) {
        // Bounded by the queue that it comes from.
        self.same_key.push_back(request);
    }

    fn loaded(&mut self, turn: &mut Turn, case: CaseId, rows: Result<Option<Box<Rows>>, Refusal>) {
        let Some(queue) = self.parked.remove(&case) else { return };
        let found = match rows {
            Ok(None) => Err(answers::refusal(&case::Error::NoCase)),
            Ok(Some(rows)) => self.take_in(case, *rows).map_err(|reason| answers::unreadable(&reason)),
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok(()) => {
                turn.jobs.push_back(Work::go_on(case));
                turn.jobs.extend(queue);
                turn.visited.push(case);
            }
            Err(refusal) => {
                let is_duty = queue.iter().any(|work| work.client.is_none());
                if is_duty && refusal.kind == Kind::Busy {
                    self.duties.push_back(case);
                }
                for work in queue {
                    let Some(client) = work.client else { continue };
                    self.waiting_keys.remove(&client.key.hash);
                    turn.reply(client, Reply::Refused(refusal.clone()));
                }
            }
        }
    }

    /// Gives requests another try that waited for one with their key; tells whether any was admitted.
    fn release_same_key(&mut self, turn: &mut Turn) -> bool {
        let waiting = std::mem::take(&mut self.same_key);
        let mut is_any = false;
        for request in waiting {
            if self.waiting_keys.contains(&request.key.hash) {
                self.same_key.push_back(request);
            } else {
                is_any = true;
                self.admit(turn, request);
            }
        }
        is_any
    }

    /// Tells whether jobs have to wait for the next turn, or for the journal.
    fn is_full(&self, turn: &Turn) -> bool {
        turn.bytes() >= TURN_BATCHES_MAX * self.options.batch_bytes_max
            || self.undurable_bytes + turn.bytes() >= UNDURABLE_BYTES_MAX
    }

    /// Runs jobs, at most one a case at a time, so that each answer shows the case as its own command left it. What
    /// the turn has no room for waits.
    fn run(&mut self, turn: &mut Turn, timer: &mut impl Timer) {
        while !turn.jobs.is_empty() && !self.is_full(turn) {
            let mut clients = Vec::with_capacity(turn.jobs.len());
            let mut jobs = Vec::with_capacity(turn.jobs.len());
            let mut seen = HashSet::with_capacity(turn.jobs.len());
            for work in std::mem::take(&mut turn.jobs) {
                let case = work.job.case;
                if self.parked.contains_key(&case) {
                    self.park(turn, work);
                } else if work.job.registered.is_none() && !self.cases.contains(case) {
                    // It was forgotten while the job waited.
                    self.fetch(turn, work);
                } else if seen.insert(case) {
                    clients.push((case, work.client));
                    jobs.push(work.job);
                } else {
                    turn.jobs.push_back(work);
                }
            }
            let outcomes = self.cases.turn(turn.now, jobs, &self.options.limits, timer);
            assert_eq!(outcomes.len(), clients.len(), "invariant: every job has its outcome");
            for ((case, client), outcome) in clients.into_iter().zip(outcomes) {
                self.settle(turn, case, client, outcome);
            }
        }
        self.jobs.append(&mut turn.jobs);
    }

    fn park(&mut self, turn: &mut Turn, work: Work) {
        let queue = self.parked.entry(work.job.case).or_default();
        match work.client {
            Some(client) if queue.len() >= PARKED_COMMANDS_MAX => {
                self.waiting_keys.remove(&client.key.hash);
                turn.reply(client, Reply::Refused(answers::busy("commands of one parked case")));
            }
            client => queue.push_back(Work { job: work.job, client }),
        }
    }

    fn settle(&mut self, turn: &mut Turn, case: CaseId, client: Option<Client>, outcome: Outcome) {
        let done = match outcome {
            Outcome::Done(done) => *done,
            Outcome::Refused(error) => {
                turn.visited.push(case);
                if let Some(client) = client {
                    self.waiting_keys.remove(&client.key.hash);
                    turn.reply(client, Reply::Refused(answers::refusal(&error)));
                }
                return;
            }
            // The case has to go on first; its duties are derived, and then the command has its turn.
            Outcome::Held(job) => {
                turn.jobs.push_front(Work { job, client });
                return turn.jobs.push_front(Work::go_on(case));
            }
        };
        // A client's key is kept also when there was nothing to do, so that a repeat is answered as the first was.
        let is_kept = client.as_ref().is_some_and(|client| client.key.maker == Maker::Client);
        if !done.events.is_empty() || is_kept {
            self.stage_events(turn, case, client.as_ref(), &done.events);
            turn.count(&done.tally);
        }
        if let Some(client) = client {
            self.waiting_keys.remove(&client.key.hash);
            let reply = match (done.answer, client.act) {
                (turn::Answer::Case(view), Act::Create) => Reply::Done(Answer::Created(view, IsNew::Yes)),
                (turn::Answer::Case(view), _) => Reply::Done(Answer::Case(view)),
                (turn::Answer::Item(view), _) => Reply::Done(Answer::Item(view, done.state)),
                (turn::Answer::Nothing, _) => Reply::Refused(answers::refusal(&case::Error::NoItem)),
            };
            turn.reply(client, reply);
        }
        if let Some(question) = done.parked {
            self.parked.entry(case).or_default();
            turn.questions.push(Question::Judge(case, Box::new(question)));
        } else if done.unfinished {
            turn.jobs.push_back(Work::go_on(case));
        }
    }

    fn stage_events(&mut self, turn: &mut Turn, case: CaseId, client: Option<&Client>, events: &[Event]) {
        let partition = case.partition();
        let payload = encode::events_to_bytes(events);
        let record = Record {
            at: turn.now,
            key: client.map(|client| client.key.fact(client.act)),
            body: Body::Case(&payload),
        };
        let previous = self.cases.get(case).map_or_else(Link::default, |case| case.existing().last);
        let link = self.stage(turn, partition, case.0, previous, record.encode());
        self.cases.link(case, link);
        self.cases.stage(case, turn.undo.batch);
        turn.undo.cases.insert(case);
        let Some(client) = client else { return };
        if let Some(hash) = client.business {
            self.business.insert(hash, case);
            turn.undo.business.push(hash);
        }
        let row = KeyRow {
            n: link.n,
            case,
            spec: None,
            request: client.key.request,
            act: client.act,
            at: turn.now,
        };
        self.use_key(turn, client.key, partition, row);
    }

    fn stage(
        &mut self,
        turn: &mut Turn,
        partition: Partition,
        subject: u64,
        previous: Link,
        payload: Vec<u8>,
    ) -> Link {
        let position = &mut self.positions[partition.index()];
        *position += 1;
        let previous = store::Link { n: previous.n, hash: previous.hash };
        let entry = Entry { partition, n: *position, subject, previous, payload };
        let link = entry.link();
        turn.stage(entry, self.options.batch_bytes_max);
        Link { n: link.n, hash: link.hash }
    }

    fn use_key(&mut self, turn: &mut Turn, key: Key, partition: Partition, row: KeyRow) {
        turn.undo.keys.push((partition, key.hash));
        match key.maker {
            Maker::Client => self.keys.put_client(partition, turn.now, key.hash),
            Maker::Service => self.keys.put_service(partition, key.hash, row),
        }
    }

    /// Forgets clients' keys that are old enough, by a fact in each partition that has any.
    fn expire_keys(&mut self, turn: &mut Turn) {
        let before = turn.now.minus_us(self.options.key_us);
        let mut by_partition: BTreeMap<Partition, Vec<_>> = BTreeMap::new();
        for expired in self.keys.expire(before) {
            by_partition.entry(expired.0).or_default().push(expired);
        }
        for (partition, expired) in by_partition {
            let record = Record { at: turn.now, key: None, body: Body::KeysExpired { before } };
            self.stage(turn, partition, 0, Link::default(), record.encode());
            turn.undo.expired_keys.extend(expired);
        }
    }
}
