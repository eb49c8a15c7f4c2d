//! Generated nets and command sequences: nothing panics, a refusal changes nothing, rows are what folding the
//! events gives (the driver checks both), what rests has nothing to do, and items are offered just where a plain
//! reading of the marking says so.

use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

use knhk::case::Command;
use knhk::case::effort;
use knhk::case::event::{Event, IncidentKind};
use knhk::case::row::{ItemState, Status};
use knhk::engine::turn::{Job, Limits, Outcome, Question, What};
use knhk::expr::{self, Fragment};
use knhk::net::orjoin::{Judgement, judge};
use knhk::net::{
    Builtin, DataType, Gate, Mapping, Net, Parameter, PlaceKey, Predicate, Shape, ShapeTask, TaskKind,
    Variable, Workflow,
};

use crate::support::driver::{Driver, LIMITS};
use crate::support::interpreter::Interpreter;

/// What is generated of a task: all that decides how it behaves.
#[derive(Debug, Clone)]
struct TaskPlan {
    join: u8,
    split: u8,
    kind: u8,
    preset: Vec<u16>,
    flows: Vec<u16>,
    removes: Vec<u16>,
    stops: Vec<u16>,
    predicates: u8,
    mapping: u8,
}

fn task_plan() -> impl Strategy<Value = TaskPlan> {
    let places = |from: u16, to, most| prop::collection::vec(from..to, 1..=most);
    let some = prop::collection::vec(0_u16..6, 0..=1);
    let numbers = (0_u8..4, 0_u8..3, 0_u8..8, any::<u8>(), 0_u8..6);
    (numbers, places(0, 5, 2), places(1, 6, 3), some.clone(), some).prop_map(
        |((join, split, kind, predicates, mapping), preset, flows, removes, stops)| TaskPlan {
            join,
            split,
            kind,
            preset,
            flows,
            removes,
            stops,
            predicates,
            mapping,
        },
    )
}

fn gate(number: u8) -> Gate {
    [Gate::And, Gate::Xor, Gate::Or, Gate::Xor][usize::from(number)]
}

fn net(id: &str, plans: &[TaskPlan], net_count: u16) -> Net {
    let shape = Shape {
        conditions: ["i", "c1", "c2", "c3", "c4", "o"].map(str::to_owned).to_vec(),
        tasks: plans
            .iter()
            .enumerate()
            .map(|(at, plan)| ShapeTask {
                id: format!("t{at}"),
                join: gate(plan.join),
                split: gate(plan.split),
                // Something takes the first token.
                preset: if at == 0 { vec![0] } else { plan.preset.clone() },
                flows: plan.flows.clone(),
                removes: plan.removes.clone(),
                stops: plan.stops.clone(),
            })
            .collect(),
    };
    let mut net = shape.net(id);
    "data".clone_into(&mut net.document_root);
    let number = DataType::Builtin(Builtin::BoundedInteger { min: Some(0), max: Some(3) });
    net.variables = vec![Variable {
        name: "n".to_owned(),
        data_type: number.clone(),
        initial: Some(Fragment::from_text("1")),
        is_input: true,
        is_output: true,
    }];
    let parameter = || Parameter { name: "n".to_owned(), data_type: number.clone() };
    let mapping =
        |text: &str| Mapping { text: text.to_owned(), expression: expr::compile(text).unwrap(), target: 0 };
    for (task, plan) in net.tasks.iter_mut().zip(plans) {
        "data".clone_into(&mut task.document_root);
        task.kind = match plan.kind {
            0 | 1 => TaskKind::Automated,
            2 => TaskKind::Empty,
            3 => TaskKind::Composite(u16::from(plan.mapping) % net_count),
            _ => TaskKind::Manual,
        };
        if task.kind != TaskKind::Empty && plan.mapping > 0 {
            (task.inputs, task.outputs) = (vec![parameter()], vec![parameter()]);
            task.starting = vec![mapping(["/data/n", "/data/n + 1"][usize::from(plan.mapping % 2)])];
            task.completed = vec![mapping(["/data/n", "3 idiv /data/n"][usize::from(plan.mapping / 4)])];
        }
        let last = task.flows.len() - 1;
        for (at, flow) in task.flows.iter_mut().enumerate() {
            flow.is_default = task.split != Gate::And && at == last;
            if task.split != Gate::And && !flow.is_default {
                let text = ["true()", "false()", "/data/n > 1"][usize::from(plan.predicates >> (2 * at)) % 3];
                let expression = expr::compile(text).unwrap();
                flow.predicate = Some(Predicate { text: text.to_owned(), expression });
            }
        }
    }
    let runs_by = |is_it: fn(TaskKind) -> bool| {
        let numbered = (0_u16..).zip(&net.tasks);
        numbered.filter(|(_, task)| is_it(task.kind)).map(|(at, _)| at).collect::<Vec<_>>()
    };
    net.automatic = runs_by(|kind| matches!(kind, TaskKind::Composite(_)));
    net.automatic.extend(runs_by(|kind| kind == TaskKind::Empty));
    net.automatic.extend(runs_by(|kind| kind == TaskKind::Automated));
    net
}

/// One command: what, on which item, with which data.
type Act = (u8, u8, u8);

fn command(driver: &Driver, (what, which, data): Act) -> What {
    let items = driver.items();
    let item = match items.len() {
        0 => 1,
        count => items[usize::from(which) % count].0,
    };
    let data = match data % 8 {
        0 => Fragment::empty(),
        7 => Fragment::parse("<n>9</n>").unwrap(),
        6 => Fragment::parse("<m>1</m>").unwrap(),
        number => Fragment::parse(&format!("<n>{}</n>", number % 4)).unwrap(),
    };
    What::Command(match what {
        0..=3 => Command::Start(item),
        4..=10 => Command::Complete(item, data),
        11 => Command::Fail(item, "no".to_owned()),
        12 => Command::Skip(item, "no".to_owned()),
        13 if which < 64 => Command::Suspend,
        13 | 14 => Command::Resume,
        15 => Command::Retry,
        16 => Command::Execute,
        17 => return What::Continue,
        _ if which < 16 => Command::Cancel("no".to_owned()),
        _ => Command::Start(u32::from(which)),
    })
}

/// Goes on with a case until it rests: answers questions, continues what a limit ended.
fn settle(driver: &mut Driver, mut outcome: Outcome) -> Result<(), TestCaseError> {
    for _ in 0..10_000 {
        outcome = match outcome {
            Outcome::Refused(_) => return Ok(()),
            Outcome::Held(_) => driver.turn(What::Continue),
            Outcome::Later(job) => driver.again(job),
            Outcome::Done(done) => match done.parked {
                Some(Question::OrJoin { net, task, marking, .. }) => {
                    driver.answer(judge(&net, task, &marking))
                }
                None if done.unfinished => {
                    driver.again(Job { broken_off: done.broken_off, ..Job::new(driver.id, What::Continue) })
                }
                None => return Ok(()),
            },
        };
    }
    Err(TestCaseError::fail("the case does not come to rest"))
}

/// Holds offers against a plain reading of the marking, where nothing prevents them.
fn check_offers(driver: &Driver) {
    let Some(case) = driver.cases.get(driver.id) else { return };
    let row = case.existing();
    if row.status != Status::Running {
        return;
    }
    let workflow = driver.workflow();
    for instance in &case.instances {
        let net = &workflow.nets[usize::from(instance.row.net)];
        let mut plain = Interpreter::new(net);
        plain.tokens =
            driver.cases.tokens(instance).into_iter().map(|(place, count)| (place, count.into())).collect();
        if plain.tokens.is_empty() || plain.count(net.output) > 0 {
            // A net that is done and waits for its parent's incident; the root never is.
            assert_ne!(instance.number, 0, "the root net is complete and open");
            continue;
        }
        let mut can_move = false;
        for (number, task) in (0..).zip(&net.tasks) {
            let open = row.incidents.iter().find(|open| {
                open.instance == instance.number && (open.task == Some(number) || open.task.is_none())
            });
            let is_enabled =
                plain.is_enabled(number, |plain| judge(net, number, &plain.marking()) == Judgement::Enabled);
            can_move |= is_enabled || plain.is_busy(number);
            let is_offered = case.items.iter().any(|(_, item)| {
                item.instance == instance.number && item.task == number && item.state == ItemState::Enabled
            });
            if task.kind == TaskKind::Manual {
                assert_eq!(is_offered, is_enabled, "task {} of instance {}", task.id, instance.number);
            } else if is_enabled {
                let is_stopped = row.incidents.iter().any(|open| open.kind == IncidentKind::Chain);
                assert!(is_stopped || open.is_some(), "automatic task {} did not run", task.id);
            }
        }
        if !can_move {
            assert!(row.incidents.iter().any(|open| open.instance == instance.number), "a silent deadlock");
        }
    }
    let is_busy = |number: u32, task: u16| {
        let instance = case.instance(number).unwrap();
        let net = &workflow.nets[usize::from(instance.row.net)];
        let busy =
            net.places.iter().position(|key| *key == PlaceKey::Busy(net.tasks[usize::from(task)].id.clone()));
        driver.cases.tokens(instance).iter().any(|(place, _)| Some(usize::from(*place)) == busy)
    };
    for (_, item) in &case.items {
        assert_eq!(item.state != ItemState::Enabled, is_busy(item.instance, item.task), "{item:?}");
    }
    for instance in &case.instances {
        if let Some((parent, task)) = instance.row.parent {
            assert!(is_busy(parent, task), "a child whose task is not busy");
        }
    }
}

fn run(plans: &[Vec<TaskPlan>], acts: &[Act], limits: Limits) -> Result<Driver, TestCaseError> {
    let count = u16::try_from(plans.len()).unwrap();
    let nets: Vec<Arc<Net>> =
        plans.iter().enumerate().map(|(at, plans)| Arc::new(net(&format!("N{at}"), plans, count))).collect();
    let mut driver = Driver::new(Workflow { uri: "random".to_owned(), name: None, root: 0, nets });
    driver.limits = limits;
    let outcome = driver.create(Fragment::empty());
    settle(&mut driver, outcome)?;
    check_offers(&driver);
    for (at, act) in acts.iter().enumerate() {
        let what = command(&driver, *act);
        let outcome = driver.turn(what);
        settle(&mut driver, outcome)?;
        check_offers(&driver);
        if at % 5 == 4 {
            driver.reload();
        }
        let Outcome::Done(done) = driver.turn(What::Continue) else { panic!("a case that is there goes on") };
        assert!(done.events.is_empty(), "what rested had something to do: {:?}", done.events);
    }
    Ok(driver)
}

/// Returns what happened, without where it was left for a while.
fn happened(driver: &Driver) -> Vec<&Event> {
    driver.events.iter().map(|(_, event)| event).filter(|event| **event != Event::Unfinished).collect()
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]
    #[test]
    fn random_nets_and_commands_keep_every_rule(
        plans in prop::collection::vec(prop::collection::vec(task_plan(), 2..6), 1..4),
        acts in prop::collection::vec((0_u8..19, any::<u8>(), any::<u8>()), 0..30),
        automated_steps_max in 1_u32..40,
        frame_bytes in prop::sample::select(vec![48_usize, 100, 1 << 20]),
        judged_states in prop::sample::select(vec![0_usize, 10_000]),
        steps in prop::sample::select(vec![1_u64, 300, u64::MAX]),
        expression_steps in prop::sample::select(vec![1_u64, 12, u64::MAX]),
    ) {
        let effort = effort::Limits { steps, expression_steps };
        run(&plans, &acts, Limits { automated_steps_max, frame_bytes, judged_states, effort })?;
    }

    #[test]
    fn what_another_thread_works_out_changes_nothing_in_what_happens(
        plans in prop::collection::vec(prop::collection::vec(task_plan(), 2..6), 1..4),
        acts in prop::collection::vec((0_u8..19, any::<u8>(), any::<u8>()), 0..30),
        steps in prop::sample::select(vec![1_u64, 300, u64::MAX]),
        expression_steps in prop::sample::select(vec![1_u64, 12]),
    ) {
        let limits = Limits { automated_steps_max: 40, ..LIMITS };
        let here = run(&plans, &acts, limits)?;
        let effort = effort::Limits { steps, expression_steps };
        let apart = run(&plans, &acts, Limits { effort, ..limits })?;
        prop_assert_eq!(happened(&here), happened(&apart));
        // A predicate or mapping that was looked at took more than one step.
        let is_any = here.events.iter().any(|(_, event)| matches!(event, Event::Stepped { wrote, .. } if !wrote.is_empty()));
        prop_assert!(!is_any || expression_steps > 1 || apart.worked_out > 0);
    }
}
