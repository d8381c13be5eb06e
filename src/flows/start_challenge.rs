//! A caller asks for something that a wallet can sign.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Caller, Error, Flows, Result, authenticate::with_role, create_session::sign_in_network};
use crate::{
    domain::{
        Challenge, ChallengeFormat, ChallengeId, Client, Network, Nonce, Party, Problem, Role, Session,
        SessionState, Violation, template::TextValues,
    },
    store::NewChallenge,
    token::random,
    wallet::address,
};

/// What StartChallenge takes, as it came in; `None` stands for the policy's first format.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/challenge.proto documents each field")]
pub struct StartChallenge {
    pub format: Option<ChallengeFormat>,
    pub address: String,
    pub network: String,
}

impl Flows {
    /// Hands out a challenge with the exact text to sign.
    ///
    /// # Errors
    /// If the caller may not, or a field is wrong; nothing is written then.
    pub async fn start_challenge(&self, caller: &Caller, request: &StartChallenge) -> Result<Challenge> {
        let (client, session) = starter(caller)?;
        let format = format(client, request.format)?;
        let party = party(session, request)?;
        sign_in_network("network", client, &party.network)?;
        self.rate_limits.count(client, session, Some(&party.address))?;
        let create_time = self.clock.now()?;
        let expire_time = create_time + client.policy.challenge_ttl;
        let nonce = Nonce::from_random(random::byte_source());
        let message = text(client, &party, &nonce, create_time, expire_time)?;
        let challenge = NewChallenge {
            id: ChallengeId::generate(),
            client_id: client.id,
            session_id: session.map(|session| session.id),
            format,
            nonce,
            message,
            address: party.address,
            network: party.network,
            create_time,
            expire_time,
        };
        Ok(self.store.issue_challenge(challenge).await?)
    }
}

/// The client, and the session that the challenge will be bound to.
fn starter(caller: &Caller) -> Result<(&Client, Option<&Session>)> {
    match caller {
        Caller::Client(record) => Ok((with_role(&record.client, Role::SignIn)?, None)),
        Caller::Device { session, client } => match session.state {
            SessionState::Pending => Ok((with_role(&client.client, Role::SignIn)?, Some(session))),
            SessionState::Active => Err(Error::SessionAlreadyActive),
            SessionState::Revoked => Err(Error::SessionRevoked),
            SessionState::Expired => Err(Error::SessionTokenExpired),
        },
        Caller::User { .. } => Err(Error::CredentialsMissing(
            "this call takes Basic client credentials or Bearer with a session token",
        )),
    }
}

fn format(client: &Client, asked: Option<ChallengeFormat>) -> Result<ChallengeFormat> {
    let first = client.policy.formats.first().copied();
    let format = asked.or(first).ok_or(Error::PolicyDenied("formats"))?;
    if client.policy.formats.contains(&format) { Ok(format) } else { Err(Error::PolicyDenied("formats")) }
}

/// Who is asked to sign: whom the request names, who for a session can only be its own signer.
fn party(session: Option<&Session>, request: &StartChallenge) -> Result<Party> {
    let network = match (request.network.as_str(), session) {
        ("", Some(session)) => session.signing.network.clone(),
        ("", None) => Network::ethereum(),
        (text, _) => Network::parse("network", text)?,
    };
    let Some(session) = session else {
        let address = address::parse("address", &request.address, &network)?;
        return Ok(Party { address, network });
    };
    if network.namespace() != session.signing.network.namespace() {
        let why = "must be of the namespace of the session's signing_network";
        return Err(Violation::new("network", Problem::Network, why).into());
    }
    let address = session.signing.address.clone();
    if request.address.is_empty() || address::parse("address", &request.address, &network)? == address {
        return Ok(Party { address, network });
    }
    let why = "must be the session's signing_address";
    Err(Violation::new("address", Problem::Address, why).into())
}

fn text(
    client: &Client,
    party: &Party,
    nonce: &Nonce,
    create_time: OffsetDateTime,
    expire_time: OffsetDateTime,
) -> Result<String> {
    Ok(client.policy.text_template.render(&TextValues {
        app: client.policy.app_name(),
        origin: &client.policy.origin,
        address: party.address.as_str(),
        nonce: nonce.as_str(),
        issued_at: &rfc3339(create_time)?,
        expires_at: &rfc3339(expire_time)?,
    }))
}

/// A time to the second, in UTC.
fn rfc3339(time: OffsetDateTime) -> Result<String> {
    time.truncate_to_second().format(&Rfc3339).map_err(Error::internal)
}
