//! The content of a challenge, by format.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::requests::StartChallenge;
use crate::{
    domain::{
        ChainAddress, ChallengeFormat, Client, Content, Nonce, NumericNonce, Policy, Problem, Violation,
        session::SignIn, template::TextValues,
    },
    flows::{Error, Result},
    token::random,
    wallet::{
        evm::eip712::AuthMessage,
        siwx::{ChainId, Domain, RequestId, SiwxMessage, Statement, Timestamp, Uri},
    },
};

/// From when until when a challenge can be redeemed.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) create_time: OffsetDateTime,
    pub(crate) expire_time: OffsetDateTime,
}

/// A nonce, and what is to be signed with it. Where a wallet is to be linked to what somebody signed in to, every
/// format says so.
pub(crate) fn content(
    client: &Client,
    format: ChallengeFormat,
    signer: Option<&ChainAddress>,
    request: &StartChallenge,
    life: Life,
    linking: Option<&SignIn>,
) -> Result<(Nonce, Content)> {
    let link = linking.map(link_statement);
    let nonce = Nonce::from_random(random::byte_source());
    let required_signer = || signer.ok_or_else(address_required);
    Ok(match format {
        ChallengeFormat::Text => {
            let text = template_text(client, required_signer()?, &nonce, life)?;
            (nonce, Content::Text(link.map(|link| format!("{link}\n\n{text}")).unwrap_or(text)))
        }
        ChallengeFormat::Siwx => {
            let text = sign_in_text(&client.policy, required_signer()?, &nonce, request, life, link)?;
            (nonce, Content::Text(text))
        }
        ChallengeFormat::TypedData => typed_data(&client.policy, required_signer()?, linking)?,
        ChallengeFormat::Nonce => (nonce, Content::Nonce),
    })
}

/// What a wallet that is to be linked shows to the person who signs: whose account it will sign in to.
fn link_statement(sign_in: &SignIn) -> String {
    let address = &sign_in.wallet.address;
    format!("Link this wallet to the account of {address}: it will sign in to that account from now on.")
}

/// Where somebody in particular has to sign.
pub(crate) fn address_required() -> Error {
    Violation::new("address", Problem::Address, "is required").into()
}

fn template_text(client: &Client, signer: &ChainAddress, nonce: &Nonce, life: Life) -> Result<String> {
    Ok(client.policy.text_template.render(&TextValues {
        app: client.policy.app_name(),
        origin: &client.policy.origin,
        address: signer.address.as_str(),
        nonce: nonce.as_str(),
        issued_at: &rfc3339(life.create_time)?,
        expires_at: &rfc3339(life.expire_time)?,
    }))
}

/// A time to the second, in UTC.
fn rfc3339(time: OffsetDateTime) -> Result<String> {
    time.truncate_to_second().format(&Rfc3339).map_err(Error::internal)
}

/// An EIP-4361 text whose every field comes from the policy, the challenge or the request.
fn sign_in_text(
    policy: &Policy,
    signer: &ChainAddress,
    nonce: &Nonce,
    request: &StartChallenge,
    life: Life,
    link: Option<String>,
) -> Result<String> {
    let time = |time: OffsetDateTime| {
        Timestamp::of(time.truncate_to_second()).ok_or_else(|| Error::internal("a time out of range"))
    };
    let message = SiwxMessage {
        scheme: None,
        domain: chosen("domains", "domain", &policy.domains, &request.domain, Domain::parse)?
            .ok_or(Error::PolicyDenied("domains"))?,
        address: signer.address.clone(),
        statement: match link {
            Some(link) => Some(fixed_statement(&link, request)?),
            None => {
                chosen("statements", "statement", &policy.statements, &request.statement, Statement::parse)?
            }
        },
        uri: chosen("uris", "uri", &policy.uris, &request.uri, Uri::parse)?
            .ok_or(Error::PolicyDenied("uris"))?,
        chain_id: ChainId::of(&signer.network),
        nonce: nonce.clone(),
        issued_at: time(life.create_time)?,
        expiration_time: Some(time(life.expire_time)?),
        not_before: request.not_before.map(time).transpose()?,
        request_id: request_id(&request.request_id)?,
        resources: resources(policy, request)?,
    };
    Ok(message.to_string())
}

/// The statement that no request changes.
fn fixed_statement(text: &str, request: &StartChallenge) -> Result<Statement> {
    if !request.statement.is_empty() {
        return Err(Error::invalid("statement", "must not be given: where a wallet is linked, it says so"));
    }
    Statement::parse(text).ok_or_else(|| Error::internal("a statement that is none"))
}

/// What the request names, if the policy lists it; else the first that the policy lists.
fn chosen<T>(
    rule: &'static str,
    field: &'static str,
    listed: &[String],
    asked: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let text = match (asked, listed.first()) {
        ("", None) => return Ok(None),
        ("", Some(first)) => first,
        (asked, _) if listed.iter().any(|entry| entry == asked) => asked,
        _ => return Err(Error::PolicyDenied(rule)),
    };
    parse(text).map(Some).ok_or_else(|| Error::invalid(field, "cannot stand in an EIP-4361 text"))
}

fn resources(policy: &Policy, request: &StartChallenge) -> Result<Option<Vec<Uri>>> {
    let one = |text: &String| {
        let chosen = chosen("resources", "resources", &policy.resources, text, Uri::parse)?;
        chosen.ok_or(Error::PolicyDenied("resources"))
    };
    let uris = request.resources.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok((!uris.is_empty()).then_some(uris))
}

fn request_id(text: &str) -> Result<Option<RequestId>> {
    if text.is_empty() {
        return Ok(None);
    }
    let must = "must be characters of RFC 3986's `pchar`";
    RequestId::parse(text)
        .filter(|_| text.len() <= 200)
        .map(Some)
        .ok_or_else(|| Error::invalid("request_id", must))
}

/// EIP-712 in the client's domain; the nonce is a number.
fn typed_data(policy: &Policy, signer: &ChainAddress, linking: Option<&SignIn>) -> Result<(Nonce, Content)> {
    let domain = policy.typed_data_domain.clone().ok_or(Error::PolicyDenied("typed_data_domain"))?;
    let noonce = NumericNonce::from_random(random::bytes());
    let message = AuthMessage::new(domain, &signer.address, noonce)
        .ok_or_else(|| Violation::new("network", Problem::Network, "must be of eip155 for TYPED_DATA"))?;
    let message = match linking {
        Some(sign_in) => message.linking_to(&sign_in.wallet.address),
        None => message,
    };
    Ok((noonce.to_nonce(), Content::TypedData(message.to_json())))
}
