//! Session tokens without a MAC, which earlier versions make. They are looked up only while the store holds a session
//! with such a token, so that a forged token costs no query of its own.
//!
//! The store is checked every second, and again before a token is rejected: an instance of an earlier version may just
//! have made one. Waiting calls share one check, and checks have a pause between them, so that a flood of forged tokens
//! costs an instance at most 50 look-ups a second in an empty index. Without an answer in time, the call is rejected with
//! OVERLOADED: the token may be valid.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, watch};

use super::{Error, Result};
use crate::store::{Store, StoreError};

/// Interval at which the store is asked.
pub const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after an answer before the next question.
const PAUSE: Duration = Duration::from_millis(20);
/// Time for which a call waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// The last answer of the store.
#[derive(Clone)]
pub struct UnmarkedTokens(Arc<Questions>);

struct Questions {
    store: Arc<dyn Store>,
    answer: watch::Sender<Option<Answer>>,
    turn: Mutex<()>,
    is_queued: AtomicBool,
}

#[derive(Clone, Copy)]
struct Answer {
    asked: Instant,
    exist: bool,
}

impl UnmarkedTokens {
    /// A value without an answer yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (answer, _) = watch::channel(None);
        Self(Arc::new(Questions { store, answer, turn: Mutex::default(), is_queued: AtomicBool::default() }))
    }

    /// Asks the store.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn ask(&self) -> std::result::Result<(), StoreError> {
        let _turn = self.0.turn.lock().await;
        self.0.ask().await
    }

    /// False if the store holds no session with such a token.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the store does not answer in time.
    pub async fn may_exist(&self) -> Result<bool> {
        let now = Instant::now();
        if self.0.answer.borrow().is_some_and(|answer| answer.exist) {
            return Ok(true);
        }
        let mut answers = self.0.answer.subscribe();
        self.queue_question();
        let newer = answers.wait_for(|answer| answer.is_some_and(|answer| answer.asked >= now));
        match tokio::time::timeout(ANSWER_TIMEOUT, newer).await {
            Ok(Ok(answer)) => Ok(answer.is_some_and(|answer| answer.exist)),
            Ok(Err(_)) | Err(_) => Err(Error::Overloaded("look-ups of session tokens without a MAC")),
        }
    }

    /// Asks in a task of its own, which a cancelled call does not end, unless one is about to ask.
    fn queue_question(&self) {
        if !self.0.is_queued.swap(true, Ordering::SeqCst) {
            let questions = Arc::clone(&self.0);
            tokio::spawn(async move {
                let _turn = questions.turn.lock().await;
                questions.is_queued.store(false, Ordering::SeqCst);
                if let Err(error) = questions.ask().await {
                    tracing::debug!(%error, "failed to query the store for session tokens without a MAC");
                }
                tokio::time::sleep(PAUSE).await;
            });
        }
    }
}

impl Questions {
    async fn ask(&self) -> std::result::Result<(), StoreError> {
        let asked = Instant::now();
        let exist = self.store.has_unmarked_tokens().await?;
        self.answer.send_replace(Some(Answer { asked, exist }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    #[tokio::test]
    async fn without_an_answer_no_token_is_called_invalid() {
        let store = open("sqlite::memory:").await.unwrap();
        let tokens = UnmarkedTokens::new(Arc::clone(&store));
        tokens.ask().await.unwrap_err();
        assert!(matches!(tokens.may_exist().await, Err(Error::Overloaded(_))), "no schema yet");
        store.migrate().await.unwrap();
        assert!(!tokens.may_exist().await.unwrap());
        store.close().await;
        assert!(matches!(tokens.may_exist().await, Err(Error::Overloaded(_))), "an older answer is not used");
    }

    #[tokio::test]
    async fn waiting_calls_share_a_question_and_questions_have_a_pause_between_them() {
        let store = open("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let tokens = UnmarkedTokens::new(store);
        tokens.ask().await.unwrap();
        let turn = tokens.0.turn.lock().await;
        let call = |_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.may_exist().await })
        };
        let calls: Vec<_> = (0..50).map(call).collect();
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&tokens.0), 1 + 50 + 1, "more than one question is queued");
        drop(turn);
        for call in calls {
            assert!(!call.await.unwrap().unwrap());
        }
        let began = Instant::now();
        for _ in 0..5 {
            assert!(!tokens.may_exist().await.unwrap());
        }
        assert!(began.elapsed() >= 4 * PAUSE);
    }
}
