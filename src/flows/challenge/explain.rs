//! ExplainSignature: runs the checks of VerifyChallenge one by one and changes nothing.

use super::{
    find_signer::find_signer,
    lookup::{ChallengeLookup, is_cut, live, newest},
    owner::share,
    requests::VerifyChallenge,
    signed_message::signed_message,
};
use crate::{
    domain::{ChainAddress, Challenge, Client, Role, Session, SessionState, SignatureDetails, Verification},
    flows::{Caller, Error, Flows, Result, caller::with_role},
    store::{ChallengeScope, FoundChallenge},
};

/// What came of one check.
#[derive(Debug)]
pub enum CheckOutcome {
    /// It let the signature through.
    Passed,
    /// It would refuse it, with this error.
    Failed(Error),
    /// It had nothing to look at, since a check before it failed.
    Skipped,
}

/// One check of VerifyChallenge.
#[derive(Debug)]
pub struct Check {
    /// Its name, stable for machines.
    pub name: &'static str,
    /// What came of it.
    pub outcome: CheckOutcome,
}

/// What VerifyChallenge would make of a request.
#[derive(Debug, Default)]
pub struct Explanation {
    /// Every check, in the order in which VerifyChallenge makes them.
    pub checks: Vec<Check>,
    /// The challenge that was named, or the newest of several.
    pub challenge: Option<Challenge>,
    /// Who claims to have signed.
    pub claimed: Option<ChainAddress>,
    /// Details of the signature over what would have been signed.
    pub details: SignatureDetails,
    /// Who signed, if somebody did.
    pub verification: Option<Verification>,
}

/// What a request names.
struct NamedChallenge {
    lookup: ChallengeLookup,
    found: Vec<FoundChallenge>,
    newest: Challenge,
}

impl Explanation {
    /// Whether VerifyChallenge would sign in.
    pub fn accepted(&self) -> bool {
        self.checks.iter().all(|check| matches!(check.outcome, CheckOutcome::Passed))
    }

    /// Notes a check, and returns its value. An error that says nothing about the request is an error of the whole call.
    fn check<T>(&mut self, name: &'static str, outcome: Option<Result<T>>) -> Result<Option<T>> {
        let (outcome, value) = match outcome {
            Some(Ok(value)) => (CheckOutcome::Passed, Some(value)),
            Some(Err(error)) if error.is_no_verdict() => return Err(error),
            Some(Err(error)) => (CheckOutcome::Failed(error), None),
            None => (CheckOutcome::Skipped, None),
        };
        self.checks.push(Check { name, outcome });
        Ok(value)
    }

    /// Notes checks that have nothing to look at.
    fn skip(&mut self, names: &[&'static str]) {
        let skipped = names.iter().map(|&name| Check { name, outcome: CheckOutcome::Skipped });
        self.checks.extend(skipped);
    }
}

impl Flows {
    /// Makes the checks of VerifyChallenge, and redeems nothing.
    ///
    /// # Errors
    /// If the caller may not, or the store does not answer; what VerifyChallenge would refuse is no error here.
    pub async fn explain_signature(&self, caller: &Caller, request: &VerifyChallenge) -> Result<Explanation> {
        let client = with_role(caller.client()?, Role::SignIn)?;
        self.rate_limits.count(client, None)?;
        let mut report = Explanation::default();
        match self.named_challenge(client, request, &mut report).await? {
            Some(named) => self.explain(client, request, named, &mut report).await?,
            None => report.skip(&["agreement", "state", "message", "signature", "policy", "session"]),
        }
        Ok(report)
    }

    /// What the request says, and the challenges that it names.
    async fn named_challenge(
        &self,
        client: &Client,
        request: &VerifyChallenge,
        report: &mut Explanation,
    ) -> Result<Option<NamedChallenge>> {
        let lookup = report.check("fields", Some(ChallengeLookup::parse(client, request)))?;
        let key = report.check("key", lookup.as_ref().map(ChallengeLookup::key))?;
        let (Some(lookup), Some(key)) = (lookup, key) else {
            report.skip(&["challenge"]);
            return Ok(None);
        };
        let scope = own(client);
        let found =
            self.store_turn(share(scope)).await?.find_challenges(scope, key, lookup.network.clone()).await?;
        let newest = report.check("challenge", Some(newest(&found).map(|one| one.challenge.clone())))?;
        Ok(newest.map(|newest| NamedChallenge { lookup, found, newest }))
    }

    /// The checks of what was found.
    async fn explain(
        &self,
        client: &Client,
        request: &VerifyChallenge,
        NamedChallenge { lookup, found, newest }: NamedChallenge,
        report: &mut Explanation,
    ) -> Result<()> {
        let now = self.clock.now()?;
        report.check("agreement", Some(lookup.agrees_with(&newest)))?;
        let all = found.iter().map(|one| one.challenge.clone()).collect();
        let cut = is_cut(&found);
        let live = report.check("state", Some(live(found)))?;
        // Nodes are not asked about what would be refused anyway.
        let chains = report.accepted().then_some(&self.chains);
        let signed =
            find_signer(client, live.unwrap_or(all), cut, &lookup, &request.signature, now, chains).await;
        let challenge = signed.as_ref().map_or(newest, |(challenge, _)| challenge.clone());
        let message =
            report.check("message", Some(signed_message(&challenge, &lookup, &client.policy, now)))?;
        if let Some(message) = &message {
            report.claimed = Some(message.claimed.clone());
            report.details = message.details(&request.signature);
        }
        let signed = report.check("signature", message.map(|_| signed))?;
        let network = report.claimed.as_ref().map(|signer| &signer.network);
        let policy = network.map(|network| Ok(client.policy.check_challenge(challenge.format, network)?));
        report.check("policy", policy)?;
        report.verification = signed.map(|(_, verification)| verification);
        let session = match challenge.session_id {
            Some(id) => Some(self.store_turn(share(own(client))).await?.session(id).await?),
            None => None,
        };
        let waits = report.verification.as_ref().map(|verification| waits_for(session, verification));
        report.check("session", waits)?;
        report.challenge = Some(challenge);
        Ok(())
    }
}

/// The challenges of a client.
const fn own(client: &Client) -> ChallengeScope {
    ChallengeScope { client_id: client.id, session_id: None }
}

/// Whether the session of a challenge, if it is bound to one, waits for this wallet. The redeeming statement decides
/// this again, under its lock.
fn waits_for(session: Option<Option<Session>>, verification: &Verification) -> Result<()> {
    let Some(session) = session else { return Ok(()) };
    let session = session.ok_or(Error::SessionExpired)?;
    match session.state {
        SessionState::Revoked => return Err(Error::SessionRevoked),
        SessionState::Active => return Err(Error::SessionAlreadyActive),
        SessionState::Expired if session.sign_in.is_some() => return Err(Error::SessionAlreadyActive),
        SessionState::Expired => return Err(Error::SessionExpired),
        SessionState::Pending => {}
    }
    let wallet = &verification.wallet;
    if session.signing.address == wallet.address && wallet.signs_on(&session.signing.network) {
        Ok(())
    } else {
        Err(Error::SignatureMismatch)
    }
}
