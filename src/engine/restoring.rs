//! Cases come back: out of an archive of this store, or as a backup has them. What is given is checked here, chain and rows,
//! before its shard is asked to take it; the shard looks only whether the case is still as it was seen here.

use std::sync::Arc;

use super::answers;
use super::archiving::key_of;
use super::clock::deadline_in_us;
use super::fold::business_hash;
use super::loading::shard_of;
use super::past::{self, Past};
use super::queries::{
    self,
    archived::{archive_of, history_of},
};
use super::record::{self, Body, Hash16, Record, Registration, Restored};
use super::registry::{Registered, Registry};
use super::request::{Asked, Class, Coming, FRAME_HEAD_BYTES, Found, Move, Reply, Request, entry_bytes};
use super::room::Room;
use super::service::{Refusal, RestoreOrder};
use super::shared::Shared;
use super::tables::{self, ArchivedRow};
use super::ticket::ticket;
use super::turn::{self, Rows};
use crate::case::row::Link;
use crate::id::{CaseId, SpecNumber, Time};
use crate::store::{
    self, Before, CaseHistory, Disk, Entry, FORMAT, Follower, JournalReader, NotUnpacked, Tables, Unpacking,
};

/// Most histories that lie within each other in one that comes back: an archive of it takes one more.
const DEPTH_MAX: usize = past::RESTORED_DEPTH_MAX / 2;

/// Bytes of memory that the end of an entry takes in a list that grows.
const LINK_BYTES: usize = 2 * size_of::<Link>();

/// Registers the source of a specification.
pub(super) type Register<'a> = dyn Fn(&[u8]) -> Result<(), Refusal> + 'a;

/// What is to come back, and where it comes from.
#[derive(Debug)]
pub struct Given {
    /// All that happened in the case.
    pub history: CaseHistory,
    /// In words.
    pub from: String,
    /// What counts the bytes that it takes, and those that are unpacked out of it.
    pub unpacking: Unpacking,
}

/// What it comes back to.
pub struct Here<'a, D: Disk, T: Tables> {
    /// The rows.
    pub follower: &'a Follower<T>,
    /// The journal.
    pub reader: &'a JournalReader<D>,
    /// Specifications.
    pub registry: &'a Registry,
    /// The clock.
    pub now: Time,
    /// Most bytes of a frame.
    pub frame_bytes_max: usize,
}

/// Restores a case; returns when that is durable.
///
/// # Errors
/// There is nothing to restore it from, what is given is damaged, the case here is newer or another, or the service cannot
/// say now.
pub(super) fn restore<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    order: RestoreOrder,
    register: &Register<'_>,
    limit_us: u64,
) -> Result<(), Refusal> {
    if shared.reader.format() < FORMAT {
        return Err(answers::old_format(shared.reader.format()));
    }
    let RestoreOrder { case, history, from, is_forced } = order;
    let follower = || shared.read(deadline_in_us(limit_us));
    let given = if let Some(packed) = history {
        unpack(case, &packed, from, shared.reader.unpacking())?
    } else {
        let found = queries::find(&*follower()?, case).map_err(|reason| answers::unreadable(&reason))?;
        of_archive(&shared.reader, case, &found)?
    };
    let mut given = with_specification(&*follower()?, given)?;
    let source = registration_of(&given.history, &mut given.unpacking)?;
    if !is_registered(&shared.registry, &source) {
        register(&source.source)?;
    }
    let coming = {
        let here = Here {
            follower: &*follower()?,
            reader: &shared.reader,
            registry: &shared.registry,
            now: shared.clock.now(),
            frame_bytes_max: shared.options().frame_bytes_max,
        };
        prepare(&here, given, is_forced)?
    };
    let (waits, answerer) = ticket();
    let act = Asked::Move(case, Box::new(Move::Come(Box::new(coming))));
    let (key, room) = (key_of(case), Room::default());
    let (place, class, asked_at, traced) = (None, Class::Single, None, None);
    let request = Request { act, key, place, class, asked_at, answerer, traced, room };
    let inbox = &shared.inboxes[shard_of(case.partition(), shared.inboxes.len())];
    if inbox.put(class, vec![request], shared.options().shard_requests_max).is_err() {
        return Err(answers::busy("requests"));
    }
    match waits.wait(deadline_in_us(limit_us)) {
        Some(Reply::Moved) => Ok(()),
        Some(Reply::Refused(refusal)) => Err(refusal),
        _ => Err(answers::unknown("it took longer than its limit", None)),
    }
}

fn unpack(case: CaseId, packed: &[u8], from: String, mut unpacking: Unpacking) -> Result<Given, Refusal> {
    let history = unpacking.history(packed).map_err(not_restorable)?;
    if history.case == case {
        Ok(Given { history, from, unpacking })
    } else {
        Err(answers::not_restorable(&format!("it is the history of case {}", history.case)))
    }
}

fn not_restorable(reason: NotUnpacked) -> Refusal {
    answers::not_unpacked(reason, answers::not_restorable)
}

/// Reads what the archive of a case has, or history where that is all there is.
///
/// # Errors
/// The case is not archived, or cannot be read.
pub fn of_archive<D: Disk>(reader: &JournalReader<D>, case: CaseId, found: &Found) -> Result<Given, Refusal> {
    let row = match found {
        Found::Archived(row) => row,
        Found::Rows(_) => return Err(answers::nothing_to_restore("the case is in the live store")),
        Found::Nothing => return Err(answers::refusal(&crate::case::Error::NoCase)),
    };
    let last = archived_end(reader, case, row)?;
    let mut unpacking = reader.unpacking();
    let read = archive_of(reader, case, row.fact.id(), last, &mut unpacking).or_else(|reason| {
        if !matches!(reason, NotUnpacked::Damaged(_)) {
            return Err(reason);
        }
        let link = Link { n: last.n, hash: last.hash };
        let history = history_of(reader, case, link).ok().flatten().ok_or(reason)?;
        unpacking.take(store::memory_bytes(&history))?;
        Ok(history)
    });
    let mut history = read.map_err(|reason| answers::not_unpacked(reason, answers::unreadable))?;
    if history.specifications.is_empty() {
        history.specifications = vec![(row.fact.spec.0, Vec::new())];
    }
    Ok(Given { history, from: format!("archive {}", row.fact.id()), unpacking })
}

/// Adds the rows of specifications that are only named, which are those of this store.
///
/// # Errors
/// One is not here.
pub fn with_specification<T: Tables>(follower: &Follower<T>, mut given: Given) -> Result<Given, Refusal> {
    for (number, row) in given.history.specifications.iter_mut().filter(|spec| spec.1.is_empty()) {
        let found = follower.get(tables::SPECS, &tables::spec_key(SpecNumber(*number)));
        let found = found.map_err(|error| answers::of_store(&error))?;
        *row = found.ok_or_else(|| answers::not_restorable("the specification that it runs is not given"))?;
    }
    Ok(given)
}

/// Checks what is given against what there is; returns what the shard of the case is to do. What it runs is registered.
///
/// # Errors
/// What is given is damaged, or the case here is newer or another.
pub fn prepare<D: Disk, T: Tables>(
    here: &Here<'_, D, T>,
    given: Given,
    is_forced: bool,
) -> Result<Coming, Refusal> {
    let Given { history, from, mut unpacking } = given;
    let case = history.case;
    let found = queries::find(here.follower, case).map_err(|reason| answers::unreadable(&reason))?;
    history.check().map_err(|reason| answers::not_restorable(&reason))?;
    let ends = links(&history, &mut unpacking).map_err(not_restorable)?;
    let now = compare(here, (&found, case), &ends, is_forced, &mut unpacking)?;
    let past = Past::of(&history, &mut unpacking).map_err(not_restorable)?;
    let registered = registered(here, &registration_of(&history, &mut unpacking)?)?;
    let business = check_ids(here, &past, &found)?;
    let fact = fact(here, history, registered.number, from)?;
    check_rows(past, &registered)?;
    Ok(Coming { now, fact, business })
}

/// Returns the end of each of its entries, those within it before.
fn links(history: &CaseHistory, unpacking: &mut Unpacking) -> Result<Vec<Link>, NotUnpacked> {
    let mut ends = Vec::new();
    past::each_up_to(history, DEPTH_MAX, unpacking, &mut |entry, unpacking| {
        unpacking.take(LINK_BYTES)?;
        ends.push(link(entry.link()));
        Ok(true)
    })?;
    if ends.is_empty() { Err("it has no entries".into()) } else { Ok(ends) }
}

fn link(link: store::Link) -> Link {
    Link { n: link.n, hash: link.hash }
}

/// Compares with what there is of the case; returns its newest entry.
fn compare<D: Disk, T: Tables>(
    here: &Here<'_, D, T>,
    (found, case): (&Found, CaseId),
    ends: &[Link],
    is_forced: bool,
    unpacking: &mut Unpacking,
) -> Result<Link, Refusal> {
    let last = ends.last().copied().unwrap_or_default();
    let (now, known) = match found {
        Found::Nothing => return Ok(Link::default()),
        Found::Rows(rows) => (rows.case.last, rows.case.last),
        Found::Archived(row) => (row.last, link(archived_end(here.reader, case, row)?)),
    };
    let mut is_here = || Ok(known == last || is_restored_from(here, case, known, last, unpacking)?);
    if matches!(found, Found::Rows(_)) && is_here()? {
        return Err(answers::nothing_to_restore("the case is here as it is there"));
    }
    if ends.contains(&known) || is_forced { Ok(now) } else { Err(answers::newer_here()) }
}

/// Tells whether the newest entry of a case is that it was restored from a history that ends like this.
fn is_restored_from<D: Disk, T: Tables>(
    here: &Here<'_, D, T>,
    case: CaseId,
    newest: Link,
    end: Link,
    unpacking: &mut Unpacking,
) -> Result<bool, Refusal> {
    let entry = here.reader.entry(case.partition(), case.0, newest.n);
    let Some(entry) = entry.map_err(|error| answers::of_store(&error))? else { return Ok(false) };
    if record::before(&entry.payload) != Before::Within {
        return Ok(false);
    }
    let record = Record::decode(&entry.payload).map_err(|reason| answers::unreadable(&reason))?;
    let Body::Restored(fact) = record.body else { return Ok(false) };
    let before = unpacking.bytes();
    let history = unpacking.history(&fact.packed);
    let history = history.map_err(|reason| answers::not_unpacked(reason, answers::unreadable))?;
    let is_from = history.check().is_ok_and(|last| link(last) == end);
    drop(history);
    unpacking.give_back_to(before);
    Ok(is_from)
}

/// Returns the last entry that the archive of a case has.
fn archived_end<D: Disk>(
    reader: &JournalReader<D>,
    case: CaseId,
    row: &ArchivedRow,
) -> Result<store::Link, Refusal> {
    let entry = reader.entry(case.partition(), case.0, row.last.n);
    let entry = entry.map_err(|error| answers::of_store(&error))?;
    let entry = entry.ok_or_else(|| answers::unreadable("the entry that archived the case is missing"))?;
    Ok(entry.previous)
}

/// Returns the specification that a case runs, as it is given.
fn registration_of(history: &CaseHistory, unpacking: &mut Unpacking) -> Result<Registration, Refusal> {
    let past = Past::of(history, unpacking).map_err(not_restorable)?;
    let row = past.case.row.as_ref().ok_or_else(|| answers::not_restorable("it does not begin a case"))?;
    let given = history.specifications.iter().find(|(number, _)| *number == row.spec.0);
    let given =
        given.ok_or_else(|| answers::not_restorable("the specification that it runs is not given"))?;
    let read = tables::decode::<(Time, Registration)>(&given.1);
    Ok(read.map_err(|reason| answers::not_restorable(&format!("its specification: {reason}")))?.1)
}

fn is_registered(registry: &Registry, given: &Registration) -> bool {
    registry.versions(&given.uri).iter().any(|version| version.source == given.hash)
}

/// Finds what the case runs among the specifications registered here; places and tasks must have the same numbers.
fn registered<D: Disk, T: Tables>(
    here: &Here<'_, D, T>,
    given: &Registration,
) -> Result<Arc<Registered>, Refusal> {
    let versions = here.registry.versions(&given.uri);
    let found = versions.into_iter().find(|version| version.source == given.hash);
    let found = found.ok_or_else(|| answers::no_specification(&given.uri))?;
    let row = here.follower.get(tables::SPECS, &tables::spec_key(found.number));
    let row = row.map_err(|error| answers::of_store(&error))?;
    let row = row.ok_or_else(|| answers::unreadable("a registered specification is missing"))?;
    let (_, known): (Time, Registration) =
        tables::decode(&row).map_err(|reason| answers::unreadable(&reason))?;
    if known.numbering == given.numbering { Ok(found) } else { Err(answers::other_numbers(&given.uri)) }
}

/// Checks that neither the id nor the business key can be another case's; returns the hash of the latter.
fn check_ids<D: Disk, T: Tables>(
    here: &Here<'_, D, T>,
    past: &Past,
    found: &Found,
) -> Result<Option<Hash16>, Refusal> {
    let case = past.case.id;
    // Ids made here after it would be of that time too, and lists believe what ids say.
    let is_new = matches!(found, Found::Nothing);
    if is_new && CaseId::first_of(here.now.plus_us(queries::ID_AHEAD_US)).is_some_and(|most| case > most) {
        return Err(answers::not_restorable("it was made at a time that has not come yet"));
    }
    let business = past.case.row.as_ref().and_then(|row| row.business_key.as_deref()).map(business_hash);
    if let Some(hash) = &business {
        let owner = queries::business_case(here.follower, case.partition(), hash);
        let owner = owner.map_err(|reason| answers::unreadable(&reason))?;
        if let Some(owner) = owner.filter(|owner| *owner != case) {
            return Err(answers::not_restorable(&format!("its business key is that of case {owner}")));
        }
    }
    Ok(business)
}

/// Makes the fact that the journal is to have, which must fit a frame.
fn fact<D: Disk, T: Tables>(
    here: &Here<'_, D, T>,
    history: CaseHistory,
    spec: SpecNumber,
    from: String,
) -> Result<Restored, Refusal> {
    let case = history.case;
    let bare = CaseHistory { specifications: Vec::new(), ..history };
    let packed = bare.pack().map_err(|reason| answers::not_restorable(&reason))?;
    let fact = Restored { spec, from, packed };
    let record = Record { at: here.now, key: None, body: Body::Restored(Box::new(fact.clone())) };
    let entry = Entry::new(case.partition(), 1, case.0, store::Link::default(), record.encode());
    let (bytes, limit) = (entry_bytes(&entry), here.frame_bytes_max.saturating_sub(FRAME_HEAD_BYTES));
    if bytes > limit { Err(answers::too_long_to_restore(bytes, limit)) } else { Ok(fact) }
}

/// Checks that the case fits what it runs here: a row that does not would be a fact for ever.
fn check_rows(past: Past, registered: &Registered) -> Result<(), Refusal> {
    let Some(mut row) = past.case.row else {
        return Err(answers::not_restorable("it does not begin a case"));
    };
    row.spec = registered.number;
    let instances = past.case.instances.into_iter().map(|instance| (instance.number, instance.row)).collect();
    let rows = Rows { case: row, instances, items: past.case.items };
    turn::check(&rows, &registered.run()).map_err(|how| answers::not_restorable(&how))
}
