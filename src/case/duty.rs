//! What a case has to do without being asked, derived from its rows and marking alone.
//!
//! A crash therefore loses no duty: whoever loads the case derives it again. Duties come in this order: nets
//! that are done complete, the innermost first; composite, then empty, then automated tasks run by themselves;
//! then items are offered and withdrawn; then a net in which nothing can move is an incident. An incident at a
//! task holds that task only, until someone retries.

use super::effort::Effort;
use super::ending::close;
use super::event::{End, Event, IncidentKind, InstanceNumber, ItemNumber, TaskNumber, Verdict, Withdrawal};
use super::plan::{self, CASE_EVENT_COUNT_MAX, Step};
use super::row::{Incident, ItemState, Status};
use super::state::{Case, Instance};
use crate::net::orjoin::Judgement;
use crate::net::{Gate, Net, TaskKind, Workflow};

/// Subnets may nest this deep in one case; beyond it lies a specification that calls itself for ever.
pub const NESTING_MAX: usize = 32;
/// Most net instances of one case that live at once: a net that calls itself twice doubles with every level.
pub const INSTANCES_MAX: usize = 1_024;

/// Reads markings for those who decide.
pub trait Markings {
    /// Tells whether a place of the instance holds a token.
    fn is_marked(&self, instance: &Instance, place: u16) -> bool;
    /// Tells whether no place holds one.
    fn is_empty(&self, instance: &Instance) -> bool;
    /// Tells whether only `place` holds tokens, and just one.
    fn is_only(&self, instance: &Instance, place: u16) -> bool;
    /// Judges an OR-join of which some but not all places are marked; `None` when the answer must be asked for.
    fn judge(&mut self, net: &Net, instance: &Instance, task: TaskNumber) -> Option<Judgement>;
}

/// What to do next.
#[derive(Debug)]
pub enum Duty {
    /// A step through the kernel.
    Step(Box<Step>),
    /// Facts that move no tokens.
    Facts(Vec<Event>),
    /// The OR-join must be judged first; the case is parked meanwhile.
    Judge(InstanceNumber, TaskNumber),
    /// Nothing.
    Rest,
}

/// Net instances that may have something to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Those that may complete or have tasks that run by themselves, ascending.
    moving: Vec<InstanceNumber>,
    /// Those whose items may come and go, ascending.
    offering: Vec<InstanceNumber>,
}

impl Touched {
    /// Returns all instances of a case: nothing is known of what it has done before.
    pub fn all(case: &Case) -> Self {
        let all: Vec<InstanceNumber> = case.instances.iter().map(|instance| instance.number).collect();
        Self { moving: all.clone(), offering: all }
    }

    /// Adds an instance whose tokens moved.
    pub fn add(&mut self, instance: InstanceNumber) {
        for list in [&mut self.moving, &mut self.offering] {
            if let Err(place) = list.binary_search(&instance) {
                list.insert(place, instance);
            }
        }
    }
}

/// Derives the next duty of a case and forgets the touched instances that have none. Carrying out duties until
/// there is none comes to an end, but for chains of automatic tasks. A duty whose decision breaks off
/// ([`Effort::is_broken_off`]) says nothing.
pub fn duty(
    case: &Case,
    workflow: &Workflow,
    markings: &mut impl Markings,
    touched: &mut Touched,
    effort: &Effort,
) -> Duty {
    let row = case.existing();
    if row.status != Status::Running || row.event_count > CASE_EVENT_COUNT_MAX {
        return Duty::Rest;
    }
    for instance in touched.moving.iter().rev().filter_map(|number| case.instance(*number)) {
        if let Some(duty) = complete_net(case, workflow, markings, instance, effort) {
            return duty;
        }
    }
    let is_stopped = is_stopped(case);
    while let Some(number) = touched.moving.last() {
        if let Some(instance) = case.instance(*number)
            && !is_stopped
            && let Some(duty) = automatic(case, workflow, markings, instance, effort)
        {
            return duty;
        }
        touched.moving.pop();
    }
    let mut events = Vec::new();
    let mut item = row.item_count;
    for instance in touched.offering.iter().filter_map(|number| case.instance(*number)) {
        if let Some(duty) = offers(case, workflow, markings, instance, &mut item, &mut events) {
            return duty;
        }
    }
    if events.is_empty() {
        touched.offering.clear();
        return Duty::Rest;
    }
    Duty::Facts(events)
}

/// Returns the event of a new incident.
pub fn incident(
    case: &Case,
    instance: InstanceNumber,
    task: Option<TaskNumber>,
    kind: IncidentKind,
    detail: String,
) -> Event {
    Event::Incident { incident: case.existing().incident_count + 1, instance, task, kind, detail }
}

fn complete_net(
    case: &Case,
    workflow: &Workflow,
    markings: &impl Markings,
    instance: &Instance,
    effort: &Effort,
) -> Option<Duty> {
    let net = &workflow.nets[usize::from(instance.row.net)];
    if !is_complete(net, markings, instance) {
        return None;
    }
    let is_proper = markings.is_empty(instance) || markings.is_only(instance, net.output);
    let how = if is_proper { End::Completed } else { End::Improper };
    let Some((parent, task)) = instance.row.parent else {
        return Some(Duty::Facts(close(case, how, None)));
    };
    if open_at(case, parent, task).is_some() {
        return None;
    }
    let parent = case.instance(parent).expect("invariant: a child ends before its parent");
    Some(match plan::complete_composite(case, workflow, parent, task, (instance, how), effort) {
        Ok(step) => Duty::Step(Box::new(step)),
        Err(error) => fact(incident(case, parent.number, Some(task), IncidentKind::Data, error.to_string())),
    })
}

/// A net completes as soon as its output condition is marked, whatever else is; and when no token is left.
fn is_complete(net: &Net, markings: &impl Markings, instance: &Instance) -> bool {
    markings.is_marked(instance, net.output) || markings.is_empty(instance)
}

/// Returns the next task of a net that runs by itself.
fn automatic(
    case: &Case,
    workflow: &Workflow,
    markings: &mut impl Markings,
    instance: &Instance,
    effort: &Effort,
) -> Option<Duty> {
    let net = &workflow.nets[usize::from(instance.row.net)];
    if is_complete(net, markings, instance) {
        return None;
    }
    for &task in &net.automatic {
        let open = open_at(case, instance.number, task);
        if open.is_some_and(|open| open.kind != IncidentKind::Undecided) {
            continue;
        }
        match (enabled(net, markings, instance, task), open) {
            (Enabled::Ask, _) => return Some(Duty::Judge(instance.number, task)),
            (Enabled::Undecided, None) => return Some(undecided(case, net, instance, task)),
            (Enabled::Undecided, Some(_)) | (Enabled::No, None) => {}
            (Enabled::Yes(_) | Enabled::No, Some(open)) => return Some(decided(open)),
            (Enabled::Yes(_), None) => return Some(start(case, workflow, (net, instance, task), effort)),
        }
    }
    None
}

/// Starts a task that runs by itself; what prevents it becomes an incident.
fn start(
    case: &Case,
    workflow: &Workflow,
    (net, instance, number): (&Net, &Instance, TaskNumber),
    effort: &Effort,
) -> Duty {
    let stop = |kind, detail| fact(incident(case, instance.number, Some(number), kind, detail));
    let step = match net.tasks[usize::from(number)].kind {
        TaskKind::Composite(child) => {
            if depth(case, instance) >= NESTING_MAX {
                let detail = format!("subnets nest deeper than {NESTING_MAX}");
                return stop(IncidentKind::Nesting, detail);
            }
            if case.instances.len() >= INSTANCES_MAX {
                let detail = format!("{INSTANCES_MAX} net instances live in this case already");
                return stop(IncidentKind::Nesting, detail);
            }
            plan::start_composite(case, workflow, net, instance, number, child, effort)
        }
        TaskKind::Manual | TaskKind::Automated | TaskKind::Empty => {
            plan::pass_automated(net, instance, number, effort)
        }
    };
    match step {
        Ok(step) => Duty::Step(Box::new(step)),
        Err(error) => stop(IncidentKind::Data, error.to_string()),
    }
}

/// Collects the items of a net instance that come and go, and its incident when nothing in it can move.
fn offers(
    case: &Case,
    workflow: &Workflow,
    markings: &mut impl Markings,
    instance: &Instance,
    item: &mut ItemNumber,
    events: &mut Vec<Event>,
) -> Option<Duty> {
    let net = &workflow.nets[usize::from(instance.row.net)];
    if is_complete(net, markings, instance) {
        return None;
    }
    let offered: Vec<(TaskNumber, ItemNumber)> = case
        .items
        .iter()
        .filter(|(_, row)| row.instance == instance.number && row.state == ItemState::Enabled)
        .map(|(item, row)| (row.task, *item))
        .collect();
    let mut is_alive = false;
    for (number, task) in (0..).zip(&net.tasks) {
        is_alive |= markings.is_marked(instance, task.busy);
        if task.kind != TaskKind::Manual && is_alive {
            continue;
        }
        let open = open_at(case, instance.number, number);
        let verdict = match (enabled(net, markings, instance, number), open) {
            (Enabled::Ask, _) => return Some(Duty::Judge(instance.number, number)),
            (Enabled::Undecided, None) => return Some(undecided(case, net, instance, number)),
            (Enabled::Yes(_) | Enabled::No, Some(open)) if open.kind == IncidentKind::Undecided => {
                return Some(decided(open));
            }
            (Enabled::Yes(verdict), _) => Some(verdict),
            (Enabled::No | Enabled::Undecided, _) => None,
        };
        is_alive |= verdict.is_some();
        if task.kind != TaskKind::Manual {
            continue;
        }
        match (offered.iter().find(|(task, _)| *task == number), verdict) {
            (None, Some(verdict)) => {
                *item += 1;
                events.push(Event::Offered { item: *item, instance: instance.number, task: number, verdict });
            }
            (Some((_, item)), None) => {
                events.push(Event::Withdrawn { item: *item, why: Withdrawal::Choice });
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
    if !is_alive && !case.existing().incidents.iter().any(|open| open.instance == instance.number) {
        let detail = format!("net {:?} has tokens, but no task is enabled or busy", net.id);
        // The withdrawals of this round come first; incidents count on from those in the row, so one a round.
        if events.is_empty() {
            return Some(fact(incident(case, instance.number, None, IncidentKind::Deadlock, detail)));
        }
    }
    None
}

/// Whether a task may start now.
enum Enabled {
    Yes(Option<Verdict>),
    No,
    Ask,
    Undecided,
}

fn enabled(net: &Net, markings: &mut impl Markings, instance: &Instance, number: TaskNumber) -> Enabled {
    let task = &net.tasks[usize::from(number)];
    if markings.is_marked(instance, task.busy) {
        return Enabled::No;
    }
    let marked = task.preset.iter().filter(|place| markings.is_marked(instance, **place)).count();
    match task.join {
        _ if marked == 0 => Enabled::No,
        _ if marked == task.preset.len() => Enabled::Yes(None),
        Gate::And => Enabled::No,
        Gate::Xor => Enabled::Yes(None),
        Gate::Or => match markings.judge(net, instance, number) {
            Some(Judgement::Enabled) => Enabled::Yes(Some(Verdict::NoMore)),
            Some(Judgement::Waits) => Enabled::No,
            Some(Judgement::Undecided) => Enabled::Undecided,
            None => Enabled::Ask,
        },
    }
}

/// Tells whether a task may start now, as far as the marking alone says; an OR-join that needs judging may not.
pub(super) fn is_enabled(net: &Net, task: TaskNumber, is_marked: impl Fn(u16) -> bool) -> bool {
    let task = &net.tasks[usize::from(task)];
    let marked = task.preset.iter().filter(|place| is_marked(**place)).count();
    let is_enough = match task.join {
        Gate::And | Gate::Or => marked == task.preset.len(),
        Gate::Xor => true,
    };
    marked > 0 && is_enough && !is_marked(task.busy)
}

fn depth(case: &Case, instance: &Instance) -> usize {
    let mut depth = 0;
    let mut at = instance;
    while let Some((parent, _)) = at.row.parent {
        depth += 1;
        at = case.instance(parent).expect("invariant: a child ends before its parent");
    }
    depth
}

fn fact(event: Event) -> Duty {
    Duty::Facts(vec![event])
}

fn undecided(case: &Case, net: &Net, instance: &Instance, number: TaskNumber) -> Duty {
    let task = &net.tasks[usize::from(number)].id;
    let detail = format!("the OR-join of task {task:?} could not be judged within its bound of states");
    fact(incident(case, instance.number, Some(number), IncidentKind::Undecided, detail))
}

/// An OR-join that was undecided has been decided by what happened since.
fn decided(open: &Incident) -> Duty {
    fact(Event::IncidentCleared { incident: open.number })
}

fn open_at(case: &Case, instance: InstanceNumber, task: TaskNumber) -> Option<&Incident> {
    let open = &case.existing().incidents;
    open.iter().find(|open| open.instance == instance && open.task == Some(task))
}

/// Tells whether a chain of automatic tasks was stopped; none runs by itself until someone retries.
fn is_stopped(case: &Case) -> bool {
    case.existing().incidents.iter().any(|open| open.kind == IncidentKind::Chain)
}
