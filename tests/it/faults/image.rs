//! A small file system of a test's own: ext4 in a file, mounted by a loop device.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A mounted file system; it is gone when the test ends.
#[derive(Debug)]
pub(super) struct Image {
    folder: TempDir,
    is_mounted: bool,
}

fn run(program: &str, arguments: &[&str]) -> Result<Output, String> {
    Command::new(program)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))
}

fn must(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = run(program, arguments)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(format!("{program} is refused: {said}"))
}

impl Image {
    /// Makes one; an error says why that is not to be had here.
    pub(super) fn new(bytes: u64) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("knhk-fs-").tempdir().unwrap();
        let mut image = Self { folder, is_mounted: false };
        fs::create_dir(image.root()).unwrap();
        let file = File::create(image.file()).unwrap();
        file.set_len(bytes).unwrap();
        must("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image.file())])?;
        image.mount()?;
        Ok(image)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Returns where it is mounted.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Returns a path in it as a value of the configuration.
    pub(super) fn setting(&self, name: &str) -> String {
        format!("\"{}\"", self.root().join(name).display())
    }

    pub(super) fn mount(&mut self) -> Result<(), String> {
        let options = "loop,errors=remount-ro";
        must("mount", &["-t", "ext4", "-o", options, text(&self.file()), text(&self.root())])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Takes it away and repairs it, as whoever runs a machine does after an error.
    pub(super) fn unmount_and_repair(&mut self) {
        must("umount", &[text(&self.root())]).unwrap();
        self.is_mounted = false;
        let output = run("e2fsck", &["-fy", text(&self.file())]).unwrap();
        // 1: errors were corrected.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    }

    /// Asks the kernel to make it read-only in an orderly way.
    pub(super) fn remount_read_only(&self) -> Result<(), String> {
        must("mount", &["-o", "remount,ro", text(&self.root())])
    }

    /// Makes the kernel find an error in it, upon which it is read-only at once, whoever writes.
    pub(super) fn fail(&self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = self.root();
        let device = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == root.to_str())
            .and_then(|line| line.split(' ').next()?.strip_prefix("/dev/"))
            .unwrap_or_else(|| panic!("{} is not mounted:\n{mounts}", root.display()));
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }

    /// Fills it to the last byte; returns the file that did it.
    pub(super) fn fill(&self) -> PathBuf {
        let path = self.root().join("filler");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for chunk in [1 << 20, 64 << 10, 4 << 10, 512, 1] {
            let bytes = vec![b'f'; chunk];
            // Ends: the file system does.
            while file.write_all(&bytes).is_ok() {}
        }
        path
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a service that a failed test left may still have it.
            let _ = run("umount", &["-l", text(&self.root())]);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
