//! Rate limit for log lines that callers can trigger, with a count of suppressed lines.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Interval at which the number of suppressed lines is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// A bucket of lines, and the number of lines that did not fit.
pub struct LogLines {
    per_second: u32,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    /// The moment at which the bucket is empty again (the generic cell rate algorithm).
    empty: Option<Instant>,
    suppressed: u64,
    reported: Option<Instant>,
}

impl LogLines {
    /// Allows `lines` per second, in bursts of up to one second's worth.
    pub const fn per_second(lines: u32) -> Self {
        let bucket = Bucket { empty: None, suppressed: 0, reported: None };
        Self { per_second: lines, bucket: Mutex::new(bucket) }
    }

    /// Takes a line: `false` if it is to be suppressed.
    pub fn take(&self) -> bool {
        self.bucket().take(Instant::now(), self.per_second)
    }

    /// The number of lines suppressed since the last report, if there are any and a report is due.
    pub fn report(&self) -> Option<u64> {
        self.bucket().report(Instant::now())
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn take(&mut self, now: Instant, per_second: u32) -> bool {
        let filled = self.empty.map_or(now, |empty| empty.max(now)) + Duration::from_secs(1) / per_second;
        let fits = filled <= now + Duration::from_secs(1);
        if fits {
            self.empty = Some(filled);
        } else {
            self.suppressed += 1;
        }
        fits
    }

    fn report(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.reported.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL);
        if self.suppressed == 0 || !is_due {
            return None;
        }
        self.reported = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_rate_are_suppressed_and_counted() {
        let (lines, now) = (LogLines::per_second(20), Instant::now());
        let mut bucket = lines.bucket();
        assert_eq!((0..1_000).filter(|_| bucket.take(now, 20)).count(), 20);
        assert_eq!(bucket.report(now), Some(980));
        assert_eq!(bucket.report(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..1_000).filter(|_| bucket.take(later, 20)).count(), 20);
        assert_eq!(bucket.report(later), None, "not due");
        assert_eq!(bucket.report(now + REPORT_INTERVAL), Some(980));
    }
}
