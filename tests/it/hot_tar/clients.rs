//! Clients that send batch after batch, and know what was acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::wait;

/// Lines of a batch: at least one, and at most so many.
const LINES_MAX: u64 = 60;
/// Of so many lines one creates a case; the others carry one on.
const CREATED_OF: u64 = 3;
/// Pauses of a client at ease after each batch.
const EASE_PAUSES: u32 = 4;
/// Longest wait for more acknowledged operations.
const PROGRESS_MAX: Duration = Duration::from_secs(120);

/// A case as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) customer: String,
    /// Operations acknowledged: created, entered, shipped.
    pub(super) steps: u8,
    /// The last line that was acknowledged, which may be asked again.
    pub(super) line: String,
}

#[derive(Debug)]
struct Sender {
    number: u64,
    random: Random,
    keys: u64,
    cases: Mutex<Vec<Case>>,
    /// Those of the cases that can go on.
    live: Vec<usize>,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    senders: Vec<Sender>,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Working<'a> {
    cases: Vec<&'a Mutex<Vec<Case>>>,
    is_over: &'a AtomicBool,
    is_at_ease: &'a AtomicBool,
    acknowledged: &'a AtomicU64,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl Working<'_> {
    pub(super) fn wait_for(&self, more: u64) {
        let target = self.acknowledged.load(Ordering::Acquire) + more;
        let count = || self.acknowledged.load(Ordering::Acquire);
        assert!(
            wait::until(PROGRESS_MAX, || (count() >= target).then_some(())).is_some(),
            "{} of {target} operations are acknowledged",
            count()
        );
    }

    /// From now on they work as fast as they can.
    pub(super) fn hurry(&self) {
        self.is_at_ease.store(false, Ordering::Release);
    }

    /// Returns what is acknowledged at this moment.
    pub(super) fn known(&self) -> Vec<Case> {
        self.cases
            .iter()
            .flat_map(|cases| cases.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }
}

impl Clients {
    pub(super) fn new(count: u64, random: &mut Random) -> Self {
        let sender = |number| Sender {
            number,
            random: Random(random.next()),
            keys: 0,
            cases: Mutex::default(),
            live: Vec::new(),
        };
        Self { senders: (0..count).map(sender).collect() }
    }

    pub(super) fn known(&self) -> Vec<Case> {
        self.senders
            .iter()
            .flat_map(|sender| sender.cases.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// Lets all clients work for as long as `watch` takes; at ease first, so that there is not much to compare.
    pub(super) fn while_working<R>(
        &mut self,
        address: SocketAddr,
        watch: impl FnOnce(&Working<'_>) -> R,
    ) -> R {
        let (is_over, is_at_ease) = (AtomicBool::new(false), AtomicBool::new(true));
        let acknowledged = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let mut cases = Vec::new();
            for sender in &mut self.senders {
                let Sender { number, random, keys, cases: own, live } = sender;
                let own: &Mutex<Vec<Case>> = own;
                cases.push(own);
                let mut at_work = AtWork { number: *number, random, keys, cases: own, live };
                let (is_over, is_at_ease, acknowledged) = (&is_over, &is_at_ease, &acknowledged);
                scope.spawn(move || {
                    let mut client = Client::new(address);
                    while !is_over.load(Ordering::Acquire) {
                        acknowledged.fetch_add(at_work.send(&mut client), Ordering::AcqRel);
                        if is_at_ease.load(Ordering::Acquire) {
                            (0..EASE_PAUSES).for_each(|_| wait::pause());
                        }
                    }
                });
            }
            let working =
                Working { cases, is_over: &is_over, is_at_ease: &is_at_ease, acknowledged: &acknowledged };
            watch(&working)
        })
    }
}

struct AtWork<'a> {
    number: u64,
    random: &'a mut Random,
    keys: &'a mut u64,
    cases: &'a Mutex<Vec<Case>>,
    live: &'a mut Vec<usize>,
}

/// A line of a batch, and the case that it carries on.
struct Line {
    text: String,
    case: Option<usize>,
    customer: String,
}

impl AtWork<'_> {
    fn line(&mut self) -> Line {
        *self.keys += 1;
        let key = format!("client-{}-line-{}", self.number, self.keys);
        if self.live.is_empty() || self.random.below(CREATED_OF) == 0 {
            let line = json!({"op": "create", "workflow": "order", "data": {"customer": key}, "key": key});
            return Line { text: line.to_string(), case: None, customer: key };
        }
        // Taken out, so that no batch has two lines for one case.
        let pick = self.random.below(u64::try_from(self.live.len()).unwrap());
        let index = self.live.swap_remove(usize::try_from(pick).unwrap());
        let case = self.cases.lock().unwrap_or_else(PoisonError::into_inner)[index].clone();
        let data = match case.steps {
            1 => json!({"amount": 1 + self.random.below(1_000)}),
            _ => json!({"parcel": format!("parcel of {}", case.customer)}),
        };
        let item = format!("{}-{}", case.id, case.steps);
        let line = json!({"op": "complete", "item": item, "data": data, "key": key});
        Line { text: line.to_string(), case: Some(index), customer: case.customer }
    }

    /// Sends a batch until all of it is acknowledged, and returns how many operations that were.
    fn send(&mut self, client: &mut Client) -> u64 {
        let count = 1 + self.random.below(LINES_MAX);
        let lines: Vec<Line> = (0..count).map(|_| self.line()).collect();
        let body: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let kind = [("Content-Type", "application/x-ndjson")];
        let answer = client.send("POST", "/batch", &kind, body.join("\n").as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut cases = self.cases.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = answer.text();
        let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), lines.len());
        for (line, answer) in lines.into_iter().zip(answers) {
            assert!(matches!(answer["status"].as_u64(), Some(200 | 201)), "{}: {answer}", line.text);
            let index = line.case.unwrap_or(cases.len());
            if let Some(case) = cases.get_mut(index) {
                case.steps += 1;
                case.line = line.text;
            } else {
                let id = answer["body"]["id"].as_str().unwrap().to_owned();
                cases.push(Case { id, customer: line.customer, steps: 1, line: line.text });
            }
            if cases[index].steps < 3 {
                self.live.push(index);
            }
        }
        count
    }
}
