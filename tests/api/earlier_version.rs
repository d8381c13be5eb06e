//! An upgrade without downtime: the program of an earlier commit goes on working on today's schema.

use std::{process::Command, time::Duration};

use countersign::{
    flows::client::{delete::delete_client, secret_rotation::add_client_secret, update::set_disabled},
    grpc::v1::SessionState,
    store::open,
};

use crate::{
    harness::{Caller, basic, reason, start_for, wallet},
    process::{Process, client_made_by, client_of, program},
    support::TestStore,
};

on_both_stores![
    an_earlier_program_goes_on_through_a_migration_and_beside_this_one,
    what_this_program_does_to_clients_the_earlier_one_obeys,
];

/// The commit that `./check` builds the earlier program from: an upgrade from there needs no downtime.
#[expect(dead_code, reason = "./check reads it")]
const EARLIER: &str = "18961ace442eca82fd429712604512e74ac17c48";

fn earlier() -> Command {
    program(&std::env::var("COUNTERSIGN_TEST_EARLIER_PROGRAM").expect(
        "COUNTERSIGN_TEST_EARLIER_PROGRAM names no program of an earlier version: run ./check, which builds it",
    ))
}

async fn an_earlier_program_goes_on_through_a_migration_and_beside_this_one(store: &TestStore) {
    let old_process = Process::start_as(earlier(), store, &[]);
    let authorization = client_made_by(earlier(), store, &[]);
    let old = old_process.caller(&authorization).await;
    // Its statements are prepared before the schema changes below it.
    whole_story(&old, &old).await;
    let wallet = wallet();
    let before = old.sign_in(&wallet).await;
    let pending = old.challenge_for(&wallet).await;

    let new_process = Process::start(store);
    let migrated = new_process.logged_until("migrations have run").await;
    assert!(!migrated.is_empty());
    let new = new_process.caller(&authorization).await;
    for (one, other) in [(&old, &old), (&old, &new), (&new, &old), (&new, &new)] {
        whole_story(one, other).await;
    }
    new.redeem(&wallet, &pending).await.unwrap();
    assert_eq!(reason(old.redeem(&wallet, &pending).await), "CHALLENGE_ALREADY_USED");
    let again = new.sign_in(&wallet).await;
    assert_eq!(again.account.unwrap().id, before.account.unwrap().id);
    new.refresh(&before.tokens.unwrap().refresh_token).await.unwrap();

    let (made_by_old, made_by_new) = (client_made_by(earlier(), store, &[]), client_of(store));
    for (process, authorization) in [(&new_process, &made_by_old), (&old_process, &made_by_new)] {
        let caller = process.caller(authorization).await;
        whole_story(&caller, &caller).await;
    }
}

/// A sign-in and what comes after it, each step at the other instance.
async fn whole_story(one: &Caller, other: &Caller) {
    let wallet = wallet();
    let (session, device) = one.device_of(&wallet).await;
    let challenge = other.with(device.authorization()).challenge_for(&wallet).await;
    let signed_in = device.redeem(&wallet, &challenge).await.unwrap();
    let refreshed = other.refresh(&signed_in.tokens.unwrap().refresh_token).await.unwrap();
    let refreshed = one.refresh(&refreshed.refresh_token).await.unwrap();
    assert!(other.introspect(&refreshed.access_token).await.unwrap().active);
    assert_eq!(other.get_session(&session.id).await.unwrap().state(), SessionState::Active);
    one.revoke_session(&session.id).await.unwrap();
    assert_eq!(reason(other.refresh(&refreshed.refresh_token).await), "SESSION_REVOKED");
    assert_eq!(other.get_session(&session.id).await.unwrap().state(), SessionState::Revoked);
}

async fn what_this_program_does_to_clients_the_earlier_one_obeys(store: &TestStore) {
    let new_process = Process::start(store);
    let old_process = Process::start_as(earlier(), store, &[]);
    let here = open(&store.url).await.unwrap();
    let authorization = client_of(store);
    let id = here.list_clients(None, 1).await.unwrap()[0].id;
    let (_, secret) = add_client_secret(here.as_ref(), id).await.unwrap();
    let old = old_process.caller(&basic(&id.to_string(), secret.expose())).await;
    whole_story(&old, &new_process.caller(&authorization).await).await;

    let tokens = old.sign_in(&wallet()).await.tokens.unwrap();
    let refused_as = async |expected: &str| {
        for _ in 0..1_000 {
            match old.start(start_for(&wallet())).await {
                Err(status) if reason::<()>(Err(status.clone())) == expected => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("never refused as {expected}");
    };
    set_disabled(here.as_ref(), id, true).await.unwrap();
    refused_as("CLIENT_DISABLED").await;
    assert_eq!(reason(old.with("").refresh(&tokens.refresh_token).await), "CLIENT_DISABLED");
    delete_client(here.as_ref(), id).await.unwrap();
    refused_as("CLIENT_CREDENTIALS_INVALID").await;
    assert_eq!(reason(old.with("").refresh(&tokens.refresh_token).await), "SESSION_REVOKED");
}
