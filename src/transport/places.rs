//! Places for calls that wait for their peer: where all are taken, a new call gets that of the oldest.
//!
//! A call of a well-behaved peer waits for its request and its response for moments. Those that wait longest are the ones
//! whose peers do not send, or do not read.

use std::{
    collections::BTreeMap,
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
    /// By age: dropping an entry's sender ends the wait of its holder.
    holders: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// A place, if need be that of the oldest holder.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let (holder, lost) = oneshot::channel();
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.holders.insert(number, holder);
        if taken.holders.len() > self.max {
            taken.holders.pop_first();
        }
        Place { places: Arc::clone(self), number, lost }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Ready once a newer call has taken the place.
    pub(super) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.lost).poll(context).map(|_| ())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().holders.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn is_lost(place: &mut Place) -> bool {
        place.poll_lost(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_oldest_loses_its_place() {
        let places = Places::new(2);
        let (mut first, mut second) = (places.take(), places.take());
        assert!(!is_lost(&mut first) && !is_lost(&mut second));
        let mut third = places.take();
        poll_fn(|context| first.poll_lost(context)).await;
        assert!(!is_lost(&mut second) && !is_lost(&mut third));
    }

    #[test]
    fn a_place_that_was_given_back_costs_nobody_theirs() {
        let places = Places::new(1);
        drop(places.take());
        let mut second = places.take();
        assert!(!is_lost(&mut second));
        assert_eq!(places.taken().holders.len(), 1);
    }
}
