//! How old the newest backup is and what lies aside, looked at while the service runs, so that `/health` can say that there
//! is none, or has been something for long.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use super::serve::Node;
use crate::backup;
use crate::engine::shared::{Aside, NewestBackup};
use crate::engine::threads::spawn_alone;
use crate::store::asides;

/// The main thread looks around once a second; it looks for the newest backup each so many times.
const BACKUP_LOOKS: u32 = 10;

/// Looks for the newest backup and for what lies aside, in a thread of its own: a folder that does not answer must not hold anything up.
pub(super) struct BackupLook {
    folder: PathBuf,
    is_looking: Arc<AtomicBool>,
    /// Turns until the next.
    rest: u32,
}

impl BackupLook {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, is_looking: Arc::default(), rest: 0 }
    }

    pub(super) fn turn(&mut self, engine: &Node) {
        self.rest = self.rest.saturating_sub(1);
        if self.rest > 0 || self.is_looking.swap(true, Ordering::AcqRel) {
            return;
        }
        self.rest = BACKUP_LOOKS;
        let (folder, is_looking) = (self.folder.clone(), Arc::clone(&self.is_looking));
        let shared = Arc::clone(engine.shared());
        let started = spawn_alone("backup-look", move || {
            let newest = backup::newest(&folder).map_or(NewestBackup::None, NewestBackup::Of);
            *shared.condition.newest_backup.lock().unwrap_or_else(PoisonError::into_inner) = newest;
            let asides = asides(shared.state_dir());
            let bytes = asides.iter().map(|aside| aside.bytes).sum();
            let aside = Aside { oldest: asides.first().map(|aside| aside.made), bytes };
            *shared.condition.set_aside.lock().unwrap_or_else(PoisonError::into_inner) = aside;
            is_looking.store(false, Ordering::Release);
        });
        if started.is_err() {
            // There is no room for a thread now; the next turn tries again.
            self.is_looking.store(false, Ordering::Release);
        }
    }
}
