//! Rows of either backend into domain values.

use std::time::Duration;

use sqlx::{Decode, Postgres, Sqlite, Type};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    ChallengeState, FoundChallenge, Result, ReusableChallenge, RevokedSession, RootKeyUse, SigningKeyState,
    StoreError, StoredSigningKey, policy_json,
};
use crate::domain::{
    Account, Address, ChainAddress, Challenge, ChallengeFormat, ChallengePurpose, Client, Content,
    LinkedWallet, LinkedWallets, LiveSecret, Network, Nonce, RevokeReason, RootKeyId, Sealed, Session,
    SessionState, SigningAlgorithm, Wallet, WalletKind,
    session::{Revocation, SignIn},
};

/// A row, read by the names of its columns.
pub(super) trait StoredRow {
    /// A value of a type that both backends keep in the same way.
    fn read<T: Plain>(&self, column: &str) -> Result<T>;

    /// A time.
    fn time(&self, column: &str) -> Result<OffsetDateTime>;

    /// A time, unless it is NULL.
    fn optional_time(&self, column: &str) -> Result<Option<OffsetDateTime>>;
}

/// A type that is read in the same way from both backends.
pub(super) trait Plain:
    Type<Postgres> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + for<'r> Decode<'r, Sqlite>
{
}

impl<T> Plain for T where
    T: Type<Postgres> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + for<'r> Decode<'r, Sqlite>
{
}

/// A session, its state as of the column `now`.
pub(super) fn session(row: &impl StoredRow) -> Result<Session> {
    let mut session = Session {
        id: row.read::<Uuid>("id")?.into(),
        client_id: row.read::<Uuid>("client_id")?.into(),
        state: SessionState::Pending,
        signing: chain_address(row, "signing_address", "signing_network")?,
        deposit: chain_address(row, "deposit_address", "deposit_network")?,
        create_time: row.time("create_time")?,
        update_time: row.time("update_time")?,
        expire_time: row.time("expire_time")?,
        sign_in: sign_in(row)?,
        revocation: revocation(row)?,
    };
    session.state = session.state_at(row.time("now")?);
    Ok(session)
}

fn sign_in(row: &impl StoredRow) -> Result<Option<SignIn>> {
    let Some(account_id) = row.read::<Option<Uuid>>("account_id")? else {
        return Ok(None);
    };
    let wallet = chain_address(row, "wallet_address", "wallet_network")?;
    Ok(Some(SignIn {
        account_id: account_id.into(),
        wallet: Wallet {
            address: wallet.address,
            network: wallet.network,
            kind: wallet_kind(row, "wallet_kind")?,
        },
        authenticate_time: row.time("authenticate_time")?,
        hard_expire_time: row.time("hard_expire_time")?,
        generation: generation(row)?,
    }))
}

/// The current generation of a signed-in session.
pub(super) fn generation(row: &impl StoredRow) -> Result<u32> {
    let stored: i32 = row.read("refresh_generation")?;
    u32::try_from(stored).map_err(|_| StoreError::unreadable("refresh_generation", &stored.to_string()))
}

fn revocation(row: &impl StoredRow) -> Result<Option<Revocation>> {
    let Some(time) = row.optional_time("revoke_time")? else {
        return Ok(None);
    };
    let reason: String = row.read("revoke_reason")?;
    let reason = RevokeReason::from_stored(&reason);
    Ok(Some(Revocation { time, reason }))
}

fn chain_address(row: &impl StoredRow, address: &str, network: &str) -> Result<ChainAddress> {
    Ok(ChainAddress {
        address: Address::from_canonical(row.read(address)?),
        network: Network::from_canonical(row.read(network)?),
    })
}

/// A challenge.
pub(super) fn challenge(row: &impl StoredRow) -> Result<Challenge> {
    let purpose: String = row.read("purpose")?;
    let format: String = row.read("format")?;
    let signer = match row.read::<Option<String>>("address")? {
        Some(_) => Some(chain_address(row, "address", "network")?),
        None => None,
    };
    Ok(Challenge {
        id: row.read::<Uuid>("id")?.into(),
        client_id: row.read::<Uuid>("client_id")?.into(),
        session_id: row.read::<Option<Uuid>>("session_id")?.map(Into::into),
        purpose: ChallengePurpose::from_stored(&purpose)
            .ok_or_else(|| StoreError::unreadable("purpose", &purpose))?,
        format: ChallengeFormat::from_stored(&format)
            .ok_or_else(|| StoreError::unreadable("format", &format))?,
        nonce: Nonce::from_stored(row.read("nonce")?),
        content: content(row)?,
        signer,
        create_time: row.time("create_time")?,
        expire_time: row.time("expire_time")?,
    })
}

/// A challenge, and whether it can be redeemed at the time read with it.
pub(super) fn found_challenge(row: &impl StoredRow) -> Result<FoundChallenge> {
    let challenge = challenge(row)?;
    let redeem_time = row.optional_time("redeem_time")?;
    let now = row.time("now")?;
    let state = match redeem_time {
        Some(_) => ChallengeState::Redeemed,
        None if challenge.expire_time <= now => ChallengeState::Expired,
        None => ChallengeState::Live,
    };
    Ok(FoundChallenge { challenge, state, cut: false })
}

/// A challenge that may be handed out again.
pub(super) fn reusable_challenge(row: &impl StoredRow) -> Result<ReusableChallenge> {
    let content_digest = bytes(row, "content_digest")?;
    Ok(ReusableChallenge { challenge: challenge(row)?, content_digest })
}

fn content(row: &impl StoredRow) -> Result<Content> {
    let (text, typed_data): (Option<String>, Option<String>) =
        (row.read("message")?, row.read("typed_data_json")?);
    Ok(match (text, typed_data) {
        (Some(text), _) => Content::Text(text),
        (None, Some(json)) => Content::TypedData(json),
        (None, None) => Content::Nonce,
    })
}

/// A client; its policy comes as text.
pub(super) fn client(row: &impl StoredRow) -> Result<Client> {
    Ok(Client {
        id: row.read::<Uuid>("id")?.into(),
        realm: row.read("realm")?,
        policy: policy_json::read(&row.read::<String>("policy")?)?,
        create_time: row.time("create_time")?,
        update_time: row.time("update_time")?,
    })
}

/// The client of a session's row; its policy comes as text.
pub(super) fn client_of_session(row: &impl StoredRow) -> Result<Client> {
    Ok(Client {
        id: row.read::<Uuid>("client_id")?.into(),
        realm: row.read("client_realm")?,
        policy: policy_json::read(&row.read::<String>("client_policy")?)?,
        create_time: row.time("client_create_time")?,
        update_time: row.time("client_update_time")?,
    })
}

/// The secret of a client's row; none where the client has no live one.
pub(super) fn secret(row: &impl StoredRow) -> Result<Option<LiveSecret>> {
    let Some(id) = row.read::<Option<Uuid>>("secret_id")? else { return Ok(None) };
    Ok(Some(LiveSecret {
        id: id.into(),
        hash: bytes(row, "hash")?,
        create_time: row.time("secret_create_time")?,
        last_used_time: row.optional_time("last_used_time")?,
    }))
}

/// The account of its rows, one for each wallet.
pub(super) fn linked_wallets(found: &[impl StoredRow]) -> Result<Option<LinkedWallets>> {
    let Some(first) = found.first() else { return Ok(None) };
    let account = Account {
        id: first.read::<Uuid>("id")?.into(),
        create_time: first.time("create_time")?,
        created: false,
    };
    Ok(Some(LinkedWallets { account, wallets: found.iter().map(linked_wallet).collect::<Result<_>>()? }))
}

/// The kind of a wallet.
pub(super) fn wallet_kind(row: &impl StoredRow, column: &str) -> Result<WalletKind> {
    let kind: String = row.read(column)?;
    WalletKind::from_stored(&kind).ok_or_else(|| StoreError::unreadable(column, &kind))
}

fn linked_wallet(row: &impl StoredRow) -> Result<LinkedWallet> {
    let address = Address::from_canonical(row.read("address")?);
    Ok(LinkedWallet {
        wallet: Wallet::from_identity(row.read("scope")?, address, wallet_kind(row, "kind")?),
        link_time: row.time("link_time")?,
        last_sign_in_time: row.optional_time("last_sign_in_time")?,
    })
}

/// A session that was revoked while it had access tokens.
pub(super) fn revoked_session(row: &impl StoredRow) -> Result<RevokedSession> {
    let reason: String = row.read("revoke_reason")?;
    Ok(RevokedSession {
        id: row.read::<Uuid>("id")?.into(),
        client_id: row.read::<Uuid>("client_id")?.into(),
        account_id: row.read::<Uuid>("account_id")?.into(),
        revoke_time: row.time("revoke_time")?,
        reason: RevokeReason::from_stored(&reason),
        access_expire_time: row.time("access_expire_time")?,
    })
}

/// A signing key that is published.
pub(super) fn signing_key(row: &impl StoredRow) -> Result<StoredSigningKey> {
    let algorithm: String = row.read("algorithm")?;
    Ok(StoredSigningKey {
        kid: row.read("kid")?,
        algorithm: SigningAlgorithm::from_stored(&algorithm)
            .ok_or_else(|| StoreError::unreadable("algorithm", &algorithm))?,
        sealed: sealed(row)?,
        state: signing_key_state(&row.read::<String>("state")?)?,
        create_time: row.time("create_time")?,
        activate_time: row.optional_time("activate_time")?,
        remove_time: row.optional_time("remove_time")?,
    })
}

/// The state of a signing key.
pub(super) fn signing_key_state(stored: &str) -> Result<SigningKeyState> {
    SigningKeyState::from_stored(stored).ok_or_else(|| StoreError::unreadable("state", stored))
}

/// The uses of a root key.
pub(super) fn root_key_use(row: &impl StoredRow) -> Result<RootKeyUse> {
    let count = |column| Ok::<_, StoreError>(u64::try_from(row.read::<i64>(column)?).unwrap_or(0));
    Ok(RootKeyUse {
        root_key_id: RootKeyId(bytes(row, "fingerprint")?),
        signing_keys: count("signing_keys")?,
        sessions: count("sessions")?,
        has_canary: row.read("canary")?,
    })
}

/// Bytes that are sealed under a root key.
pub(super) fn sealed(row: &impl StoredRow) -> Result<Sealed> {
    Ok(Sealed { root_key_id: RootKeyId(bytes(row, "root_fingerprint")?), bytes: row.read("sealed")? })
}

/// Bytes of a fixed length.
pub(super) fn bytes<const N: usize>(row: &impl StoredRow, column: &str) -> Result<[u8; N]> {
    let stored: Vec<u8> = row.read(column)?;
    let length = stored.len();
    stored.try_into().map_err(|_| StoreError::unreadable(column, &format!("{length} bytes")))
}

/// A length of time as statements take it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
