//! A copy of the state folder, made file by file and piece by piece while work goes on, as tar does: folders in any
//! order, each with the names that are there when it is entered, and files in any order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use knhk::id::Time;
use knhk::store::{Disk, DiskFile, MemTables, Moment, Options};

use super::check;
use super::client::Sent;
use super::disk::{SimDisk, SimFile};
use super::node::{Node, Setting};
use super::random::Random;

/// Inodes of another disk are others.
const OTHER_INODES: u64 = 1_000_000;

/// A copy that is being made.
pub(crate) struct Copy {
    /// When it began.
    pub(crate) began: Moment,
    /// What was sent before it began, and what was told of it.
    sent: Vec<Sent>,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    reading: Option<(PathBuf, SimFile, Vec<u8>)>,
    done: Vec<(PathBuf, Vec<u8>)>,
}

impl Copy {
    pub(crate) fn begin(random: &mut Random, state: &Path, sent: &[Sent], began: Moment) -> Self {
        let mut folders: Vec<_> =
            ["", "journal", "history", "snapshot", "archive"].map(|name| state.join(name)).into();
        shuffle(random, &mut folders);
        Self { began, sent: sent.to_vec(), folders, files: Vec::new(), reading: None, done: Vec::new() }
    }

    /// Reads one piece; returns whether there is more.
    pub(crate) fn step(&mut self, random: &mut Random, disk: &SimDisk) -> bool {
        if let Some((path, file, mut bytes)) = self.reading.take() {
            let mut piece = vec![0; 512 << random.below(7)];
            let count = file.read_at(bytes.len() as u64, &mut piece).expect("the disk lives");
            bytes.extend_from_slice(&piece[..count]);
            if count < piece.len() {
                self.done.push((path, bytes));
            } else {
                self.reading = Some((path, file, bytes));
            }
            return true;
        }
        if let Some(path) = self.files.pop() {
            // Whoever was removed before its turn is passed over.
            self.reading = disk.open(&path).ok().map(|file| (path, file, Vec::new()));
            return true;
        }
        let Some(folder) = self.folders.pop() else { return false };
        let names = disk.list(&folder).expect("the disk lives");
        if folder.ends_with("archive") {
            self.folders.extend(names.into_iter().map(|name| folder.join(name)));
            return true;
        }
        self.files = names.into_iter().map(|name| folder.join(name)).collect();
        shuffle(random, &mut self.files);
        true
    }

    /// Opens the copy elsewhere, without a working environment: what was acknowledged before it began is there once,
    /// and nothing that nobody sent.
    pub(crate) fn check(
        self,
        random: &mut Random,
        (options, setting): (&Options, Setting),
        now: Time,
        sent: &[Sent],
    ) -> Result<(), String> {
        let disk = SimDisk::with_inodes_from(random.next(), OTHER_INODES);
        for (path, bytes) in &self.done {
            let write = || {
                let file = disk.create(path)?;
                file.write_at(0, bytes)?;
                file.sync()?;
                disk.sync_folder(path.parent().expect("it lies in a folder"))
            };
            write().expect("the other disk works");
        }
        let tables = Arc::new(MemTables::default());
        let mut node = Node::open(&disk, &tables, options, setting, now)?;
        node.follow(usize::MAX)?;
        let journal = check::Journal::read(&node)?;
        journal.positions_and_chains_are_whole()?;
        journal.acknowledged_is_there_once(&self.sent)?;
        journal.nothing_is_invented(sent)?;
        journal.markings_are_the_interpreters(&node)?;
        check::verify_is_clean(&disk, &tables, options, setting.forgets_keys)
    }
}

fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for place in (1..items.len()).rev() {
        items.swap(place, random.index(place + 1));
    }
}
