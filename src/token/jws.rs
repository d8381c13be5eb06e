//! A JSON Web Signature in its compact form (RFC 7515, section 7.1), taken apart once.
//!
//! jsonwebtoken signs; its `decode` reads a header three times, the claims twice and the key each time, which a
//! gateway would feel that asks for every request.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{from_base64, public_keys::VerifyingKey};

/// The parts of a token, all of them still base64url.
pub(super) struct Jws<'a> {
    header: &'a str,
    payload: &'a str,
    /// Header, dot and payload: what is signed.
    signed: &'a str,
    signature: &'a str,
}

/// What matters of a header (RFC 7515, section 4.1).
#[derive(Deserialize)]
pub(super) struct JwsHeader {
    pub(super) typ: String,
    pub(super) kid: String,
    alg: String,
    /// Whether there are extensions that must be understood: none is.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

impl<'a> Jws<'a> {
    pub(super) fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        Some(Self { header, payload, signed, signature })
    }

    /// The header, unless it asks for what is not understood.
    pub(super) fn header(&self) -> Option<JwsHeader> {
        read(self.header).filter(|header: &JwsHeader| !header.crit)
    }

    /// What was signed, if the key has signed it. The algorithm is the key's, and the header must say the same.
    pub(super) fn payload<T: DeserializeOwned>(
        &self,
        header: &JwsHeader,
        VerifyingKey { key, algorithm }: VerifyingKey<'_>,
    ) -> Option<T> {
        if header.alg != algorithm.as_str() {
            return None;
        }
        let signature = from_base64(self.signature)?;
        key.verify_sig(self.signed.as_bytes(), &signature).ok()?;
        read(self.payload)
    }
}

/// The JSON object that a part is.
fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = from_base64(part)?;
    // serde would take the members of an array for those of an object.
    if json.trim_ascii_start().starts_with(b"{") { serde_json::from_slice(&json).ok() } else { None }
}

fn is_there<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|IgnoredAny| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::to_base64;

    fn header(json: &str) -> Option<(String, String)> {
        let token = format!("{}.e30.AAAA", to_base64(json.as_bytes()));
        Jws::split(&token)?.header().map(|header| (header.typ, header.kid))
    }

    #[test]
    fn a_header_is_an_object_of_which_everything_is_understood() {
        let read = Some(("at+jwt".to_owned(), "key".to_owned()));
        assert_eq!(header(r#"{"alg":"ES256","typ":"at+jwt","kid":"key"}"#), read);
        assert_eq!(header(r#" { "kid":"key", "alg":"ES256", "typ":"at+jwt", "x":{"y":[1]}} "#), read);
        for refused in [
            r#"["at+jwt","key","ES256"]"#,
            r#"{"alg":"ES256","typ":"at+jwt"}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"key","kid":"key"}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"key","crit":["b64"]}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"key","crit":[]}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"key","crit":null}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"key"}{}"#,
            "",
        ] {
            assert_eq!(header(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_token_has_three_parts() {
        for other in ["", "e30", "e30.e30"] {
            assert!(Jws::split(other).is_none(), "{other}");
        }
        // What is too many ends up in the payload, which then is not base64url.
        assert_eq!(Jws::split("a.b.c.d").unwrap().payload, "b.c");
        assert_eq!(read::<serde_json::Value>("e30.e30"), None);
        assert_eq!(read::<serde_json::Value>("e30"), Some(serde_json::json!({})));
        assert_eq!(read::<serde_json::Value>("W10"), None, "an array");
    }
}
