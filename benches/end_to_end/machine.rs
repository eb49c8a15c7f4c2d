//! What a figure needs beside it: machine, commit and date.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Returns machine, commit and date of this run.
pub(crate) fn about(folder: &Path) -> Value {
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let memory = memory.split_ascii_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
    let load = read("/proc/loadavg");
    json!({
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mb": memory.map(|kb| kb / 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "file_system": said("stat", &["-f", "-c", "%T", &folder.display().to_string()]),
        "load_average": load.split(' ').next(),
        "commit": said("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
    })
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
