//! A caller asks for something that a wallet can sign.

use time::OffsetDateTime;

use super::{
    content::{Life, content},
    requests::StartChallenge,
};
use crate::{
    domain::{
        Challenge, ChallengeFormat, ChallengeId, Client, Network, Party, Problem, Role, Session,
        SessionState, Violation, session::SignIn,
    },
    flows::{
        Caller, Error, Flows, Result,
        authenticate::{User, with_role},
    },
    store::NewChallenge,
    wallet::address,
};

impl Flows {
    /// Hands out a challenge with exactly what is to be signed.
    ///
    /// # Errors
    /// If the caller may not, or a field is wrong; nothing is written then.
    pub async fn start_challenge(&self, caller: &Caller, request: &StartChallenge) -> Result<Challenge> {
        let starter = starter(caller)?;
        let Starter { client, session, linking } = starter;
        let format = starter.format(request.format)?;
        only_for_siwx(format, request)?;
        let party = party(client, format, starter.device(), request)?;
        if let Some(party) = &party {
            client.policy.check_network(&party.network)?;
        }
        self.rate_limits.count(client, session, party.as_ref().map(|party| &party.address))?;
        let create_time = self.clock.now()?;
        starter.is_signed_in_lately(create_time)?;
        let life = Life { create_time, expire_time: create_time + client.policy.challenge_ttl };
        let (nonce, content) = content(client, format, party.as_ref(), request, life, linking)?;
        let challenge = NewChallenge {
            id: ChallengeId::generate(),
            client_id: client.id,
            session_id: session.map(|session| session.id),
            link_to: linking.map(|sign_in| sign_in.account_id),
            format,
            nonce,
            content,
            party,
            create_time: life.create_time,
            expire_time: life.expire_time,
        };
        Ok(self.store.issue_challenge(challenge).await?)
    }
}

/// Who starts a challenge.
#[derive(Clone, Copy)]
struct Starter<'a> {
    client: &'a Client,
    /// The session that the challenge will be bound to.
    session: Option<&'a Session>,
    /// What is to get a further wallet, if that is what the challenge is for.
    linking: Option<&'a SignIn>,
}

impl<'a> Starter<'a> {
    /// The session that waits for its own signer.
    fn device(self) -> Option<&'a Session> {
        self.session.filter(|_| self.linking.is_none())
    }

    /// The format that was asked for, or the first that will do. Of a text that the caller composes nobody knows
    /// whether it says that a wallet is being linked.
    fn format(self, asked: Option<ChallengeFormat>) -> Result<ChallengeFormat> {
        let formats = &self.client.policy.formats;
        let will_do = |format: &ChallengeFormat| self.linking.is_none() || *format != ChallengeFormat::Nonce;
        asked
            .or_else(|| formats.iter().copied().find(will_do))
            .filter(|format| formats.contains(format) && will_do(format))
            .ok_or(Error::PolicyDenied("formats"))
    }

    /// Told before anybody signs in vain; the linking statement decides this again.
    fn is_signed_in_lately(self, now: OffsetDateTime) -> Result<()> {
        let window = self.client.policy.reauth_window;
        match self.linking {
            Some(sign_in) if sign_in.authenticate_time + window <= now => {
                Err(Error::ReauthenticationRequired)
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn starter(caller: &Caller) -> Result<Starter<'_>> {
    match caller {
        Caller::Client(record) => {
            Ok(Starter { client: with_role(&record.client, Role::SignIn)?, session: None, linking: None })
        }
        Caller::Device { session, client } => match session.state {
            SessionState::Pending => Ok(Starter {
                client: with_role(&client.client, Role::SignIn)?,
                session: Some(session),
                linking: None,
            }),
            SessionState::Active => Err(Error::SessionAlreadyActive),
            SessionState::Revoked => Err(Error::SessionRevoked),
            SessionState::Expired => Err(Error::SessionTokenExpired),
        },
        Caller::User { .. } => {
            let User { session, sign_in, client } = caller.user()?;
            let client = with_role(client, Role::SignIn)?;
            Ok(Starter { client, session: Some(session), linking: Some(sign_in) })
        }
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
fn party(
    client: &Client,
    format: ChallengeFormat,
    session: Option<&Session>,
    request: &StartChallenge,
) -> Result<Option<Party>> {
    if format == ChallengeFormat::Nonce && session.is_none() && request.address.is_empty() {
        if request.network.is_empty() {
            return Ok(None);
        }
        return Err(Violation::new("network", Problem::Network, "needs an `address` beside it").into());
    }
    named_party(client, format, session, request).map(Some)
}

/// Where nothing says otherwise: the chain of the typed data's domain, or Ethereum's own.
fn usual_network(client: &Client, format: ChallengeFormat) -> Network {
    match (&client.policy.typed_data_domain, format) {
        (Some(domain), ChallengeFormat::TypedData) => {
            Network::from_canonical(format!("eip155:{}", domain.chain_id()))
        }
        _ => Network::ethereum(),
    }
}

fn named_party(
    client: &Client,
    format: ChallengeFormat,
    session: Option<&Session>,
    request: &StartChallenge,
) -> Result<Party> {
    let network = match (request.network.as_str(), session) {
        ("", Some(session)) => session.signing.network.clone(),
        ("", None) => usual_network(client, format),
        // Its text names the chain.
        (text, _) if format == ChallengeFormat::Siwx => Network::parse_chain("network", text)?,
        (text, _) => client.policy.parse_wallet_network("network", text)?,
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
