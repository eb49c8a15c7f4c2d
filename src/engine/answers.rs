//! Answers and refusals. Shards and those who repeat an old answer make them here, from the same facts, so that
//! they are the same.

use super::record::Act;
use super::registry::Registered;
use super::service::{Answer, CaseView, IsNew, ItemView, Nets, Refusal, SpecificationView};
use crate::case::event::{Event, ItemNumber};
use crate::case::row::ItemRow;
use crate::case::state::Case;
use crate::case::{self, view};
use crate::error::{Code, Kind};
use crate::id::{ItemId, Time};

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

/// Returns the answer to a command: what it named, as the command left it. `place` is where a named item stood.
pub(super) fn answer(
    case: &Case,
    spec: &Registered,
    act: Act,
    place: Option<&ItemPlace>,
    events: &[Event],
    now: Time,
) -> Answer {
    let state = view::state(case.existing());
    match (act, place) {
        (Act::Item(number), Some(place)) => {
            let live = view::live_item(case, &spec.workflow, number);
            let item = live.unwrap_or_else(|| gone_item(case, spec, place, events, now));
            Answer::Item(Box::new(item), state)
        }
        (Act::Create, _) => Answer::Created(Box::new(case_view(case, spec)), IsNew::Yes),
        _ => Answer::Case(Box::new(case_view(case, spec))),
    }
}

fn gone_item(case: &Case, spec: &Registered, place: &ItemPlace, events: &[Event], now: Time) -> ItemView {
    let net = &spec.workflow.nets[usize::from(place.net)];
    let id = ItemId { case: case.id, number: place.number };
    view::gone_item(id, &place.row, net, &spec.workflow.uri, events, now)
}

/// Returns the view of a case whose markings lie in its rows.
pub(super) fn case_view(case: &Case, spec: &Registered) -> CaseView {
    view::case(case, &spec.workflow, spec.version, |instance| instance.row.tokens.clone())
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

fn refuse(code: u16, kind: Kind, message: String, hint: &str) -> Refusal {
    Refusal { code: Code(code), kind, message, hint: Some(hint.to_owned()), key: None, mistakes: Vec::new() }
}

/// Returns the refusal of a case.
pub(super) fn refusal(error: &case::Error) -> Refusal {
    Refusal {
        code: error.code(),
        kind: error.kind(),
        message: error.to_string(),
        hint: None,
        key: None,
        mistakes: Vec::new(),
    }
}

/// Returns that a bounded queue is full.
pub(super) fn busy(what: &str) -> Refusal {
    refuse(300, Kind::Busy, format!("too many {what} at once"), "ask again in a moment, and slower")
}

/// Returns that as many keys of clients are remembered as may be; `count` are the shard's.
pub(super) fn too_many_keys(count: usize) -> Refusal {
    let message = format!(
        "no new idempotency key is taken: {count} are remembered here, which is all that idempotency_keys_max allows"
    );
    let hint = "raise idempotency_keys_max or lower idempotency_hours (knhk config set, systemctl reload knhk), or ask without a key";
    refuse(308, Kind::Busy, message, hint)
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

/// Returns that a registration does not fit a frame of the journal.
pub(super) fn too_large(bytes: usize, limit_bytes: usize) -> Refusal {
    let message = format!("the specification takes {bytes} bytes in the journal, more than {limit_bytes}");
    refuse(307, Kind::TooLarge, message, "split it, or raise frame_bytes_max in the configuration")
}
