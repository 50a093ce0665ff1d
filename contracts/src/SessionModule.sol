// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ERC4337Utils} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {
    IERC7579Execution,
    IERC7579Module,
    IERC7579Validator,
    MODULE_TYPE_EXECUTOR,
    MODULE_TYPE_VALIDATOR
} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ISessionModule} from "./ISessionModule.sol";
import {SessionKeys} from "./SessionKeys.sol";

/// @title The sessions of {ISessionAccount} for any ERC-7579 account: spending, with the same caps
/// @dev Validator and executor in one. Every function that changes an account's sessions is the
/// account's to call, so the module needs no owner; nothing is lost if the account lies to it, since it
/// can only harm itself.
contract SessionModule is SessionKeys, ISessionModule {
    uint256 private constant INSTALLED_SHIFT = 32;
    /// @dev ERC-7579: one call, all or nothing.
    bytes32 private constant MODE_SINGLE = 0;
    bytes4 private constant INVALID_SIGNATURE = 0xffffffff;

    constructor(IERC20 token_) EIP712("KeyfillSessions", "1") SessionKeys(token_) {}

    // ------------------------------------------------------------------ ERC-7579

    /// @inheritdoc IERC7579Module
    /// @dev Comes once for each type. The data is nothing, or the terms of a first session.
    function onInstall(bytes calldata data) external {
        uint256 head = _headOf(msg.sender);
        uint256 installed = head >> INSTALLED_SHIFT;
        require(installed < 2, SessionModuleInstalled(msg.sender));
        _setHead(msg.sender, head + (1 << INSTALLED_SHIFT));
        if (data.length != 0) _grantTerms(abi.decode(data, (Terms)));
    }

    /// @inheritdoc IERC7579Module
    /// @dev Never refused: an account could not get rid of the module. All sessions end with the first
    /// of its types, and what was spent is remembered, should it be installed again.
    function onUninstall(bytes calldata) external {
        uint256 head = _headOf(msg.sender);
        if (head >> INSTALLED_SHIFT == 0) return;
        _setHead(msg.sender, head - (1 << INSTALLED_SHIFT));
        emit AllSessionsRevoked(msg.sender, _revokeAll(msg.sender));
    }

    /// @inheritdoc IERC7579Module
    function isModuleType(uint256 moduleTypeId) external pure returns (bool) {
        return moduleTypeId == MODULE_TYPE_VALIDATOR || moduleTypeId == MODULE_TYPE_EXECUTOR;
    }

    /// @inheritdoc IERC7579Validator
    /// @dev The account may do one thing: have the module spend for the key that signed. The key is read
    /// from the call, and the call must be, to the byte, the one that says so. The nonce has this module
    /// in its upper 160 bits (that is how the account found it), then the low 16 bits of the key and its
    /// life, and the sequence.
    function validateUserOp(PackedUserOperation calldata userOp, bytes32 userOpHash)
        external
        view
        returns (uint256)
    {
        bytes calldata callData = userOp.callData;
        if (callData.length < CALL_LENGTH || userOp.initCode.length != 0) {
            return ERC4337Utils.SIG_VALIDATION_FAILED;
        }
        (address key, address to, uint256 amount) = _spendOf(callData);
        uint256 lane = uint32(userOp.nonce >> 64);
        if (
            keccak256(callData) != keccak256(callOf(key, to, amount))
                || lane >> 16 != uint16(uint160(key))
        ) return ERC4337Utils.SIG_VALIDATION_FAILED;
        return _validateSession(
            msg.sender,
            key,
            uint16(lane),
            uint64(userOp.nonce),
            PERMISSION_SPEND,
            userOp,
            userOpHash,
            userOp.signature
        );
    }

    /// @inheritdoc IERC7579Validator
    /// @dev A session key never signs for the account.
    function isValidSignatureWithSender(address, bytes32, bytes calldata)
        external
        pure
        returns (bytes4)
    {
        return INVALID_SIGNATURE;
    }

    // ------------------------------------------------------------------ the account's

    /// @inheritdoc ISessionModule
    function grantTerms(Terms calldata terms) external {
        _grantTerms(terms);
    }

    /// @inheritdoc ISessionModule
    function revokeSession(address key) external {
        _revoke(msg.sender, key);
        emit SessionRevoked(msg.sender, key);
    }

    /// @inheritdoc ISessionModule
    function revokeAllSessions() external {
        emit AllSessionsRevoked(msg.sender, _revokeAll(msg.sender));
    }

    /// @inheritdoc ISessionModule
    function rotateSession(address key, address replacement) external {
        // Without the entry point's count, the replacement sends no operations until it is granted some.
        _rotate(msg.sender, key, replacement, type(uint256).max);
        emit SessionRotated(msg.sender, key, replacement);
    }

    /// @inheritdoc ISessionModule
    function setCap(address bearer, uint88 cap, uint32 period) external {
        _setCap(msg.sender, bearer, cap, period);
        emit CapChanged(msg.sender, bearer, cap, period);
    }

    /// @inheritdoc ISessionModule
    function spendAs(address key, address to, uint256 amount) external {
        _spendBy(msg.sender, key, to, amount);
    }

    // ------------------------------------------------------------------ anyone's

    /// @inheritdoc ISessionModule
    function grantSigned(
        address account,
        Terms calldata terms,
        uint16 sequence,
        bytes calldata signature
    ) external {
        require(
            _sequenceOf(account, terms.key) == sequence
                && SignatureChecker.isValidERC1271SignatureNowCalldata(
                    account, _grantDigest(account, terms, sequence), signature
                ),
            SessionGrantInvalid(terms.key)
        );
        _grant(account, terms);
        emit SessionGranted(
            account, terms.key, terms.permissions, terms.expiresAt, terms.cap, terms.period
        );
    }

    /// @inheritdoc ISessionModule
    function spendSigned(address account, Order calldata order, bytes calldata signature) external {
        _takeOrder(account, order, signature);
        _spendBy(account, order.key, order.to, order.amount);
    }

    /// @inheritdoc ISessionModule
    function spend(address account, address to, uint256 amount) external {
        _spendBy(account, msg.sender, to, amount);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISessionModule
    function token() external view returns (address) {
        return address(TOKEN);
    }

    /// @inheritdoc ISessionModule
    function sessionEpoch(address account) external view returns (uint24) {
        return uint24(_headOf(account));
    }

    /// @inheritdoc ISessionModule
    function sessionOf(address account, address key) external view returns (Session memory) {
        return _sessionOf(account, key);
    }

    /// @inheritdoc ISessionModule
    function capOf(address account, address bearer)
        external
        view
        returns (uint256, uint256, uint256)
    {
        return _capOf(account, bearer);
    }

    /// @inheritdoc ISessionModule
    function isSessionLive(address account, address key, uint8 permissions)
        external
        view
        returns (bool)
    {
        return _isLive(account, key, permissions);
    }

    /// @inheritdoc ISessionModule
    function callOf(address key, address to, uint256 amount) public view returns (bytes memory) {
        return abi.encodeCall(
            IERC7579Execution.execute,
            (
                MODE_SINGLE,
                abi.encodePacked(
                    address(this),
                    uint256(0),
                    abi.encodeCall(ISessionModule.spendAs, (key, to, amount))
                )
            )
        );
    }

    // ------------------------------------------------------------------ internal

    /// @dev What it returns is of no interest: what left the account is measured.
    function _transfer(address account, address to, uint256 amount) internal override(SessionKeys) {
        IERC7579Execution(account)
            .executeFromExecutor(
                MODE_SINGLE,
                abi.encodePacked(
                    address(TOKEN), uint256(0), abi.encodeCall(IERC20.transfer, (to, amount))
                )
            );
    }

    // ------------------------------------------------------------------ private

    /// @dev Of {callOf}: selector 4, mode 32, offset 32, length 32, module 20, value 32, selector 4, and
    /// three words, filled up to 32 bytes.
    uint256 private constant CALL_LENGTH = 4 + 96 + 160;
    uint256 private constant ARGUMENTS_OFFSET = 4 + 96 + 56;

    function _spendOf(bytes calldata callData)
        private
        pure
        returns (address key, address to, uint256 amount)
    {
        bytes calldata arguments = callData[ARGUMENTS_OFFSET:ARGUMENTS_OFFSET + 96];
        key = address(uint160(uint256(bytes32(arguments[:32]))));
        to = address(uint160(uint256(bytes32(arguments[32:64]))));
        amount = uint256(bytes32(arguments[64:]));
    }

    function _grantTerms(Terms memory terms) private {
        _grant(msg.sender, terms);
        emit SessionGranted(
            msg.sender, terms.key, terms.permissions, terms.expiresAt, terms.cap, terms.period
        );
    }

    function _spendBy(address account, address key, address to, uint256 amount) private {
        _spend(account, key, to, amount);
        emit SessionSpent(account, key, to, amount);
    }
}
