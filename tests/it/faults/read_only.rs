//! A file system that turns read-only under load.
//!
//! In an orderly way the kernel makes none read-only while a file in it is open for writing, as the journal is. What
//! happens to machines is an error in the file system, after which it is read-only for whoever has it open, until it
//! was taken away and repaired. The third test refuses system calls with the same error, and ends that again.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::image::Image;
use super::{Fault, NOT_WRITTEN, check_read_only, rounds, wait_for_health, wait_for_refusal, workers};
use crate::support::load;
use crate::support::service::Place;
use crate::support::wait;

const FAULT: &str = "read-only by an error";
const REFUSED: &str = "system calls refused";
const BYTES: u64 = 48 << 20;
/// What a file system says that is read-only, and one that is not whole.
const READ_ONLY: &[&str] = &["read-only file system"];
const FAILED: &[&str] = &["read-only file system", "input/output error", "structure needs cleaning"];
/// Acknowledged requests before it happens: at least, and at most so many more.
const BEFORE: (u64, u64) = (40, 120);
/// Acknowledged requests afterwards.
const AFTER: u64 = 40;
/// Errors that are put in the place of what changes a file: that of a read-only file system, that of a full one, and
/// what these say.
const INJECTED: [(&str, &[&str]); 2] = [("EROFS", READ_ONLY), ("ENOSPC", &["no space left on device"])];
const TRACED: &str = "trace=pwrite64,pwritev,fdatasync,fsync,ftruncate,rename,renameat,renameat2,mkdir";
/// Longest time until strace has let go.
const DETACH_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_file_system_that_turns_read_only_stops_changes_and_loses_nothing() {
    let fault = Fault::begin(FAULT);
    let mut image = match Image::new(BYTES) {
        Ok(image) => image,
        Err(why) => return fault.skip(&why),
    };
    let mut random = fault.random();
    let mut place = Place::with(&[
        ("state_dir", &image.setting("state")),
        ("cache_dir", &image.setting("cache")),
        ("checkpoint_seconds", "1"),
    ]);
    let mut service = place.start();
    load::register(&service);
    let mut workers = workers(&mut random);
    let (mut why, mut detail) = (String::new(), String::new());
    for _ in 0..rounds() {
        load::while_working(service.address, &mut workers, |progress| {
            progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
            let refused = image.remount_read_only().expect_err("the journal is open for writing");
            assert!(refused.contains("busy"), "{refused}");
            progress.wait_for(AFTER);
            image.fail();
            why = wait_for_refusal(&service, FAILED);
            detail = check_read_only(&service, FAILED);
        });
        let status = service.stop();
        assert!(status.code().is_some(), "a signal ended it: {status}\n{}", place.log());
        image.unmount_and_repair();
        image.mount().unwrap();
        service = place.start();
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    fault.report(
        &format!("remount (busy), error in ext4, stop, fsck, mount, start: {} times", rounds()),
        &format!("{why} / {detail}"),
    );
}

#[test]
fn calls_that_say_read_only_stop_changes_until_they_no_longer_do() {
    let fault = Fault::begin(REFUSED);
    let may_trace = Command::new("strace")
        .args(["-o", "/dev/null", "-e", TRACED, "-e", &injection("EROFS"), "true"])
        .stderr(Stdio::null())
        .status();
    if !may_trace.is_ok_and(|status| status.success()) {
        return fault.skip("strace is not here or may not trace");
    }
    let mut random = fault.random();
    let mut place = Place::with(&[("checkpoint_seconds", "1")]);
    let mut service = place.start();
    load::register(&service);
    let mut workers = workers(&mut random);
    let mut said = BTreeSet::new();
    for (error, causes) in (0..rounds()).flat_map(|_| INJECTED) {
        load::while_working(service.address, &mut workers, |progress| {
            progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
            let pid = service.pid().to_string();
            let mut strace = Command::new("strace")
                .args(["-f", "-p", &pid, "-o", "/dev/null", "-e", TRACED, "-e", &injection(error)])
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let why = wait_for_refusal(&service, causes);
            assert!(why.starts_with(NOT_WRITTEN), "{why}");
            check_read_only(&service, causes);
            said.insert(why);
            let tracer = nix::unistd::Pid::from_raw(i32::try_from(strace.id()).unwrap());
            nix::sys::signal::kill(tracer, nix::sys::signal::Signal::SIGINT).unwrap();
            assert!(wait::until(DETACH_MAX, || strace.try_wait().unwrap()).is_some(), "strace stays");
            wait_for_health(&service, 200);
            progress.wait_for(AFTER);
        });
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    fault.report(
        &format!(
            "writes, syncs and renames say EROFS, then ENOSPC (strace), and no longer: {} times",
            rounds()
        ),
        &said.into_iter().collect::<Vec<_>>().join(" / "),
    );
}

/// Returns what strace is told to put in.
fn injection(error: &str) -> String {
    TRACED.replace("trace=", "inject=") + ":error=" + error
}
