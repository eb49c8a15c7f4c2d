//! Places for clients' keys, for all shards together, and who has how many of them. Each caller may take only a share,
//! so that others always find places.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use super::service::Caller;
use crate::id::Time;

/// A caller gets no more places once it has this many times as many as are free: alone, it may have three quarters of all.
pub const SHARE_FACTOR: usize = 3;

/// Who has a place, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder(u32);

impl Holder {
    /// Keys stored before the start; their callers are not known. No share bounds these.
    pub const BEFORE_START: Self = Self(0);
}

/// The places.
#[derive(Debug)]
pub struct Places(Mutex<State>);

#[derive(Debug)]
struct State {
    /// How many there are.
    limit: usize,
    /// Those that are taken, and of these those whose request is under way.
    taken: usize,
    under_way: usize,
    /// By number of the holder.
    shares: Vec<Share>,
    by_caller: HashMap<Caller, Holder>,
    /// Numbers that nobody has.
    free: Vec<Holder>,
    /// When the oldest key of each shard was used.
    oldest: Vec<Option<Time>>,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    caller: Caller,
    taken: usize,
    under_way: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// What is used up.
    pub what: What,
    /// How many places there are.
    pub limit: usize,
    /// When the oldest key was used: its end makes room. `None` when requests that are under way may leave room at once.
    pub oldest: Option<Time>,
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// All places.
    All,
    /// The caller's share: so many places.
    Share(usize),
}

impl Places {
    /// Returns so many places for keys of so many shards.
    pub fn new(limit: usize, shards: usize) -> Arc<Self> {
        let nobody = Share { caller: Caller::Local, taken: 0, under_way: 0 };
        Arc::new(Self(Mutex::new(State {
            limit,
            taken: 0,
            under_way: 0,
            shares: vec![nobody],
            by_caller: HashMap::default(),
            free: Vec::new(),
            oldest: vec![None; shards],
        })))
    }

    /// The lock is held for a few additions only.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how many places there are. What is taken beyond stays taken.
    pub fn set_limit(&self, limit: usize) {
        self.state().limit = limit;
    }

    /// Takes a place for a request of this caller.
    ///
    /// # Errors
    /// There is none, or the caller's share is used up.
    pub fn take(self: &Arc<Self>, caller: Caller) -> Result<Place, Full> {
        let mut state = self.state();
        let known = state.by_caller.get(&caller).copied();
        let share = known.map(|holder| state.shares[holder.0 as usize]);
        let (taken, under_way) = share.map_or((0, 0), |share| (share.taken, share.under_way));
        if let Some(what) = state.refuses(taken, state.taken) {
            // Without those that are under way.
            let is_kept = state.refuses(taken - under_way, state.taken - state.under_way).is_some();
            let oldest = state.oldest.iter().copied().flatten().min().filter(|_| is_kept);
            return Err(Full { what, limit: state.limit, oldest });
        }
        let holder = known.unwrap_or_else(|| state.begin(caller));
        state.taken += 1;
        state.under_way += 1;
        let share = &mut state.shares[holder.0 as usize];
        share.taken += 1;
        share.under_way += 1;
        Ok(Place { places: Arc::clone(self), holder: Some(holder) })
    }

    /// Counts a key that is stored from before the start; its caller is not known.
    pub fn take_before_start(&self) {
        let mut state = self.state();
        state.taken += 1;
        state.shares[0].taken += 1;
    }

    /// Gives places of keys back.
    pub fn give_back(&self, holders: impl Iterator<Item = Holder>) {
        let mut state = self.state();
        holders.for_each(|holder| state.give_back(holder));
    }

    /// Notes when the oldest key of a shard was used.
    pub fn note_oldest(&self, shard: usize, oldest: Option<Time>) {
        self.state().oldest[shard] = oldest;
    }

    /// Returns what is used up now, for anyone; `None` when everybody's new key would be taken.
    pub fn used_up(&self) -> Option<What> {
        let state = self.state();
        let free = state.limit.saturating_sub(state.taken);
        // No caller has more than all taken places, so the shares need not be searched.
        if free > 0 && state.taken < free.saturating_mul(SHARE_FACTOR) {
            return None;
        }
        let largest = state.shares.iter().skip(1).map(|share| share.taken).max();
        state.refuses(largest.unwrap_or(0), state.taken)
    }

    /// Returns how many places are taken, and of these those whose request is under way.
    pub fn taken(&self) -> (usize, usize) {
        let state = self.state();
        (state.taken, state.under_way)
    }

    /// Returns how many places each holder has, requests under way among them. For checks.
    pub fn shares(&self) -> Vec<(Holder, usize)> {
        let state = self.state();
        let shares = (0_u32..).map(Holder).zip(state.shares.iter().map(|share| share.taken));
        shares.filter(|(_, taken)| *taken > 0).collect()
    }
}

impl State {
    fn refuses(&self, own: usize, taken: usize) -> Option<What> {
        let free = self.limit.saturating_sub(taken);
        if free == 0 {
            return Some(What::All);
        }
        (own >= free.saturating_mul(SHARE_FACTOR)).then_some(What::Share(own))
    }

    fn begin(&mut self, caller: Caller) -> Holder {
        let share = Share { caller, taken: 0, under_way: 0 };
        let holder = if let Some(holder) = self.free.pop() {
            self.shares[holder.0 as usize] = share;
            holder
        } else {
            let number = u32::try_from(self.shares.len()).expect("invariant: fewer holders than keys");
            self.shares.push(share);
            Holder(number)
        };
        self.by_caller.insert(caller, holder);
        holder
    }

    fn give_back(&mut self, holder: Holder) {
        let share = &mut self.shares[holder.0 as usize];
        assert!(share.taken > 0, "invariant: nothing is given back that was not taken");
        share.taken -= 1;
        self.taken -= 1;
        if share.taken == 0 && holder != Holder::BEFORE_START {
            self.by_caller.remove(&share.caller);
            self.free.push(holder);
        }
    }

    fn arrive(&mut self, holder: Holder) {
        self.under_way -= 1;
        self.shares[holder.0 as usize].under_way -= 1;
    }
}

/// A place of a request that is under way: given back when it is dropped, unless a key stays in it.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    holder: Option<Holder>,
}

impl Place {
    /// Keeps the place for a key; who forgets the key gives it back.
    pub fn keep(mut self) -> Holder {
        let holder = self.holder.take().expect("invariant: a place has its holder until it is kept");
        self.places.state().arrive(holder);
        holder
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.take() {
            let mut state = self.places.state();
            state.arrive(holder);
            state.give_back(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &Arc<Places>, caller: Caller) -> (Vec<Holder>, Full) {
        let mut kept = Vec::new();
        loop {
            match places.take(caller) {
                Ok(place) => kept.push(place.keep()),
                Err(full) => return (kept, full),
            }
        }
    }

    #[test]
    fn one_caller_leaves_room_for_others_and_gets_it_back_key_by_key() {
        let places = Places::new(1_000, 1);
        let (first, full) = fill(&places, Caller::Token(1));
        assert_eq!((first.len(), full.what), (750, What::Share(750)));
        let (second, full) = fill(&places, Caller::Token(2));
        assert_eq!((second.len(), full.what), (188, What::Share(188)));
        assert_eq!(places.used_up(), Some(What::Share(750)));
        assert!(places.take(Caller::User(3)).is_ok());
        // The first has far too many now, the second as many as it may.
        places.give_back(second.into_iter().take(1));
        assert!(places.take(Caller::Token(2)).is_ok() && places.take(Caller::Token(1)).is_err());
        places.give_back(first.into_iter());
        assert_eq!(places.used_up(), None);
        assert_eq!(places.taken(), (187, 0));
    }

    #[test]
    fn places_of_requests_under_way_come_back_and_promise_nothing_for_hours() {
        let places = Places::new(4, 2);
        places.note_oldest(1, Some(Time(7)));
        let under_way: Vec<_> = (0..3).map(|_| places.take(Caller::Local).expect("there is room")).collect();
        let share = Full { what: What::Share(3), limit: 4, oldest: None };
        assert_eq!(places.take(Caller::Local).map(drop), Err(share));
        drop(under_way);
        assert_eq!((places.taken(), places.shares()), ((0, 0), Vec::new()));
        let (_, full) = fill(&places, Caller::Local);
        assert_eq!(full, Full { oldest: Some(Time(7)), ..share });
        let last = places.take(Caller::User(1)).expect("room for another").keep();
        assert_eq!(
            places.take(Caller::User(2)).map(drop),
            Err(Full { what: What::All, limit: 4, oldest: full.oldest })
        );
        places.give_back(std::iter::once(last));
        places.set_limit(2);
        assert_eq!(places.used_up(), Some(What::All));
    }

    #[test]
    fn callers_without_places_are_forgotten_and_keys_from_before_the_start_are_bounded_by_the_total_only() {
        let places = Places::new(100, 1);
        for _ in 0..90 {
            places.take_before_start();
        }
        for token in 0..10_000 {
            drop(places.take(Caller::Token(token)).expect("there is room"));
        }
        assert_eq!(places.state().shares.len(), 2);
        assert!(places.state().by_caller.is_empty());
        assert_eq!((places.used_up(), places.shares()), (None, vec![(Holder::BEFORE_START, 90)]));
        places.give_back(std::iter::repeat_n(Holder::BEFORE_START, 90));
        assert_eq!(places.taken(), (0, 0));
    }
}
