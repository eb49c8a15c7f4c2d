//! The running service: shards, waves, threads, clock, queues, group commit, and carrying out of effects.
//!
//! Start at [`running::Engine`], which puts everything together, or at [`shard::Shard`] and [`writer::Writer`], the
//! two state machines that threads only drive. [`service::Service`] is what clients' requests see. No workflow rule
//! lives here (`case` has them) and no file format (`store` has them).

mod answers;
pub mod archiving;
mod auto;
pub mod budget;
pub mod client;
pub mod clock;
mod cold;
pub mod cost;
pub mod fold;
pub mod keeping;
pub mod loading;
mod locked;
pub mod long_expressions;
pub mod memory;
mod meter;
pub mod offline;
pub mod past;
pub mod pending;
pub mod places;
pub mod prepare;
pub mod proof;
pub mod queries;
pub mod queues;
pub mod record;
pub mod registry;
pub mod request;
pub mod restoring;
pub mod room;
pub mod running;
mod scrub;
pub mod service;
pub mod shard;
pub mod shared;
pub mod tables;
mod telling;
pub mod threads;
pub mod ticket;
pub mod traced;
pub mod turn;
pub mod unpacking;
pub mod writer;

pub use locked::advise;
pub use meter::ticks;
pub use threads::HotCores;

/// Bounds and times of an engine. `config` fills it; nothing has a default here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where hot threads run.
    pub hot_cores: HotCores,
    /// Budget of a step in ticks; the service warns beyond it.
    pub hot_path_ticks_max: u64,
    /// Most microseconds that a command on one case may take.
    pub command_us_max: u64,
    /// Most microseconds that a batch, a registration or a list may take.
    pub bulk_us_max: u64,
    /// Most steps that automated tasks take by themselves after one command; then there is an incident.
    pub automated_steps_max: u32,
    /// Most bytes of one frame of the journal.
    pub frame_bytes_max: usize,
    /// Bounds on answers.
    pub answers: room::Limits,
    /// Most requests that wait for one shard.
    pub shard_requests_max: usize,
    /// Most durable frames that the follower may lag behind before requests are answered Busy.
    pub follower_lag_max: u64,
    /// Clients' keys are kept so long, in microseconds.
    pub key_us: u64,
    /// Most bytes that the queues hold.
    pub queues: queues::Queues,
    /// Bytes for cases in memory, all shards together; beyond that idle ones leave and are read back when asked for.
    pub cache_bytes: usize,
    /// Most clients' keys that are kept.
    pub keys_max: usize,
    /// A checkpoint is made when the journal has grown by so many bytes.
    pub checkpoint_bytes: u64,
    /// A checkpoint is made so many microseconds after a change.
    pub checkpoint_us: u64,
    /// A closed case is archived when it has not changed for so long, in microseconds; 0 is never.
    pub archive_after_us: u64,
    /// The service takes no changes when fewer bytes are free for the state.
    pub reserve_bytes: u64,
}
