//! Looking beside a service that takes files away meanwhile.

use std::io;
use std::sync::Mutex;

use knhk::store::{Disk, FileKind, Lock, Trim, look, retention};

use super::keeper::Keeping;
use super::*;
use crate::sim::disk::SimFile;

/// A disk that another process has the store on. A file goes right after its name was read.
struct Vanishing {
    disk: SimDisk,
    victim: Mutex<Option<PathBuf>>,
}

impl Disk for Vanishing {
    type File = SimFile;

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.disk.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        self.disk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.disk.unlink(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = self.disk.list(folder)?;
        let mut victim = self.victim.lock().unwrap();
        if victim.as_ref().is_some_and(|victim| victim.parent() == Some(folder)) {
            self.disk.unlink(&victim.take().unwrap())?;
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.create_folder(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        self.disk.free_bytes(folder)
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Lock>> {
        Ok(None)
    }

    fn lock_shared(&self, _path: &Path) -> io::Result<Option<Lock>> {
        Ok(None)
    }
}

/// Returns a store whose oldest segment nobody needs, and a disk on which it goes.
fn about_to_trim() -> (Keeping, Vanishing) {
    let mut kept = Keeping::new();
    kept.append(30);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    let folder = kept.bench.options.state_dir.join("journal");
    let oldest = kept.bench.disk.files(&folder).into_iter().find(|path| path.extension().unwrap() == "jnl");
    let victim = Mutex::new(oldest);
    let disk = Vanishing { disk: kept.bench.disk.clone(), victim };
    (kept, disk)
}

#[test]
fn when_files_go_is_told_while_one_goes() {
    let (kept, disk) = about_to_trim();
    let before = retention(&kept.bench.disk, &kept.bench.options, kept.now(), Trim::Now).unwrap();
    let after = retention(&disk, &kept.bench.options, kept.now(), Trim::Now).unwrap();
    let segments = |rows: &[knhk::store::FileRow]| {
        rows.iter()
            .filter(|row| row.kind == FileKind::Segment)
            .map(|row| row.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(segments(&after), segments(&before)[1..]);
    assert_eq!(*disk.victim.lock().unwrap(), None, "nothing went");
}

#[test]
fn a_store_is_looked_at_while_a_segment_goes() {
    let (kept, disk) = about_to_trim();
    let disk = Arc::new(disk);
    let fold: Arc<dyn Fold> = Arc::new(Chains);
    let looked = look(&disk, || Ok(None::<MemTables>), &fold, &kept.bench.options, &[]).unwrap().unwrap();
    assert_eq!((looked.follower.seq(), looked.is_beside), (kept.store.follower.seq(), true));
    assert_eq!(*disk.victim.lock().unwrap(), None, "nothing went");
}
