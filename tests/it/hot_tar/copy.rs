//! Ways to copy a folder while it is written to, each slow, and stopped midway for as long as the caller wants.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::random::Random;
use crate::support::wait;

/// Parts in which a copy is taken, with a pause after each.
const PARTS: u64 = 150;
/// Pauses after each part.
const PAUSES: u32 = 2;

/// How a copy is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// `tar` of the folder, in the order in which it reads it.
    Tar,
    /// `tar` of its files, last name first.
    TarReversed,
    /// `tar` of its files in any order.
    TarShuffled,
    /// `cp -a`, file by file in any order.
    Cp,
    Rsync,
}

impl Copy {
    pub(crate) fn of_round(round: u64) -> Self {
        let all = [Self::Tar, Self::TarShuffled, Self::Rsync, Self::TarReversed, Self::Cp];
        all[usize::try_from(round).unwrap() % all.len()]
    }

    fn program(self) -> &'static str {
        match self {
            Self::Tar | Self::TarReversed | Self::TarShuffled => "tar",
            Self::Cp => "cp",
            Self::Rsync => "rsync",
        }
    }

    pub(crate) fn is_possible(self) -> bool {
        let asked = Command::new(self.program()).arg("--version").stdout(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    /// Copies `from` to `to`, which is not there yet; midway it calls `midway`.
    pub(crate) fn take(self, from: &Path, to: &Path, random: &mut Random, midway: &dyn Fn()) {
        fs::create_dir_all(to).unwrap();
        match self {
            Self::Tar => tar(from, to, &[PathBuf::from(".")], midway),
            Self::TarReversed => tar(from, to, &files(from).into_iter().rev().collect::<Vec<_>>(), midway),
            Self::TarShuffled => tar(from, to, &shuffled(files(from), random), midway),
            Self::Cp => cp(from, to, &shuffled(files(from), random), midway),
            Self::Rsync => rsync(from, to, midway),
        }
    }
}

/// Returns the files of a folder as they are now. What is only being made, and gets another name, is left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inside)).unwrap() {
            let entry = entry.unwrap();
            let path = inside.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|ending| ending != "tmp") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shuffled(mut files: Vec<PathBuf>, random: &mut Random) -> Vec<PathBuf> {
    for left in (1..files.len()).rev() {
        let other = random.below(u64::try_from(left + 1).unwrap());
        files.swap(left, usize::try_from(other).unwrap());
    }
    files
}

fn bytes(folder: &Path) -> u64 {
    files(folder)
        .iter()
        .filter_map(|file| fs::metadata(folder.join(file)).ok())
        .map(|found| found.len())
        .sum()
}

fn pause() {
    (0..PAUSES).for_each(|_| wait::pause());
}

/// Packs and unpacks at once; what packs waits for us, because a pipe holds little.
fn tar(from: &Path, to: &Path, what: &[PathBuf], midway: &dyn Fn()) {
    let part = usize::try_from(bytes(from) / PARTS).unwrap().max(4096);
    let mut pack = Command::new("tar")
        .arg("-C")
        .arg(from)
        // A file that was listed may have gone by the time that it is its turn: that is not 2, as for a folder's own.
        .args(["--no-wildcards", "--ignore-failed-read", "-cf", "-", "--"])
        .args(what)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut unpack =
        Command::new("tar").arg("-C").arg(to).args(["-xf", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut packed, mut into) = (pack.stdout.take().unwrap(), unpack.stdin.take().unwrap());
    let mut buffer = vec![0; part];
    let mut parts = 0;
    // Ends: what is packed does.
    loop {
        let mut filled = 0;
        while filled < part {
            match packed.read(&mut buffer[filled..]).unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        into.write_all(&buffer[..filled]).unwrap();
        if filled < part {
            break;
        }
        parts += 1;
        if parts == PARTS / 2 {
            midway();
        }
        pause();
    }
    drop(into);
    let output = pack.wait_with_output().unwrap();
    // 1: a file changed while it was read, which is ordinary here.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", told(&output));
    assert!(unpack.wait().unwrap().success());
}

fn cp(from: &Path, to: &Path, files: &[PathBuf], midway: &dyn Fn()) {
    let pauses = PARTS * u64::from(PAUSES) / u64::try_from(files.len()).unwrap();
    for (number, file) in files.iter().enumerate() {
        if number == files.len() / 2 {
            midway();
        }
        let output = Command::new("cp")
            .current_dir(from)
            .args(["-a", "--parents", "--"])
            .arg(file)
            .arg(to)
            .output()
            .unwrap();
        // It may have gone since it was listed.
        assert!(output.status.success() || !from.join(file).exists(), "{}", told(&output));
        (0..pauses).for_each(|_| wait::pause());
    }
}

fn rsync(from: &Path, to: &Path, midway: &dyn Fn()) {
    // In KiB a second: as long as the others take.
    let limit = bytes(from) / 1024 * 100 / (PARTS * u64::from(PAUSES));
    let sender = Command::new("rsync")
        .arg("-a")
        .arg(format!("--bwlimit={}", limit.max(64)))
        .arg(from.join(""))
        .arg(to)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (0..PARTS / 2).for_each(|_| pause());
    let pid = Pid::from_raw(i32::try_from(sender.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    midway();
    kill(pid, Signal::SIGCONT).unwrap();
    let output = sender.wait_with_output().unwrap();
    // 24: a file went while it was at work, such as one that got its name.
    assert!(matches!(output.status.code(), Some(0 | 24)), "{}", told(&output));
}

fn told(output: &Output) -> String {
    format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}
