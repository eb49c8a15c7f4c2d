//! The audit trail: a line for each request with a token that may change something, by the remote side or by the port.
//!
//! Room for the line is taken before the request is begun, so no change goes without its line because too many came.
//! These lines have a lane of their own in the log ([`AUDIT`](crate::telemetry::logs::AUDIT)), which others cannot fill.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::remote::Access;
use super::shares::{Held, Lack};
use crate::telemetry::logs::AUDIT;
use crate::telemetry::metrics::labels::{Label, Route};
use crate::telemetry::words;

/// Most lines of the audit trail in a second. One token has at most half, and that is more requests one by one than the
/// thread of the remote side answers; many changes at a time are one request, `POST /batch`, and one line.
pub const AUDIT_LINES_PER_SECOND_MAX: usize = 20_000;

/// Room for lines, second by second, shared by token: one for all servers of a service.
#[derive(Debug)]
pub struct Lane {
    lines_per_second_max: usize,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    second: u64,
    held: Held,
}

impl Lane {
    /// Returns one with room for so many lines in a second.
    pub fn new(lines_per_second_max: usize) -> Self {
        Self { lines_per_second_max, window: Mutex::default() }
    }

    /// Takes room for the line of a request that is to begin now. Never waits.
    pub(super) fn begin(
        &self,
        access: Access,
        route: Route,
        peer: IpAddr,
        now_us: u64,
    ) -> Result<Line, Lack> {
        let second = now_us / 1_000_000;
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.second != second {
            *window = Window { second, held: Held::default() };
        }
        window.held.take(access.caller(), 1, self.lines_per_second_max)?;
        Ok(Line { token: access.name, route, peer, status: None })
    }
}

/// The line of one request. It is written when this is dropped, also when nobody waited for the answer.
#[derive(Debug)]
pub(super) struct Line {
    token: Arc<str>,
    route: Route,
    peer: IpAddr,
    status: Option<u16>,
}

impl Line {
    /// Writes the line of a request that was answered.
    pub(super) fn end(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { token, route, peer, status } = self;
        let route = route.value();
        match status {
            Some(status) => {
                tracing::info!(target: AUDIT, %token, route, status, %peer, "{}", words::REMOTE_CHANGE);
            }
            None => {
                tracing::info!(target: AUDIT, %token, route, status = "unknown", %peer, "{}", words::REMOTE_CHANGE);
            }
        }
    }
}
