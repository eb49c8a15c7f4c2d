//! From rows to shards, at start: specifications compiled, keys known, and which cases have something to do. No case is
//! taken into memory here: each is when it is asked for, or has its turn to go on.

use std::sync::Arc;

use super::Options;
use super::places::Places;
use super::record;
use super::record::{Maker, Record, Registration};
use super::registry::{Registered, Registry};
use super::request::FRAME_HEAD_BYTES;
use super::shard::{self, Progress, SERVICE_KEY_US, SERVICE_KEYS_MAX, Shard, Start};
use super::tables::{self, KeyRow, PartitionRow};
use super::turn::Limits;
use crate::case::effort;
use crate::id::{CaseId, PARTITION_COUNT, Partition, Time};
use crate::net;
use crate::spec::tree::Specification;
use crate::store::{self, Disk, Follower, JournalReader, Table, Tables};

/// Keys that the service made are looked for in so many frames at the journal's end: a frame holds one at least, and
/// a shard remembers no more of them.
const SERVICE_KEY_FRAMES_MAX: u64 = SERVICE_KEYS_MAX as u64;
/// Bytes of a frame that are kept for what a command's entry holds besides its events, and for those that end it.
pub const COMMAND_HEAD_BYTES: usize = 4_096;
/// An OR-join is searched for on the shard within so many states; beyond them its case is parked.
pub const JUDGED_STATES_MAX: usize = 64;
/// Tables that are loaded whole, and whose sums are checked then.
pub const LOADED: [Table; 4] = [tables::SPECS, tables::KEYS, tables::PARTITIONS, tables::UNFINISHED];

/// Why shards could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Rows are damaged or do not fit together: folding the journal anew may help.
    #[error("{0}")]
    Rows(String),
    /// A stored specification does not compile: nothing here helps.
    #[error("{0}")]
    Specification(String),
}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Self::Rows(reason)
    }
}

impl From<&str> for Error {
    fn from(reason: &str) -> Self {
        Self::Rows(reason.to_owned())
    }
}

/// Returns which of `shard_count` shards runs a partition.
pub fn shard_of(partition: Partition, shard_count: usize) -> usize {
    partition.index() % shard_count
}

/// Makes shards with all that they know before anybody asks.
///
/// # Errors
/// Rows are damaged or do not fit together, or a specification does not compile; says how.
pub fn shards<D: Disk, T: Tables>(
    follower: &Follower<T>,
    journal: &JournalReader<D>,
    registry: &Arc<Registry>,
    options: &Options,
    progress: &[Arc<Progress>],
    (now, judged_states, effort): (Time, usize, effort::Limits),
) -> Result<Vec<Shard>, Error> {
    for table in LOADED {
        follower.check_sums(table, None).map_err(text)?;
    }
    let spec_count = specifications(follower, registry)?;
    let count = progress.len();
    let last_cases = last_cases(follower)?;
    let time = follower.time().max(now);
    let unfinished = unfinished_cases(follower)?;
    let keys = client_keys(follower, options.keys_max, count)?;
    let service_keys = service_keys(follower, journal, time).map_err(text)?;
    let bounds = shard::Bounds::of(options, count);
    let room = options.frame_bytes_max.saturating_sub(COMMAND_HEAD_BYTES);
    let shards = keys
        .into_iter()
        .enumerate()
        .map(|(number, keys)| {
            let is_mine = |partition: Partition| shard_of(partition, count) == number;
            let start = Start {
                positions: follower.positions().to_vec(),
                last_cases: last_cases.clone(),
                time,
                keys,
                service_keys: service_keys.iter().filter(|key| is_mine(key.1)).copied().collect(),
                spec_count,
                unfinished: unfinished.iter().filter(|case| is_mine(case.partition())).copied().collect(),
            };
            let options = shard::Options {
                shard: number,
                limits: Limits {
                    automated_steps_max: bounds.automated_steps_max,
                    frame_bytes: room / 2,
                    judged_states,
                    effort,
                },
                bounds,
                batch_bytes_max: options.frame_bytes_max.saturating_sub(FRAME_HEAD_BYTES),
            };
            Shard::new(options, Arc::clone(registry), Arc::clone(&progress[number]), start)
        })
        .collect();
    Ok(shards)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Compiles every stored specification into the registry; returns the highest number.
///
/// # Errors
/// One cannot be read or compiled; says which.
pub(super) fn specifications<T: Tables>(follower: &Follower<T>, registry: &Registry) -> Result<u32, Error> {
    let mut stored = Vec::new();
    scan(follower, tables::SPECS, |_, value| {
        stored.push(tables::decode::<(Time, Registration)>(value)?);
        Ok(())
    })?;
    let mut count = 0;
    for (at, registration) in stored {
        count = count.max(registration.number.0);
        let registered = compile(at, &registration).map_err(|reason| {
            let Registration { uri, version, .. } = &registration;
            Error::Specification(format!("specification {uri} version {version}: {reason}"))
        })?;
        registry.add(Arc::new(registered));
    }
    Ok(count)
}

/// Compiles a stored specification, by the numbering that it was registered with.
fn compile(at: Time, registration: &Registration) -> Result<Registered, String> {
    let tree: Specification = serde_json::from_str(&registration.tree).map_err(text)?;
    let compiled = net::compile(&tree, Some(&registration.numbering))
        .map_err(|mistakes| mistakes.first().map_or_else(String::new, |mistake| mistake.message.clone()))?;
    Ok(Registered {
        number: registration.number,
        version: registration.version,
        at,
        warnings: registration.warnings.clone(),
        source: registration.hash,
        bytes: Registered::bytes_of(&registration.tree),
        workflow: Arc::new(compiled.workflow),
    })
}

fn last_cases<T: Tables>(follower: &Follower<T>) -> Result<Vec<Option<CaseId>>, String> {
    let mut last = vec![None; PARTITION_COUNT];
    scan(follower, tables::PARTITIONS, |key, value| {
        let partition = key.first_chunk::<2>().map(|bytes| usize::from(u16::from_be_bytes(*bytes)));
        let slot =
            partition.and_then(|at| last.get_mut(at)).ok_or("a row of a partition that does not exist")?;
        *slot = tables::decode::<PartitionRow>(value)?.last_case;
        Ok(())
    })?;
    Ok(last)
}

fn unfinished_cases<T: Tables>(follower: &Follower<T>) -> Result<Vec<CaseId>, String> {
    let mut cases = Vec::new();
    scan(follower, tables::UNFINISHED, |key, _| {
        cases.push(tables::case_of(key).ok_or("a case without an id")?);
        Ok(())
    })?;
    Ok(cases)
}

/// Returns the keys of each shard. They go where they stay at once: there may be millions.
fn client_keys<T: Tables>(
    follower: &Follower<T>,
    keys_max: usize,
    shards: usize,
) -> Result<Vec<shard::Keys>, String> {
    let places = Places::new(keys_max, shards);
    let mut keys: Vec<_> = (0..shards).map(|shard| shard::Keys::new(Arc::clone(&places), shard)).collect();
    scan(follower, tables::KEYS, |key, _| {
        let (partition, at, hash) = tables::used_of(key).ok_or("a key's row without its key")?;
        if partition.index() >= PARTITION_COUNT {
            return Err("a row of a partition that does not exist".to_owned());
        }
        keys[shard_of(partition, shards)].load_client(partition, at, hash);
        Ok(())
    })?;
    Ok(keys)
}

fn service_keys<D: Disk, T: Tables>(
    follower: &Follower<T>,
    journal: &JournalReader<D>,
    now: Time,
) -> Result<Vec<(record::Hash16, Partition, KeyRow)>, store::Error> {
    let since = now.minus_us(SERVICE_KEY_US);
    let from = follower.seq().saturating_sub(SERVICE_KEY_FRAMES_MAX).max(1);
    let mut keys = Vec::new();
    journal.frames(from, &mut |frame| {
        for entry in frame.entries.iter().filter(|_| frame.time >= since) {
            let Ok(Record { key: Some(fact), body, at }) = Record::decode(&entry.payload) else { continue };
            if fact.maker != Maker::Service {
                continue;
            }
            let spec = match body {
                record::Body::Registered(registration) => Some(registration.number),
                _ => None,
            };
            let row = KeyRow {
                n: entry.n,
                case: CaseId(entry.subject),
                spec,
                request: fact.request,
                act: fact.act,
                at,
            };
            keys.push((fact.key, entry.partition, row));
        }
        Ok(true)
    })?;
    Ok(keys)
}

fn scan<T: Tables>(
    follower: &Follower<T>,
    table: Table,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut wrong = Ok(());
    follower
        .scan(table, &[], &mut |key, value| {
            wrong = visit(key, value);
            wrong.is_ok()
        })
        .map_err(text)?;
    wrong
}
