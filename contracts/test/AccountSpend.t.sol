// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ISessionAccount} from "../src/ISessionAccount.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionAccountFactory} from "../src/SessionAccountFactory.sol";
import {SessionRelay} from "../src/SessionRelay.sol";
import {AccountTest} from "./AccountTest.sol";
import {OddToken} from "./Hostile.sol";

/// @title What a session key can pay, under which caps, and on whose word
contract AccountSpendTest is AccountTest {
    // ------------------------------------------------------------------ as sender

    function test_spend_paysAndCounts() public {
        _grantTo(key);
        vm.prank(key.addr);
        vm.expectEmit(address(account));
        emit ISessionAccount.SessionSpent(key.addr, payee.addr, 400_000);
        account.spend(payee.addr, 400_000);
        vm.assertEq(_paid(), 400_000);
        vm.assertEq(account.sessionOf(key.addr).spent, 400_000);
    }

    function test_RevertIf_spend_overCap() public {
        _grantTo(key);
        _spendAs(key, DOLLAR);
        vm.prank(key.addr);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionKeys.SessionCapExceeded.selector, key.addr, uint256(1), uint256(0)
            )
        );
        account.spend(payee.addr, 1);
    }

    /// @dev A day's cap spent just before midnight is not there again just after it: the most that
    /// leaves within any period is the cap.
    function test_RevertIf_spend_twiceTheCapAtAnEdge() public {
        _grantTo(key);
        uint256 midnight = NOW - NOW % DAY + DAY;
        vm.warp(midnight - 1);
        _spendAs(key, DOLLAR);
        vm.warp(midnight + 1);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        account.spend(payee.addr, 1);
        vm.warp(midnight - 1 + DAY + DAY / 8);
        _spendAs(key, DOLLAR);
        vm.assertEq(_paid(), 2 * DOLLAR);
    }

    /// @dev Two keys with a dollar each cannot spend more than the account's cap together.
    function test_RevertIf_spend_overAccountCap() public {
        _grantTo(key);
        _grantTo(other);
        _setCap(address(account), 1_500_000);
        _spendAs(key, DOLLAR);
        vm.prank(other.addr);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionKeys.SessionCapExceeded.selector,
                address(account),
                uint256(500_001),
                uint256(500_000)
            )
        );
        account.spend(payee.addr, 500_001);
        _spendAs(other, 500_000);
        (uint256 cap, uint256 period, uint256 left) = account.capOf(address(account));
        vm.assertEq(cap, 1_500_000);
        vm.assertEq(period, DAY);
        vm.assertEq(left, 0);
    }

    /// @dev Lifting the account's cap and setting it again does not forget what was spent.
    function test_setCap_againRemembers() public {
        _grantTo(key);
        _setCap(address(account), 500_000);
        _spendAs(key, 500_000);
        vm.prank(owner.addr);
        account.setCap(address(account), 0, 0);
        (,, uint256 left) = account.capOf(address(account));
        vm.assertEq(left, type(uint256).max);
        _spendAs(key, 100_000);
        _setCap(address(account), 500_000);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        account.spend(payee.addr, 1);
    }

    /// @dev A payee's cap is shared by all keys, and others can still be paid.
    function test_RevertIf_spend_overPayeeCap() public {
        _grantTo(key);
        _grantTo(other);
        vm.prank(owner.addr);
        vm.expectEmit(address(account));
        emit ISessionAccount.CapChanged(payee.addr, 300_000, DAY);
        account.setCap(payee.addr, 300_000, DAY);
        _spendAs(key, 200_000);
        vm.prank(other.addr);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionKeys.SessionCapExceeded.selector,
                payee.addr,
                uint256(100_001),
                uint256(100_000)
            )
        );
        account.spend(payee.addr, 100_001);
        _spendAs(other, 100_000);
        vm.prank(other.addr);
        account.spend(seller.addr, 100_001);
    }

    /// @dev A payee with a cap of zero is paid nothing.
    function test_RevertIf_spend_toRefusedPayee() public {
        _grantTo(key);
        _setCap(payee.addr, 0);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        account.spend(payee.addr, 1);
    }

    /// @dev A key that may pay listed payees only pays nobody else, and nobody while none is listed.
    function test_RevertIf_spend_toUnlistedPayee() public {
        ISessionKeys.Terms memory terms = _terms(key);
        terms.permissions = SPEND | LISTED;
        _grantTerms(terms);
        vm.prank(key.addr);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionKeys.SessionPayeeInvalid.selector, payee.addr)
        );
        account.spend(payee.addr, 1);
        _setCap(payee.addr, 10);
        _spendAs(key, 10);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionPayeeInvalid.selector);
        account.spend(seller.addr, 1);
    }

    function test_RevertIf_spend_withoutPermission() public {
        ISessionKeys.Terms memory terms = _terms(key);
        terms.permissions = ALL & ~SPEND;
        _grantTerms(terms);
        _expectNoSpend(key, ISessionKeys.SessionNotLive.selector);
    }

    function test_RevertIf_spend_expired() public {
        _grantTo(key);
        vm.warp(NOW + 30 days);
        _spendAs(key, 1);
        vm.warp(NOW + 30 days + 1);
        _expectNoSpend(key, ISessionKeys.SessionNotLive.selector);
    }

    function test_RevertIf_spend_byStranger() public {
        _expectNoSpend(other, ISessionKeys.SessionNotLive.selector);
        _expectNoSpend(owner, ISessionKeys.SessionNotLive.selector);
    }

    function test_RevertIf_spend_nothing() public {
        _grantTo(key);
        vm.prank(key.addr);
        vm.expectRevert(ISessionKeys.SessionAmountZero.selector);
        account.spend(payee.addr, 0);
    }

    function test_RevertIf_spend_toItself() public {
        _grantTo(key);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionPayeeInvalid.selector);
        account.spend(address(account), 1);
    }

    /// @dev What leaves beyond the amount counts too; what does not leave reverts; and a token that
    /// answers false, or nothing, is no way round.
    function test_spend_countsWhatReallyLeaves() public {
        OddToken odd = new OddToken();
        SessionAccountFactory factory_ = _factoryBehind(account.entryPoint(), IERC20(address(odd)));
        account = SessionAccount(payable(factory_.createAccount(owner.addr, "odd")));
        odd.mint(address(account), 10_000_000);
        _grantTo(key);
        odd.set(OddToken.Mood.TakesMore);
        _spendAs(key, 400_000);
        vm.assertEq(account.sessionOf(key.addr).spent, 800_000);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        account.spend(payee.addr, 100_001);
        odd.set(OddToken.Mood.MovesNothing);
        _expectNoSpend(key, ISessionKeys.SessionSpendIncomplete.selector);
        odd.set(OddToken.Mood.MovesLess);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionSpendIncomplete.selector);
        account.spend(payee.addr, 10);
        odd.set(OddToken.Mood.SaysNo);
        vm.prank(key.addr);
        vm.expectRevert();
        account.spend(payee.addr, 1);
        vm.assertEq(account.sessionOf(key.addr).spent, 800_000);
    }

    // ------------------------------------------------------------------ relayed

    function test_spendSigned_sentByAnyone() public {
        _grantTo(key);
        ISessionKeys.Order memory order = _order(key, 400_000);
        bytes memory signature = _sign(key, _orderDigest(order));
        vm.prank(other.addr);
        account.spendSigned(order, signature);
        vm.assertEq(_paid(), 400_000);
        vm.assertEq(account.sessionOf(key.addr).orderNonce, 1);
    }

    function test_RevertIf_spendSigned_again() public {
        _grantTo(key);
        ISessionKeys.Order memory order = _order(key, 1);
        bytes memory signature = _sign(key, _orderDigest(order));
        account.spendSigned(order, signature);
        vm.expectPartialRevert(ISessionKeys.SessionOrderInvalid.selector);
        account.spendSigned(order, signature);
        vm.assertEq(_paid(), 1);
    }

    function test_RevertIf_spendSigned_late() public {
        _grantTo(key);
        ISessionKeys.Order memory order = _order(key, 1);
        bytes memory signature = _sign(key, _orderDigest(order));
        vm.warp(order.deadline + 1);
        vm.expectPartialRevert(ISessionKeys.SessionOrderInvalid.selector);
        account.spendSigned(order, signature);
        vm.warp(order.deadline);
        account.spendSigned(order, signature);
    }

    /// @dev Whoever relays cannot change a word of it.
    function testFuzz_RevertIf_spendSigned_changed(uint8 field, uint160 word) public {
        _grantTo(key);
        _grantTo(other);
        ISessionKeys.Order memory order = _order(key, 1);
        bytes memory signature = _sign(key, _orderDigest(order));
        field %= 5;
        if (field == 0) order.key = other.addr;
        if (field == 1) order.to = address(word == uint160(payee.addr) ? word + 1 : word);
        if (field == 2) order.amount = uint256(word) + 2;
        if (field == 3) order.nonce += uint64(_bound(word, 1, type(uint64).max));
        if (field == 4) order.deadline += uint40(_bound(word, 1, 1000));
        vm.expectPartialRevert(ISessionKeys.SessionOrderInvalid.selector);
        account.spendSigned(order, signature);
    }

    /// @dev An order by nobody, which is whom a wrong signature recovers to.
    function test_RevertIf_spendSigned_byNobody() public {
        ISessionKeys.Order memory order = _order(key, 1);
        order.key = address(0);
        vm.expectPartialRevert(ISessionKeys.SessionOrderInvalid.selector);
        account.spendSigned(order, "");
    }

    // ------------------------------------------------------------------ grants by signature

    function test_grantSigned_sentByAnyone() public {
        ISessionKeys.Terms memory terms = _termsWithFees(key);
        bytes memory signature = _sign(owner, _grantDigest(terms));
        vm.prank(other.addr);
        vm.expectEmit(address(account));
        emit ISessionAccount.SessionGranted(
            key.addr, terms.permissions, terms.expiresAt, terms.cap, terms.period
        );
        vm.expectEmit(address(account));
        emit ISessionAccount.SessionFeesGranted(key.addr, address(0), FEE_MAX, 10);
        account.grantSigned(terms, 0, signature);
        ISessionKeys.Session memory session = account.sessionOf(key.addr);
        vm.assertEq(session.sequence, 1);
        vm.assertEq(session.feeMax, FEE_MAX);
        vm.assertEq(session.operationsMax, 10);
        _spendAs(key, DOLLAR);
    }

    /// @dev Not the key, nobody, nor a session with all permissions grants anything.
    function test_RevertIf_grantSigned_byOther() public {
        ISessionKeys.Terms memory terms = _terms(other);
        terms.permissions = ALL;
        _grantTerms(terms);
        ISessionKeys.Terms memory wanted = _terms(key);
        bytes memory signature = _sign(other, _grantDigest(wanted));
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(wanted, 0, signature);
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(wanted, 0, "");
    }

    /// @dev Whoever relays cannot change a word of it.
    function testFuzz_RevertIf_grantSigned_changed(uint8 field, uint64 word) public {
        ISessionKeys.Terms memory terms = _terms(key);
        bytes memory signature = _sign(owner, _grantDigest(terms));
        word = uint64(_bound(word, 1, type(uint32).max));
        uint16 sequence;
        field %= 9;
        if (field == 0) terms.key = other.addr;
        if (field == 1) terms.permissions = uint8(_bound(word, 9, 15));
        if (field == 2) terms.expiresAt += uint40(_bound(word, 1, 1 days));
        if (field == 3) terms.cap += word;
        if (field == 4) terms.period = uint32(_bound(word, 1, DAY - 1));
        if (field == 5) terms.paymaster = other.addr;
        if (field == 6) terms.feeMax = word;
        if (field == 7) terms.operationsMax = uint32(word);
        if (field == 8) sequence = uint16(_bound(word, 1, type(uint16).max));
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(terms, sequence, signature);
    }

    /// @dev Grant and first use in one transaction; and whoever sends the grant first does not stop it.
    function test_relay_grantsAndSpends() public {
        SessionRelay relay = SessionRelay(_deploy("SessionRelay", ""));
        ISessionKeys.Terms memory terms = _terms(key);
        bytes memory grant = _sign(owner, _grantDigest(terms));
        ISessionKeys.Order memory order = _order(key, 7);
        bytes memory signature =
            _sign(key, _digest(account, _orderHash(address(account), order, 1)));
        uint256 state = vm.snapshotState();
        relay.grantAndSpend(account, terms, 0, grant, order, signature);
        vm.assertEq(_paid(), 7);
        vm.revertToState(state);
        account.grantSigned(terms, 0, grant);
        relay.grantAndSpend(account, terms, 0, grant, order, signature);
        vm.assertEq(_paid(), 7);
    }

    // ------------------------------------------------------------------ rotation

    function test_rotateSession_sharesCap() public {
        _grantTo(key);
        _spendAs(key, 600_000);
        vm.prank(owner.addr);
        account.rotateSession(key.addr, other.addr);
        _expectNoSpend(key, ISessionKeys.SessionNotLive.selector);
        _spendAs(other, 400_000);
        _expectNoSpend(other, ISessionKeys.SessionCapExceeded.selector);
        vm.warp(NOW + DAY + DAY / 8);
        _spendAs(other, DOLLAR);
    }

    /// @dev Granting the old key again does not give back what it spent.
    function test_rotateSession_oldKeyRemembers() public {
        _grantTo(key);
        _spendAs(key, DOLLAR);
        vm.prank(owner.addr);
        account.rotateSession(key.addr, other.addr);
        _grantTo(key);
        _expectNoSpend(key, ISessionKeys.SessionCapExceeded.selector);
    }

    /// @dev No replacement that is the owner, nobody, the account, or was a key before.
    function test_RevertIf_rotateSession_toUsedKey() public {
        _grantTo(key);
        _grantTo(other);
        vm.startPrank(owner.addr);
        account.revokeSession(other.addr);
        address[4] memory bad = [other.addr, owner.addr, address(0), address(account)];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectPartialRevert(ISessionKeys.SessionKeyInvalid.selector);
            account.rotateSession(key.addr, bad[i]);
        }
        vm.stopPrank();
    }

    /// @dev The sequence ends after two thousand grants: no more grants, but revoking always works.
    function test_revokeSession_atTheEndOfTheSequence() public {
        for (uint256 i = 0; i < 2047; ++i) {
            _grantTo(key);
        }
        ISessionKeys.Terms memory terms = _terms(key);
        vm.prank(owner.addr);
        vm.expectPartialRevert(ISessionKeys.SessionKeyInvalid.selector);
        account.grantTerms(terms);
        vm.prank(owner.addr);
        account.revokeSession(key.addr);
        _expectNoSpend(key, ISessionKeys.SessionNotLive.selector);
        vm.assertEq(account.sessionOf(key.addr).sequence, 2047);
    }

    // ------------------------------------------------------------------ helpers

    function _setCap(address bearer, uint88 cap) private {
        vm.prank(owner.addr);
        account.setCap(bearer, cap, DAY);
    }

    function _expectNoSpend(Party memory party, bytes4 reason) private {
        vm.prank(party.addr);
        vm.expectPartialRevert(reason);
        account.spend(payee.addr, 1);
    }
}
