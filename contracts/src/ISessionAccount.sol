// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IAccountOwner} from "./IAccountOwner.sol";
import {ISessionKeys} from "./ISessionKeys.sol";

/// @title A smart account with limited session keys
/// @notice The owner can do everything. A session key can do what its permissions name, until it
/// expires: call one fixed settlement contract and pay one fixed token, within its cap, the
/// account's and the payee's. It cannot call anything else, approve, change a session, or sign for the
/// account anywhere else.
interface ISessionAccount is IAccountOwner, ISessionKeys {
    struct Call {
        address target;
        uint256 value;
        bytes data;
    }

    error SessionCallForbidden(bytes4 selector);

    event SessionGranted(
        address indexed key, uint8 permissions, uint40 expiresAt, uint88 cap, uint32 period
    );
    event SessionFeesGranted(
        address indexed key, address paymaster, uint64 feeMax, uint32 operationsMax
    );
    event SessionRevoked(address indexed key);
    event AllSessionsRevoked(uint24 epoch);
    event SessionSpent(address indexed key, address indexed to, uint256 amount);
    /// @dev A period of 0 means that there is no cap any more.
    event CapChanged(address indexed bearer, uint256 cap, uint256 period);

    // ------------------------------------------------------------------ the owner's

    /// @notice Sets the first owner of a clone. Once, and never on the implementation; the factory calls
    /// it in the transaction that creates the account.
    /// @param signer an address (20 bytes), or ERC-7913 verifier and key
    function initialize(bytes calldata signer) external;

    /// @notice Owner, entry point or the account itself: any call.
    function execute(address target, uint256 value, bytes calldata data)
        external
        returns (bytes memory result);

    /// @notice Owner, entry point or the account itself: several calls, all or none.
    function executeBatch(Call[] calldata calls) external returns (bytes[] memory results);

    /// @notice Grants or changes a session with a cap over 91 days, the longest period there is, and
    /// no user operations.
    function grantSession(address key, uint8 permissions, uint40 expiresAt, uint88 cap) external;

    /// @notice Grants or changes a session. What the key has spent before still counts.
    function grantTerms(Terms calldata terms) external;

    /// @notice Ends a session at once. By the owner or the key.
    function revokeSession(address key) external;

    /// @notice Ends every session at once, at the same cost whatever their number.
    function revokeAllSessions() external;

    /// @notice Replaces a key by another with the same terms, which has already spent what the old one
    /// has: together they never spend more than the old one could.
    function rotateSession(address key, address replacement) external;

    /// @notice Caps what all sessions together may pay to a payee within any `period`; or, if the bearer
    /// is the account itself, what they may move in all. A period of 0 lifts the cap.
    function setCap(address bearer, uint88 cap, uint32 period) external;

    // ------------------------------------------------------------------ anyone's

    /// @notice Grants a session on the owner's signature, once, in this epoch.
    /// @param sequence of the key now: see `sessionOf`
    function grantSigned(Terms calldata terms, uint16 sequence, bytes calldata signature) external;

    /// @notice Carries out what a session key signed.
    function spendSigned(Order calldata order, bytes calldata signature) external;

    // ------------------------------------------------------------------ a session key's

    /// @notice Pays `amount` atoms of the account's token.
    function spend(address to, uint256 amount) external;

    /// @notice A session key's way to the settlement contract, without value, to a function that its
    /// permissions name.
    /// @return result what the settlement contract returned
    function callSettlement(bytes calldata data) external returns (bytes memory result);

    /// @notice As `spend`, by a user operation that `key` signed. The entry point calls it.
    function spendAs(address key, address to, uint256 amount) external;

    /// @notice As `callSettlement`, by a user operation that `key` signed. The entry point calls it.
    function callSettlementAs(address key, bytes calldata data)
        external
        returns (bytes memory result);

    // ------------------------------------------------------------------ views

    function settlement() external view returns (address);

    /// @return the token that sessions pay in
    function token() external view returns (address);

    function sessionEpoch() external view returns (uint24);

    function sessionOf(address key) external view returns (Session memory);

    /// @param bearer a payee, or the account itself
    /// @return cap atoms within any period, as it is kept
    /// @return period in seconds, as it is kept; 0 without a cap
    /// @return left atoms that may be moved now
    function capOf(address bearer) external view returns (uint256 cap, uint256 period, uint256 left);

    /// @notice Whether the key could act now with all of `permissions`.
    function isSessionLive(address key, uint8 permissions) external view returns (bool);
}
