// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {TestUSDC} from "../src/TestUSDC.sol";
import {Test} from "./Test.sol";

/// @title The stand-in behaves like USDC where we depend on it
contract TestUSDCTest is Test {
    bytes32 private constant PERMIT = keccak256(
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant TRANSFER = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant RECEIVE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant CANCEL =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    uint256 private constant NOW = 1000;

    TestUSDC private _usdc;
    Party private _from;
    Party private _to;

    function setUp() public {
        vm.warp(NOW);
        _usdc = TestUSDC(_deploy("TestUSDC", ""));
        _from = _party("from");
        _to = _party("to");
        _usdc.mint(_from.addr, 100);
    }

    function test_metadata() public view {
        vm.assertEq(_usdc.name(), "USD Coin");
        vm.assertEq(_usdc.symbol(), "USDC");
        vm.assertEq(_usdc.version(), "2");
        vm.assertEq(_usdc.decimals(), 6);
    }

    function test_DOMAIN_SEPARATOR() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("USD Coin"),
                keccak256("2"),
                block.chainid,
                address(_usdc)
            )
        );
        vm.assertEq(_usdc.DOMAIN_SEPARATOR(), domain);
    }

    function test_RevertIf_mint_byOther() public {
        vm.prank(_from.addr);
        vm.expectPartialRevert(TestUSDC.TestUSDCCallerNotMinter.selector);
        _usdc.mint(_from.addr, 1);
    }

    function test_permit_bothOverloads() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_from.key, _permitDigest(0));
        _usdc.permit(_from.addr, _to.addr, 7, NOW, v, r, s);
        vm.assertEq(_usdc.allowance(_from.addr, _to.addr), 7);
        vm.expectRevert(TestUSDC.TestUSDCSignatureInvalid.selector);
        _usdc.permit(_from.addr, _to.addr, 7, NOW, v, r, s);
        bytes memory signature = _sign65(_from, _permitDigest(1));
        vm.warp(NOW + 1);
        vm.expectPartialRevert(TestUSDC.TestUSDCPermitExpired.selector);
        _usdc.permit(_from.addr, _to.addr, 7, NOW, signature);
        vm.warp(NOW);
        _usdc.permit(_from.addr, _to.addr, 7, NOW, signature);
        vm.assertEq(_usdc.nonces(_from.addr), 2);
    }

    function test_transferWithAuthorization_bothOverloads() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_from.key, _digest(TRANSFER, "1"));
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", v, r, s);
        vm.assertTrue(_usdc.authorizationState(_from.addr, "1"));
        bytes memory signature = _sign65(_from, _digest(TRANSFER, "2"));
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "2", signature);
        vm.assertEq(_usdc.balanceOf(_to.addr), 14);
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationUsed.selector);
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "2", signature);
    }

    function test_receiveWithAuthorization_byPayeeOnly() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_from.key, _digest(RECEIVE, "1"));
        vm.expectPartialRevert(TestUSDC.TestUSDCCallerNotPayee.selector);
        _usdc.receiveWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", v, r, s);
        vm.prank(_to.addr);
        _usdc.receiveWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", v, r, s);
        vm.assertEq(_usdc.balanceOf(_to.addr), 7);
    }

    /// @dev One kind of authorization is not the other.
    function test_RevertIf_transferWithAuthorization_ofReceive() public {
        bytes memory signature = _sign65(_from, _digest(RECEIVE, "1"));
        vm.expectRevert(TestUSDC.TestUSDCSignatureInvalid.selector);
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", signature);
    }

    /// @dev Both ends are exclusive, as in Circle's token.
    function test_RevertIf_transferWithAuthorization_outsideWindow() public {
        bytes memory signature = _sign65(_from, _digest(TRANSFER, "1"));
        vm.warp(NOW - 1);
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationNotYetValid.selector);
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", signature);
        vm.warp(NOW + 1);
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationExpired.selector);
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", signature);
    }

    function test_cancelAuthorization() public {
        bytes32 digest = _typed(keccak256(abi.encode(CANCEL, _from.addr, bytes32("1"))));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_from.key, digest);
        _usdc.cancelAuthorization(_from.addr, "1", v, r, s);
        bytes memory signature = _sign65(_from, _digest(TRANSFER, "1"));
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationUsed.selector);
        _usdc.transferWithAuthorization(_from.addr, _to.addr, 7, NOW - 1, NOW + 1, "1", signature);
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationUsed.selector);
        _usdc.cancelAuthorization(_from.addr, "1", v, r, s);
    }

    function _permitDigest(uint256 nonce) private view returns (bytes32) {
        return _typed(keccak256(abi.encode(PERMIT, _from.addr, _to.addr, 7, nonce, NOW)));
    }

    function _digest(bytes32 kind, bytes32 nonce) private view returns (bytes32) {
        return _typed(keccak256(abi.encode(kind, _from.addr, _to.addr, 7, NOW - 1, NOW + 1, nonce)));
    }

    function _typed(bytes32 hash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", _usdc.DOMAIN_SEPARATOR(), hash));
    }
}
