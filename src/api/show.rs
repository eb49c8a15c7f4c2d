//! The JSON forms of what the service shows.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::data;
use crate::engine::cost;
use crate::engine::room::{Full, Room, Work};
use crate::engine::service::{
    Answer, Brief, CaseState, CaseSummary, CaseView, Detail, HistoryView, IncidentView, ItemView, NetView,
    Page, Refusal, SpecificationView, Value,
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

/// Memory that writing a value takes, as a multiple of its text: for each element its shape, and the names of those side by
/// side in a hash set that grows. Elements with names of three letters, all different, take the most: 58 bytes for 6.
const WRITE_FACTOR: usize = 12;

/// An object in the making: its members are written one after the other.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_first: true }
    }

    /// Writes the name of a member, and returns where its value goes.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        write(self.out, &name);
        self.out.push(b':');
        self.out
    }

    fn add(&mut self, name: &str, value: &impl Serialize) {
        write(self.name(name), value);
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

/// Writes an array, item by item.
fn array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, item: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, one) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item(out, one);
    }
    out.push(b']');
}

/// Returns a page of a list.
pub(super) fn page<T>(page: &Page<T>, item: impl Fn(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut out = Vec::with_capacity(DOCUMENT_BYTES);
    write_page(&mut out, page, item);
    out
}

/// Writes a page of a list.
pub(super) fn write_page<T>(out: &mut Vec<u8>, page: &Page<T>, item: impl Fn(&mut Vec<u8>, &T)) {
    let mut object = Object::open(out);
    array(object.name("items"), &page.items, item);
    object.add("next", &page.next);
    object.close();
}

/// Takes the memory that writing values takes, of which the largest has so many bytes.
///
/// # Errors
/// It is unavailable.
fn work(room: &Room, largest_bytes: usize) -> Result<Work, Full> {
    room.work(largest_bytes.saturating_mul(WRITE_FACTOR)).ok_or(Full::All)
}

/// Returns a document in which values stand, of which the largest has so many bytes.
///
/// # Errors
/// The memory that writing takes is unavailable.
pub(super) fn document(
    room: &Room,
    largest_bytes: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<Vec<u8>, Refusal> {
    let _work = work(room, largest_bytes).map_err(|full| full.refusal(room))?;
    let mut out = Vec::with_capacity(DOCUMENT_BYTES);
    write(&mut out);
    Ok(out)
}

/// Writes values as an object, in their order.
fn values(out: &mut Vec<u8>, values: &[Value]) {
    let mut object = Object::open(out);
    for value in values {
        data::write(object.name(&value.name), value);
    }
    object.close();
}

/// Writes a whole case.
pub(super) fn case(out: &mut Vec<u8>, case: &CaseView) {
    let mut object = Object::open(out);
    object.add("id", &case.id.to_string());
    object.add("workflow", &case.workflow);
    object.add("version", &case.version);
    object.add("state", &case.state.name());
    net_members(&mut object, &case.root);
    array(object.name("incidents"), &case.incidents, |out, one| write(out, &incident(one)));
    object.add("events", &case.event_count);
    object.add("created", &time(case.created));
    object.add("changed", &time(case.changed));
    object.add("key", &case.business_key);
    if let Some(file) = &case.archived {
        object.add("archived", &true);
        object.add("archive", file);
    }
    object.close();
}

/// Writes what a root net and a net below it have in common.
fn net_members(object: &mut Object<'_>, net: &NetView) {
    object.add("net", &net.net);
    object.add("instance", &net.number);
    let mut marking = Object::open(object.name("marking"));
    for (name, count) in &net.marking {
        marking.add(name, count);
    }
    marking.close();
    object.add("busy", &net.busy);
    object.add("enabled", &net.enabled);
    values(object.name("data"), &net.data);
    let mut children = Object::open(object.name("children"));
    for (task, nets) in &net.children {
        array(children.name(task), nets, child);
    }
    children.close();
}

/// Recursion ends where nets do: their nesting has a limit of its own in `case`.
fn child(out: &mut Vec<u8>, net: &NetView) {
    let mut object = Object::open(out);
    net_members(&mut object, net);
    object.close();
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

/// A case in a list, with what is wrong with its history.
pub(super) fn checked(case: &CaseSummary, damage: Option<&str>) -> Json {
    let mut out = summary(case);
    out["chain"] = if damage.is_none() { "ok" } else { "damaged" }.into();
    out["damage"] = damage.into();
    out
}

/// Writes a work item.
pub(super) fn item(out: &mut Vec<u8>, item: &ItemView) {
    item_members(out, item);
    out.push(b'}');
}

/// Writes a work item with the state of its case: the answer to what was done to it.
fn item_done(out: &mut Vec<u8>, item: &ItemView, state: CaseState) {
    item_members(out, item);
    out.extend_from_slice(b",\"case_state\":\"");
    out.extend_from_slice(state.name().as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes a work item without its last brace, piece by piece: most answers of a busy service are this, and a serializer
/// takes several times as long.
fn item_members(out: &mut Vec<u8>, view: &ItemView) {
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
    values(out, &view.data);
    out.extend_from_slice(b",\"outputs\":");
    write(out, &view.outputs);
    out.extend_from_slice(b",\"reason\":");
    write(out, &view.reason);
}

/// Writes what the engine answers to an operation; the short form where there is no room for what writing takes.
pub(super) fn answer(out: &mut Vec<u8>, answer: &Answer, room: &Room) {
    let of_item = |item: &ItemView| cost::largest(&item.data);
    match answer {
        Answer::Created(view, is_new) => match work(room, cost::largest_value(view)) {
            Ok(_work) => case(out, view),
            Err(_) => brief(out, Brief::Created(view.id, view.state, *is_new)),
        },
        Answer::Case(view) => match work(room, cost::largest_value(view)) {
            Ok(_work) => case(out, view),
            Err(_) => brief(out, Brief::Case(view.id, view.state)),
        },
        Answer::Item(item, state) => match work(room, of_item(item)) {
            Ok(_work) => item_done(out, item, *state),
            Err(_) => brief(out, Brief::Item(item.id, item.state, *state)),
        },
        Answer::Brief(what) => brief(out, *what),
        Answer::NotRemembered(same) => {
            self::answer(out, same, room);
            let end = out.pop();
            assert_eq!(end, Some(b'}'), "invariant: every answer is an object");
            out.extend_from_slice(b",\"remembered\":false}");
        }
    }
}

/// Writes what an answer is about and how that is now, and that there was no room for more. At most
/// [`SHORT_BYTES`](crate::engine::room::SHORT_BYTES) with the status around it.
fn brief(out: &mut Vec<u8>, what: Brief) {
    let mut object = Object::open(out);
    match what {
        Brief::Created(case, state, _) | Brief::Case(case, state) => {
            object.add("id", &case.to_string());
            object.add("state", &state.name());
        }
        Brief::Item(item, word, state) => {
            object.add("id", &item.to_string());
            object.add("case", &item.case.to_string());
            object.add("state", &word);
            object.add("case_state", &state.name());
        }
    }
    object.add("short", &true);
    object.close();
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

/// Writes one line of a case's history; items by their whole ids, as everywhere else.
pub(super) fn event(out: &mut Vec<u8>, event: &HistoryView, case: CaseId) {
    let mut object = Object::open(out);
    object.add("seq", &event.seq);
    object.add("time", &time(event.time));
    object.add("event", &event.event);
    for (name, detail) in &event.details {
        match detail {
            Detail::Text(text) => object.add(name, text),
            Detail::Number(number) if *name == "item" => match u32::try_from(*number) {
                Ok(number) => object.add(name, &ItemId { case, number }.to_string()),
                Err(_) => object.add(name, number),
            },
            Detail::Number(number) => object.add(name, number),
            Detail::List(names) => object.add(name, names),
            Detail::Data(data) => values(object.name(name), data),
        }
    }
    object.close();
}

/// Returns what a registration answers, and that the key which came with it, if one did, is not remembered.
pub(super) fn registered(view: &SpecificationView, key: Option<&str>) -> Json {
    let mut out = json!({ "id": view.id, "version": view.version, "warnings": warnings(view) });
    if key.is_some() && !view.is_new {
        out["remembered"] = false.into();
    }
    out
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
    fn an_item_with_the_state_of_its_case_is_the_item_and_one_member_more() {
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
                item_done(&mut out, &view, state);
                let mut alone = Vec::new();
                item(&mut alone, &view);
                let mut form: Json = serde_json::from_slice(&alone).unwrap();
                form["case_state"] = state.name().into();
                assert_eq!(String::from_utf8(out).unwrap(), format!("before{form}"));
            }
        }
    }
}
