// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Escrow and verified settlement of the market, in one ERC-20
/// @notice Buyers and sellers hold a balance here. The operator proposes batches of fills; the
/// contract checks every signature, limit, unit count, validity and balance again, and moves money
/// only from a buyer who signed to a seller who signed. Nobody, the operator included, can take
/// money out of another account, and every account can leave without the operator.
interface ISettlement {
    // ------------------------------------------------------------------ types

    /// @notice Why a line was not settled. The first check that fails names the line: what is wrong
    /// with the intent itself (NotYetValid, Expired, EpochEnded, Cancelled,
    /// BadSignature), then UnknownOffer, then the same of the offer, then ResourceMismatch, SelfMatch,
    /// UnitsZero, UnitsOverfilled, DeliveredAboveUnits, PriceAboveLimit, PriceBelowLimit,
    /// InsufficientBalance or, where a mandate has less left than its account, MandateExceeded.
    /// UnitsBelowMinimum and SessionRefused need all lines of an intent and come last. For a mandate's
    /// lines the same holds with the mandate in the intent's place.
    enum SkipReason {
        None,
        UnknownOffer,
        ResourceMismatch,
        SelfMatch,
        NotYetValid,
        Expired,
        EpochEnded,
        Cancelled,
        BadSignature,
        SessionRefused,
        UnitsOverfilled,
        UnitsBelowMinimum,
        DeliveredAboveUnits,
        PriceAboveLimit,
        PriceBelowLimit,
        InsufficientBalance,
        UnitsZero,
        MandateExceeded
    }

    /// @notice A signed demand: `units` for at most `limit` atoms in all. So k delivered units never
    /// cost more than floor(k * limit / units).
    /// @dev The fields of the EIP-712 type, with `resource` already hashed and without `asset`, which
    /// is this contract's token.
    /// @param resource keccak256 of the resource's name
    /// @param unitsMin each execution serves at least min(unitsMin, units not yet settled)
    struct Intent {
        address account;
        bytes32 resource;
        uint64 units;
        uint64 unitsMin;
        uint96 limit;
        uint40 validFrom;
        uint40 validUntil;
        bool immediate;
        uint32 epoch;
        uint64 nonce;
    }

    /// @notice A signed supply: `units` for at least `limit` atoms in all. So k delivered units never
    /// pay less than floor(k * limit / units).
    /// @dev As for Intent.
    struct Offer {
        address account;
        bytes32 resource;
        bytes32 key;
        uint64 units;
        uint96 limit;
        uint64 windowUnits;
        uint40 windowSeconds;
        uint40 validFrom;
        uint40 validUntil;
        uint32 epoch;
        uint64 nonce;
    }

    /// @notice A buyer's leave to settle fills that carry no signature of their own: all of them together
    /// cost at most `limit` atoms, and k delivered units of one at most floor(k * tickMax / 10^6).
    /// @dev As for Intent. The hash of an empty name as `resource` means any. The nonce counts atoms.
    struct Mandate {
        address account;
        bytes32 resource;
        uint64 tickMax;
        uint96 limit;
        uint40 validFrom;
        uint40 validUntil;
        uint32 epoch;
        uint64 nonce;
    }

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

    error SettlementZeroAddress();
    error SettlementExitDelayInvalid(uint40 exitDelay);
    error SettlementCallerNotOperator(address caller);
    error SettlementAmountZero();
    error SettlementBalanceOverflow(uint256 held);
    error SettlementRecipientInvalid(address to);
    error SettlementNoWithdrawal(address account);
    error SettlementWithdrawalEarly(uint256 availableAt);
    error SettlementAlreadyCancelled(uint64 nonce);
    error SettlementEpochPending(uint256 effectiveAt);
    error BatchAlreadySettled(uint64 number);
    /// @dev Offers must ascend strictly by (account, nonce), so that none is listed twice.
    error BatchOffersUnsorted(uint256 index);
    /// @dev An offer and an intent of one account and one nonce met in one batch and overfilled it.
    error BatchNonceShared(address account, uint64 nonce);
    /// @dev Too little gas to ask a contract account fairly: the fill would have been blamed for it.
    error BatchGasTooLow(uint256 gasLeft);

    // ------------------------------------------------------------------ events

    event Deposited(
        address indexed account, address indexed from, uint256 amount, uint256 balanceAfter
    );
    event WithdrawalRequested(address indexed account, uint256 amount, uint256 availableAt);
    event WithdrawalCancelled(address indexed account);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    event Cancelled(address indexed account, uint64 nonce, uint256 effectiveAt);
    event EpochBumped(address indexed account, uint32 epoch, uint256 effectiveAt);
    event FillSettled(
        bytes32 indexed fill,
        address indexed buyer,
        address indexed seller,
        uint64 units,
        uint64 delivered,
        uint96 payment
    );
    event FillSkipped(bytes32 indexed fill, SkipReason reason);
    event BatchSettled(
        uint64 indexed number,
        bytes32 indexed batchHash,
        uint256 paid,
        uint256 settled,
        uint256 skipped
    );

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

    /// @notice Pays min(requested, balance) to `to`, once the delay is over. Needs no one's consent.
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

    // ------------------------------------------------------------------ settlement

    /// @notice Settles a batch. Only the operator; each number once.
    /// @dev A line is one fill: `units` of an intent served by one offer. They count against both
    /// documents; `delivered`, at most `units`, is what is paid for, with
    /// floor(delivered * offer.limit / offer.units) <= payment
    /// <= floor(delivered * intent.limit / intent.units).
    /// A line that fails a check is skipped with a reason and takes nothing with it. The whole call
    /// reverts only for what the operator itself does wrong: caller, number, layout, order, gas.
    /// Sellers are credited at the end, so money received in a batch cannot be spent in it.
    /// @param batchHash commitment to the off-chain batch; recorded, not interpreted
    /// @param batch offers and intents with their signatures and lines, packed as {BatchReader} says.
    /// A signature's authority is 0: plain, by the account's own key, 1: ERC-1271, 2: a session key,
    /// through {ISessionSigner}
    /// @return paid atoms moved from buyers to sellers
    function settle(uint64 number, bytes32 batchHash, bytes calldata batch)
        external
        returns (uint256 paid);

    // ------------------------------------------------------------------ views

    function operator() external view returns (address);

    /// @notice Seconds between asking for and getting a withdrawal or a cancellation; also the
    /// grace in which a document can be settled after its `validUntil`.
    function exitDelay() external view returns (uint40);

    /// @notice The ERC-20 that every amount is in.
    function asset() external view returns (address);

    function accountOf(address account) external view returns (AccountView memory);

    /// @notice Units settled under a nonce, by intents and offers together.
    function settledUnits(address account, uint64 nonce) external view returns (uint256);

    /// @return effectiveAt when the nonce's cancellation bites; 0 if it was not cancelled
    function cancelledAt(address account, uint64 nonce) external view returns (uint256 effectiveAt);

    function isBatchSettled(uint64 number) external view returns (bool);

    function domainSeparator() external view returns (bytes32);

    /// @notice What the intent's account signs.
    function intentDigest(Intent calldata intent) external view returns (bytes32);

    /// @notice What the offer's account signs.
    function offerDigest(Offer calldata offer) external view returns (bytes32);

    /// @notice What the mandate's account signs.
    function mandateDigest(Mandate calldata mandate) external view returns (bytes32);

    /// @notice What is signed once for all intents of a bulk, as this one of them proves it.
    /// @param proof the intent's index in 2 bytes, then a sibling of 32 bytes for each level
    function bulkDigest(Intent calldata intent, bytes calldata proof)
        external
        view
        returns (bytes32);

    /// @notice The ERC-3009 nonce that binds an authorization to the account it tops up.
    function authorizationNonce(address account, bytes32 salt) external pure returns (bytes32);
}
