//! What views take as answers: bounds of the text that `api` writes of them, and of the memory that they hold.
//!
//! A bound is never below the real length; tests/it/api compares them.

use super::room::Cost;
use super::service::{
    CaseSummary, CaseView, Detail, HistoryView, IncidentView, ItemView, NetView, SpecificationView, Value,
};
use crate::expr::json::written_bytes_max;

/// Names and punctuation of an object's fixed members with their numbers, times and ids.
const OBJECT_BYTES: usize = 512;
/// A member of an object or an item of an array without its text.
const MEMBER_BYTES: usize = 48;

/// Returns the most bytes of a text as JSON: control characters take six.
fn text(text: &str) -> usize {
    2 + text.len().saturating_mul(6)
}

fn texts(texts: &[String]) -> usize {
    texts.iter().map(|one| text(one) + 1).sum()
}

/// Adds what a part takes beyond its text: as much as it is made of.
fn cost(text_bytes: usize, data_bytes: usize) -> Cost {
    Cost { text_bytes, held_bytes: data_bytes }
}

fn add(one: Cost, other: Cost) -> Cost {
    Cost {
        text_bytes: one.text_bytes.saturating_add(other.text_bytes),
        held_bytes: one.held_bytes.saturating_add(other.held_bytes),
    }
}

fn values(values: &[Value]) -> Cost {
    values.iter().fold(Cost::default(), |sum, value| {
        let bytes = value.value.len_bytes();
        add(sum, cost(MEMBER_BYTES + text(&value.name) + written_bytes_max(bytes), bytes))
    })
}

fn net(view: &NetView) -> Cost {
    let marking: usize = view.marking.iter().map(|(name, _)| MEMBER_BYTES + text(name)).sum();
    let names = text(&view.net) + texts(&view.busy) + texts(&view.enabled);
    let own = add(cost(OBJECT_BYTES + marking + names, 0), values(&view.data));
    // As deep as nets nest, which `case` bounds.
    view.children.iter().fold(own, |sum, (task, nets)| {
        nets.iter().map(net).fold(add(sum, cost(MEMBER_BYTES + text(task), 0)), add)
    })
}

fn incident(view: &IncidentView) -> usize {
    OBJECT_BYTES + view.task.as_deref().map_or(0, text) + text(&view.detail)
}

/// Returns what a whole case takes.
pub fn case(view: &CaseView) -> Cost {
    let names = text(&view.workflow) + view.business_key.as_deref().map_or(0, text);
    let incidents: usize = view.incidents.iter().map(incident).sum();
    add(cost(OBJECT_BYTES + names + incidents, incidents), net(&view.root))
}

/// Returns what a work item takes, with the state of its case.
pub fn item(view: &ItemView) -> Cost {
    let names = text(&view.workflow) + text(&view.task) + texts(&view.outputs);
    let reasons = view.name.as_deref().map_or(0, text) + view.reason.as_deref().map_or(0, text);
    add(cost(OBJECT_BYTES + names + reasons, names), values(&view.data))
}

/// Returns what a line of a history takes.
pub fn event(view: &HistoryView) -> Cost {
    view.details.iter().fold(cost(OBJECT_BYTES, 0), |sum, (name, detail)| {
        let sum = add(sum, cost(MEMBER_BYTES + text(name), 0));
        match detail {
            Detail::Text(one) => add(sum, cost(text(one), one.len())),
            Detail::Number(_) => sum,
            Detail::List(names) => add(sum, cost(texts(names), texts(names))),
            Detail::Data(data) => add(sum, values(data)),
        }
    })
}

/// Returns what a case of a list takes, with what is wrong with its history.
pub fn summary(view: &CaseSummary) -> Cost {
    let names = text(&view.workflow) + view.business_key.as_deref().map_or(0, text);
    let archive = view.archived.as_deref().map_or(0, text);
    cost(OBJECT_BYTES + names + archive, names)
}

/// Returns what a specification of a list takes.
pub fn specification(view: &SpecificationView) -> Cost {
    let names = text(&view.id) + view.name.as_deref().map_or(0, text) + texts(&view.warnings);
    cost(OBJECT_BYTES + names, names)
}

/// Returns the size of the largest value in a case, in bytes: writing it takes memory in proportion.
pub fn largest_value(view: &CaseView) -> usize {
    fn of(net: &NetView) -> usize {
        let below = net.children.iter().flat_map(|(_, nets)| nets).map(of).max().unwrap_or(0);
        largest(&net.data).max(below)
    }
    of(&view.root)
}

/// Returns the size of the largest of some values, in bytes.
pub fn largest(values: &[Value]) -> usize {
    values.iter().map(|value| value.value.len_bytes()).max().unwrap_or(0)
}

/// Returns the size of the largest value in a line of a history, in bytes.
pub fn largest_of_event(view: &HistoryView) -> usize {
    let of = |detail: &Detail| if let Detail::Data(data) = detail { largest(data) } else { 0 };
    view.details.iter().map(|(_, detail)| of(detail)).max().unwrap_or(0)
}
