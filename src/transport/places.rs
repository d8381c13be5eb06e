//! Places for calls that wait for their peer. When all are taken, the peer with the most places loses its oldest one.
//!
//! A well-behaved peer waits only briefly; a peer that does not send or read holds many places for long.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

/// A bounded number of places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    count: usize,
    peers: HashMap<IpAddr, Holders>,
    /// Peers by the number of places that they hold.
    ranking: BTreeSet<(usize, IpAddr)>,
}

/// Holders of places by age: dropping a sender ends the wait of its holder.
type Holders = BTreeMap<u64, oneshot::Sender<()>>;

/// A place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// Takes a place for a call of a peer; at the limit, evicts the oldest place of the peer with the most.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Place {
        let (holder, lost) = oneshot::channel();
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.change(peer, |holders| holders.insert(number, holder));
        if taken.count > self.max {
            let loser = taken.loser(peer);
            taken.change(loser, |holders| holders.pop_first());
        }
        Place { places: Arc::clone(self), peer, number, lost }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The peer that loses a place to `taker`: the one that holds most, and of those the taker itself.
    fn loser(&self, taker: IpAddr) -> IpAddr {
        let own = self.peers.get(&taker).map_or(0, BTreeMap::len);
        self.ranking.last().filter(|(most, _)| *most > own).map_or(taker, |(_, peer)| *peer)
    }

    /// Changes the places of a peer, and forgets the peer that holds none.
    fn change<T>(&mut self, peer: IpAddr, change: impl FnOnce(&mut Holders) -> T) {
        let holders = self.peers.entry(peer).or_default();
        let before = holders.len();
        change(holders);
        let after = holders.len();
        self.count = self.count + after - before;
        self.ranking.remove(&(before, peer));
        if after == 0 {
            self.peers.remove(&peer);
        } else {
            self.ranking.insert((after, peer));
        }
    }
}

impl Place {
    /// Ready once another call has taken the place.
    pub(super) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.lost).poll(context).map(|_| ())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (peer, number) = (self.peer, self.number);
        self.places.taken().change(peer, |holders| holders.remove(&number));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn lost<const N: usize>(places: [&mut Place; N]) -> [bool; N] {
        let mut context = Context::from_waker(std::task::Waker::noop());
        places.map(|place| place.poll_lost(&mut context).is_ready())
    }

    #[test]
    fn the_oldest_of_a_peer_loses_its_place() {
        let places = Places::new(2);
        let (mut first, mut second) = (places.take(ONE), places.take(ONE));
        assert_eq!(lost([&mut first, &mut second]), [false, false]);
        let mut third = places.take(ONE);
        assert_eq!(lost([&mut first, &mut second, &mut third]), [true, false, false]);
    }

    #[test]
    fn the_peer_that_holds_most_loses_its_oldest_place() {
        let places = Places::new(3);
        let (mut other, mut first, mut second) = (places.take(OTHER), places.take(ONE), places.take(ONE));
        let mut third = places.take(ONE);
        assert_eq!(lost([&mut other, &mut first, &mut second, &mut third]), [false, true, false, false]);
        let mut fourth = places.take(OTHER);
        assert_eq!(lost([&mut other, &mut fourth, &mut second, &mut third]), [true, false, false, false]);
    }

    #[test]
    fn a_place_that_was_given_back_costs_no_other() {
        let places = Places::new(1);
        drop(places.take(ONE));
        let mut second = places.take(OTHER);
        assert_eq!(lost([&mut second]), [false]);
        drop(second);
        let taken = places.taken();
        assert_eq!((taken.count, taken.peers.len(), taken.ranking.len()), (0, 0, 0));
    }
}
