//! One connection: what has come of a request, what of an answer has still to go, and by when.

use std::any::Any;
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::body::Body;
use crate::connection::Connection;
use crate::date::Date;
use crate::head::{Head, Length, Reader, Version};
use crate::heads::Heads;
use crate::request::{Held, Request};
use crate::strangers::{Place, Standing};
use crate::{Arriving, Coming, Mark, Options, Refusal, Response, State};

/// Most reads of a connection before others have their turn.
const READS_MAX: usize = 4;
/// Most bytes that are read and dropped after the last answer, so that the client gets to see it.
pub const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest time for that.
pub const LINGER_TIME: Duration = Duration::from_secs(5);
/// Most connections of a server that are kept for that; more are closed at once.
pub const LINGERING_MAX: usize = 256;
/// An answer whose buffer is larger takes it along.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// Most bytes that are set aside for a body before they have come.
const BODY_BYTES_AT_FIRST_MAX: usize = 8 * 1024;
/// How often an answer that is waited for is asked after, even if nobody calls: it may have run out of time.
pub(crate) const ANSWER_LOOK: Duration = Duration::from_millis(20);

/// A connection.
pub(crate) struct Client {
    socket: Connection,
    mark: Mark,
    /// The place of a stranger, which one that is only seen off does not need.
    stranger: Option<Place>,
    waker: Waker,
    stage: Stage,
    /// Bytes that came after the request that is being answered, and how many of them are read.
    input: Vec<u8>,
    input_at: usize,
    output: Vec<u8>,
    output_at: usize,
    /// Whether there may be something to read.
    can_read: bool,
    /// Whether the client sends no more, so that reading goes on to the end.
    is_ending: bool,
    /// Whether it is among those that go on in the next round.
    pub(crate) is_queued: bool,
    /// When the stage has taken too long.
    due: Instant,
    /// When the pause since the last piece has.
    piece_due: Instant,
    /// Whether the request that is being read is `HEAD`, whose answer has no body.
    is_head: bool,
    in_hand: Option<InHand>,
    /// What the answer that is being sent holds.
    held: Option<Box<dyn Any + Send>>,
    heads: Heads,
    _counted: Counted,
}

enum Stage {
    /// Nothing of the next request has come.
    Between,
    Head(Reader, Instant),
    Body(InBody),
    /// The request is whole; it is taken when it is asked, and goes with its client before.
    Whole(Asked, Option<Request>),
    Answering(Coming, Asked),
    /// Whether the connection ends with what is being sent.
    Sending { is_last: bool },
    /// Reads and drops, so many bytes at most.
    Lingering { left: usize, _counted: Lingering },
    Over,
}

/// A request of whose body a part has come.
struct InBody {
    head: Head,
    mark: Mark,
    received: Instant,
    bytes: Vec<u8>,
    held: Held,
    body: Body,
}

/// What is kept of a request for its answer.
struct Asked {
    version: Version,
    is_head: bool,
    is_last: bool,
}

/// Counts a request from when it is whole until its answer is out.
struct InHand(Arc<State>);

impl InHand {
    fn new(state: &Arc<State>) -> InHand {
        state.options.load.answering.fetch_add(1, SeqCst);
        InHand(Arc::clone(state))
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.options.load.answering.fetch_sub(1, SeqCst);
    }
}

/// Counts one connection for as long as it lives.
struct Counted(Arc<State>);

impl Counted {
    fn new(state: &Arc<State>) -> Counted {
        state.options.load.connections.fetch_add(1, SeqCst);
        Counted(Arc::clone(state))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.options.load.connections.fetch_sub(1, SeqCst);
    }
}

/// Fewest lingering connections allowed, however small `connections_max` is.
const LINGERING_MIN: usize = 4;

/// Lingering connections are at most one part in this many of those that are served: they take files beside them.
const LINGERING_PART: usize = 4;

/// Returns how many connections are kept at most for their clients to see the last answer, where so many are served.
pub fn lingering_max(connections_max: usize) -> usize {
    LINGERING_MAX.min((connections_max / LINGERING_PART).max(LINGERING_MIN))
}

/// Counts one connection that is kept only for its client to see the last answer.
struct Lingering(Arc<State>);

impl Lingering {
    fn new(state: &Arc<State>) -> Option<Lingering> {
        let counted = Lingering(Arc::clone(state));
        (state.options.load.lingering.fetch_add(1, SeqCst) < lingering_max(state.options.connections_max)).then_some(counted)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.options.load.lingering.fetch_sub(1, SeqCst);
    }
}

/// What a connection works with: the same for all of them, and one round of the server's thread.
pub(crate) struct Round<'a> {
    pub(crate) state: &'a Arc<State>,
    pub(crate) now: Instant,
    pub(crate) date: &'a mut Date,
    /// Where bytes are read to.
    pub(crate) piece: &'a mut [u8],
}

impl Round<'_> {
    fn options(&self) -> &Options {
        &self.state.options
    }
}

impl Client {
    pub(crate) fn new(
        socket: Connection,
        mark: Mark,
        stranger: Option<Place>,
        waker: Waker,
        state: &Arc<State>,
        now: Instant,
    ) -> Client {
        let standing = if stranger.is_some() { Standing::Stranger } else { Standing::Known };
        Client {
            socket,
            mark,
            stranger,
            waker,
            stage: Stage::Between,
            input: Vec::new(),
            input_at: 0,
            output: Vec::new(),
            output_at: 0,
            can_read: false,
            is_ending: false,
            is_queued: false,
            due: now + state.options.idle_time,
            piece_due: now,
            is_head: false,
            in_hand: None,
            held: None,
            heads: Heads::new(state, standing),
            _counted: Counted::new(state),
        }
    }

    pub(crate) fn socket(&self) -> &Connection {
        &self.socket
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Tells whether an answer is waited for.
    pub(crate) fn is_answering(&self) -> bool {
        matches!(self.stage, Stage::Answering(..))
    }

    /// Tells whether a request waits to be asked.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Whole(..))
    }

    /// Tells whether it is a stranger's, whose requests need a place of strangers.
    pub(crate) fn is_strangers(&self) -> bool {
        self.stranger.is_some()
    }

    fn is_reading(&self) -> bool {
        matches!(self.stage, Stage::Between | Stage::Head(..) | Stage::Body(_) | Stage::Lingering { .. })
    }

    /// Tells whether reading can go on without waiting.
    pub(crate) fn has_more(&self) -> bool {
        self.is_reading() && (self.can_read || self.input_at < self.input.len())
    }

    /// Hears that there is something to read; `is_ending` that nothing follows it.
    pub(crate) fn may_read(&mut self, is_ending: bool) {
        self.can_read = true;
        self.is_ending |= is_ending;
    }

    /// Ends at once: the connection broke.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Over;
    }

    /// Returns when it has to be looked at.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        match self.stage {
            Stage::Between | Stage::Lingering { .. } => self.due,
            Stage::Head(..) | Stage::Body(_) => self.due.min(self.piece_due),
            Stage::Answering(..) | Stage::Whole(..) => now + ANSWER_LOOK,
            Stage::Sending { .. } => self.due.min(self.piece_due),
            Stage::Over => now,
        }
    }

    /// Ends what has taken too long.
    pub(crate) fn look(&mut self, round: &mut Round<'_>, is_closing: bool) {
        let is_late = self.due(round.now) <= round.now;
        match self.stage {
            Stage::Between if is_late || is_closing => self.stage = Stage::Over,
            Stage::Head(..) if is_late => self.refuse(Refusal::HeadSlow, round),
            Stage::Body(_) if is_late => self.refuse(Refusal::BodySlow, round),
            Stage::Sending { .. } | Stage::Lingering { .. } if is_late => self.stage = Stage::Over,
            _ => {}
        }
    }

    /// Reads what is there; returns whether a request has become whole.
    pub(crate) fn read(&mut self, round: &mut Round<'_>) -> bool {
        for _ in 0..READS_MAX {
            if !self.is_reading() {
                return false;
            }
            if self.input_at < self.input.len() {
                let input = mem::take(&mut self.input);
                self.input_at += self.feed(&input[self.input_at..], round);
                let fits = self.count_heads(input.len() - self.input_at, round);
                if fits && self.input_at < input.len() {
                    self.input = input;
                } else {
                    self.input_at = 0;
                }
            } else if self.can_read {
                let piece = mem::take(&mut round.piece);
                self.read_piece(piece, round);
                round.piece = piece;
            } else {
                return false;
            }
            if self.is_whole() {
                return true;
            }
        }
        false
    }

    fn read_piece(&mut self, piece: &mut [u8], round: &mut Round<'_>) {
        match (&self.socket).read(piece) {
            Ok(0) => match self.stage {
                Stage::Body(_) => self.refuse(Refusal::BodyBroken, round),
                _ => self.stage = Stage::Over,
            },
            Ok(length) => {
                // A piece that is not full was all there is; what comes then is told anew.
                self.can_read = length == piece.len() || self.is_ending;
                self.piece_due = round.now + round.options().read_timeout;
                let used = self.feed(&piece[..length], round);
                if self.count_heads(length - used, round) {
                    self.input.extend_from_slice(&piece[used..length]);
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => self.can_read = false,
                _ => self.stage = Stage::Over,
            },
        }
    }

    /// Counts what the connection holds of heads, and what came behind them. `false` when all would be too many: the
    /// request is refused, if it is not yet, and what came behind it is not to be kept.
    fn count_heads(&mut self, unread: usize, round: &mut Round<'_>) -> bool {
        let fits = self.heads.count(unread);
        if !fits && (self.is_reading() || self.is_whole()) {
            self.heads.is_over();
            self.refuse(Refusal::Busy, round);
        }
        fits
    }

    /// Takes bytes to the end of a request, or all; returns how many.
    fn feed(&mut self, bytes: &[u8], round: &mut Round<'_>) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.is_reading() {
            match self.feed_piece(&bytes[used..], round) {
                Ok(taken) => used += taken,
                Err(refusal) => {
                    self.refuse(refusal, round);
                    // Nothing after it is read as a request.
                    used = bytes.len();
                }
            }
        }
        used
    }

    fn feed_piece(&mut self, bytes: &[u8], round: &mut Round<'_>) -> Result<usize, Refusal> {
        match &mut self.stage {
            Stage::Between => {
                self.stage = Stage::Head(Reader::new(round.options().head_bytes_max), round.now);
                self.is_head = false;
                self.due = round.now + round.options().head_time;
                self.piece_due = round.now + round.options().read_timeout;
                Ok(0)
            }
            Stage::Head(reader, received) => {
                let received = *received;
                let (taken, head) = reader.take(bytes)?;
                self.heads.came(taken);
                if let Some(head) = head {
                    self.head_is(head, received, round)?;
                }
                Ok(taken)
            }
            Stage::Body(coming) => {
                let taken = coming.take(bytes)?;
                if coming.body.is_whole() {
                    self.whole(round);
                }
                Ok(taken)
            }
            Stage::Lingering { left, .. } => {
                *left = left.saturating_sub(bytes.len());
                if *left == 0 {
                    self.stage = Stage::Over;
                }
                Ok(bytes.len())
            }
            _ => Ok(bytes.len()),
        }
    }

    fn head_is(&mut self, head: Head, received: Instant, round: &mut Round<'_>) -> Result<(), Refusal> {
        self.is_head = head.method == "HEAD";
        self.heads.is_whole(head.headers.len());
        if !self.heads.count(0) {
            return Err(Refusal::Busy);
        }
        let bytes_max = round.options().body_bytes_max;
        let capacity = match head.length {
            Length::Bytes(bytes) if bytes > bytes_max => return Err(Refusal::BodyTooLarge),
            Length::Bytes(bytes) => bytes.min(BODY_BYTES_AT_FIRST_MAX),
            Length::Chunks => 0,
        };
        let arriving = Arriving { head: &head, connection: &self.mark };
        let (mark, standing) = match (round.options().admit)(&arriving) {
            Ok(admitted) => admitted,
            Err(response) => {
                self.print(response, head.version, self.is_head, true, round);
                return Ok(());
            }
        };
        if standing == Standing::Known {
            self.stranger = None;
            self.heads.are_known();
        }
        let body = Body::new(head.length, bytes_max);
        let is_empty = body.is_whole();
        if head.expects_continue && !is_empty {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.send(round);
            if self.is_over() {
                return Ok(());
            }
        }
        self.due = round.now + round.options().body_time;
        let held = Held::new(&mut self.heads);
        let bytes = Vec::with_capacity(capacity);
        self.stage = Stage::Body(InBody { head, mark, received, bytes, held, body });
        if is_empty {
            self.whole(round);
        }
        Ok(())
    }

    /// The body has come to its end.
    fn whole(&mut self, round: &Round<'_>) {
        let Stage::Body(coming) = mem::replace(&mut self.stage, Stage::Over) else { return };
        let InBody { head, mark, received, bytes, held, .. } = coming;
        let asked = Asked { is_head: self.is_head, is_last: head.is_last, version: head.version };
        self.stage = Stage::Whole(asked, Some(Request { head, body: bytes, received, mark, held }));
        self.in_hand = Some(InHand::new(round.state));
    }

    /// Returns the request that is whole and not asked yet.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        match &mut self.stage {
            Stage::Whole(_, request) => request.take(),
            _ => None,
        }
    }

    /// Has the whole request answered by this.
    pub(crate) fn ask(&mut self, coming: Coming) {
        self.stage = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Whole(asked, _) => Stage::Answering(coming, asked),
            other => other,
        };
    }

    /// Sends the answer if it is there.
    pub(crate) fn poll(&mut self, round: &mut Round<'_>) {
        let Stage::Answering(coming, _) = &mut self.stage else { return };
        let Poll::Ready(response) = coming.as_mut().poll(&mut Context::from_waker(&self.waker)) else { return };
        let Stage::Answering(_, asked) = mem::replace(&mut self.stage, Stage::Over) else { return };
        let is_last = asked.is_last || round.state.closing.load(SeqCst);
        self.print(response, asked.version, asked.is_head, is_last, round);
    }

    /// Sends a refusal; the connection ends with it.
    pub(crate) fn refuse(&mut self, refusal: Refusal, round: &mut Round<'_>) {
        let response = (round.options().refusal)(refusal);
        self.print(response, Version::Http11, self.is_head, true, round);
    }

    fn print(
        &mut self,
        mut response: Response,
        version: Version,
        is_head: bool,
        is_last: bool,
        round: &mut Round<'_>,
    ) {
        self.held = response.held.take();
        self.due = round.now + round.options().answer_time;
        response.print(&mut self.output, version, is_head, is_last, round.date.text());
        self.stage = Stage::Sending { is_last };
        self.piece_due = round.now + round.options().write_timeout;
        self.send(round);
    }

    /// Sends what there is to send, as far as the client takes it.
    pub(crate) fn send(&mut self, round: &Round<'_>) {
        while self.output_at < self.output.len() {
            match (&self.socket).write(&self.output[self.output_at..]) {
                Ok(0) => return self.stage = Stage::Over,
                Ok(length) => {
                    self.output_at += length;
                    self.piece_due = round.now + round.options().write_timeout;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return,
                    _ => return self.stage = Stage::Over,
                },
            }
        }
        self.output.clear();
        self.output_at = 0;
        if self.output.capacity() > KEPT_BYTES_MAX {
            self.output = Vec::new();
        }
        let Stage::Sending { is_last } = self.stage else { return };
        self.in_hand = None;
        self.held = None;
        self.heads.is_over();
        // It only gives back. While the input is being looked at it is not here; what is left of it is counted then.
        let _ = self.heads.count(self.input.len().saturating_sub(self.input_at));
        if !is_last {
            self.due = round.now + round.options().idle_time;
            return self.stage = Stage::Between;
        }
        // Closing with unread bytes would take the answer from the client.
        let lingering = self.socket.shutdown(Shutdown::Write).ok().and_then(|()| Lingering::new(round.state));
        self.due = round.now + LINGER_TIME;
        self.stranger = None;
        self.stage = lingering
            .map_or(Stage::Over, |counted| Stage::Lingering { left: LINGER_BYTES_MAX, _counted: counted });
    }
}

impl InBody {
    /// Takes bytes to the end of the body, or all, and returns how many.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let piece = self.body.take(bytes)?;
        if !self.held.add(piece.data) {
            return Err(Refusal::Busy);
        }
        self.bytes.extend_from_slice(&bytes[piece.taken - piece.data..piece.taken]);
        Ok(piece.taken)
    }
}
