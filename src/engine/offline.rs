//! The service without its threads, for reading: rows and journal of a store that is only looked at. It answers as
//! the running engine does, by the same functions, and takes no change.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::answers;
use super::clock::Clock;
use super::cost;
use super::fold::EngineFold;
use super::loading;
use super::long_expressions::Turns;
use super::pending::Again;
use super::proof;
use super::queries;
use super::registry::Registry;
use super::room::{self, Answers, Room};
use super::running::Error;
use super::service::{
    Answer, ArchiveOrder, ArchivedSlice, CaseFilter, CaseSummary, CaseView, Health, HistoryView, IsNew,
    ItemFilter, ItemView, Maintained, Maintenance, Nets, Once, Operation, Page, PageOf, Refusal,
    RestoreOrder, Service, SpecificationView,
};
use super::tables;
use crate::id::{CaseId, ItemId, Time};
use crate::store::{self, Casualties, Disk, Fold, Looked, Table, Tables};
use crate::telemetry::metrics::Metrics;

/// Tables whose sums are checked before anything of the working environment is shown.
const SHOWN: [Table; 5] =
    [tables::SPECS, tables::CASES, tables::INSTANCES, tables::ITEMS, tables::PARTITIONS];
/// Most cases that are named because they cannot be listed.
const UNLISTED_TOLD_MAX: usize = 20;
const WHY: &str = "it does not run";

/// A store that is looked at, as clients' requests see it.
pub struct Offline<D: Disk, T: Tables> {
    looked: Looked<D, T>,
    registry: Registry,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    answers: Arc<Answers>,
    /// Whether the journal's head could be indexed; empty before somebody asked for a history.
    indexed: OnceLock<Result<(), String>>,
    /// Cases that damage concerns, if the store is damaged.
    casualties: Casualties,
    /// How many of them no row knows.
    unlisted_count: usize,
}

/// Where somebody who has the store for himself was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// The process, where the system tells.
    pub holder: Option<u32>,
    /// The last frame that is shown.
    pub seq: u64,
    /// Its time.
    pub time: Time,
}

impl<D: Disk, T: Tables> std::fmt::Debug for Offline<D, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline").finish_non_exhaustive()
    }
}

impl<D: Disk, T: Tables> Offline<D, T> {
    /// Looks at a store; `tables` opens its working environment while nobody writes to it. `None` when there is no
    /// store.
    ///
    /// # Errors
    /// The journal cannot be read or is damaged, or the stored state does not fit together.
    pub fn open(
        disk: &Arc<D>,
        tables: impl FnOnce() -> Result<Option<T>, store::Error>,
        options: &store::Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, Error> {
        let fold: Arc<dyn Fold> = Arc::new(EngineFold);
        let looked = store::look(disk, tables, &fold, options, &SHOWN).map_err(Error::Store)?;
        looked.map(|looked| Self::over(looked, clock)).transpose()
    }

    fn over(looked: Looked<D, T>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let registry = Registry::default();
        loading::specifications(&looked.follower, &registry)
            .map_err(|error| Error::State(error.to_string()))?;
        let (metrics, indexed, casualties) = (Metrics::new(), OnceLock::new(), Casualties::default());
        // One command is its only client.
        let answers =
            Answers::new(room::Limits { answer_bytes_max: usize::MAX, answers_bytes_max: usize::MAX });
        Ok(Self { looked, registry, clock, metrics, answers, indexed, casualties, unlisted_count: 0 })
    }

    /// Looks at a store that cannot be opened, as far as its journal is good, or its newest snapshot where nothing of the
    /// journal is. Cases that have lost something, or go on behind that, are known: [`Service::check_case`] tells them.
    /// `tables` is the working environment, if it can be read: it may know cases whose last entry is lost.
    ///
    /// # Errors
    /// Nothing can be read.
    pub fn open_damaged(
        disk: &Arc<D>,
        options: &store::Options,
        tables: Option<&T>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let fold: Arc<dyn Fold> = Arc::new(EngineFold);
        let looked = store::look_before_damage(disk, &fold, options).map_err(Error::Store)?;
        let mut offline = Self::over(looked, clock)?;
        let follower = &offline.looked.follower;
        let mut lasts = |tell: &mut dyn FnMut(u64, u64)| {
            // What cannot be read is found again when it is shown.
            proof::last_entries(&mut |table, visit| drop(follower.scan(table, &[], visit)), tell);
            if let Some(tables) = tables {
                proof::last_entries(&mut |table, visit| drop(tables.scan(table, &[], visit)), tell);
            }
        };
        let meta = tables.and_then(|tables| tables.meta().ok().flatten());
        let positions = meta.map_or_else(|| follower.positions(), |meta| meta.positions);
        let casualties = store::casualties(&**disk, options, Some(&positions), &mut lasts);
        let casualties = casualties.map_err(Error::Store)?;
        let is_listed = |case: CaseId| matches!(queries::case_rows(follower, case), Ok(Some(_)) | Err(_));
        let cases = casualties.subjects.keys().map(|subject| CaseId(*subject));
        let unlisted: Vec<String> =
            cases.filter(|case| !is_listed(*case)).map(|case| case.to_string()).collect();
        if !unlisted.is_empty() {
            let first = &unlisted[..unlisted.len().min(UNLISTED_TOLD_MAX)];
            offline.looked.warnings.push(format!(
                "{} cases that the damage concerns cannot be listed: {}{}",
                unlisted.len(),
                first.join(", "),
                if unlisted.len() > first.len() { ", ..." } else { "" }
            ));
        }
        offline.unlisted_count = unlisted.len();
        offline.casualties = casualties;
        Ok(offline)
    }

    fn index_head(&self) -> Result<(), Refusal> {
        let journal = &self.looked.journal;
        let indexed = self.indexed.get_or_init(|| journal.index_head().map_err(|error| error.to_string()));
        indexed.as_ref().copied().map_err(|reason| answers::unreadable(reason))
    }

    /// Returns who has the store for himself, and what is shown of it; `None` when nobody has.
    pub fn beside(&self) -> Option<Beside> {
        let Looked { follower, holder, is_beside, .. } = &self.looked;
        is_beside.then(|| Beside { holder: *holder, seq: follower.seq(), time: follower.time() })
    }

    /// Returns how many cases that damage concerns cannot be listed.
    pub fn unlisted_count(&self) -> usize {
        self.unlisted_count
    }

    /// Returns what a person should know of the store, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.looked.warnings
    }
}

impl<D: Disk, T: Tables> Service for Offline<D, T> {
    fn register(&self, _source: &[u8], _once: &Once) -> Result<SpecificationView, Refusal> {
        Err(answers::read_only(WHY))
    }

    fn again(&self, _again: Again) -> Result<Answer, Refusal> {
        Err(answers::read_only(WHY))
    }

    fn operate(&self, operations: Vec<(Operation, Once)>) -> Vec<Result<Answer, Refusal>> {
        operations.iter().map(|_| Err(answers::read_only(WHY))).collect()
    }

    fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    fn case(&self, id: CaseId, room: &Room) -> Result<CaseView, Refusal> {
        let Looked { journal, follower, .. } = &self.looked;
        let view =
            match queries::archived::row(follower, id).map_err(|reason| answers::unreadable(&reason))? {
                Some(row) => queries::archived::view(journal, &self.registry, id, &row),
                None => queries::case(follower, &self.registry, id),
            }?;
        room.take(cost::case(&view)).map_err(|full| answers::no_room(full, room))?;
        Ok(view)
    }

    fn item(&self, id: ItemId, room: &Room) -> Result<ItemView, Refusal> {
        queries::item(&self.looked.follower, &self.registry, id, (&Turns::default(), room))
    }

    fn cases(&self, filter: &CaseFilter, page: &PageOf, room: &Room) -> Result<Page<CaseSummary>, Refusal> {
        let now = self.clock.now();
        queries::cases(&self.looked.follower, &self.registry, filter, page, (now, room))
    }

    fn check_cases(&self, ids: &[CaseId]) -> BTreeMap<CaseId, Result<Option<String>, Refusal>> {
        let Looked { journal, follower, .. } = &self.looked;
        let loss = |id: &CaseId| self.casualties.subjects.get(&id.0);
        let whole: Vec<CaseId> = ids.iter().copied().filter(|id| loss(id).is_none()).collect();
        let mut checked = proof::check_cases(journal, &whole, &|id| {
            self.index_head()?;
            queries::case_rows(follower, id).map_err(|why| answers::unreadable(&why))
        });
        checked.extend(ids.iter().filter_map(|id| Some((*id, Ok(Some(loss(id)?.to_string()))))));
        checked
    }

    fn items(&self, filter: &ItemFilter, page: &PageOf, room: &Room) -> Result<Page<ItemView>, Refusal> {
        queries::items(&|| Ok(&self.looked.follower), &self.registry, filter, page, (&Turns::default(), room))
    }

    fn history(&self, id: CaseId, page: &PageOf, room: &Room) -> Result<Page<HistoryView>, Refusal> {
        let Looked { journal, follower, .. } = &self.looked;
        self.index_head()?;
        let place = queries::place(follower, id)?;
        queries::history(journal, &self.registry, id, place, (page, room))
    }

    fn specifications(&self, page: &PageOf, room: &Room) -> Result<Page<SpecificationView>, Refusal> {
        queries::specifications(&self.registry, page, room)
    }

    fn specification(&self, id: &str) -> Result<SpecificationView, Refusal> {
        let spec = self.registry.find(id).ok_or_else(|| answers::no_specification(id))?;
        Ok(answers::specification(&spec, IsNew::No))
    }

    fn nets_of(&self, id: CaseId) -> Result<Nets, Refusal> {
        queries::nets_of(&self.looked.follower, &self.registry, id)
    }

    fn maintain(&self, _what: Maintenance) -> Result<Maintained, Refusal> {
        Err(answers::read_only(WHY))
    }

    fn archive(&self, _order: &ArchiveOrder) -> Result<ArchivedSlice, Refusal> {
        Err(answers::read_only(WHY))
    }

    fn restore(&self, _order: RestoreOrder, _room: &Room) -> Result<Answer, Refusal> {
        Err(answers::read_only(WHY))
    }

    fn health(&self) -> Health {
        Health { failing: Vec::new(), degraded: vec!["the service does not run".to_owned()] }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
