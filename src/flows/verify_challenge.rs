//! A wallet has signed: the challenge is redeemed, and a session begins.

use super::{Caller, Error, Flows, Result, authenticate::with_role, issue_tokens::TokenPair};
use crate::{
    domain::{
        Account, AccountId, Address, Challenge, ChallengeId, Client, Network, Nonce, Problem, Role, Session,
        SessionId, Violation, Wallet, WalletKind,
    },
    store::{
        ChallengeKey, ChallengeScope, ChallengeState, FOUND_LIMIT, FoundChallenge, RedeemOutcome, Redemption,
        SignedIn,
    },
    wallet::{address, eip191, signature::Signature},
};

/// What VerifyChallenge takes, as it came in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/challenge.proto documents each field")]
pub struct VerifyChallenge {
    pub challenge_id: String,
    pub nonce: String,
    pub address: String,
    pub network: String,
    pub signature: String,
    pub message: String,
}

/// What a redeemed challenge gives.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The session, ACTIVE.
    pub session: Session,
    /// The wallet's account.
    pub account: Account,
    /// The session's first tokens.
    pub tokens: TokenPair,
    /// The wallet that signed.
    pub wallet: Wallet,
}

/// The challenge that is meant, by everything the caller said of it.
struct Claim {
    challenge_id: Option<ChallengeId>,
    nonce: Option<Nonce>,
    address: Option<Address>,
    network: Option<Network>,
    message: Option<String>,
}

impl Flows {
    /// Redeems a challenge, at most once.
    ///
    /// # Errors
    /// If the challenge, the signature or the session does not allow it; nothing is changed then.
    pub async fn verify_challenge(&self, caller: &Caller, request: &VerifyChallenge) -> Result<Verified> {
        let (client, session) = redeemer(caller)?;
        let scope = ChallengeScope { client_id: client.id, session_id: session.map(|session| session.id) };
        let signature = Signature::parse(&request.signature)?;
        let claim = Claim::parse(request)?;
        self.rate_limits.count(client, session, None)?;
        let found = self.store.find_challenges(scope, claim.key()?, claim.network.clone()).await?;
        let candidates = claim.candidates(found)?;
        let (challenge, wallet) = signed_by_its_address(candidates, &signature)?;
        still_allowed(client, &challenge)?;
        let redemption = self.redemption(client, scope, challenge.id, wallet.clone());
        let signed_in = signed_in(self.store.redeem_challenge(redemption).await?)?;
        let tokens = self.first_tokens(client, &signed_in)?;
        Ok(Verified { session: signed_in.session, account: signed_in.account, tokens, wallet })
    }

    fn redemption(
        &self,
        client: &Client,
        scope: ChallengeScope,
        challenge_id: ChallengeId,
        wallet: Wallet,
    ) -> Redemption {
        Redemption {
            challenge_id,
            scope,
            realm: client.realm.clone(),
            wallet,
            new_account_id: AccountId::generate(),
            new_session_id: SessionId::generate(),
            fingerprint: self.roots.primary(),
            access_token_ttl: client.policy.access_token_ttl,
            refresh_token_ttl: client.policy.refresh_token_ttl,
            session_max_ttl: client.policy.session_max_ttl,
        }
    }

    fn first_tokens(&self, client: &Client, signed_in: &SignedIn) -> Result<TokenPair> {
        self.issue_tokens(client, &signed_in.session, 1, self.roots.primary(), signed_in.now)
    }
}

/// The client, and whose challenges the caller may redeem: a device only those of its own session.
fn redeemer(caller: &Caller) -> Result<(&Client, Option<&Session>)> {
    let (record, session) = match caller {
        Caller::Client(record) => (record, None),
        Caller::Device { session, client } => (client, Some(session.as_ref())),
        Caller::User { .. } => {
            return Err(Error::CredentialsMissing(
                "this call takes Basic client credentials or Bearer with a session token",
            ));
        }
    };
    Ok((with_role(&record.client, Role::SignIn)?, session))
}

impl Claim {
    fn parse(request: &VerifyChallenge) -> Result<Self> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let network = given(&request.network).map(|text| Network::parse("network", &text)).transpose()?;
        let address_network = network.clone().unwrap_or_else(Network::ethereum);
        let address = given(&request.address)
            .map(|text| address::parse("address", &text, &address_network))
            .transpose()?;
        Ok(Self {
            challenge_id: given(&request.challenge_id)
                .map(|text| ChallengeId::parse("challenge_id", &text))
                .transpose()?,
            nonce: given(&request.nonce).map(|text| Nonce::parse(&text)).transpose()?,
            address,
            network,
            message: given(&request.message),
        })
    }

    /// What the challenge is looked up by: the most exact of what was given.
    fn key(&self) -> Result<ChallengeKey> {
        let by_id = self.challenge_id.map(ChallengeKey::Id);
        let by_nonce = || self.nonce.clone().map(ChallengeKey::Nonce);
        let by_address = || self.address.clone().map(ChallengeKey::Address);
        by_id
            .or_else(by_nonce)
            .or_else(by_address)
            .ok_or_else(|| Error::invalid("challenge_id", "or `nonce` or `address` is required"))
    }

    /// Those that can be redeemed and are what the caller says they are.
    fn candidates(&self, found: Vec<FoundChallenge>) -> Result<Vec<Challenge>> {
        let newest = found.first().ok_or(Error::ChallengeNotFound)?;
        // Each costs a recovery. Eight live ones on each of eight networks are more than an address has need
        // of; whoever is flooded with more names the challenge itself.
        if found.len() >= FOUND_LIMIT as usize {
            let why = "alone names too many live challenges: give `challenge_id` or `nonce`";
            return Err(Violation::new("address", Problem::Address, why).into());
        }
        self.agrees_with(&newest.challenge)?;
        match found.iter().any(|one| one.state == ChallengeState::Live).then_some(()).ok_or(newest.state) {
            Ok(()) => {}
            Err(ChallengeState::Redeemed) => return Err(Error::ChallengeAlreadyUsed),
            Err(ChallengeState::Expired | ChallengeState::Live) => return Err(Error::ChallengeExpired),
        }
        let live = found.into_iter().filter(|one| one.state == ChallengeState::Live);
        let same_text =
            |challenge: &Challenge| self.message.as_ref().is_none_or(|message| *message == challenge.message);
        let candidates: Vec<_> = live.map(|one| one.challenge).filter(same_text).collect();
        if candidates.is_empty() {
            let why = "must equal the challenge's message byte for byte";
            return Err(Violation::new("message", Problem::Message, why).into());
        }
        Ok(candidates)
    }

    /// Whatever was given besides the key must agree with what was found by it.
    fn agrees_with(&self, challenge: &Challenge) -> Result<()> {
        let differs = |field, problem| {
            Err(Violation::new(field, problem, "is not that of the challenge named beside it").into())
        };
        if self.nonce.as_ref().is_some_and(|nonce| *nonce != challenge.nonce) {
            return differs("nonce", Problem::Request);
        }
        if self.address.as_ref().is_some_and(|address| *address != challenge.address) {
            return differs("address", Problem::Address);
        }
        if self.network.as_ref().is_some_and(|network| *network != challenge.network) {
            return differs("network", Problem::Network);
        }
        Ok(())
    }
}

/// The challenge whose text was signed by the address that it was handed out for.
fn signed_by_its_address(candidates: Vec<Challenge>, signature: &Signature) -> Result<(Challenge, Wallet)> {
    candidates
        .into_iter()
        .find(|challenge| {
            signature.recover(&eip191::digest(&challenge.message)).as_ref() == Some(&challenge.address)
        })
        .map(|challenge| {
            let wallet = Wallet {
                address: challenge.address.clone(),
                network: challenge.network.clone(),
                kind: WalletKind::Eoa,
            };
            (challenge, wallet)
        })
        .ok_or(Error::SignatureMismatch)
}

/// Whether the policy still lets such challenges through; it may have changed since this one was started.
fn still_allowed(client: &Client, challenge: &Challenge) -> Result<()> {
    if !client.policy.formats.contains(&challenge.format) {
        return Err(Error::PolicyDenied("formats"));
    }
    if client.policy.allows_network(&challenge.network) {
        Ok(())
    } else {
        Err(Error::PolicyDenied("networks"))
    }
}

fn signed_in(outcome: RedeemOutcome) -> Result<SignedIn> {
    match outcome {
        RedeemOutcome::SignedIn(signed_in) => Ok(*signed_in),
        RedeemOutcome::NotFound => Err(Error::ChallengeNotFound),
        RedeemOutcome::AlreadyUsed => Err(Error::ChallengeAlreadyUsed),
        RedeemOutcome::Expired => Err(Error::ChallengeExpired),
        RedeemOutcome::SessionAlreadyActive => Err(Error::SessionAlreadyActive),
        RedeemOutcome::SessionRevoked => Err(Error::SessionRevoked),
        RedeemOutcome::SessionExpired => Err(Error::SessionExpired),
        RedeemOutcome::SessionMismatch => Err(Error::SignatureMismatch),
        RedeemOutcome::ClientDisabled => Err(Error::ClientDisabled),
    }
}
