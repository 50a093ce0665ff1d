// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IVerified} from "../src/IVerified.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Fills under a mandate, and what a mandate does not allow
contract SettlementMandateTest is MarketTest {
    Party internal agent;
    SessionAccount internal wallet;

    function setUp() public override {
        super.setUp();
        agent = _party("agent");
        wallet = _account(buyer);
        _fund(buyer.addr, 10_000);
        _fund(address(wallet), 10_000);
    }

    // ------------------------------------------------------------------ what settles

    function test_settle_mandatePaysItsLines() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandate.lines = _list(_line(0, 10, 10, 20, "a"), _line(0, 5, 4, 6, "b"));
        vm.assertEq(_settle(_offerOf(1), mandate), 26);
        _assertSettled("a");
        _assertSettled("b");
        vm.assertEq(_balance(buyer.addr), 9974);
        vm.assertEq(_balance(seller.addr), 26);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 14);
        vm.assertEq(settlement.settledUnits(buyer.addr, 7), 26, "a mandate counts atoms");
    }

    function test_settle_mandateTakesManyOffersAndResources() public {
        SettledMandate memory mandate = _mandate(buyer.addr, 7, 1000);
        mandate.resource = keccak256("");
        mandate = _signed(mandate, buyer);
        mandate.lines = _list(_line(0, 1, 1, 1, "a"), _line(1, 1, 1, 1, "b"));
        SettledOffer memory other = _offer(seller.addr, 2, 100, 100);
        other.resource = keccak256("another/resource:call");
        _settle(_list(_offerOf(1), _signed(other, seller)), new SettledIntent[](0), _list(mandate));
        _assertSettled("a");
        _assertSettled("b");
    }

    /// @dev What an intent before it pays, a mandate cannot pay again; and nothing of the one sticks to
    /// the other.
    function test_settle_mandateBesideIntents() public {
        SettledIntent memory intent = _signed(_intent(buyer.addr, 1, 5000, 9995), buyer);
        intent.lines = _list(_line(0, 900, 900, 1799, "intent"));
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandate.lines = _list(_line(0, 100, 100, 200, "mandate"), _line(0, 1, 1, 1, "overfilled"));
        _settle(_list(_offerOf(1)), _list(intent), _list(mandate));
        _assertSettled("intent");
        _assertSettled("mandate");
        _assertSkipped("overfilled", IVerified.SkipReason.UnitsOverfilled);
        vm.assertEq(_balance(buyer.addr), 10_000 - 1999);
    }

    /// @dev Nothing of a mandate sticks to the intent after it, which counts units again.
    function test_settle_intentAfterMandate() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandate.lines = _list(_line(0, 10, 10, 20, "mandate"));
        bytes32[] memory resources = new bytes32[](1);
        resources[0] = RESOURCE;
        bytes memory batch = abi.encodePacked(
            uint16(1),
            RESOURCE,
            uint16(1),
            Batch.encode(_offerOf(1), resources),
            uint16(2),
            Batch.encode(mandate, resources),
            Batch.encode(_intentOf(1, _line(0, 30, 30, 50, "intent")), resources)
        );
        vm.prank(address(operator));
        settlement.settle(0, 0, batch);
        vm.assertEq(settlement.settledUnits(buyer.addr, 7), 20, "atoms of the mandate");
        vm.assertEq(settlement.settledUnits(buyer.addr, 1), 30, "units of the intent");
    }

    function test_settle_mandateListedTwice() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 30), buyer);
        SettledMandate[] memory mandates = new SettledMandate[](2);
        (mandates[0], mandates[1]) = (mandate, _signed(_mandate(buyer.addr, 7, 30), buyer));
        mandates[0].lines = _list(_line(0, 10, 10, 20, "a"));
        mandates[1].lines = _list(_line(0, 10, 10, 20, "b"));
        _settle(_list(_offerOf(1)), new SettledIntent[](0), mandates);
        _assertSettled("a");
        _assertSkipped("b", IVerified.SkipReason.MandateExceeded);
    }

    function test_settle_mandatePaysNothingForNothing() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 0), buyer);
        mandate.lines = _list(_line(0, 10, 0, 0, "fill"));
        _settle(_offerOf(1), mandate);
        _assertSettled("fill");
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 0);
    }

    function testFuzz_settle_mandateHoldsItsPriceAndLimit(
        uint64 tickMax,
        uint96 limit,
        uint32 delivered,
        uint96 payment
    ) public {
        SettledMandate memory mandate = _mandate(buyer.addr, 7, limit);
        mandate.tickMax = tickMax;
        delivered = uint32(_bound(delivered, 0, 1000));
        payment = uint96(_bound(payment, 0, 12_000));
        mandate.lines = _list(_line(0, 1000, delivered, payment, "fill"));
        _settle(_signed(_offer(seller.addr, 1, 1000, 0), seller), _signed(mandate, buyer));
        if (payment > uint256(delivered) * tickMax / 1_000_000) {
            _assertSkipped("fill", IVerified.SkipReason.PriceAboveLimit);
        } else if (payment > limit && limit < 10_000) {
            _assertSkipped("fill", IVerified.SkipReason.MandateExceeded);
        } else if (payment > 10_000) {
            _assertSkipped("fill", IVerified.SkipReason.InsufficientBalance);
        } else {
            _assertSettled("fill");
            vm.assertEq(settlement.settledUnits(buyer.addr, 7), payment);
        }
    }

    // ------------------------------------------------------------------ limit

    function test_settle_skipsAboveMandateLimit() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 25), buyer);
        mandate.lines = new Line[](3);
        mandate.lines[0] = _line(0, 10, 10, 20, "within");
        mandate.lines[1] = _line(0, 10, 10, 6, "beyond");
        mandate.lines[2] = _line(0, 4, 4, 5, "the rest");
        // Below the seller's own limit would be skipped for that.
        _settle(_signed(_offer(seller.addr, 1, 1000, 0), seller), mandate);
        _assertSettled("within");
        _assertSkipped("beyond", IVerified.SkipReason.MandateExceeded);
        _assertSettled("the rest");
        vm.assertEq(_balance(buyer.addr), 10_000 - 25);
    }

    function test_settle_skipsOverspendOverTwoBatches() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 39), buyer);
        mandate.lines = _list(_line(0, 10, 10, 20, "first"));
        _settle(_offerOf(1), mandate);
        mandate.lines = _list(_line(0, 10, 10, 20, "second"));
        _settle(_offerOf(1), mandate);
        _assertSettled("first");
        _assertSkipped("second", IVerified.SkipReason.MandateExceeded);
        vm.assertEq(_balance(buyer.addr), 10_000 - 20);
    }

    /// @dev A signed limit may be wider than the counter.
    function test_settle_mandateWithTheHighestLimit() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, type(uint96).max), buyer);
        mandate.lines = _list(_line(0, 10, 10, 20, "fill"));
        _settle(_offerOf(1), mandate);
        _assertSettled("fill");
    }

    function test_settle_skipsMandateWithoutBalance() public {
        Party memory poor = _party("poor");
        _fund(poor.addr, 19);
        SettledMandate memory mandate = _signed(_mandate(poor.addr, 7, 1000), poor);
        mandate.lines = _list(_line(0, 10, 10, 20, "fill"));
        _settle(_offerOf(1), mandate);
        _assertSkipped("fill", IVerified.SkipReason.InsufficientBalance);
    }

    // ------------------------------------------------------------------ terms

    function test_settle_skipsAboveTickMax() public {
        _expectSkippedLine(_line(0, 10, 10, 21, "fill"), IVerified.SkipReason.PriceAboveLimit);
    }

    function test_settle_skipsUndeliveredUnderMandate() public {
        _expectSkippedLine(_line(0, 10, 9, 20, "fill"), IVerified.SkipReason.PriceAboveLimit);
    }

    function test_settle_skipsBelowOfferUnderMandate() public {
        _expectSkippedLine(_line(0, 10, 10, 9, "fill"), IVerified.SkipReason.PriceBelowLimit);
    }

    function test_settle_skipsMoreDeliveredThanUnitsUnderMandate() public {
        _expectSkippedLine(_line(0, 10, 11, 20, "fill"), IVerified.SkipReason.DeliveredAboveUnits);
    }

    function test_settle_skipsNoUnitsUnderMandate() public {
        _expectSkippedLine(_line(0, 0, 0, 0, "fill"), IVerified.SkipReason.UnitsZero);
    }

    function test_settle_skipsUnknownOfferUnderMandate() public {
        _expectSkippedLine(_line(1, 1, 1, 1, "fill"), IVerified.SkipReason.UnknownOffer);
    }

    function test_settle_skipsOverfilledOfferUnderMandate() public {
        _expectSkippedLine(_line(0, 1001, 1001, 1001, "fill"), IVerified.SkipReason.UnitsOverfilled);
    }

    function test_settle_skipsOtherResourceUnderMandate() public {
        SettledMandate memory mandate = _mandate(buyer.addr, 7, 1000);
        mandate.resource = keccak256("another/resource:call");
        _expectSkipped(_signed(mandate, buyer), IVerified.SkipReason.ResourceMismatch);
    }

    /// @dev Any resource is a mandate's to allow: an intent names one.
    function test_settle_skipsIntentWithoutResource() public {
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.resource = keccak256("");
        intent.lines = _list(_line(0, 1, 1, 1, "fill"));
        _settle(_offerOf(1), _signed(intent, buyer));
        _assertSkipped("fill", IVerified.SkipReason.ResourceMismatch);
    }

    function test_settle_skipsOwnOfferUnderMandate() public {
        _fund(seller.addr, 1000);
        _expectSkipped(
            _signed(_mandate(seller.addr, 7, 1000), seller), IVerified.SkipReason.SelfMatch
        );
    }

    // ------------------------------------------------------------------ validity

    function test_settle_skipsMandateNotYetValid() public {
        SettledMandate memory mandate = _mandate(buyer.addr, 7, 1000);
        mandate.validFrom = NOW + 1;
        _expectSkipped(_signed(mandate, buyer), IVerified.SkipReason.NotYetValid);
    }

    function test_settle_skipsExpiredMandate() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        SettledOffer memory offer = _offer(seller.addr, 1, 1000, 1000);
        offer.validUntil = NOW + 30 days;
        offer = _signed(offer, seller);
        vm.warp(NOW + 1 days + EXIT_DELAY);
        mandate.lines = _list(_line(0, 1, 1, 1, "grace"));
        _settle(offer, mandate);
        _assertSettled("grace");
        vm.warp(NOW + 1 days + EXIT_DELAY + 1);
        mandate.lines[0].fill = "expired";
        _settle(offer, mandate);
        _assertSkipped("expired", IVerified.SkipReason.Expired);
    }

    function test_settle_skipsMandateOfEndedEpoch() public {
        vm.prank(buyer.addr);
        settlement.cancelAll();
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandate.lines = _list(_line(0, 1, 1, 1, "grace"));
        _settle(_offerOf(1), mandate);
        _assertSettled("grace");
        vm.warp(NOW + EXIT_DELAY);
        _expectSkipped(mandate, IVerified.SkipReason.EpochEnded);
    }

    function test_settle_skipsCancelledMandate() public {
        vm.prank(buyer.addr);
        settlement.cancel(7);
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandate.lines = _list(_line(0, 1, 1, 1, "grace"));
        _settle(_offerOf(1), mandate);
        _assertSettled("grace");
        vm.warp(NOW + EXIT_DELAY);
        _expectSkipped(mandate, IVerified.SkipReason.Cancelled);
    }

    // ------------------------------------------------------------------ signatures

    function test_settle_skipsStrangersMandate() public {
        _expectSkipped(
            _signed(_mandate(buyer.addr, 7, 1000), seller), IVerified.SkipReason.BadSignature
        );
    }

    function test_settle_skipsMandateOfUnknownAuthority() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandate.authority = 3;
        _expectSkipped(mandate, IVerified.SkipReason.BadSignature);
    }

    /// @dev Changing any signed field kills the signature.
    function testFuzz_settle_everyMandateFieldIsSigned(uint8 field) public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        field %= 8;
        if (field == 0) mandate.account = operatorKey.addr;
        if (field == 1) mandate.resource = keccak256("");
        if (field == 2) mandate.tickMax += 1;
        if (field == 3) mandate.limit += 1;
        if (field == 4) mandate.validFrom -= 1;
        if (field == 5) mandate.validUntil += 1;
        if (field == 6) {
            vm.prank(buyer.addr);
            settlement.cancelAll();
            mandate.epoch = 1;
        }
        if (field == 7) mandate.nonce += 1;
        _expectSkipped(mandate, IVerified.SkipReason.BadSignature);
    }

    function test_settle_acceptsOwnersMandateOfAccount() public {
        SettledMandate memory mandate = _mandate(address(wallet), 7, 1000);
        mandate.authority = CONTRACT;
        mandate = _signed(mandate, buyer);
        mandate.lines = _list(_line(0, 10, 10, 20, "fill"));
        _settle(_offerOf(1), mandate);
        _assertSettled("fill");
        vm.assertEq(_balance(address(wallet)), 9980);
    }

    function test_settle_chargesSessionOfMandate() public {
        _enable(address(wallet), agent, 100);
        SettledMandate memory mandate = _ofSession(1000);
        mandate.lines = _list(_line(0, 10, 10, 20, "good"), _line(0, 10, 10, 21, "dear"));
        _settle(_offerOf(1), mandate);
        _assertSettled("good");
        _assertSkipped("dear", IVerified.SkipReason.PriceAboveLimit);
        vm.assertEq(_charged(address(wallet), agent), 20);
    }

    /// @dev All or none of a mandate's lines in a batch, as with an intent's.
    function test_settle_skipsMandateAboveSessionsCap() public {
        _enable(address(wallet), agent, 39);
        SettledMandate memory mandate = _ofSession(1000);
        mandate.lines = _list(_line(0, 10, 10, 20, "a"), _line(0, 10, 10, 20, "b"));
        _settle(_offerOf(1), mandate);
        _assertSkipped("a", IVerified.SkipReason.SessionRefused);
        _assertSkipped("b", IVerified.SkipReason.SessionRefused);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 0, "units given back");
        vm.assertEq(settlement.settledUnits(address(wallet), 7), 0, "nothing spent");
        mandate.lines = _list(_line(0, 10, 10, 20, "c"), _line(0, 10, 10, 19, "d"));
        _settle(_offerOf(1), mandate);
        _assertSettled("c");
        _assertSettled("d");
        vm.assertEq(_charged(address(wallet), agent), 39);
    }

    function test_settle_skipsMandateOfRevokedSession() public {
        _enable(address(wallet), agent, 1000);
        _disable(address(wallet), agent);
        _expectSkipped(_ofSession(1000), IVerified.SkipReason.SessionRefused);
    }

    /// @dev A mandate that a key signed cannot be passed off as its account's own.
    function test_settle_skipsSessionsMandateAsContractSignature() public {
        _enable(address(wallet), agent, 1000);
        SettledMandate memory mandate = _ofSession(1000);
        mandate.authority = CONTRACT;
        _expectSkipped(mandate, IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ replays and neighbours

    /// @dev An intent and a mandate of one nonce count together: cancelling one nonce ends both.
    function test_settle_mandateSharesItsNonce() public {
        _settle(_offerOf(1), _intentOf(7, _line(0, 30, 30, 30, "intent")));
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 40), buyer);
        mandate.lines = _list(_line(0, 11, 11, 11, "beyond"), _line(0, 10, 10, 10, "within"));
        _settle(_offerOf(1), mandate);
        _assertSkipped("beyond", IVerified.SkipReason.MandateExceeded);
        _assertSettled("within");
    }

    function test_settle_badMandateSinksOnlyItself() public {
        SettledMandate[] memory mandates = new SettledMandate[](2);
        mandates[0] = _signed(_mandate(buyer.addr, 8, 1000), seller);
        mandates[0].lines = _list(_line(0, 1, 1, 1, "bad"));
        mandates[1] = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        mandates[1].lines = _list(_line(0, 1, 1, 1, "good"));
        _settle(_list(_offerOf(1)), _list(_intentOf(1, _line(0, 1, 1, 1, "intent"))), mandates);
        _assertSettled("intent");
        _assertSkipped("bad", IVerified.SkipReason.BadSignature);
        _assertSettled("good");
    }

    /// @dev A mandate of 10^6 units' price is no intent, nor the other way round: their types differ.
    function test_settle_skipsMandateSignatureAsIntent() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 1000), buyer);
        SettledIntent memory intent = _intent(buyer.addr, 7, 1_000_000, 2_000_000);
        intent.signature = mandate.signature;
        intent.lines = _list(_line(0, 1, 1, 1, "fill"));
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ documents

    function _ofSession(uint96 limit) private view returns (SettledMandate memory mandate) {
        mandate = _mandate(address(wallet), 7, limit);
        mandate.authority = SESSION;
        return _signed(mandate, agent);
    }

    /// @dev A line that would be good, under a mandate that is not.
    function _expectSkipped(SettledMandate memory mandate, IVerified.SkipReason reason) private {
        mandate.lines = _list(_line(0, 10, 10, 15, "fill"));
        _settle(_offerOf(1), mandate);
        _assertSkipped("fill", reason);
        vm.assertEq(
            settlement.settledUnits(seller.addr, 1), outcomes["grace"] == Outcome.Settled ? 1 : 0
        );
    }

    function _expectSkippedLine(Line memory line, IVerified.SkipReason reason) private {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 5000), buyer);
        mandate.lines = _list(line);
        _settle(_offerOf(1), mandate);
        _assertSkipped("fill", reason);
    }
}
