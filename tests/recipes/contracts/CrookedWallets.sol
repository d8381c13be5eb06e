// Wallets whose answer is nearly a yes: a careless reader would accept every one of them.
// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.0;

contract TrailingGarbageWallet {
    fallback() external {
        assembly {
            mstore(0, or(shl(224, 0x1626ba7e), 1))
            return(0, 32)
        }
    }
}

contract LongAnswerWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            mstore(32, 0)
            return(0, 64)
        }
    }
}

contract HugeAnswerWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            return(0, 1048576)
        }
    }
}

contract ShortAnswerWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            return(0, 4)
        }
    }
}

contract RightAlignedWallet {
    fallback() external {
        assembly {
            mstore(0, 0x1626ba7e)
            return(0, 32)
        }
    }
}

// What is asked begins with the magic value, too: it is the selector.
contract EchoingWallet {
    fallback() external {
        assembly {
            calldatacopy(0, 0, calldatasize())
            return(0, calldatasize())
        }
    }
}

contract TrueWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bool) {
        return true;
    }
}

contract SilentWallet {
    fallback() external {}
}

contract RevertingWallet {
    fallback() external {
        revert();
    }
}

contract RevertingWithYesWallet {
    fallback() external {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            revert(0, 32)
        }
    }
}

contract EndlessWallet {
    fallback() external {
        while (true) {}
    }
}
