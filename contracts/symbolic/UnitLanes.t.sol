// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {UnitLanes} from "../src/UnitLanes.sol";

/// @title Every word of four counters: no nonce counts for another, and none beyond its units
contract UnitLanesProof {
    using UnitLanes for uint256;

    function check_add_countsItsNonce(uint256 word, uint64 nonce, uint64 units, uint256 part)
        external
        pure
    {
        require(part <= word.unitsLeft(nonce, units));
        uint256 next = word.add(nonce, part);
        assert(next.unitsOf(nonce) == word.unitsOf(nonce) + part);
        assert(next.isFlagged(nonce) == word.isFlagged(nonce));
    }

    function check_add_leavesOthersAlone(
        uint256 word,
        uint64 nonce,
        uint64 other,
        uint64 units,
        uint256 part
    ) external pure {
        require(nonce & 3 != other & 3 && part <= word.unitsLeft(nonce, units));
        uint256 next = word.add(nonce, part);
        assert(next.unitsOf(other) == word.unitsOf(other));
        assert(next.isFlagged(other) == word.isFlagged(other));
    }

    function check_unitsLeft_neverBeyondTheUnits(uint256 word, uint64 nonce, uint64 units)
        external
        pure
    {
        uint256 left = word.unitsLeft(nonce, units);
        assert(left <= units);
        assert(left == 0 || word.unitsOf(nonce) + left <= units);
        assert(word.unitsOf(nonce) + left <= UnitLanes.UNITS_MAX);
    }

    function check_flag_countsNothing(uint256 word, uint64 nonce, uint64 other) external pure {
        uint256 next = word.flag(nonce);
        assert(next.isFlagged(nonce));
        assert(next.unitsOf(other) == word.unitsOf(other));
        assert(nonce & 3 == other & 3 || next.isFlagged(other) == word.isFlagged(other));
    }

    function check_keyOf_isOfOneAccountAndFourNonces(
        address account,
        address other,
        uint64 nonce,
        uint64 otherNonce
    ) external pure {
        bool isSame =
            UnitLanes.keyOf(account, nonce) == UnitLanes.keyOf(other, otherNonce);
        assert(isSame == (account == other && nonce >> 2 == otherNonce >> 2));
    }
}
