//! Answers and refusals. Shards and those who repeat an old answer make them here, from the same facts, so that
//! they are the same.

use super::cost;
use super::places::{self, What};
use super::record::Act;
use super::registry::Registered;
use super::room::{Full, Room};
use super::running::EXPIRE_LATE_US;
use super::service::{Answer, Brief, CaseView, IsNew, ItemView, Nets, Refusal, SpecificationView};
use crate::case::effort::Effort;
use crate::case::event::{Event, ItemNumber, PlaceNumber};
use crate::case::row::ItemRow;
use crate::case::state::{Case, Instance};
use crate::case::{self, view};
use crate::error::{Code, Kind};
use crate::id::{ItemId, Time};
use crate::net::Workflow;
use crate::store::NotUnpacked;

/// Where an item stood before a command, because afterwards it may be gone.
#[derive(Debug, Clone)]
pub(super) struct ItemPlace {
    number: ItemNumber,
    net: u16,
    row: ItemRow,
}

impl ItemPlace {
    /// Notes where a live item stands.
    pub(super) fn of(case: &Case, number: ItemNumber) -> Option<Self> {
        let row = case.item(number)?.clone();
        let net = case.instance(row.instance)?.row.net;
        Some(Self { number, net, row })
    }
}

/// A case as a command left it, and what it runs.
pub(super) struct Left<'a, M> {
    pub(super) case: &'a Case,
    pub(super) workflow: &'a Workflow,
    pub(super) version: u32,
    /// Reads the marking of an instance.
    pub(super) tokens: M,
}

/// Returns the answer to a command: what it named, as the command left it, as far as there is room. `place` is where a
/// named item stood before; `None` is that the item never was.
pub(super) fn answer<M: Fn(&Instance) -> Vec<(PlaceNumber, u16)>>(
    left: &Left<'_, M>,
    act: Act,
    place: Option<&ItemPlace>,
    (events, now): (&[Event], Time),
    room: &Room,
) -> Option<Answer> {
    let Act::Item(number) = act else {
        let view = view::case(left.case, left.workflow, left.version, &left.tokens);
        return Some(case_answer(view, (act == Act::Create).then_some(IsNew::Yes), room));
    };
    // No input is worked out here: what a command leaves was started, or is gone.
    let live = view::live_item(left.case, left.workflow, number, &Effort::unlimited());
    let item = live.or_else(|| place.map(|place| gone_item(left.case, left.workflow, place, events, now)))?;
    let state = view::state(left.case.existing());
    Some(match room.take(cost::item(&item)) {
        Ok(()) => Answer::Item(Box::new(item), state),
        Err(_) => Answer::Brief(Brief::Item(item.id, item.state, state)),
    })
}

/// Returns the answer that shows a case, as far as there is room; `is_new` where it was to be created.
pub(super) fn case_answer(view: CaseView, is_new: Option<IsNew>, room: &Room) -> Answer {
    let has_room = room.take(cost::case(&view)).is_ok();
    let (id, state) = (view.id, view.state);
    match is_new {
        Some(is_new) if has_room => Answer::Created(Box::new(view), is_new),
        Some(is_new) => Answer::Brief(Brief::Created(id, state, is_new)),
        None if has_room => Answer::Case(Box::new(view)),
        None => Answer::Brief(Brief::Case(id, state)),
    }
}

fn gone_item(case: &Case, workflow: &Workflow, place: &ItemPlace, events: &[Event], now: Time) -> ItemView {
    let net = &workflow.nets[usize::from(place.net)];
    let id = ItemId { case: case.id, number: place.number };
    view::gone_item(id, &place.row, net, &workflow.uri, events, now)
}

/// Returns the view of a case whose markings lie in its rows.
pub(super) fn case_view(case: &Case, spec: &Registered) -> CaseView {
    view::case(case, &spec.workflow, spec.version, marking_in_row)
}

/// Returns the marking of an instance whose row holds it.
pub(super) fn marking_in_row(instance: &Instance) -> Vec<(PlaceNumber, u16)> {
    instance.row.tokens.clone()
}

/// Returns the view of a specification.
pub(super) fn specification(spec: &Registered, is_new: IsNew) -> SpecificationView {
    SpecificationView {
        number: spec.number,
        id: spec.workflow.uri.clone(),
        version: spec.version,
        name: spec.workflow.name.clone(),
        registered: spec.at,
        nets: nets(spec),
        warnings: spec.warnings.clone(),
        is_new: is_new == IsNew::Yes,
    }
}

/// Returns the nets of a specification.
pub(super) fn nets(spec: &Registered) -> Nets {
    Nets { all: spec.workflow.nets.clone(), root: spec.workflow.root }
}

/// Longest message of a refusal, in bytes: what clients gave is repeated in some.
pub(super) const MESSAGE_BYTES_MAX: usize = 2 * 1024;

fn refuse(code: u16, kind: Kind, message: String, hint: &str) -> Refusal {
    Refusal {
        code: Code(code),
        kind,
        message,
        hint: Some(hint.to_owned()),
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

/// Returns the refusal of a case.
pub(super) fn refusal(error: &case::Error) -> Refusal {
    Refusal {
        code: error.code(),
        kind: error.kind(),
        message: shorten(error.to_string()),
        hint: None,
        key: None,
        mistakes: Vec::new(),
        retry_after_s: None,
    }
}

/// Returns a message, cut where it is longer than [`MESSAGE_BYTES_MAX`].
fn shorten(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let fits = |at: &usize| message.is_char_boundary(*at);
        message.truncate((0..=MESSAGE_BYTES_MAX).rev().find(fits).unwrap_or(0));
        message.push_str("...");
        message.shrink_to_fit();
    }
    message
}

/// Returns why there is no room for what was asked to be shown.
pub(super) fn no_room(full: Full, room: &Room) -> Refusal {
    match full {
        Full::One => {
            let limit = room.one_bytes_max();
            let message = format!("the answer would take more than answer_bytes_max, which is {limit} bytes");
            let hint = "ask for less: limit in a list, Accept: application/xml for the data of a case alone; or raise answer_bytes_max";
            refuse(309, Kind::TooLarge, message, hint)
        }
        Full::All => busy("bytes of answers under way"),
    }
}

/// Returns that a command was not begun, because there was no room for its answer.
pub(super) fn not_begun() -> Refusal {
    let message = "not done: there was no room for the answer".to_owned();
    refuse(
        313,
        Kind::Busy,
        message,
        "send it again, with the same key; fewer lines in a batch take less room",
    )
}

/// Returns that a bounded queue is full.
pub(super) fn busy(what: &str) -> Refusal {
    refuse(300, Kind::Busy, format!("too many {what} at once"), "ask again in a moment, and slower")
}

/// Returns that there is no place for a new key of a client.
pub(super) fn no_place(full: places::Full, now: Time, key_us: u64) -> Refusal {
    let limit = full.limit;
    let (code, message) = match full.what {
        What::All => (
            308,
            format!(
                "no new idempotency key is taken: idempotency_keys_max allows {limit}, and all are in use"
            ),
        ),
        What::Share(count) => (
            314,
            format!(
                "no new idempotency key of yours is taken: you have {count} of the {limit} that \
                 idempotency_keys_max allows, and the others are kept free for other callers"
            ),
        ),
    };
    let hint = "raise idempotency_keys_max or lower idempotency_hours (knhk config set, systemctl reload knhk), or ask without a key";
    // Requests that are under way may leave room at once; else the oldest key makes room, at the next look at it.
    let wait_us = full
        .oldest
        .map_or(0, |oldest| oldest.plus_us(key_us).0.saturating_sub(now.0).saturating_add(EXPIRE_LATE_US));
    let retry_after_s = u32::try_from(wait_us.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1);
    Refusal { retry_after_s: Some(retry_after_s), ..refuse(code, Kind::Busy, message, hint) }
}

/// Returns that the outcome is not known; `key` is the one to ask again with.
pub(super) fn unknown(reason: &str, key: Option<String>) -> Refusal {
    let message = format!("outcome unknown: {reason}");
    let hint = "ask again with the same Idempotency-Key: it is done once, whatever became of this";
    Refusal { key, ..refuse(301, Kind::Unknown, message, hint) }
}

/// Returns that nothing was done because the journal failed just before.
pub(super) fn not_done() -> Refusal {
    let message = "not done: the journal failed just before this was its turn".to_owned();
    refuse(302, Kind::Unavailable, message, "ask again; /health says how the journal is")
}

/// Returns that the service takes no changes now.
pub(super) fn read_only(reason: &str) -> Refusal {
    let message = format!("the service takes no changes now: {reason}");
    refuse(303, Kind::Unavailable, message, "it goes on by itself; /health says when, and what to mend")
}

/// Returns that something asked of the state on disk could not be done.
pub(super) fn not_maintained(error: &crate::store::Error) -> Refusal {
    let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    let hint = format!("`knhk explain {}` says more", error.code());
    Refusal { code: error.code(), ..refuse(304, error.kind(), format!("{error}{source}"), &hint) }
}

/// Returns that something asked of the state on disk takes long.
pub(super) fn goes_on(waited_us: u64) -> Refusal {
    let message = format!("it is not done after {} s, and goes on", waited_us / 1_000_000);
    refuse(315, Kind::Busy, message, "`knhk state info` shows when it is done")
}

/// Returns that nothing here could read a configuration again.
pub(super) fn no_configuration() -> Refusal {
    let message = "no service runs here that could read its configuration again".to_owned();
    refuse(316, Kind::Unavailable, message, "it is read at every start")
}

/// Returns that stored state cannot be read.
pub(super) fn unreadable(reason: &str) -> Refusal {
    let message = format!("stored state cannot be read: {reason}");
    refuse(304, Kind::Corrupt, message, "run `knhk state verify`")
}

/// Returns why something of the store cannot be read.
pub(super) fn of_store(error: &crate::store::Error) -> Refusal {
    let hint = format!("`knhk explain {}` says more", error.code());
    Refusal { code: error.code(), ..refuse(304, error.kind(), error.to_string(), &hint) }
}

/// Returns that a case is archived, so that nothing can be done to it.
pub(super) fn archived(file: &str) -> Refusal {
    let message = format!("the case is archived, in {file}");
    refuse(330, Kind::Conflict, message, "`knhk workflow restore --case-id ID` brings it back")
}

/// Returns that a store is of a format whose release knows no archives.
pub(super) fn old_format(found: u32) -> Refusal {
    let message = format!("the store has format {found}, and the release that reads it knows no archives");
    let hint =
        "`knhk state upgrade` writes the new format; the release before cannot read the store from then on";
    refuse(334, Kind::Conflict, message, hint)
}

/// Returns that what is given cannot be restored.
pub(super) fn not_restorable(reason: &str) -> Refusal {
    let message = format!("the case cannot be restored: {reason}");
    refuse(335, Kind::Unacceptable, message, "try an older backup; `knhk state verify` checks the archives")
}

/// Returns why something was not unpacked; `damaged` says what that means where it is not what was packed.
pub(super) fn not_unpacked(reason: NotUnpacked, damaged: fn(&str) -> Refusal) -> Refusal {
    match reason {
        NotUnpacked::Damaged(reason) => damaged(&reason),
        NotUnpacked::TooMuch { limit_bytes } => {
            let message = format!("the history of the case unpacks to more than {limit_bytes} bytes");
            let hint = "give the service more memory, or restore the whole state: knhk backup restore FILE";
            refuse(535, Kind::TooLarge, message, hint)
        }
        NotUnpacked::Busy => {
            let message = "too much is being unpacked at once".to_owned();
            refuse(536, Kind::Busy, message, "ask again in a moment, and fewer at a time")
        }
    }
}

/// Returns that there is nothing to restore.
pub(super) fn nothing_to_restore(reason: &str) -> Refusal {
    refuse(336, Kind::Conflict, format!("there is nothing to restore: {reason}"), "nothing needs to be done")
}

/// Returns that the case here is newer than what is given, or another.
pub(super) fn newer_here() -> Refusal {
    let message = "the case here has gone on since, or went another way".to_owned();
    let hint = "`knhk workflow history ID` shows it; --force puts what is given in its place";
    refuse(337, Kind::Conflict, message, hint)
}

/// Returns that a specification has other numbers here.
pub(super) fn other_numbers(uri: &str) -> Refusal {
    let message = format!("this release gives places and tasks of {uri:?} other numbers than the case has");
    refuse(
        338,
        Kind::Conflict,
        message,
        "restore the case into a store in which the specification was registered then",
    )
}

/// Returns that the history of a case does not fit a frame of the journal.
pub(super) fn too_long_to_restore(bytes: usize, limit_bytes: usize) -> Refusal {
    let message = format!("the history of the case takes {bytes} bytes compressed, more than {limit_bytes}");
    refuse(339, Kind::TooLarge, message, "raise frame_bytes_max in the configuration")
}

/// Returns that a case runs, so that it is not archived.
pub(super) fn not_closed() -> Refusal {
    let message = "the case is not closed".to_owned();
    refuse(331, Kind::Conflict, message, "only completed and cancelled cases are archived")
}

/// Returns that a case is not what it was when somebody looked at it.
pub(super) fn moved_meanwhile() -> Refusal {
    let message = "the case has changed meanwhile".to_owned();
    refuse(332, Kind::Conflict, message, "ask again: the case is looked at anew")
}

/// Returns that a repeat of what was asked of a case may still come.
pub(super) fn keys_still_good() -> Refusal {
    let message = "idempotency keys that were used for the case are still good".to_owned();
    refuse(333, Kind::Conflict, message, "it can be archived `idempotency_hours` after its last change")
}

/// Returns that there is no such specification.
pub(super) fn no_specification(id: &str) -> Refusal {
    let message = format!("there is no specification {id:?}");
    refuse(305, Kind::NotFound, message, "GET /workflows lists what is registered; write ID or ID@VERSION")
}

/// Returns that a specification is wrong.
pub(super) fn wrong_specification(mistakes: Vec<crate::spec::Mistake>) -> Refusal {
    let count = mistakes.iter().filter(|mistake| mistake.severity == crate::spec::Severity::Error).count();
    let message = match count {
        1 => "the specification has 1 mistake".to_owned(),
        _ => format!("the specification has {count} mistakes"),
    };
    let hint = "mend what is listed; `knhk workflow validate FILE` checks without registering";
    Refusal { mistakes, ..refuse(306, Kind::Unacceptable, message, hint) }
}

/// Returns that the store holds as many specification versions as it may: that does not change by itself.
pub(super) fn too_many_specifications(limit: u32) -> Refusal {
    let message =
        format!("no new version is registered: the store holds {limit} specification versions, all it may");
    refuse(317, Kind::Conflict, message, "use a version that is registered; GET /workflows lists them")
}

/// Returns that compiled specifications take as much memory as they may.
pub(super) fn too_large_specifications(held_bytes: usize, bytes: usize, limit_bytes: usize) -> Refusal {
    let message = format!(
        "no new version is registered: it takes {bytes} bytes of memory, and those that are registered {held_bytes} of \
         {limit_bytes}"
    );
    let hint =
        "use a version that is registered, or give the service more memory; knhk config show has the share";
    refuse(317, Kind::Conflict, message, hint)
}

/// Returns that a registration does not fit a frame of the journal.
pub(super) fn too_large(bytes: usize, limit_bytes: usize) -> Refusal {
    let message = format!("the specification takes {bytes} bytes in the journal, more than {limit_bytes}");
    refuse(307, Kind::TooLarge, message, "split it, or raise frame_bytes_max in the configuration")
}
