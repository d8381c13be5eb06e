//! Rows into domain values.

use sqlx::{Row as _, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    domain::{
        Address, Challenge, ChallengeFormat, ChallengePurpose, Client, Content, Network, Nonce, Party,
        RevokeReason, Session, SessionState, Wallet, WalletKind,
        session::{Revocation, SignIn},
    },
    store::{ChallengeState, FoundChallenge, Result, StoreError, policy_json},
};

/// A session, its state as of the column `now`.
pub(super) fn session(row: &PgRow) -> Result<Session> {
    let mut session = Session {
        id: row.try_get::<Uuid, _>("id")?.into(),
        client_id: row.try_get::<Uuid, _>("client_id")?.into(),
        state: SessionState::Pending,
        signing: party(row, "signing_address", "signing_network")?,
        deposit: party(row, "deposit_address", "deposit_network")?,
        create_time: row.try_get("create_time")?,
        update_time: row.try_get("update_time")?,
        expire_time: row.try_get("expire_time")?,
        sign_in: sign_in(row)?,
        revocation: revocation(row)?,
    };
    session.state = session.state_at(row.try_get("now")?);
    Ok(session)
}

fn sign_in(row: &PgRow) -> Result<Option<SignIn>> {
    let Some(account_id) = row.try_get::<Option<Uuid>, _>("account_id")? else {
        return Ok(None);
    };
    let wallet = party(row, "wallet_address", "wallet_network")?;
    let kind: String = row.try_get("wallet_kind")?;
    Ok(Some(SignIn {
        account_id: account_id.into(),
        wallet: Wallet {
            address: wallet.address,
            network: wallet.network,
            kind: WalletKind::from_stored(&kind)
                .ok_or_else(|| StoreError::unreadable("wallet_kind", &kind))?,
        },
        authenticate_time: row.try_get("authenticate_time")?,
        hard_expire_time: row.try_get("hard_expire_time")?,
        generation: generation(row)?,
    }))
}

/// The current generation of a signed-in session.
pub(super) fn generation(row: &PgRow) -> Result<u32> {
    let stored: i32 = row.try_get("refresh_generation")?;
    u32::try_from(stored).map_err(|_| StoreError::unreadable("refresh_generation", &stored.to_string()))
}

fn revocation(row: &PgRow) -> Result<Option<Revocation>> {
    let Some(time) = row.try_get::<Option<OffsetDateTime>, _>("revoke_time")? else {
        return Ok(None);
    };
    let reason: String = row.try_get("revoke_reason")?;
    let reason = RevokeReason::from_stored(&reason);
    Ok(Some(Revocation { time, reason }))
}

fn party(row: &PgRow, address: &str, network: &str) -> Result<Party> {
    Ok(Party {
        address: Address::from_canonical(row.try_get(address)?),
        network: Network::from_canonical(row.try_get(network)?),
    })
}

/// A challenge.
pub(super) fn challenge(row: &PgRow) -> Result<Challenge> {
    let purpose: String = row.try_get("purpose")?;
    let format: String = row.try_get("format")?;
    let party = match row.try_get::<Option<String>, _>("address")? {
        Some(_) => Some(party(row, "address", "network")?),
        None => None,
    };
    Ok(Challenge {
        id: row.try_get::<Uuid, _>("id")?.into(),
        client_id: row.try_get::<Uuid, _>("client_id")?.into(),
        session_id: row.try_get::<Option<Uuid>, _>("session_id")?.map(Into::into),
        purpose: ChallengePurpose::from_stored(&purpose)
            .ok_or_else(|| StoreError::unreadable("purpose", &purpose))?,
        format: ChallengeFormat::from_stored(&format)
            .ok_or_else(|| StoreError::unreadable("format", &format))?,
        nonce: Nonce::from_stored(row.try_get("nonce")?),
        content: content(row)?,
        party,
        create_time: row.try_get("create_time")?,
        expire_time: row.try_get("expire_time")?,
    })
}

/// A challenge, and whether it can be redeemed at the time read with it.
pub(super) fn found_challenge(row: &PgRow) -> Result<FoundChallenge> {
    let challenge = challenge(row)?;
    let redeem_time: Option<OffsetDateTime> = row.try_get("redeem_time")?;
    let now: OffsetDateTime = row.try_get("now")?;
    let state = match redeem_time {
        Some(_) => ChallengeState::Redeemed,
        None if challenge.expire_time <= now => ChallengeState::Expired,
        None => ChallengeState::Live,
    };
    Ok(FoundChallenge { challenge, state })
}

fn content(row: &PgRow) -> Result<Content> {
    let (text, typed_data): (Option<String>, Option<String>) =
        (row.try_get("message")?, row.try_get("typed_data_json")?);
    Ok(match (text, typed_data) {
        (Some(text), _) => Content::Text(text),
        (None, Some(json)) => Content::TypedData(json),
        (None, None) => Content::Nonce,
    })
}

/// A client; its policy comes as text.
pub(super) fn client(row: &PgRow) -> Result<Client> {
    Ok(Client {
        id: row.try_get::<Uuid, _>("id")?.into(),
        realm: row.try_get("realm")?,
        policy: policy_json::read(row.try_get("policy")?)?,
        create_time: row.try_get("create_time")?,
        update_time: row.try_get("update_time")?,
    })
}

/// The client of a session's row; its policy comes as text.
pub(super) fn client_of_session(row: &PgRow) -> Result<Client> {
    Ok(Client {
        id: row.try_get::<Uuid, _>("client_id")?.into(),
        realm: row.try_get("client_realm")?,
        policy: policy_json::read(row.try_get("client_policy")?)?,
        create_time: row.try_get("client_create_time")?,
        update_time: row.try_get("client_update_time")?,
    })
}

/// Bytes of a fixed length.
pub(super) fn bytes<const N: usize>(row: &PgRow, column: &str) -> Result<[u8; N]> {
    let stored: Vec<u8> = row.try_get(column)?;
    exactly(column, &stored)
}

/// A slice as an array.
pub(super) fn exactly<const N: usize>(column: &str, stored: &[u8]) -> Result<[u8; N]> {
    stored.try_into().map_err(|_| StoreError::unreadable(column, &format!("{} bytes", stored.len())))
}

/// A length of time as statements take it.
pub(super) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
