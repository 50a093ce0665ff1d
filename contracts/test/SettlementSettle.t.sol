// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "../src/BatchReader.sol";
import {ILedger} from "../src/ILedger.sol";
import {IVerified} from "../src/IVerified.sol";
import {Batch, Line, SettledIntent, SettledOffer} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";
import {Vm} from "./Vm.sol";

/// @title Every way in which a line settles or is skipped
contract SettlementSettleTest is MarketTest {
    uint256 private constant FUNDS = 1_000_000;
    uint64 private constant LANE_MAX = (1 << 63) - 1;

    function setUp() public override {
        super.setUp();
        _fund(buyer.addr, FUNDS);
    }

    // ------------------------------------------------------------------ what settles

    function test_settle_movesMoneyAndCounts() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 50, 40, 60, "fill"));
        bytes memory batch = Batch.encode(_list(_offerOf(2)), _list(intent));
        bytes memory packed = abi.encodePacked(uint32(0), uint64(50), uint64(40), uint96(60));
        uint256 amounts = uint256(bytes32(packed));
        vm.expectEmit(address(settlement));
        emit IVerified.FillSettled("fill", buyer.addr, seller.addr, amounts);
        vm.expectEmit(address(settlement));
        emit IVerified.BatchSettled(7, "hash", 60, 1, 0);
        vm.prank(address(operator));
        uint256 paid = settlement.settle(7, "hash", batch);
        vm.assertEq(paid, 60);
        vm.assertEq(_balance(buyer.addr), FUNDS - 60);
        vm.assertEq(_balance(seller.addr), 60);
        vm.assertEq(settlement.settledUnits(buyer.addr, 1), 50);
        vm.assertEq(settlement.settledUnits(seller.addr, 2), 40);
        vm.assertTrue(settlement.isBatchSettled(7));
    }

    function test_settle_nothingDeliveredCostsNothing() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 50, 0, 0, "fill")));
        _assertSettled("fill");
        vm.assertEq(_balance(buyer.addr), FUNDS);
        vm.assertEq(settlement.settledUnits(buyer.addr, 1), 50);
    }

    function test_settle_emptyBatch() public {
        vm.assertEq(_settle(new SettledOffer[](0), new SettledIntent[](0)), 0);
    }

    function test_settle_netsSellersOfSeveralBuyers() public {
        Party memory other = _party("other buyer");
        _fund(other.addr, 500);
        SettledIntent memory second = _intent(other.addr, 1, 10, 100);
        second.lines = _list(_line(0, 10, 10, 90, "second"));
        _settle(
            _list(_offerOf(1)),
            _list(_intentOf(1, _line(0, 20, 20, 30, "first")), _signed(second, other))
        );
        _assertSettled("first");
        _assertSettled("second");
        vm.assertEq(_balance(seller.addr), 120);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 30);
    }

    function test_settle_severalOffersOfOneSeller() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.lines = _list(_line(0, 30, 30, 40, "a"), _line(1, 20, 20, 30, "b"));
        _settle(_list(_offerOf(4), _offerOf(5)), _list(_signed(intent, buyer)));
        vm.assertEq(_balance(seller.addr), 70);
        vm.assertEq(settlement.settledUnits(seller.addr, 4), 30);
        vm.assertEq(settlement.settledUnits(seller.addr, 5), 20);
        vm.assertEq(settlement.settledUnits(buyer.addr, 1), 50);
    }

    /// @dev One account on both sides of a batch, its documents' counters in one word.
    function test_settle_sellerWhoBuys() public {
        _fund(seller.addr, 1000);
        Party memory third = _party("third");
        SettledOffer memory offer = _signed(_offer(third.addr, 1, 100, 100), third);
        SettledIntent memory buys = _intent(seller.addr, 9, 100, 200);
        SettledOffer[] memory offers = _list(offer, _offerOf(8));
        uint16 ofThird = offers[0].account == third.addr ? 0 : 1;
        buys.lines = _list(_line(ofThird, 10, 10, 15, "buys"));
        _settle(
            offers,
            _list(_intentOf(1, _line(1 - ofThird, 20, 20, 30, "sells")), _signed(buys, seller))
        );
        _assertSettled("buys");
        _assertSettled("sells");
        vm.assertEq(_balance(seller.addr), 1000 + 30 - 15);
        vm.assertEq(_balance(third.addr), 15);
        vm.assertEq(settlement.settledUnits(seller.addr, 8), 20);
        vm.assertEq(settlement.settledUnits(seller.addr, 9), 10);
    }

    /// @dev Sellers are credited at the end: what is earned in a batch is not there to be spent.
    function test_settle_earningsAreNotSpentInTheirBatch() public {
        Party memory third = _party("third");
        SettledOffer memory offer = _signed(_offer(third.addr, 1, 100, 100), third);
        SettledIntent memory buys = _intent(seller.addr, 9, 100, 200);
        SettledOffer[] memory offers = _list(offer, _offerOf(8));
        uint16 ofThird = offers[0].account == third.addr ? 0 : 1;
        buys.lines = _list(_line(ofThird, 10, 10, 15, "buys"));
        _settle(
            offers,
            _list(_intentOf(1, _line(1 - ofThird, 20, 20, 30, "sells")), _signed(buys, seller))
        );
        _assertSettled("sells");
        _assertSkipped("buys", IVerified.SkipReason.InsufficientBalance);
    }

    /// @dev As many lines as a record can hold.
    function test_settle_255Lines() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 1000, 1000);
        intent.lines = new Line[](255);
        for (uint256 i = 0; i < 255; ++i) {
            intent.lines[i] = _line(0, 1, 1, 1, bytes32(i + 1));
        }
        vm.assertEq(_settle(_offerOf(1), _signed(intent, buyer)), 255);
        _assertSettled(bytes32(uint256(255)));
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 255);
    }

    // ------------------------------------------------------------------ who and which batch

    function testFuzz_RevertIf_settle_notOperator(address caller) public {
        vm.assume(caller != address(operator));
        bytes memory batch = Batch.encode(new SettledOffer[](0), new SettledIntent[](0));
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(ILedger.SettlementCallerNotOperator.selector, caller)
        );
        settlement.settle(0, 0, batch);
    }

    function testFuzz_RevertIf_settle_numberTwice(uint64 number) public {
        bytes memory batch = Batch.encode(new SettledOffer[](0), new SettledIntent[](0));
        vm.assertFalse(settlement.isBatchSettled(number));
        vm.startPrank(address(operator));
        settlement.settle(number, 0, batch);
        settlement.settle(number ^ 1, 0, batch);
        vm.expectRevert(abi.encodeWithSelector(IVerified.BatchAlreadySettled.selector, number));
        settlement.settle(number, 0, batch);
        vm.stopPrank();
        vm.assertTrue(settlement.isBatchSettled(number));
    }

    // ------------------------------------------------------------------ layout

    function test_RevertIf_settle_truncated() public {
        bytes memory batch =
            Batch.encode(_list(_offerOf(1)), _list(_intentOf(1, _line(0, 1, 1, 1, "fill"))));
        for (uint256 cut = 1; cut <= 10; ++cut) {
            assembly {
                mstore(batch, sub(mload(batch), 1))
            }
            vm.prank(address(operator));
            vm.expectRevert(BatchReader.BatchMalformed.selector);
            settlement.settle(0, 0, batch);
        }
    }

    function test_RevertIf_settle_tooLong() public {
        bytes memory batch = Batch.encode(new SettledOffer[](0), new SettledIntent[](0));
        vm.prank(address(operator));
        vm.expectRevert(BatchReader.BatchMalformed.selector);
        settlement.settle(0, 0, bytes.concat(batch, hex"00"));
    }

    function test_RevertIf_settle_unknownResource() public {
        SettledOffer memory offer = _offerOf(1);
        bytes32[] memory resources = new bytes32[](1);
        resources[0] = RESOURCE;
        bytes memory batch =
            abi.encodePacked(uint16(0), uint16(1), Batch.encode(offer, resources), uint16(0));
        vm.prank(address(operator));
        vm.expectRevert(BatchReader.BatchMalformed.selector);
        settlement.settle(0, 0, batch);
    }

    /// @dev Any bytes are either a batch or an error: nothing moves.
    function testFuzz_settle_garbageMovesNothing(bytes calldata garbage) public {
        vm.prank(address(operator));
        try settlement.settle(0, 0, garbage) returns (uint256 paid) {
            vm.assertEq(paid, 0);
        } catch {}
        vm.assertEq(_balance(buyer.addr), FUNDS);
    }

    function test_RevertIf_settle_offersUnsorted() public {
        SettledOffer[] memory offers = _list(_offerOf(4), _offerOf(5));
        (offers[0], offers[1]) = (offers[1], offers[0]);
        _expectUnsorted(offers);
    }

    /// @dev Twice in the list, an offer could be filled twice over.
    function test_RevertIf_settle_offerListedTwice() public {
        _expectUnsorted(_list(_offerOf(4), _offerOf(4)));
    }

    function test_RevertIf_settle_nonceSharedAndOverfilled() public {
        _fund(seller.addr, 1000);
        Party memory third = _party("third");
        SettledOffer memory shared = _signed(_offer(seller.addr, 9, 50, 50), seller);
        SettledOffer memory other = _signed(_offer(third.addr, 1, 100, 100), third);
        SettledOffer[] memory offers = _list(shared, other);
        uint16 ofSeller = offers[0].account == seller.addr ? 0 : 1;
        SettledIntent memory buys = _intent(seller.addr, 9, 100, 200);
        buys.lines = _list(_line(1 - ofSeller, 40, 40, 60, "buys"));
        SettledIntent[] memory intents =
            _list(_intentOf(1, _line(ofSeller, 20, 20, 30, "sells")), _signed(buys, seller));
        bytes memory batch = Batch.encode(offers, intents);
        vm.prank(address(operator));
        vm.expectRevert(
            abi.encodeWithSelector(IVerified.BatchNonceShared.selector, seller.addr, uint64(9))
        );
        settlement.settle(0, 0, batch);
    }

    // ------------------------------------------------------------------ skip reasons

    function test_settle_skipsUnknownOffer() public {
        _settle(_offerOf(1), _intentOf(1, _line(1, 1, 1, 1, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.UnknownOffer);
    }

    function test_settle_skipsResourceMismatch() public {
        SettledOffer memory offer = _offer(seller.addr, 1, 1000, 1000);
        offer.resource = keccak256("another");
        _settle(_signed(offer, seller), _intentOf(1, _line(0, 1, 1, 1, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.ResourceMismatch);
    }

    function test_settle_skipsSelfMatch() public {
        SettledOffer memory offer = _signed(_offer(buyer.addr, 2, 1000, 1000), buyer);
        _settle(offer, _intentOf(1, _line(0, 1, 1, 1, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.SelfMatch);
    }

    function test_settle_skipsNotYetValid() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.validFrom = NOW + 1;
        intent.lines = _list(_line(0, 1, 1, 1, "intent"));
        _settle(_offerOf(1), _signed(intent, buyer));
        _assertSkipped("intent", IVerified.SkipReason.NotYetValid);

        SettledOffer memory offer = _offer(seller.addr, 1, 100, 100);
        offer.validFrom = NOW + 1;
        _settle(_signed(offer, seller), _intentOf(1, _line(0, 1, 1, 1, "offer")));
        _assertSkipped("offer", IVerified.SkipReason.NotYetValid);
        vm.warp(NOW + 1);
        _settle(_signed(offer, seller), _intentOf(1, _line(0, 1, 1, 1, "now")));
        _assertSettled("now");
    }

    function test_settle_skipsExpired() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.validUntil = NOW + 10;
        vm.warp(NOW + 10 + EXIT_DELAY);
        intent.lines = _list(_line(0, 1, 1, 1, "in grace"));
        _settle(_offerOf(1), _signed(intent, buyer));
        _assertSettled("in grace");
        vm.warp(NOW + 11 + EXIT_DELAY);
        intent.lines = _list(_line(0, 1, 1, 1, "intent"));
        _settle(_offerOf(1), intent);
        _assertSkipped("intent", IVerified.SkipReason.Expired);

        SettledOffer memory offer = _offer(seller.addr, 1, 100, 100);
        offer.validUntil = NOW + 10;
        _settle(_signed(offer, seller), _intentOf(1, _line(0, 1, 1, 1, "offer")));
        _assertSkipped("offer", IVerified.SkipReason.Expired);
    }

    function test_settle_skipsBadSignature() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.lines = _list(_line(0, 1, 1, 1, "intent"));
        _settle(_offerOf(1), _signed(intent, seller));
        _assertSkipped("intent", IVerified.SkipReason.BadSignature);

        SettledOffer memory offer = _offer(seller.addr, 1, 1000, 1000);
        _settle(_signed(offer, buyer), _intentOf(1, _line(0, 1, 1, 1, "offer")));
        _assertSkipped("offer", IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsUnknownAuthority() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "intent"));
        intent.authority = 3;
        _settle(_offerOf(1), intent);
        _assertSkipped("intent", IVerified.SkipReason.BadSignature);
        SettledOffer memory offer = _offerOf(1);
        offer.authority = 255;
        _settle(offer, _intentOf(1, _line(0, 1, 1, 1, "offer")));
        _assertSkipped("offer", IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsUnitsZero() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 0, 0, 0, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.UnitsZero);
    }

    function test_settle_skipsOverfilledIntent() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 60, 60, 60, "first")));
        _settle(_offerOf(1), _intentOf(1, _line(0, 41, 41, 41, "too much")));
        _assertSkipped("too much", IVerified.SkipReason.UnitsOverfilled);
        _settle(_offerOf(1), _intentOf(1, _line(0, 40, 40, 40, "the rest")));
        _assertSettled("the rest");
        _settle(_offerOf(1), _intentOf(1, _line(0, 1, 1, 1, "none left")));
        _assertSkipped("none left", IVerified.SkipReason.UnitsOverfilled);
    }

    function test_settle_skipsOverfilledOffer() public {
        SettledOffer memory offer = _signed(_offer(seller.addr, 1, 50, 50), seller);
        _settle(offer, _intentOf(1, _line(0, 30, 30, 30, "first")));
        _settle(offer, _intentOf(2, _line(0, 21, 21, 21, "too much")));
        _assertSkipped("too much", IVerified.SkipReason.UnitsOverfilled);
        _settle(offer, _intentOf(2, _line(0, 20, 20, 20, "the rest")));
        _assertSettled("the rest");
    }

    /// @dev A minimum is met by what an intent fills; what its buyer then leaves unused, its seller sells
    /// again. Where an offer is sold out, nothing can be delivered, and nothing is no harm.
    function test_settle_offerCountsWhatWasDelivered() public {
        SettledOffer memory offer = _signed(_offer(seller.addr, 1, 50, 50), seller);
        SettledIntent memory least = _intent(buyer.addr, 1, 50, 100);
        least.unitsMin = 50;
        least.lines = _list(_line(0, 50, 20, 20, "least"));
        _settle(offer, _signed(least, buyer));
        _assertSettled("least");
        vm.assertEq(settlement.settledUnits(buyer.addr, 1), 50);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 20);

        _settle(offer, _intentOf(2, _line(0, 50, 31, 31, "too much")));
        _assertSkipped("too much", IVerified.SkipReason.UnitsOverfilled);
        _settle(offer, _intentOf(2, _line(0, 50, 30, 30, "the rest")));
        _assertSettled("the rest");
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 50);
        _settle(offer, _intentOf(3, _line(0, 1, 1, 1, "one more")));
        _assertSkipped("one more", IVerified.SkipReason.UnitsOverfilled);
        _settle(offer, _intentOf(3, _line(0, 1, 0, 0, "nothing")));
        _assertSettled("nothing");
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 50);
    }

    function test_settle_countsLinesOfOneBatchTogether() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.lines = _list(_line(0, 60, 60, 60, "first"), _line(0, 41, 41, 41, "second"));
        _settle(_offerOf(1), _signed(intent, buyer));
        _assertSettled("first");
        _assertSkipped("second", IVerified.SkipReason.UnitsOverfilled);

        SettledOffer memory offer = _signed(_offer(seller.addr, 2, 50, 50), seller);
        _settle(
            _list(offer),
            _list(
                _intentOf(2, _line(0, 30, 30, 30, "third")),
                _intentOf(3, _line(0, 21, 21, 21, "fourth"))
            )
        );
        _assertSettled("third");
        _assertSkipped("fourth", IVerified.SkipReason.UnitsOverfilled);
    }

    /// @dev The whole width of a counter, without touching its flag or a neighbour.
    function test_settle_fillsTheWholeLane() public {
        SettledIntent memory intent = _intent(buyer.addr, 5, type(uint64).max, 0);
        SettledOffer memory offer = _signed(_offer(seller.addr, 5, type(uint64).max, 0), seller);
        intent.lines = _list(_line(0, LANE_MAX, 0, 0, "all"), _line(0, 1, 0, 0, "one more"));
        _settle(offer, _signed(intent, buyer));
        _assertSettled("all");
        _assertSkipped("one more", IVerified.SkipReason.UnitsOverfilled);
        vm.assertEq(settlement.settledUnits(buyer.addr, 5), LANE_MAX);
        for (uint64 nonce = 4; nonce < 8; ++nonce) {
            if (nonce != 5) vm.assertEq(settlement.settledUnits(buyer.addr, nonce), 0);
            vm.assertEq(settlement.cancelledAt(buyer.addr, nonce), 0);
        }
        vm.prank(buyer.addr);
        settlement.cancel(5);
        intent.lines = _list(_line(0, 1, 0, 0, "after"));
        _settle(offer, intent);
        _assertSkipped("after", IVerified.SkipReason.UnitsOverfilled);
    }

    function test_settle_skipsDeliveredAboveUnits() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 10, 11, 11, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.DeliveredAboveUnits);
    }

    function test_settle_skipsPriceAboveLimit() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 10, 10, 21, "above")));
        _assertSkipped("above", IVerified.SkipReason.PriceAboveLimit);
        _settle(_offerOf(1), _intentOf(1, _line(0, 10, 10, 20, "at")));
        _assertSettled("at");
    }

    /// @dev What was committed but not delivered does not raise the price of what was.
    function test_settle_skipsPriceAboveLimitOfDelivered() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 10, 5, 11, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.PriceAboveLimit);
    }

    function test_settle_skipsPriceBelowLimit() public {
        _settle(_offerOf(1), _intentOf(1, _line(0, 10, 10, 9, "below")));
        _assertSkipped("below", IVerified.SkipReason.PriceBelowLimit);
        _settle(_offerOf(1), _intentOf(1, _line(0, 10, 10, 10, "at")));
        _assertSettled("at");
    }

    function test_settle_skipsInsufficientBalance() public {
        Party memory poor = _party("poor");
        _fund(poor.addr, 25);
        SettledIntent memory intent = _intent(poor.addr, 1, 100, 200);
        intent.lines = new Line[](3);
        intent.lines[0] = _line(0, 10, 10, 15, "first");
        intent.lines[1] = _line(0, 10, 10, 11, "too much");
        intent.lines[2] = _line(0, 10, 10, 10, "the rest");
        _settle(_offerOf(1), _signed(intent, poor));
        _assertSettled("first");
        _assertSkipped("too much", IVerified.SkipReason.InsufficientBalance);
        _assertSettled("the rest");
        vm.assertEq(_balance(poor.addr), 0);
        vm.assertEq(_balance(seller.addr), 25);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 20);
    }

    function test_settle_skipsUnitsBelowMinimum() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.unitsMin = 30;
        intent = _signed(intent, buyer);
        intent.lines = _list(_line(0, 15, 15, 15, "a"), _line(0, 14, 14, 14, "b"));
        _settle(_offerOf(1), intent);
        _assertSkipped("a", IVerified.SkipReason.UnitsBelowMinimum);
        _assertSkipped("b", IVerified.SkipReason.UnitsBelowMinimum);
        vm.assertEq(settlement.settledUnits(buyer.addr, 1), 0);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 0);
        vm.assertEq(_balance(seller.addr), 0);

        intent.lines = _list(_line(0, 15, 15, 15, "c"), _line(0, 15, 15, 15, "d"));
        _settle(_offerOf(1), intent);
        _assertSettled("c");
        _assertSettled("d");
        intent.lines = _list(_line(0, 50, 50, 50, "e"));
        _settle(_offerOf(1), intent);
        // Twenty are left, fewer than the minimum: then exactly these.
        intent.lines = _list(_line(0, 19, 19, 19, "f"));
        _settle(_offerOf(1), intent);
        _assertSkipped("f", IVerified.SkipReason.UnitsBelowMinimum);
        intent.lines = _list(_line(0, 20, 20, 20, "g"));
        _settle(_offerOf(1), intent);
        _assertSettled("g");
    }

    /// @dev The minimum is judged on the lines that are good.
    function test_settle_minimumCountsGoodLinesOnly() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.unitsMin = 100;
        intent.lines = _list(_line(0, 50, 50, 50, "good"), _line(0, 50, 50, 500, "dear"));
        _settle(_offerOf(1), _signed(intent, buyer));
        _assertSkipped("dear", IVerified.SkipReason.PriceAboveLimit);
        _assertSkipped("good", IVerified.SkipReason.UnitsBelowMinimum);
    }

    /// @dev Units of refused lines are free for the next intent of the same batch.
    function test_settle_refusedLinesGiveUnitsBack() public {
        SettledOffer memory offer = _signed(_offer(seller.addr, 1, 100, 100), seller);
        SettledIntent memory greedy = _intent(buyer.addr, 1, 100, 200);
        greedy.unitsMin = 100;
        greedy.lines = _list(_line(0, 99, 99, 99, "greedy"));
        _settle(
            _list(offer),
            _list(_signed(greedy, buyer), _intentOf(2, _line(0, 100, 100, 100, "next")))
        );
        _assertSkipped("greedy", IVerified.SkipReason.UnitsBelowMinimum);
        _assertSettled("next");
    }

    /// @dev Bad fills of many kinds leave the good one alone, in one intent.
    function test_settle_badLinesLeaveGoodOnesAlone() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.lines = new Line[](7);
        intent.lines[0] = _line(9, 1, 1, 1, "unknown");
        intent.lines[1] = _line(0, 0, 0, 0, "zero");
        intent.lines[2] = _line(0, 101, 1, 1, "overfilled");
        intent.lines[3] = _line(0, 1, 2, 2, "delivered");
        intent.lines[4] = _line(0, 1, 1, 3, "dear");
        intent.lines[5] = _line(0, 1, 1, 0, "cheap");
        intent.lines[6] = _line(0, 100, 100, 200, "good");
        bytes memory batch = Batch.encode(_list(_offerOf(1)), _list(_signed(intent, buyer)));
        vm.recordLogs();
        vm.prank(address(operator));
        settlement.settle(0, 0, batch);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (uint256 paid, uint256 settled, uint256 skipped) =
            abi.decode(logs[logs.length - 1].data, (uint256, uint256, uint256));
        vm.assertEq(paid, 200);
        vm.assertEq(settled, 1);
        vm.assertEq(skipped, 6);
    }

    // ------------------------------------------------------------------ precedence

    /// @dev A line that is wrong in every way: as one fault after the other is mended, the next one
    /// is named, in the documented order.
    function test_settle_namesTheFirstProblem() public {
        Party memory poor = _party("poor");
        SettledIntent memory intent = _intent(poor.addr, 1, 100, 200);
        intent.validFrom = NOW + 1;
        intent.validUntil = NOW - EXIT_DELAY - 1;
        intent.epoch = 1;
        intent.resource = keccak256("another");
        SettledOffer memory offer = _offer(poor.addr, 2, 0, 1000);
        offer.validFrom = NOW + 1;
        intent.lines = _list(_line(1, 0, 2, 5, "fill"));

        _expectReason(offer, intent, IVerified.SkipReason.NotYetValid);
        intent.validFrom = NOW;
        _expectReason(offer, intent, IVerified.SkipReason.Expired);
        intent.validUntil = NOW;
        _expectReason(offer, intent, IVerified.SkipReason.EpochEnded);
        intent.epoch = 0;
        _expectReason(offer, intent, IVerified.SkipReason.BadSignature);
        intent = _signed(intent, poor);
        _expectReason(offer, intent, IVerified.SkipReason.UnknownOffer);
        intent.lines[0].offer = 0;
        _expectReason(offer, intent, IVerified.SkipReason.NotYetValid);
        offer.validFrom = NOW;
        _expectReason(offer, intent, IVerified.SkipReason.BadSignature);
        _expectReason(_signed(offer, poor), intent, IVerified.SkipReason.ResourceMismatch);
        intent.resource = RESOURCE;
        intent = _signed(intent, poor);
        _expectReason(offer, intent, IVerified.SkipReason.SelfMatch);
        offer.account = seller.addr;
        _expectReason(_signed(offer, seller), intent, IVerified.SkipReason.UnitsZero);
        intent.lines[0].units = 1;
        _expectReason(offer, intent, IVerified.SkipReason.UnitsOverfilled);
        offer.units = 2;
        offer = _signed(offer, seller);
        _expectReason(offer, intent, IVerified.SkipReason.DeliveredAboveUnits);
        intent.lines[0].delivered = 1;
        _expectReason(offer, intent, IVerified.SkipReason.PriceAboveLimit);
        intent.lines[0].payment = 2;
        _expectReason(offer, intent, IVerified.SkipReason.PriceBelowLimit);
        offer.limit = 1;
        offer = _signed(offer, seller);
        _expectReason(offer, intent, IVerified.SkipReason.InsufficientBalance);
        _fund(poor.addr, 2);
        intent.unitsMin = 2;
        intent = _signed(intent, poor);
        _expectReason(offer, intent, IVerified.SkipReason.UnitsBelowMinimum);
        intent.unitsMin = 1;
        _settle(offer, _signed(intent, poor));
        vm.assertEq(_balance(seller.addr), 2);
    }

    // ------------------------------------------------------------------ fuzz

    /// @dev The contract's products agree with the divisions that define the limits.
    function testFuzz_settle_limits(
        uint64 intentUnits,
        uint96 intentLimit,
        uint64 offerUnits,
        uint96 offerLimit,
        uint64 units,
        uint64 delivered,
        uint96 payment,
        bool near
    ) public {
        intentUnits = uint64(_bound(intentUnits, 1, LANE_MAX));
        offerUnits = uint64(_bound(offerUnits, 1, LANE_MAX));
        units = uint64(_bound(units, 1, intentUnits < offerUnits ? intentUnits : offerUnits));
        delivered = uint64(_bound(delivered, 0, units));
        uint256 most = uint256(delivered) * intentLimit / intentUnits;
        uint256 least = uint256(delivered) * offerLimit / offerUnits;
        // Half of the runs sit at a limit, one off at most.
        if (near) {
            uint256 edge = (payment & 1 == 0 ? most : least) + (payment >> 1) % 3;
            payment = edge == 0 ? 0 : uint96(edge - 1);
        }
        Party memory rich = _party("rich");
        _fund(rich.addr, type(uint72).max - FUNDS);

        SettledIntent memory intent = _intent(rich.addr, 1, intentUnits, intentLimit);
        intent.lines = _list(_line(0, units, delivered, payment, "fill"));
        intent = _signed(intent, rich);
        _settle(_signed(_offer(seller.addr, 1, offerUnits, offerLimit), seller), intent);
        if (payment > most) {
            _assertSkipped("fill", IVerified.SkipReason.PriceAboveLimit);
        } else if (payment < least) {
            _assertSkipped("fill", IVerified.SkipReason.PriceBelowLimit);
        } else if (payment > type(uint72).max - FUNDS) {
            _assertSkipped("fill", IVerified.SkipReason.InsufficientBalance);
        } else {
            _assertSettled("fill");
            vm.assertEq(_balance(seller.addr), payment);
        }
    }

    /// @dev However an intent is cut into fills, its buyer never pays more than for all at once.
    function testFuzz_settle_totalsHold(uint64 units, uint40 limit, uint64 seed) public {
        units = uint64(_bound(units, 1, 1e12));
        Party memory rich = _party("rich");
        _fund(rich.addr, type(uint48).max);
        uint256 left = units;
        uint256 delivered;
        for (uint256 i = 0; i < 4 && left > 0; ++i) {
            uint64 part = uint64(_bound(uint256(keccak256(abi.encode(seed, i))), 1, left));
            uint96 payment = uint96(uint256(part) * limit / units);
            SettledIntent memory intent = _intent(rich.addr, 1, units, limit);
            intent.lines = _list(_line(0, part, part, payment, bytes32(i + 1)));
            _settle(_signed(_offer(seller.addr, 1, units, limit), seller), _signed(intent, rich));
            _assertSettled(bytes32(i + 1));
            left -= part;
            delivered += part;
        }
        vm.assertLe(_balance(seller.addr), delivered * limit / units);
        vm.assertEq(settlement.settledUnits(rich.addr, 1), delivered);
    }

    /// @dev Changing any signed field kills the signature.
    function testFuzz_settle_everyIntentFieldIsSigned(uint8 field) public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.unitsMin = 2;
        intent = _signed(intent, buyer);
        intent.lines = _list(_line(0, 10, 10, 10, "fill"));
        field %= 10;
        if (field == 0) intent.account = operatorKey.addr;
        if (field == 1) intent.resource = keccak256("another");
        if (field == 2) intent.units += 1;
        if (field == 3) intent.unitsMin -= 1;
        if (field == 4) intent.limit += 1;
        if (field == 5) intent.validFrom -= 1;
        if (field == 6) intent.validUntil += 1;
        if (field == 7) intent.immediate = true;
        if (field == 8) {
            vm.prank(buyer.addr);
            settlement.cancelAll();
            intent.epoch = 1;
        }
        if (field == 9) intent.nonce += 1;
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    function testFuzz_settle_everyOfferFieldIsSigned(uint8 field) public {
        SettledOffer memory offer = _offerOf(1);
        field %= 11;
        if (field == 0) offer.account = operatorKey.addr;
        if (field == 1) offer.resource = keccak256("another");
        if (field == 2) offer.key = keccak256("another key");
        if (field == 3) offer.units += 1;
        if (field == 4) offer.limit -= 1;
        if (field == 5) offer.windowUnits += 1;
        if (field == 6) offer.windowSeconds += 1;
        if (field == 7) offer.validFrom -= 1;
        if (field == 8) offer.validUntil += 1;
        if (field == 9) {
            vm.prank(seller.addr);
            settlement.cancelAll();
            offer.epoch = 1;
        }
        if (field == 10) offer.nonce += 1;
        _settle(offer, _intentOf(1, _line(0, 10, 10, 10, "fill")));
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ helpers

    function _expectReason(
        SettledOffer memory offer,
        SettledIntent memory intent,
        IVerified.SkipReason reason
    ) private {
        _settle(offer, intent);
        _assertSkipped("fill", reason);
    }

    function _expectUnsorted(SettledOffer[] memory offers) private {
        bytes memory batch = Batch.encode(offers, new SettledIntent[](0));
        vm.prank(address(operator));
        vm.expectRevert(abi.encodeWithSelector(IVerified.BatchOffersUnsorted.selector, uint256(1)));
        settlement.settle(0, 0, batch);
    }
}
