//! Who may be connected: places for connections that have shown a good token, and fewer for those that have not.
//!
//! Every connection begins as a stranger's. Strangers have [`STRANGERS_PART`] of all places and no others, so that they
//! take nothing from those who have shown a token. When these places are full the oldest stranger goes, of the address
//! that has the most: the new one may be about to show a token, and a refused one could not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::network::Network;
use crate::api::shares::{Share, Shares};
use crate::engine::service::Caller;

/// One of so many places is for strangers; at least one is.
pub const STRANGERS_PART: usize = 4;

/// How many connections there may be.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    /// Strangers of one network.
    pub(super) address_max: usize,
    /// Addresses for which that does not hold.
    pub(super) proxies: Vec<Network>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    bounds: Bounds,
    strangers_max: usize,
    strangers: Mutex<Strangers>,
    known: Arc<Shares>,
    /// Also those that are to go and have not yet.
    open: AtomicUsize,
    open_max: usize,
}

/// Strangers by network, the oldest first. Each has a number that no other has, and is called when it has to go.
#[derive(Debug, Default)]
struct Strangers {
    by_network: HashMap<Network, BTreeMap<u64, Arc<Notify>>>,
    count: usize,
    next_number: u64,
}

impl Strangers {
    fn of(&self, network: Network) -> usize {
        self.by_network.get(&network).map_or(0, BTreeMap::len)
    }

    fn add(&mut self, network: Network, call: Arc<Notify>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.count += 1;
        self.by_network.entry(network).or_default().insert(number, call);
        number
    }

    /// Takes one out; returns `None` when it was evicted already.
    fn remove(&mut self, network: Network, number: u64) -> Option<Arc<Notify>> {
        let of_network = self.by_network.get_mut(&network)?;
        let call = of_network.remove(&number)?;
        if of_network.is_empty() {
            self.by_network.remove(&network);
        }
        self.count -= 1;
        Some(call)
    }

    /// Has the oldest go of the network that has the most.
    fn evict(&mut self) {
        let age = |of: &BTreeMap<u64, _>| of.keys().next().copied().unwrap_or(u64::MAX);
        let most = self.by_network.iter().max_by_key(|(_, of)| (of.len(), Reverse(age(of))));
        let Some((network, number)) = most.map(|(network, of)| (*network, age(of))) else { return };
        if let Some(call) = self.remove(network, number) {
            call.notify_one();
        }
    }
}

/// What had to be done to let a connection in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There was a place.
    Free,
    /// Another one had to go.
    Made,
}

impl Connections {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        let strangers_max = (bounds.connections_max / STRANGERS_PART).max(1);
        let known_max = bounds.connections_max.saturating_sub(strangers_max).max(1);
        Arc::new(Self {
            bounds,
            strangers_max,
            strangers: Mutex::default(),
            known: Shares::new(known_max),
            open: AtomicUsize::new(0),
            open_max: strangers_max + known_max,
        })
    }

    /// Returns how many there are.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns the bound on strangers of one address.
    pub(super) fn address_max(&self) -> usize {
        self.bounds.address_max
    }

    /// Returns whether connections that were evicted are still there, beyond all places.
    pub(super) fn are_too_many(&self) -> bool {
        self.open() > self.open_max
    }

    /// Takes a place for a new connection; `None` when its address has as many as it may have.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<(Seat, Room)> {
        let network = Network::of(address);
        let mut strangers = self.lock();
        let (call, room) = self.admit(&mut strangers, network, address)?;
        let number = strangers.add(network, Arc::clone(&call));
        drop(strangers);
        self.open.fetch_add(1, Ordering::Relaxed);
        let standing = Mutex::new(Standing::Stranger(number));
        Some((Seat { of: Arc::clone(self), address, network, call, standing }, room))
    }

    /// Makes room for another stranger.
    fn admit(
        &self,
        strangers: &mut Strangers,
        network: Network,
        address: IpAddr,
    ) -> Option<(Arc<Notify>, Room)> {
        let is_over = strangers.of(network) >= self.bounds.address_max;
        if is_over && !self.bounds.proxies.iter().any(|proxy| proxy.contains(address)) {
            return None;
        }
        let room = if strangers.count < self.strangers_max { Room::Free } else { Room::Made };
        if room == Room::Made {
            strangers.evict();
        }
        Some((Arc::default(), room))
    }

    fn lock(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Standing {
    /// It has not shown a good token; its number among those.
    Stranger(u64),
    /// It has, and holds a place of the token's share.
    Known { _place: Share },
}

/// The place of one connection; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    of: Arc<Connections>,
    address: IpAddr,
    network: Network,
    call: Arc<Notify>,
    standing: Mutex<Standing>,
}

impl Seat {
    /// Waits until the connection has to go.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }

    /// The connection has shown a good token: it takes a place of that token's holder. Returns false when the holder has
    /// its share already, and the connection is still a stranger's.
    pub(super) fn prove(&self, holder: Caller) -> bool {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let Standing::Stranger(number) = *standing else { return true };
        let Ok(place) = self.of.known.take(holder, 1) else { return false };
        if self.of.lock().remove(self.network, number).is_none() {
            return false;
        }
        *standing = Standing::Known { _place: place };
        true
    }

    /// The connection has asked for something without a good token: it is a stranger's again. Returns false when its
    /// address has as many of these as it may have.
    pub(super) fn doubt(&self) -> bool {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*standing, Standing::Stranger(_)) {
            return true;
        }
        let mut strangers = self.of.lock();
        if self.of.admit(&mut strangers, self.network, self.address).is_none() {
            return false;
        }
        *standing = Standing::Stranger(strangers.add(self.network, Arc::clone(&self.call)));
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let standing = self.standing.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Standing::Stranger(number) = *standing {
            // It is not there when it was evicted.
            let _ = self.of.lock().remove(self.network, number);
        }
        self.of.open.fetch_sub(1, Ordering::Relaxed);
    }
}
