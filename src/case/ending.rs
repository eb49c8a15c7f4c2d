//! The facts that end a net instance or a case with everything in it.

use super::event::{End, Event, InstanceNumber, Withdrawal};
use super::state::Case;

/// Returns the events that end everything in an instance and below it, the instance included.
pub(super) fn end_subtree(case: &Case, number: InstanceNumber, how: End) -> Vec<Event> {
    let subtree = case.subtree(number);
    let mut events: Vec<Event> = case
        .items
        .iter()
        .filter(|(_, row)| subtree.binary_search(&row.instance).is_ok())
        .map(|(item, _)| Event::Withdrawn { item: *item, why: withdrawal_of(how) })
        .collect();
    for &inner in subtree.iter().rev() {
        let how = if inner == number { how } else { End::Cancelled };
        events.push(Event::Ended { instance: inner, how });
    }
    events
}

/// Returns the events that close the case.
pub(super) fn close(case: &Case, how: End, reason: Option<String>) -> Vec<Event> {
    let mut events = end_subtree(case, 0, how);
    // The root instance goes with the case, whose row keeps its data.
    events.pop();
    events.push(Event::Closed { how, reason });
    events
}

/// Tells how a withdrawal reads for an instance's end.
fn withdrawal_of(end: End) -> Withdrawal {
    match end {
        End::Completed | End::Improper => Withdrawal::Discarded,
        End::Cancelled => Withdrawal::Cancelled,
    }
}
