//! Keccak-256, as Ethereum uses it (before NIST's padding).

use tiny_keccak::{Hasher, Keccak};

/// The digest of several pieces, one after the other.
pub(super) fn keccak256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak::v256();
    for piece in pieces {
        hasher.update(piece);
    }
    let mut digest = [0; 32];
    hasher.finalize(&mut digest);
    digest
}
