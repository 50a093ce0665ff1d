// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title What every account can do by itself: pay in, leave, end what it signed
/// @dev Answered at the settlement contract's address, by the code of {SettlementDesk}.
interface IEscrow {
    // ------------------------------------------------------------------ types

    /// @param balance atoms held for the account
    /// @param withdrawing atoms asked for; they stay settleable until withdrawn
    /// @param withdrawableAt when `withdraw` opens; 0 without a request
    /// @param epoch what new documents must carry
    /// @param epochEffectiveAt when documents of the previous epoch stop settling; 0 if never bumped
    /// @param epochSettleable the oldest epoch that still settles now
    struct AccountView {
        uint256 balance;
        uint256 withdrawing;
        uint40 withdrawableAt;
        uint32 epoch;
        uint40 epochEffectiveAt;
        uint32 epochSettleable;
    }

    // ------------------------------------------------------------------ errors

    error SettlementAmountZero();
    error SettlementBalanceOverflow(uint256 held);
    error SettlementRecipientInvalid(address to);
    error SettlementNoWithdrawal(address account);
    error SettlementWithdrawalEarly(uint256 availableAt);
    error SettlementAlreadyCancelled(uint64 nonce);
    error SettlementEpochPending(uint256 effectiveAt);

    // ------------------------------------------------------------------ events

    event Deposited(
        address indexed account, address indexed from, uint256 amount, uint256 balanceAfter
    );
    event WithdrawalRequested(address indexed account, uint256 amount, uint256 availableAt);
    event WithdrawalCancelled(address indexed account);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    event Cancelled(address indexed account, uint64 nonce, uint256 effectiveAt);
    event EpochBumped(address indexed account, uint32 epoch, uint256 effectiveAt);

    // ------------------------------------------------------------------ money in

    /// @notice Moves `amount` from the caller into `account`'s balance; needs an allowance.
    function deposit(address account, uint256 amount) external;

    /// @notice Like `deposit`, with the caller's ERC-2612 permit instead of a prior approval.
    /// @dev A permit that was front-run is harmless: the allowance it left is used.
    function depositWithPermit(
        address account,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Deposits by an ERC-3009 authorization of `from`; anyone may send it.
    /// @dev The authorization's nonce must be `authorizationNonce(account, salt)`: the signer thereby
    /// names the beneficiary, and no one who sees the signature can redirect it.
    function depositWithAuthorization(
        address from,
        address account,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    // ------------------------------------------------------------------ money out

    /// @notice Asks for `amount`, or all there is if that is less. Replaces an earlier request and
    /// restarts its clock.
    /// @return availableAt when `withdraw` opens
    function requestWithdrawal(uint256 amount) external returns (uint256 availableAt);

    /// @notice Drops the caller's request.
    function cancelWithdrawal() external;

    /// @notice Pays min(requested, balance) to `to`, once the delay is over. Needs no one's consent. What
    /// a posted receipt claims of the balance stays until that is paid; see {IClaims}.
    /// @return amount atoms paid
    function withdraw(address to) external returns (uint256 amount);

    // ------------------------------------------------------------------ cancellation

    /// @notice Ends every document with this nonce of the caller, `exitDelay` from now.
    /// @dev The delay lets what was already delivered be settled. The market itself stops matching
    /// the document as soon as it sees the event.
    /// @return effectiveAt from then on the documents do not settle
    function cancel(uint64 nonce) external returns (uint256 effectiveAt);

    /// @notice Ends every document of the caller's current epoch, `exitDelay` from now. Documents
    /// of the new epoch settle at once.
    /// @return epoch the new one
    /// @return effectiveAt from then on documents of the previous epoch do not settle
    function cancelAll() external returns (uint32 epoch, uint256 effectiveAt);

    // ------------------------------------------------------------------ views

    function accountOf(address account) external view returns (AccountView memory);

    /// @notice Units settled under a nonce, by intents and offers together: filled of an intent, delivered of
    /// an offer; of a mandate atoms.
    function settledUnits(address account, uint64 nonce) external view returns (uint256);

    /// @return effectiveAt when the nonce's cancellation bites; 0 if it was not cancelled
    function cancelledAt(address account, uint64 nonce) external view returns (uint256 effectiveAt);

    /// @notice The ERC-3009 nonce that binds an authorization to the account it tops up.
    function authorizationNonce(address account, bytes32 salt) external pure returns (bytes32);
}
