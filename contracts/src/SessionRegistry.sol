// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {BoundedCall} from "./BoundedCall.sol";
import {CapWord} from "./CapWord.sol";
import {ISessionRegistry} from "./ISessionRegistry.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {SessionCharges} from "./SessionCharges.sol";
import {SessionPolicy} from "./SessionPolicy.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The session keys of {ISessionRegistry}, for a ledger to inherit
/// @dev What writes the ledger's word of an account cannot be entered while the ledger settles: it may
/// hold that word in memory, and would write it back as it was. It calls nobody itself, so looking is
/// enough.
abstract contract SessionRegistry is
    ISessionRegistry,
    SessionCharges,
    EIP712,
    ReentrancyGuardTransient
{
    using CapWord for uint256;

    uint8 private constant PERMISSIONS_ALL = SessionPolicy.PERMISSION_SIGN
        | SessionPolicy.PERMISSION_CANCEL | SessionPolicy.PERMISSION_RECEIPT
        | SessionPolicy.PERMISSION_GUARD;

    /// @dev Gas with which a contract account is asked for its signature.
    uint256 private constant SIGNATURE_GAS = 200_000;

    // ------------------------------------------------------------------ sessions

    /// @inheritdoc ISessionRegistry
    function grantSession(SessionGrant calldata grant) external {
        require(msg.sender == grant.account, RegistryUnauthorized(msg.sender));
        _grant(grant, _wordOf(SessionPolicy.Bearer.Key, grant.account, _id(grant.key)));
    }

    /// @inheritdoc ISessionRegistry
    function grantSessionBySignature(SessionGrant calldata grant, bytes calldata signature)
        external
    {
        uint256 word = _wordOf(SessionPolicy.Bearer.Key, grant.account, _id(grant.key));
        require(!_isRevoked(word), RegistryKeyRevoked(grant.key));
        _useGrantNonce(grant.account, grant.nonce);
        _grant(grant, word);
        require(
            _isSignedByAccount(grant.account, grantDigest(grant), signature),
            RegistrySignatureInvalid(grant.account)
        );
    }

    /// @inheritdoc ISessionRegistry
    function cancelGrant(uint64 nonce) external {
        _useGrantNonce(msg.sender, nonce);
        emit SessionGrantCancelled(msg.sender, nonce);
    }

    /// @inheritdoc ISessionRegistry
    function rotateSession(address key, address replacement) external {
        uint256 word = _wordOf(SessionPolicy.Bearer.Key, msg.sender, _id(key));
        require(word.permissionsOf() != 0, RegistryKeyInvalid(key));
        require(
            _isKeyValid(msg.sender, replacement)
                && _wordOf(SessionPolicy.Bearer.Key, msg.sender, _id(replacement)) == 0,
            RegistryKeyInvalid(replacement)
        );
        _copy(SessionPolicy.Bearer.Terms, key, replacement);
        _copy(SessionPolicy.Bearer.Units, key, replacement);
        _setWord(SessionPolicy.Bearer.Key, msg.sender, _id(replacement), word);
        _revoke(msg.sender, key, word);
        emit SessionRotated(msg.sender, key, replacement);
    }

    /// @inheritdoc ISessionRegistry
    function setTeam(address key, uint16 team) external {
        require(team <= CapWord.TEAM_MAX, RegistryTeamInvalid(team));
        uint256 word = _wordOf(SessionPolicy.Bearer.Key, msg.sender, _id(key));
        require(word.permissionsOf() != 0, RegistryKeyInvalid(key));
        _setWord(SessionPolicy.Bearer.Key, msg.sender, _id(key), word.withTeam(team));
        emit SessionTeamChanged(msg.sender, key, team);
    }

    /// @inheritdoc ISessionRegistry
    function revokeSession(address account, address key) external {
        require(msg.sender == key || _mayRevoke(account), RegistryUnauthorized(msg.sender));
        _revoke(account, key, _wordOf(SessionPolicy.Bearer.Key, account, _id(key)));
    }

    /// @inheritdoc ISessionRegistry
    function revokeSessions(address account) external nonReentrantView {
        require(_mayRevoke(account), RegistryUnauthorized(msg.sender));
        emit SessionsRevoked(account, _bumpSessionEpoch(account));
    }

    // ------------------------------------------------------------------ caps

    /// @inheritdoc ISessionRegistry
    function setCap(SessionPolicy.Bearer bearer, uint256 id, uint96 cap, uint40 period)
        external
        nonReentrantView
    {
        require(_isCapBearer(bearer, id), RegistryBearerInvalid(bearer, id));
        uint256 word = _wordOf(bearer, msg.sender, id);
        word = period == 0 ? word.withoutCap() : word.withCap(cap, period, block.timestamp);
        _setWord(bearer, msg.sender, id, word);
        emit CapChanged(msg.sender, bearer, id, word);
        if (bearer == SessionPolicy.Bearer.Root) _setRootCapped(msg.sender, _isRootNeeded(word));
        if (bearer != SessionPolicy.Bearer.Counterparty) return;
        uint256 root = _wordOf(SessionPolicy.Bearer.Root, msg.sender, 0);
        if (SessionPolicy.ruleOf(root) == SessionPolicy.CounterpartyRule.Any) {
            _setRule(root, SessionPolicy.CounterpartyRule.Capped);
        }
    }

    /// @inheritdoc ISessionRegistry
    function setCounterpartyRule(SessionPolicy.CounterpartyRule rule) external nonReentrantView {
        _setRule(_wordOf(SessionPolicy.Bearer.Root, msg.sender, 0), rule);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISessionRegistry
    function wordOf(SessionPolicy.Bearer bearer, address account, uint256 id)
        external
        view
        returns (uint256)
    {
        return _wordOf(bearer, account, id);
    }

    /// @inheritdoc ISessionRegistry
    function isSessionLive(address account, address key, uint8 permissions)
        external
        view
        returns (bool)
    {
        return _isSessionLive(account, key, permissions);
    }

    /// @inheritdoc ISessionRegistry
    function isGrantNonceUsed(address account, uint64 nonce) external view returns (bool) {
        return _sessions().grantNonces[account][nonce >> 8] & (1 << (nonce & 0xff)) != 0;
    }

    /// @inheritdoc ISessionRegistry
    function grantDigest(SessionGrant calldata grant) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(MarketTypes.SESSION_GRANT_TYPEHASH, grant)));
    }

    // ------------------------------------------------------------------ internal: what the ledger does

    /// @dev Adds one, and reverts where it was the last: 0 would be met again.
    function _bumpSessionEpoch(address account) internal virtual returns (uint24);

    /// @dev Whether the account's root has a word to read, for a cap or a rule.
    function _setRootCapped(address account, bool isCapped) internal virtual;

    // ------------------------------------------------------------------ private: grants

    function _grant(SessionGrant calldata grant, uint256 word) private {
        _requireValid(grant);
        bool isTermed = SessionPolicy.hasTerms(grant);
        uint256 terms;
        uint256 units =
            isTermed ? _wordOf(SessionPolicy.Bearer.Units, grant.account, _id(grant.key)) : 0;
        (word, terms, units) = SessionPolicy.granted(word, units, grant, block.timestamp);
        _setWord(SessionPolicy.Bearer.Key, grant.account, _id(grant.key), word);
        if (isTermed) {
            _setWord(SessionPolicy.Bearer.Terms, grant.account, _id(grant.key), terms);
            _setWord(SessionPolicy.Bearer.Units, grant.account, _id(grant.key), units);
        }
        emit SessionGranted(grant.account, grant.key, grant.resource, word, terms, units);
    }

    function _requireValid(SessionGrant calldata grant) private view {
        require(
            grant.sessionEpoch == _sessionEpochOf(grant.account),
            RegistryEpochEnded(grant.sessionEpoch)
        );
        require(_isKeyValid(grant.account, grant.key), RegistryKeyInvalid(grant.key));
        require(
            grant.permissions != 0 && grant.permissions & ~PERMISSIONS_ALL == 0,
            RegistryPermissionsInvalid(grant.permissions)
        );
        require(
            grant.expiresAt > block.timestamp && grant.expiresAt <= type(uint32).max,
            RegistryExpiryInvalid(grant.expiresAt)
        );
        require(grant.team <= CapWord.TEAM_MAX, RegistryTeamInvalid(grant.team));
        require(
            (grant.period == 0) == (grant.spend == 0 && grant.units == 0),
            RegistryPeriodInvalid(grant.period)
        );
    }

    function _isKeyValid(address account, address key) private pure returns (bool) {
        return key != address(0) && key != account;
    }

    function _useGrantNonce(address account, uint64 nonce) private {
        uint256 bits = _sessions().grantNonces[account][nonce >> 8];
        uint256 bit = 1 << (nonce & 0xff);
        require(bits & bit == 0, RegistryNonceUsed(nonce));
        _sessions().grantNonces[account][nonce >> 8] = bits | bit;
    }

    /// @dev A plain signature counts first, so that an owner whose key also has delegated code
    /// (EIP-7702) goes on as before. The digest names the account: no signature counts for two.
    function _isSignedByAccount(address account, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool)
    {
        if (account == address(0)) return false;
        if (SignatureRecovery.recover(digest, signature) == account) return true;
        return account.code.length != 0
            && BoundedCall.answers(
            account,
            SIGNATURE_GAS,
            abi.encodeCall(IERC1271.isValidSignature, (digest, signature)),
            IERC1271.isValidSignature.selector
        );
    }

    // ------------------------------------------------------------------ private: ends

    /// @dev No permissions is what a revoked key looks like. One that was never granted gets an end, so
    /// that it is not taken for one that is not known.
    function _revoke(address account, address key, uint256 word) private {
        bool isKnown = word.expiresAtOf() != 0;
        word = isKnown ? word.withPermissions(0) : word.withSession(1, 0, 0, 0);
        _setWord(SessionPolicy.Bearer.Key, account, _id(key), word);
        emit SessionRevoked(account, key);
    }

    function _isRevoked(uint256 word) private pure returns (bool) {
        return word.permissionsOf() == 0 && word.expiresAtOf() != 0;
    }

    function _mayRevoke(address account) private view returns (bool) {
        return msg.sender == account
            || _isSessionLive(account, msg.sender, SessionPolicy.PERMISSION_GUARD);
    }

    // ------------------------------------------------------------------ private: caps

    function _isCapBearer(SessionPolicy.Bearer bearer, uint256 id) private pure returns (bool) {
        if (bearer == SessionPolicy.Bearer.Root) return id == 0;
        if (bearer == SessionPolicy.Bearer.Team) return id != 0 && id <= CapWord.TEAM_MAX;
        return bearer == SessionPolicy.Bearer.Counterparty && id != 0 && id <= type(uint160).max;
    }

    /// @dev The rule stands where a key's word has permissions.
    function _setRule(uint256 root, SessionPolicy.CounterpartyRule rule) private {
        root = root.withPermissions(uint8(rule));
        _setWord(SessionPolicy.Bearer.Root, msg.sender, 0, root);
        _setRootCapped(msg.sender, _isRootNeeded(root));
        emit CounterpartyRuleChanged(msg.sender, rule);
    }

    function _isRootNeeded(uint256 root) private pure returns (bool) {
        return root.isCapped() || SessionPolicy.ruleOf(root) != SessionPolicy.CounterpartyRule.Any;
    }

    // ------------------------------------------------------------------ private: words

    function _copy(SessionPolicy.Bearer bearer, address key, address replacement) private {
        uint256 word = _wordOf(bearer, msg.sender, _id(key));
        if (word != 0) _setWord(bearer, msg.sender, _id(replacement), word);
    }
}
