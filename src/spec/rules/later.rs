//! What a specification may say but this release does not run yet; and whether it is said well.

use crate::spec::codes;
use crate::spec::mistake::{Mistake, quoted};
use crate::spec::tree::{MultipleInstance, Net, Task, Text};

/// Reports multiple instances and timers.
pub(super) fn check(net: &Net, out: &mut Vec<Mistake>) {
    for task in &net.tasks {
        let id = quoted(&task.id.text);
        if let Some(multiple) = &task.multiple {
            numbers(task, multiple, out);
            let message = format!("task {id} has multiple instances, which are not run yet");
            let hint = "write one task for each instance, or wait for a later release";
            out.push(Mistake::error(codes::NOT_YET_MULTIPLE_INSTANCE, multiple.at, message, hint));
        }
        if let Some(timer) = &task.timer {
            let message = format!("task {id} has a timer, and timers are not run yet");
            let hint = "take the timer out, or wait for a later release";
            out.push(Mistake::error(codes::NOT_YET_TIMER, timer.at, message, hint));
        }
    }
}

/// Checks what can be checked of minimum, maximum, threshold and mode; queries are not asked.
fn numbers(task: &Task, multiple: &MultipleInstance, out: &mut Vec<Mistake>) {
    let id = quoted(&task.id.text);
    let number = |text: &Option<Text>| text.as_ref().and_then(|text| text.text.parse::<i64>().ok());
    let mut wrong = |at, message: String, hint: &str| {
        out.push(Mistake::error(codes::MULTIPLE_INSTANCE, at, message, hint));
    };
    for (text, name) in
        [(&multiple.minimum, "minimum"), (&multiple.maximum, "maximum"), (&multiple.threshold, "threshold")]
    {
        if let (Some(text), Some(number)) = (text, number(text))
            && number < 1
        {
            wrong(text.at, format!("the {name} of task {id} is {number}"), "write 1 or more");
        }
    }
    if let (Some(minimum), Some(maximum)) = (number(&multiple.minimum), number(&multiple.maximum))
        && minimum > maximum
    {
        let at = multiple.minimum.as_ref().map_or(multiple.at, |text| text.at);
        wrong(
            at,
            format!("the minimum of task {id} is {minimum}, more than its maximum {maximum}"),
            "exchange them",
        );
    }
    match &multiple.creation_mode {
        None => wrong(
            multiple.at,
            format!("task {id} has no creationMode"),
            "write <creationMode code=\"static\"/>",
        ),
        Some(mode) if matches!(mode.text.as_str(), "static" | "dynamic") => {}
        Some(mode) => {
            wrong(
                mode.at,
                format!("the creationMode of task {id} is {}", quoted(&mode.text)),
                "write static or dynamic",
            );
        }
    }
}
