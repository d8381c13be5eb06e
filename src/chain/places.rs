//! In-flight places of one endpoint, and each client's share of them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::ClientId;

/// Calls that an endpoint may have in flight.
const PLACES: usize = 64;

/// Calls that a client may have in flight, whatever its share, while the endpoint has a free place.
const MIN_PER_CLIENT: usize = 2;

/// Further places that a timed-out call counts for: the node may still be computing it.
const TIMEOUT_PENALTY: usize = 9;

/// Places of an endpoint. A client gets one more only while its own count is below the number of free places, so that
/// one client takes at most half of an idle endpoint and another always finds room.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Ledger>);

/// Counts of the places. Only clients with calls in flight or penalties have an entry.
#[derive(Debug, Default)]
struct Ledger {
    in_flight: usize,
    clients: HashMap<ClientId, Count>,
    /// Ends of the penalties, the earliest first.
    penalties: BinaryHeap<Reverse<(Instant, ClientId)>>,
}

#[derive(Debug, Default)]
struct Count {
    in_flight: usize,
    penalties: usize,
}

/// The reason why a call got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shed {
    /// The client's share is used up.
    ClientShare,
    /// Every place of the endpoint is taken.
    AllPlaces,
}

impl Shed {
    /// The outcome as a label of the metric of calls.
    pub(super) const fn outcome(self) -> &'static str {
        match self {
            Self::ClientShare => "shed_client_share",
            Self::AllPlaces => "shed_all_places",
        }
    }
}

/// A place for one call, released when dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    client: ClientId,
}

impl Places {
    /// Takes a place for a call of a client.
    pub(super) fn take(&self, client: ClientId, now: Instant) -> Result<Place<'_>, Shed> {
        self.ledger().take(client, now)?;
        Ok(Place { places: self, client })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Releases the place of a call that timed out at `now`. The penalty lasts as long as the call did.
    pub(super) fn release_timed_out(self, now: Instant, timeout: Duration) {
        self.places.ledger().penalize(self.client, now + timeout);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.ledger().release(self.client);
    }
}

impl Ledger {
    fn take(&mut self, client: ClientId, now: Instant) -> Result<(), Shed> {
        self.end_penalties(now);
        let free = PLACES - self.in_flight;
        if free == 0 {
            return Err(Shed::AllPlaces);
        }
        let count = self.clients.get(&client);
        let (own, counted) = count.map_or((0, 0), |count| (count.in_flight, count.total()));
        if own >= MIN_PER_CLIENT && counted >= free {
            return Err(Shed::ClientShare);
        }
        self.in_flight += 1;
        self.clients.entry(client).or_default().in_flight += 1;
        Ok(())
    }

    fn release(&mut self, client: ClientId) {
        self.in_flight -= 1;
        self.change(client, |count| count.in_flight -= 1);
    }

    fn penalize(&mut self, client: ClientId, end: Instant) {
        self.penalties.push(Reverse((end, client)));
        self.clients.entry(client).or_default().penalties += 1;
    }

    /// Ends the penalties that are over. Each timed-out call has added one, so their number is bounded by the places.
    fn end_penalties(&mut self, now: Instant) {
        while let Some(&Reverse((end, client))) = self.penalties.peek()
            && end <= now
        {
            self.penalties.pop();
            self.change(client, |count| count.penalties -= 1);
        }
    }

    /// Changes the count of a client, and removes it at zero.
    fn change(&mut self, client: ClientId, change: impl FnOnce(&mut Count)) {
        let Some(count) = self.clients.get_mut(&client) else { return };
        change(count);
        if count.total() == 0 {
            self.clients.remove(&client);
        }
    }
}

impl Count {
    const fn total(&self) -> usize {
        self.in_flight + TIMEOUT_PENALTY * self.penalties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Takes places until none is given; returns them and the reason.
    fn take_all(places: &Places, client: ClientId, now: Instant) -> (Vec<Place<'_>>, Shed) {
        let mut taken = Vec::new();
        loop {
            match places.take(client, now) {
                Ok(place) => taken.push(place),
                Err(shed) => return (taken, shed),
            }
        }
    }

    fn time_out(places: &Places, client: ClientId, now: Instant, count: usize) {
        for _ in 0..count {
            places.take(client, now).unwrap().release_timed_out(now, TIMEOUT);
        }
    }

    fn is_empty(places: &Places) -> bool {
        let ledger = places.ledger();
        ledger.in_flight == 0 && ledger.clients.is_empty() && ledger.penalties.is_empty()
    }

    #[test]
    fn each_client_takes_at_most_half_of_what_is_free_and_two_while_there_is_room() {
        let (places, now) = (Places::default(), Instant::now());
        let mut held = Vec::new();
        for share in [32, 16, 8, 4, 2] {
            let (taken, shed) = take_all(&places, ClientId::generate(), now);
            assert_eq!((taken.len(), shed), (share, Shed::ClientShare));
            held.push(taken);
        }
        let (last, shed) = take_all(&places, ClientId::generate(), now);
        assert_eq!((last.len(), shed), (2, Shed::AllPlaces));
        assert_eq!(places.take(ClientId::generate(), now).unwrap_err(), Shed::AllPlaces);
        drop((held, last));
        assert!(is_empty(&places));
    }

    #[test]
    fn a_released_place_is_free_again() {
        let (places, client, now) = (Places::default(), ClientId::generate(), Instant::now());
        let (mut taken, _) = take_all(&places, client, now);
        taken.pop();
        assert!(places.take(client, now).is_ok());
    }

    #[test]
    fn a_timed_out_call_counts_nine_further_places_for_as_long_as_its_timeout() {
        let (places, client, now) = (Places::default(), ClientId::generate(), Instant::now());
        time_out(&places, client, now, 1);
        // 28 in flight and 9 of the penalty reach the 36 free places; without the penalty it is 32.
        let last_moment = now + TIMEOUT - Duration::from_nanos(1);
        assert_eq!(take_all(&places, client, last_moment).0.len(), 28);
        assert_eq!(take_all(&places, ClientId::generate(), last_moment).0.len(), 32);
        assert_eq!(take_all(&places, client, now + TIMEOUT).0.len(), 32);
        assert!(is_empty(&places));
    }

    #[test]
    fn a_client_keeps_its_minimum_however_many_of_its_calls_timed_out() {
        let (places, client, now) = (Places::default(), ClientId::generate(), Instant::now());
        time_out(&places, client, now, 40);
        let (taken, shed) = take_all(&places, client, now);
        assert_eq!((taken.len(), shed), (MIN_PER_CLIENT, Shed::ClientShare));
        assert_eq!(take_all(&places, ClientId::generate(), now).0.len(), 31);
    }

    #[test]
    fn penalties_end_each_at_its_own_time_and_leave_nothing_behind() {
        let (places, client, now) = (Places::default(), ClientId::generate(), Instant::now());
        let timeouts = [9, 1, 5].map(Duration::from_secs);
        for timeout in timeouts {
            places.take(client, now).unwrap().release_timed_out(now, timeout);
        }
        let penalties = |seconds| {
            drop(places.take(ClientId::generate(), now + Duration::from_secs(seconds)));
            places.ledger().clients.get(&client).map_or(0, |count| count.penalties)
        };
        assert_eq!([0, 1, 4, 5, 8].map(penalties), [3, 2, 2, 1, 1]);
        assert_eq!(penalties(9), 0);
        assert!(is_empty(&places));
    }
}
