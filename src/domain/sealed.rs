//! A value that only a root key opens, and the name of that root key.

use std::fmt;

/// Names a root key without telling it: 8 bytes, shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sealed under a root key: AES-256-GCM over the value, its purpose authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The root key that sealed it.
    pub fingerprint: Fingerprint,
    /// 12 bytes of nonce, the ciphertext, 16 bytes of tag.
    pub bytes: Vec<u8>,
}
