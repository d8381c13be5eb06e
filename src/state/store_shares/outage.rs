//! Permits in a known outage of the store, and after it: first none, then gradually all.

use std::time::{Duration, Instant};

use super::{StoreShares, queue::Queue};
use crate::state::{Error, error::Cause};

/// Time after which a probe without an answer makes an outage of the store the likely cause of a wait.
const SUSPICIOUS: Duration = Duration::from_millis(500);
/// Divisor for the number of permits granted first after an outage; the number doubles with each answered probe.
const FIRST_PART: usize = 8;

/// Knowledge of the store that the shares act on.
#[derive(Default)]
pub(super) struct Outage {
    /// Start of the probe that runs.
    pub(super) probe: Option<Instant>,
    /// Calls rejected since the outage began.
    pub(super) rejected: u64,
}

impl StoreShares {
    /// Notes that a probe begins, which [`Self::close`] or [`Self::open`] ends.
    pub fn probe_begins(&self) {
        self.0.queue().outage.probe = Some(Instant::now());
    }

    /// Notes that the store has answered the probe.
    pub fn probe_answered(&self) {
        self.0.queue().outage.probe = None;
    }

    /// Rejects waiting and new calls: the store is known to be down.
    pub fn close(&self) {
        let mut queue = self.0.queue();
        queue.outage.probe = None;
        queue.open = 0;
        queue.reject_waiters();
    }

    /// Grants permits after a successful probe. After an outage the number of permits doubles with each probe, so that
    /// the callers of all instances that retry at once do not overload a store that has just recovered. Returns the
    /// number of rejected calls if an outage ends.
    pub fn open(&self) -> Option<u64> {
        let mut queue = self.0.queue();
        queue.outage.probe = None;
        let ends = queue.open == 0;
        let next = if ends { self.0.permits / FIRST_PART } else { queue.open.saturating_mul(2) };
        queue.open = next.clamp(1, self.0.permits);
        queue.grant_free(&self.0);
        ends.then(|| std::mem::take(&mut queue.outage.rejected))
    }

    /// Rejects a call that needs the store without a permit.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] while the store is known to be down.
    pub fn ensure_open(&self) -> Result<(), Error> {
        match self.0.queue().is_open() {
            true => Ok(()),
            false => Err(known_outage()),
        }
    }
}

impl Queue {
    /// Returns true if permits are handed out at all; otherwise counts a rejected call.
    pub(super) fn is_open(&mut self) -> bool {
        self.outage.rejected += u64::from(self.open == 0);
        self.open > 0
    }

    /// Returns true if an outage of the store is likely.
    pub(super) fn is_suspicious(&self) -> bool {
        self.open == 0 || self.outage.probe.is_some_and(|began| began.elapsed() >= SUSPICIOUS)
    }

    fn reject_waiters(&mut self) {
        for lane in self.lanes.values_mut() {
            self.outage.rejected += std::mem::take(&mut lane.waiters).len() as u64;
            lane.has_turn = false;
        }
        self.lanes.retain(|_, lane| lane.used > 0);
        self.parties.clear();
        self.turns.clear();
        self.waiters = 0;
        self.revocations = 0;
    }
}

/// The error of a call in an outage that was logged when it began.
pub(super) const fn known_outage() -> Error {
    Error::StoreUnavailable(Cause::logged())
}

/// The error of a call that has waited while the probe has no answer either.
pub(super) fn likely_outage() -> Error {
    Error::StoreUnavailable(Cause(format!("the probe has had no answer for {SUSPICIOUS:?}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::ClientId,
        state::store_shares::{Party, Share, StorePermit},
    };

    fn share() -> Share {
        Share::of(Party::Client(ClientId::generate()))
    }

    /// The permits that are to be had at once.
    async fn all_permits(shares: &StoreShares) -> Vec<StorePermit> {
        let mut permits = Vec::new();
        while let Ok(permit) = tokio::time::timeout(Duration::ZERO, shares.permit(share())).await {
            permits.push(permit.unwrap());
        }
        permits
    }

    #[tokio::test]
    async fn an_outage_rejects_those_that_wait_and_those_that_come_at_once() {
        let shares = Arc::new(StoreShares::new(2, 256));
        let held = all_permits(&shares).await;
        let waiting = [(); 5].map(|()| {
            let shares = Arc::clone(&shares);
            tokio::spawn(async move { shares.permit(share()).await.map(drop) })
        });
        tokio::task::yield_now().await;
        shares.close();
        for call in waiting {
            assert!(matches!(call.await.unwrap(), Err(Error::StoreUnavailable(_))));
        }
        assert!(matches!(shares.permit(share()).await, Err(Error::StoreUnavailable(_))));
        assert!(shares.ensure_open().is_err());
        drop(held);
        assert!(shares.permit(share()).await.is_err(), "a permit that comes back opens nothing");
        assert_eq!(shares.open(), Some(8));
        assert_eq!(shares.open(), None);
        let queue = shares.0.queue();
        assert_eq!((queue.used, queue.waiters, queue.lanes.len(), queue.parties.len()), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn after_an_outage_the_permits_double_with_each_probe_and_waiters_get_them() {
        let shares = Arc::new(StoreShares::new(14, 256));
        assert_eq!(all_permits(&shares).await.len(), 14);
        shares.close();
        for expected in [1, 2, 4, 8, 14, 14] {
            shares.open();
            assert_eq!(all_permits(&shares).await.len(), expected);
        }
        shares.close();
        shares.open();
        let held = all_permits(&shares).await;
        let waiting = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.permit(share()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        shares.open();
        waiting.await.unwrap().unwrap();
        drop(held);
    }

    #[tokio::test]
    async fn permits_that_were_held_through_an_outage_count_against_those_after_it() {
        let shares = StoreShares::new(8, 256);
        let mut held = all_permits(&shares).await;
        shares.close();
        shares.open();
        assert_eq!(all_permits(&shares).await.len(), 0);
        held.truncate(1);
        assert_eq!(all_permits(&shares).await.len(), 0);
        held.clear();
        assert_eq!(all_permits(&shares).await.len(), 1);
    }
}
