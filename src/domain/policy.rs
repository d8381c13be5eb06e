//! What a client may do, and how its sign-ins go.

use std::{ops::RangeInclusive, time::Duration};

use super::{ChallengeFormat, Network, NetworkRule, Role, TextTemplate, Violation, template::SIGN_IN_PHRASE};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// Above that a limit is none.
const MAX_RATE: u32 = 10_000_000;

/// A client's policy. Fields are as in `ClientPolicy` of the API, where each is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "proto/countersign/v1/client.proto documents each field")]
pub struct Policy {
    pub name: String,
    pub roles: Vec<Role>,
    pub introspect_audiences: Vec<String>,
    pub formats: Vec<ChallengeFormat>,
    pub networks: Vec<NetworkRule>,
    pub text_template: TextTemplate,
    pub app: String,
    pub origin: String,
    pub audience: Vec<String>,
    pub scope: String,
    pub challenge_ttl: Duration,
    pub pending_session_ttl: Duration,
    pub access_token_ttl: Duration,
    pub refresh_token_ttl: Duration,
    pub session_max_ttl: Duration,
    pub refresh_grace: Duration,
    pub refresh_requires_client: bool,
    pub rate_limit: RateLimit,
    pub disabled: bool,
}

/// Calls per minute that write rows, on each instance; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "proto/countersign/v1/client.proto documents each field")]
pub struct RateLimit {
    pub per_client: u32,
    pub per_session: u32,
    pub per_address: u32,
}

impl RateLimit {
    /// No limit at all.
    pub const NONE: Self = Self { per_client: 0, per_session: 0, per_address: 0 };
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_client: 6_000, per_session: 60, per_address: 60 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: String::new(),
            roles: vec![Role::SignIn],
            introspect_audiences: Vec::new(),
            formats: vec![ChallengeFormat::Text],
            networks: Vec::new(),
            text_template: TextTemplate::default(),
            app: String::new(),
            origin: String::new(),
            audience: Vec::new(),
            scope: String::new(),
            challenge_ttl: 2 * MINUTE,
            pending_session_ttl: 10 * MINUTE,
            access_token_ttl: 30 * MINUTE,
            refresh_token_ttl: 14 * DAY,
            session_max_ttl: 90 * DAY,
            refresh_grace: 30 * SECOND,
            refresh_requires_client: false,
            rate_limit: RateLimit::default(),
            disabled: false,
        }
    }
}

impl Policy {
    /// The policy itself if it is legal.
    ///
    /// # Errors
    /// Every violation at once, each with its field's name.
    pub fn validated(self) -> Result<Self, Vec<Violation>> {
        let violations: Vec<Violation> =
            [self.wrong_texts(), self.wrong_lists(), self.wrong_limits(), self.wrong_times()].concat();
        if violations.is_empty() { Ok(self) } else { Err(violations) }
    }

    /// Whether the client has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether sign-ins on a network are let through; an empty list allows all.
    pub fn allows_network(&self, network: &Network) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|rule| rule.allows(network))
    }

    /// What `{app}` stands for.
    pub fn app_name(&self) -> &str {
        if self.app.is_empty() { &self.name } else { &self.app }
    }

    fn wrong_texts(&self) -> Vec<Violation> {
        let mut wrong = Vec::new();
        if !is_line(&self.name, 1..=100) {
            wrong.push(Violation::request("name", "must be 1 to 100 characters without control characters"));
        }
        for (field, text) in [("name", &self.name), ("app", &self.app), ("origin", &self.origin)] {
            if text.contains(SIGN_IN_PHRASE) {
                wrong.push(Violation::request(field, "must not look like an EIP-4361 text"));
            }
        }
        for (field, text) in [("app", &self.app), ("origin", &self.origin)] {
            if !is_line(text, 0..=200) {
                wrong.push(Violation::request(
                    field,
                    "must be at most 200 characters without control characters",
                ));
            }
        }
        if self.text_template.shows_origin() && self.origin.is_empty() {
            wrong.push(Violation::request("origin", "is required: `text_template` shows {origin}"));
        }
        if !is_scope(&self.scope) {
            wrong.push(Violation::request(
                "scope",
                "must be words of RFC 6749, section 3.3, with one space between",
            ));
        }
        wrong
    }

    fn wrong_lists(&self) -> Vec<Violation> {
        let mut wrong = Vec::new();
        if self.roles.is_empty() {
            wrong.push(Violation::request("roles", "must have at least one role"));
        }
        if self.formats.is_empty() {
            wrong.push(Violation::request("formats", "must have at least one format"));
        }
        for (field, list) in
            [("audience", &self.audience), ("introspect_audiences", &self.introspect_audiences)]
        {
            if list.len() > 20 || !list.iter().all(|entry| is_line(entry, 1..=255)) {
                wrong.push(Violation::request(field, "must be at most 20 texts of 1 to 255 characters"));
            }
        }
        if self.networks.len() > 100 {
            wrong.push(Violation::request("networks", "must be at most 100 networks"));
        }
        wrong
    }

    fn wrong_limits(&self) -> Vec<Violation> {
        let RateLimit { per_client, per_session, per_address } = self.rate_limit;
        [
            ("rate_limit.per_client", per_client),
            ("rate_limit.per_session", per_session),
            ("rate_limit.per_address", per_address),
        ]
        .into_iter()
        .filter(|(_, limit)| *limit > MAX_RATE)
        .map(|(field, _)| Violation::request(field, "must be at most 10,000,000 a minute"))
        .collect()
    }

    fn wrong_times(&self) -> Vec<Violation> {
        [
            ("challenge_ttl", self.challenge_ttl, 30 * SECOND..=DAY, "30 s to 24 h"),
            ("pending_session_ttl", self.pending_session_ttl, 30 * SECOND..=DAY, "30 s to 24 h"),
            ("access_token_ttl", self.access_token_ttl, MINUTE..=DAY, "1 min to 24 h"),
            ("refresh_token_ttl", self.refresh_token_ttl, MINUTE..=366 * DAY, "1 min to 366 days"),
            ("session_max_ttl", self.session_max_ttl, MINUTE..=3_660 * DAY, "1 min to 3,660 days"),
            ("refresh_grace", self.refresh_grace, Duration::ZERO..=10 * MINUTE, "0 to 10 min"),
        ]
        .into_iter()
        .filter(|(_, value, range, _)| !range.contains(value))
        .map(|(field, _, _, range)| Violation::request(field, format!("must be {range}")))
        .collect()
    }
}

/// Whether a text is one line of so many characters.
pub(super) fn is_line(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// RFC 6749, section 3.3: `scope-token *( SP scope-token )`, here at most 1,000 bytes.
fn is_scope(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E));
    text.len() <= 1_000 && (text.is_empty() || text.split(' ').all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_with_a_name_is_legal() {
        let policy = Policy { name: "Shop".to_owned(), ..Policy::default() };
        assert_eq!(policy.clone().validated().unwrap(), policy);
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let policy = Policy {
            roles: vec![],
            formats: vec![],
            text_template: TextTemplate::parse("Hi {nonce} at {origin}").unwrap(),
            scope: "a  b".to_owned(),
            audience: vec![String::new()],
            challenge_ttl: SECOND,
            refresh_grace: DAY,
            ..Policy::default()
        };
        let fields: Vec<String> =
            policy.validated().unwrap_err().into_iter().map(|violation| violation.field).collect();
        let expected =
            ["name", "origin", "scope", "roles", "formats", "audience", "challenge_ttl", "refresh_grace"];
        assert_eq!(fields, expected);
    }
}
