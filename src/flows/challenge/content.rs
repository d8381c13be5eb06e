//! The content of a challenge, by format.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::requests::StartChallenge;
use crate::{
    domain::{
        ChainAddress, ChallengeFormat, Client, Content, Nonce, NumericNonce, Policy, Problem, Violation,
        session::SignIn, template::TextValues,
    },
    flows::{Error, Result},
    store::ContentDigest,
    token::{random, sha256},
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

/// Content of a challenge without nonce and times.
pub(crate) struct Stated<'a> {
    pub(crate) client: &'a Client,
    pub(crate) format: ChallengeFormat,
    pub(crate) signer: Option<&'a ChainAddress>,
    pub(crate) request: &'a StartChallenge,
    /// The sign-in to whose account a wallet is to be linked. Every format says so.
    pub(crate) linking: Option<&'a SignIn>,
}

impl Stated<'_> {
    /// A fresh nonce, and what is to be signed with it.
    pub(crate) fn content(&self, life: Life) -> Result<(Nonce, Content)> {
        self.content_with(
            Nonce::from_random(random::byte_source()),
            NumericNonce::from_random(random::bytes()),
            life,
        )
    }

    /// Digest of the content, computed with a fixed nonce and fixed times. It covers everything that the policy, the
    /// request and the format contribute.
    pub(crate) fn digest(&self) -> Result<ContentDigest> {
        let epoch = OffsetDateTime::UNIX_EPOCH;
        let life = Life { create_time: epoch, expire_time: epoch };
        let (_, content) =
            self.content_with(Nonce::from_random(|| 0), NumericNonce::from_random([0; 8]), life)?;
        let account = self.linking.map(|sign_in| sign_in.account_id.to_string()).unwrap_or_default();
        let text = content.text().or(content.typed_data()).unwrap_or_default();
        Ok(sha256(format!("{account}\n{text}").as_bytes()))
    }

    fn content_with(&self, nonce: Nonce, number: NumericNonce, life: Life) -> Result<(Nonce, Content)> {
        let Self { client, format, signer, request, linking } = self;
        let link = linking.map(link_statement);
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
            ChallengeFormat::TypedData => {
                (number.to_nonce(), typed_data(&client.policy, required_signer()?, number, *linking)?)
            }
            ChallengeFormat::Nonce => (nonce, Content::Nonce),
        })
    }
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
fn typed_data(
    policy: &Policy,
    signer: &ChainAddress,
    noonce: NumericNonce,
    linking: Option<&SignIn>,
) -> Result<Content> {
    let domain = policy.typed_data_domain.clone().ok_or(Error::PolicyDenied("typed_data_domain"))?;
    let message = AuthMessage::new(domain, &signer.address, noonce)
        .ok_or_else(|| Violation::new("network", Problem::Network, "must be of eip155 for TYPED_DATA"))?;
    let message = match linking {
        Some(sign_in) => message.linking_to(&sign_in.wallet.address),
        None => message,
    };
    Ok(Content::TypedData(message.to_json()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::{
        AccountId, Address, ClientId, Network, Wallet, WalletKind, template::TextTemplate,
        typed_data::TypedDataDomain,
    };

    fn client(policy: Policy) -> Client {
        let now = OffsetDateTime::UNIX_EPOCH;
        Client { id: ClientId::generate(), realm: String::new(), policy, create_time: now, update_time: now }
    }

    fn policy() -> Policy {
        let domain = TypedDataDomain::parse("Shop", "1", 1, &"0".repeat(40)).unwrap();
        Policy {
            domains: vec!["shop.example".to_owned()],
            uris: vec!["https://shop.example/".to_owned()],
            typed_data_domain: Some(domain),
            ..Policy::default()
        }
    }

    fn signer(digit: &str) -> ChainAddress {
        let address = Address::from_canonical(format!("0x{}", digit.repeat(40)));
        ChainAddress { address, network: Network::ethereum() }
    }

    fn sign_in() -> SignIn {
        let ChainAddress { address, network } = signer("2");
        let now = OffsetDateTime::UNIX_EPOCH;
        SignIn {
            account_id: AccountId::generate(),
            wallet: Wallet { address, network, kind: WalletKind::Eoa },
            authenticate_time: now,
            hard_expire_time: now,
            generation: 1,
        }
    }

    fn digest(policy: &Policy, format: ChallengeFormat, linking: Option<&SignIn>) -> ContentDigest {
        let (client, request) = (client(policy.clone()), StartChallenge::default());
        let signer = signer("1");
        let stated = Stated { client: &client, format, signer: Some(&signer), request: &request, linking };
        stated.digest().unwrap()
    }

    #[test]
    fn the_digest_covers_all_of_the_policy_that_the_signed_bytes_state_and_nothing_else() {
        let text = |text: &str| text.to_owned();
        let template =
            TextTemplate::parse("{app} at {origin}: {nonce}, {issued_at} to {expires_at}").unwrap();
        let domain = TypedDataDomain::parse("Shop", "2", 1, &"0".repeat(40)).unwrap();
        let cases = [
            (ChallengeFormat::Text, Policy { app: text("Other"), ..policy() }),
            (ChallengeFormat::Text, Policy { text_template: template, ..policy() }),
            (ChallengeFormat::Siwx, Policy { domains: vec![text("other.example")], ..policy() }),
            (ChallengeFormat::Siwx, Policy { uris: vec![text("https://other.example/")], ..policy() }),
            (ChallengeFormat::Siwx, Policy { statements: vec![text("Hello.")], ..policy() }),
            (ChallengeFormat::TypedData, Policy { typed_data_domain: Some(domain), ..policy() }),
        ];
        for (format, changed) in cases {
            assert_ne!(digest(&changed, format, None), digest(&policy(), format, None), "{changed:?}");
        }
        let elsewhere = Policy { audience: vec![text("x")], ..policy() };
        for format in ChallengeFormat::ALL {
            assert_eq!(digest(&elsewhere, format, None), digest(&policy(), format, None));
        }
    }

    #[test]
    fn the_digest_covers_the_account_that_a_wallet_is_linked_to() {
        let (one, other) = (sign_in(), sign_in());
        for format in [ChallengeFormat::Text, ChallengeFormat::Siwx, ChallengeFormat::TypedData] {
            let digests = [None, Some(&one), Some(&other)].map(|linking| digest(&policy(), format, linking));
            assert_eq!(digests.iter().collect::<HashSet<_>>().len(), 3);
        }
    }

    #[test]
    fn each_content_has_a_nonce_of_its_own() {
        let (client, request, signer) = (client(policy()), StartChallenge::default(), signer("1"));
        let now = OffsetDateTime::UNIX_EPOCH;
        let life = Life { create_time: now, expire_time: now };
        for format in ChallengeFormat::ALL {
            let signer = Some(&signer);
            let stated = Stated { client: &client, format, signer, request: &request, linking: None };
            let nonces = (0..50).map(|_| stated.content(life).unwrap().0.as_str().to_owned());
            assert_eq!(nonces.collect::<HashSet<_>>().len(), 50);
        }
    }
}
