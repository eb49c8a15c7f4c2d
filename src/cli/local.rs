//! The service inside a command: answers requests when none runs, over the same store and by the same function.
//!
//! Reading touches no file; changing takes the store alone, for as long as the command lasts. Neither makes a store:
//! only the service does.

use std::sync::Arc;

use super::client::Request;
use super::duration;
use super::environment;
use super::error::Error;
use super::http::{ANSWER_BYTES_MAX, Answer};
use super::ui;
use crate::api::{self, respond};
use crate::config::Config;
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::offline::{Beside, Offline};
use crate::engine::running::{Engine, open_store};
use crate::engine::service::{Caller, Service};
use crate::engine::shared::Place;
use crate::engine::threads::{become_owner, random_bytes};
use crate::engine::{self, HotCores};
use crate::error::Kind;
use crate::store::{self, LmdbTables, RealDisk, Start, StoreId};
use crate::telemetry::metrics::Metrics;

/// Size of the segment that a command adds to the journal: it holds little, and each command adds one.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// The parameter by which a list asks for damage.
const VERIFY: &str = "verify=true";

/// The service of this process, if there is one.
#[derive(Debug, Default)]
pub(super) enum Local {
    /// None yet: the running service is asked.
    #[default]
    Closed,
    /// The store is looked at.
    Reads(Box<Offline<RealDisk, LmdbTables>>),
    /// The store is this process's alone.
    Writes(Engine<RealDisk, LmdbTables>),
}

impl Local {
    /// Answers a request if this process can already.
    pub(super) fn answer(&self, config: &Config, request: &Request<'_>) -> Option<Result<Answer, Error>> {
        let service: &dyn Service = match self {
            Self::Reads(offline) if request.is_read() => &**offline,
            Self::Writes(engine) => engine,
            Self::Closed | Self::Reads(_) => return None,
        };
        Some(answer(service, config, request))
    }

    /// Opens the store for a request; tells whether there is one that this user may use.
    pub(super) fn open(&mut self, config: &Config, request: &Request<'_>) -> Result<bool, Error> {
        become_owner(&config.state_dir).map_err(Error::system("become the owner of the state folder"))?;
        // Whoever reads keeps writers out, also oneself.
        *self = Self::Closed;
        let opened = match if request.is_read() { reading(config) } else { writing(config) } {
            Err(Error::Engine(engine::running::Error::Store(error)))
                if asks_for_damage(request) && error.kind() == Kind::Corrupt =>
            {
                reading_damaged(config)
            }
            Ok(Self::Reads(_)) if asks_for_damage(request) && is_short(config) => reading_damaged(config),
            opened => opened,
        };
        match opened {
            Ok(opened) => *self = opened,
            // To whoever may not even look, there is a service or nothing.
            Err(Error::Engine(engine::running::Error::Store(store::Error::Io { source, .. })))
                if source.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
        Ok(!matches!(self, Self::Closed))
    }
}

impl Local {
    /// Returns how many cases that damage concerns cannot be listed.
    pub(super) fn unlisted_count(&self) -> usize {
        match self {
            Self::Reads(offline) => offline.unlisted_count(),
            Self::Closed | Self::Writes(_) => 0,
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Self::Writes(engine) = self {
            for name in engine.stop() {
                ui::note(&format!("the thread {name} ended by a fault; what was answered is durable"));
            }
        }
    }
}

fn reading(config: &Config) -> Result<Local, Error> {
    let clock = Arc::new(SystemClock::new());
    let tables = || LmdbTables::open_resting(&config.cache_dir);
    let disk = Arc::new(RealDisk);
    let Some(offline) = Offline::open(&disk, tables, &config.store(), Arc::clone(&clock) as _)? else {
        return Ok(Local::Closed);
    };
    if let Some(beside) = offline.beside() {
        ui::note(&told(&beside, clock.as_ref()));
    }
    offline.warnings().iter().for_each(|warning| ui::note(warning));
    Ok(Local::Reads(Box::new(offline)))
}

/// Tells whether a request is about what is damaged, and so is answered from a store that cannot be opened.
fn asks_for_damage(request: &Request<'_>) -> bool {
    request.path.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == VERIFY))
}

/// Tells whether the working environment has folded what the journal no longer has: an opening refuses that.
fn is_short(config: &Config) -> bool {
    let tables = LmdbTables::open_existing(&config.cache_dir).ok().flatten();
    let Ok(info) = store::info(&RealDisk, tables.as_ref(), &config.store()) else { return false };
    let is_own = info.segments.last().is_some_and(|head| !head.is_copy);
    let folded = info.environment.filter(|folded| Some(folded.store) == info.store);
    is_own && folded.is_some_and(|folded| folded.seq > info.seq)
}

fn reading_damaged(config: &Config) -> Result<Local, Error> {
    let (tables, _) = environment::open(config)?;
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock::new()));
    let offline = Offline::open_damaged(&disk, &config.store(), tables.as_ref(), clock)?;
    offline.warnings().iter().for_each(|warning| ui::note(warning));
    Ok(Local::Reads(Box::new(offline)))
}

/// Says what is shown of a store that another process has.
fn told(beside: &Beside, clock: &dyn Clock) -> String {
    let who =
        beside.holder.map_or_else(|| "another process".to_owned(), |holder| format!("process {holder}"));
    let age = duration::short(clock.now().0.saturating_sub(beside.time.0));
    let (seq, time) = (beside.seq, beside.time.rfc3339());
    format!(
        "{who} has the state and does not answer; shown is its journal up to frame {seq}, of {time}, {age} ago"
    )
}

fn writing(config: &Config) -> Result<Local, Error> {
    let disk = Arc::new(RealDisk);
    let exists = store::exists(&*disk, &config.store()).map_err(engine::running::Error::Store)?;
    if !exists {
        return Ok(Local::Closed);
    }
    let clock = Arc::new(SystemClock::new());
    let fresh_id = StoreId(random_bytes().map_err(Error::system("read random bytes"))?);
    let tables = Arc::new(LmdbTables::at(&config.cache_dir));
    let start = Start { now: clock.now(), fresh_id };
    let options = store::Options { hurried_bytes: SEGMENT_BYTES, ..config.store() };
    let (opened, report) = open_store(Arc::clone(&disk), tables, &options, start, &mut |_| {})?;
    report.warnings.iter().for_each(|warning| ui::note(warning));
    let place = Place { disk, state_dir: config.state_dir.clone(), cache_dir: config.cache_dir.clone() };
    let engine = Engine::start(engine_options(config), opened, clock, Arc::new(Metrics::new()), place)?;
    engine.shared().look_at_disk();
    Ok(Local::Writes(engine))
}

/// As the service's, but for one client who has the time of a batch.
fn engine_options(config: &Config) -> engine::Options {
    let options = config.engine();
    let command_us_max = options.command_us_max.max(options.bulk_us_max);
    engine::Options { hot_cores: HotCores::Unpinned, command_us_max, ..options }
}

fn answer(service: &dyn Service, config: &Config, request: &Request<'_>) -> Result<Answer, Error> {
    let response = respond(service, &as_received(request), &config.server().limits);
    if response.body.len() > ANSWER_BYTES_MAX {
        return Err(Error::AnswerTooLarge { limit_bytes: ANSWER_BYTES_MAX });
    }
    let content_type = response.headers.iter().find(|(name, _)| *name == "content-type");
    let content_type = content_type.and_then(|(_, value)| value.split(';').next()).unwrap_or_default();
    let content_type = content_type.trim().to_ascii_lowercase();
    Ok(Answer { status: response.status, content_type, body: response.body })
}

/// Returns a request as the service's socket would have received it.
fn as_received(request: &Request<'_>) -> api::Request {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut headers = vec![("accept".to_owned(), request.accepted())];
    if request.method == "POST" {
        headers.push(("content-type".to_owned(), request.content_type.to_owned()));
    }
    headers.extend(request.key_sent().map(|key| ("idempotency-key".to_owned(), key)));
    api::Request {
        method: request.method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: request.body.clone(),
        caller: Caller::Local,
    }
}

/// Tells whether a request that failed so can be answered without the service.
pub(super) fn may_replace(error: &Error, request: &Request<'_>) -> bool {
    match error {
        Error::NoService { .. } => true,
        // What was sent may still happen, which only matters to a change.
        other => request.is_read() && other.kind() == Kind::Unknown,
    }
}
