// What a signature of ERC-6492 can name as the wallet's factory.
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

import {OwnerWallet} from "OwnerWallet.sol";
import {WillingWallet} from "WillingWallets.sol";

contract WalletFactory {
    function deploy(address owner, bytes32 salt) external returns (address) {
        return address(new OwnerWallet{salt: salt}(owner));
    }
}

contract RevertingFactory {
    fallback() external {
        new WillingWallet();
        revert();
    }
}

contract EndlessFactory {
    fallback() external {
        while (true) {}
    }
}

// Does something else than to deploy.
contract IdleFactory {
    uint256 private _called;

    fallback() external {
        _called += 1;
    }
}

// Deploys what accepts everything, but where nobody has asked for it.
contract StrayFactory {
    fallback() external {
        new WillingWallet();
    }
}
