// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AccountWord} from "../src/AccountWord.sol";
import {Test} from "./Test.sol";

/// @dev Library calls of its own, for reverts to be seen.
contract AccountWordHarness {
    function withNextEpoch(uint256 word) external pure returns (uint256) {
        return AccountWord.withNextEpoch(word);
    }

    function withNextSessionEpoch(uint256 word) external pure returns (uint256) {
        return AccountWord.withNextSessionEpoch(word);
    }
}

/// @title The packed words of the ledger
contract AccountWordTest is Test {
    using AccountWord for uint256;

    uint256 private constant SPARE = uint256(0xffffff) << 232;

    AccountWordHarness private _harness = new AccountWordHarness();

    /// @dev All fields of the ledger's word, and the spare bits, are where they were put.
    function testFuzz_ledgerFieldsAreIndependent(
        uint72 balance,
        uint64 spent,
        uint32 uncovered,
        uint32 epoch,
        uint24 sessionEpoch,
        bool isCapped,
        bool isClaimed
    ) public pure {
        uint256 word = _word(balance, spent, uncovered, epoch, sessionEpoch);
        word = word.withFlag(AccountWord.ROOT_CAPPED, isCapped);
        word = word.withFlag(AccountWord.CLAIMED, isClaimed);
        vm.assertEq(word.balanceOf(), balance);
        vm.assertEq(word.spentOf(), spent);
        vm.assertEq(word.uncoveredOf(), uncovered);
        vm.assertEq(word.epochOf(), epoch);
        vm.assertEq(word.sessionEpochOf(), sessionEpoch);
        vm.assertTrue(word.has(AccountWord.ROOT_CAPPED) == isCapped);
        vm.assertTrue(word.has(AccountWord.CLAIMED) == isClaimed);
        vm.assertEq(word & SPARE, SPARE);
    }

    /// @dev A receipt moves money to `spent`, covers what was attested and ends a claim; nothing else.
    function testFuzz_withReceipt(uint72 balance, uint64 spent, uint32 uncovered, uint64 amount)
        public
        pure
    {
        amount = uint64(_bound(amount, 0, type(uint64).max - spent));
        balance = uint72(_bound(balance, amount, type(uint72).max));
        uint256 word =
            _word(balance, spent, uncovered, 7, 9) | AccountWord.CLAIMED | AccountWord.ROOT_CAPPED;
        vm.assertEq(
            word.withReceipt(amount),
            _word(balance - amount, spent + amount, 0, 7, 9) | AccountWord.ROOT_CAPPED
        );
    }

    /// @dev An attestation moves money to `spent` and counts it as uncovered; nothing else.
    function testFuzz_withAttested(uint72 balance, uint64 spent, uint32 uncovered, uint32 amount)
        public
        pure
    {
        amount = uint32(_bound(amount, 0, type(uint32).max - uncovered));
        spent = uint64(_bound(spent, 0, type(uint64).max - amount));
        balance = uint72(_bound(balance, amount, type(uint72).max));
        uint256 word = _word(balance, spent, uncovered, 7, 9) | AccountWord.ROOT_CAPPED;
        vm.assertEq(
            word.withAttested(amount),
            _word(balance - amount, spent + amount, uncovered + amount, 7, 9)
                | AccountWord.ROOT_CAPPED
        );
    }

    /// @dev Each epoch grows by one and moves nothing else.
    function testFuzz_epochsGrowAlone(uint72 balance, uint32 epoch, uint24 sessionEpoch)
        public
        pure
    {
        epoch = uint32(_bound(epoch, 0, type(uint32).max - 1));
        sessionEpoch = uint24(_bound(sessionEpoch, 0, type(uint24).max - 1));
        uint256 word = _word(balance, 5, 6, epoch, sessionEpoch);
        vm.assertEq(word.withNextEpoch(), _word(balance, 5, 6, epoch + 1, sessionEpoch));
        vm.assertEq(word.withNextSessionEpoch(), _word(balance, 5, 6, epoch, sessionEpoch + 1));
    }

    /// @dev An epoch that began again at 0 would revive what it had ended.
    function test_RevertIf_anEpochIsUsedUp() public {
        uint256 word = _word(1, 2, 3, type(uint32).max, type(uint24).max);
        vm.expectRevert();
        _harness.withNextEpoch(word);
        vm.expectRevert();
        _harness.withNextSessionEpoch(word);
    }

    /// @dev The exit word's fields are where they were put.
    function testFuzz_exitFieldsAreIndependent(
        uint72 withdrawing,
        uint40 withdrawableAt,
        uint40 epochEffectiveAt
    ) public pure {
        uint256 exit = uint256(0).withWithdrawal(type(uint72).max, type(uint40).max)
            .withEpochEffectiveAt(epochEffectiveAt).withWithdrawal(withdrawing, withdrawableAt);
        vm.assertEq(exit.withdrawingOf(), withdrawing);
        vm.assertEq(exit.withdrawableAtOf(), withdrawableAt);
        vm.assertEq(exit.epochEffectiveAtOf(), epochEffectiveAt);
        vm.assertEq(exit.withWithdrawal(0, 0).withEpochEffectiveAt(0), 0);
    }

    /// @dev Written by shifts of its own, with ones in the spare bits.
    function _word(
        uint72 balance,
        uint64 spent,
        uint32 uncovered,
        uint32 epoch,
        uint24 sessionEpoch
    ) private pure returns (uint256) {
        return uint256(
            bytes32(
                abi.encodePacked(
                    uint24(0xffffff), uint8(0), sessionEpoch, epoch, uncovered, spent, balance
                )
            )
        );
    }
}
