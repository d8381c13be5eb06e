//! One key that signs access tokens: made, kept under a root key, opened, and shown.

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::{KeyError, RootKeys, from_base64, sha256, to_base64};
use crate::domain::{Sealed, Secret, SigningAlgorithm};

/// What a point begins with, before x and y (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A public key as RFC 7517 shows it; every member is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    /// Its thumbprint (RFC 7638).
    pub kid: String,
    /// The algorithm that it is for.
    pub algorithm: SigningAlgorithm,
    /// The key itself.
    pub members: KeyMembers,
}

/// The members of a public key, base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members of RFC 7518, section 6, and RFC 8037, section 2")]
pub enum KeyMembers {
    /// `kty` EC, `crv` P-256.
    Ec { x: String, y: String },
    /// `kty` OKP, `crv` Ed25519.
    Okp { x: String },
    /// `kty` RSA.
    Rsa { n: String, e: String },
}

impl KeyMembers {
    /// The `kty`.
    pub const fn key_type(&self) -> &'static str {
        match self {
            Self::Ec { .. } => "EC",
            Self::Okp { .. } => "OKP",
            Self::Rsa { .. } => "RSA",
        }
    }

    /// The `crv`, where there is one.
    pub const fn curve(&self) -> Option<&'static str> {
        match self {
            Self::Ec { .. } => Some("P-256"),
            Self::Okp { .. } => Some("Ed25519"),
            Self::Rsa { .. } => None,
        }
    }

    /// RFC 7638, section 3: the required members in the order of their names.
    fn thumbprint(&self) -> String {
        let text = match self {
            Self::Ec { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        to_base64(&sha256(text.as_bytes()))
    }

    /// The key, ready to verify signatures of its algorithm; `None` if it is none. An RSA key of less than 2,048
    /// bits verifies nothing.
    pub(super) fn parse(&self) -> Option<ParsedPublicKey> {
        match self {
            Self::Ec { x, y } => {
                let point = [&[UNCOMPRESSED], &*from_base64(x)?, &*from_base64(y)?].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            Self::Okp { x } => ParsedPublicKey::new(&ED25519, from_base64(x)?),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n: from_base64(n)?, e: from_base64(e)? }
                .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256),
        }
        .ok()
    }
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Es256 => Self::ES256,
            SigningAlgorithm::EdDsa => Self::EdDSA,
            SigningAlgorithm::Rs256 => Self::RS256,
        }
    }
}

/// A signing key, opened.
pub struct SigningKey {
    public: PublicJwk,
    encoding: EncodingKey,
    verifying: ParsedPublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm().as_str(), self.public.kid)
    }
}

impl SigningKey {
    /// A fresh key: its id, and itself (PKCS#8) sealed for the store.
    ///
    /// # Errors
    /// If the cryptographic library refuses.
    pub fn generate(algorithm: SigningAlgorithm, roots: &RootKeys) -> Result<(String, Sealed), KeyError> {
        loop {
            let pkcs8 = pkcs8(algorithm)?;
            let kid = members(algorithm, pkcs8.expose())?.thumbprint();
            // Ids are typed on command lines, where this would begin a flag.
            if !kid.starts_with('-') {
                let sealed = roots.seal(&purpose(&kid), pkcs8.expose())?;
                return Ok((kid, sealed));
            }
        }
    }

    /// Opens a key out of the store.
    ///
    /// # Errors
    /// If no listed root key opens it, or if it is not the key that its id names.
    pub fn open(
        kid: &str,
        algorithm: SigningAlgorithm,
        sealed: &Sealed,
        roots: &RootKeys,
    ) -> Result<Self, KeyError> {
        let pkcs8 = roots.open(&purpose(kid), sealed)?;
        let members = members(algorithm, pkcs8.expose())?;
        let malformed = || KeyError::Malformed(kid.to_owned());
        if members.thumbprint() != kid {
            return Err(malformed());
        }
        Ok(Self {
            encoding: encoding(algorithm, pkcs8.expose()).ok_or_else(malformed)?,
            verifying: members.parse().ok_or_else(malformed)?,
            public: PublicJwk { kid: kid.to_owned(), algorithm, members },
        })
    }

    /// The same key under the first root key, where it is under another one.
    ///
    /// # Errors
    /// If no listed root key opens it.
    pub fn reseal(kid: &str, sealed: &Sealed, roots: &RootKeys) -> Result<Option<Sealed>, KeyError> {
        if sealed.root_key_id == roots.primary() {
            return Ok(None);
        }
        let pkcs8 = roots.open(&purpose(kid), sealed)?;
        roots.seal(&purpose(kid), pkcs8.expose()).map(Some)
    }

    /// The key's id: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// The one algorithm that it is for.
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.public.algorithm
    }

    /// What everybody may see of it.
    pub(super) const fn public(&self) -> &PublicJwk {
        &self.public
    }

    pub(super) const fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    pub(super) const fn verifying(&self) -> &ParsedPublicKey {
        &self.verifying
    }
}

fn purpose(kid: &str) -> String {
    format!("signing key {kid}")
}

fn refused(error: impl ToString) -> KeyError {
    KeyError::Library(error.to_string())
}

/// A fresh private key.
fn pkcs8(algorithm: SigningAlgorithm) -> Result<Secret<Vec<u8>>, KeyError> {
    let random = SystemRandom::new();
    let bytes = match algorithm {
        SigningAlgorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(refused)?
            .as_ref()
            .to_vec(),
        SigningAlgorithm::EdDsa => {
            Ed25519KeyPair::generate_pkcs8(&random).map_err(refused)?.as_ref().to_vec()
        }
        SigningAlgorithm::Rs256 => {
            let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
            pair.as_der().map_err(refused)?.as_ref().to_vec()
        }
    };
    Ok(Secret::new(bytes))
}

/// The public half of a private key.
fn members(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<KeyMembers, KeyError> {
    Ok(match algorithm {
        SigningAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(refused)?;
            let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
            KeyMembers::Ec { x: to_base64(x), y: to_base64(y) }
        }
        SigningAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(refused)?;
            KeyMembers::Okp { x: to_base64(pair.public_key().as_ref()) }
        }
        SigningAlgorithm::Rs256 => {
            let pair = rsa::KeyPair::from_pkcs8(pkcs8).map_err(refused)?;
            let public = pair.public_key();
            KeyMembers::Rsa {
                n: to_base64(public.modulus().big_endian_without_leading_zero()),
                e: to_base64(public.exponent().big_endian_without_leading_zero()),
            }
        }
    })
}

/// The private key as the library for tokens takes it.
fn encoding(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Option<EncodingKey> {
    Some(match algorithm {
        SigningAlgorithm::Es256 => EncodingKey::from_ec_der(pkcs8),
        SigningAlgorithm::EdDsa => EncodingKey::from_ed_der(pkcs8),
        SigningAlgorithm::Rs256 => EncodingKey::from_rsa_der(pkcs1(pkcs8)?),
    })
}

/// The RSAPrivateKey (RFC 8017) within a PrivateKeyInfo (RFC 5208): what follows the version, the algorithm
/// rsaEncryption, and the head of the octet string, all of them with two bytes of length.
fn pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    const ALGORITHM: [u8; 18] = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00,
    ];
    let rest = pkcs8.strip_prefix(&[0x30, 0x82])?.get(2..)?.strip_prefix(&ALGORITHM)?;
    rest.strip_prefix(&[0x04, 0x82])?.get(2..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_of_a_new_key_looks_like_a_flag() {
        let roots = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        for _ in 0..500 {
            let (kid, _) = SigningKey::generate(SigningAlgorithm::EdDsa, &roots).unwrap();
            assert!(!kid.starts_with('-'), "{kid}");
        }
    }
}
