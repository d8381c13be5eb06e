//! Look-ups by the address of a wallet for which strangers start challenges without end.

use std::sync::Arc;

use countersign::{
    domain::{Address, ChainAddress, Challenge, ChallengeId, ChallengePurpose, ClientId, Network, SessionId},
    store::{
        ChallengeKey, ChallengeScope, FOUND_ELSEWHERE, FOUND_EXPECTED, FOUND_LIMIT, NewChallenge, Store, open,
    },
};

use crate::{
    database::Lock,
    fixture::{Bench, new_address},
    support::TestStore,
};

on_both_stores!(
    invented_networks_do_not_crowd_out_the_main_one,
    invented_networks_do_not_crowd_out_one_that_the_wallet_has_signed_in_on,
    a_session_without_a_sign_in_adds_no_expected_network,
    client_and_session_challenges_do_not_displace_each_other,
    a_named_network_is_not_crowded_out_by_others,
    invented_networks_do_not_crowd_out_the_chain_of_a_contract_wallet,
    other_formats_and_networks_do_not_crowd_out_an_expected_network,
    a_look_up_says_whether_it_left_some_out,
    the_answer_is_bounded,
);

const LIMIT: usize = FOUND_LIMIT as usize;

fn network(chain: usize) -> Network {
    Network::parse("", &format!("eip155:{chain}")).unwrap()
}

async fn start(
    bench: &Bench<'_>,
    address: &Address,
    network: Network,
    session: Option<SessionId>,
) -> Challenge {
    let usual = bench.new_challenge(&bench.client, address).await;
    let signer = Some(ChainAddress { address: address.clone(), network });
    let new = NewChallenge { signer, session_id: session, ..usual };
    bench.store.issue_challenge(new).await.unwrap()
}

/// Starts more challenges on invented chains than a look-up returns.
async fn flood(bench: &Bench<'_>, address: &Address, session: Option<SessionId>) {
    for chain in 0..=LIMIT {
        start(bench, address, network(1_000_000 + chain), session).await;
    }
}

async fn found(
    bench: &Bench<'_>,
    address: &Address,
    session_id: Option<SessionId>,
    network: Option<Network>,
) -> Vec<ChallengeId> {
    let scope = ChallengeScope { client_id: bench.client.id, session_id };
    let key = ChallengeKey::Address(address.clone());
    let found = bench.store.find_challenges(scope, key, network).await.unwrap();
    found.into_iter().map(|one| one.challenge.id).collect()
}

async fn invented_networks_do_not_crowd_out_the_main_one(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let session = bench.pending(&address).await.id;
    for session in [None, Some(session)] {
        let own = start(&bench, &address, Network::ethereum(), session).await;
        flood(&bench, &address, session).await;
        assert!(found(&bench, &address, session, None).await.contains(&own.id), "{session:?}");
    }
}

async fn invented_networks_do_not_crowd_out_one_that_the_wallet_has_signed_in_on(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    bench.redeem(&start(&bench, &address, network(137), None).await).await;
    bench.sign_in(&address).await;
    assert_only_expected_is_found(&bench, &address).await;
}

/// A flood displaces a challenge on some network and none on network 137, on which the wallet has signed in.
async fn assert_only_expected_is_found(bench: &Bench<'_>, address: &Address) {
    let own = start(bench, address, network(137), None).await;
    let elsewhere = start(bench, address, network(10), None).await;
    flood(bench, address, None).await;
    let found = found(bench, address, None, None).await;
    assert!(found.contains(&own.id));
    assert!(!found.contains(&elsewhere.id), "more are live than a look-up returns");
}

async fn a_session_without_a_sign_in_adds_no_expected_network(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    bench.sign_in(&address).await;
    let usual = crate::fixture::new_session(&bench.client, &address);
    let signing = ChainAddress { address: address.clone(), network: network(137) };
    bench.store.create_session(countersign::store::NewSession { signing, ..usual }).await.unwrap();
    let on_polygon = start(&bench, &address, network(137), None).await;
    flood(&bench, &address, None).await;
    assert!(!found(&bench, &address, None, None).await.contains(&on_polygon.id));
}

async fn client_and_session_challenges_do_not_displace_each_other(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let (own, other) = (bench.pending(&address).await.id, bench.pending(&address).await.id);
    let of_client = start(&bench, &address, network(137), None).await;
    let of_session = start(&bench, &address, network(137), Some(own)).await;
    flood(&bench, &address, Some(other)).await;
    assert!(found(&bench, &address, None, None).await.contains(&of_client.id));
    assert_eq!(found(&bench, &address, Some(own), None).await, [of_session.id]);
    let last = start(&bench, &address, network(137), Some(own)).await;
    flood(&bench, &address, None).await;
    let found_by_client = found(&bench, &address, None, None).await;
    assert!(found_by_client.contains(&last.id));
    assert_eq!(found(&bench, &address, Some(own), None).await, [last.id, of_session.id]);
}

async fn a_named_network_is_not_crowded_out_by_others(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let own = start(&bench, &address, network(137), None).await;
    flood(&bench, &address, None).await;
    assert_eq!(found(&bench, &address, None, Some(network(137))).await, [own.id]);
}

async fn invented_networks_do_not_crowd_out_the_chain_of_a_contract_wallet(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    bench.contract_sign_in(&address, "eip155:137").await;
    assert_only_expected_is_found(&bench, &address).await;
}

/// The other networks are expected, too: each has a part of the places.
async fn other_formats_and_networks_do_not_crowd_out_an_expected_network(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let networks = 101..=108;
    for chain in networks.clone() {
        bench.redeem(&start(&bench, &address, network(chain), None).await).await;
    }
    let own = start(&bench, &address, Network::ethereum(), None).await;
    for chain in networks {
        for digest in 0..8 {
            let usual = bench.new_challenge(&bench.client, &address).await;
            let signer = Some(ChainAddress { address: address.clone(), network: network(chain) });
            let new = NewChallenge { signer, content_digest: [digest; 32], ..usual };
            bench.store.issue_challenge(new).await.unwrap();
        }
    }
    assert!(found(&bench, &address, None, None).await.contains(&own.id));
}

async fn a_look_up_says_whether_it_left_some_out(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let cut = async || {
        let found = bench.find(ChallengeKey::Address(address.clone())).await;
        found.iter().map(|one| one.cut).collect::<std::collections::HashSet<_>>()
    };
    for chain in 0..FOUND_ELSEWHERE as usize {
        start(&bench, &address, network(1_000_000 + chain), None).await;
    }
    assert_eq!(cut().await, [false].into());
    start(&bench, &address, network(2_000_000), None).await;
    assert_eq!(cut().await, [true].into());
}

async fn the_answer_is_bounded(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let session = bench.pending(&address).await.id;
    let own = start(&bench, &address, Network::ethereum(), None).await;
    flood(&bench, &address, None).await;
    flood(&bench, &address, Some(session)).await;
    let found = found(&bench, &address, None, None).await;
    let others = 2 * FOUND_ELSEWHERE as usize;
    assert_eq!((found.len(), found[others]), (others + 1, own.id), "each once, newest first");
}

/// Adds 5,000 challenges each of a client and of its session, on invented networks.
async fn crowd(test: &TestStore, scope: ChallengeScope, address: &Address, life: &str) {
    let (client, session) = (scope.client_id, scope.session_id.unwrap());
    test.execute(&format!(
        "INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, address, network,
                                 slot, create_time, expire_time)
         SELECT gen_random_uuid(), '{client}', session_id, 'SIGN_IN', 'TEXT', place, '', '{}',
                'eip155:' || 1000000 + place, 0, clock_timestamp(), clock_timestamp() + interval '{life}'
         FROM generate_series(1, 5000) AS place, (VALUES (NULL), (uuid '{session}')) AS scopes (session_id)",
        address.as_str()
    ))
    .await;
}

/// The challenges that stores have read, by an index or without. A server process publishes its counts when it ends.
async fn challenges_read(test: &TestStore) -> i64 {
    let running = "datname = current_database() AND application_name = 'countersign'";
    let ended = format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE {running})");
    Lock::Postgres(test.postgres_connection().await).until(&ended).await;
    let read = "SELECT (seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
                                        WHERE relname = 'challenges'))::bigint
                FROM pg_stat_user_tables WHERE relname = 'challenges'";
    sqlx::query_scalar(read).fetch_one(&mut test.postgres_connection().await).await.unwrap()
}

/// A store with crowded addresses, a scope with a session, and one of the addresses.
async fn crowded(
    test: &TestStore,
    life: &str,
    is_analyzed: bool,
) -> (Arc<dyn Store>, ChallengeScope, Address) {
    let store = open(test.direct_url().as_str()).await.unwrap();
    store.migrate().await.unwrap();
    let scope = ChallengeScope { client_id: ClientId::generate(), session_id: Some(SessionId::generate()) };
    let address = new_address();
    crowd(test, scope, &address, life).await;
    // Others that have later deadlines.
    crowd(test, scope, &new_address(), "3 minutes").await;
    if is_analyzed {
        test.execute("ANALYZE challenges").await;
    }
    (store, scope, address)
}

/// Look-ups of each kind. The sixth and later ones of a connection may use a plan for any parameters.
const LOOK_UPS: i64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_reads_a_bounded_number_of_challenges_by_indexes() {
    const BOUND: u32 = (FOUND_EXPECTED + 1) + (FOUND_ELSEWHERE + 1) + 8 * FOUND_ELSEWHERE;
    for (life, is_analyzed) in [("2 minutes", false), ("2 minutes", true), ("-2 minutes", true)] {
        let test = TestStore::postgres().await;
        let (store, of_session, address) = crowded(&test, life, is_analyzed).await;
        let of_client = ChallengeScope { session_id: None, ..of_session };
        let kinds = [(of_client, None), (of_session, None), (of_client, Some(network(1_000_001)))];
        for _ in 0..LOOK_UPS {
            for (scope, network) in kinds.clone() {
                let key = ChallengeKey::Address(address.clone());
                assert!(!store.find_challenges(scope, key, network).await.unwrap().is_empty());
            }
        }
        store.close().await;
        let (read, look_ups) = (challenges_read(&test).await, 3 * LOOK_UPS);
        assert!((look_ups..=look_ups * i64::from(BOUND)).contains(&read), "{life}, {is_analyzed}: {read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_for_reuse_reads_a_bounded_number_of_challenges_by_indexes() {
    const BOUND: i64 = 1_024;
    for is_analyzed in [false, true] {
        let test = TestStore::postgres().await;
        let (store, scope, address) = crowded(&test, "2 minutes", is_analyzed).await;
        for _ in 0..LOOK_UPS {
            store.reusable_challenges(scope, ChallengePurpose::SignIn, &address).await.unwrap();
        }
        store.close().await;
        let read = challenges_read(&test).await;
        assert!((LOOK_UPS..=LOOK_UPS * BOUND).contains(&read), "{is_analyzed}: {read}");
    }
}
