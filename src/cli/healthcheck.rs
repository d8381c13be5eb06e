//! `countersign healthcheck`: whether the service on this machine is ready, by its exit code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::Outcome;
use crate::{config::OperationsFlags, http};

#[derive(Args)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    flags: OperationsFlags,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Outcome {
        let address = reachable(self.flags.address()?);
        if address.port() == 0 {
            return Err("operations-listen: the system chose the port, and no other process knows it".into());
        }
        http::ready(address).await?;
        say!("{address} is ready");
        Ok(())
    }
}

/// Where to ask: what listens on every address listens on loopback, too.
const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
