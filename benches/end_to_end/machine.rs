//! What a figure needs beside it: machine, commit and date.

use std::path::Path;
use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

/// Returns machine, commit and date of this run.
pub(crate) fn about(folder: &Path) -> Value {
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let memory = memory.split_ascii_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
    json!({
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mb": memory.map(|kb| kb / 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "file_system": said("stat", &["-f", "-c", "%T", &folder.display().to_string()]),
        "commit": said("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
    })
}

/// What the processors did up to now, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Processor {
    all: f64,
    busy: f64,
    ours: f64,
}

impl Processor {
    /// Looks. Processes that still run do not count as ours.
    pub(crate) fn now() -> Self {
        let text = read("/proc/stat");
        let fields = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
        let all: f64 = ticks.iter().sum();
        // The fourth and fifth are idle time, with and without a disk that is waited for.
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let used = |who| {
            getrusage(who).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()))
        };
        let ours = used(UsageWho::RUSAGE_SELF) + used(UsageWho::RUSAGE_CHILDREN);
        Self { all: all / 100.0, busy: (all - idle) / 100.0, ours }
    }

    /// Returns the share of the processors, in percent, that others have used since.
    pub(crate) fn others_percent_since(self, before: Self) -> f64 {
        let others = (self.busy - before.busy) - (self.ours - before.ours);
        (others * 100.0 / (self.all - before.all).max(0.01)).max(0.0)
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Returns what a program says; nothing when it cannot be had.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
