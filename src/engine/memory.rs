//! How much memory there is for work that can do with less.

use std::fs;
use std::path::Path;

/// Returns the bytes of memory that this process can still use without anything being swapped out: of the machine, and in a
/// container, of that. `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let machine = of_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = of_group(|name| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok());
    Some(group.map_or(machine, |group| machine.min(group)))
}

/// Percent of a machine's memory that the service may take. The unit says the same: `MemoryMax`.
pub const MACHINE_PERCENT: u64 = 75;
/// A limit of a control group of version 1 from this on is none: it is written as the largest number of pages.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// How much memory the service may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Bytes.
    pub bytes: u64,
    /// The file of the control group that says so; `None` when it is the machine's share.
    pub group: Option<String>,
}

impl Bound {
    /// Returns the smaller of the share of all of the machine's memory, and the limit of a control group.
    pub fn new(machine_bytes: u64, group: Option<(String, u64)>) -> Self {
        let share = machine_bytes / 100 * MACHINE_PERCENT;
        match group {
            Some((file, bytes)) if bytes < share => Self { bytes, group: Some(file) },
            _ => Self { bytes: share, group: None },
        }
    }

    /// Returns the bound of this process: its control group and all above it count. `None` where the system does not
    /// tell.
    pub fn of_this_process() -> Option<Self> {
        let machine = number_of(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Some(Self::new(machine, limit_of_groups(&groups, |file| fs::read_to_string(file).ok())))
    }

    /// Returns what says so, in words.
    pub fn words(&self) -> String {
        match &self.group {
            None => format!("{MACHINE_PERCENT} % of this machine's memory"),
            Some(file) => {
                let name = file.rsplit_once('/').map_or(file.as_str(), |(_, name)| name);
                format!("{name} in {}", file.strip_suffix(name).unwrap_or_default())
            }
        }
    }
}

/// Returns the smallest limit of the groups that a process is in, by its lines of cgroup(7), and its file: of version 2,
/// also where version 1 has other things, and of version 1.
fn limit_of_groups(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<(String, u64)> {
    let mut least: Option<(String, u64)> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (roots, name): (&[&str], _) = match kinds {
            "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "memory.max"),
            _ if kinds.split(',').any(|kind| kind == "memory") => {
                (&["/sys/fs/cgroup/memory"], "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be that of the host, and only the last of it, which is nothing, be there.
        for above in Path::new(group).ancestors().filter_map(Path::to_str) {
            for root in roots {
                let file = format!("{root}{}/{name}", above.trim_end_matches('/'));
                let limit = read(&file).and_then(|text| text.trim().parse::<u64>().ok());
                let Some(limit) = limit.filter(|limit| *limit < NO_LIMIT_BYTES) else { continue };
                if least.as_ref().is_none_or(|(_, bytes)| limit < *bytes) {
                    least = Some((file, limit));
                }
            }
        }
    }
    least
}

/// Reads `MemAvailable` (proc(5)).
fn of_meminfo(text: &str) -> Option<u64> {
    number_of(text, "MemAvailable:")
}

/// Reads a line of /proc/meminfo, which is in units of 1,024 bytes.
fn number_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// Returns what the limit of the control group at the top leaves, which is a container's own, by the files of version 2 or
/// 1; `None` when there is no limit.
fn of_group(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let left = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    left("memory.max", "memory.current")
        .or_else(|| left("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read_from_what_the_system_says() {
        let text =
            "MemTotal:       24683964 kB\nMemFree:         1 kB\nMemAvailable:    2048 kB\nBuffers: 7 kB\n";
        assert_eq!(of_meminfo(text), Some(2_097_152));
        for wrong in ["", "MemAvailable: 12", "MemAvailable: x kB", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(of_meminfo(wrong), None, "{wrong}");
        }
        assert!(available_bytes().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn the_smallest_limit_of_all_groups_above_counts() {
        fn limit(groups: &str, files: &[(&str, &str)]) -> Option<(String, u64)> {
            let read = |name: &str| files.iter().find(|file| file.0 == name).map(|file| file.1.to_owned());
            limit_of_groups(groups, read)
        }
        let own = "/sys/fs/cgroup/system.slice/knhk.service/memory.max";
        let slice = "/sys/fs/cgroup/system.slice/memory.max";
        let groups = "0::/system.slice/knhk.service\n";
        assert_eq!(limit(groups, &[]), None);
        assert_eq!(limit(groups, &[(own, "max\n"), (slice, "max\n")]), None);
        assert_eq!(limit(groups, &[(own, "5000\n"), (slice, "max\n")]), Some((own.to_owned(), 5_000)));
        assert_eq!(limit(groups, &[(own, "5000\n"), (slice, "4000\n")]), Some((slice.to_owned(), 4_000)));
        // In a container without a view of its own.
        let top = "/sys/fs/cgroup/memory.max";
        assert_eq!(limit("0::/docker/abc\n", &[(top, "7\n")]), Some((top.to_owned(), 7)));
        let old = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        let lines = "9:name=systemd:/a\n4:memory:/a/b\n0::/a\n";
        assert_eq!(limit(lines, &[(old, "9223372036854771712\n")]), None);
        assert_eq!(limit(lines, &[(old, "800\n")]), Some((old.to_owned(), 800)));
    }

    #[test]
    fn the_smaller_of_the_machines_share_and_the_group_is_the_bound() {
        let group = |bytes| Some(("/sys/fs/cgroup/a/memory.max".to_owned(), bytes));
        let bound = Bound::new(1_000, group(600));
        assert_eq!((bound.bytes, bound.words().as_str()), (600, "memory.max in /sys/fs/cgroup/a/"));
        let bound = Bound::new(1_000, group(751));
        assert_eq!((bound.bytes, bound.words().as_str()), (750, "75 % of this machine's memory"));
        assert!(Bound::of_this_process().is_some_and(|bound| bound.bytes > 0));
    }

    #[test]
    fn a_limit_of_the_control_group_counts() {
        let group = |files: &'static [(&'static str, &'static str)]| {
            of_group(|name| files.iter().find(|file| file.0 == name).map(|file| file.1.to_owned()))
        };
        assert_eq!(group(&[("memory.max", "5000\n"), ("memory.current", "1000\n")]), Some(4_000));
        assert_eq!(group(&[("memory.max", "max\n"), ("memory.current", "1000\n")]), None);
        let old = &[("memory/memory.limit_in_bytes", "500\n"), ("memory/memory.usage_in_bytes", "600\n")];
        assert_eq!(group(old), Some(0));
        assert_eq!(group(&[]), None);
    }
}
