// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IEscrow} from "../src/IEscrow.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ILedger} from "../src/ILedger.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {IVerified} from "../src/IVerified.sol";
import {SettlementDesk} from "../src/SettlementDesk.sol";
import {TestUSDC} from "../src/TestUSDC.sol";
import {FeeToken, HookedToken} from "./Hostile.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Deposits, withdrawals, and the constructor
contract SettlementMoneyTest is MarketTest {
    function test_constructor_setsConfiguration() public view {
        vm.assertEq(settlement.asset(), address(usdc));
        vm.assertEq(settlement.operator(), address(operator));
        vm.assertEq(settlement.exitDelay(), EXIT_DELAY);
    }

    function test_RevertIf_constructor_zeroToken() public {
        vm.expectRevert(ILedger.SettlementZeroAddress.selector);
        _deploy("Settlement", abi.encode(IERC20(address(0)), address(1), 0, 0, desk));
    }

    function test_RevertIf_constructor_zeroOperator() public {
        vm.expectRevert(ILedger.SettlementZeroAddress.selector);
        _deploy("Settlement", abi.encode(usdc, address(0), 0, 0, desk));
    }

    function test_RevertIf_constructor_exitDelayTooLong() public {
        uint40 delay = 30 days + 1;
        vm.expectRevert(abi.encodeWithSelector(ILedger.SettlementExitDelayInvalid.selector, delay));
        _deploy("Settlement", abi.encode(usdc, address(1), delay, 0, desk));
    }

    /// @dev The desk's code has all three in it.
    function test_RevertIf_constructor_deskOfAnother() public {
        bytes memory reason =
            abi.encodeWithSelector(IVerified.SettlementDeskInvalid.selector, address(desk));
        vm.expectRevert(reason);
        _deploy("Settlement", abi.encode(usdc, address(1), EXIT_DELAY, 0, desk));
        vm.expectRevert(reason);
        _deploy("Settlement", abi.encode(usdc, address(operator), EXIT_DELAY - 1, 0, desk));
        TestUSDC token = TestUSDC(_deploy("TestUSDC", ""));
        vm.expectRevert(reason);
        _deploy("Settlement", abi.encode(token, address(operator), EXIT_DELAY, 0, desk));
    }

    // ------------------------------------------------------------------ deposit

    function test_deposit_creditsAnyAccount() public {
        usdc.mint(address(this), 7);
        usdc.approve(address(settlement), 7);
        vm.expectEmit(address(settlement));
        emit IEscrow.Deposited(buyer.addr, address(this), 5, 5);
        settlement.deposit(buyer.addr, 5);
        vm.expectEmit(address(settlement));
        emit IEscrow.Deposited(buyer.addr, address(this), 2, 7);
        settlement.deposit(buyer.addr, 2);
        vm.assertEq(_balance(buyer.addr), 7);
        vm.assertEq(usdc.balanceOf(address(settlement)), 7);
    }

    function testFuzz_deposit_keepsOtherFields(uint72 amount, uint72 asked) public {
        vm.assume(amount > 0 && asked > 0);
        vm.prank(buyer.addr);
        settlement.requestWithdrawal(asked);
        vm.prank(buyer.addr);
        settlement.cancelAll();
        _fund(buyer.addr, amount);
        IEscrow.AccountView memory account = settlement.accountOf(buyer.addr);
        vm.assertEq(account.balance, amount);
        vm.assertEq(account.withdrawing, asked);
        vm.assertEq(account.withdrawableAt, NOW + EXIT_DELAY);
        vm.assertEq(account.epoch, 1);
        vm.assertEq(account.epochEffectiveAt, NOW + EXIT_DELAY);
        vm.assertEq(account.epochSettleable, 0);
    }

    function test_RevertIf_deposit_zeroAccount() public {
        usdc.mint(address(this), 1);
        usdc.approve(address(settlement), 1);
        vm.expectRevert(ILedger.SettlementZeroAddress.selector);
        settlement.deposit(address(0), 1);
    }

    function test_RevertIf_deposit_zeroAmount() public {
        vm.expectRevert(IEscrow.SettlementAmountZero.selector);
        settlement.deposit(buyer.addr, 0);
    }

    function test_RevertIf_deposit_aboveBalanceWidth() public {
        uint256 amount = uint256(type(uint72).max) + 1;
        usdc.mint(address(this), amount);
        usdc.approve(address(settlement), amount);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SettlementBalanceOverflow.selector, amount));
        settlement.deposit(buyer.addr, amount);
    }

    /// @dev The bound is on all that is held: two accounts cannot exceed it together either.
    function test_RevertIf_deposit_sumAboveBalanceWidth() public {
        _fund(buyer.addr, type(uint72).max);
        usdc.mint(address(this), 1);
        usdc.approve(address(settlement), 1);
        vm.expectPartialRevert(IEscrow.SettlementBalanceOverflow.selector);
        settlement.deposit(seller.addr, 1);
    }

    function test_deposit_creditsWhatArrives() public {
        FeeToken token = new FeeToken();
        ISettlement other = _settlementOf(token);
        token.approve(address(other), 1000);
        other.deposit(buyer.addr, 1000);
        vm.assertEq(other.accountOf(buyer.addr).balance, 990);
    }

    /// @dev A token that calls back finds every door locked until it has answered.
    function test_RevertIf_deposit_isReentered() public {
        HookedToken token = new HookedToken();
        ISettlement other = _settlementOf(token);
        token.approve(address(other), 1000);
        other.deposit(address(token), 100);
        token.set(address(other), abi.encodeCall(other.requestWithdrawal, (100)));
        token.transfer(address(1), 1);
        vm.warp(NOW + EXIT_DELAY);
        bytes[] memory attacks = new bytes[](10);
        attacks[0] = abi.encodeCall(other.withdraw, (address(token)));
        attacks[1] = abi.encodeCall(other.cancelWithdrawal, ());
        attacks[2] = abi.encodeCall(other.requestWithdrawal, (1));
        attacks[3] = abi.encodeCall(other.cancel, (77));
        attacks[4] = abi.encodeCall(other.cancelAll, ());
        attacks[5] = abi.encodeCall(other.settle, (99, 0, ""));
        attacks[6] = abi.encodeCall(other.settleMetered, (99, 0, ""));
        attacks[7] = abi.encodeCall(other.deposit, (address(token), 0));
        attacks[8] = abi.encodeCall(other.accountOf, (address(token)));
        attacks[9] = abi.encodeCall(other.settledUnits, (address(token), 1));
        for (uint256 i = 0; i < attacks.length; ++i) {
            token.set(address(other), attacks[i]);
            vm.expectPartialRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            other.deposit(buyer.addr, 1);
        }
        token.set(address(other), abi.encodeCall(other.exitDelay, ()));
        other.deposit(buyer.addr, 1);
        vm.assertEq(other.accountOf(buyer.addr).balance, 1);
    }

    function test_depositWithPermit_needsNoApproval() public {
        usdc.mint(buyer.addr, 9);
        (uint8 v, bytes32 r, bytes32 s) = _permit(9);
        vm.prank(buyer.addr);
        settlement.depositWithPermit(seller.addr, 9, NOW, v, r, s);
        vm.assertEq(_balance(seller.addr), 9);
    }

    function test_depositWithPermit_survivesFrontRun() public {
        usdc.mint(buyer.addr, 9);
        (uint8 v, bytes32 r, bytes32 s) = _permit(9);
        usdc.permit(buyer.addr, address(settlement), 9, NOW, v, r, s);
        vm.prank(buyer.addr);
        settlement.depositWithPermit(buyer.addr, 9, NOW, v, r, s);
        vm.assertEq(_balance(buyer.addr), 9);
    }

    /// @dev Someone else's permit gives no money to whoever sends it.
    function test_RevertIf_depositWithPermit_byOther() public {
        usdc.mint(buyer.addr, 9);
        (uint8 v, bytes32 r, bytes32 s) = _permit(9);
        vm.prank(seller.addr);
        vm.expectRevert();
        settlement.depositWithPermit(seller.addr, 9, NOW, v, r, s);
    }

    function test_depositWithAuthorization_byAnyone() public {
        usdc.mint(buyer.addr, 9);
        bytes memory signature = _authorization(seller.addr, 9);
        vm.expectEmit(address(settlement));
        emit IEscrow.Deposited(seller.addr, buyer.addr, 9, 9);
        settlement.depositWithAuthorization(
            buyer.addr, seller.addr, 9, 0, NOW + 1, "salt", signature
        );
        vm.assertEq(_balance(seller.addr), 9);
    }

    /// @dev The nonce names the beneficiary: the same signature is nothing for anyone else.
    function test_RevertIf_depositWithAuthorization_redirected() public {
        usdc.mint(buyer.addr, 9);
        bytes memory signature = _authorization(buyer.addr, 9);
        vm.expectRevert(TestUSDC.TestUSDCSignatureInvalid.selector);
        settlement.depositWithAuthorization(
            buyer.addr, seller.addr, 9, 0, NOW + 1, "salt", signature
        );
    }

    function test_RevertIf_depositWithAuthorization_replayed() public {
        usdc.mint(buyer.addr, 18);
        bytes memory signature = _authorization(buyer.addr, 9);
        settlement.depositWithAuthorization(
            buyer.addr, buyer.addr, 9, 0, NOW + 1, "salt", signature
        );
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationUsed.selector);
        settlement.depositWithAuthorization(
            buyer.addr, buyer.addr, 9, 0, NOW + 1, "salt", signature
        );
    }

    // ------------------------------------------------------------------ withdraw

    function test_withdraw_paysAfterDelay() public {
        _fund(buyer.addr, 100);
        vm.prank(buyer.addr);
        vm.expectEmit(address(settlement));
        emit IEscrow.WithdrawalRequested(buyer.addr, 60, NOW + EXIT_DELAY);
        uint256 availableAt = settlement.requestWithdrawal(60);
        vm.warp(availableAt);
        vm.prank(buyer.addr);
        vm.expectEmit(address(settlement));
        emit IEscrow.Withdrawn(buyer.addr, seller.addr, 60);
        uint256 amount = settlement.withdraw(seller.addr);
        vm.assertEq(amount, 60);
        vm.assertEq(usdc.balanceOf(seller.addr), 60);
        IEscrow.AccountView memory account = settlement.accountOf(buyer.addr);
        vm.assertEq(account.balance, 40);
        vm.assertEq(account.withdrawing, 0);
        vm.assertEq(account.withdrawableAt, 0);
    }

    function test_RevertIf_withdraw_early() public {
        _fund(buyer.addr, 100);
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(60);
        vm.warp(NOW + EXIT_DELAY - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.SettlementWithdrawalEarly.selector, NOW + EXIT_DELAY)
        );
        settlement.withdraw(buyer.addr);
        vm.stopPrank();
    }

    function test_RevertIf_withdraw_withoutRequest() public {
        _fund(buyer.addr, 100);
        vm.prank(buyer.addr);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SettlementNoWithdrawal.selector, buyer.addr));
        settlement.withdraw(buyer.addr);
    }

    function test_RevertIf_withdraw_twice() public {
        _fund(buyer.addr, 100);
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(60);
        vm.warp(NOW + EXIT_DELAY);
        settlement.withdraw(buyer.addr);
        vm.expectPartialRevert(IEscrow.SettlementNoWithdrawal.selector);
        settlement.withdraw(buyer.addr);
        vm.stopPrank();
    }

    function test_RevertIf_withdraw_toNowhere() public {
        vm.expectPartialRevert(IEscrow.SettlementRecipientInvalid.selector);
        settlement.withdraw(address(0));
        vm.expectPartialRevert(IEscrow.SettlementRecipientInvalid.selector);
        settlement.withdraw(address(settlement));
    }

    function testFuzz_withdraw_paysLesserOfRequestAndBalance(uint72 balance, uint256 asked) public {
        vm.assume(balance > 0 && asked > 0);
        _fund(buyer.addr, balance);
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(asked);
        vm.warp(NOW + EXIT_DELAY);
        uint256 amount = settlement.withdraw(buyer.addr);
        vm.stopPrank();
        vm.assertEq(amount, asked < balance ? asked : balance);
        vm.assertEq(_balance(buyer.addr), balance - amount);
        vm.assertEq(usdc.balanceOf(buyer.addr), amount);
    }

    function test_requestWithdrawal_restartsClock() public {
        _fund(buyer.addr, 100);
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(1);
        vm.warp(NOW + EXIT_DELAY);
        settlement.requestWithdrawal(100);
        vm.expectPartialRevert(IEscrow.SettlementWithdrawalEarly.selector);
        settlement.withdraw(buyer.addr);
        vm.stopPrank();
    }

    function test_RevertIf_requestWithdrawal_zero() public {
        vm.expectRevert(IEscrow.SettlementAmountZero.selector);
        settlement.requestWithdrawal(0);
    }

    function test_cancelWithdrawal_dropsRequest() public {
        _fund(buyer.addr, 100);
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(100);
        vm.expectEmit(address(settlement));
        emit IEscrow.WithdrawalCancelled(buyer.addr);
        settlement.cancelWithdrawal();
        vm.warp(NOW + EXIT_DELAY);
        vm.expectPartialRevert(IEscrow.SettlementNoWithdrawal.selector);
        settlement.withdraw(buyer.addr);
        vm.stopPrank();
    }

    function test_RevertIf_cancelWithdrawal_withoutRequest() public {
        vm.expectPartialRevert(IEscrow.SettlementNoWithdrawal.selector);
        settlement.cancelWithdrawal();
    }

    /// @dev What was bought before the delay is over is paid first.
    function test_withdraw_afterSettlementPaysTheRest() public {
        _fund(buyer.addr, 100);
        vm.prank(buyer.addr);
        settlement.requestWithdrawal(100);
        _settle(_offerOf(1), _intentOf(1, _line(0, 50, 50, 80, "fill")));
        _assertSettled("fill");
        vm.warp(NOW + EXIT_DELAY);
        vm.prank(buyer.addr);
        vm.assertEq(settlement.withdraw(buyer.addr), 20);
    }

    // ------------------------------------------------------------------ helpers

    function _permit(uint256 amount) private view returns (uint8, bytes32, bytes32) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                buyer.addr,
                address(settlement),
                amount,
                0,
                uint256(NOW)
            )
        );
        return
            vm.sign(
                buyer.key, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), hash))
            );
    }

    function _authorization(address account, uint256 amount) private view returns (bytes memory) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                buyer.addr,
                address(settlement),
                amount,
                0,
                uint256(NOW + 1),
                settlement.authorizationNonce(account, "salt")
            )
        );
        return _sign65(buyer, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), hash)));
    }

    function _settlementOf(IERC20 token) private returns (ISettlement) {
        address desk_ = _deploy("SettlementDesk", abi.encode(token, operator, EXIT_DELAY));
        return ISettlement(_deploy("Settlement", abi.encode(token, operator, EXIT_DELAY, 0, desk_)));
    }
}
