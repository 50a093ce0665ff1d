// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "../src/CapWord.sol";

/// @title Every word of a cap: what a grant says and what was charged do not touch each other
/// @dev Periods are those that are named: a division by any length is beyond a solver.
contract CapWordProof {
    using CapWord for uint256;

    uint256 private constant LENGTH_SHIFT = 137;
    uint256 private constant LENGTH = ((1 << 15) - 1) << LENGTH_SHIFT;
    uint256 private constant EXPONENT = ((1 << 6) - 1) << 152;
    /// @dev Cap, length and all that a grant says: what no charge changes.
    uint256 private constant GRANT = ~((1 << LENGTH_SHIFT) - 1);
    uint256 private constant TIME_MAX = type(uint40).max;

    function check_withSession_setsEachField(
        uint256 word,
        uint32 expiresAt,
        uint24 epoch,
        uint8 permissions,
        uint16 team
    ) external pure {
        require(team <= CapWord.TEAM_MAX);
        uint256 next = word.withSession(expiresAt, epoch, permissions, team);
        assert(next.expiresAtOf() == expiresAt && next.sessionEpochOf() == epoch);
        assert(next.permissionsOf() == permissions && next.teamOf() == team);
    }

    function check_withSession_keepsTheCap(
        uint256 word,
        uint32 expiresAt,
        uint24 epoch,
        uint8 permissions,
        uint16 team
    ) external pure {
        require(team <= CapWord.TEAM_MAX);
        uint256 next = word.withSession(expiresAt, epoch, permissions, team);
        assert(next.isCapped() == word.isCapped() && next.capOf() == word.capOf());
        assert(next.periodOf() == word.periodOf());
        assert((next ^ word) << 75 == 0);
    }

    function check_withPermissions_changesThemAlone(uint256 word, uint8 permissions) external pure {
        uint256 next = word.withPermissions(permissions);
        assert(next.permissionsOf() == permissions);
        assert(next.teamOf() == word.teamOf() && next.sessionEpochOf() == word.sessionEpochOf());
        assert(next.expiresAtOf() == word.expiresAtOf() && (next ^ word) << 75 == 0);
    }

    function check_withTeam_changesItAlone(uint256 word, uint16 team) external pure {
        require(team <= CapWord.TEAM_MAX);
        uint256 next = word.withTeam(team);
        assert(next.teamOf() == team && next.permissionsOf() == word.permissionsOf());
        assert((next ^ word) << 11 == 0);
    }

    function check_withoutCap_remembersWhatWasSpent(uint256 word) external pure {
        uint256 next = word.withoutCap();
        assert(!next.isCapped());
        assert(next.capOf() == word.capOf() && next.periodOf() == word.periodOf());
        (bool isWithin, uint256 charged) = next.charge(1, 0);
        assert(isWithin && charged == next);
    }

    function check_charge_ofNothingIsNothing(uint256 word, uint256 time) external pure {
        (bool isWithin, uint256 next) = word.charge(0, time);
        assert(isWithin && next == word);
    }

    function check_charge_aboveAnyCapIsRefused(uint256 word, uint256 amount, uint256 time)
        external
        pure
    {
        require(word.isCapped() && amount > CapWord.CAP_MAX);
        (bool isWithin, uint256 next) = word.charge(amount, time);
        assert(!isWithin && next == word);
    }

    function check_charge_refusedIsNotKept(uint256 word, uint256 amount, uint256 time)
        external
        pure
    {
        (bool isWithin, uint256 next) = _daily(word).charge(amount, time);
        assert(isWithin || next == _daily(word));
    }

    function check_charge_keepsTheGrant(uint256 word, uint256 amount, uint256 time) external pure {
        require(time <= TIME_MAX);
        (, uint256 next) = _daily(word).charge(amount, time);
        assert((next ^ _daily(word)) & GRANT == 0);
    }

    function check_charge_neverGoesBackInTime(uint256 word, uint256 amount, uint256 time)
        external
        pure
    {
        require(time <= TIME_MAX);
        (, uint256 next) = _daily(word).charge(amount, time);
        assert(next << 119 >> 229 >= _daily(word) << 119 >> 229);
    }

    /// @dev Of caps that are kept to the atom, within one bucket of time.
    function check_charge_countsAgainstTheCap(uint256 word, uint24 amount, uint256 time)
        external
        pure
    {
        require(time <= TIME_MAX && word.isCapped());
        word = _daily(word) & ~EXPONENT;
        require(time / (3 hours) <= word << 119 >> 229);
        (bool isWithin, uint256 next) = word.charge(amount, time);
        if (isWithin) assert(next.leftOf(time) + amount == word.leftOf(time));
        else assert(amount > word.leftOf(time));
    }

    function check_leftOf_isNeverAboveTheCap(uint256 word, uint256 time) external pure {
        require(time <= TIME_MAX && word.isCapped());
        assert(_daily(word).leftOf(time) <= word.capOf());
    }

    /// @dev The word with a period of one day.
    function _daily(uint256 word) private pure returns (uint256) {
        return (word & ~LENGTH) | 360 << LENGTH_SHIFT;
    }
}
