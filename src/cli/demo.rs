//! `countersign demo`: a real server, a real wallet, every step shown.

mod formats;

use std::io;

use clap::Args;
use tonic::Status;

use super::{
    Outcome, client,
    grpc_client::{GrpcClient, reason, tokens, with},
};
use crate::{
    app::App,
    config::{Problems, ServeSettings},
    flows::{Error, client::create::create_client},
    grpc::v1,
    token::random,
    wallet::evm::EvmPrivateKey,
};

#[derive(Args)]
pub(super) struct Demo {}

/// Everything that the steps share.
struct Stage {
    grpc: GrpcClient,
    wallet: EvmPrivateKey,
    /// The client's credentials.
    client: String,
}

impl Demo {
    /// Ends with an error as soon as something does not go as it should.
    pub(super) async fn run(self) -> Outcome {
        let app = App::start(&settings()?).await?;
        say!("A server runs on {}, its store is embedded and gone afterwards.", app.grpc_address);
        let stage = Stage::new(&app).await?;
        let outcome = stage.play().await;
        app.run_until(std::future::ready(())).await?;
        outcome?;
        say!("\nThat was Countersign. Next: `countersign serve`, and README's walk with grpcurl.");
        Ok(())
    }
}

/// Any free ports, a store in memory.
fn settings() -> Result<ServeSettings, Problems> {
    super::settings_of(&[
        ("database-url", "sqlite::memory:"),
        ("grpc-listen", "127.0.0.1:0"),
        ("http-listen", "127.0.0.1:0"),
        ("operations-listen", "127.0.0.1:0"),
        ("issuer", "https://countersign.example"),
    ])
}

impl Stage {
    async fn new(app: &App) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let policy = formats::policy().map_err(Error::Invalid)?;
        let (made, secret) = create_client(app.store.as_ref(), policy, "").await?;
        say!("A client was made: {} ({})", made.id, made.policy.name);
        let wallet = EvmPrivateKey::generate(random::bytes);
        say!("A throw-away wallet was made: {}", wallet.address());
        Ok(Self {
            grpc: GrpcClient::connect(app.grpc_address).await?,
            wallet,
            client: client::authorization(made.id, &secret),
        })
    }

    async fn play(mut self) -> Outcome {
        let session_token = self.create_session().await?;
        let challenge = self.start_challenge(&session_token).await?;
        let signed_in = self.sign_in(&session_token, &challenge).await?;
        self.replays_are_refused(&session_token, &challenge).await?;
        let second = self.sign_in_again().await?;
        self.other_formats().await?;
        let newest = self.refresh(tokens(signed_in.tokens)?).await?;
        self.theft_is_noticed(newest).await?;
        self.log_out(tokens(second.tokens)?).await
    }

    async fn create_session(&mut self) -> Result<String, Status> {
        heading("A back end announces a sign-in: CreateSession, with the client's credentials")?;
        let request = v1::CreateSessionRequest {
            signing_address: self.wallet.address().to_string(),
            signing_network: "ETHEREUM".to_owned(),
            ..Default::default()
        };
        let answer = self.grpc.sessions.create_session(with(&self.client, request)?).await?.into_inner();
        let session = answer.session.unwrap_or_default();
        say!("  session        {} {}", session.id, session.state().as_str_name());
        say!(
            "  session token  {}  (for the device, which holds no secret)",
            shortened(&answer.session_token)
        );
        Ok(format!("Bearer {}", answer.session_token))
    }

    async fn start_challenge(&mut self, session_token: &str) -> Result<v1::Challenge, Status> {
        heading("The device asks for something to sign: StartChallenge, with the session token")?;
        let challenge = self.grpc.start(session_token, "").await?;
        show_text(&challenge)?;
        Ok(challenge)
    }

    async fn sign_in(
        &mut self,
        authorization: &str,
        challenge: &v1::Challenge,
    ) -> Result<v1::VerifyChallengeResponse, Status> {
        heading("The wallet countersigns, and the challenge is redeemed: VerifyChallenge")?;
        let signature = self.wallet.sign_text(&challenge.message);
        let answer = self.grpc.verify(authorization, &challenge.id, &signature).await?;
        show_sign_in(&answer)?;
        Ok(answer)
    }

    async fn replays_are_refused(&mut self, authorization: &str, challenge: &v1::Challenge) -> Outcome {
        heading("What is refused")?;
        let signature = self.wallet.sign_text(&challenge.message);
        let reused = self.grpc.verify(authorization, &challenge.id, &signature).await;
        refused("the same signature again", reused, "CHALLENGE_ALREADY_USED")?;

        let address = self.wallet.address().to_string();
        let next = self.grpc.start(&self.client, &address).await?;
        let old = self.grpc.verify(&self.client, &next.id, &signature).await;
        refused("the old signature for a new challenge", old, "SIGNATURE_MISMATCH")?;
        let stranger = EvmPrivateKey::generate(random::bytes).sign_text(&next.message);
        let strange = self.grpc.verify(&self.client, &next.id, &stranger).await;
        refused("another wallet's signature", strange, "SIGNATURE_MISMATCH")?;
        let malformed = self.grpc.verify(&self.client, &next.id, "0x1234").await;
        refused("something that is no signature", malformed, "INVALID_SIGNATURE_ENCODING")?;
        let nobody = self.grpc.start("Basic bm9ib2R5Om5vdGhpbmc=", &address).await;
        refused("credentials of nobody", nobody, "CLIENT_CREDENTIALS_INVALID")
    }

    async fn sign_in_again(&mut self) -> Result<v1::VerifyChallengeResponse, Status> {
        heading("The shorter way: no session beforehand, the client's credentials throughout")?;
        let address = self.wallet.address().to_string();
        let challenge = self.grpc.start(&self.client, &address).await?;
        let signature = self.wallet.sign_text(&challenge.message);
        let answer = self.grpc.verify(&self.client, &challenge.id, &signature).await?;
        show_sign_in(&answer)?;
        Ok(answer)
    }

    /// The token before the newest, and the newest.
    async fn refresh(
        &mut self,
        first: v1::TokenPair,
    ) -> Result<[String; 3], Box<dyn std::error::Error + Send + Sync>> {
        heading("Refresh tokens rotate: RefreshToken")?;
        let second = self.grpc.refresh(&first.refresh_token).await?.refresh_token;
        say!("  {} -> {}", shortened(&first.refresh_token), shortened(&second));
        let retried = self.grpc.refresh(&first.refresh_token).await?.refresh_token;
        say!("  {} -> {}  (a retry within the grace)", shortened(&first.refresh_token), shortened(&retried));
        if retried != second {
            return Err("the retry was answered with another token".into());
        }
        let third = self.grpc.refresh(&second).await?.refresh_token;
        say!("  {} -> {}", shortened(&second), shortened(&third));
        Ok([first.refresh_token, second, third])
    }

    async fn theft_is_noticed(&mut self, [first, _, newest]: [String; 3]) -> Outcome {
        heading("A stolen refresh token ends the session")?;
        refused("the first token, two steps later", self.grpc.refresh(&first).await, "REFRESH_TOKEN_REUSED")?;
        refused("now even the newest", self.grpc.refresh(&newest).await, "SESSION_REVOKED")
    }

    async fn log_out(&mut self, tokens: v1::TokenPair) -> Outcome {
        heading("Logging out: RevokeToken; the store knows at once: IntrospectToken")?;
        say!("  before  active: {}", self.is_active(&tokens.access_token).await?);
        let request = v1::RevokeTokenRequest { token: tokens.refresh_token, ..Default::default() };
        self.grpc.tokens.revoke_token(request).await?;
        let active = self.is_active(&tokens.access_token).await?;
        say!("  after   active: {active}");
        if active { Err("a revoked token is still active".into()) } else { Ok(()) }
    }

    async fn is_active(&mut self, token: &str) -> Result<bool, Status> {
        let request = v1::IntrospectTokenRequest { token: token.to_owned(), ..Default::default() };
        let answer = self.grpc.tokens.introspect_token(with(&self.client, request)?).await?;
        Ok(answer.into_inner().active)
    }
}

fn heading(text: &str) -> io::Result<()> {
    say!("\n{text}");
    Ok(())
}

fn show_text(challenge: &v1::Challenge) -> io::Result<()> {
    say!("  {}; the wallet shows:", challenge.format().as_str_name());
    for line in challenge.message.lines() {
        say!("    | {line}");
    }
    Ok(())
}

fn show_sign_in(answer: &v1::VerifyChallengeResponse) -> Result<(), Status> {
    let session = answer.session.clone().unwrap_or_default();
    let account = answer.account.clone().unwrap_or_default();
    let tokens = tokens(answer.tokens.clone())?;
    let newness = if account.created { "new" } else { "known" };
    say!("  session        {} {}", session.id, session.state().as_str_name());
    say!("  account        {} ({newness})", account.id);
    say!("  access token   {}", shortened(&tokens.access_token));
    say!("  refresh token  {}", shortened(&tokens.refresh_token));
    Ok(())
}

/// Shows that a call was refused, and for this very reason.
fn refused<T>(what: &str, outcome: Result<T, Status>, expected: &str) -> Outcome {
    match outcome {
        Err(status) if reason(&status) == expected => {
            say!("  {what}: {expected}");
            Ok(())
        }
        Err(status) => Err(format!("{what}: expected {expected}, but got {status}").into()),
        Ok(_) => Err(format!("{what}: expected {expected}, but it was let through").into()),
    }
}

/// The ends of a token: enough to tell it from others.
fn shortened(token: &str) -> String {
    match (token.get(..8), token.len().checked_sub(6).and_then(|from| token.get(from..))) {
        (Some(start), Some(end)) if token.len() > 20 => format!("{start}...{end}"),
        _ => token.to_owned(),
    }
}
