//! What connections must keep to.

use std::time::Duration;

use super::Reader;

/// What connections must keep to.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// How many a port holds at most.
    pub max: usize,
    /// How old one gets; `None` for no limit.
    pub max_age: Option<Duration>,
    /// How long a peer may keep silent where it has to speak.
    pub peer_timeout: Duration,
    /// How long an HTTP/2 connection is silent before its peer is asked whether it is still there.
    pub keepalive: Duration,
}

impl Reader {
    pub(super) fn connections(&mut self) -> ConnectionSettings {
        const LEAST: Duration = Duration::from_millis(100);
        let max_age = self.time("max-connection-age", Duration::ZERO);
        ConnectionSettings {
            max: self.parsed("max-connections", "must be a number from 1 to 1000000", |text| {
                text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
            }),
            max_age: (!max_age.is_zero()).then_some(max_age),
            peer_timeout: self.time("peer-timeout", LEAST),
            keepalive: self.time("keepalive-interval", LEAST),
        }
    }
}
