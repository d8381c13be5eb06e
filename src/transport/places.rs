//! Places for calls that wait for their peer. When all are taken, the address with the most places loses one: the oldest
//! of its connection with the most. Half of the places are unranked: they are cheap, which matters because almost every
//! call waits for a moment, and they are never lost.
//!
//! A well-behaved peer waits only briefly; a peer that does not send or read holds many places for long. Behind a sidecar
//! all connections have one address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::domain::peer::{Peer, peer_group};

/// A bounded number of places.
#[derive(Debug)]
pub(super) struct Places {
    unranked: usize,
    ranked: usize,
    unranked_taken: AtomicUsize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    addresses: Ranked<IpAddr, Ranked<ConnectionId, Holders>>,
}

/// Groups of places, ranked by size.
#[derive(Debug)]
struct Ranked<K, G> {
    count: usize,
    groups: HashMap<K, G>,
    ranking: BTreeSet<(usize, K)>,
}

/// The address in memory of a connection's record, which lives as long as its calls.
type ConnectionId = usize;

/// Holders of places by age: dropping a sender ends the wait of its holder.
type Holders = BTreeMap<u64, oneshot::Sender<()>>;

/// A place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// `None` for an unranked place.
    rank: Option<Rank>,
}

struct Rank {
    holder: (IpAddr, ConnectionId),
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let (unranked, ranked) = (max / 2, max - max / 2);
        Arc::new(Self { unranked, ranked, unranked_taken: AtomicUsize::new(0), taken: Mutex::default() })
    }

    /// Takes a place for a call of a peer; at the limit, evicts another, or this one.
    pub(super) fn take(self: &Arc<Self>, peer: &Peer) -> Place {
        let rank = if self.take_unranked() { None } else { Some(self.take_ranked(peer)) };
        Place { places: Arc::clone(self), rank }
    }

    fn take_unranked(&self) -> bool {
        let is_free = |taken| (taken < self.unranked).then_some(taken + 1);
        self.unranked_taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_free).is_ok()
    }

    fn take_ranked(&self, peer: &Peer) -> Rank {
        let holder = (peer_group(peer.address), Arc::as_ptr(&peer.connection).addr());
        let (sender, lost) = oneshot::channel();
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.change(holder, |holders| holders.insert(number, sender));
        if taken.addresses.count > self.ranked {
            let loser = taken.loser(holder);
            taken.change(loser, |holders| holders.pop_first());
        }
        Rank { holder, number, lost }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The connection that loses a place to `taker`. Among equals, the taker's own loses.
    fn loser(&self, (address, connection): (IpAddr, ConnectionId)) -> (IpAddr, ConnectionId) {
        let address = self.addresses.largest(address);
        let connections = self.addresses.groups.get(&address);
        (address, connections.map_or(connection, |connections| connections.largest(connection)))
    }

    fn change<T>(
        &mut self,
        (address, connection): (IpAddr, ConnectionId),
        change: impl FnOnce(&mut Holders) -> T,
    ) {
        self.addresses.change(address, |connections| connections.change(connection, change));
    }
}

/// A number of places.
trait Group: Default {
    fn count(&self) -> usize;
}

impl Group for Holders {
    fn count(&self) -> usize {
        self.len()
    }
}

impl<K, G> Group for Ranked<K, G> {
    fn count(&self) -> usize {
        self.count
    }
}

impl<K, G> Default for Ranked<K, G> {
    fn default() -> Self {
        Self { count: 0, groups: HashMap::new(), ranking: BTreeSet::new() }
    }
}

impl<K: Copy + Ord + Hash, G: Group> Ranked<K, G> {
    /// The largest group; among equals, `preferred`.
    fn largest(&self, preferred: K) -> K {
        let own = self.groups.get(&preferred).map_or(0, G::count);
        self.ranking.last().filter(|(most, _)| *most > own).map_or(preferred, |(_, group)| *group)
    }

    /// Changes a group, and forgets it once it is empty.
    fn change<T>(&mut self, key: K, change: impl FnOnce(&mut G) -> T) {
        let group = self.groups.entry(key).or_default();
        let before = group.count();
        change(group);
        let after = group.count();
        self.count = self.count + after - before;
        self.ranking.remove(&(before, key));
        if after == 0 {
            self.groups.remove(&key);
        } else {
            self.ranking.insert((after, key));
        }
    }
}

impl Place {
    /// Ready once another call has taken the place.
    pub(super) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.rank {
            Some(rank) => Pin::new(&mut rank.lost).poll(context).map(|_| ()),
            None => Poll::Pending,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.rank {
            Some(rank) => self.places.taken().change(rank.holder, |holders| holders.remove(&rank.number)),
            None => {
                self.places.unranked_taken.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::peer::ConnectionUsage;

    /// A connection from an address.
    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), connection: Arc::new(ConnectionUsage::default()) }
    }

    /// Ranked places only.
    fn ranked(count: usize) -> Arc<Places> {
        let places = Places::new(2 * count);
        places.unranked_taken.store(count, Ordering::Release);
        places
    }

    fn lost<const N: usize>(places: [&mut Place; N]) -> [bool; N] {
        let mut context = Context::from_waker(std::task::Waker::noop());
        places.map(|place| place.poll_lost(&mut context).is_ready())
    }

    #[test]
    fn the_oldest_of_a_connection_loses_its_place() {
        let (places, one) = (ranked(2), peer("192.0.2.1"));
        let (mut first, mut second) = (places.take(&one), places.take(&one));
        assert_eq!(lost([&mut first, &mut second]), [false, false]);
        let mut third = places.take(&one);
        assert_eq!(lost([&mut first, &mut second, &mut third]), [true, false, false]);
    }

    #[test]
    fn the_address_that_holds_most_loses_its_oldest_place() {
        let (places, one, other) = (ranked(3), peer("192.0.2.1"), peer("192.0.2.2"));
        let (mut first_of_other, mut first, mut second) =
            (places.take(&other), places.take(&one), places.take(&one));
        let mut third = places.take(&one);
        assert_eq!(
            lost([&mut first_of_other, &mut first, &mut second, &mut third]),
            [false, true, false, false]
        );
        let mut fourth = places.take(&other);
        assert_eq!(
            lost([&mut first_of_other, &mut fourth, &mut second, &mut third]),
            [true, false, false, false]
        );
    }

    #[test]
    fn of_connections_with_one_address_the_one_that_holds_most_loses_its_oldest_place() {
        let (places, [busy, other]) = (ranked(3), ["192.0.2.1"; 2].map(peer));
        let (mut other_first, mut first, mut second) =
            (places.take(&other), places.take(&busy), places.take(&busy));
        let mut other_second = places.take(&other);
        assert_eq!(
            lost([&mut other_first, &mut first, &mut second]),
            [true, false, false],
            "the taker's own"
        );
        let mut third = places.take(&busy);
        let kept = [&mut other_second, &mut first, &mut second, &mut third];
        assert_eq!(lost(kept), [false, true, false, false]);
    }

    #[test]
    fn half_of_the_places_are_unranked_and_never_lost() {
        let (places, one) = (Places::new(4), peer("192.0.2.1"));
        let mut taken: Vec<_> = (0..5).map(|_| places.take(&one)).collect();
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut lost = taken.iter_mut().map(|place| place.poll_lost(&mut context).is_ready());
        assert_eq!(lost.by_ref().collect::<Vec<_>>(), [false, false, true, false, false]);
        drop(taken);
        assert_eq!(places.unranked_taken.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_place_that_was_given_back_costs_no_other() {
        let (places, one) = (ranked(1), peer("192.0.2.1"));
        drop(places.take(&one));
        let mut second = places.take(&one);
        assert_eq!(lost([&mut second]), [false]);
        drop(second);
        let addresses = &places.taken().addresses;
        assert_eq!((addresses.count, addresses.groups.len(), addresses.ranking.len()), (0, 0, 0));
    }
}
