//! The requests of a connection, one after the other, as its bytes come.

use crate::body::{Body, Piece};
use crate::head::{Head, Reader};
use crate::Refusal;

/// Where the reading of a connection stands. Pure, as [`Reader`] is: for a server that has its own way of waiting.
#[derive(Debug)]
pub struct Reading {
    head_bytes_max: usize,
    body_bytes_max: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Between,
    Head(Reader),
    Body(Body),
}

/// What became of bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// So many belong to a head that is not whole yet.
    More(usize),
    /// So many, and the head is whole. What follows is its body, unless that is empty.
    Head(usize, Box<Head>),
    /// A piece of a body.
    Body(Piece),
}

impl Reading {
    /// Returns the reading of a new connection. A body whose length is said may be longer than `body_bytes_max`: whether
    /// such a one is wanted is for the server to decide, before it asks for bytes of it.
    pub fn new(head_bytes_max: usize, body_bytes_max: usize) -> Reading {
        Reading { head_bytes_max, body_bytes_max, stage: Stage::Between }
    }

    /// Returns whether a head has begun and is not whole.
    pub fn is_in_head(&self) -> bool {
        matches!(self.stage, Stage::Head(_))
    }

    /// Returns whether a body has begun and is not whole.
    pub fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Body(_))
    }

    /// Returns how many bytes of what came are kept: no more than a head may have.
    pub fn kept(&self) -> usize {
        match &self.stage {
            Stage::Between => 0,
            Stage::Head(reader) => reader.kept(),
            Stage::Body(body) => body.kept(),
        }
    }

    /// Takes a piece of `bytes`, which are not empty.
    ///
    /// # Errors
    /// The request is refused. Nothing after it can be read as a request.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Read, Refusal> {
        if matches!(self.stage, Stage::Between) {
            self.stage = Stage::Head(Reader::new(self.head_bytes_max));
        }
        match &mut self.stage {
            Stage::Between => Ok(Read::More(0)),
            Stage::Head(reader) => {
                let (taken, head) = reader.take(bytes)?;
                let Some(head) = head else { return Ok(Read::More(taken)) };
                let body = Body::new(head.length, self.body_bytes_max);
                self.stage = if body.is_whole() { Stage::Between } else { Stage::Body(body) };
                Ok(Read::Head(taken, Box::new(head)))
            }
            Stage::Body(body) => {
                let piece = body.take(bytes)?;
                if body.is_whole() {
                    self.stage = Stage::Between;
                }
                Ok(Read::Body(piece))
            }
        }
    }
}
