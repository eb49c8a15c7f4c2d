//! Cases leave the live store: some closed ones are chosen, their histories are written into an archive file, and once
//! that is durable their shards are asked to let them go.
//!
//! It may end at any moment. A case whose shard was not asked stays where it is, and a file in which there is no case
//! that has left is taken away later. Start at [`slice`]; the simulator calls [`choose`] and [`seal`] itself.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::TryLockError;

use super::answers;
use super::clock::deadline_in_us;
use super::loading::shard_of;
use super::queries::archived::history_of;
use super::queries::{PAGE_ROWS_MAX, bad_token};
use super::record::{Archived, Maker, hash16};
use super::registry::Registry;
use super::request::{Asked, Class, Key, Move, Reply, Request};
use super::room::Room;
use super::service::{ArchiveOrder, ArchivedSlice, Refusal};
use super::shared::Shared;
use super::tables;
use super::ticket::{Ticket, ticket};
use crate::case::encode;
use crate::case::row::{CaseRow, Status};
use crate::case::view;
use crate::error::Kind;
use crate::id::{CaseId, PARTITION_COUNT, Partition, Time};
use crate::store::{
    self, ARCHIVE_BYTES, ARCHIVE_CASES_MAX, ArchiveId, CaseHistory, Disk, Entry, FORMAT, Follower,
    JournalReader, Moment, Tables,
};
use crate::telemetry::words;

/// Most cases of one slice.
pub const CASES_MAX: u32 = 1_000;
const _: () = assert!(CASES_MAX as usize == ARCHIVE_CASES_MAX);
/// Cases whose histories are read to say about how much comes back.
const SAMPLE_CASES: usize = 50;
/// Rows of the index that are taken at a time: it must not be asked again from inside a scan.
const CHUNK_ROWS: usize = 1_024;

/// Closed cases that are to leave.
#[derive(Debug)]
pub struct Chosen {
    /// With their rows.
    pub cases: Vec<(CaseId, CaseRow)>,
    /// Rows of the specifications that they run, by number.
    pub specifications: BTreeMap<u32, Vec<u8>>,
    /// Cases that are old enough and stay, because idempotency keys that were used for them are still good.
    pub kept_back: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// An archive file, and who is to be asked now that it is durable.
#[derive(Debug)]
pub struct Sealed {
    /// Which file.
    pub id: ArchiveId,
    /// Its length.
    pub bytes: u64,
    /// The cases in it.
    pub leaving: Vec<(CaseId, Box<Move>)>,
    /// Whether there was no room for more in it.
    pub is_full: bool,
}

/// Chooses closed cases by the day of their last change, oldest first. Looks at a bounded number of rows.
///
/// # Errors
/// A bad token, or rows that cannot be read.
pub fn choose<T: Tables>(
    follower: &Follower<T>,
    registry: &Registry,
    order: &ArchiveOrder,
    now: Time,
    key_us: u64,
) -> Result<Chosen, Refusal> {
    let before = now.minus_us(order.older_than_us);
    let specs = order.workflow.as_deref().map(|text| registry.numbers(text));
    let keys = oldest_keys(follower, now.minus_us(key_us)).map_err(|reason| answers::unreadable(&reason))?;
    let mut from = order.after.as_deref().map_or(Ok((0, CaseId(0))), token)?;
    let mut chosen = Chosen { cases: Vec::new(), specifications: BTreeMap::new(), kept_back: 0, next: None };
    let limit = (order.limit as usize).clamp(1, ARCHIVE_CASES_MAX);
    let mut visited = 0;
    loop {
        let places = by_day(follower, from, before)?;
        let is_last = places.len() < CHUNK_ROWS;
        for place in places {
            if chosen.cases.len() == limit || visited == PAGE_ROWS_MAX {
                chosen.next = Some(format!("{}-{}", from.0, from.1));
                return with_specifications(follower, chosen);
            }
            (from, visited) = (place, visited + 1);
            let case = place.1;
            let row = closed(follower, case).map_err(|reason| answers::unreadable(&reason))?;
            let is_wanted = row.changed <= before
                && specs.as_ref().is_none_or(|specs| specs.contains(&row.spec))
                && order.state.is_none_or(|state| view::state(&row) == state);
            if is_wanted && keys[case.partition().index()].is_some_and(|oldest| oldest <= row.changed) {
                chosen.kept_back += 1;
            } else if is_wanted {
                chosen.cases.push((case, row));
            }
        }
        if is_last {
            return with_specifications(follower, chosen);
        }
    }
}

/// Reads where a list of closed cases by day goes on.
fn token(text: &str) -> Result<(u32, CaseId), Refusal> {
    let place = text.split_once('-');
    let place = place.and_then(|(day, case)| Some((day.parse().ok()?, CaseId::parse(case)?)));
    place.ok_or_else(|| bad_token(text))
}

/// Returns the next places of the index behind `from`, up to the day of `before`.
fn by_day<T: Tables>(
    follower: &Follower<T>,
    from: (u32, CaseId),
    before: Time,
) -> Result<Vec<(u32, CaseId)>, Refusal> {
    let mut key = from.0.to_be_bytes().to_vec();
    key.extend_from_slice(&tables::case_key(from.1));
    let last_day = tables::day_of(before);
    let mut places = Vec::new();
    let scanned = follower.scan(tables::CLOSED_BY_DAY, &key, &mut |key, _| {
        let place = tables::by_day_of(key).filter(|place| place.0 <= last_day);
        let Some(place) = place else { return false };
        if place > from {
            places.push(place);
        }
        places.len() < CHUNK_ROWS
    });
    scanned.map_err(|error| answers::unreadable(&error.to_string()))?;
    Ok(places)
}

fn closed<T: Tables>(follower: &Follower<T>, case: CaseId) -> Result<CaseRow, String> {
    let bytes = follower.get(tables::CLOSED, &tables::case_key(case)).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("a closed case without its row")?;
    encode::row_from_bytes(&bytes).map_err(|error| error.to_string())
}

/// Returns for each partition when the oldest key was used that is still good.
fn oldest_keys<T: Tables>(
    follower: &Follower<T>,
    since: Time,
) -> Result<[Option<Time>; PARTITION_COUNT], String> {
    let mut oldest = [None; PARTITION_COUNT];
    for partition in Partition::all() {
        let from = tables::used_key(partition, since, &[0; 16]);
        let scanned = follower.scan(tables::KEYS, &from, &mut |key, _| {
            let used = tables::used_of(key).filter(|used| used.0 == partition);
            oldest[partition.index()] = used.map(|used| used.1);
            false
        });
        scanned.map_err(|error| error.to_string())?;
    }
    Ok(oldest)
}

fn with_specifications<T: Tables>(follower: &Follower<T>, mut chosen: Chosen) -> Result<Chosen, Refusal> {
    for (_, row) in &chosen.cases {
        let number = row.spec;
        if chosen.specifications.contains_key(&number.0) {
            continue;
        }
        let found = follower.get(tables::SPECS, &tables::spec_key(number));
        let found = found.map_err(|error| answers::unreadable(&error.to_string()))?;
        let found = found.ok_or_else(|| answers::unreadable("a case runs what was never registered"))?;
        chosen.specifications.insert(number.0, found);
    }
    Ok(chosen)
}

/// Writes the histories of cases into an archive file and makes it durable. `None` when there is nothing to write. A case
/// whose history cannot be read, or is too long, is left out and told to the log.
///
/// # Errors
/// The store is of an older format, or the file cannot be written; nothing is left of it then.
pub fn seal<D: Disk>(
    journal: &JournalReader<D>,
    chosen: &Chosen,
    now: Time,
    moment: Moment,
) -> Result<Option<Sealed>, store::Error> {
    let (histories, is_full) = gather(&journal.keeping(), chosen);
    if histories.is_empty() {
        return Ok(None);
    }
    let mut writer = journal.begin_archive(now, moment, &chosen.specifications)?;
    let id = writer.id();
    let mut leaving = Vec::with_capacity(histories.len());
    for (history, row) in histories {
        let case = history.case;
        if !writer.put(&history)? {
            tracing::warn!(%case, "{}: case {case}: its history is too long", words::CASE_STAYS);
            continue;
        }
        if let Status::Closed(how) = row.status {
            let fact = Archived {
                archive: id.0,
                spec: row.spec,
                how,
                created: row.created,
                changed: row.changed,
                business_key: row.business_key.clone(),
                event_count: row.event_count,
            };
            leaving.push((case, Box::new(Move::Leave(row.last, Box::new(fact)))));
        }
    }
    if leaving.is_empty() {
        return Ok(None);
    }
    let bytes = writer.finish()?;
    Ok(Some(Sealed { id, bytes, leaving, is_full }))
}

/// Reads the histories of cases, until there are as many bytes of them as a file takes; tells whether some were left.
/// They are read in the order in which history files have them, and given in the order of archives.
fn gather<'a, D: Disk>(
    journal: &JournalReader<D>,
    chosen: &'a Chosen,
) -> (Vec<(CaseHistory, &'a CaseRow)>, bool) {
    let mut cases: Vec<&(CaseId, CaseRow)> = chosen.cases.iter().collect();
    cases.sort_unstable_by_key(|(case, _)| (case.partition(), *case));
    let (mut found, mut bytes, mut is_full) = (Vec::with_capacity(cases.len()), 0, false);
    for (case, row) in cases {
        is_full = bytes >= ARCHIVE_BYTES;
        if is_full {
            break;
        }
        let Some(history) = history(journal, *case, row) else { continue };
        bytes += history.entries.iter().map(Entry::stored_bytes).sum::<usize>();
        found.push((history, row));
    }
    found.sort_unstable_by_key(|(history, _)| history.case);
    (found, is_full)
}

fn history<D: Disk>(journal: &JournalReader<D>, case: CaseId, row: &CaseRow) -> Option<CaseHistory> {
    match history_of(journal, case, row.last) {
        Ok(Some(mut history)) => {
            history.specifications = vec![(row.spec.0, Vec::new())];
            Some(history)
        }
        Ok(None) => {
            tracing::warn!(%case, "{}: case {case}: its history is too long", words::CASE_STAYS);
            None
        }
        Err(reason) => {
            tracing::warn!(%case, "{}: case {case}: its history cannot be read: {reason}", words::CASE_STAYS);
            None
        }
    }
}

/// Archives some cases, or says about how much that would bring; waits until it is durable. Each wait for others
/// takes `limit_us` at the most.
///
/// # Errors
/// The store is of an older format, somebody else archives just now, or something cannot be read or written.
pub(super) fn slice<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    order: &ArchiveOrder,
    limit_us: u64,
) -> Result<ArchivedSlice, Refusal> {
    if shared.reader.format() < FORMAT {
        return Err(answers::old_format(shared.reader.format()));
    }
    let _alone = match shared.archiving.try_lock() {
        Ok(alone) => alone,
        Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
        Err(TryLockError::WouldBlock) => return Err(answers::busy("commands that archive")),
    };
    let now = shared.clock.now();
    let follower = shared.read(deadline_in_us(limit_us))?;
    let chosen = choose(&follower, &shared.registry, order, now, shared.options().key_us)?;
    drop(follower);
    let mut done =
        ArchivedSlice { kept_back: chosen.kept_back, next: chosen.next.clone(), ..Default::default() };
    if order.is_trial {
        done.cases = chosen.cases.len() as u64;
        done.bytes = about_bytes(&shared.reader, &chosen);
        return Ok(done);
    }
    let sealed = seal(&shared.reader, &chosen, now, shared.clock.moment());
    let Some(sealed) = sealed.map_err(|error| answers::not_maintained(&error))? else {
        done.refused = chosen.cases.len() as u64;
        return Ok(done);
    };
    if sealed.is_full {
        // Those that it had no room for come next: who has left is passed over.
        (done.next, done.kept_back) = (Some(order.after.clone().unwrap_or_else(first_token)), 0);
    } else {
        done.refused = (chosen.cases.len() - sealed.leaving.len()) as u64;
    }
    let deadline = deadline_in_us(limit_us);
    let mut is_unknown = false;
    for reply in
        ask(shared, sealed.leaving).into_iter().map(|waits| waits.and_then(|waits| waits.wait(deadline)))
    {
        match reply {
            Some(Reply::Moved) => done.cases += 1,
            Some(Reply::Refused(refusal)) if refusal.kind != Kind::Unknown => done.refused += 1,
            _ => is_unknown = true,
        }
    }
    if done.cases == 0 && !is_unknown {
        shared.reader.remove_archive(sealed.id).map_err(|error| answers::not_maintained(&error))?;
        return Ok(done);
    }
    (done.bytes, done.file) = (sealed.bytes, Some(sealed.id.to_string()));
    let (cases, bytes, file) = (done.cases, done.bytes, sealed.id.to_string());
    tracing::info!(cases, bytes, file, "{}: {cases} in {file}", words::ARCHIVED);
    if is_unknown {
        let why = "some shards did not say in time whether they let their cases go";
        return Err(answers::unknown(why, None));
    }
    Ok(done)
}

fn first_token() -> String {
    format!("0-{}", CaseId(0))
}

/// Returns about how many bytes the histories of the chosen cases take in history, told from some of them.
fn about_bytes<D: Disk>(journal: &JournalReader<D>, chosen: &Chosen) -> u64 {
    let some = chosen.cases.iter().take(SAMPLE_CASES);
    let histories: Vec<CaseHistory> = some.filter_map(|(case, row)| history(journal, *case, row)).collect();
    let bytes = store::packed_bytes(&histories);
    bytes.saturating_mul(chosen.cases.len() as u64) / (histories.len() as u64).max(1)
}

/// Asks the shards to let cases go; who gets no answer was not asked.
fn ask<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    leaving: Vec<(CaseId, Box<Move>)>,
) -> Vec<Option<Ticket<Reply>>> {
    let mut by_shard: Vec<Vec<Request>> = shared.inboxes.iter().map(|_| Vec::new()).collect();
    let mut tickets = Vec::with_capacity(leaving.len());
    for (case, moves) in leaving {
        let (waits, answerer) = ticket();
        let key = key_of(case);
        let act = Asked::Move(case, moves);
        by_shard[shard_of(case.partition(), shared.inboxes.len())].push(Request {
            act,
            key,
            place: None,
            class: Class::Bulk,
            asked_at: None,
            answerer,
            traced: None,
            room: Room::default(),
        });
        tickets.push(Some(waits));
    }
    for (inbox, requests) in shared.inboxes.iter().zip(by_shard) {
        if !requests.is_empty() {
            // What is not taken is dropped, and whoever waits hears so.
            drop(inbox.put(Class::Bulk, requests, shared.options().shard_requests_max));
        }
    }
    tickets
}

/// Returns the key under which a case is asked to leave or come: it is not remembered.
pub fn key_of(case: CaseId) -> Key {
    let hash = hash16(&[b"move", &tables::case_key(case)]);
    Key { hash, request: [0; 16], maker: Maker::Service, caller: super::service::Caller::Local }
}
