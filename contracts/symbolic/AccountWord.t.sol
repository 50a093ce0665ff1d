// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AccountWord} from "../src/AccountWord.sol";

/// @title Every word of an account, and every sum that settlement may move: nothing spills over
/// @dev Proven for all values at once. A `require` is what the caller has checked.
contract AccountWordProof {
    using AccountWord for uint256;

    /// @dev All that a credit, a debit and a flag do not touch.
    function _rest(uint256 word) private pure returns (uint256) {
        return word >> 168;
    }

    function check_balance_addsUp(uint256 word, uint256 credit) external pure {
        require(credit <= AccountWord.BALANCE_MAX - word.balanceOf());
        uint256 next = word + credit;
        assert(next.balanceOf() == word.balanceOf() + credit);
        assert(next >> 72 == word >> 72);
    }

    function check_withReceipt_movesWhatWasSigned(uint256 word, uint256 amount) external pure {
        require(amount <= word.balanceOf() && amount <= AccountWord.SPENT_MAX - word.spentOf());
        uint256 next = word.withReceipt(amount);
        assert(next.balanceOf() == word.balanceOf() - amount);
        assert(next.spentOf() == word.spentOf() + amount);
        assert(next.uncoveredOf() == 0);
        assert(_rest(next) == _rest(word & ~AccountWord.CLAIMED));
    }

    function check_withAttested_countsAsUncovered(uint256 word, uint256 amount) external pure {
        require(amount <= word.balanceOf() && amount <= AccountWord.SPENT_MAX - word.spentOf());
        require(amount <= AccountWord.UNCOVERED_MAX - word.uncoveredOf());
        uint256 next = word.withAttested(amount);
        assert(next.balanceOf() == word.balanceOf() - amount);
        assert(next.spentOf() == word.spentOf() + amount);
        assert(next.uncoveredOf() == word.uncoveredOf() + amount);
        assert(_rest(next) == _rest(word));
    }

    function check_settlement_keepsBalanceAndSpent(uint256 word, uint256 amount) external pure {
        require(amount <= word.balanceOf() && amount <= AccountWord.SPENT_MAX - word.spentOf());
        uint256 next = word.withReceipt(amount);
        assert(next.balanceOf() + next.spentOf() == word.balanceOf() + word.spentOf());
    }

    function check_withNextEpoch_changesItAlone(uint256 word) external pure {
        uint256 next = word.withNextEpoch();
        assert(next.epochOf() > word.epochOf());
        assert((next ^ word) & ~(uint256(type(uint32).max) << 168) == 0);
    }

    function check_withNextSessionEpoch_changesItAlone(uint256 word) external pure {
        uint256 next = word.withNextSessionEpoch();
        assert(next.sessionEpochOf() > word.sessionEpochOf());
        assert((next ^ word) & ~(uint256(type(uint24).max) << 200) == 0);
    }

    function check_withFlag_changesItAlone(uint256 word, bool isSet) external pure {
        uint256 next = word.withFlag(AccountWord.ROOT_CAPPED, isSet);
        assert(next.has(AccountWord.ROOT_CAPPED) == isSet);
        assert((next ^ word) & ~AccountWord.ROOT_CAPPED == 0);
    }

    function check_withWithdrawal_keepsTheEpoch(uint256 exit, uint72 amount, uint40 availableAt)
        external
        pure
    {
        uint256 next = exit.withWithdrawal(amount, availableAt);
        assert(next.withdrawingOf() == amount && next.withdrawableAtOf() == availableAt);
        assert(next.epochEffectiveAtOf() == exit.epochEffectiveAtOf());
    }

    function check_withEpochEffectiveAt_keepsTheWithdrawal(uint256 exit, uint40 effectiveAt)
        external
        pure
    {
        uint256 next = exit.withEpochEffectiveAt(effectiveAt);
        assert(next.epochEffectiveAtOf() == effectiveAt);
        assert(next.withdrawingOf() == exit.withdrawingOf());
        assert(next.withdrawableAtOf() == exit.withdrawableAtOf());
    }
}
