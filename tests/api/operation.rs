//! What an operator and a mesh see: health, readiness, metrics, deadlines, limits, request ids.

use countersign::{domain::Policy, grpc::v1::challenge_service_client::ChallengeServiceClient};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{GIVE_UP, Server, http_get, refusal, start_for, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    probes_and_metrics_are_on_the_operations_port,
    a_call_carries_its_request_id_there_and_back,
    a_message_too_large_or_malformed_is_the_callers_mistake,
    health_knows_the_server_and_each_service,
];

const START: &str = "/countersign.v1.ChallengeService/StartChallenge";

async fn probes_and_metrics_are_on_the_operations_port(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    client.sign_in(&wallet()).await;
    let nobody = client.with("");
    nobody.start(start_for(&wallet())).await.unwrap_err();
    for (path, expected) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let (head, body) = http_get(server.operations, path).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, expected);
    }
    let (_, metrics) = http_get(server.operations, "/metrics").await;
    let verify = "method=\"countersign.v1.ChallengeService/VerifyChallenge\",code=\"Ok\"";
    let refused = "code=\"Unauthenticated\",reason=\"CREDENTIALS_MISSING\"";
    for expected in [verify, refused, "countersign_call_seconds_bucket", "countersign_store_up "] {
        assert!(metrics.contains(expected), "{expected} is missing from {metrics}");
    }
    let (head, _) = http_get(server.http, "/metrics").await;
    assert!(head.starts_with("http/1.1 404"), "metrics are for the operations port alone: {head}");
}

async fn challenges(server: &Server) -> ChallengeServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    ChallengeServiceClient::new(endpoint.connect().await.unwrap())
}

async fn a_call_carries_its_request_id_there_and_back(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let mut challenges = challenges(&server).await;
    let mut request = Request::new(start_for(&wallet()));
    request.metadata_mut().insert("authorization", client.authorization().parse().unwrap());
    request.metadata_mut().insert("x-request-id", "abc-123".parse().unwrap());
    let answer = challenges.start_challenge(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "abc-123");
    let refused = challenges.start_challenge(start_for(&wallet())).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap().len(), 36, "one of our own");
}

async fn a_message_too_large_or_malformed_is_the_callers_mistake(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let mut large = start_for(&wallet());
    large.address = "0".repeat(70_000);
    assert_eq!(wrong_field(client.start(large).await), ("INVALID_REQUEST".into(), "message".into()));
    // No message at all, and the bytes of none.
    for bytes in [&[][..], &[0, 0, 0, 0, 1, 0xff], &[1, 0, 0, 0, 0], &[7, 0, 0, 0, 0], &[0, 0, 0, 0, 9, 1]] {
        let status = client.send(START, "identity", bytes).await;
        let refused = wrong_field(Err::<(), _>(status));
        assert_eq!(refused, ("INVALID_REQUEST".into(), "message".into()), "{bytes:?}");
    }
    // gRPC's word for an encoding that is not taken, with those that are.
    let compressed = client.send(START, "gzip", &[1, 0, 0, 0, 0]).await;
    assert_eq!(compressed.code(), Code::Unimplemented, "{compressed:?}");
    assert_eq!(compressed.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    client.start(start_for(&wallet())).await.unwrap();
}

async fn health_knows_the_server_and_each_service(store: &TestStore) {
    let server = Server::start(store).await;
    let endpoint = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    for service in [
        "",
        "countersign.v1.SessionService",
        "countersign.v1.ChallengeService",
        "countersign.v1.TokenService",
        "countersign.v1.ClientService",
        "countersign.v1.AccountService",
    ] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "no.such.Service".to_owned() }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_a_lock_ends_at_its_callers_deadline_with_a_reason() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let _holder = store.hold_challenges().await;
    let mut challenges = challenges(&server).await;
    let signature = wallet.sign_text(&challenge.message);
    let mut ended = async || {
        let mut request = Request::new(crate::harness::by_id(&challenge, &signature));
        request.metadata_mut().insert("authorization", client.authorization().parse().unwrap());
        request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
        tokio::time::timeout(GIVE_UP, challenges.verify_challenge(request)).await.unwrap().unwrap_err()
    };
    let mut status = ended().await;
    // tonic's client reads the header, too. On a busy machine it may give up before the answer arrives.
    for _ in 0..20 {
        if status.code() != Code::Cancelled {
            break;
        }
        status = ended().await;
    }
    let refused = refusal(Err::<(), _>(status));
    assert_eq!(refused, (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
}
