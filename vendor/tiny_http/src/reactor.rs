//! The server's one thread: it accepts, reads, has answered and writes, and waits for nothing but epoll.

use std::collections::VecDeque;
use std::convert::TryFrom;
use std::io::{ErrorKind, Result as IoResult, Write};
use std::mem;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::client::{Client, Round, lingering_max};
use crate::connection::{Connection, Listener};
use crate::date::Date;
use crate::head::Version;
use crate::mailbox::{waker, Mailbox};
use crate::slots::{Slots, Token};
use crate::strangers::{Place, Standing};
use crate::{Refusal, State};

/// Most events that are taken at a time.
const EVENTS_MAX: usize = 512;
/// Most connections that are accepted at a time from one listener.
const ACCEPTS_MAX: usize = 64;
/// How long to wait after a failed accept, such as one for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Longest time between two looks at all connections.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// For so few answers the thread looks out without sleeping, but lets others have the processor in between.
const SPIN_REQUESTS_MAX: usize = 2;
/// And for so long.
const SPIN_TIME: Duration = Duration::from_micros(500);
/// Clients that have gone are forgotten among those that wait when there are so many more than twice the clients.
const GONE_MAX: usize = 64;
/// Bytes read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// What epoll carries for the bell; listeners have the numbers below it, connections lower ones.
const BELL: u64 = u64::MAX;
/// Most listeners.
const LISTENERS_MAX: u64 = 16;

pub(crate) struct Reactor {
    state: Arc<State>,
    mailbox: Arc<Mailbox>,
    epoll: Epoll,
    listeners: Vec<Listener>,
    /// Set while nothing is accepted.
    paused_until: Option<Instant>,
    is_closing: bool,
    clients: Slots<Client>,
    /// Connections that can go on without waiting.
    again: Vec<Token>,
    /// Whose requests are not asked yet, oldest first.
    waiting: VecDeque<Token>,
    /// How many answers are waited for, and whether all of them come soon.
    asked_count: usize,
    are_all_soon: bool,
    next_look: Instant,
    /// When something was last asked; none after a rest.
    last_asked: Option<Instant>,
    date: Date,
    piece: Vec<u8>,
    tokens: Vec<Token>,
}

impl Reactor {
    pub(crate) fn new(listeners: Vec<Listener>, state: Arc<State>) -> IoResult<Reactor> {
        if listeners.len() as u64 > LISTENERS_MAX {
            return Err(ErrorKind::InvalidInput.into());
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mailbox = Arc::clone(&state.mailbox);
        epoll.add(mailbox.bell(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, BELL))?;
        let reactor = Reactor {
            state,
            mailbox,
            epoll,
            listeners,
            paused_until: None,
            is_closing: false,
            clients: Slots::new(),
            again: Vec::new(),
            waiting: VecDeque::new(),
            asked_count: 0,
            are_all_soon: true,
            next_look: Instant::now(),
            last_asked: None,
            date: Date::new(),
            piece: vec![0; PIECE_BYTES],
            tokens: Vec::new(),
        };
        for listener in &reactor.listeners {
            listener.set_nonblocking()?;
        }
        reactor.listen()?;
        Ok(reactor)
    }

    /// Waits for all listeners, also for those that are not waited for because that failed before.
    fn listen(&self) -> IoResult<()> {
        for (at, listener) in self.listeners.iter().enumerate() {
            match self.epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, BELL - 1 - at as u64)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn listen_no_more(&self) {
        for listener in &self.listeners {
            // It fails only for one that is not waited for.
            let _ = self.epoll.delete(listener);
        }
    }

    /// Serves until the server is closed and the last connection has ended.
    pub(crate) fn run(mut self) {
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        loop {
            if self.is_closing && self.clients.len() == 0 {
                return;
            }
            let ready = match self.wait(&mut events) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(_) => {
                    thread::sleep(ACCEPT_PAUSE);
                    0
                }
            };
            let now = Instant::now();
            self.take_answers(now);
            let mut active = mem::take(&mut self.again);
            for event in &events[..ready] {
                self.happened(event, &mut active, now);
            }
            for token in active.drain(..) {
                self.advance(token, now);
            }
            if self.again.is_empty() {
                self.again = active;
            }
            self.ask(now);
            self.look(now);
        }
    }

    /// Waits until something happens.
    fn wait(&self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        // While a processor that waits for the disk goes to sleep, and wakes up again, so does the client's time.
        let is_worth_it = (1..=SPIN_REQUESTS_MAX).contains(&self.asked_count) && self.are_all_soon;
        if is_worth_it && self.again.is_empty() {
            let end = Instant::now() + SPIN_TIME;
            while self.mailbox.is_empty() && Instant::now() < end {
                let ready = self.epoll.wait(events, EpollTimeout::ZERO)?;
                if ready > 0 {
                    return Ok(ready);
                }
                thread::yield_now();
            }
        }
        let ready = self.epoll.wait(events, self.timeout());
        self.mailbox.is_awake();
        ready
    }

    /// Returns how long may be slept.
    fn timeout(&self) -> EpollTimeout {
        if !self.again.is_empty() || !self.mailbox.may_sleep() {
            return EpollTimeout::ZERO;
        }
        if self.state.closing.load(SeqCst) != self.is_closing {
            return EpollTimeout::ZERO;
        }
        if self.clients.len() == 0 && self.paused_until.is_none() && self.last_asked.is_none() {
            return EpollTimeout::NONE;
        }
        let left = self.next_look.saturating_duration_since(Instant::now());
        // Whole milliseconds, and never too early.
        u16::try_from(left.as_millis() + 1).map_or(EpollTimeout::from(u16::MAX), EpollTimeout::from)
    }

    fn happened(&mut self, event: &EpollEvent, active: &mut Vec<Token>, now: Instant) {
        let data = event.data();
        if data == BELL {
            return;
        }
        if data >= BELL - LISTENERS_MAX {
            return self.accept((BELL - 1 - data) as usize, now);
        }
        let token = Token::from_u64(data);
        let flags = event.events();
        if flags.intersects(EpollFlags::EPOLLERR) {
            return self.with(token, now, |client, _| client.end());
        }
        let Some(client) = self.clients.get(token) else { return };
        if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP) {
            client.may_read(flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP));
        }
        if !client.is_queued {
            client.is_queued = true;
            active.push(token);
        }
    }

    fn accept(&mut self, at: usize, now: Instant) {
        for _ in 0..ACCEPTS_MAX {
            if self.is_closing {
                return;
            }
            let socket = match self.listeners[at].accept() {
                Ok(socket) => socket,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => {
                        self.state.options.load.accept_failures.fetch_add(1, SeqCst);
                        // It would be told at once again, and nothing can be done about it here.
                        self.listen_no_more();
                        self.paused_until = Some(now + ACCEPT_PAUSE);
                        self.next_look = self.next_look.min(now + ACCEPT_PAUSE);
                        return;
                    }
                },
            };
            if socket.prepare().is_err() {
                continue;
            }
            // One that was reset meanwhile has no ends any more.
            let met = socket.ends().map(|ends| (self.state.options.meet)(ends));
            let Ok((mark, standing)) = met else { continue };
            let stranger = match standing {
                Standing::Stranger => Place::of_connection(&self.state),
                Standing::Known => None,
            };
            let has_place = standing == Standing::Known || stranger.is_some();
            // Lingering connections have a limit of their own and are not counted here.
            let lingering = self.state.options.load.lingering();
            let others = self.clients.len().saturating_sub(lingering);
            let is_full = others >= self.state.options.connections_max || !has_place;
            if is_full && lingering >= lingering_max(self.state.options.connections_max) {
                self.turn_away(&socket);
                continue;
            }
            let Reactor { clients, mailbox, state, .. } = self;
            let token =
                clients.put(|token| Client::new(socket, mark, stranger, waker(mailbox, token), state, now));
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            let added = clients.get(token).map(|client| {
                self.epoll.add(client.socket(), EpollEvent::new(flags, token.to_u64()))
            });
            if !matches!(added, Some(Ok(()))) {
                clients.take(token);
            } else if is_full {
                self.with(token, now, |client, round| client.refuse(Refusal::Busy, round));
            }
            self.next_look = self.next_look.min(now + self.state.options.idle_time);
        }
    }

    /// Answers without having read a request, and closes at once. The socket is new, so that its buffer takes the whole answer.
    fn turn_away(&mut self, mut socket: &Connection) {
        let mut out = Vec::new();
        let response = (self.state.options.refusal)(Refusal::Busy);
        response.print(&mut out, Version::Http11, false, true, self.date.text());
        let _ = socket.write_all(&out);
    }

    /// Sends the answers that have come.
    fn take_answers(&mut self, now: Instant) {
        let mut woken = mem::take(&mut self.tokens);
        self.mailbox.take(&mut woken);
        for token in woken.drain(..) {
            self.poll(token, now);
        }
        self.tokens = woken;
    }

    /// Does something with a connection, and sees to what follows of it. Whatever may end an answer goes through here, so
    /// that its place is given back.
    fn with(&mut self, token: Token, now: Instant, act: impl FnOnce(&mut Client, &mut Round<'_>)) {
        let Reactor { clients, state, date, piece, .. } = self;
        let Some(client) = clients.get(token) else { return };
        let was_answering = client.is_answering();
        act(client, &mut Round { state, now, date, piece });
        if was_answering && !client.is_answering() {
            self.asked_count -= 1;
        }
        if client.is_over() {
            clients.take(token);
            return self.forget_the_gone();
        }
        if client.has_more() && !client.is_queued {
            client.is_queued = true;
            self.again.push(token);
        }
        self.next_look = self.next_look.min(client.due(now));
    }

    fn advance(&mut self, token: Token, now: Instant) {
        let mut is_whole = false;
        self.with(token, now, |client, round| {
            client.is_queued = false;
            client.send(round);
            is_whole = client.read(round);
        });
        if is_whole {
            self.waiting.push_back(token);
        }
    }

    /// Keeps the number of those that wait within that of the clients, and does so seldom enough to cost nothing.
    fn forget_the_gone(&mut self) {
        let Reactor { clients, waiting, .. } = self;
        if waiting.len() > 2 * clients.len() + GONE_MAX {
            waiting.retain(|&token| clients.get(token).map_or(false, |client| client.is_whole()));
        }
    }

    fn poll(&mut self, token: Token, now: Instant) {
        self.with(token, now, Client::poll);
    }

    /// Hands requests out, all of a round together.
    fn ask(&mut self, now: Instant) {
        let room = self.state.options.at_once_max.saturating_sub(self.asked_count);
        let (mut tokens, mut requests) = (Vec::new(), Vec::new());
        while tokens.len() < room {
            let Some(token) = self.waiting.pop_front() else { break };
            let Some(client) = self.clients.get(token) else { continue };
            let Some(mut request) = client.take_request() else { continue };
            let has_place = !client.is_strangers() || request.held.take_place();
            if self.is_closing {
                self.with(token, now, |client, round| client.refuse(Refusal::Closing, round));
                continue;
            }
            if !has_place {
                self.with(token, now, |client, round| client.refuse(Refusal::Busy, round));
                continue;
            }
            tokens.push(token);
            requests.push(request);
        }
        if requests.is_empty() {
            return;
        }
        self.last_asked = Some(now);
        let answers = (self.state.options.answer)(requests);
        assert_eq!(answers.len(), tokens.len(), "every request has its answer");
        for (token, answering) in tokens.into_iter().zip(answers) {
            if let Some(client) = self.clients.get(token) {
                client.ask(answering.coming);
                self.are_all_soon = answering.is_soon && (self.are_all_soon || self.asked_count == 0);
                self.asked_count += 1;
                self.poll(token, now);
            }
        }
    }

    /// Looks at all connections when one of them may have taken too long, or the server is being closed.
    fn look(&mut self, now: Instant) {
        let closes_now = !self.is_closing && self.state.closing.load(SeqCst);
        if closes_now {
            self.is_closing = true;
            self.paused_until = None;
            self.listen_no_more();
        }
        if now < self.next_look && !closes_now {
            return;
        }
        if self.paused_until.map_or(false, |until| until <= now) {
            // Without it, the next look tries again.
            let is_listening = self.listen().is_ok();
            self.paused_until = if is_listening { None } else { Some(now + ACCEPT_PAUSE) };
        }
        if self.last_asked.map_or(false, |last| now >= last + LOOK_MAX) {
            self.last_asked = None;
            (self.state.options.at_rest)();
        }
        self.next_look = self.paused_until.unwrap_or(now + LOOK_MAX);
        let mut tokens = mem::take(&mut self.tokens);
        self.clients.tokens(&mut tokens);
        let is_closing = self.is_closing;
        for token in tokens.drain(..) {
            self.with(token, now, |client, round| {
                client.poll(round);
                client.look(round, is_closing);
            });
        }
        self.tokens = tokens;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::tests::options;

    #[test]
    fn a_listener_that_could_not_be_waited_for_is_waited_for_at_the_next_try() {
        let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let state = Arc::new(State::new(options()).unwrap());
        let reactor = Reactor::new(listeners.into_iter().map(Listener::from).collect(), state).unwrap();
        // As after a try that failed at the second one.
        reactor.epoll.delete(&reactor.listeners[1]).unwrap();
        reactor.listen().unwrap();
        let _client = TcpStream::connect(addresses[1]).unwrap();
        let mut events = [EpollEvent::empty(); 2];
        assert_eq!(reactor.epoll.wait(&mut events, EpollTimeout::from(20_000u16)), Ok(1));
        assert_eq!(events[0].data(), BELL - 2);
    }
}
