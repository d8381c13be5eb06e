//! Idempotent replay of VerifyChallenge: a request whose answer was lost is answered again.

use super::{owner::share, requests::VerifyChallenge};
use crate::{
    domain::{Client, Namespace, RootKeyId, Verification, Violation},
    flows::{Error, Flows, Result},
    state::audit,
    store::{ChallengeScope, Replay, ReplayOutcome, RequestDigest, SignedIn},
    token::sha256,
    wallet::canonical_signature,
};

/// How long a `request_id` may be.
const MAX_LENGTH: usize = 128;

/// What a request came to when it came before.
pub(crate) struct ReplayedSignIn {
    pub(crate) signed_in: SignedIn,
    /// Of the root key that the session's refresh tokens are derived from.
    pub(crate) root_key_id: RootKeyId,
    pub(crate) verification: Verification,
}

impl Flows {
    /// What the request came to when it came before; `None` where it has redeemed nothing, or cannot be told.
    ///
    /// # Errors
    /// If it has redeemed a challenge, but is not answered again any more.
    pub(crate) async fn replay_request(
        &self,
        client: &Client,
        scope: ChallengeScope,
        digest: Option<RequestDigest>,
    ) -> Result<Option<ReplayedSignIn>> {
        let Some(digest) = digest else { return Ok(None) };
        let replay = Replay { digest, scope, access_token_ttl: client.policy.access_token_ttl };
        let replayed = match self.store_turn(share(scope)).await?.replay_redemption(replay).await? {
            ReplayOutcome::Replayed(replayed) => *replayed,
            ReplayOutcome::Unknown => return Ok(None),
            ReplayOutcome::TooLate => return Err(Error::ChallengeAlreadyUsed),
            ReplayOutcome::SessionRevoked => return Err(Error::SessionRevoked),
            ReplayOutcome::ClientDisabled => return Err(Error::ClientDisabled),
        };
        let sign_in = replayed.signed_in.session.sign_in.as_ref();
        let wallet = sign_in.ok_or_else(|| Error::internal("a sign-in without a wallet"))?.wallet.clone();
        let verification = Verification { wallet, method: replayed.method };
        audit::signed_in(&replayed.signed_in.session, &verification, true);
        let (signed_in, root_key_id) = (replayed.signed_in, replayed.root_key_id);
        Ok(Some(ReplayedSignIn { signed_in, root_key_id, verification }))
    }
}

/// What tells a request that has a `request_id` from every other, and from the same one of another caller. The
/// signature counts as what it decodes to; `None` where it decodes to nothing, which redeems nothing.
///
/// # Errors
/// If the `request_id` is none.
pub(crate) fn request_digest(
    scope: ChallengeScope,
    request: &VerifyChallenge,
) -> Result<Option<RequestDigest>> {
    if request.request_id.is_empty() {
        return Ok(None);
    }
    if request.request_id.len() > MAX_LENGTH || !request.request_id.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(Violation::request("request_id", "must be 1 to 128 visible ASCII characters").into());
    }
    let canonical = |namespace| canonical_signature(&request.signature, namespace);
    let Some(signature) = Namespace::ALL.into_iter().find_map(canonical) else {
        return Ok(None);
    };
    let client = scope.client_id.to_string();
    let session = scope.session_id.map(|id| id.to_string()).unwrap_or_default();
    let parts = [
        client.as_str(),
        &session,
        &request.request_id,
        &request.challenge_id,
        &request.nonce,
        &request.address,
        &request.network,
        &signature,
        &request.message,
    ];
    // Each with its length in front, so that nothing can move from one to the next.
    let framed = parts.iter().flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.bytes()));
    Ok(Some(sha256(&framed.collect::<Vec<u8>>())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ClientId, SessionId};

    fn request() -> VerifyChallenge {
        VerifyChallenge {
            address: "0xab".to_owned(),
            signature: "11".repeat(64),
            message: "text".to_owned(),
            request_id: "one".to_owned(),
            ..VerifyChallenge::default()
        }
    }

    #[test]
    fn a_request_is_told_from_every_other_by_each_field_and_by_its_caller() {
        let scope = ChallengeScope { client_id: ClientId::generate(), session_id: None };
        let own = request_digest(scope, &request()).unwrap();
        assert!(own.is_some());
        let t = |text: &str| text.to_owned();
        let others = [
            VerifyChallenge { request_id: t("two"), ..request() },
            VerifyChallenge { challenge_id: t("id"), ..request() },
            VerifyChallenge { nonce: t("n"), ..request() },
            VerifyChallenge { address: t("0xac"), ..request() },
            VerifyChallenge { network: t("text"), message: String::new(), ..request() },
            VerifyChallenge { signature: "12".repeat(64), ..request() },
            VerifyChallenge { message: t("texts"), ..request() },
        ];
        for other in &others {
            assert_ne!(request_digest(scope, other).unwrap(), own, "{other:?}");
        }
        let elsewhere = [
            ChallengeScope { session_id: Some(SessionId::generate()), ..scope },
            ChallengeScope { client_id: ClientId::generate(), ..scope },
        ];
        for scope in elsewhere {
            assert_ne!(request_digest(scope, &request()).unwrap(), own);
        }
    }

    #[test]
    fn a_signature_counts_as_what_it_decodes_to() {
        let scope = ChallengeScope { client_id: ClientId::generate(), session_id: None };
        let of =
            |signature: String| request_digest(scope, &VerifyChallenge { signature, ..request() }).unwrap();
        let digits = "ab".repeat(100);
        assert_eq!(of(digits.to_uppercase()), of(format!("0x{digits}")));
        assert_eq!(of("no signature".to_owned()), None);
    }

    #[test]
    fn without_an_id_nothing_is_told_and_a_wrong_one_is_refused() {
        let scope = ChallengeScope { client_id: ClientId::generate(), session_id: None };
        let of =
            |id: &str| request_digest(scope, &VerifyChallenge { request_id: id.to_owned(), ..request() });
        assert_eq!(of("").unwrap(), None);
        assert!(of(&"x".repeat(128)).unwrap().is_some());
        for wrong in ["a b", "é", "a\n", &"x".repeat(129)] {
            let Err(Error::Invalid(violations)) = of(wrong) else { panic!("{wrong}") };
            assert_eq!(violations[0].field, "request_id");
        }
    }
}
