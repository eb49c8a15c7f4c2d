//! The real binary as a service in a folder of its own, and what the system says of its process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::Outcome;
use super::http::Client;

/// Longest time from the start of the process to a good /health; millions of cases are loaded in it.
const START_MAX: Duration = Duration::from_secs(300);
/// Longest time from SIGTERM to the end of the process.
const STOP_MAX: Duration = Duration::from_secs(120);
/// Pause between two looks at whether something has happened.
const LOOK: Duration = Duration::from_millis(2);

/// A folder on a real disk with a configuration, in which the service runs.
pub(crate) struct Place {
    folder: TempDir,
    /// Sockets have short names, so theirs is not the folder of the state; it goes when the place goes.
    _sockets: TempDir,
    binary: PathBuf,
    settings: BTreeMap<&'static str, String>,
}

impl Place {
    /// Makes a folder under `base`; `settings` are keys of the configuration that differ from those of a benchmark.
    pub(crate) fn new(base: &Path, binary: &Path, settings: &[(&'static str, String)]) -> Outcome<Self> {
        fs::create_dir_all(base)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(base)?;
        let sockets = tempfile::Builder::new().prefix("knhk-bench-").tempdir()?;
        let path = folder.path().display().to_string();
        let mut all = BTreeMap::from([
            ("socket", format!("\"{}/knhk.sock\"", sockets.path().display())),
            ("state_dir", format!("\"{path}/state\"")),
            ("cache_dir", format!("\"{path}/cache\"")),
            ("backup_dir", format!("\"{path}/backup\"")),
            ("otel_enabled", "false".to_owned()),
            // What is measured is how long answers take, not whether they come within a limit on a busy machine.
            ("warm_path_timeout_ms", "60000".to_owned()),
            ("bulk_timeout_ms", "120000".to_owned()),
        ]);
        all.extend(settings.iter().cloned());
        Ok(Self { folder, _sockets: sockets, binary: binary.to_owned(), settings: all })
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the folders of state and cache.
    pub(crate) fn folders(&self) -> [PathBuf; 2] {
        [self.path().join("state"), self.path().join("cache")]
    }

    /// Returns the bytes on disk of all files of state and cache, by name of the folder they lie in.
    pub(crate) fn disk_bytes(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for folder in self.folders() {
            add_disk_bytes(&folder, self.path(), &mut out);
        }
        out
    }

    /// Returns every file of state and cache.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for folder in self.folders() {
            add_files(&folder, &mut out);
        }
        out
    }

    /// Returns a command of the binary with this place's configuration and an otherwise empty environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path())
            .env("KNHK_CONFIG", self.path().join("knhk.toml"))
            .env("KNHK_NO_PROGRESS", "1")
            .stdin(Stdio::null());
        command
    }

    /// Starts the service and waits until /health is 200; returns how long that took.
    pub(crate) fn start(&self) -> Outcome<(Service, Duration)> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let listen = ("listen", format!("\"{address}\""));
        let settings = self.settings.iter().map(|(key, value)| (*key, value.clone())).chain([listen]);
        let lines: Vec<String> = settings.map(|(key, value)| format!("{key} = {value}\n")).collect();
        fs::write(self.path().join("knhk.toml"), lines.concat())?;
        let log = File::options().create(true).append(true).open(self.path().join("log"))?;
        let began = Instant::now();
        let child = self.command().arg("serve").stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut service = Service { child, address };
        while began.elapsed() < START_MAX {
            if let Some(status) = service.child.try_wait()? {
                return Err(format!("the service ended with {status}: {}", self.log_end()).into());
            }
            if Client::new(address)
                .is_ok_and(|mut client| client.get("/health").is_ok_and(|a| a.status == 200))
            {
                return Ok((service, began.elapsed()));
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("no good /health within {START_MAX:?}: {}", self.log_end()).into())
    }

    /// Returns what the service has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn add_disk_bytes(folder: &Path, root: &Path, out: &mut BTreeMap<String, u64>) {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // A file may go while one looks.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            add_disk_bytes(&entry.path(), root, out);
        } else {
            let name = folder.strip_prefix(root).unwrap_or(folder).display().to_string();
            *out.entry(name).or_default() += about.blocks() * 512;
        }
    }
}

fn add_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() { add_files(&path, out) } else { out.push(path) }
    }
}

/// A running process; it does not outlive the benchmark.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let began = Instant::now();
        while began.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) };
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("still running {STOP_MAX:?} after SIGTERM").into())
    }

    /// Returns the figures of /metrics, by name with labels.
    pub(crate) fn metrics(&self) -> Outcome<Figures> {
        let answer = Client::new(self.address)?.get("/metrics")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Ok(Figures(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()))
    }

    /// Returns the anonymous resident memory: what the process holds itself, LMDB's map and the program not counted.
    pub(crate) fn anonymous_bytes(&self) -> Outcome<u64> {
        Ok(field(&self.proc("smaps_rollup")?, "Anonymous:").ok_or("no Anonymous in smaps_rollup")? * 1024)
    }

    /// Returns the processor time that the process has used, in seconds.
    pub(crate) fn processor_seconds(&self) -> Outcome<f64> {
        let text = self.proc("stat")?;
        let after = text.rsplit_once(')').ok_or("no name in stat")?.1;
        let mut words = after.split_ascii_whitespace().skip(11);
        let user: f64 = words.next().ok_or("no utime in stat")?.parse()?;
        let system: f64 = words.next().ok_or("no stime in stat")?.parse()?;
        // A tick of /proc is a hundredth of a second on every Linux that this runs on (USER_HZ).
        Ok((user + system) / 100.0)
    }

    fn proc(&self, name: &str) -> Outcome<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Figures of /metrics.
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Returns a figure; 0 when there is none of this name, as for a counter that nothing has counted.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}
