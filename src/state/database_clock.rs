//! The database's clock, as this instance last measured it.
//!
//! For times that are written into texts and for the expiry of tokens that are checked in memory. What
//! the store decides, it decides on its own clock.

use std::{
    sync::RwLock,
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use super::{Error, Result, error::Cause};
use crate::store::{Store, StoreError};

/// A measurement older than this is no longer trusted.
const MAX_AGE: Duration = Duration::from_mins(1);
/// A measurement that took longer than this says too little about when the clock was read.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);

/// How often the first measurement is tried: a store that has just been opened may be slow once.
const START_TRIES: u32 = 5;

/// The last measurement: what the database's clock said, and when on this machine's monotonic clock.
#[derive(Default)]
pub struct DatabaseClock(RwLock<Option<(Instant, OffsetDateTime)>>);

impl DatabaseClock {
    /// Measures for the first time.
    ///
    /// # Errors
    /// If the store never answers within a second.
    pub async fn start(&self, store: &dyn Store) -> std::result::Result<(), StoreError> {
        for _ in 1..START_TRIES {
            if self.measure(store).await.is_ok() {
                return Ok(());
            }
        }
        self.measure(store).await
    }

    /// Reads the database's clock; taken to have been read half-way through the call.
    ///
    /// # Errors
    /// If the store does not answer within a second.
    pub async fn measure(&self, store: &dyn Store) -> std::result::Result<(), StoreError> {
        self.measure_within(MAX_ROUND_TRIP, store).await
    }

    /// The same, with another time for the answer. One that took too long for a measurement is an answer all the same.
    ///
    /// # Errors
    /// If the store does not answer within that time.
    pub async fn measure_within(
        &self,
        bound: Duration,
        store: &dyn Store,
    ) -> std::result::Result<(), StoreError> {
        let asked = Instant::now();
        let answer = tokio::time::timeout(bound, store.now()).await;
        let answer = answer.map_err(|_| StoreError::Unavailable(format!("no answer within {bound:?}")))??;
        let round_trip = asked.elapsed();
        if round_trip <= MAX_ROUND_TRIP || bound <= MAX_ROUND_TRIP {
            let mut measured = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            *measured = Some((asked + round_trip / 2, answer));
        }
        Ok(())
    }

    /// The database's clock now.
    ///
    /// # Errors
    /// If it was last measured too long ago.
    pub fn now(&self) -> Result<OffsetDateTime> {
        self.now_within(MAX_AGE)
    }

    /// The same, if it was last measured within `max_age`: two clocks of one speed stay together for long.
    ///
    /// # Errors
    /// If it was last measured before that.
    pub fn now_within(&self, max_age: Duration) -> Result<OffsetDateTime> {
        let measured = *self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match measured {
            Some((at, time)) if at.elapsed() <= max_age => Ok(time + at.elapsed()),
            _ => Err(Error::StoreUnavailable(Cause("the database's clock is not known".to_owned()))),
        }
    }
}
