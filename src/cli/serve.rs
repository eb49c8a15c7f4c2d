//! `knhk serve`: the service, from the first thread to the last.

use std::sync::Arc;

use argh::{ArgsInfo, FromArgs};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Context, Error};
use crate::api::remote::{self, Remote};
use crate::api::server::{self, CONNECTIONS_MAX};
use crate::api::{Listener, Server};
use crate::config::Config;
use crate::engine::clock::{BelievingClock, Clock, SystemClock};
use crate::engine::running::{Engine, open_store};
use crate::engine::service::Service;
use crate::engine::shared::Place;
use crate::engine::threads::random_bytes;
use crate::store::{LmdbTables, Opened, Progress, RealDisk, Start, StoreId, Work};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// How often the main thread looks around when no signal comes, in milliseconds.
const LOOK_MS: u16 = 1_000;
/// Frames between two lines about a long start.
const PROGRESS_FRAMES: u64 = 100_000;

/// Run the service until SIGTERM
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "serve", help_triggers("-h", "--help", "help"))]
pub(super) struct Serve {}

type Node = Engine<RealDisk, LmdbTables>;

/// Everything that runs.
struct Running {
    engine: Arc<Node>,
    server: Server,
    remote: Option<Remote>,
}

pub(super) fn run(context: &Context, _command: &Serve) -> Result<(), Error> {
    let config = context.config()?;
    // Before any thread, so that all inherit it and only the main thread hears signals.
    let signals = block_signals().map_err(Error::system("block signals"))?;
    let clock: Arc<dyn Clock> = Arc::new(BelievingClock::new(SystemClock::new()));
    let metrics = Arc::new(Metrics::new());
    start_log(context, &config, &clock, &metrics);
    let files = raise_file_limit();
    let mut running = start(&config, &clock, &metrics, files)?;
    tracing::info!(listen = %config.listen, socket = %config.socket.display(), "knhk serves on {}", config.listen);
    if let Some(remote) = &running.remote {
        tell_of(remote);
    }
    notify(&[sd_notify::NotifyState::Ready]);
    wait(&signals, &mut running).map_err(Error::system("wait for signals"))?;
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("knhk stops");
    stop(running);
    Ok(())
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn start_log(context: &Context, config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) {
    let clock = Arc::clone(clock);
    logs::start(logs::Options {
        level: config.log_level,
        lines_per_second_max: config.log_lines_per_second_max,
        journal_stream: context.environment.journal_stream.clone(),
        now: Arc::new(move || clock.now()),
        metrics: Arc::clone(metrics),
    });
}

/// Every connection takes a file descriptor: as many as the system allows. Returns how many that is.
fn raise_file_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(soft, hard, "cannot raise the limit on open files: {error}");
            soft
        }
    }
}

/// Returns how many connections there may be of `wanted`: all sides together at most half of all open files, so that
/// they never keep the journal from opening its own.
fn connections_for(files: u64, sides: u64, wanted: usize) -> usize {
    let share = usize::try_from(files / 2 / sides).unwrap_or(usize::MAX);
    if share < wanted {
        tracing::warn!(
            files,
            connections = share,
            "the limit on open files is low: fewer connections are taken"
        );
    }
    share.min(wanted)
}

/// Says in the log how other machines reach the service, and by what they know that it is this one.
fn tell_of(remote: &Remote) {
    let address = remote.address();
    if let Some(fingerprint) = remote.fingerprint() {
        tracing::info!(fingerprint, "knhk serves other machines on https://{address}");
    } else {
        tracing::warn!(
            "knhk serves other machines on http://{address} without TLS: tokens can be read on their way, unless \
             nothing but a container's own network is there"
        );
    }
}

fn start(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    files: u64,
) -> Result<Running, Error> {
    let remote = config.remote();
    let sides = if remote.is_some() { 2 } else { 1 };
    // The ports first: whether they can be had is known at once, opening a large store takes seconds.
    let listeners = vec![Listener::tcp(config.listen)?, Listener::unix(&config.socket)?];
    let bound = remote
        .map(|options| {
            let connections_max = connections_for(files, sides, options.connections_max);
            Remote::bind(remote::Options { connections_max, ..options })
        })
        .transpose()?;
    metrics.start_time_seconds.set(clock.now().0 / 1_000_000);
    let disk = Arc::new(RealDisk);
    let opened = open(config, &disk, clock.as_ref())?;
    let place = Place { disk, state_dir: config.state_dir.clone(), cache_dir: config.cache_dir.clone() };
    let engine = Engine::start(config.engine(), opened, Arc::clone(clock), Arc::clone(metrics), place)?;
    let engine = Arc::new(engine);
    let service: Arc<dyn Service> = Arc::clone(&engine) as Arc<dyn Service>;
    let connections_max = connections_for(files, sides, CONNECTIONS_MAX);
    let options = server::Options { connections_max, ..config.server() };
    let started = Server::start(listeners, &options, Arc::clone(&service)).and_then(|server| {
        let remote = bound.map(|bound| bound.start(service, Arc::clone(clock))).transpose();
        // Without the remote side that was asked for, the local one ends too.
        if remote.is_err() {
            server.stop();
        }
        Ok((server, remote?))
    });
    match started {
        Ok((server, remote)) => Ok(Running { engine, server, remote }),
        Err(error) => {
            // What has started ends in order, so that nothing is held against the working environment.
            engine.stop();
            Err(error.into())
        }
    }
}

fn open(
    config: &Config,
    disk: &Arc<RealDisk>,
    clock: &dyn Clock,
) -> Result<Opened<RealDisk, LmdbTables>, Error> {
    let tables = Arc::new(LmdbTables::at(&config.cache_dir));
    let fresh_id = StoreId(random_bytes().map_err(Error::system("read random bytes"))?);
    let start = Start { now: clock.now(), fresh_id };
    let mut tell = |progress: Progress| {
        if progress.seq.is_multiple_of(PROGRESS_FRAMES) {
            let what = match progress.work {
                Work::CheckCopies => "looking how far the copied journal is whole",
                Work::LoadSnapshot => "loading a snapshot",
                Work::FoldHistory => "folding history",
                Work::FoldJournal => "folding the journal",
            };
            tracing::info!(seq = progress.seq, end = progress.end_seq, "{what}");
        }
    };
    let (opened, report) = open_store(Arc::clone(disk), tables, &config.store(), start, &mut tell)?;
    if report.is_new {
        tracing::info!(state_dir = %config.state_dir.display(), "a new store was made");
    }
    if let Some(reason) = &report.discarded {
        tracing::warn!("the working environment was discarded and made anew: {reason}");
    }
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    for note in &report.notes {
        tracing::info!("{note}");
    }
    Ok(opened)
}

/// Waits for a signal to stop, and tells systemd meanwhile that the service moves.
fn wait(signals: &SignalFd, running: &mut Running) -> nix::Result<()> {
    let watchdog = sd_notify::watchdog_enabled();
    loop {
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(signals), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK_MS)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        while let Some(signal) = signals.read_signal()? {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            if number != Signal::SIGHUP as i32 {
                return Ok(());
            }
            tracing::info!("the configuration is read at the start only; restart to change it");
            if let Some(remote) = &mut running.remote {
                reload(remote);
            }
        }
        let metrics = running.engine.metrics();
        let remote = running.remote.as_ref().map_or(0, Remote::connections);
        metrics.remote_connections.set(u64::try_from(remote).unwrap_or(u64::MAX));
        metrics.http_connections.set(u64::try_from(running.server.connections()).unwrap_or(u64::MAX));
        if watchdog.is_some() && running.engine.is_moving() {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Reads the certificate of the remote side anew.
fn reload(remote: &mut Remote) {
    match remote.reload() {
        Ok(()) => tell_of(remote),
        Err(error) => tracing::error!("the certificate was not read anew, the one before stays: {error}"),
    }
}

fn stop(running: Running) {
    let Running { engine, server, remote } = running;
    let ended = remote.map(Remote::stop).unwrap_or_default();
    server.stop();
    for name in ended.into_iter().chain(engine.stop()) {
        tracing::error!(thread = name, "a thread ended by a fault");
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    drop(sd_notify::notify(states));
}
