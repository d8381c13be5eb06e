//! A request that redeemed a challenge is told when it comes again, and answered for a while.

use std::time::Duration;

use countersign::{
    domain::{Client, RevokeReason, SessionState, VerificationMethod},
    store::{
        ChallengeScope, RedeemOutcome, Redemption, Replay, ReplayOutcome, ReplayedRedemption, RequestDigest,
    },
};

use crate::{
    crowd::{CROWD, Instances},
    database::{Lock, assert_unchanged, contents, in_millis, literal, set_policy},
    fixture::{Bench, FIRST_KEY, new_address, retry_while_locked, scope, signed_in},
    support::TestStore,
};

on_both_stores!(
    a_request_is_answered_as_the_first_time,
    what_accepted_the_signature_is_kept,
    an_account_that_was_there_before_is_not_told_as_made,
    a_request_that_redeemed_nothing_is_unknown,
    another_scope_does_not_see_it,
    the_grace_is_the_policys_and_counts_from_the_redeem,
    once_the_refresh_token_is_used_it_is_too_late,
    a_revoked_session_is_not_answered_again,
    a_disabled_or_deleted_client_is_not_answered,
    many_replays_at_once_are_answered_the_same,
    a_replay_that_waited_for_a_revocation_is_rejected,
);

const DIGEST: RequestDigest = [7; 32];
const TTL: Duration = Duration::from_mins(30);

fn replay_of(scope: ChallengeScope) -> Replay {
    Replay { digest: DIGEST, scope, access_token_ttl: TTL }
}

async fn replay(bench: &Bench<'_>, client: &Client) -> ReplayOutcome {
    bench.store.replay_redemption(replay_of(scope(client))).await.unwrap()
}

fn replayed(outcome: ReplayOutcome) -> ReplayedRedemption {
    match outcome {
        ReplayOutcome::Replayed(replayed) => *replayed,
        other => panic!("{other:?}"),
    }
}

/// Signs in by a request that can come again.
async fn sign_in(bench: &Bench<'_>, change: impl FnOnce(&mut Redemption)) -> countersign::store::SignedIn {
    let challenge = bench.challenge(&new_address()).await;
    let mut redemption = bench.redemption(&challenge);
    redemption.request_digest = Some(DIGEST);
    change(&mut redemption);
    signed_in(bench.store.redeem_challenge(redemption).await.unwrap())
}

async fn a_request_is_answered_as_the_first_time(test: &TestStore) {
    let bench = Bench::on(test).await;
    let first = sign_in(&bench, |_| {}).await;
    for _ in 0..2 {
        let again = replayed(replay(&bench, &bench.client).await);
        assert_eq!(again.signed_in.session, first.session);
        assert_eq!(again.signed_in.account, first.account);
        assert_eq!((again.root_key_id, again.method), (FIRST_KEY, VerificationMethod::Eoa));
        assert!(again.signed_in.account.created && again.signed_in.now >= first.now);
    }
    assert_eq!(test.count("sessions", "account_id IS NOT NULL").await, 1);
    // The further access token lives as long as any, and the feed must know of it.
    let ends =
        test.count("sessions", &format!("access_expire_time > {}", in_millis(test, 29 * 60_000))).await;
    assert_eq!(ends, 1);
}

async fn what_accepted_the_signature_is_kept(test: &TestStore) {
    let bench = Bench::on(test).await;
    for (at, method) in [
        VerificationMethod::Eip1271 { block_number: 17 },
        VerificationMethod::Erc6492 { block_number: u64::MAX / 2 },
        VerificationMethod::Ed25519,
    ]
    .into_iter()
    .enumerate()
    {
        let digest = [u8::try_from(at).unwrap(); 32];
        sign_in(&bench, |redemption| {
            redemption.request_digest = Some(digest);
            redemption.verification.method = method;
        })
        .await;
        let asked = Replay { digest, ..replay_of(scope(&bench.client)) };
        let again = bench.store.replay_redemption(asked).await.unwrap();
        assert_eq!(replayed(again).method, method);
    }
}

async fn an_account_that_was_there_before_is_not_told_as_made(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let before = bench.sign_in(&address).await;
    let challenge = bench.challenge(&address).await;
    let redemption = Redemption { request_digest: Some(DIGEST), ..bench.redemption(&challenge) };
    signed_in(bench.store.redeem_challenge(redemption).await.unwrap());
    let account = replayed(replay(&bench, &bench.client).await).signed_in.account;
    assert_eq!((account.id, account.created), (before.account.id, false));
    assert_eq!(account.create_time, before.account.create_time);
}

async fn a_request_that_redeemed_nothing_is_unknown(test: &TestStore) {
    let bench = Bench::on(test).await;
    bench.sign_in(&new_address()).await;
    let before = contents(test).await;
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::Unknown);
    // A redeem that was refused leaves nothing behind that could be repeated.
    let challenge = bench.challenge(&new_address()).await;
    test.age("challenges", challenge.id.uuid(), 3_600).await;
    let redemption = Redemption { request_digest: Some(DIGEST), ..bench.redemption(&challenge) };
    assert_is!(bench.store.redeem_challenge(redemption).await.unwrap(), RedeemOutcome::Expired);
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::Unknown);
    assert!(contents(test).await.len() == before.len() + 1);
}

async fn another_scope_does_not_see_it(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    let redemption = Redemption { request_digest: Some(DIGEST), ..bench.redemption(&challenge) };
    signed_in(bench.store.redeem_challenge(redemption).await.unwrap());
    let other = bench.client_in("other").await;
    assert_is!(replay(&bench, &other).await, ReplayOutcome::Unknown);
    let others_session = bench.pending(&new_address()).await;
    for (session, seen) in [(others_session.id, false), (session.id, true)] {
        let scope = ChallengeScope { session_id: Some(session), ..scope(&bench.client) };
        let outcome = bench.store.replay_redemption(replay_of(scope)).await.unwrap();
        assert_eq!(matches!(outcome, ReplayOutcome::Replayed(_)), seen);
    }
}

async fn the_grace_is_the_policys_and_counts_from_the_redeem(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let redemption = Redemption { request_digest: Some(DIGEST), ..bench.redemption(&challenge) };
    signed_in(bench.store.redeem_challenge(redemption).await.unwrap());
    set_policy(test, bench.client.id, "refresh_grace_ms", "60000").await;
    test.age("challenges", challenge.id.uuid(), 50).await;
    replayed(replay(&bench, &bench.client).await);
    test.age("challenges", challenge.id.uuid(), 11).await;
    let before = contents(test).await;
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::TooLate);
    assert_unchanged(test, &before, "a refused replay").await;
}

async fn once_the_refresh_token_is_used_it_is_too_late(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = sign_in(&bench, |_| {}).await.session;
    bench.rotate(session.id, 1).await;
    let before = contents(test).await;
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::TooLate);
    assert_unchanged(test, &before, "a refused replay").await;
    assert_eq!(bench.state(session.id).await, SessionState::Active);
}

async fn a_revoked_session_is_not_answered_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = sign_in(&bench, |_| {}).await.session;
    bench.store.revoke_session(session.id, RevokeReason::RevokedByUser).await.unwrap();
    let before = contents(test).await;
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::SessionRevoked);
    assert_unchanged(test, &before, "a refused replay").await;
}

async fn a_disabled_or_deleted_client_is_not_answered(test: &TestStore) {
    let bench = Bench::on(test).await;
    sign_in(&bench, |_| {}).await;
    bench.store.set_client_disabled(bench.client.id, true).await.unwrap();
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::ClientDisabled);
    bench.store.set_client_disabled(bench.client.id, false).await.unwrap();
    replayed(replay(&bench, &bench.client).await);
    bench.store.delete_client(bench.client.id).await.unwrap();
    assert_is!(replay(&bench, &bench.client).await, ReplayOutcome::ClientDisabled);
}

async fn many_replays_at_once_are_answered_the_same(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    let first = sign_in(&bench, |_| {}).await;
    let asked = (0..CROWD).map(|_| replay_of(scope(&bench.client)));
    let outcomes = instances.at_once(asked, async move |store, replay: Replay| {
        retry_while_locked(|| store.replay_redemption(replay.clone())).await
    });
    for outcome in outcomes.await {
        assert_eq!(replayed(outcome).signed_in.session.id, first.session.id);
    }
    assert_eq!(test.count("sessions", "account_id IS NOT NULL").await, 1);
}

async fn a_replay_that_waited_for_a_revocation_is_rejected(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = sign_in(&bench, |_| {}).await.session.id.uuid();
    let mut lock = Lock::on_id(test, "sessions", session).await;
    let (store, asked) = (bench.store.clone(), replay_of(scope(&bench.client)));
    let waiting =
        tokio::spawn(async move { retry_while_locked(|| store.replay_redemption(asked.clone())).await });
    lock.until_awaited().await;
    let now = in_millis(test, 0);
    let revoke = format!("revoke_time = {now}, revoke_reason = 'REVOKED_BY_USER'");
    lock.execute(&format!("UPDATE sessions SET {revoke} WHERE id = {}", literal(test, session))).await;
    lock.commit().await;
    assert_is!(waiting.await.unwrap(), ReplayOutcome::SessionRevoked);
}
