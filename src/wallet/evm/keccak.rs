//! Keccak-256 as Ethereum uses it, with the padding from before NIST's standard.

use tiny_keccak::{Hasher, Keccak};

/// Digest of the concatenated pieces.
pub(super) fn keccak256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak::v256();
    for piece in pieces {
        hasher.update(piece);
    }
    let mut digest = [0; 32];
    hasher.finalize(&mut digest);
    digest
}
