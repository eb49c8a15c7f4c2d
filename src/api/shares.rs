//! Something bounded that many hold parts of: what a holder takes later is bounded by what is free then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::service::Caller;

/// Why a part was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// All of it is held.
    All,
    /// This holder has its share.
    Share,
}

/// How much is held, and by whom. It has an entry for each that holds something, so at most `limit`.
#[derive(Debug, Default)]
pub(super) struct Held {
    all: usize,
    by: HashMap<Caller, usize>,
}

impl Held {
    /// Takes a part for a holder; `None` is one that has no share, and may take all that is free.
    ///
    /// A holder's first part is taken as long as there is room. With a later one it may not have more than what is
    /// left free then. In small parts one alone gets half, and each newcomer half of what the others have left; many
    /// that come one after the other may leave next to nothing.
    pub(super) fn take(
        &mut self,
        holder: impl Into<Option<Caller>>,
        amount: usize,
        limit: usize,
    ) -> Result<(), Lack> {
        let free = limit.saturating_sub(self.all);
        let left = free.checked_sub(amount).ok_or(Lack::All)?;
        let holder = holder.into();
        let has = holder.and_then(|holder| self.by.get(&holder).copied()).unwrap_or(0);
        if has > 0 && has.saturating_add(amount) > left {
            return Err(Lack::Share);
        }
        self.all += amount;
        if let Some(holder) = holder.filter(|_| amount > 0) {
            *self.by.entry(holder).or_default() += amount;
        }
        Ok(())
    }

    fn give_back(&mut self, holder: Option<Caller>, amount: usize) {
        self.all -= amount;
        let Some(holder) = holder.filter(|_| amount > 0) else { return };
        let has = self.by.get_mut(&holder).expect("invariant: what is given back was taken");
        *has -= amount;
        if *has == 0 {
            self.by.remove(&holder);
        }
    }
}

/// Something bounded, in a unit of its own.
#[derive(Debug)]
pub(super) struct Shares {
    limit: usize,
    held: Mutex<Held>,
}

impl Shares {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    /// Takes a part for a holder until the returned value is dropped. Never waits.
    pub(super) fn take(self: &Arc<Self>, holder: Caller, amount: usize) -> Result<Share, Lack> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.take(holder, amount, self.limit)?;
        Ok(Share { of: Arc::clone(self), holder: Some(holder), amount })
    }

    /// Returns an empty part, to grow from; `None` has no share, as in [`Held::take`].
    pub(super) fn none(self: &Arc<Self>, holder: Option<Caller>) -> Share {
        Share { of: Arc::clone(self), holder, amount: 0 }
    }
}

/// A part that is held; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Shares>,
    holder: Option<Caller>,
    amount: usize,
}

impl Share {
    /// Takes more until this part is `amount`; an error takes nothing.
    pub(super) fn grow_to(&mut self, amount: usize) -> Result<(), Lack> {
        let more = amount.saturating_sub(self.amount);
        if more > 0 {
            let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.take(self.holder, more, self.of.limit)?;
            self.amount += more;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.give_back(self.holder, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Caller = Caller::Token(1);
    const B: Caller = Caller::Token(2);
    const C: Caller = Caller::Token(3);

    /// Takes ones until there are no more.
    fn all_of(shares: &Arc<Shares>, holder: Caller) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(holder, 1).ok()).collect()
    }

    #[test]
    fn each_newcomer_gets_half_of_what_is_left() {
        let shares = Shares::new(100);
        let of_a = all_of(&shares, A);
        assert_eq!(of_a.len(), 50);
        assert_eq!(shares.take(A, 1).unwrap_err(), Lack::Share);
        let of_b = all_of(&shares, B);
        assert_eq!(of_b.len(), 25);
        drop(of_a);
        assert_eq!(all_of(&shares, C).len(), 37);
        drop(of_b);
        assert!(shares.held.lock().unwrap().by.is_empty() && shares.held.lock().unwrap().all == 0);
    }

    #[test]
    fn greedy_holders_leave_a_part_for_one_that_comes_later() {
        let shares = Shares::new(64);
        let mut held = Vec::new();
        for number in 0..5 {
            held.extend(all_of(&shares, Caller::Token(number)));
        }
        assert!(shares.take(Caller::Token(99), 1).is_ok(), "{} are held", held.len());
    }

    #[test]
    fn the_first_of_a_holder_needs_room_only_and_nothing_overflows() {
        let shares = Shares::new(1);
        let one = shares.take(A, 1).unwrap();
        assert_eq!(shares.take(B, 1).unwrap_err(), Lack::All);
        assert_eq!(shares.take(A, usize::MAX).unwrap_err(), Lack::All);
        assert!(shares.take(B, 0).is_ok());
        drop(one);
        assert!(shares.take(B, 1).is_ok());
    }

    #[test]
    fn a_part_grows_within_its_holders_share_and_one_without_a_share_to_all_that_is_free() {
        let shares = Shares::new(100);
        let (mut of_a, mut more_of_a) = (shares.none(Some(A)), shares.none(Some(A)));
        assert!(of_a.grow_to(30).is_ok() && more_of_a.grow_to(20).is_ok());
        assert_eq!(of_a.grow_to(31).unwrap_err(), Lack::Share);
        assert!(of_a.grow_to(30).is_ok(), "it has that already");
        let mut exempt = shares.none(None);
        assert!(exempt.grow_to(40).is_ok());
        assert_eq!(exempt.grow_to(51).unwrap_err(), Lack::All);
        assert!(exempt.grow_to(50).is_ok());
        drop((of_a, more_of_a, exempt));
        assert!(shares.held.lock().unwrap().by.is_empty() && shares.held.lock().unwrap().all == 0);
    }
}
