// A wallet that accepts what its owner's key has signed.
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

import {Keys, NO, YES} from "Keys.sol";

contract OwnerWallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return Keys.signed(OWNER, digest, signature) ? YES : NO;
    }
}
