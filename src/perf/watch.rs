//! Who had which core between two looks at /proc: the service's threads, and everybody else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// Most processes whose threads are looked at.
const PROCESSES_MAX: usize = 32_768;
/// Most threads of a process that are looked at.
const THREADS_MAX: usize = 4_096;
/// So many of those that took most of a core are named.
const NAMED_MAX: usize = 3;
/// Names of the service's hot threads begin so.
const HOT: &str = "hot-";
/// The thread that appends to the journal.
const JOURNAL: &str = "journal";

/// One look. Times only grow, so two looks tell what happened between.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Busy, stolen and all clock ticks of each core.
    cores: BTreeMap<usize, CoreTicks>,
    threads: BTreeMap<(u32, u32), Thread>,
    service: Vec<Scheduled>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CoreTicks {
    busy: u64,
    stolen: u64,
    all: u64,
}

/// A thread of any process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thread {
    name: String,
    ticks: u64,
    core: usize,
}

/// A thread of the service as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scheduled {
    name: String,
    ran_ns: u64,
    waited_ns: u64,
    /// The one core that it may run on.
    core: Option<usize>,
}

/// A hot thread and its core between two looks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HotThread {
    /// Its name.
    pub thread: String,
    /// The core that it is pinned to; `None` when it may run on several.
    pub core: Option<usize>,
    /// Milliseconds that it ran.
    pub ran_ms: f64,
    /// Milliseconds that it could have run and did not have a core.
    pub waited_ms: f64,
    /// Share of its core that other threads of the service took.
    pub service_share: f64,
    /// Share of its core that other processes took.
    pub others_share: f64,
    /// Share of its core that the host of this virtual machine took.
    pub stolen_share: f64,
    /// Those of other processes that took most.
    pub busiest: Vec<Taker>,
}

/// A process that took a core.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taker {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Share of the core.
    pub share: f64,
}

impl Look {
    /// Looks at all processes and at the threads of the service; what may not be read is not there.
    pub fn now(service: u32) -> Self {
        let mut look = Self { cores: cores(&read("/proc/stat")), ..Self::default() };
        for pid in numbers(Path::new("/proc"), PROCESSES_MAX) {
            for tid in numbers(Path::new(&format!("/proc/{pid}/task")), THREADS_MAX) {
                let folder = format!("/proc/{pid}/task/{tid}");
                if let Some(thread) = thread(&read(&format!("{folder}/stat"))) {
                    if pid == service {
                        look.service.extend(scheduled(&folder, &thread.name));
                    }
                    look.threads.insert((pid, tid), thread);
                }
            }
        }
        look
    }

    /// Returns how the hot threads of the service fared since `before`.
    pub fn hot_threads(&self, before: &Self, service: u32) -> Vec<HotThread> {
        let hot = self.service.iter().filter(|thread| thread.name.starts_with(HOT));
        hot.map(|thread| self.hot_thread(thread, before, service)).collect()
    }

    fn hot_thread(&self, thread: &Scheduled, before: &Self, service: u32) -> HotThread {
        let then = before.service.iter().find(|known| known.name == thread.name).unwrap_or(thread);
        let mut found = HotThread {
            thread: thread.name.clone(),
            core: thread.core,
            ran_ms: in_ms(thread.ran_ns.saturating_sub(then.ran_ns)),
            waited_ms: in_ms(thread.waited_ns.saturating_sub(then.waited_ns)),
            ..HotThread::default()
        };
        let Some(core) = thread.core else { return found };
        let (now, then) = (self.cores.get(&core), before.cores.get(&core));
        let (Some(now), Some(then)) = (now, then) else { return found };
        let all = now.all.saturating_sub(then.all);
        let busy = share(now.busy.saturating_sub(then.busy), all);
        found.stolen_share = share(now.stolen.saturating_sub(then.stolen), all);
        let taken = self.taken(before, core);
        let of_service: u64 = taken.iter().filter(|entry| entry.0.0 == service).map(|entry| entry.1).sum();
        let of_hot: u64 = taken
            .iter()
            .filter(|entry| entry.0.0 == service && entry.0.1 == thread.name)
            .map(|entry| entry.1)
            .sum();
        found.service_share = share(of_service - of_hot, all);
        found.others_share = (busy - share(of_service, all)).max(0.0);
        found.busiest = self.takers(&taken, service, all);
        found
    }

    /// Returns the clock ticks that each process's threads took of a core, by process and name of the thread. A thread
    /// counts for the core that it was last on.
    fn taken(&self, before: &Self, core: usize) -> BTreeMap<(u32, String), u64> {
        let mut taken = BTreeMap::new();
        for (id, thread) in self.threads.iter().filter(|entry| entry.1.core == core) {
            let then = before.threads.get(id).map_or(0, |thread| thread.ticks);
            *taken.entry((id.0, thread.name.clone())).or_default() += thread.ticks.saturating_sub(then);
        }
        taken
    }

    fn takers(&self, taken: &BTreeMap<(u32, String), u64>, service: u32, all: u64) -> Vec<Taker> {
        let mut processes: BTreeMap<u32, u64> = BTreeMap::new();
        for ((pid, _), ticks) in taken.iter().filter(|entry| entry.0.0 != service && *entry.1 > 0) {
            *processes.entry(*pid).or_default() += ticks;
        }
        let taker = |(pid, ticks): (u32, u64)| {
            // The first thread has the name of its process.
            let name = self.threads.get(&(pid, pid)).map_or_else(String::new, |thread| thread.name.clone());
            Taker { pid, name, share: share(ticks, all) }
        };
        let mut takers: Vec<Taker> = processes.into_iter().map(taker).collect();
        takers.sort_by(|one, other| other.share.total_cmp(&one.share));
        takers.truncate(NAMED_MAX);
        takers
    }

    /// Returns how long the thread of the journal had to wait for a core since the service started, in microseconds.
    pub fn journal_waited_us(&self) -> Option<u64> {
        let journal = self.service.iter().find(|thread| thread.name == JOURNAL)?;
        Some(journal.waited_ns / 1_000)
    }
}

#[expect(clippy::cast_precision_loss, reason = "clock ticks of a few seconds are few")]
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 / all as f64).min(1.0) }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds are far below 2^52")]
fn in_ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn numbers(folder: &Path, limit: usize) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(limit).collect()
}

/// Reads /proc/stat: `cpu0 user nice system idle iowait irq softirq steal guest guest_nice` (proc(5)). What guests take is
/// part of user and nice.
fn cores(text: &str) -> BTreeMap<usize, CoreTicks> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("cpu"));
    lines
        .filter_map(|line| {
            let (core, fields) = line.split_once(' ')?;
            let core = core.parse().ok()?;
            let fields: Vec<u64> =
                fields.split_ascii_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
            let all: u64 = fields.iter().sum();
            let idle: u64 = fields.iter().skip(3).take(2).sum();
            let stolen = fields.get(7).copied().unwrap_or(0);
            Some((core, CoreTicks { busy: all - idle - stolen, stolen, all }))
        })
        .collect()
}

/// Reads /proc/PID/task/TID/stat (proc(5)): the name stands in brackets and may hold any byte.
fn thread(text: &str) -> Option<Thread> {
    let name = text.split_once('(')?.1.rsplit_once(')')?.0.to_owned();
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // After the name comes the third field; times are the 14th and 15th, the processor the 39th.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let core = usize::try_from(number(39)?).ok()?;
    Some(Thread { name, ticks: number(14)? + number(15)?, core })
}

fn scheduled(folder: &str, name: &str) -> Option<Scheduled> {
    let (ran_ns, waited_ns) = schedstat(&read(&format!("{folder}/schedstat")))?;
    let core = only_core(&read(&format!("{folder}/status")));
    Some(Scheduled { name: name.to_owned(), ran_ns, waited_ns, core })
}

/// Reads nanoseconds on a core and nanoseconds waiting for one.
fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn only_core(status: &str) -> Option<usize> {
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "77 (a (b) c) R 1 77 77 0 -1 4194304 95 0 0 0 30 12 0 0 20 0 1 0 5 6 7 8 9 1 1 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0";

    fn look(ticks: u64, ran_ns: u64, waited_ns: u64) -> Look {
        let thread = |name: &str, ticks| Thread { name: name.to_owned(), ticks, core: 1 };
        Look {
            cores: cores(&format!("cpu  1 2 3\ncpu1 {ticks} 0 0 {ticks} 0 0 0 {} 0 0\n", ticks / 10)),
            threads: BTreeMap::from([
                ((5, 5), thread("hot-0", ticks / 10)),
                ((5, 6), thread("journal", ticks / 10)),
                ((9, 9), thread("make", ticks / 2)),
                ((8, 8), thread("idle", 0)),
            ]),
            service: vec![Scheduled { name: "hot-0".to_owned(), ran_ns, waited_ns, core: Some(1) }],
        }
    }

    #[test]
    fn shares_of_the_hot_core_are_told_apart() {
        let (before, after) = (look(0, 1_000_000, 0), look(500, 3_000_000, 4_000_000));
        let hot = after.hot_threads(&before, 5);
        assert_eq!(hot.len(), 1);
        let hot = &hot[0];
        assert_eq!((hot.core, hot.ran_ms, hot.waited_ms), (Some(1), 2.0, 4.0));
        // Of 1,050 ticks that the core had, 50 went to the hot thread, 50 to the journal's, 50 to the host.
        assert!((hot.service_share - 50.0 / 1_050.0).abs() < 1e-9);
        assert!((hot.others_share - 400.0 / 1_050.0).abs() < 1e-9);
        assert!((hot.stolen_share - 50.0 / 1_050.0).abs() < 1e-9);
        assert_eq!(hot.busiest, [Taker { pid: 9, name: "make".to_owned(), share: 250.0 / 1_050.0 }]);
        assert_eq!(after.hot_threads(&after, 5)[0].busiest, []);
    }

    #[test]
    fn lines_of_proc_are_read_whatever_a_thread_is_called() {
        let found = thread(STAT).unwrap();
        assert_eq!((found.name.as_str(), found.ticks, found.core), ("a (b) c", 42, 1));
        assert_eq!(thread("77 (x"), None);
        assert_eq!(schedstat("12 34 5\n"), Some((12, 34)));
        assert_eq!(only_core("Name:\tx\nCpus_allowed_list:\t3\n"), Some(3));
        assert_eq!(only_core("Cpus_allowed_list:\t0-1\n"), None);
        let own = std::process::id();
        let look = Look::now(own);
        assert!(
            !look.cores.is_empty() && look.threads.keys().any(|id| id.0 == own) && !look.service.is_empty()
        );
    }
}
