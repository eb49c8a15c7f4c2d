//! What a case has to do without being asked, derived from its rows and marking alone.
//!
//! A crash therefore loses no duty: whoever loads the case derives it again. Duties come in this order: nets
//! that are done complete; composite, then empty, then automated tasks run by themselves; then items are offered
//! and withdrawn; then a net in which nothing can move is an incident.

use super::event::{End, Event, IncidentKind, InstanceNumber, Phase, TaskNumber, Verdict, Withdrawal};
use super::fold::withdrawal_of;
use super::plan::{self, Step};
use super::row::{ItemState, Status};
use super::state::{Case, Instance};
use crate::net::{Net, Task, TaskKind, Workflow};

/// Subnets may nest this deep in one case; beyond it lies a specification that calls itself for ever.
pub const NESTING_MAX: usize = 32;

/// Reads markings for those who decide.
pub trait Markings {
    /// Tells whether a place of the instance holds a token.
    fn is_marked(&self, instance: &Instance, place: u16) -> bool;
    /// Tells whether any place holds one.
    fn is_empty(&self, instance: &Instance) -> bool;
    /// Tells whether only `place` holds tokens, and just one.
    fn is_only(&self, instance: &Instance, place: u16) -> bool;
    /// Judges an OR-join of which some but not all places are marked; `None` when the answer must be asked for.
    fn judge(&mut self, net: &Net, instance: &Instance, task: TaskNumber) -> Option<Judgement>;
}

/// Answer about an OR-join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// No more tokens can come to it.
    Enabled,
    /// More may come.
    Waits,
    /// Not decided within the bound of states.
    Undecided,
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

/// Derives the next duty of a case. `touched` names the instances that may have one; all, for a loaded case.
pub fn duty(
    case: &Case,
    workflow: &Workflow,
    markings: &mut impl Markings,
    touched: &[InstanceNumber],
) -> Duty {
    if case.existing().status != Status::Running || stopped(case) {
        return Duty::Rest;
    }
    let live = |number: &InstanceNumber| case.instance(*number);
    for instance in touched.iter().rev().filter_map(live) {
        if let Some(duty) = complete_net(case, workflow, markings, instance) {
            return duty;
        }
    }
    for instance in touched.iter().filter_map(live) {
        let net = &workflow.nets[usize::from(instance.row.net)];
        for &task in &net.automatic {
            if open_incident(case, instance.number, task) {
                continue;
            }
            match enabled(net, markings, instance, task) {
                Enabled::Yes(_) => return start(case, workflow, net, instance, task),
                Enabled::Ask => return Duty::Judge(instance.number, task),
                Enabled::Undecided => return undecided(case, net, instance, task),
                Enabled::No => {}
            }
        }
    }
    offers(case, workflow, markings, touched)
}

fn offers(case: &Case, workflow: &Workflow, markings: &mut impl Markings, touched: &[InstanceNumber]) -> Duty {
    let mut events = Vec::new();
    let mut item = case.existing().item_count;
    for instance in touched.iter().filter_map(|number| case.instance(*number)) {
        let net = &workflow.nets[usize::from(instance.row.net)];
        let mut alive = false;
        for task in 0..net.tasks.len() {
            let task = TaskNumber::try_from(task).expect("invariant: tasks are numbered in 16 bits");
            alive |= markings.is_marked(instance, net.tasks[usize::from(task)].busy);
            if net.tasks[usize::from(task)].kind != TaskKind::Manual {
                continue;
            }
            let offered = case.items.iter().find(|(_, row)| {
                row.instance == instance.number && row.task == task && row.state == ItemState::Enabled
            });
            let verdict = match enabled(net, markings, instance, task) {
                Enabled::Ask => return Duty::Judge(instance.number, task),
                Enabled::Undecided if !open_incident(case, instance.number, task) => {
                    return undecided(case, net, instance, task);
                }
                Enabled::Yes(verdict) => {
                    alive = true;
                    Some(verdict)
                }
                Enabled::No | Enabled::Undecided => None,
            };
            match (offered, verdict) {
                (None, Some(verdict)) => {
                    item += 1;
                    events.push(Event::Offered { item, instance: instance.number, task, verdict });
                }
                (Some((item, _)), None) => {
                    events.push(Event::Withdrawn { item: *item, why: Withdrawal::Choice });
                }
                _ => {}
            }
        }
        if !alive && !case.existing().incidents.iter().any(|open| open.instance == instance.number) {
            events.push(deadlock(case, net, instance));
        }
    }
    if events.is_empty() { Duty::Rest } else { Duty::Facts(events) }
}

/// Whether a task may start now.
enum Enabled {
    Yes(Option<Verdict>),
    No,
    Ask,
    Undecided,
}

fn enabled(net: &Net, markings: &mut impl Markings, instance: &Instance, number: TaskNumber) -> Enabled {
    use crate::spec::tree::Gate;
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

fn complete_net(
    case: &Case,
    workflow: &Workflow,
    markings: &impl Markings,
    instance: &Instance,
) -> Option<Duty> {
    let net = &workflow.nets[usize::from(instance.row.net)];
    if !markings.is_marked(instance, net.output) && !markings.is_empty(instance) {
        return None;
    }
    let proper = markings.is_empty(instance) || markings.is_only(instance, net.output);
    let how = if proper { End::Completed } else { End::Improper };
    let Some((parent, task)) = instance.row.parent else {
        return Some(Duty::Facts(close(case, how, None)));
    };
    if open_incident(case, parent, task) {
        return None;
    }
    let parent = case.instance(parent).expect("invariant: a child ends before its parent");
    Some(match plan::complete_composite(case, workflow, parent, task, instance, how) {
        Ok(step) => Duty::Step(Box::new(step)),
        Err(error) => Duty::Facts(vec![incident(
            case,
            parent.number,
            Some(task),
            IncidentKind::Data,
            error.to_string(),
        )]),
    })
}

/// Returns the events that end everything in an instance and below it, the instance included.
pub(super) fn end_subtree(case: &Case, number: InstanceNumber, how: End) -> Vec<Event> {
    let subtree = case.subtree(number);
    let mut events: Vec<Event> = case
        .items
        .iter()
        .filter(|(_, row)| subtree.contains(&row.instance))
        .map(|(item, _)| Event::Withdrawn { item: *item, why: withdrawal_of(how) })
        .collect();
    for &inner in subtree.iter().rev() {
        let how = if inner == number { how } else { End::Cancelled };
        events.push(Event::Ended { instance: inner, how });
    }
    events
}

/// Returns the events that close the case.
pub(super) fn close(case: &Case, how: End, reason: Option<String>) -> Vec<Event> {
    let mut events = end_subtree(case, 0, how);
    // The root instance goes with the case, whose row keeps its data.
    events.pop();
    events.push(Event::Closed { how, reason });
    events
}

fn start(
    case: &Case,
    workflow: &Workflow,
    net: &Net,
    instance: &Instance,
    number: TaskNumber,
) -> Duty {
    let task = &net.tasks[usize::from(number)];
    let step = match task.kind {
        TaskKind::Composite(child) => {
            if depth(case, instance) >= NESTING_MAX {
                let detail = format!("subnets nest deeper than {NESTING_MAX}");
                return fact(incident(case, instance.number, Some(number), IncidentKind::Nesting, detail));
            }
            plan::start_composite(case, workflow, net, instance, number, child)
        }
        _ => plan::pass_automated(net, instance, number),
    };
    match step {
        Ok(step) => Duty::Step(Box::new(step)),
        Err(error) => {
            fact(incident(case, instance.number, Some(number), IncidentKind::Data, error.to_string()))
        }
    }
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
    let task: &Task = &net.tasks[usize::from(number)];
    let detail = format!("the OR-join of task {:?} could not be judged within its bound", task.id);
    fact(incident(case, instance.number, Some(number), IncidentKind::Undecided, detail))
}

fn deadlock(case: &Case, net: &Net, instance: &Instance) -> Event {
    let detail = format!("net {:?} has tokens, but no task is enabled or busy", net.id);
    incident(case, instance.number, None, IncidentKind::Deadlock, detail)
}

/// Returns the event of a new incident.
pub(super) fn incident(
    case: &Case,
    instance: InstanceNumber,
    task: Option<TaskNumber>,
    kind: IncidentKind,
    detail: String,
) -> Event {
    Event::Incident { incident: case.existing().incident_count + 1, instance, task, kind, detail }
}

fn open_incident(case: &Case, instance: InstanceNumber, task: TaskNumber) -> bool {
    case.existing().incidents.iter().any(|open| open.instance == instance && open.task == Some(task))
}

/// Tells whether a chain of automated tasks was stopped; nothing runs by itself until someone retries.
fn stopped(case: &Case) -> bool {
    case.existing().incidents.iter().any(|open| open.kind == IncidentKind::Chain)
}
