//! Parts of a sign-in text that follow RFC 3986, each with its rule.

use std::{fmt, net::Ipv6Addr};

macro_rules! piece {
    ($(#[$doc:meta])* $name:ident, $rule:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Parses the text; `None` if it breaks the rule.
            pub fn parse(text: &str) -> Option<Self> {
                $rule(text).then(|| Self(text.to_owned()))
            }

            /// Text as it stands in the message.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

piece! {
    /// `scheme`, such as `https`.
    Scheme, is_scheme
}

piece! {
    /// `authority`: a host and an optional port. Narrower than the rule, since it states the origin of a request: a
    /// non-empty host, a port from 1 to 65535 without leading zeros, and no `user@`, which shows one domain and means
    /// another.
    Domain, is_domain
}

piece! {
    /// `URI`: absolute, any scheme, compared byte for byte.
    Uri, is_uri
}

piece! {
    /// `statement`: one line of `reserved`, `unreserved` and spaces. That is ASCII without
    /// ``"%<>\^`{|}``, as EIP-4361 has it.
    Statement, is_statement
}

piece! {
    /// `request-id`: `*pchar`.
    RequestId, is_pchars
}

/// `ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = split_port(text);
    !host.is_empty() && is_host(host) && port.is_none_or(is_origin_port)
}

/// `scheme ":" hier-part [ "?" query ] [ "#" fragment ]`
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let (rest, fragment) = split_optional(rest, '#');
    let (hier_part, query) = split_optional(rest, '?');
    is_scheme(scheme)
        && is_hier_part(hier_part)
        && query.is_none_or(is_query_or_fragment)
        && fragment.is_none_or(is_query_or_fragment)
}

fn is_statement(text: &str) -> bool {
    text.bytes().all(|byte| is_unreserved(byte) || is_sub_delim(byte) || b" :/?#[]@".contains(&byte))
}

/// `*pchar`
fn is_pchars(text: &str) -> bool {
    is_encoded(text, is_pchar)
}

/// `"//" authority path-abempty / path-absolute / path-rootless / path-empty`. For the last three only the characters
/// remain to be checked, since a text that starts with `//` has an authority.
fn is_hier_part(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("//") else { return is_path(text) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    is_authority(authority) && is_path(path)
}

/// `[ userinfo "@" ] host [ ":" port ]`
fn is_authority(text: &str) -> bool {
    let (userinfo, rest) = text.split_once('@').unwrap_or(("", text));
    let (host, port) = split_port(rest);
    is_encoded(userinfo, |byte| is_unreserved(byte) || is_sub_delim(byte) || byte == b':')
        && is_host(host)
        && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `IP-literal / IPv4address / reg-name`. Every IPv4 address is also a `reg-name`.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(literal) => literal
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok() || is_ip_future(address)),
        None => is_encoded(text, |byte| is_unreserved(byte) || is_sub_delim(byte)),
    }
}

/// `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`
fn is_ip_future(text: &str) -> bool {
    let parts = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(version, address)| {
        !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !address.is_empty()
            && address.bytes().all(|byte| is_unreserved(byte) || is_sub_delim(byte) || byte == b':')
    })
}

fn is_path(text: &str) -> bool {
    is_encoded(text, |byte| is_pchar(byte) || byte == b'/')
}

fn is_query_or_fragment(text: &str) -> bool {
    is_encoded(text, |byte| is_pchar(byte) || b"/?".contains(&byte))
}

/// Port as an origin writes it.
fn is_origin_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0 && port.to_string() == text)
}

/// Splits off the port. Colons within `[...]` belong to the host.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let host_end = text.find(']').map_or(0, |bracket| bracket + 1);
    match text[host_end..].find(':') {
        Some(colon) => (&text[..host_end + colon], Some(&text[host_end + colon + 1..])),
        None => (text, None),
    }
}

fn split_optional(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Returns whether every byte is allowed or part of `pct-encoded`: `"%" HEXDIG HEXDIG`.
fn is_encoded(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let mut pieces = text.split('%');
    let plain = |piece: &str| piece.bytes().all(&allowed);
    pieces.next().is_none_or(plain)
        && pieces.all(|piece| {
            piece.split_at_checked(2).is_some_and(|(digits, rest)| {
                digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && plain(rest)
            })
        })
}

fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte) || is_sub_delim(byte) || b":@".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_sub_delim(byte: u8) -> bool {
    b"!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_what_rfc_3986_says() {
        for text in [
            // Section 1.1.2.
            "ftp://ftp.is.co.za/rfc/rfc1808.txt",
            "http://www.ietf.org/rfc/rfc2396.txt",
            "ldap://[2001:db8::7]/c=GB?objectClass?one",
            "mailto:John.Doe@example.com",
            "news:comp.infosystems.www.servers.unix",
            "tel:+1-816-555-1212",
            "telnet://192.0.2.16:80/",
            "urn:oasis:names:specification:docbook:dtd:xml:4.1.2",
            "a:",
            "a:/",
            "a://",
            "a:///b//c",
            "a://:@:/?#",
            "a:?/?#/?",
            "https://u:p@example.com:0443/%41%7e?a=b",
            "a://[v1.a:b]:1",
            "a://[::ffff:1.2.3.4]",
            "a://[1:2:3:4:5:6:7::]",
        ] {
            assert!(Uri::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            ":",
            "example.com",
            "//example.com",
            "1a:b",
            "a b:c",
            "a:b c",
            "a:%4",
            "a:%4g",
            "a:%",
            "a:b#c#d",
            "a:[",
            "a:b?[",
            "a:\"",
            "a:<b>",
            "a:b\\c",
            "a:b^c",
            "a:`",
            "a:{b}",
            "a:b|c",
            "a:ä",
            "a://u@v@w",
            "a://b:c",
            "a://b:1:2",
            "a://[::1",
            "a://::1]",
            "a://[::1]b",
            "a://[1::2::3]",
            "a://[1:2:3:4:5:6:7:8::]",
            "a://[12345::]",
            "a://[::01.2.3.4]",
            "a://[fe80::1%25eth0]",
            "a://[v.a]",
            "a://[v1.]",
            "a://[1.2.3.4]",
        ] {
            assert_eq!(Uri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_domain_is_a_host_and_perhaps_a_port_and_nothing_more() {
        for text in [
            "example.com",
            "localhost:1",
            "xn--bcher-kva.example:65535",
            "127.0.0.1:3000",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(Domain::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            ":80",
            "trusted.com@evil.com",
            "@evil.com",
            "a:b@c",
            "a:",
            "a:0",
            "a:080",
            "a:+80",
            "a:65536",
            "a:80:80",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            "a\\b",
            "bücher.example",
            "[::1",
            "[::1]a",
            "::1",
            "%zz",
        ] {
            assert_eq!(Domain::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_statement_has_the_characters_of_a_uri_and_spaces() {
        let allowed = " !#$&'()*+,-./0123456789:;=?@[]_~";
        assert!(Statement::parse(allowed).is_some() && Statement::parse("").is_some());
        for byte in 0..=u8::MAX {
            let character = char::from(byte);
            let text = format!("a{character}b");
            let expected = character.is_ascii_alphanumeric() || allowed.contains(character);
            assert_eq!(Statement::parse(&text).is_some(), expected, "{byte}");
        }
    }
}
