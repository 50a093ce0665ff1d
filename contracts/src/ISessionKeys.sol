// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title What an account lets its session keys do
/// @notice A session is one key of one account: its permissions, an expiry and a cap that holds in
/// any window of its period's length. The account and single payees can have caps of their own, which
/// all keys share. Neither revoking, granting again nor rotating lowers what was spent.
interface ISessionKeys {
    /// @param key who may act; never the account itself
    /// @param permissions bits: 1 settle, 4 cancel, 8 spend, 16 spend to listed payees only
    /// @param expiresAt last second of the session
    /// @param cap atoms that the key may move within any `period`; kept rounded down
    /// @param period in seconds, at most 91 days; kept rounded up
    /// @param paymaster who pays for the key's user operations; zero: the account itself
    /// @param feeMax wei that one user operation may cost at most; 0: it may send none
    /// @param operationsMax user operations that the key may send under this grant
    struct Terms {
        address key;
        uint8 permissions;
        uint40 expiresAt;
        uint88 cap;
        uint32 period;
        address paymaster;
        uint64 feeMax;
        uint32 operationsMax;
    }

    /// @param expiresAt last second of the session
    /// @param epoch of the account's sessions at the grant
    /// @param permissions as in the terms; 0 once revoked
    /// @param cap atoms, as it is kept
    /// @param spent atoms that count against the cap now
    /// @param period in seconds, as it is kept
    /// @param sequence counts the key's grants, revocations and rotations
    /// @param orderNonce that the key's next order has to have
    /// @param paymaster, feeMax and operationsMax as in the terms
    struct Session {
        uint40 expiresAt;
        uint24 epoch;
        uint8 permissions;
        uint88 cap;
        uint88 spent;
        uint32 period;
        uint16 sequence;
        uint64 orderNonce;
        address paymaster;
        uint64 feeMax;
        uint32 operationsMax;
    }

    /// @param key who signs it
    /// @param to who is paid
    /// @param amount atoms
    /// @param nonce the key's orders count upwards from 0
    /// @param deadline last second in which it can be used
    struct Order {
        address key;
        address to;
        uint256 amount;
        uint64 nonce;
        uint40 deadline;
    }

    error SessionKeyInvalid(address key);
    error SessionPermissionsInvalid(uint8 permissions);
    error SessionExpiryInvalid(uint40 expiresAt);
    /// @dev Unknown, revoked, expired, of an earlier epoch, or without the permission.
    error SessionNotLive(address key);
    /// @dev Of the key, the account or the payee: whichever is asked first and has less left.
    error SessionCapExceeded(address bearer, uint256 amount, uint256 left);
    error SessionPayeeInvalid(address payee);
    /// @dev Not signed by the owner, or of another epoch or sequence.
    error SessionGrantInvalid(address key);
    /// @dev Not signed by the key, or of another life of it, used, or too late.
    error SessionOrderInvalid(address key);
    /// @dev The account's tokens did not become fewer by the amount.
    error SessionSpendIncomplete(uint256 amount);
    error SessionAmountZero();
}
