//! What the client gets whose request could not be read: the same on both sides.

use std::time::Duration;

use tiny_http::Refusal;
use tiny_http::head::HEADERS_MAX;

use super::server::HEAD_BYTES_MAX;
use super::{Error, Limits};

/// How long a request may take, for the message of one that took longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within {
    /// For request line and headers.
    pub(super) head: Duration,
    /// For the body.
    pub(super) body: Duration,
}

/// Returns what was wrong with a request that was not read.
pub(super) fn error(refusal: Refusal, limits: &Limits, within: Within) -> Error {
    match refusal {
        Refusal::RequestLine => Error::Http { what: "the request line" },
        Refusal::Header => Error::Http { what: "a header" },
        Refusal::Length => Error::Http { what: "how long the body is" },
        Refusal::Version => Error::Http { what: "the version of HTTP" },
        Refusal::Twice(name) => Error::HeaderTwice { name },
        Refusal::Host => Error::Host,
        Refusal::Expectation => Error::Expectation,
        Refusal::HeadTooLarge => {
            Error::HeadTooLarge { bytes_limit: HEAD_BYTES_MAX, count_limit: HEADERS_MAX }
        }
        Refusal::HeadSlow => slow(within.head),
        Refusal::BodySlow => slow(within.body),
        Refusal::BodyTooLarge => Error::BodyTooLarge { limit: limits.body_bytes_max },
        Refusal::BodyBroken => Error::BodyBroken,
        Refusal::ChunksTooSmall => Error::ChunksTooSmall,
        Refusal::Busy => Error::TooManyAtOnce,
        Refusal::Closing => Error::Failing { reasons: "it is being stopped".to_owned() },
    }
}

/// Returns that a request did not come in time.
pub(super) fn slow(limit: Duration) -> Error {
    Error::Slow { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}
