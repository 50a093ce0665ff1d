// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IBreachBond} from "./IBreachBond.sol";
import {IDocuments} from "./IDocuments.sol";
import {ISettlement} from "./ISettlement.sol";
import {MarketTypes} from "./MarketTypes.sol";

/// @title The bond of {IBreachBond}
/// @dev No owner and no configuration: token, operator and delay are the settlement contract's.
contract BreachBond is IBreachBond, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    ISettlement private immutable _SETTLEMENT;
    IERC20 private immutable _TOKEN;
    address private immutable _OPERATOR;
    uint256 private immutable _EXIT_DELAY;

    // One slot.
    uint96 private _releasing;
    uint40 private _releasableAt;

    mapping(bytes32 side => uint256) private _madeGood;
    mapping(uint64 number => uint256) private _madeGoodOf;

    modifier onlyOperator() {
        require(msg.sender == _OPERATOR, BondCallerNotOperator(msg.sender));
        _;
    }

    constructor(ISettlement settlement) {
        _SETTLEMENT = settlement;
        _TOKEN = IERC20(settlement.asset());
        _OPERATOR = settlement.operator();
        _EXIT_DELAY = settlement.exitDelay();
    }

    // ------------------------------------------------------------------ bond

    /// @inheritdoc IBreachBond
    function fund(uint256 amount) external nonReentrant {
        require(amount != 0, BondAmountZero());
        _TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        emit BondFunded(msg.sender, amount);
    }

    /// @inheritdoc IBreachBond
    function requestRelease(uint256 amount)
        external
        nonReentrant
        onlyOperator
        returns (uint256 availableAt)
    {
        require(amount != 0, BondAmountZero());
        availableAt = block.timestamp + 2 * _EXIT_DELAY;
        // The casts are safe: no more is ever held, and times are within 40 bits.
        _releasing = uint96(Math.min(amount, type(uint96).max));
        _releasableAt = uint40(availableAt);
        emit BondReleaseRequested(_releasing, availableAt);
    }

    /// @inheritdoc IBreachBond
    function release(address to) external nonReentrant onlyOperator returns (uint256 amount) {
        require(to != address(0), BondZeroAddress());
        require(_releasing != 0, BondReleaseMissing());
        require(block.timestamp >= _releasableAt, BondReleaseEarly(_releasableAt));
        amount = Math.min(_releasing, _TOKEN.balanceOf(address(this)));
        _releasing = 0;
        emit BondReleased(to, amount);
        _TOKEN.safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------ breaches

    /// @inheritdoc IBreachBond
    function proveIntentBreach(
        Leaf calldata leaf,
        Proof calldata proof,
        IDocuments.Intent calldata intent
    ) external nonReentrant returns (uint256 paid) {
        uint256 settledAt = _settledAt(leaf, proof);
        require(_SETTLEMENT.intentDigest(intent) == leaf.intent, BreachDocumentOther());
        uint256 due;
        if (
            leaf.buyer == intent.account && leaf.resource == intent.resource
                && settledAt >= intent.validFrom
        ) {
            uint256 counted = Math.min(Math.min(leaf.delivered, leaf.units), intent.units);
            due = _floor(counted, intent.limit, intent.units);
        }
        return _makeGood(leaf, proof, true, leaf.buyer, leaf.payment, due);
    }

    /// @inheritdoc IBreachBond
    function proveMandateBreach(
        Leaf calldata leaf,
        Proof calldata proof,
        IDocuments.Mandate calldata mandate
    ) external nonReentrant returns (uint256 paid) {
        uint256 settledAt = _settledAt(leaf, proof);
        require(_SETTLEMENT.mandateDigest(mandate) == leaf.intent, BreachDocumentOther());
        bool isOfResource =
            leaf.resource == mandate.resource || mandate.resource == MarketTypes.RESOURCE_EMPTY;
        uint256 due;
        if (leaf.buyer == mandate.account && isOfResource && settledAt >= mandate.validFrom) {
            uint256 counted = Math.min(leaf.delivered, leaf.units);
            due = _floor(counted, mandate.tickMax, MarketTypes.TICK_UNITS);
            due = Math.min(due, mandate.limit);
        }
        return _makeGood(leaf, proof, true, leaf.buyer, leaf.payment, due);
    }

    /// @inheritdoc IBreachBond
    function proveOfferBreach(
        Leaf calldata leaf,
        Proof calldata proof,
        IDocuments.Offer calldata offer
    ) external nonReentrant returns (uint256 paid) {
        _settledAt(leaf, proof);
        require(
            _SETTLEMENT.offerDigest(offer) == leaf.offer && leaf.seller == offer.account,
            BreachDocumentOther()
        );
        uint256 due = _floor(leaf.delivered, offer.limit, offer.units);
        uint256 earned = leaf.payment - Math.min(leaf.reward, leaf.payment);
        return _makeGood(leaf, proof, false, leaf.seller, due, earned);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IBreachBond
    function madeGood(uint64 number, Leaf calldata leaf, bool isBuyer)
        external
        view
        returns (uint256)
    {
        return _madeGood[_sideOf(number, leaf, isBuyer)];
    }

    /// @inheritdoc IBreachBond
    function madeGoodOf(uint64 number) external view returns (uint256) {
        return _madeGoodOf[number];
    }

    /// @inheritdoc IBreachBond
    function releasing() external view returns (uint256 amount, uint256 availableAt) {
        return (_releasing, _releasableAt);
    }

    // ------------------------------------------------------------------ private

    /// @dev When the leaf's batch was settled, if it is one of its leaves.
    function _settledAt(Leaf calldata leaf, Proof calldata proof) private view returns (uint256) {
        uint256 settledAt = _SETTLEMENT.rootSettledAt(proof.number, proof.root);
        require(settledAt != 0, BreachRootUnknown(proof.number));
        bool isLeaf = MerkleProof.verifyCalldata(proof.siblings, proof.root, _hashOf(leaf));
        require(isLeaf, BreachLeafUnknown());
        return settledAt;
    }

    /// @dev Pays what is left of the harm, of what the batch paid, or of the bond, whichever is least, into
    /// the harmed party's balance. `owed` is what the one side paid, or was owed; `due` what it should
    /// have, or was paid.
    function _makeGood(
        Leaf calldata leaf,
        Proof calldata proof,
        bool isBuyer,
        address harmed,
        uint256 owed,
        uint256 due
    ) private returns (uint256 paid) {
        bytes32 side = _sideOf(proof.number, leaf, isBuyer);
        uint256 before = _madeGood[side];
        require(owed > due + before, BreachNone());
        uint256 harm = owed - due;
        // No underflow: no more was made good of the batch.
        uint256 left = _SETTLEMENT.rootPaid(proof.number, proof.root) - _madeGoodOf[proof.number];
        require(left != 0, BreachUnpaid(proof.number));
        paid = Math.min(Math.min(harm - before, left), _TOKEN.balanceOf(address(this)));
        require(paid != 0, BreachNone());
        _madeGood[side] = before + paid;
        _madeGoodOf[proof.number] += paid;
        emit BreachProven(proof.number, leaf.fill, harmed, harm, paid);
        _TOKEN.forceApprove(address(_SETTLEMENT), paid);
        _SETTLEMENT.deposit(harmed, paid);
    }

    function _sideOf(uint64 number, Leaf calldata leaf, bool isBuyer)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(number, _hashOf(leaf), isBuyer));
    }

    /// @dev Twice, so that no node of a tree passes for a leaf.
    function _hashOf(Leaf calldata leaf) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(leaf))));
    }

    /// @dev No units, nothing is due. Below 2^160.
    function _floor(uint256 delivered, uint256 limit, uint256 units)
        private
        pure
        returns (uint256)
    {
        return units == 0 ? 0 : delivered * limit / units;
    }
}
