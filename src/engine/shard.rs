//! A shard: all live cases of some partitions, and what is asked of them. A state machine with an inbox and an
//! outbox; a pinned thread drives it, or the simulator does. It never waits and never touches a file or socket.
//!
//! What it does is only staged: the journal's writer makes it durable, lets the answers go and says so through
//! [`Progress`]. When the journal fails, everything since the last durable batch is forgotten and fetched anew.
//! [`admit`] has what comes of a request, [`told`] what waits for an answer, [`progress`] what follows the journal, [`room`]
//! what leaves memory, [`loads`] what is read back, [`moving`] what leaves the live store or comes back, [`keys`] what is known of keys, [`batches`] what a turn stages, [`arrivals`] what it has not looked at, [`jobs`] and [`work`] the jobs.
//!
//! A turn ends when its slice is used up ([`SLICE_STEPS`]): what it was at is left unfinished and goes on in a later one.
//! Single commands go before batches and before what cases do by themselves; after a turn of single commands these have one.

mod admit;
mod arrivals;
mod batches;
mod jobs;
mod keys;
mod loads;
mod moving;
mod progress;
mod pulse;
mod ring;
mod room;
mod told;
mod work;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::answers;
use super::places::{Holder, Places};
use super::queues::command_bytes;
use super::record::{Body, Hash16, Maker, Record};
use super::registry::{Registered, Registry};
use super::request::{Class, Computation, Message, Question, Reply, Request, Staged};
use super::service::Answer;
use super::tables::KeyRow;
use super::traced::Traced;
use super::turn::{Cases, JOB_STEPS, Job, Limits, Outcome, Timer, Used, What};
use crate::case;
use crate::case::effort::{self, AGAIN_STEPS_MAX};
use crate::case::encode::Payload;
use crate::case::event::InstanceNumber;
use crate::case::row::Link;
use crate::id::{CaseId, PARTITION_COUNT, Partition, Time};
use crate::store::{self, Entry};
use crate::telemetry::metrics::labels::Queue;

pub use arrivals::ADMITTED_AT_ONCE_MAX;
use arrivals::Arrivals;
use batches::{Turn, Undo};
pub use jobs::FOUND_BYTES_MAX;
use jobs::Jobs;
pub use keys::{
    EXPIRED_KEYS_MAX, Keys, PlantedBug, SERVICE_KEY_US, SERVICE_KEYS_MAX, SHARD_KEYS_BYTES_MAX,
    keys_bytes_max,
};
use loads::Loads;
use pulse::Beating;
pub use pulse::Pulse;
pub use ring::{KEY_BYTES_MAX, KEYS_HEAD_BYTES};
use room::Room;
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
/// After this many evaluation steps a turn begins nothing more: about 0.4 ms of a core of 2026.
pub const TURN_STEPS: u64 = 25_000;
/// An expression that takes more steps, those for its data included, is left to a thread of its own.
pub const EXPRESSION_STEPS_MAX: u64 = 4_000;
/// A slice: no turn takes more evaluation steps, because what it is at may evaluate one expression, behind those that it
/// has to evaluate again.
pub const SLICE_STEPS: u64 = TURN_STEPS + AGAIN_STEPS_MAX + EXPRESSION_STEPS_MAX;
/// How a shard shares out its work.
pub const EFFORT: effort::Limits =
    effort::Limits { steps: TURN_STEPS, expression_steps: EXPRESSION_STEPS_MAX };
/// Jobs of [`Class::Bulk`] wait once the journal has so many bytes to write for others of them: a single command is written
/// behind these.
pub const AHEAD_BYTES_MAX: usize = 256 * 1024;
/// A turn takes so many jobs at a time: those that it does not come to are put back.
const JOBS_AT_ONCE_MAX: usize = 512;

/// The case of a job that is at work, who waits for it, and the nets of the case's instances if it is traced.
type AtWork = (CaseId, Option<Client>, Vec<(InstanceNumber, u16)>);

/// How a shard is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Its number.
    pub shard: usize,
    /// Bounds of one command.
    pub limits: Limits,
    /// Bounds that may change.
    pub bounds: Bounds,
    /// Most bytes of a batch: what a frame has room for.
    pub batch_bytes_max: usize,
}

/// Bounds of a shard that may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most steps that automated tasks take by themselves after one command.
    pub automated_steps_max: u32,
    /// Clients' keys are kept so long, in microseconds.
    pub key_us: u64,
    /// Bytes for cases in memory; beyond that idle ones leave.
    pub cache_bytes: usize,
    /// Most bytes that a shard has staged and that are not durable, and of the cases that they changed; then its jobs
    /// wait for the journal.
    pub undurable_bytes_max: usize,
    /// Most bytes of compiled specifications.
    pub specifications_bytes_max: usize,
}

impl Bounds {
    /// Returns those of one of `shards` shards.
    pub fn of(options: &super::Options, shards: usize) -> Self {
        Self {
            automated_steps_max: options.automated_steps_max,
            key_us: options.key_us,
            cache_bytes: options.cache_bytes / shards,
            specifications_bytes_max: options.queues.specifications_bytes_max,
            undurable_bytes_max: (options.queues.undurable_bytes_max / shards).max(1),
        }
    }
}

/// What the writer tells a shard: how far it is durable, and how often the journal failed. And what the shard shows.
#[derive(Debug, Default)]
pub struct Progress {
    /// The shard's last durable batch.
    pub durable_batch: AtomicU64,
    /// How often something of this shard was not written, or the journal failed.
    pub generation: AtomicU64,
    /// The positions that the shard goes on from in this generation; empty in the first.
    pub positions: Mutex<Vec<u64>>,
    /// The shard's signs of life.
    pub pulse: Pulse,
}

/// What a shard knew of its partitions before it read anything else.
#[derive(Debug)]
pub struct Start {
    /// Position of the last entry of each partition.
    pub positions: Vec<u64>,
    /// Newest case of each partition.
    pub last_cases: Vec<Option<CaseId>>,
    /// The clock at the start, and never earlier than what is stored.
    pub time: Time,
    /// Clients' keys in use.
    pub keys: Keys,
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
    /// For whoever works out what takes long.
    pub computations: Vec<Computation>,
    /// Queues that had no room, one for each request that was refused because of that.
    pub overfull: Vec<Queue>,
    /// What was used up.
    pub used: Used,
    /// Commands that were not begun, because nobody waited for them any more.
    pub unawaited: usize,
    /// Of each single command that was begun and had waited for nothing but the shard: the evaluation steps that the
    /// shard took from when it was put into the inbox.
    pub waited_steps: Vec<u64>,
}

/// How much of what is bounded a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Commands that wait for a parked case or for the answer about a business key.
    pub parked: usize,
    /// Bytes of cases in memory, as far as they can be told.
    pub case_bytes: usize,
    /// Bytes of batches that are not durable, and of the cases that they changed.
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
    /// When there is a message for it, or has been none for a while: idle cases are to be encoded.
    AtLeisure,
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
    /// Business keys that are asked about, and under which a case was begun since.
    stale_business: HashSet<Hash16>,
    /// Requests whose key is that of one that waits.
    same_key: VecDeque<Request>,
    waiting_keys: HashSet<Hash16>,
    /// Set while more keys must expire after the current ones are durable.
    is_expiring: bool,
    /// Cases that left or came, and that is not durable yet: nothing is asked of them meanwhile.
    moving: HashSet<CaseId>,
    /// Requests that the turns so far have not looked at.
    arrivals: Arrivals,
    /// Jobs that the turns so far had no room for.
    jobs: Jobs,
    /// Single commands had the last turn to themselves, and something else waited.
    is_bulk_due: bool,
    /// Cases to be read back.
    loads: Loads,
    /// Cases, not in memory or about to leave it, that may have something to do by themselves, and how many steps they have
    /// taken so.
    duties: VecDeque<(CaseId, u32)>,
    /// The latest time that anything was done with.
    now: Time,
    batch: u64,
    /// The last batch that is known to be durable.
    durable: u64,
    generation: u64,
    undo: VecDeque<Undo>,
    /// Bytes of all batches that are not durable, and of the cases that they changed.
    undurable_bytes: usize,
    /// Bytes that the journal has yet to write for jobs of [`Class::Bulk`].
    ahead_bytes: usize,
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
        let mut keys = start.keys;
        keys.note_oldest();
        for (hash, partition, row) in start.service_keys {
            keys.put_service(partition, hash, row);
        }
        let mut cases = Cases::new();
        cases.reserve(options.bounds.cache_bytes);
        Self {
            options,
            registry,
            generation: progress.generation.load(Ordering::Acquire),
            progress,
            cases,
            positions,
            last_cases,
            keys,
            business: HashMap::new(),
            specs: Vec::new(),
            spec_count: start.spec_count,
            parked: HashMap::new(),
            asked_business: HashMap::new(),
            stale_business: HashSet::new(),
            same_key: VecDeque::new(),
            waiting_keys: HashSet::new(),
            is_expiring: false,
            moving: HashSet::new(),
            arrivals: Arrivals::default(),
            jobs: Jobs::default(),
            is_bulk_due: false,
            loads: Loads::new(),
            duties: start.unfinished.into_iter().map(|case| (case, 0)).collect(),
            now: start.time,
            batch: 0,
            durable: 0,
            undo: VecDeque::new(),
            undurable_bytes: 0,
            ahead_bytes: 0,
            is_stopping: false,
        }
    }

    /// Returns what the shard knows of its cases, for checks.
    pub fn cases(&self) -> &Cases {
        &self.cases
    }

    /// Returns what counts the places of clients' keys, for all shards.
    pub fn places(&self) -> &Arc<Places> {
        self.keys.places()
    }

    /// Makes a mistake from now on. For checks of the simulator.
    pub fn plant(&mut self, bug: PlantedBug) {
        self.keys.plant(bug);
    }

    /// Returns clients' keys, by partition and oldest first, with who has their places. For checks.
    pub fn client_keys(&self) -> impl Iterator<Item = (Partition, Hash16, Holder)> + '_ {
        self.keys.clients()
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
            || !self.arrivals.is_empty()
    }

    /// Tells when the shard wants its next turn.
    pub fn next_turn(&self) -> NextTurn {
        let has_work = self.jobs.is_any_next() || !self.arrivals.is_empty();
        if !has_work && !self.is_duty_next() {
            // Cases that are put off leave once they are durable.
            let waits_for_room = self.loads.is_waiting() || !self.duties.is_empty();
            if self.is_expiring || (waits_for_room && !self.undo.is_empty()) {
                NextTurn::WhenDurable
            } else if self.cases.is_resting() {
                NextTurn::AtLeisure
            } else {
                NextTurn::OnMessage
            }
        } else if self.undurable_bytes >= self.options.bounds.undurable_bytes_max || self.is_bulk_ahead() {
            NextTurn::WhenDurable
        } else {
            NextTurn::Now
        }
    }

    /// Works through messages and what earlier turns had no room for. Whatever `Turned` holds must be handed on.
    pub fn turn(&mut self, now: Time, messages: Vec<Message>, timer: &mut impl Timer) -> Turned {
        self.progress.pulse.beat();
        self.follow_progress();
        self.now = self.now.max(now);
        let mut turn = Turn::new(self.now, self.options.shard, self.batch + 1, self.generation);
        turn.jobs = std::mem::take(&mut self.jobs);
        let mut is_doubtful = false;
        for message in messages {
            match message {
                Message::Requests(requests) => self.arrive(&mut turn, requests),
                Message::Told(told) => self.told(&mut turn, told),
                Message::Beat => {}
                Message::Minute => self.is_expiring = true,
                Message::Doubt => is_doubtful = true,
                Message::Bounds(bounds) => self.keep_to(bounds),
                Message::Stop => self.is_stopping = true,
            }
        }
        if self.is_expiring {
            self.expire_keys(&mut turn);
        }
        self.admit_some(&mut turn);
        let is_at_leisure = turn.jobs.is_empty();
        self.share(&mut turn, timer);
        self.jobs = std::mem::take(&mut turn.jobs);
        if self.is_stopping {
            // What cases have to do by themselves is derived again at the next start.
            self.jobs.keep_asked();
            self.duties.clear();
            self.is_expiring = false;
        }
        self.see_to_duties();
        let mut turned = self.finish(turn);
        self.make_room(if is_doubtful { Room::All } else { Room::WithinLimit });
        turned.questions.extend(self.loads_now());
        if is_at_leisure {
            self.rest();
        }
        turned
    }

    /// Keeps to other bounds from now on. Markings for which there was no room at the start move as they become more.
    fn keep_to(&mut self, bounds: Bounds) {
        self.options.bounds = bounds;
        self.options.limits.automated_steps_max = bounds.automated_steps_max;
    }

    fn finish(&mut self, mut turn: Turn) -> Turned {
        let questions = std::mem::take(&mut turn.questions);
        let computations = std::mem::take(&mut turn.computations);
        let visited = std::mem::take(&mut turn.visited);
        let overfull = std::mem::take(&mut turn.overfull);
        let (used, unawaited) = (turn.used, turn.unawaited);
        let waited_steps = std::mem::take(&mut turn.waited_steps);
        let mut batches = Vec::new();
        for (staged, undo) in turn.into_batches() {
            self.batch = staged.batch;
            self.undurable_bytes += undo.bytes;
            self.ahead_bytes += undo.bulk_bytes;
            if !staged.entries.is_empty() {
                self.undo.push_back(undo);
            }
            batches.push(staged);
        }
        self.keys.note_oldest();
        for case in visited {
            self.forget_if_over(case);
        }
        Turned { batches, questions, computations, overfull, used, unawaited, waited_steps }
    }

    /// Tells whether jobs have to wait for the next turn, or for the journal.
    fn is_full(&self, turn: &Turn) -> bool {
        turn.used.steps >= self.options.limits.effort.steps
            || turn.bytes() >= TURN_BATCHES_MAX * self.options.batch_bytes_max
            || self.undurable_bytes + turn.held_bytes() >= self.options.bounds.undurable_bytes_max
    }

    /// Returns whether jobs of [`Class::Bulk`] wait for the journal, so that a single command finds little before it there.
    fn is_ahead(&self, turn: &Turn) -> bool {
        self.ahead_bytes + turn.bulk_bytes >= AHEAD_BYTES_MAX
    }

    /// Returns whether no job of [`Class::Single`] may be next, and the others wait for the journal.
    fn is_bulk_ahead(&self) -> bool {
        self.ahead_bytes >= AHEAD_BYTES_MAX && !self.jobs.has_class(Class::Single)
    }

    /// Returns how many bytes jobs may bring before the journal has to be waited for; at least one is run.
    fn room(&self, turn: &Turn, class: Class) -> usize {
        let held = self.undurable_bytes + turn.held_bytes();
        let room = self.options.bounds.undurable_bytes_max.saturating_sub(held);
        let ahead = AHEAD_BYTES_MAX.saturating_sub(self.ahead_bytes + turn.bulk_bytes);
        if class == Class::Bulk { room.min(ahead).max(1) } else { room.max(1) }
    }

    /// Returns how many jobs may come to their turn at the most: each takes some steps.
    fn jobs_at_once(&self, turn: &Turn) -> usize {
        let steps = self.options.limits.effort.steps.saturating_sub(turn.used.steps);
        usize::try_from(steps / JOB_STEPS + 1).unwrap_or(usize::MAX).min(JOBS_AT_ONCE_MAX)
    }

    /// Returns the bytes of what a job hands in, and of the case that it is about.
    fn bytes_of(&self, work: &Work) -> usize {
        let carried = match &work.job.what {
            What::Command(command) => command_bytes(command),
            _ => 0,
        };
        carried + self.cases.bytes_of(work.job.case)
    }

    /// Gives the turn to single commands, or to all else when there are none or they had the last one. A single
    /// command is answered before any other work is done.
    fn share(&mut self, turn: &mut Turn, timer: &mut impl Timer) {
        let is_bulk_due = std::mem::take(&mut self.is_bulk_due) && turn.jobs.has_class(Class::Bulk);
        let order = if is_bulk_due { [Class::Bulk, Class::Single] } else { [Class::Single, Class::Bulk] };
        for class in order {
            let mut is_any = self.run(turn, class, timer);
            while self.release_same_key(turn) {
                is_any |= self.run(turn, class, timer);
            }
            if is_any {
                self.is_bulk_due = class == Class::Single;
                break;
            }
        }
    }

    /// Runs jobs of a class, at most one a case at a time, so that each answer shows the case as its own command left
    /// it. What the turn has no room for waits. Returns whether any was run.
    fn run(&mut self, turn: &mut Turn, class: Class, timer: &mut impl Timer) -> bool {
        let mut is_any = false;
        turn.is_bulk = class == Class::Bulk;
        while !(self.is_full(turn) || class == Class::Bulk && self.is_ahead(turn)) {
            let works = turn.jobs.take(class, self.jobs_at_once(turn));
            if works.is_empty() {
                break;
            }
            let mut clients = Vec::with_capacity(works.len());
            let mut jobs = Vec::with_capacity(works.len());
            let (mut bytes, room) = (0, self.room(turn, class));
            let mut beyond = Vec::new();
            for work in works {
                let case = work.job.case;
                if bytes >= room {
                    beyond.push(work);
                } else if let Some(work) = self.ready(turn, work) {
                    bytes += self.bytes_of(&work);
                    let nets = self.nets_before(&work);
                    clients.push((case, work.client, nets));
                    jobs.push(work.job);
                } else {
                    turn.visited.push(case);
                    turn.jobs.done(case);
                }
            }
            // The last one first, so that they are in their old order.
            for work in beyond.into_iter().rev() {
                turn.jobs.put_back(work);
            }
            if jobs.is_empty() {
                continue;
            }
            is_any = true;
            turn.expect(jobs.len());
            let Limits { effort, .. } = self.options.limits;
            let effort = effort::Limits { steps: effort.steps - turn.used.steps, ..effort };
            let limits = Limits { effort, ..self.options.limits };
            let evaluated = self.progress.pulse.evaluated();
            let mut timer = Beating { timer: &mut *timer, pulse: &self.progress.pulse };
            let outcomes = self.cases.turn(turn.now, jobs, &limits, &mut timer);
            assert_eq!(outcomes.len(), clients.len(), "invariant: every job has its outcome");
            turn.used.add(self.cases.used());
            self.progress.pulse.add(self.cases.used().evaluated);
            self.see_to_outcomes(turn, clients, outcomes, evaluated);
        }
        is_any
    }

    /// Settles what came of jobs, and puts those back that are for a later turn. `evaluated` is what the shard had evaluated
    /// before it began them.
    fn see_to_outcomes(
        &mut self,
        turn: &mut Turn,
        clients: Vec<AtWork>,
        outcomes: Vec<Outcome>,
        evaluated: u64,
    ) {
        let mut not_begun = Vec::new();
        for ((case, mut client, nets), outcome) in clients.into_iter().zip(outcomes) {
            let outcome = match outcome {
                Outcome::Later(job) if job.broken_off.is_none() => {
                    not_begun.push(Work { job, client, moves: None });
                    continue;
                }
                outcome => outcome,
            };
            if let Some(asked_at) = client.as_mut().and_then(|client| client.asked_at.take()) {
                turn.waited_steps.push(evaluated.saturating_sub(asked_at));
            }
            if let Outcome::Later(job) = outcome {
                Self::break_off(turn, Work { job, client, moves: None });
                turn.jobs.done(case);
                continue;
            }
            if let Some(traced) = client.as_mut().and_then(|client| client.traced.as_mut()) {
                self.trace(traced, case, &nets, &outcome);
            }
            self.settle(turn, case, client, outcome);
            turn.jobs.done(case);
        }
        // The last one first, so that they are in their old order.
        for work in not_begun.into_iter().rev() {
            turn.jobs.put_back(work);
        }
    }

    /// Puts work back that goes on in a later turn, and lets another thread work out what it waits for, if it does.
    fn break_off(turn: &mut Turn, work: Work) {
        if let Some((number, evaluation)) = turn.jobs.broke_off(work) {
            turn.computations.push(Computation::Evaluate(number, evaluation));
        }
    }

    /// Returns work that can be done now; other work is parked, refused or dropped, or a case that leaves or comes.
    fn ready(&mut self, turn: &mut Turn, work: Work) -> Option<Work> {
        let case = work.job.case;
        if !work.is_awaited() {
            self.drop_unawaited(turn, work);
        } else if self.moving.contains(&case) {
            // It left or came in this very turn.
            self.refuse_meanwhile(turn, work);
        } else if self.parked.contains_key(&case) {
            self.park(turn, work);
        } else if work.job.registered.is_none() && !self.cases.contains(case) {
            // It was forgotten while the job waited.
            self.fetch(work);
        } else if work.moves.is_some() {
            self.move_in_memory(turn, work);
        } else {
            return Some(work);
        }
        None
    }

    /// Drops a command that nobody waits for any more, before it is begun. If it is sent again, it is carried out.
    fn drop_unawaited(&mut self, turn: &mut Turn, work: Work) {
        turn.unawaited += 1;
        let Some(client) = work.client else { return };
        self.waiting_keys.remove(&client.key.hash);
        turn.reply(client, Reply::Refused(answers::not_done()));
    }

    /// Returns the nets of a case's instances when the work is traced, because what ends in a turn is gone after it. Nobody
    /// asks for those of other work.
    fn nets_before(&self, work: &Work) -> Vec<(InstanceNumber, u16)> {
        let is_traced = work.client.as_ref().is_some_and(|client| client.traced.is_some());
        let rows = if is_traced { self.cases.rows(work.job.case) } else { None };
        rows.map(|rows| rows.instances.iter().map(|(number, row)| (*number, row.net)).collect())
            .unwrap_or_default()
    }

    fn trace(&self, traced: &mut Traced, case: CaseId, nets: &[(InstanceNumber, u16)], outcome: &Outcome) {
        let Some(registered) = self.cases.registered(case) else { return };
        if let Outcome::Done(done) = outcome {
            traced.done(case, &registered.workflow, nets, &done.events, done.state.name());
        }
    }

    fn settle(&mut self, turn: &mut Turn, case: CaseId, mut client: Option<Client>, outcome: Outcome) {
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
                turn.jobs.push_front(Work { job, client, moves: None });
                return turn.jobs.push_front(Work::go_on(case));
            }
            Outcome::Later(_) => unreachable!("invariant: what is for a later turn was put back"),
        };
        // The key of what had no effect is not kept: a repeat is a new request, and nobody fills the table for nothing.
        let has_effect = !done.events.is_empty();
        if !has_effect {
            turn.visited.push(case);
        }
        if has_effect {
            self.stage_events(turn, case, client.as_mut(), &done.payload);
            turn.count(&done.tally);
        } else if self.keys.planted() == Some(PlantedBug::KeepKeyWithoutEffect)
            && let Some(client) = client.as_mut()
            && let Some(place) = client.place.take()
        {
            self.keys.keep_client(case.partition(), turn.now, client.key.hash, place);
        }
        if let Some(client) = client {
            self.waiting_keys.remove(&client.key.hash);
            let maker = client.key.maker;
            let answered = |answer| match maker {
                Maker::Client if !has_effect => Reply::Done(Answer::NotRemembered(Box::new(answer))),
                Maker::Client | Maker::Service => Reply::Done(answer),
            };
            let none = || Reply::Refused(answers::refusal(&case::Error::NoItem));
            turn.reply(client, done.answer.map_or_else(none, answered));
        }
        let goes_on = done.parked.is_some() || done.unfinished;
        if goes_on && has_effect && self.has_too_many_unfinished(case) {
            self.put_off(turn, case, done.chain);
        } else if let Some(question) = done.parked {
            self.parked.entry(case).or_default();
            turn.computations.push(Computation::Judge(case, Box::new(question)));
        } else if done.unfinished {
            let job = Job { broken_off: done.broken_off, ..Work::going_on(case, done.chain).job };
            Self::break_off(turn, Work::of_nobody(job));
        }
    }

    fn stage_events(&mut self, turn: &mut Turn, case: CaseId, client: Option<&mut Client>, facts: &Payload) {
        let partition = case.partition();
        let payload = facts.to_bytes();
        let record = Record {
            at: turn.now,
            key: client.as_ref().map(|client| client.key.fact(client.act)),
            body: Body::Case(&payload),
        };
        let previous = self.cases.get(case).map_or_else(Link::default, |case| case.existing().last);
        let link = self.stage(turn, partition, case.0, previous, record.encode());
        self.cases.stage(case, link, turn.undo.batch);
        turn.changes(case, self.cases.bytes_of(case));
        let Some(client) = client else { return };
        if let Some(hash) = client.business {
            if self.asked_business.contains_key(&hash) {
                self.stale_business.insert(hash);
            }
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
        self.use_key(turn, client, partition, row);
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
        let entry = Entry::new(partition, *position, subject, previous, payload);
        let link = entry.link();
        turn.stage(entry, self.options.batch_bytes_max);
        Link { n: link.n, hash: link.hash }
    }

    fn use_key(&mut self, turn: &mut Turn, client: &mut Client, partition: Partition, row: KeyRow) {
        let key = client.key;
        turn.undo.keys.push((partition, key.hash));
        match client.place.take() {
            Some(place) => self.keys.keep_client(partition, turn.now, key.hash, place),
            None => self.keys.put_service(partition, key.hash, row),
        }
    }

    /// Forgets keys that are old enough: clients' by a fact in each partition that has any, the service's own as they are.
    /// Of clients' only so many at once, and more when the end of these is durable: until then they take memory.
    fn expire_keys(&mut self, turn: &mut Turn) {
        self.keys.expire_service(turn.now);
        if self.undo.iter().any(|undo| !undo.expired_keys.is_empty()) {
            return;
        }
        let before = turn.now.minus_us(self.options.bounds.key_us);
        for partition in Partition::all() {
            let room = EXPIRED_KEYS_MAX.saturating_sub(turn.expired);
            if room == 0 {
                return;
            }
            self.expire_partition(turn, partition, before, room);
        }
        self.is_expiring = false;
    }

    /// Forgets about so many keys of a partition, none for 0.
    fn expire_partition(&mut self, turn: &mut Turn, partition: Partition, before: Time, count_max: usize) {
        if count_max == 0 {
            return;
        }
        let (expired, before) = self.keys.expire(partition, before, count_max);
        let count = expired.len();
        if count > 0 {
            let record = Record { at: turn.now, key: None, body: Body::KeysExpired { before } };
            self.stage(turn, partition, 0, Link::default(), record.encode());
            turn.undo.expired_keys.extend(expired);
        }
        turn.expired += count;
    }
}
