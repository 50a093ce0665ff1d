// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AccountWord} from "../src/AccountWord.sol";
import {Test} from "./Test.sol";

contract AccountWordTest is Test {
    using AccountWord for uint256;

    function testFuzz_fieldsAreIndependent(
        uint72 balance,
        uint72 withdrawing,
        uint40 withdrawableAt,
        uint32 epoch,
        uint40 epochEffectiveAt
    ) public pure {
        uint256 word = type(uint256).max - type(uint72).max;
        word = (word + balance).withWithdrawal(withdrawing, withdrawableAt)
            .withEpoch(epoch, epochEffectiveAt);
        vm.assertEq(word.balanceOf(), balance);
        vm.assertEq(word.withdrawingOf(), withdrawing);
        vm.assertEq(word.withdrawableAtOf(), withdrawableAt);
        vm.assertEq(word.epochOf(), epoch);
        vm.assertEq(word.epochEffectiveAtOf(), epochEffectiveAt);
        vm.assertEq(word.withWithdrawal(0, 0).withEpoch(0, 0), balance);
    }

    function testFuzz_isEpochSettleable(uint32 epoch, uint32 asked, uint40 effectiveAt, uint40 time)
        public
        pure
    {
        uint256 word = uint256(0).withEpoch(epoch, effectiveAt);
        bool isPrevious = uint256(asked) + 1 == epoch && time < effectiveAt;
        vm.assertTrue(word.isEpochSettleable(asked, time) == (asked == epoch || isPrevious));
    }
}
