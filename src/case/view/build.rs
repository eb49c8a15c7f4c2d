//! From rows to views. Reads; decides nothing.

use super::{CaseState, CaseView, IncidentView, ItemView, NetView, Value, ValueKind};
use crate::case::data;
use crate::case::duty::is_enabled;
use crate::case::effort::Effort;
use crate::case::event::{End, Event, Finish, IncidentKind, ItemNumber, PlaceNumber};
use crate::case::row::{CaseRow, InstanceRow, ItemRow, ItemState, Status};
use crate::case::state::{Case, Instance};
use crate::expr::Fragment;
use crate::id::{ItemId, Time};
use crate::net::{Builtin, DataType, Net, Parameter, TaskKind, Workflow};

/// Returns the state of a case in the words of the interface; its row alone tells.
pub fn state(row: &CaseRow) -> CaseState {
    match row.status {
        Status::Closed(End::Cancelled) => CaseState::Cancelled,
        Status::Closed(End::Completed | End::Improper) => CaseState::Completed,
        Status::Suspended => CaseState::Suspended,
        Status::Running if row.failed_count > 0 || !row.incidents.is_empty() => CaseState::Incident,
        Status::Running => CaseState::Running,
    }
}

/// Returns a whole case. `tokens` reads the marking of an instance: marked places with their tokens.
///
/// # Panics
/// If the case was not created yet.
pub fn case(
    case: &Case,
    workflow: &Workflow,
    version: u32,
    tokens: impl Fn(&Instance) -> Vec<(PlaceNumber, u16)>,
) -> CaseView {
    let row = case.existing();
    let mut nets: Vec<(Option<(u32, u16)>, NetView)> = case
        .instances
        .iter()
        .map(|instance| (instance.row.parent, net_view(case, workflow, instance, &tokens(instance))))
        .collect();
    // Children have higher numbers than their parents: taken from the end, every view is whole when it moves.
    let mut root = None;
    while let Some((parent, mut view)) = nets.pop() {
        view.children.sort_by(|one, other| one.0.cmp(&other.0));
        let Some((number, task)) = parent else {
            root = Some(view);
            continue;
        };
        let Some((_, above)) = nets.iter_mut().find(|(_, net)| net.number == number) else { continue };
        let net = case.instance(number).and_then(|above| workflow.nets.get(usize::from(above.row.net)));
        let task = task_id(net.map(AsRef::as_ref), task);
        match above.children.iter_mut().find(|(known, _)| *known == task) {
            Some((_, children)) => children.insert(0, view),
            None => above.children.push((task, vec![view])),
        }
    }
    let root_net = &workflow.nets[usize::from(workflow.root)];
    let closed =
        || NetView { net: root_net.id.clone(), data: variables(root_net, &row.output), ..NetView::default() };
    CaseView {
        id: case.id,
        workflow: workflow.uri.clone(),
        version,
        state: state(row),
        status: row.status,
        business_key: row.business_key.clone(),
        created: row.created,
        changed: row.changed,
        event_count: row.event_count,
        root: root.unwrap_or_else(closed),
        incidents: incidents(case, workflow),
        archived: None,
    }
}

fn net_view(case: &Case, workflow: &Workflow, instance: &Instance, tokens: &[(PlaceNumber, u16)]) -> NetView {
    let Some(net) = workflow.nets.get(usize::from(instance.row.net)) else {
        return NetView { number: instance.number, ..NetView::default() };
    };
    let is_marked = |place: u16| tokens.iter().any(|(marked, _)| *marked == place);
    let mut marking: Vec<(String, u32)> = tokens
        .iter()
        .filter_map(|(place, count)| Some((net.places.get(usize::from(*place))?.name()?, u32::from(*count))))
        .collect();
    marking.sort();
    let mut busy = Vec::new();
    let mut enabled = Vec::new();
    for (number, task) in (0..).zip(&net.tasks) {
        if is_marked(task.busy) {
            busy.push(task.id.clone());
        }
        // A manual task is enabled if an item offers it: that is what was judged and recorded.
        let is_offered = || {
            case.items.iter().any(|(_, row)| {
                row.instance == instance.number && row.task == number && row.state == ItemState::Enabled
            })
        };
        if (task.kind == TaskKind::Manual && is_offered())
            || (task.kind != TaskKind::Manual && is_enabled(net, number, is_marked))
        {
            enabled.push(task.id.clone());
        }
    }
    busy.sort();
    enabled.sort();
    NetView {
        number: instance.number,
        net: net.id.clone(),
        marking,
        busy,
        enabled,
        data: variables(net, &instance.row.data),
        children: Vec::new(),
    }
}

fn incidents(case: &Case, workflow: &Workflow) -> Vec<IncidentView> {
    let net_of = |number| {
        let instance = case.instance(number)?;
        workflow.nets.get(usize::from(instance.row.net)).map(AsRef::as_ref)
    };
    let open = case.existing().incidents.iter().map(|open| IncidentView {
        kind: incident_word(open.kind),
        instance: open.instance,
        task: open.task.map(|task| task_id(net_of(open.instance), task)),
        item: None,
        detail: open.detail.clone(),
        since: open.since,
    });
    let failed = case.items.iter().filter(|(_, row)| row.state == ItemState::Failed).map(|(number, row)| {
        IncidentView {
            kind: "failed",
            instance: row.instance,
            task: Some(task_id(net_of(row.instance), row.task)),
            item: Some(ItemId { case: case.id, number: *number }),
            detail: row.reason.clone().unwrap_or_default(),
            since: row.since,
        }
    });
    open.chain(failed).collect()
}

/// Returns the word of an incident's kind.
pub(super) fn incident_word(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::Deadlock => "deadlock",
        IncidentKind::Data => "data",
        IncidentKind::Undecided => "undecided",
        IncidentKind::Chain => "chain",
        IncidentKind::Tokens => "tokens",
        IncidentKind::Nesting => "nesting",
    }
}

/// Returns the word of a live item's state.
pub fn item_word(state: ItemState) -> &'static str {
    match state {
        ItemState::Enabled | ItemState::Reoffered => "enabled",
        ItemState::Executing => "executing",
        ItemState::Failed => "failed",
    }
}

/// Returns a work item, in the state that `word` names: that of its row, or how it went. `instance` is the row of
/// its net instance, from which the input of an item that is not started yet is made; what that takes is added to
/// `effort`. Where that breaks off, the view says nothing.
pub fn item(
    id: ItemId,
    row: &ItemRow,
    word: &'static str,
    (instance, effort): (Option<&InstanceRow>, &Effort),
    net: &Net,
    workflow: &str,
) -> ItemView {
    let task = net.tasks.get(usize::from(row.task));
    let data = task.map(|task| match (&row.data, instance) {
        (Some(data), _) => parameters(&task.inputs, data),
        // What the input would be; a mapping that fails now will say so when the item is started.
        (None, Some(instance)) => {
            let input = data::input(net, task, instance, effort);
            parameters(&task.inputs, &input.unwrap_or_else(|_| Fragment::empty()))
        }
        (None, None) => Vec::new(),
    });
    ItemView {
        id,
        workflow: workflow.to_owned(),
        instance: row.instance,
        task: task_id(Some(net), row.task),
        name: task.and_then(|task| task.name.clone()),
        state: word,
        since: row.since,
        data: data.unwrap_or_default(),
        outputs: task
            .map(|task| task.outputs.iter().map(|output| output.name.clone()).collect())
            .unwrap_or_default(),
        reason: row.reason.clone(),
    }
}

/// Returns a work item that is gone, as `events` tell: `before` is its row as it stood before them.
pub fn gone_item(
    id: ItemId,
    before: &ItemRow,
    net: &Net,
    workflow: &str,
    events: &[Event],
    at: Time,
) -> ItemView {
    let mut row = ItemRow { since: at, ..before.clone() };
    let mut word = "withdrawn";
    for event in events {
        match event {
            Event::Started { item, data } if *item == id.number => row.data = Some(data.clone()),
            Event::Finished { item, how, .. } if *item == id.number => {
                word = match how {
                    Finish::Completed => "completed",
                    Finish::Skipped { .. } => "skipped",
                };
            }
            _ => {}
        }
    }
    item(id, &row, word, (None, &Effort::unlimited()), net, workflow)
}

/// Returns a live work item of a case; `None` when there is none of that number. What working out its input takes is
/// added to `effort`, which must be an unlimited one.
pub fn live_item(case: &Case, workflow: &Workflow, number: ItemNumber, effort: &Effort) -> Option<ItemView> {
    let row = case.item(number)?;
    let instance = &case.instance(row.instance)?.row;
    let net = workflow.nets.get(usize::from(instance.net))?;
    let id = ItemId { case: case.id, number };
    Some(item(id, row, item_word(row.state), (Some(instance), effort), net, &workflow.uri))
}

/// Returns the task of a live item and the word for its state, without what takes long; `None` when the item belongs to no
/// net of the case.
pub fn task_and_state(case: &Case, workflow: &Workflow, row: &ItemRow) -> Option<(String, &'static str)> {
    let instance = &case.instance(row.instance)?.row;
    let net = workflow.nets.get(usize::from(instance.net))?;
    Some((task_id(Some(net), row.task), item_word(row.state)))
}

/// Returns the id of a task; its number where there is no such task, so that damage can still be looked at.
pub(super) fn task_id(net: Option<&Net>, task: u16) -> String {
    let found = net.and_then(|net| net.tasks.get(usize::from(task)));
    found.map_or_else(|| format!("#{task}"), |task| task.id.clone())
}

/// Returns the values of variables by name.
pub(super) fn variables(net: &Net, data: &[(u16, Fragment)]) -> Vec<Value> {
    let named = |(number, value): &(u16, Fragment)| {
        let variable = net.variables.get(usize::from(*number))?;
        let kind = kind(&variable.data_type);
        Some(Value { name: variable.name.clone(), kind, value: value.clone() })
    };
    data.iter().filter_map(named).collect()
}

/// Returns the values of parameters by name, from a fragment of one element each; unset ones are left out.
pub(super) fn parameters(parameters: &[Parameter], data: &Fragment) -> Vec<Value> {
    let set = data.children().into_iter().filter(|(_, value)| !value.is_empty());
    set.map(|(name, value)| {
        let known = parameters.iter().find(|parameter| parameter.name == name);
        let kind = known.map_or(ValueKind::Text, |parameter| kind(&parameter.data_type));
        Value { name, kind, value }
    })
    .collect()
}

fn kind(data_type: &DataType) -> ValueKind {
    match data_type {
        DataType::Builtin(Builtin::Boolean) => ValueKind::Boolean,
        DataType::Builtin(
            Builtin::Integer | Builtin::BoundedInteger { .. } | Builtin::Decimal | Builtin::Double,
        ) => ValueKind::Number,
        DataType::Builtin(_) | DataType::Opaque(_) => ValueKind::Text,
    }
}
