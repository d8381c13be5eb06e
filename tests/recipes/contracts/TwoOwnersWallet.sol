// A wallet that accepts what both of its owners have signed, the one signature behind the other.
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

import {Keys, NO, YES} from "Keys.sol";

contract TwoOwnersWallet {
    address private immutable FIRST;
    address private immutable SECOND;

    constructor(address first, address second) {
        FIRST = first;
        SECOND = second;
    }

    function isValidSignature(bytes32 digest, bytes calldata signatures) external view returns (bytes4) {
        if (signatures.length != 130) return NO;
        bool first = Keys.signed(FIRST, digest, signatures[:65]);
        bool second = Keys.signed(SECOND, digest, signatures[65:]);
        return first && second ? YES : NO;
    }
}
