//! The head reader before hyper: a stream that lets hyper see accepted heads only.
//!
//! Both sides read heads by the same code, [`tiny_http::head`], which is stricter than hyper. What is accepted is written
//! again for hyper, in one form that cannot be taken for anything else; bodies go through as they come, while the same
//! code finds their end. For a request that is refused hyper gets one of ours, and [`Verdict`] says what to answer. So each
//! answer, even to bytes that are not HTTP, is written by hyper, in its turn, with a problem document.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tiny_http::reading::{Read, Reading};
use tiny_http::{LINGER_BYTES_MAX, LINGER_TIME, Refusal, lingering_max};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use super::network::Network;
use super::pace::Pace;
use crate::api::server::HEAD_BYTES_MAX;
use crate::api::shares::{Share, Shares};
use crate::api::unread::{self, Within};
use crate::api::{Error, Limits};
use crate::engine::service::Caller;

/// Bytes read at a time.
const PIECE_BYTES: usize = 8 * 1024;
/// What hyper gets in place of a request that is refused.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";

/// Copies of a head in memory at a time: as it was read and as it is written for hyper, or as hyper has it and as the
/// service does.
const HEAD_COPIES: usize = 2;
/// Bytes that a header takes besides its text: its places in two lists, and its pieces of memory.
const HEADER_BYTES: usize = 256;
/// Bytes of a head that each connection has of its own. So a small head is read, and the token in it seen, whatever
/// others hold back. They are counted with the connection: one that rests takes 26 of its 40 KiB (`remote::many`).
const OWN_BYTES: usize = 8 * 1024;
/// One of so many bytes of all heads is for clients that have shown no token.
const STRANGERS_PART: usize = 2;

/// Why the request was refused that hyper has now, if it was. It is the last of its connection.
#[derive(Debug, Default)]
pub(super) struct Verdict(OnceLock<Refusal>);

impl Verdict {
    /// Returns the error that the client gets.
    pub(super) fn error(&self, limits: &Limits, within: Within) -> Option<Error> {
        self.0.get().map(|refusal| unread::error(*refusal, limits, within))
    }
}

/// A body that is refused, on its way through hyper.
#[derive(Debug, thiserror::Error)]
#[error("the body is refused: {0:?}")]
struct BodyRefused(Refusal);

/// Returns the error that the client gets whose body hyper could not read.
pub(super) fn body_error(error: &hyper::Error, limits: &Limits, within: Within) -> Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let refused = cause.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<BodyRefused>());
    refused.map_or(Error::BodyBroken, |refused| unread::error(refused.0, limits, within))
}

/// Bytes of all heads: clients may hold theirs back as long as they have.
pub(super) struct Room {
    /// For connections whose client has shown a token, shared by token.
    known: Arc<Shares>,
    /// For all others, shared by address.
    strangers: Arc<Shares>,
    /// Addresses that have no share of that: many clients come by one of these.
    proxies: Vec<Network>,
}

impl Room {
    pub(super) fn new(bytes_max: usize, proxies: Vec<Network>) -> Arc<Self> {
        let strangers_max = bytes_max / STRANGERS_PART;
        let known = Shares::new(bytes_max - strangers_max);
        Arc::new(Self { known, strangers: Shares::new(strangers_max), proxies })
    }

    /// Returns an empty part for a client at this address, which has shown that holder's token.
    fn part(&self, holder: Option<Caller>, address: IpAddr) -> Share {
        if holder.is_some() {
            return self.known.none(holder);
        }
        let is_exempt = self.proxies.iter().any(|proxy| proxy.contains(address));
        let network = Caller::Address(Network::of(address).first());
        self.strangers.none((!is_exempt).then_some(network))
    }
}

/// Bytes of the head that a connection holds: from its first byte until its answer is being written.
struct Weight {
    all: Arc<Room>,
    address: IpAddr,
    pace: Arc<Pace>,
    bytes: usize,
    /// What these are beyond the connection's own.
    part: Option<Share>,
}

impl Weight {
    fn new(all: &Arc<Room>, address: IpAddr, pace: Arc<Pace>) -> Self {
        Self { all: Arc::clone(all), address, pace, bytes: 0, part: None }
    }

    /// Counts more bytes of a head, and headers that are whole; returns false when there is no room for them.
    fn add(&mut self, bytes: usize, headers: usize) -> bool {
        self.bytes += bytes * HEAD_COPIES + headers * HEADER_BYTES;
        let Some(beyond) = self.bytes.checked_sub(OWN_BYTES) else { return true };
        let part = self.part.get_or_insert_with(|| self.all.part(self.pace.holder(), self.address));
        part.grow_to(beyond).is_ok()
    }

    fn give_back(&mut self) {
        self.bytes = 0;
        self.part = None;
    }
}

/// A stream of accepted requests.
pub(super) struct Heads<S> {
    stream: S,
    reading: Reading,
    verdict: Arc<Verdict>,
    weight: Weight,
    /// What has come and was not looked at.
    input: Vec<u8>,
    input_at: usize,
    /// What hyper is to get next.
    output: Vec<u8>,
    output_at: usize,
    /// Whether hyper gets no more.
    is_over: bool,
    /// Whether the client sends no more, or is gone.
    has_ended: bool,
}

impl<S> Heads<S> {
    /// Returns the requests of a stream from this address whose client is where `pace` says. Its heads take of the bytes
    /// of `all`.
    pub(super) fn new(
        stream: S,
        verdict: Arc<Verdict>,
        body_bytes_max: usize,
        all: &Arc<Room>,
        (address, pace): (IpAddr, Arc<Pace>),
    ) -> Self {
        Self {
            stream,
            weight: Weight::new(all, address, pace),
            reading: Reading::new(HEAD_BYTES_MAX, body_bytes_max),
            verdict,
            input: Vec::new(),
            input_at: 0,
            output: Vec::new(),
            output_at: 0,
            is_over: false,
            has_ended: false,
        }
    }

    /// Looks at a part of what has come.
    fn feed(&mut self) -> io::Result<()> {
        let bytes = &self.input[self.input_at..];
        let is_in_body = self.reading.is_in_body();
        let taken = match self.reading.take(bytes) {
            Ok(Read::More(taken)) => {
                if !self.weight.add(taken, 0) {
                    self.refuse(Refusal::Busy);
                    return Ok(());
                }
                taken
            }
            Ok(Read::Head(taken, head)) => {
                if !self.weight.add(taken, head.headers.len()) {
                    self.refuse(Refusal::Busy);
                    return Ok(());
                }
                head.print(&mut self.output);
                taken
            }
            Ok(Read::Body(piece)) => {
                self.output.extend_from_slice(&bytes[..piece.taken]);
                piece.taken
            }
            Err(refusal) if is_in_body => {
                self.is_over = true;
                return Err(io::Error::new(io::ErrorKind::InvalidData, BodyRefused(refusal)));
            }
            Err(refusal) => {
                self.refuse(refusal);
                return Ok(());
            }
        };
        self.input_at += taken;
        if self.input_at == self.input.len() {
            // A connection that rests keeps no memory for it.
            self.input = Vec::new();
            self.input_at = 0;
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.is_over = true;
        self.weight.give_back();
        // It is the first, because nothing is read after it.
        let _ = self.verdict.0.set(refusal);
        self.output.extend_from_slice(REFUSED);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let heads = &mut *self;
        loop {
            if heads.output_at < heads.output.len() {
                let left = &heads.output[heads.output_at..];
                let count = left.len().min(bytes.remaining());
                bytes.put_slice(&left[..count]);
                heads.output_at += count;
                if heads.output_at == heads.output.len() {
                    heads.output = Vec::new();
                    heads.output_at = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if heads.is_over {
                return Poll::Ready(Ok(()));
            }
            if heads.input_at < heads.input.len() {
                heads.feed()?;
                continue;
            }
            let mut space = [0; PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut heads.stream).poll_read(context, &mut piece)) {
                Ok(()) if piece.filled().is_empty() => {
                    heads.has_ended = true;
                    heads.is_over = true;
                }
                Ok(()) => heads.input.extend_from_slice(piece.filled()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && heads.reading.is_in_head() => {
                    heads.refuse(Refusal::HeadSlow);
                }
                Err(error) => {
                    heads.has_ended = true;
                    heads.is_over = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // An answer, and not the word that the body may come: hyper has done with the head.
        if !self.reading.is_in_body() && !self.reading.is_in_head() {
            self.weight.give_back();
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How many connections are kept only for their clients to see the last answer.
#[derive(Debug)]
pub(super) struct Lingering {
    count: AtomicUsize,
    max: usize,
}

/// One of them.
struct Counted<'a>(&'a Lingering);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lingering {
    /// Returns that none is, where there may be so many connections.
    pub(super) fn new(connections_max: usize) -> Self {
        Self { count: AtomicUsize::new(0), max: lingering_max(connections_max) }
    }

    fn count(&self) -> Option<Counted<'_>> {
        let counted = Counted(self);
        (self.count.fetch_add(1, Ordering::Relaxed) < self.max).then_some(counted)
    }

    /// Reads and drops what the client of an ended connection still sends, within limits: closing with unread bytes would
    /// take the last answer from it. The connection holds no place among requests meanwhile.
    pub(super) async fn see_off<S>(&self, mut heads: Heads<S>, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // The last answer is written, or never will be.
        heads.weight.give_back();
        let Some(_counted) = self.count().filter(|_| !heads.has_ended) else { return };
        let drain = async {
            // hyper has done it unless it gave up.
            let _ = heads.shutdown().await;
            let mut space = vec![0; PIECE_BYTES];
            let mut left = LINGER_BYTES_MAX;
            while left > 0 {
                match heads.stream.read(&mut space).await {
                    Ok(count) if count > 0 => left = left.saturating_sub(count),
                    _ => return,
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(LINGER_TIME, drain) => {}
            _ = stop.wait_for(|is_stopping| *is_stopping) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_quarter_of_the_connections_linger() {
        for (connections_max, most) in
            [(1, 4), (16, 4), (40, 10), (1_024, 256), (100_000, tiny_http::LINGERING_MAX)]
        {
            let lingering = Lingering::new(connections_max);
            let mut kept: Vec<_> = std::iter::from_fn(|| lingering.count()).take(most + 10).collect();
            assert_eq!(kept.len(), most, "of {connections_max} connections");
            kept.pop();
            assert!(lingering.count().is_some(), "one that has ended gives its place back");
        }
    }
}
