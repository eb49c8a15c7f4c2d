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
    /// Longest pause between two pieces of either, where one limit or the other ends a request.
    pub(super) pause: Option<Duration>,
}

impl Within {
    /// Returns that all of one part did not come in time, or paused for too long where pauses have a limit too.
    fn slow(self, limit: Duration, what: &str) -> Error {
        let pause = self.pause.map(|pause| format!(", or {} ms without a byte", pause.as_millis()));
        let limit = format!("{} ms for the {what}{}", limit.as_millis(), pause.unwrap_or_default());
        Error::Slow { limit }
    }

    /// Returns that the headers did not come in time.
    pub(super) fn slow_head(self) -> Error {
        self.slow(self.head, "headers")
    }

    /// Returns that the body did not come in time.
    pub(super) fn slow_body(self) -> Error {
        self.slow(self.body, "body")
    }
}

/// Returns that nothing of a body came for so long.
pub(super) fn paused(limit: Duration) -> Error {
    Error::Slow { limit: format!("{} ms without a byte of the body", limit.as_millis()) }
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
        Refusal::HeadSlow => within.slow_head(),
        Refusal::BodySlow => within.slow_body(),
        Refusal::BodyTooLarge => Error::BodyTooLarge { limit: limits.body_bytes_max },
        Refusal::BodyBroken => Error::BodyBroken,
        Refusal::ChunksTooSmall => Error::ChunksTooSmall,
        Refusal::Busy => Error::TooManyAtOnce,
        Refusal::Closing => Error::Failing { reasons: "it is being stopped".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_too_slow_is_told_every_limit_that_may_have_ended_it() {
        let [head, body, pause] = [10, 30, 5].map(Duration::from_secs);
        let limits =
            Limits { body_bytes_max: 1, batch_lines_max: 1, bodies_bytes_max: 1, heads_bytes_max: 1 };
        let said = |refusal, pause| error(refusal, &limits, Within { head, body, pause }).to_string();
        let start = "the request did not come in time: ";
        for (refusal, pause, limit) in [
            (Refusal::HeadSlow, None, "10000 ms for the headers"),
            (Refusal::HeadSlow, Some(pause), "10000 ms for the headers, or 5000 ms without a byte"),
            (Refusal::BodySlow, None, "30000 ms for the body"),
            (Refusal::BodySlow, Some(pause), "30000 ms for the body, or 5000 ms without a byte"),
        ] {
            assert_eq!(said(refusal, pause), format!("{start}{limit}"));
        }
    }
}
