//! Requests of ChallengeService, before they are parsed.

use time::OffsetDateTime;

use crate::domain::ChallengeFormat;

/// What StartChallenge takes, as it came in; `None` stands for the policy's first format.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/challenge.proto documents each field")]
pub struct StartChallenge {
    pub format: Option<ChallengeFormat>,
    pub address: String,
    pub network: String,
    pub domain: String,
    pub uri: String,
    pub statement: String,
    pub resources: Vec<String>,
    pub request_id: String,
    pub not_before: Option<OffsetDateTime>,
}

/// What VerifyChallenge takes, as it came in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/challenge.proto documents each field")]
pub struct VerifyChallenge {
    pub challenge_id: String,
    pub nonce: String,
    pub address: String,
    pub network: String,
    pub signature: String,
    pub message: String,
    pub request_id: String,
}
