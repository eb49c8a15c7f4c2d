//! The one place that makes threads: names them, pins them, and joins them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::JoinHandle;

/// Where the hot threads run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HotCores {
    /// From 4 cores on, cores of their own; on 2 or 3, one pinned thread that shares its core; on one, unpinned.
    Auto,
    /// These cores, one thread each.
    These(Vec<usize>),
    /// No pinning: one thread.
    Unpinned,
}

/// From so many cores on, hot threads have cores of their own. On 2 cores an exclusive one cost 28 % of the
/// throughput (design measurements); below 4 too little is left for everyone else.
const EXCLUSIVE_CORES_MIN: usize = 4;

/// A plan of which hot thread runs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorePlan {
    /// A core for each hot thread; `None` runs unpinned.
    pub hot: Vec<Option<usize>>,
    /// Cores that all other threads keep to; empty when they may run anywhere.
    pub others: Vec<usize>,
}

/// Plans cores: `available` are those that this process may use.
pub fn plan(wanted: &HotCores, available: &[usize]) -> CorePlan {
    match wanted {
        HotCores::Unpinned => CorePlan { hot: vec![None], others: Vec::new() },
        HotCores::These(cores) if !cores.is_empty() => {
            let others: Vec<_> = available.iter().copied().filter(|core| !cores.contains(core)).collect();
            CorePlan { hot: cores.iter().map(|core| Some(*core)).collect(), others }
        }
        HotCores::Auto | HotCores::These(_) => match available.len() {
            0 | 1 => CorePlan { hot: vec![None], others: Vec::new() },
            count if count < EXCLUSIVE_CORES_MIN => {
                CorePlan { hot: vec![available.last().copied()], others: Vec::new() }
            }
            count => {
                // A quarter of the cores run shards; the others decode, sync, fold and answer.
                let (others, hot) = available.split_at(count - count / 4);
                CorePlan { hot: hot.iter().map(|core| Some(*core)).collect(), others: others.to_vec() }
            }
        },
    }
}

/// Returns the cores that this process may use.
pub fn available_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins the calling thread to one core, and reads back whether it took: some machines refuse.
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core }) && mask() == vec![core]
}

/// Keeps the calling thread to these cores; tells whether it took.
fn keep_to(cores: &[usize]) -> bool {
    let mut set = nix::sched::CpuSet::new();
    let is_set = cores.iter().all(|core| set.set(*core).is_ok());
    is_set && nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).is_ok()
}

fn mask() -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else { return Vec::new() };
    (0..nix::sched::CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
}

/// Lets the calling thread rest.
pub fn pause_us(us: u64) {
    std::thread::sleep(std::time::Duration::from_micros(us));
}

/// Gives memory back to the system that was freed to the C library's allocator, LMDB's pages in the `knhk` program: what a
/// checkpoint frees lies between what lives on, and that allocator keeps it otherwise. Takes some milliseconds; never on a hot thread.
pub fn give_memory_back() {
    give_own_memory_back();
    // SAFETY: the call takes no memory of anybody's; it locks each arena of the allocator for as long as it looks at it.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Takes together what others have freed of the calling thread's memory in the `knhk` program's allocator, and lets the
/// system have back what nobody has used for a while. By itself that allocator does neither in a thread that waits, so that
/// a thread calls this when it is about to. Looks at each page that the thread's memory lies in, and takes no lock.
pub fn give_own_memory_back() {
    // SAFETY: the call takes no memory of anybody's. Where that allocator is not the program's, it has nothing to look at.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

/// Does work 0 in the calling thread, and the others of `count` at the same time in threads of their own, or here too
/// when the system has no room for another thread. Returns what came of each.
pub fn side_by_side<R: Send>(
    name: &str,
    count: usize,
    first: impl FnOnce() -> R,
    others: impl Fn(usize) -> R + Sync,
) -> Vec<R> {
    let others = &others;
    std::thread::scope(|scope| {
        let start = |number| {
            let builder = std::thread::Builder::new().name(format!("{name}-{number}"));
            builder.spawn_scoped(scope, move || others(number))
        };
        let started: Vec<_> = (1..count).map(|number| (number, start(number))).collect();
        let mut done = vec![first()];
        for (number, handle) in started {
            done.push(match handle {
                Ok(handle) => handle.join().expect("invariant: a panic ends the process"),
                Err(_) => others(number),
            });
        }
        done
    })
}

/// Does something in a thread of its own that keeps off the hot cores of a plan, and so do threads that it starts. Waits
/// for it; does it here when the system has no room for another thread.
pub fn off_hot_cores<R: Send>(plan: &CorePlan, work: impl FnOnce() -> R + Send) -> R {
    if plan.others.is_empty() {
        return work();
    }
    let mut work = Some(work);
    let done = std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("off-hot-cores".to_owned());
        let started = builder.spawn_scoped(scope, || {
            keep_to(&plan.others);
            work.take().map(|work| work())
        });
        started.ok().and_then(|handle| handle.join().expect("invariant: a panic ends the process"))
    });
    done.or_else(|| work.map(|work| work())).expect("invariant: it was done there or here")
}

/// Starts a named thread that nobody joins: it ends by itself.
///
/// # Errors
/// The system has no room for another thread.
pub fn spawn_alone(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Returns bytes that nobody can guess: the identity of a new store, a token.
///
/// # Errors
/// The system gives none.
pub fn random_bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// Makes a process that root started the owner of `folder`, so that no file of root's own comes to lie in it.
///
/// # Errors
/// The system refuses.
pub fn become_owner(folder: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::metadata(folder) else { return Ok(()) };
    if !nix::unistd::geteuid().is_root() || metadata.uid() == 0 {
        return Ok(());
    }
    become_user(metadata.uid(), metadata.gid())
}

/// Makes a process that root started another user's, for good; it is in no other group than `gid`.
///
/// # Errors
/// The system refuses.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(nix::unistd::Gid::from_raw(gid))?;
    nix::unistd::setuid(nix::unistd::Uid::from_raw(uid))?;
    Ok(())
}

/// While it lives, a process that root started acts as the owner of a folder, and then as root again: for a command that
/// also writes elsewhere. Otherwise nothing changes.
#[derive(Debug)]
#[must_use]
pub struct ActingAsOwner(bool);

impl ActingAsOwner {
    /// Begins to act as the owner of `folder`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let Ok(metadata) = std::fs::metadata(folder) else { return Ok(Self(false)) };
        if !nix::unistd::geteuid().is_root() || metadata.uid() == 0 {
            return Ok(Self(false));
        }
        let acting = Self(true);
        nix::unistd::setegid(nix::unistd::Gid::from_raw(metadata.gid()))?;
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(metadata.uid()))?;
        Ok(acting)
    }
}

impl Drop for ActingAsOwner {
    fn drop(&mut self) {
        if self.0 {
            // Root may always become root again; if it could not, it would go on with less.
            let _ = nix::unistd::seteuid(nix::unistd::Uid::from_raw(0));
            let _ = nix::unistd::setegid(nix::unistd::Gid::from_raw(0));
        }
    }
}

/// Threads of a running service, joined together.
#[derive(Debug, Default)]
pub struct Threads {
    handles: Vec<(String, JoinHandle<()>)>,
    others: Vec<usize>,
}

impl Threads {
    /// Returns an empty set; threads that are not hot keep to `others`, if it names any.
    pub fn new(others: Vec<usize>) -> Self {
        Self { handles: Vec::new(), others }
    }

    /// Keeps the calling thread, and those that it starts from now on, to the cores of all who are not hot.
    pub fn keep_caller_off_hot_cores(&self) {
        if !self.others.is_empty() {
            keep_to(&self.others);
        }
    }

    /// Starts a named thread on the cores of all who are not hot.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let others = self.others.clone();
        self.start(name, move || {
            if !others.is_empty() {
                keep_to(&others);
            }
            work();
        })
    }

    /// Starts a named hot thread; `work` is told whether it is pinned as planned.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn spawn_hot(
        &mut self,
        name: &str,
        core: Option<usize>,
        work: impl FnOnce(bool) + Send + 'static,
    ) -> io::Result<()> {
        self.start(name, move || work(core.is_some_and(pin)))
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        // The kernel shows 15 characters of a thread's name.
        debug_assert!(name.len() <= 15, "thread name too long: {name}");
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        self.handles.push((name.to_owned(), handle));
        Ok(())
    }

    /// Waits for all of them; returns the names of those that panicked.
    pub fn join(self) -> Vec<String> {
        self.handles.into_iter().filter_map(|(name, handle)| handle.join().err().map(|_| name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_threads_share_few_cores_and_own_many() {
        let plan = |count: usize| plan(&HotCores::Auto, &(0..count).collect::<Vec<_>>());
        assert_eq!(plan(1), CorePlan { hot: vec![None], others: vec![] });
        assert_eq!(plan(2), CorePlan { hot: vec![Some(1)], others: vec![] });
        assert_eq!(plan(4), CorePlan { hot: vec![Some(3)], others: vec![0, 1, 2] });
        assert_eq!(plan(8), CorePlan { hot: vec![Some(6), Some(7)], others: vec![0, 1, 2, 3, 4, 5] });
    }

    /// Returns the pages of memory that this process has.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn resident_pages() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn freed_memory_between_what_lives_on_goes_back_to_the_system() {
        // A block in 1,024 lives on, so that no end of the heap becomes free by itself.
        let blocks: Vec<_> = (0..1_000_000_usize).map(|number| vec![number; 16]).collect();
        let kept: Vec<_> = blocks.into_iter().step_by(1_024).collect();
        let before = resident_pages();
        give_memory_back();
        let after = resident_pages();
        assert!(after + 10_000 < before, "{before} pages before, {after} after");
        drop(kept);
    }

    #[test]
    fn threads_that_the_caller_starts_stay_off_hot_cores() {
        let first = mask()[0];
        // In a thread of its own, because it stays there.
        let seen = side_by_side(
            "test",
            2,
            || None,
            |_| {
                Threads::new(Vec::new()).keep_caller_off_hot_cores();
                let before = mask();
                Threads::new(vec![first]).keep_caller_off_hot_cores();
                Some((before, side_by_side("inner", 2, mask, |_| mask())))
            },
        );
        assert_eq!(seen[1], Some((mask(), vec![vec![first], vec![first]])));
    }

    #[test]
    fn what_is_done_off_hot_cores_leaves_the_caller_where_it_is() {
        let before = mask();
        let plan = |others| CorePlan { hot: vec![None], others };
        let first = before[0];
        let seen = off_hot_cores(&plan(vec![first]), || side_by_side("inner", 2, mask, |_| mask()));
        assert_eq!(seen, [vec![first], vec![first]]);
        assert_eq!(off_hot_cores(&plan(vec![]), mask), before);
        assert_eq!(mask(), before);
    }

    #[test]
    fn cores_that_are_named_are_taken_as_they_are() {
        let these = super::plan(&HotCores::These(vec![1, 2]), &[0, 1, 2, 3]);
        assert_eq!(these, CorePlan { hot: vec![Some(1), Some(2)], others: vec![0, 3] });
    }
}
