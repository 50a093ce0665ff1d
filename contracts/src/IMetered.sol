// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Metered settlement: one signature of each buyer for all it bought since the last batch
/// @notice A buyer signs a cumulative receipt; what it owes since the ledger's `spent` is split among
/// the sellers that it names. A batch commits to every single fill by a Merkle root and moves sums
/// only: its cost follows participants, not fills. Where a buyer has not signed, the operator's
/// word alone moves at most `uncoveredCap` atoms, until the next receipt.
interface IMetered {
    // ------------------------------------------------------------------ types

    /// @notice Why a record was not settled; the first check that fails names it.
    enum RecordProblem {
        None,
        LinesInvalid,
        InsufficientBalance,
        SpentOverflow,
        ClaimPending,
        UncoveredExceeded,
        EpochEnded,
        BadSignature,
        SessionRefused
    }

    /// @notice A buyer's word that it has spent `spent` atoms in all, of which the ledger has taken
    /// `base`: the difference goes to the sellers of `lines`.
    /// @dev The fields of the EIP-712 type. It settles only while the ledger's `spent` is `base`.
    /// @param lines keccak256 of a packed (seller address, amount u64) for each, sellers ascending
    struct SpendReceipt {
        address account;
        uint32 epoch;
        uint64 base;
        uint64 spent;
        bytes32 lines;
    }

    /// @param spent atoms that metered settlement ever took from the account
    /// @param uncovered what of it the operator attested since the account's last receipt
    /// @param epoch what new receipts must carry
    /// @param sessionEpoch of the session keys that live
    /// @param isRootCapped whether the keys share a cap
    /// @param isClaimed whether a receipt waits to be settled without the operator
    struct MeterView {
        uint64 spent;
        uint32 uncovered;
        uint32 epoch;
        uint24 sessionEpoch;
        bool isRootCapped;
        bool isClaimed;
    }

    // ------------------------------------------------------------------ errors

    /// @dev Settled already, or the number that used the same place before it has not been.
    error MeteredNumberInvalid(uint64 number);
    /// @dev The place's last root can still be disputed.
    error MeteredRootStanding(uint64 number, uint256 until);

    // ------------------------------------------------------------------ events

    /// @notice All that a batch did. Packed, because a log for each would cost more than half of what the
    /// ledger's word does.
    /// @param buyers account address, spent u64 (after), paid u64, authority u8 for each record settled
    /// @param sellers account address, credited u64 for each seller that got something
    event MeteredSettled(
        uint64 indexed number, bytes32 indexed root, uint256 paid, bytes buyers, bytes sellers
    );
    event RecordSkipped(uint64 indexed number, address indexed account, RecordProblem problem);

    // ------------------------------------------------------------------ settlement

    /// @notice Settles receipts and attestations. Only the operator; each number once.
    /// @dev Number n needs n - 4,096 to be settled and its time of dispute, one `exitDelay`, over: both
    /// use one place for their roots. A record that fails a check is skipped with a reason and takes
    /// nothing with it. The whole call reverts only for what the operator itself does wrong.
    /// Sellers are credited at the end, so money received in a batch cannot be spent in it.
    /// @param root Merkle root of the fills that the batch pays for; see {BreachBond}
    /// @param batch books, sellers and records, packed as {MeteredReader} says
    /// @return paid atoms moved from buyers to sellers
    function settleMetered(uint64 number, bytes32 root, bytes calldata batch)
        external
        returns (uint256 paid);

    // ------------------------------------------------------------------ views

    /// @notice The most atoms of one account that the operator may have moved on its word alone.
    function uncoveredCap() external view returns (uint32);

    function meterOf(address account) external view returns (MeterView memory);

    /// @notice When a batch with this root was settled; 0 if none was or its place is used again.
    function rootSettledAt(uint64 number, bytes32 root) external view returns (uint40);

    /// @notice What a batch with this root paid, as `settleMetered` returned it; 0 as above.
    function rootPaid(uint64 number, bytes32 root) external view returns (uint256);

    /// @notice What the receipt's account, or a session key of it, signs.
    function receiptDigest(SpendReceipt calldata receipt) external view returns (bytes32);
}
