// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISettlement} from "../src/ISettlement.sol";
import {SettledIntent} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";

struct Terms {
    bool any;
    uint16 successMin;
    uint32 latencyMax;
}

/// @title The other side of BundleTree, written independently of it, for tests
library Bundle {
    /// @dev What must be set in an intent's authority for a leg in a tree of this height.
    function flag(uint8 height) internal pure returns (uint8) {
        return (16 + height) << 2;
    }

    function typehash(uint256 height) internal pure returns (bytes32) {
        bytes memory text = "Bundle(bool any,uint16 successMin,uint32 latencyMax,Intent";
        for (uint256 i = 0; i < height; ++i) {
            text = bytes.concat(text, "[2]");
        }
        return keccak256(
            bytes.concat(
                text,
                " legs)Intent(address account,string resource,address asset,uint64 units,uint64 unitsMin,uint96 limit,uint40 validFrom,uint40 validUntil,bool immediate,uint32 epoch,uint64 nonce)"
            )
        );
    }

    function proofOf(Terms memory terms, bytes32[] memory leaves, uint16 index)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(
            terms.any, terms.successMin, terms.latencyMax, Bulk.proofOf(leaves, index)
        );
    }

    function digestOf(Terms memory terms, bytes32 root, uint256 height, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 hash = keccak256(
            abi.encode(typehash(height), terms.any, terms.successMin, terms.latencyMax, root)
        );
        return keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
    }

    function digestOf(Terms memory terms, SettledIntent[] memory legs, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 root = Bulk.rootOf(Bulk.leavesOf(legs, settlement.asset()));
        return digestOf(terms, root, Bulk.heightOf(legs.length), settlement);
    }
}
