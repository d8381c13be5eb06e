//! Queue of the calls that wait for a permit, and the permits in use.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    outage::Outage,
    share::{Lane, Party, Share},
};

/// Calls of a narrow lane that wait; further ones are rejected at once.
pub(super) const NARROW_WAITERS: usize = 32;

pub(super) struct Shared {
    pub(super) permits: usize,
    /// Maximum number of waiting calls. A party may add one only while it has fewer than the number of free slots, so
    /// that another party always finds one. The same rule, over half of the slots, applies within a party to one address
    /// of unauthenticated callers. Revocations have further slots, a quarter of this number, under the same two rules;
    /// the second applies to each session or account.
    pub(super) waiters: usize,
    pub(super) max_wait: Duration,
    pub(super) queue: Mutex<Queue>,
}

/// A permit for one use of the store, given back when it is dropped.
pub struct StorePermit {
    /// `None` if the permit was not handed out.
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) share: Share,
}

impl Shared {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maximum number of revocations that wait.
    pub(super) const fn revocations(&self) -> usize {
        self.waiters / 4
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
pub(super) struct Waiting {
    pub(super) shared: Arc<Shared>,
    pub(super) share: Share,
    pub(super) number: u64,
    pub(super) permit: oneshot::Receiver<StorePermit>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.queue().leave(self.share, self.number);
    }
}

/// Outcome of a request for a permit.
pub(super) enum Entered {
    Granted,
    Waits(Waiting),
    Rejected,
    Outage,
}

/// True if one that holds `own` of the `used` slots may take another: fewer than are free, so that others find one.
const fn leaves_room(own: usize, used: usize, slots: usize) -> bool {
    own < slots.saturating_sub(used)
}

/// Permits in use, and the calls that wait.
#[derive(Default)]
pub(super) struct Queue {
    /// Permits that are handed out: all, unless the store is or was down.
    pub(super) open: usize,
    pub(super) outage: Outage,
    pub(super) used: usize,
    /// Calls that have begun to wait so far.
    pub(super) arrived: u64,
    /// Calls that wait, without revocations.
    pub(super) waiters: usize,
    /// Revocations that wait.
    pub(super) revocations: usize,
    pub(super) lanes: HashMap<Share, LaneQueue>,
    pub(super) parties: HashMap<Party, PartyQueue>,
    /// Parties with a lane whose turn may come, in the order of their turns.
    pub(super) turns: VecDeque<Party>,
}

#[derive(Default)]
pub(super) struct LaneQueue {
    pub(super) used: usize,
    /// By order of arrival.
    pub(super) waiters: BTreeMap<u64, Waiter>,
    pub(super) has_turn: bool,
}

#[derive(Default)]
pub(super) struct PartyQueue {
    pub(super) waiters: usize,
    pub(super) revocations: usize,
    /// Lanes with waiters and below their limit, in the order of their turns.
    pub(super) turns: VecDeque<Lane>,
}

impl Queue {
    pub(super) fn new(open: usize) -> Self {
        Self { open, ..Self::default() }
    }

    pub(super) fn enter(&mut self, shared: &Arc<Shared>, share: Share) -> Entered {
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
        let waits = lane.waiters.len();
        let has_room = match share.lane {
            Lane::Own => leaves_room(party.waiters, self.waiters, shared.waiters),
            Lane::Origin(_) => {
                leaves_room(party.waiters, self.waiters, shared.waiters)
                    && leaves_room(waits, party.waiters, shared.waiters / 2)
            }
            Lane::Session(_) | Lane::BeyondLimit => {
                leaves_room(party.waiters, self.waiters, shared.waiters) && waits < NARROW_WAITERS
            }
            Lane::Revocation(_) | Lane::AccountRevocation(_) => {
                leaves_room(party.revocations, self.revocations, shared.revocations())
                    && leaves_room(waits, party.revocations, shared.revocations() / 2)
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
        let party = self.parties.entry(share.party).or_default();
        let (all, of_party) = match share.lane.revokes() {
            true => (&mut self.revocations, &mut party.revocations),
            false => (&mut self.waiters, &mut party.waiters),
        };
        *all = change(*all);
        *of_party = change(*of_party);
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
    pub(super) fn grant_free(&mut self, shared: &Arc<Shared>) {
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
        let is_empty = |party: &PartyQueue| party.waiters + party.revocations == 0 && party.turns.is_empty();
        if self.parties.get(&share.party).is_some_and(is_empty) {
            self.parties.remove(&share.party);
        }
    }
}
