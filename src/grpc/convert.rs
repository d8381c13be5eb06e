//! Between the messages of the API and the values of the domain.

use prost_types::Timestamp;
use time::OffsetDateTime;

use super::{status::reason, v1};
use crate::{
    domain::{
        Account, Challenge, ChallengeFormat, ChallengePurpose, RevokeReason, Session, SessionState,
        Verification, VerificationMethod, Violation, WalletKind,
    },
    flows::{
        AccessClaims, KeyMembers, PublicJwk,
        challenge::explain::{Check, CheckOutcome, Explanation},
        token::{introspect::Introspection, issue::TokenPair},
    },
};

/// A point in time, to the microsecond.
pub fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: time.unix_timestamp(), nanos: i32::try_from(time.nanosecond()).unwrap_or(0) }
}

/// The point in time that a field names.
///
/// # Errors
/// A violation of `field` unless it lies within the years 1 to 9999 (the range of the message).
pub fn time(field: &str, timestamp: Timestamp) -> Result<OffsetDateTime, Violation> {
    let nanos = u32::try_from(timestamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let time = OffsetDateTime::from_unix_timestamp(timestamp.seconds).ok();
    time.zip(nanos)
        .and_then(|(time, nanos)| time.replace_nanosecond(nanos).ok())
        .ok_or_else(|| Violation::request(field, "must be a time from the year 1 to 9999"))
}

impl From<Session> for v1::Session {
    fn from(session: Session) -> Self {
        let sign_in = session.sign_in.as_ref();
        let revocation = session.revocation;
        Self {
            id: session.id.to_string(),
            client_id: session.client_id.to_string(),
            state: v1::SessionState::from(session.state).into(),
            account_id: sign_in.map(|sign_in| sign_in.account_id.to_string()).unwrap_or_default(),
            authenticate_time: sign_in.map(|sign_in| timestamp(sign_in.authenticate_time)),
            signing_address: session.signing.address.to_string(),
            signing_network: session.signing.network.to_string(),
            deposit_address: session.deposit.address.to_string(),
            deposit_network: session.deposit.network.to_string(),
            create_time: Some(timestamp(session.create_time)),
            update_time: Some(timestamp(session.update_time)),
            expire_time: Some(timestamp(session.expire_time)),
            revoke_time: revocation.map(|revocation| timestamp(revocation.time)),
            revoke_reason: revocation.map_or(v1::RevokeReason::Unspecified, |r| r.reason.into()).into(),
        }
    }
}

impl From<SessionState> for v1::SessionState {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Pending => Self::Pending,
            SessionState::Active => Self::Active,
            SessionState::Revoked => Self::Revoked,
            SessionState::Expired => Self::Expired,
        }
    }
}

impl From<RevokeReason> for v1::RevokeReason {
    fn from(reason: RevokeReason) -> Self {
        match reason {
            RevokeReason::RevokedByClient => Self::RevokedByClient,
            RevokeReason::RevokedByUser => Self::RevokedByUser,
            RevokeReason::AccountSessionsRevoked => Self::AccountSessionsRevoked,
            RevokeReason::TokenRevoked => Self::TokenRevoked,
            RevokeReason::RefreshTokenReused => Self::RefreshTokenReused,
            RevokeReason::ClientDeleted => Self::ClientDeleted,
            RevokeReason::WalletUnlinked => Self::WalletUnlinked,
            RevokeReason::Later => Self::Unspecified,
        }
    }
}

impl From<Challenge> for v1::Challenge {
    fn from(challenge: Challenge) -> Self {
        let purpose = match challenge.purpose {
            ChallengePurpose::SignIn => v1::ChallengePurpose::SignIn,
            ChallengePurpose::LinkWallet => v1::ChallengePurpose::LinkWallet,
        };
        Self {
            id: challenge.id.to_string(),
            purpose: purpose.into(),
            format: v1::ChallengeFormat::from(challenge.format).into(),
            nonce: challenge.nonce.as_str().to_owned(),
            message: challenge.content.text().unwrap_or_default().to_owned(),
            typed_data_json: challenge.content.typed_data().unwrap_or_default().to_owned(),
            address: challenge.signer.as_ref().map(|signer| signer.address.to_string()).unwrap_or_default(),
            network: challenge.signer.as_ref().map(|signer| signer.network.to_string()).unwrap_or_default(),
            create_time: Some(timestamp(challenge.create_time)),
            expire_time: Some(timestamp(challenge.expire_time)),
        }
    }
}

impl From<ChallengeFormat> for v1::ChallengeFormat {
    fn from(format: ChallengeFormat) -> Self {
        match format {
            ChallengeFormat::Text => Self::Text,
            ChallengeFormat::Siwx => Self::Siwx,
            ChallengeFormat::TypedData => Self::TypedData,
            ChallengeFormat::Nonce => Self::Nonce,
        }
    }
}

/// The format that a request or a policy names; `None` where it leaves it open.
///
/// # Errors
/// A violation of `field` for a number that names no format.
pub fn format(field: &str, number: i32) -> Result<Option<ChallengeFormat>, Violation> {
    match v1::ChallengeFormat::try_from(number) {
        Ok(v1::ChallengeFormat::Unspecified) => Ok(None),
        Ok(v1::ChallengeFormat::Text) => Ok(Some(ChallengeFormat::Text)),
        Ok(v1::ChallengeFormat::Siwx) => Ok(Some(ChallengeFormat::Siwx)),
        Ok(v1::ChallengeFormat::TypedData) => Ok(Some(ChallengeFormat::TypedData)),
        Ok(v1::ChallengeFormat::Nonce) => Ok(Some(ChallengeFormat::Nonce)),
        Err(_) => Err(Violation::request(field, "must be a ChallengeFormat that this version knows")),
    }
}

impl From<Account> for v1::Account {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.to_string(),
            create_time: Some(timestamp(account.create_time)),
            created: account.created,
            wallets: Vec::new(),
        }
    }
}

impl From<TokenPair> for v1::TokenPair {
    fn from(tokens: TokenPair) -> Self {
        Self {
            access_token: tokens.access_token.into_exposed(),
            access_token_expire_time: Some(timestamp(tokens.access_token_expire_time)),
            refresh_token: tokens.refresh_token.into_exposed(),
            refresh_token_expire_time: Some(timestamp(tokens.refresh_token_expire_time)),
            token_type: "Bearer".to_owned(),
        }
    }
}

impl From<Verification> for v1::Verification {
    fn from(Verification { wallet, method }: Verification) -> Self {
        Self {
            method: v1::VerificationMethod::from(method).into(),
            address: wallet.address.to_string(),
            network: wallet.network.to_string(),
            block_number: method.block_number(),
        }
    }
}

impl From<VerificationMethod> for v1::VerificationMethod {
    fn from(method: VerificationMethod) -> Self {
        match method {
            VerificationMethod::Eoa => Self::Eoa,
            VerificationMethod::Eip1271 { .. } => Self::Eip1271,
            VerificationMethod::Erc6492 { .. } => Self::Erc6492,
            VerificationMethod::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<WalletKind> for v1::WalletKind {
    fn from(kind: WalletKind) -> Self {
        match kind {
            WalletKind::Eoa => Self::Eoa,
            WalletKind::Contract => Self::Contract,
            WalletKind::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<Explanation> for v1::ExplainSignatureResponse {
    fn from(explanation: Explanation) -> Self {
        let accepted = explanation.accepted();
        let hex = |bytes: Vec<u8>| format!("0x{}", hex::encode(bytes));
        let (challenge, details) = (explanation.challenge, explanation.details);
        Self {
            accepted,
            checks: explanation.checks.into_iter().map(Into::into).collect(),
            format: challenge.as_ref().map_or(v1::ChallengeFormat::Unspecified, |it| it.format.into()).into(),
            nonce: challenge.as_ref().map(|it| it.nonce.as_str().to_owned()).unwrap_or_default(),
            challenge_id: challenge.map(|it| it.id.to_string()).unwrap_or_default(),
            address: explanation.claimed.as_ref().map(|it| it.address.to_string()).unwrap_or_default(),
            network: explanation.claimed.map(|it| it.network.to_string()).unwrap_or_default(),
            signature: details.canonical.unwrap_or_default(),
            recovered_address: details.recovered.map(|it| it.to_string()).unwrap_or_default(),
            signed_bytes_hex: details.signed_bytes.map(hex).unwrap_or_default(),
            digest_hex: details.digest.map(|digest| hex(digest.to_vec())).unwrap_or_default(),
            verification: explanation.verification.map(Into::into),
        }
    }
}

impl From<Check> for v1::SignatureCheck {
    fn from(Check { name, outcome }: Check) -> Self {
        let (outcome, error) = match outcome {
            CheckOutcome::Passed => (v1::CheckOutcome::Passed, None),
            CheckOutcome::Failed(error) => (v1::CheckOutcome::Failed, Some(error)),
            CheckOutcome::Skipped => (v1::CheckOutcome::Skipped, None),
        };
        Self {
            name: name.to_owned(),
            outcome: outcome.into(),
            reason: error.as_ref().map(reason).unwrap_or_default().to_owned(),
            description: error.map(|error| error.to_string()).unwrap_or_default(),
        }
    }
}

impl From<PublicJwk> for v1::Jwk {
    fn from(key: PublicJwk) -> Self {
        let common = Self {
            kty: key.members.key_type().to_owned(),
            r#use: "sig".to_owned(),
            alg: key.algorithm.as_str().to_owned(),
            kid: key.kid,
            crv: key.members.curve().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        match key.members {
            KeyMembers::Ec { x, y } => Self { x, y, ..common },
            KeyMembers::Okp { x } => Self { x, ..common },
            KeyMembers::Rsa { n, e } => Self { n, e, ..common },
        }
    }
}

impl From<Introspection> for v1::IntrospectTokenResponse {
    fn from(introspection: Introspection) -> Self {
        match introspection {
            Introspection::Inactive => Self::default(),
            Introspection::Access(claims) => access_token(&claims),
            Introspection::Refresh { session, scope, issuer } => refresh_token(&session, scope, issuer),
        }
    }
}

fn access_token(claims: &AccessClaims) -> v1::IntrospectTokenResponse {
    v1::IntrospectTokenResponse {
        active: true,
        aud: claims.aud.to_vec(),
        scope: claims.scope.clone(),
        client_id: claims.client_id.to_string(),
        token_type: "access_token".to_owned(),
        exp: seconds(claims.exp),
        iat: seconds(claims.iat),
        sub: claims.sub.to_string(),
        iss: claims.iss.clone(),
        jti: claims.jti.to_string(),
        sid: claims.sid.to_string(),
        auth_time: seconds(claims.auth_time),
        address: claims.address.clone(),
        network: claims.network.clone(),
    }
}

fn refresh_token(session: &Session, scope: String, iss: String) -> v1::IntrospectTokenResponse {
    let Some(sign_in) = &session.sign_in else {
        return v1::IntrospectTokenResponse::default();
    };
    v1::IntrospectTokenResponse {
        active: true,
        scope,
        client_id: session.client_id.to_string(),
        token_type: "refresh_token".to_owned(),
        exp: seconds(session.expire_time.unix_timestamp()),
        sub: sign_in.account_id.to_string(),
        iss,
        sid: session.id.to_string(),
        auth_time: seconds(sign_in.authenticate_time.unix_timestamp()),
        address: sign_in.wallet.address.to_string(),
        network: sign_in.wallet.network.to_string(),
        ..v1::IntrospectTokenResponse::default()
    }
}

/// RFC 7662's numbers are 32 bits here, which end in 2106.
fn seconds(time: i64) -> u32 {
    u32::try_from(time).unwrap_or(u32::MAX)
}
