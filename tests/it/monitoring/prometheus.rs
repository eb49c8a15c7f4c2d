//! A real Prometheus with a folder and a port of its own, that scrapes one service every second.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::SEEN_MAX;
use crate::support::http::Client;
use crate::support::service::root;
use crate::support::wait;

/// Longest time until it is ready or has ended.
const START_MAX: Duration = Duration::from_secs(60);

/// One value with its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) time_s: f64,
    pub(super) value: f64,
}

/// A running Prometheus; it does not outlive the test.
pub(super) struct Prometheus {
    child: Child,
    client: Client,
    folder: tempfile::TempDir,
}

/// Returns a program of Prometheus' package, where scripts/install-tools or Debian puts it.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let beside = root().join("target/tools/usr/bin").join(name);
    let candidates = [PathBuf::from(name), beside];
    let runs = |program: &PathBuf| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    candidates.into_iter().find(runs)
}

impl Prometheus {
    pub(super) fn start(program: &PathBuf, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // The example with other times and places, so that it is tried too.
        let example = fs::read_to_string(root().join("docs/monitoring/prometheus.yml")).unwrap();
        let config = example.replace("15s", "1s").replace("127.0.0.1:8080", &target.to_string());
        assert!(config.contains("1s") && config.contains(&target.to_string()), "{config}");
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let rules = root().join("docs/monitoring/knhk.rules.yml");
        fs::copy(rules, folder.path().join("knhk.rules.yml")).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self { child, client: Client::new(address), folder };
        let ready = wait::until(START_MAX, || {
            assert!(started.child.try_wait().unwrap().is_none(), "{}", started.log());
            started.client.get("/-/ready").ok().filter(|answer| answer.status == 200)
        });
        assert!(ready.is_some(), "{}", started.log());
        started
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(super) fn get(&mut self, path: &str) -> Value {
        let answer = self.client.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Asks a query as of a time.
    fn ask(&mut self, query: &str, end_s: f64) -> Value {
        let mut encoded = String::new();
        query.bytes().for_each(|byte| write!(encoded, "%{byte:02X}").unwrap());
        let answer = self.get(&format!("/api/v1/query?query={encoded}&time={end_s}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"].clone()
    }

    /// Returns what time it is there, in seconds.
    pub(super) fn now(&mut self) -> f64 {
        let answer = self.get("/api/v1/query?query=time()");
        sample(&answer["data"]["result"]).value
    }

    /// Returns the values of a query that gives a vector.
    pub(super) fn vector(&mut self, query: &str, end_s: f64) -> Vec<f64> {
        let found = self.ask(query, end_s);
        assert_eq!(found["resultType"], "vector", "{query}: {found}");
        found["result"].as_array().unwrap().iter().map(|series| sample(&series["value"]).value).collect()
    }

    /// Returns the value of a query that gives exactly one.
    pub(super) fn number(&mut self, query: &str, end_s: f64) -> f64 {
        let found = self.vector(query, end_s);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        found[0]
    }

    /// Returns the samples of a range of one series.
    pub(super) fn samples(&mut self, query: &str, end_s: f64) -> Vec<Sample> {
        let found = self.ask(query, end_s);
        let series = found["result"].as_array().unwrap();
        assert_eq!(series.len(), 1, "{query}: {found}");
        series[0]["values"].as_array().unwrap().iter().map(sample).collect()
    }

    /// Returns the buckets of a histogram by their edges.
    pub(super) fn buckets(&mut self, name: &str, end_s: f64) -> Vec<(f64, f64)> {
        let found = self.ask(name, end_s);
        let edge = |series: &Value| match series["metric"]["le"].as_str().unwrap() {
            "+Inf" => f64::INFINITY,
            text => text.parse().unwrap(),
        };
        let series = found["result"].as_array().unwrap().iter();
        let mut buckets: Vec<_> =
            series.map(|series| (edge(series), sample(&series["value"]).value)).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }

    /// Waits until the last sample of each of these is its number.
    #[track_caller]
    pub(super) fn wait_for(&mut self, expected: &[(&str, u64)]) {
        for (name, number) in expected {
            let mut last = Vec::new();
            let seen = wait::until(SEEN_MAX, || {
                let end_s = self.now();
                last = self.vector(name, end_s);
                #[expect(clippy::cast_precision_loss, reason = "small counts")]
                let is_there = last == [*number as f64];
                is_there.then_some(())
            });
            assert!(seen.is_some(), "{name} is {last:?}, not {number}\n{}", self.log());
        }
    }
}

/// Reads `[time, "value"]`.
fn sample(pair: &Value) -> Sample {
    let value = pair[1].as_str().unwrap_or_else(|| panic!("{pair} is no sample"));
    Sample { time_s: pair[0].as_f64().unwrap(), value: value.parse().unwrap() }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // An error means that it has ended already.
        let _ = kill(pid, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
