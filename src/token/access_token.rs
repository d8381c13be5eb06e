//! Access tokens: JWTs after RFC 9068.

use jsonwebtoken::Header;
use serde::{Deserialize, Serialize};

use super::{KeyError, KeyRing, VerifyingKeys, jws::Jws};
use crate::domain::{AccountId, ClientId, Secret, SessionId, SigningAlgorithm, TokenId};

/// RFC 9068, section 2.1.
const TYP: &str = "at+jwt";

/// What an access token says. Times are seconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The issuer.
    pub iss: String,
    /// Who the token is for.
    pub aud: Audience,
    /// The account.
    pub sub: AccountId,
    /// The client.
    pub client_id: ClientId,
    /// When it was issued.
    pub iat: i64,
    /// When it expires; never past the session's hard end.
    pub exp: i64,
    /// The token's own id.
    pub jti: TokenId,
    /// The session.
    pub sid: SessionId,
    /// When the wallet signed in.
    pub auth_time: i64,
    /// Always `access`.
    pub token_type: TokenType,
    /// The verified address.
    pub address: String,
    /// The network it was verified on.
    pub network: String,
    /// `eoa`.
    pub wallet_kind: String,
    /// Who is paid.
    pub deposit_address: String,
    /// The network of the deposit address.
    pub deposit_network: String,
    /// The scope; left out where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

/// `aud`: one text, or several (RFC 7519, section 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One audience.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    /// Whether an audience is among them.
    pub fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }

    /// The audiences, however they are written.
    pub fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(audience) => vec![audience.clone()],
            Self::Many(audiences) => audiences.clone(),
        }
    }
}

impl From<Vec<String>> for Audience {
    fn from(mut audiences: Vec<String>) -> Self {
        if audiences.len() == 1 { Self::One(audiences.remove(0)) } else { Self::Many(audiences) }
    }
}

/// The claim `token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// An access token.
    Access,
}

/// Why an access token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// Not a token of this issuer, or not one any more.
    Invalid,
    /// Good but for its time.
    Expired,
    /// Signed by a key that is not in the ring.
    UnknownKey,
}

impl AccessClaims {
    /// The signed token.
    ///
    /// # Errors
    /// If the cryptographic library refuses.
    pub fn sign(&self, ring: &KeyRing, algorithm: SigningAlgorithm) -> Result<Secret<String>, KeyError> {
        let key = ring.active(algorithm);
        let mut header = Header::new(algorithm.into());
        header.typ = Some(TYP.to_owned());
        header.kid = Some(key.kid().to_owned());
        jsonwebtoken::encode(&header, self, key.encoding())
            .map(Secret::new)
            .map_err(|error| KeyError::Library(error.to_string()))
    }

    /// Reads a token: form, type, key, signature, issuer; returns the key that signed it, too. The algorithm is the key's;
    /// a header that says another is refused. The caller checks time and audience.
    ///
    /// # Errors
    /// Why the token was refused.
    pub fn verify_signature(
        token: &str,
        keys: &impl VerifyingKeys,
        issuer: &str,
    ) -> Result<(String, Self), AccessRefusal> {
        let jws = Jws::split(token).ok_or(AccessRefusal::Invalid)?;
        let header = jws.header().filter(|header| header.typ == TYP).ok_or(AccessRefusal::Invalid)?;
        let key = keys.verifying(&header.kid).ok_or(AccessRefusal::UnknownKey)?;
        let claims = jws.payload(&header, key).filter(|claims: &Self| claims.iss == issuer);
        claims.map(|claims| (header.kid, claims)).ok_or(AccessRefusal::Invalid)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::token::{RootKeys, SigningKey, signing_key::KeyMembers};

    pub(in crate::token) fn ring() -> KeyRing {
        let roots = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        let keys: Vec<_> = SigningAlgorithm::ALL
            .into_iter()
            .map(|algorithm| {
                let (kid, sealed) = SigningKey::generate(algorithm, &roots).unwrap();
                std::sync::Arc::new(SigningKey::open(&kid, algorithm, &sealed, &roots).unwrap())
            })
            .collect();
        let active: Vec<_> = keys.iter().map(|key| key.kid().to_owned()).collect();
        KeyRing::new(keys, &active).unwrap()
    }

    pub(in crate::token) const ES256: SigningAlgorithm = SigningAlgorithm::Es256;

    pub(in crate::token) fn claims() -> AccessClaims {
        AccessClaims {
            iss: "https://issuer.example".to_owned(),
            aud: vec!["shop".to_owned()].into(),
            sub: Uuid::from_u128(1).into(),
            client_id: Uuid::from_u128(2).into(),
            iat: 1_000,
            exp: 2_000,
            jti: Uuid::from_u128(3).into(),
            sid: Uuid::from_u128(4).into(),
            auth_time: 900,
            token_type: TokenType::Access,
            address: "0x".to_owned(),
            network: "eip155:1".to_owned(),
            wallet_kind: "eoa".to_owned(),
            deposit_address: "0x".to_owned(),
            deposit_network: "eip155:1".to_owned(),
            scope: String::new(),
        }
    }

    fn verify(token: &str, ring: &KeyRing) -> Result<AccessClaims, AccessRefusal> {
        AccessClaims::verify_signature(token, ring, "https://issuer.example").map(|(_, claims)| claims)
    }

    /// A token with a header of the attacker's making.
    fn forge(ring: &KeyRing, key: &EncodingKey, change: impl Fn(&mut Header)) -> String {
        let mut header = header(ring);
        change(&mut header);
        jsonwebtoken::encode(&header, &claims(), key).unwrap()
    }

    fn header(ring: &KeyRing) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(ring.active(ES256).kid().to_owned());
        header
    }

    #[test]
    fn a_signed_token_reads_back() {
        let ring = ring();
        for algorithm in SigningAlgorithm::ALL {
            let token = claims().sign(&ring, algorithm).unwrap().into_exposed();
            assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, algorithm.into());
            assert_eq!(verify(&token, &ring), Ok(claims()), "{algorithm:?}");
        }
    }

    #[test]
    fn an_id_that_is_none_is_refused_whoever_signed_it() {
        let ring = ring();
        let with = |claim: &str, value: serde_json::Value| {
            let mut claims = serde_json::to_value(claims()).unwrap();
            claims[claim] = value;
            jsonwebtoken::encode(&header(&ring), &claims, ring.active(ES256).encoding()).unwrap()
        };
        for claim in ["sub", "client_id", "sid", "jti"] {
            for value in [json!("session"), json!(""), json!([0, 0]), json!(null)] {
                let token = with(claim, value.clone());
                assert_eq!(verify(&token, &ring), Err(AccessRefusal::Invalid), "{claim}: {value}");
            }
            assert!(verify(&with(claim, json!(Uuid::max())), &ring).is_ok(), "{claim}");
        }
    }

    #[test]
    fn another_algorithm_type_key_or_issuer_is_refused() {
        let ring = ring();
        let public = ring.public_keys().remove(0);
        let KeyMembers::Ec { x, y } = &public.members else { panic!("{public:?}") };
        let hmac_over_public = EncodingKey::from_secret(format!("{x}{y}").as_bytes());
        let hs256 = forge(&ring, &hmac_over_public, |header| header.alg = Algorithm::HS256);
        assert_eq!(verify(&hs256, &ring), Err(AccessRefusal::Invalid));

        let good = claims().sign(&ring, ES256).unwrap().into_exposed();
        let none = {
            let header = super::super::to_base64(
                format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{}"}}"#, public.kid).as_bytes(),
            );
            format!("{header}.{}.", good.split('.').nth(1).unwrap())
        };
        assert_eq!(verify(&none, &ring), Err(AccessRefusal::Invalid));

        let own = ring.active(ES256).encoding();
        let typ = forge(&ring, own, |header| header.typ = Some("JWT".to_owned()));
        assert_eq!(verify(&typ, &ring), Err(AccessRefusal::Invalid));
        // A key is for one algorithm: of another one, its id is somebody else's.
        for other in [SigningAlgorithm::EdDsa, SigningAlgorithm::Rs256] {
            let kid = ring.active(other).kid().to_owned();
            let moved = forge(&ring, own, |header| header.kid = Some(kid.clone()));
            assert_eq!(verify(&moved, &ring), Err(AccessRefusal::Invalid), "{other:?}");
        }
        let kid = forge(&ring, own, |header| header.kid = Some("other".to_owned()));
        assert_eq!(verify(&kid, &ring), Err(AccessRefusal::UnknownKey));
        let unsigned_by_ring = forge(&ring, self::ring().active(ES256).encoding(), |_| {});
        assert_eq!(verify(&unsigned_by_ring, &ring), Err(AccessRefusal::Invalid));
        assert_eq!(
            AccessClaims::verify_signature(&good, &ring, "https://other.example"),
            Err(AccessRefusal::Invalid)
        );
        // RFC 7515, section 4.1.11: what must be understood and is not.
        let crit = forge(&ring, own, |header| header.crit = Some(vec!["b64".to_owned()]));
        assert_eq!(verify(&crit, &ring), Err(AccessRefusal::Invalid));
        let four = format!("{good}.{}", good.rsplit('.').next().unwrap());
        let padded = format!("{good}=");
        for garbage in ["", "a.b.c", "crt_x", "..", &four, &padded, &good[..good.len() - 3]] {
            assert_eq!(verify(garbage, &ring), Err(AccessRefusal::Invalid), "{garbage}");
        }
    }
}
