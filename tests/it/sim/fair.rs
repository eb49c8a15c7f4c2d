//! Who waits for whom: while a single command waits, its shard takes one slice of evaluation steps at most, whatever
//! else it has to do. Steps are counted; no clock is looked at.

use std::cell::Cell;

use knhk::engine::request::Reply;
use knhk::engine::service::{Answer, CaseAct, Operation};
use knhk::engine::shard::{AHEAD_BYTES_MAX, EXPRESSION_STEPS_MAX, SLICE_STEPS, TURN_STEPS};
use knhk::engine::ticket::Ticket;
use knhk::expr::STEPS_MAX;
use knhk::id::CaseId;

use super::by_hand::Bench;
use super::node::Setting;
use super::random::Random;
use crate::support::heavy;

const SEQUENCE: &[u8] = include_bytes!("../../data/spec/sequence.yawl");
/// Single commands that are sent beside a load.
const SINGLES: u64 = 20;

/// What a shard has to do beside: each automated task has a mapping that takes nearly so many steps.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// One create of a case with so many automated tasks.
    Create(u32, u64),
    /// One batch of so many lines, each with an automated task.
    Batch(u32, u64),
}

/// A mapping that the shard evaluates by itself.
const SHORT: u64 = EXPRESSION_STEPS_MAX - 100;
/// One that it does not.
const LONG: u64 = STEPS_MAX;

fn create(workflow: &str) -> Operation {
    Operation::Create { workflow: workflow.to_owned(), data: Vec::new(), business_key: None }
}

/// Begins a load; whoever asked for it waits as long as what is returned lives.
fn begin(bench: &mut Bench, load: Load) -> Vec<Ticket<Reply>> {
    match load {
        Load::Create(count, steps) => {
            bench.register(&heavy::repeated_with("load", count, steps));
            vec![bench.operate(create("load"), Some("load"))]
        }
        Load::Batch(count, steps) => {
            bench.register(&heavy::once_with("load", 0, steps));
            bench.batch((0..count).map(|line| (create("load"), format!("line {line}"))))
        }
    }
}

/// One turn, while another thread works out one thing that takes long.
fn turn_and_compute(bench: &mut Bench, count: usize) {
    bench.turn(count);
    bench.node.compute();
}

/// Returns the most evaluation steps that a shard took while a single command waited beside a load, and all that were taken
/// for the load.
fn worst_wait(setting: Setting, load: Load, seed: u64) -> (u64, u64) {
    let mut random = Random::new(seed);
    // A batch has a key for each line, which is within one caller's share.
    let mut bench = Bench::with(Setting { keys_max: 100_000, ..setting });
    bench.register(SEQUENCE);
    let ticket = bench.create("sequence", "single", "");
    bench.rest();
    let case = super::by_hand::created(&ticket);
    let _load = begin(&mut bench, load);
    let mut worst = 0;
    for number in 0..SINGLES {
        for _ in 0..random.below(4) {
            turn_and_compute(&mut bench, usize::MAX);
        }
        let act = if number.is_multiple_of(2) { CaseAct::Suspend } else { CaseAct::Resume };
        let asked_at = bench.evaluated();
        let ticket = bench.operate(Operation::Case(case, act), Some(&format!("single {number}")));
        if random.is_one_in(2) {
            // It came when a turn had just begun.
            turn_and_compute(&mut bench, 0);
        }
        let mut reply = None;
        for _ in 0..3 {
            reply = reply.or_else(|| {
                turn_and_compute(&mut bench, usize::MAX);
                ticket.poll()
            });
        }
        assert!(matches!(reply, Some(Reply::Done(_))), "it was not served within three turns: {reply:?}");
        worst = worst.max(bench.evaluated() - asked_at);
    }
    assert!(bench.node.waited_steps.len() as u64 >= SINGLES);
    let worst = worst.max(bench.node.waited_steps.iter().copied().max().unwrap_or(0));
    (worst, bench.evaluated() + bench.node.computed_steps)
}

#[test]
fn while_a_single_command_waits_its_shard_takes_one_slice_at_most() {
    for steps in [SHORT, LONG] {
        for load in [Load::Create(10_000, steps), Load::Batch(10_000, steps)] {
            for seed in 0..3 {
                let (worst, all) = worst_wait(Setting::default(), load, seed);
                assert!(worst <= SLICE_STEPS, "{worst} steps beside {load:?}; a slice has {SLICE_STEPS}");
                assert!(all > 5 * steps, "nothing was beside it: {all} steps for {load:?}");
                // What takes long is given up after its first part, and then left to another thread at once.
                let least = if steps == SHORT { TURN_STEPS } else { EXPRESSION_STEPS_MAX };
                assert!(worst >= least, "{worst} steps beside {load:?}");
            }
        }
    }
}

#[test]
fn a_batch_that_never_gives_way_is_found() {
    let endless = Setting { never_gives_way: true, ..Setting::default() };
    let unsorted = Setting { is_batch_single: true, ..Setting::default() };
    for (fault, setting, load) in [
        ("a turn without end", endless, Load::Create(40, LONG)),
        ("a turn without end", endless, Load::Batch(40, LONG)),
        ("lines go first", unsorted, Load::Batch(40, SHORT)),
    ] {
        let found = std::panic::catch_unwind(|| worst_wait(setting, load, 1));
        let is_found = match &found {
            Ok((worst, _)) => *worst > SLICE_STEPS,
            Err(said) => said.downcast_ref::<String>().is_some_and(|said| {
                // What looks for it here, or the simulator's own look at each turn.
                said.starts_with("it was not served within") || said.starts_with("a turn evaluated")
            }),
        };
        assert!(is_found, "{fault} was not found: {found:?}");
    }
}

#[test]
fn a_batch_goes_on_though_single_commands_never_cease() {
    let mut bench = Bench::new();
    bench.register(SEQUENCE);
    let ticket = bench.create("sequence", "single", "");
    bench.rest();
    let case = super::by_hand::created(&ticket);
    let _load = begin(&mut bench, Load::Batch(50, LONG));
    let before = bench.node.computed_steps;
    for number in 0..40_u32 {
        let act = if number.is_multiple_of(2) { CaseAct::Suspend } else { CaseAct::Resume };
        let _ticket = bench.operate(Operation::Case(case, act), Some(&format!("single {number}")));
        turn_and_compute(&mut bench, usize::MAX);
    }
    let lines = (bench.node.computed_steps - before) / (STEPS_MAX / 2);
    assert!(lines >= 10, "{lines} lines of the batch in 40 turns");
}

#[test]
fn what_nobody_waits_for_any_more_is_not_begun_and_is_done_once_when_it_is_sent_again() {
    let mut bench = Bench::new();
    let load = begin(&mut bench, Load::Batch(60, SHORT));
    let lines_a_turn = usize::try_from(TURN_STEPS / SHORT).unwrap() + 1;
    for _ in 0..30 / lines_a_turn {
        bench.turn(usize::MAX);
    }
    let answered = load.iter().filter(|ticket| matches!(ticket.poll(), Some(Reply::Done(_)))).count();
    drop(load);
    bench.rest();
    let begun = bench.cases();
    assert!((1..60).contains(&answered) && begun >= answered, "{answered} were answered, {begun} begun");
    assert!(begun <= answered + lines_a_turn, "{begun} were begun, and nobody waited after {answered}");
    assert_eq!(bench.node.unawaited, 60 - begun, "each that was not begun is counted");
    let again = bench.batch((0..60).map(|line| (create("load"), format!("line {line}"))));
    bench.rest();
    assert_eq!(bench.cases(), 60);
    let repeated = again.iter().filter(|ticket| matches!(ticket.poll(), Some(Reply::Repeat(_)))).count();
    assert_eq!(repeated, begun);
}

#[test]
fn no_command_overtakes_another_on_its_case() {
    for turn_steps in [1, 500, TURN_STEPS] {
        let mut bench = Bench::with(Setting { turn_steps, ..Setting::default() });
        bench.register(SEQUENCE);
        let ticket = bench.create("sequence", "case", "");
        bench.rest();
        let case = super::by_hand::created(&ticket);
        let act = |number: u32| if number.is_multiple_of(2) { CaseAct::Suspend } else { CaseAct::Resume };
        let lines = (0..31).map(|number| (Operation::Case(case, act(number)), format!("line {number}")));
        let batch = bench.batch(lines);
        bench.turn(usize::MAX);
        // Out of order, one or the other would be refused: a case that is not suspended is not resumed.
        let single = bench.operate(Operation::Case(case, CaseAct::Resume), Some("single"));
        bench.rest();
        for ticket in batch.iter().chain([&single]) {
            let reply = ticket.poll();
            assert!(matches!(reply, Some(Reply::Done(_))), "{turn_steps} steps a turn: {reply:?}");
        }
    }
}

#[test]
fn a_cancel_does_not_wait_for_what_its_case_does_by_itself() {
    let mut bench = Bench::new();
    let load = begin(&mut bench, Load::Create(10_000, SHORT));
    let created = Cell::new(None::<CaseId>);
    for _ in 0..5 {
        bench.turn(usize::MAX);
        if let Some(Reply::Done(Answer::Created(view, _))) = load[0].poll() {
            created.set(Some(view.id));
        }
    }
    let case = created.get().expect("its first part is answered");
    let cancel = CaseAct::Cancel { reason: "enough".to_owned() };
    let ticket = bench.operate(Operation::Case(case, cancel), Some("cancel"));
    bench.turn(usize::MAX);
    bench.turn(usize::MAX);
    assert!(matches!(ticket.poll(), Some(Reply::Done(_))));
    let before = bench.evaluated();
    bench.rest();
    assert_eq!(bench.evaluated(), before, "a case went on that was cancelled");
}

#[test]
fn a_shard_gives_signs_of_life_in_the_middle_of_a_turn() {
    let mut bench = Bench::new();
    let _load = begin(&mut bench, Load::Create(10, SHORT));
    let before = bench.node.progress[0].pulse.beats();
    bench.turn(usize::MAX);
    // One at its beginning, and one before each decision.
    assert!(bench.node.progress[0].pulse.beats() >= before + 2);
}

#[test]
fn a_task_with_many_long_mappings_is_started_in_several_turns() {
    let mut bench = Bench::new();
    bench.register(&heavy::once("load", 3));
    let ticket = bench.operate(create("load"), Some("case"));
    bench.rest();
    let case = super::by_hand::created(&ticket);
    let before = bench.evaluated() + bench.node.computed_steps;
    let item = knhk::id::ItemId { case, number: 1 };
    let start = Operation::Item(item, knhk::engine::service::ItemAct::Start);
    let ticket = bench.operate(start, Some("start"));
    let mut turns = 0;
    let mut most = 0;
    let reply = loop {
        let at = bench.evaluated();
        turn_and_compute(&mut bench, usize::MAX);
        turns += 1;
        most = most.max(bench.evaluated() - at);
        if let Some(reply) = ticket.poll() {
            break reply;
        }
        assert!(turns < 20, "it comes to no end");
    };
    assert!(matches!(reply, Reply::Done(Answer::Item(..))), "{reply:?}");
    assert!(turns >= 3 && most <= SLICE_STEPS, "{turns} turns of up to {most} steps");
    let all = bench.evaluated() + bench.node.computed_steps - before;
    // Each is given up once.
    let at_most = 3 * (STEPS_MAX + EXPRESSION_STEPS_MAX);
    assert!(all <= at_most, "{all} steps: a mapping was evaluated twice");
}

#[test]
fn long_commands_come_to_their_end_in_their_order_however_many_follow() {
    const COMMANDS: usize = 30;
    let mut bench = Bench::new();
    bench.register(&heavy::once("load", 3));
    let created: Vec<_> =
        (0..COMMANDS).map(|number| bench.operate(create("load"), Some(&format!("case {number}")))).collect();
    bench.rest();
    let cases: Vec<CaseId> = created.iter().map(super::by_hand::created).collect();
    let mut starts = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let item = knhk::id::ItemId { case: *case, number: 1 };
        let start = Operation::Item(item, knhk::engine::service::ItemAct::Start);
        starts.push(bench.operate(start, Some(&format!("start {number}"))));
        // One turn for what is new, and one for what broke off.
        turn_and_compute(&mut bench, usize::MAX);
        turn_and_compute(&mut bench, usize::MAX);
    }
    let done: Vec<bool> =
        starts.iter().map(|ticket| matches!(ticket.poll(), Some(Reply::Done(Answer::Item(..))))).collect();
    let first = done.iter().take_while(|is_done| **is_done).count();
    assert!(first >= COMMANDS / 5, "{first} of {COMMANDS} are done: {done:?}");
    assert!(done[first..].iter().all(|is_done| !is_done), "one overtook another: {done:?}");
}

#[test]
fn a_batch_waits_for_the_journal_so_that_a_single_command_finds_little_before_it_there() {
    const LINE_BYTES: usize = 4_000;
    let mut bench = Bench::with(Setting { turn_steps: 1_000_000, ..Setting::default() });
    bench.register(SEQUENCE);
    let ticket = bench.create("sequence", "single", "");
    bench.rest();
    let case = super::by_hand::created(&ticket);
    let key = |number: u32| format!("{number} {}", "x".repeat(LINE_BYTES));
    let line = |number: u32| {
        let business_key = Some(key(number));
        (
            Operation::Create { workflow: "sequence".to_owned(), data: Vec::new(), business_key },
            format!("{number}"),
        )
    };
    let _batch = bench.batch((0..500).map(line));
    // Nothing becomes durable meanwhile.
    let staged = |bench: &Bench| bench.node.staged[0].iter().map(|staged| staged.bytes).sum::<usize>();
    for _ in 0..50 {
        bench.node.turn(0, usize::MAX, bench.now());
        while !bench.node.questions.is_empty() {
            bench.node.answer().unwrap();
        }
    }
    let before = staged(&bench);
    assert!((AHEAD_BYTES_MAX / 2..AHEAD_BYTES_MAX + 10 * LINE_BYTES).contains(&before), "{before} bytes");
    let ticket = bench.operate(Operation::Case(case, CaseAct::Suspend), Some("suspend"));
    bench.node.turn(0, usize::MAX, bench.now());
    assert!(staged(&bench) > before, "a single command waits for the journal");
    bench.rest();
    assert!(matches!(ticket.poll(), Some(Reply::Done(_))));
    assert_eq!(bench.cases(), 501);
}
