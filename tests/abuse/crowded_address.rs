//! A stranger who starts challenges for the address of a wallet without end: its owner signs in by address alone.

use std::time::Instant;

use countersign::{
    grpc::v1::{
        Challenge, StartChallengeRequest, VerifyChallengeRequest,
        challenge_service_client::ChallengeServiceClient,
    },
    token::random,
    wallet::evm::EvmPrivateKey,
};
use tonic::{Code, Request, Status, transport::Channel};

use crate::{
    attack::{Attack, scaled, start, under_attack},
    process::{Process, client_made_by},
    support::TestStore,
};

on_both_stores![
    challenges_on_invented_chains_do_not_lock_the_owner_out,
    an_exhausted_address_limit_does_not_lock_the_owner_out,
];

/// The back end of an application, through which strangers start challenges for any address.
struct BackEnd {
    challenges: ChallengeServiceClient<Channel>,
    authorization: String,
}

impl BackEnd {
    async fn of(server: &Process, store: &TestStore, limits: &str) -> Self {
        let policy = store.folder.path().join("policy.json");
        std::fs::write(&policy, limits).unwrap();
        let policy = ["--policy-file", policy.to_str().unwrap()];
        let authorization = client_made_by(under_attack(), store, &policy);
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
        Self { challenges: ChallengeServiceClient::new(channel.connect().await.unwrap()), authorization }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.parse().unwrap());
        request
    }

    async fn start(&self, wallet: &EvmPrivateKey, network: &str) -> Result<Challenge, Status> {
        let (address, network) = (wallet.address().to_string(), network.to_owned());
        let start = self.request(StartChallengeRequest { address, network, ..Default::default() });
        let answer = self.challenges.clone().start_challenge(start).await?;
        Ok(answer.into_inner().challenge.unwrap())
    }

    /// Signs a challenge in by the address of its wallet alone.
    async fn sign_in(&self, wallet: &EvmPrivateKey, challenge: &Challenge) {
        let (address, signature) = (wallet.address().to_string(), wallet.sign_text(&challenge.message));
        let verify = self.request(VerifyChallengeRequest { address, signature, ..Default::default() });
        let began = Instant::now();
        self.challenges.clone().verify_challenge(verify).await.expect("the wallet's owner is locked out");
        eprintln!("the owner signs in within {:?}", began.elapsed());
    }
}

async fn challenges_on_invented_chains_do_not_lock_the_owner_out(store: &TestStore) {
    let server = start(store, &[]);
    let back_end = BackEnd::of(&server, store, r#"{"rateLimit": {"perClient": 0, "perAddress": 0}}"#).await;
    let owner = EvmPrivateKey::generate(random::bytes);
    let challenge = back_end.start(&owner, "").await.unwrap();
    let attempts = scaled(1_000);
    let attack = Attack::begin("challenges over invented chains");
    for chain in 0..attempts {
        back_end.start(&owner, &format!("eip155:{}", 1_000_000 + chain)).await.unwrap();
    }
    attack.end(attempts);
    back_end.sign_in(&owner, &challenge).await;
}

async fn an_exhausted_address_limit_does_not_lock_the_owner_out(store: &TestStore) {
    let server = start(store, &[]);
    let back_end = BackEnd::of(&server, store, "{}").await;
    let owner = EvmPrivateKey::generate(random::bytes);
    let attempts = scaled(1_000);
    let attack = Attack::begin("challenges for one address");
    for chain in 0..attempts {
        let network = if chain % 2 == 0 { String::new() } else { format!("eip155:{}", 1_000_000 + chain) };
        if let Err(status) = back_end.start(&owner, &network).await {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        }
    }
    attack.end(attempts);
    let challenge = back_end.start(&owner, "").await.expect("the wallet's owner is locked out");
    back_end.sign_in(&owner, &challenge).await;
}
