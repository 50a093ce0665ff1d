// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IDocuments} from "./IDocuments.sol";

/// @title The operator's bond, from which a fill that breaks what was signed is made good
/// @notice A metered batch commits to its fills by a root; the market publishes them. Whoever finds one
/// that breaks a signed limit shows it here with its proof and the document, and the harmed party gets
/// the difference into its balance. A document needs no signature here: the operator committed to its
/// digest, and answers for what has that digest. Nothing shows that a committed fill ever was; so for a
/// batch no more is made good than it paid, and what a settling key may move bounds what a thief of it
/// can have of the bond.
interface IBreachBond {
    /// @notice One fill, as a metered batch commits to it.
    /// @param intent digest of the intent or mandate it was sold under
    /// @param offer digest of the offer
    /// @param payment what the buyer pays; the seller gets all of it but `reward`
    /// @param auction by whose award to `solver` the reward is; all three are 0 where nobody won
    struct Leaf {
        bytes32 fill;
        bytes32 intent;
        bytes32 offer;
        address buyer;
        address seller;
        bytes32 resource;
        uint64 units;
        uint64 delivered;
        uint96 payment;
        uint64 auction;
        address solver;
        uint96 reward;
    }

    /// @param siblings of the leaf, from itself up to the root
    struct Proof {
        uint64 number;
        bytes32 root;
        bytes32[] siblings;
    }

    error BondZeroAddress();
    error BondAmountZero();
    error BondCallerNotOperator(address caller);
    error BondReleaseEarly(uint256 availableAt);
    error BondReleaseMissing();
    /// @dev No such batch, or it can no longer be disputed.
    error BreachRootUnknown(uint64 number);
    error BreachLeafUnknown();
    error BreachDocumentOther();
    /// @dev The fill keeps what was signed, or what it broke was made good.
    error BreachNone();
    /// @dev All that the batch paid was made good, or it paid nothing.
    error BreachUnpaid(uint64 number);

    event BondFunded(address indexed from, uint256 amount);
    event BondReleaseRequested(uint256 amount, uint256 availableAt);
    event BondReleased(address indexed to, uint256 amount);
    event BreachProven(
        uint64 indexed number,
        bytes32 indexed fill,
        address indexed harmed,
        uint256 harm,
        uint256 paid
    );

    /// @notice Adds to the bond; needs an allowance.
    function fund(uint256 amount) external;

    /// @notice Asks for part of the bond back. Only the operator; restarts the clock.
    /// @return availableAt two exit delays from now, where a root stands for one at least
    function requestRelease(uint256 amount) external returns (uint256 availableAt);

    /// @notice Pays what was asked for, or all there is if that is less. Only the operator.
    function release(address to) external returns (uint256 amount);

    /// @notice Shows that a fill costs its buyer more than the intent allows: above
    /// floor(delivered * limit / units), more units than either says, another account's or resource's
    /// intent, or settled before it was valid. Not after: when is the buyer's doing too, who can sign late, and
    /// keep the operator from settling without its signature by a claim.
    /// @return paid atoms credited to the buyer
    function proveIntentBreach(
        Leaf calldata leaf,
        Proof calldata proof,
        IDocuments.Intent calldata intent
    ) external returns (uint256 paid);

    /// @notice The same with a mandate: above floor(delivered * tickMax / 10^6) or its limit.
    function proveMandateBreach(
        Leaf calldata leaf,
        Proof calldata proof,
        IDocuments.Mandate calldata mandate
    ) external returns (uint256 paid);

    /// @notice Shows that a fill pays its seller less than floor(delivered * limit / units), without what
    /// it pays a solver.
    /// @return paid atoms credited to the seller
    function proveOfferBreach(
        Leaf calldata leaf,
        Proof calldata proof,
        IDocuments.Offer calldata offer
    ) external returns (uint256 paid);

    /// @notice What was made good for a side of a fill of a batch. More can be had while harm is left.
    function madeGood(uint64 number, Leaf calldata leaf, bool isBuyer)
        external
        view
        returns (uint256);

    /// @notice What was made good for all fills of a batch: at most what it paid.
    function madeGoodOf(uint64 number) external view returns (uint256);

    /// @notice What was asked for. Once due it can be had at any time, and secures nothing any more.
    function releasing() external view returns (uint256 amount, uint256 availableAt);
}
