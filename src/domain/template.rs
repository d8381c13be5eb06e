//! The template of a text challenge: what a wallet shows to the person who signs.

use super::Violation;

/// The placeholders and what they stand for.
const PLACEHOLDERS: [&str; 6] = ["{app}", "{origin}", "{address}", "{nonce}", "{issued_at}", "{expires_at}"];

/// The phrase by which wallets take a text for EIP-4361.
pub const SIGN_IN_PHRASE: &str = "wants you to sign in with your";

const MAX_BYTES: usize = 2_000;

/// A template that is known to render to a signable text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate(String);

/// What the placeholders stand for in one challenge.
pub struct TextValues<'a> {
    /// `{app}`
    pub app: &'a str,
    /// `{origin}`
    pub origin: &'a str,
    /// `{address}`
    pub address: &'a str,
    /// `{nonce}`
    pub nonce: &'a str,
    /// `{issued_at}`, RFC 3339 in UTC
    pub issued_at: &'a str,
    /// `{expires_at}`, RFC 3339 in UTC
    pub expires_at: &'a str,
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// A violation of `text_template` that says what is missing or must not be there.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let refuse = |why: &str| Err(Violation::request("text_template", why));
        if text.len() > MAX_BYTES {
            return refuse("must be at most 2,000 bytes of UTF-8");
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return refuse("must not contain control characters other than a line feed");
        }
        if !text.contains("{nonce}") {
            return refuse("must contain the placeholder {nonce}");
        }
        if text.contains(SIGN_IN_PHRASE) {
            return refuse("must not look like an EIP-4361 text: wallets would check it as one");
        }
        if let Some(unknown) = unknown_placeholder(text) {
            return refuse(&format!("has the unknown placeholder {unknown}"));
        }
        if is_hex_but_for_placeholders(text) {
            return refuse(
                "must have words besides its placeholders: wallets sign a bare hex string as bytes",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The template's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the template shows `{origin}`.
    pub fn shows_origin(&self) -> bool {
        self.0.contains("{origin}")
    }

    /// The text with every placeholder filled, once: a value that looks like a placeholder stays as
    /// it is.
    pub fn render(&self, values: &TextValues<'_>) -> String {
        let mut rest = self.0.as_str();
        let mut text = String::with_capacity(rest.len() + 160);
        while let Some((before, placeholder, after)) = next_placeholder(rest) {
            text.push_str(before);
            text.push_str(values.of(placeholder));
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

impl Default for TextTemplate {
    fn default() -> Self {
        Self(
            "Sign in to {app}\n\nAddress: {address}\nCode: {nonce}\nIssued at: {issued_at}\nExpires at: {expires_at}"
                .to_owned(),
        )
    }
}

impl<'a> TextValues<'a> {
    fn of(&self, placeholder: &str) -> &'a str {
        match placeholder {
            "{app}" => self.app,
            "{origin}" => self.origin,
            "{address}" => self.address,
            "{nonce}" => self.nonce,
            "{issued_at}" => self.issued_at,
            _ => self.expires_at,
        }
    }
}

/// The first placeholder: what stands before it, itself, and the rest.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let begins_at = |at: usize| PLACEHOLDERS.iter().find(|placeholder| text[at..].starts_with(**placeholder));
    text.match_indices('{')
        .find_map(|(at, _)| begins_at(at).map(|placeholder| (at, at + placeholder.len())))
        .map(|(at, end)| (&text[..at], &text[at..end], &text[end..]))
}

/// The first `{word}` that is no placeholder, or is one but for its spelling. Other braces are plain text.
fn unknown_placeholder(text: &str) -> Option<&str> {
    text.split_inclusive('}')
        .filter_map(|part| part.rfind('{').map(|at| &part[at..]))
        .filter(|part| part.ends_with('}') && part.len() > 2)
        .filter(|part| !PLACEHOLDERS.contains(part))
        .find(|part| {
            let is_word = part[1..part.len() - 1].bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            is_word || PLACEHOLDERS.iter().any(|placeholder| letters(placeholder) == letters(part))
        })
}

fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_hex_but_for_placeholders(text: &str) -> bool {
    let words = PLACEHOLDERS.iter().fold(text.to_owned(), |rest, p| rest.replace(p, ""));
    let digits = words.strip_prefix("0x").unwrap_or(&words);
    digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: TextValues<'_> = TextValues {
        app: "Brine {nonce}",
        origin: "https://brine.example",
        address: "0xAb",
        nonce: "N0nce",
        issued_at: "2026-01-01T00:00:00Z",
        expires_at: "2026-01-01T00:02:00Z",
    };

    #[test]
    fn every_placeholder_is_filled_once_and_values_are_not_read_again() {
        let template = TextTemplate::parse("You’re in {app} ({nonce}) {} {x1} {nonce}").unwrap();
        assert_eq!(template.render(&VALUES), "You’re in Brine {nonce} (N0nce) {} {x1} N0nce");
    }

    #[test]
    fn the_default_shows_nonce_and_deadline() {
        let template = TextTemplate::default();
        assert_eq!(TextTemplate::parse(template.as_str()).unwrap(), template);
        let text = template.render(&VALUES);
        assert!(text.contains("N0nce") && text.contains("2026-01-01T00:02:00Z"), "{text}");
    }

    #[test]
    fn a_template_that_cannot_be_signed_safely_is_refused() {
        for (text, why) in [
            ("Sign in", "{nonce}"),
            ("{nonce}", "bare hex"),
            ("0x{nonce}", "bare hex"),
            ("0xdead{nonce}beef", "bare hex"),
            ("Hi {nonce} {deadline}", "unknown placeholder {deadline}"),
            ("Hi {nonce} {issuedAt}", "unknown placeholder {issuedAt}"),
            ("Hi {nonce} { Origin }", "unknown placeholder { Origin }"),
            ("Hi {nonce}\r\n", "control"),
            ("a.example wants you to sign in with your Ethereum account: {nonce}", "EIP-4361"),
            (&format!("{}{{nonce}}", "x".repeat(2_000)), "2,000"),
        ] {
            let violation = TextTemplate::parse(text).unwrap_err();
            assert_eq!(violation.field, "text_template");
            assert!(violation.description.contains(why), "{text}: {violation}");
        }
    }
}
