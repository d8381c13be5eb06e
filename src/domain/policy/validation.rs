//! Validation of policies.

use std::{ops::RangeInclusive, time::Duration};

use super::{DAY, MINUTE, Policy, RateLimit, SECOND};
use crate::domain::{
    ChallengeFormat, Violation, access_token::MAX_ACCESS_TOKEN_TTL, template::SIGN_IN_PHRASE,
};

/// Above that a limit is none.
const MAX_RATE: u32 = 10_000_000;

/// More wallets than anybody has, and few enough to be answered at once.
const MAX_WALLETS: u32 = 100;

impl Policy {
    /// The policy itself if it is valid.
    ///
    /// # Errors
    /// Every violation at once, each with its field's name.
    pub fn validated(self) -> Result<Self, Vec<Violation>> {
        let violations: Vec<Violation> =
            [self.wrong_texts(), self.wrong_lists(), self.wrong_limits(), self.wrong_times()].concat();
        if violations.is_empty() { Ok(self) } else { Err(violations) }
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
        for (field, list) in
            [("domains", &self.domains), ("uris", &self.uris), ("resources", &self.resources)]
        {
            if list.len() > 100 || !list.iter().all(|entry| is_printable(entry, 1..=2_000)) {
                wrong.push(Violation::request(field, "must be at most 100 texts of ASCII without spaces"));
            }
        }
        if self.statements.len() > 100 || !self.statements.iter().all(|entry| is_ascii_line(entry, 1..=1_000))
        {
            let must = "must be at most 100 lines of printable ASCII, 1 to 1,000 characters each";
            wrong.push(Violation::request("statements", must));
        }
        if self.nonce_messages.len() > 100 || !self.nonce_messages.iter().all(|text| is_nonce_message(text)) {
            let must = "must be at most 100 texts of 1 to 2,000 bytes that do not look like an EIP-4361 text";
            wrong.push(Violation::request("nonce_messages", must));
        }
        if self.formats.contains(&ChallengeFormat::TypedData) && self.typed_data_domain.is_none() {
            wrong.push(Violation::request("typed_data_domain", "is required: `formats` has TYPED_DATA"));
        }
        if self.formats.contains(&ChallengeFormat::Siwx) {
            for (field, list) in [("domains", &self.domains), ("uris", &self.uris)] {
                if list.is_empty() {
                    wrong.push(Violation::request(field, "is required: `formats` has SIWX"));
                }
            }
        }
        if self.networks.len() > 100 {
            wrong.push(Violation::request("networks", "must be at most 100 networks"));
        }
        wrong
    }

    fn wrong_limits(&self) -> Vec<Violation> {
        let RateLimit { per_client, per_session, per_address, per_client_refresh } = self.rate_limit;
        [
            ("rate_limit.per_client", per_client),
            ("rate_limit.per_session", per_session),
            ("rate_limit.per_address", per_address),
            ("rate_limit.per_client_refresh", per_client_refresh),
        ]
        .into_iter()
        .filter(|(_, limit)| *limit > MAX_RATE)
        .map(|(field, _)| Violation::request(field, "must be at most 10,000,000 a minute"))
        .chain(self.wrong_max_wallets())
        .collect()
    }

    fn wrong_max_wallets(&self) -> Option<Violation> {
        let is_valid = (1..=MAX_WALLETS).contains(&self.max_wallets);
        (!is_valid).then(|| Violation::request("max_wallets", "must be 1 to 100"))
    }

    fn wrong_times(&self) -> Vec<Violation> {
        [
            ("challenge_ttl", self.challenge_ttl, 30 * SECOND..=DAY, "30 s to 24 h"),
            ("pending_session_ttl", self.pending_session_ttl, 30 * SECOND..=DAY, "30 s to 24 h"),
            ("access_token_ttl", self.access_token_ttl, MINUTE..=MAX_ACCESS_TOKEN_TTL, "1 min to 24 h"),
            ("refresh_token_ttl", self.refresh_token_ttl, MINUTE..=366 * DAY, "1 min to 366 days"),
            ("session_max_ttl", self.session_max_ttl, MINUTE..=3_660 * DAY, "1 min to 3,660 days"),
            ("refresh_grace", self.refresh_grace, Duration::ZERO..=10 * MINUTE, "0 to 10 min"),
            ("reauth_window", self.reauth_window, MINUTE..=DAY, "1 min to 24 h"),
        ]
        .into_iter()
        .filter(|(_, value, range, _)| !range.contains(value))
        .map(|(field, _, _, range)| Violation::request(field, format!("must be {range}")))
        .collect()
    }
}

pub(in crate::domain) fn is_line(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_printable(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_ascii_line(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// A text that nobody takes for the sign-in of some site.
fn is_nonce_message(text: &str) -> bool {
    (1..=2_000).contains(&text.len()) && !text.contains(SIGN_IN_PHRASE) && !text.contains('\0')
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
    use crate::domain::TextTemplate;

    #[test]
    fn the_default_policy_with_a_name_is_valid() {
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
            reauth_window: 2 * DAY,
            max_wallets: 0,
            rate_limit: RateLimit { per_client_refresh: MAX_RATE + 1, ..RateLimit::default() },
            ..Policy::default()
        };
        let fields: Vec<String> =
            policy.validated().unwrap_err().into_iter().map(|violation| violation.field).collect();
        let texts_and_lists = ["name", "origin", "scope", "roles", "formats", "audience"];
        let limits = ["rate_limit.per_client_refresh", "max_wallets"];
        let times = ["challenge_ttl", "refresh_grace", "reauth_window"];
        let expected = [&texts_and_lists[..], &limits, &times].concat();
        assert_eq!(fields, expected);
    }
}
