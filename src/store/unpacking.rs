//! How much is unpacked at a time: of one request, and of all together. Bytes are asked for before they are there, so that
//! what somebody packed small never becomes large first and refused afterwards.

use std::fmt;

use super::past::{CASE_HISTORY_BYTES_MAX, CaseHistory};

/// Most bytes of memory that what one request gives or asks for may unpack to, histories that lie within each other
/// together: the longest history, and what its entries take beside what they say.
pub const UNPACKED_BYTES_MAX: usize = CASE_HISTORY_BYTES_MAX + CASE_HISTORY_BYTES_MAX / 4;

/// What bounds the bytes that all requests unpack together.
pub trait Room: fmt::Debug + Send + Sync {
    /// Begins with no bytes.
    fn begin(&self) -> Box<dyn Held>;
    /// Returns how many bytes there are for all: what one request needs beyond that is never there.
    fn limit_bytes(&self) -> usize;
}

/// Bytes taken from a [`Room`]; given back when this is dropped.
pub trait Held: fmt::Debug + Send {
    /// Takes more until these are `bytes`; returns false, and takes nothing, when fewer are left.
    fn grow_to(&mut self, bytes: usize) -> bool;
    /// Gives back all but `bytes`.
    fn shrink_to(&mut self, bytes: usize);
}

/// Why something was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotUnpacked {
    /// It is not what was packed.
    Damaged(String),
    /// It unpacks to more than one request may.
    TooMuch {
        /// How much that is.
        limit_bytes: usize,
    },
    /// Others unpack so much just now that there is no room.
    Busy,
}

impl fmt::Display for NotUnpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(reason) => f.write_str(reason),
            Self::TooMuch { limit_bytes } => write!(f, "it unpacks to more than {limit_bytes} bytes"),
            Self::Busy => f.write_str("too much is being unpacked at once"),
        }
    }
}

impl From<String> for NotUnpacked {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

impl From<&str> for NotUnpacked {
    fn from(reason: &str) -> Self {
        Self::Damaged(reason.to_owned())
    }
}

impl From<NotUnpacked> for String {
    fn from(error: NotUnpacked) -> Self {
        error.to_string()
    }
}

/// What one request has unpacked and still holds.
#[derive(Debug)]
pub struct Unpacking {
    held: Option<Box<dyn Held>>,
    bytes: usize,
    bytes_most: usize,
    limit_bytes: usize,
}

impl Unpacking {
    /// Returns one that unpacks up to `limit_bytes`, within what `room` has for all.
    pub fn within(limit_bytes: usize, room: &dyn Room) -> Self {
        let limit_bytes = limit_bytes.min(room.limit_bytes());
        Self { held: Some(room.begin()), bytes: 0, bytes_most: 0, limit_bytes }
    }

    /// Returns one that unpacks up to `limit_bytes`, where nobody else does.
    pub fn alone(limit_bytes: usize) -> Self {
        Self { held: None, bytes: 0, bytes_most: 0, limit_bytes }
    }

    /// Returns one for what the store has taken in before, within these bounds: it is folded again whenever it is read,
    /// one history at a time.
    pub fn known() -> Self {
        Self { held: None, bytes: 0, bytes_most: 0, limit_bytes: usize::MAX }
    }

    /// Returns how many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many bytes it may hold.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Returns the most bytes that it held at a time.
    pub fn bytes_most(&self) -> usize {
        self.bytes_most
    }

    /// Takes more bytes, which are needed next.
    ///
    /// # Errors
    /// There are not so many left, of its own or of all.
    pub fn take(&mut self, more: usize) -> Result<(), NotUnpacked> {
        let bytes = self.bytes.saturating_add(more);
        if bytes > self.limit_bytes {
            return Err(NotUnpacked::TooMuch { limit_bytes: self.limit_bytes });
        }
        if self.held.as_mut().is_some_and(|held| !held.grow_to(bytes)) {
            return Err(NotUnpacked::Busy);
        }
        self.bytes = bytes;
        self.bytes_most = self.bytes_most.max(bytes);
        Ok(())
    }

    /// Gives back all but `bytes`.
    pub fn give_back_to(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
        if let Some(held) = &mut self.held {
            held.shrink_to(self.bytes);
        }
    }

    /// Unpacks what [`CaseHistory::pack`] returned; its bytes stay taken.
    ///
    /// # Errors
    /// It is damaged, or there is no room for what it unpacks to.
    pub fn history(&mut self, packed: &[u8]) -> Result<CaseHistory, NotUnpacked> {
        CaseHistory::unpack_within(packed, self)
    }
}
