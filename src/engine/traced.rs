//! A command that is traced, on its way through shard and journal: what its spans will say. Only such a command has one, so
//! that all others cost nothing.

use super::request::Reply;
use super::service::{CaseAct, ItemAct, Operation};
use crate::case::event::{Event, InstanceNumber, Phase};
use crate::id::{CaseId, Time};
use crate::net::Workflow;
use crate::telemetry::traces::{About, CaseSpan, Context, Outcome, Span, TaskSpan, Tracer};

/// Most tasks of one command that have a span; the others are counted.
pub const TASK_SPANS_MAX: usize = 32;

/// What is known of a traced command so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The span of the request.
    request: Context,
    /// When it was handed to its shard.
    since: Time,
    about: CaseSpan,
    /// When the shard's turn began, and when its facts were handed to the journal.
    turn: (Time, Time),
    /// Of the case that is named in what it is about.
    tasks: Vec<(String, Phase)>,
}

/// The commit of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// When the journal began.
    pub start: Time,
    /// When it was durable.
    pub end: Time,
    /// Number of the frame.
    pub frame: u64,
    /// Entries in it.
    pub entry_count: u64,
}

impl Traced {
    /// Begins with an operation that is about to be handed to its shard.
    pub fn new(request: Context, operation: &Operation, since: Time) -> Box<Self> {
        let mut traced = Self::named(request, name(operation), since);
        traced.about.case = match operation {
            Operation::Create { .. } => None,
            Operation::Case(case, _) => Some(*case),
            Operation::Item(item, _) => Some(item.case),
        };
        traced
    }

    /// Begins with what has this name.
    pub fn named(request: Context, operation: &'static str, since: Time) -> Box<Self> {
        let about = CaseSpan {
            operation,
            case: None,
            workflow: String::new(),
            state: "",
            outcome: Outcome::Refused,
            more_tasks: 0,
        };
        Box::new(Self { request, since, about, turn: (since, since), tasks: Vec::new() })
    }

    /// Notes what a turn made of the command: which tasks moved, in which case.
    pub fn done(
        &mut self,
        case: CaseId,
        workflow: &Workflow,
        nets: &[(InstanceNumber, u16)],
        events: &[Event],
        state: &'static str,
    ) {
        self.about.case = Some(case);
        self.about.workflow.clone_from(&workflow.uri);
        self.about.state = state;
        let opened = |number: InstanceNumber| {
            events.iter().find_map(|event| match event {
                Event::Opened { instance, net, .. } if *instance == number => Some(*net),
                _ => None,
            })
        };
        let known = |number| nets.iter().find(|(instance, _)| *instance == number).map(|(_, net)| *net);
        for event in events {
            let Event::Stepped { instance, task, phase, .. } = event else { continue };
            if self.tasks.len() >= TASK_SPANS_MAX {
                self.about.more_tasks += 1;
                continue;
            }
            let number = if *instance == 0 {
                Some(workflow.root)
            } else {
                opened(*instance).or_else(|| known(*instance))
            };
            let net = number.and_then(|number| workflow.nets.get(usize::from(number)));
            match net.and_then(|net| net.tasks.get(usize::from(*task))) {
                Some(task) => self.tasks.push((task.id.clone(), *phase)),
                None => self.about.more_tasks += 1,
            }
        }
    }

    /// Notes what the shard answered.
    pub fn answered(&mut self, reply: &Reply) {
        self.about.outcome = match reply {
            Reply::Done(_) | Reply::Registered(_) | Reply::Moved => Outcome::Done,
            Reply::Refused(_) => Outcome::Refused,
            Reply::Repeat(_) => Outcome::Repeated,
        };
    }

    /// Notes that nobody knows what became of it.
    pub fn unknown(&mut self) {
        self.about.outcome = Outcome::Unknown;
    }

    /// Notes that it was not done after all.
    pub fn not_done(&mut self) {
        self.about.outcome = Outcome::Refused;
    }

    /// Notes the times of the turn.
    pub fn turned(&mut self, start: Time, end: Time) {
        self.turn = (start, end);
    }

    /// Makes its spans: of the command, of its tasks and, when it became durable, of its commit.
    pub fn finish(self, tracer: &Tracer, commit: Option<Commit>, end: Time) {
        let Self { request, since, about, turn, tasks } = self;
        let (context, parent) = tracer.under(request);
        if about.outcome == Outcome::Done {
            for (task, phase) in tasks {
                let (own, parent) = tracer.under(context);
                let phase = match phase {
                    Phase::Start => "start",
                    Phase::Complete => "complete",
                    Phase::Pass => "pass",
                };
                let about = TaskSpan { case: about.case, workflow: about.workflow.clone(), task, phase };
                let (start, end) = turn;
                let about = About::Task(Box::new(about));
                tracer.take(Span { context: own, parent: Some(parent), start, end, about });
            }
            if let Some(Commit { start, end, frame, entry_count }) = commit {
                let (own, parent) = tracer.under(context);
                let about = About::Commit { frame, entry_count };
                tracer.take(Span { context: own, parent: Some(parent), start, end, about });
            }
        }
        let about = About::Case(Box::new(about));
        tracer.take(Span { context, parent: Some(parent), start: since, end, about });
    }
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Create { .. } => "create",
        Operation::Case(_, CaseAct::Cancel { .. }) => "cancel",
        Operation::Case(_, CaseAct::Suspend) => "suspend",
        Operation::Case(_, CaseAct::Resume) => "resume",
        Operation::Case(_, CaseAct::Retry) => "retry",
        Operation::Case(_, CaseAct::Execute) => "execute",
        Operation::Item(_, ItemAct::Start) => "start",
        Operation::Item(_, ItemAct::Complete(_)) => "complete",
        Operation::Item(_, ItemAct::Fail { .. }) => "fail",
        Operation::Item(_, ItemAct::Skip { .. }) => "skip",
    }
}
