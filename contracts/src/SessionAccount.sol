// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {Account} from "@openzeppelin/contracts/account/Account.sol";
import {ERC4337Utils} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {
    AbstractSigner
} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {AccountOwner} from "./AccountOwner.sol";
import {CapWord} from "./CapWord.sol";
import {IMetered} from "./IMetered.sol";
import {ISessionAccount} from "./ISessionAccount.sol";
import {ISettlement} from "./ISettlement.sol";
import {SessionKeys} from "./SessionKeys.sol";

/// @title The account of {ISessionAccount}, on OpenZeppelin's ERC-4337 base
/// @dev Used through clones, or as the code of an EIP-7702 account. User operations carry the owner's
/// signature, or a session key's if the nonce names the session key.
contract SessionAccount is Account, ERC7739, AccountOwner, SessionKeys, ISessionAccount {
    using SafeERC20 for IERC20;

    uint256 private constant SELECTOR_LENGTH = 4;
    uint256 private constant WORD_LENGTH = 32;
    uint256 private constant OWNER_SHIFT = 64;

    IEntryPoint private immutable _ENTRY_POINT;
    ISettlement private immutable _SETTLEMENT;

    /// @param settlement_ may be an address at which the contract is deployed later
    /// @param token_ what sessions pay in: the settlement contract's asset
    constructor(IEntryPoint entryPoint_, ISettlement settlement_, IERC20 token_)
        EIP712("KeyfillAccount", "1")
        SessionKeys(token_)
    {
        _ENTRY_POINT = entryPoint_;
        _SETTLEMENT = settlement_;
    }

    /// @inheritdoc ISessionAccount
    function initialize(bytes calldata signer) external {
        _initialize(signer);
    }

    // ------------------------------------------------------------------ owner

    /// @inheritdoc ISessionAccount
    function execute(address target, uint256 value, bytes calldata data)
        external
        onlyOwner
        returns (bytes memory)
    {
        return _call(target, value, data);
    }

    /// @inheritdoc ISessionAccount
    function executeBatch(Call[] calldata calls)
        external
        onlyOwner
        returns (bytes[] memory results)
    {
        results = new bytes[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            results[i] = _call(calls[i].target, calls[i].value, calls[i].data);
        }
    }

    /// @inheritdoc ISessionAccount
    function grantSession(address key, uint8 permissions, uint40 expiresAt, uint88 cap)
        external
        onlyOwner
    {
        _grantTerms(
            Terms(key, permissions, expiresAt, cap, uint32(CapWord.PERIOD_MAX_S), address(0), 0, 0)
        );
    }

    /// @inheritdoc ISessionAccount
    function grantTerms(Terms calldata terms) external onlyOwner {
        _grantTerms(terms);
    }

    /// @inheritdoc ISessionAccount
    function rotateSession(address key, address replacement) external onlyOwner {
        require(!_isOwner(replacement), SessionKeyInvalid(replacement));
        // How many operations the key has sent is known by the entry point alone.
        Session memory session = _sessionOf(address(this), key);
        uint192 lane = uint192(uint256(session.sequence) << 160 | uint160(key));
        uint256 operations =
            session.feeMax == 0 ? 0 : uint64(_ENTRY_POINT.getNonce(address(this), lane));
        _rotate(address(this), key, replacement, operations);
        emit SessionRevoked(key);
        _emitGranted(replacement);
    }

    /// @inheritdoc ISessionAccount
    function revokeSession(address key) external {
        require(msg.sender == key || _isOwnerCall(), SessionAccountUnauthorized(msg.sender));
        _revoke(address(this), key);
        emit SessionRevoked(key);
    }

    /// @inheritdoc ISessionAccount
    function revokeAllSessions() external onlyOwner {
        _endSessions();
    }

    /// @inheritdoc ISessionAccount
    function setCap(address bearer, uint88 cap, uint32 period) external onlyOwner {
        _setCap(address(this), bearer, cap, period);
        emit CapChanged(bearer, cap, period);
    }

    // ------------------------------------------------------------------ anyone

    /// @inheritdoc ISessionAccount
    function grantSigned(Terms calldata terms, uint16 sequence, bytes calldata signature) external {
        require(
            _sequenceOf(address(this), terms.key) == sequence
                && _isOwnerSignature(_grantDigest(address(this), terms, sequence), signature),
            SessionGrantInvalid(terms.key)
        );
        _grantTerms(terms);
    }

    /// @inheritdoc ISessionAccount
    function spendSigned(Order calldata order, bytes calldata signature) external {
        _takeOrder(address(this), order, signature);
        _spendBy(order.key, order.to, order.amount);
    }

    // ------------------------------------------------------------------ session

    /// @inheritdoc ISessionAccount
    function spend(address to, uint256 amount) external {
        _spendBy(msg.sender, to, amount);
    }

    /// @inheritdoc ISessionAccount
    function spendAs(address key, address to, uint256 amount) external onlyEntryPoint {
        _spendBy(key, to, amount);
    }

    /// @inheritdoc ISessionAccount
    function callSettlement(bytes calldata data) external returns (bytes memory) {
        return _callSettlementBy(msg.sender, data);
    }

    /// @inheritdoc ISessionAccount
    function callSettlementAs(address key, bytes calldata data)
        external
        onlyEntryPoint
        returns (bytes memory)
    {
        return _callSettlementBy(key, data);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISessionAccount
    function settlement() external view returns (address) {
        return address(_SETTLEMENT);
    }

    /// @inheritdoc ISessionAccount
    function token() external view returns (address) {
        return address(TOKEN);
    }

    /// @inheritdoc ISessionAccount
    function sessionEpoch() external view returns (uint24) {
        return uint24(_headOf(address(this)));
    }

    /// @inheritdoc ISessionAccount
    function sessionOf(address key) external view returns (Session memory) {
        return _sessionOf(address(this), key);
    }

    /// @inheritdoc ISessionAccount
    function capOf(address bearer) external view returns (uint256, uint256, uint256) {
        return _capOf(address(this), bearer);
    }

    /// @inheritdoc ISessionAccount
    function isSessionLive(address key, uint8 permissions) external view returns (bool) {
        return _isLive(address(this), key, permissions);
    }

    /// @notice Only the owner signs for the account. The settlement contract, which makes its own
    /// digests with this account in them, takes the plain signature; everyone else ERC-7739, so that
    /// a signature cannot be replayed at another account of the same owner. Session signatures are
    /// never valid here, or keys could sign around their caps: what keys sign for the market is the
    /// settlement contract's own registry's ({ISessionRegistry}).
    function isValidSignature(bytes32 hash, bytes calldata signature)
        public
        view
        override(ERC7739)
        returns (bytes4)
    {
        if (msg.sender != address(_SETTLEMENT)) {
            return super.isValidSignature(hash, signature);
        }
        return _rawSignatureValidation(hash, signature)
            ? IERC1271.isValidSignature.selector
            : bytes4(0xffffffff);
    }

    /// @inheritdoc Account
    function entryPoint() public view override returns (IEntryPoint) {
        return _ENTRY_POINT;
    }

    // ------------------------------------------------------------------ internal

    /// @dev From the highest bit: life of the session key u32 | session key u160 | sequence u64. Without a
    /// session key it is the owner's operation, in any of 2^32 lanes.
    function _validateUserOp(
        PackedUserOperation calldata userOp,
        bytes32 userOpHash,
        bytes calldata signature
    ) internal override(Account) returns (uint256) {
        uint256 nonce = userOp.nonce;
        address key = address(uint160(nonce >> 64));
        if (key == address(0)) return super._validateUserOp(userOp, userOpHash, signature);
        (bool isAllowed, uint8 permissions) = _isSessionCall(key, userOp.callData);
        if (!isAllowed || userOp.initCode.length != 0) return ERC4337Utils.SIG_VALIDATION_FAILED;
        return _validateSession(
            address(this),
            key,
            nonce >> 224,
            uint64(nonce),
            permissions,
            userOp,
            userOpHash,
            signature
        );
    }

    function _rawSignatureValidation(bytes32 hash, bytes calldata signature)
        internal
        view
        override(AbstractSigner)
        returns (bool)
    {
        return _isOwnerSignature(hash, signature);
    }

    /// @dev The account calls itself only out of `execute`, or because its own key sent a transaction
    /// (EIP-7702): on the owner's word. Sessions' calls go to the settlement contract and the token.
    /// The entry point calls what was validated: anything for the owner, two functions for sessions.
    function _isOwnerCall() internal view override(AccountOwner) returns (bool) {
        return
            _isOwner(msg.sender) || msg.sender == address(_ENTRY_POINT)
                || msg.sender == address(this);
    }

    function _endSessions() internal override(AccountOwner) {
        emit AllSessionsRevoked(_revokeAll(address(this)));
    }

    /// @dev The owner is in the head's upper bits.
    function _ownerWord() internal view override(AccountOwner) returns (uint256) {
        return _headOf(address(this)) >> OWNER_SHIFT;
    }

    function _setOwnerWord(uint256 word) internal override(AccountOwner) {
        uint256 sessions = _headOf(address(this)) & ((1 << OWNER_SHIFT) - 1);
        _setHead(address(this), word << OWNER_SHIFT | sessions);
    }

    function _transfer(address, address to, uint256 amount) internal override(SessionKeys) {
        TOKEN.safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------ private

    function _call(address target, uint256 value, bytes calldata data)
        private
        returns (bytes memory)
    {
        (bool success, bytes memory result) = target.call{value: value}(data);
        if (!success) LowLevelCall.bubbleRevert(result);
        return result;
    }

    function _grantTerms(Terms memory terms) private {
        require(!_isOwner(terms.key), SessionKeyInvalid(terms.key));
        _grant(address(this), terms);
        _emitGranted(terms.key);
    }

    function _emitGranted(address key) private {
        Session memory session = _sessionOf(address(this), key);
        emit SessionGranted(
            key, session.permissions, session.expiresAt, session.cap, session.period
        );
        if (session.feeMax != 0) {
            emit SessionFeesGranted(key, session.paymaster, session.feeMax, session.operationsMax);
        }
    }

    function _spendBy(address key, address to, uint256 amount) private {
        _spend(address(this), key, to, amount);
        emit SessionSpent(key, to, amount);
    }

    function _callSettlementBy(address key, bytes calldata data)
        private
        returns (bytes memory result)
    {
        // Shorter data is padded with zeros and matches no selector.
        bytes4 selector = bytes4(data);
        uint8 permission = _permissionFor(selector);
        require(_isLive(address(this), key, permission), SessionNotLive(key));
        result = _call(address(_SETTLEMENT), 0, data);
        // Both ways to settle tell what they paid.
        if (permission == PERMISSION_SETTLE) {
            _charge(address(this), key, abi.decode(result, (uint256)));
        }
    }

    /// @dev The two functions that the entry point may call for a session, with the key that signed.
    function _isSessionCall(address key, bytes calldata data)
        private
        pure
        returns (bool isAllowed, uint8 permissions)
    {
        if (data.length < SELECTOR_LENGTH + WORD_LENGTH) return (false, 0);
        bytes4 selector = bytes4(data);
        if (selector == ISessionAccount.spendAs.selector) permissions = PERMISSION_SPEND;
        else if (selector != ISessionAccount.callSettlementAs.selector) return (false, 0);
        bytes32 argument = bytes32(data[SELECTOR_LENGTH:SELECTOR_LENGTH + WORD_LENGTH]);
        return (argument == bytes32(uint256(uint160(key))), permissions);
    }

    function _permissionFor(bytes4 selector) private pure returns (uint8) {
        if (selector == ISettlement.settle.selector) return PERMISSION_SETTLE;
        if (selector == IMetered.settleMetered.selector) return PERMISSION_SETTLE;
        if (selector == ISettlement.cancel.selector) return PERMISSION_CANCEL;
        if (selector == ISettlement.cancelAll.selector) return PERMISSION_CANCEL;
        revert SessionCallForbidden(selector);
    }
}
