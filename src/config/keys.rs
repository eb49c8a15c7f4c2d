//! The table of all keys, and the struct that it fills.

#![expect(clippy::doc_markdown, reason = "these sentences are also shown to people, outside Markdown")]

use std::net::SocketAddr;
use std::path::PathBuf;

use super::value::{Cores, FromValue, Rule, Span, Value, flag, integer, text};
use crate::api::gate::Allow;
use crate::engine::memory::Bound;
use crate::store;
use crate::telemetry::logs::LogLevel;

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Name in the file, with its unit at the end.
    pub name: &'static str,
    /// What values it takes.
    pub rule: Rule,
    /// Value when no file sets it.
    pub default: Value,
    /// What it is for, in one sentence.
    pub doc: &'static str,
    /// First version that knows it.
    pub since: &'static str,
    /// What has to happen before another value holds.
    pub takes: Takes,
}

/// When a changed value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// When the service is started again.
    Restart,
    /// When the service reads its files again: `knhk config set`, `systemctl reload knhk`.
    Reload,
    /// With the next command: the service has no use for it.
    Command,
}

impl Takes {
    /// Returns the word for it, in the documentation and in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Command => "next command",
        }
    }
}

/// Says when a key takes effect: the word after its version, and without one a restart, which is right of every key.
macro_rules! takes {
    () => {
        Takes::Restart
    };
    ($takes:ident) => {
        Takes::$takes
    };
}

/// Writes the struct, the table and the filling of the one from values in the order of the other.
macro_rules! keys {
    ($($name:ident: $type:ty = $default:expr, $rule:expr, $since:literal $(, $takes:ident)?, $doc:literal;)+) => {
        /// The configuration: every key with a value that its rule allows.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $(#[doc = $doc] pub $name: $type,)+
            /// How much memory the service may take; `None` where the system does not tell.
            pub memory: Option<Bound>,
        }

        /// All keys, in the order of the documentation.
        pub static KEYS: &[Key] = &[$(
            Key {
                name: stringify!($name),
                rule: $rule,
                default: $default,
                doc: $doc,
                since: $since,
                takes: takes!($($takes)?),
            },
        )+];

        impl Config {
            /// Returns the configuration of `values`, which stand in the order of [`KEYS`] and keep its rules, on a machine
            /// with so much memory.
            pub(super) fn from_values(values: &[Value], memory: Option<Bound>) -> Self {
                let mut values = values.iter();
                Self {
                    $($name: <$type>::from_value(values.next().expect("invariant: one value for each key")),)+
                    memory,
                }
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

keys! {
    hot_path_max_ticks: u64 = integer(8), Rule::Integer(1, 4_096), "0.1.0", Reload,
        "Budget of one step on the hot path, in ticks of the time-stamp counter.";
    hot_path_cores: Cores = text("auto"), Rule::Cores, "0.1.0",
        "Cores of the hot threads: auto, none (not pinned), or a list such as 2,3 or 2-5.";
    warm_path_timeout_ms: u64 = integer(100), Rule::Integer(1, 60_000), "0.1.0", Reload,
        "Longest time of a command on one case; a later answer says that its outcome is unknown.";
    bulk_timeout_ms: u64 = integer(10_000), Rule::Integer(1, 600_000), "0.1.0", Reload,
        "Longest time of a batch, a registration or a list.";
    cache_size_mb: u64 = integer(512), Rule::Integer(16, 1_048_576), "0.1.0", Reload,
        "Memory for live cases; beyond it those that nobody has asked for lately are read back when they are asked for.";
    automated_steps_max: u64 = integer(10_000), Rule::Integer(1, 10_000_000), "0.1.0", Reload,
        "Automated steps that one command may cause; beyond that the case becomes an incident.";

    listen: SocketAddr = text("127.0.0.1:8080"), Rule::Loopback, "0.1.0",
        "Address of the HTTP interface; only loopback addresses are allowed.";
    listen_allow: Allow = text("group"), Rule::Allow, "0.1.0",
        "Who may use listen: group (root, the service's own user, members of its group), everyone, or token (clients with a valid token of knhk token create); /health and /metrics are open in any case.";
    allowed_hosts: String = text(""), Rule::Names, "0.1.0",
        "Names and addresses by which clients may ask on listen, besides those of the loopback interface; without ports.";
    socket: PathBuf = text("/run/knhk/knhk.sock"), Rule::Path, "0.1.0",
        "Unix socket that the commands use.";
    http_workers: u64 = integer(128), Rule::Integer(1, 1_024), "0.1.0",
        "Threads for HTTP requests that wait for more than their case: reads, registrations, batches; more wait.";
    body_bytes_max: u64 = integer(2 * MIB), Rule::Integer(4 * KIB, 256 * MIB), "0.1.0",
        "Largest body of an HTTP request; not more than frame_bytes_max.";
    batch_lines_max: u64 = integer(10_000), Rule::Integer(1, 1_000_000), "0.1.0",
        "Most lines of one POST /batch.";
    answer_bytes_max: u64 = integer(16 * MIB), Rule::Integer(MIB, GIB), "0.1.0", Reload,
        "Largest answer; lists end early, and what was done is told in short, where more would be needed.";
    answers_bytes_max: u64 = integer(128 * MIB), Rule::Integer(16 * MIB, 64 * GIB), "0.1.0", Reload,
        "Memory of all answers under way, with what they are made of; beyond it answers are short, or busy.";
    client_timeout_ms: u64 = integer(30_000), Rule::Integer(100, 3_600_000), "0.1.0", Command,
        "Longest time that a command of the command line waits for the service.";

    remote_listen: Option<SocketAddr> = text(""), Rule::Address, "0.1.0",
        "Address for other machines, by TLS and with tokens (knhk token create); empty is off.";
    remote_certificate: Option<PathBuf> = text(""), Rule::PathOrNone, "0.1.0",
        "PEM file of the certificate for remote_listen, the chain after it; empty is one that signs itself, made in remote_dir.";
    remote_key: Option<PathBuf> = text(""), Rule::PathOrNone, "0.1.0",
        "PEM file of the key of remote_certificate.";
    remote_names: String = text(""), Rule::Names, "0.1.0",
        "Names and addresses in a certificate that signs itself, besides the machine's own.";
    remote_dir: PathBuf = text("/var/lib/knhk-remote"), Rule::Path, "0.1.0",
        "Folder of the tokens and of a certificate that signs itself; not part of the state, so that no backup brings revoked tokens back.";
    remote_secrets_dir: Option<PathBuf> = text(""), Rule::PathOrNone, "0.1.0",
        "Folder of further tokens in files knhk-read, knhk-work and knhk-admin, one each, as containers and systemd hand secrets over.";
    remote_plain_http: bool = flag(false), Rule::Flag, "0.1.0",
        "Whether remote_listen goes without TLS: only inside a container's own network, tokens can be read on their way.";
    remote_connections_max: u64 = integer(10_240), Rule::Integer(1, 65_536), "0.1.0",
        "Connections from other machines; a quarter of them is for those that have not shown a token.";
    remote_address_connections_max: u64 = integer(256), Rule::Integer(1, 65_536), "0.1.0",
        "Connections of one address (IPv6: of one /64) that have not shown a token; more are closed at once.";
    remote_proxies: String = text(""), Rule::Networks, "0.1.0",
        "Addresses and networks by which many clients come: remote_address_connections_max does not hold for them.";
    remote_requests_max: u64 = integer(512), Rule::Integer(1, 4_096), "0.1.0",
        "Requests from other machines that are answered at a time, shared by token; more are refused with 503.";

    state_dir: PathBuf = text("/var/lib/knhk"), Rule::Path, "0.1.0",
        "Folder of the state: journal, history, snapshots, archive.";
    cache_dir: PathBuf = text("/var/cache/knhk"), Rule::Path, "0.1.0",
        "Folder of what can be made anew from the state.";
    segment_bytes: u64 = integer(64 * MIB), Rule::Integer(64 * KIB, GIB), "0.1.0",
        "Size of one file of the journal.";
    frame_bytes_max: u64 = integer(4 * MIB), Rule::Integer(16 * KIB, store::FRAME_BYTES_MAX as u64), "0.1.0",
        "Largest commit; not more than half of segment_bytes.";
    checkpoint_bytes: u64 = integer(256 * MIB), Rule::Integer(MIB, 64 * GIB), "0.1.0", Reload,
        "Growth of the journal after which the working environment is brought up to date.";
    checkpoint_seconds: u64 = integer(60), Rule::Integer(1, 3_600), "0.1.0", Reload,
        "Longest time from a change to the checkpoint that holds it.";
    disk_reserve_mb: u64 = integer(256), Rule::Integer(1, 1_048_576), "0.1.0", Reload,
        "Free space below which the service takes no changes until there is more.";

    shard_requests_max: u64 = integer(4_096), Rule::Integer(1, 1_048_576), "0.1.0", Reload,
        "Single commands that may wait for one shard, and as many lines of batches; beyond that the answer is busy.";
    follower_lag_frames_max: u64 = integer(65_536), Rule::Integer(1, 16_777_216), "0.1.0", Reload,
        "Durable frames that lists may lag behind; beyond that the answer is busy.";
    idempotency_hours: u64 = integer(24), Rule::Integer(1, 8_760), "0.1.0", Reload,
        "How long the key of a request is remembered.";
    idempotency_keys_max: u64 = integer(4_000_000), Rule::Integer(1, 1_000_000_000), "0.1.0", Reload,
        "Keys of clients that are remembered at a time, 49 bytes of memory each; one caller may have three quarters, and beyond that the answer is busy.";

    backup_dir: PathBuf = text("/var/backups/knhk"), Rule::Path, "0.1.0", Command,
        "Folder of the backups.";
    backup_retain_days: u64 = integer(30), Rule::Integer(1, 36_500), "0.1.0", Command,
        "Days after which a backup is deleted.";
    backup_grace_hours: Span = integer(24), Rule::Hours(8_760), "0.1.0", Reload,
        "How long a state file stays after it is no longer needed, so that running copies stay whole.";
    archive_after_days: u64 = integer(0), Rule::Integer(0, 36_500), "0.1.0", Reload,
        "Days after which a closed case is archived; 0 is never.";

    otel_enabled: bool = flag(true), Rule::Flag, "0.1.0",
        "Whether spans and figures go to a collector.";
    otel_endpoint: String = text("http://127.0.0.1:4317"), Rule::Url, "0.1.0",
        "Address of the collector; host as a number, because no name is looked up.";
    otel_traces_per_second_max: u64 = integer(100), Rule::Integer(0, 1_000_000), "0.1.0",
        "Requests in one second that have spans, and commands of a batch each; what is beyond has none and is counted.";
    log_level: LogLevel = text("info"), Rule::LogLevel, "0.1.0", Reload,
        "How much the log says; KNHK_LOG overrides it.";
    log_lines_per_second_max: u64 = integer(200), Rule::Integer(1, 100_000), "0.1.0", Reload,
        "Log lines a second; what is beyond is dropped and counted.";
}
