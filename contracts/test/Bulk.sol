// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISettlement} from "../src/ISettlement.sol";
import {Batch, SettledIntent} from "./Batch.sol";

/// @title The other side of BulkTree, written independently of it, for tests
/// @dev Level by level from full trees; nothing of it is shared with the sources.
library Bulk {
    /// @dev What must be set in an intent's authority for a tree of this height.
    function flag(uint8 height) internal pure returns (uint8) {
        return height << 2;
    }

    function heightOf(uint256 count) internal pure returns (uint8 height) {
        height = 1;
        while (uint256(1) << height < count) ++height;
    }

    function typehash(uint256 height) internal pure returns (bytes32) {
        bytes memory text = "BulkIntent(Intent";
        for (uint256 i = 0; i < height; ++i) {
            text = bytes.concat(text, "[2]");
        }
        return keccak256(
            bytes.concat(
                text,
                " tree)Intent(address account,string resource,address asset,uint64 units,uint64 unitsMin,uint96 limit,uint40 validFrom,uint40 validUntil,bool immediate,uint32 epoch,uint64 nonce)"
            )
        );
    }

    /// @dev The struct hashes of the intents, filled up with the intent of zeros.
    function leavesOf(SettledIntent[] memory intents, address asset)
        internal
        pure
        returns (bytes32[] memory leaves)
    {
        leaves = new bytes32[](1 << heightOf(intents.length));
        SettledIntent memory empty;
        empty.resource = keccak256("");
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = i < intents.length
                ? Batch.structHashOf(intents[i], asset)
                : Batch.structHashOf(empty, address(0));
        }
    }

    function rootOf(bytes32[] memory leaves) internal pure returns (bytes32) {
        bytes32[] memory level = leaves;
        while (level.length > 1) {
            level = _parentsOf(level);
        }
        return level[0];
    }

    /// @dev The index in two bytes, then the siblings from the leaf upwards.
    function proofOf(bytes32[] memory leaves, uint16 index) internal pure returns (bytes memory) {
        bytes memory proof = abi.encodePacked(index);
        bytes32[] memory level = leaves;
        uint256 place = index;
        while (level.length > 1) {
            proof = bytes.concat(proof, level[place % 2 == 0 ? place + 1 : place - 1]);
            level = _parentsOf(level);
            place /= 2;
        }
        return proof;
    }

    function digestOf(bytes32 root, uint256 height, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 hash = keccak256(abi.encode(typehash(height), root));
        return keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
    }

    function digestOf(SettledIntent[] memory intents, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 root = rootOf(leavesOf(intents, settlement.asset()));
        return digestOf(root, heightOf(intents.length), settlement);
    }

    function _parentsOf(bytes32[] memory level) private pure returns (bytes32[] memory parents) {
        parents = new bytes32[](level.length / 2);
        for (uint256 i = 0; i < parents.length; ++i) {
            parents[i] = keccak256(abi.encodePacked(level[2 * i], level[2 * i + 1]));
        }
    }
}
