//! One clock decides: the database's, whatever those of the instances show.

use std::time::Duration;

use countersign::{
    domain::{RevokeReason, SessionState},
    store::{ChallengeKey, ChallengeState, RedeemOutcome, RotateOutcome, open},
};
use time::OffsetDateTime;

use crate::{
    database::turn_clock,
    fixture::{Bench, new_address, new_session, rotated, signed_in},
    support::TestStore,
};

on_both_stores!(
    what_the_database_takes_for_over_is_over,
    what_the_database_takes_for_live_is_live,
    every_time_that_is_kept_is_the_databases,
);

const HOUR: i64 = 3_600;

/// An instance that sees the clock as it was turned.
async fn elsewhere<'a>(bench: &Bench<'a>) -> Bench<'a> {
    let store = open(&bench.test.url).await.unwrap();
    Bench { test: bench.test, store, client: bench.client.clone() }
}

async fn what_the_database_takes_for_over_is_over(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let pending = bench.pending(&new_address()).await;
    let bound = bench.bound_challenge(&pending).await;
    let signed_in = bench.sign_in(&new_address()).await.session;
    turn_clock(test, HOUR * 24 * 30).await;
    let bench = elsewhere(&bench).await;
    for challenge in [challenge, bound] {
        assert_is!(bench.redeem(&challenge).await, RedeemOutcome::Expired);
        assert_eq!(bench.find(ChallengeKey::Id(challenge.id)).await[0].state, ChallengeState::Expired);
    }
    assert_is!(bench.rotate(signed_in.id, 1).await, RotateOutcome::Expired);
    for id in [pending.id, signed_in.id] {
        assert_eq!(bench.state(id).await, SessionState::Expired);
    }
}

async fn what_the_database_takes_for_live_is_live(test: &TestStore) {
    let bench = Bench::on(test).await;
    let pending = bench.pending(&new_address()).await;
    let bound = bench.bound_challenge(&pending).await;
    let active = bench.sign_in(&new_address()).await.session;
    // By every other clock they ended half an hour ago.
    test.age("challenges", bound.id.uuid(), HOUR / 2).await;
    test.age("sessions", pending.id.uuid(), HOUR / 2).await;
    test.age("sessions", active.id.uuid(), 24 * HOUR * 90).await;
    turn_clock(test, -HOUR).await;
    let bench = elsewhere(&bench).await;
    assert_eq!(bench.find(ChallengeKey::Id(bound.id)).await[0].state, ChallengeState::Live);
    assert_eq!(signed_in(bench.redeem(&bound).await).session.state, SessionState::Active);
    turn_clock(test, -HOUR * 24 * 90).await;
    assert_eq!(
        rotated(elsewhere(&bench).await.rotate(active.id, 1).await).session.state,
        SessionState::Active
    );
}

async fn every_time_that_is_kept_is_the_databases(test: &TestStore) {
    let bench = Bench::on(test).await;
    let here = bench.client.create_time;
    turn_clock(test, HOUR).await;
    let bench = elsewhere(&bench).await;
    let is_there =
        |time: OffsetDateTime| (time - here - Duration::from_secs(3_600)).abs() < time::Duration::minutes(5);
    let new = bench.store.create_session(new_session(&bench.client, &new_address())).await.unwrap();
    assert!(is_there(new.create_time) && is_there(new.update_time), "{new:?}");
    assert!(is_there(new.expire_time - Duration::from_mins(10)), "{new:?}");
    let mut redeemable = bench.new_challenge(&bench.client, &new_address()).await;
    redeemable.expire_time += Duration::from_hours(2);
    let challenge = bench.store.issue_challenge(redeemable).await.unwrap();
    let signed_in = signed_in(bench.redeem(&challenge).await);
    assert!(is_there(signed_in.now) && is_there(signed_in.account.create_time), "{signed_in:?}");
    assert!(is_there(signed_in.session.create_time), "{signed_in:?}");
    let rotated = rotated(bench.rotate(signed_in.session.id, 1).await);
    assert!(is_there(rotated.now) && is_there(rotated.session.update_time), "{rotated:?}");
    let reason = RevokeReason::RevokedByUser;
    let revoked = bench.store.revoke_session(new.id, reason).await.unwrap().unwrap();
    assert!(is_there(revoked.revocation.unwrap().time), "{revoked:?}");
}
