//! LinkWallet: links a further wallet to the user's account.

use crate::{
    domain::{Challenge, ChallengeId, LinkedWallets, Role, Verification},
    flows::{
        Caller, Error, Flows, Result,
        caller::{User, with_role},
        challenge::{find_signer::find_signer, lookup::ChallengeLookup, requests::VerifyChallenge},
    },
    state::audit,
    store::{ChallengeState, LinkOutcome, SessionRejected, SignedInAs, WalletLink},
};

/// What LinkWallet takes, as it came in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/account.proto documents each field")]
pub struct LinkWallet {
    pub challenge_id: String,
    pub signature: String,
    pub message: String,
}

impl Flows {
    /// Redeems a linking challenge of this very session: the wallet that signed it is the account's from now on.
    ///
    /// # Errors
    /// If the session, the challenge or the signature does not allow it; nothing is changed then.
    pub async fn link_wallet(&self, caller: &Caller, request: &LinkWallet) -> Result<LinkedWallets> {
        let user = caller.user()?;
        with_role(user.client, Role::SignIn)?;
        let challenge_id = ChallengeId::parse("challenge_id", &request.challenge_id)?;
        let lookup = ChallengeLookup::parse(user.client, &request.clone().into())?;
        self.rate_limits.count(user.client, None)?;
        let found = self.store_turn(caller.share()).await?.link_challenge(user.who(), challenge_id).await?;
        let found = found.ok_or(Error::ChallengeNotFound)?;
        let is_redeemed = match found.state {
            ChallengeState::Expired => return Err(Error::ChallengeExpired),
            // Whoever sends the same again, since the answer was lost, is answered again.
            ChallengeState::Redeemed => true,
            ChallengeState::Live => false,
        };
        let verification = match self.linking_wallet(&user, found.challenge, &lookup, request).await {
            Err(Error::SignatureMismatch) if is_redeemed => return Err(Error::ChallengeAlreadyUsed),
            verification => verification?,
        };
        let link = WalletLink {
            who: user.who(),
            challenge_id,
            verification,
            reauth_window: user.client.policy.reauth_window,
            max_wallets: user.client.policy.max_wallets,
        };
        let verification = link.verification.clone();
        let account = linked(self.store_turn(caller.share()).await?.link_wallet(link).await?)?;
        audit::wallet_linked(user.session, &verification);
        Ok(account)
    }

    /// The wallet that signed, if the policy still lets it.
    async fn linking_wallet(
        &self,
        user: &User<'_>,
        challenge: Challenge,
        lookup: &ChallengeLookup,
        request: &LinkWallet,
    ) -> Result<Verification> {
        let now = self.clock.now()?;
        let chains = Some(&self.chains);
        let (challenge, verification) =
            find_signer(user.client, vec![challenge], false, lookup, &request.signature, now, chains).await?;
        user.client.policy.check_challenge(challenge.format, &verification.wallet.network)?;
        Ok(verification)
    }
}

impl User<'_> {
    /// The session, and the account that it must be of on the store, too.
    pub(crate) const fn who(&self) -> SignedInAs {
        SignedInAs { session_id: self.session.id, account_id: self.sign_in.account_id }
    }
}

impl From<LinkWallet> for VerifyChallenge {
    fn from(request: LinkWallet) -> Self {
        let LinkWallet { challenge_id, signature, message } = request;
        Self { challenge_id, signature, message, ..Self::default() }
    }
}

fn linked(outcome: LinkOutcome) -> Result<LinkedWallets> {
    match outcome {
        LinkOutcome::Linked(account) => Ok(*account),
        LinkOutcome::SessionRejected(why) => Err(why.into()),
        LinkOutcome::NotFound => Err(Error::ChallengeNotFound),
        LinkOutcome::AlreadyUsed => Err(Error::ChallengeAlreadyUsed),
        LinkOutcome::Expired => Err(Error::ChallengeExpired),
        LinkOutcome::AlreadyLinked => Err(Error::WalletAlreadyLinked),
        LinkOutcome::LimitReached => Err(Error::WalletLimitReached),
    }
}

impl From<SessionRejected> for Error {
    fn from(why: SessionRejected) -> Self {
        match why {
            SessionRejected::SessionRevoked => Self::SessionRevoked,
            SessionRejected::SessionExpired => Self::AccessTokenExpired,
            SessionRejected::ClientDisabled => Self::ClientDisabled,
            SessionRejected::ReauthenticationRequired => Self::ReauthenticationRequired,
        }
    }
}
