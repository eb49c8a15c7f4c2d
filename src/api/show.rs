//! The JSON forms of what the service shows.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::data;
use crate::engine::service::{
    Answer, CaseState, CaseSummary, CaseView, Detail, HistoryView, IncidentView, ItemView, NetView, Page,
    SpecificationView,
};
use crate::id::{CaseId, ItemId, Time};
use crate::net::{Net, Task, TaskKind};
use crate::spec::tree::{Builtin, DataType, Gate};

/// Room for a work item with little data; what takes more only moves.
pub(super) const DOCUMENT_BYTES: usize = 512;

/// Said of every specification until soundness is judged.
const NOT_CHECKED: &str = "soundness not checked";

/// Returns a time as RFC 3339 in UTC with microseconds.
pub(super) fn time(time: Time) -> String {
    time.rfc3339()
}

/// Returns a page of a list.
pub(super) fn page<'a, T, S: Serialize>(page: &'a Page<T>, item: impl Fn(&'a T) -> S) -> impl Serialize {
    PageOf { items: page.items.iter().map(item).collect(), next: page.next.as_deref() }
}

#[derive(Serialize)]
struct PageOf<'a, S> {
    items: Vec<S>,
    next: Option<&'a str>,
}

/// Returns a whole case.
pub(super) fn case(case: &CaseView) -> Json {
    let mut out = Map::new();
    out.insert("id".into(), case.id.to_string().into());
    out.insert("workflow".into(), case.workflow.clone().into());
    out.insert("version".into(), case.version.into());
    out.insert("state".into(), case.state.name().into());
    net_members(&mut out, &case.root);
    out.insert("incidents".into(), case.incidents.iter().map(incident).collect());
    out.insert("events".into(), case.event_count.into());
    out.insert("created".into(), time(case.created).into());
    out.insert("changed".into(), time(case.changed).into());
    out.insert("key".into(), case.business_key.clone().into());
    add_archive(&mut out, case.archived.as_deref());
    Json::Object(out)
}

/// Adds what a root net and a net below it have in common.
fn net_members(out: &mut Map<String, Json>, net: &NetView) {
    let marking: Map<_, _> =
        net.marking.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
    out.insert("net".into(), net.net.clone().into());
    out.insert("instance".into(), net.number.into());
    out.insert("marking".into(), marking.into());
    out.insert("busy".into(), net.busy.clone().into());
    out.insert("enabled".into(), net.enabled.clone().into());
    out.insert("data".into(), data::to_json(&net.data));
    let mut children = Map::new();
    for (task, nets) in &net.children {
        children.insert(task.clone(), nets.iter().map(child).collect());
    }
    out.insert("children".into(), children.into());
}

/// Recursion ends where nets do: their nesting has a limit of its own in `case`.
fn child(net: &NetView) -> Json {
    let mut out = Map::new();
    net_members(&mut out, net);
    Json::Object(out)
}

fn incident(incident: &IncidentView) -> Json {
    json!({
        "kind": incident.kind,
        "instance": incident.instance,
        "task": incident.task,
        "item": incident.item.map(|item| item.to_string()),
        "detail": incident.detail,
        "since": time(incident.since),
    })
}

/// Returns a case of a list.
pub(super) fn summary(case: &CaseSummary) -> Json {
    let mut summary = json!({
        "id": case.id.to_string(),
        "workflow": case.workflow,
        "version": case.version,
        "state": case.state.name(),
        "enabled_count": case.enabled_count,
        "created": time(case.created),
        "changed": time(case.changed),
        "key": case.business_key,
    });
    if let Some(out) = summary.as_object_mut() {
        add_archive(out, case.archived.as_deref());
    }
    summary
}

/// Adds that a case is archived, and in which file.
fn add_archive(out: &mut Map<String, Json>, file: Option<&str>) {
    if let Some(file) = file {
        out.insert("archived".into(), true.into());
        out.insert("archive".into(), file.into());
    }
}

/// A work item.
#[derive(Serialize)]
pub(super) struct Item<'a> {
    #[serde(serialize_with = "displayed")]
    id: ItemId,
    #[serde(serialize_with = "displayed")]
    case: CaseId,
    workflow: &'a str,
    task: &'a str,
    name: Option<&'a str>,
    instance: u32,
    state: &'static str,
    since: String,
    data: Json,
    outputs: &'a [String],
    reason: Option<&'a str>,
}

/// Returns a work item.
pub(super) fn item(item: &ItemView) -> Item<'_> {
    Item {
        id: item.id,
        case: item.id.case,
        workflow: &item.workflow,
        task: &item.task,
        name: item.name.as_deref(),
        instance: item.instance,
        state: item.state,
        since: time(item.since),
        data: data::to_json(&item.data),
        outputs: &item.outputs,
        reason: item.reason.as_deref(),
    }
}

/// Writes a work item with the state of its case: the answer to what was done to it. It is [`item`] and one member more,
/// piece by piece: most answers of a busy service are this, and a serializer takes several times as long.
fn write_item_done(out: &mut Vec<u8>, view: &ItemView, state: CaseState) {
    let case = view.id.case.letters();
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(&case);
    out.push(b'-');
    write(out, &view.id.number);
    out.extend_from_slice(b"\",\"case\":\"");
    out.extend_from_slice(&case);
    out.extend_from_slice(b"\",\"workflow\":");
    write(out, &view.workflow);
    out.extend_from_slice(b",\"task\":");
    write(out, &view.task);
    out.extend_from_slice(b",\"name\":");
    write(out, &view.name);
    out.extend_from_slice(b",\"instance\":");
    write(out, &view.instance);
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(view.state.as_bytes());
    out.extend_from_slice(b"\",\"since\":\"");
    view.since.write_rfc3339(out);
    out.extend_from_slice(b"\",\"data\":");
    if view.data.is_empty() {
        out.extend_from_slice(b"{}");
    } else {
        write(out, &data::to_json(&view.data));
    }
    out.extend_from_slice(b",\"outputs\":");
    write(out, &view.outputs);
    out.extend_from_slice(b",\"reason\":");
    write(out, &view.reason);
    out.extend_from_slice(b",\"case_state\":\"");
    out.extend_from_slice(state.name().as_bytes());
    out.extend_from_slice(b"\"}");
}

fn displayed<S: Serializer>(shown: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(shown)
}

/// Writes what the engine answers to an operation.
pub(super) fn answer(out: &mut Vec<u8>, answer: &Answer) {
    match answer {
        Answer::Created(view, _) | Answer::Case(view) => write(out, &case(view)),
        Answer::Item(item, state) => write_item_done(out, item, *state),
    }
}

/// Writes a document as text.
pub(super) fn write(out: &mut Vec<u8>, document: &impl Serialize) {
    serde_json::to_writer(out, document).expect("invariant: what is shown has a JSON form");
}

/// Returns a document as text.
pub(super) fn text(document: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(DOCUMENT_BYTES);
    write(&mut out, document);
    out
}

/// Returns one line of a case's history; items by their whole ids, as everywhere else.
pub(super) fn event(event: &HistoryView, case: CaseId) -> Json {
    let mut out = Map::new();
    out.insert("seq".into(), event.seq.into());
    out.insert("time".into(), time(event.time).into());
    out.insert("event".into(), event.event.into());
    for (name, detail) in &event.details {
        let value = match detail {
            Detail::Text(text) => text.clone().into(),
            Detail::Number(number) if *name == "item" => match u32::try_from(*number) {
                Ok(number) => ItemId { case, number }.to_string().into(),
                Err(_) => (*number).into(),
            },
            Detail::Number(number) => (*number).into(),
            Detail::List(names) => names.clone().into(),
            Detail::Data(values) => data::to_json(values),
        };
        out.insert((*name).to_owned(), value);
    }
    Json::Object(out)
}

/// Returns what a registration answers.
pub(super) fn registered(view: &SpecificationView) -> Json {
    json!({ "id": view.id, "version": view.version, "warnings": warnings(view) })
}

fn warnings(view: &SpecificationView) -> Vec<String> {
    let mut warnings = view.warnings.clone();
    if !warnings.iter().any(|warning| warning == NOT_CHECKED) {
        warnings.push(NOT_CHECKED.to_owned());
    }
    warnings
}

/// Returns a specification of a list.
pub(super) fn specification(view: &SpecificationView) -> Json {
    json!({
        "id": view.id,
        "version": view.version,
        "name": view.name,
        "registered": time(view.registered),
        "warnings": warnings(view),
    })
}

/// Returns a specification with its nets, the root first.
pub(super) fn specification_with_nets(view: &SpecificationView) -> Json {
    let mut out = specification(view);
    if let Json::Object(members) = &mut out {
        let nets = view.nets.root_first().map(|net| net_table(net, view)).collect();
        members.insert("nets".into(), Json::Array(nets));
    }
    out
}

fn net_table(net: &Net, view: &SpecificationView) -> Json {
    let variables: Vec<_> = net
        .variables
        .iter()
        .map(|variable| {
            json!({
                "name": variable.name,
                "type": type_name(&variable.data_type),
                "input": variable.is_input,
                "output": variable.is_output,
            })
        })
        .collect();
    json!({
        "id": net.id,
        "name": net.name,
        "conditions": net.places.iter().filter_map(crate::net::PlaceKey::name).collect::<Vec<_>>(),
        "input": place(net, net.input),
        "output": place(net, net.output),
        "tasks": net.tasks.iter().map(|task| task_table(net, task, view)).collect::<Vec<_>>(),
        "variables": variables,
        "at_most_one_token": net.is_safe,
    })
}

fn task_table(net: &Net, task: &Task, view: &SpecificationView) -> Json {
    let subnet = match task.kind {
        TaskKind::Composite(number) => view.nets.all.get(usize::from(number)),
        _ => None,
    };
    json!({
        "id": task.id,
        "name": task.name,
        "kind": match task.kind {
            TaskKind::Manual => "manual",
            TaskKind::Automated => "automated",
            TaskKind::Empty => "empty",
            TaskKind::Composite(_) => "composite",
        },
        "net": subnet.map(|net| net.id.clone()),
        "join": gate(task.join),
        "split": gate(task.split),
        "from": task.preset.iter().filter_map(|&number| place(net, number)).collect::<Vec<_>>(),
        "to": task.flows.iter().filter_map(|flow| place(net, flow.place)).collect::<Vec<_>>(),
        "removes": task.removes.iter().filter_map(|&number| place(net, number)).collect::<Vec<_>>(),
        "inputs": task.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>(),
        "outputs": task.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>(),
    })
}

fn place(net: &Net, number: u16) -> Option<String> {
    net.places.get(usize::from(number)).and_then(crate::net::PlaceKey::name)
}

fn gate(gate: Gate) -> &'static str {
    match gate {
        Gate::And => "and",
        Gate::Xor => "xor",
        Gate::Or => "or",
    }
}

fn type_name(data_type: &DataType) -> &str {
    let builtin = match data_type {
        DataType::Opaque(name) => return name,
        DataType::Builtin(builtin) => builtin,
    };
    match builtin {
        Builtin::String => "string",
        Builtin::Boolean => "boolean",
        Builtin::Integer | Builtin::BoundedInteger { .. } => "integer",
        Builtin::Decimal => "decimal",
        Builtin::Double => "double",
        Builtin::Date => "date",
        Builtin::Time => "time",
        Builtin::DateTime => "dateTime",
        Builtin::Duration => "duration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::service::{Fragment, Value, ValueKind};

    #[test]
    fn an_item_written_piece_by_piece_is_the_item_with_the_state_of_its_case() {
        let value = |name: &str, text: &str, kind| {
            let value = Fragment::parse(text).unwrap();
            Value { name: name.to_owned(), kind, value }
        };
        let plain = ItemView {
            id: ItemId { case: CaseId(0x0123_4567_89ab_cdef), number: 7 },
            workflow: "w".to_owned(),
            instance: 0,
            task: "t".to_owned(),
            name: None,
            state: "completed",
            since: Time(1_764_000_000_123_456),
            data: Vec::new(),
            outputs: Vec::new(),
            reason: None,
        };
        let full = ItemView {
            id: ItemId { case: CaseId(0), number: u32::MAX },
            workflow: "a \"b\" \\ \u{1f600}\n".to_owned(),
            instance: u32::MAX,
            task: "\t".to_owned(),
            name: Some("na\u{7}me".to_owned()),
            data: vec![
                value("n", "12.50", ValueKind::Number),
                value("\"", "&lt;x&gt;", ValueKind::Text),
                value("b", "true", ValueKind::Boolean),
            ],
            outputs: vec!["o\"1".to_owned(), "o2".to_owned()],
            reason: Some("be\\cause".to_owned()),
            ..plain.clone()
        };
        for view in [plain, full] {
            for state in CaseState::ALL {
                let mut out = b"before".to_vec();
                write_item_done(&mut out, &view, state);
                let mut form = serde_json::to_value(item(&view)).unwrap();
                form["case_state"] = state.name().into();
                assert_eq!(String::from_utf8(out).unwrap(), format!("before{form}"));
            }
        }
    }
}
