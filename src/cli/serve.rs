//! `knhk serve`: the service, from the first thread to the last.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use argh::{ArgsInfo, FromArgs};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Context, Error};
use crate::api::server::{self, CONNECTIONS_MAX};
use crate::api::{Listener, Server};
use crate::backup;
use crate::config::Config;
use crate::engine::clock::{BelievingClock, Clock, SystemClock};
use crate::engine::running::{Engine, open_store};
use crate::engine::service::Service;
use crate::engine::shared::{NewestBackup, Place};
use crate::engine::threads::{random_bytes, spawn_alone};
use crate::store::{LmdbTables, Opened, Progress, RealDisk, Start, StoreId, Work};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// How often the main thread looks around when no signal comes, in milliseconds.
const LOOK_MS: u16 = 1_000;
/// It looks for the newest backup each so many times.
const BACKUP_LOOKS: u32 = 10;
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
}

pub(super) fn run(context: &Context, _command: &Serve) -> Result<(), Error> {
    let config = context.config()?;
    // Before any thread, so that all inherit it and only the main thread hears signals.
    let signals = block_signals().map_err(Error::system("block signals"))?;
    let clock: Arc<dyn Clock> = Arc::new(BelievingClock::new(SystemClock::new()));
    let metrics = Arc::new(Metrics::new());
    start_log(context, &config, &clock, &metrics);
    let connections_max = connections_for(raise_file_limit());
    let running = start(&config, &clock, &metrics, connections_max)?;
    tracing::info!(listen = %config.listen, socket = %config.socket.display(), "knhk serves on {}", config.listen);
    notify(&[sd_notify::NotifyState::Ready]);
    wait(&signals, &running, config.backup_dir.clone()).map_err(Error::system("wait for signals"))?;
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

/// Returns how many connections there may be: at most half of all open files, so that they never keep the journal
/// from opening its own.
fn connections_for(files: u64) -> usize {
    let half = usize::try_from(files / 2).unwrap_or(usize::MAX);
    if half < CONNECTIONS_MAX {
        tracing::warn!(
            files,
            connections = half,
            "the limit on open files is low: fewer connections are taken"
        );
    }
    half.min(CONNECTIONS_MAX)
}

fn start(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    connections_max: usize,
) -> Result<Running, Error> {
    // The port first: whether it can be had is known at once, opening a large store takes seconds.
    let listeners = vec![Listener::tcp(config.listen)?, Listener::unix(&config.socket)?];
    metrics.start_time_seconds.set(clock.now().0 / 1_000_000);
    let disk = Arc::new(RealDisk);
    let opened = open(config, &disk, clock.as_ref())?;
    let place = Place { disk, state_dir: config.state_dir.clone(), cache_dir: config.cache_dir.clone() };
    let engine = Engine::start(config.engine(), opened, Arc::clone(clock), Arc::clone(metrics), place)?;
    let engine = Arc::new(engine);
    let service: Arc<dyn Service> = Arc::clone(&engine) as Arc<dyn Service>;
    let options = server::Options { connections_max, ..config.server() };
    let server = match Server::start(listeners, &options, service) {
        Ok(server) => server,
        Err(error) => {
            // What has started ends in order, so that nothing is held against the working environment.
            engine.stop();
            return Err(error.into());
        }
    };
    Ok(Running { engine, server })
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
fn wait(signals: &SignalFd, running: &Running, backup_dir: PathBuf) -> nix::Result<()> {
    let watchdog = sd_notify::watchdog_enabled();
    let mut backups = BackupLook::new(backup_dir);
    loop {
        backups.turn(&running.engine);
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
        }
        let metrics = running.engine.metrics();
        metrics.http_connections.set(u64::try_from(running.server.connections()).unwrap_or(u64::MAX));
        if watchdog.is_some() && running.engine.is_moving() {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Looks for the newest backup, in a thread of its own: a folder that does not answer must not hold anything up.
struct BackupLook {
    folder: PathBuf,
    is_looking: Arc<AtomicBool>,
    /// Turns until the next.
    rest: u32,
}

impl BackupLook {
    fn new(folder: PathBuf) -> Self {
        Self { folder, is_looking: Arc::default(), rest: 0 }
    }

    fn turn(&mut self, engine: &Node) {
        self.rest = self.rest.saturating_sub(1);
        if self.rest > 0 || self.is_looking.swap(true, Ordering::AcqRel) {
            return;
        }
        self.rest = BACKUP_LOOKS;
        let (folder, is_looking) = (self.folder.clone(), Arc::clone(&self.is_looking));
        let shared = Arc::clone(engine.shared());
        let started = spawn_alone("backup-look", move || {
            let newest = backup::newest(&folder).map_or(NewestBackup::None, NewestBackup::Of);
            *shared.condition.newest_backup.lock().unwrap_or_else(PoisonError::into_inner) = newest;
            is_looking.store(false, Ordering::Release);
        });
        if started.is_err() {
            // There is no room for a thread now; the next turn tries again.
            self.is_looking.store(false, Ordering::Release);
        }
    }
}

fn stop(running: Running) {
    let Running { engine, server } = running;
    server.stop();
    for name in engine.stop() {
        tracing::error!(thread = name, "a thread ended by a fault");
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    drop(sd_notify::notify(states));
}
