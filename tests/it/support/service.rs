//! The real binary as a service with a folder, a port and a socket of its own, and its commands.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::http::{self, Client};
use super::wait;

/// Longest time from the start of the process to its first answer.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest time from SIGTERM to the end of the process; issue and unit say 5 s, a loaded machine gets more.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Ports that are tried: another test may take one between our look and the service's.
const PORTS_TRIED_MAX: u32 = 10;

/// A folder with a configuration, in which a service can run.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Keys of the configuration with their values, as they stand in the file.
    settings: BTreeMap<String, String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// Makes a place whose configuration has these keys too, or with these values.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        // Sockets have short paths, so this stays near the root.
        let folder = tempfile::Builder::new().prefix("knhk-").tempdir().unwrap();
        let mut place = Self { address: free_address(), settings: ordinary(folder.path()), folder };
        place.set(settings);
        place
    }

    /// Changes the configuration; the next start reads it.
    pub(crate) fn set(&mut self, settings: &[(&str, &str)]) {
        self.settings.extend(settings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        self.configure();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self) {
        let mut text = format!("listen = \"{}\"\n", self.address);
        for (key, value) in &self.settings {
            let _ = writeln!(text, "{key} = {value}");
        }
        fs::write(self.path("knhk.toml"), text).unwrap();
    }

    /// Returns the binary under test: `KNHK_BINARY`, else the one that this test was built with.
    pub(crate) fn binary() -> PathBuf {
        let Some(given) = wait::variable("KNHK_BINARY") else {
            return PathBuf::from(env!("CARGO_BIN_EXE_knhk"));
        };
        fs::canonicalize(&given).unwrap_or_else(|error| panic!("KNHK_BINARY={given}: {error}"))
    }

    /// Returns a command of the binary in an empty environment with this place's configuration.
    pub(crate) fn command(&self, before: &[&str]) -> Command {
        let binary = Self::binary();
        let mut command = match before {
            [] => Command::new(&binary),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&binary);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("KNHK_CONFIG", self.path("knhk.toml"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn knhk(&self, arguments: &[&str]) -> Output {
        self.command(&[]).current_dir(root()).args(arguments).output().unwrap()
    }

    /// Starts the service and waits until it answers.
    pub(crate) fn start(&mut self) -> Service {
        self.start_under(&[])
    }

    /// Starts the service under another program. Another port is taken only as long as nobody has seen this one.
    pub(crate) fn start_under(&mut self, before: &[&str]) -> Service {
        for _ in 0..PORTS_TRIED_MAX {
            let mut service = self.spawn(before);
            match service.wait_until_live() {
                Ok(()) => return service,
                Err(status) if status.code() == Some(74) && !self.path("state/journal").exists() => {
                    self.address = free_address();
                    self.configure();
                }
                Err(status) => panic!("the service ended with {status}:\n{}", self.log()),
            }
        }
        panic!("no port to be had:\n{}", self.log());
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn spawn(&self, before: &[&str]) -> Service {
        let mut command = self.command(before);
        command.arg("serve");
        self.spawn_command(command)
    }

    /// Starts a process that serves this place, whatever its program, and waits for nothing.
    pub(crate) fn spawn_command(&self, mut command: Command) -> Service {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Service { child, address: self.address, socket: self.path("knhk.sock") }
    }

    /// Verifies the store from outside, beside a service or without one; fails when anything is wrong.
    pub(crate) fn verify(&self) {
        let output = self.knhk(&["state", "verify"]);
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "state verify: {}\n{said}{complained}", output.status);
    }

    /// Returns what the services of this place have said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Returns what every place is configured with: small files and limits, and paths of its own.
fn ordinary(folder: &Path) -> BTreeMap<String, String> {
    let path = |name: &str| format!("\"{}\"", folder.join(name).display());
    let mut settings: BTreeMap<String, String> = [
        ("hot_path_cores", "\"none\""),
        ("warm_path_timeout_ms", "20000"),
        ("bulk_timeout_ms", "20000"),
        ("segment_bytes", "1048576"),
        ("frame_bytes_max", "524288"),
        ("body_bytes_max", "262144"),
        ("disk_reserve_mb", "1"),
        ("cache_size_mb", "16"),
        ("otel_enabled", "false"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    for (key, name) in
        [("socket", "knhk.sock"), ("state_dir", "state"), ("cache_dir", "cache"), ("backup_dir", "backup")]
    {
        settings.insert(key.to_owned(), path(name));
    }
    settings
}

/// Returns the folder of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every file below a folder with a hash of what is in it.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.insert(path.display().to_string(), "folder".to_owned());
                folders.push(path);
            } else {
                let hash = blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
                found.insert(path.display().to_string(), hash);
            }
        }
    }
    found
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A running process; it does not outlive the test.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    socket: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Service {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Waits until the service answers that all is well; an error is how it ended instead.
    pub(crate) fn wait_until_live(&mut self) -> Result<(), ExitStatus> {
        self.wait_until(|status| status == 200).map(|_| ())
    }

    /// Waits until the service has started and answers, and returns with which status; an error is how it ended instead.
    pub(crate) fn wait_until_answering(&mut self) -> Result<u16, ExitStatus> {
        self.wait_until(|_| true)
    }

    fn wait_until(&mut self, is_awaited: impl Fn(u16) -> bool) -> Result<u16, ExitStatus> {
        wait::until(START_MAX, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(Err(status));
            }
            // The socket is ours alone, while the port may just have been taken by the service of another test.
            let health = http::get_over_unix(&self.socket, "/health").ok()?;
            if health.status == 503 && health.text().contains(r#""failing":["starting"]"#) {
                return None;
            }
            is_awaited(health.status).then_some(Ok(health.status))
        })
        .unwrap_or_else(|| panic!("no answer from {} within {START_MAX:?}", self.address))
    }

    /// Waits until no row can be missing any more.
    pub(crate) fn wait_until_scrubbed(&self) {
        let mut client = self.client();
        let scrubbed = wait::until(START_MAX, || {
            let health = client.get("/health").ok()?.text();
            (!health.contains("scrub running")).then_some(())
        });
        scrubbed.expect("the scrub does not end");
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        wait::until(STOP_MAX, || self.child.try_wait().unwrap())
            .unwrap_or_else(|| panic!("still running {STOP_MAX:?} after SIGTERM"))
    }

    /// Stops the process from running, until [`Service::go_on`].
    pub(crate) fn hold(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a held process run again.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Returns the number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait::until(START_MAX, || self.child.try_wait().unwrap())
            .unwrap_or_else(|| panic!("still running after {START_MAX:?}"))
    }

    /// Asks the process to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // An error means that it has ended already; whoever waits for it learns how.
        let _ = kill(pid, signal);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill();
        }
    }
}
