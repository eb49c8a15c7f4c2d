//! The elements of a net: conditions and flows; tasks are in `task.rs`.

use super::super::codes;
use super::super::mistake::quoted;
use super::super::tree::{Condition, ConditionKind, Flow, Task, Text};
use super::walk::{Node, Walk};
use super::{data, task};

/// Reads `processControlElements`.
pub(super) fn elements<'a>(walk: &mut Walk<'a>, control: Node<'a>) -> (Vec<Condition>, Vec<Task>) {
    let (mut conditions, mut tasks) = (Vec::new(), Vec::new());
    for child in walk.children(control) {
        match child.tag_name().name() {
            "inputCondition" => conditions.extend(condition(walk, child, ConditionKind::Input)),
            "outputCondition" => conditions.extend(condition(walk, child, ConditionKind::Output)),
            "condition" => conditions.extend(condition(walk, child, ConditionKind::Plain)),
            "task" => tasks.extend(task::task(walk, child)),
            _ => {
                walk.has_gaps = true;
                walk.unknown_refused(child, "processControlElements");
            }
        }
    }
    (conditions, tasks)
}

fn condition<'a>(walk: &mut Walk<'a>, node: Node<'a>, kind: ConditionKind) -> Option<Condition> {
    walk.attributes(node, &["id"]);
    let id = walk.required_name(node, "id");
    let mut name = None;
    let mut documentation = None;
    let mut flows = Vec::new();
    for child in walk.children(node) {
        match child.tag_name().name() {
            "name" => walk.once(&mut name, child),
            "documentation" => walk.once(&mut documentation, child),
            "flowsInto" => flows.extend(flow(walk, child)),
            _ => {
                walk.has_gaps = true;
                walk.unknown_refused(child, node.tag_name().name());
            }
        }
    }
    let name = walk.label(name);
    walk.has_gaps |= id.is_none();
    Some(Condition { id: id?, name, kind, flows })
}

/// Reads a `flowsInto`.
pub(super) fn flow<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<Flow> {
    walk.attributes(node, &[]);
    let (mut next, mut predicate, mut default, mut documentation) = (None, None, None, None);
    for child in walk.children(node) {
        match child.tag_name().name() {
            "nextElementRef" => walk.once(&mut next, child),
            "predicate" => walk.once(&mut predicate, child),
            "isDefaultFlow" => walk.once(&mut default, child),
            "documentation" => walk.once(&mut documentation, child),
            _ => walk.unknown_refused(child, "flowsInto"),
        }
    }
    let ordering = predicate.and_then(|node| {
        walk.attributes(node, &["ordering"]);
        walk.attribute(node, "ordering").and_then(|text| data::whole_number(walk, &text))
    });
    let predicate = predicate.and_then(|node| walk.text_filled(node));
    let is_default = default.is_some_and(|node| {
        let text = walk.text(node);
        text.text.is_empty() || walk.truth(&text)
    });
    let Some(next) = next else {
        let hint = "write <nextElementRef id=\"...\"/>";
        walk.error(codes::MISSING, walk.at(node), "the flow has no nextElementRef", hint);
        walk.has_gaps = true;
        return None;
    };
    let target = reference(walk, next);
    walk.has_gaps |= target.is_none();
    Some(Flow { target: target?, predicate, ordering, is_default })
}

/// Returns the id that an element such as `nextElementRef` names.
pub(super) fn reference<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<Text> {
    walk.attributes(node, &["id"]);
    walk.required_name(node, "id")
}

/// Returns one of the values that the attribute `code` of an element may have.
pub(super) fn code<'a, T: Copy>(walk: &mut Walk<'a>, node: Node<'a>, values: &[(&str, T)]) -> Option<T> {
    walk.attributes(node, &["code"]);
    let text = walk.required(node, "code")?;
    let value = values.iter().find(|(name, _)| *name == text.text.trim()).map(|(_, value)| *value);
    if value.is_none() {
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        let message = format!("{} cannot be {}", node.tag_name().name(), quoted(&text.text));
        walk.error(codes::VALUE, text.at, message, format!("write one of {}", names.join(", ")));
    }
    value
}
