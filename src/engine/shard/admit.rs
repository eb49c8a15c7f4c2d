//! What comes of a request when a shard first sees it: it is answered, refused, parked, or made a job.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batches::Turn;
use super::keys::KeyUse;
use super::work::{Client, Work};
use super::{PARKED_COMMANDS_MAX, QUESTIONS_MAX, SPECIFICATIONS_MAX, Shard};
use crate::case::Command;
use crate::case::row::Link;
use crate::engine::answers;
use crate::engine::record::{Act, Body, Hash16, Maker, Record};
use crate::engine::registry::Registered;
use crate::engine::request::{Asked, NewSpecification, Question, Repeat, Reply, Request};
use crate::engine::service::IsNew;
use crate::engine::tables::KeyRow;
use crate::engine::turn::{Job, What};
use crate::id::{CaseId, Partition, SpecNumber};
use crate::telemetry::metrics::labels::Queue;

impl Shard {
    pub(super) fn admit(&mut self, turn: &mut Turn, mut request: Request) {
        if let Asked::Move(case, _) = &request.act {
            let case = *case;
            return self.admit_move(turn, request, case);
        }
        let key = request.key.hash;
        if self.waiting_keys.contains(&key) {
            if self.same_key.len() >= PARKED_COMMANDS_MAX {
                return turn.refuse(request, answers::busy("requests under one key"));
            }
            return self.same_key.push_back(request);
        }
        if let Some(used) = self.keys.get(request.act.partition(), &key) {
            let repeat = match used {
                KeyUse::Client(at) => Repeat::Client(request.act.partition(), at, key),
                KeyUse::Service(partition, row) => Repeat::Service(partition, row),
            };
            let reply = Reply::Repeat(Box::new(repeat));
            return turn.answer(request, reply);
        }
        if request.key.maker == Maker::Client && request.place.is_none() {
            match self.keys.places().take(request.key.caller) {
                Ok(place) => request.place = Some(place),
                Err(full) => {
                    let refusal = answers::no_place(full, turn.now, self.options.bounds.key_us);
                    return turn.refuse_for(Queue::Keys, request, refusal);
                }
            }
        }
        let is_known = match &request.act {
            // More commands on a case that waits are bounded by themselves.
            Asked::Case(case, _) | Asked::Item(case, ..) => self.parked.contains_key(case),
            Asked::Create { .. } | Asked::Register(_) | Asked::Move(..) => false,
        };
        if !is_known && self.parked.len() + self.asked_business.len() >= QUESTIONS_MAX {
            return turn.refuse_for(Queue::Helper, request, answers::busy("open questions"));
        }
        match &request.act {
            Asked::Register(_) => self.register(turn, request),
            Asked::Create { business_key: Some((_, hash)), .. } => {
                let hash = *hash;
                self.admit_business(turn, request, hash);
            }
            Asked::Create { .. } => self.begin(turn, request),
            Asked::Case(case, _) | Asked::Item(case, ..) => {
                let case = *case;
                self.admit_case(turn, request, case);
            }
            Asked::Move(..) => unreachable!("invariant: handled above"),
        }
    }

    pub(super) fn admit_business(&mut self, turn: &mut Turn, request: Request, hash: Hash16) {
        if let Some(case) = self.business.get(&hash) {
            let reply = Reply::Repeat(Box::new(Repeat::Business(*case, request.key.maker)));
            return turn.answer(request, reply);
        }
        let partition = request.act.partition();
        let is_asked = self.asked_business.contains_key(&hash);
        let queue = self.asked_business.entry(hash).or_default();
        if queue.len() >= PARKED_COMMANDS_MAX {
            return turn.refuse_for(Queue::Parked, request, answers::busy("creates under one business key"));
        }
        self.waiting_keys.insert(request.key.hash);
        queue.push_back(request);
        if !is_asked {
            turn.questions.push(Question::Business(partition, hash));
        }
    }

    pub(super) fn admit_case(&mut self, turn: &mut Turn, request: Request, case: CaseId) {
        if self.moving.contains(&case) {
            return turn.refuse(request, answers::busy("changes of a case that leaves or comes back"));
        }
        // What waits in line goes behind what is parked already, and so does this.
        if !turn.jobs.has(case)
            && let Some(queue) = self.parked.get_mut(&case)
        {
            if queue.len() >= PARKED_COMMANDS_MAX {
                return turn.refuse_for(Queue::Parked, request, answers::busy("commands of one parked case"));
            }
            self.waiting_keys.insert(request.key.hash);
            return queue.push_back(Work::of(request).waits());
        }
        if self.cases.contains(case) || turn.jobs.has(case) {
            self.waiting_keys.insert(request.key.hash);
            return turn.jobs.push_back(Work::of(request));
        }
        self.waiting_keys.insert(request.key.hash);
        self.fetch(Work::of(request));
    }

    /// Parks the first work of a case that is not in memory, and asks for its rows.
    pub(super) fn fetch(&mut self, work: Work) {
        let case = work.job.case;
        self.parked.insert(case, VecDeque::from([work.waits()]));
        self.loads.want(case);
    }

    pub(super) fn begin(&mut self, turn: &mut Turn, request: Request) {
        let Request { act, key, place, class, asked_at, answerer, traced, room } = request;
        let Asked::Create { partition, spec, data, business_key } = act else {
            unreachable!("invariant: only creates come here")
        };
        let case = CaseId::next(turn.now, partition, self.last_cases[partition.index()]);
        self.last_cases[partition.index()] = Some(case);
        self.waiting_keys.insert(key.hash);
        let business = business_key.as_ref().map(|entry| entry.1);
        let business_key = business_key.map(|entry| entry.0);
        let command = Command::Create { spec: spec.number, business_key, data };
        turn.jobs.push_back(Work {
            job: Job { registered: Some(spec.run()), room, ..Job::new(case, What::Command(command)) },
            moves: None,
            client: Some(Client {
                key,
                place,
                act: Act::Create,
                business,
                class,
                asked_at,
                answerer,
                traced,
            }),
        });
    }

    pub(super) fn register(&mut self, turn: &mut Turn, request: Request) {
        let Request { act: Asked::Register(new), key, place, class, asked_at, answerer, traced, .. } =
            request
        else {
            unreachable!("invariant: only registrations come here")
        };
        let mut client =
            Client { key, place, act: Act::Register, business: None, class, asked_at, answerer, traced };
        let NewSpecification { mut registration, workflow } = *new;
        let mut versions = self.registry.versions(&registration.uri);
        versions.extend(self.specs.iter().filter(|spec| spec.workflow.uri == registration.uri).cloned());
        if let Some(same) = versions.iter().find(|spec| spec.source == registration.hash) {
            let view = answers::specification(same, IsNew::No);
            return turn.reply(client, Reply::Registered(view));
        }
        if self.spec_count >= SPECIFICATIONS_MAX {
            return turn.reply(client, Reply::Refused(answers::too_many_specifications(SPECIFICATIONS_MAX)));
        }
        let bytes = Registered::bytes_of(&registration.tree);
        // The registry may have some of the shard's own already.
        let own = self.specs.iter().filter(|spec| self.registry.get(spec.number).is_none());
        let held = self.registry.bytes() + own.map(|spec| spec.bytes).sum::<usize>();
        if held + bytes > self.options.bounds.specifications_bytes_max {
            let refusal =
                answers::too_large_specifications(held, bytes, self.options.bounds.specifications_bytes_max);
            return turn.reply(client, Reply::Refused(refusal));
        }
        self.spec_count += 1;
        registration.number = SpecNumber(self.spec_count);
        registration.version = versions.iter().map(|spec| spec.version).max().unwrap_or(0) + 1;
        let registered = Arc::new(Registered {
            number: registration.number,
            version: registration.version,
            at: turn.now,
            warnings: registration.warnings.clone(),
            source: registration.hash,
            bytes,
            workflow,
        });
        let key_fact = Some(key.fact(Act::Register));
        let record = Record { at: turn.now, key: key_fact, body: Body::Registered(Box::new(registration)) };
        let n = self.stage(turn, Partition::SPECIFICATIONS, 0, Link::default(), record.encode()).n;
        let row = KeyRow {
            n,
            case: CaseId(0),
            spec: Some(registered.number),
            request: key.request,
            act: Act::Register,
            at: turn.now,
        };
        self.use_key(turn, &mut client, Partition::SPECIFICATIONS, row);
        self.specs.push(Arc::clone(&registered));
        turn.undo.specs.push(Arc::clone(&registered));
        let view = answers::specification(&registered, IsNew::Yes);
        turn.staged.publish.push(registered);
        turn.reply(client, Reply::Registered(view));
    }
}
