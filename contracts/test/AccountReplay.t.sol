// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionAccountFactory} from "../src/SessionAccountFactory.sol";
import {AccountTest} from "./AccountTest.sol";

/// @title The replay matrix: what is signed for one place and time is void everywhere else
/// @dev {grant, order, user operation} × {another account of the same keys, another chain, another entry
/// point, another epoch, another life of the key, again, high s}; README.md has the whole matrix.
contract AccountReplayTest is AccountTest {
    IEntryPoint private real;
    SessionAccount private twin;
    ISessionKeys.Terms private terms;
    ISessionKeys.Order private order;
    bytes private grant;
    bytes private signedOrder;
    PackedUserOperation private operation;

    function setUp() public override {
        super.setUp();
        real = _deployEntryPoint("contracts");
        account = _accountBehind(real);
        SessionAccountFactory factory_ = _factoryBehind(real, usdc);
        twin = SessionAccount(payable(factory_.createAccount(owner.addr, "twin")));
        usdc.mint(address(twin), 1000 * DOLLAR);
        vm.deal(address(twin), 1 ether);
        ISessionKeys.Terms memory both = _termsWithFees(key);
        _grantTerms(both);
        vm.prank(owner.addr);
        twin.grantTerms(both);
        terms = _terms(other);
        grant = _sign(owner, _grantDigest(terms));
        order = _order(key, 5);
        signedOrder = _sign(key, _orderDigest(order));
        operation = _signed(_spendOperation(account, key, 5), key);
    }

    // ------------------------------------------------------------------ as it should be

    function test_replay_noneIsVoidAtHome() public {
        account.grantSigned(terms, 0, grant);
        account.spendSigned(order, signedOrder);
        _handle(operation);
        vm.assertEq(_paid(), 10);
    }

    // ------------------------------------------------------------------ grants

    function test_RevertIf_replay_grantAtOtherAccount() public {
        _expectNoGrant(twin, 0, grant);
    }

    function test_RevertIf_replay_grantOnOtherChain() public {
        vm.chainId(1);
        _expectNoGrant(account, 0, grant);
    }

    function test_RevertIf_replay_grantInOtherEpoch() public {
        vm.prank(owner.addr);
        account.revokeAllSessions();
        _expectNoGrant(account, 0, grant);
    }

    function test_RevertIf_replay_grantAfterRevocation() public {
        vm.prank(owner.addr);
        account.revokeSession(other.addr);
        _expectNoGrant(account, 0, grant);
        _expectNoGrant(account, 1, grant);
    }

    function test_RevertIf_replay_grantAgain() public {
        account.grantSigned(terms, 0, grant);
        _expectNoGrant(account, 0, grant);
        _expectNoGrant(account, 1, grant);
    }

    function test_RevertIf_replay_grantWithHighS() public {
        _expectNoGrant(account, 0, _signHighS(owner, _grantDigest(terms)));
    }

    /// @dev A grant is for an account, not for an entry point: behind another one it is another account.
    function test_RevertIf_replay_grantBehindOtherEntryPoint() public {
        _expectNoGrant(_accountBehind(_deployEntryPoint("contracts-v09")), 0, grant);
    }

    // ------------------------------------------------------------------ orders

    function test_RevertIf_replay_orderAtOtherAccount() public {
        _expectNoOrder(twin, signedOrder);
    }

    function test_RevertIf_replay_orderOnOtherChain() public {
        vm.chainId(1);
        _expectNoOrder(account, signedOrder);
    }

    function test_RevertIf_replay_orderInOtherEpoch() public {
        vm.prank(owner.addr);
        account.revokeAllSessions();
        _grantTerms(_termsWithFees(key));
        _expectNoOrder(account, signedOrder);
    }

    function test_RevertIf_replay_orderInOtherLife() public {
        vm.prank(owner.addr);
        account.revokeSession(key.addr);
        _grantTerms(_termsWithFees(key));
        _expectNoOrder(account, signedOrder);
    }

    function test_RevertIf_replay_orderAgain() public {
        account.spendSigned(order, signedOrder);
        _expectNoOrder(account, signedOrder);
    }

    function test_RevertIf_replay_orderWithHighS() public {
        _expectNoOrder(account, _signHighS(key, _orderDigest(order)));
    }

    // ------------------------------------------------------------------ user operations

    function test_RevertIf_replay_operationAtOtherAccount() public {
        operation.sender = address(twin);
        _expectNoOperation(real);
    }

    function test_RevertIf_replay_operationOnOtherChain() public {
        vm.chainId(1);
        _expectNoOperation(real);
    }

    /// @dev The account asks only its own entry point, and another one makes another hash.
    function test_RevertIf_replay_operationAtOtherEntryPoint() public {
        IEntryPoint second = _deployEntryPoint("contracts");
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = operation;
        vm.expectPartialRevert(IEntryPoint.FailedOpWithRevert.selector);
        vm.prank(BUNDLER, BUNDLER);
        second.handleOps(operations, payable(BUNDLER));
        SessionAccount behind = _accountBehind(second);
        vm.prank(owner.addr);
        behind.grantTerms(_termsWithFees(key));
        operation.sender = address(behind);
        _expectNoOperation(second);
    }

    function test_RevertIf_replay_operationInOtherEpoch() public {
        vm.prank(owner.addr);
        account.revokeAllSessions();
        _expectNoOperation(real);
        _grantTerms(_termsWithFees(key));
        _expectNoOperation(real);
    }

    function test_RevertIf_replay_operationInOtherLife() public {
        _grantTerms(_termsWithFees(key));
        _expectNoOperation(real);
    }

    function test_RevertIf_replay_operationAgain() public {
        _handle(operation);
        _expectNoOperation(real);
    }

    function test_RevertIf_replay_operationWithHighS() public {
        bytes memory low = operation.signature;
        uint256 compact;
        bytes32 r;
        assembly {
            r := mload(add(low, 0x20))
            compact := mload(add(low, 0x40))
        }
        uint256 s = compact & (type(uint256).max >> 1);
        operation.signature =
            abi.encodePacked(r, CURVE_ORDER - s, uint8(compact >> 255 == 0 ? 28 : 27));
        _expectNoOperation(real);
    }

    // ------------------------------------------------------------------ helpers

    function _expectNoGrant(SessionAccount at_, uint16 sequence, bytes memory signature) private {
        ISessionKeys.Terms memory terms_ = terms;
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        at_.grantSigned(terms_, sequence, signature);
    }

    function _expectNoOrder(SessionAccount at_, bytes memory signature) private {
        ISessionKeys.Order memory order_ = order;
        vm.expectPartialRevert(ISessionKeys.SessionOrderInvalid.selector);
        at_.spendSigned(order_, signature);
    }

    function _expectNoOperation(IEntryPoint at_) private {
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = operation;
        vm.expectPartialRevert(IEntryPoint.FailedOp.selector);
        vm.prank(BUNDLER, BUNDLER);
        at_.handleOps(operations, payable(BUNDLER));
    }
}
