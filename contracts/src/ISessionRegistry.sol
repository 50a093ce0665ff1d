// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {SessionPolicy} from "./SessionPolicy.sol";

/// @title Session keys of any account, with caps of a tree: account, team, key
/// @notice Whoever has an account here, by a plain key or a contract, grants other keys the right to
/// act for it, each within terms and rolling caps. What a key moves counts against its own cap, its
/// team's and the account's at once, whatever the number of keys. No account is ever called to
/// check a key. Nobody but the account can grant; revoking needs one word, revoking all one word
/// whatever their number.
/// @dev Caps hold in any window of their period ({CapWord}). What was charged outlives revocation,
/// expiry, rotation, a new grant and a change of team or cap. What moved while a bearer had no cap
/// was never counted. Charges are no events of their own: those of settlement tell key and amounts.
interface ISessionRegistry {
    /// @notice Leave for `key` to act for `account`. The fields of the EIP-712 type, with `resource`
    /// already hashed. What is zero, and the hash of an empty name, limits nothing.
    /// @param team up to 2,047
    /// @param permissions bits: 2 sign intents, offers and mandates, 4 cancel, 16 sign receipts,
    /// 32 revoke
    /// @param resource keccak256 of the resource's name
    /// @param tickMax atoms per million units
    /// @param units in any period
    /// @param spend atoms in any period
    /// @param period seconds, up to 91 days; with `units` or `spend`, and only then
    /// @param expiresAt last second
    /// @param sessionEpoch the account's
    /// @param nonce for a grant by signature; each serves once
    struct SessionGrant {
        address account;
        address key;
        uint16 team;
        uint8 permissions;
        bytes32 resource;
        uint64 tickMax;
        uint64 units;
        uint96 spend;
        uint40 period;
        uint40 expiresAt;
        uint24 sessionEpoch;
        uint64 nonce;
    }

    // ------------------------------------------------------------------ errors

    error RegistryUnauthorized(address caller);
    error RegistrySignatureInvalid(address account);
    error RegistryNonceUsed(uint64 nonce);
    /// @dev Of another session epoch than the account's.
    error RegistryEpochEnded(uint24 sessionEpoch);
    /// @dev Zero, the account itself; to be rotated to, one that was granted before; to be rotated
    /// or moved, one that was not.
    error RegistryKeyInvalid(address key);
    /// @dev Revoked before: only the account itself, not a signature, grants it again.
    error RegistryKeyRevoked(address key);
    error RegistryPermissionsInvalid(uint8 permissions);
    error RegistryExpiryInvalid(uint40 expiresAt);
    error RegistryTeamInvalid(uint256 team);
    /// @dev Units or spend without a period, or the reverse.
    error RegistryPeriodInvalid(uint40 period);
    /// @dev Only teams, the root and counterparties have caps besides a grant.
    error RegistryBearerInvalid(SessionPolicy.Bearer bearer, uint256 id);

    // ------------------------------------------------------------------ events

    /// @dev `word`, `terms` and `units` are the key's words afterwards, so that a watcher has them
    /// without a question.
    event SessionGranted(
        address indexed account,
        address indexed key,
        bytes32 resource,
        uint256 word,
        uint256 terms,
        uint256 units
    );
    event SessionRotated(address indexed account, address indexed key, address indexed replacement);
    event SessionRevoked(address indexed account, address indexed key);
    event SessionsRevoked(address indexed account, uint24 sessionEpoch);
    event SessionTeamChanged(address indexed account, address indexed key, uint16 team);
    event SessionGrantCancelled(address indexed account, uint64 nonce);
    event CapChanged(
        address indexed account,
        SessionPolicy.Bearer indexed bearer,
        uint256 indexed id,
        uint256 word
    );
    event CounterpartyRuleChanged(address indexed account, SessionPolicy.CounterpartyRule rule);

    // ------------------------------------------------------------------ sessions

    /// @notice Grants or changes a session of the caller. Its nonce is not used up.
    function grantSession(SessionGrant calldata grant) external;

    /// @notice The same by the account's signature, plain or ERC-1271. Anyone may send it.
    function grantSessionBySignature(SessionGrant calldata grant, bytes calldata signature) external;

    /// @notice Makes a grant that the caller signed, and that was not sent yet, worthless.
    function cancelGrant(uint64 nonce) external;

    /// @notice Replaces a key of the caller by a fresh one, with all that it may do and has done.
    function rotateSession(address key, address replacement) external;

    /// @notice Moves a key of the caller to another team, or to none by 0.
    function setTeam(address key, uint16 team) external;

    /// @notice Ends a session at once, also for what it signed, and grants of it that were signed and
    /// not sent. By the account, the key itself, or a key that may revoke.
    function revokeSession(address account, address key) external;

    /// @notice Ends all sessions of the account at once, also for what they signed, and all grants
    /// that were signed and not sent. By the account or a key that may revoke. Reverts at the last of
    /// 16,777,215 epochs.
    function revokeSessions(address account) external;

    // ------------------------------------------------------------------ caps

    /// @notice Sets a cap of the caller's team, counterparty or account as a whole; a period of 0
    /// lifts it. A counterparty's cap holds from then on: the rule becomes Capped if it was Any.
    function setCap(SessionPolicy.Bearer bearer, uint256 id, uint96 cap, uint40 period) external;

    /// @notice Sets for all keys of the caller whom they may pay.
    function setCounterpartyRule(SessionPolicy.CounterpartyRule rule) external;

    // ------------------------------------------------------------------ views

    /// @notice The word of a bearer, as {CapWord} reads it; of Terms as {SessionPolicy} does.
    function wordOf(SessionPolicy.Bearer bearer, address account, uint256 id)
        external
        view
        returns (uint256);

    /// @notice Whether the key could act now with all of `permissions`.
    function isSessionLive(address account, address key, uint8 permissions)
        external
        view
        returns (bool);

    function isGrantNonceUsed(address account, uint64 nonce) external view returns (bool);

    /// @notice What the account signs.
    function grantDigest(SessionGrant calldata grant) external view returns (bytes32);
}
