//! Jittered durations, so that events that started together do not recur together.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

/// A duration between `1 - part` and `1 + part` times the given one.
pub fn jittered(duration: Duration, part: f64) -> Duration {
    duration.mul_f64(1.0 - part + 2.0 * part * fraction())
}

/// Random fraction from 0 to 1. Not for secrets: the system seeds each thread once, and each call increments the seed.
pub fn fraction() -> f64 {
    let random = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jittered_durations_differ_within_their_range() {
        let durations: std::collections::BTreeSet<_> =
            (0..100).map(|_| jittered(Duration::from_secs(10), 0.25)).collect();
        assert!(durations.len() > 90, "{durations:?}");
        assert!(durations.iter().all(|duration| (7_500..=12_500).contains(&duration.as_millis())));
    }
}
