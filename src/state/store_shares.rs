//! Fair sharing of the store: permits to use it, granted round-robin to the parties that wait.
//!
//! The number of permits equals the number of uses that the store serves without queueing. While a permit is free, any
//! call gets it. Once calls wait, permits are granted round-robin over the parties (each client, sessions of a client
//! that is not known yet, unauthenticated callers), within a party over its lanes (sessions or addresses), and within a
//! lane in order of arrival. A flood therefore delays its own calls only.

mod outage;
mod queue;
mod share;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Error, Result};
use crate::store::Store;
use outage::{known_outage, likely_outage};
pub use queue::StorePermit;
use queue::{Entered, Queue, Shared};
pub use share::{Lane, Party, Share};

/// Time that a call waits for a permit.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The permits of this instance.
pub struct StoreShares(Arc<Shared>);

impl StoreShares {
    /// Hands out `permits` to at most `waiters` calls that wait. A session or account gets a quarter of them: more of its
    /// statements would wait for each other's locks.
    pub fn new(permits: usize, waiters: usize) -> Self {
        let queue = Mutex::new(Queue::new(permits));
        Self(Arc::new(Shared { permits, waiters, max_wait: MAX_WAIT, queue }))
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many calls of the same lane or party wait, or none came free in time;
    /// [`Error::StoreUnavailable`] at once while the store is known to be down.
    pub async fn permit(&self, share: Share) -> Result<StorePermit> {
        let mut waiting = match self.0.queue().enter(&self.0, share) {
            Entered::Granted => return Ok(StorePermit { shared: Some(Arc::clone(&self.0)), share }),
            Entered::Waits(waiting) => waiting,
            Entered::Rejected => return Err(rejected(share)),
            Entered::Outage => return Err(known_outage()),
        };
        match tokio::time::timeout(self.0.max_wait, &mut waiting.permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(known_outage()),
            Err(_) if self.0.queue().is_suspicious() => Err(likely_outage()),
            Err(_) => Err(rejected(share)),
        }
    }
}

/// The store as one party uses it.
#[derive(Clone, Copy)]
pub struct StoreAccess<'a> {
    store: &'a (dyn Store + 'static),
    shares: &'a StoreShares,
    share: Share,
}

impl<'a> StoreAccess<'a> {
    /// Uses are counted for `share`.
    pub const fn new(store: &'a (dyn Store + 'static), shares: &'a StoreShares, share: Share) -> Self {
        Self { store, shares, share }
    }

    /// Waits for a permit to use the store.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if no permit is granted in time.
    pub async fn turn(self) -> Result<StoreTurn<'a>> {
        let permit = Arc::new(self.shares.permit(self.share).await?);
        let holding = self.store.holding(Arc::<StorePermit>::clone(&permit));
        Ok(StoreTurn { store: self.store, holding, _permit: permit })
    }
}

/// The store, for one use.
pub struct StoreTurn<'a> {
    store: &'a (dyn Store + 'static),
    /// The store that keeps the permit while a cancelled statement runs on.
    holding: Option<Box<dyn Store>>,
    _permit: Arc<StorePermit>,
}

impl std::ops::Deref for StoreTurn<'_> {
    type Target = dyn Store;

    fn deref(&self) -> &(dyn Store + 'static) {
        self.holding.as_deref().unwrap_or(self.store)
    }
}

fn rejected(share: Share) -> Error {
    let (of, limit) = match share {
        Share { lane: Lane::Session(_) | Lane::Revocation(_) | Lane::AccountRevocation(_), .. } => {
            ("session", "calls of this session or account waiting for the store")
        }
        Share { party: Party::Unauthenticated, .. } => {
            ("unauthenticated", "unauthenticated calls waiting for the store")
        }
        Share { .. } => ("client", "calls of this client waiting for the store"),
    };
    metrics::counter!("countersign_store_permits_rejected_total", "of" => of).increment(1);
    Error::Overloaded(limit)
}

#[cfg(test)]
mod tests {
    use super::{queue::NARROW_WAITERS, *};
    use crate::{
        domain::{ClientId, SessionId},
        state::rate_limiter::SessionKey,
    };

    const WAITERS: usize = 256;

    fn client() -> Party {
        Party::Client(ClientId::generate())
    }

    fn session(party: Party) -> Share {
        Share { party, lane: Lane::Session(SessionKey::Session(SessionId::generate())) }
    }

    /// Begins to wait for a permit: `order` receives the name once it is granted, and the permit is given back.
    async fn wait(
        shares: &Arc<StoreShares>,
        share: Share,
        name: &'static str,
        order: &Arc<Mutex<Vec<&'static str>>>,
    ) {
        let (shares, order) = (Arc::clone(shares), Arc::clone(order));
        tokio::spawn(async move {
            let permit = shares.permit(share).await.unwrap();
            order.lock().unwrap().push(name);
            drop(permit);
        });
        tokio::task::yield_now().await;
    }

    async fn all(order: &Arc<Mutex<Vec<&'static str>>>, count: usize) -> Vec<&'static str> {
        while order.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
        order.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn permits_go_round_over_parties_and_sessions() {
        let shares = Arc::new(StoreShares::new(1, WAITERS));
        let order = Arc::default();
        let (flood, other) = (client(), client());
        let held = shares.permit(Share::of(flood)).await.unwrap();
        let (first, second) = (session(flood), session(flood));
        for (share, name) in [
            (first, "first 1"),
            (first, "first 2"),
            (first, "first 3"),
            (second, "second"),
            (Share::of(other), "other"),
            (Share::of(Party::Unauthenticated), "unauthenticated"),
        ] {
            wait(&shares, share, name, &order).await;
        }
        drop(held);
        let expected = ["first 1", "other", "unauthenticated", "second", "first 2", "first 3"];
        assert_eq!(all(&order, 6).await, expected);
    }

    #[tokio::test]
    async fn alone_a_client_has_all_permits_and_a_session_a_quarter() {
        let shares = StoreShares::new(8, WAITERS);
        let (alone, one_session) = (client(), session(client()));
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(shares.permit(one_session).await.unwrap());
        }
        assert!(tokio::time::timeout(Duration::ZERO, shares.permit(one_session)).await.is_err(), "it waits");
        for _ in 0..3 {
            held.push(shares.permit(session(alone)).await.unwrap());
            held.push(shares.permit(session(alone)).await.unwrap());
        }
        assert!(
            tokio::time::timeout(Duration::ZERO, shares.permit(session(alone))).await.is_err(),
            "all are in use"
        );
    }

    #[tokio::test]
    async fn calls_beyond_a_limit_leave_most_permits_to_the_same_client() {
        let shares = StoreShares::new(8, WAITERS);
        let own = Share::of(client());
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(shares.permit(own.beyond_limit()).await.unwrap());
        }
        let further = shares.permit(own.beyond_limit());
        assert!(tokio::time::timeout(Duration::ZERO, further).await.is_err(), "it waits");
        for _ in 0..6 {
            held.push(shares.permit(own).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_call_that_waits_too_long_or_behind_too_many_is_rejected_and_no_permit_is_lost() {
        let shared = Shared {
            permits: 1,
            waiters: WAITERS,
            max_wait: Duration::from_millis(50),
            queue: Mutex::new(Queue::new(1)),
        };
        let shares = Arc::new(StoreShares(Arc::new(shared)));
        let share = session(client());
        let held = shares.permit(share).await.unwrap();
        let waiters: Vec<_> = (0..NARROW_WAITERS)
            .map(|_| {
                let shares = Arc::clone(&shares);
                tokio::spawn(async move { shares.permit(share).await.is_err() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(matches!(shares.permit(share).await, Err(Error::Overloaded(_))), "too many wait");
        for waiter in waiters {
            assert!(waiter.await.unwrap(), "waited too long");
        }
        drop(held);
        drop(shares.permit(Share::of(client())).await.unwrap());
        let queue = shares.0.queue();
        assert_eq!((queue.used, queue.lanes.len(), queue.parties.len()), (0, 0, 0));
    }

    /// Begins to wait with so many calls, of which `order` receives those that get a permit.
    async fn flood(
        shares: &Arc<StoreShares>,
        share: Share,
        count: usize,
        order: &Arc<Mutex<Vec<&'static str>>>,
    ) {
        for _ in 0..count {
            let (shares, order) = (Arc::clone(shares), Arc::clone(order));
            tokio::spawn(async move {
                if let Ok(_permit) = shares.permit(share).await {
                    order.lock().unwrap().push("flood");
                }
            });
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn unauthenticated_callers_of_another_address_are_served_during_a_flood() {
        let (shares, order) = (Arc::new(StoreShares::new(1, WAITERS)), Arc::default());
        let held = shares.permit(Share::of(client())).await.unwrap();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Share::of_origin(address.parse().ok()));
        flood(&shares, one, 2 * WAITERS, &order).await;
        assert!(matches!(shares.permit(one).await, Err(Error::Overloaded(_))));
        wait(&shares, other, "other", &order).await;
        drop(held);
        assert_eq!(all(&order, 2).await[..2], ["flood", "other"]);
    }

    #[tokio::test]
    async fn revocations_wait_however_many_other_calls_of_their_client_do() {
        let (shares, order) = (Arc::new(StoreShares::new(1, WAITERS)), Arc::default());
        let busy = client();
        let held = shares.permit(Share::of(client())).await.unwrap();
        flood(&shares, Share::of(busy), 2 * WAITERS, &order).await;
        assert!(matches!(shares.permit(session(busy)).await, Err(Error::Overloaded(_))));
        wait(&shares, Share::of(busy).revoking(SessionId::generate()), "revocation", &order).await;
        drop(held);
        assert_eq!(all(&order, 2).await[..2], ["flood", "revocation"]);
    }

    #[tokio::test]
    async fn revocations_of_one_party_leave_room_for_those_of_others_and_for_other_calls() {
        let (shares, order) = (Arc::new(StoreShares::new(1, WAITERS)), Arc::default());
        let held = shares.permit(Share::of(client())).await.unwrap();
        let busy = Share::of(client());
        for _ in 0..WAITERS {
            flood(&shares, busy.revoking(SessionId::generate()), 2, &order).await;
        }
        assert_eq!(shares.0.queue().revocations, WAITERS / 8);
        assert!(matches!(
            shares.permit(busy.revoking(SessionId::generate())).await,
            Err(Error::Overloaded(_))
        ));
        wait(&shares, Share::of(client()).revoking(SessionId::generate()), "revocation", &order).await;
        wait(&shares, Share::of(client()), "other", &order).await;
        drop(held);
        let first = all(&order, 3).await[..3].to_vec();
        assert!(first.contains(&"revocation") && first.contains(&"other"), "{first:?}");
    }

    #[tokio::test]
    async fn revocations_of_one_session_leave_room_for_those_of_others() {
        let (shares, order) = (Arc::new(StoreShares::new(1, WAITERS)), Arc::default());
        let held = shares.permit(Share::of(client())).await.unwrap();
        let sessions = Share::of(Party::Sessions);
        flood(&shares, sessions.revoking(SessionId::generate()), 2 * WAITERS, &order).await;
        wait(&shares, sessions.revoking(SessionId::generate()), "other", &order).await;
        drop(held);
        assert!(all(&order, 2).await[..2].contains(&"other"));
    }

    #[tokio::test]
    async fn callers_that_give_up_hold_no_place_and_keep_no_turn() {
        let shares = Arc::new(StoreShares::new(1, WAITERS));
        let held = shares.permit(Share::of(client())).await.unwrap();
        let busy = client();
        for _ in 0..2 * WAITERS {
            let given_up = tokio::time::timeout(Duration::ZERO, shares.permit(session(busy))).await;
            assert!(given_up.is_err(), "it waits: callers that have given up do not count");
        }
        drop(held);
        drop(shares.permit(session(busy)).await.unwrap());
        let queue = shares.0.queue();
        assert_eq!((queue.used, queue.waiters, queue.lanes.len(), queue.parties.len()), (0, 0, 0, 0));
    }
}
