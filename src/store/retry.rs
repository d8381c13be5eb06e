//! Retries of contended intents, with growing pauses.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::Instant;

use super::{Result, StoreError};
use crate::domain::jitter::fraction;

/// How often an intent is tried.
const MAX_ATTEMPTS: u32 = 12;

/// Runs an intent, again where [`StoreError::Contention`] says that others got in its way. Bounded in
/// number, with growing pauses that differ between instances, and in time: no attempt may take longer
/// than `bound`, and none begins after it.
pub(super) async fn retrying<T, F>(bound: Duration, intent: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    attempts(MAX_ATTEMPTS, bound, intent).await
}

/// The same, bounded in time alone: for what fails at once where it should wait.
pub(super) async fn retrying_for<T, F>(bound: Duration, intent: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    attempts(u32::MAX, bound, intent).await
}

async fn attempts<T, F>(max: u32, bound: Duration, mut intent: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    for attempt in 1..=max {
        let outcome = pin!(intent());
        let outcome = tokio::time::timeout(bound, outcome).await.unwrap_or_else(|_| Err(too_slow(bound)));
        match outcome {
            Err(error) if error.is_contention() && started.elapsed() < bound => {
                tokio::time::sleep(pause(attempt)).await;
            }
            other => return other,
        }
    }
    Err(StoreError::Contention)
}

fn too_slow(bound: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {} s", bound.as_secs()))
}

/// Up to 2, 4, 8, ... 64 ms.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(1 << attempt.min(6)).mul_f64(fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn contention_is_tried_again_but_not_for_ever() {
        let mut tries = 0;
        let outcome: Result<()> = retrying(Duration::from_secs(60), || {
            tries += 1;
            std::future::ready(Err(StoreError::Contention))
        })
        .await;
        assert!(matches!(outcome, Err(StoreError::Contention)));
        assert_eq!(tries, MAX_ATTEMPTS);
    }

    #[tokio::test]
    async fn what_only_time_bounds_is_tried_as_often_as_it_takes() {
        let mut tries = 0;
        let outcome = retrying_for(Duration::from_secs(60), || {
            tries += 1;
            std::future::ready(if tries > MAX_ATTEMPTS { Ok(()) } else { Err(StoreError::Contention) })
        })
        .await;
        assert!(outcome.is_ok());
    }

    #[tokio::test]
    async fn no_attempt_begins_after_the_bound() {
        let mut tries = 0;
        let mut contended = || {
            tries += 1;
            std::future::ready(Err(StoreError::Contention))
        };
        let outcomes: [Result<()>; 2] = [
            retrying(Duration::ZERO, &mut contended).await,
            retrying_for(Duration::ZERO, &mut contended).await,
        ];
        assert!(matches!(outcomes, [Err(StoreError::Contention), Err(StoreError::Contention)]));
        assert_eq!(tries, 2);
    }

    #[tokio::test]
    async fn an_attempt_ends_at_the_bound() {
        let outcome: Result<()> = retrying(Duration::from_millis(1), std::future::pending).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    }
}
