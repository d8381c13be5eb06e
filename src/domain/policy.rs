//! What a client may do, and how its sign-ins go.

use std::time::Duration;

use super::{
    ChallengeFormat, Network, NetworkRule, Role, SigningAlgorithm, TextTemplate, TypedDataDomain, Violation,
};

mod validation;

pub(super) use validation::is_line;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// A client's policy. Fields are as in `ClientPolicy` of the API, where each is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "proto/countersign/v1/client.proto documents each field")]
pub struct Policy {
    pub name: String,
    pub roles: Vec<Role>,
    pub introspect_audiences: Vec<String>,
    pub formats: Vec<ChallengeFormat>,
    pub networks: Vec<NetworkRule>,
    pub domains: Vec<String>,
    pub uris: Vec<String>,
    pub statements: Vec<String>,
    pub resources: Vec<String>,
    pub nonce_messages: Vec<String>,
    pub typed_data_domain: Option<TypedDataDomain>,
    pub contract_wallets: bool,
    pub text_template: TextTemplate,
    pub app: String,
    pub origin: String,
    pub audience: Vec<String>,
    pub scope: String,
    pub signing_alg: SigningAlgorithm,
    pub challenge_ttl: Duration,
    pub pending_session_ttl: Duration,
    pub access_token_ttl: Duration,
    pub refresh_token_ttl: Duration,
    pub session_max_ttl: Duration,
    pub refresh_grace: Duration,
    pub refresh_requires_client: bool,
    pub reauth_window: Duration,
    pub max_wallets: u32,
    pub rate_limit: RateLimit,
    pub disabled: bool,
}

/// The rule of a policy that forbids something, by its field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedBy(pub &'static str);

/// Calls per minute on each instance; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "proto/countersign/v1/client.proto documents each field")]
pub struct RateLimit {
    pub per_client: u32,
    pub per_session: u32,
    pub per_address: u32,
    pub per_client_refresh: u32,
}

impl RateLimit {
    /// No limit at all.
    pub const NONE: Self = Self { per_client: 0, per_session: 0, per_address: 0, per_client_refresh: 0 };
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_client: 6_000, per_session: 600, per_address: 60, per_client_refresh: 60_000 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: String::new(),
            roles: vec![Role::SignIn],
            introspect_audiences: Vec::new(),
            formats: vec![ChallengeFormat::Text],
            networks: Vec::new(),
            domains: Vec::new(),
            uris: Vec::new(),
            statements: Vec::new(),
            resources: Vec::new(),
            nonce_messages: Vec::new(),
            typed_data_domain: None,
            contract_wallets: false,
            text_template: TextTemplate::default(),
            app: String::new(),
            origin: String::new(),
            audience: Vec::new(),
            scope: String::new(),
            signing_alg: SigningAlgorithm::default(),
            challenge_ttl: 2 * MINUTE,
            pending_session_ttl: 10 * MINUTE,
            access_token_ttl: 30 * MINUTE,
            refresh_token_ttl: 14 * DAY,
            session_max_ttl: 90 * DAY,
            refresh_grace: 30 * SECOND,
            refresh_requires_client: false,
            reauth_window: 10 * MINUTE,
            max_wallets: 16,
            rate_limit: RateLimit::default(),
            disabled: false,
        }
    }
}

impl Policy {
    /// Whether the client has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Checks that wallets of a network may sign in; an empty list allows all.
    ///
    /// # Errors
    /// The rule `networks`.
    pub fn check_network(&self, network: &Network) -> Result<(), DeniedBy> {
        let is_allowed = self.networks.is_empty() || self.networks.iter().any(|rule| rule.allows(network));
        if is_allowed { Ok(()) } else { Err(DeniedBy("networks")) }
    }

    /// Checks that a challenge of this format and network may be signed now: the policy may have changed since the
    /// challenge was started.
    ///
    /// # Errors
    /// The rule `formats` or `networks`.
    pub fn check_challenge(&self, format: ChallengeFormat, network: &Network) -> Result<(), DeniedBy> {
        if !self.formats.contains(&format) {
            return Err(DeniedBy("formats"));
        }
        self.check_network(network)
    }

    /// Parses the network of a wallet. Where contract wallets may sign in, it must name one chain.
    ///
    /// # Errors
    /// A violation of `field`.
    pub fn parse_wallet_network(&self, field: &str, text: &str) -> Result<Network, Violation> {
        if self.contract_wallets { Network::parse_chain(field, text) } else { Network::parse(field, text) }
    }

    /// What `{app}` stands for.
    pub fn app_name(&self) -> &str {
        if self.app.is_empty() { &self.name } else { &self.app }
    }
}
