// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {EIP7702Utils} from "@openzeppelin/contracts/account/utils/EIP7702Utils.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IAccountOwner} from "./IAccountOwner.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The owner of an account, its guardian, and the delay between them
/// @dev The owner's address is in a word that every call reads anyway; whoever inherits says where.
abstract contract AccountOwner is EIP712, IAccountOwner {
    using Bytes for bytes;

    /// @dev Hashes are of signers, which whoever acts on them has to show.
    /// @custom:storage-location erc7201:keyfill.owner
    struct Recovery {
        // Of an owner that is a key: what follows the verifier's address in the signer.
        bytes ownerKey;
        bytes32 guardian;
        bytes32 signer;
        uint64 nonce;
        uint40 readyAt;
        uint32 delay;
    }

    uint32 internal constant RECOVERY_DELAY_MIN = 1 hours;
    uint32 internal constant RECOVERY_DELAY_MAX = 365 days;
    uint256 internal constant OWNER_IS_KEY = 1 << 160;
    uint256 private constant ADDRESS_LENGTH = 20;
    /// @dev An ERC-7913 signer with an RSA key of 8,192 bits still fits.
    uint256 private constant SIGNER_LENGTH_MAX = 1200;

    bytes32 private constant INITIALIZE_TYPEHASH = keccak256("AccountInitialize(bytes signer)");
    bytes32 private constant RECOVERY_TYPEHASH =
        keccak256("AccountRecovery(bytes signer,uint64 nonce)");

    /// @dev keccak256(abi.encode(uint256(keccak256("keyfill.owner")) - 1)) & ~0xff
    bytes32 private constant RECOVERY =
        keccak256(abi.encode(uint256(keccak256("keyfill.owner")) - 1)) & ~bytes32(uint256(0xff));

    address private immutable _IMPLEMENTATION = address(this);

    modifier onlyOwner() {
        _checkOwnerCall();
        _;
    }

    // ------------------------------------------------------------------ owner

    /// @inheritdoc IAccountOwner
    function changeOwner(bytes calldata signer) external onlyOwner {
        _setOwner(signer);
    }

    /// @inheritdoc IAccountOwner
    function initializeDelegated(bytes calldata signer, bytes calldata signature) external {
        require(_isDelegated() && _ownerWord() == 0, SessionAccountInitialized());
        bytes32 digest =
            _hashTypedDataV4(keccak256(abi.encode(INITIALIZE_TYPEHASH, keccak256(signer))));
        require(
            SignatureRecovery.recover(digest, signature) == address(this),
            SessionAccountUnauthorized(msg.sender)
        );
        _setOwner(signer);
    }

    // ------------------------------------------------------------------ recovery

    /// @inheritdoc IAccountOwner
    function setGuardian(bytes calldata guardian, uint32 delay) external onlyOwner {
        require(
            delay >= RECOVERY_DELAY_MIN && delay <= RECOVERY_DELAY_MAX, RecoveryDelayInvalid(delay)
        );
        Recovery storage state = _recovery();
        state.guardian = keccak256(guardian);
        state.delay = delay;
        emit GuardianChanged(guardian, delay);
        _endRecovery();
    }

    /// @inheritdoc IAccountOwner
    function startRecovery(bytes calldata guardian, bytes calldata signer, bytes calldata signature)
        external
    {
        Recovery storage state = _recovery();
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(RECOVERY_TYPEHASH, keccak256(signer), state.nonce))
        );
        // A guardian shorter than an address signs nothing.
        require(
            keccak256(guardian) == state.guardian
                && SignatureChecker.isValidSignatureNow(guardian, digest, signature),
            RecoveryNotSigned()
        );
        _checkSigner(signer);
        uint256 readyAt = block.timestamp + state.delay;
        state.signer = keccak256(signer);
        state.readyAt = uint40(readyAt);
        state.nonce += 1;
        emit RecoveryStarted(signer, readyAt);
    }

    /// @inheritdoc IAccountOwner
    function cancelRecovery() external onlyOwner {
        _endRecovery();
        emit RecoveryCancelled();
    }

    /// @inheritdoc IAccountOwner
    function finishRecovery(bytes calldata signer) external {
        Recovery storage state = _recovery();
        uint256 readyAt = state.readyAt;
        require(
            readyAt != 0 && block.timestamp >= readyAt && keccak256(signer) == state.signer,
            RecoveryNotReady(readyAt)
        );
        _endRecovery();
        _setOwner(signer);
        _endSessions();
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IAccountOwner
    function owner() public view returns (address) {
        (address addr, bool isKey) = _ownerOf();
        return isKey ? address(0) : addr;
    }

    /// @inheritdoc IAccountOwner
    function ownerSigner() external view returns (bytes memory) {
        (address addr, bool isKey) = _ownerOf();
        return isKey ? abi.encodePacked(addr, _recovery().ownerKey) : abi.encodePacked(addr);
    }

    /// @inheritdoc IAccountOwner
    function recoveryOf()
        external
        view
        returns (bytes32 guardian, uint32 delay, uint64 nonce, bytes32 signer, uint40 readyAt)
    {
        Recovery storage state = _recovery();
        return (state.guardian, state.delay, state.nonce, state.signer, state.readyAt);
    }

    // ------------------------------------------------------------------ internal

    /// @dev Ends every session at once.
    function _endSessions() internal virtual;

    /// @dev Whether the caller acts on the owner's word.
    function _isOwnerCall() internal view virtual returns (bool);

    /// @return word the owner's address, and OWNER_IS_KEY; zero without an owner
    function _ownerWord() internal view virtual returns (uint256 word);

    function _setOwnerWord(uint256 word) internal virtual;

    /// @dev The verifier of a key is no owner, whatever it might call.
    function _isOwner(address caller) internal view returns (bool) {
        return _ownerWord() == uint160(caller) && caller != address(0);
    }

    /// @dev A plain signature counts first, so that an owner whose key also has delegated code
    /// (EIP-7702) goes on as before; and an account that is its own owner asks no further.
    function _isOwnerSignature(bytes32 hash, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        (address addr, bool isKey) = _ownerOf();
        if (isKey) {
            return SignatureChecker.isValidSignatureNow(
                abi.encodePacked(addr, _recovery().ownerKey), hash, signature
            );
        }
        if (addr == address(0)) return false;
        if (SignatureRecovery.recover(hash, signature) == addr) return true;
        return addr != address(this) && addr.code.length != 0
            && SignatureChecker.isValidERC1271SignatureNowCalldata(addr, hash, signature);
    }

    /// @dev The first owner of a clone, which whoever creates it sets at once. An EIP-7702 account has
    /// one from the start, so that nobody can come first.
    function _initialize(bytes memory signer) internal {
        require(
            _ownerWord() == 0 && address(this) != _IMPLEMENTATION && !_isDelegated(),
            SessionAccountInitialized()
        );
        _setOwner(signer);
    }

    // ------------------------------------------------------------------ private

    function _checkOwnerCall() private view {
        require(_isOwnerCall(), SessionAccountUnauthorized(msg.sender));
    }

    function _setOwner(bytes memory signer) private {
        _checkSigner(signer);
        address addr = address(bytes20(signer));
        bytes memory key = signer.slice(ADDRESS_LENGTH);
        bool isKey = key.length != 0;
        if (isKey || _ownerWord() & OWNER_IS_KEY != 0) _recovery().ownerKey = key;
        _setOwnerWord(uint160(addr) | (isKey ? OWNER_IS_KEY : 0));
        emit OwnerChanged(addr, key);
    }

    /// @dev An account does not own itself, unless it has a key of its own (EIP-7702). A verifier
    /// without code would leave the account without an owner.
    function _checkSigner(bytes memory signer) private view {
        require(
            signer.length >= ADDRESS_LENGTH && signer.length <= SIGNER_LENGTH_MAX,
            SessionAccountOwnerInvalid()
        );
        address addr = address(bytes20(signer));
        bool isValid = signer.length > ADDRESS_LENGTH
            ? addr.code.length != 0 && addr != address(this)
            : addr != address(0) && (addr != address(this) || _isDelegated());
        require(isValid, SessionAccountOwnerInvalid());
    }

    function _endRecovery() private {
        Recovery storage state = _recovery();
        state.signer = 0;
        state.readyAt = 0;
        state.nonce += 1;
    }

    /// @dev Without another one, the key of an EIP-7702 account is its owner.
    function _ownerOf() private view returns (address addr, bool isKey) {
        uint256 word = _ownerWord();
        if (word == 0 && _isDelegated()) return (address(this), false);
        return (address(uint160(word)), word & OWNER_IS_KEY != 0);
    }

    function _isDelegated() private view returns (bool) {
        return EIP7702Utils.fetchDelegate(address(this)) != address(0);
    }

    function _recovery() private pure returns (Recovery storage state) {
        bytes32 slot = RECOVERY;
        assembly ("memory-safe") {
            state.slot := slot
        }
    }
}
