//! Signing keys while tokens are made and checked: rotated by the clock and by hand, revoked; and root keys.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use countersign::{
    app::App,
    domain::{Policy, SigningAlgorithm},
    state::signing_keys::new_signing_key,
    token::RootKeys,
};
use serde_json::Value;
use tonic::Code;

use crate::{
    harness::{Caller, Server, TestClient, http_get, root_keys_file, settings, wallet},
    process::{failure, run},
    support::{TestStore, assert_promised},
};

on_both_stores![
    keys_rotate_by_the_clock_and_no_token_fails_anywhere,
    a_revoked_key_is_refused_on_every_instance_within_a_second_and_the_next_one_signs,
    a_key_that_another_instance_signs_with_already_is_looked_for,
    keys_are_listed_rotated_and_revoked_from_the_command_line,
    a_root_key_is_replaced_and_forgotten,
    a_command_seals_nothing_under_a_root_key_that_no_instance_has,
    an_instance_that_cannot_open_a_new_key_still_reads_revocations,
];

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// A checker as there are many: it keeps the JWKS, for less long than keys are published before they sign.
struct Checker {
    server: std::net::SocketAddr,
    keys: Value,
    read: Instant,
}

impl Checker {
    const CACHE: Duration = Duration::from_millis(700);

    async fn of(server: &Server) -> Self {
        let keys = serde_json::from_str(&http_get(server.http, "/.well-known/jwks.json").await.1).unwrap();
        Self { server: server.http, keys, read: Instant::now() }
    }

    async fn check(&mut self, token: &str, audience: &str) {
        if self.read.elapsed() > Self::CACHE {
            self.keys =
                serde_json::from_str(&http_get(self.server, "/.well-known/jwks.json").await.1).unwrap();
            self.read = Instant::now();
        }
        let kid = kid(token);
        let jwk = self.keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid.as_str());
        let jwk = jwk.unwrap_or_else(|| panic!("the key {kid} was not published in time"));
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::decode_header(token).unwrap().alg);
        validation.set_audience(&[audience]);
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    }
}

async fn keys_rotate_by_the_clock_and_no_token_fails_anywhere(store: &TestStore) {
    let hourly = [("key-rotation-interval", "1h"), ("key-prepublish", "30m")];
    let (a, b) = (Server::start_with(store, &hourly).await, Server::start_with(store, &hourly).await);
    let mut clients: Vec<TestClient> = Vec::new();
    for signing_alg in SigningAlgorithm::ALL {
        clients.push(a.client(Policy { signing_alg, ..Policy::default() }).await);
    }
    let (mut at_a, mut at_b) = (Checker::of(&a).await, Checker::of(&b).await);
    let (mut kids, mut kept) = (HashSet::new(), Vec::new());
    for client in &clients {
        let token = client.sign_in(&wallet()).await.tokens.unwrap().access_token;
        kids.insert((client.client.policy.signing_alg, kid(&token)));
        kept.push((client, token));
    }
    // Every key is due at once, and the next one has been published for long enough.
    store.age_signing_keys(2).await;
    let began = Instant::now();
    let are_few = |kids: &HashSet<(SigningAlgorithm, String)>, algorithm| {
        kids.iter().filter(|(of, _)| *of == algorithm).count() < 2
    };
    while SigningAlgorithm::ALL.into_iter().any(|algorithm| are_few(&kids, algorithm)) {
        assert!(began.elapsed() < Duration::from_secs(60), "the keys do not rotate: {kids:?}");
        for client in &clients {
            let audience = client.client.id.to_string();
            let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
            let on_b = b.caller(client.authorization()).await;
            let refreshed = on_b.refresh(&tokens.refresh_token).await.unwrap();
            for (token, other) in [(&tokens.access_token, &on_b), (&refreshed.access_token, &client.caller)] {
                assert!(other.introspect(token).await.unwrap().active, "refused by the other instance");
                at_a.check(token, &audience).await;
                at_b.check(token, &audience).await;
                if kids.insert((client.client.policy.signing_alg, kid(token))) {
                    kept.push((client, token.clone()));
                }
            }
        }
    }
    // What a key has signed stays good after it.
    for (client, token) in kept {
        assert!(client.introspect(&token).await.unwrap().active);
        at_a.check(&token, &client.client.id.to_string()).await;
    }
    // Two instances tried, and for each rotation there is one new key.
    for algorithm in SigningAlgorithm::ALL {
        let of = |what: &str| format!("algorithm = '{}' AND {what}", algorithm.as_str());
        assert!(store.count("signing_keys", &of("retire_time IS NOT NULL")).await >= 1);
        assert_eq!(store.count("signing_keys", &of("retire_time IS NULL")).await, 2);
        assert_eq!(store.count("signing_keys", &of("activate_time IS NULL")).await, 1);
    }
}

/// The command line, on a store with its keys.
struct Line<'a> {
    store: &'a TestStore,
    keys: String,
}

impl Line<'_> {
    fn on(store: &TestStore) -> Line<'_> {
        Line { store, keys: root_keys_file(store).display().to_string() }
    }

    fn run(&self, arguments: &[&str]) -> std::process::Output {
        let rest = ["--database-url", &self.store.url, "--root-keys-file", &self.keys, "--output", "json"];
        run(&[&["keys"], arguments, &rest].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn failure(&self, arguments: &[&str]) -> String {
        failure(&self.run(arguments), 1)
    }

    /// The state of each key of an algorithm, by its id.
    fn states(&self, algorithm: &str) -> Vec<(String, String)> {
        let listed = self.json(&["list"]);
        let keys = listed["signing_keys"].as_array().unwrap().iter();
        let text = |key: &Value, field: &str| key[field].as_str().unwrap().to_owned();
        keys.filter(|key| key["algorithm"] == algorithm)
            .map(|key| (text(key, "kid"), text(key, "state")))
            .collect()
    }
}

/// Waits until an instance takes a token for what it is.
async fn until_inactive(caller: &Caller, token: &str) -> Duration {
    let began = Instant::now();
    while caller.introspect(token).await.unwrap().active {
        assert!(began.elapsed() < Duration::from_secs(20), "it is good for ever");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

async fn a_revoked_key_is_refused_on_every_instance_within_a_second_and_the_next_one_signs(
    store: &TestStore,
) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let on_b = b.caller(client.authorization()).await;
    let before = client.sign_in(&wallet()).await.tokens.unwrap();
    let route = [("client_id", &*client.client.id.to_string())];
    let mut watcher = on_b.watch(None).await.unwrap();
    Line::on(store).json(&["revoke", &kid(&before.access_token), "--yes"]);
    for caller in [&client.caller, &on_b] {
        let took = until_inactive(caller, &before.access_token).await;
        assert_promised("a revoked key is refused", took, Duration::from_secs(1));
        let authorization = format!("Bearer {}", before.access_token);
        let check = caller.check(&[("authorization", &authorization)], &route).await;
        assert_eq!(check.status.unwrap().code, i32::from(Code::Unauthenticated));
        assert!(caller.jwks().await.unwrap().iter().all(|key| key.kid != kid(&before.access_token)));
    }
    let received = watcher.event().await;
    let countersign::grpc::v1::revocation::Event::SigningKeyRevoked(received) = received else {
        panic!("{received:?}")
    };
    assert_eq!(received.kid, kid(&before.access_token));
    // The session stays, and its next tokens are good.
    let after = client.refresh(&before.refresh_token).await.unwrap();
    assert_ne!(kid(&after.access_token), kid(&before.access_token));
    assert!(on_b.introspect(&after.access_token).await.unwrap().active);
}

/// Two rotations at once make a key sign that nobody had read before.
async fn a_key_that_another_instance_signs_with_already_is_looked_for(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let on_b = b.caller(client.authorization()).await;
    for _ in 0..3 {
        Line::on(store).json(&["rotate", "--force"]);
        let new = Line::on(store).json(&["rotate", "--force"])["active"].as_str().unwrap().to_owned();
        let began = Instant::now();
        loop {
            let token = client.sign_in(&wallet()).await.tokens.unwrap().access_token;
            assert!(on_b.introspect(&token).await.unwrap().active, "a good token is refused");
            if kid(&token) == new {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it goes on with a key that was replaced");
        }
    }
}

async fn keys_are_listed_rotated_and_revoked_from_the_command_line(store: &TestStore) {
    // The root keys are the store's own, so the service makes its signing keys itself.
    let line = Line::on(store);
    let server = Server::start(store).await;
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let states: Vec<_> = line.states(algorithm).into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, ["ACTIVE", "PREPARED"]);
    }
    let said = line.failure(&["rotate"]);
    assert!(said.contains("has been published for less than 1h") && said.contains("--force"), "{said}");
    let before = line.states("EdDSA");
    let rotated = line.json(&["rotate", "--algorithm", "eddsa", "--force"]);
    assert_eq!(rotated["active"], before[1].0.as_str());
    let after = line.states("EdDSA");
    let expected = [(&before[0].0, "RETIRING"), (&before[1].0, "ACTIVE"), (&after[2].0, "PREPARED")];
    assert_eq!(after.iter().map(|(kid, state)| (kid, state.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(line.states("ES256").len(), 2, "the others stay");

    // What it breaks is said first, and nothing is done.
    for (kid, state) in &after {
        let said = line.failure(&["revoke", kid]);
        assert!(said.contains("--yes") && said.contains(kid), "{said}");
        assert_eq!(said.contains("is refused"), state != "PREPARED", "{said}");
    }
    assert_eq!(line.states("EdDSA"), after);
    let revoked = line.json(&["revoke", &after[1].0, "--yes"]);
    assert_eq!(revoked["was"], "ACTIVE");
    let last = line.states("EdDSA");
    assert_eq!(last.iter().find(|(kid, _)| *kid == after[2].0).unwrap().1, "ACTIVE");
    assert!(last.iter().all(|(kid, _)| *kid != after[1].0));
    assert!(line.failure(&["revoke", "nobody's"]).contains("no published key has the id nobody's"));
    assert!(line.failure(&["revoke", &after[1].0, "--yes"]).contains("no published key"));
    // The instance that runs signs with what is there now.
    let client = server.client(Policy { signing_alg: SigningAlgorithm::EdDsa, ..Policy::default() }).await;
    let began = Instant::now();
    while kid(&client.sign_in(&wallet()).await.tokens.unwrap().access_token) != after[2].0 {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on with a key that is gone");
    }
}

/// Starts on other root keys than before.
async fn start_on(store: &TestStore, keys: &[&str]) -> Result<Server, String> {
    std::fs::write(root_keys_file(store), keys.join("\n")).unwrap();
    let app = App::start(&settings(store, &store.url, &[])).await.map_err(|error| error.to_string())?;
    Ok(Server::run(app))
}

async fn a_root_key_is_replaced_and_forgotten(store: &TestStore) {
    let (old, new) = (RootKeys::new_key().into_exposed(), RootKeys::new_key().into_exposed());
    let server = start_on(store, &[&old]).await.unwrap();
    let client = server.client(Policy::default()).await;
    let (used, unused) =
        (client.sign_in(&wallet()).await.tokens.unwrap(), client.sign_in(&wallet()).await.tokens.unwrap());
    drop(server);

    let server = start_on(store, &[&new, &old]).await.unwrap();
    let caller = server.caller(client.authorization()).await;
    let line = Line::on(store);
    let roots = || line.json(&["list"])["root_keys"].as_array().unwrap().clone();
    let of_old = || roots().into_iter().find(|root| root["protects"] == false).unwrap();
    // The keys were put under the new one, and the sessions need the old one until they are refreshed.
    assert_eq!((&of_old()["signing_keys"], &of_old()["sessions"]), (&0.into(), &2.into()));
    let fingerprint = of_old()["fingerprint"].as_str().unwrap().to_owned();
    assert!(line.failure(&["forget-root", &fingerprint]).contains("is still needed"));
    let next = caller.refresh(&used.refresh_token).await.unwrap();
    caller.revoke_token(&unused.refresh_token).await.unwrap();
    assert!(caller.introspect(&used.access_token).await.unwrap().active, "signed before, by the same key");
    assert_eq!(of_old()["needed"], false);
    line.json(&["forget-root", &fingerprint]);
    assert_eq!(roots().len(), 1);
    drop(server);

    let server = start_on(store, &[&new]).await.unwrap();
    let caller = server.caller(client.authorization()).await;
    caller.refresh(&next.refresh_token).await.unwrap();
    let primary = roots()[0]["fingerprint"].as_str().unwrap().to_owned();
    assert!(line.failure(&["forget-root", &primary]).contains("which protects"));
    let refused = start_on(store, &[&old]).await.err().unwrap();
    assert!(refused.contains("the root keys do not fit this store"), "{refused}");
}

async fn a_command_seals_nothing_under_a_root_key_that_no_instance_has(store: &TestStore) {
    let (old, new) = (RootKeys::new_key().into_exposed(), RootKeys::new_key().into_exposed());
    drop(start_on(store, &[&old]).await.unwrap());
    std::fs::write(root_keys_file(store), format!("{new}\n{old}")).unwrap();
    let line = Line::on(store);
    let active = line.json(&["list"])["signing_keys"][0]["kid"].as_str().unwrap().to_owned();
    for command in [&["rotate", "--force"][..], &["revoke", &active, "--yes"], &["reseal"]] {
        let said = line.failure(command);
        assert!(said.contains("no instance has started with the root key"), "{said}");
    }
    // Nor has the list left anything that needs the new one.
    drop(start_on(store, &[&old]).await.unwrap());
    drop(start_on(store, &[&new, &old]).await.unwrap());
    line.json(&["rotate", "--force"]);
}

async fn an_instance_that_cannot_open_a_new_key_still_reads_revocations(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy { audience: vec!["shop".to_owned()], ..Policy::default() }).await;
    let other = Policy { signing_alg: SigningAlgorithm::EdDsa, ..client.client.policy.clone() };
    let other = server.client(Policy { name: "Other".to_owned(), ..other }).await;
    let token = client.sign_in(&wallet()).await.tokens.unwrap().access_token;
    let (kept, ended) = (other.sign_in(&wallet()).await, other.sign_in(&wallet()).await);
    let (kept, session) = (kept.tokens.unwrap().access_token, ended.session.unwrap());
    let ended = ended.tokens.unwrap().access_token;

    let elsewhere = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
    let replacement = new_signing_key(SigningAlgorithm::Es256, &elsewhere).unwrap();
    server.store.revoke_signing_key(&kid(&token), replacement).await.unwrap();
    until_refused(&client, &token).await;
    let (_, jwks) = http_get(server.http, "/.well-known/jwks.json").await;
    assert!(!jwks.contains(&kid(&token)) && jwks.contains(&kid(&kept)), "{jwks}");
    client.with(other.authorization()).revoke_session(&session.id).await.unwrap();
    until_refused(&client, &ended).await;
    assert!(passes(&client, &kept).await);
}

/// Whether ext_authz lets a token pass.
async fn passes(caller: &Caller, token: &str) -> bool {
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let answer = caller.check(&headers, &[("audience", "shop")]).await;
    answer.status.unwrap().code == i32::from(Code::Ok)
}

async fn until_refused(caller: &Caller, token: &str) {
    let began = Instant::now();
    while passes(caller, token).await {
        assert!(began.elapsed() < Duration::from_secs(20), "it passes for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
