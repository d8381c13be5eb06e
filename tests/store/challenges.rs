//! Challenges: handed out, found again, and by whom.

use countersign::{
    domain::{
        Address, ChainAddress, Challenge, ChallengeFormat, ChallengeId, Content, Network, Nonce,
        Verification, VerificationMethod, Wallet, WalletKind,
    },
    store::{ChallengeKey, ChallengeScope, ChallengeState, FoundChallenge, NewChallenge},
};

use crate::{
    database::set,
    fixture::{Bench, new_address, redeem, redemption, scope, signed_in, signer_of},
    support::TestStore,
};

on_both_stores!(
    a_challenge_is_answered_and_found_as_it_was_handed_out,
    a_challenge_is_live_until_it_is_redeemed,
    a_challenge_is_live_until_its_deadline,
    a_redeemed_challenge_stays_redeemed_after_its_deadline,
    what_never_was_is_not_found,
    another_client_sees_nothing,
    a_device_sees_only_what_is_bound_to_its_session,
    by_address_every_live_one_is_found_newest_first,
    by_address_the_dead_are_silent_while_one_lives,
    by_address_the_newest_of_the_dead_is_found_where_none_lives,
    by_address_a_given_network_is_looked_at,
    by_id_and_nonce_a_given_network_is_not_looked_at,
    challenges_that_share_a_nonce_are_found_newest_first,
    a_challenge_of_another_purpose_is_never_found,
    a_challenge_of_a_format_that_is_not_known_here_is_never_found,
    every_format_reads_back_as_it_was_handed_out,
    many_nonces_for_anybody_stand_side_by_side,
    whoever_signs_a_nonce_for_anybody_is_signed_in_with_it_once,
);

/// Ids and states, as they were found.
fn seen(found: &[FoundChallenge]) -> Vec<(ChallengeId, ChallengeState)> {
    found.iter().map(|found| (found.challenge.id, found.state)).collect()
}

/// The keys that a challenge is found under.
fn keys(challenge: &Challenge) -> [ChallengeKey; 3] {
    [
        ChallengeKey::Id(challenge.id),
        ChallengeKey::Nonce(challenge.nonce.clone()),
        ChallengeKey::Address(signer_of(challenge).address),
    ]
}

/// What a challenge is under each key.
async fn assert_state(bench: &Bench<'_>, challenge: &Challenge, state: ChallengeState) {
    for key in keys(challenge) {
        let found = bench.find(key.clone()).await;
        assert_eq!(seen(&found), [(challenge.id, state)], "{key:?}");
    }
}

async fn a_challenge_is_answered_and_found_as_it_was_handed_out(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.pending(&new_address()).await;
    let unbound = bench.new_challenge(&bench.client, &session.signing.address).await;
    let new = NewChallenge { session_id: Some(session.id), ..unbound };
    let issued = bench.store.issue_challenge(new.clone()).await.unwrap();
    assert_eq!((issued.id, issued.client_id, issued.session_id), (new.id, new.client_id, new.session_id));
    assert_eq!((&issued.nonce, &issued.content, issued.format), (&new.nonce, &new.content, new.format));
    assert_eq!(issued.signer, new.signer);
    assert_eq!((issued.create_time, issued.expire_time), (new.create_time, new.expire_time));
    for key in keys(&issued) {
        let found = bench.find(key.clone()).await;
        assert_eq!(found.len(), 1, "{key:?}");
        assert_eq!(found[0].challenge, issued, "{key:?}");
    }
}

async fn a_challenge_is_live_until_it_is_redeemed(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    assert_state(&bench, &challenge, ChallengeState::Live).await;
    bench.redeem(&challenge).await;
    assert_state(&bench, &challenge, ChallengeState::Redeemed).await;
}

async fn a_challenge_is_live_until_its_deadline(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    test.age("challenges", challenge.id.uuid(), 60).await;
    assert_state(&bench, &challenge, ChallengeState::Live).await;
    test.age("challenges", challenge.id.uuid(), 60).await;
    assert_state(&bench, &challenge, ChallengeState::Expired).await;
}

async fn a_redeemed_challenge_stays_redeemed_after_its_deadline(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    bench.redeem(&challenge).await;
    test.age("challenges", challenge.id.uuid(), 3_600).await;
    assert_state(&bench, &challenge, ChallengeState::Redeemed).await;
}

async fn what_never_was_is_not_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    bench.challenge(&new_address()).await;
    let nonce = |text: &str| ChallengeKey::Nonce(Nonce::from_stored(text.to_owned()));
    let address = |text: &str| ChallengeKey::Address(Address::from_canonical(text.to_owned()));
    let stranger = ChallengeKey::Address(new_address());
    let id = ChallengeKey::Id(ChallengeId::generate());
    for key in [id, stranger, nonce("unheard"), nonce("' OR ''='"), address("' OR ''='"), address("")] {
        assert!(bench.find(key.clone()).await.is_empty(), "{key:?}");
    }
}

async fn another_client_sees_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let neighbour = bench.client_in(&bench.client.realm).await;
    let challenge = bench.challenge(&new_address()).await;
    for key in keys(&challenge) {
        let found = bench.store.find_challenges(scope(&neighbour), key, None).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
}

async fn a_device_sees_only_what_is_bound_to_its_session(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let (own, other) = (bench.pending(&address).await, bench.pending(&address).await);
    let bound = bench.bound_challenge(&own).await;
    let unseen = [bench.bound_challenge(&other).await, bench.challenge(&address).await];
    let scope = ChallengeScope { client_id: bench.client.id, session_id: Some(own.id) };
    for key in keys(&bound) {
        let found = bench.store.find_challenges(scope, key, None).await.unwrap();
        assert_eq!(seen(&found), [(bound.id, ChallengeState::Live)]);
    }
    for [id, nonce, _] in unseen.each_ref().map(keys) {
        assert!(bench.store.find_challenges(scope, id, None).await.unwrap().is_empty());
        assert!(bench.store.find_challenges(scope, nonce, None).await.unwrap().is_empty());
    }
    // The client itself sees them all.
    assert_eq!(bench.find(ChallengeKey::Address(address)).await.len(), 3);
}

async fn by_address_every_live_one_is_found_newest_first(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, (bench.challenge(&address).await.id, ChallengeState::Live));
        bench.challenge(&new_address()).await;
    }
    assert_eq!(seen(&bench.find(ChallengeKey::Address(address)).await), expected);
}

async fn by_address_the_dead_are_silent_while_one_lives(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let live = bench.challenge(&address).await;
    let expired = bench.challenge(&address).await;
    test.age("challenges", expired.id.uuid(), 3_600).await;
    bench.redeem(&bench.challenge(&address).await).await;
    assert_eq!(seen(&bench.find(ChallengeKey::Address(address)).await), [(live.id, ChallengeState::Live)]);
}

async fn by_address_the_newest_of_the_dead_is_found_where_none_lives(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let by_address = ChallengeKey::Address(address.clone());
    let mut last = Vec::new();
    for state in [ChallengeState::Redeemed, ChallengeState::Expired, ChallengeState::Redeemed] {
        let challenge = bench.challenge(&address).await;
        match state {
            ChallengeState::Redeemed => drop(bench.redeem(&challenge).await),
            _ => test.age("challenges", challenge.id.uuid(), 3_600).await,
        }
        last = vec![(challenge.id, state)];
        assert_eq!(seen(&bench.find(by_address.clone()).await), last);
        test.age("challenges", challenge.id.uuid(), 7_200).await;
    }
    // What was made elsewhere meanwhile does not count.
    bench.challenge(&new_address()).await;
    assert_eq!(seen(&bench.find(by_address).await), last);
}

async fn by_address_a_given_network_is_looked_at(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let on_ethereum = bench.challenge(&address).await;
    let there = NewChallenge {
        signer: Some(ChainAddress { address: address.clone(), network: polygon() }),
        ..bench.new_challenge(&bench.client, &address).await
    };
    let on_polygon = bench.store.issue_challenge(there).await.unwrap();
    let find = async |network: Option<Network>| {
        let key = ChallengeKey::Address(address.clone());
        seen(&bench.store.find_challenges(scope(&bench.client), key, network).await.unwrap())
    };
    let live = |challenge: &Challenge| (challenge.id, ChallengeState::Live);
    assert_eq!(find(None).await, [live(&on_polygon), live(&on_ethereum)]);
    assert_eq!(find(Some(Network::ethereum())).await, [live(&on_ethereum)]);
    assert_eq!(find(Some(polygon())).await, [live(&on_polygon)]);
    assert_eq!(find(Some(Network::parse("", "eip155:10").unwrap())).await, []);
    // A live one elsewhere does not hide the dead one here, nor the other way round.
    test.age("challenges", on_polygon.id.uuid(), 3_600).await;
    assert_eq!(find(Some(polygon())).await, [(on_polygon.id, ChallengeState::Expired)]);
    assert_eq!(find(Some(Network::ethereum())).await, [live(&on_ethereum)]);
}

async fn by_id_and_nonce_a_given_network_is_not_looked_at(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let [id, nonce, _] = keys(&challenge);
    for key in [id, nonce] {
        let found = bench.store.find_challenges(scope(&bench.client), key, Some(polygon())).await.unwrap();
        assert_eq!(seen(&found), [(challenge.id, ChallengeState::Live)]);
    }
}

async fn challenges_that_share_a_nonce_are_found_newest_first(test: &TestStore) {
    let bench = Bench::on(test).await;
    let first = bench.challenge(&new_address()).await;
    let mut expected = vec![first.id];
    for _ in 0..4 {
        let new = bench.new_challenge(&bench.client, &new_address()).await;
        let twin = NewChallenge { nonce: first.nonce.clone(), ..new };
        expected.insert(0, bench.store.issue_challenge(twin).await.unwrap().id);
    }
    let found = bench.find(ChallengeKey::Nonce(first.nonce)).await;
    assert_eq!(found.iter().map(|found| found.challenge.id).collect::<Vec<_>>(), expected);
}

async fn a_challenge_of_another_purpose_is_never_found(test: &TestStore) {
    assert_never_found(test, "purpose = 'LINK_WALLET'").await;
}

async fn a_challenge_of_a_format_that_is_not_known_here_is_never_found(test: &TestStore) {
    assert_never_found(test, "format = 'OF_A_NEWER_VERSION'").await;
}

async fn assert_never_found(test: &TestStore, change: &str) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    set(test, "challenges", challenge.id.uuid(), change).await;
    for key in keys(&challenge) {
        assert!(bench.find(key).await.is_empty());
    }
    test.age("challenges", challenge.id.uuid(), 3_600).await;
    let by_address = ChallengeKey::Address(signer_of(&challenge).address);
    assert!(bench.find(by_address).await.is_empty(), "nor as the newest dead one");
}

fn polygon() -> Network {
    Network::parse("", "POLYGON").unwrap()
}

async fn every_format_reads_back_as_it_was_handed_out(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let text = || Content::Text("shop.example wants you to sign in".to_owned());
    for (format, content) in [
        (ChallengeFormat::Text, text()),
        (ChallengeFormat::Siwx, text()),
        (ChallengeFormat::TypedData, Content::TypedData(r#"{"domain": {}}"#.to_owned())),
        (ChallengeFormat::Nonce, Content::Nonce),
    ] {
        let usual = bench.new_challenge(&bench.client, &address).await;
        let new = NewChallenge { format, content: content.clone(), ..usual };
        let issued = bench.store.issue_challenge(new.clone()).await.unwrap();
        assert_eq!((issued.format, &issued.content, &issued.signer), (format, &content, &new.signer));
        for key in [ChallengeKey::Id(issued.id), ChallengeKey::Nonce(issued.nonce.clone())] {
            let found = bench.find(key).await;
            assert_eq!((found.len(), &found[0].challenge), (1, &issued));
        }
    }
    assert_eq!(bench.find(ChallengeKey::Address(address)).await.len(), 4);
}

/// A nonce that anybody may sign.
async fn for_anybody(bench: &Bench<'_>) -> Challenge {
    let usual = bench.new_challenge(&bench.client, &new_address()).await;
    let new = NewChallenge { format: ChallengeFormat::Nonce, content: Content::Nonce, signer: None, ..usual };
    bench.store.issue_challenge(new).await.unwrap()
}

async fn many_nonces_for_anybody_stand_side_by_side(test: &TestStore) {
    let bench = Bench::on(test).await;
    let mut issued = Vec::new();
    for _ in 0..20 {
        issued.push(for_anybody(&bench).await);
    }
    for one in &issued {
        let found = bench.find(ChallengeKey::Nonce(one.nonce.clone())).await;
        assert_eq!((found.len(), &found[0].challenge, found[0].state), (1, one, ChallengeState::Live));
    }
    assert_eq!(test.count("challenges", "address IS NULL AND network IS NULL").await, 20);
}

async fn whoever_signs_a_nonce_for_anybody_is_signed_in_with_it_once(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = for_anybody(&bench).await;
    let solana = Network::parse("", "SOLANA").unwrap();
    let address = Address::from_canonical("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA".to_owned());
    let signer = Some(ChainAddress { address: address.clone(), network: solana.clone() });
    let asked = Challenge { signer, ..challenge };
    let usual = redemption(&bench.client, &asked);
    let wallet = Wallet { address, network: solana, kind: WalletKind::Ed25519 };
    let by_solana = countersign::store::Redemption {
        verification: Verification { wallet: wallet.clone(), method: VerificationMethod::Ed25519 },
        ..usual
    };
    let signed_in = signed_in(redeem(bench.store.clone(), by_solana.clone()).await);
    assert_eq!(signed_in.session.sign_in.as_ref().map(|sign_in| &sign_in.wallet), Some(&wallet));
    assert_is!(redeem(bench.store.clone(), by_solana).await, countersign::store::RedeemOutcome::AlreadyUsed);
    assert_eq!(test.count("wallets", "scope = 'solana' AND kind = 'ed25519'").await, 1);
}
