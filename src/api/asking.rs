//! Requests that are asked without waiting: an answer is a future, for whoever serves many connections in one thread.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use super::traced::Traced;
use super::workers::{Job, Workers};
use super::{
    Asks, Error, Limits, Request, Response, begin, finish, operated, read, refuse, respond_early, serve,
    traced,
};
use crate::engine::pending::{Pending, Settled};
use crate::engine::room::{Room, SMALL_BYTES};
use crate::engine::service::{Answer, Begun, Once, Refusal, Service};
use crate::engine::ticket::Ticket;
use crate::telemetry::metrics::labels::Route;

/// What a request takes of what all requests share. It goes where the request goes, and stays for as long as anything of
/// that is in memory: also on a thread whose client has gone.
pub(super) enum Held {
    /// Bytes of head and body.
    Local(#[expect(dead_code, reason = "it is dropped")] tiny_http::Held),
    /// Shares of a caller.
    Remote(#[expect(dead_code, reason = "it is dropped")] Box<dyn Any + Send>),
}

/// The service, once there is one, and who waits for it where waiting is needed.
pub(super) struct Asker {
    service: OnceLock<Arc<dyn Service>>,
    limits: Limits,
    workers: Workers,
}

impl Asker {
    /// Returns an asker with so many threads at most.
    pub(super) fn new(limits: Limits, threads_max: usize) -> Self {
        Self { service: OnceLock::new(), limits, workers: Workers::new(threads_max) }
    }

    /// Asks this service from now on; before, every answer is that it is starting. Only the first one counts.
    pub(super) fn serve(&self, service: Arc<dyn Service>) {
        // It fails when there is one already, which then stays.
        let _ = self.service.set(service);
    }

    /// Returns the service, if there is one yet.
    pub(super) fn service(&self) -> Option<&Arc<dyn Service>> {
        self.service.get()
    }

    /// Begins to answer requests, each with what it holds; those that are one operation go to their shards together. One
    /// answer each, in order.
    pub(super) fn ask(self: &Arc<Self>, requests: Vec<(Request, Held)>) -> Vec<Asking> {
        let Some(service) = self.service() else {
            return requests.iter().map(|(request, _)| self.early(request)).collect();
        };
        let mut answers = Vec::with_capacity(requests.len());
        let mut operations = Vec::with_capacity(requests.len());
        let mut places = Vec::with_capacity(requests.len());
        let mut rooms = Vec::with_capacity(requests.len());
        for (at, (request, held)) in requests.into_iter().enumerate() {
            let (route, asks) = read(&request, &self.limits);
            let traced = traced::begin(&**service, &request, route).map(Box::new);
            let trace = traced.as_ref().map(|traced| traced.context);
            let mut kept = None;
            let stage = match asks {
                Asks::Wrong(problem) => Stage::answered(finish(&request.method, route, Err(problem))),
                Asks::Operation(operation, once) => {
                    let room = service.answers().room(request.caller);
                    match begin(&room) {
                        Ok(()) => {
                            rooms.push(room.clone());
                            operations.push((operation, Once { trace, room, ..once }));
                            places.push(at);
                            kept = Some(held);
                            Stage::Taken
                        }
                        Err(refusal) => Stage::answered(answer(route, Some(Err(refusal)), &room)),
                    }
                }
                // Whether the service is well must be told also when all threads wait.
                Asks::Other(id) if matches!(route, Route::Health | Route::HealthLive) => {
                    Stage::answered(serve(&**service, &request, &self.limits, (route, trace), &id))
                }
                Asks::Other(id) => {
                    let (service, limits) = (Arc::clone(service), self.limits);
                    self.on_a_thread(Box::new(move || {
                        let (_held, request) = (held, request);
                        serve(&*service, &request, &limits, (route, trace), &id)
                    }))
                }
            };
            let asker = Arc::clone(self);
            answers.push(Asking { asker, route, stage, traced, room: Room::default(), held: kept });
        }
        if !operations.is_empty() {
            for ((at, room), begun) in places.into_iter().zip(rooms).zip(service.begin(operations)) {
                let asking = &mut answers[at];
                asking.stage = self.begun(service, asking.route, begun, &room, &mut asking.held);
                asking.room = room;
            }
        }
        answers
    }

    fn early(self: &Arc<Self>, request: &Request) -> Asking {
        let response = respond_early(request, &self.limits);
        let route = response.route;
        Asking {
            asker: Arc::clone(self),
            route,
            stage: Stage::answered(response),
            traced: None,
            room: Room::default(),
            held: None,
        }
    }

    fn on_a_thread(&self, job: Job) -> Stage {
        Stage::OnAThread(self.workers.ask(job))
    }

    fn begun(
        &self,
        service: &Arc<dyn Service>,
        route: Route,
        begun: Begun,
        room: &Room,
        held: &mut Option<Held>,
    ) -> Stage {
        match begun {
            Begun::Refused(refusal) => Stage::answered(answer(route, Some(Err(refusal)), room)),
            Begun::Pending(pending) => Stage::Pending(pending),
            Begun::Blocks(operation, once) => {
                let (service, room, held) = (Arc::clone(service), room.clone(), held.take());
                self.on_a_thread(Box::new(move || {
                    let _held = held;
                    answer(route, service.operate(vec![(operation, once)]).pop(), &room)
                }))
            }
        }
    }

    fn settled(&self, route: Route, settled: Settled, room: &Room, held: &mut Option<Held>) -> Stage {
        match settled {
            // Writing what is large takes long; the thread that serves all connections does not wait for it.
            Settled::Done(done) if room.taken_bytes() > SMALL_BYTES => {
                let room = room.clone();
                self.on_a_thread(Box::new(move || answer(route, Some(Ok(done)), &room)))
            }
            Settled::Done(done) => Stage::answered(answer(route, Some(Ok(done)), room)),
            Settled::Refused(refusal) => Stage::answered(answer(route, Some(Err(refusal)), room)),
            // No registration is begun this way.
            Settled::Registered(_) => Stage::answered(answer(route, None, room)),
            Settled::Again(again) => {
                let (service, room, held) = (self.service().map(Arc::clone), room.clone(), held.take());
                self.on_a_thread(Box::new(move || {
                    let _held = held;
                    answer(route, service.map(|service| service.again(again)), &room)
                }))
            }
        }
    }
}

/// Returns what the client gets for one operation.
fn answer(route: Route, answer: Option<Result<Answer, Refusal>>, room: &Room) -> Response {
    finish("POST", route, operated(answer, room)).held_in(room.clone())
}

enum Stage {
    Answered(Box<Response>),
    /// Its shard has it.
    Pending(Pending),
    /// A thread waits for it.
    OnAThread(Ticket<Response>),
    /// The answer was taken, or will be put here.
    Taken,
}

impl Stage {
    fn answered(response: Response) -> Self {
        Self::Answered(Box::new(response))
    }
}

/// An answer that comes. Besides when its waker is called, it is to be polled from time to time: it may run out of time.
pub(super) struct Asking {
    asker: Arc<Asker>,
    route: Route,
    stage: Stage,
    traced: Option<Box<Traced>>,
    /// Room for the answer to an operation; what else is asked has its own.
    room: Room,
    /// What an operation holds while its shard has it; what waits on a thread has it there.
    held: Option<Held>,
}

impl Asking {
    /// Tells whether its shard has it, so that nothing but the journal is waited for.
    pub(super) fn is_soon(&self) -> bool {
        matches!(self.stage, Stage::Pending(_))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let (Some(traced), Some(service)) = (self.traced.take(), self.asker.service()) {
            traced.abandon(&**service);
        }
    }
}

impl Future for Asking {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let asking = &mut *self;
        loop {
            asking.stage = match std::mem::replace(&mut asking.stage, Stage::Taken) {
                Stage::Answered(mut response) => {
                    if let (Some(traced), Some(service)) = (asking.traced.take(), asking.asker.service()) {
                        traced.end(&**service, &mut response);
                    }
                    return Poll::Ready(*response);
                }
                Stage::Taken => return Poll::Ready(refuse(Error::NoAnswer)),
                Stage::Pending(mut pending) => match pending.poll(context) {
                    Poll::Pending => {
                        asking.stage = Stage::Pending(pending);
                        return Poll::Pending;
                    }
                    Poll::Ready(settled) => {
                        asking.asker.settled(asking.route, settled, &asking.room, &mut asking.held)
                    }
                },
                Stage::OnAThread(waits) => match waits.poll_with(context) {
                    Poll::Pending => {
                        asking.stage = Stage::OnAThread(waits);
                        return Poll::Pending;
                    }
                    Poll::Ready(answer) => Stage::answered(answer.unwrap_or_else(|| refuse(Error::NoAnswer))),
                },
            };
        }
    }
}
