//! The caller on whose behalf a challenge is started or redeemed.

use time::OffsetDateTime;

use crate::{
    domain::{Address, ChainAddress, ChallengeFormat, Client, Role, Session, SessionState, session::SignIn},
    flows::{
        Caller, Error, Result,
        caller::{User, with_role},
    },
    state::store_shares::{Party, Share},
    store::ChallengeScope,
};

/// A client, with the session that its challenges are bound to.
#[derive(Clone, Copy)]
pub(crate) struct ChallengeOwner<'a> {
    pub(crate) client: &'a Client,
    /// The session that a challenge is bound to.
    pub(crate) session: Option<&'a Session>,
    /// The sign-in whose account gets a further wallet, where the challenge links one.
    pub(crate) linking: Option<&'a SignIn>,
}

impl<'a> ChallengeOwner<'a> {
    /// The owner of a challenge that the caller starts.
    pub(crate) fn starting(caller: &'a Caller) -> Result<Self> {
        let (client, session, linking) = match caller {
            Caller::Client(record) => (&record.client, None, None),
            Caller::Device { session, client } => match session.state {
                SessionState::Pending => (&client.client, Some(session.as_ref()), None),
                SessionState::Active => return Err(Error::SessionAlreadyActive),
                SessionState::Revoked => return Err(Error::SessionRevoked),
                SessionState::Expired => return Err(Error::SessionTokenExpired),
            },
            Caller::User { .. } => {
                let User { session, sign_in, client } = caller.user()?;
                (client, Some(session), Some(sign_in))
            }
        };
        Ok(Self { client: with_role(client, Role::SignIn)?, session, linking })
    }

    /// The owner of the sign-in challenges that the caller may redeem: a device only those of its own session.
    pub(crate) fn redeeming(caller: &'a Caller) -> Result<Self> {
        let (record, session) = match caller {
            Caller::Client(record) => (record, None),
            Caller::Device { session, client } => (client, Some(session.as_ref())),
            Caller::User { .. } => {
                return Err(Error::CredentialsMissing(
                    "Basic client credentials or Bearer with a session token",
                ));
            }
        };
        Ok(Self { client: with_role(&record.client, Role::SignIn)?, session, linking: None })
    }

    /// The challenges that the owner may look up.
    pub(crate) fn scope(self) -> ChallengeScope {
        ChallengeScope { client_id: self.client.id, session_id: self.session.map(|session| session.id) }
    }

    /// The session that waits for its own signer.
    pub(crate) fn pending_session(self) -> Option<&'a Session> {
        self.session.filter(|_| self.linking.is_none())
    }

    /// Address whose rate limit applies, if any. A session token can only request its session's own address, and its
    /// session has a limit; challenges that others start for the address must not lock its owner out.
    pub(crate) fn counted_address(self, signer: &ChainAddress) -> Option<&Address> {
        self.pending_session().is_none().then_some(&signer.address)
    }

    /// The format that was asked for, or the policy's first. A LINK challenge needs one whose text the server writes:
    /// a composed text need not say that a wallet is being linked.
    pub(crate) fn format(self, asked: Option<ChallengeFormat>) -> Result<ChallengeFormat> {
        let formats = &self.client.policy.formats;
        let fits = |format: &ChallengeFormat| self.linking.is_none() || *format != ChallengeFormat::Nonce;
        asked
            .or_else(|| formats.iter().copied().find(fits))
            .filter(|format| formats.contains(format) && fits(format))
            .ok_or(Error::PolicyDenied("formats"))
    }

    /// Checks that a sign-in to link to is recent enough, before anybody signs in vain. The linking statement decides
    /// this again.
    pub(crate) fn check_reauthentication(self, now: OffsetDateTime) -> Result<()> {
        let window = self.client.policy.reauth_window;
        match self.linking {
            Some(sign_in) if sign_in.authenticate_time + window <= now => {
                Err(Error::ReauthenticationRequired)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Store share for look-ups in a challenge scope.
pub(crate) fn share(scope: ChallengeScope) -> Share {
    match scope.session_id {
        Some(session_id) => Share::of_session(scope.client_id, session_id),
        None => Share::of(Party::Client(scope.client_id)),
    }
}
