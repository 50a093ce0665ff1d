// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEscrow} from "../src/IEscrow.sol";
import {IVerified} from "../src/IVerified.sol";
import {SettledIntent} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Cancelling one nonce, an epoch, and the grace in which both still settle
contract SettlementCancelTest is MarketTest {
    function setUp() public override {
        super.setUp();
        _fund(buyer.addr, 1_000_000);
    }

    function test_cancel_bitesAfterDelay() public {
        vm.prank(buyer.addr);
        vm.expectEmit(address(settlement));
        emit IEscrow.Cancelled(buyer.addr, 1, NOW + EXIT_DELAY);
        uint256 effectiveAt = settlement.cancel(1);
        vm.assertEq(effectiveAt, NOW + EXIT_DELAY);
        vm.assertEq(settlement.cancelledAt(buyer.addr, 1), effectiveAt);

        vm.warp(effectiveAt - 1);
        _settle(_offerOf(1), _intentOf(1, _line(0, 1, 1, 1, "before")));
        _assertSettled("before");
        vm.warp(effectiveAt);
        _settle(_offerOf(1), _intentOf(1, _line(0, 1, 1, 1, "after")));
        _assertSkipped("after", IVerified.SkipReason.Cancelled);
    }

    function test_cancel_ofOffer() public {
        vm.prank(seller.addr);
        settlement.cancel(1);
        vm.warp(NOW + EXIT_DELAY);
        _settle(_offerOf(1), _intentOf(1, _line(0, 1, 1, 1, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.Cancelled);
    }

    function test_cancel_leavesNeighboursAlone() public {
        vm.prank(buyer.addr);
        settlement.cancel(6);
        vm.warp(NOW + EXIT_DELAY);
        for (uint64 nonce = 4; nonce < 8; ++nonce) {
            bytes32 fill = bytes32(uint256(nonce));
            _settle(_offerOf(1), _intentOf(nonce, _line(0, 1, 1, 1, fill)));
            if (nonce != 6) _assertSettled(fill);
            else _assertSkipped(fill, IVerified.SkipReason.Cancelled);
        }
    }

    function test_cancel_keepsCounter() public {
        _settle(_offerOf(1), _intentOf(3, _line(0, 7, 7, 7, "first")));
        vm.prank(buyer.addr);
        settlement.cancel(3);
        vm.assertEq(settlement.settledUnits(buyer.addr, 3), 7);
        _settle(_offerOf(1), _intentOf(3, _line(0, 5, 5, 5, "second")));
        vm.assertEq(settlement.settledUnits(buyer.addr, 3), 12);
        vm.warp(NOW + EXIT_DELAY);
        _settle(_offerOf(1), _intentOf(3, _line(0, 1, 1, 1, "third")));
        _assertSkipped("third", IVerified.SkipReason.Cancelled);
    }

    /// @dev Otherwise a client that repeats itself would keep its document alive.
    function test_RevertIf_cancel_twice() public {
        vm.startPrank(buyer.addr);
        settlement.cancel(1);
        vm.warp(NOW + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.SettlementAlreadyCancelled.selector, uint64(1))
        );
        settlement.cancel(1);
        vm.stopPrank();
        vm.assertEq(settlement.cancelledAt(buyer.addr, 1), NOW + EXIT_DELAY);
    }

    function testFuzz_cancel_onlyOfCaller(uint64 nonce) public {
        vm.prank(seller.addr);
        settlement.cancel(nonce);
        vm.assertEq(settlement.cancelledAt(buyer.addr, nonce), 0);
        vm.warp(NOW + EXIT_DELAY);
        _settle(_offerOf(nonce ^ 1), _intentOf(nonce, _line(0, 1, 1, 1, "fill")));
        _assertSettled("fill");
    }

    function test_cancelAll_endsEpochAfterDelay() public {
        vm.prank(buyer.addr);
        vm.expectEmit(address(settlement));
        emit IEscrow.EpochBumped(buyer.addr, 1, NOW + EXIT_DELAY);
        (uint32 epoch, uint256 effectiveAt) = settlement.cancelAll();
        vm.assertEq(epoch, 1);
        vm.assertEq(settlement.accountOf(buyer.addr).epochSettleable, 0);

        vm.warp(effectiveAt - 1);
        _settleInEpoch(0, "old, in grace");
        _assertSettled("old, in grace");
        _settleInEpoch(1, "new, in grace");
        _assertSettled("new, in grace");

        vm.warp(effectiveAt);
        vm.assertEq(settlement.accountOf(buyer.addr).epochSettleable, 1);
        _settleInEpoch(0, "old");
        _assertSkipped("old", IVerified.SkipReason.EpochEnded);
        _settleInEpoch(1, "new");
        _assertSettled("new");
    }

    function test_settle_skipsFutureEpoch() public {
        _settleInEpoch(1, "future");
        _assertSkipped("future", IVerified.SkipReason.EpochEnded);
        vm.prank(buyer.addr);
        settlement.cancelAll();
        _settleInEpoch(2, "still future");
        _assertSkipped("still future", IVerified.SkipReason.EpochEnded);
    }

    function test_cancelAll_endsOffers() public {
        vm.prank(seller.addr);
        settlement.cancelAll();
        vm.warp(NOW + EXIT_DELAY);
        _settle(_offerOf(1), _intentOf(1, _line(0, 1, 1, 1, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.EpochEnded);
    }

    function test_RevertIf_cancelAll_whilePending() public {
        vm.startPrank(buyer.addr);
        settlement.cancelAll();
        vm.warp(NOW + EXIT_DELAY - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.SettlementEpochPending.selector, NOW + EXIT_DELAY)
        );
        settlement.cancelAll();
        vm.warp(NOW + EXIT_DELAY);
        (uint32 epoch,) = settlement.cancelAll();
        vm.stopPrank();
        vm.assertEq(epoch, 2);
    }

    function test_cancelAll_keepsBalance() public {
        vm.prank(buyer.addr);
        settlement.cancelAll();
        vm.assertEq(_balance(buyer.addr), 1_000_000);
    }

    function _settleInEpoch(uint32 epoch, bytes32 fill) private {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.epoch = epoch;
        intent.lines = _list(_line(0, 1, 1, 1, fill));
        _settle(_offerOf(1), _signed(intent, buyer));
    }
}
