//! The other formats of the demo: what a wallet shows, and that its signature signs in.

use super::{Stage, heading, show_text};
use crate::{
    cli::{Outcome, grpc_client::with},
    domain::{ChallengeFormat, Policy, TypedDataDomain, Violation},
    grpc::v1,
    token::random,
    wallet::{evm::eip712::AuthMessage, solana::SolanaPrivateKey},
};

/// What stands before the nonce in a text that the caller composes.
const GREETING: &str = "One click signs you in to Demo Shop. Code: ";

/// A policy with all of them.
pub(super) fn policy() -> Result<Policy, Vec<Violation>> {
    Ok(Policy {
        name: "Demo Shop".to_owned(),
        formats: vec![
            ChallengeFormat::Text,
            ChallengeFormat::Siwx,
            ChallengeFormat::TypedData,
            ChallengeFormat::Nonce,
        ],
        domains: vec!["shop.example".to_owned()],
        uris: vec!["https://shop.example/login".to_owned()],
        statements: vec!["I accept the terms of Demo Shop.".to_owned()],
        nonce_messages: vec![GREETING.to_owned()],
        typed_data_domain: Some(TypedDataDomain::parse("Demo Shop", "1", 1, &"0".repeat(40))?),
        ..Policy::default()
    })
}

impl Stage {
    /// A sign-in in each format that was not shown yet.
    pub(super) async fn other_formats(&mut self) -> Outcome {
        self.sign_in_text().await?;
        self.typed_data().await?;
        self.nonce().await?;
        self.solana().await
    }

    async fn sign_in_text(&mut self) -> Outcome {
        heading("EIP-4361, written by the server out of the client's policy")?;
        let address = self.wallet.address().to_string();
        let challenge = self.start(v1::ChallengeFormat::Siwx, &address, "").await?;
        show_text(&challenge)?;
        let signature = self.wallet.sign_text(&challenge.message);
        self.signs_in(by_id(&challenge, signature)).await
    }

    async fn typed_data(&mut self) -> Outcome {
        heading("EIP-712 typed data, for eth_signTypedData_v4")?;
        let address = self.wallet.address().to_string();
        let challenge = self.start(v1::ChallengeFormat::TypedData, &address, "").await?;
        let json: serde_json::Value = serde_json::from_str(&challenge.typed_data_json)?;
        say!("  {}; the wallet shows:", challenge.format().as_str_name());
        say!("    | {} {}", json["domain"]["name"].as_str().unwrap_or_default(), json["primaryType"]);
        say!("    | address: {}", json["message"]["address"]);
        say!("    | noonce:  {}", json["message"]["noonce"]);
        let message = AuthMessage::from_json(&challenge.typed_data_json).ok_or("unreadable typed data")?;
        let signature = self.wallet.sign_typed_data(&message);
        self.signs_in(by_id(&challenge, signature)).await
    }

    async fn nonce(&mut self) -> Outcome {
        heading("A nonce for nobody in particular: the caller composes the text")?;
        let challenge = self.start(v1::ChallengeFormat::Nonce, "", "").await?;
        let text = format!("{GREETING}{}", challenge.nonce);
        say!("  {}; the wallet shows:\n    | {text}", challenge.format().as_str_name());
        let request = v1::VerifyChallengeRequest {
            address: self.wallet.address().to_string(),
            message: GREETING.to_owned(),
            ..by_id(&challenge, self.wallet.sign_text(&text))
        };
        self.signs_in(request).await
    }

    async fn solana(&mut self) -> Outcome {
        heading("A Solana wallet: Ed25519 over its own form of the text")?;
        let wallet = SolanaPrivateKey::generate(random::bytes);
        let challenge = self.start(v1::ChallengeFormat::Siwx, wallet.address().as_str(), "SOLANA").await?;
        show_text(&challenge)?;
        let signature = wallet.sign_text(&challenge.message);
        self.signs_in(by_id(&challenge, signature)).await
    }

    async fn start(
        &mut self,
        format: v1::ChallengeFormat,
        address: &str,
        network: &str,
    ) -> Result<v1::Challenge, tonic::Status> {
        let request = v1::StartChallengeRequest {
            format: format.into(),
            address: address.to_owned(),
            network: network.to_owned(),
            ..Default::default()
        };
        let answer = self.grpc.challenges.start_challenge(with(&self.client, request)?).await?;
        answer.into_inner().challenge.ok_or_else(|| tonic::Status::internal("an answer without a challenge"))
    }

    async fn signs_in(&mut self, request: v1::VerifyChallengeRequest) -> Outcome {
        let answer = self.grpc.challenges.verify_challenge(with(&self.client, request)?).await?.into_inner();
        let verified = answer.verification.unwrap_or_default();
        say!("  signed in      {} on {}", verified.address, verified.network);
        say!("  verified by    {}", verified.method().as_str_name());
        Ok(())
    }
}

fn by_id(challenge: &v1::Challenge, signature: String) -> v1::VerifyChallengeRequest {
    v1::VerifyChallengeRequest { challenge_id: challenge.id.clone(), signature, ..Default::default() }
}
