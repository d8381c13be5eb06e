//! Where a node of a chain is asked.

use url::{Host, Url};

use super::{Network, Secret};

/// A JSON-RPC endpoint of an EVM chain. Its URL often holds a key, so it is a secret.
#[derive(Clone, Debug)]
pub struct ChainEndpoint {
    /// The chain that it has to be of.
    pub network: Network,
    /// Where it is; `http` or `https`, with a host.
    pub url: Secret<Url>,
}

impl ChainEndpoint {
    /// Reads `eip155:1=https://host/path`.
    ///
    /// # Errors
    /// What is wrong with it, without the URL.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (network, url) =
            text.split_once('=').ok_or("must be CHAIN=URL, such as eip155:1=https://host")?;
        let network = Network::parse_chain("", network)
            .ok()
            .filter(|network| network.chain_id().is_some())
            .ok_or("must begin with a chain of eip155, such as eip155:1=")?;
        let url = Url::parse(url).map_err(|_| "must have an absolute URL after the =")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("must have an http or https URL");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must have a URL without user and password");
        }
        Ok(Self { network, url: Secret::new(url) })
    }

    /// Reads several, with commas or white space between.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong, and which one that is.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let read = |(at, entry)| Self::parse(entry).map_err(|why| format!("entry {} {why}", at + 1));
        entries.enumerate().map(read).collect()
    }

    /// Whether what is asked and answered leaves the machine as plain text.
    pub fn is_plaintext(&self) -> bool {
        let url = self.url.expose();
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        url.scheme() == "http" && !is_loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_commas_or_lines_between() {
        let text = "eip155:1=https://one.example/v2/key?a=b,ETHEREUM=http://two.example\n eip155:10=http://[::1]:8545";
        let read = ChainEndpoint::parse_list(text).unwrap();
        let networks: Vec<&str> = read.iter().map(|endpoint| endpoint.network.as_str()).collect();
        assert_eq!(networks, ["eip155:1", "eip155:1", "eip155:10"]);
        assert_eq!(read[0].url.expose().as_str(), "https://one.example/v2/key?a=b");
        assert!(!format!("{read:?}").contains("key"));
        let leave_the_machine: Vec<bool> = read.iter().map(ChainEndpoint::is_plaintext).collect();
        assert_eq!(leave_the_machine, [false, true, false]);
        assert!(ChainEndpoint::parse_list(" ").unwrap().is_empty());
        assert!(ChainEndpoint::parse_list("eip155:1=http://a, b").unwrap_err().starts_with("entry 2 must"));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_its_url() {
        for text in [
            "https://key.example",
            "EVM=https://key.example",
            "SOLANA=https://key.example",
            "eip155:01=https://key.example",
            "eip155:1=key.example",
            "eip155:1=ws://key.example",
            "eip155:1=file:///key",
            "eip155:1=https://user:key@host.example",
        ] {
            let why = ChainEndpoint::parse(text).unwrap_err();
            assert!(why.starts_with("must") && !why.contains("key"), "{text}: {why}");
        }
    }
}
