// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IAccountOwner} from "../src/IAccountOwner.sol";
import {ISessionAccount} from "../src/ISessionAccount.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {AccountTest} from "./AccountTest.sol";

/// @title The most that a thief can take with each kind of key, before and after it is revoked
/// @dev The thief tries every way at once, as often as it can.
contract AccountTheftTest is AccountTest {
    IEntryPoint private real;

    function setUp() public override {
        super.setUp();
        real = _deployEntryPoint("contracts");
        account = _accountBehind(real);
    }

    /// @dev A spending key: its cap in any day; ten cheap operations; nothing once it is revoked.
    function test_thief_ofSpendingKey_takesItsCap() public {
        _grantTerms(_termsWithFees(key));
        _plunder();
        vm.assertEq(_paid(), DOLLAR);
        vm.warp(NOW + DAY - 1);
        _plunder();
        vm.assertEq(_paid(), DOLLAR);
        vm.prank(owner.addr);
        account.revokeSession(key.addr);
        vm.warp(NOW + 3 * uint256(DAY));
        _plunder();
        vm.assertEq(_paid(), DOLLAR);
        uint256 left = address(account).balance + real.balanceOf(address(account));
        vm.assertGe(left, 1 ether - 10 * uint256(FEE_MAX), "more fees than granted");
        vm.assertEq(usdc.balanceOf(address(account)), 999 * DOLLAR);
    }

    /// @dev The account's cap bounds all stolen keys together, the payee's what one payee gets.
    function test_thief_ofAllKeys_takesTheAccountsCap() public {
        Party memory one = key;
        _grantTerms(_termsWithFees(key));
        _grantTerms(_termsWithFees(other));
        vm.startPrank(owner.addr);
        account.setCap(address(account), 1_200_000, DAY);
        account.setCap(payee.addr, 700_000, DAY);
        vm.stopPrank();
        _plunder();
        key = other;
        _plunder();
        vm.assertEq(_paid(), 700_000);
        vm.prank(key.addr);
        account.spend(seller.addr, 500_000);
        vm.prank(one.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        account.spend(seller.addr, 1);
        vm.prank(owner.addr);
        account.revokeAllSessions();
        vm.warp(NOW + 3 * uint256(DAY));
        _plunder();
        key = one;
        _plunder();
        vm.assertEq(_paid(), 700_000);
    }

    /// @dev A key that may settle, sign and cancel takes none of the account's tokens.
    function test_thief_ofOtherKeys_takesNothing() public {
        ISessionKeys.Terms memory terms = _termsWithFees(key);
        terms.permissions = SETTLE | CANCEL;
        _grantTerms(terms);
        _plunder();
        vm.assertEq(_paid(), 0);
        vm.assertEq(usdc.balanceOf(address(account)), 1000 * DOLLAR);
    }

    /// @dev A guardian takes nothing in the delay, and nothing after the owner's veto.
    function test_thief_ofGuardian_takesNothing() public {
        bytes memory guardian = abi.encodePacked(other.addr);
        bytes memory signer = abi.encodePacked(key.addr);
        vm.prank(owner.addr);
        account.setGuardian(guardian, 1 days);
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("AccountRecovery(bytes signer,uint64 nonce)"),
                keccak256(signer),
                uint64(1)
            )
        );
        account.startRecovery(guardian, signer, _sign65(other, _digest(account, hash)));
        vm.warp(NOW + 1 days - 1);
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(signer);
        _plunder();
        vm.prank(owner.addr);
        account.cancelRecovery();
        vm.warp(NOW + 2 days);
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(signer);
        vm.assertEq(usdc.balanceOf(address(account)), 1000 * DOLLAR);
    }

    /// @dev Every way that a key has, in amounts that halve: whatever is left is found.
    function _plunder() private {
        for (uint256 amount = 2 * DOLLAR; amount != 0; amount /= 2) {
            // The last of it twice, so that no remainder stays.
            _try(abi.encodeCall(account.spend, (payee.addr, amount)));
            _tryOrder(amount);
            if (amount > DOLLAR / 4) _tryOperation(amount);
        }
        _try(abi.encodeCall(account.spend, (payee.addr, 1)));
        bytes memory theft = abi.encodeCall(usdc.transfer, (key.addr, DOLLAR));
        _try(abi.encodeCall(account.execute, (address(usdc), 0, theft)));
        _try(abi.encodeCall(account.grantTerms, (_terms(other))));
        _try(abi.encodeCall(account.rotateSession, (key.addr, stranger().addr)));
        _try(abi.encodeCall(account.setCap, (key.addr, DOLLAR, DAY)));
        _try(abi.encodeCall(account.changeOwner, (abi.encodePacked(key.addr))));
        _try(
            abi.encodeCall(
                account.callSettlement, (abi.encodeCall(ISettlement.withdraw, (key.addr)))
            )
        );
    }

    function stranger() private returns (Party memory) {
        return _party("stranger");
    }

    function _try(bytes memory data) private {
        vm.prank(key.addr);
        (bool success,) = address(account).call(data);
        success;
    }

    function _tryOrder(uint256 amount) private {
        ISessionKeys.Order memory order = _order(key, amount);
        order.deadline = type(uint40).max;
        try account.spendSigned(order, _sign(key, _orderDigest(order))) {} catch {}
    }

    function _tryOperation(uint256 amount) private {
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = _signed(_spendOperation(account, key, amount), key);
        vm.prank(BUNDLER, BUNDLER);
        try real.handleOps(operations, payable(BUNDLER)) {} catch {}
    }
}
