//! The configuration as each module's `Options`. Modules know nothing of keys; only this file knows both.

use super::keys::Config;
use super::value::Cores;
use crate::api::remote;
use crate::{api, backup, engine, store};

const MIB: u64 = 1 << 20;
const HOUR_US: u64 = 3_600_000_000;

impl Config {
    /// Returns where hot threads run.
    pub(super) fn hot_cores(&self) -> engine::HotCores {
        match &self.hot_path_cores {
            Cores::Auto => engine::HotCores::Auto,
            Cores::None => engine::HotCores::Unpinned,
            Cores::List(cores) => engine::HotCores::These(cores.iter().copied().map(usize::from).collect()),
        }
    }

    /// Returns the options of the engine.
    pub fn engine(&self) -> engine::Options {
        engine::Options {
            hot_cores: self.hot_cores(),
            hot_path_ticks_max: self.hot_path_max_ticks,
            command_us_max: self.warm_path_timeout_ms * 1_000,
            bulk_us_max: self.bulk_timeout_ms * 1_000,
            automated_steps_max: number(self.automated_steps_max),
            frame_bytes_max: number(self.frame_bytes_max),
            answers: engine::room::Limits {
                answer_bytes_max: number(self.answer_bytes_max),
                answers_bytes_max: number(self.answers_bytes_max),
            },
            shard_requests_max: number(self.shard_requests_max),
            follower_lag_max: self.follower_lag_frames_max,
            queues: self.queues(),
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
                bodies_bytes_max: number(self.bodies_bytes()),
                heads_bytes_max: number(self.heads_bytes()),
            },
        }
    }

    /// Returns how the local port is guarded.
    pub fn gate(&self) -> api::gate::Options {
        api::gate::Options {
            allow: self.listen_allow,
            hosts: api::gate::Hosts::of_list(&self.allowed_hosts),
            folder: self.remote_dir.clone(),
            secrets_dir: self.remote_secrets_dir.clone(),
        }
    }

    /// Returns the options of the remote side; `None` when it is off.
    pub fn remote(&self) -> Option<remote::Options> {
        let security = match (&self.remote_certificate, &self.remote_key) {
            _ if self.remote_plain_http => remote::Security::Plain,
            (Some(certificate), Some(key)) => remote::Security::Tls(remote::Certificate::Files {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => {
                let names = self.remote_names.split(',').map(str::trim).filter(|name| !name.is_empty());
                let names = names.map(str::to_owned).collect();
                remote::Security::Tls(remote::Certificate::SelfSigned { names })
            }
        };
        let server = self.server();
        Some(remote::Options {
            address: self.remote_listen?,
            security,
            folder: self.remote_dir.clone(),
            secrets_dir: self.remote_secrets_dir.clone(),
            connections_max: number(self.remote_connections_max),
            address_connections_max: number(self.remote_address_connections_max),
            proxies: networks(&self.remote_proxies),
            requests_max: number(self.remote_requests_max),
            http_workers: server.http_workers,
            times: remote::TIMES,
            limits: server.limits,
        })
    }

    /// Returns the options of backups.
    pub fn backup(&self) -> backup::Options {
        backup::Options {
            store: self.store(),
            backup_dir: self.backup_dir.clone(),
            retain_us: self.backup_retain_days * 24 * HOUR_US,
            reserve_bytes: self.disk_reserve_mb * MIB,
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

/// Returns the networks of a list that keeps its rule.
fn networks(text: &str) -> Vec<remote::Network> {
    text.split(',').filter_map(|one| one.trim().parse().ok()).collect()
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
            let config = Config::from_values(&values, None);
            let (engine, store) = (config.engine(), config.store());
            assert_eq!(config.server().limits.body_bytes_max as u64, config.body_bytes_max);
            assert_eq!(engine.frame_bytes_max, store.frame_bytes_max);
            assert_eq!(engine.reserve_bytes, config.disk_reserve_mb << 20);
        }
    }

    #[test]
    fn built_in_values_are_those_of_the_contract() {
        let values: Vec<Value> = KEYS.iter().map(|key| key.default.clone()).collect();
        let engine = Config::from_values(&values, None).engine();
        assert_eq!(engine.hot_cores, engine::HotCores::Auto);
        assert_eq!(engine.hot_path_ticks_max, 8);
        assert_eq!(engine.command_us_max, 100_000);
        assert_eq!(engine.key_us, 24 * 3_600 * 1_000_000);
        assert_eq!(engine.automated_steps_max, 10_000);
    }
}
