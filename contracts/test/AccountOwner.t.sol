// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {
    ERC7913P256Verifier
} from "@openzeppelin/contracts/utils/cryptography/verifiers/ERC7913P256Verifier.sol";
import {
    ERC7913WebAuthnVerifier
} from "@openzeppelin/contracts/utils/cryptography/verifiers/ERC7913WebAuthnVerifier.sol";
import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {IAccountOwner} from "../src/IAccountOwner.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {AccountTest} from "./AccountTest.sol";

/// @title Owners of every kind, guardians, and accounts that are EIP-7702 delegates
contract AccountOwnerTest is AccountTest {
    uint256 private constant P256_KEY = 0xa11ce;
    uint256 private constant P256_ORDER =
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    uint32 private constant DELAY = 2 days;

    Party[3] private guardians;
    bytes private guardianSet;

    // ------------------------------------------------------------------ P-256, WebAuthn

    /// @dev A P-256 key owns an account: it grants by signature and sends user operations.
    function test_ownerKey_p256() public {
        bytes memory signer = abi.encodePacked(address(new ERC7913P256Verifier()), _publicKey());
        account = SessionAccount(payable(factory.createAccountOf(signer, 0)));
        vm.assertEq(address(account), factory.predictOf(signer, 0));
        vm.assertEq(account.owner(), address(0));
        vm.assertEq(keccak256(account.ownerSigner()), keccak256(signer));
        ISessionKeys.Terms memory terms = _terms(key);
        bytes32 digest = _grantDigest(terms);
        (bytes32 r, bytes32 s) = vm.signP256(P256_KEY, digest);
        s = uint256(s) > P256_ORDER / 2 ? bytes32(P256_ORDER - uint256(s)) : s;
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(terms, 0, abi.encodePacked(r, bytes32(P256_ORDER - uint256(s))));
        account.grantSigned(terms, 0, abi.encodePacked(r, s));
        vm.assertTrue(account.isSessionLive(key.addr, SPEND));
        PackedUserOperation memory operation;
        (r, s) = vm.signP256(P256_KEY, "hash");
        s = uint256(s) > P256_ORDER / 2 ? bytes32(P256_ORDER - uint256(s)) : s;
        operation.signature = abi.encodePacked(r, s);
        vm.prank(entryPoint);
        vm.assertEq(account.validateUserOp(operation, "hash", 0), 0);
    }

    /// @dev A passkey owns an account.
    function test_ownerKey_webAuthn() public {
        bytes memory signer = abi.encodePacked(address(new ERC7913WebAuthnVerifier()), _publicKey());
        account = SessionAccount(payable(factory.createAccountOf(signer, 0)));
        ISessionKeys.Terms memory terms = _terms(key);
        bytes memory signature = _webAuthn(_grantDigest(terms));
        account.grantSigned(terms, 0, signature);
        vm.assertTrue(account.isSessionLive(key.addr, SPEND));
        terms = _terms(other);
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(terms, 0, signature);
    }

    /// @dev The verifier of the owner's key is not the owner.
    function test_RevertIf_ownerKey_verifierCalls() public {
        address verifier = address(new ERC7913P256Verifier());
        account = SessionAccount(
            payable(factory.createAccountOf(abi.encodePacked(verifier, _publicKey()), 0))
        );
        vm.prank(verifier);
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        account.revokeAllSessions();
    }

    /// @dev From a plain key to a P-256 key and back; each ends the one before.
    function test_changeOwner_betweenKinds() public {
        bytes memory signer = abi.encodePacked(address(new ERC7913P256Verifier()), _publicKey());
        vm.prank(owner.addr);
        account.changeOwner(signer);
        vm.prank(owner.addr);
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        account.revokeAllSessions();
        vm.prank(entryPoint);
        account.changeOwner(abi.encodePacked(other.addr));
        vm.assertEq(account.owner(), other.addr);
        vm.assertEq(keccak256(account.ownerSigner()), keccak256(abi.encodePacked(other.addr)));
        vm.prank(other.addr);
        account.revokeAllSessions();
    }

    /// @dev Neither too short, nor of a verifier without code, nor endless.
    function test_RevertIf_changeOwner_unusable() public {
        vm.startPrank(owner.addr);
        vm.expectRevert(IAccountOwner.SessionAccountOwnerInvalid.selector);
        account.changeOwner(hex"1234");
        vm.expectRevert(IAccountOwner.SessionAccountOwnerInvalid.selector);
        account.changeOwner(abi.encodePacked(other.addr, _publicKey()));
        bytes memory endless = bytes.concat(abi.encodePacked(address(usdc)), new bytes(1181));
        vm.expectRevert(IAccountOwner.SessionAccountOwnerInvalid.selector);
        account.changeOwner(endless);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ guardians

    /// @dev Two of three guardians hand the account over, after the delay; all sessions end.
    function test_recovery_afterDelay() public {
        _withGuardians();
        _grantTo(key);
        _startRecovery(_approve(abi.encodePacked(other.addr), 2));
        vm.warp(NOW + DELAY - 1);
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(abi.encodePacked(other.addr));
        vm.warp(NOW + DELAY);
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(abi.encodePacked(payee.addr));
        vm.prank(payee.addr);
        account.finishRecovery(abi.encodePacked(other.addr));
        vm.assertEq(account.owner(), other.addr);
        vm.assertFalse(account.isSessionLive(key.addr, 0));
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(abi.encodePacked(other.addr));
    }

    /// @dev The owner says no, and what the guardians have signed is void.
    function test_recovery_ownerVetoes() public {
        _withGuardians();
        bytes memory signature = _approve(abi.encodePacked(other.addr), 2);
        _startRecovery(signature);
        vm.prank(owner.addr);
        vm.expectEmit(address(account));
        emit IAccountOwner.RecoveryCancelled();
        account.cancelRecovery();
        vm.warp(NOW + DELAY);
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(abi.encodePacked(other.addr));
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        this.startRecovery(signature);
    }

    /// @dev Whoever is no owner has no veto: not even a session with all permissions.
    function test_RevertIf_cancelRecovery_byOther() public {
        _withGuardians();
        ISessionKeys.Terms memory terms = _terms(key);
        terms.permissions = ALL;
        _grantTerms(terms);
        vm.prank(key.addr);
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        account.cancelRecovery();
        vm.prank(key.addr);
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        account.setGuardian(abi.encodePacked(key.addr), DELAY);
    }

    function test_RevertIf_startRecovery_tooFewGuardians() public {
        _withGuardians();
        bytes memory signature = _approve(abi.encodePacked(other.addr), 1);
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        this.startRecovery(signature);
    }

    /// @dev The approval names the new owner, the account and the number of the recovery.
    function test_RevertIf_startRecovery_forOther() public {
        _withGuardians();
        bytes memory signature = _approve(abi.encodePacked(payee.addr), 2);
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        this.startRecovery(signature);
        signature = _approve(abi.encodePacked(other.addr), 2);
        SessionAccount mine = account;
        account = SessionAccount(payable(factory.createAccount(owner.addr, "second")));
        vm.prank(owner.addr);
        account.setGuardian(guardianSet, DELAY);
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        this.startRecovery(signature);
        account = mine;
        _startRecovery(signature);
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        this.startRecovery(signature);
    }

    /// @dev Without guardians nobody recovers, and another set is no set of this account.
    function test_RevertIf_startRecovery_withoutGuardians() public {
        bytes memory signer = abi.encodePacked(other.addr);
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        account.startRecovery("", signer, "");
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        account.startRecovery(abi.encodePacked(address(0)), signer, "");
        _withGuardians();
        bytes memory own = _sign65(other, _recoveryDigest(signer));
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        account.startRecovery(abi.encodePacked(other.addr), signer, own);
    }

    /// @dev Naming other guardians ends what the old ones have started.
    function test_setGuardian_endsRecovery() public {
        _withGuardians();
        _startRecovery(_approve(abi.encodePacked(other.addr), 2));
        vm.prank(owner.addr);
        account.setGuardian("", DELAY);
        vm.warp(NOW + DELAY);
        vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
        account.finishRecovery(abi.encodePacked(other.addr));
    }

    function test_RevertIf_setGuardian_delayOutOfRange() public {
        vm.startPrank(owner.addr);
        vm.expectPartialRevert(IAccountOwner.RecoveryDelayInvalid.selector);
        account.setGuardian("", 1 hours - 1);
        vm.expectPartialRevert(IAccountOwner.RecoveryDelayInvalid.selector);
        account.setGuardian("", 365 days + 1);
        account.setGuardian("", 1 hours);
        account.setGuardian("", 365 days);
        vm.stopPrank();
    }

    /// @dev A single plain key can be the guardian too.
    function test_recovery_byPlainKey() public {
        bytes memory guardian = abi.encodePacked(payee.addr);
        vm.prank(owner.addr);
        account.setGuardian(guardian, DELAY);
        bytes memory signer = abi.encodePacked(other.addr);
        account.startRecovery(guardian, signer, _sign65(payee, _recoveryDigest(signer)));
        vm.warp(NOW + DELAY);
        account.finishRecovery(signer);
        vm.assertEq(account.owner(), other.addr);
    }

    // ------------------------------------------------------------------ EIP-7702

    /// @dev An own key is the owner from the first moment: it grants, and sessions spend.
    function test_delegated_ownKeyOwns() public {
        _delegate();
        vm.assertEq(account.owner(), owner.addr);
        _grantSigned(_terms(key));
        _spendAs(key, 5);
        vm.assertEq(_paid(), 5);
        vm.prank(owner.addr);
        account.revokeAllSessions();
        vm.prank(key.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        account.spend(payee.addr, 1);
    }

    /// @dev Whoever comes first cannot initialise a delegated account.
    function test_RevertIf_delegated_frontRun() public {
        _delegate();
        vm.startPrank(other.addr);
        vm.expectRevert(IAccountOwner.SessionAccountInitialized.selector);
        account.initialize(abi.encodePacked(other.addr));
        bytes memory signer = abi.encodePacked(other.addr);
        bytes memory signature = _sign(other, _initializeDigest(signer));
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        account.initializeDelegated(signer, signature);
        vm.stopPrank();
        vm.assertEq(account.owner(), owner.addr);
    }

    /// @dev With the own key's signature another owner comes, once; the own key's transactions go on.
    function test_initializeDelegated_once() public {
        _delegate();
        bytes memory signer = abi.encodePacked(other.addr);
        bytes memory signature = _sign(owner, _initializeDigest(signer));
        account.initializeDelegated(signer, signature);
        vm.assertEq(account.owner(), other.addr);
        vm.expectRevert(IAccountOwner.SessionAccountInitialized.selector);
        account.initializeDelegated(signer, signature);
        vm.prank(other.addr);
        account.grantTerms(_terms(key));
        vm.prank(owner.addr);
        account.revokeSession(key.addr);
        vm.assertFalse(account.isSessionLive(key.addr, 0));
    }

    /// @dev Only a delegated account takes that way in, and only with a signature for it.
    function test_RevertIf_initializeDelegated_clone() public {
        bytes memory signer = abi.encodePacked(other.addr);
        vm.expectRevert(IAccountOwner.SessionAccountInitialized.selector);
        account.initializeDelegated(signer, _sign(owner, _initializeDigest(signer)));
    }

    /// @dev A signature that is not the own key's is refused, not asked of the account itself again.
    function test_delegated_wrongSignature() public {
        _delegate();
        vm.prank(address(settlement));
        vm.assertEq(
            bytes32(account.isValidSignature("digest", _sign(other, "digest"))),
            bytes32(bytes4(0xffffffff))
        );
        vm.prank(address(settlement));
        vm.assertEq(
            bytes32(account.isValidSignature("digest", _sign(owner, "digest"))),
            bytes32(bytes4(0x1626ba7e))
        );
    }

    /// @dev All that is stored is at hashes: what another delegate has left in low slots changes nothing.
    function test_delegated_ignoresForeignStorage() public {
        _delegate();
        for (uint256 slot = 0; slot < 64; ++slot) {
            vm.store(owner.addr, bytes32(slot), bytes32(type(uint256).max));
        }
        vm.assertEq(account.owner(), owner.addr);
        vm.assertEq(account.sessionEpoch(), 0);
        vm.assertFalse(account.isSessionLive(key.addr, 0));
    }

    // ------------------------------------------------------------------ helpers

    function startRecovery(bytes calldata signature) external {
        account.startRecovery(guardianSet, abi.encodePacked(other.addr), signature);
    }

    function _startRecovery(bytes memory signature) private {
        account.startRecovery(guardianSet, abi.encodePacked(other.addr), signature);
    }

    function _withGuardians() private {
        bytes[] memory signers = new bytes[](3);
        uint64[] memory weights = new uint64[](3);
        for (uint256 i = 0; i < 3; ++i) {
            guardians[i] = _party(string.concat("guardian ", i == 0 ? "a" : i == 1 ? "b" : "c"));
            signers[i] = abi.encodePacked(guardians[i].addr);
            weights[i] = 1;
        }
        guardianSet = abi.encodePacked(_deploy("GuardianSet", abi.encode(signers, weights, 2)));
        vm.prank(owner.addr);
        account.setGuardian(guardianSet, DELAY);
    }

    function _recoveryDigest(bytes memory signer) private view returns (bytes32) {
        (,, uint64 nonce,,) = account.recoveryOf();
        return _digest(
            account,
            keccak256(
                abi.encode(
                    keccak256("AccountRecovery(bytes signer,uint64 nonce)"),
                    keccak256(signer),
                    nonce
                )
            )
        );
    }

    function _initializeDigest(bytes memory signer) private view returns (bytes32) {
        return _digest(
            account,
            keccak256(abi.encode(keccak256("AccountInitialize(bytes signer)"), keccak256(signer)))
        );
    }

    /// @dev By the first so many guardians, as ERC-7739 has them sign for their set.
    function _approve(bytes memory signer, uint256 count) private view returns (bytes memory) {
        bytes32 nested = keccak256(
            abi.encode(keccak256("PersonalSign(bytes prefixed)"), _recoveryDigest(signer))
        );
        bytes32 digest = keccak256(
            abi.encodePacked(
                hex"1901", _domainOf("KeyfillGuardians", address(bytes20(guardianSet))), nested
            )
        );
        bytes[] memory signers = new bytes[](count);
        bytes[] memory signatures = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            signers[i] = abi.encodePacked(guardians[i].addr);
            signatures[i] = _sign65(guardians[i], digest);
        }
        return abi.encode(signers, signatures);
    }

    /// @dev The owner's plain address becomes an account of this code.
    function _delegate() private {
        vm.signAndAttachDelegation(address(implementation), owner.key);
        usdc.mint(owner.addr, 1000 * DOLLAR);
        account = SessionAccount(payable(owner.addr));
        vm.assertEq(owner.addr.code.length, 23);
    }

    function _publicKey() private view returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(P256_KEY);
        return abi.encodePacked(x, y);
    }

    function _webAuthn(bytes32 digest) private pure returns (bytes memory) {
        string memory client = string.concat(
            '{"type":"webauthn.get","challenge":"', Base64.encodeURL(abi.encodePacked(digest)), '"}'
        );
        // Hash of the relying party, flags (user present and verified), counter.
        bytes memory authenticator = abi.encodePacked(sha256("keyfill"), uint8(5), uint32(1));
        (bytes32 r, bytes32 s) =
            vm.signP256(P256_KEY, sha256(abi.encodePacked(authenticator, sha256(bytes(client)))));
        if (uint256(s) > P256_ORDER / 2) s = bytes32(P256_ORDER - uint256(s));
        // The fields one after the other: of the struct as such, the offset would come first.
        return abi.encode(r, s, uint256(23), uint256(1), authenticator, client);
    }
}
