// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title All that the ledger knows of an account, in one storage word
/// @dev From the lowest bit: balance u72 | withdrawing u72 | withdrawableAt u40 | epoch u32 |
/// epochEffectiveAt u40. The balance comes first, so that money moves by plain addition: whoever
/// adds or subtracts has checked that the balance stays within 72 bits. `epochEffectiveAt` is when
/// documents of the epoch before stop settling.
library AccountWord {
    uint256 internal constant BALANCE_MAX = type(uint72).max;

    uint256 private constant WITHDRAWAL_SHIFT = 72;
    uint256 private constant WITHDRAWABLE_AT_SHIFT = 144;
    uint256 private constant EPOCH_SHIFT = 184;
    uint256 private constant EPOCH_EFFECTIVE_AT_SHIFT = 216;
    uint256 private constant WITHDRAWAL_MASK = ((1 << 112) - 1) << WITHDRAWAL_SHIFT;
    uint256 private constant EPOCH_MASK = ((1 << 72) - 1) << EPOCH_SHIFT;

    function balanceOf(uint256 word) internal pure returns (uint256) {
        return word & BALANCE_MAX;
    }

    function withdrawingOf(uint256 word) internal pure returns (uint256) {
        return (word >> WITHDRAWAL_SHIFT) & BALANCE_MAX;
    }

    function withdrawableAtOf(uint256 word) internal pure returns (uint40) {
        return uint40(word >> WITHDRAWABLE_AT_SHIFT);
    }

    function epochOf(uint256 word) internal pure returns (uint32) {
        return uint32(word >> EPOCH_SHIFT);
    }

    function epochEffectiveAtOf(uint256 word) internal pure returns (uint40) {
        return uint40(word >> EPOCH_EFFECTIVE_AT_SHIFT);
    }

    /// @notice Whether documents of `epoch` settle at `time`.
    function isEpochSettleable(uint256 word, uint256 epoch, uint256 time)
        internal
        pure
        returns (bool)
    {
        uint256 current = epochOf(word);
        if (epoch == current) return true;
        return epoch + 1 == current && time < epochEffectiveAtOf(word);
    }

    function withWithdrawal(uint256 word, uint72 amount, uint40 availableAt)
        internal
        pure
        returns (uint256)
    {
        return (word & ~WITHDRAWAL_MASK) | uint256(amount) << WITHDRAWAL_SHIFT
            | uint256(availableAt) << WITHDRAWABLE_AT_SHIFT;
    }

    function withEpoch(uint256 word, uint32 epoch, uint40 effectiveAt)
        internal
        pure
        returns (uint256)
    {
        return (word & ~EPOCH_MASK) | uint256(epoch) << EPOCH_SHIFT | uint256(effectiveAt)
            << EPOCH_EFFECTIVE_AT_SHIFT;
    }
}
