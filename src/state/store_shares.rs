//! Fair sharing of the store: permits to use it, granted round-robin to the parties that wait.
//!
//! The number of permits equals the number of uses that the store serves without queueing. While a permit is free, any
//! call gets it. Once calls wait, permits are granted round-robin over the parties (each client, sessions of a client
//! that is not known yet, unauthenticated callers), within a party over its lanes (sessions or addresses), and within a
//! lane in order of arrival. A flood therefore delays its own calls only.

mod outage;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Error, Result, rate_limiter::SessionKey};
use crate::{
    domain::{AccountId, ClientId, SessionId, peer::peer_group},
    store::Store,
};
use outage::{Outage, known_outage, likely_outage};

/// Time that a call waits for a permit.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Calls of a narrow lane that wait; further ones are rejected at once.
const NARROW_WAITERS: usize = 32;
/// Revocations of one session or account that wait; the first one that runs does what all of them ask for.
const REVOCATION_WAITERS: usize = 8;

/// Party that shares the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// All callers whose credentials have not been verified.
    Unauthenticated,
    /// Sessions whose client is not known before the store is asked.
    Sessions,
    /// A client, including the calls of its sessions.
    Client(ClientId),
}

/// Kinds of calls within a party, each with a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The party's own calls.
    Own,
    /// Unauthenticated calls from one address (IPv6: one /64).
    Origin(IpAddr),
    /// Calls with tokens of a session.
    Session(SessionKey),
    /// Revocations of a session, which must not wait behind the calls that they are to stop.
    Revocation(SessionId),
    /// Revocations of all sessions of an account.
    AccountRevocation(AccountId),
    /// Calls beyond the rate limit of an address. They may use only a part of the party's permits.
    BeyondLimit,
}

impl Lane {
    /// True for lanes that may use a quarter of the permits only: their statements wait for the locks of one session or
    /// account, or are beyond a rate limit.
    const fn is_narrow(self) -> bool {
        match self {
            Self::Session(_) | Self::Revocation(_) | Self::AccountRevocation(_) | Self::BeyondLimit => true,
            Self::Own | Self::Origin(_) => false,
        }
    }

    const fn revokes(self) -> bool {
        matches!(self, Self::Revocation(_) | Self::AccountRevocation(_))
    }
}

/// Party and lane that a use of the store counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// The party.
    pub party: Party,
    /// The lane within the party.
    pub lane: Lane,
}

/// The permits of this instance.
pub struct StoreShares(Arc<Shared>);

struct Shared {
    permits: usize,
    /// Maximum number of waiting calls. A party may add one only while it has fewer than the number of free slots, so
    /// that another party always finds one; the same rule, over half of the slots, applies to one address among
    /// unauthenticated callers. Revocations bypass this bound, up to a quarter of it.
    waiters: usize,
    max_wait: Duration,
    queue: Mutex<Queue>,
}

/// A permit for one use of the store, given back when it is dropped.
pub struct StorePermit {
    /// `None` if the permit was not handed out.
    shared: Option<Arc<Shared>>,
    share: Share,
}

impl Share {
    /// The share of a party's own calls.
    pub const fn of(party: Party) -> Self {
        Self { party, lane: Lane::Own }
    }

    /// The share of unauthenticated callers from an address.
    pub fn of_origin(origin: Option<IpAddr>) -> Self {
        let lane = origin.map_or(Lane::Own, |address| Lane::Origin(peer_group(address)));
        Self { party: Party::Unauthenticated, lane }
    }

    /// The share of a client's session.
    pub const fn of_session(client_id: ClientId, session_id: SessionId) -> Self {
        Self { party: Party::Client(client_id), lane: Lane::Session(SessionKey::Session(session_id)) }
    }

    /// The same party's share for the revocation of a session.
    pub const fn revoking(self, session_id: SessionId) -> Self {
        Self { party: self.party, lane: Lane::Revocation(session_id) }
    }

    /// The same party's share for the revocation of all sessions of an account.
    pub const fn revoking_all(self, account_id: AccountId) -> Self {
        Self { party: self.party, lane: Lane::AccountRevocation(account_id) }
    }

    /// The same party's share for calls beyond the limit of an address.
    pub const fn beyond_limit(self) -> Self {
        Self { party: self.party, lane: Lane::BeyondLimit }
    }
}

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
    let whose = match share {
        Share { lane: Lane::Session(_) | Lane::Revocation(_) | Lane::AccountRevocation(_), .. } => "session",
        Share { party: Party::Unauthenticated, .. } => "unauthenticated",
        Share { .. } => "client",
    };
    metrics::counter!("countersign_store_permits_rejected_total", "of" => whose).increment(1);
    Error::Overloaded(match whose {
        "session" => "calls of this session or account waiting for the store",
        "unauthenticated" => "unauthenticated calls waiting for the store",
        _ => "calls of this client waiting for the store",
    })
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Permits that a lane may use at once.
    fn lane_limit(&self, lane: Lane) -> usize {
        if lane.is_narrow() { (self.permits / 4).max(1) } else { self.permits }
    }
}

impl Drop for StorePermit {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.queue().give_back(&shared, self.share);
        }
    }
}

type Waiter = oneshot::Sender<StorePermit>;

/// A call that waits; it leaves the queue when this is dropped.
struct Waiting {
    shared: Arc<Shared>,
    share: Share,
    number: u64,
    permit: oneshot::Receiver<StorePermit>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.queue().leave(self.share, self.number);
    }
}

/// Outcome of a request for a permit.
enum Entered {
    Granted,
    Waits(Waiting),
    Rejected,
    Outage,
}

/// Permits in use, and the calls that wait.
#[derive(Default)]
struct Queue {
    /// Permits that are handed out: all, unless the store is or was down.
    open: usize,
    outage: Outage,
    used: usize,
    /// Calls that have begun to wait so far.
    arrived: u64,
    /// Calls that wait, without revocations.
    waiters: usize,
    /// Revocations that wait.
    revocations: usize,
    lanes: HashMap<Share, LaneQueue>,
    parties: HashMap<Party, PartyQueue>,
    /// Parties with a lane whose turn may come, in the order of their turns.
    turns: VecDeque<Party>,
}

#[derive(Default)]
struct LaneQueue {
    used: usize,
    /// By order of arrival.
    waiters: BTreeMap<u64, Waiter>,
    has_turn: bool,
}

#[derive(Default)]
struct PartyQueue {
    waiters: usize,
    /// Lanes with waiters and below their limit, in the order of their turns.
    turns: VecDeque<Lane>,
}

impl Queue {
    fn new(open: usize) -> Self {
        Self { open, ..Self::default() }
    }

    fn enter(&mut self, shared: &Arc<Shared>, share: Share) -> Entered {
        if !self.is_open() {
            return Entered::Outage;
        }
        let lane = self.lanes.entry(share).or_default();
        if self.turns.is_empty() && self.used < self.open && lane.used < shared.lane_limit(share.lane) {
            lane.used += 1;
            self.used += 1;
            return Entered::Granted;
        }
        let party = self.parties.entry(share.party).or_default();
        let party_has_room = party.waiters < shared.waiters.saturating_sub(self.waiters);
        let lane_has_room = lane.waiters.len() < NARROW_WAITERS;
        let has_room = match share.lane {
            Lane::Own => party_has_room,
            Lane::Origin(_) => {
                party_has_room && lane.waiters.len() < (shared.waiters / 2).saturating_sub(party.waiters)
            }
            Lane::Session(_) | Lane::BeyondLimit => party_has_room && lane_has_room,
            Lane::Revocation(_) | Lane::AccountRevocation(_) => {
                lane.waiters.len() < REVOCATION_WAITERS && self.revocations < shared.waiters / 4
            }
        };
        if !has_room {
            self.forget_empty(share);
            return Entered::Rejected;
        }
        let (waiter, permit) = oneshot::channel();
        let number = self.arrived;
        lane.waiters.insert(number, waiter);
        self.arrived += 1;
        self.change_waiters(share, |waiters| waiters + 1);
        self.give_turn(shared, share);
        Entered::Waits(Waiting { shared: Arc::clone(shared), share, number, permit })
    }

    /// Removes a call that no longer waits, unless it was granted a permit.
    fn leave(&mut self, share: Share, number: u64) {
        let waiter = self.lanes.get_mut(&share).and_then(|lane| lane.waiters.remove(&number));
        if waiter.is_some() {
            self.change_waiters(share, |waiters| waiters - 1);
            self.forget_empty(share);
        }
    }

    fn change_waiters(&mut self, share: Share, change: impl Fn(usize) -> usize) {
        if share.lane.revokes() {
            self.revocations = change(self.revocations);
        } else {
            self.waiters = change(self.waiters);
            let party = self.parties.entry(share.party).or_default();
            party.waiters = change(party.waiters);
        }
    }

    /// Puts a lane in line if it has a waiter and may use a permit.
    fn give_turn(&mut self, shared: &Shared, share: Share) {
        let Some(lane) = self.lanes.get_mut(&share) else { return };
        if lane.has_turn || lane.waiters.is_empty() || lane.used >= shared.lane_limit(share.lane) {
            return;
        }
        lane.has_turn = true;
        let party = self.parties.entry(share.party).or_default();
        if party.turns.is_empty() {
            self.turns.push_back(share.party);
        }
        party.turns.push_back(share.lane);
    }

    fn give_back(&mut self, shared: &Arc<Shared>, share: Share) {
        self.used -= 1;
        if let Some(lane) = self.lanes.get_mut(&share) {
            lane.used -= 1;
        }
        self.give_turn(shared, share);
        self.forget_empty(share);
        self.grant_free(shared);
    }

    /// Grants the permits that are free to calls that wait.
    fn grant_free(&mut self, shared: &Arc<Shared>) {
        while self.used < self.open && self.grant_next(shared) {}
    }

    /// Grants a permit to the call whose turn it is; `false` if none waits that may have it.
    fn grant_next(&mut self, shared: &Arc<Shared>) -> bool {
        let Some(party) = self.turns.pop_front() else { return false };
        let Some(queue) = self.parties.get_mut(&party) else { return true };
        let Some(lane) = queue.turns.pop_front() else { return true };
        if !queue.turns.is_empty() {
            self.turns.push_back(party);
        }
        let share = Share { party, lane };
        if let Some(lane) = self.lanes.get_mut(&share) {
            lane.has_turn = false;
            if let Some((_, waiter)) = lane.waiters.pop_first() {
                match waiter.send(StorePermit { shared: Some(Arc::clone(shared)), share }) {
                    Ok(()) => {
                        lane.used += 1;
                        self.used += 1;
                    }
                    // Dropped with `shared`, it would lock the queue again.
                    Err(mut permit) => permit.shared = None,
                }
                self.change_waiters(share, |waiters| waiters - 1);
            }
        }
        self.give_turn(shared, share);
        self.forget_empty(share);
        true
    }

    /// Forgets a lane and a party without calls. One in line stays until its turn comes.
    fn forget_empty(&mut self, share: Share) {
        let is_empty = |lane: &LaneQueue| lane.used == 0 && lane.waiters.is_empty() && !lane.has_turn;
        if self.lanes.get(&share).is_some_and(is_empty) {
            self.lanes.remove(&share);
        }
        let is_empty = |party: &PartyQueue| party.waiters == 0 && party.turns.is_empty();
        if self.parties.get(&share.party).is_some_and(is_empty) {
            self.parties.remove(&share.party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn revocations_of_many_sessions_leave_room_for_other_calls() {
        let (shares, order) = (Arc::new(StoreShares::new(1, WAITERS)), Arc::default());
        let held = shares.permit(Share::of(client())).await.unwrap();
        for _ in 0..WAITERS {
            let revoking = Share::of(Party::Sessions).revoking(SessionId::generate());
            flood(&shares, revoking, 2 * REVOCATION_WAITERS, &order).await;
        }
        assert_eq!(shares.0.queue().revocations, WAITERS / 4);
        wait(&shares, Share::of(client()), "other", &order).await;
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
            assert!(given_up.is_err(), "it waits, whoever has given up before");
        }
        drop(held);
        drop(shares.permit(session(busy)).await.unwrap());
        let queue = shares.0.queue();
        assert_eq!((queue.used, queue.waiters, queue.lanes.len(), queue.parties.len()), (0, 0, 0, 0));
    }
}
