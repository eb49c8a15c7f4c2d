//! What a running service makes of files that changed meanwhile. Pure.

use super::keys::{Config, KEYS, Key, Takes};
use super::layers::{Loaded, Origin};
use super::value::Value;

/// One key whose value in the files is not the one that the service has.
#[derive(Debug, Clone)]
pub struct Change {
    /// The key.
    pub key: &'static Key,
    /// The value that the service has.
    pub from: Value,
    /// The value of the files.
    pub to: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// What a service has after it read its files again.
#[derive(Debug)]
pub struct Reloaded {
    /// The configuration: new values of keys that a reload suffices for, else those that it had.
    pub config: Config,
    /// Its values, in the order of [`KEYS`].
    pub values: Vec<Value>,
    /// What is new in it.
    pub applied: Vec<Change>,
    /// What waits for a restart.
    pub waiting: Vec<Change>,
}

/// Returns what becomes of the values that a service has, in the order of [`KEYS`], when its files are `loaded`.
pub fn reload(running: &[Value], loaded: &Loaded) -> Reloaded {
    let (mut values, mut applied, mut waiting) = (running.to_vec(), Vec::new(), Vec::new());
    for (at, (key, (to, origin))) in KEYS.iter().zip(&loaded.values).enumerate() {
        if values[at] == *to {
            continue;
        }
        let change = Change { key, from: values[at].clone(), to: to.clone(), origin: origin.clone() };
        if key.takes == Takes::Restart {
            waiting.push(change);
        } else {
            values[at] = to.clone();
            applied.push(change);
        }
    }
    Reloaded { config: Config::from_values(&values, loaded.config.memory.clone()), values, applied, waiting }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_rules_between_them_wait_together() {
        // Else a reload could put together what no file says, and what the rules forbid.
        for name in ["body_bytes_max", "frame_bytes_max", "segment_bytes"] {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            assert_eq!(key.takes, Takes::Restart, "{name}");
        }
    }
}
