// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ISessionAccount} from "../src/ISessionAccount.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {AccountTest} from "./AccountTest.sol";
import {PayingForAll} from "./Hostile.sol";

/// @title User operations that session keys sign, through the published entry points
abstract contract AccountUserOpTest is AccountTest {
    IEntryPoint internal real;

    function _package() internal pure virtual returns (string memory);

    function setUp() public override {
        super.setUp();
        real = _deployEntryPoint(_package());
        account = _accountBehind(real);
        _grantTerms(_termsWithFees(key));
    }

    function test_userOp_spends() public {
        PackedUserOperation memory operation = _spendOperation(account, key, 400_000);
        _handle(_signed(operation, key));
        vm.assertEq(_paid(), 400_000);
        vm.assertEq(account.sessionOf(key.addr).spent, 400_000);
    }

    /// @dev The settlement contract can be reached as well, within the permissions.
    function test_userOp_callsSettlement() public {
        ISessionKeys.Terms memory terms = _termsWithFees(key);
        terms.permissions = CANCEL;
        _grantTerms(terms);
        _handle(_signed(_cancelOperation(), key));
        vm.assertTrue(settlement.cancelledAt(address(account), 3) != 0);
    }

    function test_RevertIf_userOp_signedByOther() public {
        PackedUserOperation memory operation = _spendOperation(account, key, 1);
        _expectRefused(_signed(operation, other), "AA24 signature error");
        operation.signature = "";
        _expectRefused(operation, "AA24 signature error");
    }

    /// @dev Who pays is who signed: a key cannot act as another one, whatever the call says.
    function test_RevertIf_userOp_forOtherKey() public {
        _grantTerms(_termsWithFees(other));
        PackedUserOperation memory operation = _operation(
            account,
            _nonceOf(account, key),
            abi.encodeCall(ISessionAccount.spendAs, (other.addr, payee.addr, 1))
        );
        _expectRefused(_signed(operation, key), "AA24 signature error");
    }

    /// @dev A session reaches two functions of the account, and no other selector.
    function testFuzz_RevertIf_userOp_otherFunction(bytes4 selector) public {
        vm.assume(selector != ISessionAccount.spendAs.selector);
        vm.assume(selector != ISessionAccount.callSettlementAs.selector);
        bytes memory data = abi.encodePacked(
            selector, uint256(uint160(key.addr)), uint256(uint160(payee.addr)), uint256(1)
        );
        _expectRefused(
            _signed(_operation(account, _nonceOf(account, key), data), key), "AA24 signature error"
        );
    }

    function test_RevertIf_userOp_execute() public {
        bytes[5] memory calls;
        calls[0] = abi.encodeCall(
            account.execute, (address(usdc), 0, abi.encodeCall(usdc.transfer, (key.addr, 5)))
        );
        calls[1] = abi.encodeCall(account.executeBatch, (new ISessionAccount.Call[](0)));
        calls[2] = abi.encodeCall(account.grantTerms, (_terms(key)));
        calls[3] = abi.encodeCall(account.changeOwner, (abi.encodePacked(key.addr)));
        calls[4] = abi.encodeWithSelector(0x8dd7712f, calls[0]);
        for (uint256 i = 0; i < calls.length; ++i) {
            PackedUserOperation memory operation =
                _operation(account, _nonceOf(account, key), calls[i]);
            _expectRefused(_signed(operation, key), "AA24 signature error");
        }
    }

    function test_RevertIf_userOp_withoutPermission() public {
        ISessionKeys.Terms memory terms = _termsWithFees(key);
        terms.permissions = CANCEL | SETTLE;
        _grantTerms(terms);
        _expectRefused(_signed(_spendOperation(account, key, 1), key), "AA24 signature error");
    }

    function test_RevertIf_userOp_revoked() public {
        PackedUserOperation memory operation = _signed(_spendOperation(account, key, 1), key);
        uint256 state = vm.snapshotState();
        vm.prank(owner.addr);
        account.revokeSession(key.addr);
        _expectRefused(operation, "AA24 signature error");
        vm.revertToState(state);
        vm.prank(owner.addr);
        account.revokeAllSessions();
        _expectRefused(operation, "AA24 signature error");
    }

    /// @dev Validation reads no clock; the expiry goes out to the entry point, which does.
    function test_RevertIf_userOp_expired() public {
        PackedUserOperation memory operation = _signed(_spendOperation(account, key, 1), key);
        vm.warp(NOW + 30 days + 1);
        _expectRefused(operation, "AA22 expired or not due");
    }

    /// @dev Of ten operations in one bundle the fifth is over the cap: that one fails, all others pay.
    function test_userOp_capsAreCountedInExecution() public {
        PackedUserOperation[] memory operations = new PackedUserOperation[](10);
        for (uint256 i = 0; i < 10; ++i) {
            operations[i] = _operation(
                account,
                _nonceOf(account, key) + i,
                abi.encodeCall(
                    ISessionAccount.spendAs,
                    (key.addr, payee.addr, i == 4 ? uint256(DOLLAR) : 100_000)
                )
            );
            operations[i] = _signed(operations[i], key);
        }
        _handleAll(operations);
        vm.assertEq(_paid(), 900_000);
        vm.assertEq(account.sessionOf(key.addr).spent, 900_000);
    }

    /// @dev Two keys do not wait for each other: each has its own nonces.
    function test_userOp_lanesAreApart() public {
        _grantTerms(_termsWithFees(other));
        PackedUserOperation memory first = _signed(_spendOperation(account, key, 1), key);
        _handle(_signed(_spendOperation(account, other, 10), other));
        _handle(_signed(_spendOperation(account, other, 100), other));
        _handle(first);
        vm.assertEq(_paid(), 111);
    }

    /// @dev Only the lane of the key's own life counts, or the number of operations had no limit.
    function testFuzz_RevertIf_userOp_inOtherLane(uint32 life) public {
        vm.assume(life != account.sessionOf(key.addr).sequence);
        uint256 nonce = uint256(life) << 224 | uint256(uint160(key.addr)) << 64;
        PackedUserOperation memory operation = _spendOperation(account, key, 1);
        operation.nonce = nonce;
        _expectRefused(_signed(operation, key), "AA24 signature error");
    }

    /// @dev Without fees in the grant a key sends no operation at all.
    function test_RevertIf_userOp_withoutFees() public {
        _grantTerms(_terms(key));
        _expectRefused(_signed(_spendOperation(account, key, 1), key), "AA24 signature error");
    }

    /// @dev Sodium: the price of gas, or its limits, as high as the account's ether lasts.
    function test_RevertIf_userOp_feesTooHigh() public {
        PackedUserOperation memory operation = _spendOperation(account, key, 1);
        uint256 cost = 350_000 * 2 gwei;
        operation.gasFees = bytes32(uint256(FEE_MAX / 350_000 + 1));
        vm.assertTrue(cost < FEE_MAX);
        _expectRefused(_signed(operation, key), "AA24 signature error");
        operation = _spendOperation(account, key, 1);
        operation.preVerificationGas = FEE_MAX / 2 gwei - 300_000 + 1;
        _expectRefused(_signed(operation, key), "AA24 signature error");
        operation.preVerificationGas -= 1;
        _handle(_signed(operation, key));
    }

    /// @dev The most that a thief of the key burns in fees, whatever the operations do.
    function test_userOp_feesAreBoundedByNumber() public {
        vm.deal(address(account), 10 ether);
        for (uint256 i = 0; i < 10; ++i) {
            PackedUserOperation memory operation = _spendOperation(account, key, 2 * DOLLAR);
            operation.preVerificationGas = FEE_MAX / 2 gwei - 300_000;
            _handle(_signed(operation, key));
        }
        _expectRefused(_signed(_spendOperation(account, key, 1), key), "AA24 signature error");
        vm.assertEq(_paid(), 0);
        uint256 left = address(account).balance + real.balanceOf(address(account));
        vm.assertGe(left, 10 ether - 10 * uint256(FEE_MAX), "lost more than granted");
    }

    /// @dev Lumi: a paymaster that the grant does not name is none; the named one is asked.
    function test_userOp_paymasterOnlyIfNamed() public {
        PayingForAll sponsor = new PayingForAll();
        vm.deal(address(this), 1 ether);
        IDeposit(address(real)).depositTo{value: 1 ether}(address(sponsor));
        PackedUserOperation memory operation = _spendOperation(account, key, 1);
        operation.paymasterAndData =
            abi.encodePacked(address(sponsor), uint128(30_000), uint128(30_000));
        _expectRefused(_signed(operation, key), "AA24 signature error");
        ISessionKeys.Terms memory terms = _termsWithFees(key);
        terms.paymaster = address(sponsor);
        _grantTerms(terms);
        operation.nonce = _nonceOf(account, key);
        uint256 before = address(account).balance;
        _handle(_signed(operation, key));
        vm.assertEq(_paid(), 1);
        vm.assertEq(address(account).balance, before);
        // And the account pays for none of them itself.
        _expectRefused(_signed(_spendOperation(account, key, 1), key), "AA24 signature error");
        // The paymaster's own gas counts too.
        operation.nonce = _nonceOf(account, key);
        operation.paymasterAndData =
            abi.encodePacked(address(sponsor), uint128(30_000), uint128(FEE_MAX / 2 gwei));
        _expectRefused(_signed(operation, key), "AA24 signature error");
    }

    /// @dev The rest of the operations goes to the new key, not all of them again.
    function test_rotateSession_movesOperationsLeft() public {
        for (uint256 i = 0; i < 3; ++i) {
            _handle(_signed(_spendOperation(account, key, 1), key));
        }
        vm.prank(owner.addr);
        account.rotateSession(key.addr, other.addr);
        ISessionKeys.Session memory session = account.sessionOf(other.addr);
        vm.assertEq(session.operationsMax, 7);
        vm.assertEq(session.feeMax, FEE_MAX);
        _handle(_signed(_spendOperation(account, other, 1), other));
        _expectRefused(_signed(_spendOperation(account, key, 1), key), "AA24 signature error");
    }

    /// @dev The owner's operations are as they were, in as many lanes as wanted.
    function test_userOp_owner() public {
        PackedUserOperation memory operation = _operation(
            account,
            account.getNonce(uint192(7) << 160),
            abi.encodeCall(
                account.execute,
                (address(usdc), 0, abi.encodeCall(usdc.transfer, (payee.addr, 5 * DOLLAR)))
            )
        );
        _handle(_signed(operation, owner));
        vm.assertEq(_paid(), 5 * DOLLAR);
    }

    function test_RevertIf_spendAs_notByEntryPoint() public {
        address[3] memory callers = [key.addr, owner.addr, address(account)];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert();
            account.spendAs(key.addr, payee.addr, 1);
            vm.prank(callers[i]);
            vm.expectRevert();
            account.callSettlementAs(key.addr, abi.encodeCall(ISettlement.cancel, (1)));
        }
    }

    // ------------------------------------------------------------------ helpers

    function _cancelOperation() private view returns (PackedUserOperation memory) {
        return _operation(
            account,
            _nonceOf(account, key),
            abi.encodeCall(
                ISessionAccount.callSettlementAs,
                (key.addr, abi.encodeCall(ISettlement.cancel, (3)))
            )
        );
    }

    function _expectRefused(PackedUserOperation memory operation, string memory reason) private {
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = operation;
        vm.expectRevert(abi.encodeWithSelector(IEntryPoint.FailedOp.selector, uint256(0), reason));
        vm.prank(BUNDLER, BUNDLER);
        real.handleOps(operations, payable(BUNDLER));
    }
}

interface IDeposit {
    function depositTo(address account) external payable;
}

contract AccountUserOpV08Test is AccountUserOpTest {
    function _package() internal pure override returns (string memory) {
        return "contracts";
    }
}

contract AccountUserOpV09Test is AccountUserOpTest {
    function _package() internal pure override returns (string memory) {
        return "contracts-v09";
    }
}
