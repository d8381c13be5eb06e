//! StartChallenge: issues a challenge.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{
    content::{Life, Stated},
    owner::ChallengeOwner,
    requests::StartChallenge,
};
use crate::{
    domain::{
        ChainAddress, Challenge, ChallengeFormat, ChallengeId, Client, Network, Problem, Session, Violation,
    },
    flows::{Caller, Error, Flows, Result},
    state::{rate_limiter::ADDRESS, store_shares::Share},
    store::{ChallengeScope, NewChallenge},
    wallet::parse_address,
};

impl Flows {
    /// Issues a challenge with the exact content to sign. Beyond the limit of the address, returns only an existing
    /// challenge of equal content.
    ///
    /// # Errors
    /// If the caller may not, or a field is wrong; nothing is written then.
    pub async fn start_challenge(&self, caller: &Caller, request: &StartChallenge) -> Result<Challenge> {
        let owner = ChallengeOwner::starting(caller)?;
        let client = owner.client;
        let format = owner.format(request.format)?;
        only_for_siwx(format, request)?;
        let signer = requested_signer(client, format, owner.pending_session(), request)?;
        if let Some(signer) = &signer {
            client.policy.check_network(&signer.network)?;
        }
        let address = signer.as_ref().and_then(|signer| owner.counted_address(signer));
        let limited = beyond_limit_of_address(self.rate_limits.count(client, address))?;
        let create_time = self.clock.now()?;
        owner.check_reauthentication(create_time)?;
        let challenge = new_challenge(owner, format, signer, request, create_time)?;
        match limited {
            None => Ok(self.store_turn(caller.share()).await?.issue_challenge(challenge).await?),
            Some(limited) => {
                self.equal_challenge(caller.share().beyond_limit(), &challenge).await?.ok_or(limited)
            }
        }
    }

    /// Finds a live challenge of equal content. One look-up at a time serves all callers that ask for an address, whatever
    /// their content, so that a flood delays the owner by two look-ups at most and uses one permit.
    async fn equal_challenge(&self, share: Share, wanted: &NewChallenge) -> Result<Option<Challenge>> {
        let Some(signer) = &wanted.signer else { return Ok(None) };
        let scope = ChallengeScope { client_id: wanted.client_id, session_id: wanted.session_id };
        let (purpose, address) = (wanted.purpose(), &signer.address);
        let found = self
            .reusable_challenges
            .answer((scope, purpose, address.clone()), (), async || {
                Ok(Arc::new(
                    self.store_turn(share).await?.reusable_challenges(scope, purpose, address).await?,
                ))
            })
            .await?;
        Ok(found.iter().find(|found| wanted.is_equal(found)).map(|found| found.challenge.clone()))
    }
}

fn new_challenge(
    ChallengeOwner { client, session, linking }: ChallengeOwner<'_>,
    format: ChallengeFormat,
    signer: Option<ChainAddress>,
    request: &StartChallenge,
    create_time: OffsetDateTime,
) -> Result<NewChallenge> {
    let life = Life { create_time, expire_time: create_time + client.policy.challenge_ttl };
    let stated = Stated { client, format, signer: signer.as_ref(), request, linking };
    let (nonce, content) = stated.content(life)?;
    Ok(NewChallenge {
        id: ChallengeId::generate(),
        client_id: client.id,
        session_id: session.map(|session| session.id),
        link_to: linking.map(|sign_in| sign_in.account_id),
        format,
        nonce,
        content,
        content_digest: stated.digest()?,
        signer,
        create_time: life.create_time,
        expire_time: life.expire_time,
    })
}

/// Separates a rejection by the limit of the address, under which an equal challenge may still be returned, from all
/// others: exhausting that limit must not lock the wallet's owner out.
fn beyond_limit_of_address(counted: Result<()>) -> Result<Option<Error>> {
    match counted {
        Err(limited @ Error::RateLimited { whose: ADDRESS, .. }) => Ok(Some(limited)),
        counted => counted.map(|()| None),
    }
}

/// Options that other formats have no place for are refused, not dropped.
fn only_for_siwx(format: ChallengeFormat, request: &StartChallenge) -> Result<()> {
    let StartChallenge { domain, uri, statement, resources, request_id, not_before, .. } = request;
    let given = [
        ("domain", !domain.is_empty()),
        ("uri", !uri.is_empty()),
        ("statement", !statement.is_empty()),
        ("resources", !resources.is_empty()),
        ("request_id", !request_id.is_empty()),
        ("not_before", not_before.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((field, _)) if format != ChallengeFormat::Siwx => {
            Err(Error::invalid(field, "is for CHALLENGE_FORMAT_SIWX only"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Who is asked to sign: whom the request names, who for a session can only be its own signer. A nonce alone may
/// be for anybody.
fn requested_signer(
    client: &Client,
    format: ChallengeFormat,
    session: Option<&Session>,
    request: &StartChallenge,
) -> Result<Option<ChainAddress>> {
    if format == ChallengeFormat::Nonce && session.is_none() && request.address.is_empty() {
        if request.network.is_empty() {
            return Ok(None);
        }
        return Err(Violation::new("network", Problem::Network, "needs an `address` beside it").into());
    }
    named_signer(client, format, session, request).map(Some)
}

/// Where nothing says otherwise: the chain of the typed data's domain, or Ethereum's own.
fn usual_network(client: &Client, format: ChallengeFormat) -> Network {
    match (&client.policy.typed_data_domain, format) {
        (Some(domain), ChallengeFormat::TypedData) => domain.network(),
        _ => Network::ethereum(),
    }
}

fn named_signer(
    client: &Client,
    format: ChallengeFormat,
    session: Option<&Session>,
    request: &StartChallenge,
) -> Result<ChainAddress> {
    let network = match (request.network.as_str(), session) {
        ("", Some(session)) => session.signing.network.clone(),
        ("", None) => usual_network(client, format),
        // Its text names the chain.
        (text, _) if format == ChallengeFormat::Siwx => Network::parse_chain("network", text)?,
        (text, _) => client.policy.parse_wallet_network("network", text)?,
    };
    let Some(session) = session else {
        let address = parse_address("address", &request.address, &network)?;
        return Ok(ChainAddress { address, network });
    };
    if network.namespace() != session.signing.network.namespace() {
        let why = "must be of the namespace of the session's signing_network";
        return Err(Violation::new("network", Problem::Network, why).into());
    }
    let address = session.signing.address.clone();
    if request.address.is_empty() || parse_address("address", &request.address, &network)? == address {
        return Ok(ChainAddress { address, network });
    }
    let why = "must be the session's signing_address";
    Err(Violation::new("address", Problem::Address, why).into())
}
