// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "./BatchReader.sol";
import {BulkTree} from "./BulkTree.sol";
import {MarketTypes} from "./MarketTypes.sol";

/// @title The packed layout of a batch's awards
/// @notice Where the highest bit of a batch's offerCount is set, the number of awarded fills u16 follows
/// it, and behind the offers are their awards:
///
///   awards   = awardCount u16, award each
///   award    = auction u64, solver address, solution bytes32, deadlineBlock u64, authority u8,
///              signatureSize u16, signature, fillCount u16, fill each
///   fill     = offer u16, units u64, tick u64, charge u64, height u8, index u16, sibling bytes32 each
///
/// The fills, in their order, are what a line's `offer` means beyond the offers: the offer that is
/// named here, with as many units at this price. `tick` is what the buyer pays, `charge` what of it is
/// the solver's, both in atoms per 10^6 units. `solution` is the root of the tree of the auction's
/// fills, a leaf of which is the hash of buyer, nonce of its intent or mandate, seller, nonce of its
/// offer, units, tick and charge: 224 bytes, where a node hashes 64.
library AwardReader {
    /// @dev The first 5 words are the EIP-712 encoding of the document, in its order.
    struct Award {
        bytes32 typeHash;
        uint256 auction;
        address solver;
        bytes32 solution;
        uint256 deadlineBlock;
        uint256 authority;
        uint256 signatureAt;
        uint256 signatureSize;
    }

    struct Fill {
        uint256 offer;
        uint256 units;
        uint256 tick;
        uint256 charge;
        uint256 height;
        uint256 proofAt;
    }

    /// @dev What offerCount is raised by where awards follow.
    uint256 internal constant FOLLOW = 1 << 15;

    uint256 private constant AWARD_SIZE = 71;
    uint256 private constant FILL_SIZE = 27;
    uint256 private constant INDEX_SIZE = 2;
    uint256 private constant AWARD_HASHED_BYTES = 5 * 32;

    function newAward() internal pure returns (Award memory award) {
        award.typeHash = MarketTypes.AWARD_TYPEHASH;
    }

    /// @dev Overwrites `award` but for its type hash.
    function readAward(BatchReader.Cursor memory cursor, Award memory award) internal pure {
        uint256 start = cursor.next;
        // Unchecked: see BatchReader.readIntent.
        unchecked {
            award.auction = _load(start, 8);
            award.solver = address(uint160(_load(start + 8, 20)));
            award.solution = bytes32(_load(start + 28, 32));
            award.deadlineBlock = _load(start + 60, 8);
            award.authority = _load(start + 68, 1);
            award.signatureSize = _load(start + 69, 2);
            award.signatureAt = start + AWARD_SIZE;
            cursor.next = start + AWARD_SIZE + award.signatureSize;
        }
    }

    function readFill(BatchReader.Cursor memory cursor, Fill memory fill) internal pure {
        uint256 start = cursor.next;
        // Unchecked: see BatchReader.readIntent.
        unchecked {
            fill.offer = _load(start, 2);
            fill.units = _load(start + 2, 8);
            fill.tick = _load(start + 10, 8);
            fill.charge = _load(start + 18, 8);
            fill.height = _load(start + 26, 1);
            fill.proofAt = start + FILL_SIZE;
            cursor.next = start + FILL_SIZE + INDEX_SIZE + fill.height * 32;
        }
    }

    /// @return result the EIP-712 struct hash
    function hashOf(Award memory award) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            result := keccak256(award, AWARD_HASHED_BYTES)
        }
    }

    function signatureOf(Award memory award) internal pure returns (bytes calldata result) {
        uint256 start = award.signatureAt;
        uint256 size = award.signatureSize;
        assembly ("memory-safe") {
            result.offset := start
            result.length := size
        }
    }

    /// @return what of a payment for so many delivered units is the solver's, rounded down
    function rewardOf(Fill memory fill, uint256 delivered) internal pure returns (uint256) {
        return delivered * fill.charge / MarketTypes.TICK_UNITS;
    }

    /// @return root of the solution in which this fill is proven to be, between these two documents
    function rootOf(
        Fill memory fill,
        address buyer,
        uint256 buyerNonce,
        address seller,
        uint256 sellerNonce
    ) internal pure returns (bytes32) {
        bytes32 leaf = keccak256(
            abi.encode(buyer, buyerNonce, seller, sellerNonce, fill.units, fill.tick, fill.charge)
        );
        return BulkTree.rootOf(leaf, fill.height, fill.proofAt);
    }

    /// @dev `size` bytes, 1 to 32, from `start` on, as an integer.
    function _load(uint256 start, uint256 size) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, size)), calldataload(start))
        }
    }
}
