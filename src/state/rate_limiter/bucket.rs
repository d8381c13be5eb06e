//! A bucket of the generic cell rate algorithm (ITU-T I.371): the moment at which it is empty again.

use std::time::{Duration, Instant};

/// The time for which a limit states a number of calls, all of which may come at once.
pub(super) const PERIOD: Duration = Duration::from_mins(1);

/// The calls counted so far at a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    empty_at: Instant,
    per_minute: u32,
}

impl Bucket {
    /// A bucket without any call.
    pub(super) const fn new(now: Instant) -> Self {
        Self { empty_at: now, per_minute: 0 }
    }

    /// Time at which the bucket is equal to a new one; at most one period ahead.
    pub(super) const fn empty_at(self) -> Instant {
        self.empty_at
    }

    /// The same calls at another limit; 0 is no limit, and counts none.
    pub(super) fn at_limit(self, now: Instant, per_minute: u32) -> Self {
        let fill = self.empty_at.saturating_duration_since(now);
        let fill = match (self.per_minute, per_minute) {
            (before, after) if before == after => fill,
            (0, _) | (_, 0) => Duration::ZERO,
            (before, after) => (fill * before / after).min(PERIOD),
        };
        Self { empty_at: now + fill, per_minute }
    }

    /// The bucket after one more call; the time until there is room for one, if it is full.
    pub(super) fn take(self, now: Instant, per_minute: u32) -> Result<Self, Duration> {
        let bucket = self.at_limit(now, per_minute);
        let Some(step) = PERIOD.checked_div(per_minute) else { return Ok(bucket) };
        let empty_at = bucket.empty_at + step;
        match empty_at.duration_since(now).checked_sub(PERIOD) {
            Some(over) if !over.is_zero() => Err(over),
            _ => Ok(Self { empty_at, ..bucket }),
        }
    }

    /// The bucket after a call that was served before it could be counted: full at most.
    pub(super) fn fill(self, now: Instant, per_minute: u32) -> Self {
        self.take(now, per_minute).unwrap_or_else(|_| Self { empty_at: now + PERIOD, per_minute })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: Bucket, now: Instant, per_minute: u32, calls: u32) -> Bucket {
        (0..calls).fold(bucket, |bucket, _| bucket.take(now, per_minute).unwrap())
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_at_a_time() {
        let now = Instant::now();
        let full = taken(Bucket::new(now), now, 60, 60);
        assert_eq!(full.empty_at(), now + PERIOD);
        assert_eq!(full.take(now, 60), Err(Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(full, later, 60, 1).take(later, 60), Err(Duration::from_secs(1)));
        let empty = now + PERIOD;
        assert_eq!(taken(full, empty, 60, 60).take(empty, 60), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_changed_limit_keeps_the_calls_counted_so_far() {
        let now = Instant::now();
        let one = taken(Bucket::new(now), now, 600, 1);
        assert_eq!(one.take(now, 1), Err(PERIOD));
        let half = taken(Bucket::new(now), now, 60, 30);
        assert_eq!(taken(half, now, 120, 90).take(now, 120), Err(Duration::from_millis(500)));
        assert_eq!(half.at_limit(now, 10).empty_at(), now + PERIOD);
        assert_eq!(half.at_limit(now, 0).empty_at(), now);
        assert_eq!(taken(half, now, 0, 1_000).at_limit(now, 60), Bucket::new(now).at_limit(now, 60));
    }

    #[test]
    fn a_call_that_was_served_first_fills_a_bucket_and_no_more() {
        let now = Instant::now();
        let filled = (0..100).fold(Bucket::new(now), |bucket, _| bucket.fill(now, 2));
        assert_eq!(filled.empty_at(), now + PERIOD);
        assert_eq!(filled.take(now, 2), Err(Duration::from_secs(30)));
    }
}
