//! An operator's change of a client is in force on every instance.

use std::{future::Future, time::Duration};

use countersign::{
    domain::{ClientId, Policy, Role},
    flows::{
        Error,
        client::{
            delete::delete_client,
            secret_rotation::{add_client_secret, revoke_client_secret},
            update::{set_disabled, update_client},
        },
    },
    grpc::v1::SessionState,
};

use crate::{
    harness::{Server, basic, reason, start_for, wallet},
    support::TestStore,
};

on_both_stores![
    a_changed_policy_is_in_force_on_an_instance_that_knew_the_old_one,
    a_disabled_client_is_refused_by_an_instance_that_knew_it_and_its_tokens_are_inactive,
    a_deleted_client_is_nobody_and_its_users_are_signed_out,
    a_secret_is_replaced_without_a_refused_call,
    the_last_use_of_a_secret_is_noted,
    two_changes_at_once_are_both_made,
];

/// Asks again and again until the answer is the one that must come.
async fn until<F: Future<Output = bool>>(what: &str, applied: impl Fn() -> F) {
    let timeout = Duration::from_secs(20);
    let asked = async {
        while !applied().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| panic!("not applied: {what}"));
}

async fn a_changed_policy_is_in_force_on_an_instance_that_knew_the_old_one(store: &TestStore) {
    let (here, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let client = here.client(Policy::default()).await;
    let caller = elsewhere.caller(client.authorization()).await;
    caller.start(start_for(&wallet())).await.unwrap();
    let without_role = Policy { roles: vec![Role::Introspect], ..client.client.policy.clone() };
    update_client(here.store.as_ref(), client.client.id, |_| Ok(without_role.clone())).await.unwrap();
    until("the role is gone", || async {
        caller
            .start(start_for(&wallet()))
            .await
            .is_err_and(|status| reason::<()>(Err(status)) == "ROLE_REQUIRED")
    })
    .await;
    assert_eq!(reason(client.start(start_for(&wallet())).await), "ROLE_REQUIRED");
}

async fn a_disabled_client_is_refused_by_an_instance_that_knew_it_and_its_tokens_are_inactive(
    store: &TestStore,
) {
    let (here, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let client = here.client(Policy::default()).await;
    let guard = Policy {
        roles: vec![Role::Introspect],
        introspect_audiences: vec![client.client.id.to_string()],
        ..Policy::default()
    };
    let guard = elsewhere.client(guard).await;
    let caller = elsewhere.caller(client.authorization()).await;
    let tokens = caller.sign_in(&wallet()).await.tokens.unwrap();
    assert!(guard.introspect(&tokens.access_token).await.unwrap().active);

    let id = client.client.id;
    set_disabled(here.store.as_ref(), id, true).await.unwrap();
    assert_eq!(reason(caller.refresh(&tokens.refresh_token).await), "CLIENT_DISABLED");
    until("disabled", || async {
        caller
            .start(start_for(&wallet()))
            .await
            .is_err_and(|status| reason::<()>(Err(status)) == "CLIENT_DISABLED")
    })
    .await;
    assert!(!guard.introspect(&tokens.access_token).await.unwrap().active);

    set_disabled(here.store.as_ref(), id, false).await.unwrap();
    until("enabled", || async { caller.start(start_for(&wallet())).await.is_ok() }).await;
    assert!(guard.introspect(&tokens.access_token).await.unwrap().active);
    caller.refresh(&tokens.refresh_token).await.unwrap();
}

async fn a_deleted_client_is_nobody_and_its_users_are_signed_out(store: &TestStore) {
    let (here, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let client = here.client_of("shops", Policy::default()).await;
    let sister = here.client_of("shops", Policy::default()).await;
    let guard = Policy {
        roles: vec![Role::Introspect, Role::SignIn],
        introspect_audiences: vec![client.client.id.to_string()],
        ..Policy::default()
    };
    let guard = elsewhere.client(guard).await;
    let (caller, wallet) = (elsewhere.caller(client.authorization()).await, wallet());
    let signed_in = caller.sign_in(&wallet).await;
    let tokens = signed_in.tokens.unwrap();
    let (_, device) = caller.device_of(&wallet).await;
    let kept = sister.sign_in(&wallet).await;
    assert_eq!(delete_client(here.store.as_ref(), client.client.id).await.unwrap(), 2);

    until("deleted", || async {
        let refused = caller.start(start_for(&wallet)).await;
        refused.is_err_and(|status| reason::<()>(Err(status)) == "CLIENT_CREDENTIALS_INVALID")
    })
    .await;
    assert_eq!(reason(caller.with("").refresh(&tokens.refresh_token).await), "SESSION_REVOKED");
    assert!(!guard.introspect(&tokens.access_token).await.unwrap().active);
    assert_eq!(reason(device.start(start_for(&wallet)).await), "SESSION_TOKEN_INVALID");
    let user = elsewhere.caller(&format!("Bearer {}", tokens.access_token)).await;
    assert_eq!(reason(user.get_session(&signed_in.session.unwrap().id).await), "ACCESS_TOKEN_INVALID");
    // The account lives on at the clients of its realm.
    let session = sister.get_session(&kept.session.unwrap().id).await.unwrap();
    assert_eq!(session.state(), SessionState::Active);

    assert_eq!(delete_client(here.store.as_ref(), client.client.id).await.unwrap(), 0);
    let nobody = delete_client(here.store.as_ref(), ClientId::generate()).await;
    assert!(matches!(nobody, Err(Error::ClientNotFound)));
}

async fn a_secret_is_replaced_without_a_refused_call(store: &TestStore) {
    let (here, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let client = here.client(Policy::default()).await;
    let id = client.client.id;
    let old = elsewhere.caller(client.authorization()).await;
    old.start(start_for(&wallet())).await.unwrap();
    let first = here.store.client_secrets(id).await.unwrap()[0].id;

    let (second, secret) = add_client_secret(here.store.as_ref(), id).await.unwrap();
    let new = elsewhere.caller(&basic(&id.to_string(), secret.expose())).await;
    new.start(start_for(&wallet())).await.unwrap();
    old.start(start_for(&wallet())).await.unwrap();
    let third = add_client_secret(here.store.as_ref(), id).await;
    assert!(matches!(third, Err(Error::SecretLimitReached)), "{third:?}");

    revoke_client_secret(here.store.as_ref(), id, first).await.unwrap();
    until("the first secret is revoked", || async {
        let refused = old.start(start_for(&wallet())).await;
        refused.is_err_and(|status| reason::<()>(Err(status)) == "CLIENT_CREDENTIALS_INVALID")
    })
    .await;
    new.start(start_for(&wallet())).await.unwrap();
    let stranger = here.client(Policy::default()).await.client.id;
    let foreign = revoke_client_secret(here.store.as_ref(), stranger, second).await;
    assert!(matches!(foreign, Err(Error::Invalid(_))), "{foreign:?}");
    new.start(start_for(&wallet())).await.unwrap();
}

async fn the_last_use_of_a_secret_is_noted(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (second, _) = add_client_secret(server.store.as_ref(), client.client.id).await.unwrap();
    client.start(start_for(&wallet())).await.unwrap();
    until("noted", || async {
        let secrets = server.store.client_secrets(client.client.id).await.unwrap();
        assert_eq!((secrets[1].id, secrets[1].last_used_time), (second, None));
        secrets[0].last_used_time.is_some()
    })
    .await;
}

async fn two_changes_at_once_are_both_made(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (id, store) = (client.client.id, server.store.as_ref());
    let scope =
        update_client(store, id, |client| Ok(Policy { scope: "read".to_owned(), ..client.policy.clone() }));
    let (off, scope) = tokio::join!(set_disabled(store, id, true), scope);
    off.unwrap();
    scope.unwrap();
    let policy = store.client(id).await.unwrap().unwrap().client.policy;
    assert_eq!((policy.disabled, policy.scope.as_str()), (true, "read"));
    let wrong =
        update_client(store, id, |client| Ok(Policy { name: String::new(), ..client.policy.clone() })).await;
    assert!(matches!(wrong, Err(Error::Invalid(_))), "{wrong:?}");
    assert_eq!(store.client(id).await.unwrap().unwrap().client.policy, policy);
}
