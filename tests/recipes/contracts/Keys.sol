// How the wallets of the tests recover who signed a digest, and how a contract says yes (EIP-1271).
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

bytes4 constant YES = 0x1626ba7e;
bytes4 constant NO = 0xffffffff;

library Keys {
    /// Whether this key made r, s, v over the digest.
    function signed(address key, bytes32 digest, bytes calldata signature) internal pure returns (bool) {
        if (signature.length != 65) return false;
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        return signer != address(0) && signer == key;
    }
}
