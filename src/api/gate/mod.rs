//! Who may use the local port: judged by a request's head, before its body is read.
//!
//! Two questions, in this order. Which host was asked for: a page of another site whose name leads to this machine asks
//! under that name ([`Hosts`], DNS rebinding). And who asks, as `listen_allow` has it ([`Allow`]): `peer` asks the kernel
//! for the user of a connection when it is accepted, `members` knows who belongs to the group.
//!
//! The Unix socket has its file's mode instead, and the remote side its tokens: neither is judged here.

mod diag;
mod hosts;
mod members;
mod peer;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{getegid, geteuid};
use tiny_http::head::Length;

pub use hosts::Hosts;
use members::Members;
use peer::Lookup;

use super::audit::{self, Lane};
use super::remote::{Access, Folder, Known, Stranger, bearer, needed};
use super::{Error, route};
use crate::engine::clock::Clock;
use crate::engine::service::Caller;
use crate::telemetry::metrics::labels::Route;
use crate::telemetry::words;

/// User number of root.
const ROOT: u32 = 0;

/// Who may use the local port, besides what is open to everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Root, the service's own user and members of its group.
    Group,
    /// Every user of this machine.
    Everyone,
    /// Clients that send a token of the remote side, within its scope.
    Token,
}

impl Allow {
    /// All of them with their words, the default first.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Group, "group"), (Self::Everyone, "everyone"), (Self::Token, "token")];
}

/// How the local port is to be guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Who may use it.
    pub allow: Allow,
    /// Names under which it may be asked, besides those of the loopback interface.
    pub hosts: Hosts,
    /// Folder of the tokens.
    pub folder: PathBuf,
    /// Folder of tokens that the administrator makes.
    pub secrets_dir: Option<PathBuf>,
}

/// Who asks, and by which right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    /// By what shares are counted.
    pub(super) caller: Caller,
    /// The token that let the request in, and where it came from.
    pub(super) token: Option<(Access, IpAddr)>,
}

/// The other end of a connection to the local side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// It came by the socket file. `None` where the system does not say which user it is.
    Socket(Option<u32>),
    /// It came by the port.
    Port {
        /// Its address.
        address: IpAddr,
        /// The user; `None` when it was not asked for or cannot be known.
        user: Option<u32>,
        /// Whether that user may use the port.
        is_allowed: bool,
    },
}

impl Peer {
    /// A peer about which nothing is known.
    pub(super) const NOBODY: Self =
        Self::Port { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), user: None, is_allowed: false };

    /// Returns whether it may do everything, without a token.
    pub(super) fn is_allowed(self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Port { is_allowed, .. } => is_allowed,
        }
    }
}

/// Judges requests.
pub struct Gate {
    allow: Allow,
    hosts: Hosts,
    /// The service's own user.
    user: u32,
    members: Members,
    lookup: Lookup,
    /// Read only where tokens are asked for.
    tokens: Option<Known>,
    /// Room for the lines about what they change.
    audit: Arc<Lane>,
    clock: Arc<dyn Clock>,
}

impl Gate {
    /// Returns a gate for a service of the process's own user and group, which are those of its socket file too.
    ///
    /// # Errors
    /// Tokens are asked for, and their files cannot be read or do not hold what they should.
    pub fn open(options: Options, clock: Arc<dyn Clock>, audit: Arc<Lane>) -> Result<Self, Error> {
        let Options { allow, hosts, folder, secrets_dir } = options;
        let tokens = (allow == Allow::Token)
            .then(|| Known::open(&Folder::at(&folder), secrets_dir.as_deref()))
            .transpose()?;
        if tokens.as_ref().is_some_and(|known| known.count() == 0) {
            tracing::warn!("{}", words::NO_TOKEN);
        }
        let gate = Self {
            allow,
            hosts,
            tokens,
            audit,
            clock,
            user: geteuid().as_raw(),
            members: Members::of_system(getegid().as_raw()),
            lookup: Lookup::new(),
        };
        if allow == Allow::Group
            && let Err(error) = gate.lookup.open()
        {
            tracing::warn!(%error, "{}", words::USERS_UNKNOWN);
        }
        Ok(gate)
    }

    /// Looks once at a new connection to the port. A connection keeps the right that it was accepted with, as one to the
    /// socket file does.
    pub(super) fn meet_port(&self, ours: SocketAddr, theirs: SocketAddr) -> Peer {
        let address = theirs.ip();
        if self.allow != Allow::Group {
            return Peer::Port { address, user: None, is_allowed: self.allow == Allow::Everyone };
        }
        let user = self.lookup.user_of(ours, theirs);
        let is_allowed = user.is_some_and(|user| user == ROOT || user == self.user || self.members.has(user));
        Peer::Port { address, user, is_allowed }
    }

    /// Looks once at a new connection to the socket file, whose mode has let it in.
    pub(super) fn meet_socket(socket: BorrowedFd<'_>) -> Peer {
        Peer::Socket(getsockopt(&socket, PeerCredentials).ok().map(|credentials| credentials.uid()))
    }

    /// Returns who asks, or why the request is refused, with its route. `headers` are all of them.
    pub(super) fn admit<'a>(
        &self,
        peer: Peer,
        method: &str,
        path: &str,
        headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        body: Length,
    ) -> Result<Admitted, (Route, Error)> {
        let (address, user, is_allowed) = match peer {
            Peer::Socket(user) => return Ok(Admitted::user(user)),
            Peer::Port { address, user, is_allowed } => (address, user, is_allowed),
        };
        let route = route::find(method, path).map_or(Route::Other, |found| found.route);
        let named = |wanted: &'static str| {
            let headers = headers.clone().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
            headers.map(|(_, value)| value)
        };
        if let Some(host) = named("host").find(|host| !self.hosts.have(host)) {
            return Err((route, Error::OtherHost { host: super::query::shorten(host) }));
        }
        // What is open to everyone takes no body, whose bytes would be counted among those of all.
        if is_allowed || is_open(route) && body == Length::Bytes(0) {
            return Ok(Admitted::user(user));
        }
        let refused = match (&self.tokens, user) {
            (Some(known), _) => {
                let shown = bearer(named("authorization").map(str::as_bytes));
                match self.access(known, route, shown) {
                    Ok(access) => {
                        return Ok(Admitted { caller: access.caller(), token: Some((access, address)) });
                    }
                    Err(error) => error,
                }
            }
            (None, Some(user)) => Error::User { user, group: self.members.group_name() },
            (None, None) => Error::NoUser,
        };
        Err((route, refused))
    }

    /// Takes room for the line of the audit trail about a request that is to begin now; `None` when it leaves none: it came
    /// without a token, or changes nothing.
    ///
    /// # Errors
    /// There is no room; the request is not to begin.
    pub(super) fn line(
        &self,
        admitted: &Admitted,
        method: &str,
        path: &str,
    ) -> Result<Option<audit::Line>, (Route, Error)> {
        let Some((access, peer)) = admitted.token.clone().filter(|_| !is_read(method)) else {
            return Ok(None);
        };
        let route = route::find(method, path).map_or(Route::Other, |found| found.route);
        let line = self.audit.begin(access, route, peer, self.clock.monotonic_us());
        line.map(Some).map_err(|_| (route, Error::AuditFull))
    }

    /// Returns whose token this is, if it may do what the route does.
    fn access(&self, known: &Known, route: Route, shown: Option<&str>) -> Result<Access, Error> {
        let access =
            known.find(shown.ok_or(Error::NoBearer)?, self.clock.now()).map_err(
                |stranger| match stranger {
                    Stranger::Unknown => Error::UnknownToken,
                    Stranger::Expired(_) => Error::ExpiredToken,
                },
            )?;
        match needed(route) {
            Some(scope) if access.scope < scope => {
                Err(Error::Scope { has: access.scope.word(), needs: scope.word() })
            }
            _ => Ok(access),
        }
    }
}

impl Admitted {
    fn user(user: Option<u32>) -> Self {
        Self { caller: user.map_or(Caller::Local, Caller::User), token: None }
    }
}

fn is_read(method: &str) -> bool {
    method == "GET" || method == "HEAD"
}

/// Returns whether everyone may ask for this: what monitoring needs, and what shows nothing of a case.
pub(super) fn is_open(route: Route) -> bool {
    matches!(route, Route::Health | Route::HealthLive | Route::Metrics)
}
