//! A stranger's calls, written to the log.

use crate::{
    attack::{Attack, scaled, start},
    peer::{EMPTY, GET_JWKS, Peer, Refusal},
    support::TestStore,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_strangers_calls_is_bounded_and_names_served_methods_only() {
    let store = TestStore::sqlite().await;
    let server = start(&store, &[]);
    let peer = Peer::connect(server.grpc).await;
    // By its index in the table of header fields, each repetition is a few bytes (RFC 7541, section 6.1).
    let unknown = format!("/{}", "unknown".repeat(557));
    let refused = "/countersign.v1.SessionService/GetSession";
    let attempts = scaled(100_000);
    let before = server.log().len();
    let attack = Attack::begin("calls of a stranger");
    for _ in 0..attempts / 100 {
        let mut responses = Vec::new();
        for number in 0..100 {
            let method =
                [unknown.as_str(), refused, GET_JWKS][usize::from(number % 20 > 0) * (1 + number % 2)];
            responses.push((method, peer.call(method, &EMPTY).await.unwrap()));
        }
        for (method, response) in responses {
            let outcome = crate::peer::answer(response).await;
            match method {
                GET_JWKS => assert!(!outcome.unwrap().is_empty()),
                method if method == refused => {
                    assert_eq!(outcome.unwrap_err(), Refusal::Status(16, "CREDENTIALS_MISSING".to_owned()));
                }
                _ => assert!(matches!(outcome.unwrap_err(), Refusal::Status(12, _))),
            }
        }
    }
    attack.end(attempts);
    let log = server.log()[before..].to_owned();
    assert!(!log.contains("unknownunknown"), "only names of served methods are logged");
    let (lines, bytes) = (log.lines().count(), log.len());
    eprintln!("{lines} lines, {bytes} bytes");
    assert!(log.contains("suppressed="), "the count of suppressed lines: {log}");
    assert!(bytes < 40 * attempts, "{bytes} bytes for {attempts} calls");
    let rejected: Vec<_> = log.lines().filter(|line| line.contains("CREDENTIALS_MISSING")).collect();
    let ids: std::collections::BTreeSet<_> =
        rejected.iter().filter_map(|line| line.split("request_id=").nth(1)?.split('}').next()).collect();
    assert_eq!(ids.len(), rejected.len(), "one line per rejected call");
}
