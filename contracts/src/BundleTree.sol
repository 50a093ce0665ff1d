// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BulkTree} from "./BulkTree.sol";
import {MarketTypes} from "./MarketTypes.sol";

/// @title The legs of a bundle: a tree as of a bulk, signed with the terms that bind them
/// @dev `Bundle(bool any,uint16 successMin,uint32 latencyMax,Intent[2]…[2] legs)`. A leg's proof begins
/// with the terms. The contract holds each leg to its own limits, and knows by the terms that they
/// were signed; that legs are sold together, or one of them, from good keys, is the market's part.
library BundleTree {
    uint256 internal constant HEIGHT_MAX = MarketTypes.BUNDLE_HEIGHT_MAX;

    uint256 private constant TERMS_SIZE = 7;

    function proofSize(uint256 height) internal pure returns (uint256) {
        // Unchecked for the same reason as in BulkTree.
        unchecked {
            return TERMS_SIZE + BulkTree.proofSize(height);
        }
    }

    /// @param proofAt where in calldata any u8, successMin u16, latencyMax u32 and the proof as of a
    /// bulk are
    /// @return hashStruct of the bundle in which `leaf` is proven to be
    function structHash(bytes32 leaf, uint256 height, uint256 proofAt)
        internal
        pure
        returns (bytes32)
    {
        require(height != 0 && height <= HEIGHT_MAX, BulkTree.BulkProofMalformed());
        bytes32 root = BulkTree.rootOf(leaf, height, proofAt + TERMS_SIZE);
        uint256 terms;
        assembly ("memory-safe") {
            terms := shr(200, calldataload(proofAt))
        }
        // A flag that is neither 0 nor 1 needs no check: nobody can have signed it.
        return keccak256(
            abi.encode(
                MarketTypes.bundleTypehash(height),
                terms >> 48,
                uint16(terms >> 32),
                uint32(terms),
                root
            )
        );
    }
}
