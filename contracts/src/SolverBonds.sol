// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Arrival} from "./Arrival.sol";
import {BulkTree} from "./BulkTree.sol";
import {IAccountOwner} from "./IAccountOwner.sol";
import {IDocuments} from "./IDocuments.sol";
import {IEscrow} from "./IEscrow.sol";
import {ISettlement} from "./ISettlement.sol";
import {ISolverBonds} from "./ISolverBonds.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The bonds of {ISolverBonds}
/// @dev No owner: token, operator and delay are the settlement contract's, the cap is fixed at deployment.
contract SolverBonds is ISolverBonds, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Arrival for IERC20;

    /// @dev One slot.
    struct Bond {
        uint96 amount;
        uint96 withdrawing;
        uint40 availableAt;
    }

    uint256 private constant SHARES_MAX = 64;
    uint256 private constant INDEX_SIZE = 2;
    uint256 private constant SIBLING_SIZE = 32;
    /// @dev Levels that an index of two bytes can name.
    uint256 private constant HEIGHT_MAX = 16;

    ISettlement private immutable _SETTLEMENT;
    IERC20 private immutable _TOKEN;
    address private immutable _OPERATOR;
    uint256 private immutable _EXIT_DELAY;

    /// @inheritdoc ISolverBonds
    uint256 public immutable penaltyMax;

    mapping(address solver => Bond) private _bonds;
    mapping(address solver => mapping(uint64 auction => bool)) private _isPenalised;
    mapping(address solver => mapping(uint64 nonce => uint256)) private _penalisedUnits;

    modifier onlyOperator() {
        require(msg.sender == _OPERATOR, PenaltyCallerNotOperator(msg.sender));
        _;
    }

    constructor(ISettlement settlement_, uint96 penaltyMax_) {
        _SETTLEMENT = settlement_;
        _TOKEN = IERC20(settlement_.asset());
        _OPERATOR = settlement_.operator();
        _EXIT_DELAY = settlement_.exitDelay();
        penaltyMax = penaltyMax_;
    }

    // ------------------------------------------------------------------ money in

    /// @inheritdoc ISolverBonds
    function deposit(address solver, uint256 amount) external nonReentrant {
        (uint256 arrived,) = _TOKEN.fromCaller(amount);
        _add(solver, msg.sender, arrived);
    }

    /// @inheritdoc ISolverBonds
    function depositWithAuthorization(
        address from,
        address solver,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external nonReentrant {
        bytes32 nonce = authorizationNonce(solver, salt);
        (uint256 arrived,) =
            _TOKEN.byAuthorization(from, amount, validAfter, validBefore, nonce, signature);
        _add(solver, from, arrived);
    }

    // ------------------------------------------------------------------ money out

    /// @inheritdoc ISolverBonds
    function requestWithdrawal(uint256 amount) external nonReentrant returns (uint256 availableAt) {
        availableAt = block.timestamp + 2 * _EXIT_DELAY;
        Bond storage bond = _bonds[msg.sender];
        // The casts are safe: asking for more than there is means all of it, and times are within 40 bits.
        bond.withdrawing = uint96(Math.min(amount, type(uint96).max));
        bond.availableAt = uint40(availableAt);
        emit BondWithdrawalRequested(msg.sender, bond.withdrawing, availableAt);
    }

    /// @inheritdoc ISolverBonds
    function withdraw(address to) external nonReentrant returns (uint256 amount) {
        require(to != address(0), BondZeroAddress());
        Bond storage bond = _bonds[msg.sender];
        require(bond.withdrawing != 0, BondWithdrawalMissing(msg.sender));
        require(block.timestamp >= bond.availableAt, BondWithdrawalEarly(bond.availableAt));
        amount = Math.min(bond.withdrawing, bond.amount);
        bond.withdrawing = 0;
        // The cast is safe: it is no more than what is there.
        bond.amount -= uint96(amount);
        emit BondWithdrawn(msg.sender, to, amount);
        _TOKEN.safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------ penalties

    /// @inheritdoc ISolverBonds
    function penalise(Award calldata award, bytes calldata signature, Share[] calldata shares)
        external
        nonReentrant
        onlyOperator
        returns (uint256 paid)
    {
        require(block.number > award.deadlineBlock, PenaltyEarly(award.deadlineBlock));
        require(
            !_isPenalised[award.solver][award.auction], PenaltyTaken(award.auction, award.solver)
        );
        require(_isOperators(award, signature), PenaltyAwardUnsigned());
        require(shares.length != 0 && shares.length <= SHARES_MAX, PenaltySharesInvalid());
        _isPenalised[award.solver][award.auction] = true;

        Bond storage bond = _bonds[award.solver];
        uint256 left = Math.min(bond.amount, penaltyMax);
        uint256[] memory amounts = new uint256[](shares.length);
        uint256 nextIndex;
        for (uint256 i = 0; i < shares.length; ++i) {
            uint256 index = _indexOf(award, shares[i]);
            require(index >= nextIndex, PenaltySharesInvalid());
            nextIndex = index + 1;
            amounts[i] = Math.min(left, _due(award.solver, shares[i]));
            left -= amounts[i];
            paid += amounts[i];
        }
        // The cast is safe: it is no more than what is there.
        bond.amount -= uint96(paid);
        emit SolverPenalised(award.auction, award.solver, award.solution, paid, bond.amount);
        _payBuyers(shares, amounts, paid);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISolverBonds
    function bondOf(address solver)
        external
        view
        returns (uint256 amount, uint256 withdrawing, uint256 availableAt)
    {
        Bond storage bond = _bonds[solver];
        return (bond.amount, bond.withdrawing, bond.availableAt);
    }

    /// @inheritdoc ISolverBonds
    function isPenalised(uint64 auction, address solver) external view returns (bool) {
        return _isPenalised[solver][auction];
    }

    /// @inheritdoc ISolverBonds
    function penalisedUnits(address solver, uint64 nonce) external view returns (uint256) {
        return _penalisedUnits[solver][nonce];
    }

    /// @inheritdoc ISolverBonds
    function settlement() external view returns (address) {
        return address(_SETTLEMENT);
    }

    /// @inheritdoc ISolverBonds
    function authorizationNonce(address solver, bytes32 salt) public pure returns (bytes32) {
        return Arrival.nonceOf(solver, salt);
    }

    // ------------------------------------------------------------------ private

    function _add(address solver, address from, uint256 amount) private {
        require(solver != address(0), BondZeroAddress());
        require(amount != 0, BondAmountZero());
        Bond storage bond = _bonds[solver];
        uint256 amountAfter = bond.amount + amount;
        require(amountAfter <= type(uint96).max, BondOverflow(amountAfter));
        // The cast is safe: it was just looked at.
        bond.amount = uint96(amountAfter);
        emit BondDeposited(solver, from, amount, amountAfter);
    }

    /// @dev The settlement contract asks the operator's account; to others that answers only in ERC-7739. So
    /// here it is asked who its owner is, who signs awards.
    function _isOperators(Award calldata award, bytes calldata signature)
        private
        view
        returns (bool)
    {
        bytes32 hash = keccak256(abi.encode(MarketTypes.AWARD_TYPEHASH, award));
        // Asked anew: on a chain that parts from this one it is another.
        bytes32 digest = MessageHashUtils.toTypedDataHash(_SETTLEMENT.domainSeparator(), hash);
        address signer = SignatureRecovery.recover(digest, signature);
        if (signer == address(0)) return false;
        if (signer == _OPERATOR) return true;
        return _OPERATOR.code.length != 0 && signer == IAccountOwner(_OPERATOR).owner();
    }

    /// @return index of the share's fill, which is proven to be of the award
    function _indexOf(Award calldata award, Share calldata share)
        private
        pure
        returns (uint256 index)
    {
        bytes calldata proof = share.proof;
        uint256 height = proof.length / SIBLING_SIZE;
        require(
            height <= HEIGHT_MAX && proof.length == INDEX_SIZE + height * SIBLING_SIZE,
            PenaltyFillUnknown()
        );
        bytes32 leaf = keccak256(
            abi.encode(
                share.buyer,
                share.buyerNonce,
                award.solver,
                share.offer.nonce,
                share.units,
                share.tick,
                share.charge
            )
        );
        uint256 proofAt;
        assembly ("memory-safe") {
            proofAt := proof.offset
        }
        require(BulkTree.rootOf(leaf, height, proofAt) == award.solution, PenaltyFillUnknown());
        return uint16(bytes2(proof));
    }

    /// @dev What a share is worth at most, and counts its units. The solver signed for no more units than the
    /// offer has: what was settled of it was delivered, what was paid for is paid for.
    function _due(address solver, Share calldata share) private returns (uint256) {
        require(share.offer.account == solver, PenaltyOfferOther(share.offer.account));
        bytes32 digest = _SETTLEMENT.offerDigest(share.offer);
        require(
            SignatureRecovery.recover(digest, share.offerSignature) == solver,
            PenaltyOfferUnsigned()
        );
        if (!_stands(share.offer)) return 0;
        uint64 nonce = share.offer.nonce;
        uint256 answered = _penalisedUnits[solver][nonce];
        uint256 gone = _SETTLEMENT.settledUnits(solver, nonce) + answered;
        uint256 left = Math.saturatingSub(share.offer.units, gone);
        uint256 counted = Math.min(left, Math.min(share.undelivered, share.units));
        _penalisedUnits[solver][nonce] = answered + counted;
        return Math.min(share.amount, counted * share.tick / MarketTypes.TICK_UNITS);
    }

    /// @dev Whether the solver answers for an offer: until two exit delays after it ended, however it did. So
    /// who ends its offers and asks for its bond at once has it when the operator's word on them is over.
    function _stands(IDocuments.Offer calldata offer) private view returns (bool) {
        uint256 time = block.timestamp;
        if (time < offer.validFrom || time > offer.validUntil + 2 * _EXIT_DELAY) return false;
        // The settlement contract says when an end takes effect: one exit delay after it was told.
        uint256 cancelledAt = _SETTLEMENT.cancelledAt(offer.account, offer.nonce);
        if (cancelledAt != 0 && time >= cancelledAt + _EXIT_DELAY) return false;
        IEscrow.AccountView memory account = _SETTLEMENT.accountOf(offer.account);
        if (offer.epoch >= account.epoch) return offer.epoch == account.epoch;
        // When the last epoch stopped settling is known. None can be ended before the one before it has stopped;
        // so whatever is an epoch earlier stopped at least an exit delay earlier.
        uint256 earlier = account.epoch - offer.epoch - 1;
        return time + earlier * _EXIT_DELAY < account.epochEffectiveAt + _EXIT_DELAY;
    }

    function _payBuyers(Share[] calldata shares, uint256[] memory amounts, uint256 paid) private {
        _TOKEN.forceApprove(address(_SETTLEMENT), paid);
        for (uint256 i = 0; i < shares.length; ++i) {
            if (amounts[i] != 0) _SETTLEMENT.deposit(shares[i].buyer, amounts[i]);
        }
    }
}
