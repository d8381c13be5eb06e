//! Events are applied once, resumed without gaps, and pruned.

use time::macros::datetime;

use super::*;
use crate::domain::{AccountId, RevokeReason};

const START: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);

fn session(seconds: i64) -> RevokedSession {
    let revoke_time = START + time::Duration::seconds(seconds);
    RevokedSession {
        id: SessionId::generate(),
        client_id: ClientId::generate(),
        account_id: AccountId::generate(),
        revoke_time,
        reason: RevokeReason::RevokedByUser,
        access_expire_time: revoke_time + Duration::from_mins(30),
    }
}

fn read(seconds: i64, sessions: Vec<RevokedSession>) -> Revocations {
    let as_of = START + time::Duration::seconds(seconds);
    Revocations { as_of, sessions, clients: Vec::new(), keys: Vec::new() }
}

fn at(seconds: i64) -> OffsetDateTime {
    START + time::Duration::seconds(seconds)
}

#[test]
fn what_is_read_again_is_told_once() {
    let feed = RevocationFeed::default();
    assert_eq!(feed.look_back(), None);
    let (first, second) = (session(0), session(1));
    feed.apply(Instant::now(), read(1, vec![first.clone()]));
    feed.apply(Instant::now(), read(2, vec![first.clone(), second.clone()]));
    let page = feed.page(0);
    assert_eq!(page.revocations, [RevocationEvent::Session(first.clone()), RevocationEvent::Session(second)]);
    assert_eq!(page.as_of, Some(at(2)));
    assert!(feed.page(page.next).revocations.is_empty());
    assert!(feed.is_session_revoked(first.id));
    assert!(!feed.is_session_revoked(SessionId::generate()));
}

#[test]
fn a_second_looks_far_back_once() {
    let feed = RevocationFeed::default();
    let mut far = 0;
    for poll in 0..10 {
        feed.apply(Instant::now(), read(poll, Vec::new()));
        let back = feed.page(0).as_of.unwrap() - feed.look_back().unwrap();
        far += usize::from(back == LOOK_FAR_BACK);
    }
    assert_eq!(far, 2);
}

#[test]
fn a_minute_looks_at_everything_once() {
    let feed = RevocationFeed::default();
    feed.apply(Instant::now(), read(0, Vec::new()));
    let mut whole = 0;
    for poll in 1..=600 {
        whole += usize::from(feed.look_back().is_none());
        feed.apply(Instant::now(), read(poll, Vec::new()));
    }
    assert_eq!(whole, 2);
}

#[test]
fn a_client_is_disabled_enabled_and_deleted() {
    let feed = RevocationFeed::default();
    let id = ClientId::generate();
    let with = |seconds, delete_time| Revocations {
        clients: vec![InactiveClient { id, delete_time }],
        ..read(seconds, Vec::new())
    };
    let refused = || feed.is_client_inactive(id);
    feed.apply(Instant::now(), with(1, None));
    feed.apply(Instant::now(), with(2, None));
    assert!(refused());
    feed.apply(Instant::now(), read(3, Vec::new()));
    assert!(!refused());
    feed.apply(Instant::now(), with(4, Some(at(4))));
    assert!(refused());
    let events = feed.page(0).revocations;
    let expected = [
        RevocationEvent::ClientDisabled(id, at(1)),
        RevocationEvent::ClientEnabled(id, at(3)),
        RevocationEvent::ClientDeleted(id, at(4)),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_revoked_key_is_news_once() {
    let feed = RevocationFeed::default();
    let keys = || vec![RevokedKey { kid: "bad".to_owned(), revoke_time: START }];
    let read = || Revocations { keys: keys(), ..read(1, Vec::new()) };
    assert!(feed.has_new_key(&read()));
    feed.apply(Instant::now(), read());
    assert!(!feed.has_new_key(&read()));
    feed.apply(Instant::now(), read());
    assert_eq!(feed.page(0).revocations.len(), 1);
}

#[test]
fn a_revoked_key_stays_refused_when_it_is_told_no_more() {
    let feed = RevocationFeed::default();
    let key = RevokedKey { kid: "bad".to_owned(), revoke_time: START };
    feed.apply(Instant::now(), Revocations { keys: vec![key], ..read(1, Vec::new()) });
    feed.apply(Instant::now(), read(26 * 3_600, Vec::new()));
    assert!(feed.page(0).revocations.is_empty());
    assert!(feed.is_key_revoked("bad"), "an instance that cannot open the next key still has this one");
}

#[test]
fn what_no_token_can_contradict_is_forgotten() {
    let feed = RevocationFeed::default();
    let old = session(0);
    feed.apply(Instant::now(), read(1, vec![old.clone()]));
    feed.apply(Instant::now(), read(30 * 60 + 59, Vec::new()));
    assert!(feed.is_session_revoked(old.id));
    feed.apply(Instant::now(), read(32 * 60, Vec::new()));
    assert!(!feed.is_session_revoked(old.id));
    assert!(feed.page(0).revocations.is_empty());
}

#[test]
fn a_watcher_that_was_away_receives_what_it_missed_and_never_less() {
    let feed = RevocationFeed::default();
    let sessions: Vec<_> = (0..10).map(|at| session(at * 60)).collect();
    for (minute, session) in (0..).zip(&sessions) {
        feed.apply(Instant::now(), read(minute * 60 + 1, vec![session.clone()]));
    }
    let since = |seconds| {
        let position = feed.position_at(at(seconds)).unwrap();
        feed.page(position).revocations.len()
    };
    // Everything that was read within the minute before counts as missed, too.
    assert_eq!((since(9 * 60 + 1), since(5 * 60 + 1), since(5 * 60 + 2)), (2, 6, 5));
    assert_eq!(since(1), 10);
    // Before the first poll, clients may have been switched off and on.
    assert_eq!(feed.position_at(at(0)), None);
    assert_eq!(feed.position_at(at(9 * 60 + 1 + 61)), None);
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let feed = RevocationFeed::default();
    let sessions: Vec<_> = (0..i64::try_from(PAGE).unwrap() * 2 + 1).map(session).collect();
    feed.apply(Instant::now(), read(1, sessions.clone()));
    let (mut position, mut events) = (0, Vec::new());
    loop {
        let page = feed.page(position);
        assert!(page.revocations.len() <= PAGE);
        events.extend(page.revocations);
        position = page.next;
        if page.as_of.is_some() {
            break;
        }
    }
    assert_eq!(events, sessions.into_iter().map(RevocationEvent::Session).collect::<Vec<_>>());
}
