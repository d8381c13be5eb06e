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
    at_the_limit_an_equal_challenge_is_handed_out_again_and_nothing_changes,
    at_the_limit_a_different_challenge_hides_the_oldest_from_look_up_by_address,
    at_the_limit_one_with_less_than_half_of_its_life_left_is_not_handed_out_again,
    each_session_client_network_format_and_address_counts_by_itself,
    after_one_is_redeemed_there_is_room_for_exactly_one_more,
    after_one_has_expired_there_is_room_for_exactly_one_more,
    all_of_them_can_be_redeemed_and_then_there_is_room_for_as_many,
    concurrent_requests_are_all_served_and_the_limit_applies_afterwards,
    concurrent_requests_of_different_content_are_all_issued,
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

/// A challenge that states something else.
async fn different(bench: &Bench<'_>, address: &Address, number: u8) -> NewChallenge {
    let usual = bench.new_challenge(&bench.client, address).await;
    NewChallenge { content_digest: [number; 32], ..usual }
}

async fn at_the_limit_an_equal_challenge_is_handed_out_again_and_nothing_changes(test: &TestStore) {
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

async fn at_the_limit_a_different_challenge_hides_the_oldest_from_look_up_by_address(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    for (number, oldest) in (0_u8..3).zip(&issued) {
        let new = different(&bench, &address, number).await;
        assert!(is_new(&bench, new.clone()).await);
        let seen = live(&bench, &address).await;
        assert_eq!((seen.len(), seen[0]), (LIVE_CHALLENGE_LIMIT, new.id));
        assert!(!seen.contains(&oldest.id));
        for key in [ChallengeKey::Id(oldest.id), ChallengeKey::Nonce(oldest.nonce.clone())] {
            let found = bench.find(key).await;
            assert_eq!((found[0].challenge.id, found[0].state), (oldest.id, ChallengeState::Live));
        }
        assert_is!(bench.redeem(oldest).await, RedeemOutcome::SignedIn(_));
        // Once redeemed, it makes no further room.
        assert_eq!(live(&bench, &address).await, seen);
    }
}

async fn at_the_limit_one_with_less_than_half_of_its_life_left_is_not_handed_out_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let issued = fill(&bench, &address).await;
    for challenge in &issued[1..] {
        test.age("challenges", challenge.id.uuid(), 61).await;
    }
    test.age("challenges", issued[0].id.uuid(), 40).await;
    assert_eq!(bench.challenge(&address).await.id, issued[0].id);
    test.age("challenges", issued[0].id.uuid(), 21).await;
    let new = bench.challenge(&address).await;
    assert!(issued.iter().all(|old| old.id != new.id));
    assert_eq!(bench.challenge(&address).await, new, "it has all of its life left");
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

/// A whole crowd asks at once, each for its own content or all for the same.
async fn crowd_asks(bench: &Bench<'_>, address: &Address, digest: impl Fn(u8) -> u8) -> Vec<ChallengeId> {
    let mut wanted = Vec::new();
    for number in (0..=u8::MAX).take(CROWD) {
        wanted.push(different(bench, address, digest(number)).await);
    }
    let issue = |store: Arc<dyn Store>, new| async move { store.issue_challenge(new).await.unwrap().id };
    Instances::on(bench.test).await.at_once(wanted, issue).await
}

/// Eight is approximate while many ask at once.
async fn concurrent_requests_are_all_served_and_the_limit_applies_afterwards(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    for round in 1..=2 {
        let answered: HashSet<_> = crowd_asks(&bench, &address, |_| 7).await.into_iter().collect();
        let seen: HashSet<_> = live(&bench, &address).await.into_iter().collect();
        assert!(answered.is_subset(&seen), "each can be redeemed by address");
        assert!(seen.len() >= LIVE_CHALLENGE_LIMIT);
        assert!(!is_new(&bench, different(&bench, &address, 7).await).await);
        assert!(is_new(&bench, different(&bench, &address, 8).await).await);
        let left = live(&bench, &address).await;
        assert_eq!(left.len(), LIVE_CHALLENGE_LIMIT, "round {round}");
        for id in answered.into_iter().chain(left).collect::<HashSet<_>>() {
            test.age("challenges", id.uuid(), 3_600).await;
        }
    }
}

async fn concurrent_requests_of_different_content_are_all_issued(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let answered = crowd_asks(&bench, &address, |number| number).await;
    assert_eq!(answered.iter().collect::<HashSet<_>>().len(), CROWD);
    assert_eq!(test.count("challenges", "TRUE").await, CROWD as i64);
    for id in answered {
        assert_eq!(bench.find(ChallengeKey::Id(id)).await[0].state, ChallengeState::Live);
    }
    assert!(is_new(&bench, different(&bench, &address, 255).await).await);
    assert_eq!(live(&bench, &address).await.len(), LIVE_CHALLENGE_LIMIT);
}
