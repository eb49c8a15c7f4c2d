//! Drives one case through `Cases::turn` by names, and holds its rows against folding the events alone.

use std::fmt::Write;
use std::sync::Arc;

use knhk::case::Command;
use knhk::case::effort;
use knhk::case::encode::{events_from_bytes, events_to_bytes, row_from_bytes, row_to_bytes};
use knhk::case::event::{Event, ItemNumber};
use knhk::case::fold::fold;
use knhk::case::row::ItemState;
use knhk::case::state::{Case, InRows, Live};
use knhk::case::view::{CaseView, Detail, Historian, HistoryView, NetView, Value};
use knhk::engine::turn::{Cases, Job, Limits, NoTimer, Outcome, Question, Registered, Rows, What};
use knhk::error::Code;
use knhk::expr::Fragment;
use knhk::id::{CaseId, SpecNumber, Time};
use knhk::net::orjoin::Judgement;
use knhk::net::{self, Workflow};
use knhk::spec;

/// Limits that no test reaches by accident.
pub(crate) const LIMITS: Limits = Limits {
    automated_steps_max: 10_000,
    frame_bytes: 16 * 1024 * 1024,
    judged_states: 10_000,
    effort: effort::Limits::NONE,
};

/// Code of a function that a later release will run: `expr::Error::NotYet`.
const EXPRESSION_NOT_YET: Code = Code(206);

/// Why a specification was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Only for what this release does not run yet.
    pub(crate) is_not_yet: bool,
    /// All mistakes.
    pub(crate) mistakes: String,
}

impl Refused {
    fn new(mistakes: &[spec::Mistake]) -> Self {
        let errors = mistakes.iter().filter(|mistake| mistake.severity == spec::Severity::Error);
        Self {
            is_not_yet: errors.clone().count() > 0
                && errors.clone().all(|mistake| mistake.is_not_yet() || mistake.code == EXPRESSION_NOT_YET),
            mistakes: mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Reads and compiles a specification.
pub(crate) fn workflow(source: &[u8]) -> Result<Workflow, Refused> {
    let reading = spec::read(source);
    match &reading.specification {
        Some(tree) if reading.is_accepted() => net::compile(tree, None)
            .map(|compiled| compiled.workflow)
            .map_err(|mistakes| Refused::new(&mistakes)),
        _ => Err(Refused::new(&reading.mistakes)),
    }
}

/// One case, the memory that it lives in, and the same case made of its events alone.
pub(crate) struct Driver {
    pub(crate) cases: Cases,
    pub(crate) limits: Limits,
    pub(crate) id: CaseId,
    pub(crate) events: Vec<(Time, Event)>,
    registered: Registered,
    folded: Case,
    now: Time,
    question: Option<Question>,
    /// Expressions that were worked out apart.
    pub(crate) worked_out: usize,
}

impl Driver {
    pub(crate) fn new(workflow: Workflow) -> Self {
        let id = CaseId(64);
        Self {
            cases: Cases::new(),
            limits: LIMITS,
            id,
            events: Vec::new(),
            registered: Registered { number: SpecNumber(1), version: 1, workflow: Arc::new(workflow) },
            folded: Case::new(id),
            now: Time(1_000_000),
            question: None,
            worked_out: 0,
        }
    }

    pub(crate) fn create(&mut self, data: Fragment) -> Outcome {
        let command = Command::Create { spec: SpecNumber(1), business_key: None, data };
        self.turn(What::Command(command))
    }

    pub(crate) fn command(&mut self, command: Command) -> Outcome {
        self.turn(What::Command(command))
    }

    /// Gives one job, and checks that what came of it is what its events say.
    pub(crate) fn turn(&mut self, what: What) -> Outcome {
        let mut outcomes = self.turn_all(vec![what]);
        outcomes.pop().unwrap()
    }

    /// Gives jobs in one turn.
    pub(crate) fn turn_all(&mut self, jobs: Vec<What>) -> Vec<Outcome> {
        let jobs = jobs.into_iter().map(|what| {
            let is_create = matches!(what, What::Command(Command::Create { .. }));
            Job { registered: is_create.then(|| self.registered.clone()), ..Job::new(self.id, what) }
        });
        let jobs = jobs.collect();
        self.run(jobs)
    }

    /// Gives a job again that was not done, with what it waits for.
    pub(crate) fn again(&mut self, mut job: Job) -> Outcome {
        if let Some(broken_off) = &mut job.broken_off
            && let Some(evaluation) = broken_off.take_evaluation()
        {
            broken_off.learn(evaluation.work_out(&|| {}).0);
            self.worked_out += 1;
        }
        self.run(vec![job]).pop().unwrap()
    }

    fn run(&mut self, jobs: Vec<Job>) -> Vec<Outcome> {
        self.now = self.now.plus_us(1_000_000);
        let before = self.cases.rows(self.id);
        let outcomes = self.cases.turn(self.now, jobs, &self.limits, &mut NoTimer);
        let mut has_changed = false;
        for outcome in &outcomes {
            let Outcome::Done(done) = outcome else { continue };
            let bytes = events_to_bytes(&done.events);
            assert_eq!(events_from_bytes(&bytes).unwrap(), done.events);
            has_changed |= !done.events.is_empty();
            self.question.clone_from(&done.parked);
            for event in &done.events {
                let mut live = Live { case: &mut self.folded, keeper: &mut InRows };
                fold(&mut live, event, self.now).unwrap();
                self.events.push((self.now, event.clone()));
            }
        }
        let after = self.cases.rows(self.id);
        if !has_changed {
            assert_eq!(before, after, "nothing was done, and something changed");
        }
        assert_eq!(after, self.folded_rows(), "fold(before, events) is not what there is");
        outcomes
    }

    fn folded_rows(&self) -> Option<Rows> {
        let case = self.folded.row.clone()?;
        assert_eq!(row_from_bytes::<knhk::case::row::CaseRow>(&row_to_bytes(&case)).unwrap(), case);
        Some(Rows {
            case,
            instances: self.folded.instances.iter().map(|one| (one.number, one.row.clone())).collect(),
            items: self.folded.items.clone(),
        })
    }

    /// Lets the case leave memory and come back from its rows.
    pub(crate) fn reload(&mut self) {
        let rows = self.cases.rows(self.id).unwrap();
        self.cases.forget(self.id);
        assert!(!self.cases.contains(self.id));
        self.cases.load(self.id, rows.clone(), self.registered.clone()).unwrap();
        assert_eq!(self.cases.rows(self.id).unwrap(), rows);
    }

    pub(crate) fn answer(&mut self, judgement: Judgement) -> Outcome {
        let question = self.question.take().unwrap();
        self.turn(What::Judged(question, judgement))
    }

    pub(crate) fn view(&self) -> Option<CaseView> {
        self.cases.view(self.id)
    }

    pub(crate) fn workflow(&self) -> &Workflow {
        &self.registered.workflow
    }

    /// Finds the live item of a task: of the instance given, or of the first that has one.
    pub(crate) fn item(&self, task: &str, instance: Option<u32>) -> Option<ItemNumber> {
        let case = self.cases.get(self.id)?;
        let is_it = |row: &knhk::case::row::ItemRow| {
            let net = case.instance(row.instance).unwrap().row.net;
            let id = &self.registered.workflow.nets[usize::from(net)].tasks[usize::from(row.task)].id;
            id == task && instance.is_none_or(|instance| instance == row.instance)
        };
        case.items.iter().find(|(_, row)| is_it(row)).map(|(number, _)| *number)
    }

    /// Returns numbers of live items, with their states.
    pub(crate) fn items(&self) -> Vec<(ItemNumber, ItemState)> {
        let items = self.cases.get(self.id).map(|case| case.items.clone()).unwrap_or_default();
        items.into_iter().map(|(number, row)| (number, row.state)).collect()
    }

    pub(crate) fn history(&self) -> Vec<HistoryView> {
        let mut historian = Historian::new(&self.registered.workflow);
        self.events.iter().map(|(time, event)| historian.tell(event, *time)).collect()
    }
}

/// Carries out a script, a command a line, and tells what happened and how things stand after each.
///
/// `create XML`, `start TASK`, `complete TASK XML`, `fail TASK REASON`, `skip TASK REASON`, `cancel REASON`,
/// `suspend`, `resume`, `retry`, `execute`, `continue`, `reload`, `judged enabled|waits|undecided`,
/// `limit steps|bytes|states NUMBER`, and `both A; B` for two commands in one turn.
pub(crate) fn play(source: &str, script: &str) -> String {
    let mut driver = match workflow(source.as_bytes()) {
        Ok(workflow) => Driver::new(workflow),
        Err(refused) => return format!("not accepted:\n{}\n", refused.mistakes),
    };
    let mut text = String::new();
    let mut told = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(text, "> {line}").unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "limit" => limit(&mut driver.limits, rest),
            "reload" => driver.reload(),
            "both" => {
                let jobs = rest.split(';').map(|line| job(&driver, line.trim())).collect();
                for outcome in driver.turn_all(jobs) {
                    tell_outcome(&mut text, &outcome);
                }
            }
            "judged" => {
                let judgement = match rest {
                    "enabled" => Judgement::Enabled,
                    "waits" => Judgement::Waits,
                    "undecided" => Judgement::Undecided,
                    other => panic!("{other} is no judgement"),
                };
                let outcome = driver.answer(judgement);
                tell_outcome(&mut text, &outcome);
            }
            _ => {
                let what = job(&driver, line);
                let outcome = driver.turn(what);
                tell_outcome(&mut text, &outcome);
            }
        }
        for line in &driver.history()[told..] {
            writeln!(text, "  {}", history_line(line)).unwrap();
        }
        told = driver.events.len();
        if let Some(view) = driver.view() {
            writeln!(text, "= {}", state_line(&view)).unwrap();
        }
    }
    text
}

fn limit(limits: &mut Limits, text: &str) {
    let (what, number) = text.split_once(' ').unwrap();
    let number: u32 = number.parse().unwrap();
    match what {
        "steps" => limits.automated_steps_max = number,
        "bytes" => limits.frame_bytes = number as usize,
        "states" => limits.judged_states = number as usize,
        "turn" => limits.effort.steps = u64::from(number),
        other => panic!("{other} is no limit"),
    }
}

fn job(driver: &Driver, line: &str) -> What {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (task, more) = rest.split_once(' ').unwrap_or((rest, ""));
    // A task without a live item is an item that never was.
    let item = driver.item(task, None).unwrap_or(u32::MAX);
    let data = |text: &str| Fragment::parse(text).unwrap();
    What::Command(match word {
        "create" => Command::Create { spec: SpecNumber(1), business_key: None, data: data(rest) },
        "start" => Command::Start(item),
        "complete" => Command::Complete(item, data(more)),
        "fail" => Command::Fail(item, more.to_owned()),
        "skip" => Command::Skip(item, more.to_owned()),
        "cancel" => Command::Cancel(rest.to_owned()),
        "suspend" => Command::Suspend,
        "resume" => Command::Resume,
        "retry" => Command::Retry,
        "execute" => Command::Execute,
        "continue" => return What::Continue,
        other => panic!("{other} is no command"),
    })
}

fn tell_outcome(text: &mut String, outcome: &Outcome) {
    match outcome {
        Outcome::Refused(error) => writeln!(text, "  refused {}: {error}", error.code()).unwrap(),
        Outcome::Held(_) => writeln!(text, "  held").unwrap(),
        Outcome::Later(_) => writeln!(text, "  later").unwrap(),
        Outcome::Done(done) => {
            if let Some(Question::OrJoin { net, task, .. }) = &done.parked {
                writeln!(text, "  parked at {}", net.tasks[usize::from(*task)].id).unwrap();
            }
            if done.unfinished {
                writeln!(text, "  unfinished").unwrap();
            }
        }
    }
}

fn history_line(line: &HistoryView) -> String {
    let mut text = line.event.to_owned();
    for (name, detail) in &line.details {
        match detail {
            Detail::Text(detail) => write!(text, " {name}={detail}").unwrap(),
            Detail::Number(detail) => write!(text, " {name}={detail}").unwrap(),
            Detail::List(detail) => write!(text, " {name}={}", detail.join(",")).unwrap(),
            Detail::Data(detail) => write!(text, " {name}={}", values(detail)).unwrap(),
        }
    }
    text
}

fn values(values: &[Value]) -> String {
    let list: Vec<String> =
        values.iter().map(|value| format!("{}:{}", value.name, value.value.as_xml())).collect();
    format!("{{{}}}", list.join(", "))
}

fn state_line(view: &CaseView) -> String {
    let mut text = view.state.name().to_owned();
    net_line(&mut text, &view.root);
    for incident in &view.incidents {
        write!(text, " !{}", incident.kind).unwrap();
        if let Some(task) = &incident.task {
            write!(text, " at {task}").unwrap();
        }
    }
    text
}

fn net_line(text: &mut String, net: &NetView) {
    let marking: Vec<String> = net.marking.iter().map(|(name, count)| counted(name, *count)).collect();
    write!(text, " ({})", marking.join(" ")).unwrap();
    for (word, list) in [("busy", &net.busy), ("enabled", &net.enabled)] {
        if !list.is_empty() {
            write!(text, " {word} {}", list.join(",")).unwrap();
        }
    }
    if !net.data.is_empty() {
        write!(text, " {}", values(&net.data)).unwrap();
    }
    for (task, children) in &net.children {
        for child in children {
            write!(text, " [{task} #{}:", child.number).unwrap();
            net_line(text, child);
            text.push(']');
        }
    }
}

/// Returns `x*2` for two tokens on x.
pub(crate) fn counted(name: &str, count: u32) -> String {
    if count == 1 { name.to_owned() } else { format!("{name}*{count}") }
}
