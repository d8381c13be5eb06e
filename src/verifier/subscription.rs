//! Subscription of a verifier: the published keys and the revocation stream.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tonic::{Request, Status, Streaming, transport::Channel};

use super::Shared;
use crate::{
    domain::SigningAlgorithm,
    grpc::v1::{
        GetJwksRequest, Jwk, WatchRevocationsRequest, WatchRevocationsResponse,
        token_service_client::TokenServiceClient,
    },
    token::{
        PublicKeys, random,
        signing_key::{KeyMembers, PublicJwk},
    },
};

type Stream = Streaming<WatchRevocationsResponse>;

/// How long an answer is waited for; a stream says something every second.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stream that ended is left alone, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Asks for the keys.
pub(super) async fn read_keys(shared: &Shared, channel: &Channel) -> Result<(), Status> {
    let mut service = TokenServiceClient::new(channel.clone());
    let answer = timeout(STALL_TIMEOUT, service.get_jwks(GetJwksRequest {})).await;
    let keys = answer.map_err(|_| Status::deadline_exceeded("no answer within 10 s"))??.into_inner().keys;
    let revoked = shared.revoked.read().unwrap_or_else(PoisonError::into_inner);
    // An instance that has not read a revocation yet may still publish its key.
    let keys = keys.into_iter().filter_map(public_jwk).filter(|key| !revoked.has_key(&key.kid));
    *shared.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(PublicKeys::new(keys));
    Ok(())
}

/// A key of an algorithm that is known here.
fn public_jwk(key: Jwk) -> Option<PublicJwk> {
    let Jwk { kid, alg, x, y, n, e, .. } = key;
    let algorithm = SigningAlgorithm::from_stored(&alg)?;
    let members = match algorithm {
        SigningAlgorithm::Es256 => KeyMembers::Ec { x, y },
        SigningAlgorithm::EdDsa => KeyMembers::Okp { x },
        SigningAlgorithm::Rs256 => KeyMembers::Rsa { n, e },
    };
    Some(PublicJwk { kid, algorithm, members })
}

/// Asks for the keys for ever: when they are old, and when one is missing. While nobody answers, those that are
/// known stay.
pub(super) async fn follow_keys(shared: Arc<Shared>, channel: Channel) {
    loop {
        sleep(shared.settings.keys_pause).await;
        let rest = shared.settings.keys_max_age.saturating_sub(shared.settings.keys_pause);
        tokio::select! {
            () = sleep(rest) => {}
            () = shared.missing.notified() => {}
        }
        if let Err(error) = read_keys(&shared, &channel).await {
            tracing::warn!(code = ?error.code(), "the keys of access tokens could not be read");
        }
    }
}

/// Subscribes to revocations and applies the initial state; `None` without client credentials.
pub(super) async fn watch(shared: &Shared, channel: &Channel) -> Result<Option<Stream>, Status> {
    let Some(authorization) = &shared.settings.authorization else { return Ok(None) };
    let resume_from = shared.revoked.read().unwrap_or_else(PoisonError::into_inner).as_of();
    let mut request = Request::new(WatchRevocationsRequest { resume_from });
    let value = authorization.expose().parse();
    let value = value.map_err(|_| Status::invalid_argument("the client's credentials are none"))?;
    request.metadata_mut().insert("authorization", value);
    let mut service = TokenServiceClient::new(channel.clone());
    let answer = timeout(STALL_TIMEOUT, service.watch_revocations(request)).await;
    let mut stream = answer.map_err(|_| Status::deadline_exceeded("no answer within 10 s"))??.into_inner();
    shared.revoked.write().unwrap_or_else(PoisonError::into_inner).begin();
    while !receive(shared, &mut stream).await? {}
    Ok(Some(stream))
}

/// Receives one message: whether the state is complete for now.
async fn receive(shared: &Shared, stream: &mut Stream) -> Result<bool, Status> {
    let message = timeout(STALL_TIMEOUT, stream.message()).await;
    let message = message.map_err(|_| Status::deadline_exceeded("no message for 10 s"))??;
    let message = message.ok_or_else(|| Status::unavailable("the stream ended"))?;
    let complete = message.current_as_of.is_some();
    let mut revoked = shared.revoked.write().unwrap_or_else(PoisonError::into_inner);
    if revoked.apply(message) {
        let mut keys = shared.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = Arc::new(keys.only(|kid| !revoked.has_key(kid)));
        // The key in its place may be one that was not published before.
        shared.missing.notify_one();
    }
    Ok(complete)
}

/// Follows the revocation stream; a stream that ends is resumed, or started from a snapshot.
pub(super) async fn follow_revocations(shared: Arc<Shared>, channel: Channel, first: Stream) {
    let (mut stream, mut pause) = (Some(first), BACKOFF.0);
    loop {
        if let Some(open) = &mut stream {
            while receive(&shared, open).await.is_ok() {
                pause = BACKOFF.0;
            }
        }
        // Those that lost the same instance do not all come back at once.
        sleep(pause.mul_f64(0.5 + f64::from(random::bytes::<1>()[0]) / 255.0)).await;
        pause = (pause * 2).min(BACKOFF.1);
        stream = watch(&shared, &channel).await.unwrap_or_else(|error| {
            tracing::warn!(code = ?error.code(), "the watch of revocations has failed");
            None
        });
    }
}
