//! Nets without data, built by hand: for generated nets, benchmarks and tests.

use super::compile::automatic;
use super::numbering::number;
use super::{Gate, Net, PLACE_COUNT_MAX, PlaceKey, TASK_COUNT_MAX, Task, TaskFlow, TaskKind, orjoin, safety};

/// The control flow of a net: places by index, tasks that take from and put on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Conditions by name; the first is the input, the last the output.
    pub conditions: Vec<String>,
    /// Tasks in the order of their numbers.
    pub tasks: Vec<ShapeTask>,
}

/// A task of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeTask {
    /// Id.
    pub id: String,
    /// Kind of its join.
    pub join: Gate,
    /// Kind of its split.
    pub split: Gate,
    /// Conditions that it takes from, by index.
    pub preset: Vec<u16>,
    /// Conditions that it may put on, by index.
    pub flows: Vec<u16>,
    /// Conditions that it empties, by index.
    pub removes: Vec<u16>,
    /// Tasks that it stops, by number.
    pub stops: Vec<u16>,
}

impl Shape {
    /// Returns the net, its tasks manual and without data; places are the conditions, then a busy place a task.
    /// Members that name no condition or task are left out; tasks and conditions beyond the limits, too.
    pub fn net(&self, id: &str) -> Net {
        let task_count = self.tasks.len().min(TASK_COUNT_MAX);
        let condition_count = self.conditions.len().min(PLACE_COUNT_MAX - task_count);
        let set = |places: &[u16]| {
            let known = places.iter().copied().filter(|place| usize::from(*place) < condition_count);
            let mut places: Vec<u16> = known.collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let mut tasks = Vec::with_capacity(task_count);
        for (at, shape) in self.tasks[..task_count].iter().enumerate() {
            let mut removes = set(&shape.removes);
            let stops = shape.stops.iter().map(|task| usize::from(*task)).filter(|task| *task < task_count);
            removes.extend(stops.map(|task| number(condition_count + task)));
            removes.sort_unstable();
            removes.dedup();
            let flow = |place| TaskFlow { place, predicate: None, is_default: false };
            tasks.push(Task {
                id: shape.id.clone(),
                name: None,
                documentation: None,
                join: shape.join,
                split: shape.split,
                kind: TaskKind::Manual,
                preset: set(&shape.preset),
                flows: set(&shape.flows).into_iter().map(flow).collect(),
                removes,
                busy: number(condition_count + at),
                document_root: shape.id.clone(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                starting: Vec::new(),
                completed: Vec::new(),
            });
        }
        let mut places: Vec<PlaceKey> =
            self.conditions[..condition_count].iter().cloned().map(PlaceKey::Condition).collect();
        places.extend(tasks.iter().map(|task| PlaceKey::Busy(task.id.clone())));
        let mut net = Net {
            id: id.to_owned(),
            name: None,
            document_root: id.to_owned(),
            automatic: automatic(&tasks),
            or_joins: orjoin::analyse(&tasks, places.len()).unwrap_or_default(),
            places,
            tasks,
            variables: Vec::new(),
            input: 0,
            output: number(condition_count.saturating_sub(1)),
            is_safe: false,
        };
        net.is_safe = safety::is_safe(&net);
        net
    }
}
