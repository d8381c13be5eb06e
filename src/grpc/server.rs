//! The gRPC server: the services, health and reflection on one port.

use std::{future::Future, sync::Arc};

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;

use super::{
    challenge::ChallengeApi,
    session::SessionApi,
    token::TokenApi,
    v1::{
        self, challenge_service_server::ChallengeServiceServer, session_service_server::SessionServiceServer,
        token_service_server::TokenServiceServer,
    },
};
use crate::flows::Flows;

/// The largest request. The largest legal one holds a text of a few kilobytes.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// How many calls one connection may have open.
const MAX_CALLS_PER_CONNECTION: u32 = 1_024;

/// Serves until `end` comes, and then finishes what runs.
///
/// # Errors
/// If the transport fails.
pub async fn serve(
    flows: Arc<Flows>,
    listener: TcpListener,
    end: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let session = SessionServiceServer::new(SessionApi(Arc::clone(&flows)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let challenge = ChallengeServiceServer::new(ChallengeApi(Arc::clone(&flows)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let token = TokenServiceServer::new(TokenApi(flows)).max_decoding_message_size(MAX_REQUEST_BYTES);
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
        .add_service(health().await)
        .add_service(reflection()?.build_v1()?)
        .add_service(reflection()?.build_v1alpha()?)
        .add_service(session)
        .add_service(challenge)
        .add_service(token)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), end)
        .await?;
    Ok(())
}

async fn health() -> HealthServer<impl tonic_health::pb::health_server::Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_serving::<SessionServiceServer<SessionApi>>().await;
    reporter.set_serving::<ChallengeServiceServer<ChallengeApi>>().await;
    reporter.set_serving::<TokenServiceServer<TokenApi>>().await;
    service
}

fn reflection() -> Result<tonic_reflection::server::Builder<'static>, tonic_reflection::server::Error> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET))
}
