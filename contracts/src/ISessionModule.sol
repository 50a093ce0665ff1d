// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC7579Validator} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeys} from "./ISessionKeys.sol";

/// @title Session keys as an ERC-7579 module
/// @notice Installed as validator and executor. A key may spend the module's token from the account,
/// within the key's cap, the account's and the payee's; of the permissions only 8 and 16 mean anything.
/// The account is in every word, so one module serves all accounts.
interface ISessionModule is ISessionKeys, IERC7579Validator {
    error SessionModuleInstalled(address account);

    event SessionGranted(
        address indexed account,
        address indexed key,
        uint8 permissions,
        uint40 expiresAt,
        uint88 cap,
        uint32 period
    );
    event SessionRevoked(address indexed account, address indexed key);
    event SessionRotated(address indexed account, address indexed key, address indexed replacement);
    event AllSessionsRevoked(address indexed account, uint24 epoch);
    event SessionSpent(
        address indexed account, address indexed key, address indexed to, uint256 amount
    );
    event CapChanged(address indexed account, address indexed bearer, uint256 cap, uint256 period);

    // ------------------------------------------------------------------ the account's

    /// @notice Grants or changes a session. What the key has spent before still counts.
    function grantTerms(Terms calldata terms) external;

    /// @notice Ends a session at once.
    function revokeSession(address key) external;

    /// @notice Ends every session at once, at the same cost whatever their number.
    function revokeAllSessions() external;

    /// @notice Replaces a key by another, which has already spent what the old one has.
    function rotateSession(address key, address replacement) external;

    /// @notice Caps what all sessions together may pay to a payee, or, if the bearer is the account
    /// itself, to all. A period of 0 lifts the cap.
    function setCap(address bearer, uint88 cap, uint32 period) external;

    /// @notice Spends for `key`. The account calls it for a user operation that the key signed.
    function spendAs(address key, address to, uint256 amount) external;

    // ------------------------------------------------------------------ anyone's

    /// @notice Grants a session on the account's signature (ERC-1271), once, in this epoch.
    function grantSigned(
        address account,
        Terms calldata terms,
        uint16 sequence,
        bytes calldata signature
    ) external;

    /// @notice Carries out what a session key signed.
    function spendSigned(address account, Order calldata order, bytes calldata signature) external;

    /// @notice Spends for the caller, if it is a session key of the account.
    function spend(address account, address to, uint256 amount) external;

    // ------------------------------------------------------------------ views

    function token() external view returns (address);

    function sessionEpoch(address account) external view returns (uint24);

    function sessionOf(address account, address key) external view returns (Session memory);

    function capOf(address account, address bearer)
        external
        view
        returns (uint256 cap, uint256 period, uint256 left);

    function isSessionLive(address account, address key, uint8 permissions)
        external
        view
        returns (bool);

    /// @return what a user operation of the key has as call data in order to spend
    function callOf(address key, address to, uint256 amount) external view returns (bytes memory);
}
