// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {Account} from "@openzeppelin/contracts/account/Account.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {
    AbstractSigner
} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {IMetered} from "./IMetered.sol";
import {ISessionAccount} from "./ISessionAccount.sol";
import {ISessionSigner} from "./ISessionSigner.sol";
import {ISettlement} from "./ISettlement.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The account of {ISessionAccount}, on OpenZeppelin's ERC-4337 base
/// @dev Used through clones. User operations carry the owner's signature: session keys need no
/// entry point, they call the account themselves or sign what the settlement contract checks.
contract SessionAccount is Account, ERC7739, ISessionAccount {
    uint8 private constant PERMISSION_SETTLE = 1;
    uint8 private constant PERMISSION_SIGN = 2;
    uint8 private constant PERMISSION_CANCEL = 4;
    uint8 private constant PERMISSIONS_ALL = 7;

    IEntryPoint private immutable _ENTRY_POINT;
    ISettlement private immutable _SETTLEMENT;
    address private immutable _IMPLEMENTATION = address(this);

    // One slot.
    address private _owner;
    uint24 private _sessionEpoch;

    mapping(address key => Session) private _sessions;

    modifier onlyOwner() {
        require(_isOwnerCall(), SessionAccountUnauthorized(msg.sender));
        _;
    }

    /// @param settlement_ may be an address at which the contract is deployed later
    constructor(IEntryPoint entryPoint_, ISettlement settlement_) EIP712("KeyfillAccount", "1") {
        _ENTRY_POINT = entryPoint_;
        _SETTLEMENT = settlement_;
    }

    /// @inheritdoc ISessionAccount
    function initialize(address owner_) external {
        require(
            _owner == address(0) && address(this) != _IMPLEMENTATION, SessionAccountInitialized()
        );
        _setOwner(owner_);
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
    function changeOwner(address owner_) external onlyOwner {
        _setOwner(owner_);
    }

    /// @inheritdoc ISessionAccount
    function grantSession(address key, uint8 permissions, uint40 expiresAt, uint88 cap)
        external
        onlyOwner
    {
        require(
            permissions != 0 && permissions <= PERMISSIONS_ALL,
            SessionPermissionsInvalid(permissions)
        );
        require(expiresAt > block.timestamp, SessionExpiryInvalid(expiresAt));
        _grant(key, permissions, expiresAt, cap);
    }

    /// @inheritdoc ISessionAccount
    function rotateSession(address key, address replacement) external onlyOwner {
        require(isSessionLive(key, 0), SessionNotLive(key));
        require(
            _sessions[replacement].cap == 0 && _sessions[replacement].spent == 0,
            SessionKeyInvalid(replacement)
        );
        Session memory session = _sessions[key];
        uint88 left = session.cap > session.spent ? session.cap - session.spent : 0;
        _revoke(key);
        _grant(replacement, session.permissions, session.expiresAt, left);
    }

    /// @inheritdoc ISessionAccount
    function revokeSession(address key) external {
        require(msg.sender == key || _isOwnerCall(), SessionAccountUnauthorized(msg.sender));
        _revoke(key);
    }

    /// @inheritdoc ISessionAccount
    function revokeAllSessions() external onlyOwner {
        _sessionEpoch += 1;
        emit AllSessionsRevoked(_sessionEpoch);
    }

    // ------------------------------------------------------------------ session

    /// @inheritdoc ISessionAccount
    function callSettlement(bytes calldata data) external returns (bytes memory result) {
        // Shorter data is padded with zeros and matches no selector.
        bytes4 selector = bytes4(data);
        require(isSessionLive(msg.sender, _permissionFor(selector)), SessionNotLive(msg.sender));
        result = _call(address(_SETTLEMENT), 0, data);
        // Both tell what they paid.
        if (_permissionFor(selector) == PERMISSION_SETTLE) {
            _spend(msg.sender, abi.decode(result, (uint256)));
        }
    }

    /// @inheritdoc ISessionSigner
    function consume(bytes32 digest, bytes calldata signature, uint256 amount)
        external
        returns (bytes4)
    {
        require(msg.sender == address(_SETTLEMENT), SessionAccountUnauthorized(msg.sender));
        address key = SignatureRecovery.recover(digest, signature);
        require(_isSettleable(_sessions[key]), SessionNotLive(key));
        if (amount != 0) _spend(key, amount);
        return ISessionSigner.consume.selector;
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISessionAccount
    function owner() external view returns (address) {
        return _owner;
    }

    /// @inheritdoc ISessionAccount
    function settlement() external view returns (address) {
        return address(_SETTLEMENT);
    }

    /// @inheritdoc ISessionAccount
    function sessionEpoch() external view returns (uint24) {
        return _sessionEpoch;
    }

    /// @inheritdoc ISessionAccount
    function sessionOf(address key) external view returns (Session memory) {
        return _sessions[key];
    }

    /// @inheritdoc ISessionAccount
    function isSessionLive(address key, uint8 permissions) public view returns (bool) {
        Session memory session = _sessions[key];
        return _isGranted(session, permissions) && block.timestamp <= session.expiresAt;
    }

    /// @notice Only the owner signs for the account. The settlement contract, which makes its own
    /// digests with this account in them, takes the plain signature; everyone else ERC-7739, so that
    /// a signature cannot be replayed at another account of the same owner. Session signatures are
    /// never valid here: they go through `consume`, where their cap is kept.
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

    /// @dev A plain signature counts first, so that an owner whose key also has delegated code
    /// (EIP-7702) goes on as before.
    function _rawSignatureValidation(bytes32 hash, bytes calldata signature)
        internal
        view
        override(AbstractSigner)
        returns (bool)
    {
        address owner_ = _owner;
        if (owner_ == address(0)) return false;
        if (SignatureRecovery.recover(hash, signature) == owner_) return true;
        return owner_.code.length != 0
            && SignatureChecker.isValidERC1271SignatureNowCalldata(owner_, hash, signature);
    }

    // ------------------------------------------------------------------ private

    function _setOwner(address owner_) private {
        require(owner_ != address(0) && owner_ != address(this), SessionAccountOwnerInvalid(owner_));
        _owner = owner_;
        emit OwnerChanged(owner_);
    }

    /// @dev The account calls itself only out of `execute`, thus on the owner's word: a session's
    /// calls all go to the settlement contract.
    function _isOwnerCall() private view returns (bool) {
        return
            msg.sender == _owner || msg.sender == address(_ENTRY_POINT)
                || msg.sender == address(this);
    }

    function _call(address target, uint256 value, bytes calldata data)
        private
        returns (bytes memory)
    {
        (bool success, bytes memory result) = target.call{value: value}(data);
        if (!success) LowLevelCall.bubbleRevert(result);
        return result;
    }

    function _grant(address key, uint8 permissions, uint40 expiresAt, uint88 cap) private {
        require(key != address(0) && key != address(this) && key != _owner, SessionKeyInvalid(key));
        Session storage session = _sessions[key];
        session.expiresAt = expiresAt;
        session.epoch = _sessionEpoch;
        session.permissions = permissions;
        session.cap = cap;
        emit SessionGranted(key, permissions, expiresAt, cap);
    }

    function _revoke(address key) private {
        _sessions[key].permissions = 0;
        emit SessionRevoked(key);
    }

    /// @dev Reads the slot again: a batch that the key settles may contain a document that the same
    /// key signed, and that has been charged meanwhile.
    function _spend(address key, uint256 amount) private {
        Session storage session = _sessions[key];
        uint256 spent = session.spent + amount;
        require(spent <= session.cap, SessionCapExceeded(key, spent, session.cap));
        // The cast is safe: the cap has the same width.
        session.spent = uint88(spent);
    }

    function _permissionFor(bytes4 selector) private pure returns (uint8) {
        if (selector == ISettlement.settle.selector) return PERMISSION_SETTLE;
        if (selector == IMetered.settleMetered.selector) return PERMISSION_SETTLE;
        if (selector == ISettlement.cancel.selector) return PERMISSION_CANCEL;
        if (selector == ISettlement.cancelAll.selector) return PERMISSION_CANCEL;
        revert SessionCallForbidden(selector);
    }

    /// @dev What a key signed while it was live can be settled for `exitDelay` after its expiry, as
    /// long as an expired document can. A revoked key's documents are dead at once.
    function _isSettleable(Session memory session) private view returns (bool) {
        if (!_isGranted(session, PERMISSION_SIGN)) return false;
        if (block.timestamp <= session.expiresAt) return true;
        return block.timestamp <= uint256(session.expiresAt) + _SETTLEMENT.exitDelay();
    }

    function _isGranted(Session memory session, uint8 permissions) private view returns (bool) {
        return session.permissions != 0 && session.permissions & permissions == permissions
            && session.epoch == _sessionEpoch;
    }
}
