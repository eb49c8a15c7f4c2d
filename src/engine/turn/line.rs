//! The jobs of one case, one after the other: from plan to facts, a step at a time.

use std::collections::VecDeque;

use super::judgements::{Join, Judgements};
use super::slabs::{Fired, Slabs};
use super::{BrokenOff, Done, Entry, Job, Limits, Outcome, OwnWork, Question, Registered, Tally, What};
use crate::case::command::{Command, Error};
use crate::case::duty::{Duty, Markings, Touched, duty, incident};
use crate::case::effort::{Effort, Found};
use crate::case::encode::Payload;
use crate::case::event::{Event, IncidentKind, InstanceNumber, TaskNumber};
use crate::case::fold::fold;
use crate::case::plan::{Plan, Step, facts_bytes, plan};
use crate::case::settle::settle;
use crate::case::state::{Instance, Live};
use crate::case::view;
use crate::engine::answers::{self, ItemPlace};
use crate::engine::record::Act;
use crate::engine::room::Room;
use crate::engine::service::Answer;
use crate::id::{SpecNumber, Time};
use crate::net::Net;
use crate::net::orjoin::Judgement;

/// What a job takes besides its steps, and a step besides what it evaluates and writes, in evaluation steps: about as
/// long, by `cargo bench --bench expr` and the steps that one shard does a second.
pub const JOB_STEPS: u64 = 64;
const STEP_STEPS: u64 = 64;
/// So many bytes of facts and answers take about as long as one evaluation step: they are copied and hashed.
const BYTES_PER_STEP: usize = 16;

/// What all lines of a turn share.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) limits: Limits,
    pub(super) slabs: &'a mut Slabs,
    pub(super) judgements: &'a mut Judgements,
    pub(super) outcomes: Vec<Option<Outcome>>,
    pub(super) effort: Effort,
}

/// The jobs of one case that wait for their turn, and the one that is at work.
pub(super) struct Line {
    entry: Box<Entry>,
    /// The next job; most lines have no other.
    next: Option<(usize, Job)>,
    waiting: VecDeque<(usize, Job)>,
    work: Option<Work>,
    step: Option<Pending>,
}

/// How far a line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advanced {
    /// Its step is in the wave.
    InWave,
    /// It has a step, and the wave is full.
    NoRoom,
    /// All its jobs have their outcomes.
    Rests,
}

/// A job at work.
struct Work {
    /// Its place among the jobs of the turn.
    at: usize,
    /// What was asked; `None` where no client did.
    asked: Option<Act>,
    /// Where an item that was asked for stood before.
    place: Option<ItemPlace>,
    /// Room for the answer.
    room: Room,
    events: Vec<Event>,
    payload: Payload,
    touched: Touched,
    /// For its first duty.
    found: Found,
}

/// A step that the kernel is to take.
struct Pending {
    step: Step,
    /// Whether it is the command's own, so that its refusal is the command's.
    is_asked: bool,
    is_widened: bool,
}

impl Line {
    /// Returns the line of a case, with its first job.
    pub(super) fn new(entry: Box<Entry>, at: usize, job: Job) -> Self {
        Self { entry, next: Some((at, job)), waiting: VecDeque::new(), work: None, step: None }
    }

    pub(super) fn queue(&mut self, at: usize, job: Job) {
        self.waiting.push_back((at, job));
    }

    pub(super) fn into_entry(self) -> Box<Entry> {
        self.entry
    }

    /// Goes on until the kernel is needed, and puts the step into the wave.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) -> Advanced {
        while self.step.is_none() {
            if self.work.is_some() {
                self.go_on(turn);
            } else if let Some((at, job)) = self.next.take().or_else(|| self.waiting.pop_front()) {
                if turn.effort.is_used_up() {
                    turn.outcomes[at] = Some(Outcome::Later(job));
                } else {
                    self.begin(at, job, turn);
                }
            } else {
                return Advanced::Rests;
            }
        }
        let step = &self.step.as_ref().expect("invariant: the loop ends with a step").step;
        let instance =
            self.entry.case.instance(step.instance).expect("invariant: steps are of live instances");
        if turn.slabs.push(instance.slot, step) { Advanced::InWave } else { Advanced::NoRoom }
    }

    /// Hears what the kernel did with the step, which was the wave's `place`-th.
    pub(super) fn settle(&mut self, place: usize, turn: &mut Turn<'_>) {
        let pending = self.step.take().expect("invariant: this line has a step in the wave");
        match turn.slabs.fired(place) {
            Fired::Done(done) => {
                let instance = pending.step.instance;
                let events = settle(&self.entry.case, pending.step, done);
                self.apply(events, turn);
                if let Some(instance) = self.entry.case.instance(instance) {
                    turn.slabs.check(instance);
                }
            }
            Fired::Overflow if !pending.is_widened => {
                let instance = self.entry.case.instance(pending.step.instance);
                turn.slabs.widen(instance.expect("invariant: steps are of live instances").slot);
                self.step = Some(Pending { is_widened: true, ..pending });
            }
            Fired::Overflow => self.overflow(pending, turn),
            Fired::Refused => {
                assert!(
                    pending.is_asked,
                    "invariant: the kernel takes what was derived from its own marking"
                );
                self.refuse(Error::NotEnabled { task: self.task_id(&pending.step) }, turn);
            }
        }
    }

    fn begin(&mut self, at: usize, mut job: Job, turn: &mut Turn<'_>) {
        let found = self.found(job.broken_off.take());
        let mut work = Work {
            at,
            asked: None,
            place: None,
            room: job.room.clone(),
            events: Vec::new(),
            payload: Payload::with_room(),
            touched: Touched::default(),
            found: Found::default(),
        };
        let is_there = self.entry.case.row.is_some();
        let command = match job.what {
            What::Command(command) => command,
            What::Continue | What::Judged(..) if !is_there => {
                turn.outcomes[at] = Some(Outcome::Refused(Error::NoCase));
                return;
            }
            What::Continue => {
                self.entry.chain = self.entry.chain.max(job.chain);
                work.touched = Touched::all(&self.entry.case);
                work.found = found;
                self.work = Some(work);
                return;
            }
            What::Judged(question, judgement) => {
                learn(turn.judgements, &question, judgement);
                work.touched = Touched::all(&self.entry.case);
                self.work = Some(work);
                return;
            }
        };
        if is_there && self.entry.own_work != OwnWork::None && !matches!(command, Command::Cancel(_)) {
            turn.outcomes[at] = Some(Outcome::Held(Job { what: What::Command(command), ..job }));
            return;
        }
        let (act, place) = self.asked(&command);
        (work.asked, work.place) = (Some(act), place);
        self.entry.chain = 0;
        if self.entry.own_work != OwnWork::None || matches!(command, Command::Execute) {
            work.touched = Touched::all(&self.entry.case);
        }
        turn.effort.begin(found);
        let planned = plan(&self.entry.case, &self.entry.registered.workflow, &command, &turn.effort);
        if turn.effort.is_broken_off() {
            let broken_off = self.broken_off(turn);
            turn.outcomes[at] = Some(Outcome::Later(Job { what: What::Command(command), broken_off, ..job }));
            return;
        }
        self.work = Some(work);
        // Its answer shows the case, and is paid for before it is made.
        turn.effort.add(JOB_STEPS + steps_of(self.entry.bytes));
        match planned {
            Ok(Plan::Facts(events)) => {
                let bytes = facts_bytes(&events);
                turn.effort.add(steps_of(bytes));
                match check_bytes(bytes, turn.limits) {
                    Err(error) if !matches!(command, Command::Cancel(_)) => self.refuse(error, turn),
                    _ => self.apply(events, turn),
                }
            }
            Ok(Plan::Step(step)) => match self.check_step(&step, turn) {
                Err(error) => self.refuse(error, turn),
                Ok(()) => self.step = Some(Pending { step: *step, is_asked: true, is_widened: false }),
            },
            Err(error) => self.refuse(error, turn),
        }
    }

    /// Returns what an earlier turn found out, if the case is as it was.
    fn found(&self, broken_off: Option<Box<BrokenOff>>) -> Found {
        let of_now = broken_off.filter(|broken_off| broken_off.event_count == self.event_count());
        of_now.map(|broken_off| broken_off.found).unwrap_or_default()
    }

    /// Returns what the decision found out that was just broken off.
    fn broken_off(&self, turn: &Turn<'_>) -> Option<Box<BrokenOff>> {
        let (found, evaluation) = turn.effort.found();
        let event_count = self.event_count();
        (!found.is_empty()).then(|| Box::new(BrokenOff { event_count, found, evaluation, number: None }))
    }

    fn event_count(&self) -> u32 {
        self.entry.case.row.as_ref().map_or(0, |row| row.event_count)
    }

    /// Counts what a step will take, and checks that what cannot be parted fits a frame.
    fn check_step(&self, step: &Step, turn: &Turn<'_>) -> Result<(), Error> {
        let instance =
            self.entry.case.instance(step.instance).expect("invariant: steps are of live instances");
        // Each task is looked at for what the step enabled.
        let tasks = self.entry.registered.workflow.nets[usize::from(instance.row.net)].tasks.len();
        let bytes = step.bytes();
        turn.effort.add(STEP_STEPS + tasks as u64 + steps_of(bytes));
        check_bytes(bytes, turn.limits)
    }

    /// Returns what a command names, and where that stands.
    fn asked(&self, command: &Command) -> (Act, Option<ItemPlace>) {
        match command {
            Command::Start(item)
            | Command::Complete(item, _)
            | Command::Fail(item, _)
            | Command::Skip(item, _) => (Act::Item(*item), ItemPlace::of(&self.entry.case, *item)),
            Command::Create { .. } => (Act::Create, None),
            Command::Cancel(_) | Command::Suspend | Command::Resume | Command::Retry | Command::Execute => {
                (Act::Case, None)
            }
        }
    }

    /// Derives what the case has to do next, and does what moves no tokens.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        let work = self.work.as_mut().expect("invariant: there is a job at work");
        let is_full = !work.events.is_empty() && work.payload.facts_len() >= turn.limits.frame_bytes;
        let is_used_up = turn.effort.is_used_up();
        turn.effort.begin(std::mem::take(&mut work.found));
        let mut reader = Reader {
            slabs: turn.slabs,
            judgements: turn.judgements,
            spec: self.entry.registered.number,
            states_max: turn.limits.judged_states,
        };
        let workflow = &self.entry.registered.workflow;
        let next = duty(&self.entry.case, workflow, &mut reader, &mut work.touched, &turn.effort);
        if turn.effort.is_broken_off() {
            return self.finish(Ending::Unfinished, turn);
        }
        match next {
            Duty::Rest => self.finish(Ending::Rest, turn),
            Duty::Step(_) | Duty::Facts(_) if is_full => self.finish(Ending::Unfinished, turn),
            // What the last step enabled is offered in any case: that takes no long time, and mostly is the end.
            Duty::Step(_) if is_used_up => self.finish(Ending::Unfinished, turn),
            Duty::Step(step) => self.take_on(*step, turn),
            Duty::Facts(events) => self.apply(events, turn),
            Duty::Judge(instance, task) => {
                let question = self.question(instance, task, turn);
                self.finish(Ending::Parked(question), turn);
            }
        }
    }

    /// Takes on a step that nobody asked for, unless there were too many.
    fn take_on(&mut self, step: Step, turn: &mut Turn<'_>) {
        let case = &self.entry.case;
        let is_stopped = case.existing().incidents.iter().any(|open| open.kind == IncidentKind::Chain);
        let limit = turn.limits.automated_steps_max;
        if self.entry.chain >= limit && !is_stopped {
            let detail = format!("{limit} tasks ran one after the other without anybody's doing");
            let event = incident(case, step.instance, None, IncidentKind::Chain, detail);
            return self.apply(vec![event], turn);
        }
        if let Err(error) = self.check_step(&step, turn) {
            let Step { instance, task, .. } = step;
            let event = incident(case, instance, Some(task), IncidentKind::Data, error.to_string());
            return self.apply(vec![event], turn);
        }
        self.entry.chain = self.entry.chain.saturating_add(1);
        self.step = Some(Pending { step, is_asked: false, is_widened: false });
    }

    /// Folds facts into the rows and keeps them for the outcome.
    fn apply(&mut self, events: Vec<Event>, turn: &mut Turn<'_>) {
        let work = self.work.as_mut().expect("invariant: there is a job at work");
        for event in &events {
            let mut live = Live { case: &mut self.entry.case, keeper: &mut *turn.slabs };
            let folded = fold(&mut live, event, turn.now);
            assert!(folded.is_ok(), "invariant: facts fit the rows they were made from: {folded:?}");
            work.payload.push(event);
            match event {
                Event::Stepped { instance, .. } | Event::Opened { instance, .. } => {
                    work.touched.add(*instance);
                }
                Event::IncidentCleared { .. } | Event::Resumed => {
                    work.touched = Touched::all(&self.entry.case);
                }
                _ => {}
            }
        }
        if work.events.is_empty() {
            work.events = events;
        } else {
            work.events.extend(events);
        }
    }

    fn refuse(&mut self, error: Error, turn: &mut Turn<'_>) {
        let work = self.work.take().expect("invariant: there is a job at work");
        debug_assert!(work.events.is_empty(), "invariant: a refused command changed nothing");
        turn.outcomes[work.at] = Some(Outcome::Refused(error));
    }

    /// A place cannot count the tokens: the command is refused, or what nobody asked for is an incident.
    fn overflow(&mut self, pending: Pending, turn: &mut Turn<'_>) {
        let task = self.task_id(&pending.step);
        if pending.is_asked {
            return self.refuse(Error::Tokens { task }, turn);
        }
        let Step { instance, task: number, .. } = pending.step;
        let detail = Error::Tokens { task }.to_string();
        let event = incident(&self.entry.case, instance, Some(number), IncidentKind::Tokens, detail);
        self.apply(vec![event], turn);
    }

    fn finish(&mut self, ending: Ending, turn: &mut Turn<'_>) {
        let is_over = matches!(ending, Ending::Rest);
        let has_events = self.work.as_ref().is_some_and(|work| !work.events.is_empty());
        // Said once: a case that waits for its second answer in a row is known to be unfinished.
        if !is_over && (has_events || !self.entry.case.existing().unfinished) {
            self.apply(vec![Event::Unfinished], turn);
        }
        self.entry.own_work = if is_over { OwnWork::None } else { OwnWork::Some };
        let is_unfinished = matches!(ending, Ending::Unfinished);
        let broken_off = if is_unfinished { self.broken_off(turn) } else { None };
        let work = self.work.take().expect("invariant: there is a job at work");
        let answer = self.answer(&work, turn);
        turn.outcomes[work.at] = Some(Outcome::Done(Box::new(Done {
            answer,
            state: view::state(self.entry.case.existing()),
            tally: Tally::of(&work.events),
            events: work.events,
            payload: work.payload,
            unfinished: is_unfinished,
            broken_off,
            chain: self.entry.chain,
            parked: match ending {
                Ending::Parked(question) => Some(question),
                Ending::Rest | Ending::Unfinished => None,
            },
        })));
    }

    fn answer(&self, work: &Work, turn: &Turn<'_>) -> Option<Answer> {
        let Registered { workflow, version, .. } = &self.entry.registered;
        let tokens = |instance: &Instance| turn.slabs.tokens(instance.slot);
        let left = answers::Left { case: &self.entry.case, workflow, version: *version, tokens };
        answers::answer(&left, work.asked?, work.place.as_ref(), (&work.events, turn.now), &work.room)
    }

    fn question(&self, instance: InstanceNumber, task: TaskNumber, turn: &Turn<'_>) -> Question {
        let instance = self.entry.case.instance(instance).expect("invariant: duties are of live instances");
        Question::OrJoin {
            spec: self.entry.registered.number,
            number: instance.row.net,
            net: self.entry.registered.workflow.nets[usize::from(instance.row.net)].clone(),
            task,
            marking: turn.slabs.tokens(instance.slot),
        }
    }

    fn task_id(&self, step: &Step) -> String {
        let instance =
            self.entry.case.instance(step.instance).expect("invariant: steps are of live instances");
        let net = &self.entry.registered.workflow.nets[usize::from(instance.row.net)];
        net.tasks[usize::from(step.task)].id.clone()
    }
}

/// How a job came to its end.
enum Ending {
    Rest,
    Unfinished,
    Parked(Question),
}

/// Returns how many evaluation steps take as long as so many bytes of facts or answers.
fn steps_of(bytes: usize) -> u64 {
    (bytes / BYTES_PER_STEP) as u64
}

/// Checks that what cannot be parted fits a frame.
fn check_bytes(bytes: usize, limits: Limits) -> Result<(), Error> {
    let limit = limits.frame_bytes;
    if bytes > limit { Err(Error::TooLarge { what: "one step", bytes, limit }) } else { Ok(()) }
}

fn learn(judgements: &mut Judgements, question: &Question, judgement: Judgement) {
    let Question::OrJoin { spec, number, net, task, marking } = question;
    let join = Join { spec: *spec, number: *number, net, task: *task };
    judgements.learn(join, marking, judgement);
}

/// Reads a shard's markings for those who decide.
struct Reader<'a> {
    slabs: &'a Slabs,
    judgements: &'a mut Judgements,
    spec: SpecNumber,
    states_max: usize,
}

impl Markings for Reader<'_> {
    fn is_marked(&self, instance: &Instance, place: u16) -> bool {
        self.slabs.is_marked(instance.slot, place)
    }

    fn is_empty(&self, instance: &Instance) -> bool {
        self.slabs.is_empty(instance.slot)
    }

    fn is_only(&self, instance: &Instance, place: u16) -> bool {
        self.slabs.is_only(instance.slot, place)
    }

    fn judge(&mut self, net: &Net, instance: &Instance, task: TaskNumber) -> Option<Judgement> {
        let join = Join { spec: self.spec, number: instance.row.net, net, task };
        self.judgements.judge(join, &self.slabs.tokens(instance.slot), self.states_max)
    }
}
