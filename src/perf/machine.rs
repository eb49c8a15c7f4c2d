//! What this machine is, as far as it bears on figures.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Type of the file system that holds the state.
    pub file_system: Option<String>,
    /// What it lies on.
    pub device: Option<String>,
    /// Ticks of the time-stamp counter a second.
    pub tick_hertz: Option<u64>,
    /// Whether the time-stamp counter runs at one speed, also while cores rest.
    pub steady_ticks: Option<bool>,
    /// What sets the frequency of the cores, such as `performance`; none where the machine shows none.
    pub frequency_governor: Option<String>,
    /// When memory is given in huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Whether the machine shows hardware counters, such as those of cache misses.
    pub hardware_counters: bool,
}

impl Machine {
    /// Looks; `state` lies on the file system of the state, or would.
    pub fn look(state: &Path, cores: usize) -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let mounts = read("/proc/self/mountinfo").unwrap_or_default();
        let existing = state.ancestors().find_map(|path| fs::canonicalize(path).ok());
        let mount = existing.and_then(|path| mount_of(&mounts, &path));
        Self {
            processor: field(&cpuinfo, "model name").map(str::to_owned),
            cores,
            memory_bytes: read("/proc/meminfo").and_then(|text| memory_of(&text)),
            kernel: line("/proc/sys/kernel/osrelease"),
            file_system: mount.as_ref().map(|mount| mount.0.clone()),
            device: mount.map(|mount| mount.1),
            tick_hertz: None,
            steady_ticks: steady_ticks(&cpuinfo),
            frequency_governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            huge_pages: line("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
            hardware_counters: Path::new("/sys/bus/event_source/devices/cpu").exists()
                || Path::new("/sys/bus/event_source/devices/cpu_core").exists(),
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn line(path: &str) -> Option<String> {
    read(path).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(known, value)| (known.trim(), value.trim())).find(|line| line.0 == name).map(|line| line.1)
}

fn memory_of(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemTotal")?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// Tells by the flags of the processor (proc(5)), which only some have.
fn steady_ticks(cpuinfo: &str) -> Option<bool> {
    let flags = field(cpuinfo, "flags")?;
    let has = |name: &str| flags.split(' ').any(|flag| flag == name);
    Some(has("constant_tsc") && has("nonstop_tsc"))
}

/// Returns what stands in brackets.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Returns type and device of the file system that holds a path, by mountinfo (proc(5)): the longest mount point above it,
/// the last of several at one point.
fn mount_of(mountinfo: &str, path: &Path) -> Option<(String, String)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let mut after = after.split(' ');
        path.starts_with(&point)
            .then_some((point.len(), (after.next()?.to_owned(), after.next()?.to_owned())))
    });
    mounts.max_by_key(|mount| mount.0).map(|mount| mount.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_point() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 22 0:5 / /var/lib/my\\040state rw shared:1 - xfs /dev/vdb rw\n\
                      31 22 0:6 / /var/lib/my rw - tmpfs none rw\n";
        let of = |path: &str| mount_of(mounts, Path::new(path)).map(|found| found.0);
        assert_eq!(of("/var/lib/my state/x").as_deref(), Some("xfs"));
        assert_eq!(of("/var/lib/my/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/var/lib/mystery").as_deref(), Some("ext4"));
        assert_eq!(mount_of("nonsense", Path::new("/")), None);
    }

    #[test]
    fn facts_are_read_as_the_system_writes_them() {
        assert_eq!(memory_of("MemTotal:       2048 kB\n"), Some(2_097_152));
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(steady_ticks("flags\t\t: fpu constant_tsc nonstop_tsc\n"), Some(true));
        assert_eq!(steady_ticks("flags\t\t: fpu constant_tsc_x\n"), Some(false));
        assert_eq!(steady_ticks("Features : neon\n"), None);
        let machine = Machine::look(Path::new("/nowhere/at/all"), 2);
        assert!(machine.memory_bytes.is_some() && machine.kernel.is_some() && machine.file_system.is_some());
    }
}
