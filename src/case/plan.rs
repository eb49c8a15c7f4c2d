//! From a command to a step: everything that depends on data is decided here, before the kernel moves a token.

use super::command::{Command, Error};
use super::data;
use super::effort::Effort;
use super::encode::event_len;
use super::ending::{close, end_subtree};
use super::event::{End, Event, Finish, InstanceNumber, ItemNumber, Phase, PlaceNumber, TaskNumber, Writes};
use super::row::{InstanceRow, ItemRow, ItemState, Status};
use super::state::{Case, Instance};
use crate::expr::Fragment;
use crate::net::{Gate, Net, Task, Workflow};

/// Most events that a case may have had before it takes only a cancel: events and items are counted in 32 bits.
pub const CASE_EVENT_COUNT_MAX: u32 = 4_000_000_000;

/// One step of one case, ready for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub instance: InstanceNumber,
    /// Which task.
    pub task: TaskNumber,
    /// What it does.
    pub phase: Phase,
    /// Places of the flows that were chosen; empty for a start.
    pub put: Vec<PlaceNumber>,
    /// What the output mappings write.
    pub wrote: Writes,
    /// Facts that come before the step.
    pub before: Vec<Event>,
    /// Facts that come after it.
    pub after: Vec<Event>,
}

impl Step {
    /// Returns about how many bytes the step's facts will take.
    pub fn bytes(&self) -> usize {
        let wrote: usize = self.wrote.iter().map(|(_, value)| value.len_bytes()).sum();
        facts_bytes(&self.before) + facts_bytes(&self.after) + wrote
    }
}

/// Returns how many bytes facts take.
pub fn facts_bytes(events: &[Event]) -> usize {
    events.iter().map(event_len).sum()
}

/// What a command comes to.
#[derive(Debug)]
pub enum Plan {
    /// A step through the kernel.
    Step(Box<Step>),
    /// Facts that move no tokens.
    Facts(Vec<Event>),
}

/// Plans one command on one case as it is now. What comes of it says nothing when it breaks off
/// ([`Effort::is_broken_off`]).
///
/// # Errors
/// The command is refused; nothing changes.
pub fn plan(case: &Case, workflow: &Workflow, command: &Command, effort: &Effort) -> Result<Plan, Error> {
    if let Command::Create { spec, business_key, data } = command {
        return match case.row {
            Some(_) => Err(Error::CaseStatus { status: "there already" }),
            None => create(workflow, *spec, business_key.clone(), data),
        };
    }
    let row = case.row.as_ref().ok_or(Error::NoCase)?;
    let status = |status| Err(Error::CaseStatus { status });
    match (command, row.status) {
        (_, Status::Closed(End::Cancelled)) => return status("cancelled"),
        (_, Status::Closed(_)) => return status("completed"),
        (Command::Cancel(_) | Command::Resume, Status::Suspended) => {}
        (_, Status::Suspended) => return status("suspended"),
        (Command::Resume, Status::Running) => return status("not suspended"),
        _ => {}
    }
    if row.event_count > CASE_EVENT_COUNT_MAX && !matches!(command, Command::Cancel(_)) {
        return Err(Error::TooLong { event_count: row.event_count, limit: CASE_EVENT_COUNT_MAX });
    }
    match command {
        Command::Create { .. } => unreachable!("invariant: handled above"),
        Command::Start(item) => start(case, workflow, *item, effort),
        Command::Complete(item, data) => complete(case, workflow, *item, data.clone(), effort),
        Command::Fail(item, reason) => fail(case, workflow, *item, reason.clone(), effort),
        Command::Skip(item, reason) => skip(case, workflow, *item, reason.clone(), effort),
        Command::Cancel(reason) => Ok(Plan::Facts(close(case, End::Cancelled, Some(reason.clone())))),
        Command::Suspend => Ok(Plan::Facts(vec![Event::Suspended])),
        Command::Resume => Ok(Plan::Facts(vec![Event::Resumed])),
        Command::Retry => retry(case),
        Command::Execute => Ok(Plan::Facts(Vec::new())),
    }
}

fn create(
    workflow: &Workflow,
    spec: crate::id::SpecNumber,
    business_key: Option<String>,
    data: &Fragment,
) -> Result<Plan, Error> {
    let net = &workflow.nets[usize::from(workflow.root)];
    let data = data::initial(net, data)?;
    Ok(Plan::Facts(vec![
        Event::Created { spec, business_key },
        Event::Opened { instance: 0, net: workflow.root, parent: None, place: net.input, data },
    ]))
}

/// An item with everything around it.
struct Found<'a> {
    row: &'a ItemRow,
    instance: &'a Instance,
    net: &'a Net,
    task: &'a Task,
}

impl Found<'_> {
    fn refuse<T>(&self, act: &'static str) -> Result<T, Error> {
        let state = match self.row.state {
            ItemState::Enabled | ItemState::Reoffered => "enabled",
            ItemState::Executing => "executing",
            ItemState::Failed => "failed",
        };
        Err(Error::ItemState { state, act })
    }

    fn step<const COUNT: usize>(
        &self,
        phase: Phase,
        put: Vec<PlaceNumber>,
        wrote: Writes,
        facts: [Event; COUNT],
    ) -> Plan {
        // The step itself comes behind them, and mostly an offer.
        let mut before = Vec::with_capacity(COUNT + 2);
        before.extend(facts);
        Plan::Step(Box::new(Step {
            instance: self.row.instance,
            task: self.row.task,
            phase,
            put,
            wrote,
            before,
            after: Vec::new(),
        }))
    }
}

fn find<'a>(case: &'a Case, workflow: &'a Workflow, number: ItemNumber) -> Result<Found<'a>, Error> {
    let row = case.item(number).ok_or(Error::NoItem)?;
    let instance = case.instance(row.instance).expect("invariant: an item lives in a live instance");
    let net = &workflow.nets[usize::from(instance.row.net)];
    Ok(Found { row, instance, net, task: &net.tasks[usize::from(row.task)] })
}

fn start(case: &Case, workflow: &Workflow, item: ItemNumber, effort: &Effort) -> Result<Plan, Error> {
    let found = find(case, workflow, item)?;
    let started = || -> Result<Event, Error> {
        let data = data::input(found.net, found.task, &found.instance.row, effort)?;
        Ok(Event::Started { item, data })
    };
    match found.row.state {
        ItemState::Enabled => {
            let mut plan = found.step(Phase::Start, Vec::new(), Vec::new(), []);
            if let Plan::Step(step) = &mut plan {
                step.after.push(started()?);
            }
            Ok(plan)
        }
        ItemState::Reoffered => Ok(Plan::Facts(vec![started()?])),
        ItemState::Executing | ItemState::Failed => found.refuse("start"),
    }
}

fn complete(
    case: &Case,
    workflow: &Workflow,
    item: ItemNumber,
    output: Fragment,
    effort: &Effort,
) -> Result<Plan, Error> {
    let found = find(case, workflow, item)?;
    if found.row.state == ItemState::Failed {
        return found.refuse("complete");
    }
    data::check_output(found.task, &output)?;
    let wrote = data::output(found.net, found.task, &found.instance.row, &output, effort)?;
    let put = choose(found.net, found.task, &found.instance.row, &wrote, effort)?;
    let finished = Event::Finished { item, how: Finish::Completed, data: output };
    Ok(if found.row.state == ItemState::Enabled {
        let data = data::input(found.net, found.task, &found.instance.row, effort)?;
        found.step(Phase::Pass, put, wrote, [Event::Started { item, data }, finished])
    } else {
        found.step(Phase::Complete, put, wrote, [finished])
    })
}

fn skip(
    case: &Case,
    workflow: &Workflow,
    item: ItemNumber,
    reason: String,
    effort: &Effort,
) -> Result<Plan, Error> {
    let found = find(case, workflow, item)?;
    let wrote = data::output_of_skipped(found.net, found.task, effort);
    let put = choose(found.net, found.task, &found.instance.row, &wrote, effort)?;
    let phase = if found.row.state == ItemState::Enabled { Phase::Pass } else { Phase::Complete };
    let finished = Event::Finished { item, how: Finish::Skipped { reason }, data: Fragment::empty() };
    Ok(found.step(phase, put, wrote, [finished]))
}

fn fail(
    case: &Case,
    workflow: &Workflow,
    item: ItemNumber,
    reason: String,
    effort: &Effort,
) -> Result<Plan, Error> {
    let found = find(case, workflow, item)?;
    match found.row.state {
        ItemState::Failed => found.refuse("fail"),
        ItemState::Executing | ItemState::Reoffered => Ok(Plan::Facts(vec![Event::Failed { item, reason }])),
        ItemState::Enabled => {
            // A failed item holds its tokens, so that no other task of the choice runs while a person looks at it.
            // A worker may give up just because the input cannot be made, so that is no reason to refuse.
            let data = data::input(found.net, found.task, &found.instance.row, effort);
            let data = data.unwrap_or_else(|_| Fragment::empty());
            let mut plan = found.step(Phase::Start, Vec::new(), Vec::new(), []);
            if let Plan::Step(step) = &mut plan {
                step.after.extend([Event::Started { item, data }, Event::Failed { item, reason }]);
            }
            Ok(plan)
        }
    }
}

fn retry(case: &Case) -> Result<Plan, Error> {
    let mut events: Vec<Event> = case
        .existing()
        .incidents
        .iter()
        .map(|open| Event::IncidentCleared { incident: open.number })
        .collect();
    events.extend(
        case.items
            .iter()
            .filter(|(_, row)| row.state == ItemState::Failed)
            .map(|(item, _)| Event::Reoffered { item: *item }),
    );
    if events.is_empty() { Err(Error::NothingToRetry) } else { Ok(Plan::Facts(events)) }
}

/// Chooses the flows of a split on the data as it will be after `wrote`.
fn choose(
    net: &Net,
    task: &Task,
    row: &InstanceRow,
    wrote: &Writes,
    effort: &Effort,
) -> Result<Vec<PlaceNumber>, Error> {
    let mut put = Vec::new();
    if task.split == Gate::And {
        put.extend(task.flows.iter().map(|flow| flow.place));
    } else {
        // Made when a predicate first asks for them.
        let mut values = None;
        // Flows are in the order of asking: by `ordering`, the default last.
        for flow in &task.flows {
            let chosen = match &flow.predicate {
                _ if flow.is_default && put.is_empty() => true,
                Some(predicate) if !flow.is_default || task.split == Gate::Or => {
                    match predicate.expression.verdict() {
                        Some(verdict) => verdict,
                        None => values
                            .get_or_insert_with(|| data::Values::of_net(net, row, wrote, effort))
                            .holds(task, predicate)?,
                    }
                }
                _ => false,
            };
            if chosen {
                put.push(flow.place);
                if task.split == Gate::Xor {
                    break;
                }
            }
        }
    }
    put.sort_unstable();
    put.dedup();
    Ok(put)
}

/// Plans the start of a composite task: its child opens with what the starting mappings give.
///
/// # Errors
/// A mapping fails on this data.
pub(super) fn start_composite(
    case: &Case,
    workflow: &Workflow,
    net: &Net,
    instance: &Instance,
    number: TaskNumber,
    child: u16,
    effort: &Effort,
) -> Result<Step, Error> {
    let task = &net.tasks[usize::from(number)];
    let child_net = &workflow.nets[usize::from(child)];
    let data = data::initial(child_net, &data::input(net, task, &instance.row, effort)?)?;
    Ok(Step {
        instance: instance.number,
        task: number,
        phase: Phase::Start,
        put: Vec::new(),
        wrote: Vec::new(),
        before: Vec::new(),
        after: vec![Event::Opened {
            instance: case.existing().instance_count,
            net: child,
            parent: Some((instance.number, number)),
            place: child_net.input,
            data,
        }],
    })
}

/// Plans the completion of a composite task whose child is done.
///
/// # Errors
/// A mapping or predicate fails on this data.
pub(super) fn complete_composite(
    case: &Case,
    workflow: &Workflow,
    parent: &Instance,
    number: TaskNumber,
    (child, how): (&Instance, End),
    effort: &Effort,
) -> Result<Step, Error> {
    let net = &workflow.nets[usize::from(parent.row.net)];
    let task = &net.tasks[usize::from(number)];
    let child_net = &workflow.nets[usize::from(child.row.net)];
    let wrote = data::output(net, task, &parent.row, &data::result(child_net, &child.row), effort)?;
    Ok(Step {
        instance: parent.number,
        task: number,
        phase: Phase::Complete,
        put: choose(net, task, &parent.row, &wrote, effort)?,
        wrote,
        before: end_subtree(case, child.number, how),
        after: Vec::new(),
    })
}

/// Plans a task that runs by itself: without a worker each input is copied to the output of the same name.
///
/// # Errors
/// A mapping or predicate fails on this data.
pub(super) fn pass_automated(
    net: &Net,
    instance: &Instance,
    number: TaskNumber,
    effort: &Effort,
) -> Result<Step, Error> {
    let task = &net.tasks[usize::from(number)];
    let input = data::input(net, task, &instance.row, effort)?;
    let echo = data::echo(task, &input);
    data::check_output(task, &echo)?;
    let wrote = data::output(net, task, &instance.row, &echo, effort)?;
    Ok(Step {
        instance: instance.number,
        task: number,
        phase: Phase::Pass,
        put: choose(net, task, &instance.row, &wrote, effort)?,
        wrote,
        before: Vec::new(),
        after: Vec::new(),
    })
}
