//! What the cases start from: a store with a client, and its sessions, challenges and sign-ins.

use std::{sync::Arc, time::Duration};

use countersign::{
    domain::{
        AccountId, Address, ChainAddress, Challenge, ChallengeFormat, ChallengeId, Client, ClientId, Content,
        Network, Nonce, Policy, RootKeyId, Session, SessionId, SessionState, Verification,
        VerificationMethod, Wallet, WalletKind,
    },
    store::{
        ChallengeKey, ChallengeScope, FoundChallenge, NewChallenge, NewClient, NewSession, RedeemOutcome,
        Redemption, RotateOutcome, Rotated, Rotation, SignedIn, Store, StoreError, open,
    },
    token::random,
    wallet::evm::EvmPrivateKey,
};

use crate::support::TestStore;

/// The realm of the client that each case starts with.
pub const REALM: &str = "shops";

/// The root key of every session's first refresh token.
pub const FIRST_KEY: RootKeyId = RootKeyId([1; 8]);

/// The root key that refresh tokens are stepped on with.
pub const NEXT_KEY: RootKeyId = RootKeyId([2; 8]);

/// Fails, and shows the value, unless it is what the pattern says.
#[macro_export]
macro_rules! assert_is {
    ($value:expr, $pattern:pat $(if $guard:expr)?) => {{
        let value = $value;
        assert!(matches!(&value, $pattern $(if $guard)?), "not {}: {value:?}", stringify!($pattern));
    }};
}

/// A migrated store with one client.
pub struct Bench<'a> {
    /// The database.
    pub test: &'a TestStore,
    /// The store on it.
    pub store: Arc<dyn Store>,
    /// The client: the default policy, [`REALM`].
    pub client: Client,
}

impl<'a> Bench<'a> {
    /// Brings the schema up and makes the client.
    pub async fn on(test: &'a TestStore) -> Self {
        let store = open(&test.url).await.unwrap();
        store.migrate().await.unwrap();
        let client = store.create_client(new_client(REALM)).await.unwrap();
        Self { test, store, client }
    }

    /// Another client.
    pub async fn client_in(&self, realm: &str) -> Client {
        self.store.create_client(new_client(realm)).await.unwrap()
    }

    /// A PENDING session of the client for an address.
    pub async fn pending(&self, address: &Address) -> Session {
        self.store.create_session(new_session(&self.client, address)).await.unwrap()
    }

    /// A challenge as it would be handed out now.
    pub async fn new_challenge(&self, client: &Client, address: &Address) -> NewChallenge {
        let now = self.store.now().await.unwrap();
        NewChallenge {
            id: ChallengeId::generate(),
            client_id: client.id,
            session_id: None,
            link_to: None,
            format: ChallengeFormat::Text,
            nonce: Nonce::from_random(random::byte_source()),
            content_digest: [7; 32],
            content: Content::Text("Sign in to Shop\n\n'); DROP TABLE challenges; -- ü".to_owned()),
            signer: Some(ChainAddress { address: address.clone(), network: Network::ethereum() }),
            create_time: now,
            expire_time: now + Duration::from_mins(2),
        }
    }

    /// A challenge of the client for an address, bound to no session.
    pub async fn challenge(&self, address: &Address) -> Challenge {
        self.challenge_of(&self.client, address).await
    }

    /// A challenge of any client for an address, bound to no session.
    pub async fn challenge_of(&self, client: &Client, address: &Address) -> Challenge {
        self.store.issue_challenge(self.new_challenge(client, address).await).await.unwrap()
    }

    /// A challenge that is bound to a session of the client.
    pub async fn bound_challenge(&self, session: &Session) -> Challenge {
        let unbound = self.new_challenge(&self.client, &session.signing.address).await;
        let bound = NewChallenge { session_id: Some(session.id), ..unbound };
        self.store.issue_challenge(bound).await.unwrap()
    }

    /// What the client's scope shows under a key.
    pub async fn find(&self, key: ChallengeKey) -> Vec<FoundChallenge> {
        self.store.find_challenges(scope(&self.client), key, None).await.unwrap()
    }

    /// The client redeems its challenge with the wallet that was asked.
    pub fn redemption(&self, challenge: &Challenge) -> Redemption {
        redemption(&self.client, challenge)
    }

    /// As [`Self::redemption`], done.
    pub async fn redeem(&self, challenge: &Challenge) -> RedeemOutcome {
        redeem(self.store.clone(), self.redemption(challenge)).await
    }

    /// A whole sign-in at the client.
    pub async fn sign_in(&self, address: &Address) -> SignedIn {
        self.sign_in_at(&self.client, address).await
    }

    /// A whole sign-in at any client.
    pub async fn sign_in_at(&self, client: &Client, address: &Address) -> SignedIn {
        let challenge = self.challenge_of(client, address).await;
        signed_in(redeem(self.store.clone(), redemption(client, &challenge)).await)
    }

    /// Presents a refresh token.
    pub async fn rotate(&self, session: SessionId, generation: u32) -> RotateOutcome {
        rotate(self.store.clone(), rotation(session, generation)).await
    }

    /// A session as it is now.
    pub async fn session(&self, id: SessionId) -> Session {
        self.store.session(id).await.unwrap().unwrap()
    }

    /// The state of a session.
    pub async fn state(&self, id: SessionId) -> SessionState {
        self.session(id).await.state
    }
}

/// A client to be made, with the default policy.
pub fn new_client(realm: &str) -> NewClient {
    NewClient {
        id: ClientId::generate(),
        realm: realm.to_owned(),
        policy: Policy { name: "Shop".to_owned(), ..Policy::default() },
        secret_hash: random::bytes(),
    }
}

/// A session to be made for a client; somebody else is paid, on another chain.
pub fn new_session(client: &Client, address: &Address) -> NewSession {
    let polygon = Network::parse("", "POLYGON").unwrap();
    NewSession {
        id: SessionId::generate(),
        client_id: client.id,
        token_hash: random::bytes(),
        token_root_key_id: FIRST_KEY,
        signing: ChainAddress { address: address.clone(), network: Network::ethereum() },
        deposit: ChainAddress { address: new_address(), network: polygon },
        pending_ttl: Duration::from_mins(10),
    }
}

/// The address of a wallet that nobody has.
pub fn new_address() -> Address {
    EvmPrivateKey::generate(random::bytes).address()
}

/// All challenges of a client.
pub fn scope(client: &Client) -> ChallengeScope {
    ChallengeScope { client_id: client.id, session_id: None }
}

/// A client redeems a challenge with the wallet that was asked.
pub fn redemption(client: &Client, challenge: &Challenge) -> Redemption {
    Redemption {
        challenge_id: challenge.id,
        scope: scope(client),
        realm: client.realm.clone(),
        verification: Verification { wallet: wallet_of(challenge), method: VerificationMethod::Eoa },
        request_digest: None,
        new_account_id: AccountId::generate(),
        new_session_id: SessionId::generate(),
        root_key_id: FIRST_KEY,
        access_token_ttl: client.policy.access_token_ttl,
        refresh_token_ttl: client.policy.refresh_token_ttl,
        session_max_ttl: client.policy.session_max_ttl,
    }
}

/// Who is asked to sign a challenge.
pub fn signer_of(challenge: &Challenge) -> ChainAddress {
    challenge.signer.clone().unwrap()
}

/// The wallet that is asked to sign a challenge.
pub fn wallet_of(challenge: &Challenge) -> Wallet {
    let ChainAddress { address, network } = signer_of(challenge);
    Wallet { address, network, kind: WalletKind::Eoa }
}

/// A refresh token as it is presented without client credentials.
pub fn rotation(session_id: SessionId, generation: u32) -> Rotation {
    Rotation { session_id, generation, client_id: None, root_key_id: NEXT_KEY }
}

/// Calls again where a crowd made it wait for a row for too long, which changed nothing.
pub async fn retry_while_locked<T, F: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> F) -> T {
    for _ in 0..10 {
        match call().await {
            Err(StoreError::Locked) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("locked for ever")
}

/// Redeems as a task of its own can.
pub async fn redeem(store: Arc<dyn Store>, redemption: Redemption) -> RedeemOutcome {
    retry_while_locked(|| store.redeem_challenge(redemption.clone())).await
}

/// Rotates as a task of its own can.
pub async fn rotate(store: Arc<dyn Store>, rotation: Rotation) -> RotateOutcome {
    retry_while_locked(|| store.rotate_refresh_token(rotation.clone())).await
}

/// The sign-in that a redemption must have been.
pub fn signed_in(outcome: RedeemOutcome) -> SignedIn {
    match outcome {
        RedeemOutcome::SignedIn(signed_in) => *signed_in,
        other => panic!("not signed in: {other:?}"),
    }
}

/// The step that a rotation must have been.
pub fn rotated(outcome: RotateOutcome) -> Rotated {
    match outcome {
        RotateOutcome::Rotated(rotated) => rotated,
        other => panic!("not rotated: {other:?}"),
    }
}

/// The replay that a rotation must have been.
pub fn replayed(outcome: RotateOutcome) -> Rotated {
    match outcome {
        RotateOutcome::Replayed(rotated) => rotated,
        other => panic!("not replayed: {other:?}"),
    }
}

/// What the next refresh token is derived from.
pub fn next_token(outcome: &RotateOutcome) -> (u32, RootKeyId) {
    match outcome {
        RotateOutcome::Rotated(Rotated { generation, root_key_id, .. })
        | RotateOutcome::Replayed(Rotated { generation, root_key_id, .. }) => (*generation, *root_key_id),
        other => panic!("{other:?}"),
    }
}
