//! The clients: what they ask, what they were told, and what they may therefore rely on.

use knhk::engine::loading::COMMAND_HEAD_BYTES;
use knhk::engine::long_expressions::Turns;
use knhk::engine::record::Hash16;
use knhk::engine::request::Reply;
use knhk::engine::room::{self, Answers, Room};
use knhk::engine::service::{
    Answer, Brief, Caller, CaseAct, Fragment, IsNew, ItemAct, ItemFilter, Once, Operation, PageOf, Refusal,
    SpecificationView,
};
use knhk::engine::ticket::Ticket;
use knhk::engine::{cost, prepare, queries};
use knhk::error::{Code, Kind};
use knhk::id::{CaseId, ItemId, Time};

use super::node::Node;
use super::random::Random;

/// Sources that clients register: every kind of join, split and task that the engine runs.
const SOURCES: [&[u8]; 6] = [
    include_bytes!("../../data/spec/sequence.yawl"),
    include_bytes!("../../data/spec/choice.yawl"),
    include_bytes!("../../data/spec/parallel.yawl"),
    include_bytes!("../../data/spec/subnet.yawl"),
    include_bytes!("../../data/spec/count.yawl"),
    include_bytes!("../../data/spec/again.yawl"),
];
const URIS: [&str; 6] = ["sequence", "choice", "parallel", "subnet", "count", "again"];

const KEY_EXPIRED: Code = Code(312);
/// All places for keys are taken, or the caller's share.
const NO_PLACE: [Code; 2] = [Code(308), Code(314)];
/// Who asks.
const CALLERS: [Caller; 4] = [Caller::Local, Caller::User(1_000), Caller::Token(1), Caller::Token(2)];

/// Something that a client asked.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Register(usize),
    Operate(Operation),
}

/// One request, under one key, however often it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) asked: Asked,
    pub(crate) once: Once,
    /// The key that the service made, when the client gave none.
    pub(crate) own: String,
    pub(crate) hash: Hash16,
    pub(crate) at: Time,
    pub(crate) told: Told,
    /// How often it was sent: once, and a key that the service made is known.
    pub(crate) times: u32,
}

/// What a client was told of a request.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// Nothing certain.
    Unknown,
    /// That it was done.
    Done(Box<Answer>),
    /// That it is registered.
    Registered(Box<SpecificationView>),
    /// That it was refused and nothing changed. A repeat may fare better.
    Refused,
}

/// A journal entry that a client's reading rested on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) case: CaseId,
    pub(crate) event_count: u32,
    pub(crate) changed: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) sent: Vec<Sent>,
    pending: Vec<(usize, Ticket<Reply>)>,
    pub(crate) shown: Vec<Shown>,
    counter: u64,
}

/// What hearing an answer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    pub(crate) acknowledged: u64,
    pub(crate) repeated: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) without_place: u64,
    pub(crate) not_remembered: u64,
}

impl Clients {
    /// Makes up something new to ask, from what is durable.
    pub(crate) fn invent(&mut self, random: &mut Random, node: &Node, now: Time) -> Option<usize> {
        self.counter += 1;
        let asked = match random.below(16) {
            0 => Asked::Register(random.index(SOURCES.len())),
            1..=4 => {
                let business_key = random.is_one_in(3).then(|| format!("order {}", random.below(12)));
                let workflow = *random.pick(&URIS).unwrap();
                // Enough words that the chain does not always fit one frame.
                let mut words = || "word ".repeat(usize::try_from(random.below(300)).unwrap());
                let data = if workflow == "count" {
                    vec![("words".to_owned(), Fragment::from_text(&words()))]
                } else {
                    Vec::new()
                };
                Asked::Operate(Operation::Create { workflow: workflow.to_owned(), data, business_key })
            }
            5 | 6 => Asked::Operate(Operation::Case(self.any_case(random)?, any_act(random))),
            _ => {
                let (item, act) = any_item(random, node, now)?;
                Asked::Operate(Operation::Item(item, act))
            }
        };
        // Some answers are larger than they may be, so that they are short, also when they are made again.
        let tiny = room::Limits { answer_bytes_max: 0, answers_bytes_max: 0 };
        let room = if random.is_one_in(8) { Answers::new(tiny).room(Caller::Local) } else { Room::default() };
        let key = (!random.is_one_in(4)).then(|| format!("key {}", self.counter));
        let request = *blake3::hash(format!("{asked:?}").as_bytes()).as_bytes();
        let own = prepare::own_key(now, 1, self.counter);
        self.sent.push(Sent {
            asked,
            once: Once { key, request, trace: None, caller: *random.pick(&CALLERS).unwrap(), room },
            own,
            hash: [0; 16],
            at: now,
            told: Told::Unknown,
            times: 0,
        });
        Some(self.sent.len() - 1)
    }

    fn any_case(&self, random: &mut Random) -> Option<CaseId> {
        let cases: Vec<CaseId> = self
            .sent
            .iter()
            .filter_map(|sent| match &sent.told {
                Told::Done(answer) => match answer.as_ref() {
                    Answer::Created(view, _) => Some(view.id),
                    Answer::Brief(Brief::Created(case, ..)) => Some(*case),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        random.pick(&cases).copied()
    }

    /// Sends requests in one message, perhaps again.
    pub(crate) fn send(&mut self, requests: &[usize], node: &mut Node) {
        let mut asked = Vec::new();
        let mut prepared = Vec::new();
        for at in requests {
            // Else refused before it came near a shard: the specification is not registered yet.
            if let Some(request) = self.prepare(*at, node) {
                asked.push(*at);
                prepared.push(request);
            }
        }
        for (at, (ticket, key)) in asked.into_iter().zip(node.ask(prepared)) {
            self.sent[at].hash = key.hash;
            self.pending.push((at, ticket));
        }
    }

    fn prepare(&mut self, at: usize, node: &Node) -> Option<prepare::Prepared> {
        let sent = &mut self.sent[at];
        let own = || sent.own.clone();
        let mut once = sent.once.clone();
        if sent.times > 0 && once.key.is_none() {
            once.key = Some(sent.own.clone());
        }
        let prepared = match &sent.asked {
            Asked::Register(source) => {
                let limit = node.setting.frame_bytes_max - COMMAND_HEAD_BYTES;
                Some(prepare::registration(SOURCES[*source], limit, &once, own).unwrap())
            }
            Asked::Operate(operation) => {
                prepare::operation(&node.registry, operation.clone(), &once, own).ok()
            }
        };
        sent.times += u32::from(prepared.is_some());
        prepared
    }

    /// Hears what answers have come.
    pub(crate) fn listen(&mut self, node: &mut Node) -> Result<Heard, String> {
        let mut heard = Heard::default();
        let mut waiting = Vec::new();
        for (at, ticket) in std::mem::take(&mut self.pending) {
            match ticket.poll() {
                None => waiting.push((at, ticket)),
                Some(reply) => self.hear(at, reply, node, &mut heard)?,
            }
        }
        self.pending = waiting;
        Ok(heard)
    }

    fn hear(&mut self, at: usize, reply: Reply, node: &mut Node, heard: &mut Heard) -> Result<(), String> {
        match reply {
            Reply::Done(answer) => {
                heard.acknowledged += 1;
                heard.not_remembered += u64::from(had_no_effect(&answer));
                self.told(at, Told::Done(Box::new(answer)))
            }
            Reply::Registered(view) => {
                heard.acknowledged += 1;
                self.told(at, Told::Registered(Box::new(view)))
            }
            Reply::Moved => Err("a case was moved that was not asked to".to_owned()),
            Reply::Refused(refusal) => self.refused(at, &refusal, heard),
            Reply::Repeat(repeat) => {
                node.follow(usize::MAX)?;
                let mut request = [0; 16];
                request.copy_from_slice(&self.sent[at].once.request[..16]);
                let repeated = queries::repeat(
                    &node.follower,
                    &node.registry,
                    *repeat,
                    &request,
                    &self.sent[at].once.room,
                );
                heard.repeated += 1;
                let repeated = match repeated {
                    // The key came to its end between the shard's answer and now.
                    Err(refusal) if refusal.code == KEY_EXPIRED => return Ok(()),
                    repeated => {
                        repeated.map_err(|refusal| format!("a repeated request was refused: {refusal}"))?
                    }
                };
                match repeated {
                    queries::Repeated::Entry(row) => {
                        let answer =
                            queries::answer_at(&node.reader, &node.registry, &row, &self.sent[at].once.room)
                                .map_err(|refusal| format!("an answer cannot be made again: {refusal}"))?;
                        self.told(at, Told::Done(Box::new(answer)))
                    }
                    queries::Repeated::Answer(answer) => self.told(at, Told::Done(Box::new(answer))),
                    queries::Repeated::Archived(id, row) => {
                        let view = queries::archived::view(&node.reader, &node.registry, id, &row)
                            .map_err(|refusal| format!("an archived case is not shown: {refusal}"))?;
                        let room = &self.sent[at].once.room;
                        let is_brief = room.take(cost::case(&view)).is_err();
                        let brief = Answer::Brief(Brief::Created(view.id, view.state, IsNew::No));
                        let whole = Answer::Created(Box::new(view), IsNew::No);
                        self.told(at, Told::Done(Box::new(if is_brief { brief } else { whole })))
                    }
                    // A specification of that number is registered, or the repeat would have failed.
                    queries::Repeated::Specification(_) => Ok(()),
                }
            }
        }
    }

    fn refused(&mut self, at: usize, refusal: &Refusal, heard: &mut Heard) -> Result<(), String> {
        let sent = &mut self.sent[at];
        if refusal.kind == Kind::Unknown {
            heard.unknown += 1;
            return Ok(());
        }
        heard.refused += 1;
        heard.without_place += u64::from(NO_PLACE.contains(&refusal.code));
        if matches!(refusal.kind, Kind::Busy | Kind::Unavailable) {
            return Ok(()); // Not now: it says nothing about what was asked.
        }
        if let Told::Done(answer) = &sent.told
            && !had_no_effect(answer)
        {
            // A create whose business key has its case stays answered whatever else happens.
            return Err(format!(
                "under {:?}, sent at {:?}: was acknowledged as {answer:?} and is refused now: {refusal}",
                sent.once.key, sent.at
            ));
        }
        if matches!(sent.told, Told::Unknown) {
            sent.told = Told::Refused;
        }
        Ok(())
    }

    fn told(&mut self, at: usize, told: Told) -> Result<(), String> {
        let sent = &mut self.sent[at];
        match (&sent.told, &told) {
            // Nothing was remembered: it was carried out as a new request.
            (Told::Done(before), _) if had_no_effect(before) => {
                sent.told = told;
                Ok(())
            }
            (Told::Done(before), Told::Done(now)) if !is_same(before, now) => {
                Err(format!("one key, two answers: {before:?} and {now:?}"))
            }
            (Told::Done(_) | Told::Registered(_), _) => Ok(()),
            _ => {
                sent.told = told;
                Ok(())
            }
        }
    }

    /// Some of those who wait wait no longer; those without a key of their own could not ask again.
    pub(crate) fn hang_up(&mut self, random: &mut Random) {
        let sent = &self.sent;
        self.pending.retain(|(at, _)| sent[*at].once.key.is_none() || random.is_one_in(2));
    }

    /// The process died: whoever waits is left with nothing certain.
    pub(crate) fn lose_connections(&mut self) {
        self.pending.clear();
    }

    /// Whether a request under a key of the service's own is on its way.
    pub(crate) fn is_asking_without_key(&self) -> bool {
        self.pending.iter().any(|(at, _)| self.sent[*at].once.key.is_none())
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads a case and remembers what it was shown.
    pub(crate) fn read(&mut self, random: &mut Random, node: &mut Node) -> Result<(), String> {
        let Some(case) = self.any_case(random) else { return Ok(()) };
        node.follow(usize::MAX)?;
        let view = super::check::view(node, case)
            .map_err(|why| format!("case {case} was acknowledged and is not shown: {why}"))?;
        self.shown.push(Shown { case, event_count: view.event_count, changed: view.changed });
        Ok(())
    }
}

/// Whether a command found nothing to do, so that its key is not remembered.
pub(crate) fn had_no_effect(answer: &Answer) -> bool {
    matches!(answer, Answer::NotRemembered(_))
}

/// A create under a business key is answered by the case as it is now; every other answer is kept as it was.
fn is_same(before: &Answer, now: &Answer) -> bool {
    match (before, now) {
        (Answer::Created(before, _), Answer::Created(now, IsNew::No)) => before.id == now.id,
        (Answer::Brief(Brief::Created(before, ..)), Answer::Brief(Brief::Created(now, _, IsNew::No))) => {
            before == now
        }
        _ => before == now,
    }
}

fn any_act(random: &mut Random) -> CaseAct {
    match random.below(12) {
        0 => CaseAct::Cancel { reason: "no longer wanted".to_owned() },
        1 | 2 => CaseAct::Suspend,
        3..=5 => CaseAct::Resume,
        6 | 7 => CaseAct::Retry,
        _ => CaseAct::Execute,
    }
}

fn any_item(random: &mut Random, node: &Node, _now: Time) -> Option<(ItemId, ItemAct)> {
    let page = PageOf { after: None, limit: 50 };
    let items = queries::items(
        &|| Ok(&node.follower),
        &node.registry,
        &ItemFilter::default(),
        &page,
        (&Turns::default(), &Room::default()),
    );
    let items = items.ok()?.items;
    let item = random.pick(&items)?;
    let value = |random: &mut Random| {
        let text = *random.pick(&["true", "false", "1", "2000", "words"]).unwrap();
        Fragment::from_text(text)
    };
    let act = match random.below(10) {
        0 | 1 => ItemAct::Start,
        2 => ItemAct::Fail { reason: "could not".to_owned() },
        3 => ItemAct::Skip { reason: "need not".to_owned() },
        _ => ItemAct::Complete(item.outputs.iter().map(|name| (name.clone(), value(random))).collect()),
    };
    Some((item.id, act))
}
