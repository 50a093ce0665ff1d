// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {
    IERC7579Execution,
    MODULE_TYPE_EXECUTOR,
    MODULE_TYPE_VALIDATOR
} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {ISessionModule} from "../src/ISessionModule.sol";
import {SessionModule} from "../src/SessionModule.sol";
import {AccountTest, IEntryPointHash} from "./AccountTest.sol";
import {ModularAccount} from "./ModularAccount.sol";

/// @dev A module that will not go.
contract ClingingModule {
    function onInstall(bytes calldata) external {}

    function onUninstall(bytes calldata) external pure {
        revert("no");
    }

    function isModuleType(uint256) external pure returns (bool) {
        return true;
    }
}

/// @title Our sessions in an account that is not ours
contract SessionModuleTest is AccountTest {
    IEntryPoint private real;
    SessionModule private module;
    ModularAccount private modular;

    function setUp() public override {
        super.setUp();
        real = _deployEntryPoint("contracts");
        module = SessionModule(_deploy("SessionModule", abi.encode(usdc)));
        modular = new ModularAccount(real, owner.addr);
        usdc.mint(address(modular), 1000 * DOLLAR);
        vm.deal(address(modular), 1 ether);
        _install();
        _grant(_termsWithFees(key));
    }

    function test_install_asBoth() public view {
        vm.assertTrue(modular.isModuleInstalled(MODULE_TYPE_VALIDATOR, address(module), ""));
        vm.assertTrue(modular.isModuleInstalled(MODULE_TYPE_EXECUTOR, address(module), ""));
        vm.assertFalse(module.isModuleType(3));
        vm.assertEq(module.token(), address(usdc));
    }

    /// @dev The data of an installation can be the terms of a first session.
    function test_install_withSession() public {
        modular = new ModularAccount(real, owner.addr);
        _asAccount(
            address(modular),
            abi.encodeCall(
                modular.installModule,
                (MODULE_TYPE_EXECUTOR, address(module), abi.encode(_terms(other)))
            )
        );
        vm.assertTrue(module.isSessionLive(address(modular), other.addr, SPEND));
    }

    function test_spend_asSender() public {
        vm.prank(key.addr);
        module.spend(address(modular), payee.addr, DOLLAR);
        vm.assertEq(_paid(), DOLLAR);
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        module.spend(address(modular), payee.addr, 1);
    }

    function test_spend_relayed() public {
        ISessionKeys.Order memory order = _orderOf(key, 7);
        bytes memory signature = _sign(key, _moduleDigest(_orderHash(address(modular), order, 1)));
        module.spendSigned(address(modular), order, signature);
        vm.assertEq(_paid(), 7);
        vm.expectPartialRevert(ISessionKeys.SessionOrderInvalid.selector);
        module.spendSigned(address(modular), order, signature);
    }

    function test_spend_byUserOperation() public {
        _handle(_userOperation(key, key, 9));
        vm.assertEq(_paid(), 9);
        vm.assertEq(module.sessionOf(address(modular), key.addr).spent, 9);
    }

    /// @dev The call has to be the one call, to the byte: no other module, value, mode or key.
    function test_RevertIf_userOperation_isOtherCall() public {
        _grant(_termsWithFees(other));
        _expectRefused(_userOperation(key, other, 9));
        _expectRefused(_userOperation(other, key, 9));
        PackedUserOperation memory operation = _unsigned(key, 9);
        operation.callData = abi.encodeCall(
            IERC7579Execution.execute,
            (
                bytes32(0),
                abi.encodePacked(
                    address(usdc),
                    uint256(0),
                    abi.encodeCall(usdc.transfer, (key.addr, 100)),
                    new bytes(32)
                )
            )
        );
        _expectRefused(_signedBy(operation, key));
        for (uint256 i = 0; i < operation.callData.length; i += 9) {
            operation = _unsigned(key, 9);
            operation.callData[i] ^= 0x01;
            // The recipient and the amount are the key's to choose.
            if (i >= 188 && i < 252) continue;
            _expectRefused(_signedBy(operation, key));
        }
        operation = _unsigned(key, 9);
        operation.callData = bytes.concat(operation.callData, hex"00");
        _expectRefused(_signedBy(operation, key));
    }

    /// @dev In another lane the count of operations would start again.
    function test_RevertIf_userOperation_inOtherLane() public {
        for (uint256 bit = 64; bit < 96; ++bit) {
            PackedUserOperation memory operation = _unsigned(key, 9);
            operation.nonce ^= 1 << bit;
            _expectRefused(_signedBy(operation, key));
        }
    }

    function test_grantSigned_byOwner() public {
        ISessionKeys.Terms memory terms = _terms(other);
        bytes memory signature =
            _personalSign(_moduleDigest(_grantHash(address(modular), terms, 0, 0)));
        module.grantSigned(address(modular), terms, 0, signature);
        vm.assertTrue(module.isSessionLive(address(modular), other.addr, SPEND));
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        module.grantSigned(address(modular), terms, 1, signature);
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        module.grantSigned(payee.addr, terms, 0, signature);
    }

    /// @dev A session key does not sign for the account, neither here nor to grant itself more.
    function test_RevertIf_sessionKey_signsForAccount() public {
        bytes memory signature = abi.encodePacked(address(module), _sign(key, "hash"));
        vm.assertEq(
            bytes32(modular.isValidSignature("hash", signature)), bytes32(bytes4(0xffffffff))
        );
        ISessionKeys.Terms memory terms = _terms(key);
        terms.cap = 10 * DOLLAR;
        bytes32 digest = _moduleDigest(_grantHash(address(modular), terms, 0, 1));
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        module.grantSigned(
            address(modular), terms, 1, abi.encodePacked(address(module), _sign(key, digest))
        );
    }

    /// @dev Accounts are apart: nobody but the account changes its sessions.
    function test_module_accountsAreApart() public {
        vm.startPrank(other.addr);
        module.revokeSession(key.addr);
        module.revokeAllSessions();
        module.setCap(other.addr, 0, DAY);
        module.onUninstall("");
        vm.stopPrank();
        vm.assertTrue(module.isSessionLive(address(modular), key.addr, SPEND));
        vm.prank(other.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        module.spendAs(key.addr, payee.addr, 1);
    }

    function test_revoke_atOnce() public {
        PackedUserOperation memory operation = _userOperation(key, key, 9);
        _asAccount(address(module), abi.encodeCall(module.revokeSession, (key.addr)));
        _expectDead();
        _expectRefused(operation);
    }

    function test_setCap_andRotate() public {
        _asAccount(address(module), abi.encodeCall(module.setCap, (address(modular), 500_000, DAY)));
        vm.prank(key.addr);
        module.spend(address(modular), payee.addr, 400_000);
        _asAccount(address(module), abi.encodeCall(module.rotateSession, (key.addr, other.addr)));
        vm.assertEq(module.sessionOf(address(modular), other.addr).spent, 400_000);
        vm.assertEq(module.sessionOf(address(modular), other.addr).operationsMax, 0);
        vm.prank(other.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        module.spend(address(modular), payee.addr, 100_001);
        (,, uint256 left) = module.capOf(address(modular), address(modular));
        vm.assertEq(left, 100_000);
    }

    /// @dev Taking the module out ends all sessions, and putting it back forgets nothing.
    function test_uninstall_endsSessions() public {
        vm.prank(key.addr);
        module.spend(address(modular), payee.addr, DOLLAR);
        _uninstall(MODULE_TYPE_VALIDATOR);
        vm.assertFalse(module.isSessionLive(address(modular), key.addr, SPEND));
        _uninstall(MODULE_TYPE_EXECUTOR);
        _install();
        vm.assertFalse(module.isSessionLive(address(modular), key.addr, SPEND));
        _grant(_terms(key));
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        module.spend(address(modular), payee.addr, 1);
    }

    /// @dev Another module that does not let itself be removed keeps no session alive.
    function test_revoke_besideClingingModule() public {
        ClingingModule clinging = new ClingingModule();
        _asAccount(
            address(modular),
            abi.encodeCall(modular.installModule, (MODULE_TYPE_VALIDATOR, address(clinging), ""))
        );
        vm.prank(address(modular));
        vm.expectRevert();
        modular.uninstallModule(MODULE_TYPE_VALIDATOR, address(clinging), "");
        _asAccount(address(module), abi.encodeCall(module.revokeAllSessions, ()));
        _expectDead();
        vm.assertEq(module.sessionEpoch(address(modular)), 1);
    }

    function test_RevertIf_install_thrice() public {
        vm.prank(address(modular));
        vm.expectPartialRevert(ISessionModule.SessionModuleInstalled.selector);
        module.onInstall("");
    }

    // ------------------------------------------------------------------ helpers

    function _asAccount(address target, bytes memory data) private {
        vm.prank(address(modular));
        (bool success,) = target.call(data);
        vm.assertTrue(success);
    }

    function _install() private {
        for (uint256 kind = MODULE_TYPE_VALIDATOR; kind <= MODULE_TYPE_EXECUTOR; ++kind) {
            _asAccount(
                address(modular), abi.encodeCall(modular.installModule, (kind, address(module), ""))
            );
        }
    }

    function _uninstall(uint256 kind) private {
        _asAccount(
            address(modular), abi.encodeCall(modular.uninstallModule, (kind, address(module), ""))
        );
    }

    function _grant(ISessionKeys.Terms memory terms) private {
        _asAccount(address(module), abi.encodeCall(module.grantTerms, (terms)));
    }

    function _expectDead() private {
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        module.spend(address(modular), payee.addr, 1);
    }

    function _orderOf(Party memory party, uint256 amount)
        private
        view
        returns (ISessionKeys.Order memory order)
    {
        order.key = party.addr;
        order.to = payee.addr;
        order.amount = amount;
        order.deadline = NOW + 1;
    }

    function _moduleDigest(bytes32 hash) private view returns (bytes32) {
        return
            keccak256(
                abi.encodePacked(hex"1901", _domainOf("KeyfillSessions", address(module)), hash)
            );
    }

    function _personalSign(bytes32 digest) private view returns (bytes memory) {
        bytes32 hash = keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), digest));
        return _sign65(
            owner,
            keccak256(
                abi.encodePacked(hex"1901", _domainOf("ModularAccount", address(modular)), hash)
            )
        );
    }

    function _unsigned(Party memory party, uint256 amount)
        private
        view
        returns (PackedUserOperation memory operation)
    {
        uint256 lane = uint256(uint160(address(module))) << 32
            | uint256(uint16(uint160(party.addr))) << 16
            | module.sessionOf(address(modular), party.addr).sequence;
        operation.sender = address(modular);
        operation.nonce = modular.getNonce(uint192(lane));
        operation.callData = module.callOf(party.addr, payee.addr, amount);
        operation.accountGasLimits = bytes32(uint256(150_000) << 128 | 200_000);
        operation.preVerificationGas = 50_000;
        operation.gasFees = bytes32(uint256(1 gwei) << 128 | 2 gwei);
    }

    function _userOperation(Party memory party, Party memory signer, uint256 amount)
        private
        view
        returns (PackedUserOperation memory)
    {
        return _signedBy(_unsigned(party, amount), signer);
    }

    function _signedBy(PackedUserOperation memory operation, Party memory party)
        private
        view
        returns (PackedUserOperation memory)
    {
        operation.signature = _sign(party, IEntryPointHash(address(real)).getUserOpHash(operation));
        return operation;
    }

    function _handle(PackedUserOperation memory operation) internal override {
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = operation;
        vm.prank(BUNDLER, BUNDLER);
        real.handleOps(operations, payable(BUNDLER));
    }

    function _expectRefused(PackedUserOperation memory operation) private {
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = operation;
        vm.expectRevert();
        vm.prank(BUNDLER, BUNDLER);
        real.handleOps(operations, payable(BUNDLER));
    }
}
