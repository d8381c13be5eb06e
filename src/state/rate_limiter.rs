//! Rate limits of clients, and of addresses within a client, per minute and instance.
//!
//! Each client's buckets have their own lock; the shared lock is held for one look-up only. No call iterates over all
//! buckets: empty ones are removed a few at a time, and their number is bounded.

mod bucket;
mod expiring_map;
mod session_budgets;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub use session_budgets::SessionKey;
pub(crate) use session_budgets::{SessionBudgets, SessionCall};

use self::{
    bucket::{Bucket, PERIOD},
    expiring_map::ExpiringMap,
};
use super::{Error, Result};
use crate::domain::{Address, Client, ClientId, RateLimit};

/// Clients with buckets. The one that has been quiet for longest makes room.
const MAX_CLIENTS: usize = 10_000;
/// Addresses with buckets, for each client: with the default limit of a client, whose calls within a minute are 12,000
/// at most, no bucket is removed before it is empty.
const MAX_ADDRESSES: usize = 16_384;
/// Addresses with buckets, for all clients together. Beyond them, a new address of a client takes the place of another one
/// of the same client.
const ALL_ADDRESSES: usize = 131_072;

/// Name of the address limit in the error of a rejected call.
pub(crate) const ADDRESS: &str = "address";

/// A client and the rate limits of its policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    pub(crate) client_id: ClientId,
    pub(crate) limits: RateLimit,
}

impl From<&Client> for ClientLimits {
    fn from(client: &Client) -> Self {
        Self { client_id: client.id, limits: client.policy.rate_limit }
    }
}

/// The buckets of this instance.
pub(crate) struct RateLimiter {
    clients: Mutex<ExpiringMap<ClientId, Arc<Mutex<ClientBuckets>>>>,
    addresses: Arc<AddressCount>,
}

/// Number of addresses with buckets, and its bound.
#[derive(Debug)]
struct AddressCount {
    max: usize,
    now: AtomicUsize,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::new(ALL_ADDRESSES)
    }
}

impl RateLimiter {
    fn new(max_addresses: usize) -> Self {
        let addresses = Arc::new(AddressCount { max: max_addresses, now: AtomicUsize::new(0) });
        Self { clients: Mutex::new(ExpiringMap::new(MAX_CLIENTS)), addresses }
    }

    /// Counts a call of a client and, where one is given, of an address.
    pub(crate) fn count(&self, client: impl Into<ClientLimits>, address: Option<&Address>) -> Result<()> {
        let ClientLimits { client_id, limits } = client.into();
        let now = Instant::now();
        lock(&self.buckets(now, client_id)).count(now, limits, address)
    }

    /// Counts a refresh of one of a client's sessions.
    pub(crate) fn count_refresh(&self, client: impl Into<ClientLimits>) -> Result<()> {
        let ClientLimits { client_id, limits } = client.into();
        let now = Instant::now();
        lock(&self.buckets(now, client_id)).count_refresh(now, limits)
    }

    /// Counts a refresh that was made before its client was known, and so could not be rejected.
    pub(crate) fn note_refresh(&self, client: impl Into<ClientLimits>) {
        let ClientLimits { client_id, limits } = client.into();
        let now = Instant::now();
        lock(&self.buckets(now, client_id)).note_refresh(now, limits);
    }

    /// The buckets of a client, which are all empty again a period after the last look-up.
    fn buckets(&self, now: Instant, client_id: ClientId) -> Arc<Mutex<ClientBuckets>> {
        let mut clients = lock(&self.clients);
        let found = clients.get(now, &client_id).map(Arc::clone);
        let new = || Arc::new(Mutex::new(ClientBuckets::new(now, Arc::clone(&self.addresses))));
        let buckets = found.unwrap_or_else(new);
        let removed = clients.put(now, client_id, now + PERIOD, Arc::clone(&buckets));
        drop(clients);
        // The addresses of an evicted client, possibly thousands, are dropped after the lock is released.
        drop(removed);
        buckets
    }
}

/// The buckets of one client.
struct ClientBuckets {
    calls: Bucket,
    refreshes: Bucket,
    addresses: ExpiringMap<Address, Bucket>,
    of_all: Arc<AddressCount>,
}

impl Drop for ClientBuckets {
    fn drop(&mut self) {
        self.of_all.now.fetch_sub(self.addresses.len(), Ordering::AcqRel);
    }
}

impl ClientBuckets {
    fn new(now: Instant, of_all: Arc<AddressCount>) -> Self {
        let empty = Bucket::new(now);
        Self { calls: empty, refreshes: empty, addresses: ExpiringMap::new(MAX_ADDRESSES), of_all }
    }

    /// The client's limit decides first, so that a call beyond it makes no bucket; it is counted last, so that a call
    /// beyond its address's limit takes nothing from the client's.
    fn count(&mut self, now: Instant, limits: RateLimit, address: Option<&Address>) -> Result<()> {
        let calls = self.calls.take(now, limits.per_client).map_err(limited("client"))?;
        if let Some(address) = address {
            self.count_address(now, address, limits.per_address).map_err(limited(ADDRESS))?;
        }
        self.calls = calls;
        Ok(())
    }

    fn count_address(
        &mut self,
        now: Instant,
        address: &Address,
        per_minute: u32,
    ) -> std::result::Result<(), Duration> {
        if per_minute > 0 {
            let bucket = self.addresses.get(now, address).copied().unwrap_or(Bucket::new(now));
            let bucket = bucket.take(now, per_minute)?;
            let before = self.addresses.len();
            if self.of_all.now.load(Ordering::Acquire) >= self.of_all.max {
                self.addresses.make_room(address);
            }
            self.addresses.put(now, address.clone(), bucket.empty_at(), bucket);
            // Both may wrap around; their difference does not.
            self.of_all.now.fetch_add(self.addresses.len().wrapping_sub(before), Ordering::AcqRel);
        }
        Ok(())
    }

    fn count_refresh(&mut self, now: Instant, limits: RateLimit) -> Result<()> {
        self.refreshes = self.refreshes.take(now, limits.per_client_refresh).map_err(limited("client"))?;
        Ok(())
    }

    fn note_refresh(&mut self, now: Instant, limits: RateLimit) {
        self.refreshes = self.refreshes.fill(now, limits.per_client_refresh);
    }
}

fn limited(whose: &'static str) -> impl FnOnce(Duration) -> Error {
    move |wait| Error::RateLimited { whose, wait }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(now: Instant) -> ClientBuckets {
        ClientBuckets::new(now, Arc::clone(&RateLimiter::default().addresses))
    }

    fn address(number: u32) -> Address {
        Address::from_canonical(format!("0x{number:040x}"))
    }

    fn whose(outcome: Result<()>) -> &'static str {
        match outcome {
            Ok(()) => "nobody",
            Err(Error::RateLimited { whose, .. }) => whose,
            Err(other) => panic!("{other}"),
        }
    }

    const TIGHT: RateLimit = RateLimit { per_client: 2, per_address: 1, ..RateLimit::NONE };

    #[test]
    fn a_flood_over_the_clients_limit_makes_no_bucket() {
        let now = Instant::now();
        let mut client = buckets(now);
        for number in 0..2 {
            client.count(now, TIGHT, Some(&address(number))).unwrap();
        }
        for number in 0..200_000 {
            assert_eq!(whose(client.count(now, TIGHT, Some(&address(number)))), "client");
        }
        assert_eq!(client.addresses.len(), 2);
    }

    #[test]
    fn a_call_over_its_addresss_limit_takes_nothing_from_the_clients() {
        let now = Instant::now();
        let mut client = buckets(now);
        client.count(now, TIGHT, Some(&address(0))).unwrap();
        for _ in 0..10 {
            assert_eq!(whose(client.count(now, TIGHT, Some(&address(0)))), "address");
        }
        client.count(now, TIGHT, Some(&address(1))).unwrap();
        assert_eq!(whose(client.count(now, TIGHT, None)), "client");
    }

    #[test]
    fn a_client_without_a_limit_has_a_bounded_number_of_buckets_and_empty_ones_go() {
        let limits = RateLimit { per_address: 1, ..RateLimit::NONE };
        let now = Instant::now();
        let mut client = buckets(now);
        for number in 0..200_000 {
            client.count(now, limits, Some(&address(number))).unwrap();
            assert!(client.addresses.len() <= MAX_ADDRESSES);
        }
        let later = now + PERIOD;
        for number in 0..100_000 {
            client.count(later, RateLimit { per_address: 60_000, ..limits }, Some(&address(number))).unwrap();
        }
        let last = later + PERIOD;
        for _ in 0..MAX_ADDRESSES {
            client.count(last, RateLimit { per_address: 60_000, ..limits }, Some(&address(0))).unwrap();
        }
        assert_eq!(client.addresses.len(), 1);
    }

    #[test]
    fn refreshes_have_a_limit_of_their_own() {
        let limits = RateLimit { per_client: 1, per_client_refresh: 2, ..RateLimit::NONE };
        let now = Instant::now();
        let mut client = buckets(now);
        client.count_refresh(now, limits).unwrap();
        client.note_refresh(now, limits);
        client.note_refresh(now, limits);
        assert_eq!(whose(client.count_refresh(now, limits)), "client");
        client.count(now, limits, None).unwrap();
        client.count_refresh(now + PERIOD / 2, limits).unwrap();
    }

    #[test]
    fn a_quiet_client_is_forgotten_and_a_busy_one_is_not() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        let busy = ClientId::generate();
        let buckets = limiter.buckets(now, busy);
        limiter.buckets(now, ClientId::generate());
        assert!(Arc::ptr_eq(&buckets, &limiter.buckets(now + PERIOD / 2, busy)));
        assert!(Arc::ptr_eq(&buckets, &limiter.buckets(now + PERIOD, busy)));
        assert_eq!(lock(&limiter.clients).len(), 1);
    }

    #[test]
    fn buckets_of_all_clients_together_are_bounded() {
        let limits = RateLimit { per_address: 1, ..RateLimit::NONE };
        let limiter = RateLimiter::new(100);
        let clients: Vec<_> =
            (0..10).map(|_| ClientLimits { client_id: ClientId::generate(), limits }).collect();
        for client in &clients {
            for number in 0..50 {
                limiter.count(*client, Some(&address(number))).unwrap();
            }
        }
        // A client that comes late has one at least.
        assert_eq!(limiter.addresses.now.load(Ordering::Acquire), 50 + 50 + 8);
        assert_eq!(whose(limiter.count(clients[9], Some(&address(49)))), "address");
        let later = Instant::now() + PERIOD;
        for _ in 0..10 {
            limiter.buckets(later, ClientId::generate());
        }
        assert_eq!(limiter.addresses.now.load(Ordering::Acquire), 0);
    }
}
