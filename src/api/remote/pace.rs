//! How long a connection may take: a stream that gives up when its client pauses for too long.
//!
//! hyper has one time limit, for a request's head, and lets it run between requests too. A connection that has shown a
//! token may rest for a while, one that has not ends at a fixed moment whatever it sends, and a client that does not take
//! its answer has to go as well.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Times;
use crate::engine::service::Caller;

/// Where a connection stands, told by whoever answers its requests.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Twice the number of requests answered, plus one while one is being answered.
    turn: AtomicU64,
    /// Whose token the client has shown.
    holder: Mutex<Option<Caller>>,
}

impl Pace {
    /// The head of a request is complete: until it is answered, its client is waited for elsewhere.
    pub(super) fn begin(&self) {
        self.turn.fetch_or(1, Ordering::Relaxed);
    }

    /// The client has shown a good token, or has asked for something without one.
    pub(super) fn know(&self, holder: Option<Caller>) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = holder;
    }

    /// Returns whose token the client has shown.
    pub(super) fn holder(&self) -> Option<Caller> {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known(&self) -> bool {
        self.holder().is_some()
    }

    /// The answer is on its way.
    pub(super) fn end(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the time limit for reading is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For the first byte of the request after this turn.
    Rest(u64),
    /// For the rest of that request's head.
    Head(u64),
}

/// A stream with time limits.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    times: Times,
    waits: Option<Waits>,
    /// When a stranger's connection ends. It runs on while the client is known.
    stranger: Pin<Box<Sleep>>,
    was_known: bool,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    /// Until when the client has to have taken all of an answer that it does not take at once.
    answering: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Returns a stream whose client has to show a token until `end`.
    pub(super) fn new(stream: S, pace: Arc<Pace>, times: Times, end: Instant) -> Self {
        let stranger = Box::pin(tokio::time::sleep_until(end));
        let reading = Box::pin(tokio::time::sleep_until(end));
        Self {
            stream,
            pace,
            times,
            waits: None,
            stranger,
            was_known: false,
            reading,
            writing: None,
            answering: None,
        }
    }

    /// Returns whether the time of a client that has shown no token is over. One that is a stranger again has as much
    /// time as a new one.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let is_known = self.pace.is_known();
        if self.was_known && !is_known {
            self.stranger.as_mut().reset(Instant::now() + self.times.first);
        }
        self.was_known = is_known;
        !is_known && self.stranger.as_mut().poll(context).is_ready()
    }

    /// Lets the time for reading run anew when what is waited for has changed.
    fn wait_for(&mut self, waits: Waits, limit: Duration) {
        if self.waits != Some(waits) {
            self.waits = Some(waits);
            self.reading.as_mut().reset(Instant::now() + limit);
        }
    }

    fn rest_time(&self) -> Duration {
        if self.pace.is_known() { self.times.idle } else { self.times.first }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let paced = &mut *self;
        let turn = paced.pace.turn.load(Ordering::Relaxed);
        let is_answering = turn % 2 == 1;
        // What is being answered comes to its end first.
        if !is_answering && paced.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !is_answering && paced.waits != Some(Waits::Head(turn)) {
            paced.wait_for(Waits::Rest(turn), paced.rest_time());
        }
        let before = bytes.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut paced.stream).poll_read(context, bytes) {
            if !is_answering && bytes.filled().len() > before {
                paced.wait_for(Waits::Head(turn), paced.times.head);
            }
            return Poll::Ready(read);
        }
        if is_answering {
            return Poll::Pending;
        }
        ready!(paced.reading.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Returns what a write came to; one that waits for too long has failed, and so has one of a stranger whose time is
    /// over.
    fn written<T>(&mut self, wrote: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.writing = None;
            return wrote;
        }
        let limit = self.times.answer;
        let answering = self.answering.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if answering.as_mut().poll(context).is_ready() || self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let limit = self.times.write_pause;
        let writing = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(writing.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(wrote, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            // All of the answer is out.
            self.answering = None;
        }
        self.written(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(shut, context)
    }
}
