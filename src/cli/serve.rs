//! `knhk serve`: the service, from the first thread to the last.

use std::net::SocketAddr;
use std::sync::Arc;

use argh::{ArgsInfo, FromArgs};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::backup_look::BackupLook;
use super::owner::{self, Serves};
use super::reload::Reloader;
use super::{Context, Error};
use crate::api::audit::{AUDIT_LINES_PER_SECOND_MAX, Lane};
use crate::api::remote::{self, Bound, InUse, Remote};
use crate::api::server::{self, CONNECTIONS_MAX};
use crate::api::{Gate, Listener, Server};
use crate::config::{self, Config, Loaded};
use crate::engine::clock::{BelievingClock, Clock, SystemClock};
use crate::engine::running::{Engine, open_store};
use crate::engine::service::Service;
use crate::engine::shared::Place;
use crate::engine::threads::{self, Threads, random_bytes};
use crate::store::{LmdbTables, Opened, Progress, RealDisk, Start, StoreId, Work};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{self, Tracer};
use crate::telemetry::{logs, words};

/// How often the main thread looks around when no signal comes, in milliseconds.
const LOOK_MS: u16 = 1_000;
/// At most one line about clients that could not be let in, in so many microseconds.
const ACCEPT_TOLD_EVERY_US: u64 = 60_000_000;
/// Frames between two lines about a long start.
const PROGRESS_FRAMES: u64 = 100_000;

/// What nobody but user and group of the service may do with what it makes.
const UMASK: u32 = 0o027;

/// Run the service until SIGTERM
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "serve", help_triggers("-h", "--help", "help"))]
pub(super) struct Serve {}

/// The engine of a service.
pub(super) type Node = Engine<RealDisk, LmdbTables>;

/// What takes spans, and the thread that sends them.
type Traces = (Arc<Tracer>, Threads);

/// Everything that runs.
struct Running {
    engine: Arc<Node>,
    server: Server,
    reloader: Arc<Reloader>,
    beside: Beside,
}

pub(super) fn run(context: &Context, _command: &Serve) -> Result<(), Error> {
    let loaded = context.load()?;
    config::check_memory(&loaded)?;
    // Whatever the service makes is no business of other users, also where no unit says so.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(UMASK));
    let config = &loaded.config;
    let serves = owner::become_of_service(&context.environment, config, "sudo systemctl start knhk")?;
    // Before any thread, so that all inherit it and only the main thread hears signals.
    let signals = block_signals().map_err(Error::system("block signals"))?;
    let clock: Arc<dyn Clock> = Arc::new(BelievingClock::new(SystemClock::new()));
    let metrics = Arc::new(Metrics::new());
    start_log(context, config, &clock, &metrics);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{}", words::STARTING);
    match serves {
        Serves::Caller => {}
        Serves::Owner(user) => tracing::info!(user, "{}", words::SERVES_AS_OWNER),
        Serves::Root => tracing::info!("{}", words::SERVES_AS_ROOT),
    }
    let files = raise_file_limit();
    let running = start(context, &loaded, &clock, &metrics, files)?;
    let (listen, socket) = (config.listen, config.socket.display());
    tracing::info!(%listen, %socket, "{}: knhk serves on {listen}", words::READY);
    if let Some(remote) = &running.beside.remote {
        tell_of(remote.address(), remote.in_use());
    }
    notify(&[sd_notify::NotifyState::Ready]);
    wait(&signals, &running, BackupLook::new(config.backup_dir.clone()))
        .map_err(Error::system("wait for signals"))?;
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("{}", words::STOPPING);
    stop(running);
    tracing::info!("{}", words::STOPPED);
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
            tracing::warn!(soft, hard, "{}: {error}", words::FILE_LIMIT_KEPT);
            soft
        }
    }
}

/// Files that the service itself may have open: sockets, journal, history, snapshots, the working environment, and what it
/// looks at now and then.
const OWN_FILES: u64 = 32;

/// Returns how many connections there may be of `wanted`: all sides together at most half of all open files, and
/// [`OWN_FILES`] fewer than all as long as that leaves a quarter, so that they never keep the journal from opening its
/// own. `side` is the key by which it is switched on.
fn connections_for(side: &str, files: u64, sides: u64, wanted: usize) -> usize {
    let connections = (files / 2).min(files.saturating_sub(OWN_FILES).max(files / 4));
    let connections = usize::try_from(connections / sides).unwrap_or(usize::MAX);
    if connections < wanted {
        tracing::warn!(files, connections, "{}: {connections} of {wanted} on {side}", words::FEW_FILES);
    }
    connections.min(wanted)
}

/// Says in the log how other machines reach the service, and by what they know that it is this one.
pub(super) fn tell_of(address: SocketAddr, in_use: &InUse) {
    if let Some(fingerprint) = in_use.fingerprint() {
        tracing::info!(%address, fingerprint, "{}: https://{address}", words::REMOTE_READY);
    } else {
        tracing::warn!(%address, "{}: http://{address}", words::REMOTE_PLAIN);
    }
}

fn start(
    context: &Context,
    loaded: &Loaded,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    files: u64,
) -> Result<Running, Error> {
    let config = &loaded.config;
    let remote = config.remote();
    let sides = if remote.is_some() { 2 } else { 1 };
    // The ports first: whether they can be had is known at once, and opening a large store takes seconds, during which
    // the local one answers that the service is starting.
    let listeners = vec![Listener::tcp(config.listen)?, Listener::unix(&config.socket)?];
    let bound = remote
        .map(|options| {
            let connections_max = connections_for("remote_listen", files, sides, options.connections_max);
            Remote::bind(remote::Options { connections_max, ..options })
        })
        .transpose()?;
    metrics.start_time_seconds.set(clock.now().0 / 1_000_000);
    let connections_max = connections_for("listen", files, sides, CONNECTIONS_MAX);
    let options = server::Options { connections_max, ..config.server() };
    let audit = Arc::new(Lane::new(AUDIT_LINES_PER_SECOND_MAX));
    let gate = Gate::open(config.gate(), Arc::clone(clock), Arc::clone(&audit))?;
    let server = off_hot_cores(config, || Server::start_early(listeners, gate, &options))?;
    let started = start_engine(config, clock, metrics).and_then(|engine| {
        let beside = Beside::start(config, clock, &engine, bound.map(|bound| (bound, audit)));
        // What has started ends in order, so that nothing is held against the working environment.
        if beside.is_err() {
            engine.stop();
        }
        Ok((engine, beside?))
    });
    match started {
        Ok((engine, beside)) => {
            let remote = beside.remote.as_ref();
            let remote = remote.map(|remote| (remote.address(), Arc::clone(remote.in_use())));
            let environment = context.environment.clone();
            let reloader = Arc::new(Reloader::new(environment, loaded, Arc::downgrade(&engine), remote));
            let asked = Arc::clone(&reloader);
            engine.reload_by(move || asked.reload());
            server.serve(Arc::clone(&engine) as Arc<dyn Service>);
            Ok(Running { engine, server, reloader, beside })
        }
        Err(error) => {
            server.stop();
            Err(error)
        }
    }
}

/// Makes something whose threads keep off the cores of the hot ones.
fn off_hot_cores<R: Send>(config: &Config, make: impl FnOnce() -> R + Send) -> R {
    threads::off_hot_cores(&threads::plan(&config.engine().hot_cores, &threads::available_cores()), make)
}

fn start_engine(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Arc<Node>, Error> {
    let disk = Arc::new(RealDisk);
    let opened = open(config, &disk, clock.as_ref())?;
    let place = Place { disk, state_dir: config.state_dir.clone(), cache_dir: config.cache_dir.clone() };
    let engine = Engine::start(config.engine(), opened, Arc::clone(clock), Arc::clone(metrics), place)?;
    Ok(Arc::new(engine))
}

/// What runs beside the engine and the local side, if it is wanted.
struct Beside {
    /// What sends spans to the collector, and its thread.
    traces: Option<Traces>,
    /// What other machines reach.
    remote: Option<Remote>,
}

impl Beside {
    fn start(
        config: &Config,
        clock: &Arc<dyn Clock>,
        engine: &Arc<Node>,
        bound: Option<(Bound, Arc<Lane>)>,
    ) -> Result<Self, Error> {
        // Before the first request, so that the first is traced too.
        let traces = start_traces(config, clock, engine)?;
        let service: Arc<dyn Service> = Arc::clone(engine) as Arc<dyn Service>;
        let start = |(bound, audit): (Bound, Arc<Lane>)| {
            off_hot_cores(config, || bound.start(service, Arc::clone(clock), audit))
        };
        match bound.map(start).transpose() {
            Ok(remote) => Ok(Self { traces, remote }),
            Err(error) => {
                stop_traces(traces);
                Err(error.into())
            }
        }
    }
}

/// Starts what sends spans and figures to the collector, if that is wanted.
fn start_traces(
    config: &Config,
    clock: &Arc<dyn Clock>,
    engine: &Arc<Node>,
) -> Result<Option<Traces>, Error> {
    if !config.otel_enabled {
        return Ok(None);
    }
    let host = nix::unistd::gethostname().map_err(Error::system("read the name of this machine"))?;
    let host = host.to_string_lossy().into_owned();
    let clock = Arc::clone(clock);
    let (tracer, exporter) = traces::traces(traces::Options {
        endpoint: config.otel_endpoint.clone(),
        traces_per_second_max: config.otel_traces_per_second_max,
        times: traces::TIMES,
        host,
        process: std::process::id(),
        instance: random_bytes().map_err(Error::system("read random bytes"))?,
        now: Arc::new(move || clock.now()),
        metrics: Arc::clone(&engine.shared().metrics),
    });
    engine.shared().trace_with(Arc::clone(&tracer));
    let engine = Arc::clone(engine);
    let page = move || {
        engine.measure();
        engine.metrics().render(false)
    };
    let mut threads = Threads::default();
    off_hot_cores(config, || threads.spawn("telemetry", move || exporter.run(page)))
        .map_err(Error::system("start a thread"))?;
    Ok(Some((tracer, threads)))
}

/// Sends what is left, as long as there is time for it.
fn stop_traces(traces: Option<Traces>) {
    let Some((tracer, threads)) = traces else { return };
    tracer.stop();
    for name in threads.join() {
        tracing::error!(thread = name, "{}", words::THREAD_ENDED);
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
            tracing::info!(seq = progress.seq, end = progress.end_seq, "{}: {what}", words::OPENING);
        }
    };
    let (opened, report) = open_store(Arc::clone(disk), tables, &config.store(), start, &mut tell)?;
    if report.is_new {
        tracing::info!(state_dir = %config.state_dir.display(), "{}", words::NEW_STORE);
    }
    if let Some(reason) = &report.discarded {
        tracing::warn!("{}: {reason}", words::ENVIRONMENT_REBUILT);
    }
    for warning in &report.warnings {
        tracing::warn!("{}: {warning}", words::STATE_MENDED);
    }
    for note in &report.notes {
        tracing::info!("{}: {note}", words::OPENED_NOTE);
    }
    Ok(opened)
}

/// Waits for a signal to stop, and tells systemd meanwhile that the service moves.
fn wait(signals: &SignalFd, running: &Running, mut backups: BackupLook) -> nix::Result<()> {
    let watchdog = sd_notify::watchdog_enabled();
    let mut accepting = Accepting::default();
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
            reload(running);
        }
        let metrics = running.engine.metrics();
        let remote = running.beside.remote.as_ref().map_or(0, Remote::connections);
        metrics.remote_connections.set(u64::try_from(remote).unwrap_or(u64::MAX));
        metrics.http_connections.set(u64::try_from(running.server.connections()).unwrap_or(u64::MAX));
        let now_us = running.engine.shared().clock.monotonic_us();
        if let Some(failures) = accepting.look(running.server.accept_failures(), now_us) {
            tracing::warn!(failures, "{}: {failures} failures", words::ACCEPT_FAILED);
        }
        if watchdog.is_some() && running.engine.is_moving() {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Reads configuration and certificate again, and tells systemd before and after, as its `Type=notify-reload` wants it.
fn reload(running: &Running) {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        notify(&[sd_notify::NotifyState::Reloading, now]);
    }
    // Whatever comes of it is in the log.
    let _ = running.reloader.reload();
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Whether clients can be let in, as far as the log was told.
#[derive(Debug, Default)]
struct Accepting {
    failures: usize,
    told_us: Option<u64>,
}

impl Accepting {
    /// Hears of all failures so far; returns how many are to be told now.
    fn look(&mut self, failures: usize, now_us: u64) -> Option<usize> {
        let is_due = self.told_us.is_none_or(|told| now_us.saturating_sub(told) >= ACCEPT_TOLD_EVERY_US);
        if failures <= self.failures || !is_due {
            return None;
        }
        let more = failures - self.failures;
        (self.failures, self.told_us) = (failures, Some(now_us));
        Some(more)
    }
}

fn stop(running: Running) {
    let Running { engine, server, beside, .. } = running;
    let ended = beside.remote.map(Remote::stop).unwrap_or_default();
    server.stop();
    for name in ended.into_iter().chain(engine.stop()) {
        tracing::error!(thread = name, "{}", words::THREAD_ENDED);
    }
    stop_traces(beside.traces);
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    drop(sd_notify::notify(states));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_cannot_be_let_in_are_told_once_a_minute_and_all_are_counted() {
        let mut accepting = Accepting::default();
        let told: Vec<_> = [(0, 1), (5, 2), (6, 3), (9, 61), (9, 62), (9, 200), (10, 201)]
            .map(|(failures, seconds)| accepting.look(failures, seconds * 1_000_000))
            .to_vec();
        assert_eq!(told, [None, Some(5), None, None, Some(4), None, Some(1)]);
    }
}
