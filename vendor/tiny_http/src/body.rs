//! Where a body ends, found as its bytes come.

use crate::chunks::Chunks;
use crate::head::Length;
use crate::Refusal;

/// A body of which a part has come.
#[derive(Debug)]
pub struct Body(Rest);

#[derive(Debug)]
enum Rest {
    Bytes(usize),
    Chunks(Chunks),
}

/// A piece of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes it took.
    pub taken: usize,
    /// How many of them, the last ones, are the body's; the others are sizes of chunks and the like.
    pub data: usize,
}

impl Body {
    /// Returns a body of this length. Chunks may come to at most `bytes_max` bytes of data; how long a body may be that
    /// says so beforehand is for its receiver to decide.
    pub fn new(length: Length, bytes_max: usize) -> Body {
        Body(match length {
            Length::Bytes(bytes) => Rest::Bytes(bytes),
            Length::Chunks => Rest::Chunks(Chunks::new(bytes_max)),
        })
    }

    /// Returns whether nothing of it is still to come.
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            Rest::Bytes(left) => *left == 0,
            Rest::Chunks(chunks) => chunks.is_done(),
        }
    }

    /// Returns how many bytes it keeps: no more than a line of a chunk's size may have.
    pub fn kept(&self) -> usize {
        match &self.0 {
            Rest::Bytes(_) => 0,
            Rest::Chunks(chunks) => chunks.kept(),
        }
    }

    /// Takes a piece of `bytes`, which are not empty, of a body that is not whole.
    ///
    /// # Errors
    /// The body is refused, whatever follows.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        match &mut self.0 {
            Rest::Bytes(left) => {
                let data = bytes.len().min(*left);
                *left -= data;
                Ok(Piece { taken: data, data })
            }
            Rest::Chunks(chunks) => chunks.take(bytes),
        }
    }
}
