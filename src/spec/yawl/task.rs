//! Tasks: joins, splits, remove sets, mappings, multiple instances and timers.

use super::super::codes;
use super::super::mistake::{Position, quoted};
use super::super::tree::{Gate, MultipleInstance, Task, Text, Timer};
use super::walk::{Node, Walk, schema_type};
use super::{data, net};

const GATES: [(&str, Gate); 3] = [("and", Gate::And), ("or", Gate::Or), ("xor", Gate::Xor)];
const TRIGGERS: [&str; 2] = ["OnEnabled", "OnExecuting"];

/// What the children of a task give that may stand once.
#[derive(Default)]
struct Parts<'a> {
    name: Option<Node<'a>>,
    documentation: Option<Node<'a>>,
    join: Option<Node<'a>>,
    split: Option<Node<'a>>,
    starting: Option<Node<'a>>,
    completed: Option<Node<'a>>,
    enablement: Option<Node<'a>>,
    timer: Option<Node<'a>>,
    decomposition: Option<Node<'a>>,
    multiple: Multiple<'a>,
}

/// The elements of multiple instances.
#[derive(Default)]
struct Multiple<'a> {
    first: Option<Position>,
    minimum: Option<Node<'a>>,
    maximum: Option<Node<'a>>,
    threshold: Option<Node<'a>>,
    mode: Option<Node<'a>>,
    input: Option<Node<'a>>,
    output: Option<Node<'a>>,
}

/// Reads a `task`.
pub(super) fn task<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<Task> {
    walk.attributes(node, &["id"]);
    let id = walk.required_name(node, "id");
    let mut parts = Parts::default();
    let (mut flows, mut removes, mut removes_flows) = (Vec::new(), Vec::new(), Vec::new());
    for child in walk.children(node) {
        match child.tag_name().name() {
            "name" => walk.once(&mut parts.name, child),
            "documentation" => walk.once(&mut parts.documentation, child),
            "flowsInto" => flows.extend(net::flow(walk, child)),
            "join" => walk.once(&mut parts.join, child),
            "split" => walk.once(&mut parts.split, child),
            "removesTokens" => removes.extend(net::reference(walk, child)),
            "removesTokensFromFlow" => removes_flows.extend(removed_flow(walk, child)),
            "startingMappings" => walk.once(&mut parts.starting, child),
            "completedMappings" => walk.once(&mut parts.completed, child),
            "enablementMappings" => {
                walk.without_effect("enablementMappings", walk.at(child));
                walk.once(&mut parts.enablement, child);
            }
            "timer" => walk.once(&mut parts.timer, child),
            "decomposesTo" => walk.once(&mut parts.decomposition, child),
            "configuration" | "resourcing" => walk.without_effect(child.tag_name().name(), walk.at(child)),
            "customForm" | "customFormURL" => walk.without_effect("customForm", walk.at(child)),
            _ => multiple_part(walk, child, &mut parts.multiple),
        }
    }
    let join = gate(walk, node, parts.join, "join");
    let split = gate(walk, node, parts.split, "split");
    let multiple = multiple(walk, node, parts.multiple);
    let timer = parts.timer.map(|timer| self::timer(walk, timer));
    let starting = data::mappings(walk, parts.starting);
    let completed = data::mappings(walk, parts.completed);
    let enablement = data::mappings(walk, parts.enablement);
    let decomposition = parts.decomposition.and_then(|node| net::reference(walk, node));
    walk.has_gaps |= id.is_none();
    Some(Task {
        id: id?,
        name: walk.label(parts.name),
        documentation: walk.prose(parts.documentation),
        // A missing gate has been said; with a stand-in the rules can still say the rest.
        join: join.unwrap_or(Gate::Xor),
        split: split.unwrap_or(Gate::And),
        flows,
        removes,
        removes_flows,
        starting,
        completed,
        enablement,
        decomposition,
        multiple,
        timer,
    })
}

fn gate<'a>(walk: &mut Walk<'a>, task: Node<'a>, node: Option<Node<'a>>, kind: &str) -> Option<Gate> {
    let Some(node) = node else {
        let hint = format!("write <{kind} code=\"...\"/> with and, or or xor");
        walk.error(codes::MISSING, walk.at(task), format!("the task has no {kind}"), hint);
        return None;
    };
    net::code(walk, node, &GATES)
}

fn removed_flow<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<(Text, Text)> {
    let (mut source, mut destination) = (None, None);
    for child in walk.children(node) {
        match child.tag_name().name() {
            "flowSource" => walk.once(&mut source, child),
            "flowDestination" => walk.once(&mut destination, child),
            _ => walk.unknown_refused(child, "removesTokensFromFlow"),
        }
    }
    let (Some(source), Some(destination)) = (source, destination) else {
        let hint = "write <flowSource id=\"...\"/> <flowDestination id=\"...\"/>";
        walk.error(codes::MISSING, walk.at(node), "removesTokensFromFlow does not name both ends", hint);
        return None;
    };
    let (source, destination) = (net::reference(walk, source), net::reference(walk, destination));
    Some((source?, destination?))
}

/// Takes an element of multiple instances; anything else is not known in a task.
fn multiple_part<'a>(walk: &mut Walk<'a>, child: Node<'a>, multiple: &mut Multiple<'a>) {
    let slot = match child.tag_name().name() {
        "minimum" => &mut multiple.minimum,
        "maximum" => &mut multiple.maximum,
        "threshold" => &mut multiple.threshold,
        "creationMode" => &mut multiple.mode,
        "miDataInput" => &mut multiple.input,
        "miDataOutput" => &mut multiple.output,
        _ => {
            walk.has_gaps = true;
            return walk.unknown_refused(child, "task");
        }
    };
    walk.once(slot, child);
    multiple.first.get_or_insert_with(|| walk.at(child));
}

fn multiple<'a>(walk: &mut Walk<'a>, task: Node<'a>, parts: Multiple<'a>) -> Option<MultipleInstance> {
    let is_multiple = match schema_type(task) {
        None | Some("ExternalTaskFactsType") => false,
        Some("MultipleInstanceExternalTaskFactsType") => true,
        Some(other) => {
            let message = format!("a task cannot have the type {}", quoted(other));
            let hint = "write xsi:type=\"MultipleInstanceExternalTaskFactsType\", or no type";
            walk.error(codes::VALUE, walk.at(task), message, hint);
            false
        }
    };
    let at = parts.first.or_else(|| is_multiple.then(|| walk.at(task)))?;
    let mut multiple = MultipleInstance {
        at,
        minimum: parts.minimum.and_then(|node| walk.text_filled(node)),
        maximum: parts.maximum.and_then(|node| walk.text_filled(node)),
        threshold: parts.threshold.and_then(|node| walk.text_filled(node)),
        creation_mode: parts.mode.and_then(|node| walk.required(node, "code")),
        input: None,
        splitting: None,
        formal_input: None,
        formal_output: None,
        joining: None,
        result: None,
    };
    for child in parts.input.map(|node| walk.children(node)).unwrap_or_default() {
        match child.tag_name().name() {
            "expression" => multiple.input = data::query(walk, child),
            "splittingExpression" => multiple.splitting = data::query(walk, child),
            "formalInputParam" => multiple.formal_input = walk.text_name(child),
            _ => walk.unknown_refused(child, "miDataInput"),
        }
    }
    for child in parts.output.map(|node| walk.children(node)).unwrap_or_default() {
        match child.tag_name().name() {
            "formalOutputExpression" => multiple.formal_output = data::query(walk, child),
            "outputJoiningExpression" => multiple.joining = data::query(walk, child),
            "resultAppliedToLocalVariable" => multiple.result = walk.text_name(child),
            _ => walk.unknown_refused(child, "miDataOutput"),
        }
    }
    Some(multiple)
}

fn timer<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Timer {
    let mut timer = Timer {
        at: walk.at(node),
        parameter: None,
        trigger: None,
        duration: None,
        expiry: None,
        interval: None,
        workdays: false,
    };
    for child in walk.children(node) {
        match child.tag_name().name() {
            "netparam" => timer.parameter = walk.text_name(child),
            "trigger" => timer.trigger = Some(trigger(walk, child)),
            "duration" => timer.duration = walk.text_filled(child),
            "expiry" => timer.expiry = walk.text_filled(child),
            "durationparams" => timer.interval = interval(walk, child),
            "workdays" => {
                let text = walk.text(child);
                timer.workdays = text.text.is_empty() || walk.truth(&text);
            }
            _ => walk.unknown_refused(child, "timer"),
        }
    }
    timer
}

fn trigger<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Text {
    let text = walk.text(node);
    if !TRIGGERS.contains(&text.text.as_str()) {
        let message = format!("the trigger of a timer cannot be {}", quoted(&text.text));
        walk.error(codes::VALUE, text.at, message, format!("write one of {}", TRIGGERS.join(", ")));
    }
    text
}

fn interval<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<(Text, Text)> {
    let (mut ticks, mut interval) = (None, None);
    for child in walk.children(node) {
        match child.tag_name().name() {
            "ticks" => ticks = walk.text_filled(child),
            "interval" => interval = walk.text_filled(child),
            _ => walk.unknown_refused(child, "durationparams"),
        }
    }
    ticks.zip(interval)
}
