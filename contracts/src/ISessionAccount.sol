// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISessionSigner} from "./ISessionSigner.sol";

/// @title A smart account with limited session keys
/// @notice The owner can do everything. A session key can do what its permissions name, with one
/// fixed settlement contract, until it expires, and never for more than its cap in all. It cannot
/// call anything else, approve, change a session, or sign for the account anywhere else.
interface ISessionAccount is ISessionSigner {
    struct Call {
        address target;
        uint256 value;
        bytes data;
    }

    /// @dev One slot. `spent` outlives revocation: a key granted again goes on where it stopped.
    /// @param expiresAt last second of the session
    /// @param epoch of the account's sessions at the grant
    /// @param permissions bits: 1 settle, 2 sign, 4 cancel; 0 once revoked
    /// @param cap atoms that the key may ever move
    /// @param spent atoms that it has moved, by settling and by signing
    struct Session {
        uint40 expiresAt;
        uint24 epoch;
        uint8 permissions;
        uint88 cap;
        uint88 spent;
    }

    error SessionAccountInitialized();
    error SessionAccountOwnerInvalid(address owner);
    error SessionAccountUnauthorized(address caller);
    error SessionKeyInvalid(address key);
    error SessionPermissionsInvalid(uint8 permissions);
    error SessionExpiryInvalid(uint40 expiresAt);
    /// @dev Unknown, revoked, expired, of an earlier epoch, or without the permission.
    error SessionNotLive(address key);
    error SessionCallForbidden(bytes4 selector);
    error SessionCapExceeded(address key, uint256 spent, uint256 cap);

    event OwnerChanged(address indexed owner);
    event SessionGranted(address indexed key, uint8 permissions, uint40 expiresAt, uint88 cap);
    event SessionRevoked(address indexed key);
    event AllSessionsRevoked(uint24 epoch);

    /// @notice Sets the first owner. Once, and never on the implementation; the factory calls it in
    /// the transaction that creates the account.
    function initialize(address owner) external;

    /// @notice Owner, entry point or the account itself: any call.
    function execute(address target, uint256 value, bytes calldata data)
        external
        returns (bytes memory result);

    /// @notice Owner, entry point or the account itself: several calls, all or none.
    function executeBatch(Call[] calldata calls) external returns (bytes[] memory results);

    /// @notice Hands the account to another owner. Sessions stay; revoke them if that is not meant.
    function changeOwner(address owner) external;

    /// @notice Grants or changes a session. What the key has spent before still counts.
    function grantSession(address key, uint8 permissions, uint40 expiresAt, uint88 cap) external;

    /// @notice Ends a session at once, also for documents that it signed. By the owner or the key.
    function revokeSession(address key) external;

    /// @notice Ends every session at once, at the same cost whatever their number.
    function revokeAllSessions() external;

    /// @notice Replaces a key by another with the same permissions, expiry and what is left of the
    /// cap: together they never spend more than the old one could.
    function rotateSession(address key, address replacement) external;

    /// @notice A session key's only way to act through the account: a call of the settlement
    /// contract, without value, of a function that its permissions name.
    /// @return result what the settlement contract returned
    function callSettlement(bytes calldata data) external returns (bytes memory result);

    function owner() external view returns (address);

    function settlement() external view returns (address);

    function sessionEpoch() external view returns (uint24);

    function sessionOf(address key) external view returns (Session memory);

    /// @notice Whether the key could act now with all of `permissions`.
    function isSessionLive(address key, uint8 permissions) external view returns (bool);
}
