//! One simulated world: a disk, a clock, clients and a service that dies and comes back, all from one seed.

mod leaving;
mod past;

use std::path::PathBuf;
use std::sync::Arc;

use knhk::engine::loading::JUDGED_STATES_MAX;
use knhk::engine::request::Message;
use knhk::engine::service::Operation;
use knhk::engine::shard::{self, EXPRESSION_STEPS_MAX, NextTurn, SERVICE_KEY_US, TURN_STEPS};
use knhk::id::Time;
use knhk::store::{FORMAT, FileKind, Kept, MemTables, Moment, Now, Options, PlantedBug, Trim};

use super::check;
use super::client::{Asked, Clients};
use super::copy::Copy;
use super::disk::{Faults, SimDisk};
use super::node::{Node, Setting};
use super::random::Random;
use super::stats::Stats;
use leaving::Leaving;
use past::Past;

const STEPS: u64 = 260;
const SEGMENT_BYTES: u64 = 64 * 1024;
/// Steps within which everything that may go has gone.
const KEEP_STEPS_MAX: u32 = 500;
/// A world that has been left alone so long must have come to rest.
const REST_STEPS_MAX: u32 = 400;
/// One world in so many begins with a store of the release before.
const PAST_WORLDS: u64 = 8;
/// In one world in so many copies begin just before files go; none of these begins with an old store.
const COPIED_WORLDS: u64 = 4;
/// Things that are done with history and trimming while such a copy is made.
const COPIED_KEEPS: u64 = 12;
/// In one world in so many days pass.
const AGING_WORLDS: u64 = 3;
/// And within so many turns a shard has done what needs no durable frame.
const REST_TURNS_MAX: u32 = 2_000;
/// No decision on the clients' specifications takes more evaluation steps.
const EVALUATED_MAX: u64 = 2_000;
const START_US: u64 = 1_800_000_000_000_000;

/// What a world is set up with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) planted: Option<PlantedBug>,
    pub(crate) forgets_keys: bool,
    pub(crate) planted_keys: Option<shard::PlantedBug>,
    pub(crate) never_gives_way: bool,
    pub(crate) is_loud: bool,
}

impl Plan {
    pub(crate) fn with_bug(bug: PlantedBug) -> Self {
        Self { planted: Some(bug), ..Self::default() }
    }
}

pub(crate) struct World {
    random: Random,
    plan: Plan,
    disk: SimDisk,
    tables: Arc<MemTables>,
    options: Options,
    clock: u64,
    /// The latest that the clock ever was; no time in the journal is later.
    latest: u64,
    /// The clock that counts graces.
    moment: Moment,
    /// The copy of the state folder that is being made.
    copy: Option<Copy>,
    /// Copies begin just before files go.
    is_copied: bool,
    /// Days pass before cases are archived, so that their keys have come to their end.
    is_aging: bool,
    /// What the release before has to do with the store.
    past: Option<Past>,
    setting: Setting,
    node: Option<Node>,
    clients: Clients,
    /// Cases that were asked to leave or to come back.
    leaving: Leaving,
    stats: Stats,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let setting = Setting {
            shard_count: 1 + random.index(3),
            frame_bytes_max: *random.pick(&[24 * 1024, 48 * 1024]).expect("there are some"),
            cache_bytes: *random.pick(&[0, 0, 6_000, 1 << 30]).expect("there are some"),
            judged_states: *random.pick(&[0, JUDGED_STATES_MAX]).expect("there are some"),
            turn_steps: *random.pick(&[1, 1, 300, 5_000, TURN_STEPS]).expect("there are some"),
            evaluated_max: EVALUATED_MAX,
            expression_steps: *random.pick(&[1, 1, 40, EXPRESSION_STEPS_MAX]).expect("there are some"),
            never_gives_way: plan.never_gives_way,
            is_batch_single: false,
            forgets_keys: plan.forgets_keys,
            keys_max: *random
                .pick(&[10_000, 10_000, 10_000, 10_000, 10_000, 12, 40])
                .expect("there are some"),
            planted_keys: plan.planted_keys,
        };
        let options = Options {
            state_dir: PathBuf::from("/state"),
            cache_dir: PathBuf::from("/cache"),
            segment_bytes: SEGMENT_BYTES,
            hurried_bytes: SEGMENT_BYTES,
            frame_bytes_max: setting.frame_bytes_max,
            grace_us: *random.pick(&[0, 1_000_000, 60_000_000]).expect("there are some"),
            keep_us: SERVICE_KEY_US,
            format_max: FORMAT,
            planted: plan.planted,
        };
        Self {
            disk: SimDisk::new(random.next()),
            random,
            plan,
            tables: Arc::new(MemTables::default()),
            options,
            clock: START_US,
            latest: START_US,
            moment: Moment { boot: [0; 16], us: 0 },
            copy: None,
            is_copied: seed % COPIED_WORLDS == 1,
            is_aging: seed % AGING_WORLDS == 2,
            past: (seed % PAST_WORLDS == PAST_WORLDS - 1).then(Past::new),
            setting,
            node: None,
            clients: Clients::default(),
            leaving: Leaving::default(),
            stats: Stats::default(),
        }
    }

    fn now(&self) -> Time {
        Time(self.clock)
    }

    fn pass(&mut self, us: u64) {
        self.clock += us;
        self.moment.us += us;
    }

    fn moment(&self) -> Now {
        Now { moment: self.moment, time: self.now() }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.plan.is_loud {
            use std::io::Write;
            drop(writeln!(std::io::stdout(), "{:>10} {}", self.disk.calls(), what()));
        }
    }

    /// Runs the world to its end.
    pub(crate) fn run(mut self) -> Result<Stats, String> {
        self.come_back()?;
        for _ in 0..STEPS {
            let us = self.random.below(2_000) + self.disk.take_late_us();
            self.pass(us);
            self.latest = self.latest.max(self.clock);
            self.step()?;
            if self.is_copied && self.copy.is_none() && !self.disk.is_crashed() && self.random.is_one_in(8) {
                self.copy_while_files_go()?;
            }
            if self.copy.is_some() && !self.disk.is_crashed() && self.random.is_one_in(3) {
                self.copy()?;
            }
            if self.disk.is_crashed() {
                self.crash()?;
            }
        }
        // In the end all faults are gone: everything must come to rest, be there, and go on.
        self.disk.crash_at(None);
        self.disk.set_faults(Faults::default());
        self.disk.set_budget(None);
        if self.disk.is_crashed() {
            self.crash()?;
        }
        self.rest()?;
        self.crash_now()?;
        self.repeat_everything()?;
        self.rest()?;
        self.check()?;
        if self.random.is_one_in(2) {
            self.go_forth()?;
            self.keep_everything()?;
        }
        Ok(self.stats)
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("the service runs")
    }

    fn step(&mut self) -> Result<(), String> {
        let now = self.now();
        if self.may_upgrade() && self.random.is_one_in(25) {
            return self.upgrade();
        }
        match self.random.below(50) {
            0..=9 => {
                let node = self.node.as_mut().expect("the service runs");
                let count = if self.random.is_one_in(5) { 2 + self.random.index(6) } else { 1 };
                let invented: Vec<usize> =
                    (0..count).filter_map(|_| self.clients.invent(&mut self.random, node, now)).collect();
                self.clients.send(&invented, node);
            }
            10..=11 if self.random.is_one_in(4) => self.clients.hang_up(&mut self.random),
            10..=11 => self.repeat_one(),
            12..=20 => {
                let shard = self.random.index(self.setting.shard_count);
                let count = 1 + self.random.index(4);
                self.node().turn(shard, count, now);
            }
            21..=27 => self.write()?,
            28..=30 => {
                let count = 1 + self.random.index(4);
                self.node().follow(count)?;
            }
            31 => self.node().answer()?,
            32 => self.node().compute(),
            33 => {
                self.node().checkpoint();
                self.stats.checkpoints += 1;
            }
            34 => self.node().prepare(),
            35 => {
                let node = self.node.as_mut().expect("the service runs");
                self.clients.read(&mut self.random, node)?;
            }
            36 => self.weather(),
            37 => self.compare()?,
            38 => self.jump(),
            39..=42 => {
                let trim = if self.random.is_one_in(6) { Trim::Now } else { Trim::Due };
                for _ in 0..=self.random.below(4) {
                    self.keep(trim)?;
                }
            }
            43 => self.snapshot()?,
            44 if self.copy.is_none() => self.begin_copy(),
            46..=48 => self.archive()?,
            49 => self.restore_case()?,
            _ => {
                let after = self.disk.calls() + self.random.below(30);
                self.disk.crash_at(Some(after));
            }
        }
        Ok(())
    }

    /// Goes one step on with history and trimming; returns whether something was done.
    fn keep(&mut self, trim: Trim) -> Result<bool, String> {
        if self.options.format_max < FORMAT {
            return Ok(false); // That release knows nothing of it.
        }
        let now = self.moment();
        let kept = self.node().keep(now, trim)?;
        match &kept {
            Kept::Nothing => return Ok(false),
            Kept::History { .. } => self.stats.histories += 1,
            Kept::Removed { .. } if self.past.as_ref().is_some_and(|past| !past.is_upgraded()) => {
                return Err(format!("the release before needs it: {kept:?}"));
            }
            Kept::Removed { kind: FileKind::Archive, .. } => self.stats.left_over += 1,
            Kept::Removed { .. } => self.stats.removed += 1,
            Kept::Rewritten { .. } => self.stats.rewritten += 1,
            Kept::Checked { .. } => {}
            Kept::Damaged { name, why, .. } => return Err(format!("{name} is damaged: {why}")),
        }
        if trim == Trim::Now && matches!(kept, Kept::Removed { .. }) {
            self.copy = None; // Whoever trims at once is told that copies become incomplete.
        }
        self.say(|| format!("{trim:?}: {kept:?}"));
        Ok(true)
    }

    fn begin_copy(&mut self) {
        let sent = &self.clients.sent;
        let state = &self.options.state_dir;
        self.copy = Some(Copy::begin(&mut self.random, state, sent, self.moment));
    }

    /// Begins a copy when nothing but the grace keeps complete segments from going, and lets what replaces them be
    /// written while it is made.
    fn copy_while_files_go(&mut self) -> Result<(), String> {
        if self.clients.is_waiting() || self.clients.is_asking_without_key() {
            return Ok(()); // As in a jump.
        }
        let us = SERVICE_KEY_US + self.random.below(SERVICE_KEY_US);
        self.pass(us);
        self.begin_copy();
        for _ in 0..=self.random.below(4) {
            if let Some(copy) = &mut self.copy
                && !copy.step(&mut self.random, &self.disk)
            {
                break;
            }
        }
        self.snapshot()?;
        for _ in 0..COPIED_KEEPS {
            if self.disk.is_crashed() || !self.keep(Trim::Due)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads some pieces of the copy that is being made, and opens it when it is whole.
    fn copy(&mut self) -> Result<(), String> {
        for _ in 0..=self.random.below(12) {
            let Some(copy) = &mut self.copy else { break };
            if self.moment.us - copy.began.us > self.options.grace_us {
                self.copy = None; // It took longer than the grace.
            } else if !copy.step(&mut self.random, &self.disk) {
                let copy = self.copy.take().expect("it is there");
                self.stats.copies += 1;
                let (now, how) = (self.now(), (&self.options, self.setting));
                let checked = copy.check(&mut self.random, how, now, &self.clients.sent);
                checked.map_err(|why| format!("a copy: {why}"))?;
            }
        }
        Ok(())
    }

    /// Brings a checkpoint to its end, and writes a snapshot.
    fn snapshot(&mut self) -> Result<(), String> {
        if self.options.format_max < FORMAT {
            return Ok(());
        }
        let (now, tables) = (self.moment(), Arc::clone(&self.tables));
        let node = self.node();
        node.checkpoint();
        if node.checkpoint.is_some() {
            node.checkpoint();
        }
        let is_written = node.snapshot(&tables, now)?;
        self.stats.snapshots += u64::from(is_written);
        self.say(|| format!("a snapshot is written: {is_written}"));
        Ok(())
    }

    /// Lets everything go that may, and opens what is left without the working environment.
    fn keep_everything(&mut self) -> Result<(), String> {
        self.snapshot()?;
        self.pass(SERVICE_KEY_US + self.options.grace_us);
        self.clock = self.clock.max(self.latest + SERVICE_KEY_US);
        self.latest = self.clock;
        for _ in 0..KEEP_STEPS_MAX {
            if !self.keep(Trim::Due)? {
                self.crash_now()?;
                self.tables = Arc::new(MemTables::default());
                self.crash_now()?;
                return Ok(());
            }
            self.pass(self.options.grace_us + 1);
        }
        Err("what may go does not come to an end".to_owned())
    }

    fn write(&mut self) -> Result<(), String> {
        let now = self.now();
        let node = self.node.as_mut().expect("the service runs");
        let was_failing = node.is_failing();
        let random = &mut self.random;
        let replies = node.write(&mut |count| random.index(count + 1).max(1), now);
        if node.is_failing() && !was_failing {
            self.stats.failed_appends += 1;
        }

        if self.disk.is_crashed() {
            return Ok(()); // The process is dead: no answer leaves it.
        }
        for (answerer, reply) in replies {
            answerer.answer(reply);
        }
        let heard = self.clients.listen(node)?;
        self.leaving.listen(&mut self.stats)?;
        self.stats.acknowledged += heard.acknowledged;
        self.stats.repeated += heard.repeated;
        self.stats.refused += heard.refused;
        self.stats.unknown += heard.unknown;
        self.stats.without_place += heard.without_place;
        self.stats.not_remembered += heard.not_remembered;
        Ok(())
    }

    fn repeat_one(&mut self) {
        let count = self.clients.sent.len();
        if count == 0 {
            return;
        }
        let at = self.random.index(count);
        if self.may_repeat(at) {
            let node = self.node.as_mut().expect("the service runs");
            self.clients.send(&[at], node);
        }
    }

    /// A key is good for its time only. A key that the service made, which its client hears of when the outcome is
    /// unknown, is repeated as a key of the client's own; what left nothing behind is no repeat then.
    fn may_repeat(&self, at: usize) -> bool {
        let sent = &self.clients.sent[at];
        let kept_us = match (&sent.once.key, &sent.asked) {
            (Some(_), _) => super::node::KEY_US,
            (None, Asked::Operate(Operation::Case(..))) => 0,
            // Half, because it may be a while before its shard has a turn.
            (None, _) => SERVICE_KEY_US / 2,
        };
        sent.at.plus_us(kept_us) > Time(self.latest.max(self.clock))
    }

    /// Sends everything again whose outcome is acknowledged or unknown: each must be done once.
    fn repeat_everything(&mut self) -> Result<(), String> {
        for at in 0..self.clients.sent.len() {
            if self.may_repeat(at) {
                let node = self.node.as_mut().expect("the service runs");
                self.clients.send(&[at], node);
            }
            if at % 16 == 15 {
                self.rest()?;
            }
        }
        Ok(())
    }

    fn weather(&mut self) {
        let faults = match self.random.below(4) {
            0 => Faults { write_errors: self.random.below(200), ..Faults::default() },
            1 => Faults { sync_errors: self.random.below(300), late_syncs: 100, ..Faults::default() },
            _ => Faults::default(),
        };
        self.disk.set_faults(faults);
        let budget = self.random.is_one_in(3).then(|| {
            // One in four leaves nothing at all, until the weather changes.
            let free = if self.random.is_one_in(4) { 0 } else { self.random.below(400_000) };
            self.disk.used_bytes() + usize::try_from(free).expect("small")
        });
        self.disk.set_budget(budget);
        self.say(|| format!("weather: {faults:?}, budget {budget:?}"));
    }

    fn jump(&mut self) {
        if self.clients.is_asking_without_key() {
            return; // Such a key could come to its end between the sending and the shard's turn.
        }
        match self.random.below(6) {
            // Nobody waits for days: a key that comes to its end between the sending and the shard's turn is none.
            0 if self.clients.is_waiting() => {}
            0 => {
                let us = self.random.below(2 * super::node::KEY_US);
                self.pass(us);
            }
            1 => {
                self.clock = self.clock.saturating_sub(self.random.below(7_200_000_000));
                // What is still under way may be done, and its key's time begin, by the clock as it is now.
                for sent in &mut self.clients.sent {
                    sent.at = sent.at.min(Time(self.clock));
                }
            }
            2 => {
                let shard = self.random.index(self.setting.shard_count);
                self.node().inboxes[shard].push_back(Message::Minute);
            }
            3 if !self.clients.is_waiting() => {
                let us = self.random.below(3 * SERVICE_KEY_US);
                self.pass(us);
            }
            _ => {
                let us = self.random.below(60_000_000);
                self.pass(us);
            }
        }
    }

    /// Lets everything under way come to its end.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..REST_STEPS_MAX {
            let now = self.now();
            self.pass(1_000);
            self.latest = self.latest.max(self.clock);
            for shard in 0..self.setting.shard_count {
                for _ in 0..REST_TURNS_MAX {
                    self.node().turn(shard, usize::MAX, now);
                    if self.node().shards[shard].next_turn() == NextTurn::Now {
                        continue;
                    }
                    if self.node().computations.is_empty() {
                        break;
                    }
                    self.node().compute();
                }
            }
            self.write()?;
            self.node().follow(usize::MAX)?;
            self.node().answer()?;
            if self.disk.is_crashed() {
                return self.crash();
            }
            if self.node().is_quiet() && !self.clients.is_waiting() && !self.node().is_failing() {
                return Ok(());
            }
        }
        let shards: Vec<_> =
            self.node().shards.iter().map(|shard| (shard.next_turn(), shard.held())).collect();
        let waits = self.clients.is_waiting();
        Err(format!("the service does not come to rest: {shards:?}, a client waits: {waits}"))
    }

    /// What shards hold in memory is what their durable events fold to.
    fn compare(&mut self) -> Result<(), String> {
        self.disk.crash_at(None);
        self.disk.set_faults(Faults::default());
        self.disk.set_budget(None);
        self.rest()?;
        let now = self.now();
        for shard in 0..self.setting.shard_count {
            // It has yet to hear that the last batch is durable.
            self.node().turn(shard, 0, now);
        }
        check::keys_are_rows(self.node())?;
        check::memory_is_rows(self.node())
    }

    fn crash_now(&mut self) -> Result<(), String> {
        self.disk.crash_at(Some(self.disk.calls()));
        self.crash()
    }

    fn crash(&mut self) -> Result<(), String> {
        self.stats.crashes += 1;
        self.copy = None;
        self.node = None;
        self.clients.lose_connections();
        self.leaving.lose_connections();
        self.disk.crash_at(None);
        self.disk.set_faults(Faults::default());
        self.disk.set_budget(None);
        if self.random.is_one_in(3) {
            self.say(|| "the process dies".to_owned());
            self.disk.restart();
        } else {
            self.say(|| "the power is lost".to_owned());
            self.lose_power();
        }
        if self.random.is_one_in(5) {
            // The working environment is derived: it may be gone.
            self.tables = Arc::new(MemTables::default());
        }
        self.setting.shard_count = 1 + self.random.index(3);
        self.come_back()?;
        self.check()
    }

    /// The machine begins anew, and so does its clock.
    fn lose_power(&mut self) {
        self.disk.power_cycle();
        let run = u128::from_le_bytes(self.moment.boot) + 1;
        self.moment = Moment { boot: run.to_le_bytes(), us: self.random.below(1_000_000) };
    }

    /// Opens the store, perhaps dying on the way a few times.
    fn come_back(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            self.choose_release()?;
            let before = past::kept(&self.disk, &self.options.state_dir);
            if self.random.is_one_in(4) {
                let after = self.disk.calls() + self.random.below(20);
                self.disk.crash_at(Some(after));
            }
            let opened = Node::open(&self.disk, &self.tables, &self.options, self.setting, self.now());
            if self.disk.is_crashed() {
                drop(opened);
                self.disk.crash_at(None);
                if self.random.is_one_in(2) {
                    self.disk.restart();
                } else {
                    self.lose_power();
                }
                continue;
            }
            self.disk.crash_at(None);
            let opened = opened?;
            let is_of_snapshot = |note: &String| note.starts_with("the rows were loaded from the snapshot");
            self.stats.from_snapshot += u64::from(opened.notes.iter().any(is_of_snapshot));
            self.node = Some(opened);
            if let Some(past) = &mut self.past {
                past.opened();
                let is_gone = |path: &&PathBuf| !self.disk.files(path).contains(path);
                if !past.is_upgraded()
                    && let Some(path) = before.iter().find(is_gone)
                {
                    return Err(format!("the opening took {} away", path.display()));
                }
            }
            self.say(|| "the service runs".to_owned());
            return Ok(());
        }
        Err("the service does not come back".to_owned())
    }

    fn check(&mut self) -> Result<(), String> {
        let node = self.node.as_mut().expect("the service runs");
        node.follow(usize::MAX)?;
        let journal = check::Journal::read(node)?;
        journal.positions_and_chains_are_whole()?;
        journal.acknowledged_is_there_once(&self.clients.sent)?;
        journal.what_had_no_effect_left_no_key(&self.clients.sent)?;
        journal.markings_are_the_interpreters(node)?;
        check::shown_is_durable(node, &self.clients)?;
        check::verify_is_clean(&self.disk, &self.tables, &self.options, self.plan.forgets_keys)
    }
}
