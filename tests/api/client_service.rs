//! Clients, managed over gRPC by an admin.

use countersign::{
    domain::{ChallengeFormat, Client, Policy, Role},
    grpc::v1::{self, ClientPolicy, ClientRole, RateLimit},
};
use tonic::Code;

use crate::{
    harness::{Caller, Server, TestClient, basic, reason, refusal, start_for, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    a_client_is_made_over_grpc_and_signs_its_users_in,
    a_client_is_shown_with_its_live_secrets_and_no_secret_is_told_again,
    clients_of_all_realms_are_listed_page_by_page,
    an_update_changes_what_its_mask_names_and_nothing_else,
    a_wrong_update_names_its_field_and_changes_nothing,
    a_wrong_policy_makes_no_client,
    the_realm_never_changes,
    an_update_of_a_client_that_changed_since_is_refused,
    updates_at_once_are_all_made,
    a_deleted_client_is_nobody_and_its_sessions_end,
    a_secret_is_replaced_over_grpc,
    nobody_but_an_admin_manages_clients,
    an_admin_may_drop_its_own_role,
];

const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

async fn admin(server: &Server) -> TestClient {
    let policy = Policy { name: "Admin".to_owned(), roles: vec![Role::Admin], ..Policy::default() };
    server.client(policy).await
}

fn shop() -> ClientPolicy {
    ClientPolicy { name: "Shop".to_owned(), ..Default::default() }
}

/// A client as the store has it now.
async fn stored(server: &Server, id: &str) -> Client {
    server.store.client(id.parse().unwrap()).await.unwrap().unwrap().client
}

async fn a_client_is_made_over_grpc_and_signs_its_users_in(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let policy = ClientPolicy {
        realm: "shops".to_owned(),
        scope: "read".to_owned(),
        challenge_ttl: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        ..shop()
    };
    let made = admin.create_client(policy).await.unwrap();
    let client = made.client.unwrap();
    assert!(made.client_secret.starts_with("ccs_"));
    assert_eq!(client.create_time, client.update_time);
    let policy = client.policy.unwrap();
    assert_eq!((policy.realm.as_str(), policy.scope.as_str()), ("shops", "read"));
    assert_eq!(policy.roles, [i32::from(ClientRole::SignIn)], "a default is told as it is in force");

    let shop = admin.with(&basic(&client.id, &made.client_secret));
    let challenge = shop.challenge_for(&wallet()).await;
    let life = challenge.expire_time.unwrap().seconds - challenge.create_time.unwrap().seconds;
    assert_eq!(life, 90);
    assert!(!shop.sign_in(&wallet()).await.tokens.unwrap().access_token.is_empty());
    assert_eq!(stored(&server, &client.id).await.realm, "shops");
}

async fn a_client_is_shown_with_its_live_secrets_and_no_secret_is_told_again(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let made = admin.create_client(shop()).await.unwrap();
    let id = made.client.clone().unwrap().id;
    let added = admin.add_client_secret(&id).await.unwrap();
    let shown = admin.get_client(&id).await.unwrap();
    assert_eq!(shown.client, made.client);
    let ids: Vec<_> = shown.secrets.iter().map(|secret| secret.id.as_str()).collect();
    assert_eq!((ids.len(), ids[1]), (2, added.secret_id.as_str()));
    assert!(shown.secrets[0].create_time.is_some() && shown.secrets[0].last_used_time.is_none());
    assert!(!format!("{shown:?}").contains("ccs_"));
    assert_eq!(refusal(admin.get_client(UNKNOWN).await), (Code::NotFound, "CLIENT_NOT_FOUND".to_owned()));
}

async fn clients_of_all_realms_are_listed_page_by_page(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let mut made = vec![admin.client.id.to_string()];
    for realm in ["shops", "banks", ""] {
        made.push(server.client_of(realm, Policy::default()).await.client.id.to_string());
    }
    let first = admin.list_clients(3, "").await.unwrap();
    let second = admin.list_clients(3, &first.next_page_token).await.unwrap();
    let listed: Vec<_> = first.clients.iter().chain(&second.clients).map(|it| it.id.clone()).collect();
    assert_eq!((first.clients.len(), listed), (3, made.clone()));
    assert_eq!(second.next_page_token, "");
    assert_eq!(admin.list_clients(0, "").await.unwrap().clients.len(), 4);
    assert_eq!(admin.list_clients(4, "").await.unwrap().next_page_token, "", "no empty page follows");

    admin.delete_client(&made[1]).await.unwrap();
    assert_eq!(admin.list_clients(0, "").await.unwrap().clients.len(), 3, "deleted ones are gone");
    for (size, token, field) in [(-1, "", "page_size"), (1, "2", "page_token")] {
        let refused = wrong_field(admin.list_clients(size, token).await);
        assert_eq!(refused, ("INVALID_REQUEST".to_owned(), field.to_owned()));
    }
}

async fn an_update_changes_what_its_mask_names_and_nothing_else(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let policy =
        ClientPolicy { scope: "read".to_owned(), domains: vec!["shop.example".to_owned()], ..shop() };
    let made = admin.create_client(policy).await.unwrap().client.unwrap();
    let limit = RateLimit { per_session: Some(7), ..Default::default() };
    let given = ClientPolicy {
        name: "Store".to_owned(),
        app: "ignored".to_owned(),
        rate_limit: Some(limit),
        ..Default::default()
    };
    let updated = admin.update_client(&made.id, given, "name,scope,rate_limit.per_session").await.unwrap();
    assert!(updated.etag != made.etag && updated.create_time == made.create_time);
    let before = made.policy.unwrap();
    let expected = ClientPolicy {
        name: "Store".to_owned(),
        scope: String::new(),
        rate_limit: before.rate_limit.map(|limit| RateLimit { per_session: Some(7), ..limit }),
        ..before
    };
    assert_eq!(updated.policy.clone().unwrap(), expected);
    assert_eq!(admin.get_client(&made.id).await.unwrap().client.unwrap(), updated);

    let whole = admin.update_client(&made.id, shop(), "*").await.unwrap();
    assert_eq!(whole.policy.unwrap().domains, Vec::<String>::new());
    let same = admin.update_client(&made.id, shop(), "*").await.unwrap();
    assert_eq!(same.etag, whole.etag, "what is so already is no change");
}

async fn a_wrong_update_names_its_field_and_changes_nothing(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let made = admin.create_client(shop()).await.unwrap().client.unwrap();
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let siwx = vec![i32::from(v1::ChallengeFormat::Siwx)];
    for (policy, mask, field) in [
        (shop(), "", "update_mask"),
        (shop(), "nmae", "update_mask"),
        (shop(), "name,challenge_ttl.seconds", "update_mask"),
        (ClientPolicy { name: String::new(), ..shop() }, "name", "name"),
        (ClientPolicy { challenge_ttl: seconds(1), ..shop() }, "challenge_ttl", "challenge_ttl"),
        (ClientPolicy { roles: vec![9], ..shop() }, "roles", "roles"),
        (ClientPolicy { formats: siwx, ..shop() }, "name,formats", "domains"),
        (ClientPolicy { domains: vec!["https://x".to_owned()], ..shop() }, "domains", "domains"),
        (ClientPolicy { text_template: "Hi".to_owned(), ..shop() }, "text_template", "text_template"),
        (ClientPolicy { signing_alg: 9, ..shop() }, "signing_alg", "signing_alg"),
        (ClientPolicy { realm: "banks".to_owned(), ..shop() }, "realm", "realm"),
    ] {
        let refused = wrong_field(admin.update_client(&made.id, policy, mask).await);
        assert_eq!(refused, ("INVALID_REQUEST".to_owned(), field.to_owned()), "{mask}");
    }
    let networks = ClientPolicy { networks: vec!["mars:1".to_owned()], ..shop() };
    let refused = wrong_field(admin.update_client(&made.id, networks, "networks").await);
    assert_eq!(refused, ("INVALID_NETWORK".to_owned(), "networks".to_owned()));
    assert_eq!(admin.get_client(&made.id).await.unwrap().client.unwrap(), made);
    let malformed = wrong_field(admin.update_client("7", shop(), "name").await);
    assert_eq!(malformed, ("INVALID_REQUEST".to_owned(), "client_id".to_owned()));
    assert_eq!(reason(admin.update_client(UNKNOWN, shop(), "name").await), "CLIENT_NOT_FOUND");
}

async fn a_wrong_policy_makes_no_client(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    for (policy, field) in [
        (ClientPolicy::default(), "name"),
        (ClientPolicy { realm: "a realm".to_owned(), ..shop() }, "realm"),
        // The id of another client would let this one into its realm.
        (ClientPolicy { realm: admin.client.id.to_string(), ..shop() }, "realm"),
        (ClientPolicy { formats: vec![9], ..shop() }, "formats"),
        (ClientPolicy { scope: "a  b".to_owned(), ..shop() }, "scope"),
    ] {
        let refused = wrong_field(admin.create_client(policy).await);
        assert_eq!(refused, ("INVALID_REQUEST".to_owned(), field.to_owned()));
    }
    assert_eq!(store.count("clients", "TRUE").await, 1);
}

async fn the_realm_never_changes(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    for realm in ["shops", ""] {
        let made = admin.create_client(ClientPolicy { realm: realm.to_owned(), ..shop() }).await.unwrap();
        let id = made.client.unwrap().id;
        let before = stored(&server, &id).await;
        let elsewhere = ClientPolicy { realm: "banks".to_owned(), ..shop() };
        for mask in ["realm", "*", "name,realm"] {
            let refused = wrong_field(admin.update_client(&id, elsewhere.clone(), mask).await);
            assert_eq!(refused, ("INVALID_REQUEST".to_owned(), "realm".to_owned()));
        }
        assert_eq!(stored(&server, &id).await, before);
        let same = ClientPolicy { realm: realm.to_owned(), scope: "a".to_owned(), ..shop() };
        assert_eq!(admin.update_client(&id, same, "realm,scope").await.unwrap().policy.unwrap().scope, "a");
    }
}

async fn an_update_of_a_client_that_changed_since_is_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let made = admin.create_client(shop()).await.unwrap().client.unwrap();
    let scope = |scope: &str| ClientPolicy { scope: scope.to_owned(), ..Default::default() };
    let updated = admin.update_client_at(&made.etag, &made.id, scope("a"), "scope").await.unwrap();
    let stale = admin.update_client_at(&made.etag, &made.id, scope("b"), "scope").await;
    assert_eq!(refusal(stale), (Code::FailedPrecondition, "ETAG_MISMATCH".to_owned()));
    assert_eq!(admin.get_client(&made.id).await.unwrap().client.unwrap(), updated);
    admin.update_client_at(&updated.etag, &made.id, scope("b"), "scope").await.unwrap();
}

async fn updates_at_once_are_all_made(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let id = admin.create_client(shop()).await.unwrap().client.unwrap().id;
    let given = ClientPolicy {
        name: "Store".to_owned(),
        app: "App".to_owned(),
        scope: "read".to_owned(),
        origin: "https://shop.example".to_owned(),
        ..Default::default()
    };
    let update = |mask| admin.update_client(&id, given.clone(), mask);
    let (a, b, c, d) = tokio::join!(update("name"), update("app"), update("scope"), update("origin"));
    for outcome in [a, b, c, d] {
        outcome.unwrap();
    }
    let policy = stored(&server, &id).await.policy;
    let texts = [policy.name, policy.app, policy.scope, policy.origin];
    assert_eq!(texts, ["Store", "App", "read", "https://shop.example"]);
}

async fn a_deleted_client_is_nobody_and_its_sessions_end(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let shop = server.client(Policy::default()).await;
    let id = shop.client.id.to_string();
    let tokens = shop.sign_in(&wallet()).await.tokens.unwrap();
    assert_eq!(admin.delete_client(&id).await.unwrap(), 1);
    // Without credentials, which an instance may or may not know any more.
    assert_eq!(reason(shop.with("").refresh(&tokens.refresh_token).await), "SESSION_REVOKED");
    assert_eq!(reason(admin.get_client(&id).await), "CLIENT_NOT_FOUND");
    assert_eq!(admin.delete_client(&id).await.unwrap(), 0, "again is no error");
    assert_eq!(reason(admin.delete_client(UNKNOWN).await), "CLIENT_NOT_FOUND");
    assert_eq!(wrong_field(admin.delete_client("7").await).1, "client_id");
    assert_eq!(reason(admin.update_client(&id, ClientPolicy::default(), "scope").await), "CLIENT_NOT_FOUND");
    assert_eq!(reason(admin.add_client_secret(&id).await), "CLIENT_NOT_FOUND");
}

async fn a_secret_is_replaced_over_grpc(store: &TestStore) {
    let server = Server::start(store).await;
    let admin = admin(&server).await;
    let made = admin.create_client(shop()).await.unwrap();
    let id = made.client.unwrap().id;
    let first = admin.get_client(&id).await.unwrap().secrets[0].id.clone();
    let added = admin.add_client_secret(&id).await.unwrap();
    let limit = refusal(admin.add_client_secret(&id).await);
    assert_eq!(limit, (Code::FailedPrecondition, "SECRET_LIMIT_REACHED".to_owned()));
    admin.with(&basic(&id, &added.client_secret)).start(start_for(&wallet())).await.unwrap();

    admin.revoke_client_secret(&id, &first).await.unwrap();
    admin.revoke_client_secret(&id, &first).await.unwrap();
    let left = admin.get_client(&id).await.unwrap().secrets;
    assert_eq!(left.iter().map(|secret| &secret.id).collect::<Vec<_>>(), [&added.secret_id]);
    let elsewhere = Server::start(store).await;
    let old = elsewhere.caller(&basic(&id, &made.client_secret)).await;
    assert_eq!(reason(old.start(start_for(&wallet())).await), "CLIENT_CREDENTIALS_INVALID");

    for (client, secret, field) in
        [("7", first.as_str(), "client_id"), (&id, "7", "secret_id"), (&id, UNKNOWN, "secret_id")]
    {
        assert_eq!(wrong_field(admin.revoke_client_secret(client, secret).await).1, field);
    }
    assert_eq!(reason(admin.revoke_client_secret(UNKNOWN, &first).await), "CLIENT_NOT_FOUND");
}

/// The reason with which each RPC refuses a caller.
async fn reasons(caller: &Caller, id: &str) -> Vec<String> {
    let policy = ClientPolicy { roles: vec![ClientRole::Admin.into()], ..shop() };
    vec![
        reason(caller.create_client(policy.clone()).await),
        reason(caller.get_client(id).await),
        reason(caller.list_clients(0, "").await),
        reason(caller.update_client(id, policy, "roles").await),
        reason(caller.delete_client(id).await),
        reason(caller.add_client_secret(id).await),
        reason(caller.revoke_client_secret(id, UNKNOWN).await),
    ]
}

async fn nobody_but_an_admin_manages_clients(store: &TestStore) {
    let server = Server::start(store).await;
    let roles = vec![Role::SignIn, Role::Introspect];
    let client = server.client(Policy { roles, ..Policy::default() }).await;
    let id = client.client.id.to_string();
    let (_, device) = client.device_of(&wallet()).await;
    let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
    let user = client.with(&format!("Bearer {}", tokens.access_token));
    assert_eq!(reasons(&client, &id).await, ["ROLE_REQUIRED"; 7]);
    for caller in [device, user, client.with("")] {
        assert_eq!(reasons(&caller, &id).await, ["CREDENTIALS_MISSING"; 7]);
    }
    let wrong = client.with(&basic(&id, "ccs_wrong"));
    assert_eq!(reasons(&wrong, &id).await, ["CLIENT_CREDENTIALS_INVALID"; 7]);
    assert_eq!(store.count("clients", "delete_time IS NULL").await, 1);
    assert_eq!(store.count("client_secrets", "TRUE").await, 1);
    assert_eq!(stored(&server, &id).await, client.client);
}

async fn an_admin_may_drop_its_own_role(store: &TestStore) {
    let (here, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let admin = admin(&here).await;
    let id = admin.client.id.to_string();
    let policy = ClientPolicy { roles: vec![ClientRole::SignIn.into()], ..Default::default() };
    admin.update_client(&id, policy, "roles").await.unwrap();
    let admin = elsewhere.caller(admin.authorization()).await;
    assert_eq!(reason(admin.list_clients(0, "").await), "ROLE_REQUIRED");
    assert_eq!(stored(&here, &id).await.policy.formats, [ChallengeFormat::Text]);
}
