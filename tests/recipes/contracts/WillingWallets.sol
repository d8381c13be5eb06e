// Wallets that accept every signature: always, on one chain, or by writing.
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

import {NO, YES} from "Keys.sol";

contract WillingWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return YES;
    }
}

contract WillingOnChain1Wallet {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return block.chainid == 1 ? YES : NO;
    }
}

contract WritingWallet {
    uint256 private _asked;

    // Not `view`, as EIP-1271 wants it to be.
    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        _asked += 1;
        return YES;
    }
}
