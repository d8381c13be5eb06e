//! Refresh tokens step on, and repeat within the grace.

use std::time::Duration;

use countersign::{
    domain::{RootKeyId, SessionId, SessionState},
    store::{RotateOutcome, Rotation},
};

use crate::{
    database::{after, column, holds, set, set_policy},
    fixture::{Bench, FIRST_KEY, NEXT_KEY, new_address, replayed, rotate, rotated, rotation},
    support::TestStore,
};

on_both_stores!(
    the_current_token_steps_to_the_next,
    generations_count_up_one_by_one,
    within_the_grace_the_spent_token_gives_the_same_next_one_again,
    a_replay_moves_neither_the_step_nor_a_deadline,
    a_replay_lets_its_access_token_end_later_never_earlier,
    the_grace_is_the_policys_and_counts_from_the_step,
    a_step_pushes_the_idle_deadline_by_the_policys_life,
    no_step_pushes_a_deadline_past_the_hard_end,
    the_end_that_clean_up_looks_for_is_never_too_early_and_seldom_moves,
    credentials_of_the_sessions_own_client_are_welcome,
    a_rotation_and_a_replay_return_the_client_as_it_is_now,
);

/// A session that has just been signed in.
async fn session(bench: &Bench<'_>) -> SessionId {
    bench.sign_in(&new_address()).await.session.id
}

async fn the_current_token_steps_to_the_next(test: &TestStore) {
    let bench = Bench::on(test).await;
    let signed_in = bench.sign_in(&new_address()).await.session;
    let before = bench.store.now().await.unwrap();
    let rotated = rotated(bench.rotate(signed_in.id, 1).await);
    let later = bench.store.now().await.unwrap();
    assert_eq!((rotated.generation, rotated.root_key_id), (2, NEXT_KEY));
    assert!((before..=later).contains(&rotated.now), "not on the database's clock");
    let (was, is) = (signed_in.sign_in.clone().unwrap(), rotated.session.sign_in.clone().unwrap());
    assert_eq!((is.generation, rotated.session.state), (2, SessionState::Active));
    assert_eq!((is.account_id, is.hard_expire_time), (was.account_id, was.hard_expire_time));
    assert_eq!((&is.wallet, is.authenticate_time), (&was.wallet, was.authenticate_time));
    assert_eq!(rotated.session.update_time, rotated.now);
    assert_eq!(bench.session(signed_in.id).await, rotated.session);
}

async fn generations_count_up_one_by_one(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    for generation in 1..=10 {
        let key = RootKeyId([u8::try_from(generation).unwrap(); 8]);
        let step = Rotation { root_key_id: key, ..rotation(id, generation) };
        let rotated = rotated(rotate(bench.store.clone(), step).await);
        assert_eq!((rotated.generation, rotated.root_key_id), (generation + 1, key));
    }
    assert_eq!(test.count("sessions", "TRUE").await, 1);
}

async fn within_the_grace_the_spent_token_gives_the_same_next_one_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    let first = rotated(bench.rotate(id, 1).await);
    for _ in 0..3 {
        // Whatever key this instance would take: the next token is derived from the stored one.
        let again = Rotation { root_key_id: FIRST_KEY, ..rotation(id, 1) };
        let replayed = replayed(rotate(bench.store.clone(), again).await);
        assert_eq!((replayed.generation, replayed.root_key_id), (first.generation, first.root_key_id));
        assert_eq!(replayed.session, first.session);
        assert!(replayed.now >= first.now);
    }
    assert_eq!(rotated(bench.rotate(id, 2).await).generation, 3);
}

async fn a_replay_moves_neither_the_step_nor_a_deadline(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    set_policy(test, bench.client.id, "refresh_grace_ms", "600000").await;
    rotated(bench.rotate(id, 1).await);
    test.age("sessions", id.uuid(), 500).await;
    let moving = async || {
        let mut values = Vec::new();
        for name in
            ["refresh_step_time", "expire_time", "hard_expire_time", "latest_expire_time", "update_time"]
        {
            values.push(column(test, id, name).await);
        }
        values
    };
    let before = moving().await;
    replayed(bench.rotate(id, 1).await);
    assert_eq!(moving().await, before);
    // So the grace ends when it would have: 500 and 101 seconds are more than 10 minutes.
    test.age("sessions", id.uuid(), 101).await;
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Reused(..));
}

async fn a_replay_lets_its_access_token_end_later_never_earlier(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    set_policy(test, bench.client.id, "refresh_grace_ms", "600000").await;
    rotated(bench.rotate(id, 1).await);
    test.age("sessions", id.uuid(), 500).await;
    let ttl = bench.client.policy.access_token_ttl;
    let of_step = format!("access_expire_time = {}", after(test, "refresh_step_time", ttl));
    assert!(holds(test, "sessions", id.uuid(), &of_step).await);
    let replayed = replayed(bench.rotate(id, 1).await);
    let later =
        format!("access_expire_time >= {}", after(test, "refresh_step_time", ttl + Duration::from_secs(500)));
    assert!(holds(test, "sessions", id.uuid(), &later).await, "the token of {} outlives it", replayed.now);
    let end = column(test, id, "access_expire_time").await;
    set_policy(test, bench.client.id, "access_token_ttl_ms", "60000").await;
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Replayed(_));
    assert_is!(bench.rotate(id, 2).await, RotateOutcome::Rotated(_));
    assert_eq!(column(test, id, "access_expire_time").await, end, "earlier tokens are still good");
}

async fn the_grace_is_the_policys_and_counts_from_the_step(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    // The age of the session before the step counts for nothing.
    test.age("sessions", id.uuid(), 3_600).await;
    rotated(bench.rotate(id, 1).await);
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Replayed(_));
    set_policy(test, bench.client.id, "refresh_grace_ms", "600000").await;
    test.age("sessions", id.uuid(), 500).await;
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Replayed(_));
    set_policy(test, bench.client.id, "refresh_grace_ms", "0").await;
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Reused(..));
}

async fn a_step_pushes_the_idle_deadline_by_the_policys_life(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    test.age("sessions", id.uuid(), 3_600).await;
    let first = rotated(bench.rotate(id, 1).await);
    assert_eq!(first.session.expire_time, first.now + bench.client.policy.refresh_token_ttl);
    let times = format!(
        "refresh_step_time = update_time AND access_expire_time = {}",
        after(test, "refresh_step_time", bench.client.policy.access_token_ttl)
    );
    assert!(holds(test, "sessions", id.uuid(), &times).await);
    // The policy as it is now, not as it was at the sign-in.
    set_policy(test, bench.client.id, "refresh_token_ttl_ms", "90000").await;
    let second = rotated(bench.rotate(id, 2).await);
    assert_eq!(second.session.expire_time, second.now + Duration::from_secs(90));
}

async fn no_step_pushes_a_deadline_past_the_hard_end(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    let hard_end = bench.session(id).await.sign_in.unwrap().hard_expire_time;
    // Ten minutes before its hard end, kept alive until then.
    let left = bench.client.policy.session_max_ttl - Duration::from_mins(10);
    test.age("sessions", id.uuid(), i64::try_from(left.as_secs()).unwrap()).await;
    set(test, "sessions", id.uuid(), "expire_time = hard_expire_time, latest_expire_time = hard_expire_time")
        .await;
    let rotated = rotated(bench.rotate(id, 1).await);
    assert_eq!(rotated.session.state, SessionState::Active);
    assert_eq!(rotated.session.expire_time, hard_end - left);
    let ends = "expire_time = hard_expire_time AND latest_expire_time = hard_expire_time
                AND access_expire_time = hard_expire_time";
    assert!(holds(test, "sessions", id.uuid(), ends).await);
    replayed(bench.rotate(id, 1).await);
    assert!(holds(test, "sessions", id.uuid(), ends).await);
}

async fn the_end_that_clean_up_looks_for_is_never_too_early_and_seldom_moves(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    let in_order = "latest_expire_time BETWEEN expire_time AND hard_expire_time";
    let (mut generation, mut moved) = (1, 0);
    // Two steps every eight hours, for four days.
    for _ in 0..12 {
        let before = column(test, id, "latest_expire_time").await;
        rotated(bench.rotate(id, generation).await);
        assert!(holds(test, "sessions", id.uuid(), in_order).await, "at generation {generation}");
        let end = column(test, id, "latest_expire_time").await;
        moved += u32::from(end != before);
        rotated(bench.rotate(id, generation + 1).await);
        assert_eq!(column(test, id, "latest_expire_time").await, end, "moved by two steps in a row");
        generation += 2;
        test.age("sessions", id.uuid(), 8 * 3_600).await;
    }
    assert!((1..=4).contains(&moved), "moved {moved} times in four days");
}

async fn credentials_of_the_sessions_own_client_are_welcome(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    let with_client = Rotation { client_id: Some(bench.client.id), ..rotation(id, 1) };
    assert_is!(rotate(bench.store.clone(), with_client.clone()).await, RotateOutcome::Rotated(_));
    assert_is!(rotate(bench.store.clone(), with_client).await, RotateOutcome::Replayed(_));
    set_policy(test, bench.client.id, "refresh_requires_client", "true").await;
    let demanded = Rotation { client_id: Some(bench.client.id), ..rotation(id, 2) };
    assert_is!(rotate(bench.store.clone(), demanded).await, RotateOutcome::Rotated(_));
}

async fn a_rotation_and_a_replay_return_the_client_as_it_is_now(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    assert_eq!(rotated(bench.rotate(id, 1).await).client, bench.client);
    set_policy(test, bench.client.id, "access_token_ttl_ms", "90000").await;
    let changed = bench.store.client(bench.client.id).await.unwrap().unwrap().client;
    assert_eq!(changed.policy.access_token_ttl, Duration::from_secs(90));
    assert_eq!(replayed(bench.rotate(id, 1).await).client, changed);
    assert_eq!(rotated(bench.rotate(id, 2).await).client, changed);
}
