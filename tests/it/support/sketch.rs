//! Specifications from a short notation, so that a test shows its net in a few lines.
//!
//! ```text
//! net N                       a net; the first is the root
//! var x integer 5             a local variable, perhaps with an initial value
//! in x integer                an input parameter
//! out y string                an output parameter
//! i > a                       the input condition i; all others that flow are plain, o is the output condition
//! a manual xor and > b c      a task: what runs it (manual, auto, empty, net:M), join, split, flows
//!   when b /N/x > 3           predicate of a flow; the flow without one is the default
//!   removes c1 b              remove set: conditions and tasks
//!   removes-flow a b          remove set: an implicit condition
//!   give p integer /N/x       input parameter p of the task and its mapping
//!   take q integer x /a/q     output parameter q of the task, and the mapping to variable x
//!   map-in p /N/x             mapping to input parameter p of the subnet
//!   map-out y /M/q            mapping to variable y
//! ```
//! The decomposition of a task has the task's id, that of a composite task the net's.

use std::fmt::Write;

#[derive(Default)]
struct Net {
    id: String,
    variables: [String; 3],
    conditions: Vec<(String, Vec<String>)>,
    tasks: Vec<Task>,
}

#[derive(Default)]
struct Task {
    id: String,
    kind: String,
    join: String,
    split: String,
    flows: Vec<(String, Option<String>)>,
    removes: String,
    inputs: String,
    outputs: String,
    starting: String,
    completed: String,
}

/// Returns the XML of a sketch.
pub(crate) fn xml(sketch: &str) -> String {
    let nets = read(sketch);
    let mut text = String::from(
        r#"<specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" version="4.0"><specification uri="sketch"><metaData/>"#,
    );
    for (at, net) in nets.iter().enumerate() {
        write_net(&mut text, net, at == 0);
    }
    for task in nets.iter().flat_map(|net| &net.tasks) {
        if matches!(task.kind.as_str(), "manual" | "auto") {
            let by = if task.kind == "manual" { "manual" } else { "automated" };
            write!(
                text,
                r#"<decomposition id="{}" xsi:type="WebServiceGatewayFactsType">{}{}<externalInteraction>{by}</externalInteraction></decomposition>"#,
                task.id, task.inputs, task.outputs
            )
            .unwrap();
        }
    }
    text.push_str("</specification></specificationSet>");
    text
}

fn read(sketch: &str) -> Vec<Net> {
    let mut nets: Vec<Net> = Vec::new();
    for line in sketch.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "net" {
            nets.push(Net { id: words[1].to_owned(), ..Net::default() });
            continue;
        }
        let net = nets.last_mut().unwrap();
        match words[0] {
            "var" | "in" | "out" => {
                let (at, tag) = match words[0] {
                    "in" => (0, "inputParam"),
                    "out" => (1, "outputParam"),
                    _ => (2, "localVariable"),
                };
                let initial = words.get(3).map(|_| escape(&words[3..].join(" ")));
                net.variables[at].push_str(&parameter(tag, words[1], words[2], initial.as_deref()));
            }
            "when" | "removes" | "removes-flow" | "give" | "take" | "map-in" | "map-out" => {
                attribute(net.tasks.last_mut().unwrap(), &words);
            }
            id if words[1] == ">" => {
                net.conditions.push((id.to_owned(), words[2..].iter().map(ToString::to_string).collect()));
            }
            id => net.tasks.push(Task {
                id: id.to_owned(),
                kind: words[1].to_owned(),
                join: words[2].to_owned(),
                split: words[3].to_owned(),
                flows: words[5..].iter().map(|flow| ((*flow).to_owned(), None)).collect(),
                ..Task::default()
            }),
        }
    }
    nets
}

fn attribute(task: &mut Task, words: &[&str]) {
    match words[0] {
        "when" => {
            let flow = task.flows.iter_mut().find(|(flow, _)| flow == words[1]).unwrap();
            flow.1 = Some(words[2..].join(" "));
        }
        "removes" => {
            for id in &words[1..] {
                write!(task.removes, r#"<removesTokens id="{id}"/>"#).unwrap();
            }
        }
        "removes-flow" => {
            write!(
                task.removes,
                r#"<removesTokensFromFlow><flowSource id="{}"/><flowDestination id="{}"/></removesTokensFromFlow>"#,
                words[1], words[2]
            )
            .unwrap();
        }
        "give" => {
            task.inputs.push_str(&parameter("inputParam", words[1], words[2], None));
            task.starting.push_str(&mapping(&words[3..].join(" "), words[1]));
        }
        "take" => {
            task.outputs.push_str(&parameter("outputParam", words[1], words[2], None));
            task.completed.push_str(&mapping(&words[4..].join(" "), words[3]));
        }
        "map-in" => task.starting.push_str(&mapping(&words[2..].join(" "), words[1])),
        _ => task.completed.push_str(&mapping(&words[2..].join(" "), words[1])),
    }
}

fn parameter(tag: &str, name: &str, data_type: &str, initial: Option<&str>) -> String {
    let initial = initial.map(|value| format!("<initialValue>{value}</initialValue>")).unwrap_or_default();
    format!("<{tag}><index>0</index><name>{name}</name><type>xs:{data_type}</type>{initial}</{tag}>")
}

fn mapping(query: &str, target: &str) -> String {
    format!(r#"<mapping><expression query="{}"/><mapsTo>{target}</mapsTo></mapping>"#, escape(query))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn write_net(text: &mut String, net: &Net, is_root: bool) {
    let root = if is_root { r#" isRootNet="true""# } else { "" };
    write!(
        text,
        r#"<decomposition id="{}"{root} xsi:type="NetFactsType">{}<processControlElements>"#,
        net.id,
        net.variables.concat()
    )
    .unwrap();
    for (at, (id, flows)) in net.conditions.iter().enumerate() {
        let tag = if at == 0 { "inputCondition" } else { "condition" };
        write!(text, r#"<{tag} id="{id}">"#).unwrap();
        for flow in flows {
            write!(text, r#"<flowsInto><nextElementRef id="{flow}"/></flowsInto>"#).unwrap();
        }
        write!(text, "</{tag}>").unwrap();
    }
    for task in &net.tasks {
        write_task(text, task);
    }
    text.push_str(r#"<outputCondition id="o"/></processControlElements></decomposition>"#);
}

fn write_task(text: &mut String, task: &Task) {
    write!(text, r#"<task id="{}">"#, task.id).unwrap();
    let has_choice = task.split != "and";
    let last = task.flows.len() - 1;
    let without = task.flows.iter().position(|(_, predicate)| predicate.is_none()).unwrap_or(last);
    for (at, (flow, predicate)) in task.flows.iter().enumerate() {
        write!(text, r#"<flowsInto><nextElementRef id="{flow}"/>"#).unwrap();
        if let Some(predicate) = predicate {
            let ordering = if task.split == "xor" { format!(r#" ordering="{at}""#) } else { String::new() };
            write!(text, "<predicate{ordering}>{}</predicate>", escape(predicate)).unwrap();
        } else if task.split == "or" {
            text.push_str("<predicate>true()</predicate>");
        }
        if has_choice && at == without {
            text.push_str("<isDefaultFlow/>");
        }
        text.push_str("</flowsInto>");
    }
    write!(text, r#"<join code="{}"/><split code="{}"/>{}"#, task.join, task.split, task.removes).unwrap();
    for (tag, mappings) in [("startingMappings", &task.starting), ("completedMappings", &task.completed)] {
        if !mappings.is_empty() {
            write!(text, "<{tag}>{mappings}</{tag}>").unwrap();
        }
    }
    match task.kind.as_str() {
        "empty" => {}
        "manual" | "auto" => write!(text, r#"<decomposesTo id="{}"/>"#, task.id).unwrap(),
        kind => write!(text, r#"<decomposesTo id="{}"/>"#, kind.strip_prefix("net:").unwrap()).unwrap(),
    }
    text.push_str("</task>");
}
