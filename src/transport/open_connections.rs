//! The open connections of a port, and the one that makes room for a new one when there are too many.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::domain::peer::{ConnectionUsage, Peer, peer_group};

/// Maximum number of connections examined per eviction, so that its cost is constant. It exceeds the default of
/// `max-connections` and those that are closing beside them.
const SEARCHED: usize = 2_048;

/// The open connections of a port.
pub(super) struct OpenConnections {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    entries: Vec<Arc<Entry>>,
    by_peer: HashMap<IpAddr, usize>,
    /// Connections that are closing to make room.
    leaving: usize,
    /// Start of the next search.
    cursor: usize,
}

struct Entry {
    peer: Peer,
    /// Its place among the entries.
    at: AtomicUsize,
    leave: Notify,
    is_leaving: AtomicBool,
    closes_at_once: AtomicBool,
}

/// Ways to close a connection that makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// Within a grace period, in which the peer may acknowledge it.
    Graceful,
    /// With no more than an announcement.
    AtOnce,
}

/// An open connection; it is not open any more when this value is dropped.
pub(super) struct OpenConnection {
    connections: Arc<OpenConnections>,
    entry: Arc<Entry>,
}

impl OpenConnections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    /// Adds a connection. At the limit another one is closed to make room; `None` if none can be.
    ///
    /// An evicted connection needs a moment to close gracefully, and its peer can use all of the grace period. While a
    /// quarter of `max` is closing, further ones are closed at once, up to a half.
    pub(super) fn add(self: &Arc<Self>, address: IpAddr) -> Option<OpenConnection> {
        let mut open = self.open();
        if open.entries.len() - open.leaving >= self.max {
            let eviction = match open.leaving {
                leaving if leaving <= self.max / 4 => Eviction::Graceful,
                leaving if leaving <= self.max / 2 + 1 => Eviction::AtOnce,
                _ => return None,
            };
            open.make_room(peer_group(address), eviction)?;
        }
        let is_among_few = open.entries.len() < self.max / 8;
        let entry = Arc::new(Entry {
            peer: Peer { address, connection: Arc::new(ConnectionUsage::new(is_among_few)) },
            at: AtomicUsize::new(open.entries.len()),
            leave: Notify::new(),
            is_leaving: false.into(),
            closes_at_once: false.into(),
        });
        open.entries.push(Arc::clone(&entry));
        *open.by_peer.entry(peer_group(address)).or_default() += 1;
        Some(OpenConnection { connections: Arc::clone(self), entry })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes a connection: among those of the peer that has most connections, the most dispensable one, and of such
    /// the one that has been idle longest. Only connections of the newcomer's own peer and of peers with more connections
    /// than it are considered, so that a peer never evicts one of a smaller peer while all of its own are busy.
    fn make_room(&mut self, newcomer: IpAddr, eviction: Eviction) -> Option<()> {
        let count = self.entries.len();
        let of_newcomer = self.by_peer.get(&newcomer).copied().unwrap_or_default();
        let searched = (0..count.min(SEARCHED)).map(|step| &self.entries[(self.cursor + step) % count]);
        let candidates = searched.filter_map(|entry| {
            let kind =
                entry.peer.connection.dispensable().filter(|_| !entry.is_leaving.load(Ordering::Acquire))?;
            let peer = peer_group(entry.peer.address);
            let of_peer = self.by_peer.get(&peer).copied().unwrap_or_default();
            let idle_for = entry.peer.connection.idle_for().unwrap_or(Duration::ZERO);
            let may_leave = peer == newcomer || of_peer > of_newcomer;
            may_leave.then_some(((of_peer, std::cmp::Reverse(kind), idle_for), entry))
        });
        let (_, entry) = candidates.max_by_key(|(rank, _)| *rank)?;
        entry.is_leaving.store(true, Ordering::Release);
        entry.closes_at_once.store(eviction == Eviction::AtOnce, Ordering::Release);
        entry.leave.notify_one();
        self.leaving += 1;
        self.cursor = (self.cursor + SEARCHED) % count;
        Some(())
    }

    fn remove(&mut self, entry: &Entry) {
        let at = entry.at.load(Ordering::Acquire);
        self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            moved.at.store(at, Ordering::Release);
        }
        self.leaving -= usize::from(entry.is_leaving.load(Ordering::Acquire));
        let group = peer_group(entry.peer.address);
        if let Some(of_peer) = self.by_peer.get_mut(&group) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.by_peer.remove(&group);
            }
        }
    }
}

impl OpenConnection {
    /// Its peer, for the calls on it.
    pub(super) fn peer(&self) -> &Peer {
        &self.entry.peer
    }

    /// True while a call other than Health/Watch runs.
    pub(super) fn is_busy(&self) -> bool {
        self.entry.peer.connection.dispensable().is_none()
    }

    /// Ready when the connection must close to make room.
    pub(super) async fn must_leave(&self) -> Eviction {
        self.entry.leave.notified().await;
        if self.entry.closes_at_once.load(Ordering::Acquire) { Eviction::AtOnce } else { Eviction::Graceful }
    }

    /// Ready when no call has run for so long.
    pub(super) async fn idle(&self, timeout: Duration) {
        loop {
            let idle_for = self.entry.peer.connection.idle_for().unwrap_or(Duration::ZERO);
            match timeout.checked_sub(idle_for) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                Some(_) | None => return,
            }
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open().remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn is_told_to_leave(connection: &OpenConnection) -> bool {
        eviction(connection).await.is_some()
    }

    async fn eviction(connection: &OpenConnection) -> Option<Eviction> {
        tokio::time::timeout(Duration::ZERO, connection.must_leave()).await.ok()
    }

    #[tokio::test]
    async fn a_connection_that_never_made_a_call_makes_room_first() {
        let connections = OpenConnections::new(3);
        let [called, trusted, silent] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|peer| connections.add(address(peer)).unwrap());
        for busy in [&called, &trusted] {
            busy.peer().connection.call_begins();
            busy.peer().connection.call_ends();
        }
        trusted.peer().connection.earns_trust();
        let newest = connections.add(address("192.0.2.4")).unwrap();
        assert!(is_told_to_leave(&silent).await);
        newest.peer().connection.call_begins();
        drop(silent);
        let next = connections.add(address("192.0.2.5")).unwrap();
        assert!(is_told_to_leave(&called).await);
        next.peer().connection.call_begins();
        drop(called);
        trusted.peer().connection.call_begins();
        assert!(connections.add(address("192.0.2.6")).is_none(), "all are busy");
        trusted.peer().connection.call_ends();
        assert!(connections.add(address("192.0.2.6")).is_some());
        assert!(is_told_to_leave(&trusted).await, "nothing but busy connections ranks below it");
    }

    #[tokio::test]
    async fn the_peer_with_most_connections_makes_room() {
        let connections = OpenConnections::new(4);
        let lone = connections.add(address("192.0.2.1")).unwrap();
        let many: Vec<_> =
            (1..4).map(|host| connections.add(address(&format!("2001:db8::{host}"))).unwrap()).collect();
        let _new = connections.add(address("192.0.2.2")).unwrap();
        assert!(!is_told_to_leave(&lone).await);
        let mut told = 0;
        for connection in &many {
            told += usize::from(is_told_to_leave(connection).await);
        }
        assert_eq!(told, 1);
    }

    #[tokio::test]
    async fn a_new_connection_of_another_peer_is_not_closed_for_those_of_a_peer_with_many() {
        let connections = OpenConnections::new(3);
        let called: Vec<_> = (0..2).map(|_| connections.add(address("192.0.2.1")).unwrap()).collect();
        for connection in &called {
            connection.peer().connection.call_begins();
            connection.peer().connection.call_ends();
        }
        let handshaking = connections.add(address("192.0.2.2")).unwrap();
        let _new = connections.add(address("192.0.2.1")).unwrap();
        assert!(!is_told_to_leave(&handshaking).await);
        assert!(is_told_to_leave(&called[0]).await || is_told_to_leave(&called[1]).await);
    }

    #[tokio::test]
    async fn a_peer_whose_connections_are_all_busy_evicts_none_of_a_smaller_peer() {
        let connections = OpenConnections::new(3);
        let lone = connections.add(address("192.0.2.1")).unwrap();
        let busy: Vec<_> = (0..2).map(|_| connections.add(address("192.0.2.2")).unwrap()).collect();
        busy.iter().for_each(|connection| connection.peer().connection.call_begins());
        assert!(connections.add(address("192.0.2.2")).is_none());
        assert!(!is_told_to_leave(&lone).await);
        assert!(connections.add(address("192.0.2.3")).is_some(), "a peer without connections is served");
        assert!(is_told_to_leave(&lone).await);
    }

    #[test]
    fn small_responses_may_stay_unread_on_an_eighth_of_the_connections() {
        let connections = OpenConnections::new(16);
        let mut open: Vec<_> = (0..16).map(|_| connections.add(address("192.0.2.1")).unwrap()).collect();
        let may = |connection: &OpenConnection| connection.peer().connection.may_leave_unread();
        assert!(!open.iter().any(may), "none has made a call with valid credentials");
        open.iter().for_each(|connection| connection.peer().connection.earns_trust());
        assert_eq!(open.iter().filter(|connection| may(connection)).count(), 2);
        open.truncate(1);
        let next = connections.add(address("192.0.2.1")).unwrap();
        next.peer().connection.earns_trust();
        assert!(may(&next), "few are open again");
    }

    #[tokio::test]
    async fn the_number_of_closing_connections_is_bounded_and_most_of_them_close_at_once() {
        let connections = OpenConnections::new(16);
        let mut open: Vec<_> = (0..16).map(|_| connections.add(address("192.0.2.1")).unwrap()).collect();
        while let Some(connection) = connections.add(address("192.0.2.1")) {
            open.push(connection);
        }
        assert_eq!(open.len(), 16 + 5 + 5);
        let mut at_once = 0;
        for connection in &open {
            at_once += usize::from(eviction(connection).await == Some(Eviction::AtOnce));
        }
        assert_eq!(at_once, 5);
        open.clear();
        let open = connections.open();
        assert_eq!((open.entries.len(), open.leaving, open.by_peer.len()), (0, 0, 0));
    }
}
