//! A live challenge of equal content is found again, and no other.

use std::sync::Arc;

use countersign::{
    domain::{AccountId, ChainAddress, Challenge, ChallengeFormat, ChallengeId, Network},
    store::{ChallengeScope, NewChallenge, RedeemOutcome, Store},
};

use crate::{
    crowd::Instances,
    database::{assert_unchanged, contents, set},
    fixture::{Bench, new_address},
    support::TestStore,
};

on_both_stores!(
    the_newest_equal_one_with_half_of_its_life_left_is_found_and_nothing_changes,
    one_of_other_content_or_another_scope_is_never_found,
    one_that_was_redeemed_or_has_expired_is_never_found,
    one_that_an_earlier_version_issued_is_never_found,
    one_that_another_instance_redeemed_is_never_found,
);

async fn again(bench: &Bench<'_>, wanted: &NewChallenge) -> Option<Challenge> {
    equal_in(bench.store.clone(), wanted.clone()).await
}

/// The newest that a look-up finds and that may be handed out in place of another one.
async fn equal_in(store: Arc<dyn Store>, wanted: NewChallenge) -> Option<Challenge> {
    let scope = ChallengeScope { client_id: wanted.client_id, session_id: wanted.session_id };
    let nowhere = new_address();
    let address = wanted.signer.as_ref().map_or(&nowhere, |signer| &signer.address);
    let found = store.reusable_challenges(scope, wanted.purpose(), address).await.unwrap();
    found.into_iter().find(|found| wanted.is_equal(found)).map(|found| found.challenge)
}

async fn the_newest_equal_one_with_half_of_its_life_left_is_found_and_nothing_changes(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let wanted = bench.new_challenge(&bench.client, &address).await;
    assert_eq!(again(&bench, &wanted).await, None);
    let (older, newer) = (bench.challenge(&address).await, bench.challenge(&address).await);
    let before = contents(test).await;
    assert_eq!(again(&bench, &wanted).await.as_ref(), Some(&newer));
    assert_unchanged(test, &before, "it only reads").await;
    test.age("challenges", newer.id.uuid(), 61).await;
    assert_eq!(again(&bench, &wanted).await, Some(older.clone()));
    test.age("challenges", older.id.uuid(), 61).await;
    assert_eq!(again(&bench, &wanted).await, None);
}

async fn one_of_other_content_or_another_scope_is_never_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let (session, other) = (bench.pending(&address).await.id, bench.pending(&address).await.id);
    let neighbour = bench.client_in(&bench.client.realm).await;
    let usual = bench.new_challenge(&bench.client, &address).await;
    let bound = NewChallenge { id: ChallengeId::generate(), session_id: Some(session), ..usual.clone() };
    for wanted in [&usual, &bound] {
        bench.store.issue_challenge(wanted.clone()).await.unwrap();
        assert_eq!(again(&bench, wanted).await.map(|found| found.session_id), Some(wanted.session_id));
        let signer = |address, network| Some(ChainAddress { address, network });
        let polygon = Network::parse("", "POLYGON").unwrap();
        for different in [
            NewChallenge { content_digest: [8; 32], ..wanted.clone() },
            NewChallenge { client_id: neighbour.id, ..wanted.clone() },
            NewChallenge { session_id: Some(other), ..wanted.clone() },
            NewChallenge { format: ChallengeFormat::Siwx, ..wanted.clone() },
            NewChallenge { link_to: Some(AccountId::generate()), ..wanted.clone() },
            NewChallenge { signer: signer(address.clone(), polygon), ..wanted.clone() },
            NewChallenge { signer: signer(new_address(), Network::ethereum()), ..wanted.clone() },
            NewChallenge { signer: None, ..wanted.clone() },
        ] {
            assert_eq!(again(&bench, &different).await, None, "{different:?}");
        }
    }
}

async fn one_that_was_redeemed_or_has_expired_is_never_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let wanted = bench.new_challenge(&bench.client, &address).await;
    bench.redeem(&bench.challenge(&address).await).await;
    assert_eq!(again(&bench, &wanted).await, None);
    test.age("challenges", bench.challenge(&address).await.id.uuid(), 120).await;
    assert_eq!(again(&bench, &wanted).await, None);
}

async fn one_that_an_earlier_version_issued_is_never_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let challenge = bench.challenge(&address).await;
    set(test, "challenges", challenge.id.uuid(), "content_digest = NULL").await;
    assert_eq!(again(&bench, &bench.new_challenge(&bench.client, &address).await).await, None);
}

async fn one_that_another_instance_redeemed_is_never_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let instances = Instances::on(test).await;
    for _ in 0..20 {
        let wanted = bench.new_challenge(&bench.client, &address).await;
        let challenge = bench.challenge(&address).await;
        let (redemption, again) = (bench.redemption(&challenge), wanted.clone());
        let (redeemed, seen) = instances
            .race(
                |store| async move { crate::fixture::redeem(store, redemption).await },
                |store| async move { equal_in(store, again).await },
            )
            .await;
        assert_is!(redeemed, RedeemOutcome::SignedIn(_));
        assert!(seen.is_none_or(|seen| seen == challenge), "before its redemption it is seen whole");
        // Whatever the other one saw, from now on it is gone.
        assert_eq!(self::again(&bench, &wanted).await, None);
    }
}
