// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "../src/BatchReader.sol";
import {IVerified} from "../src/IVerified.sol";
import {AwardTest} from "./AwardTest.sol";
import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";

/// @title Fills that an auction awarded: what the solver gets of them, and awards that award nothing
contract SettlementAwardTest is AwardTest {
    // ------------------------------------------------------------------ what settles

    function test_settle_paysTheSolver() public {
        _settleAwarded(_line(1, 10, 10, 18, FILL));
        _assertSettled(FILL);
        _assertBalances(18, 5);
    }

    /// @dev Pro rata, both rounded down: floor(7 * 1.8) = 12, floor(7 * 0.5) = 3.
    function test_settle_paysForWhatWasDelivered() public {
        _settleAwarded(_line(1, 10, 7, 12, FILL));
        _assertSettled(FILL);
        _assertBalances(12, 3);
    }

    function test_settle_paysNobodyForNothing() public {
        _settleAwarded(_line(1, 10, 0, 0, FILL));
        _assertSettled(FILL);
        _assertBalances(0, 0);
    }

    /// @dev Whatever the prices: the buyer pays within its limit, the seller gets its limit, nothing is lost.
    function testFuzz_settle_keepsLimits(uint64 tick, uint64 charge, uint64 delivered) public {
        tick = uint64(_bound(tick, 0, 3_000_000));
        charge = uint64(_bound(charge, 0, 3_000_000));
        delivered = uint64(_bound(delivered, 0, 10));
        AwardedFill memory fill = _fill();
        (fill.tick, fill.charge) = (tick, charge);
        uint96 payment = uint96(uint256(delivered) * tick / 1_000_000);
        uint256 reward = uint256(delivered) * charge / 1_000_000;
        _settleAwarded(_one(fill), _line(1, 10, delivered, payment, FILL));
        bool isWithin = uint256(payment) <= 2 * uint256(delivered)
            && payment >= uint256(delivered) * (1_000_000 + uint256(charge)) / 1_000_000;
        vm.assertTrue((outcomes[FILL] == Outcome.Settled) == isWithin);
        if (isWithin) vm.assertTrue(payment - reward >= delivered);
        _assertBalances(isWithin ? payment : 0, isWithin ? reward : 0);
    }

    function test_settle_provesEachFillOfALargerSolution() public {
        AwardedFill[] memory fills = new AwardedFill[](5);
        Line[] memory lines = new Line[](5);
        for (uint16 i = 0; i < 5; ++i) {
            fills[i] = _fill();
            fills[i].units = 10 + i;
            lines[i] = _line(1 + i, 10, 10, 18, bytes32(uint256(i) + 1));
        }
        _settleAwarded(_signedAward(fills), fills, lines);
        _assertBalances(90, 25);
    }

    /// @dev Beside a line of the same offer that nobody awarded.
    function test_settle_countsOfferOnce() public {
        Line[] memory lines =
            _list(_line(1, 10, 10, 18, FILL), _line(0, 10, 10, 12, bytes32("plain")));
        _settleAwarded(_signedAward(_one(_fill())), _one(_fill()), lines);
        _assertSettled(FILL);
        _assertSettled("plain");
        _assertBalances(30, 5);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 20);
    }

    function test_settle_paysUnderAMandate() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 100), buyer);
        mandate.lines = _list(_line(1, 10, 10, 18, FILL));
        AwardedFill memory fill = _fill();
        fill.buyerNonce = 7;
        SettledMandate[] memory mandates = _list(mandate);
        _submit(_signedAward(_one(fill)), _one(fill), new SettledIntent[](0), mandates);
        _assertSettled(FILL);
        _assertBalances(18, 5);
    }

    function test_settle_takesAwardInItsLastBlock() public {
        vm.roll(DEADLINE);
        _settleAwarded(_line(1, 10, 10, 18, FILL));
        _assertSettled(FILL);
    }

    function test_settle_emitsReward() public {
        AwardedFill[] memory fills = _one(_fill());
        SettledIntent[] memory intents = _list(_intentOf(1, _line(1, 10, 10, 18, FILL)));
        bytes memory batch = _encode(_signedAward(fills), fills, intents);
        vm.expectEmit(address(settlement));
        emit IVerified.RewardPaid(3, solver.addr, seller.addr, 5);
        vm.prank(address(operator));
        settlement.settle(0, "batch", batch);
    }

    // ------------------------------------------------------------------ what does not

    function test_settle_skipsPastDeadlineBlock() public {
        vm.roll(DEADLINE + 1);
        _assertRefused(_one(_fill()), IVerified.SkipReason.AwardExpired);
    }

    function test_settle_skipsForAnotherSolver() public {
        SignedAward memory award = _signedAward(_one(_fill()));
        award.solver = seller.addr;
        _assertRefused(award, _one(_fill()), IVerified.SkipReason.AwardRefused);
    }

    function test_settle_skipsForAnotherAuction() public {
        SignedAward memory award = _signedAward(_one(_fill()));
        award.auction += 1;
        _assertRefused(award, _one(_fill()), IVerified.SkipReason.AwardRefused);
    }

    function test_settle_skipsWithLaterDeadline() public {
        SignedAward memory award = _signedAward(_one(_fill()));
        award.deadlineBlock += 1;
        _assertRefused(award, _one(_fill()), IVerified.SkipReason.AwardRefused);
    }

    /// @dev The key that may settle, a buyer and a solver can sign no award.
    function test_settle_skipsAwardOfAnyoneElse() public {
        Party[3] memory others = [operatorKey, buyer, solver];
        for (uint256 i = 0; i < others.length; ++i) {
            for (uint8 authority = 0; authority < 4; ++authority) {
                SignedAward memory award = _award(_one(_fill()));
                award.authority = authority;
                award.signature = _sign(others[i], Awards.digestOf(award, settlement));
                _assertRefused(award, _one(_fill()), IVerified.SkipReason.AwardRefused);
            }
        }
    }

    function test_settle_skipsUnsignedAward() public {
        SignedAward memory award = _award(_one(_fill()));
        _assertRefused(award, _one(_fill()), IVerified.SkipReason.AwardRefused);
    }

    /// @dev Whatever a leaf says counts: units, prices and both documents.
    function test_settle_skipsFillThatIsNotInTheSolution() public {
        SignedAward memory award = _signedAward(_one(_fill()));
        AwardedFill[3] memory others = [_fill(), _fill(), _fill()];
        others[0].units += 1;
        others[1].tick += 1;
        others[2].charge += 1;
        for (uint256 i = 0; i < others.length; ++i) {
            _assertRefused(award, _one(others[i]), IVerified.SkipReason.AwardMismatch);
        }
    }

    function test_settle_skipsFillOfOtherDocuments() public {
        AwardedFill[4] memory others = [_fill(), _fill(), _fill(), _fill()];
        others[0].buyer = solver.addr;
        others[1].buyerNonce += 1;
        others[2].seller = solver.addr;
        others[3].sellerNonce += 1;
        for (uint256 i = 0; i < others.length; ++i) {
            _assertRefused(
                _signedAward(_one(others[i])), _one(others[i]), IVerified.SkipReason.AwardMismatch
            );
        }
    }

    function test_settle_skipsMoreUnitsThanAwarded() public {
        _settleAwarded(_line(1, 11, 11, 19, FILL));
        _assertSkipped(FILL, IVerified.SkipReason.UnitsOverfilled);
        _assertBalances(0, 0);
    }

    /// @dev A fill has one line in a batch: two halves could round to more than the whole.
    function test_settle_skipsSecondLineOfAFill() public {
        Line[] memory lines = _list(_line(1, 5, 5, 9, FILL), _line(1, 5, 5, 9, bytes32("second")));
        _settleAwarded(_signedAward(_one(_fill())), _one(_fill()), lines);
        _assertSettled(FILL);
        _assertSkipped("second", IVerified.SkipReason.AwardMismatch);
        _assertBalances(9, 2);
    }

    function test_settle_skipsAtAnotherPrice() public {
        _settleAwarded(_line(1, 10, 10, 19, FILL));
        _assertSkipped(FILL, IVerified.SkipReason.AwardMismatch);
        _settleAwarded(_line(1, 10, 10, 17, FILL));
        _assertSkipped(FILL, IVerified.SkipReason.AwardMismatch);
        _assertBalances(0, 0);
    }

    /// @dev An award widens no limit: beyond the buyer's 2, or leaving the seller less than 1.
    function test_settle_skipsBeyondLimits() public {
        AwardedFill[] memory fills = _one(_fill());
        fills[0].tick = 2_100_000;
        _settleAwarded(fills, _line(1, 10, 10, 21, FILL));
        _assertSkipped(FILL, IVerified.SkipReason.PriceAboveLimit);
        fills[0].tick = 1_800_000;
        fills[0].charge = 900_000;
        _settleAwarded(fills, _line(1, 10, 10, 18, FILL));
        _assertSkipped(FILL, IVerified.SkipReason.PriceBelowLimit);
        _assertBalances(0, 0);
    }

    /// @dev What is wrong with the offer is so of its awarded fills.
    function test_settle_skipsFillOfBadOffer() public {
        SettledOffer memory offer = _offer(seller.addr, 1, 1000, 1000);
        offer.signature = _sign(buyer, Batch.digestOf(offer, settlement));
        AwardedFill[] memory fills = _one(_fill());
        bytes memory batch = Batch.encode(
            _list(offer),
            _list(_intentOf(1, _line(1, 10, 10, 18, FILL))),
            new SettledMandate[](0),
            1,
            Awards.encode(_signedAward(fills), fills)
        );
        _run(batch);
        _assertSkipped(FILL, IVerified.SkipReason.BadSignature);
    }

    /// @dev A bad award takes nothing with it.
    function test_settle_settlesBesideBadAward() public {
        SignedAward memory award = _award(_one(_fill()));
        Line[] memory lines =
            _list(_line(1, 10, 10, 18, FILL), _line(0, 10, 10, 12, bytes32("plain")));
        _settleAwarded(award, _one(_fill()), lines);
        _assertSkipped(FILL, IVerified.SkipReason.AwardRefused);
        _assertSettled("plain");
        _assertBalances(12, 0);
    }

    /// @dev Fills that fell with their intent's minimum pay no reward, and give their units back.
    function test_settle_releasesAwardedFill() public {
        SettledIntent memory whole = _intent(buyer.addr, 1, 100, 200);
        whole.unitsMin = 50;
        whole = _signed(whole, buyer);
        whole.lines = _list(_line(1, 10, 10, 18, FILL));
        AwardedFill[] memory fills = _one(_fill());
        _submit(_signedAward(fills), fills, _list(whole), new SettledMandate[](0));
        _assertSkipped(FILL, IVerified.SkipReason.UnitsBelowMinimum);
        _assertBalances(0, 0);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 0);
    }

    // ------------------------------------------------------------------ what reverts

    function test_RevertIf_fillsAreMiscounted() public {
        AwardedFill[] memory fills = _one(_fill());
        bytes memory batch = Batch.encode(
            _list(_offerOf(1)),
            new SettledIntent[](0),
            new SettledMandate[](0),
            2,
            Awards.encode(_signedAward(fills), fills)
        );
        vm.expectRevert(BatchReader.BatchMalformed.selector);
        vm.prank(address(operator));
        settlement.settle(0, "batch", batch);
    }

    /// @dev A fill of no offer, or of itself.
    function test_RevertIf_fillNamesNoOffer() public {
        AwardedFill[] memory fills = _one(_fill());
        fills[0].offer = 1;
        bytes memory batch = _encode(_signedAward(fills), fills, new SettledIntent[](0));
        vm.expectRevert(BatchReader.BatchMalformed.selector);
        vm.prank(address(operator));
        settlement.settle(0, "batch", batch);
    }

    /// @dev Two fills of one offer beyond what it has: the operator sold the same units twice.
    function test_RevertIf_fillsOversellOffer() public {
        SettledOffer memory offer = _signed(_offer(seller.addr, 1, 15, 15), seller);
        AwardedFill[] memory fills = new AwardedFill[](2);
        (fills[0], fills[1]) = (_fill(), _fill());
        SettledIntent memory intent = _intentOf(1, _line(1, 10, 10, 18, FILL));
        intent.lines = _list(_line(1, 10, 10, 18, FILL), _line(2, 10, 10, 18, "second"));
        bytes memory batch = Batch.encode(
            _list(offer),
            _list(intent),
            new SettledMandate[](0),
            2,
            Awards.encode(_signedAward(fills), fills)
        );
        vm.expectRevert(
            abi.encodeWithSelector(IVerified.BatchNonceShared.selector, seller.addr, uint64(1))
        );
        vm.prank(address(operator));
        settlement.settle(0, "batch", batch);
    }

    // ------------------------------------------------------------------ private

    function _assertRefused(AwardedFill[] memory fills, IVerified.SkipReason reason) private {
        _assertRefused(_signedAward(fills), fills, reason);
    }

    function _assertRefused(
        SignedAward memory award,
        AwardedFill[] memory fills,
        IVerified.SkipReason reason
    ) private {
        uint256 paid = fills[0].tick * 10 / 1_000_000;
        _settleAwarded(award, fills, _list(_line(1, 10, 10, uint96(paid), FILL)));
        _assertSkipped(FILL, reason);
        _assertBalances(0, 0);
    }
}
