//! Between the `ClientPolicy` of the API and the domain's policy.

use super::{convert::format, v1};
use crate::domain::{
    ChallengeFormat, Client, NetworkRule, Policy, RateLimit, Role, SigningAlgorithm, TextTemplate,
    TypedDataDomain, Violation,
};

/// The policy of a message; what it leaves out has its default. The realm is apart: it never changes.
///
/// # Errors
/// Every violation that can be seen before the values are put together.
pub fn policy(message: v1::ClientPolicy) -> Result<(Policy, String), Vec<Violation>> {
    let mut wrong = Vec::new();
    let default = with_durations(&message, &mut wrong);
    let mut policy = Policy {
        max_wallets: if message.max_wallets == 0 { default.max_wallets } else { message.max_wallets },
        name: message.name,
        introspect_audiences: message.introspect_audiences,
        domains: message.domains,
        uris: message.uris,
        statements: message.statements,
        resources: message.resources,
        nonce_messages: message.nonce_messages,
        contract_wallets: message.contract_wallets,
        app: message.app,
        origin: message.origin,
        audience: message.audience,
        scope: message.scope,
        refresh_requires_client: message.refresh_requires_client,
        rate_limit: rate_limit(message.rate_limit),
        disabled: message.disabled,
        ..default
    };
    if let Some(domain) = &message.typed_data_domain {
        match typed_data_domain(domain) {
            Ok(domain) => policy.typed_data_domain = Some(domain),
            Err(violations) => wrong.extend(violations),
        }
    }
    match signing_algorithm(message.signing_alg) {
        Ok(algorithm) => policy.signing_alg = algorithm,
        Err(violation) => wrong.push(violation),
    }
    let mut note = |outcome: Result<(), Violation>| wrong.extend(outcome.err());
    note(replace(&mut policy.roles, &message.roles, |number| role(*number)));
    note(replace(&mut policy.formats, &message.formats, |number| listed_format(*number)));
    note(replace(&mut policy.networks, &message.networks, |text| NetworkRule::parse("networks", text)));
    if !message.text_template.is_empty() {
        note(TextTemplate::parse(&message.text_template).map(|template| policy.text_template = template));
    }
    if wrong.is_empty() { Ok((policy, message.realm)) } else { Err(wrong) }
}

/// The default policy with the durations of a message; notes those that are malformed.
fn with_durations(sent: &v1::ClientPolicy, wrong: &mut Vec<Violation>) -> Policy {
    let base = Policy::default();
    let mut read = |field: &str, value: Option<prost_types::Duration>, default| {
        duration(field, value, default).unwrap_or_else(|violation| {
            wrong.push(violation);
            default
        })
    };
    Policy {
        challenge_ttl: read("challenge_ttl", sent.challenge_ttl, base.challenge_ttl),
        pending_session_ttl: read("pending_session_ttl", sent.pending_session_ttl, base.pending_session_ttl),
        access_token_ttl: read("access_token_ttl", sent.access_token_ttl, base.access_token_ttl),
        refresh_token_ttl: read("refresh_token_ttl", sent.refresh_token_ttl, base.refresh_token_ttl),
        session_max_ttl: read("session_max_ttl", sent.session_max_ttl, base.session_max_ttl),
        refresh_grace: read("refresh_grace", sent.refresh_grace, base.refresh_grace),
        reauth_window: read("reauth_window", sent.reauth_window, base.reauth_window),
        ..base
    }
}

/// Replaces a default list by the one given, if one is.
fn replace<S, T>(
    list: &mut Vec<T>,
    given: &[S],
    read: impl Fn(&S) -> Result<T, Violation>,
) -> Result<(), Violation> {
    if !given.is_empty() {
        *list = given.iter().map(read).collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn listed_format(number: i32) -> Result<ChallengeFormat, Violation> {
    format("formats", number)?.ok_or_else(|| Violation::request("formats", "must not be unspecified"))
}

fn role(number: i32) -> Result<Role, Violation> {
    match v1::ClientRole::try_from(number) {
        Ok(v1::ClientRole::SignIn) => Ok(Role::SignIn),
        Ok(v1::ClientRole::Introspect) => Ok(Role::Introspect),
        Ok(v1::ClientRole::Admin) => Ok(Role::Admin),
        Ok(v1::ClientRole::Unspecified) | Err(_) => {
            Err(Violation::request("roles", "must be SIGN_IN, INTROSPECT or ADMIN"))
        }
    }
}

fn signing_algorithm(number: i32) -> Result<SigningAlgorithm, Violation> {
    match v1::SigningAlgorithm::try_from(number) {
        Ok(v1::SigningAlgorithm::Unspecified) => Ok(SigningAlgorithm::default()),
        Ok(v1::SigningAlgorithm::Es256) => Ok(SigningAlgorithm::Es256),
        Ok(v1::SigningAlgorithm::Eddsa) => Ok(SigningAlgorithm::EdDsa),
        Ok(v1::SigningAlgorithm::Rs256) => Ok(SigningAlgorithm::Rs256),
        Err(_) => Err(Violation::request("signing_alg", "must be ES256, EDDSA or RS256")),
    }
}

fn typed_data_domain(message: &v1::TypedDataDomain) -> Result<TypedDataDomain, Vec<Violation>> {
    let v1::TypedDataDomain { name, version, chain_id, verifying_contract } = message;
    TypedDataDomain::parse(name, version, *chain_id, verifying_contract)
}

impl From<&TypedDataDomain> for v1::TypedDataDomain {
    fn from(domain: &TypedDataDomain) -> Self {
        Self {
            name: domain.name().to_owned(),
            version: domain.version().to_owned(),
            chain_id: domain.chain_id(),
            verifying_contract: format!("0x{}", hex::encode(domain.verifying_contract())),
        }
    }
}

/// What is not given has its default; 0 means no limit.
fn rate_limit(message: Option<v1::RateLimit>) -> RateLimit {
    let (message, default) = (message.unwrap_or_default(), RateLimit::default());
    RateLimit {
        per_client: message.per_client.unwrap_or(default.per_client),
        per_session: message.per_session.unwrap_or(default.per_session),
        per_address: message.per_address.unwrap_or(default.per_address),
        per_client_refresh: message.per_client_refresh.unwrap_or(default.per_client_refresh),
    }
}

impl From<RateLimit> for v1::RateLimit {
    fn from(limit: RateLimit) -> Self {
        Self {
            per_client: Some(limit.per_client),
            per_session: Some(limit.per_session),
            per_address: Some(limit.per_address),
            per_client_refresh: Some(limit.per_client_refresh),
        }
    }
}

fn duration(
    field: &str,
    value: Option<prost_types::Duration>,
    default: std::time::Duration,
) -> Result<std::time::Duration, Violation> {
    value.map_or(Ok(default), |value| {
        value.try_into().map_err(|_| Violation::request(field, "must not be negative"))
    })
}

impl From<Client> for v1::ClientPolicy {
    fn from(client: Client) -> Self {
        // A realm of one's own is what a policy without one means.
        let realm = if client.realm == client.id.to_string() { String::new() } else { client.realm };
        let policy = client.policy;
        let lasting = |duration: std::time::Duration| duration.try_into().ok();
        Self {
            name: policy.name,
            realm,
            roles: policy.roles.into_iter().map(|role| v1::ClientRole::from(role).into()).collect(),
            introspect_audiences: policy.introspect_audiences,
            formats: policy
                .formats
                .into_iter()
                .map(|format| v1::ChallengeFormat::from(format).into())
                .collect(),
            networks: policy.networks.iter().map(|rule| rule.as_str().to_owned()).collect(),
            domains: policy.domains,
            uris: policy.uris,
            statements: policy.statements,
            resources: policy.resources,
            nonce_messages: policy.nonce_messages,
            typed_data_domain: policy.typed_data_domain.as_ref().map(Into::into),
            contract_wallets: policy.contract_wallets,
            text_template: policy.text_template.as_str().to_owned(),
            app: policy.app,
            origin: policy.origin,
            audience: policy.audience,
            scope: policy.scope,
            signing_alg: v1::SigningAlgorithm::from(policy.signing_alg).into(),
            challenge_ttl: lasting(policy.challenge_ttl),
            pending_session_ttl: lasting(policy.pending_session_ttl),
            access_token_ttl: lasting(policy.access_token_ttl),
            refresh_token_ttl: lasting(policy.refresh_token_ttl),
            session_max_ttl: lasting(policy.session_max_ttl),
            refresh_grace: lasting(policy.refresh_grace),
            refresh_requires_client: policy.refresh_requires_client,
            reauth_window: lasting(policy.reauth_window),
            max_wallets: policy.max_wallets,
            disabled: policy.disabled,
            rate_limit: Some(policy.rate_limit.into()),
        }
    }
}

impl From<SigningAlgorithm> for v1::SigningAlgorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Es256 => Self::Es256,
            SigningAlgorithm::EdDsa => Self::Eddsa,
            SigningAlgorithm::Rs256 => Self::Rs256,
        }
    }
}

impl From<Role> for v1::ClientRole {
    fn from(role: Role) -> Self {
        match role {
            Role::SignIn => Self::SignIn,
            Role::Introspect => Self::Introspect,
            Role::Admin => Self::Admin,
        }
    }
}
