//! In-flight places of one endpoint, and the share of them that a client, and a session, may have.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::{ClientId, SessionId};

/// Calls that an endpoint may have in flight.
const PLACES: usize = 64;

/// Calls that a client or a session may have in flight, whatever its share, while the endpoint has a free place.
const MIN_SHARE: usize = 2;

/// Places of a session. The verifications of one user need no more, and leave its client's share to other users.
const PER_SESSION: usize = 8;

/// Further places that a timed-out call counts for: the node may still be computing it.
const TIMEOUT_PENALTY: usize = 9;

/// Places of an endpoint. A client gets one more only while its own count is below the number of free places, so that
/// one client takes at most half of an idle endpoint and another always finds room.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Ledger>);

/// Party that a call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    /// The client.
    pub(super) client: ClientId,
    /// The session of the challenge, if it belongs to one.
    pub(super) session: Option<SessionId>,
}

/// Counts of the places. Only clients and sessions with calls in flight or penalties have an entry.
#[derive(Debug, Default)]
struct Ledger {
    in_flight: usize,
    clients: HashMap<ClientId, Count>,
    sessions: HashMap<SessionId, Count>,
    /// Ends of the penalties, the earliest first.
    penalties: BinaryHeap<Reverse<(Instant, Holder)>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    in_flight: usize,
    penalties: usize,
}

/// The reason why a call got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shed {
    /// The client's share is used up.
    ClientShare,
    /// The session's share is used up.
    SessionShare,
    /// Every place of the endpoint is taken.
    AllPlaces,
}

impl Shed {
    /// The outcome as a label of the metric of calls.
    pub(super) const fn outcome(self) -> &'static str {
        match self {
            Self::ClientShare => "shed_client_share",
            Self::SessionShare => "shed_session_share",
            Self::AllPlaces => "shed_all_places",
        }
    }
}

/// A place for one call, released when dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    holder: Holder,
}

impl Places {
    /// Takes a place for a call.
    pub(super) fn take(&self, holder: Holder, now: Instant) -> Result<Place<'_>, Shed> {
        self.ledger().take(holder, now)?;
        Ok(Place { places: self, holder })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Releases the place of a call that timed out at `now`. The penalty lasts as long as the call did.
    pub(super) fn release_timed_out(self, now: Instant, timeout: Duration) {
        self.places.ledger().penalize(self.holder, now + timeout);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.ledger().release(self.holder);
    }
}

impl Ledger {
    fn take(&mut self, holder: Holder, now: Instant) -> Result<(), Shed> {
        self.end_penalties(now);
        let free = PLACES - self.in_flight;
        if free == 0 {
            return Err(Shed::AllPlaces);
        }
        let session =
            holder.session.and_then(|session| self.sessions.get(&session)).copied().unwrap_or_default();
        if !session.is_below(PER_SESSION) {
            return Err(Shed::SessionShare);
        }
        let client = self.clients.get(&holder.client).copied().unwrap_or_default();
        if !client.is_below(free) {
            return Err(Shed::ClientShare);
        }
        self.in_flight += 1;
        self.change(holder, |count| count.in_flight += 1);
        Ok(())
    }

    fn release(&mut self, holder: Holder) {
        self.in_flight -= 1;
        self.change(holder, |count| count.in_flight -= 1);
    }

    fn penalize(&mut self, holder: Holder, end: Instant) {
        self.penalties.push(Reverse((end, holder)));
        self.change(holder, |count| count.penalties += 1);
    }

    /// Ends the penalties that are over. Each timed-out call has added one, so their number is bounded by the places.
    fn end_penalties(&mut self, now: Instant) {
        while let Some(&Reverse((end, holder))) = self.penalties.peek()
            && end <= now
        {
            self.penalties.pop();
            self.change(holder, |count| count.penalties -= 1);
        }
    }

    /// Changes the counts of a holder, and removes those at zero.
    fn change(&mut self, holder: Holder, change: impl Fn(&mut Count)) {
        change_count(&mut self.clients, holder.client, &change);
        if let Some(session) = holder.session {
            change_count(&mut self.sessions, session, &change);
        }
    }
}

fn change_count<K: Eq + Hash>(counts: &mut HashMap<K, Count>, key: K, change: impl Fn(&mut Count)) {
    match counts.entry(key) {
        Entry::Occupied(mut entry) => {
            change(entry.get_mut());
            if entry.get().total() == 0 {
                entry.remove();
            }
        }
        Entry::Vacant(entry) => change(entry.insert(Count::default())),
    }
}

impl Count {
    const fn total(self) -> usize {
        self.in_flight + TIMEOUT_PENALTY * self.penalties
    }

    const fn is_below(self, share: usize) -> bool {
        self.in_flight < MIN_SHARE || self.total() < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn client() -> Holder {
        Holder { client: ClientId::generate(), session: None }
    }

    /// Takes places until none is given; returns them and the reason.
    fn take_all(places: &Places, holder: Holder, now: Instant) -> (Vec<Place<'_>>, Shed) {
        let mut taken = Vec::new();
        loop {
            match places.take(holder, now) {
                Ok(place) => taken.push(place),
                Err(shed) => return (taken, shed),
            }
        }
    }

    fn time_out(places: &Places, holder: Holder, now: Instant, count: usize) {
        for _ in 0..count {
            places.take(holder, now).unwrap().release_timed_out(now, TIMEOUT);
        }
    }

    fn is_empty(places: &Places) -> bool {
        let ledger = places.ledger();
        ledger.in_flight == 0
            && ledger.clients.is_empty()
            && ledger.sessions.is_empty()
            && ledger.penalties.is_empty()
    }

    #[test]
    fn each_client_takes_at_most_half_of_what_is_free_and_two_while_there_is_room() {
        let (places, now) = (Places::default(), Instant::now());
        let mut held = Vec::new();
        for share in [32, 16, 8, 4, 2] {
            let (taken, shed) = take_all(&places, client(), now);
            assert_eq!((taken.len(), shed), (share, Shed::ClientShare));
            held.push(taken);
        }
        let (last, shed) = take_all(&places, client(), now);
        assert_eq!((last.len(), shed), (2, Shed::AllPlaces));
        assert_eq!(places.take(client(), now).unwrap_err(), Shed::AllPlaces);
        drop((held, last));
        assert!(is_empty(&places));
    }

    #[test]
    fn a_released_place_is_free_again() {
        let (places, holder, now) = (Places::default(), client(), Instant::now());
        let (mut taken, _) = take_all(&places, holder, now);
        taken.pop();
        assert!(places.take(holder, now).is_ok());
    }

    #[test]
    fn a_timed_out_call_counts_nine_further_places_for_as_long_as_its_timeout() {
        let (places, holder, now) = (Places::default(), client(), Instant::now());
        time_out(&places, holder, now, 1);
        // 28 in flight and 9 of the penalty reach the 36 free places; without the penalty it is 32.
        let last_moment = now + TIMEOUT - Duration::from_nanos(1);
        assert_eq!(take_all(&places, holder, last_moment).0.len(), 28);
        assert_eq!(take_all(&places, client(), last_moment).0.len(), 32);
        assert_eq!(take_all(&places, holder, now + TIMEOUT).0.len(), 32);
        assert!(is_empty(&places));
    }

    #[test]
    fn a_client_keeps_its_minimum_however_many_of_its_calls_timed_out() {
        let (places, holder, now) = (Places::default(), client(), Instant::now());
        time_out(&places, holder, now, 40);
        let (taken, shed) = take_all(&places, holder, now);
        assert_eq!((taken.len(), shed), (MIN_SHARE, Shed::ClientShare));
        assert_eq!(take_all(&places, client(), now).0.len(), 31);
    }

    #[test]
    fn penalties_end_each_at_its_own_time_and_leave_nothing_behind() {
        let (places, holder, now) = (Places::default(), client(), Instant::now());
        let timeouts = [9, 1, 5].map(Duration::from_secs);
        for timeout in timeouts {
            places.take(holder, now).unwrap().release_timed_out(now, timeout);
        }
        let penalties = |seconds| {
            drop(places.take(client(), now + Duration::from_secs(seconds)));
            places.ledger().clients.get(&holder.client).map_or(0, |count| count.penalties)
        };
        assert_eq!([0, 1, 4, 5, 8].map(penalties), [3, 2, 2, 1, 1]);
        assert_eq!(penalties(9), 0);
        assert!(is_empty(&places));
    }

    #[test]
    fn a_session_leaves_its_clients_share_to_others() {
        let (places, now) = (Places::default(), Instant::now());
        let client = ClientId::generate();
        let session = || Holder { client, session: Some(SessionId::generate()) };
        let first = session();
        let (taken, shed) = take_all(&places, first, now);
        assert_eq!((taken.len(), shed), (PER_SESSION, Shed::SessionShare));
        assert_eq!(take_all(&places, session(), now).0.len(), PER_SESSION);
        drop(taken);
        time_out(&places, first, now, 1);
        let (taken, shed) = take_all(&places, first, now);
        assert_eq!((taken.len(), shed), (MIN_SHARE, Shed::SessionShare));
        drop(taken);
        drop(places.take(session(), now + TIMEOUT).unwrap());
        assert!(is_empty(&places));
    }
}
