//! Everything on the gRPC port: the services, health and reflection.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use envoy_types::pb::envoy::service::auth::v3::authorization_server;
use http::{Request, Response};
use tokio::sync::watch;
use tonic::{Code, Status, body::Body, codegen::BoxFuture, server::Grpc, service::Routes};
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};
use tonic_prost::ProstCodec;

use tower::{Layer as _, Service};

use super::{
    account::AccountApi,
    arriving_request::{MAX_CHECK_BYTES, MAX_REQUEST_BYTES, too_large},
    authorization::{AuthorizationApi, denied_call},
    call::{CallLayer, CallService, INCOMPLETE_REQUESTS},
    challenge::ChallengeApi,
    client::ClientApi,
    methods::CHECK,
    session::SessionApi,
    token::TokenApi,
    v1::{
        self,
        account_service_server::{self, AccountServiceServer},
        challenge_service_server::{self, ChallengeServiceServer},
        client_service_server::{self, ClientServiceServer},
        session_service_server::{self, SessionServiceServer},
        token_service_server::{self, TokenServiceServer},
    },
};
use crate::{
    domain::TrustedProxies,
    flows::{Error, Flows},
    state::health::{HealthState, StoreState},
};

/// What answers on the gRPC port.
///
/// # Errors
/// If reflection cannot read the descriptors that were built in.
pub async fn services(
    flows: Arc<Flows>,
    longest_call: Duration,
    revocations_max_age: Duration,
    watcher_stall_timeout: Duration,
    proxies: TrustedProxies,
) -> Result<CallService<Services>, tonic_reflection::server::Error> {
    let health = health(flows.health().watch()).await;
    let session = SessionServiceServer::new(SessionApi(Arc::clone(&flows)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let challenge = ChallengeServiceServer::new(ChallengeApi(Arc::clone(&flows)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let token = TokenServiceServer::new(TokenApi(Arc::clone(&flows), watcher_stall_timeout))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let client =
        ClientServiceServer::new(ClientApi(Arc::clone(&flows))).max_decoding_message_size(MAX_REQUEST_BYTES);
    let account = AccountServiceServer::new(AccountApi(Arc::clone(&flows)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let authorization = AuthorizationApi { flows: Arc::clone(&flows), max_age: revocations_max_age };
    let routes = Routes::new(health.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection()?.build_v1()?.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection()?.build_v1alpha()?.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(session)
        .add_service(challenge)
        .add_service(token)
        .add_service(client)
        .add_service(account)
        .prepare();
    let services = Services { authorization, routes };
    Ok(CallLayer::new(flows, longest_call, proxies).layer(services))
}

/// All services. The one that a gateway asks for every request comes before the others' routing.
#[derive(Clone)]
pub struct Services {
    authorization: AuthorizationApi,
    routes: Routes,
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path().strip_prefix('/') != Some(CHECK) {
            return Box::pin(self.routes.call(request));
        }
        let authorization = self.authorization.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_CHECK_BYTES);
            let response = grpc.unary(authorization, request).await;
            let code = Status::from_header_map(response.headers()).map(|status| status.code());
            Ok(code.and_then(unreceived_check).map_or(response, |error| denied_call(&error)))
        })
    }
}

/// The error of a Check that did not arrive, by the status of its reception.
fn unreceived_check(code: Code) -> Option<Error> {
    match code {
        Code::OutOfRange => Some(too_large(MAX_CHECK_BYTES)),
        Code::ResourceExhausted => Some(INCOMPLETE_REQUESTS),
        Code::DeadlineExceeded => Some(Error::RequestIncomplete),
        _ => None,
    }
}

/// Health as the service's state has it, until shutdown. While the store is down or rejects writes, services that need
/// it are NOT_SERVING. The server as a whole (`""`), and services that need only memory, are SERVING until shutdown
/// begins.
async fn health(
    mut states: watch::Receiver<HealthState>,
) -> HealthServer<impl tonic_health::pb::health_server::Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    let now = *states.borrow_and_update();
    report(&reporter, now).await;
    tokio::spawn(async move {
        while states.changed().await.is_ok() {
            let now = *states.borrow_and_update();
            report(&reporter, now).await;
        }
    });
    service
}

async fn report(reporter: &HealthReporter, state: HealthState) {
    let serving = |serves| if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", authorization_server::SERVICE_NAME] {
        reporter.set_service_status(service, serving(!state.draining)).await;
    }
    let with_store = serving(!state.draining && state.store == StoreState::Up);
    for service in [
        session_service_server::SERVICE_NAME,
        challenge_service_server::SERVICE_NAME,
        token_service_server::SERVICE_NAME,
        client_service_server::SERVICE_NAME,
        account_service_server::SERVICE_NAME,
    ] {
        reporter.set_service_status(service, with_store).await;
    }
}

fn reflection() -> Result<tonic_reflection::server::Builder<'static>, tonic_reflection::server::Error> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET))
}
