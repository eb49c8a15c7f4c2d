//! What a shard knows of its cases, and one turn of work on them: jobs in, facts out.
//!
//! [`Cases::turn`] plans each command, carries its step out in a wave of the kernel together with steps of other
//! cases, settles what came of it into facts, folds them into the rows at once, and goes on with what the
//! touched cases have to do by themselves until all rest. It has no queue, journal, thread or clock: whoever
//! calls it writes the facts down, and shows nothing of them before they are durable.

mod judgements;
mod line;
mod memory;
mod mix;
mod slabs;
#[cfg(test)]
mod tests;

use std::collections::hash_map;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::case::command::{Command, Error};
use crate::case::effort::{self, Effort, Evaluation, Found, Given};
use crate::case::encode::Payload;
use crate::case::event::{End, Event, InstanceNumber, ItemNumber};
use crate::case::row::{CaseRow, InstanceRow, ItemRow, ItemState, Link};
use crate::case::state::{Case, Instance};
use crate::case::view::{self, CaseState, CaseView, ItemView};
use crate::engine::room::Room;
use crate::engine::service::Answer;
use crate::id::{CaseId, SpecNumber, Time};
use crate::kernel::Region;
use crate::net::orjoin::Judgement;
use crate::net::{Net, Workflow};

use judgements::Judgements;
pub use judgements::{JUDGEMENTS_BYTES_MAX, JUDGEMENTS_MAX};
pub use line::JOB_STEPS;
use line::{Advanced, Line, Turn};
use memory::Memory;
pub use memory::{AT_WORK_SHARE, REST_US, ROUND_US};
pub use mix::Mix;
use slabs::{Slabs, WAVE_STEPS_MAX};

/// Room is made ahead for so many markings at the most; more of them move when they need more room.
const RESERVED_MARKINGS_MAX: usize = 1 << 20;

/// A specification version as cases run it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Number in this store.
    pub number: SpecNumber,
    /// Version of its uri, from 1.
    pub version: u32,
    /// Its nets.
    pub workflow: Arc<Workflow>,
}

/// Bounds of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most steps that a case takes by itself after one command; then there is an incident.
    pub automated_steps_max: u32,
    /// Once its facts take so many bytes, a command ends at the next wave's boundary; no single step takes more,
    /// so that twice as much always has room for a command.
    pub frame_bytes: usize,
    /// Most states that an OR-join is searched for on the spot; beyond that the case is parked.
    pub judged_states: usize,
    /// After this many evaluation steps a turn begins nothing more, and an expression that takes more is left to another
    /// thread. What else takes time is counted as the number of steps that take as long.
    pub effort: effort::Limits,
}

/// Something to be done to one case.
#[derive(Debug)]
pub struct Job {
    /// The case; a new id for a create.
    pub case: CaseId,
    /// What a create runs; `None` otherwise.
    pub registered: Option<Registered>,
    /// What.
    pub what: What,
    /// Room for the answer.
    pub room: Room,
    /// How far it came in an earlier turn.
    pub broken_off: Option<Box<BrokenOff>>,
    /// Steps that the case had taken by itself when it last left memory.
    pub chain: u32,
}

/// What a job had found out when its decision broke off, and the case that it was made on.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokenOff {
    event_count: u32,
    found: Found,
    /// What another thread has to work out before the decision can go on.
    evaluation: Option<Box<Evaluation>>,
    /// The number under which another thread works at that.
    number: Option<u64>,
}

impl BrokenOff {
    /// Returns whether the decision goes on once another thread has worked something out.
    pub fn is_long(&self) -> bool {
        self.found.is_next_long()
    }

    /// Takes what another thread has to work out, if the decision has just come upon it.
    pub fn take_evaluation(&mut self) -> Option<Box<Evaluation>> {
        self.evaluation.take()
    }

    /// Notes that another thread works at it under this number.
    pub fn hand_on(&mut self, number: u64) {
        self.number = Some(number);
    }

    /// Returns the number under which another thread works at it.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// Takes what came of it.
    pub fn learn(&mut self, given: Given) {
        self.number = None;
        self.found.learn(given);
    }

    /// Returns how many bytes what it had found out takes.
    pub fn bytes(&self) -> usize {
        self.found.bytes()
    }

    /// Forgets what it had found out: the decision is made from its beginning again.
    pub fn forget(&mut self) {
        (self.found, self.evaluation, self.number) = (Found::default(), None, None);
    }
}

impl Job {
    /// Returns a job on a case that there is.
    pub fn new(case: CaseId, what: What) -> Self {
        Self { case, registered: None, what, room: Room::default(), broken_off: None, chain: 0 }
    }
}

/// What is to be done to a case.
#[derive(Debug)]
pub enum What {
    /// What somebody asked.
    Command(Command),
    /// What the case has to do by itself: after loading, and after an outcome that is `unfinished`.
    Continue,
    /// The answer to a question on which the case was parked.
    Judged(Question, Judgement),
}

/// A question that takes too long for a shard; whoever works it out sends [`What::Judged`].
#[derive(Debug, Clone)]
pub enum Question {
    /// Is this OR-join enabled? [`crate::net::orjoin::judge`] of net, task and marking tells.
    OrJoin {
        /// The specification.
        spec: SpecNumber,
        /// Number of the net in it.
        number: u16,
        /// The net.
        net: Arc<Net>,
        /// The task.
        task: u16,
        /// Marked places with their tokens.
        marking: Vec<(u16, u16)>,
    },
}

/// What became of a job.
#[derive(Debug)]
pub enum Outcome {
    /// It was carried out.
    Done(Box<Done>),
    /// It was refused; nothing changed.
    Refused(Error),
    /// It was not looked at, because the case has first to go on ([`What::Continue`]) or to have an answer
    /// ([`What::Judged`]). Whoever asked keeps the job until then. A cancel is never held.
    Held(Job),
    /// The turn's steps are used up: it was not begun, or its decision broke off. Nothing changed; it is for a later
    /// turn.
    Later(Job),
}

/// A job that was carried out.
#[derive(Debug)]
pub struct Done {
    /// The facts, already folded; to be written as one frame's part.
    pub events: Vec<Event>,
    /// The same in their stored form.
    pub payload: Payload,
    /// What the client is to see once they are durable; `None` where no client asked, or for an item that never was.
    pub answer: Option<Answer>,
    /// State of the case after it.
    pub state: CaseState,
    /// The case waits for an answer to this.
    pub parked: Option<Question>,
    /// A limit ended it; [`What::Continue`] is to follow, and begins with this.
    pub unfinished: bool,
    /// How far the decision came that broke off.
    pub broken_off: Option<Box<BrokenOff>>,
    /// Steps that the case has taken by itself since somebody asked for something.
    pub chain: u32,
    /// What there is to count.
    pub tally: Tally,
}

/// Numbers for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Cases created.
    pub created: u32,
    /// Cases completed, properly or not.
    pub completed: u32,
    /// Cases cancelled.
    pub cancelled: u32,
    /// Tasks completed: items finished, automatic and composite tasks.
    pub tasks_completed: u32,
    /// Incidents and failed items.
    pub errors: u32,
}

impl Tally {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.tasks_completed += other.tasks_completed;
        self.errors += other.errors;
    }

    /// Counts facts.
    pub fn of(events: &[Event]) -> Self {
        use crate::case::event::Phase;
        let mut tally = Self::default();
        for event in events {
            match event {
                Event::Created { .. } => tally.created += 1,
                Event::Closed { how: End::Cancelled, .. } => tally.cancelled += 1,
                Event::Closed { .. } => tally.completed += 1,
                Event::Stepped { phase: Phase::Complete | Phase::Pass, .. } => tally.tasks_completed += 1,
                Event::Incident { .. } | Event::Failed { .. } => tally.errors += 1,
                _ => {}
            }
        }
        tally
    }
}

/// Stands around each wave; the engine reads the tick counter in it.
pub trait Timer {
    /// Hears that the turn moves: before each decision.
    fn moves(&mut self) {}
    /// Calls `run`, which takes the steps of `mix`.
    fn around(&mut self, mix: Mix, run: impl FnOnce());
}

/// Measures nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTimer;

impl Timer for NoTimer {
    fn around(&mut self, _mix: Mix, run: impl FnOnce()) {
        run();
    }
}

/// Stored rows of one case, markings in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Of the case.
    pub case: CaseRow,
    /// Of its live net instances by number.
    pub instances: Vec<(InstanceNumber, InstanceRow)>,
    /// Of its live work items by number.
    pub items: Vec<(ItemNumber, ItemRow)>,
}

/// A case and what it runs.
#[derive(Debug)]
struct Entry {
    case: Case,
    registered: Registered,
    /// What it has to do by itself.
    own_work: OwnWork,
    /// Steps that it has taken by itself since somebody asked for something.
    chain: u32,
    /// The last batch that holds something of it; it stays as it is until that is durable.
    batch: u64,
    /// Bytes that it takes, as they were when it was last put into memory.
    bytes: usize,
    /// Whether somebody has asked for it since it was last looked at.
    is_used: bool,
    is_in_ring: bool,
    /// When it was last put into memory.
    touched: Time,
}

/// What a turn used up, in evaluation steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Steps, and whatever else took as long.
    pub steps: u64,
    /// Evaluation steps among them.
    pub evaluated: u64,
}

impl Used {
    /// Adds another's steps.
    pub fn add(&mut self, other: Self) {
        self.steps = self.steps.saturating_add(other.steps);
        self.evaluated = self.evaluated.saturating_add(other.evaluated);
    }
}

/// The cases of a shard.
#[derive(Debug, Default)]
pub struct Cases {
    memory: Memory,
    slabs: Slabs,
    judgements: Judgements,
    used: Used,
}

impl Cases {
    /// Returns a shard's memory with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for the markings of the cases at work that `bytes_max` has room for.
    pub fn reserve(&mut self, bytes_max: usize) {
        let markings = bytes_max / AT_WORK_SHARE / memory::CASE_BYTES_MIN;
        self.slabs.reserve(markings.min(RESERVED_MARKINGS_MAX));
    }

    /// Returns where the memory lies that each step touches.
    pub fn regions(&self) -> [Region; 3] {
        self.slabs.regions()
    }

    /// Returns how many markings are open: those of cases at work.
    pub fn marking_count(&self) -> usize {
        self.slabs.open_count()
    }

    /// Tells whether a case is in memory.
    pub fn contains(&self, id: CaseId) -> bool {
        self.memory.contains(id)
    }

    /// Returns how many cases are in memory.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Tells whether no case is in memory.
    pub fn is_empty(&self) -> bool {
        self.memory.len() == 0
    }

    /// Returns how many bytes the cases in memory take, as far as they can be told.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Returns a case at work: one that is in memory and not encoded. Its rows hold no tokens: [`Cases::tokens`] does.
    pub fn get(&self, id: CaseId) -> Option<&Case> {
        self.memory.get(id).map(|entry| &entry.case)
    }

    /// Returns what a case at work runs.
    pub fn registered(&self, id: CaseId) -> Option<&Registered> {
        self.memory.get(id).map(|entry| &entry.registered)
    }

    /// Returns the marking of an instance of a case at work: marked places with their tokens, ascending.
    pub fn tokens(&self, instance: &Instance) -> Vec<(u16, u16)> {
        self.slabs.tokens(instance.slot)
    }

    /// Returns the bytes of cases that have something to do by themselves, or wait for an answer to go on.
    pub fn unfinished_bytes(&self) -> usize {
        self.memory.unfinished_bytes()
    }

    /// Lets a case go that has something to do by itself: it leaves memory once it is durable, and is loaded again when it
    /// has its turn.
    pub fn put_off(&mut self, id: CaseId) {
        self.memory.put_off(id);
    }

    /// Lets a case go on that was let go and is still in memory.
    pub fn resume(&mut self, id: CaseId) {
        self.memory.resume(id);
    }

    /// Returns whether a case at work was let go, and nobody has asked for it since.
    pub fn is_put_off(&self, id: CaseId) -> bool {
        self.memory.get(id).is_some_and(|entry| entry.own_work == OwnWork::PutOff)
    }

    /// Returns the bytes that a case in memory takes, as far as they can be told.
    pub fn bytes_of(&self, id: CaseId) -> usize {
        self.memory.bytes_of(id)
    }

    /// Returns what people see of a case at work.
    pub fn view(&self, id: CaseId) -> Option<CaseView> {
        self.memory.get(id).map(|entry| entry.view(&self.slabs))
    }

    /// Returns what people see of a live work item of a case at work.
    pub fn item(&self, id: CaseId, number: ItemNumber) -> Option<ItemView> {
        let entry = self.memory.get(id)?;
        view::live_item(&entry.case, &entry.registered.workflow, number, &Effort::unlimited())
    }

    /// Takes a stored case into memory; [`What::Continue`] is to follow before any command.
    ///
    /// # Errors
    /// Its rows do not fit one another or what it runs; nothing changed.
    pub fn load(&mut self, id: CaseId, rows: Rows, registered: Registered) -> Result<(), Error> {
        check(&rows, &registered).map_err(|how| Error::Rows { how })?;
        self.forget(id);
        self.take_in(id, rows, registered, OwnWork::Some)
    }

    fn take_in(
        &mut self,
        id: CaseId,
        rows: Rows,
        registered: Registered,
        own_work: OwnWork,
    ) -> Result<(), Error> {
        self.slabs.know(registered.number, &registered.workflow.nets);
        self.memory.know(&registered);
        let mut instances = Vec::with_capacity(rows.instances.len());
        for (number, mut row) in rows.instances {
            match self.slabs.load(registered.number, row.net, &mut row) {
                Ok(slot) => instances.push(Instance { number, row, slot }),
                Err(how) => {
                    for instance in &instances {
                        self.slabs.free(instance.slot);
                    }
                    return Err(Error::Rows { how });
                }
            }
        }
        let case = Case { id, row: Some(rows.case), instances, items: rows.items };
        let mut entry = Entry::new(case, registered);
        entry.own_work = own_work;
        self.memory.put(entry);
        Ok(())
    }

    /// Makes an encoded case one at work.
    fn wake(&mut self, id: CaseId) {
        let Some((rows, registered)) = self.memory.take_encoded(id) else { return };
        self.take_in(id, rows, registered, OwnWork::None).expect("invariant: what was encoded here fits");
    }

    /// Notes the newest journal entry of a case and the batch that holds it; the case stays at work until
    /// [`Cases::shrink`] is told that the batch is durable.
    pub fn stage(&mut self, id: CaseId, last: Link, batch: u64) {
        let Some(entry) = self.memory.get_mut(id) else { return };
        entry.batch = batch;
        if let Some(row) = &mut entry.case.row {
            row.last = last;
        }
    }

    /// Tells whether everything of a case at work is durable that a batch holds.
    pub fn is_durable(&self, id: CaseId, durable_batch: u64) -> bool {
        self.memory.get(id).is_some_and(|entry| entry.batch <= durable_batch)
    }

    /// Makes room until cases take no more than `bytes_max`: those that nobody has asked for lately leave, if they are
    /// at rest and durable and `must_stay` does not hold them.
    pub fn shrink(&mut self, bytes_max: usize, durable_batch: u64, must_stay: &dyn Fn(CaseId) -> bool) {
        self.memory.shrink(&mut self.slabs, bytes_max, &mut |entry| {
            entry.batch > durable_batch || must_stay(entry.case.id)
        });
    }

    /// Encodes cases that nobody has asked for lately, if they are at rest and durable and `must_stay` does not hold
    /// them. Looks at a bounded number of cases.
    pub fn rest(&mut self, now: Time, durable_batch: u64, must_stay: &dyn Fn(CaseId) -> bool) {
        self.memory.at(now);
        self.memory
            .rest(&mut self.slabs, &mut |entry| entry.batch > durable_batch || must_stay(entry.case.id));
    }

    /// Tells whether [`Cases::rest`] has more cases to look at.
    pub fn is_resting(&self) -> bool {
        self.memory.is_in_round()
    }

    /// Drops every case that could leave, whatever memory there is.
    pub fn forget_idle(&mut self, durable_batch: u64, must_stay: &dyn Fn(CaseId) -> bool) {
        let idle = self.memory.idle(&mut |entry| entry.batch > durable_batch || must_stay(entry.case.id));
        for id in idle {
            self.forget(id);
        }
    }

    /// Tells whether something could leave that has not, for checks.
    pub fn could_shrink(&self, durable_batch: u64, must_stay: &dyn Fn(CaseId) -> bool) -> bool {
        let idle = self.memory.idle(&mut |entry| entry.batch > durable_batch || must_stay(entry.case.id));
        !idle.is_empty()
    }

    /// Drops a case from memory.
    pub fn forget(&mut self, id: CaseId) {
        self.memory.forget_encoded(id);
        if let Some(entry) = self.memory.remove(id) {
            for instance in &entry.case.instances {
                self.slabs.free(instance.slot);
            }
        }
    }

    /// Returns the rows of a case in memory as they are stored, markings in them.
    pub fn rows(&self, id: CaseId) -> Option<Rows> {
        match self.memory.get(id) {
            Some(entry) => entry.rows(&self.slabs),
            None => self.memory.encoded_rows(id),
        }
    }

    /// Returns what the last turn used up.
    pub fn used(&self) -> Used {
        self.used
    }

    /// Carries out jobs; the outcomes come in their order. Several jobs on one case are done one after the
    /// other, jobs on different cases share waves. `now` is the time that the facts are written down with.
    pub fn turn(
        &mut self,
        now: Time,
        jobs: Vec<Job>,
        limits: &Limits,
        timer: &mut impl Timer,
    ) -> Vec<Outcome> {
        self.memory.at(now);
        for job in &jobs {
            self.wake(job.case);
        }
        let mut turn = Turn {
            now,
            limits: *limits,
            slabs: &mut self.slabs,
            judgements: &mut self.judgements,
            outcomes: jobs.iter().map(|_| None).collect(),
            effort: Effort::new(limits.effort),
        };
        let mut lines = line_up(&mut self.memory, jobs, &mut turn);
        let mut in_wave = Vec::with_capacity(lines.len().min(WAVE_STEPS_MAX));
        // A line that is done gives no step any more; each command's steps are bounded, so the loop ends.
        loop {
            let mut has_moved = false;
            for lines in lines.chunks_mut(WAVE_STEPS_MAX) {
                turn.slabs.begin_wave();
                for (at, line) in lines.iter_mut().enumerate() {
                    timer.moves();
                    match line.advance(&mut turn) {
                        Advanced::InWave => in_wave.push(at),
                        // Those behind it come into one of the next waves.
                        Advanced::NoRoom => break,
                        Advanced::Rests => {}
                    }
                }
                if in_wave.is_empty() {
                    continue;
                }
                has_moved = true;
                timer.around(turn.slabs.mix(), || turn.slabs.run());
                for (place, at) in in_wave.drain(..).enumerate() {
                    lines[at].settle(place, &mut turn);
                }
            }
            if !has_moved {
                break;
            }
        }
        self.used = Used { steps: turn.effort.used(), evaluated: turn.effort.evaluated() };
        let outcomes = turn.outcomes;
        for line in lines {
            let entry = line.into_entry();
            if entry.case.row.is_some() {
                self.memory.put(entry);
            }
        }
        outcomes.into_iter().map(|outcome| outcome.expect("invariant: every job has an outcome")).collect()
    }
}

/// What a case has to do by itself, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnWork {
    /// Nothing.
    None,
    /// Perhaps something.
    Some,
    /// Something; the case leaves memory until it has its turn.
    PutOff,
}

impl Entry {
    fn new(case: Case, registered: Registered) -> Box<Self> {
        let (batch, bytes) = (0, 0);
        let (own_work, chain) = (OwnWork::None, 0);
        let (is_used, is_in_ring, touched) = (false, false, Time::default());
        Box::new(Self { case, registered, own_work, chain, batch, bytes, is_used, is_in_ring, touched })
    }

    /// Returns the rows as they are stored, markings in them; `None` before the case was created.
    fn rows(&self, slabs: &Slabs) -> Option<Rows> {
        let row = |instance: &Instance| {
            let tokens = slabs.tokens(instance.slot);
            (instance.number, InstanceRow { tokens, ..instance.row.clone() })
        };
        Some(Rows {
            case: self.case.row.clone()?,
            instances: self.case.instances.iter().map(row).collect(),
            items: self.case.items.clone(),
        })
    }

    fn view(&self, slabs: &Slabs) -> CaseView {
        let tokens = |instance: &Instance| slabs.tokens(instance.slot);
        view::case(&self.case, &self.registered.workflow, self.registered.version, tokens)
    }
}

/// Puts the jobs of each case into a line of their own, in order; jobs on unknown cases are refused.
fn line_up(memory: &mut Memory, jobs: Vec<Job>, turn: &mut Turn<'_>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(jobs.len());
    let mut places: HashMap<CaseId, usize> = HashMap::with_capacity(jobs.len());
    for (at, job) in jobs.into_iter().enumerate() {
        let id = job.case;
        let place = match places.entry(id) {
            hash_map::Entry::Occupied(place) => {
                lines[*place.get()].queue(at, job);
                continue;
            }
            hash_map::Entry::Vacant(place) => place,
        };
        let entry = match (memory.take(id), &job.registered) {
            (Some(mut entry), _) => {
                entry.is_used = true;
                entry
            }
            (None, Some(registered)) => {
                turn.slabs.know(registered.number, &registered.workflow.nets);
                memory.know(registered);
                Entry::new(Case::new(id), registered.clone())
            }
            (None, None) => {
                turn.outcomes[at] = Some(Outcome::Refused(Error::NoCase));
                continue;
            }
        };
        place.insert(lines.len());
        lines.push(Line::new(entry, at, job));
    }
    lines
}

/// Checks that rows fit one another and their specification.
///
/// # Errors
/// Says how they do not.
pub fn check(rows: &Rows, registered: &Registered) -> Result<(), String> {
    let nets = &registered.workflow.nets;
    if rows.case.spec != registered.number {
        return Err(format!("the case runs {:?}, not {:?}", rows.case.spec, registered.number));
    }
    if !rows.instances.is_sorted_by_key(|row| row.0) || !rows.items.is_sorted_by_key(|row| row.0) {
        return Err("rows are out of order".to_owned());
    }
    let net_of = |number: InstanceNumber| {
        let at = rows.instances.binary_search_by_key(&number, |row| row.0).ok()?;
        nets.get(usize::from(rows.instances[at].1.net))
    };
    let has_task =
        |instance, task: u16| net_of(instance).is_some_and(|net| usize::from(task) < net.tasks.len());
    let is_closed = view::state(&rows.case).is_closed();
    if is_closed != rows.instances.is_empty() || rows.instances.first().is_some_and(|row| row.0 != 0) {
        return Err("the root net's instance is missing or left over".to_owned());
    }
    for (number, row) in &rows.instances {
        let net = net_of(*number).ok_or_else(|| format!("instance {number} is of net {}", row.net))?;
        let variables = net.variables.len();
        if row.data.iter().any(|(variable, _)| usize::from(*variable) >= variables) {
            return Err(format!("instance {number} has a variable that its net has not"));
        }
        let is_child = row.parent.is_some_and(|(parent, task)| parent < *number && has_task(parent, task));
        let is_root = row.parent.is_none() && *number == 0 && row.net == registered.workflow.root;
        if !is_child && !is_root {
            return Err(format!("instance {number} belongs to no task"));
        }
    }
    // A row that is missing would be made up for by a new item, and that would be a fact for ever.
    let count = |states: &[ItemState]| {
        let items = rows.items.iter().filter(|(_, row)| states.contains(&row.state));
        u32::try_from(items.count()).unwrap_or(u32::MAX)
    };
    let counted = (count(&[ItemState::Enabled, ItemState::Reoffered]), count(&[ItemState::Failed]));
    if !is_closed && counted != (rows.case.enabled_count, rows.case.failed_count) {
        return Err("a work item is missing or left over".to_owned());
    }
    match rows.items.iter().find(|(_, row)| !has_task(row.instance, row.task)) {
        Some((number, _)) => Err(format!("item {number} belongs to no task")),
        None => Ok(()),
    }
}
