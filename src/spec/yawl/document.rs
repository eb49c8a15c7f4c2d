//! The outer elements: the set, the specification, its metadata, schema and decompositions.

use roxmltree::Document;

use super::super::codes;
use super::super::mistake::{Mistakes, Position, quoted};
use super::super::source::Source;
use super::super::tree::{Gateway, Net, Specification, Text};
use super::data::{self, Parameters};
use super::net;
use super::walk::{Node, SCHEMA, Walk, is_yawl, schema_type};

/// Versions from which on nothing that is read here changed; older ones are the betas.
const VERSIONS: [&str; 5] = ["2.0", "2.1", "2.2", "3.0", "4.0"];

/// What the document gave; the tree may be partial when there are errors.
pub(super) struct Read {
    pub(super) specification: Option<Specification>,
    pub(super) mistakes: Mistakes,
    /// Whether elements or flows were left out of a net.
    pub(super) has_gaps: bool,
}

/// Reads the document.
pub(super) fn read(source: &Source<'_>, document: &Document<'_>) -> Read {
    let mut walk = Walk::new(source);
    let specification = set(&mut walk, document.root_element());
    Read { specification, has_gaps: walk.has_gaps, mistakes: walk.finish() }
}

fn set<'a>(walk: &mut Walk<'a>, root: Node<'a>) -> Option<Specification> {
    if root.tag_name().name() != "specificationSet" || !is_yawl(root) {
        let message =
            format!("the document is {}, not a YAWL specificationSet", quoted(root.tag_name().name()));
        let hint = "begin with <specificationSet xmlns=\"http://www.yawlfoundation.org/yawlschema\" version=\"4.0\">";
        walk.error(codes::NOT_YAWL, walk.at(root), message, hint);
        return None;
    }
    walk.attributes(root, &["version"]);
    let version = walk.attribute(root, "version");
    let mut specifications = Vec::new();
    for child in walk.children(root) {
        match child.tag_name().name() {
            "specification" => specifications.push(child),
            "layout" => walk.without_effect("layout", walk.at(child)),
            _ => walk.unknown(child, "specificationSet"),
        }
    }
    let node = the_one(walk, root, &specifications)?;
    Some(specification(walk, node, version))
}

/// Returns the specification of a set that is not empty; there must be exactly one.
fn the_one<'a>(walk: &mut Walk<'a>, root: Node<'a>, specifications: &[Node<'a>]) -> Option<Node<'a>> {
    let (filled, empty): (Vec<Node<'a>>, Vec<Node<'a>>) =
        specifications.iter().partition(|node| node.children().any(|child| child.is_element()));
    let named = |node: &Node<'a>| quoted(node.attribute("uri").unwrap_or(""));
    match filled.as_slice() {
        [] => {
            let hint = "a file holds one specification with a root net";
            walk.error(codes::SPECIFICATION_COUNT, walk.at(root), "the set holds no specification", hint);
            None
        }
        [one] => {
            for node in empty {
                let message = format!("the empty specification {} is left out", named(&node));
                walk.warning(codes::EMPTY_SPECIFICATION, walk.at(node), message, "take it out of the file");
            }
            Some(*one)
        }
        [first, second, ..] => {
            let message = format!(
                "the set holds {} specifications, {} and {} among them",
                filled.len(),
                named(first),
                named(second)
            );
            walk.error(
                codes::SPECIFICATION_COUNT,
                walk.at(*second),
                message,
                "write each to a file of its own",
            );
            None
        }
    }
}

/// What the children of a specification give.
#[derive(Default)]
struct Parts<'a> {
    name: Option<Node<'a>>,
    documentation: Option<Node<'a>>,
    metadata: Option<Node<'a>>,
    has_root_net: bool,
    nets: Vec<Net>,
    roots: Vec<(usize, Position)>,
    gateways: Vec<Gateway>,
}

fn specification<'a>(walk: &mut Walk<'a>, node: Node<'a>, version: Option<Text>) -> Specification {
    walk.attributes(node, &["uri"]);
    let uri = walk.required_name(node, "uri");
    declared_types(walk, node);
    let mut parts = Parts::default();
    for child in node.children().filter(Node::is_element) {
        if child.tag_name().namespace() == Some(SCHEMA) {
            continue;
        }
        match child.tag_name().name() {
            _ if !is_yawl(child) => walk.unknown(child, "specification"),
            "name" => walk.once(&mut parts.name, child),
            "documentation" => walk.once(&mut parts.documentation, child),
            "metaData" => walk.once(&mut parts.metadata, child),
            "rootNet" => {
                parts.has_root_net = true;
                decomposition(walk, child, &mut parts);
            }
            "decomposition" => decomposition(walk, child, &mut parts),
            "importedNet" => walk.without_effect("importedNet", walk.at(child)),
            _ => walk.unknown_refused(child, "specification"),
        }
    }
    let root = root_of(walk, node, &parts);
    let data_root = data_root(walk, node, version.as_ref(), parts.has_root_net);
    let metadata = |name: &str| {
        let node =
            parts.metadata?.children().find(|child| is_yawl(*child) && child.tag_name().name() == name)?;
        Some(node)
    };
    let title = parts.name.or_else(|| metadata("title"));
    let description = parts.documentation.or_else(|| metadata("description"));
    Specification {
        // What is missing has been said; with a stand-in the rules can still say the rest.
        name: walk.label(title),
        documentation: walk.prose(description),
        uri: uri.unwrap_or_else(|| Text { text: String::new(), at: walk.at(node) }),
        version: version.map(|version| version.text),
        data_root,
        nets: parts.nets,
        root: root.unwrap_or(0),
        gateways: parts.gateways,
    }
}

/// Remembers the names of the types in the specification's own schema.
fn declared_types<'a>(walk: &mut Walk<'a>, node: Node<'a>) {
    let schemas = node.children().filter(|child| child.has_tag_name((SCHEMA, "schema")));
    for declared in schemas.flat_map(|schema| schema.children()) {
        if declared.has_tag_name((SCHEMA, "complexType")) || declared.has_tag_name((SCHEMA, "simpleType")) {
            walk.schema_types.extend(declared.attribute("name").map(str::to_owned));
        }
    }
}

/// Returns the index of the root net; a mistake if there is not exactly one.
fn root_of<'a>(walk: &mut Walk<'a>, node: Node<'a>, parts: &Parts<'a>) -> Option<usize> {
    match parts.roots.as_slice() {
        [] => {
            let hint = "mark one net with isRootNet=\"true\"";
            walk.error(codes::ROOT_NET, walk.at(node), "the specification has no root net", hint);
            None
        }
        [(root, _)] => Some(*root),
        [_, (second, at), ..] => {
            let id = quoted(&parts.nets[*second].id.text);
            let message = format!("net {id} is a root net, too");
            walk.error(codes::ROOT_NET, *at, message, "mark only the net where cases start");
            None
        }
    }
}

/// Returns whether documents in expressions have the root `data`, as up to Beta 2.
fn data_root<'a>(walk: &mut Walk<'a>, node: Node<'a>, version: Option<&Text>, has_root_net: bool) -> bool {
    let Some(version) = version else {
        if has_root_net || node.tag_name().namespace() == Some(super::walk::NAMESPACES[0]) {
            return true;
        }
        let hint = "write version=\"4.0\" at the specificationSet";
        walk.warning(codes::VERSION, walk.at(node), "there is no version; read as 4.0", hint);
        return false;
    };
    let text = version.text.trim();
    if let Some(beta) = text.get(..4).filter(|start| start.eq_ignore_ascii_case("beta")) {
        let number = text[beta.len()..].trim();
        return has_root_net || number == "1" || number == "2";
    }
    if !VERSIONS.contains(&text) {
        let message = format!("version {} is not known; read as 4.0", quoted(text));
        walk.warning(
            codes::VERSION,
            version.at,
            message,
            format!("known are Beta 1 to 7, {}", VERSIONS.join(", ")),
        );
    }
    has_root_net
}

/// What the children of a decomposition give.
#[derive(Default)]
struct Decomposition<'a> {
    name: Option<Node<'a>>,
    documentation: Option<Node<'a>>,
    interaction: Option<Node<'a>>,
    control: Option<Node<'a>>,
    parameters: Parameters,
}

fn decomposition<'a>(walk: &mut Walk<'a>, node: Node<'a>, parts: &mut Parts<'a>) {
    let id = walk.required_name(node, "id");
    let is_root_net = node.tag_name().name() == "rootNet";
    let mut inside = Decomposition::default();
    for child in walk.children(node) {
        match child.tag_name().name() {
            "name" => walk.once(&mut inside.name, child),
            "documentation" => walk.once(&mut inside.documentation, child),
            "inputParam" => inside.parameters.inputs.extend(data::variable(walk, child)),
            "outputParam" => inside.parameters.outputs.extend(data::variable(walk, child)),
            "localVariable" => inside.parameters.locals.extend(data::variable(walk, child)),
            "processControlElements" => walk.once(&mut inside.control, child),
            "externalInteraction" => walk.once(&mut inside.interaction, child),
            known @ ("enablementParam" | "logPredicate" | "yawlService" | "codelet" | "attributes"
            | "outputExpression") => {
                walk.without_effect(known, walk.at(child));
            }
            _ => walk.unknown(child, "decomposition"),
        }
    }
    extended_attributes(walk, node);
    let is_net = match schema_type(node) {
        _ if is_root_net => true,
        Some("NetFactsType") => true,
        Some("WebServiceGatewayFactsType") => false,
        Some(other) => {
            let message = format!("a decomposition cannot have the type {}", quoted(other));
            let hint = "write xsi:type=\"NetFactsType\" or xsi:type=\"WebServiceGatewayFactsType\"";
            walk.error(codes::VALUE, walk.at(node), message, hint);
            inside.control.is_some()
        }
        None => inside.control.is_some(),
    };
    let is_root = is_root_net || is_marked_root(walk, node);
    if is_net {
        if let Some(net) = net_of(walk, id, inside) {
            if is_root {
                parts.roots.push((parts.nets.len(), walk.at(node)));
            }
            parts.nets.push(net);
        }
    } else {
        if is_root {
            let hint = "mark a decomposition of type NetFactsType";
            walk.error(codes::ROOT_NET, walk.at(node), "the root net is not a net", hint);
        }
        parts.gateways.extend(gateway_of(walk, id, inside));
    }
}

fn is_marked_root<'a>(walk: &mut Walk<'a>, node: Node<'a>) -> bool {
    let mark = walk.attribute(node, "isRootNet");
    mark.is_some_and(|mark| walk.truth(&mark))
}

/// Decompositions may carry attributes of any name; they are for people and editors.
fn extended_attributes<'a>(walk: &mut Walk<'a>, node: Node<'a>) {
    let known = ["id", "isRootNet"];
    if node
        .attributes()
        .any(|attribute| attribute.namespace().is_none() && !known.contains(&attribute.name()))
    {
        walk.without_effect("extended attributes of a decomposition", walk.at(node));
    }
}

fn net_of<'a>(walk: &mut Walk<'a>, id: Option<Text>, inside: Decomposition<'a>) -> Option<Net> {
    if let Some(interaction) = inside.interaction {
        walk.without_effect("externalInteraction of a net", walk.at(interaction));
    }
    let (conditions, tasks) = inside.control.map(|control| net::elements(walk, control)).unwrap_or_default();
    Some(Net {
        id: id?,
        name: walk.label(inside.name),
        inputs: inside.parameters.inputs,
        outputs: inside.parameters.outputs,
        locals: inside.parameters.locals,
        conditions,
        tasks,
    })
}

fn gateway_of<'a>(walk: &mut Walk<'a>, id: Option<Text>, inside: Decomposition<'a>) -> Option<Gateway> {
    if let Some(control) = inside.control {
        let hint = "write xsi:type=\"NetFactsType\", or take the elements out";
        walk.error(
            codes::VALUE,
            walk.at(control),
            "a web service gateway cannot have processControlElements",
            hint,
        );
    }
    if let Some(local) = inside.parameters.locals.first() {
        walk.without_effect("localVariable of a gateway", local.name.at);
    }
    let mut automated = false;
    if let Some(interaction) = inside.interaction {
        let text = walk.text(interaction);
        match text.text.as_str() {
            "manual" => {}
            "automated" => automated = true,
            other => {
                let message = format!("externalInteraction cannot be {}", quoted(other));
                walk.error(codes::VALUE, text.at, message, "write manual or automated");
            }
        }
    }
    Some(Gateway {
        id: id?,
        name: walk.label(inside.name),
        inputs: inside.parameters.inputs,
        outputs: inside.parameters.outputs,
        automated,
    })
}
