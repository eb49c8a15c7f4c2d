//! What must hold whenever the service has come back, told from the journal's own bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use knhk::case::event::{Event, Phase};
use knhk::case::row::Status;
use knhk::case::{encode, view};
use knhk::engine::places::Holder;
use knhk::engine::record::{self, Body, Hash16, Record};
use knhk::engine::request::Found;
use knhk::engine::service::{Answer, Brief, CaseView, IsNew};
use knhk::engine::shard::Shard;
use knhk::engine::{past, queries, tables};
use knhk::id::{CaseId, Partition, Time};
use knhk::net::Net;
use knhk::store::{self, Before, Entry, Link, MemTables, Options, Unpacking};

use super::client::{Clients, Sent, Told, had_no_effect};
use super::disk::SimDisk;
use super::node::{Node, fold};
use crate::support::interpreter::Interpreter;

/// Returns a case as a client is shown it.
pub(crate) fn view(node: &Node, case: CaseId) -> Result<CaseView, String> {
    match queries::archived::row(&node.follower, case)? {
        Some(row) => queries::archived::view(&node.reader, &node.registry, case, &row),
        None => queries::case(&node.follower, &node.registry, case),
    }
    .map_err(|refusal| refusal.to_string())
}

/// Adds what left history because an archive or a restored case holds it, by partition and position. What lies in two
/// places is the same in both.
fn with_archives(node: &Node, entries: Vec<(Time, Entry)>) -> Result<Vec<(Time, Entry)>, String> {
    let mut all: BTreeMap<(Partition, u64), (Time, Entry)> =
        entries.into_iter().map(|(time, entry)| ((entry.partition, entry.n), (time, entry))).collect();
    let mut histories = Vec::new();
    for (_, entry) in all.values() {
        let case = CaseId(entry.subject);
        match record::before(&entry.payload) {
            Before::Needed => {}
            // A copy may lack it, and a case that was restored has no need of it: then all is here.
            Before::Archived(id) => histories.extend(node.reader.archived(id, case).ok()),
            Before::Within => {
                if let Body::Restored(fact) = Record::decode(&entry.payload)?.body {
                    histories.push(fact.history()?);
                }
            }
        }
    }
    for history in histories {
        past::each(&history, &mut Unpacking::known(), &mut |entry| {
            let place = (entry.partition, entry.n);
            let known = all.entry(place).or_insert_with(|| (Time(u64::MAX), entry.clone()));
            if known.1 == *entry {
                Ok(true)
            } else {
                Err(format!("{place:?} is another entry in an archive"))
            }
        })?;
    }
    Ok(all.into_values().collect())
}

/// All durable entries, of history, the journal and archives, each with the time of its frame.
pub(crate) struct Journal(Vec<(Time, Entry)>);

impl Journal {
    pub(crate) fn read(node: &Node) -> Result<Self, String> {
        let mut in_journal = Vec::new();
        let mut firsts: HashMap<Partition, u64> = HashMap::new();
        node.reader
            .frames(1, &mut |frame| {
                for entry in &frame.entries {
                    firsts.entry(entry.partition).or_insert(entry.n);
                    in_journal.push((frame.time, entry.clone()));
                }
                Ok(true)
            })
            .map_err(|error| format!("reading the journal: {error}"))?;
        let mut entries = Vec::new();
        let positions = node.reader.positions();
        for partition in Partition::all() {
            let end = firsts.get(&partition).copied().unwrap_or(positions[partition.index()] + 1);
            if end == 1 {
                continue;
            }
            // History does not keep the times of frames.
            node.reader
                .entries(partition, 1, &mut |entry| {
                    let is_in_history = entry.n < end;
                    if is_in_history {
                        entries.push((Time(u64::MAX), entry.clone()));
                    }
                    is_in_history
                })
                .map_err(|error| format!("reading history: {error}"))?;
        }
        entries.append(&mut in_journal);
        let entries = with_archives(node, entries)?;
        for partition in Partition::all() {
            let last = entries.iter().rfind(|(_, entry)| entry.partition == partition);
            let (found, end) = (last.map_or(0, |(_, entry)| entry.n), positions[partition.index()]);
            if found != end {
                return Err(format!("entry {found} of {partition:?} is the last, and {end} must be"));
            }
        }
        Ok(Self(entries))
    }

    /// Positions have no gaps, every case's chain is unbroken, and no time goes back.
    pub(crate) fn positions_and_chains_are_whole(&self) -> Result<(), String> {
        let mut last: HashMap<Partition, (u64, Time)> = HashMap::new();
        // That a case was archived is gone when it was restored and archived again; what it said is not needed.
        let dispensable: BTreeSet<(Partition, u64)> = self
            .0
            .iter()
            .filter(|(_, entry)| record::before(&entry.payload) == Before::Within)
            .map(|(_, entry)| (entry.partition, entry.previous.n))
            .collect();
        let mut chains: HashMap<u64, Link> = HashMap::new();
        for (time, entry) in &self.0 {
            let at = Record::decode(&entry.payload)?.at;
            let before = last.insert(entry.partition, (entry.n, at)).unwrap_or((0, Time(0)));
            let mut missing = before.0 + 1..entry.n;
            if entry.n <= before.0 || !missing.all(|n| dispensable.contains(&(entry.partition, n))) {
                return Err(format!("entry {} of {:?} follows {}", entry.n, entry.partition, before.0));
            }
            if at < before.1 || *time < at {
                return Err(format!(
                    "an entry of {at:?} after one of {:?}, in a frame of {time:?}",
                    before.1
                ));
            }
            let link = chains.entry(entry.subject).or_default();
            let is_dispensable = dispensable.contains(&(entry.partition, entry.previous.n));
            if *link != entry.previous && !(is_dispensable && link.n < entry.previous.n) {
                let (case, n, before) = (CaseId(entry.subject), entry.n, entry.previous);
                return Err(format!("the chain of {case} is broken at {n}: {before:?} is not {link:?}"));
            }
            if entry.subject != 0 {
                *link = entry.link();
            }
        }
        Ok(())
    }
}

impl Journal {
    /// Every key has at most one entry, and whatever was acknowledged has its own.
    pub(crate) fn acknowledged_is_there_once(&self, sent: &[Sent]) -> Result<(), String> {
        let mut counts: HashMap<Hash16, u32> = HashMap::new();
        let mut created: BTreeSet<CaseId> = BTreeSet::new();
        for (_, entry) in &self.0 {
            let record = Record::decode(&entry.payload)?;
            if let Some(key) = record.key {
                *counts.entry(key.key).or_default() += 1;
            }
            if entry.subject != 0 && entry.previous.n == 0 && !created.insert(CaseId(entry.subject)) {
                return Err(format!("case {} was created twice", CaseId(entry.subject)));
            }
        }
        for sent in sent {
            let count = counts.get(&sent.hash).copied().unwrap_or(0);
            if count > 1 {
                return Err(format!("done {count} times under one key: {:?}", sent.asked));
            }
            let must_be_there = match &sent.told {
                Told::Done(answer) => match answer.as_ref() {
                    Answer::Created(_, is_new) | Answer::Brief(Brief::Created(_, _, is_new)) => {
                        *is_new == IsNew::Yes
                    }
                    Answer::Item(..) | Answer::Brief(Brief::Item(..)) => true,
                    // Without a key of the client's, an `execute` that found nothing to do leaves nothing behind.
                    Answer::Case(_) | Answer::Brief(Brief::Case(..)) => sent.once.key.is_some(),
                    Answer::NotRemembered(_) => false,
                },
                Told::Registered(view) => view.is_new,
                Told::Unknown | Told::Refused => false,
            };
            if must_be_there && count == 0 {
                return Err(format!("acknowledged and lost: {:?}", sent.asked));
            }
            let Told::Done(answer) = &sent.told else { continue };
            let case = match answer.as_ref() {
                Answer::Created(view, _) => view.id,
                Answer::Brief(Brief::Created(case, ..)) => *case,
                _ => continue,
            };
            if !created.contains(&case) {
                return Err(format!("case {case} was acknowledged and is lost"));
            }
        }
        Ok(())
    }
}

impl Journal {
    /// What found nothing to do left no key behind.
    pub(crate) fn what_had_no_effect_left_no_key(&self, sent: &[Sent]) -> Result<(), String> {
        let mut keys: BTreeSet<Hash16> = BTreeSet::new();
        for (_, entry) in &self.0 {
            keys.extend(Record::decode(&entry.payload)?.key.map(|key| key.key));
        }
        // A repeat may have found something to do.
        for sent in sent.iter().filter(|sent| sent.times == 1) {
            if let Told::Done(answer) = &sent.told
                && had_no_effect(answer)
                && keys.contains(&sent.hash)
            {
                return Err(format!("had no effect, and its key is in the journal: {:?}", sent.asked));
            }
        }
        Ok(())
    }
}

impl Journal {
    /// Every key is one that somebody sent.
    pub(crate) fn nothing_is_invented(&self, sent: &[Sent]) -> Result<(), String> {
        let known: BTreeSet<Hash16> = sent.iter().map(|sent| sent.hash).collect();
        for (_, entry) in &self.0 {
            if let Some(key) = Record::decode(&entry.payload)?.key
                && !known.contains(&key.key)
            {
                return Err(format!("entry {} of {:?} has a key that nobody sent", entry.n, entry.partition));
            }
        }
        Ok(())
    }
}

/// Whatever a client was shown is still so, or has gone on from there.
pub(crate) fn shown_is_durable(node: &Node, clients: &Clients) -> Result<(), String> {
    for shown in &clients.shown {
        let view = view(node, shown.case)
            .map_err(|why| format!("case {} was shown and is gone: {why}", shown.case))?;
        if view.event_count < shown.event_count || view.changed < shown.changed {
            return Err(format!(
                "case {} was shown with {} events and has {}",
                shown.case, shown.event_count, view.event_count
            ));
        }
    }
    Ok(())
}

impl Journal {
    /// The marking of every live case is the one that the plain interpreter comes to by the same steps.
    pub(crate) fn markings_are_the_interpreters(&self, node: &Node) -> Result<(), String> {
        let mut histories: BTreeMap<CaseId, Vec<Event>> = BTreeMap::new();
        for (_, entry) in &self.0 {
            if let Body::Case(payload) = Record::decode(&entry.payload)?.body {
                let events = encode::events_from_bytes(payload).map_err(|error| error.to_string())?;
                histories.entry(CaseId(entry.subject)).or_default().extend(events);
            }
        }
        for (case, events) in histories {
            let rows = match queries::find(&node.follower, case)? {
                Found::Rows(rows) => *rows,
                Found::Archived(_) => continue,
                Found::Nothing => return Err("a case without a row".to_owned()),
            };
            if view::state(&rows.case).is_closed() {
                continue;
            }
            let spec = node.registry.get(rows.case.spec).ok_or("a case without its specification")?;
            let nets = interpret(&events, &spec.workflow.nets)?;
            let stored: BTreeMap<u32, Vec<(u16, u16)>> =
                rows.instances.into_iter().map(|(number, row)| (number, row.tokens)).collect();
            let told: BTreeMap<u32, Vec<(u16, u16)>> =
                nets.iter().map(|(number, net)| (*number, net.marking())).collect();
            if stored != told {
                return Err(format!("case {case}: rows say {stored:?}, the interpreter {told:?}"));
            }
        }
        Ok(())
    }
}

fn interpret<'a>(events: &[Event], nets: &'a [Arc<Net>]) -> Result<BTreeMap<u32, Interpreter<'a>>, String> {
    let mut running: BTreeMap<u32, Interpreter<'a>> = BTreeMap::new();
    for event in events {
        match event {
            Event::Opened { instance, net, .. } => {
                running.insert(*instance, Interpreter::new(&nets[usize::from(*net)]));
            }
            Event::Ended { instance, .. } => drop(running.remove(instance)),
            Event::Stepped { instance, task, phase, put, .. } => {
                let net = running.get_mut(instance).ok_or("a step of a net that does not run")?;
                let busy = net.net.tasks[usize::from(*task)].busy;
                let chosen = put.iter().copied().filter(|place| *place != busy).collect();
                let phase = match phase {
                    Phase::Start => knhk::kernel::Phase::Start,
                    Phase::Complete => knhk::kernel::Phase::Complete,
                    Phase::Pass => knhk::kernel::Phase::Pass,
                };
                net.step(*task, phase, &chosen)
                    .ok_or_else(|| format!("the interpreter refuses {event:?}"))?;
            }
            _ => {}
        }
    }
    Ok(running)
}

/// The keys that shards remember are those of the rows, and each has its one place. Only when nothing is under way.
pub(crate) fn keys_are_rows(node: &Node) -> Result<(), String> {
    let mut rows = BTreeSet::new();
    node.follower
        .scan(tables::KEYS, &[], &mut |key, _| {
            rows.extend(tables::used_of(key).map(|(partition, _, hash)| (partition, hash)));
            true
        })
        .map_err(|error| error.to_string())?;
    let mut remembered = BTreeSet::new();
    let mut shares: BTreeMap<Holder, usize> = BTreeMap::new();
    for (partition, hash, holder) in node.shards.iter().flat_map(Shard::client_keys) {
        remembered.insert((partition, hash));
        *shares.entry(holder).or_default() += 1;
    }
    if remembered != rows {
        return Err(format!("{} keys are remembered, and {} are in the rows", remembered.len(), rows.len()));
    }
    let places = node.shards[0].places();
    let (taken, counted) = (places.taken(), places.shares());
    if taken != (rows.len(), 0) || counted != shares.into_iter().collect::<Vec<_>>() {
        return Err(format!("{} keys take {taken:?} places, by holder {counted:?}", rows.len()));
    }
    Ok(())
}

/// What shards hold is what the follower's rows say, and nothing that is closed; nothing waits to go on by itself.
/// Only when nothing is under way.
pub(crate) fn memory_is_rows(node: &mut Node) -> Result<(), String> {
    let in_memory: usize = node.shards.iter().map(|shard| shard.cases().len()).sum();
    let mut live = Vec::new();
    node.follower
        .scan(tables::CASES, &[], &mut |key, _| {
            live.extend(tables::case_of(key));
            true
        })
        .map_err(|error| error.to_string())?;
    if in_memory > live.len() {
        return Err(format!("{in_memory} cases are in memory and {} live", live.len()));
    }
    for case in live {
        let rows = queries::case_rows(&node.follower, case)?.ok_or("a live case without its row")?;
        let spec = node.registry.get(rows.case.spec).ok_or("a case without its specification")?;
        // An OR-join that turned out not to be enabled leaves the word `unfinished` behind, and nothing to do.
        let is_automated = spec.workflow.uri == "count";
        if is_automated && rows.case.unfinished && rows.case.status == Status::Running {
            return Err(format!("case {case} has something to do, and nobody does it"));
        }
        let shard = knhk::engine::loading::shard_of(case.partition(), node.shards.len());
        let memory = node.shards[shard].cases().rows(case);
        let Some(memory) = memory else { continue };
        if memory != rows {
            return Err(format!("case {case}: in memory {memory:?}, in rows {rows:?}"));
        }
    }
    Ok(())
}

/// `state verify` has nothing to say.
pub(crate) fn verify_is_clean(
    disk: &SimDisk,
    tables: &Arc<MemTables>,
    options: &Options,
    forgets_keys: bool,
) -> Result<(), String> {
    let report = store::verify(
        disk,
        Some(tables.as_ref()),
        fold(forgets_keys),
        options,
        store::Level::Full,
        store::Part::WHOLE,
        &mut |_| {},
    );
    match report.findings.first() {
        None => Ok(()),
        Some(finding) => Err(format!("verify: {finding}")),
    }
}
