// A wallet that whoever calls it first can make theirs: to ask it must never mean to call it before.
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

import {Keys, NO, YES} from "Keys.sol";

contract AdoptableWallet {
    address private _owner;

    function adopt(address owner) external {
        _owner = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return Keys.signed(_owner, digest, signature) ? YES : NO;
    }
}
