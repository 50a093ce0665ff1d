// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {Account as ERC4337Account} from "@openzeppelin/contracts/account/Account.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {CapWord} from "../src/CapWord.sol";
import {IAccountOwner} from "../src/IAccountOwner.sol";
import {IEscrow} from "../src/IEscrow.sol";
import {ILedger} from "../src/ILedger.sol";
import {ISessionAccount} from "../src/ISessionAccount.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {Batch, SettledIntent, SettledOffer} from "./Batch.sol";
import {ContractOwner} from "./Hostile.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title What an owner can do, and all that a session key cannot
contract SessionAccountTest is MarketTest {
    /// @dev Up to here a word keeps caps and charges to the atom.
    uint88 internal constant EXACT_MAX = 1 << 21;
    uint8 internal constant ALL = SETTLE | CANCEL | SPEND;
    uint32 internal constant LONGEST = uint32(CapWord.PERIOD_MAX_S);

    Party internal owner;
    Party internal key;
    Party internal stranger;
    SessionAccount internal account;

    function setUp() public override {
        super.setUp();
        owner = _party("owner");
        key = _party("key");
        stranger = _party("stranger");
        account = _account(owner);
    }

    // ------------------------------------------------------------------ initialisation

    function test_initialize_wasDoneByFactory() public view {
        vm.assertEq(account.owner(), owner.addr);
        vm.assertEq(account.settlement(), address(settlement));
        vm.assertEq(address(account.entryPoint()), entryPoint);
        vm.assertEq(account.sessionEpoch(), 0);
    }

    function test_RevertIf_initialize_twice() public {
        vm.expectRevert(IAccountOwner.SessionAccountInitialized.selector);
        account.initialize(abi.encodePacked(stranger.addr));
    }

    function test_RevertIf_initialize_implementation() public {
        vm.expectRevert(IAccountOwner.SessionAccountInitialized.selector);
        implementation.initialize(abi.encodePacked(stranger.addr));
        vm.assertEq(implementation.owner(), address(0));
    }

    function test_RevertIf_implementation_isUsed() public {
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        implementation.execute(address(usdc), 0, "");
    }

    // ------------------------------------------------------------------ owner

    function test_execute_byOwner() public {
        usdc.mint(address(account), 5);
        vm.prank(owner.addr);
        bytes memory result =
            account.execute(address(usdc), 0, abi.encodeCall(usdc.transfer, (seller.addr, 5)));
        vm.assertTrue(abi.decode(result, (bool)));
        vm.assertEq(usdc.balanceOf(seller.addr), 5);
    }

    function test_execute_sendsValue() public {
        vm.deal(address(account), 3);
        vm.prank(entryPoint);
        account.execute(seller.addr, 3, "");
        vm.assertEq(seller.addr.balance, 3);
    }

    function test_execute_bubblesRevert() public {
        vm.prank(owner.addr);
        vm.expectRevert(IEscrow.SettlementAmountZero.selector);
        account.execute(address(settlement), 0, abi.encodeCall(settlement.requestWithdrawal, (0)));
    }

    function test_executeBatch_allOrNone() public {
        usdc.mint(address(account), 5);
        ISessionAccount.Call[] memory calls = new ISessionAccount.Call[](2);
        calls[0] =
            ISessionAccount.Call(address(usdc), 0, abi.encodeCall(usdc.transfer, (seller.addr, 3)));
        calls[1] =
            ISessionAccount.Call(address(usdc), 0, abi.encodeCall(usdc.transfer, (seller.addr, 3)));
        vm.prank(owner.addr);
        vm.expectRevert();
        account.executeBatch(calls);
        vm.assertEq(usdc.balanceOf(seller.addr), 0);
        calls[1].data = abi.encodeCall(usdc.transfer, (seller.addr, 2));
        vm.prank(owner.addr);
        account.executeBatch(calls);
        vm.assertEq(usdc.balanceOf(seller.addr), 5);
    }

    /// @dev The account may call itself on the owner's word: several grants in one transaction.
    function test_executeBatch_grantsThroughSelf() public {
        ISessionAccount.Call[] memory calls = new ISessionAccount.Call[](1);
        calls[0] = ISessionAccount.Call(
            address(account), 0, abi.encodeCall(account.grantSession, (key.addr, SPEND, NOW + 1, 7))
        );
        vm.prank(owner.addr);
        account.executeBatch(calls);
        vm.assertTrue(account.isSessionLive(key.addr, SPEND));
    }

    function testFuzz_RevertIf_ownerFunction_byOther(address caller) public {
        vm.assume(caller != owner.addr && caller != entryPoint && caller != address(account));
        _grantAll(100);
        bytes[] memory calls = new bytes[](7);
        calls[0] = abi.encodeCall(account.execute, (address(usdc), 0, ""));
        calls[1] = abi.encodeCall(account.executeBatch, (new ISessionAccount.Call[](0)));
        calls[2] = abi.encodeCall(account.changeOwner, (abi.encodePacked(caller)));
        calls[3] = abi.encodeCall(account.grantSession, (caller, 1, NOW + 1, 1));
        calls[4] = abi.encodeCall(account.rotateSession, (key.addr, caller));
        calls[5] = abi.encodeCall(account.revokeAllSessions, ());
        calls[6] = abi.encodeCall(account.revokeSession, (stranger.addr));
        for (uint256 i = 0; i < calls.length; ++i) {
            if (i == 6 && caller == stranger.addr) continue;
            vm.prank(caller);
            (bool success, bytes memory result) = address(account).call(calls[i]);
            vm.assertFalse(success);
            vm.assertEq(
                bytes32(bytes4(result)), bytes32(IAccountOwner.SessionAccountUnauthorized.selector)
            );
        }
    }

    /// @dev A key with every permission is still no owner.
    function test_RevertIf_ownerFunction_bySessionKey() public {
        _grantAll(100);
        testFuzz_RevertIf_ownerFunction_byOther(key.addr);
    }

    function test_changeOwner_movesControl() public {
        vm.prank(owner.addr);
        vm.expectEmit(address(account));
        emit IAccountOwner.OwnerChanged(stranger.addr, "");
        account.changeOwner(abi.encodePacked(stranger.addr));
        vm.prank(owner.addr);
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        account.execute(address(usdc), 0, "");
        vm.prank(stranger.addr);
        account.revokeAllSessions();
    }

    function test_RevertIf_changeOwner_invalid() public {
        vm.startPrank(owner.addr);
        vm.expectPartialRevert(IAccountOwner.SessionAccountOwnerInvalid.selector);
        account.changeOwner(abi.encodePacked(address(0)));
        vm.expectPartialRevert(IAccountOwner.SessionAccountOwnerInvalid.selector);
        account.changeOwner(abi.encodePacked(address(account)));
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ grants

    function test_grantSession_writesOneSlot() public {
        vm.prank(owner.addr);
        vm.expectEmit(address(account));
        emit ISessionAccount.SessionGranted(key.addr, SPEND | CANCEL, NOW + 9, 77, LONGEST);
        account.grantSession(key.addr, SPEND | CANCEL, NOW + 9, 77);
        ISessionAccount.Session memory session = account.sessionOf(key.addr);
        vm.assertEq(session.expiresAt, NOW + 9);
        vm.assertEq(session.permissions, SPEND | CANCEL);
        vm.assertEq(session.cap, 77);
        vm.assertEq(session.spent, 0);
        vm.assertTrue(account.isSessionLive(key.addr, SPEND | CANCEL));
        vm.assertFalse(account.isSessionLive(key.addr, SPEND | SETTLE));
        vm.assertFalse(account.isSessionLive(stranger.addr, 0));
    }

    function test_RevertIf_grantSession_invalid() public {
        vm.startPrank(owner.addr);
        vm.expectPartialRevert(ISessionKeys.SessionKeyInvalid.selector);
        account.grantSession(address(0), SPEND, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionKeyInvalid.selector);
        account.grantSession(address(account), SPEND, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionKeyInvalid.selector);
        account.grantSession(owner.addr, SPEND, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionPermissionsInvalid.selector);
        account.grantSession(key.addr, 0, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionPermissionsInvalid.selector);
        account.grantSession(key.addr, 32, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionPermissionsInvalid.selector);
        account.grantSession(key.addr, SIGN | SPEND, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionPermissionsInvalid.selector);
        account.grantSession(key.addr, 16, NOW + 1, 1);
        vm.expectPartialRevert(ISessionKeys.SessionExpiryInvalid.selector);
        account.grantSession(key.addr, SPEND, NOW, 1);
        vm.stopPrank();
    }

    /// @dev Neither revoking nor granting again gives a key its cap back.
    function testFuzz_grantSession_keepsSpent(uint88 cap, uint88 spent, uint88 capAgain) public {
        spent = uint88(_bound(spent, 1, EXACT_MAX - 1));
        cap = uint88(_bound(cap, spent, EXACT_MAX));
        capAgain = uint88(_bound(capAgain, 0, EXACT_MAX));
        _grantAll(cap);
        this.spend(key, spent);
        vm.startPrank(owner.addr);
        account.revokeSession(key.addr);
        account.revokeAllSessions();
        account.grantSession(key.addr, SPEND, NOW + 9, capAgain);
        vm.stopPrank();
        vm.assertEq(account.sessionOf(key.addr).spent, spent);
        uint256 left = capAgain > spent ? capAgain - spent : 0;
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        this.spend(key, left + 1);
        if (left > 0) this.spend(key, left);
    }

    function test_revokeSession_atOnce() public {
        _grantAll(100);
        vm.prank(owner.addr);
        vm.expectEmit(address(account));
        emit ISessionAccount.SessionRevoked(key.addr);
        account.revokeSession(key.addr);
        _expectDead(key);
    }

    function test_revokeSession_byKeyItself() public {
        _grantAll(100);
        vm.prank(key.addr);
        account.revokeSession(key.addr);
        _expectDead(key);
    }

    function test_revokeAllSessions_atOnce() public {
        _grantAll(100);
        vm.prank(owner.addr);
        account.grantSession(stranger.addr, ALL, NOW + 9, 1);
        vm.prank(owner.addr);
        vm.expectEmit(address(account));
        emit ISessionAccount.AllSessionsRevoked(1);
        account.revokeAllSessions();
        _expectDead(key);
        _expectDead(stranger);
        _grantAll(100);
        vm.assertTrue(account.isSessionLive(key.addr, ALL));
    }

    function test_rotateSession_keepsSpent() public {
        _grantAll(100);
        this.spend(key, 30);
        vm.prank(owner.addr);
        account.rotateSession(key.addr, stranger.addr);
        _expectDead(key);
        ISessionAccount.Session memory session = account.sessionOf(stranger.addr);
        vm.assertEq(session.cap, 100);
        vm.assertEq(session.spent, 30);
        vm.assertEq(session.permissions, ALL);
        vm.assertEq(session.expiresAt, NOW + 1 days);
        this.spend(stranger, 70);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        this.spend(stranger, 1);
    }

    function test_RevertIf_rotateSession_invalid() public {
        vm.startPrank(owner.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        account.rotateSession(key.addr, stranger.addr);
        account.grantSession(key.addr, ALL, NOW + 1 days, 100);
        account.grantSession(stranger.addr, ALL, NOW + 1 days, 100);
        vm.expectPartialRevert(ISessionKeys.SessionKeyInvalid.selector);
        account.rotateSession(key.addr, stranger.addr);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ callSettlement

    function test_callSettlement_cancels() public {
        _grant(account, owner, key, CANCEL, 0);
        vm.startPrank(key.addr);
        account.callSettlement(abi.encodeCall(ISettlement.cancel, (3)));
        bytes memory result = account.callSettlement(abi.encodeCall(ISettlement.cancelAll, ()));
        vm.stopPrank();
        vm.assertEq(settlement.cancelledAt(address(account), 3), NOW + EXIT_DELAY);
        (uint32 epoch,) = abi.decode(result, (uint32, uint256));
        vm.assertEq(epoch, 1);
    }

    /// @dev Each permission opens its own selectors and nothing else.
    function testFuzz_RevertIf_callSettlement_withoutPermission(uint8 permissions) public {
        permissions &= ALL;
        vm.assume(permissions != 0);
        vm.prank(owner.addr);
        account.grantSession(key.addr, permissions, NOW + 1, 1);
        if (permissions & CANCEL == 0) {
            _expectNotLive(abi.encodeCall(ISettlement.cancel, (1)));
            _expectNotLive(abi.encodeCall(ISettlement.cancelAll, ()));
        }
        if (permissions & SETTLE == 0) {
            _expectNotLive(abi.encodeCall(ISettlement.settle, (1, 0, "")));
        }
    }

    /// @dev Nothing that moves money out, and no other selector at all.
    function testFuzz_RevertIf_callSettlement_otherSelector(bytes4 selector) public {
        _grantAll(100);
        vm.assume(selector != ISettlement.settle.selector);
        vm.assume(selector != ISettlement.cancel.selector);
        vm.assume(selector != ISettlement.cancelAll.selector);
        _expectForbidden(selector, abi.encodePacked(selector));
    }

    function test_RevertIf_callSettlement_moneyOut() public {
        _grantAll(100);
        _fund(address(account), 100);
        _expectForbidden(
            ISettlement.withdraw.selector, abi.encodeCall(ISettlement.withdraw, (key.addr))
        );
        _expectForbidden(
            ISettlement.requestWithdrawal.selector,
            abi.encodeCall(ISettlement.requestWithdrawal, (100))
        );
        _expectForbidden(
            ISettlement.deposit.selector, abi.encodeCall(ISettlement.deposit, (key.addr, 1))
        );
    }

    function test_RevertIf_callSettlement_shortData() public {
        _grantAll(100);
        bytes memory data = abi.encodeCall(ISettlement.cancelAll, ());
        for (uint256 length = 0; length < 4; ++length) {
            assembly {
                mstore(data, length)
            }
            vm.prank(key.addr);
            vm.expectPartialRevert(ISessionAccount.SessionCallForbidden.selector);
            account.callSettlement(data);
        }
    }

    function test_RevertIf_callSettlement_expired() public {
        _grantAll(100);
        vm.warp(NOW + 1 days);
        vm.prank(key.addr);
        account.callSettlement(abi.encodeCall(ISettlement.cancel, (1)));
        vm.warp(NOW + 1 days + 1);
        _expectNotLive(abi.encodeCall(ISettlement.cancel, (2)));
    }

    function test_callSettlement_bubblesRevert() public {
        _grantAll(100);
        vm.startPrank(key.addr);
        vm.expectPartialRevert(ILedger.SettlementCallerNotOperator.selector);
        account.callSettlement(abi.encodeCall(ISettlement.settle, (1, 0, "")));
        vm.stopPrank();
    }

    /// @dev The operator's key moves at most its cap, over all its batches.
    function test_RevertIf_callSettlement_capExceeded() public {
        _fund(buyer.addr, 1000);
        vm.prank(operatorOwner.addr);
        operator.grantSession(key.addr, SETTLE, NOW + 1 days, 50);
        _settleAs(key, 1, 30);
        vm.assertEq(operator.sessionOf(key.addr).spent, 30);
        bytes memory data = _settleData(2, 21);
        vm.prank(key.addr);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionKeys.SessionCapExceeded.selector, key.addr, uint256(21), uint256(20)
            )
        );
        operator.callSettlement(data);
        vm.assertFalse(settlement.isBatchSettled(2));
        _settleAs(key, 2, 20);
        vm.assertEq(_balance(seller.addr), 50);
    }

    // ------------------------------------------------------------------ ERC-1271 and ERC-4337

    function test_isValidSignature_plainForSettlementOnly() public {
        bytes memory signature = _sign(owner, "digest");
        vm.prank(address(settlement));
        _assertMagic(account.isValidSignature("digest", signature), true);
        _assertMagic(account.isValidSignature("digest", signature), false);
        _grantAll(100);
        signature = _sign(key, "digest");
        vm.prank(address(settlement));
        _assertMagic(account.isValidSignature("digest", signature), false);
    }

    /// @dev ERC-7739's personal signature: bound to this account, so useless at another one.
    function test_isValidSignature_boundToAccount() public {
        vm.prank(owner.addr);
        SessionAccount other = SessionAccount(payable(factory.createAccount(owner.addr, "other")));
        bytes32 digest = keccak256("anything");
        bytes memory signature = _personalSign(account, owner, digest);
        _assertMagic(account.isValidSignature(digest, signature), true);
        _assertMagic(other.isValidSignature(digest, signature), false);
        _grantAll(100);
        _assertMagic(account.isValidSignature(digest, _personalSign(account, key, digest)), false);
    }

    function test_isValidSignature_contractOwner() public {
        ContractOwner safe = new ContractOwner();
        SessionAccount owned =
            SessionAccount(payable(factory.createAccount(address(safe), "owned")));
        safe.accept("digest");
        vm.prank(address(settlement));
        _assertMagic(owned.isValidSignature("digest", "whatever"), true);
        vm.prank(address(settlement));
        _assertMagic(owned.isValidSignature("other", "whatever"), false);
    }

    /// @dev An owner whose key has delegated to code (EIP-7702) signs as before.
    function test_isValidSignature_ownerWithCode() public {
        vm.etch(owner.addr, hex"fe");
        bytes memory signature = _sign(owner, "digest");
        vm.prank(address(settlement));
        _assertMagic(account.isValidSignature("digest", signature), true);
    }

    function test_isValidSignature_implementationSignsNothing() public {
        vm.prank(address(settlement));
        _assertMagic(implementation.isValidSignature("digest", ""), false);
    }

    function test_validateUserOp_ownerOnly() public {
        _grantAll(100);
        PackedUserOperation memory operation;
        operation.signature = _sign(owner, "hash");
        vm.prank(entryPoint);
        vm.assertEq(account.validateUserOp(operation, "hash", 0), 0);
        operation.signature = _sign(key, "hash");
        vm.prank(entryPoint);
        vm.assertEq(account.validateUserOp(operation, "hash", 0), 1);
        vm.expectPartialRevert(ERC4337Account.AccountUnauthorized.selector);
        account.validateUserOp(operation, "hash", 0);
    }

    // ------------------------------------------------------------------ helpers

    function spend(Party memory by, uint256 amount) external {
        usdc.mint(address(account), amount);
        vm.prank(by.addr);
        account.spend(seller.addr, amount);
    }

    function _grantAll(uint88 cap) private {
        vm.prank(owner.addr);
        account.grantSession(key.addr, ALL, NOW + 1 days, cap);
    }

    function _expectDead(Party memory party) private {
        vm.assertFalse(account.isSessionLive(party.addr, 0));
        bytes memory data = abi.encodeCall(ISettlement.cancel, (1));
        vm.prank(party.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        account.callSettlement(data);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        this.spend(party, 1);
    }

    function _expectNotLive(bytes memory data) private {
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        account.callSettlement(data);
    }

    function _expectForbidden(bytes4 selector, bytes memory data) private {
        vm.prank(key.addr);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionAccount.SessionCallForbidden.selector, selector)
        );
        account.callSettlement(data);
    }

    function _settleData(uint64 number, uint64 units) private view returns (bytes memory) {
        SettledIntent memory intent =
            _intentOf(number, _line(0, units, units, units, bytes32(uint256(number))));
        return abi.encodeCall(
            ISettlement.settle, (number, 0, Batch.encode(_list(_offerOf(1)), _list(intent)))
        );
    }

    function _settleAs(Party memory party, uint64 number, uint64 units) private {
        bytes memory data = _settleData(number, units);
        vm.prank(party.addr);
        operator.callSettlement(data);
    }

    function _personalSign(SessionAccount at_, Party memory party, bytes32 digest)
        private
        view
        returns (bytes memory)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("KeyfillAccount"),
                keccak256("1"),
                block.chainid,
                address(at_)
            )
        );
        bytes32 hash = keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), digest));
        return _sign(party, keccak256(abi.encodePacked(hex"1901", domain, hash)));
    }

    function _assertMagic(bytes4 answer, bool isValid) private pure {
        bytes4 expected = isValid ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
        vm.assertEq(bytes32(answer), bytes32(expected));
    }
}
