//! The peer of a call: the connection that carries it, and the address that it came from.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;

/// A connection's share of Health/Watch streams, once those of all connections reach their limit: a channel opens one, a
/// proxy that carries many channels opens many.
pub const HEALTH_WATCHES_PER_CONNECTION: u32 = 8;

/// Bytes of a request after which its call begins; a smaller request must arrive whole.
pub const BEGINNING_OF_REQUEST: usize = 4 * 1024;

/// Connection and address of a call's peer; in the extensions of its request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address at the other end of the connection.
    pub address: IpAddr,
    /// Use of the connection so far.
    pub connection: Arc<ConnectionUsage>,
}

/// Use of a connection so far, which ranks the connections that may make room.
#[derive(Debug)]
pub struct ConnectionUsage {
    opened: Instant,
    running: AtomicU32,
    /// True if few connections were open when this one was opened.
    is_among_few: bool,
    has_called: AtomicBool,
    is_trusted: AtomicBool,
    health_watches: AtomicU32,
    /// Milliseconds from `opened` to the end of the last call.
    last_end: AtomicU64,
}

/// Connections that may be closed to make room for a new one, the least useful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispensable {
    /// It has never made a call.
    NeverCalled,
    /// It runs no call, and has made none with valid credentials.
    NeverTrusted,
    /// The same, with open Health/Watch streams.
    OnlyWatchesHealth,
    /// It runs no call but Health/Watch, and has made one with valid credentials.
    Trusted,
}

impl Default for ConnectionUsage {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            running: AtomicU32::default(),
            is_among_few: false,
            has_called: AtomicBool::default(),
            is_trusted: AtomicBool::default(),
            health_watches: AtomicU32::default(),
            last_end: AtomicU64::default(),
        }
    }
}

impl ConnectionUsage {
    /// A new connection; `is_among_few` if few are open.
    pub fn new(is_among_few: bool) -> Self {
        Self { is_among_few, ..Self::default() }
    }

    /// Notes that a call has begun.
    pub fn call_begins(&self) {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.has_called.store(true, Ordering::Release);
    }

    /// Notes that a call has ended: its response was delivered, or it was cut.
    pub fn call_ends(&self) {
        let open = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_end.store(open, Ordering::Release);
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes a call with valid credentials, or a Check that lets its caller pass.
    pub fn earns_trust(&self) {
        self.is_trusted.store(true, Ordering::Release);
    }

    /// True if small responses may stay unread until the connection's idle timeout, at a cost of a few kilobytes each: the
    /// connection has made a call with valid credentials, and was opened while few were.
    pub fn may_leave_unread(&self) -> bool {
        self.is_among_few && self.is_trusted.load(Ordering::Acquire)
    }

    /// Counts a Health/Watch stream for as long as the value lives.
    pub fn begin_health_watch(self: &Arc<Self>) -> HealthWatch {
        self.health_watches.fetch_add(1, Ordering::AcqRel);
        HealthWatch(Arc::clone(self))
    }

    /// Time since the last call ended, or since the connection was opened; `None` while a call runs.
    pub fn idle_for(&self) -> Option<Duration> {
        let last_end = Duration::from_millis(self.last_end.load(Ordering::Acquire));
        let is_idle = self.running.load(Ordering::Acquire) == 0;
        is_idle.then(|| self.opened.elapsed().saturating_sub(last_end))
    }

    /// Rank of the connection among those that may be closed to make room; `None` while it runs a call.
    pub fn dispensable(&self) -> Option<Dispensable> {
        let (running, watches) =
            (self.running.load(Ordering::Acquire), self.health_watches.load(Ordering::Acquire));
        if running > watches {
            None
        } else if self.is_trusted.load(Ordering::Acquire) {
            Some(Dispensable::Trusted)
        } else if running > 0 {
            Some(Dispensable::OnlyWatchesHealth)
        } else if self.has_called.load(Ordering::Acquire) {
            Some(Dispensable::NeverTrusted)
        } else {
            Some(Dispensable::NeverCalled)
        }
    }
}

/// An open Health/Watch stream.
#[derive(Debug)]
pub struct HealthWatch(Arc<ConnectionUsage>);

impl HealthWatch {
    /// True if the connection has no more of them open than its share.
    pub fn is_within_share(&self) -> bool {
        self.0.health_watches.load(Ordering::Acquire) <= HEALTH_WATCHES_PER_CONNECTION
    }
}

impl Drop for HealthWatch {
    fn drop(&mut self) {
        self.0.health_watches.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Reasons for ending the wait for a peer that does not send, or does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// The peer neither sent nor read anything before the timeout.
    #[error("the peer timed out")]
    TooLong,
    /// The call was the oldest of too many that wait for their peers.
    #[error("ended to make room: too many calls wait for their peers")]
    TooMany,
}

/// Addresses of proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses CIDRs and addresses with commas between.
    ///
    /// # Errors
    /// All entries that are neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let (networks, malformed): (Vec<_>, Vec<_>) =
            entries.map(|entry| network(entry).ok_or(entry)).partition(Result::is_ok);
        if malformed.is_empty() {
            return Ok(Self(networks.into_iter().filter_map(Result::ok).collect()));
        }
        let entries: Vec<_> = malformed.into_iter().filter_map(Result::err).collect();
        Err(format!(
            "must be comma-separated CIDRs such as 10.0.0.0/8 or fd00::/8; malformed: `{}`",
            entries.join("`, `")
        ))
    }

    /// True if an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address that a call came from: that of the connection, or where that is a trusted proxy's, the last
    /// untrusted address of `X-Forwarded-For`, read from the right over all its lines. An entry that is no address
    /// ends the search at the last address before it.
    pub fn origin<'a>(
        &self,
        connection: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut origin = connection.to_canonical();
        let mut hops = forwarded.rev().flat_map(|line| line.rsplit(','));
        while self.contains(origin) {
            match hops.next().and_then(address) {
                Some(hop) => origin = hop,
                None => break,
            }
        }
        origin
    }
}

/// Addresses that count as one peer: an IPv6 network of 64 bits is one subscriber's.
pub fn peer_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn network(entry: &str) -> Option<IpNet> {
    entry.parse().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
}

/// One entry of `X-Forwarded-For`: an address, which some proxies write with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']'));
    let address = bare.unwrap_or(entry).parse().ok();
    address
        .or_else(|| entry.parse().ok().map(|address: std::net::SocketAddr| address.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(proxies: &str, connection: &str, lines: &[&str]) -> String {
        let proxies = TrustedProxies::parse(proxies).unwrap();
        proxies.origin(connection.parse().unwrap(), lines.iter().copied()).to_string()
    }

    #[test]
    fn the_header_counts_only_from_a_trusted_proxy() {
        assert_eq!(origin("", "10.0.0.1", &["203.0.113.9"]), "10.0.0.1");
        assert_eq!(origin("10.0.0.0/8", "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(origin("10.0.0.0/8", "10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(origin("10.0.0.0/8", "::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(origin("10.0.0.1", "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn it_is_read_from_the_right_up_to_the_first_untrusted_address() {
        let proxies = "10.0.0.0/8, fd00::/8";
        assert_eq!(origin(proxies, "10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.2.2.2"]), "203.0.113.9");
        // A caller's own line comes before that of the proxy.
        assert_eq!(origin(proxies, "10.0.0.1", &["1.1.1.1", "203.0.113.9 , fd00::7"]), "203.0.113.9");
        assert_eq!(origin(proxies, "10.0.0.1", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3");
        assert_eq!(origin(proxies, "10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(origin(proxies, "10.0.0.1", &["[2001:db8::1]:4711, [fd00::1]"]), "2001:db8::1");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_search() {
        for entry in ["unknown", "", "203.0.113.999", "_hidden", "\u{ff11}.1.1.1"] {
            let line = format!("203.0.113.9, {entry}, 10.2.2.2");
            assert_eq!(origin("10.0.0.0/8", "10.0.0.1", &[&line]), "10.2.2.2", "{entry}");
        }
    }

    #[test]
    fn all_malformed_entries_are_named() {
        let wrong = TrustedProxies::parse("10.0.0.0/8,10.0.0.0/33,proxy").unwrap_err();
        assert!(wrong.contains("`10.0.0.0/33`, `proxy`") && !wrong.contains("not `10.0.0.0/8`"), "{wrong}");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_peer() {
        let group = |text: &str| peer_group(text.parse().unwrap()).to_string();
        assert_eq!(group("2001:db8:1:2:3::9"), "2001:db8:1:2::");
        assert_eq!((group("192.0.2.1"), group("::ffff:192.0.2.1")), ("192.0.2.1".into(), "192.0.2.1".into()));
    }

    #[test]
    fn a_connection_is_dispensable_unless_it_is_busy() {
        let usage = Arc::new(ConnectionUsage::default());
        assert_eq!(usage.dispensable(), Some(Dispensable::NeverCalled));
        usage.call_begins();
        assert_eq!((usage.dispensable(), usage.idle_for()), (None, None));
        let watch = usage.begin_health_watch();
        assert_eq!(usage.dispensable(), Some(Dispensable::OnlyWatchesHealth));
        drop(watch);
        usage.call_ends();
        assert_eq!(usage.dispensable(), Some(Dispensable::NeverTrusted));
        assert!(usage.idle_for().is_some());
        usage.earns_trust();
        assert_eq!(usage.dispensable(), Some(Dispensable::Trusted));
        usage.call_begins();
        assert_eq!(usage.dispensable(), None);
    }

    #[test]
    fn a_connection_has_a_share_of_health_watches() {
        let usage = Arc::new(ConnectionUsage::default());
        let mut watches: Vec<_> =
            (0..HEALTH_WATCHES_PER_CONNECTION).map(|_| usage.begin_health_watch()).collect();
        assert!(watches.iter().all(HealthWatch::is_within_share));
        assert!(!usage.begin_health_watch().is_within_share());
        watches.pop();
        assert!(usage.begin_health_watch().is_within_share());
    }
}
