//! How many live challenges there are side by side.

use std::{collections::HashSet, sync::Arc};

use countersign::{
    domain::{Address, ChainAddress, Challenge, ChallengeId, Network},
    store::{ChallengeKey, ChallengeState, LIVE_CHALLENGE_LIMIT, NewChallenge, RedeemOutcome, Store},
};

use crate::{
    crowd::{CROWD, Instances},
    database::{assert_unchanged, contents, set},
    fixture::{Bench, new_address, signer_of},
    support::TestStore,
};

on_both_stores!(
    at_the_limit_the_newest_comes_again_and_nothing_is_added,
    each_session_client_network_format_and_address_counts_by_itself,
    after_one_is_redeemed_there_is_room_for_exactly_one_more,
    after_one_has_expired_there_is_room_for_exactly_one_more,
    all_of_them_can_be_redeemed_and_then_there_is_room_for_as_many,
    of_many_asked_for_at_once_exactly_as_many_live_as_may,
    of_many_asked_for_at_once_after_all_have_expired_exactly_as_many_live_as_may,
    of_many_asked_for_at_once_when_one_place_is_free_one_is_new,
);

/// Asks for challenges until there are as many as may be; oldest first.
async fn fill(bench: &Bench<'_>, address: &Address) -> Vec<Challenge> {
    let mut issued = Vec::new();
    for _ in 0..LIVE_CHALLENGE_LIMIT {
        issued.push(bench.challenge(address).await);
    }
    let distinct: HashSet<_> = issued.iter().map(|challenge| challenge.id).collect();
    assert_eq!(distinct.len(), LIVE_CHALLENGE_LIMIT, "one came twice below the limit");
    issued
}

/// The live ones for an address, newest first.
async fn live(bench: &Bench<'_>, address: &Address) -> Vec<ChallengeId> {
    let found = bench.find(ChallengeKey::Address(address.clone())).await;
    let live = found.iter().filter(|found| found.state == ChallengeState::Live);
    live.map(|found| found.challenge.id).collect()
}

/// Whether a challenge that is asked for now is a new one.
async fn is_new(bench: &Bench<'_>, wanted: NewChallenge) -> bool {
    let id = wanted.id;
    bench.store.issue_challenge(wanted).await.unwrap().id == id
}

async fn at_the_limit_the_newest_comes_again_and_nothing_is_added(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    let before = contents(test).await;
    for _ in 0..3 {
        assert_eq!(bench.challenge(&address).await, issued[LIVE_CHALLENGE_LIMIT - 1]);
    }
    assert_unchanged(test, &before, "nothing to do").await;
    let ids: Vec<_> = issued.iter().rev().map(|challenge| challenge.id).collect();
    assert_eq!(live(&bench, &address).await, ids);
}

async fn each_session_client_network_format_and_address_counts_by_itself(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    let neighbour = bench.client_in(&bench.client.realm).await;
    let (one, other) = (bench.pending(&address).await, bench.pending(&address).await);
    let usual = async || bench.new_challenge(&bench.client, &address).await;
    let polygon = Network::parse("", "POLYGON").unwrap();
    let at = |network| Some(ChainAddress { address: address.clone(), network });
    assert!(!is_new(&bench, usual().await).await, "the scope itself is full");
    assert!(is_new(&bench, bench.new_challenge(&bench.client, &new_address()).await).await);
    assert!(is_new(&bench, bench.new_challenge(&neighbour, &address).await).await);
    assert!(is_new(&bench, NewChallenge { signer: at(polygon), ..usual().await }).await);
    for _ in 0..LIVE_CHALLENGE_LIMIT {
        assert!(is_new(&bench, NewChallenge { session_id: Some(one.id), ..usual().await }).await);
    }
    assert!(!is_new(&bench, NewChallenge { session_id: Some(one.id), ..usual().await }).await);
    assert!(is_new(&bench, NewChallenge { session_id: Some(other.id), ..usual().await }).await);
    // There is but one format yet; another one, written by a newer version, has places of its own.
    for challenge in issued {
        set(test, "challenges", challenge.id.uuid(), "format = 'OF_A_NEWER_VERSION'").await;
    }
    assert!(is_new(&bench, usual().await).await);
}

async fn after_one_is_redeemed_there_is_room_for_exactly_one_more(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    assert_is!(bench.redeem(&issued[3]).await, RedeemOutcome::SignedIn(_));
    assert_room_for_one(&bench, &issued, issued[3].id).await;
}

async fn after_one_has_expired_there_is_room_for_exactly_one_more(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    test.age("challenges", issued[5].id.uuid(), 3_600).await;
    assert_room_for_one(&bench, &issued, issued[5].id).await;
}

async fn assert_room_for_one(bench: &Bench<'_>, issued: &[Challenge], gone: ChallengeId) {
    let address = &signer_of(&issued[0]).address;
    let added = bench.challenge(address).await;
    assert!(issued.iter().all(|old| old.id != added.id), "there was no room");
    assert_eq!(bench.challenge(address).await, added, "there was room for a second one");
    let left = issued.iter().rev().map(|challenge| challenge.id).filter(|id| *id != gone);
    let expected: Vec<_> = [added.id].into_iter().chain(left).collect();
    assert_eq!(live(bench, address).await, expected);
}

async fn all_of_them_can_be_redeemed_and_then_there_is_room_for_as_many(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    for _ in 0..2 {
        for challenge in fill(&bench, &address).await {
            assert_is!(bench.redeem(&challenge).await, RedeemOutcome::SignedIn(_));
        }
    }
    assert_eq!(test.count("sessions", "account_id IS NOT NULL").await, 16);
}

/// A whole crowd asks for challenges at once.
async fn crowd_asks(bench: &Bench<'_>, address: &Address) -> HashSet<ChallengeId> {
    let mut wanted = Vec::new();
    for _ in 0..CROWD {
        wanted.push(bench.new_challenge(&bench.client, address).await);
    }
    let issue = |store: Arc<dyn Store>, new| async move { store.issue_challenge(new).await.unwrap().id };
    Instances::on(bench.test).await.at_once(wanted, issue).await.into_iter().collect()
}

async fn of_many_asked_for_at_once_exactly_as_many_live_as_may(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let answered = crowd_asks(&bench, &address).await;
    let live: HashSet<_> = live(&bench, &address).await.into_iter().collect();
    assert_eq!(live.len(), LIVE_CHALLENGE_LIMIT);
    assert_eq!(answered, live);
    assert_eq!(test.count("challenges", "TRUE").await, 8, "nothing is kept that nobody was given");
}

async fn of_many_asked_for_at_once_after_all_have_expired_exactly_as_many_live_as_may(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    for challenge in fill(&bench, &address).await {
        test.age("challenges", challenge.id.uuid(), 3_600).await;
    }
    let answered = crowd_asks(&bench, &address).await;
    let live: HashSet<_> = live(&bench, &address).await.into_iter().collect();
    assert_eq!(live.len(), LIVE_CHALLENGE_LIMIT);
    assert_eq!(answered, live);
    assert_eq!(test.count("challenges", "TRUE").await, 16);
}

async fn of_many_asked_for_at_once_when_one_place_is_free_one_is_new(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    bench.redeem(&issued[0]).await;
    crowd_asks(&bench, &address).await;
    let live = live(&bench, &address).await;
    assert_eq!(live.len(), LIVE_CHALLENGE_LIMIT);
    let old = issued.iter().filter(|old| live.contains(&old.id)).count();
    assert_eq!(old, LIVE_CHALLENGE_LIMIT - 1);
}
