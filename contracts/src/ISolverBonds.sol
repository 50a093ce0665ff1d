// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IDocuments} from "./IDocuments.sol";

/// @title Solvers' bonds, from which a winner that does not deliver pays those whose orders it held
/// @notice A solver's bond is its own: it is paid in for it by anyone, and leaves to where it says, two exit
/// delays after it asked. The operator alone takes a penalty, and its word counts only within what is signed
/// and published: for one award, after its deadline block, once, at most `penaltyMax`; to buyers of that award
/// alone, for fills from offers that the solver itself signed, and that ended no more than two exit delays
/// ago; for no unit that was settled as delivered or paid for before; and never more of a unit than the award's
/// price. What a bond lacks is not owed. The chain knows when an account's last epoch ended; one before it is
/// taken to have ended as late as it can have.
interface ISolverBonds {
    /// @notice The document that the operator signed, and that binds settlement.
    struct Award {
        uint64 auction;
        address solver;
        bytes32 solution;
        uint64 deadlineBlock;
    }

    /// @notice What one buyer gets, and why it is its.
    /// @param offer the solver's, that the fill is from
    /// @param offerSignature the solver's own key's, of 64 or 65 bytes
    /// @param units of the fill, as it was awarded; so are `tick` and `charge`
    /// @param proof the fill's index in 2 bytes, then a sibling of 32 bytes for each level of the solution
    /// @param undelivered units of it that were not delivered
    /// @param amount atoms, at most floor(undelivered * tick / 10^6)
    struct Share {
        IDocuments.Offer offer;
        bytes offerSignature;
        address buyer;
        uint64 buyerNonce;
        uint64 units;
        uint64 tick;
        uint64 charge;
        bytes proof;
        uint64 undelivered;
        uint96 amount;
    }

    error BondAmountZero();
    error BondZeroAddress();
    error BondOverflow(uint256 amount);
    error BondWithdrawalMissing(address solver);
    error BondWithdrawalEarly(uint256 availableAt);
    error PenaltyCallerNotOperator(address caller);
    /// @dev It can still be delivered.
    error PenaltyEarly(uint64 deadlineBlock);
    error PenaltyTaken(uint64 auction, address solver);
    error PenaltyAwardUnsigned();
    error PenaltySharesInvalid();
    error PenaltyOfferOther(address account);
    error PenaltyOfferUnsigned();
    error PenaltyFillUnknown();

    /// @param amount that was added; the bond is `amountAfter` with it
    event BondDeposited(
        address indexed solver, address indexed from, uint256 amount, uint256 amountAfter
    );
    /// @param amount that is asked for; 0: the request was taken back
    event BondWithdrawalRequested(address indexed solver, uint256 amount, uint256 availableAt);
    event BondWithdrawn(address indexed solver, address indexed to, uint256 amount);
    /// @dev After it, for each buyer that is paid, comes the settlement contract's `Deposited`.
    /// @param paid in all, which may be less than was asked for, even nothing
    event SolverPenalised(
        uint64 indexed auction,
        address indexed solver,
        bytes32 solution,
        uint256 paid,
        uint256 amountAfter
    );

    /// @notice Adds to a solver's bond; needs an allowance.
    function deposit(address solver, uint256 amount) external;

    /// @notice Adds to a solver's bond by an ERC-3009 authorisation, which anyone may send.
    /// @param salt of the authorisation, whose nonce is {authorizationNonce}: so it is for this solver alone
    function depositWithAuthorization(
        address from,
        address solver,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice Asks for part of the caller's bond; restarts the clock. 0 takes back what was asked for.
    /// @return availableAt two exit delays from now: what it was awarded before is over by then
    function requestWithdrawal(uint256 amount) external returns (uint256 availableAt);

    /// @notice Pays what was asked for, or all there is if that is less.
    function withdraw(address to) external returns (uint256 amount);

    /// @notice Pays buyers of an award from its solver's bond. Only the operator. Shares are paid in their
    /// order, as far as bond and `penaltyMax` go.
    /// @param signature of the award, by the operator or its owner, of 64 or 65 bytes
    /// @param shares 1 to 64, by ascending index of their fills
    /// @return paid atoms, credited to balances at the settlement contract
    function penalise(Award calldata award, bytes calldata signature, Share[] calldata shares)
        external
        returns (uint256 paid);

    /// @return amount that is held for the solver, with what it asked back
    /// @return withdrawing what it asked back; from `availableAt` on it can be had at any time
    function bondOf(address solver)
        external
        view
        returns (uint256 amount, uint256 withdrawing, uint256 availableAt);

    /// @notice Whether the award's penalty was taken.
    function isPenalised(uint64 auction, address solver) external view returns (bool);

    /// @notice Units of a solver's offer, by its nonce, for which it paid penalties.
    function penalisedUnits(address solver, uint64 nonce) external view returns (uint256);

    /// @notice The most that one award can cost, in atoms.
    function penaltyMax() external view returns (uint256);

    /// @notice Where awards and offers are settled, and penalties paid in.
    function settlement() external view returns (address);

    /// @notice The nonce of an authorisation to pay in for a solver.
    function authorizationNonce(address solver, bytes32 salt) external pure returns (bytes32);
}
