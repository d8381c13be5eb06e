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

/// Interval of the measurements, and of reading the signing keys: an outage of the store is noticed within it.
pub const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
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
        let asked = Instant::now();
        let answer = tokio::time::timeout(MAX_ROUND_TRIP, store.now()).await;
        let answer = answer.map_err(|_| StoreError::Unavailable("no answer within 1 s".to_owned()))??;
        let round_trip = asked.elapsed();
        let mut measured = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *measured = Some((asked + round_trip / 2, answer));
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
