//! Rows that have ended leave after their retention, and no others.

use std::time::Duration;

use countersign::{
    domain::{Sealed, SigningAlgorithm},
    flows::operator::clean_up::clean_up,
    store::{Backlog, CleanupTarget, KeyRotation, NewSigningKey},
};

use crate::{
    crowd::Instances,
    database::in_millis,
    fixture::{Bench, FIRST_KEY, new_address},
    support::TestStore,
};

on_both_stores!(
    what_has_ended_longer_ago_than_the_retention_leaves_and_nothing_else_does,
    a_signing_key_leaves_when_its_last_token_ended_longer_ago_than_the_retention,
    a_batch_is_bounded_and_the_backlog_tells_what_is_left,
    several_instances_drain_it_together,
);

const DAY: Duration = Duration::from_hours(24);

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap()
}

async fn what_has_ended_longer_ago_than_the_retention_leaves_and_nothing_else_does(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (old, recent, live) = (
        bench.challenge(&new_address()).await,
        bench.challenge(&new_address()).await,
        bench.challenge(&new_address()).await,
    );
    test.age("challenges", old.id.uuid(), seconds(DAY) + 121).await;
    test.age("challenges", recent.id.uuid(), seconds(DAY) - 60).await;
    let (over, going) = (bench.sign_in(&new_address()).await, bench.sign_in(&new_address()).await);
    let idle = bench.client.policy.refresh_token_ttl + DAY;
    test.age("sessions", over.session.id.uuid(), seconds(idle + DAY) + 60).await;
    test.age("sessions", going.session.id.uuid(), seconds(idle) - 60).await;

    assert_eq!(clean_up(bench.store.as_ref(), DAY).await.unwrap(), 2);
    assert_eq!(clean_up(bench.store.as_ref(), DAY).await.unwrap(), 0);
    // Two more challenges were redeemed for the sign-ins.
    assert_eq!(test.count("challenges", "TRUE").await, 4);
    for kept in [recent.id, live.id] {
        let key = countersign::store::ChallengeKey::Id(kept);
        assert_eq!(bench.find(key).await.len(), 1);
    }
    assert!(bench.store.session(over.session.id).await.unwrap().is_none());
    assert!(bench.store.session(going.session.id).await.unwrap().is_some());
    assert_eq!(test.count("accounts", "TRUE").await, 2, "accounts stay for ever");
}

async fn a_signing_key_leaves_when_its_last_token_ended_longer_ago_than_the_retention(test: &TestStore) {
    let bench = Bench::on(test).await;
    let key = |kid: &str| NewSigningKey {
        kid: kid.to_owned(),
        algorithm: SigningAlgorithm::Es256,
        sealed: Sealed { root_key_id: FIRST_KEY, bytes: kid.as_bytes().to_vec() },
    };
    bench.store.add_signing_key(key("first"), true).await.unwrap();
    bench.store.add_signing_key(key("second"), false).await.unwrap();
    for next in ["third", "fourth"] {
        let rotation =
            KeyRotation { next: key(next), active_for: Duration::ZERO, published_for: Duration::ZERO };
        bench.store.rotate_signing_key(rotation).await.unwrap();
    }
    bench.store.revoke_signing_key("third", key("fifth")).await.unwrap().unwrap();
    let set = async |kid: &str, column: &str, ago: Duration| {
        let time = in_millis(test, -seconds(ago) * 1_000);
        test.execute(&format!("UPDATE signing_keys SET {column} = {time} WHERE kid = '{kid}'")).await;
    };
    let minute = Duration::from_mins(1);
    let tokens_end = DAY + Duration::from_hours(1);
    // However long they have been there.
    for (kid, column) in [("fourth", "create_time"), ("fourth", "activate_time"), ("fifth", "create_time")] {
        set(kid, column, 40 * DAY).await;
    }
    set("first", "remove_time", DAY + 2 * minute).await;
    set("second", "remove_time", DAY - minute).await;
    set("third", "revoke_time", tokens_end + DAY - minute).await;
    // It had retired before it was revoked.
    set("third", "remove_time", 2 * DAY).await;
    let backlog = bench.store.backlog(CleanupTarget::SigningKeys, DAY).await.unwrap();
    assert_eq!((backlog.rows, backlog.oldest.as_secs() / 60), (1, 2));
    assert_eq!(clean_up(bench.store.as_ref(), DAY).await.unwrap(), 1);
    assert_eq!(test.count("signing_keys", "kid = 'first'").await, 0);
    set("third", "revoke_time", tokens_end + DAY + minute).await;
    assert_eq!(clean_up(bench.store.as_ref(), DAY).await.unwrap(), 1);
    assert_eq!(test.count("signing_keys", "kid IN ('second', 'fourth', 'fifth')").await, 3);
    assert_eq!(test.count("signing_keys", "TRUE").await, 3);
}

async fn a_batch_is_bounded_and_the_backlog_tells_what_is_left(test: &TestStore) {
    let bench = Bench::on(test).await;
    for _ in 0..7 {
        let challenge = bench.challenge(&new_address()).await;
        test.age("challenges", challenge.id.uuid(), seconds(DAY) + 3_721).await;
    }
    let store = &bench.store;
    let backlog = store.backlog(CleanupTarget::Challenges, DAY).await.unwrap();
    assert_eq!(backlog.rows, 7);
    assert!((3_600..3_700).contains(&backlog.oldest.as_secs()), "{backlog:?}");
    assert_eq!(store.remove_expired(CleanupTarget::Challenges, DAY, 5).await.unwrap(), 5);
    assert_eq!(store.backlog(CleanupTarget::Challenges, DAY).await.unwrap().rows, 2);
    assert_eq!(store.remove_expired(CleanupTarget::Challenges, DAY, 5).await.unwrap(), 2);
    assert_eq!(store.backlog(CleanupTarget::Challenges, DAY).await.unwrap(), Backlog::default());
}

async fn several_instances_drain_it_together(test: &TestStore) {
    let bench = Bench::on(test).await;
    for _ in 0..60 {
        bench.challenge(&new_address()).await;
    }
    let instances = Instances::on(test).await;
    let later =
        if test.is_postgres() { "expire_time - interval '2 days'" } else { "expire_time - 172800000" };
    test.execute(&format!("UPDATE challenges SET expire_time = {later}")).await;
    let removed =
        instances.at_once(0..8, |store, _| async move { clean_up(store.as_ref(), DAY).await.unwrap() });
    let removed: u64 = removed.await.into_iter().sum();
    assert_eq!(removed, 60, "each row is removed once");
    assert_eq!(test.count("challenges", "TRUE").await, 0);
}
