// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {MarketTypes} from "./MarketTypes.sol";

/// @title The tree of intents that one signature of a bulk is over
/// @dev EIP-712 encodes an array as the hash of its elements' hashes. So for `BulkIntent(Intent[2]…[2]
/// tree)` a leaf is an intent's struct hash and a node the hash of its two children. A node is never
/// a leaf: the one is the hash of 64 bytes, the other of 384 that begin with a type hash.
library BulkTree {
    uint256 internal constant HEIGHT_MAX = MarketTypes.BULK_HEIGHT_MAX;

    uint256 private constant INDEX_SIZE = 2;

    /// @dev No tree is as high, or none of this height has such a leaf.
    error BulkProofMalformed();

    function proofSize(uint256 height) internal pure returns (uint256) {
        // Unchecked: heights are read from a byte or from a length.
        unchecked {
            return INDEX_SIZE + height * 32;
        }
    }

    /// @param proofAt where in calldata index u16 and a sibling bytes32 for each level are
    /// @return result hashStruct of the bulk in which `leaf` is proven to be
    function structHash(bytes32 leaf, uint256 height, uint256 proofAt)
        internal
        pure
        returns (bytes32 result)
    {
        require(height <= HEIGHT_MAX, BulkProofMalformed());
        bytes32 typeHash = MarketTypes.bulkTypehash(height);
        result = rootOf(leaf, height, proofAt);
        // Memory-safe: type hash and root in the scratch space 0x00-0x3f.
        assembly ("memory-safe") {
            mstore(0x00, typeHash)
            mstore(0x20, result)
            result := keccak256(0x00, 0x40)
        }
    }

    /// @param height what its caller has bounded
    /// @param proofAt as above
    /// @return root of the tree in which `leaf` is proven to be
    function rootOf(bytes32 leaf, uint256 height, uint256 proofAt)
        internal
        pure
        returns (bytes32 root)
    {
        uint256 index;
        assembly ("memory-safe") {
            index := shr(240, calldataload(proofAt))
        }
        require(index >> height == 0, BulkProofMalformed());
        // Memory-safe: two nodes in the scratch space 0x00-0x3f. The lowest bit of the index says on
        // which side of its sibling a node is.
        assembly ("memory-safe") {
            root := leaf
            let siblingAt := add(proofAt, INDEX_SIZE)
            let end := add(siblingAt, shl(5, height))
            for {} lt(siblingAt, end) { siblingAt := add(siblingAt, 0x20) } {
                let side := shl(5, and(index, 1))
                mstore(side, root)
                mstore(xor(side, 0x20), calldataload(siblingAt))
                root := keccak256(0x00, 0x40)
                index := shr(1, index)
            }
        }
    }
}
