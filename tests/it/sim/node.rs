//! The service without threads: the parts that threads drive, driven one call at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use knhk::case::effort::{self, AGAIN_STEPS_MAX};
use knhk::engine::fold::EngineFold;
use knhk::engine::loading::{self, shard_of};
use knhk::engine::queues::Queues;
use knhk::engine::registry::Registry;
use knhk::engine::request::{
    Asked, Class, Computation, Found, Key, Message, Move, Question, Reply, Request, Staged,
};
use knhk::engine::room::{self, Room};
use knhk::engine::shard::{EXPRESSION_STEPS_MAX, NextTurn, PlantedBug, Progress, Shard, TURN_STEPS};
use knhk::engine::ticket::{Ticket, ticket};
use knhk::engine::turn::NoTimer;
use knhk::engine::writer::{JournalState, Writer};
use knhk::engine::{HotCores, Options, archiving, prepare, queries, record, tables};
use knhk::id::{CaseId, Time};
use knhk::store::{
    self, Before, Checkpoint, Entry, Fold, Follower, Frame, Journal, JournalReader, Keeper, Kept, MemTables,
    Now, Opened, Owner, Preparer, Rows, StoreId, Trim,
};

use super::disk::SimDisk;

pub(crate) const KEY_US: u64 = 86_400_000_000;

/// How a node is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) shard_count: usize,
    pub(crate) frame_bytes_max: usize,
    /// With 0, every OR-join that needs a search parks its case.
    pub(crate) judged_states: usize,
    /// With 0, no case stays in memory that is at rest and durable.
    pub(crate) cache_bytes: usize,
    /// Once a turn has used up so many evaluation steps, a shard begins nothing more.
    pub(crate) turn_steps: u64,
    /// An expression that takes more is worked out by another thread.
    pub(crate) expression_steps: u64,
    /// No decision on the specifications that are run takes more evaluation steps.
    pub(crate) evaluated_max: u64,
    /// A planted bug: no turn ends before all is done.
    pub(crate) never_gives_way: bool,
    /// A planted bug: lines of a batch go before all else, as single commands do.
    pub(crate) is_batch_single: bool,
    /// The fifth planted bug.
    pub(crate) forgets_keys: bool,
    /// Most clients' keys.
    pub(crate) keys_max: usize,
    /// A mistake of the shards.
    pub(crate) planted_keys: Option<PlantedBug>,
}

impl Default for Setting {
    fn default() -> Self {
        let judged_states = loading::JUDGED_STATES_MAX;
        Self {
            shard_count: 1,
            frame_bytes_max: 48 * 1024,
            judged_states,
            cache_bytes: 1 << 30,
            turn_steps: TURN_STEPS,
            expression_steps: EXPRESSION_STEPS_MAX,
            evaluated_max: AGAIN_STEPS_MAX + EXPRESSION_STEPS_MAX,
            never_gives_way: false,
            is_batch_single: false,
            forgets_keys: false,
            keys_max: 10_000,
            planted_keys: None,
        }
    }
}

fn options(setting: Setting) -> Options {
    Options {
        hot_cores: HotCores::Unpinned,
        hot_path_ticks_max: 8,
        command_us_max: 100_000,
        bulk_us_max: 1_000_000,
        automated_steps_max: 100,
        frame_bytes_max: setting.frame_bytes_max,
        answers: room::Limits { answer_bytes_max: 16 << 20, answers_bytes_max: 128 << 20 },
        shard_requests_max: 1_000,
        follower_lag_max: 1_000,
        queues: Queues::AMPLE,
        cache_bytes: setting.cache_bytes,
        key_us: KEY_US,
        keys_max: setting.keys_max,
        checkpoint_bytes: 100_000,
        checkpoint_us: 1_000_000,
        archive_after_us: 0,
        reserve_bytes: 0,
    }
}

/// The engine's fold with the fifth planted bug: keys are not kept in the rows, so a replay forgets them.
struct Forgetful;

impl Fold for Forgetful {
    fn fold(&self, rows: &mut Rows<'_>, entry: &Entry) -> Result<(), String> {
        EngineFold.fold(rows, entry)?;
        let record = record::Record::decode(&entry.payload)?;
        let Some(key) = record.key else { return Ok(()) };
        rows.delete(tables::KEYS, &tables::used_key(entry.partition, record.at, &key.key))
    }

    fn before(&self, entry: &Entry) -> Before {
        EngineFold.before(entry)
    }
}

pub(crate) fn fold(forgets_keys: bool) -> Arc<dyn Fold> {
    if forgets_keys { Arc::new(Forgetful) } else { Arc::new(EngineFold) }
}

/// A running service.
pub(crate) struct Node {
    pub(crate) shards: Vec<Shard>,
    pub(crate) inboxes: Vec<VecDeque<Message>>,
    pub(crate) staged: Vec<VecDeque<Staged>>,
    pub(crate) frames: VecDeque<Arc<Frame>>,
    pub(crate) questions: VecDeque<(usize, Question)>,
    pub(crate) computations: VecDeque<(usize, Computation)>,
    pub(crate) writer: Writer<Journal<SimDisk>>,
    pub(crate) follower: Follower<MemTables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) reader: JournalReader<SimDisk>,
    pub(crate) journal: Arc<JournalState>,
    pub(crate) checkpoint: Option<Checkpoint<MemTables>>,
    preparer: Preparer<SimDisk>,
    pub(crate) progress: Vec<Arc<Progress>>,
    pub(crate) keeper: Keeper<SimDisk>,
    /// What the opening noted.
    pub(crate) notes: Vec<String>,
    pub(crate) setting: Setting,
    /// Steps that shards evaluated while single commands waited.
    pub(crate) waited_steps: Vec<u64>,
    /// Commands that were not begun, because nobody waited for them.
    pub(crate) unawaited: usize,
    /// Evaluation steps that were not taken by shards.
    pub(crate) computed_steps: u64,
}

impl Node {
    /// Opens the store and loads everything that lives.
    pub(crate) fn open(
        disk: &SimDisk,
        tables: &Arc<MemTables>,
        options: &store::Options,
        setting: Setting,
        now: Time,
    ) -> Result<Self, String> {
        let start = store::Start { now, fresh_id: StoreId([7; 16]) };
        let fold = fold(setting.forgets_keys);
        let disk = Arc::new(disk.clone());
        let opened = store::open(disk, Arc::clone(tables), fold, options, start, &mut |_| {})
            .map_err(|error| format!("opening: {error}"))?;
        let Opened { journal, follower, keeper, report, .. } = opened;
        let registry = Arc::new(Registry::default());
        let progress: Vec<_> = (0..setting.shard_count).map(|_| Arc::new(Progress::default())).collect();
        let reader = journal.reader();
        let effort = if setting.never_gives_way {
            effort::Limits::NONE
        } else {
            effort::Limits { steps: setting.turn_steps, expression_steps: setting.expression_steps }
        };
        let limits = (now, setting.judged_states, effort);
        let mut shards =
            loading::shards(&follower, &reader, &registry, &self::options(setting), &progress, limits)
                .map_err(|error| format!("loading: {error}"))?;
        if let Some(bug) = setting.planted_keys {
            for shard in &mut shards {
                shard.plant(bug);
            }
        }
        let state = Arc::new(JournalState::default());
        state.durable_seq.store(journal.seq(), Ordering::Release);
        let preparer = journal.preparer();
        let writer = Writer::new(
            journal,
            setting.frame_bytes_max,
            Arc::clone(&registry),
            progress.clone(),
            Arc::clone(&state),
        )
        .map_err(|error| format!("claiming: {error}"))?;
        Ok(Self {
            shards,
            inboxes: (0..setting.shard_count).map(|_| VecDeque::new()).collect(),
            staged: (0..setting.shard_count).map(|_| VecDeque::new()).collect(),
            frames: VecDeque::new(),
            questions: VecDeque::new(),
            computations: VecDeque::new(),
            writer,
            follower,
            registry,
            reader,
            journal: state,
            checkpoint: None,
            preparer,
            progress,
            keeper,
            notes: report.notes,
            setting,
            waited_steps: Vec::new(),
            unawaited: 0,
            computed_steps: 0,
        })
    }

    /// Puts requests into their shards' inboxes, those of one shard together.
    pub(crate) fn ask(&mut self, prepared: Vec<prepare::Prepared>) -> Vec<(Ticket<Reply>, Key)> {
        let mut by_shard: Vec<Vec<Request>> = self.shards.iter().map(|_| Vec::new()).collect();
        let mut asked = Vec::new();
        let class =
            if prepared.len() == 1 || self.setting.is_batch_single { Class::Single } else { Class::Bulk };
        for prepare::Prepared { act, key, traced, room, .. } in prepared {
            let (waits, answerer) = ticket();
            let shard = shard_of(act.partition(), self.shards.len());
            let asked_at = Some(self.progress[shard].pulse.evaluated());
            let place = None;
            by_shard[shard].push(Request { act, key, place, class, asked_at, answerer, traced, room });
            asked.push((waits, key));
        }
        for (inbox, requests) in self.inboxes.iter_mut().zip(by_shard) {
            if !requests.is_empty() {
                inbox.push_back(Message::Requests(requests));
            }
        }
        asked
    }

    /// One turn of a shard with its first `count` messages.
    pub(crate) fn turn(&mut self, shard: usize, count: usize, now: Time) {
        let count = count.min(self.inboxes[shard].len());
        let messages: Vec<_> = self.inboxes[shard].drain(..count).collect();
        let turned = self.shards[shard].turn(now, messages, &mut NoTimer);
        self.waited_steps.extend(turned.waited_steps);
        self.unawaited += turned.unawaited;
        let Setting { turn_steps, evaluated_max, .. } = self.setting;
        assert!(
            turned.used.evaluated <= turn_steps.saturating_add(evaluated_max),
            "a turn evaluated {:?}, and begins nothing after {turn_steps} steps",
            turned.used
        );
        self.computations.extend(turned.computations.into_iter().map(|computation| (shard, computation)));
        let under_way = self
            .computations
            .iter()
            .filter(|(of, computation)| *of == shard && matches!(computation, Computation::Evaluate(..)));
        assert!(under_way.count() <= 1, "a shard waits for two expressions");
        let (held, bytes_max) = (self.shards[shard].held(), self.setting.cache_bytes);
        assert!(self.shards[shard].is_within_memory(), "cases may take {bytes_max} bytes of {held:?}");
        let (taken, keys_max) = (self.shards[shard].places().taken().0, self.setting.keys_max);
        assert!(taken <= keys_max, "{taken} places of {keys_max} are taken");
        self.questions.extend(turned.questions.into_iter().map(|question| (shard, question)));
        self.staged[shard].extend(turned.batches);
    }

    /// One step of the journal's writer with everything that `take` picks of each shard's staged batches.
    /// Returns the answers that may leave; the caller drops them if the disk died meanwhile.
    pub(crate) fn write(
        &mut self,
        take: &mut dyn FnMut(usize) -> usize,
        now: Time,
    ) -> Vec<(knhk::engine::ticket::Answerer<Reply>, Reply)> {
        let mut batches = Vec::new();
        for staged in &mut self.staged {
            let count = take(staged.len()).min(staged.len());
            batches.extend(staged.drain(..count));
        }
        let written =
            if batches.is_empty() { self.writer.probe(now) } else { self.writer.step(now, batches) };
        assert!(written.rejected.is_none(), "the journal did not take a frame: {:?}", written.rejected);
        self.frames.extend(written.frames);
        written.replies
    }

    /// Folds up to `count` durable frames.
    pub(crate) fn follow(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let Some(frame) = self.frames.pop_front() else { break };
            self.follower.apply(&frame).map_err(|error| format!("follower: {error}"))?;
        }
        Ok(())
    }

    /// Answers the oldest question, as the helper does: once the follower has folded what is durable.
    pub(crate) fn answer(&mut self) -> Result<(), String> {
        let Some((shard, question)) = self.questions.pop_front() else { return Ok(()) };
        self.follow(usize::MAX)?;
        let told = queries::answer(&self.follower, question);
        self.inboxes[shard].push_back(Message::Told(told));
        Ok(())
    }

    /// Works out the oldest thing that takes a shard too long, as a thread of its own does.
    pub(crate) fn compute(&mut self) {
        let Some((shard, computation)) = self.computations.pop_front() else { return };
        let (told, steps) = computation.work_out(&|| {});
        self.computed_steps += steps;
        self.inboxes[shard].push_back(Message::Told(told));
    }

    /// Goes one step on with a checkpoint.
    pub(crate) fn checkpoint(&mut self) {
        match self.checkpoint.take() {
            None => self.checkpoint = self.follower.begin_checkpoint(),
            Some(checkpoint) => match checkpoint.write() {
                Ok(()) => self.follower.end_checkpoint(),
                Err(_) => self.follower.abort_checkpoint(),
            },
        }
    }

    /// Goes one step on with history and trimming. A disk that fails is tried again later; anything else is wrong.
    pub(crate) fn keep(&mut self, now: Now, trim: Trim) -> Result<Kept, String> {
        match self.keep_one(now, trim) {
            Err(store::Error::Io { .. }) => Ok(Kept::Nothing),
            kept => kept.map_err(|error| format!("keeping: {error}")),
        }
    }

    fn keep_one(&mut self, now: Now, trim: Trim) -> Result<Kept, store::Error> {
        let kept = self.keeper.step(now, trim, &mut |_| Ok(()))?;
        if kept != Kept::Nothing {
            return Ok(kept);
        }
        let Self { keeper, follower, .. } = self;
        let of_rows = |reason: String| store::Error::Tables { reason };
        let gone = |_, subject| {
            let row = queries::archived::row(follower, CaseId(subject)).map_err(of_rows)?;
            Ok(row.map(|row| (row.last.n, row.fact.id())))
        };
        let kept = keeper.rewrite(now, trim, &gone, &mut |_| Ok(()))?;
        if kept != Kept::Nothing {
            return Ok(kept);
        }
        keeper.remove_left_over(now, trim, &|case| {
            Ok(match queries::find(follower, case).map_err(of_rows)? {
                Found::Rows(_) => Owner::Store,
                Found::Archived(row) => Owner::Archive(row.fact.id()),
                Found::Nothing => Owner::Nobody,
            })
        })
    }

    /// Asks shards to let cases go, or to take them back.
    pub(crate) fn ask_moves(&mut self, moves: Vec<(CaseId, Box<Move>)>) -> Vec<(CaseId, Ticket<Reply>)> {
        let mut tickets = Vec::new();
        for (case, moves) in moves {
            let (waits, answerer) = ticket();
            let request = Request {
                act: Asked::Move(case, moves),
                key: archiving::key_of(case),
                place: None,
                class: Class::Bulk,
                asked_at: None,
                answerer,
                traced: None,
                room: Room::default(),
            };
            let shard = shard_of(case.partition(), self.shards.len());
            self.inboxes[shard].push_back(Message::Requests(vec![request]));
            tickets.push((case, waits));
        }
        tickets
    }

    /// Writes a snapshot of what the last checkpoint wrote; returns whether one was written.
    pub(crate) fn snapshot(&mut self, tables: &MemTables, now: Now) -> Result<bool, String> {
        match self.keeper.snapshot(tables, now.moment, 0, &mut |_| Ok(())) {
            Err(store::Error::Io { .. }) => Ok(false),
            sealed => Ok(sealed.map_err(|error| format!("a snapshot: {error}"))?.is_some()),
        }
    }

    /// Fills a part of the next segment with zeros; a disk that fails shows elsewhere.
    pub(crate) fn prepare(&mut self) {
        drop(self.preparer.step());
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.journal.is_failing.load(Ordering::Acquire)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_idle = |next| matches!(next, NextTurn::OnMessage | NextTurn::AtLeisure);
        self.shards.iter().all(|shard| is_idle(shard.next_turn()))
            && self.inboxes.iter().all(VecDeque::is_empty)
            && self.staged.iter().all(VecDeque::is_empty)
            && self.questions.is_empty()
            && self.computations.is_empty()
            && self.frames.is_empty()
    }
}
