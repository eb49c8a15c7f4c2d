//! From what the kernel did to facts.

use super::ending::end_subtree;
use super::event::{End, Event, PlaceNumber, TaskNumber, Withdrawal};
use super::plan::Step;
use super::row::ItemState;
use super::state::Case;

/// What the kernel did with a step, in numbers of the net.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Places that lost one token each to the join.
    pub taken: Vec<PlaceNumber>,
    /// Places that lost their tokens to the remove set.
    pub removed: Vec<PlaceNumber>,
    /// Places that got one token each.
    pub put: Vec<PlaceNumber>,
    /// Tasks that were busy and lost that to the remove set.
    pub stopped: Vec<TaskNumber>,
}

/// Returns the facts of a step that the kernel took, in order. `case` is as it was before the step.
pub fn settle(case: &Case, step: Step, done: Done) -> Vec<Event> {
    let Step { instance, task, phase, wrote, mut before, after, put: _ } = step;
    let Done { taken, removed, put, stopped } = done;
    before.push(Event::Stepped { instance, task, phase, taken, removed, put, wrote });
    // A task whose remove set names itself is not busy any more when it comes to that.
    for stopped in stopped.into_iter().filter(|stopped| *stopped != task) {
        stop(case, instance, stopped, &mut before);
    }
    before.extend(after);
    before
}

/// Ends what a busy task had going: its item, or its child and everything below it.
fn stop(case: &Case, instance: u32, task: TaskNumber, events: &mut Vec<Event>) {
    for (item, row) in &case.items {
        let held = row.state != ItemState::Enabled;
        if row.instance == instance && row.task == task && held {
            events.push(Event::Withdrawn { item: *item, why: Withdrawal::Removed });
        }
    }
    for child in case.instances.iter().filter(|child| child.row.parent == Some((instance, task))) {
        events.extend(end_subtree(case, child.number, End::Cancelled));
    }
}
