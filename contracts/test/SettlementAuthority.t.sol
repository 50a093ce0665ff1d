// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ILedger} from "../src/ILedger.sol";
import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {Batch, Line, SettledIntent, SettledOffer} from "./Batch.sol";
import {HostileAccount} from "./Hostile.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Who may sign for an account, and accounts that misbehave when asked
contract SettlementAuthorityTest is MarketTest {
    Party internal agent;
    SessionAccount internal wallet;

    function setUp() public override {
        super.setUp();
        agent = _party("agent");
        wallet = _account(buyer);
        _fund(buyer.addr, 1000);
        _fund(address(wallet), 1000);
    }

    // ------------------------------------------------------------------ plain signatures

    function test_settle_acceptsBothEncodings() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "65 bytes"));
        intent.signature = _sign65(buyer, Batch.digestOf(intent, settlement));
        _settle(_offerOf(1), intent);
        _assertSettled("65 bytes");
        _settle(_offerOf(1), _intentOf(1, _line(0, 1, 1, 1, "64 bytes")));
        _assertSettled("64 bytes");
    }

    function test_settle_skipsHighS() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "fill"));
        intent.signature = _signHighS(buyer, Batch.digestOf(intent, settlement));
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    /// @dev recover(garbage) is zero, and zero is not an account.
    function testFuzz_settle_skipsZeroAccount(bytes memory garbage) public {
        vm.assume(garbage.length < 1000);
        _fund(address(1), 1);
        SettledIntent memory intent = _intent(address(0), 1, 100, 0);
        intent.signature = garbage;
        intent.lines = _list(_line(0, 1, 0, 0, "fill"));
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    function testFuzz_settle_skipsOtherLengths(uint16 length) public {
        length = uint16(_bound(length, 0, 200));
        vm.assume(length != 64 && length != 65);
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "fill"));
        bytes memory signature = new bytes(length);
        for (uint256 i = 0; i < length && i < 64; ++i) {
            signature[i] = intent.signature[i];
        }
        intent.signature = signature;
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    /// @dev A signature for this contract on another chain, or for another contract, is nothing here.
    function test_settle_skipsOtherChain() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "fill"));
        SettledOffer memory offer = _offerOf(1);
        vm.chainId(10);
        _settle(offer, intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ ERC-1271

    function test_settle_acceptsOwnersSignatureOfAccount() public {
        SettledIntent memory intent = _ofWallet(1, CONTRACT, "fill");
        _settle(_offerOf(1), _signed(intent, buyer));
        _assertSettled("fill");
    }

    /// @dev Otherwise a key could sign around its cap.
    function test_settle_skipsSessionSignatureAsContractSignature() public {
        _enable(address(wallet), agent, 1000);
        SettledIntent memory intent = _ofWallet(1, CONTRACT, "fill");
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsContractAuthorityOfPlainAccount() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "fill"));
        intent.authority = CONTRACT;
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ sessions

    function test_settle_chargesSession() public {
        _enable(address(wallet), agent, 100);
        SettledIntent memory intent = _ofWallet(1, SESSION, "fill");
        intent.lines[0].payment = 2;
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSettled("fill");
        vm.assertEq(_charged(address(wallet), agent), 2);
        vm.assertEq(_balance(address(wallet)), 998);
    }

    /// @dev Charged is what is paid: nothing for lines that were skipped.
    function test_settle_chargesSessionForGoodLinesOnly() public {
        _enable(address(wallet), agent, 100);
        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 10, 10, 15, "good"), _line(0, 10, 10, 21, "dear"));
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSettled("good");
        _assertSkipped("dear", IVerified.SkipReason.PriceAboveLimit);
        vm.assertEq(_charged(address(wallet), agent), 15);
    }

    function test_settle_doesNotChargeWhatIsBelowMinimum() public {
        _enable(address(wallet), agent, 100);
        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.unitsMin = 100;
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 10, 10, 15, "fill"));
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSkipped("fill", IVerified.SkipReason.UnitsBelowMinimum);
        vm.assertEq(_charged(address(wallet), agent), 0);
    }

    function test_settle_skipsSessionAboveCap() public {
        _enable(address(wallet), agent, 99);
        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 50, 50, 60, "a"), _line(0, 40, 40, 40, "b"));
        intent = _signed(intent, agent);
        _settle(_offerOf(1), intent);
        _assertSkipped("a", IVerified.SkipReason.SessionRefused);
        _assertSkipped("b", IVerified.SkipReason.SessionRefused);
        vm.assertEq(settlement.settledUnits(seller.addr, 1), 0);
        intent.lines[1].payment = 39;
        intent.lines[1].delivered = 39;
        _settle(_offerOf(1), intent);
        vm.assertEq(_charged(address(wallet), agent), 99);
    }

    function test_settle_skipsUnknownSession() public {
        _settle(_offerOf(1), _signed(_ofWallet(1, SESSION, "fill"), agent));
        _assertSkipped("fill", IVerified.SkipReason.SessionRefused);
    }

    function test_settle_skipsSessionOfPlainAccount() public {
        SettledIntent memory intent = _intentOf(1, _line(0, 1, 1, 1, "fill"));
        intent.authority = SESSION;
        _settle(_offerOf(1), intent);
        _assertSkipped("fill", IVerified.SkipReason.SessionRefused);
    }

    function test_settle_acceptsOfferOfSession() public {
        SessionAccount shop = _account(seller);
        _enable(address(shop), agent, 0);
        SettledOffer memory offer = _offer(address(shop), 1, 100, 100);
        offer.authority = SESSION;
        _settle(_signed(offer, agent), _intentOf(1, _line(0, 10, 10, 15, "fill")));
        _assertSettled("fill");
        vm.assertEq(_balance(address(shop)), 15);
        _disable(address(shop), agent);
        _settle(offer, _intentOf(1, _line(0, 10, 10, 15, "revoked")));
        _assertSkipped("revoked", IVerified.SkipReason.SessionRefused);
    }

    /// @dev A key of a plain account as well as of a contract: the registry asks neither.
    function test_settle_chargesSessionOfPlainAccount() public {
        _enable(buyer.addr, agent, 100);
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 200);
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 10, 10, 15, "fill"));
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSettled("fill");
        vm.assertEq(_charged(buyer.addr, agent), 15);
    }

    /// @dev What is charged comes back when its window is over.
    function test_settle_chargesSessionInWindows() public {
        _enable(address(wallet), agent, 20);
        SettledIntent memory intent = _ofWallet(1, SESSION, "first");
        intent.lines[0] = _line(0, 10, 10, 20, "first");
        intent.validUntil = NOW + 90 days;
        intent = _signed(intent, agent);
        SettledOffer memory offer = _offer(seller.addr, 1, 1000, 1000);
        offer.validUntil = NOW + 90 days;
        offer = _signed(offer, seller);
        _settle(offer, intent);
        _assertSettled("first");
        intent.lines[0] = _line(0, 1, 1, 1, "within the window");
        _settle(offer, intent);
        _assertSkipped("within the window", IVerified.SkipReason.SessionRefused);
        ISessionRegistry.SessionGrant memory again = _sessionGrant(address(wallet), agent, 20);
        again.expiresAt = NOW + 90 days;
        _enable(again);
        vm.warp(NOW + 34 days);
        intent.lines[0].fill = "after it";
        _settle(offer, intent);
        _assertSettled("after it");
    }

    /// @dev As long as an expired document; a revoked one not a second.
    function test_settle_graceOfExpiredSession() public {
        _enable(address(wallet), agent, 100);
        SettledIntent memory intent = _ofWallet(1, SESSION, "in its grace");
        intent.validUntil = NOW + 90 days;
        intent = _signed(intent, agent);
        SettledOffer memory offer = _offer(seller.addr, 1, 1000, 1000);
        offer.validUntil = NOW + 90 days;
        offer = _signed(offer, seller);
        SettledOffer memory sold = _offer(address(wallet), 2, 1000, 1000);
        sold.validUntil = NOW + 90 days;
        sold.authority = SESSION;
        sold = _signed(sold, agent);
        SettledIntent memory bought = _intent(buyer.addr, 2, 100, 200);
        bought.validUntil = NOW + 90 days;
        bought = _signed(bought, buyer);
        bought.lines = _list(_line(0, 1, 1, 1, "sold in it"));

        vm.warp(NOW + 30 days + EXIT_DELAY);
        _settle(offer, intent);
        _assertSettled("in its grace");
        _settle(sold, bought);
        _assertSettled("sold in it");
        vm.warp(NOW + 30 days + EXIT_DELAY + 1);
        intent.lines[0].fill = "after it";
        _settle(offer, intent);
        _assertSkipped("after it", IVerified.SkipReason.SessionRefused);
        bought.lines[0].fill = "sold after it";
        _settle(sold, bought);
        _assertSkipped("sold after it", IVerified.SkipReason.SessionRefused);
    }

    function test_settle_skipsSessionWithoutPermission() public {
        ISessionRegistry.SessionGrant memory grant = _sessionGrant(address(wallet), agent, 100);
        grant.permissions = SessionPolicy.PERMISSION_RECEIPT | SessionPolicy.PERMISSION_CANCEL;
        _enable(grant);
        _settle(_offerOf(1), _signed(_ofWallet(1, SESSION, "fill"), agent));
        _assertSkipped("fill", IVerified.SkipReason.SessionRefused);
        SettledOffer memory offer = _offer(address(wallet), 1, 100, 100);
        offer.authority = SESSION;
        _settle(_signed(offer, agent), _intentOf(1, _line(0, 10, 10, 15, "sold")));
        _assertSkipped("sold", IVerified.SkipReason.SessionRefused);
    }

    function test_settle_revokeAllEndsSessions() public {
        _enable(address(wallet), agent, 100);
        SettledOffer memory offer = _offer(address(wallet), 1, 100, 100);
        offer.authority = SESSION;
        offer = _signed(offer, agent);
        vm.prank(address(wallet));
        _registry().revokeSessions(address(wallet));
        _settle(_offerOf(1), _signed(_ofWallet(2, SESSION, "fill"), agent));
        _assertSkipped("fill", IVerified.SkipReason.SessionRefused);
        _settle(offer, _intentOf(1, _line(0, 10, 10, 15, "sold")));
        _assertSkipped("sold", IVerified.SkipReason.SessionRefused);
    }

    // ------------------------------------------------------------------ terms

    /// @dev Resource, price and units are held against what was delivered.
    function test_settle_holdsSessionToItsTerms() public {
        ISessionRegistry.SessionGrant memory grant = _sessionGrant(address(wallet), agent, 0);
        grant.resource = RESOURCE;
        grant.tickMax = 1_500_000;
        grant.units = 30;
        grant.period = 30 days;
        _enable(grant);
        SettledIntent memory intent = _ofWallet(1, SESSION, "dear");
        intent.lines[0] = _line(0, 20, 10, 16, "dear");
        intent = _signed(intent, agent);
        _settle(_offerOf(1), intent);
        _assertSkipped("dear", IVerified.SkipReason.SessionRefused);
        intent.lines[0] = _line(0, 20, 10, 15, "within");
        _settle(_offerOf(1), intent);
        _assertSettled("within");
        intent.lines[0] = _line(0, 21, 21, 21, "too many");
        _settle(_offerOf(1), intent);
        _assertSkipped("too many", IVerified.SkipReason.SessionRefused);
        intent.lines[0] = _line(0, 20, 20, 20, "the rest");
        _settle(_offerOf(1), intent);
        _assertSettled("the rest");
    }

    /// @dev What one intent delivered is no other's.
    function test_settle_termsOfEachIntentAlone() public {
        ISessionRegistry.SessionGrant memory grant = _sessionGrant(address(wallet), agent, 0);
        grant.units = 20;
        grant.period = 30 days;
        _enable(grant);
        SettledIntent memory one = _ofWallet(1, SESSION, "one");
        SettledIntent memory other = _ofWallet(2, SESSION, "other");
        one.lines[0] = _line(0, 10, 10, 10, "one");
        other.lines[0] = _line(0, 10, 10, 10, "other");
        _settle(_list(_offerOf(1)), _list(_signed(one, agent), _signed(other, agent)));
        _assertSettled("one");
        _assertSettled("other");
    }

    /// @dev Of another resource; or of one that no name hashes to, which the registry has for totals.
    function test_settle_holdsSessionToItsResource() public {
        ISessionRegistry.SessionGrant memory grant = _sessionGrant(address(wallet), agent, 0);
        grant.resource = keccak256("another/resource:call");
        _enable(grant);
        _settle(_offerOf(1), _signed(_ofWallet(1, SESSION, "other"), agent));
        _assertSkipped("other", IVerified.SkipReason.SessionRefused);
        SettledIntent memory intent = _ofWallet(2, SESSION, "nameless");
        SettledOffer memory offer = _offer(seller.addr, 2, 1000, 1000);
        (intent.resource, offer.resource) = (0, 0);
        _settle(_signed(offer, seller), _signed(intent, agent));
        _assertSkipped("nameless", IVerified.SkipReason.SessionRefused);
        (intent.resource, offer.resource) = (grant.resource, grant.resource);
        intent.lines[0].fill = "its own";
        _settle(_signed(offer, seller), _signed(intent, agent));
        _assertSettled("its own");
    }

    /// @dev Whom an account pays, its keys pay: sums of each seller, in whatever order lines are.
    function test_settle_holdsSessionToCounterparties() public {
        _enable(address(wallet), agent, 0);
        SettledOffer[] memory offers = new SettledOffer[](3);
        Party memory other = _party("other seller");
        (offers[0], offers[1]) = (_offer(seller.addr, 1, 90, 90), _offer(seller.addr, 2, 90, 90));
        (offers[0], offers[1]) = (_signed(offers[0], seller), _signed(offers[1], seller));
        offers[2] = _signed(_offer(other.addr, 1, 90, 90), other);
        if (other.addr < seller.addr) {
            (offers[0], offers[1], offers[2]) = (offers[2], offers[0], offers[1]);
        }
        uint16 ofOther = other.addr < seller.addr ? 0 : 2;
        uint16 ofSeller = other.addr < seller.addr ? 1 : 0;
        _setCap(seller.addr, 25);
        _setCap(other.addr, 7);
        vm.prank(address(wallet));
        _registry().setCounterpartyRule(SessionPolicy.CounterpartyRule.Listed);

        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.authority = SESSION;
        intent = _signed(intent, agent);
        intent.lines = new Line[](4);
        intent.lines[0] = _line(ofSeller + 1, 10, 10, 12, "a");
        intent.lines[1] = _line(ofOther, 5, 5, 7, "b");
        intent.lines[2] = _line(ofSeller, 10, 10, 14, "c");
        intent.lines[3] = _line(ofOther, 10, 10, 21, "dear");
        _settle(offers, _list(intent));
        _assertSkipped("a", IVerified.SkipReason.SessionRefused);
        intent.lines[2].payment = 13;
        reasons["a"] = IVerified.SkipReason.None;
        reasons["b"] = IVerified.SkipReason.None;
        reasons["c"] = IVerified.SkipReason.None;
        _settle(offers, _list(intent));
        _assertSettled("a");
        _assertSettled("b");
        _assertSettled("c");
        vm.assertEq(_charged(address(wallet), agent), 0, "without a cap of its own");

        Party memory unlisted = _party("unlisted");
        SettledOffer memory offer = _signed(_offer(unlisted.addr, 1, 90, 90), unlisted);
        intent.lines = _list(_line(0, 1, 1, 1, "unlisted"));
        _settle(offer, intent);
        _assertSkipped("unlisted", IVerified.SkipReason.SessionRefused);
    }

    /// @dev A team's cap and the account's bound all keys together.
    function test_settle_chargesTeamAndAccount() public {
        Party memory second = _party("second agent");
        ISessionRegistry.SessionGrant memory grant = _sessionGrant(address(wallet), agent, 0);
        grant.team = 7;
        _enable(grant);
        _enable(address(wallet), second, 0);
        vm.startPrank(address(wallet));
        _registry().setCap(SessionPolicy.Bearer.Team, 7, 10, 1 days);
        _registry().setCap(SessionPolicy.Bearer.Root, 0, 15, 1 days);
        vm.stopPrank();
        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.authority = SESSION;
        SettledIntent memory other = _intent(address(wallet), 2, 100, 200);
        other.authority = SESSION;
        (intent, other) = (_signed(intent, agent), _signed(other, second));
        intent.lines = _list(_line(0, 10, 10, 11, "above the team's"));
        _settle(_offerOf(1), intent);
        _assertSkipped("above the team's", IVerified.SkipReason.SessionRefused);
        intent.lines = _list(_line(0, 10, 10, 10, "the team's"));
        other.lines = _list(_line(0, 5, 5, 6, "above the account's"));
        _settle(_list(_offerOf(1)), _list(intent, other));
        _assertSettled("the team's");
        _assertSkipped("above the account's", IVerified.SkipReason.SessionRefused);
        other.lines = _list(_line(0, 5, 5, 5, "the account's"));
        _settle(_offerOf(1), other);
        _assertSettled("the account's");
    }

    // ------------------------------------------------------------------ hostile accounts

    function test_settle_hostileContractSinksOnlyItself() public {
        _attack();
    }

    /// @dev A static call cannot write.
    function test_settle_contractCannotWrite() public {
        HostileAccount hostile = new HostileAccount(settlement, IERC1271.isValidSignature.selector);
        _fund(address(hostile), 100);
        hostile.set(HostileAccount.Mood.Write, "");
        _settle(_offerOf(1), _ofHostile(hostile));
        _assertSkipped("hostile", IVerified.SkipReason.BadSignature);
        vm.assertEq(hostile.calls(), 0);
    }

    /// @dev What is being settled is in memory, and cannot be looked at as it was.
    function test_settle_cannotBeReadMeanwhile() public {
        HostileAccount hostile = new HostileAccount(settlement, IERC1271.isValidSignature.selector);
        _fund(address(hostile), 100);
        bytes[] memory attacks = new bytes[](2);
        attacks[0] = abi.encodeCall(settlement.accountOf, (address(hostile)));
        attacks[1] = abi.encodeCall(settlement.settledUnits, (address(hostile), 1));
        for (uint256 i = 0; i < attacks.length; ++i) {
            hostile.set(HostileAccount.Mood.Reenter, attacks[i]);
            _settle(_offerOf(1), _ofHostile(hostile));
            _assertSkipped("hostile", IVerified.SkipReason.BadSignature);
        }
        // The same account, doing nothing bad, is served.
        hostile.set(HostileAccount.Mood.Reenter, abi.encodeCall(settlement.exitDelay, ()));
        reasons["hostile"] = IVerified.SkipReason.None;
        _settle(_offerOf(1), _ofHostile(hostile));
        _assertSettled("hostile");
    }

    /// @dev The most that a hostile account costs the operator.
    function test_settle_gasBombIsBounded() public {
        HostileAccount hostile = new HostileAccount(settlement, IERC1271.isValidSignature.selector);
        _fund(address(hostile), 100);
        hostile.set(HostileAccount.Mood.BurnGas, "");
        bytes memory batch = Batch.encode(_list(_offerOf(1)), _list(_ofHostile(hostile)));
        vm.prank(address(operator));
        settlement.settle(77, 0, batch);
        vm.assertLe(vm.lastCallGas().gasTotalUsed, 350_000);
    }

    /// @dev With too little gas a good contract would be refused: then the batch reverts instead.
    function test_RevertIf_settle_gasTooLowToAsk() public {
        bytes memory batch =
            Batch.encode(_list(_offerOf(1)), _list(_signed(_ofWallet(1, CONTRACT, "fill"), buyer)));
        vm.prank(address(operator));
        vm.expectPartialRevert(ILedger.BatchGasTooLow.selector);
        settlement.settle{gas: 260_000}(5, 0, batch);
        vm.prank(address(operator));
        vm.assertEq(settlement.settle{gas: 400_000}(5, 0, batch), 1);
    }

    // ------------------------------------------------------------------ helpers

    function _setCap(address party, uint96 cap) private {
        vm.prank(address(wallet));
        _registry().setCap(SessionPolicy.Bearer.Counterparty, uint256(uint160(party)), cap, 1 days);
    }

    function _attack() private {
        HostileAccount hostile = new HostileAccount(settlement, IERC1271.isValidSignature.selector);
        _fund(address(hostile), 100);
        for (uint8 i = 1; i <= uint8(HostileAccount.Mood.RevertBomb); ++i) {
            HostileAccount.Mood mood = HostileAccount.Mood(i);
            hostile.set(mood, "");
            bytes32 good = keccak256(abi.encode("good", i));
            _settle(
                _list(_offerOf(1)),
                _list(_ofHostile(hostile), _intentOf(1, _line(0, 1, 1, 1, good)))
            );
            _assertSettled(good);
            if (mood == HostileAccount.Mood.ReturnBomb) continue;
            _assertSkipped("hostile", IVerified.SkipReason.BadSignature);
        }
        // As an offer, it takes down its own lines only.
        hostile.set(HostileAccount.Mood.BurnGas, "");
        SettledOffer memory offer = _offer(address(hostile), 1, 100, 100);
        offer.authority = CONTRACT;
        SettledOffer[] memory offers = _list(offer, _offerOf(1));
        uint16 ofHostile = offers[0].account == address(hostile) ? 0 : 1;
        SettledIntent memory intent = _intent(buyer.addr, 2, 100, 200);
        intent.lines = _list(
            _line(ofHostile, 1, 1, 1, "of hostile"), _line(1 - ofHostile, 1, 1, 1, "of good")
        );
        _settle(offers, _list(_signed(intent, buyer)));
        _assertSettled("of good");
        vm.assertEq(uint256(outcomes["of hostile"]), uint256(Outcome.Skipped));
    }

    function _ofHostile(HostileAccount hostile) private pure returns (SettledIntent memory intent) {
        intent = _intent(address(hostile), 1, 100, 200);
        intent.authority = CONTRACT;
        intent.lines = _list(_line(0, 1, 1, 1, "hostile"));
    }

    function _ofWallet(uint64 nonce, uint8 authority, bytes32 fill)
        private
        view
        returns (SettledIntent memory intent)
    {
        intent = _intent(address(wallet), nonce, 100, 200);
        intent.authority = authority;
        intent.lines = _list(_line(0, 1, 1, 1, fill));
    }
}
