// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISettlement} from "../src/ISettlement.sol";
import {Bulk} from "./Bulk.sol";

struct AwardedFill {
    uint16 offer;
    address buyer;
    uint64 buyerNonce;
    address seller;
    uint64 sellerNonce;
    uint64 units;
    uint64 tick;
    uint64 charge;
}

struct SignedAward {
    uint64 auction;
    address solver;
    bytes32 solution;
    uint64 deadlineBlock;
    uint8 authority;
    bytes signature;
}

/// @title The other side of AwardReader, written independently of it, for tests
library Awards {
    bytes32 internal constant TYPEHASH =
        keccak256("Award(uint64 auction,address solver,bytes32 solution,uint64 deadlineBlock)");

    function digestOf(SignedAward memory award, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 hash = keccak256(
            abi.encode(TYPEHASH, award.auction, award.solver, award.solution, award.deadlineBlock)
        );
        return keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
    }

    /// @dev One award with all fills of its solution.
    function encode(SignedAward memory award, AwardedFill[] memory fills)
        internal
        pure
        returns (bytes memory)
    {
        return bytes.concat(abi.encodePacked(uint16(1)), section(award, fills));
    }

    /// @dev What stands for it in a batch of several awards.
    function section(SignedAward memory award, AwardedFill[] memory fills)
        internal
        pure
        returns (bytes memory packed)
    {
        packed = abi.encodePacked(
            award.auction,
            award.solver,
            award.solution,
            award.deadlineBlock,
            award.authority,
            uint16(award.signature.length),
            award.signature,
            uint16(fills.length)
        );
        bytes32[] memory leaves = leavesOf(fills);
        for (uint16 i = 0; i < fills.length; ++i) {
            packed = bytes.concat(packed, encode(fills[i], Bulk.proofOf(leaves, i)));
        }
    }

    function encode(AwardedFill memory fill, bytes memory proof)
        internal
        pure
        returns (bytes memory)
    {
        uint8 height = uint8((proof.length - 2) / 32);
        return abi.encodePacked(fill.offer, fill.units, fill.tick, fill.charge, height, proof);
    }

    function rootOf(AwardedFill[] memory fills) internal pure returns (bytes32) {
        return Bulk.rootOf(leavesOf(fills));
    }

    function leavesOf(AwardedFill[] memory fills) internal pure returns (bytes32[] memory leaves) {
        uint256 count = 1;
        while (count < fills.length) count *= 2;
        leaves = new bytes32[](count);
        for (uint256 i = 0; i < fills.length; ++i) {
            leaves[i] = leafOf(fills[i]);
        }
    }

    function leafOf(AwardedFill memory fill) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                uint256(uint160(fill.buyer)),
                uint256(fill.buyerNonce),
                uint256(uint160(fill.seller)),
                uint256(fill.sellerNonce),
                uint256(fill.units),
                uint256(fill.tick),
                uint256(fill.charge)
            )
        );
    }
}
