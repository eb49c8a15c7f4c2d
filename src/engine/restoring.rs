//! Cases come back: out of an archive of this store, or as a backup has them. What is given is checked here, chain and rows,
//! before its shard is asked to take it; the shard looks only whether the case is still as it was seen here.

use std::time::Instant;

use super::answers;
use super::archiving::key_of;
use super::fold::business_hash;
use super::loading::shard_of;
use super::past::{self, Past};
use super::queries;
use super::record::{Body, Record, Registration, Restored};
use super::registry::Registered;
use super::request::{Asked, Coming, FRAME_HEAD_BYTES, Found, Move, Reply, Request, entry_bytes};
use super::service::{Refusal, RestoreOrder};
use super::shared::Shared;
use super::tables::{self, ArchivedRow};
use super::ticket::ticket;
use super::turn::{self, Rows};
use crate::case::row::Link;
use crate::id::{CaseId, SpecNumber, Time};
use crate::store::{self, CaseHistory, Disk, Entry, FORMAT, Follower, Tables};

/// Most histories that lie within each other in one that comes back: an archive of it takes one more.
const DEPTH_MAX: usize = past::RESTORED_DEPTH_MAX / 2;

/// Registers the source of a specification, or finds it registered.
pub(super) type Register<'a> = dyn Fn(&[u8]) -> Result<SpecNumber, Refusal> + 'a;

/// What is to come back, and where it comes from.
struct Given {
    history: CaseHistory,
    from: String,
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
    deadline: Instant,
) -> Result<(), Refusal> {
    if shared.reader.format() < FORMAT {
        return Err(answers::old_format(shared.reader.format()));
    }
    let case = order.case;
    let found = queries::find(&*shared.read(deadline)?, case);
    let found = found.map_err(|reason| answers::unreadable(&reason))?;
    let is_forced = order.is_forced;
    let Given { history, from } = given(shared, order, &found)?;
    let ends = links(&history).map_err(|reason| answers::not_restorable(&reason))?;
    let now = compare(shared, &found, case, &ends, is_forced)?;
    let past = Past::of(&history).map_err(|reason| answers::not_restorable(&reason))?;
    let (spec, registered) = specification(shared, &history, &past, register, deadline)?;
    let coming = coming(shared, &past, spec, from, now, &history, deadline)?;
    check_rows(past, spec, &registered)?;
    let (waits, answerer) = ticket();
    let act = Asked::Move(case, Box::new(Move::Come(Box::new(coming))));
    let request = Request { act, key: key_of(case), answerer };
    let inbox = &shared.inboxes[shard_of(case.partition(), shared.inboxes.len())];
    if inbox.put(vec![request], shared.options.shard_requests_max).is_err() {
        return Err(answers::busy("requests"));
    }
    match waits.wait(deadline) {
        Some(Reply::Moved) => Ok(()),
        Some(Reply::Refused(refusal)) => Err(refusal),
        _ => Err(answers::unknown("it took longer than its limit", None)),
    }
}

/// Reads what is given, or the archive of the case.
fn given<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    order: RestoreOrder,
    found: &Found,
) -> Result<Given, Refusal> {
    let RestoreOrder { case, history, from, .. } = order;
    let Some(packed) = history else {
        return match found {
            Found::Archived(row) => {
                let history = shared.reader.archived(row.fact.id(), case);
                let history = history.map_err(|error| answers::of_store(&error))?;
                Ok(Given { history, from: format!("archive {}", row.fact.id()) })
            }
            Found::Rows(_) => Err(answers::nothing_to_restore("the case is in the live store")),
            Found::Nothing => Err(answers::refusal(&crate::case::Error::NoCase)),
        };
    };
    let history = CaseHistory::unpack(&packed).map_err(|reason| answers::not_restorable(&reason))?;
    if history.case == case {
        Ok(Given { history, from })
    } else {
        Err(answers::not_restorable(&format!("it is the history of case {}", history.case)))
    }
}

/// Returns the end of each of its entries, those within it before.
fn links(history: &CaseHistory) -> Result<Vec<Link>, String> {
    let mut ends = Vec::new();
    past::each_up_to(history, DEPTH_MAX, &mut |entry| {
        ends.push(link(entry.link()));
        Ok(true)
    })?;
    if ends.is_empty() { Err("it has no entries".to_owned()) } else { Ok(ends) }
}

fn link(link: store::Link) -> Link {
    Link { n: link.n, hash: link.hash }
}

/// Compares with what there is of the case; returns its newest entry.
fn compare<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    found: &Found,
    case: CaseId,
    ends: &[Link],
    is_forced: bool,
) -> Result<Link, Refusal> {
    let last = ends.last().copied().unwrap_or_default();
    let (now, known) = match found {
        Found::Nothing => return Ok(Link::default()),
        Found::Rows(rows) => (rows.case.last, rows.case.last),
        Found::Archived(row) => (row.last, archived_end(shared, case, row)?),
    };
    if matches!(found, Found::Rows(_)) && known == last {
        return Err(answers::nothing_to_restore("the case is here as it is there"));
    }
    if ends.contains(&known) || is_forced { Ok(now) } else { Err(answers::newer_here()) }
}

/// Returns the last entry that the archive of a case has.
fn archived_end<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    case: CaseId,
    row: &ArchivedRow,
) -> Result<Link, Refusal> {
    let entry = shared.reader.entry(case.partition(), case.0, row.last.n);
    let entry: Option<Entry> = entry.map_err(|error| answers::of_store(&error))?;
    let entry = entry.ok_or_else(|| answers::unreadable("the entry that archived the case is missing"))?;
    Ok(link(entry.previous))
}

/// Finds what the case runs among the specifications registered here, or registers it.
fn specification<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    history: &CaseHistory,
    past: &Past,
    register: &Register<'_>,
    deadline: Instant,
) -> Result<(SpecNumber, std::sync::Arc<Registered>), Refusal> {
    let row = past.case.row.as_ref().ok_or_else(|| answers::not_restorable("it does not begin a case"))?;
    let given = history.specifications.iter().find(|(number, _)| *number == row.spec.0);
    let given =
        given.ok_or_else(|| answers::not_restorable("the specification that it runs is not given"))?;
    let (_, given): (Time, Registration) = tables::decode(&given.1)
        .map_err(|reason| answers::not_restorable(&format!("its specification: {reason}")))?;
    let versions = shared.registry.versions(&given.uri);
    let same = versions.iter().find(|version| version.source == given.hash);
    let number = match same {
        Some(version) => version.number,
        None => register(&given.source)?,
    };
    let here =
        registration(&*shared.read(deadline)?, number).map_err(|reason| answers::unreadable(&reason))?;
    if here.numbering != given.numbering || here.hash != given.hash {
        return Err(answers::other_numbers(&given.uri));
    }
    let registered = shared.registry.get(number);
    let registered =
        registered.ok_or_else(|| answers::unreadable("a registered specification is missing"))?;
    Ok((number, registered))
}

fn registration<T: Tables>(follower: &Follower<T>, number: SpecNumber) -> Result<Registration, String> {
    let found = follower.get(tables::SPECS, &tables::spec_key(number)).map_err(|error| error.to_string())?;
    let found = found.ok_or("a registered specification is missing")?;
    Ok(tables::decode::<(Time, Registration)>(&found)?.1)
}

/// Makes what the shard is to write, and checks that it may.
fn coming<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    past: &Past,
    spec: SpecNumber,
    from: String,
    now: Link,
    history: &CaseHistory,
    deadline: Instant,
) -> Result<Coming, Refusal> {
    let case = history.case;
    let time = shared.clock.now();
    if CaseId::first_of(time.plus_us(queries::ID_AHEAD_US)).is_some_and(|most| case > most) {
        return Err(answers::not_restorable("it was made at a time that has not come yet"));
    }
    let business = past.case.row.as_ref().and_then(|row| row.business_key.as_deref()).map(business_hash);
    if let Some(hash) = &business {
        let owner = queries::business_case(&*shared.read(deadline)?, case.partition(), hash);
        let owner = owner.map_err(|reason| answers::unreadable(&reason))?;
        if let Some(owner) = owner.filter(|owner| *owner != case) {
            return Err(answers::not_restorable(&format!("its business key is that of case {owner}")));
        }
    }
    let bare = CaseHistory { case, entries: history.entries.clone(), specifications: Vec::new() };
    let packed = bare.pack().map_err(|reason| answers::not_restorable(&reason))?;
    let fact = Restored { spec, from, packed };
    let record = Record { at: time, key: None, body: Body::Restored(Box::new(fact.clone())) };
    let entry = Entry::new(case.partition(), 1, case.0, store::Link::default(), record.encode());
    let (bytes, limit) = (entry_bytes(&entry), shared.options.frame_bytes_max - FRAME_HEAD_BYTES);
    if bytes > limit {
        return Err(answers::too_long_to_restore(bytes, limit));
    }
    Ok(Coming { now, fact, business })
}

/// Checks that the case fits what it runs here: a row that does not would be a fact for ever.
fn check_rows(past: Past, spec: SpecNumber, registered: &Registered) -> Result<(), Refusal> {
    let Some(mut row) = past.case.row else {
        return Err(answers::not_restorable("it does not begin a case"));
    };
    row.spec = spec;
    let instances = past.case.instances.into_iter().map(|instance| (instance.number, instance.row)).collect();
    let rows = Rows { case: row, instances, items: past.case.items };
    turn::check(&rows, &registered.run()).map_err(|how| answers::not_restorable(&how))
}
