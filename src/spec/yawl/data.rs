//! Parameters and variables, their types and initial values; mappings.

use super::super::codes;
use super::super::mistake::quoted;
use super::super::tree::{Builtin, DataType, Mapping, Text, Variable};
use super::walk::{Node, SCHEMA, Walk};

/// The variables of a decomposition.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) inputs: Vec<Variable>,
    pub(super) outputs: Vec<Variable>,
    pub(super) locals: Vec<Variable>,
}

/// What the children of a parameter or variable give.
#[derive(Default)]
struct Parts<'a> {
    name: Option<Node<'a>>,
    data_type: Option<Node<'a>>,
    element: Option<Node<'a>>,
    untyped: Option<Node<'a>>,
    namespace: Option<Node<'a>>,
    initial: Option<Node<'a>>,
}

/// Reads an `inputParam`, `outputParam` or `localVariable`.
pub(super) fn variable<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<Variable> {
    let kind = node.tag_name().name();
    let mut parts = Parts::default();
    for child in walk.children(node) {
        match child.tag_name().name() {
            "name" => walk.once(&mut parts.name, child),
            "type" => walk.once(&mut parts.data_type, child),
            "element" => walk.once(&mut parts.element, child),
            "isUntyped" => walk.once(&mut parts.untyped, child),
            "namespace" => walk.once(&mut parts.namespace, child),
            "initialValue" => walk.once(&mut parts.initial, child),
            "index" | "documentation" => {}
            known @ ("mandatory" | "defaultValue" | "attributes" | "logPredicate") => {
                walk.without_effect(&format!("{known} of a parameter"), walk.at(child));
            }
            _ => walk.unknown(child, kind),
        }
    }
    if node.attributes().any(|attribute| attribute.namespace().is_none() && attribute.name() != "name") {
        walk.without_effect("extended attributes of a parameter", walk.at(node));
    }
    let name = match (parts.name, walk.attribute(node, "name")) {
        (Some(name), _) => walk.text_name(name),
        (None, Some(_)) => walk.required_name(node, "name"),
        (None, None) => {
            walk.error(
                codes::MISSING,
                walk.at(node),
                format!("{kind} has no name"),
                "write <name>...</name>",
            );
            None
        }
    };
    let data_type = data_type(walk, node, &parts);
    let initial = parts.initial.map(|initial| walk.inner(initial).unwrap_or_else(|| walk.text(initial)));
    Some(Variable { name: name?, data_type: data_type?, initial })
}

fn data_type<'a>(walk: &mut Walk<'a>, node: Node<'a>, parts: &Parts<'a>) -> Option<DataType> {
    if let Some(named) = parts.data_type {
        let name = walk.text_name(named)?;
        let namespace = parts.namespace.map(|namespace| walk.text(namespace).text);
        return Some(type_named(walk, named, &name.text, namespace.as_deref()));
    }
    if parts.untyped.is_some() {
        return Some(DataType::Builtin(Builtin::String));
    }
    if let Some(element) = parts.element {
        return Some(DataType::Opaque(walk.text_name(element)?.text));
    }
    let message = format!("{} has no type", node.tag_name().name());
    let hint = "write <type>string</type> <namespace>http://www.w3.org/2001/XMLSchema</namespace>";
    walk.error(codes::MISSING, walk.at(node), message, hint);
    None
}

/// Returns the type of a name. Editors write the namespace of XML Schema beside the specification's own types, too, so
/// those come first; `xs:` and `xsd:` need no binding; any other prefix that is bound nowhere makes the type opaque.
fn type_named<'a>(walk: &Walk<'a>, node: Node<'a>, name: &str, namespace: Option<&str>) -> DataType {
    let opaque = || DataType::Opaque(name.to_owned());
    let local = match name.split_once(':') {
        Some((prefix, local)) => match node.lookup_namespace_uri(Some(prefix)) {
            Some(SCHEMA) => local,
            None if matches!(prefix, "xs" | "xsd") => local,
            _ => return opaque(),
        },
        None if walk.schema_types.contains(name) => return opaque(),
        None if namespace.is_none_or(|namespace| namespace.is_empty() || namespace == SCHEMA) => name,
        None => return opaque(),
    };
    Builtin::by_name(local).map_or_else(opaque, DataType::Builtin)
}

/// Reads `startingMappings`, `completedMappings` or `enablementMappings`.
pub(super) fn mappings<'a>(walk: &mut Walk<'a>, node: Option<Node<'a>>) -> Vec<Mapping> {
    let Some(node) = node else { return Vec::new() };
    let mut mappings = Vec::new();
    for child in walk.children(node) {
        if child.tag_name().name() == "mapping" {
            mappings.extend(mapping(walk, child));
        } else {
            walk.unknown_refused(child, node.tag_name().name());
        }
    }
    mappings
}

fn mapping<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<Mapping> {
    let (mut expression, mut target) = (None, None);
    for child in walk.children(node) {
        match child.tag_name().name() {
            "expression" => walk.once(&mut expression, child),
            "mapsTo" => walk.once(&mut target, child),
            _ => walk.unknown_refused(child, "mapping"),
        }
    }
    let query = expression.and_then(|expression| query(walk, expression));
    let target_name = target.and_then(|target| walk.text_name(target));
    for (missing, what) in [(expression.is_none(), "expression"), (target.is_none(), "mapsTo")] {
        if missing {
            let hint = "write <expression query=\"...\"/> <mapsTo>...</mapsTo>";
            walk.error(codes::MISSING, walk.at(node), format!("the mapping has no {what}"), hint);
        }
    }
    Some(Mapping { query: query?, target: target_name? })
}

/// Returns the query in an element such as `expression`.
pub(super) fn query<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> Option<Text> {
    walk.attributes(node, &["query"]);
    let query = walk.required(node, "query")?;
    if query.text.trim().is_empty() {
        let message = format!("the query of {} is empty", node.tag_name().name());
        walk.error(codes::MISSING, query.at, message, "write an expression, such as /Net/variable");
        return None;
    }
    Some(query)
}

/// Returns a number in an attribute; a mistake if it is none.
pub(super) fn whole_number(walk: &mut Walk<'_>, text: &Text) -> Option<i64> {
    let number = text.text.trim().parse().ok();
    if number.is_none() {
        let message = format!("{} is not a whole number", quoted(&text.text));
        walk.error(codes::VALUE, text.at, message, "write digits only");
    }
    number
}
