//! A service of canned answers that writes down what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use knhk::case::row::Status;
use knhk::case::view::{
    CaseState, CaseView, Detail, HistoryView, IncidentView, ItemView, NetView, Value, ValueKind,
};
use knhk::engine::cost;
use knhk::engine::pending::Again;
use knhk::engine::room::{Answers, Limits, Room};
use knhk::engine::service::{
    Answer, ArchiveOrder, ArchivedSlice, Brief, Caller, CaseAct, CaseFilter, CaseSummary, Fragment, Health,
    IsNew, ItemFilter, Maintained, Maintenance, Nets, Once, Operation, Page, PageOf, Refusal, RestoreOrder,
    Service, SpecificationView,
};
use knhk::error::{Code, Kind};
use knhk::id::{CaseId, ItemId, Partition, SpecNumber, Time};
use knhk::net::Net;
use knhk::spec::{Mistake, Position, Severity};
use knhk::telemetry::metrics::Metrics;

/// 2026-03-01T12:00:00Z.
const NOW: Time = Time(1_772_366_400_000_000);

/// Id of the case that exists.
pub(crate) fn case_id() -> CaseId {
    CaseId::next(NOW, Partition(7), None)
}

/// Room for everything that the tests ask.
pub(crate) const ROOMY: Limits = Limits { answer_bytes_max: 16 << 20, answers_bytes_max: 128 << 20 };

pub(crate) struct Fake {
    /// What was asked, a line each.
    pub(crate) calls: Mutex<Vec<String>>,
    /// Who asked for operations.
    pub(crate) callers: Mutex<Vec<Caller>>,
    /// What the requests were known by.
    pub(crate) requests: Mutex<Vec<[u8; 32]>>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) answers: Arc<Answers>,
    /// Called at the beginning of `case`: a test may wait there.
    pub(crate) before_case: Box<dyn Fn() + Send + Sync>,
    /// Text of the variable `note`.
    pub(crate) note: String,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            calls: Mutex::default(),
            callers: Mutex::default(),
            requests: Mutex::default(),
            health: Health::default(),
            metrics: Metrics::new(),
            answers: Answers::new(ROOMY),
            before_case: Box::new(|| {}),
            note: "a < b".to_owned(),
        }
    }

    /// Returns one whose answers may be larger than what the system takes for a client that does not read.
    pub(crate) fn with_large_answers() -> Self {
        let limits = Limits { answer_bytes_max: 256 << 20, answers_bytes_max: 2 << 30 };
        Self { answers: Answers::new(limits), ..Self::new() }
    }

    fn called(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    pub(crate) fn callers(&self) -> Vec<Caller> {
        std::mem::take(&mut self.callers.lock().unwrap())
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(crate) fn view(&self, id: CaseId) -> CaseView {
        let child = NetView {
            number: 2,
            net: "Sub".to_owned(),
            busy: vec!["Inner".to_owned()],
            ..NetView::default()
        };
        CaseView {
            id,
            workflow: "urn:x:order".to_owned(),
            version: 3,
            state: CaseState::Incident,
            status: Status::Running,
            business_key: Some("k-1".to_owned()),
            created: NOW,
            changed: NOW.plus_us(1),
            event_count: 5,
            root: NetView {
                number: 1,
                net: "New Net #1".to_owned(),
                marking: vec![("c{a_b}".to_owned(), 2)],
                busy: vec!["c".to_owned()],
                enabled: vec!["B".to_owned()],
                data: self.values(),
                children: vec![("C".to_owned(), vec![child])],
            },
            incidents: vec![IncidentView {
                kind: "failed",
                instance: 1,
                task: Some("B".to_owned()),
                item: Some(ItemId { case: id, number: 2 }),
                detail: "no stock".to_owned(),
                since: NOW,
            }],
            archived: None,
        }
    }

    fn values(&self) -> Vec<Value> {
        let value = |name: &str, kind, text: &str| Value {
            name: name.to_owned(),
            kind,
            value: Fragment::from_text(text),
        };
        vec![
            value("note", ValueKind::Text, &self.note),
            value("count", ValueKind::Number, "12"),
            value("ok", ValueKind::Boolean, "true"),
        ]
    }

    pub(crate) fn event_view(&self) -> HistoryView {
        HistoryView {
            seq: 1,
            time: NOW,
            event: "created",
            details: vec![
                ("task", Detail::Text("A".to_owned())),
                ("instance", Detail::Number(1)),
                ("put", Detail::List(vec!["c{A_B}".to_owned()])),
                ("data", Detail::Data(self.values())),
            ],
        }
    }

    pub(crate) fn item_view(&self, id: ItemId) -> ItemView {
        ItemView {
            id,
            workflow: "urn:x:order".to_owned(),
            instance: 1,
            task: "B".to_owned(),
            name: Some("Pack".to_owned()),
            state: "executing",
            since: NOW,
            data: self.values(),
            outputs: vec!["ok".to_owned()],
            reason: None,
        }
    }
}

pub(crate) fn refusal(code: u16, kind: Kind, message: &str) -> Refusal {
    Refusal {
        code: Code(code),
        kind,
        message: message.to_owned(),
        hint: None,
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

fn no_case() -> Refusal {
    refusal(350, Kind::NotFound, "there is no such case")
}

/// A net as it is compiled from a specification.
pub(crate) fn nets() -> Vec<Arc<Net>> {
    let source = include_bytes!("../../data/spec/sequence.yawl");
    let reading = knhk::spec::read(source);
    let specification = reading.specification.expect("the specification can be read");
    knhk::net::compile(&specification, None).expect("it can be compiled").workflow.nets
}

impl Service for Fake {
    fn register(&self, source: &[u8], once: &Once) -> Result<SpecificationView, Refusal> {
        self.called(format!("register {} bytes, key {:?}", source.len(), once.key));
        match source {
            b"wrong" => {
                let mut refusal = refusal(100, Kind::Unacceptable, "the specification has 1 mistake");
                refusal.mistakes.push(Mistake {
                    code: Code(123),
                    severity: Severity::Error,
                    at: Position { line: 4, column: 7, offset: 90 },
                    message: "flow to nowhere".to_owned(),
                    hint: "name a task".to_owned(),
                });
                Err(refusal)
            }
            b"full" => {
                let mut refusal = refusal(310, Kind::Busy, "the queue is full");
                refusal.hint = Some("ask again".to_owned());
                refusal.key = Some("made-1".to_owned());
                Err(refusal)
            }
            source => self
                .specification("urn:x:order")
                .map(|view| SpecificationView { is_new: source != b"same", ..view }),
        }
    }

    fn again(&self, _: Again) -> Result<Answer, Refusal> {
        Err(no_case())
    }

    fn operate(&self, operations: Vec<(Operation, Once)>) -> Vec<Result<Answer, Refusal>> {
        let answer = |(operation, once): (Operation, Once)| {
            self.called(format!("{operation:?} key {:?}", once.key));
            self.callers.lock().unwrap().push(once.caller);
            self.requests.lock().unwrap().push(once.request);
            match operation {
                Operation::Create { workflow, .. } if workflow == "nowhere" => {
                    Err(refusal(351, Kind::NotFound, "there is no such specification"))
                }
                Operation::Create { business_key, .. } => {
                    let is_new = if business_key.as_deref() == Some("old") { IsNew::No } else { IsNew::Yes };
                    let answer = Answer::Created(Box::new(self.view(case_id())), is_new);
                    let is_kept = is_new == IsNew::Yes || once.key.is_none();
                    Ok(if is_kept { answer } else { Answer::NotRemembered(Box::new(answer)) })
                }
                Operation::Case(id, _) if id != case_id() => Err(no_case()),
                Operation::Case(id, CaseAct::Execute) if once.key.is_some() => {
                    Ok(Answer::NotRemembered(Box::new(Answer::Case(Box::new(self.view(id))))))
                }
                Operation::Case(id, _) => {
                    let view = self.view(id);
                    Ok(match once.room.take(cost::case(&view)) {
                        Ok(()) => Answer::Case(Box::new(view)),
                        Err(_) => Answer::Brief(Brief::Case(id, view.state)),
                    })
                }
                Operation::Item(id, _) if id.number > 9 => {
                    Err(refusal(356, Kind::Conflict, "the work item is not enabled"))
                }
                Operation::Item(id, _) => Ok(Answer::Item(Box::new(self.item_view(id)), CaseState::Running)),
            }
        };
        operations.into_iter().map(answer).collect()
    }

    fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    fn case(&self, id: CaseId, room: &Room) -> Result<CaseView, Refusal> {
        (self.before_case)();
        let view = if id == case_id() { self.view(id) } else { return Err(no_case()) };
        room.take(cost::case(&view)).map_err(|full| full.refusal(room))?;
        Ok(view)
    }

    fn item(&self, id: ItemId, _: &Room) -> Result<ItemView, Refusal> {
        if id.case == case_id() { Ok(self.item_view(id)) } else { Err(no_case()) }
    }

    fn cases(&self, filter: &CaseFilter, page: &PageOf, _: &Room) -> Result<Page<CaseSummary>, Refusal> {
        self.called(format!("{filter:?} {page:?}"));
        let case = self.view(case_id());
        let item = CaseSummary {
            id: case.id,
            workflow: case.workflow,
            version: case.version,
            state: case.state,
            business_key: case.business_key,
            created: case.created,
            changed: case.changed,
            enabled_count: 1,
            archived: filter.is_archived.then(|| "2026-11/00000000000000000007.arc".to_owned()),
        };
        Ok(Page { items: vec![item], next: Some("token".to_owned()) })
    }

    fn check_cases(&self, ids: &[CaseId]) -> BTreeMap<CaseId, Result<Option<String>, Refusal>> {
        let check = |id: &CaseId| {
            self.called(format!("check {id}"));
            (*id, Ok(Some("journal entry 7 is missing".to_owned())))
        };
        ids.iter().map(check).collect()
    }

    fn items(&self, filter: &ItemFilter, page: &PageOf, _: &Room) -> Result<Page<ItemView>, Refusal> {
        self.called(format!("{filter:?} {page:?}"));
        Ok(Page { items: vec![self.item_view(ItemId { case: case_id(), number: 2 })], next: None })
    }

    fn history(&self, id: CaseId, page: &PageOf, _: &Room) -> Result<Page<HistoryView>, Refusal> {
        self.called(format!("history {page:?}"));
        if id != case_id() {
            return Err(no_case());
        }
        Ok(Page { items: vec![self.event_view()], next: None })
    }

    fn specifications(&self, _: &PageOf, _: &Room) -> Result<Page<SpecificationView>, Refusal> {
        Ok(Page { items: vec![self.specification("urn:x:order")?], next: None })
    }

    fn specification(&self, id: &str) -> Result<SpecificationView, Refusal> {
        self.called(format!("specification {id}"));
        if id == "nowhere" {
            return Err(refusal(351, Kind::NotFound, "there is no such specification"));
        }
        Ok(SpecificationView {
            number: SpecNumber(1),
            id: id.to_owned(),
            version: 3,
            name: None,
            registered: NOW,
            nets: Nets { all: nets(), root: 0 },
            warnings: vec!["layout is kept without effect".to_owned()],
            is_new: false,
        })
    }

    fn nets_of(&self, id: CaseId) -> Result<Nets, Refusal> {
        if id == case_id() { Ok(Nets { all: nets(), root: 0 }) } else { Err(no_case()) }
    }

    fn maintain(&self, what: Maintenance) -> Result<Maintained, Refusal> {
        self.called(format!("maintain {what:?}"));
        Ok(match what {
            Maintenance::Snapshot => Maintained::Snapshot { seq: 77, new_bytes: Some(4_096) },
            Maintenance::Trim => Maintained::Trimmed { files: 3, bytes: 1_000 },
            Maintenance::Upgrade => Maintained::Upgraded { from: 1, to: 2 },
        })
    }

    fn archive(&self, order: &ArchiveOrder) -> Result<ArchivedSlice, Refusal> {
        self.called(format!("{order:?}"));
        Ok(ArchivedSlice {
            cases: 3,
            bytes: 1_000,
            file: Some("2026-11/00000000000000000007.arc".to_owned()),
            kept_back: 1,
            refused: 0,
            next: Some("20000-000000000000".to_owned()),
        })
    }

    fn restore(&self, order: RestoreOrder, _: &Room) -> Result<Answer, Refusal> {
        self.called(format!("{order:?}"));
        if order.case == case_id() {
            Ok(Answer::Case(Box::new(self.view(order.case))))
        } else {
            Err(no_case())
        }
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
