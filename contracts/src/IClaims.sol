// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IMetered} from "./IMetered.sol";

/// @title Receipts settled without the operator
/// @notice Anyone who has a buyer's receipt, as its sellers do, may post it. After `claimDelay`, in which
/// a later receipt replaces it, it is paid. The operator settling any receipt of the buyer, an older one too,
/// ends the claim: the buyer has then acknowledged what it owes from another base. While a claim waits, the
/// operator can attest nothing of that buyer, and the buyer cannot withdraw what is claimed.
/// Markets take a claim for what a buyer can make of it: word that all it has may leave then.
/// @dev Answered at the settlement contract's address, by the code of {SettlementDesk}.
interface IClaims {
    /// @param lines of the receipt
    /// @param base the ledger's `spent` on which the receipt rests
    /// @param spent the receipt's
    /// @param executableAt when it may be paid
    /// @param signer as in `ReceiptClaimed`
    struct Claim {
        bytes32 lines;
        uint64 base;
        uint64 spent;
        uint40 executableAt;
        address signer;
    }

    /// @dev The receipt rests on another base than the ledger has.
    error ClaimBaseInvalid(uint64 base, uint256 spent);
    error ClaimEpochEnded(uint32 epoch);
    /// @dev Not what the receipt was signed over; or not 1 to 255 whole, strictly ascending sellers, none of
    /// them the buyer, that add up to what the receipt says.
    error ClaimLinesInvalid();
    /// @dev A receipt of at least that much is claimed already.
    error ClaimNotLarger(uint64 spent);
    error ClaimUnsigned(address account);
    /// @dev None was posted, or the ledger has moved on since.
    error ClaimMissing(address account);
    error ClaimEarly(uint256 executableAt);

    /// @param signer who signed: the account or a key of it; zero for ERC-1271
    /// @param lines as they are signed: seller address, amount u64 for each
    event ReceiptClaimed(
        address indexed account,
        address indexed signer,
        uint64 base,
        uint64 spent,
        uint256 executableAt,
        bytes lines
    );
    /// @param spent the ledger's, afterwards
    /// @param sellers account address, credited u64 for each
    event ClaimExecuted(address indexed account, uint64 spent, uint256 paid, bytes sellers);

    /// @notice Posts a receipt. A session key that signed it is charged here: what it could sign for,
    /// it can sign for now, and revoking it later does not undo what was posted.
    /// @dev A larger receipt from the same base takes the place of an earlier one and keeps its time, so
    /// that a buyer cannot put off paying by signing on. The same key is then charged for what is new.
    /// @param lines seller address, amount u64 for each, as they are signed
    /// @param authority 0: plain, by the account's own key, 1: ERC-1271, 2: a session key
    /// @param signature 64 (EIP-2098) or 65 bytes; with ERC-1271 anything
    /// @return executableAt when `executeClaim` opens
    function claimReceipt(
        IMetered.SpendReceipt calldata receipt,
        bytes calldata lines,
        uint256 authority,
        bytes calldata signature
    ) external returns (uint256 executableAt);

    /// @notice Pays the account's claim. If its balance is less than the sum, each seller gets its share,
    /// rounded down, and nothing is owed by this receipt any more. Of nothing nothing is paid: then it rests on
    /// the same base, and can be claimed anew.
    /// @return paid atoms moved
    function executeClaim(address account, bytes calldata lines) external returns (uint256 paid);

    /// @return the account's last claim; it stands only while its base is the ledger's `spent`
    function claimOf(address account) external view returns (Claim memory);

    /// @notice `exitDelay`: a receipt that a buyer signs to itself is no faster than a withdrawal.
    function claimDelay() external view returns (uint40);
}
