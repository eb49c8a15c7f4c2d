//! One thread of another process, kept from running while the others go on.

use std::fs;

use libc::{c_void, pid_t};

/// A thread that does not run until this is dropped.
#[derive(Debug)]
pub(super) struct HeldThread(pid_t);

impl HeldThread {
    /// Holds the thread of this name; `None` where the system does not let us.
    pub(super) fn hold(process: u32, name: &str) -> Option<Self> {
        let folder = format!("/proc/{process}/task");
        let mut threads = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let of_name = |thread: &std::path::PathBuf| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let thread = threads.find(of_name).unwrap_or_else(|| panic!("there is no thread {name}"));
        let id = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
        if !ask(libc::PTRACE_SEIZE, id) {
            return None;
        }
        let held = Self(id);
        assert!(ask(libc::PTRACE_INTERRUPT, id), "thread {name} cannot be interrupted");
        let mut status = 0;
        // SAFETY: waits for a thread that this one traces, and writes to a number of its own.
        let waited = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) };
        assert_eq!(waited, id, "thread {name} does not stop");
        Some(held)
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        // It fails when the thread has ended, and then nothing is held.
        ask(libc::PTRACE_DETACH, self.0);
    }
}

fn ask(what: libc::c_uint, thread: pid_t) -> bool {
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: these three requests take no address and change no memory of this process.
    unsafe { libc::ptrace(what, thread, nothing, nothing) == 0 }
}
