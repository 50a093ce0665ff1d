// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title What the ledger knows of an account: a word that settlement uses, and one for leaving
/// @dev The ledger's word, from the lowest bit: balance u72 | spent u64 | uncovered u32 | epoch u32 |
/// sessionEpoch u24 | flags u8. The balance comes first, so that money moves by plain addition: whoever
/// adds or subtracts has checked that the balance stays within 72 bits. `spent` is all that metered
/// settlement ever took, `uncovered` what of it was attested since the account's last receipt.
///
/// The exit word, which no settlement writes and only one of an ended epoch reads, from the lowest
/// bit: withdrawing u72 | withdrawableAt u40 | epochEffectiveAt u40. `epochEffectiveAt` is when
/// documents of the epoch before stop settling.
library AccountWord {
    uint256 internal constant BALANCE_MAX = type(uint72).max;
    uint256 internal constant SPENT_MAX = type(uint64).max;
    uint256 internal constant UNCOVERED_MAX = type(uint32).max;
    uint24 internal constant SESSION_EPOCH_MAX = type(uint24).max;

    /// @dev Flags. The account has a cap that all its session keys share.
    uint256 internal constant ROOT_CAPPED = 1 << 224;
    /// @dev A receipt of the account waits to be settled without the operator.
    uint256 internal constant CLAIMED = 1 << 225;

    uint256 private constant SPENT_SHIFT = 72;
    uint256 private constant UNCOVERED_SHIFT = 136;
    uint256 private constant EPOCH_SHIFT = 168;
    uint256 private constant SESSION_EPOCH_SHIFT = 200;
    uint256 private constant UNCOVERED_MASK = UNCOVERED_MAX << UNCOVERED_SHIFT;

    uint256 private constant WITHDRAWABLE_AT_SHIFT = 72;
    uint256 private constant EPOCH_EFFECTIVE_AT_SHIFT = 112;
    uint256 private constant WITHDRAWAL_MASK = (1 << 112) - 1;

    // ------------------------------------------------------------------ the ledger's word

    function balanceOf(uint256 word) internal pure returns (uint256) {
        return word & BALANCE_MAX;
    }

    function spentOf(uint256 word) internal pure returns (uint256) {
        return (word >> SPENT_SHIFT) & SPENT_MAX;
    }

    function uncoveredOf(uint256 word) internal pure returns (uint256) {
        return (word >> UNCOVERED_SHIFT) & UNCOVERED_MAX;
    }

    function epochOf(uint256 word) internal pure returns (uint32) {
        return uint32(word >> EPOCH_SHIFT);
    }

    function sessionEpochOf(uint256 word) internal pure returns (uint24) {
        return uint24(word >> SESSION_EPOCH_SHIFT);
    }

    function has(uint256 word, uint256 flag) internal pure returns (bool) {
        return word & flag != 0;
    }

    /// @notice Takes `amount`, which the account has acknowledged, with all that was attested before.
    /// @dev The caller has checked `amount` against the balance, and the sum against SPENT_MAX. Whatever
    /// claim there was has another base now.
    function withReceipt(uint256 word, uint256 amount) internal pure returns (uint256) {
        // Unchecked: see above.
        unchecked {
            return (word & ~(UNCOVERED_MASK | CLAIMED)) + (amount << SPENT_SHIFT) - amount;
        }
    }

    /// @notice Takes `amount` on the operator's word alone.
    /// @dev As for `withReceipt`, and the caller has checked the sum of what is uncovered.
    function withAttested(uint256 word, uint256 amount) internal pure returns (uint256) {
        // Unchecked: see above.
        unchecked {
            return word + (amount << SPENT_SHIFT) + (amount << UNCOVERED_SHIFT) - amount;
        }
    }

    /// @dev Reverts rather than to start again at 0.
    function withNextEpoch(uint256 word) internal pure returns (uint256) {
        uint32 next = epochOf(word) + 1;
        return (word & ~(uint256(type(uint32).max) << EPOCH_SHIFT)) | uint256(next) << EPOCH_SHIFT;
    }

    /// @dev Reverts rather than to start again at 0, where keys that were revoked would live again.
    function withNextSessionEpoch(uint256 word) internal pure returns (uint256) {
        uint24 next = sessionEpochOf(word) + 1;
        return (word & ~(uint256(SESSION_EPOCH_MAX) << SESSION_EPOCH_SHIFT)) | uint256(next)
            << SESSION_EPOCH_SHIFT;
    }

    function withFlag(uint256 word, uint256 flag, bool isSet) internal pure returns (uint256) {
        return isSet ? word | flag : word & ~flag;
    }

    // ------------------------------------------------------------------ the exit word

    function withdrawingOf(uint256 exit) internal pure returns (uint256) {
        return exit & BALANCE_MAX;
    }

    function withdrawableAtOf(uint256 exit) internal pure returns (uint40) {
        return uint40(exit >> WITHDRAWABLE_AT_SHIFT);
    }

    function epochEffectiveAtOf(uint256 exit) internal pure returns (uint40) {
        return uint40(exit >> EPOCH_EFFECTIVE_AT_SHIFT);
    }

    function withWithdrawal(uint256 exit, uint72 amount, uint40 availableAt)
        internal
        pure
        returns (uint256)
    {
        return (exit & ~WITHDRAWAL_MASK) | uint256(amount) | uint256(availableAt)
            << WITHDRAWABLE_AT_SHIFT;
    }

    function withEpochEffectiveAt(uint256 exit, uint40 effectiveAt)
        internal
        pure
        returns (uint256)
    {
        return (exit & WITHDRAWAL_MASK) | uint256(effectiveAt) << EPOCH_EFFECTIVE_AT_SHIFT;
    }
}
