//! How a running service reads its configuration again: asked by a signal or over its interface, one at a time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Map, Value as Json, json};

use super::config::json_of;
use super::serve::{Node, tell_of};
use crate::api::{self, remote::InUse};
use crate::config::{self, Change, Environment, KEYS, Layers, Loaded, Value};
use crate::engine::service::Refusal;
use crate::telemetry::{logs, words};

/// What a service has.
struct Has {
    /// Its values, in the order of the keys.
    values: Vec<Value>,
    /// What the log has said already of keys that wait for a restart.
    told: Vec<String>,
}

/// What reads the files again, and knows what the service works by.
pub(super) struct Reloader {
    environment: Environment,
    running: Mutex<Has>,
    engine: Weak<Node>,
    /// Where other machines are served, and by which certificate.
    remote: Option<(SocketAddr, Arc<InUse>)>,
}

impl Reloader {
    /// Returns what reloads an engine that was started with `loaded`.
    pub(super) fn new(
        environment: Environment,
        loaded: &Loaded,
        engine: Weak<Node>,
        remote: Option<(SocketAddr, Arc<InUse>)>,
    ) -> Self {
        let values = loaded.values.iter().map(|(value, _)| value.clone()).collect();
        Self { environment, running: Mutex::new(Has { values, told: Vec::new() }), engine, remote }
    }

    /// Reads configuration and certificate again and works by what they say, as far as that needs no restart. Says in the
    /// log and in the document that it returns what changed, what waits for a restart, and what the service has now.
    ///
    /// # Errors
    /// The files hold mistakes, or the certificate cannot be used; nothing has changed.
    pub(super) fn reload(&self) -> Result<Json, Refusal> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = config::load(&self.environment, &Layers::system()).map_err(refused)?;
        let tls = self.remote.as_ref().map(|(_, in_use)| in_use.read()).transpose().map_err(kept)?;
        let reloaded = config::reload(&running.values, &loaded);
        config::check_memory_of(&reloaded, &loaded).map_err(refused)?;
        let config = &reloaded.config;
        logs::change(config.log_level, config.log_lines_per_second_max);
        if let Some(engine) = self.engine.upgrade() {
            engine.retune(&config.engine(), config.store().grace_us);
        }
        if let (Some((address, in_use)), Some(tls)) = (&self.remote, tls) {
            in_use.take(tls);
            tell_of(*address, in_use);
        }
        for Change { key, from, to, .. } in &reloaded.applied {
            tracing::info!("{}: {} is {to} and was {from}", words::CONFIG_CHANGED, key.name);
        }
        let told: Vec<String> = reloaded.waiting.iter().map(waits).collect();
        let news: Vec<&String> = told.iter().filter(|line| !running.told.contains(line)).collect();
        for line in &news {
            tracing::warn!("{}: {line}", words::CONFIG_WAITS);
        }
        if reloaded.applied.is_empty() && news.is_empty() {
            tracing::info!("{}", words::CONFIG_SAME);
        }
        let document = document(&reloaded, &loaded);
        *running = Has { values: reloaded.values, told };
        Ok(document)
    }
}

/// Says what waits for a restart.
fn waits(Change { key, from, to, origin }: &Change) -> String {
    format!("{} = {to} ({origin}) needs a restart; until then the service has {from}", key.name)
}

fn document(reloaded: &config::Reloaded, loaded: &Loaded) -> Json {
    let list = |changes: &[Change]| -> Vec<Json> {
        let change = |change: &Change| json!({ "key": change.key.name, "from": json_of(&change.from), "to": json_of(&change.to) });
        changes.iter().map(change).collect()
    };
    let values = KEYS.iter().zip(&reloaded.values);
    let values: Map<String, Json> =
        values.map(|(key, value)| (key.name.to_owned(), json_of(value))).collect();
    json!({
        "applied": list(&reloaded.applied),
        "needs_restart": list(&reloaded.waiting),
        "values": values,
        "files": loaded.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
}

/// Says in the log that the certificate cannot be used, and returns it as an answer.
fn kept(error: api::Error) -> Refusal {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    tracing::warn!("{}: {error}{cause}", words::CERTIFICATE_KEPT);
    Refusal {
        code: error.code(),
        kind: error.kind(),
        message: format!("{}: {error}{cause}", words::CERTIFICATE_KEPT),
        hint: error.hint(),
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

/// Says in the log what is wrong, and returns it as an answer.
fn refused(error: config::Error) -> Refusal {
    let mistakes = error.mistakes();
    for mistake in mistakes {
        tracing::warn!("{}: {mistake}", words::CONFIG_REFUSED);
    }
    let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    Refusal {
        code: error.code(),
        kind: error.kind(),
        message: format!("{error}: {}", told.join("; ")),
        hint: Some("knhk config validate".to_owned()),
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}
