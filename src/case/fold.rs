//! The one fold: event by event, what was becomes what is.
//!
//! Shards, the follower, start, verification and the simulator all call [`fold`], over whatever holds the rows.
//! It never evaluates an expression, a join or a choice, and needs no specification.

use super::event::{Event, InstanceNumber, ItemNumber, Phase, PlaceNumber};
use super::row::{CaseRow, Incident, InstanceRow, ItemRow, ItemState, Status};
use crate::id::Time;

/// Rows of one case, wherever they are kept.
pub trait State {
    /// Returns the case's row; `None` before it was created.
    fn case(&mut self) -> Option<&mut CaseRow>;
    /// Puts the row of a new case.
    fn create(&mut self, row: CaseRow);
    /// Returns the row of a live net instance.
    fn instance(&mut self, number: InstanceNumber) -> Option<&mut InstanceRow>;
    /// Puts the row of a new instance, and its first token.
    fn open(&mut self, number: InstanceNumber, row: InstanceRow, place: PlaceNumber);
    /// Takes an instance away.
    fn end(&mut self, number: InstanceNumber) -> Option<InstanceRow>;
    /// Moves tokens of an instance. A shard, whose slab the kernel has changed already, does nothing here.
    fn move_tokens(
        &mut self,
        number: InstanceNumber,
        taken: &[PlaceNumber],
        removed: &[PlaceNumber],
        put: &[PlaceNumber],
    ) -> Result<(), String>;
    /// Returns the row of a live item.
    fn item(&mut self, number: ItemNumber) -> Option<&mut ItemRow>;
    /// Puts the row of a new item.
    fn offer(&mut self, number: ItemNumber, row: ItemRow);
    /// Takes an item away.
    fn withdraw(&mut self, number: ItemNumber) -> Option<ItemRow>;
}

/// Folds one event into the rows of its case.
///
/// # Errors
/// An event that does not fit the rows, which only damaged storage can bring about; says how.
pub fn fold(state: &mut impl State, event: &Event, at: Time) -> Result<(), String> {
    if let Event::Created { spec, business_key } = event {
        if state.case().is_some() {
            return Err("a case is created twice".to_owned());
        }
        state.create(CaseRow {
            spec: *spec,
            status: Status::Running,
            created: at,
            changed: at,
            business_key: business_key.clone(),
            event_count: 1,
            last: super::row::Link::default(),
            item_count: 0,
            instance_count: 0,
            incident_count: 0,
            enabled_count: 0,
            failed_count: 0,
            unfinished: false,
            incidents: Vec::new(),
            output: Vec::new(),
        });
        return Ok(());
    }
    let case = state.case().ok_or("an event of a case that does not exist")?;
    case.event_count = case.event_count.checked_add(1).ok_or("a case has too many events")?;
    case.changed = case.changed.max(at);
    case.unfinished = matches!(event, Event::Unfinished);
    fold_parts(state, event, at)
}

fn fold_parts(state: &mut impl State, event: &Event, at: Time) -> Result<(), String> {
    match event {
        Event::Created { .. } | Event::Unfinished => Ok(()),
        Event::Opened { instance, net, parent, place, data } => {
            if state.instance(*instance).is_some() {
                return Err("an instance begins that exists".to_owned());
            }
            count(state, |case| {
                case.instance_count = case.instance_count.max(instance.saturating_add(1));
            });
            let mut row = InstanceRow { net: *net, parent: *parent, data: Vec::new(), tokens: Vec::new() };
            for (variable, value) in data {
                row.write(*variable, value.clone());
            }
            state.open(*instance, row, *place);
            Ok(())
        }
        Event::Stepped { instance, phase, taken, removed, put, wrote, .. } => {
            if *phase == Phase::Start && !wrote.is_empty() {
                return Err("a start writes data".to_owned());
            }
            let row = state.instance(*instance).ok_or("a step of an instance that does not exist")?;
            for (variable, value) in wrote {
                row.write(*variable, value.clone());
            }
            state.move_tokens(*instance, taken, removed, put)
        }
        Event::Ended { instance, how: _ } => {
            // What was wrong in it is over with it.
            count(state, |case| case.incidents.retain(|open| open.instance != *instance));
            state.end(*instance).map(drop).ok_or_else(|| "an instance ends that does not exist".to_owned())
        }
        Event::Offered { .. }
        | Event::Started { .. }
        | Event::Finished { .. }
        | Event::Withdrawn { .. }
        | Event::Failed { .. }
        | Event::Reoffered { .. } => fold_item(state, event, at),
        Event::Incident { .. }
        | Event::IncidentCleared { .. }
        | Event::Suspended
        | Event::Resumed
        | Event::Closed { .. } => fold_case(state, event, at),
    }
}

fn fold_item(state: &mut impl State, event: &Event, at: Time) -> Result<(), String> {
    match event {
        Event::Offered { item, instance, task, verdict: _ } => {
            if state.item(*item).is_some() {
                return Err(format!("item {item} is offered while it is there"));
            }
            count(state, |case| {
                case.item_count = case.item_count.max(*item);
                tally(case, ItemState::Enabled, |count| count.saturating_add(1));
            });
            state.offer(
                *item,
                ItemRow {
                    instance: *instance,
                    task: *task,
                    state: ItemState::Enabled,
                    since: at,
                    data: None,
                    reason: None,
                },
            );
            Ok(())
        }
        Event::Started { item, data } => change(state, *item, at, ItemState::Executing, |row| {
            row.data = Some(data.clone());
        }),
        Event::Failed { item, reason } => change(state, *item, at, ItemState::Failed, |row| {
            row.reason = Some(reason.clone());
        }),
        Event::Reoffered { item } => change(state, *item, at, ItemState::Reoffered, |row| row.reason = None),
        Event::Finished { item, .. } | Event::Withdrawn { item, .. } => {
            let gone = state
                .withdraw(*item)
                .ok_or_else(|| format!("item {item} goes away without having been there"))?;
            count(state, |case| tally(case, gone.state, |count| count.saturating_sub(1)));
            Ok(())
        }
        _ => unreachable!("invariant: only events of items come here"),
    }
}

fn fold_case(state: &mut impl State, event: &Event, at: Time) -> Result<(), String> {
    let case = state.case().ok_or("an event of a case that does not exist")?;
    match event {
        Event::Incident { incident, instance, task, kind, detail } => {
            case.incident_count = case.incident_count.max(*incident);
            case.incidents.push(Incident {
                number: *incident,
                instance: *instance,
                task: *task,
                kind: *kind,
                detail: detail.clone(),
                since: at,
            });
        }
        Event::IncidentCleared { incident } => case.incidents.retain(|open| open.number != *incident),
        Event::Suspended => case.status = Status::Suspended,
        Event::Resumed => case.status = Status::Running,
        Event::Closed { how, .. } => {
            case.status = Status::Closed(*how);
            case.incidents.clear();
            if let Some(root) = state.end(0) {
                let case = state.case().ok_or("an event of a case that does not exist")?;
                case.output = root.data;
            }
        }
        _ => unreachable!("invariant: only events of the case itself come here"),
    }
    Ok(())
}

fn count(state: &mut impl State, act: impl FnOnce(&mut CaseRow)) {
    if let Some(case) = state.case() {
        act(case);
    }
}

fn change(
    state: &mut impl State,
    item: ItemNumber,
    at: Time,
    to: ItemState,
    act: impl FnOnce(&mut ItemRow),
) -> Result<(), String> {
    let row = state.item(item).ok_or_else(|| format!("item {item} changes without being there"))?;
    let from = std::mem::replace(&mut row.state, to);
    row.since = at;
    act(row);
    count(state, |case| {
        tally(case, from, |count| count.saturating_sub(1));
        tally(case, to, |count| count.saturating_add(1));
    });
    Ok(())
}

/// Changes the count of live items in a state, where there is one.
fn tally(case: &mut CaseRow, state: ItemState, act: impl FnOnce(u32) -> u32) {
    match state {
        ItemState::Enabled | ItemState::Reoffered => case.enabled_count = act(case.enabled_count),
        ItemState::Failed => case.failed_count = act(case.failed_count),
        ItemState::Executing => {}
    }
}

/// Moves tokens in a sorted list of counts: what every keeper of whole rows does for [`State::move_tokens`].
///
/// # Errors
/// A token is taken where none is, or a place overflows.
pub fn move_counts(
    tokens: &mut Vec<(PlaceNumber, u16)>,
    taken: &[PlaceNumber],
    removed: &[PlaceNumber],
    put: &[PlaceNumber],
) -> Result<(), String> {
    for place in taken {
        let at = tokens
            .binary_search_by_key(place, |entry| entry.0)
            .map_err(|_| format!("a token is taken from place {place}, which has none"))?;
        tokens[at].1 = tokens[at].1.saturating_sub(1);
        if tokens[at].1 == 0 {
            tokens.remove(at);
        }
    }
    tokens.retain(|entry| !removed.contains(&entry.0));
    for place in put {
        match tokens.binary_search_by_key(place, |entry| entry.0) {
            Ok(at) => {
                tokens[at].1 =
                    tokens[at].1.checked_add(1).ok_or_else(|| format!("place {place} overflows"))?;
            }
            Err(at) => tokens.insert(at, (*place, 1)),
        }
    }
    Ok(())
}
