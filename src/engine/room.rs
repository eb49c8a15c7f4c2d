//! Room for answers: how many bytes one may take, and all that are under way together.
//!
//! A request gets a [`Room`] before anything is done for it. A command takes room for a short answer before it is begun;
//! without it is not begun. What the answer shows takes room when it is made: items of a list, so that the list ends early;
//! a case or work item after a command, so that the answer is short instead. The room is held until the answer is sent, and
//! as long as the answer waits for the journal, also when nobody waits for it any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::{HashMap, HashMapExt};

use super::answers;
use super::budget::{Budget, Taken};
use super::service::{Caller, Refusal};

/// Answers up to this many bytes are small: a part of all room is kept for them.
pub const SMALL_BYTES: usize = 64 * 1024;
/// One part in this many of all room is kept for small answers.
const KEPT_SHARE: usize = 8;
/// A caller's small answers may take at most this many times the bytes still free, and so may its large ones of what is
/// not kept for small ones: one caller alone has three quarters of either.
const SHARE_FACTOR: usize = 3;
/// Bytes of a short answer: status, ids, state, or the code of a refusal.
pub const SHORT_BYTES: usize = 512;
/// Bytes of the answer to a line of a batch that was not begun; the test
/// `a_line_that_was_not_begun_takes_no_more_than_is_reserved_for_it` holds it.
pub const NOT_BEGUN_BYTES: usize = 128;
/// Bytes of memory that a command takes until it is answered, its short answer and a refusal's text included.
pub const LINE_BYTES: usize = 3 * 1024;

/// Bounds on answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest answer, in bytes.
    pub answer_bytes_max: usize,
    /// Bytes of all answers under way, with what they are made of.
    pub answers_bytes_max: usize,
}

/// The room of all answers.
#[derive(Debug)]
pub struct Answers {
    budget: Arc<Budget>,
    one_bytes_max: AtomicUsize,
    /// Callers without answers have no entry.
    shares: Mutex<HashMap<Caller, Share>>,
}

/// Bytes of a caller's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Share {
    small: usize,
    large: usize,
}

impl Share {
    /// Returns the part in which an answer of so many bytes counts.
    fn part(&mut self, bytes: usize) -> &mut usize {
        if bytes > SMALL_BYTES { &mut self.large } else { &mut self.small }
    }

    /// Counts that an answer has so many bytes now.
    fn change(&mut self, before: usize, after: usize) {
        let part = self.part(before);
        *part = part.checked_sub(before).expect("invariant: a share counts all answers of its caller");
        *self.part(after) += after;
    }
}

impl Answers {
    /// Returns the room, all of it free.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(limits.answers_bytes_max),
            one_bytes_max: AtomicUsize::new(limits.answer_bytes_max),
            shares: Mutex::new(HashMap::new()),
        })
    }

    /// Keeps to other bounds from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.budget.set_limit(limits.answers_bytes_max);
        self.one_bytes_max.store(limits.answer_bytes_max, Ordering::Release);
    }

    /// Returns the bytes that all answers may take, those that they take, and how often they were refused more.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Returns the largest size of an answer, in bytes.
    pub fn one_bytes_max(&self) -> usize {
        self.one_bytes_max.load(Ordering::Acquire)
    }

    /// Returns room for the answer to one request, nothing of it taken yet.
    pub fn room(self: &Arc<Self>, caller: Caller) -> Room {
        Room(Some(Arc::new(Inner {
            answers: Arc::clone(self),
            caller,
            held: Mutex::new(Held { text_bytes: 0, taken: None }),
        })))
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Caller, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for the answer to one request; what is taken is given back when the last copy is dropped. The default has no
/// bounds: for what is answered to no client.
#[derive(Debug, Clone, Default)]
pub struct Room(Option<Arc<Inner>>);

/// All rooms compare equal: a room is not part of a request's or an answer's content.
impl PartialEq for Room {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Room {}

#[derive(Debug)]
struct Inner {
    answers: Arc<Answers>,
    caller: Caller,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// Bytes of text that were promised, short answers of lines among them.
    text_bytes: usize,
    taken: Option<Taken>,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The answer would be larger than one may be.
    One,
    /// All answers together, or those of this caller, take what they may.
    All,
}

impl Full {
    /// Returns the refusal of an answer for which there is no room.
    pub fn refusal(self, room: &Room) -> Refusal {
        answers::no_room(self, room)
    }
}

/// What a part of an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Bytes of its text, at most.
    pub text_bytes: usize,
    /// Bytes that are held until the text is written.
    pub held_bytes: usize,
}

impl Room {
    /// Takes room for a part of the answer.
    ///
    /// # Errors
    /// There is not enough; nothing is taken.
    pub fn take(&self, cost: Cost) -> Result<(), Full> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let mut held = inner.held();
        let text_bytes = held.text_bytes.saturating_add(cost.text_bytes);
        if text_bytes > inner.answers.one_bytes_max() {
            return Err(Full::One);
        }
        let more = cost.text_bytes.saturating_add(cost.held_bytes);
        inner.grow(&mut held, more)?;
        held.text_bytes = text_bytes;
        Ok(())
    }

    /// Takes room for an answer to each of so many commands, and returns how many of them, the first ones, may be begun:
    /// there is room for a short answer to each, and for the others to say that they were not begun.
    ///
    /// # Errors
    /// There is not even room to say that none was begun; nothing is taken.
    pub fn take_lines(&self, count: usize) -> Result<usize, Full> {
        let Some(inner) = &self.0 else { return Ok(count) };
        let mut held = inner.held();
        let one_bytes_max = inner.answers.one_bytes_max();
        let not_begun_bytes = count.saturating_mul(NOT_BEGUN_BYTES);
        let text_bytes = held.text_bytes.saturating_add(not_begun_bytes);
        if text_bytes > one_bytes_max {
            return Err(Full::One);
        }
        inner.grow(&mut held, not_begun_bytes)?;
        // Halved until it fits: a few tries, and at least half of what there is room for.
        let mut begun = count.min((one_bytes_max - text_bytes) / (SHORT_BYTES - NOT_BEGUN_BYTES));
        while begun > 0 && inner.grow(&mut held, begun * (LINE_BYTES - NOT_BEGUN_BYTES)).is_err() {
            begun /= 2;
        }
        held.text_bytes = text_bytes + begun * (SHORT_BYTES - NOT_BEGUN_BYTES);
        Ok(begun)
    }

    /// Takes bytes for as long as something is worked out; `None` when there are not enough.
    pub fn work(&self, bytes: usize) -> Option<Work> {
        let Some(inner) = &self.0 else { return Some(Work { room: Self(None), bytes: 0 }) };
        inner.grow(&mut inner.held(), bytes).ok()?;
        Some(Work { room: self.clone(), bytes })
    }

    /// The answer is made, and has so many bytes: no more than that stays taken.
    ///
    /// # Errors
    /// It is larger than what may be taken; what was taken stays so.
    pub fn made(&self, text_bytes: usize) -> Result<(), Full> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let mut held = inner.held();
        let taken_bytes = held.taken.as_ref().map_or(0, Taken::bytes);
        if text_bytes > inner.answers.one_bytes_max() {
            return Err(Full::One);
        }
        if text_bytes > taken_bytes {
            inner.grow(&mut held, text_bytes - taken_bytes)?;
        } else {
            inner.shrink(&mut held, taken_bytes - text_bytes);
        }
        held.text_bytes = text_bytes;
        Ok(())
    }

    /// Returns how many bytes are taken.
    pub fn taken_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.held().taken.as_ref().map_or(0, Taken::bytes))
    }

    /// Returns the largest size of an answer, in bytes.
    pub fn one_bytes_max(&self) -> usize {
        self.0.as_ref().map_or(usize::MAX, |inner| inner.answers.one_bytes_max())
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(&self, held: &mut Held, more: usize) -> Result<(), Full> {
        let budget = &self.answers.budget;
        let taken = held.taken.get_or_insert_with(|| Taken::none(budget));
        let before = taken.bytes();
        let after = before.saturating_add(more);
        let kept = if after > SMALL_BYTES { budget.limit_bytes() / KEPT_SHARE } else { 0 };
        let mut shares = self.answers.shares();
        let mut share = shares.get(&self.caller).copied().unwrap_or_default();
        share.change(before, after);
        // Bytes are taken and given back while the shares are locked, so that this is what is free.
        let left = budget.limit_bytes().saturating_sub(kept + budget.taken_bytes()).saturating_sub(more);
        if *share.part(after) > left.saturating_mul(SHARE_FACTOR) || !taken.grow_leaving(after, kept) {
            return Err(Full::All);
        }
        shares.insert(self.caller, share);
        Ok(())
    }

    fn shrink(&self, held: &mut Held, less: usize) {
        let Some(taken) = &mut held.taken else { return };
        let before = taken.bytes();
        let mut shares = self.answers.shares();
        taken.shrink_to(before.saturating_sub(less));
        let Some(share) = shares.get_mut(&self.caller) else { return };
        share.change(before, taken.bytes());
        if *share == Share::default() {
            shares.remove(&self.caller);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut held = std::mem::replace(
            self.held.get_mut().unwrap_or_else(PoisonError::into_inner),
            Held { text_bytes: 0, taken: None },
        );
        let all = held.taken.as_ref().map_or(0, Taken::bytes);
        self.shrink(&mut held, all);
    }
}

/// Bytes taken for some work; given back when it is dropped.
#[derive(Debug)]
pub struct Work {
    room: Room,
    bytes: usize,
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(inner) = &self.room.0 {
            inner.shrink(&mut inner.held(), self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const LIMITS: Limits = Limits { answer_bytes_max: 4 * MIB, answers_bytes_max: 16 * MIB };

    fn text(text_bytes: usize) -> Cost {
        Cost { text_bytes, held_bytes: 0 }
    }

    #[test]
    fn an_answer_takes_no_more_than_one_may() {
        let answers = Answers::new(LIMITS);
        let room = answers.room(Caller::Local);
        assert_eq!(room.take(text(3 * MIB)), Ok(()));
        assert_eq!(room.take(text(MIB + 1)), Err(Full::One));
        assert_eq!(room.take(text(MIB)), Ok(()));
        assert_eq!(room.made(10), Ok(()));
        assert_eq!((room.taken_bytes(), answers.budget().taken_bytes()), (10, 10));
        drop(room);
        assert_eq!(answers.budget().taken_bytes(), 0);
    }

    #[test]
    fn large_answers_of_one_caller_leave_room_for_others_and_for_small_ones() {
        let answers = Answers::new(LIMITS);
        let large = |caller| {
            let room = answers.room(caller);
            room.take(text(MIB)).is_ok().then_some(room)
        };
        let held: Vec<Room> = std::iter::from_fn(|| large(Caller::User(1))).collect();
        // Three quarters of the 14 MiB that are not kept for small ones.
        assert_eq!(held.len(), 10);
        let others: Vec<Room> = std::iter::from_fn(|| large(Caller::User(2))).collect();
        assert_eq!(others.len(), 3);
        let last: Vec<Room> = (3..100).filter_map(|user| large(Caller::User(user))).collect();
        assert!(answers.budget().taken_bytes() <= 14 * MIB);
        let small = answers.room(Caller::User(1));
        assert_eq!(small.take(text(SMALL_BYTES)), Ok(()));
        drop((held, others, last, small));
        assert_eq!((answers.budget().taken_bytes(), answers.shares().len()), (0, 0));
    }

    #[test]
    fn lines_get_short_answers_as_far_as_there_is_room() {
        let answers = Answers::new(LIMITS);
        let room = answers.room(Caller::Local);
        // One answer has no room to say of so many that they were not begun.
        assert_eq!(room.take_lines(4 * MIB / NOT_BEGUN_BYTES + 1), Err(Full::One));
        assert_eq!(room.taken_bytes(), 0);
        // It has room to say so of 30,000, and for short answers to some.
        let some = (4 * MIB - 30_000 * NOT_BEGUN_BYTES) / (SHORT_BYTES - NOT_BEGUN_BYTES);
        assert_eq!(room.take_lines(30_000), Ok(some));
        drop(room);
        // A caller's share of all room has it for a quarter of these.
        let room = answers.room(Caller::Local);
        assert_eq!(room.take_lines(8_000), Ok(2_000));
        drop(room);
        let room = answers.room(Caller::Local);
        assert_eq!(room.take_lines(100), Ok(100));
        assert_eq!(room.take(text(4 * MIB - 100 * SHORT_BYTES + 1)), Err(Full::One));
        assert_eq!(room.take(text(4 * MIB - 100 * SHORT_BYTES)), Ok(()));
    }

    #[test]
    fn small_answers_of_one_caller_leave_room_for_others_too() {
        let answers = Answers::new(LIMITS);
        let small = |caller| {
            let room = answers.room(caller);
            room.take(text(SMALL_BYTES)).is_ok().then_some(room)
        };
        let held: Vec<Room> = std::iter::from_fn(|| small(Caller::User(1))).collect();
        assert_eq!(held.len() * SMALL_BYTES, 12 * MIB);
        assert!(small(Caller::User(2)).is_some());
        // One that grows large counts as such, and no longer as small.
        let growing = held.last().unwrap();
        let share = |caller| answers.shares()[&caller];
        let before = share(Caller::User(1));
        growing.take(text(1)).expect("there is room among the large ones");
        let after = share(Caller::User(1));
        assert_eq!((before.small - after.small, after.large), (SMALL_BYTES, SMALL_BYTES + 1));
        drop(held);
        assert_eq!((answers.budget().taken_bytes(), answers.shares().len()), (0, 0));
    }

    #[test]
    fn work_takes_room_for_as_long_as_it_lasts() {
        let answers = Answers::new(LIMITS);
        let room = answers.room(Caller::Local);
        let work = room.work(8 * MIB).expect("there is room");
        assert!(room.work(8 * MIB).is_none());
        drop(work);
        assert_eq!((room.taken_bytes(), answers.shares().len()), (0, 0));
    }

    #[test]
    fn room_without_bounds_takes_everything() {
        let room = Room::default();
        assert_eq!(room.take(text(usize::MAX)), Ok(()));
        assert_eq!((room.take_lines(7), room.made(usize::MAX), room.taken_bytes()), (Ok(7), Ok(()), 0));
    }
}
