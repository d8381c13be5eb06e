//! A policy as both backends keep it: JSON, durations in milliseconds.
//!
//! Fields that an earlier version did not write have their default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::{
    ChallengeFormat, NetworkRule, Policy, RateLimit, Role, SigningAlgorithm, TextTemplate, TypedDataDomain,
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct PolicyJson {
    name: String,
    roles: Vec<String>,
    introspect_audiences: Vec<String>,
    formats: Vec<String>,
    networks: Vec<String>,
    domains: Vec<String>,
    uris: Vec<String>,
    statements: Vec<String>,
    resources: Vec<String>,
    nonce_messages: Vec<String>,
    typed_data_domain: Option<TypedDataDomainJson>,
    contract_wallets: bool,
    text_template: String,
    app: String,
    origin: String,
    audience: Vec<String>,
    scope: String,
    signing_alg: String,
    challenge_ttl_ms: u64,
    pending_session_ttl_ms: u64,
    access_token_ttl_ms: u64,
    refresh_token_ttl_ms: u64,
    session_max_ttl_ms: u64,
    refresh_grace_ms: u64,
    refresh_requires_client: bool,
    reauth_window_ms: u64,
    max_wallets: u32,
    rate_limit: RateLimitJson,
    disabled: bool,
}

#[derive(Serialize, Deserialize)]
struct TypedDataDomainJson {
    name: String,
    version: String,
    chain_id: u64,
    verifying_contract: String,
}

impl From<&TypedDataDomain> for TypedDataDomainJson {
    fn from(domain: &TypedDataDomain) -> Self {
        Self {
            name: domain.name().to_owned(),
            version: domain.version().to_owned(),
            chain_id: domain.chain_id(),
            verifying_contract: hex::encode(domain.verifying_contract()),
        }
    }
}

impl TryFrom<TypedDataDomainJson> for TypedDataDomain {
    type Error = StoreError;

    fn try_from(json: TypedDataDomainJson) -> Result<Self, StoreError> {
        Self::parse(&json.name, &json.version, json.chain_id, &json.verifying_contract)
            .map_err(|_| StoreError::unreadable("policy.typed_data_domain", &json.name))
    }
}

/// Default of `per_session` in versions that counted only calls that write, and wrote no `per_client_refresh`. Few calls
/// of a session write, so today's default stands for it.
const EARLIER_PER_SESSION: u32 = 60;

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
struct RateLimitJson {
    per_client: u32,
    per_session: u32,
    per_address: u32,
    /// `None` if an earlier version wrote the policy.
    #[serde(default)]
    per_client_refresh: Option<u32>,
}

impl Default for RateLimitJson {
    fn default() -> Self {
        RateLimit::default().into()
    }
}

impl From<RateLimit> for RateLimitJson {
    fn from(limit: RateLimit) -> Self {
        let RateLimit { per_client, per_session, per_address, per_client_refresh } = limit;
        Self { per_client, per_session, per_address, per_client_refresh: Some(per_client_refresh) }
    }
}

impl From<RateLimitJson> for RateLimit {
    fn from(json: RateLimitJson) -> Self {
        let RateLimitJson { per_client, per_session, per_address, per_client_refresh } = json;
        let default = Self::default();
        let per_session = match (per_client_refresh, per_session) {
            (None, EARLIER_PER_SESSION) => default.per_session,
            (_, per_session) => per_session,
        };
        let per_client_refresh = per_client_refresh.unwrap_or(default.per_client_refresh);
        Self { per_client, per_session, per_address, per_client_refresh }
    }
}

impl Default for PolicyJson {
    fn default() -> Self {
        Self::from(&Policy::default())
    }
}

impl From<&Policy> for PolicyJson {
    fn from(policy: &Policy) -> Self {
        Self {
            name: policy.name.clone(),
            roles: policy.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            introspect_audiences: policy.introspect_audiences.clone(),
            formats: policy.formats.iter().map(|format| format.as_str().to_owned()).collect(),
            networks: policy.networks.iter().map(|rule| rule.as_str().to_owned()).collect(),
            domains: policy.domains.clone(),
            uris: policy.uris.clone(),
            statements: policy.statements.clone(),
            resources: policy.resources.clone(),
            nonce_messages: policy.nonce_messages.clone(),
            typed_data_domain: policy.typed_data_domain.as_ref().map(Into::into),
            contract_wallets: policy.contract_wallets,
            text_template: policy.text_template.as_str().to_owned(),
            app: policy.app.clone(),
            origin: policy.origin.clone(),
            audience: policy.audience.clone(),
            scope: policy.scope.clone(),
            signing_alg: policy.signing_alg.as_str().to_owned(),
            challenge_ttl_ms: millis(policy.challenge_ttl),
            pending_session_ttl_ms: millis(policy.pending_session_ttl),
            access_token_ttl_ms: millis(policy.access_token_ttl),
            refresh_token_ttl_ms: millis(policy.refresh_token_ttl),
            session_max_ttl_ms: millis(policy.session_max_ttl),
            refresh_grace_ms: millis(policy.refresh_grace),
            refresh_requires_client: policy.refresh_requires_client,
            reauth_window_ms: millis(policy.reauth_window),
            max_wallets: policy.max_wallets,
            rate_limit: policy.rate_limit.into(),
            disabled: policy.disabled,
        }
    }
}

impl TryFrom<PolicyJson> for Policy {
    type Error = StoreError;

    fn try_from(json: PolicyJson) -> Result<Self, StoreError> {
        let broken = |error: crate::domain::Violation| StoreError::Broken(format!("policy: {error}"));
        Ok(Self {
            // What a later version lists is nothing that this one could let through.
            roles: json.roles.iter().filter_map(|text| Role::from_stored(text)).collect(),
            formats: json.formats.iter().filter_map(|text| ChallengeFormat::from_stored(text)).collect(),
            networks: json.networks.into_iter().map(NetworkRule::from_stored).collect(),
            domains: json.domains,
            uris: json.uris,
            statements: json.statements,
            resources: json.resources,
            nonce_messages: json.nonce_messages,
            typed_data_domain: json.typed_data_domain.map(TryInto::try_into).transpose()?,
            contract_wallets: json.contract_wallets,
            text_template: TextTemplate::parse(&json.text_template).map_err(broken)?,
            name: json.name,
            introspect_audiences: json.introspect_audiences,
            app: json.app,
            origin: json.origin,
            audience: json.audience,
            scope: json.scope,
            signing_alg: SigningAlgorithm::from_stored(&json.signing_alg).unwrap_or_default(),
            challenge_ttl: Duration::from_millis(json.challenge_ttl_ms),
            pending_session_ttl: Duration::from_millis(json.pending_session_ttl_ms),
            access_token_ttl: Duration::from_millis(json.access_token_ttl_ms),
            refresh_token_ttl: Duration::from_millis(json.refresh_token_ttl_ms),
            session_max_ttl: Duration::from_millis(json.session_max_ttl_ms),
            refresh_grace: Duration::from_millis(json.refresh_grace_ms),
            refresh_requires_client: json.refresh_requires_client,
            reauth_window: Duration::from_millis(json.reauth_window_ms),
            max_wallets: json.max_wallets,
            rate_limit: json.rate_limit.into(),
            disabled: json.disabled,
        })
    }
}

/// The JSON of a policy.
pub(super) fn write(policy: &Policy) -> Result<String, StoreError> {
    serde_json::to_string(&PolicyJson::from(policy)).map_err(|error| StoreError::Broken(error.to_string()))
}

/// The policy of a JSON.
pub(super) fn read(json: &str) -> Result<Policy, StoreError> {
    serde_json::from_str::<PolicyJson>(json)
        .map_err(|error| StoreError::Broken(format!("policy: {error}")))?
        .try_into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_back_and_missing_fields_have_their_default() {
        let policy = Policy {
            name: "Shop".to_owned(),
            networks: vec![NetworkRule::parse("", "EVM").unwrap()],
            refresh_grace: Duration::from_millis(1_500),
            signing_alg: SigningAlgorithm::EdDsa,
            reauth_window: Duration::from_mins(5),
            max_wallets: 3,
            ..Policy::default()
        };
        assert_eq!(read(&write(&policy).unwrap()).unwrap(), policy);
        let early = read(r#"{"name": "Shop", "field_of_a_later_version": 1}"#).unwrap();
        assert_eq!(early, Policy { name: "Shop".to_owned(), ..Policy::default() });
    }

    #[test]
    fn an_earlier_versions_default_limit_of_a_session_is_todays() {
        let limits = |json: &str| read(&format!(r#"{{"rate_limit": {json}}}"#)).unwrap().rate_limit;
        let earlier = limits(r#"{"per_client": 1, "per_session": 60, "per_address": 2}"#);
        let expected = RateLimit { per_client: 1, per_address: 2, ..RateLimit::default() };
        assert_eq!(earlier, expected);
        assert_eq!(limits(r#"{"per_session": 61}"#).per_session, 61);
        assert_eq!(limits(r#"{"per_session": 60, "per_client_refresh": 7}"#).per_session, 60);
    }

    #[test]
    fn what_a_later_version_lists_lets_nothing_more_through() {
        let json = r#"{"roles": ["LATER", "SIGN_IN"], "formats": ["LATER"], "networks": ["later:1"]}"#;
        let policy = read(json).unwrap();
        assert_eq!((policy.roles.as_slice(), policy.formats.as_slice()), (&[Role::SignIn][..], &[][..]));
        assert!(policy.check_network(&crate::domain::Network::ethereum()).is_err());
    }
}
