//! How much memory there is for work that can do with less.

use std::fs;

/// Returns the bytes of memory that this process can still use without anything being swapped out: of the machine, and in a
/// container, of that. `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let machine = of_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = of_group(|name| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok());
    Some(group.map_or(machine, |group| machine.min(group)))
}

/// Reads `MemAvailable` (proc(5)), which is in units of 1,024 bytes.
fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
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
