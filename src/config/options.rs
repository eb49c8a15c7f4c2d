//! The configuration as each module's `Options`. Modules know nothing of keys; only this file knows both.

use super::keys::Config;
use super::value::Cores;
use crate::{api, engine, store};

const MIB: u64 = 1 << 20;
const HOUR_US: u64 = 3_600_000_000;

impl Config {
    /// Returns the options of the engine.
    pub fn engine(&self) -> engine::Options {
        engine::Options {
            hot_cores: match &self.hot_path_cores {
                Cores::Auto => engine::HotCores::Auto,
                Cores::None => engine::HotCores::Unpinned,
                Cores::List(cores) => {
                    engine::HotCores::These(cores.iter().copied().map(usize::from).collect())
                }
            },
            hot_path_ticks_max: self.hot_path_max_ticks,
            command_us_max: self.warm_path_timeout_ms * 1_000,
            bulk_us_max: self.bulk_timeout_ms * 1_000,
            automated_steps_max: number(self.automated_steps_max),
            frame_bytes_max: number(self.frame_bytes_max),
            shard_requests_max: number(self.shard_requests_max),
            follower_lag_max: self.follower_lag_frames_max,
            key_us: self.idempotency_hours * HOUR_US,
            cache_bytes: number(self.cache_size_mb * MIB),
            keys_max: number(self.idempotency_keys_max),
            checkpoint_bytes: self.checkpoint_bytes,
            checkpoint_us: self.checkpoint_seconds * 1_000_000,
            archive_after_us: self.archive_after_days * 24 * HOUR_US,
            reserve_bytes: self.disk_reserve_mb * MIB,
        }
    }

    /// Returns the options of the HTTP server, on whichever sockets it listens.
    pub fn server(&self) -> api::server::Options {
        api::server::Options {
            http_workers: number(self.http_workers),
            connections_max: api::server::CONNECTIONS_MAX,
            times: api::server::TIMES,
            limits: api::Limits {
                body_bytes_max: number(self.body_bytes_max),
                batch_lines_max: number(self.batch_lines_max),
            },
        }
    }

    /// Returns the options of the store.
    pub fn store(&self) -> store::Options {
        store::Options {
            state_dir: self.state_dir.clone(),
            cache_dir: self.cache_dir.clone(),
            segment_bytes: self.segment_bytes,
            hurried_bytes: store::HURRIED_SEGMENT_BYTES,
            frame_bytes_max: number(self.frame_bytes_max),
            grace_us: self.backup_grace_hours.0,
            keep_us: engine::shard::SERVICE_KEY_US,
            format_max: store::FORMAT,
            planted: None,
        }
    }
}

/// Returns a number in the type that a module counts with; the rules of the keys keep it small enough.
fn number<T: TryFrom<u64>>(value: u64) -> T {
    T::try_from(value).ok().expect("invariant: the rule of the key fits the type")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, Rule, Value};

    #[test]
    fn the_smallest_and_largest_values_fit_every_type() {
        for largest in [false, true] {
            let values: Vec<Value> = KEYS
                .iter()
                .map(|key| match key.rule {
                    Rule::Integer(min, max) => Value::Integer(if largest { max } else { min }),
                    Rule::Hours(max) => Value::Integer(if largest { max } else { 0 }),
                    _ => key.default.clone(),
                })
                .collect();
            let config = Config::from_values(&values);
            let (engine, store) = (config.engine(), config.store());
            assert_eq!(config.server().limits.body_bytes_max as u64, config.body_bytes_max);
            assert_eq!(engine.frame_bytes_max, store.frame_bytes_max);
            assert_eq!(engine.reserve_bytes, config.disk_reserve_mb << 20);
        }
    }

    #[test]
    fn built_in_values_are_those_of_the_contract() {
        let values: Vec<Value> = KEYS.iter().map(|key| key.default.clone()).collect();
        let engine = Config::from_values(&values).engine();
        assert_eq!(engine.hot_cores, engine::HotCores::Auto);
        assert_eq!(engine.hot_path_ticks_max, 8);
        assert_eq!(engine.command_us_max, 100_000);
        assert_eq!(engine.key_us, 24 * 3_600 * 1_000_000);
        assert_eq!(engine.automated_steps_max, 10_000);
    }
}
