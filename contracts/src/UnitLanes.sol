// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Four counters of settled units, or of a mandate's atoms, in one storage word
/// @dev A nonce's lane has 63 bits of these and, on top, one flag: "a cancellation is recorded
/// elsewhere". So a document that was never cancelled costs one slot, read and written once, and
/// four consecutive nonces share it.
library UnitLanes {
    /// @dev The most units that one nonce can count.
    uint256 internal constant UNITS_MAX = (1 << 63) - 1;

    uint256 private constant LANE_FLAG = 1 << 63;

    /// @notice What names the storage word of a nonce: 160 bits of account, 62 of nonce.
    function keyOf(address account, uint256 nonce) internal pure returns (uint256) {
        return uint256(uint160(account)) << 64 | nonce >> 2;
    }

    function unitsOf(uint256 word, uint256 nonce) internal pure returns (uint256) {
        return (word >> _shift(nonce)) & UNITS_MAX;
    }

    /// @notice How many of `units` are not settled yet, of those that a lane can count.
    function unitsLeft(uint256 word, uint256 nonce, uint256 units) internal pure returns (uint256) {
        uint256 cap = units < UNITS_MAX ? units : UNITS_MAX;
        uint256 settled = unitsOf(word, nonce);
        // More may be settled than `units` when two documents share a nonce.
        return settled < cap ? cap - settled : 0;
    }

    function isFlagged(uint256 word, uint256 nonce) internal pure returns (bool) {
        return (word >> _shift(nonce)) & LANE_FLAG != 0;
    }

    /// @dev The caller has checked `units` against `unitsLeft`: the lane's sum is at most UNITS_MAX, so
    /// nothing carries over into the flag or a neighbour.
    function add(uint256 word, uint256 nonce, uint256 units) internal pure returns (uint256) {
        // Unchecked: see above.
        unchecked {
            return word + (units << _shift(nonce));
        }
    }

    function flag(uint256 word, uint256 nonce) internal pure returns (uint256) {
        return word | (LANE_FLAG << _shift(nonce));
    }

    function _shift(uint256 nonce) private pure returns (uint256) {
        return (nonce & 3) << 6;
    }
}
