//! Clients changed and deleted.

use std::time::Duration;

use countersign::{
    domain::{ClientId, Policy, RevokeReason, Role, SessionId, SessionState},
    store::{RedeemOutcome, RotateOutcome, Sweep},
};
use time::OffsetDateTime;

use crate::{
    crowd::{CROWD, Instances},
    database::{assert_unchanged, column, contents, in_millis, set, set_policy},
    fixture::{Bench, NEXT_KEY, new_address, rotation},
    support::TestStore,
};

on_both_stores!(
    an_update_replaces_the_policy_and_nothing_else,
    an_update_of_what_has_changed_since_changes_nothing,
    of_many_updates_of_one_state_one_is_made,
    what_a_later_version_noted_in_a_policy_survives_an_update,
    a_client_is_switched_off_and_on_whatever_else_its_policy_holds,
    a_deleted_client_is_gone_for_every_call,
    deleting_again_is_the_same,
    a_sweep_revokes_the_clients_live_sessions_and_no_others,
    a_sweep_goes_through_all_sessions_stretch_by_stretch,
    a_reason_of_a_later_version_can_be_read,
);

fn other_policy() -> Policy {
    Policy {
        name: "Another name".to_owned(),
        roles: vec![Role::Admin],
        access_token_ttl: Duration::from_mins(7),
        scope: "read".to_owned(),
        ..Policy::default()
    }
}

async fn an_update_replaces_the_policy_and_nothing_else(test: &TestStore) {
    let bench = Bench::on(test).await;
    let neighbour = bench.client_in("a realm").await;
    let old = &bench.client;
    let new = bench.store.update_client(old.id, old.update_time, &other_policy()).await.unwrap().unwrap();
    assert_eq!(new.policy, other_policy());
    assert_eq!((new.id, &new.realm, new.create_time), (old.id, &old.realm, old.create_time));
    assert!(new.update_time > old.update_time);
    assert_eq!(bench.store.client(old.id).await.unwrap().unwrap().client, new);
    assert_eq!(bench.store.client(neighbour.id).await.unwrap().unwrap().client, neighbour);
    // What statements decide by has changed along.
    assert_eq!(test.count("clients", "access_token_ttl_ms = 420000").await, 1);
}

async fn an_update_of_what_has_changed_since_changes_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let seen = bench.client.update_time;
    let id = bench.client.id;
    let first = bench.store.update_client(id, seen, &other_policy()).await.unwrap().unwrap();
    let before = contents(test).await;
    for (id, seen) in
        [(id, seen), (ClientId::generate(), seen), (id, first.update_time + Duration::from_secs(1))]
    {
        assert_eq!(bench.store.update_client(id, seen, &Policy::default()).await.unwrap(), None);
    }
    assert_unchanged(test, &before, "too late").await;
}

async fn of_many_updates_of_one_state_one_is_made(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (id, seen) = (bench.client.id, bench.client.update_time);
    let instances = Instances::on(test).await;
    let outcomes = instances
        .at_once(0..CROWD, |store, number| async move {
            let policy = Policy { name: format!("Number {number}"), ..Policy::default() };
            store.update_client(id, seen, &policy).await.unwrap()
        })
        .await;
    let made: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(made.len(), 1);
    assert_eq!(bench.store.client(id).await.unwrap().unwrap().client, made[0]);
}

async fn what_a_later_version_noted_in_a_policy_survives_an_update(test: &TestStore) {
    let bench = Bench::on(test).await;
    set_policy(test, bench.client.id, "of_a_later_version", "7").await;
    bench.store.update_client(bench.client.id, bench.client.update_time, &other_policy()).await.unwrap();
    let noted = if test.is_postgres() {
        "policy ->> 'of_a_later_version'"
    } else {
        "policy ->> '$.of_a_later_version'"
    };
    assert_eq!(test.count("clients", &format!("CAST({noted} AS TEXT) = '7'")).await, 1);
}

async fn a_client_is_switched_off_and_on_whatever_else_its_policy_holds(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.client.id;
    // As if a later version had written it, and a bound had been tightened since.
    set_policy(test, id, "formats", r#"["LATER"]"#).await;
    set_policy(test, id, "access_token_ttl_ms", "59000").await;
    for disabled in [true, true, false] {
        let before = contents(test).await;
        let was = bench.store.client(id).await.unwrap().unwrap().client;
        assert!(bench.store.set_client_disabled(id, disabled).await.unwrap());
        let now = bench.store.client(id).await.unwrap().unwrap().client;
        assert_eq!(now.policy, Policy { disabled, ..was.policy.clone() });
        assert_eq!(now.update_time > was.update_time, disabled != was.policy.disabled);
        assert_eq!(contents(test).await == before, disabled == was.policy.disabled);
    }
    assert!(!bench.store.set_client_disabled(ClientId::generate(), true).await.unwrap());
    bench.store.delete_client(id).await.unwrap();
    assert!(!bench.store.set_client_disabled(id, true).await.unwrap());
}

async fn a_deleted_client_is_gone_for_every_call(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (id, address) = (bench.client.id, new_address());
    let session = bench.sign_in(&address).await.session.id;
    let challenge = bench.challenge(&address).await;
    assert!(bench.store.delete_client(id).await.unwrap());
    assert!(bench.store.client(id).await.unwrap().is_none());
    assert!(bench.store.list_clients(None, 10).await.unwrap().is_empty());
    assert_is!(bench.redeem(&challenge).await, RedeemOutcome::ClientDisabled);
    assert_is!(bench.rotate(session, 1).await, RotateOutcome::ClientDisabled);
    let seen = bench.client.update_time;
    assert_eq!(bench.store.update_client(id, seen, &other_policy()).await.unwrap(), None);
}

async fn deleting_again_is_the_same(test: &TestStore) {
    let bench = Bench::on(test).await;
    assert!(!bench.store.delete_client(ClientId::generate()).await.unwrap());
    assert!(bench.store.delete_client(bench.client.id).await.unwrap());
    let before = contents(test).await;
    assert!(bench.store.delete_client(bench.client.id).await.unwrap());
    assert_unchanged(test, &before, "deleted before").await;
}

async fn a_sweep_revokes_the_clients_live_sessions_and_no_others(test: &TestStore) {
    let bench = Bench::on(test).await;
    let other = bench.client_in(&bench.client.realm).await;
    let address = new_address();
    let active = bench.sign_in(&address).await.session.id;
    let pending = bench.pending(&address).await.id;
    let (idle, ended) = (bench.sign_in(&address).await.session.id, bench.sign_in(&address).await.session.id);
    set(test, "sessions", idle.uuid(), &format!("expire_time = {}", in_millis(test, -1))).await;
    test.age("sessions", ended.uuid(), 100 * 86_400).await;
    let revoked = bench.sign_in(&address).await.session.id;
    bench.store.revoke_session(revoked, RevokeReason::RevokedByUser).await.unwrap();
    let others = bench.sign_in_at(&other, &address).await.session.id;

    let sweep = bench.store.sweep_sessions(bench.client.id, None, 100).await.unwrap();
    assert_eq!(sweep.revoked, 2, "those that were live");
    let reason = async |id: SessionId| bench.session(id).await.revocation.map(|revocation| revocation.reason);
    for id in [active, pending, idle] {
        // An access token of an idle one may still be good.
        assert_eq!(reason(id).await, Some(RevokeReason::ClientDeleted));
        assert_eq!(bench.state(id).await, SessionState::Revoked);
    }
    assert_eq!(reason(revoked).await, Some(RevokeReason::RevokedByUser));
    assert_eq!((reason(ended).await, bench.state(ended).await), (None, SessionState::Expired));
    assert_eq!((reason(others).await, bench.state(others).await), (None, SessionState::Active));
    let rotated = bench.store.rotate_refresh_token(rotation(others, 1)).await.unwrap();
    assert_is!(rotated, RotateOutcome::Rotated(rotated) if rotated.root_key_id == NEXT_KEY);
}

async fn a_sweep_goes_through_all_sessions_stretch_by_stretch(test: &TestStore) {
    let bench = Bench::on(test).await;
    let other = bench.client_in("a realm").await;
    for _ in 0..4 {
        bench.sign_in(&new_address()).await;
        bench.sign_in_at(&other, &new_address()).await;
    }
    let (mut after, mut revoked) = (None, Vec::new());
    loop {
        let Sweep { last, revoked: some } =
            bench.store.sweep_sessions(bench.client.id, after, 3).await.unwrap();
        if last.is_none() {
            break;
        }
        assert!(last > after);
        revoked.push(some);
        after = last;
    }
    assert_eq!((revoked.len(), revoked.iter().sum::<u32>()), (3, 4), "{revoked:?}");
    assert_eq!(test.count("sessions", "revoke_time IS NULL").await, 4);
    assert_eq!(test.count("sessions", "revoke_time IS NULL OR revoke_time = update_time").await, 8);
}

async fn a_reason_of_a_later_version_can_be_read(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    let now = in_millis(test, 0);
    set(test, "sessions", id.uuid(), &format!("revoke_time = {now}, revoke_reason = 'WHO_KNOWS'")).await;
    let revocation = bench.session(id).await.revocation.unwrap();
    assert_eq!(revocation.reason, RevokeReason::Later);
    assert!(revocation.time > OffsetDateTime::UNIX_EPOCH);
    assert_eq!(column(test, id, "revoke_reason").await.as_deref(), Some("WHO_KNOWS"));
}
