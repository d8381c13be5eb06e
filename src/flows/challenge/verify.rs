//! VerifyChallenge: redeems a challenge and opens the session.

use super::{
    find_signer::find_signer,
    lookup::{ChallengeLookup, is_cut},
    owner::{ChallengeOwner, share},
    replay::request_digest,
    requests::VerifyChallenge,
};
use crate::{
    domain::{Account, AccountId, ChallengeId, Client, RootKeyId, Session, SessionId, Verification},
    flows::{Caller, Error, Flows, Result, token::issue::TokenPair},
    state::audit,
    store::{ChallengeScope, RedeemOutcome, Redemption, RequestDigest, SignedIn},
};

/// What a redeemed challenge gives.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The session, ACTIVE.
    pub session: Session,
    /// The wallet's account.
    pub account: Account,
    /// The session's first tokens.
    pub tokens: TokenPair,
    /// The wallet that signed, and how that was found out.
    pub verification: Verification,
}

impl Flows {
    /// Redeems a challenge, at most once. With a `request_id`, the very same request is answered again for a
    /// while: before anything else is tried, and after, where its twin was faster.
    ///
    /// # Errors
    /// If the challenge, the signature or the session does not allow it; nothing is changed then.
    pub async fn verify_challenge(&self, caller: &Caller, request: &VerifyChallenge) -> Result<Verified> {
        let owner = ChallengeOwner::redeeming(caller)?;
        let (client, scope) = (owner.client, owner.scope());
        let lookup = ChallengeLookup::parse(client, request)?;
        let digest = request_digest(scope, request)?;
        self.rate_limits.count(client, None)?;
        if let Some(verified) = self.replay(client, scope, digest).await? {
            return Ok(verified);
        }
        match self.redeem(client, scope, &lookup, request, digest).await {
            Err(error) => match self.replay(client, scope, digest).await {
                // The redemption may have been committed: "nothing was executed" would be wrong.
                Err(_) if error.is_no_verdict() => Err(error),
                replayed => replayed?.ok_or(error),
            },
            verified => verified,
        }
    }

    /// The answer of the same request when it came before, with a new access token.
    async fn replay(
        &self,
        client: &Client,
        scope: ChallengeScope,
        digest: Option<RequestDigest>,
    ) -> Result<Option<Verified>> {
        let Some(earlier) = self.replay_request(client, scope, digest).await? else { return Ok(None) };
        self.verified(client, earlier.signed_in, earlier.root_key_id, earlier.verification).map(Some)
    }

    async fn redeem(
        &self,
        client: &Client,
        scope: ChallengeScope,
        lookup: &ChallengeLookup,
        request: &VerifyChallenge,
        digest: Option<RequestDigest>,
    ) -> Result<Verified> {
        let found = self
            .store_turn(share(scope))
            .await?
            .find_challenges(scope, lookup.key()?, lookup.network.clone())
            .await?;
        let cut = is_cut(&found);
        let candidates = lookup.candidates(found)?;
        let now = self.clock.now()?;
        let (challenge, verification) =
            find_signer(client, candidates, cut, lookup, &request.signature, now, Some(&self.chains)).await?;
        client.policy.check_challenge(challenge.format, &verification.wallet.network)?;
        let redemption = self.redemption(client, scope, challenge.id, &verification, digest);
        let signed_in = signed_in(self.store_turn(share(scope)).await?.redeem_challenge(redemption).await?)?;
        audit::signed_in(&signed_in.session, &verification, false);
        self.verified(client, signed_in, self.roots.primary(), verification)
    }

    fn redemption(
        &self,
        client: &Client,
        scope: ChallengeScope,
        challenge_id: ChallengeId,
        verification: &Verification,
        request_digest: Option<RequestDigest>,
    ) -> Redemption {
        Redemption {
            challenge_id,
            scope,
            realm: client.realm.clone(),
            verification: verification.clone(),
            request_digest,
            new_account_id: AccountId::generate(),
            new_session_id: SessionId::generate(),
            root_key_id: self.roots.primary(),
            access_token_ttl: client.policy.access_token_ttl,
            refresh_token_ttl: client.policy.refresh_token_ttl,
            session_max_ttl: client.policy.session_max_ttl,
        }
    }

    /// A sign-in with its first tokens.
    fn verified(
        &self,
        client: &Client,
        signed_in: SignedIn,
        root_key_id: RootKeyId,
        verification: Verification,
    ) -> Result<Verified> {
        let tokens = self.issue_tokens(client, &signed_in.session, 1, root_key_id, signed_in.now)?;
        Ok(Verified { session: signed_in.session, account: signed_in.account, tokens, verification })
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
