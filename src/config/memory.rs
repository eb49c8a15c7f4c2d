//! How much memory the service may take, part by part, and whether the machine has it.
//!
//! Every queue, buffer and table is bounded in bytes. What has no key of its own has a share of what there is, so that a
//! small machine has small queues; what has one is as large as its key says, and where no file sets it, no larger than
//! its share. The sum is what the service takes at the worst, and must not be more than there is.

use super::error::{MEMORY, Mistake};
use super::file::mistake;
use super::keys::{Config, KEYS};
use super::layers::{Loaded, Origin};
use super::reload::Reloaded;
use super::value::{Rule, Value};
use crate::engine::memory::Bound;
use crate::engine::queues::Queues;
use crate::engine::{HotCores, shard, threads, turn};
use crate::{api, telemetry};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes of a connection from another machine: TLS, and buffers for what is small.
const REMOTE_CONNECTION_BYTES: u64 = 40 * KIB;
/// Bytes of a connection of this machine, besides its head.
const CONNECTION_BYTES: u64 = KIB;
/// The program, its threads' stacks as far as they are used, and what lies in buffers of a fixed size.
const PROGRAM_BYTES: u64 = 48 * MIB;
/// A worker's stack, as far as it is used.
const WORKER_BYTES: u64 = 64 * KIB;
/// What the `cold` thread and readers of history hold at a time: sorted and compressed blocks, and frames.
const DISK_BYTES: u64 = 64 * MIB;

/// A part of what there is: one of `of`, within bounds.
struct Share {
    of: u64,
    least: u64,
    most: u64,
}

impl Share {
    const fn new(of: u64, least: u64, most: u64) -> Self {
        Self { of, least, most }
    }

    fn bytes(&self, memory_bytes: u64) -> u64 {
        (memory_bytes / self.of).clamp(self.least, self.most)
    }
}

const REQUESTS: Share = Share::new(64, 8 * MIB, Queues::AMPLE.requests_bytes_max as u64);
const UNDURABLE: Share = Share::new(64, 8 * MIB, Queues::AMPLE.undurable_bytes_max as u64);
const LAG: Share = Share::new(64, 8 * MIB, Queues::AMPLE.lag_bytes_max as u64);
const CHANGED: Share = Share::new(32, 16 * MIB, Queues::AMPLE.changed_bytes_max as u64);
const BODIES: Share = Share::new(64, 8 * MIB, 128 * MIB);
const HEADS: Share = Share::new(128, 4 * MIB, 64 * MIB);
const UNPACKED: Share = Share::new(64, 32 * MIB, Queues::AMPLE.unpacked_bytes_max as u64);
const SPECIFICATIONS: Share = Share::new(64, 8 * MIB, 256 * MIB);
/// What the allocator keeps besides what was asked for.
const ALLOCATOR: Share = Share::new(64, 4 * MIB, 256 * MIB);

/// Keys whose default is no more than a share of what there is: the share, and how many bytes one of the key is.
const SCALED: &[(&str, u64, u64)] = &[
    ("cache_size_mb", 4, MIB),
    ("answers_bytes_max", 32, 1),
    ("idempotency_keys_max", 40, shard::KEY_BYTES_MAX as u64),
    ("remote_connections_max", 32, REMOTE_CONNECTION_BYTES),
];

/// Something that takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What.
    pub name: &'static str,
    /// Bytes that it takes at most.
    pub bytes: u64,
    /// What says so.
    pub by: By,
}

/// What says how large a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A key.
    Key(&'static str),
    /// It is a share of what there is.
    Share,
    /// It is the same everywhere.
    Fixed,
}

impl By {
    /// Returns it in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Key(name) => name,
            Self::Share => "share of the memory",
            Self::Fixed => "fixed",
        }
    }
}

/// All that takes memory, and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Part by part.
    pub parts: Vec<Part>,
    /// What the service may take; `None` where the system does not say.
    pub bound: Option<Bound>,
}

impl Memory {
    /// Returns what a service with this configuration may take.
    pub fn of(config: &Config) -> Self {
        let mut memory = Self { parts: Vec::new(), bound: config.memory.clone() };
        let bytes = config.memory_bytes();
        let queues = config.queues();
        let hot = hot_count(config);
        memory.key("cases in memory", "cache_size_mb", config.cache_size_mb * MIB);
        memory.key("idempotency keys", "idempotency_keys_max", keys_bytes(config));
        memory.key("answers under way", "answers_bytes_max", config.answers_bytes_max);
        memory.share("rows changed since the last checkpoint", queues.changed_bytes_max as u64);
        memory.share("requests that are not answered", queues.requests_bytes_max as u64);
        memory.share("changes that are not durable", queues.undurable_bytes_max as u64);
        memory.share("durable frames that are not folded", queues.lag_bytes_max as u64);
        memory.share("histories that are unpacked", queues.unpacked_bytes_max as u64);
        memory.share("compiled specifications", SPECIFICATIONS.bytes(bytes));
        memory.share("bodies of requests", config.bodies_bytes());
        memory.share("heads of requests", HEADS.bytes(bytes));
        memory.fixed("connections", api::server::CONNECTIONS_MAX as u64 * CONNECTION_BYTES);
        if config.remote_listen.is_some() {
            memory.share("bodies from other machines", config.bodies_bytes());
            memory.share("heads from other machines", HEADS.bytes(bytes));
            let connections = config.remote_connections_max * REMOTE_CONNECTION_BYTES;
            memory.key("connections from other machines", "remote_connections_max", connections);
        }
        memory.key("threads of http workers", "http_workers", config.http_workers * WORKER_BYTES);
        let keys = hot * shard::SHARD_KEYS_BYTES_MAX as u64;
        memory.key("keys that the service made, and that expire", "hot_path_cores", keys);
        let found = hot * shard::FOUND_BYTES_MAX as u64;
        memory.key("what decisions that broke off found out", "hot_path_cores", found);
        let verdicts = hot * turn::JUDGEMENTS_BYTES_MAX as u64;
        memory.key("verdicts on OR-joins", "hot_path_cores", verdicts);
        memory.fixed("spans for the collector", telemetry::BYTES_MAX);
        memory.fixed("history and snapshots at work", DISK_BYTES);
        memory.fixed("the program", PROGRAM_BYTES);
        memory.share("the allocator's own", ALLOCATOR.bytes(bytes));
        memory
    }

    fn add(&mut self, name: &'static str, by: By, bytes: u64) {
        self.parts.push(Part { name, bytes, by });
    }

    fn key(&mut self, name: &'static str, key: &'static str, bytes: u64) {
        self.add(name, By::Key(key), bytes);
    }

    fn share(&mut self, name: &'static str, bytes: u64) {
        self.add(name, By::Share, bytes);
    }

    fn fixed(&mut self, name: &'static str, bytes: u64) {
        self.add(name, By::Fixed, bytes);
    }

    /// Returns the bytes of all parts.
    pub fn sum_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add)
    }

    /// Returns by how many bytes all parts are more than there is.
    fn excess_bytes(&self) -> u64 {
        self.bound.as_ref().map_or(0, |bound| self.sum_bytes().saturating_sub(bound.bytes))
    }

    /// Returns what is wrong, if the parts are more than there is.
    fn complaint(&self) -> Option<(String, String)> {
        let bound = self.bound.as_ref()?;
        let excess = self.excess_bytes();
        if excess == 0 {
            return None;
        }
        let mut largest = self.parts.clone();
        largest.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        let named: Vec<String> = largest.iter().take(NAMED).map(Part::words).collect();
        let message = format!(
            "the service may come to {} of memory and has {} ({}); the largest parts are {}",
            mebibytes(self.sum_bytes()),
            mebibytes(bound.bytes),
            bound.words(),
            named.join(", ")
        );
        Some((message, advice(&largest, excess)))
    }
}

/// So many parts and keys are named in a message.
const NAMED: usize = 3;

/// Says which key to lower to what, when one alone is enough, and else all that would help.
fn advice(largest: &[Part], excess: u64) -> String {
    let more = "or give the service more memory; knhk config show has all parts";
    let keys: Vec<_> = largest.iter().filter_map(Part::lowered).collect();
    let enough = keys.iter().find_map(|(key, least, unit, bytes)| {
        let left = bytes.checked_sub(excess)? / unit;
        (left >= *least).then(|| format!("knhk config set {key} {left}, {more}"))
    });
    let names: Vec<_> = keys.iter().take(NAMED).map(|(key, ..)| *key).collect();
    enough.unwrap_or_else(|| format!("lower {}, {more}", names.join(" and ")))
}

impl Part {
    fn words(&self) -> String {
        match self.by {
            By::Key(key) => format!("{} {} ({key})", self.name, mebibytes(self.bytes)),
            By::Share | By::Fixed => format!("{} {}", self.name, mebibytes(self.bytes)),
        }
    }

    /// Returns the key that makes it smaller, its smallest value, and how many bytes one of it is.
    fn lowered(&self) -> Option<(&'static str, u64, u64, u64)> {
        let By::Key(name) = self.by else { return None };
        let (_, _, unit) = SCALED.iter().find(|(scaled, ..)| *scaled == name)?;
        let key = KEYS.iter().find(|key| key.name == name)?;
        let Rule::Integer(least, _) = key.rule else { return None };
        Some((name, least, *unit, self.bytes))
    }
}

/// Returns bytes for people.
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}

/// Returns the bytes of clients' keys.
fn keys_bytes(config: &Config) -> u64 {
    let keys_max = usize::try_from(config.idempotency_keys_max).unwrap_or(usize::MAX);
    u64::try_from(shard::keys_bytes_max(keys_max, 0)).unwrap_or(u64::MAX)
}

fn hot_count(config: &Config) -> u64 {
    let cores: HotCores = config.hot_cores();
    threads::plan(&cores, &threads::available_cores()).hot.len() as u64
}

impl Config {
    /// Returns the bytes that shares are taken of.
    fn memory_bytes(&self) -> u64 {
        self.memory.as_ref().map_or(u64::MAX, |bound| bound.bytes)
    }

    /// Returns the bounds of the engine's queues.
    pub(super) fn queues(&self) -> Queues {
        let of = |share: Share| {
            let bytes = share.bytes(self.memory_bytes());
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        Queues {
            requests_bytes_max: of(REQUESTS),
            undurable_bytes_max: of(UNDURABLE),
            lag_bytes_max: of(LAG),
            changed_bytes_max: of(CHANGED),
            unpacked_bytes_max: of(UNPACKED),
            specifications_bytes_max: of(SPECIFICATIONS),
        }
    }

    /// Returns the bytes that all bodies of one side may take: at least two of the largest.
    pub(super) fn bodies_bytes(&self) -> u64 {
        BODIES.bytes(self.memory_bytes()).max(2 * self.body_bytes_max)
    }

    /// Returns the bytes that all heads of one side may take.
    pub(super) fn heads_bytes(&self) -> u64 {
        HEADS.bytes(self.memory_bytes())
    }
}

/// Lowers the values that no file sets to what this machine has memory for.
pub(super) fn scale(values: &mut [(Value, Origin)], bound: Option<&Bound>) {
    let Some(bound) = bound else { return };
    for (name, of, unit) in SCALED {
        let at = KEYS.iter().position(|key| key.name == *name).expect("invariant: the key is in the table");
        let (Value::Integer(value), Origin::BuiltIn, Rule::Integer(least, _)) =
            (&values[at].0, &values[at].1, KEYS[at].rule)
        else {
            continue;
        };
        let share = (bound.bytes / of / unit).max(least);
        if share < *value {
            values[at] = (Value::Integer(share), Origin::Machine);
        }
    }
}

/// Returns what is wrong with a configuration whose parts are more than there is.
pub(super) fn check(config: &Config, values: &[(Value, Origin)]) -> Option<Mistake> {
    let memory = Memory::of(config);
    let (message, hint) = memory.complaint()?;
    let mut parts = memory.parts;
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let set = parts.iter().find_map(|part| {
        let By::Key(name) = part.by else { return None };
        let at = KEYS.iter().position(|key| key.name == name)?;
        let Origin::File { path, line } = &values[at].1 else { return None };
        Some((path.display().to_string(), *line))
    });
    let (file, line) = set.unwrap_or_else(|| ("built-in".to_owned(), 0));
    Some(mistake(&file, line, MEMORY, message, &hint))
}

/// Returns what is wrong with what was loaded, if the service would take more memory than there is.
///
/// # Errors
/// It would: says which parts are largest, and what to lower.
pub fn check_memory(loaded: &Loaded) -> Result<(), super::Error> {
    check_with(&loaded.config, loaded)
}

/// Returns what is wrong with what a running service would have after it read its files again.
///
/// # Errors
/// As of [`check_memory`].
pub fn check_memory_of(reloaded: &Reloaded, loaded: &Loaded) -> Result<(), super::Error> {
    check_with(&reloaded.config, loaded)
}

fn check_with(config: &Config, loaded: &Loaded) -> Result<(), super::Error> {
    match check(config, &loaded.values) {
        None => Ok(()),
        Some(mistake) => Err(super::Error::Invalid { mistakes: vec![mistake], files: loaded.files.clone() }),
    }
}

/// Returns by how many bytes a configuration is beyond what there is.
pub(super) fn excess_bytes(config: &Config) -> u64 {
    Memory::of(config).excess_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::MACHINE_PERCENT;

    fn on(memtotal_bytes: u64, group: Option<u64>) -> Vec<(Value, Origin)> {
        let bound = bound(memtotal_bytes, group);
        let mut values: Vec<_> = KEYS.iter().map(|key| (key.default.clone(), Origin::BuiltIn)).collect();
        scale(&mut values, Some(&bound));
        values
    }

    fn bound(memtotal_bytes: u64, group: Option<u64>) -> Bound {
        Bound::new(memtotal_bytes, group.map(|bytes| ("/sys/fs/cgroup/x/memory.max".to_owned(), bytes)))
    }

    fn config(values: &[(Value, Origin)], bound: Bound) -> Config {
        let values: Vec<_> = values.iter().map(|(value, _)| value.clone()).collect();
        Config::from_values(&values, Some(bound))
    }

    fn set(values: &mut [(Value, Origin)], name: &str, value: Value) {
        let at = KEYS.iter().position(|key| key.name == name).unwrap();
        values[at] = (value, Origin::File { path: "/etc/knhk/knhk.toml".into(), line: 3 });
    }

    #[test]
    fn the_guides_cache_fits_a_machine_of_4_gb() {
        for total in [3_750, 3_800, 4_096] {
            let mut values = on(total * MIB, None);
            set(&mut values, "cache_size_mb", Value::Integer(2_048));
            let config = config(&values, bound(total * MIB, None));
            assert_eq!(check(&config, &values), None, "{total} MiB");
        }
    }

    #[test]
    fn built_in_values_fit_small_machines_and_containers_and_the_smallest_are_told_what_they_need() {
        for (total, group) in
            [(24_000, None), (2_000, None), (1_000, None), (24_000, Some(512)), (24_000, Some(448))]
        {
            let group = group.map(|group| group * MIB);
            let mut values = on(total * MIB, group);
            // As many shards as a machine of this size has, whichever the test runs on.
            set(&mut values, "hot_path_cores", Value::Text("none".into()));
            let config = config(&values, bound(total * MIB, group));
            assert_eq!(check(&config, &values), None, "{total} MiB, {group:?}");
        }
        let values = on(24_000 * MIB, Some(128 * MIB));
        let config = config(&values, bound(24_000 * MIB, Some(128 * MIB)));
        let mistake = check(&config, &values).expect("there is no room");
        assert!(mistake.message.contains("has 128 MiB (memory.max"), "{mistake}");
    }

    #[test]
    fn what_is_more_than_there_is_names_the_largest_parts_the_sum_and_what_to_lower() {
        let mut values = on(4_096 * MIB, None);
        set(&mut values, "cache_size_mb", Value::Integer(4_096));
        let told = check(&config(&values, bound(4_096 * MIB, None)), &values).expect("too much");
        assert_eq!((told.code.0, told.file.as_str(), told.line), (670, "/etc/knhk/knhk.toml", 3));
        assert!(told.message.contains("has 3072 MiB (75 % of this machine's memory)"), "{told}");
        assert!(told.message.contains("cases in memory 4096 MiB (cache_size_mb), "), "{told}");
        // What it says is right, and one more would not be.
        let said = told.hint.split_once("cache_size_mb ").unwrap().1;
        let said: u64 = said.split(',').next().unwrap().parse().unwrap();
        for (value, fits) in [(said, true), (said + 1, false)] {
            set(&mut values, "cache_size_mb", Value::Integer(value));
            assert_eq!(check(&config(&values, bound(4_096 * MIB, None)), &values).is_none(), fits, "{value}");
        }
    }

    #[test]
    fn defaults_are_lowered_where_no_file_sets_them_and_nowhere_else() {
        let plain: Vec<_> = KEYS.iter().map(|key| (key.default.clone(), Origin::BuiltIn)).collect();
        assert_eq!(on(64 << 30, None), plain);
        let small = on(24_000 * MIB, Some(512 * MIB));
        let lowered: Vec<_> =
            KEYS.iter().zip(&small).filter(|(_, value)| value.1 == Origin::Machine).collect();
        let names: Vec<_> = lowered.iter().map(|(key, _)| key.name).collect();
        assert_eq!(
            names,
            ["cache_size_mb", "answers_bytes_max", "remote_connections_max", "idempotency_keys_max"]
        );
        let mut values = plain;
        set(&mut values, "cache_size_mb", Value::Integer(300));
        scale(&mut values, Some(&bound(24_000 * MIB, Some(512 * MIB))));
        let at = KEYS.iter().position(|key| key.name == "cache_size_mb").unwrap();
        assert_eq!(values[at].0, Value::Integer(300));
    }

    #[test]
    fn the_units_limit_is_what_is_reckoned_with_outside_of_it() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/knhk.service");
        let unit = std::fs::read_to_string(path).unwrap();
        assert!(unit.lines().any(|line| line == format!("MemoryMax={MACHINE_PERCENT}%")), "{unit}");
    }

    #[test]
    fn as_many_keys_as_there_are_by_default_take_no_more_than_a_tenth_of_4_gb() {
        let key = KEYS.iter().find(|key| key.name == "idempotency_keys_max").unwrap();
        let Value::Integer(count) = key.default else { panic!("{:?}", key.default) };
        let bytes = shard::keys_bytes_max(usize::try_from(count).unwrap(), 0) as u64;
        assert!(bytes <= 4_096 * MIB / 10 && count >= 4_000_000, "{bytes} bytes for {count} keys");
    }

    #[test]
    fn every_part_is_there_once_and_the_sum_is_theirs() {
        let mut values = on(24_000 * MIB, None);
        set(&mut values, "remote_listen", Value::Text("0.0.0.0:8443".into()));
        let memory = Memory::of(&config(&values, bound(24_000 * MIB, None)));
        let names: std::collections::BTreeSet<_> = memory.parts.iter().map(|part| part.name).collect();
        assert_eq!(names.len(), memory.parts.len());
        assert_eq!(memory.sum_bytes(), memory.parts.iter().map(|part| part.bytes).sum::<u64>());
    }
}
