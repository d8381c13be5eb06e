//! The revocations that this instance has read from the store: consulted before a token is accepted, sent to watchers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tokio::sync::watch;

pub use crate::store::RevokedSession;
use crate::{
    domain::{ClientId, MAX_ACCESS_TOKEN_AGE, MAX_CHECKER_LEEWAY, SessionId},
    store::{InactiveClient, Revocations, RevokedKey},
};

/// Poll interval of the feed. A revocation reaches every instance within a second.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Overlap of a poll with the one before: a revocation bears the time of its statement, and is seen
/// once that is committed, which is a matter of moments.
const LOOK_BACK: Duration = Duration::from_secs(5);
/// Overlap of each fifth poll, one a second: longer than any statement of this program can take.
pub(crate) const LOOK_FAR_BACK: Duration = Duration::from_mins(1);
const FAR_EVERY: u32 = 5;
/// One poll a minute looks back as far as matters: a server that waits for a standby which does not answer ends
/// a statement's commit whenever that comes back, however late.
const WHOLE_EVERY: u32 = 300;
/// Age up to which a watcher can resume; an older `resume_from` gets a snapshot.
const RESUMABLE: Duration = Duration::from_hours(1);
/// Pruning interval for entries whose tokens have all expired.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// How many revocations a page holds.
pub const PAGE: usize = 500;

/// Something that ends access tokens before their time, or undoes that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationEvent {
    /// A session was revoked.
    Session(RevokedSession),
    /// A client was disabled: its tokens are rejected for now. With the time at which the feed noticed it.
    ClientDisabled(ClientId, OffsetDateTime),
    /// A client was enabled: its tokens are accepted again, except those of revoked sessions. With the time at which
    /// the feed noticed it.
    ClientEnabled(ClientId, OffsetDateTime),
    /// A client was deleted. With the time of that.
    ClientDeleted(ClientId, OffsetDateTime),
    /// A signing key was revoked, and with it every token that it has signed.
    Key(RevokedKey),
}

impl RevocationEvent {
    /// Whose tokens it ends; `None` for everybody's.
    pub const fn client_id(&self) -> Option<ClientId> {
        match self {
            Self::Session(session) => Some(session.client_id),
            Self::ClientDisabled(id, _) | Self::ClientEnabled(id, _) | Self::ClientDeleted(id, _) => {
                Some(*id)
            }
            Self::Key(_) => None,
        }
    }

    /// When no token can contradict it any more.
    fn end(&self) -> OffsetDateTime {
        match self {
            Self::Session(session) => session.access_expire_time + MAX_CHECKER_LEEWAY,
            Self::ClientDisabled(_, time) | Self::ClientEnabled(_, time) | Self::ClientDeleted(_, time) => {
                *time + MAX_ACCESS_TOKEN_AGE
            }
            Self::Key(key) => key.revoke_time + MAX_ACCESS_TOKEN_AGE,
        }
    }
}

/// A page of revocation events, in the order in which the feed read them.
#[derive(Debug)]
pub struct Page {
    /// The revocations.
    pub revocations: Vec<RevocationEvent>,
    /// Where the next page begins.
    pub next: u64,
    /// On the last page: the time on the database's clock up to which the feed is complete.
    pub as_of: Option<OffsetDateTime>,
}

/// The revocation feed of this instance.
pub struct RevocationFeed {
    state: RwLock<FeedState>,
    changes: watch::Sender<u64>,
}

impl Default for RevocationFeed {
    fn default() -> Self {
        Self { state: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl RevocationFeed {
    /// Lower bound of the next poll; `None` for as far back as matters.
    pub fn look_back(&self) -> Option<OffsetDateTime> {
        let state = self.state();
        let (as_of, polls) = (state.as_of?, state.polls);
        if polls.is_multiple_of(WHOLE_EVERY) {
            return None;
        }
        Some(as_of - if polls.is_multiple_of(FAR_EVERY) { LOOK_FAR_BACK } else { LOOK_BACK })
    }

    /// Whether a signing key is among what was read that was not known before.
    pub fn has_new_key(&self, read: &Revocations) -> bool {
        let state = self.state();
        read.keys.iter().any(|key| !state.keys.contains(&key.kid))
    }

    /// Applies what was read in a poll that began at `began`, most of which is known already.
    pub fn apply(&self, began: Instant, read: Revocations) {
        let mut state = self.state_mut();
        state.read_at = Some(began);
        state.apply(read);
        let next = state.next;
        drop(state);
        self.changes.send_if_modified(|last| std::mem::replace(last, next) != next);
    }

    /// Whether the feed has read that a session is revoked.
    pub fn is_session_revoked(&self, id: SessionId) -> bool {
        self.state().sessions.contains(&id)
    }

    /// Whether the feed has read that a signing key is revoked.
    pub fn is_key_revoked(&self, kid: &str) -> bool {
        self.state().keys.contains(kid)
    }

    /// Whether the feed has read that a client is disabled or deleted.
    pub fn is_client_inactive(&self, id: ClientId) -> bool {
        self.state().clients.contains_key(&id)
    }

    /// Age of the last successful poll.
    pub fn age(&self) -> Duration {
        self.state().read_at.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Where to go on after everything that had been committed by `from`; `None` where that is not known any more.
    pub fn position_at(&self, from: OffsetDateTime) -> Option<u64> {
        self.state().position_at(from)
    }

    /// The revocation events from a position on.
    pub fn page(&self, position: u64) -> Page {
        self.state().page(position)
    }

    /// A receiver that changes when there are new events.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn state(&self) -> RwLockReadGuard<'_, FeedState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, FeedState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The revocation events in the order in which they were read, and indexed by what a token is checked for.
#[derive(Default)]
struct FeedState {
    read_at: Option<Instant>,
    as_of: Option<OffsetDateTime>,
    polls: u32,
    /// Time of the first poll, which reads the state of things; events before it are not known.
    began: Option<OffsetDateTime>,
    log: VecDeque<(u64, RevocationEvent)>,
    next: u64,
    /// Up to when everything lies before a position, for each poll with new events.
    marks: VecDeque<(OffsetDateTime, u64)>,
    forgot: Option<OffsetDateTime>,
    sessions: HashSet<SessionId>,
    clients: HashMap<ClientId, InactiveClient>,
    /// Never forgotten: keys that cannot be read anew stay in force, and these may be among them.
    keys: HashSet<String>,
}

impl FeedState {
    fn apply(&mut self, read: Revocations) {
        let position = self.next;
        for session in read.sessions {
            if self.sessions.insert(session.id) {
                self.push(RevocationEvent::Session(session));
            }
        }
        self.apply_clients(read.as_of, &read.clients);
        for key in read.keys {
            if self.keys.insert(key.kid.clone()) {
                self.push(RevocationEvent::Key(key));
            }
        }
        if self.next > position {
            self.marks.push_back((read.as_of, position));
        }
        self.as_of = Some(read.as_of);
        self.began.get_or_insert(read.as_of);
        self.polls = self.polls.wrapping_add(1);
        self.forget(read.as_of);
    }

    /// Every client that is not served was read, so the ones that are missing are served again.
    fn apply_clients(&mut self, now: OffsetDateTime, inactive: &[InactiveClient]) {
        let mut before = std::mem::take(&mut self.clients);
        for client in inactive {
            let known = before.remove(&client.id);
            if known.is_none_or(|known| known.delete_time != client.delete_time) {
                self.push(match client.delete_time {
                    Some(time) => RevocationEvent::ClientDeleted(client.id, time),
                    None => RevocationEvent::ClientDisabled(client.id, now),
                });
            }
            self.clients.insert(client.id, *client);
        }
        for client in before.into_values().filter(|client| client.delete_time.is_none()) {
            self.push(RevocationEvent::ClientEnabled(client.id, now));
        }
    }

    fn push(&mut self, revocation: RevocationEvent) {
        self.log.push_back((self.next, revocation));
        self.next += 1;
    }

    fn forget(&mut self, now: OffsetDateTime) {
        if self.forgot.is_some_and(|forgot| now < forgot + FORGET_EVERY) {
            return;
        }
        self.forgot = Some(now);
        let sessions = &mut self.sessions;
        self.log.retain(|(_, revocation)| {
            let keep = revocation.end() > now;
            if let (RevocationEvent::Session(session), false) = (revocation, keep) {
                sessions.remove(&session.id);
            }
            keep
        });
        while self.marks.front().is_some_and(|(as_of, _)| *as_of + RESUMABLE < now) {
            self.marks.pop_front();
        }
    }

    /// A poll may return what was committed well before it ended, hence the look back.
    fn position_at(&self, from: OffsetDateTime) -> Option<u64> {
        let (began, as_of) = (self.began?, self.as_of?);
        let oldest = began.max(as_of - RESUMABLE);
        if from < oldest || from > as_of + LOOK_FAR_BACK {
            return None;
        }
        let at = self.marks.partition_point(|(as_of, _)| *as_of < from - LOOK_FAR_BACK);
        Some(self.marks.get(at).map_or(self.next, |(_, position)| *position))
    }

    fn page(&self, position: u64) -> Page {
        let at = self.log.partition_point(|(own, _)| *own < position);
        let page = self.log.range(at..).take(PAGE);
        let revocations: Vec<_> = page.map(|(_, revocation)| revocation.clone()).collect();
        let last = at + revocations.len() == self.log.len();
        let next = if last { self.next } else { self.log[at + revocations.len()].0 };
        Page { revocations, next, as_of: if last { self.as_of } else { None } }
    }
}

#[cfg(test)]
mod tests;
