// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ILedger} from "./ILedger.sol";

/// @title Verified settlement: every fill by the two documents that were signed
/// @notice The operator proposes batches of fills; the contract checks every signature, limit, unit count,
/// validity and balance again, and moves money only from a buyer who signed to a seller who signed.
interface IVerified is ILedger {
    // ------------------------------------------------------------------ types

    /// @notice Why a line was not settled. The first check that fails names the line: what is wrong
    /// with the intent itself (NotYetValid, Expired, EpochEnded, Cancelled,
    /// BadSignature), then UnknownOffer, then the same of the offer, then ResourceMismatch, SelfMatch,
    /// UnitsZero, UnitsOverfilled, DeliveredAboveUnits, PriceAboveLimit, PriceBelowLimit,
    /// InsufficientBalance or, where a mandate has less left than its account, MandateExceeded.
    /// UnitsBelowMinimum and SessionRefused need all lines of an intent and come last. For a mandate's
    /// lines the same holds with the mandate in the intent's place. Of a line of an awarded fill, AwardExpired
    /// (past its deadline block), AwardRefused (not the operator's signature) and AwardMismatch (not of its
    /// solution, at another price, or its second line) come after the offer's own.
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
        MandateExceeded,
        AwardExpired,
        AwardRefused,
        AwardMismatch
    }

    // ------------------------------------------------------------------ errors

    /// @dev The desk is of another token, operator or delay.
    error SettlementDeskInvalid(address desk);
    error BatchAlreadySettled(uint64 number);
    /// @dev Offers must ascend strictly by (account, nonce), so that none is listed twice.
    error BatchOffersUnsorted(uint256 index);
    /// @dev An offer and an intent of one account and one nonce met in one batch and overfilled it.
    error BatchNonceShared(address account, uint64 nonce);

    // ------------------------------------------------------------------ events

    /// @param amounts units u64, delivered u64 and payment u96, the last one lowest. One word, since each costs
    /// 256 gas a fill
    event FillSettled(
        bytes32 indexed fill, address indexed buyer, address indexed seller, uint256 amounts
    );
    /// @notice Of what a seller was paid by the fills of this batch, a solver's part.
    event RewardPaid(
        uint64 indexed auction, address indexed solver, address indexed seller, uint96 reward
    );
    event FillSkipped(bytes32 indexed fill, SkipReason reason);
    event BatchSettled(
        uint64 indexed number,
        bytes32 indexed batchHash,
        uint256 paid,
        uint256 settled,
        uint256 skipped
    );

    // ------------------------------------------------------------------ settlement

    /// @notice Settles a batch. Only the operator; each number once.
    /// @dev A line is one fill: `units` of an intent served by one offer. They count against the
    /// intent; `delivered`, at most `units`, counts against the offer and is what is paid for, with
    /// floor(delivered * offer.limit / offer.units) <= payment
    /// <= floor(delivered * intent.limit / intent.units).
    /// A line that fails a check is skipped with a reason and takes nothing with it. The whole call
    /// reverts only for what the operator itself does wrong: caller, number, layout, order, gas.
    /// Sellers are credited at the end, so money received in a batch cannot be spent in it.
    /// A line of a fill that an auction awarded ({AwardReader}) costs exactly floor(delivered * tick / 10^6);
    /// of that the solver gets floor(delivered * charge / 10^6), and the seller the rest, no less than its
    /// limit. Nothing else pays anyone but the seller.
    /// @param batchHash commitment to the off-chain batch; recorded, not interpreted
    /// @param batch offers and intents with their signatures and lines, packed as {BatchReader} says.
    /// A signature's authority is 0: plain, by the account's own key, 1: ERC-1271, 2: a session key
    /// of the registry, which is charged last, when nothing else can fail: what it is charged is paid
    /// @return paid atoms moved from buyers to sellers
    function settle(uint64 number, bytes32 batchHash, bytes calldata batch)
        external
        returns (uint256 paid);

    // ------------------------------------------------------------------ views

    /// @notice The code that answers for claims and session keys, at this contract's address.
    function desk() external view returns (address);

    function isBatchSettled(uint64 number) external view returns (bool);

    function domainSeparator() external view returns (bytes32);
}
