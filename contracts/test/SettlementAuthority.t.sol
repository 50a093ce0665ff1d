// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ILedger} from "../src/ILedger.sol";
import {ISessionSigner} from "../src/ISessionSigner.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {Batch, SettledIntent, SettledOffer} from "./Batch.sol";
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
        _grant(wallet, buyer, agent, SIGN, 1000);
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
        _grant(wallet, buyer, agent, SIGN, 100);
        SettledIntent memory intent = _ofWallet(1, SESSION, "fill");
        intent.lines[0].payment = 2;
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSettled("fill");
        vm.assertEq(wallet.sessionOf(agent.addr).spent, 2);
        vm.assertEq(_balance(address(wallet)), 998);
    }

    /// @dev Charged is what is paid: nothing for lines that were skipped.
    function test_settle_chargesSessionForGoodLinesOnly() public {
        _grant(wallet, buyer, agent, SIGN, 100);
        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 10, 10, 15, "good"), _line(0, 10, 10, 21, "dear"));
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSettled("good");
        _assertSkipped("dear", IVerified.SkipReason.PriceAboveLimit);
        vm.assertEq(wallet.sessionOf(agent.addr).spent, 15);
    }

    function test_settle_doesNotChargeWhatIsBelowMinimum() public {
        _grant(wallet, buyer, agent, SIGN, 100);
        SettledIntent memory intent = _intent(address(wallet), 1, 100, 200);
        intent.unitsMin = 100;
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 10, 10, 15, "fill"));
        _settle(_offerOf(1), _signed(intent, agent));
        _assertSkipped("fill", IVerified.SkipReason.UnitsBelowMinimum);
        vm.assertEq(wallet.sessionOf(agent.addr).spent, 0);
    }

    function test_settle_skipsSessionAboveCap() public {
        _grant(wallet, buyer, agent, SIGN, 99);
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
        vm.assertEq(wallet.sessionOf(agent.addr).spent, 99);
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
        _grant(shop, seller, agent, SIGN, 0);
        SettledOffer memory offer = _offer(address(shop), 1, 100, 100);
        offer.authority = SESSION;
        _settle(_signed(offer, agent), _intentOf(1, _line(0, 10, 10, 15, "fill")));
        _assertSettled("fill");
        vm.assertEq(_balance(address(shop)), 15);
        vm.prank(seller.addr);
        shop.revokeSession(agent.addr);
        _settle(offer, _intentOf(1, _line(0, 10, 10, 15, "revoked")));
        _assertSkipped("revoked", IVerified.SkipReason.SessionRefused);
    }

    /// @dev Signing and settling by one key in one batch: both count against its cap.
    function test_settle_sessionThatSignsAndSettles() public {
        vm.prank(operatorOwner.addr);
        operator.grantSession(agent.addr, SETTLE | SIGN, NOW + 1 days, 30);
        _fund(address(operator), 100);
        SettledIntent memory intent = _intent(address(operator), 1, 100, 200);
        intent.authority = SESSION;
        intent.lines = _list(_line(0, 10, 10, 15, "fill"));
        bytes memory data = abi.encodeCall(
            ISettlement.settle,
            (0, 0, Batch.encode(_list(_offerOf(1)), _list(_signed(intent, agent))))
        );
        vm.prank(agent.addr);
        operator.callSettlement(data);
        vm.assertEq(operator.sessionOf(agent.addr).spent, 30);
    }

    // ------------------------------------------------------------------ hostile accounts

    function test_settle_hostileContractSinksOnlyItself() public {
        _attack(CONTRACT, IERC1271.isValidSignature.selector);
    }

    function test_settle_hostileSessionSinksOnlyItself() public {
        _attack(SESSION, ISessionSigner.consume.selector);
    }

    /// @dev A static call cannot write; a session may.
    function test_settle_contractCannotWrite() public {
        HostileAccount hostile = new HostileAccount(settlement, IERC1271.isValidSignature.selector);
        _fund(address(hostile), 100);
        hostile.set(HostileAccount.Mood.Write, "");
        _settle(_offerOf(1), _ofHostile(hostile, CONTRACT));
        _assertSkipped("hostile", IVerified.SkipReason.BadSignature);
        vm.assertEq(hostile.calls(), 0);
    }

    function test_settle_cannotBeReentered() public {
        HostileAccount hostile = new HostileAccount(settlement, ISessionSigner.consume.selector);
        _fund(address(hostile), 100);
        vm.prank(address(hostile));
        settlement.requestWithdrawal(100);
        vm.warp(NOW + EXIT_DELAY);
        bytes memory batch = Batch.encode(_list(_offerOf(1)), new SettledIntent[](0));
        bytes[] memory attacks = new bytes[](9);
        attacks[0] = abi.encodeCall(settlement.withdraw, (address(hostile)));
        attacks[1] = abi.encodeCall(settlement.cancelWithdrawal, ());
        attacks[2] = abi.encodeCall(settlement.requestWithdrawal, (1));
        attacks[3] = abi.encodeCall(settlement.cancel, (77));
        attacks[4] = abi.encodeCall(settlement.cancelAll, ());
        attacks[5] = abi.encodeCall(settlement.settle, (99, 0, batch));
        attacks[6] = abi.encodeCall(settlement.deposit, (address(hostile), 0));
        attacks[7] = abi.encodeCall(settlement.accountOf, (address(hostile)));
        attacks[8] = abi.encodeCall(settlement.settledUnits, (address(hostile), 1));
        for (uint256 i = 0; i < attacks.length; ++i) {
            hostile.set(HostileAccount.Mood.Reenter, attacks[i]);
            _settle(_offerOf(1), _ofHostile(hostile, SESSION));
            _assertSkipped("hostile", IVerified.SkipReason.SessionRefused);
        }
        // The same account, doing nothing bad, is served.
        hostile.set(HostileAccount.Mood.Reenter, abi.encodeCall(settlement.exitDelay, ()));
        reasons["hostile"] = IVerified.SkipReason.None;
        _settle(_offerOf(1), _ofHostile(hostile, SESSION));
        _assertSettled("hostile");
    }

    /// @dev The most that a hostile account costs the operator.
    function test_settle_gasBombIsBounded() public {
        HostileAccount hostile = new HostileAccount(settlement, ISessionSigner.consume.selector);
        _fund(address(hostile), 100);
        hostile.set(HostileAccount.Mood.BurnGas, "");
        bytes memory batch = Batch.encode(_list(_offerOf(1)), _list(_ofHostile(hostile, SESSION)));
        vm.prank(address(operator));
        settlement.settle(77, 0, batch);
        vm.assertLe(vm.lastCallGas().gasTotalUsed, 350_000);
    }

    /// @dev With too little gas a good session would be refused: then the batch reverts instead.
    function test_RevertIf_settle_gasTooLowToAsk() public {
        _grant(wallet, buyer, agent, SIGN, 100);
        bytes memory batch =
            Batch.encode(_list(_offerOf(1)), _list(_signed(_ofWallet(1, SESSION, "fill"), agent)));
        vm.prank(address(operator));
        vm.expectPartialRevert(ILedger.BatchGasTooLow.selector);
        settlement.settle{gas: 260_000}(5, 0, batch);
        vm.prank(address(operator));
        vm.assertEq(settlement.settle{gas: 400_000}(5, 0, batch), 1);
    }

    // ------------------------------------------------------------------ helpers

    function _attack(uint8 authority, bytes4 magic) private {
        HostileAccount hostile = new HostileAccount(settlement, magic);
        _fund(address(hostile), 100);
        for (uint8 i = 1; i <= uint8(HostileAccount.Mood.RevertBomb); ++i) {
            HostileAccount.Mood mood = HostileAccount.Mood(i);
            hostile.set(mood, "");
            bytes32 good = keccak256(abi.encode("good", i));
            _settle(
                _list(_offerOf(1)),
                _list(_ofHostile(hostile, authority), _intentOf(1, _line(0, 1, 1, 1, good)))
            );
            _assertSettled(good);
            if (mood == HostileAccount.Mood.ReturnBomb) continue;
            _assertSkipped(
                "hostile",
                authority == CONTRACT
                    ? IVerified.SkipReason.BadSignature
                    : IVerified.SkipReason.SessionRefused
            );
        }
        // As an offer, it takes down its own lines only.
        hostile.set(HostileAccount.Mood.BurnGas, "");
        SettledOffer memory offer = _offer(address(hostile), 1, 100, 100);
        offer.authority = authority;
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

    function _ofHostile(HostileAccount hostile, uint8 authority)
        private
        pure
        returns (SettledIntent memory intent)
    {
        intent = _intent(address(hostile), 1, 100, 200);
        intent.authority = authority;
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
