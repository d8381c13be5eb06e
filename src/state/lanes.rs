//! Lanes with one statement at a time, whose answer equal calls share: rotations of a session's refresh token, and
//! look-ups for an address beyond its limit.
//!
//! Rotations of one session contend for one row lock, so a flood of refreshes with one token would hold a connection
//! each. They wait here instead, before the store, and all that arrive before a statement is sent share its result.
//! Waiting calls are bounded in number and time, because each counts against `max-calls`.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Error, Result};
use crate::{
    domain::{Address, ChallengePurpose, ClientId, SessionId},
    store::{ChallengeScope, ReusableChallenge, RotateOutcome},
};

/// Identity of a rotation within its session: the bytes of the token, as their SHA-256, and the client that
/// authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RotationKey {
    /// SHA-256 of the token.
    pub token: [u8; 32],
    /// The client, if one authenticated.
    pub client_id: Option<ClientId>,
}

/// Time that a rotation waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Error of a refresh beyond one of these limits.
const REFRESHES: &str = "concurrent refreshes of this session";
/// Error of a look-up beyond one of these limits.
const LOOK_UPS: &str = "concurrent look-ups beyond the limit of this address";

type Answer<T> = Option<Result<T>>;

/// Lanes of the sessions that are being refreshed.
pub type RotationLanes = Lanes<SessionId, RotationKey, RotateOutcome>;
/// Lanes of the addresses beyond their limit, whose challenges are read to be returned again.
pub type ReusableLanes = Lanes<(ChallengeScope, ChallengePurpose, Address), (), Arc<Vec<ReusableChallenge>>>;

/// Lanes with one statement at a time.
pub struct Lanes<L: Clone + Eq + Hash, K, T> {
    /// Calls of one lane; further ones are rejected at once.
    max_calls: usize,
    max_wait: Duration,
    overloaded: &'static str,
    lanes: Mutex<HashMap<L, CountedLane<K, T>>>,
}

/// A lane, and the number of calls in it.
type CountedLane<K, T> = (usize, Arc<Lane<K, T>>);

/// The statements of one lane.
struct Lane<K, T> {
    turn: tokio::sync::Mutex<()>,
    /// Statements that have not been sent, and may be joined.
    unsent: Mutex<HashMap<K, watch::Receiver<Answer<T>>>>,
}

impl<K, T> Default for Lane<K, T> {
    fn default() -> Self {
        Self { turn: tokio::sync::Mutex::default(), unsent: Mutex::default() }
    }
}

impl RotationLanes {
    /// Lanes for `max_calls` calls of each session.
    pub fn new(max_calls: usize) -> Self {
        Self { max_calls, max_wait: MAX_WAIT, overloaded: REFRESHES, lanes: Mutex::default() }
    }
}

impl ReusableLanes {
    /// Lanes for `max_calls` calls of each address. All calls of a lane share one answer, so that none stays full.
    pub fn new(max_calls: usize) -> Self {
        Self { max_calls, max_wait: MAX_WAIT, overloaded: LOOK_UPS, lanes: Mutex::default() }
    }
}

impl<L: Clone + Eq + Hash, K: Copy + Eq + Hash, T: Clone> Lanes<L, K, T> {
    /// The answer of `statement`, or of an equal one that had not been sent when this call arrived.
    ///
    /// # Errors
    /// That of the statement; [`Error::Overloaded`] if too many calls of the lane wait, or wait for too long.
    pub async fn answer<F>(&self, lane: L, key: K, statement: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let used = self.enter(lane)?;
        loop {
            match used.lane.join_or_lead(key) {
                Place::Joined(mut answer) => {
                    // No answer: the leading call was cancelled, so another call must run the statement.
                    let answer =
                        answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
                    if let Some(answer) = answer {
                        return answer;
                    }
                }
                Place::Leads(mut lead) => {
                    let turn = tokio::time::timeout(self.max_wait, used.lane.turn.lock()).await;
                    lead.is_sent();
                    let outcome = match turn {
                        Ok(_turn) => statement().await,
                        Err(_) => Err(Error::Overloaded(self.overloaded)),
                    };
                    lead.answer.send_replace(Some(outcome.clone()));
                    return outcome;
                }
            }
        }
    }

    fn enter(&self, key: L) -> Result<LaneUse<'_, L, K, T>> {
        let mut lanes = lock(&self.lanes);
        let (calls, lane) = lanes.entry(key.clone()).or_default();
        if *calls >= self.max_calls {
            return Err(Error::Overloaded(self.overloaded));
        }
        *calls += 1;
        let lane = Arc::clone(lane);
        Ok(LaneUse { lanes: self, key, lane })
    }
}

/// A call in a lane; the last one to leave removes it.
struct LaneUse<'a, L: Clone + Eq + Hash, K, T> {
    lanes: &'a Lanes<L, K, T>,
    key: L,
    lane: Arc<Lane<K, T>>,
}

impl<L: Clone + Eq + Hash, K, T> Drop for LaneUse<'_, L, K, T> {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes.lanes);
        if let Some((calls, _)) = lanes.get_mut(&self.key) {
            *calls -= 1;
            if *calls == 0 {
                lanes.remove(&self.key);
            }
        }
    }
}

/// Place of a call in a lane.
enum Place<'a, K: Eq + Hash, T> {
    Joined(watch::Receiver<Answer<T>>),
    Leads(Lead<'a, K, T>),
}

/// A statement that others may join until it is sent.
struct Lead<'a, K: Eq + Hash, T> {
    lane: &'a Lane<K, T>,
    /// `None` once it is sent.
    key: Option<K>,
    answer: watch::Sender<Answer<T>>,
}

impl<K: Eq + Hash, T> Lead<'_, K, T> {
    fn is_sent(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.lane.unsent).remove(&key);
        }
    }
}

impl<K: Eq + Hash, T> Drop for Lead<'_, K, T> {
    fn drop(&mut self) {
        self.is_sent();
    }
}

impl<K: Copy + Eq + Hash, T> Lane<K, T> {
    fn join_or_lead(&self, key: K) -> Place<'_, K, T> {
        let mut unsent = lock(&self.unsent);
        if let Some(answer) = unsent.get(&key) {
            return Place::Joined(answer.clone());
        }
        let (answer, receiver) = watch::channel(None);
        unsent.insert(key, receiver);
        Place::Leads(Lead { lane: self, key: Some(key), answer })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const ONE: RotationKey = RotationKey { token: [1; 32], client_id: None };
    const OTHER: RotationKey = RotationKey { token: [2; 32], client_id: None };

    /// Lanes over a store whose statements are counted, and answered when they are let.
    struct Trial {
        lanes: RotationLanes,
        sent: AtomicUsize,
    }

    impl Trial {
        fn new(max_wait: Duration) -> Arc<Self> {
            let lanes = RotationLanes { max_wait, ..RotationLanes::new(64) };
            Arc::new(Self { lanes, sent: AtomicUsize::new(0) })
        }
    }

    async fn rotate(
        trial: Arc<Trial>,
        answers: Arc<Semaphore>,
        session: SessionId,
        key: RotationKey,
    ) -> bool {
        let statement = || async {
            trial.sent.fetch_add(1, Ordering::SeqCst);
            answers.acquire().await.unwrap().forget();
            Ok(RotateOutcome::Unknown)
        };
        trial.lanes.answer(session, key, statement).await.is_ok()
    }

    #[tokio::test]
    async fn equal_rotations_share_an_answer_and_only_if_they_came_before_it_was_sent() {
        let (trial, answers, session) =
            (Trial::new(MAX_WAIT), Arc::new(Semaphore::new(0)), SessionId::generate());
        let call = |key| tokio::spawn(rotate(Arc::clone(&trial), Arc::clone(&answers), session, key));
        let mut calls = vec![call(ONE)];
        tokio::task::yield_now().await;
        // The first is sent. Those that come now may not have its answer, but share that of the next.
        calls.extend((0..50).map(|_| call(ONE)));
        calls.push(call(OTHER));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(trial.sent.load(Ordering::SeqCst), 1, "one statement of a session at a time");
        answers.add_permits(3);
        for call in calls {
            assert!(call.await.unwrap());
        }
        assert_eq!(trial.sent.load(Ordering::SeqCst), 3);
        assert!(lock(&trial.lanes.lanes).is_empty());
    }

    #[tokio::test]
    async fn a_rotation_whose_call_is_cancelled_is_made_by_one_that_had_joined_it() {
        let (trial, answers, session) =
            (Trial::new(MAX_WAIT), Arc::new(Semaphore::new(0)), SessionId::generate());
        let call = |key| tokio::spawn(rotate(Arc::clone(&trial), Arc::clone(&answers), session, key));
        let holder = call(OTHER);
        tokio::task::yield_now().await;
        let (leader, joined) = (call(ONE), call(ONE));
        tokio::task::yield_now().await;
        leader.abort();
        answers.add_permits(2);
        assert!(holder.await.unwrap() && joined.await.unwrap());
        assert_eq!(trial.sent.load(Ordering::SeqCst), 2);
        assert!(lock(&trial.lanes.lanes).is_empty());
    }

    #[tokio::test]
    async fn refreshes_beyond_the_limit_are_rejected_at_once() {
        let (trial, answers, session) =
            (Trial::new(MAX_WAIT), Arc::new(Semaphore::new(0)), SessionId::generate());
        let call = || tokio::spawn(rotate(Arc::clone(&trial), Arc::clone(&answers), session, ONE));
        let calls: Vec<_> = (0..64).map(|_| call()).collect();
        tokio::task::yield_now().await;
        assert!(!call().await.unwrap());
        answers.add_permits(2);
        for call in calls {
            assert!(call.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_rotation_that_waits_too_long_is_rejected_with_all_that_joined_it() {
        let trial = Trial::new(Duration::from_millis(50));
        let (answers, session) = (Arc::new(Semaphore::new(0)), SessionId::generate());
        let call = |key| tokio::spawn(rotate(Arc::clone(&trial), Arc::clone(&answers), session, key));
        let holder = call(OTHER);
        tokio::task::yield_now().await;
        let (leader, joined) = (call(ONE), call(ONE));
        assert!(!leader.await.unwrap() && !joined.await.unwrap());
        assert_eq!(trial.sent.load(Ordering::SeqCst), 1, "nothing was sent for them");
        answers.add_permits(1);
        assert!(holder.await.unwrap());
    }

    #[tokio::test]
    async fn sessions_do_not_wait_for_each_other() {
        let (trial, answers) = (Trial::new(MAX_WAIT), Arc::new(Semaphore::new(0)));
        let call =
            || tokio::spawn(rotate(Arc::clone(&trial), Arc::clone(&answers), SessionId::generate(), ONE));
        let calls = [call(), call()];
        while trial.sent.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        answers.add_permits(2);
        for call in calls {
            assert!(call.await.unwrap());
        }
    }
}
