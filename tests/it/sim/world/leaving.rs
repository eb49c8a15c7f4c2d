//! Cases that are archived and restored while everything else goes on.

use knhk::engine::archiving;
use knhk::engine::request::{Found, Move, Reply};
use knhk::engine::restoring::{self, Here};
use knhk::engine::service::ArchiveOrder;
use knhk::engine::ticket::Ticket;
use knhk::engine::{queries, tables};
use knhk::error::Kind;
use knhk::id::CaseId;
use knhk::store;

use super::World;
use crate::sim::node::KEY_US;
use crate::sim::stats::Stats;

/// Who was asked, and what came of it.
#[derive(Default)]
pub(super) struct Leaving {
    archived: Vec<(CaseId, Ticket<Reply>)>,
    restored: Vec<(CaseId, Ticket<Reply>)>,
}

impl Leaving {
    pub(super) fn listen(&mut self, stats: &mut Stats) -> Result<(), String> {
        stats.archived += heard(&mut self.archived)?;
        stats.restored += heard(&mut self.restored)?;
        Ok(())
    }

    pub(super) fn lose_connections(&mut self) {
        self.archived.clear();
        self.restored.clear();
    }
}

/// Returns how many were moved; the others wait, or are to stay.
fn heard(asked: &mut Vec<(CaseId, Ticket<Reply>)>) -> Result<u64, String> {
    let mut count = 0;
    for (case, ticket) in std::mem::take(asked) {
        match ticket.poll() {
            None => asked.push((case, ticket)),
            Some(Reply::Moved) => count += 1,
            Some(Reply::Refused(refusal)) => {
                let is_for_now = matches!(refusal.kind, Kind::Busy | Kind::Conflict | Kind::Unavailable);
                if !is_for_now && refusal.kind != Kind::Unknown {
                    return Err(format!("case {case} was not moved: {refusal}"));
                }
            }
            Some(other) => return Err(format!("an answer to something else: {other:?}")),
        }
    }
    Ok(count)
}

impl World {
    /// Writes an archive file, and asks for the cases in it. The disk may die on the way.
    pub(super) fn archive(&mut self) -> Result<(), String> {
        if self.is_aging && self.random.is_one_in(2) {
            self.compare()?; // Nobody may be waiting.
            self.pass(KEY_US + 1);
        }
        let (now, moment) = (self.now(), self.moment().moment);
        let order = ArchiveOrder {
            older_than_us: *self.random.pick(&[0, 1_000_000, KEY_US]).expect("there are some"),
            workflow: None,
            state: None,
            limit: 1 + u32::try_from(self.random.below(6)).expect("small"),
            after: None,
            is_trial: false,
        };
        let is_asked = !self.random.is_one_in(8);
        let node = self.node();
        node.follow(usize::MAX)?;
        let chosen = archiving::choose(&node.follower, &node.registry, &order, now, KEY_US);
        let chosen = chosen.map_err(|refusal| format!("choosing: {refusal}"))?;
        let sealed = match archiving::seal(&node.reader, &chosen, now, moment) {
            Ok(Some(sealed)) => sealed,
            Ok(None) | Err(store::Error::Io { .. } | store::Error::OldFormat { .. }) => return Ok(()),
            Err(error) => return Err(format!("an archive: {error}")),
        };
        if !is_asked {
            return Ok(()); // The process ends before it comes to that.
        }
        let id = sealed.id;
        let asked = node.ask_moves(sealed.leaving);
        self.say(|| format!("{} cases are asked to go to {id}", asked.len()));
        self.leaving.archived.extend(asked);
        Ok(())
    }

    /// Asks for an archived case.
    pub(super) fn restore_case(&mut self) -> Result<(), String> {
        let now = self.now();
        let node = self.node.as_mut().expect("the service runs");
        node.follow(usize::MAX)?;
        let mut cases = Vec::new();
        node.follower
            .scan(tables::ARCHIVED, &[], &mut |key, _| {
                cases.extend(tables::case_of(key));
                true
            })
            .map_err(|error| error.to_string())?;
        let Some(case) = self.random.pick(&cases).copied() else { return Ok(()) };
        let found = queries::find(&node.follower, case)?;
        if !matches!(found, Found::Archived(_)) {
            return Err(format!("case {case} has the row of an archived case, and {found:?}"));
        }
        let wrong = |refusal| format!("case {case} cannot be restored: {refusal}");
        let given = restoring::of_archive(&node.reader, case, &found).map_err(wrong)?;
        let given = restoring::with_specification(&node.follower, given).map_err(wrong)?;
        let here = Here {
            follower: &node.follower,
            reader: &node.reader,
            registry: &node.registry,
            now,
            frame_bytes_max: node.setting.frame_bytes_max,
        };
        let coming = match restoring::prepare(&here, given, false) {
            Ok(coming) => coming,
            // A long history does not fit the small frames of this world.
            Err(refusal) if refusal.kind == Kind::TooLarge => return Ok(()),
            Err(refusal) => return Err(wrong(refusal)),
        };
        let asked = node.ask_moves(vec![(case, Box::new(Move::Come(Box::new(coming))))]);
        self.say(|| format!("case {case} is asked to come back"));
        self.leaving.restored.extend(asked);
        Ok(())
    }
}
