//! Signing keys are rotated once, when it is time, and revoked at once; root keys go when nothing needs them.

use std::{sync::Arc, time::Duration};

use countersign::{
    domain::{RevokeReason, RootKeyId, Sealed, SigningAlgorithm},
    store::{Canary, KeyRotation, NewSigningKey, RotateKeyOutcome, SigningKeyState, Store, StoredSigningKey},
};

use crate::{
    crowd::Instances,
    database::in_millis,
    fixture::{Bench, FIRST_KEY, NEXT_KEY, new_address},
    support::TestStore,
};

on_both_stores!(
    a_due_key_is_rotated_and_the_one_before_stays_published_until_its_tokens_end,
    a_key_that_has_not_signed_for_long_enough_stays,
    a_prepared_key_that_has_not_been_published_for_long_enough_waits,
    the_other_algorithms_stay_as_they_are,
    of_ten_that_rotate_at_once_one_does,
    an_active_key_that_is_revoked_leaves_its_place_to_the_prepared_one,
    a_prepared_key_that_is_revoked_is_replaced,
    a_retiring_key_that_is_revoked_is_published_no_more,
    what_is_not_published_is_not_revoked,
    of_many_that_revoke_one_key_at_once_one_does,
    a_key_is_resealed_unless_it_was_meanwhile,
    a_root_key_is_needed_by_keys_and_live_sessions_and_forgotten_after,
);

const HOUR: Duration = Duration::from_hours(1);
const ES256: SigningAlgorithm = SigningAlgorithm::Es256;

fn key(kid: &str, algorithm: SigningAlgorithm) -> NewSigningKey {
    let sealed = Sealed { root_key_id: FIRST_KEY, bytes: kid.as_bytes().to_vec() };
    NewSigningKey { kid: kid.to_owned(), algorithm, sealed }
}

/// An active and a prepared key, both so many hours old.
async fn keys(bench: &Bench<'_>, algorithm: SigningAlgorithm, hours: i64) {
    let name = algorithm.as_str();
    bench.store.add_signing_key(key(&format!("{name} active"), algorithm), true).await.unwrap();
    bench.store.add_signing_key(key(&format!("{name} prepared"), algorithm), false).await.unwrap();
    let then = in_millis(bench.test, -hours * 3_600_000 - 1_000);
    let set =
        format!("create_time = {then}, activate_time = CASE WHEN activate_time IS NOT NULL THEN {then} END");
    bench.test.execute(&format!("UPDATE signing_keys SET {set} WHERE algorithm = '{name}'")).await;
}

fn rotation(next: &str, active_hours: u32, published_hours: u32) -> KeyRotation {
    KeyRotation {
        next: key(next, ES256),
        active_for: active_hours * HOUR,
        published_for: published_hours * HOUR,
    }
}

async fn published(bench: &Bench<'_>) -> Vec<(String, SigningKeyState)> {
    let mut keys: Vec<_> =
        bench.store.signing_keys().await.unwrap().into_iter().map(|key| (key.kid, key.state)).collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    keys
}

async fn of(bench: &Bench<'_>, kid: &str) -> StoredSigningKey {
    bench.store.signing_keys().await.unwrap().into_iter().find(|key| key.kid == kid).unwrap()
}

fn named(keys: &[(&str, SigningKeyState)]) -> Vec<(String, SigningKeyState)> {
    keys.iter().map(|(kid, state)| ((*kid).to_owned(), *state)).collect()
}

use SigningKeyState::{Active, Prepared, Retiring};

async fn a_due_key_is_rotated_and_the_one_before_stays_published_until_its_tokens_end(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 2).await;
    let outcome = bench.store.rotate_signing_key(rotation("next", 2, 1)).await.unwrap();
    assert_eq!(outcome, RotateKeyOutcome::Rotated);
    let expected = [("ES256 active", Retiring), ("ES256 prepared", Active), ("next", Prepared)];
    assert_eq!(published(&bench).await, named(&expected));
    let now = bench.store.now().await.unwrap();
    let stays = of(&bench, "ES256 active").await.remove_time.unwrap() - now;
    // 24 hours are the longest life of an access token.
    assert!(stays > 24 * HOUR && stays <= 25 * HOUR, "{stays}");
    assert!(of(&bench, "ES256 prepared").await.activate_time.unwrap() <= now);
    assert_eq!(of(&bench, "next").await.sealed, key("next", ES256).sealed);
    // Nothing is due after that.
    assert_eq!(
        bench.store.rotate_signing_key(rotation("later", 2, 1)).await.unwrap(),
        RotateKeyOutcome::NotDue
    );
    assert_eq!(published(&bench).await, named(&expected));
}

async fn a_key_that_has_not_signed_for_long_enough_stays(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 2).await;
    assert_eq!(
        bench.store.rotate_signing_key(rotation("next", 3, 0)).await.unwrap(),
        RotateKeyOutcome::NotDue
    );
    assert_eq!(published(&bench).await, named(&[("ES256 active", Active), ("ES256 prepared", Prepared)]));
}

async fn a_prepared_key_that_has_not_been_published_for_long_enough_waits(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 2).await;
    let outcome = bench.store.rotate_signing_key(rotation("next", 0, 3)).await.unwrap();
    assert_eq!(outcome, RotateKeyOutcome::NotPublished);
    assert_eq!(published(&bench).await, named(&[("ES256 active", Active), ("ES256 prepared", Prepared)]));
}

async fn the_other_algorithms_stay_as_they_are(test: &TestStore) {
    let bench = Bench::on(test).await;
    for algorithm in SigningAlgorithm::ALL {
        keys(&bench, algorithm, 2).await;
    }
    bench.store.rotate_signing_key(rotation("next", 1, 1)).await.unwrap();
    let expected = [
        ("ES256 active", Retiring),
        ("ES256 prepared", Active),
        ("EdDSA active", Active),
        ("EdDSA prepared", Prepared),
        ("RS256 active", Active),
        ("RS256 prepared", Prepared),
        ("next", Prepared),
    ];
    assert_eq!(published(&bench).await, named(&expected));
}

async fn of_ten_that_rotate_at_once_one_does(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 2).await;
    let instances = Instances::on(test).await;
    let rotations: Vec<_> = (0..10).map(|at| rotation(&format!("next {at}"), 2, 1)).collect();
    let rotate =
        |store: Arc<dyn Store>, rotation| async move { store.rotate_signing_key(rotation).await.unwrap() };
    let outcomes = instances.at_once(rotations, rotate).await;
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == RotateKeyOutcome::Rotated).count(),
        1,
        "{outcomes:?}"
    );
    assert!(outcomes.iter().all(|outcome| *outcome != RotateKeyOutcome::NotPublished), "{outcomes:?}");
    let winner = outcomes.iter().position(|outcome| *outcome == RotateKeyOutcome::Rotated).unwrap();
    let next = format!("next {winner}");
    let expected = [("ES256 active", Retiring), ("ES256 prepared", Active), (next.as_str(), Prepared)];
    assert_eq!(published(&bench).await, named(&expected));
    assert_eq!(test.count("signing_keys", "kid LIKE 'next%'").await, 1);
}

async fn an_active_key_that_is_revoked_leaves_its_place_to_the_prepared_one(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 0).await;
    let was = bench.store.revoke_signing_key("ES256 active", key("next", ES256)).await.unwrap();
    assert_eq!(was, Some(Active));
    assert_eq!(published(&bench).await, named(&[("ES256 prepared", Active), ("next", Prepared)]));
    let told = bench.store.revocations(None).await.unwrap().keys;
    assert_eq!(told.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["ES256 active"]);
    // Where none was prepared, the new one signs.
    bench.test.execute("DELETE FROM signing_keys WHERE kid = 'next'").await;
    bench.store.revoke_signing_key("ES256 prepared", key("only", ES256)).await.unwrap();
    assert_eq!(published(&bench).await, named(&[("only", Active)]));
}

async fn a_prepared_key_that_is_revoked_is_replaced(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 0).await;
    let was = bench.store.revoke_signing_key("ES256 prepared", key("next", ES256)).await.unwrap();
    assert_eq!(was, Some(Prepared));
    assert_eq!(published(&bench).await, named(&[("ES256 active", Active), ("next", Prepared)]));
}

async fn a_retiring_key_that_is_revoked_is_published_no_more(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 2).await;
    bench.store.rotate_signing_key(rotation("next", 1, 1)).await.unwrap();
    let was = bench.store.revoke_signing_key("ES256 active", key("unused", ES256)).await.unwrap();
    assert_eq!(was, Some(Retiring));
    assert_eq!(published(&bench).await, named(&[("ES256 prepared", Active), ("next", Prepared)]));
}

async fn what_is_not_published_is_not_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 0).await;
    let before = published(&bench).await;
    let revoke = async |kid| bench.store.revoke_signing_key(kid, key("unused", ES256)).await.unwrap();
    assert_eq!(revoke("nobody's").await, None);
    assert_eq!(published(&bench).await, before);
    revoke("ES256 prepared").await;
    let before = published(&bench).await;
    assert_eq!(revoke("ES256 prepared").await, None, "it was revoked before");
    assert_eq!(published(&bench).await, before);
}

async fn of_many_that_revoke_one_key_at_once_one_does(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 0).await;
    let instances = Instances::on(test).await;
    let replacements: Vec<_> = (0..10).map(|at| key(&format!("next {at}"), ES256)).collect();
    let revoke = |store: Arc<dyn Store>, replacement| async move {
        store.revoke_signing_key("ES256 active", replacement).await.unwrap()
    };
    let outcomes = instances.at_once(replacements, revoke).await;
    assert_eq!(outcomes.iter().filter(|was| was.is_some()).count(), 1, "{outcomes:?}");
    assert_eq!(published(&bench).await.len(), 2);
    assert_eq!(test.count("signing_keys", "kid LIKE 'next%'").await, 1);
}

async fn a_key_is_resealed_unless_it_was_meanwhile(test: &TestStore) {
    let bench = Bench::on(test).await;
    keys(&bench, ES256, 0).await;
    let new = Sealed { root_key_id: NEXT_KEY, bytes: b"under another root key".to_vec() };
    let reseal = async |from, sealed: &Sealed| {
        bench.store.reseal_signing_key("ES256 active", from, sealed.clone()).await.unwrap()
    };
    assert!(reseal(FIRST_KEY, &new).await);
    assert_eq!(of(&bench, "ES256 active").await.sealed, new);
    assert!(!reseal(FIRST_KEY, &Sealed { root_key_id: FIRST_KEY, bytes: b"too late".to_vec() }).await);
    assert_eq!(of(&bench, "ES256 active").await.sealed, new);
}

async fn a_root_key_is_needed_by_keys_and_live_sessions_and_forgotten_after(test: &TestStore) {
    let bench = Bench::on(test).await;
    for root_key_id in [FIRST_KEY, NEXT_KEY] {
        let sealed = Sealed { root_key_id, bytes: b"canary".to_vec() };
        bench.store.add_canary(Canary { sealed }).await.unwrap();
    }
    bench.store.add_signing_key(key("one", ES256), true).await.unwrap();
    let session = bench.sign_in(&new_address()).await.session;
    let of_first = async || {
        let uses = bench.store.root_key_uses().await.unwrap();
        let of_first = uses.iter().find(|it| it.root_key_id == FIRST_KEY);
        of_first.map(|it| (it.signing_keys, it.sessions, it.has_canary))
    };
    let forget = async |root_key_id| bench.store.forget_root_key(root_key_id).await.unwrap();
    assert_eq!(of_first().await, Some((1, 1, true)));
    assert!(!forget(FIRST_KEY).await);
    // The key moves on, and so does the session with its next refresh.
    let sealed = Sealed { root_key_id: NEXT_KEY, bytes: b"sealed".to_vec() };
    bench.store.reseal_signing_key("one", FIRST_KEY, sealed).await.unwrap();
    assert_eq!(of_first().await, Some((0, 1, true)));
    assert!(!forget(FIRST_KEY).await);
    bench.rotate(session.id, 1).await;
    assert_eq!(of_first().await, Some((0, 0, true)));
    // A session that waits for its sign-in needs the key of its session token.
    let pending = bench.pending(&new_address()).await;
    assert_eq!(of_first().await, Some((0, 1, true)));
    assert!(!forget(FIRST_KEY).await);
    test.age("sessions", pending.id.uuid(), 3_600).await;
    assert_eq!(of_first().await, Some((0, 0, true)));
    assert!(forget(FIRST_KEY).await);
    assert_eq!((of_first().await, forget(FIRST_KEY).await), (None, false));
    assert!(!forget(RootKeyId([9; 8])).await);
    // A session that is over needs none.
    bench.store.revoke_session(session.id, RevokeReason::RevokedByUser).await.unwrap();
    let uses = bench.store.root_key_uses().await.unwrap();
    assert_eq!(uses.iter().map(|it| (it.root_key_id, it.sessions)).collect::<Vec<_>>(), [(NEXT_KEY, 0)]);
}
