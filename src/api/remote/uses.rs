//! On which day each token was last used: a file beside that of the tokens, written by the service.
//!
//! A request never waits for it: a thread of its own writes, at most once a day a token. Several services may share the
//! folder; each adds what it knows under a lock. Nothing depends on the file. A lost or invalid file is made again,
//! and tokens are shown as unused until their next request.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::SECRETS;
use super::tokens::{Folder, TOKEN_COUNT_MAX};
use crate::api::Error;
use crate::engine::threads::spawn_alone;
use crate::id::Time;
use crate::telemetry::words;

const DAY_US: u64 = 24 * 3_600 * 1_000_000;
const FORMAT: u32 = 1;
const FILE: &str = "uses";
const LOCK: &str = "uses.lock";
/// Most tokens that there are days of. When there are more, those that were not used for longest are left out.
const COUNT_MAX: usize = TOKEN_COUNT_MAX + SECRETS.len();

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(u64);

impl Day {
    fn of(time: Time) -> Self {
        Self(time.0 / DAY_US)
    }

    /// Returns it as `2026-01-31`.
    pub fn date(self) -> String {
        let text = Time(self.0.saturating_mul(DAY_US)).rfc3339();
        text.split('T').next().unwrap_or_default().to_owned()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    /// By the first 16 hexadecimal digits of the token's hash.
    days: BTreeMap<String, Day>,
}

/// Returns by what a token is named in the file: one that is made again under the same name is another.
fn name_of(number: u64) -> String {
    format!("{:016x}", number.swap_bytes())
}

/// The days that the file has; none when it is not there or makes no sense.
#[derive(Debug, Default)]
pub struct Days(BTreeMap<String, Day>);

impl Days {
    pub(super) fn of(&self, number: u64) -> Option<Day> {
        self.0.get(&name_of(number)).copied()
    }

    pub(super) fn read(folder: &Folder) -> Self {
        let text = folder.read(FILE).unwrap_or_default();
        match serde_json::from_slice(&text) {
            Ok(Document { format: FORMAT, days }) if days.len() <= COUNT_MAX => Self(days),
            _ => Self::default(),
        }
    }
}

/// Adds days to the file, unless it has them.
fn add(folder: &Folder, more: &[(u64, Day)]) -> Result<(), Error> {
    let _held = folder.lock(LOCK)?;
    let Days(mut days) = Days::read(folder);
    let before = days.clone();
    for (number, day) in more {
        let known = days.entry(name_of(*number)).or_insert(*day);
        *known = (*known).max(*day);
    }
    while days.len() > COUNT_MAX {
        let oldest = days.iter().min_by_key(|(_, day)| **day).map(|(name, _)| name.clone());
        oldest.and_then(|name| days.remove(&name));
    }
    if days == before {
        return Ok(());
    }
    let mut text = serde_json::to_vec_pretty(&Document { format: FORMAT, days })
        .expect("invariant: days have plain members");
    text.push(b'\n');
    folder.write(FILE, &text)
}

#[derive(Debug, Default)]
struct Seen {
    /// The last day that was noted for each token.
    days: HashMap<u64, Day>,
    /// What the file may not have yet.
    waits: Vec<(u64, Day)>,
    is_writing: bool,
}

/// What this process has seen of uses.
#[derive(Debug)]
pub(super) struct Uses {
    folder: Folder,
    seen: Mutex<Seen>,
}

impl Uses {
    pub(super) fn new(folder: Folder) -> Arc<Self> {
        Arc::new(Self { folder, seen: Mutex::default() })
    }

    /// Notes that a token was used. Never waits for a file.
    pub(super) fn note(self: &Arc<Self>, number: u64, now: Time) {
        let day = Day::of(now);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.days.get(&number).is_some_and(|noted| *noted >= day) {
            return;
        }
        if seen.days.len() >= COUNT_MAX {
            // Tokens were revoked and others made: what is forgotten here is read in the file again.
            seen.days.clear();
        }
        seen.days.insert(number, day);
        seen.waits.push((number, day));
        if !mem::replace(&mut seen.is_writing, true) {
            drop(seen);
            self.begin();
        }
    }

    fn begin(self: &Arc<Self>) {
        let uses = Arc::clone(self);
        if let Err(error) = spawn_alone("token-uses", move || uses.write()) {
            Self::failed(&error.to_string());
            // The next use that is noted starts the thread again.
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_writing = false;
        }
    }

    /// Writes until nothing waits.
    fn write(&self) {
        loop {
            let waits = {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.is_writing = !seen.waits.is_empty();
                mem::take(&mut seen.waits)
            };
            if waits.is_empty() {
                return;
            }
            if let Err(error) = add(&self.folder, &waits) {
                // At most a line a day for each token: they are not tried again before their next day.
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                Self::failed(&format!("{error}{}", cause.unwrap_or_default()));
            }
        }
    }

    fn failed(why: &str) {
        tracing::warn!("{}: {why}", words::USES_NOT_WRITTEN);
    }
}
