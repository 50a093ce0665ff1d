// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IDocuments} from "../src/IDocuments.sol";
import {ISolverBonds} from "../src/ISolverBonds.sol";
import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Bonds of solvers, and awards that they won with offers of their own
/// @dev An award has two fills of 10 units at 1.8 atoms, 0.5 of it the solver's: of a buyer each.
abstract contract SolverBondsTest is MarketTest {
    uint96 internal constant PENALTY_MAX = 30;
    uint64 internal constant DEADLINE = 1000;
    uint64 internal constant AWARD = 3;
    uint64 internal constant OFFERED = 100;
    uint64 internal constant AWARDED = 10;
    uint64 internal constant TICK = 1_800_000;
    uint64 internal constant CHARGE = 500_000;
    uint256 internal constant BOND = 1000;
    uint40 internal constant OFFER_ENDS = NOW + 30 days;

    ISolverBonds internal bonds;
    Party internal solver;
    Party internal second;

    function setUp() public virtual override {
        super.setUp();
        solver = _party("solver");
        second = _party("second buyer");
        bonds = ISolverBonds(_deploy("SolverBonds", abi.encode(settlement, PENALTY_MAX)));
    }

    function _bondFor(address solver_, uint256 amount) internal {
        usdc.mint(address(this), amount);
        usdc.approve(address(bonds), amount);
        bonds.deposit(solver_, amount);
    }

    function _bondOf(address solver_) internal view returns (uint256 amount) {
        (amount,,) = bonds.bondOf(solver_);
    }

    // ------------------------------------------------------------------ documents

    function _fills(uint64 nonce) internal view returns (AwardedFill[] memory fills) {
        fills = new AwardedFill[](2);
        fills[0] = AwardedFill(0, buyer.addr, 1, solver.addr, nonce, AWARDED, TICK, CHARGE);
        fills[1] = AwardedFill(0, second.addr, 1, solver.addr, nonce, AWARDED, TICK, CHARGE);
    }

    function _award(uint64 auction, AwardedFill[] memory fills)
        internal
        view
        returns (ISolverBonds.Award memory)
    {
        return ISolverBonds.Award(auction, solver.addr, Awards.rootOf(fills), DEADLINE);
    }

    function _signature(ISolverBonds.Award memory award, Party memory party)
        internal
        view
        returns (bytes memory)
    {
        SignedAward memory signed;
        (signed.auction, signed.solver) = (award.auction, award.solver);
        (signed.solution, signed.deadlineBlock) = (award.solution, award.deadlineBlock);
        return _sign(party, Awards.digestOf(signed, settlement));
    }

    /// @dev Half of the fill was not delivered: 5 units, worth 9 atoms.
    function _share(AwardedFill[] memory fills, uint16 index)
        internal
        view
        returns (ISolverBonds.Share memory share)
    {
        AwardedFill memory fill = fills[index];
        share.offer = _solversOffer(fill.sellerNonce);
        share.offerSignature = _sign(solver, settlement.offerDigest(share.offer));
        (share.buyer, share.buyerNonce) = (fill.buyer, fill.buyerNonce);
        (share.units, share.tick, share.charge) = (fill.units, fill.tick, fill.charge);
        share.proof = Bulk.proofOf(Awards.leavesOf(fills), index);
        (share.undelivered, share.amount) = (5, 9);
    }

    function _shares(AwardedFill[] memory fills)
        internal
        view
        returns (ISolverBonds.Share[] memory shares)
    {
        shares = new ISolverBonds.Share[](fills.length);
        for (uint16 i = 0; i < fills.length; ++i) {
            shares[i] = _share(fills, i);
        }
    }

    function _solversOffer(uint64 nonce) internal view returns (IDocuments.Offer memory offer) {
        SettledOffer memory told = _offer(solver.addr, nonce, OFFERED, OFFERED);
        offer.account = told.account;
        offer.resource = told.resource;
        offer.key = told.key;
        (offer.units, offer.limit) = (told.units, told.limit);
        (offer.windowUnits, offer.windowSeconds) = (told.windowUnits, told.windowSeconds);
        (offer.validFrom, offer.validUntil) = (told.validFrom, OFFER_ENDS);
        (offer.epoch, offer.nonce) = (told.epoch, told.nonce);
    }

    // ------------------------------------------------------------------ penalties

    /// @dev As the operator's account, once nothing of the award settles any more.
    function _penalise(ISolverBonds.Award memory award, ISolverBonds.Share[] memory shares)
        internal
        returns (uint256)
    {
        bytes memory signature = _signature(award, operatorOwner);
        vm.roll(DEADLINE + 1);
        vm.prank(address(operator));
        return bonds.penalise(award, signature, shares);
    }

    /// @dev Settles units of the solver's offer, to the buyer's intent of this nonce.
    function _deliver(uint64 offerNonce, uint64 intentNonce, uint64 units) internal {
        SettledOffer memory offer = _offer(solver.addr, offerNonce, OFFERED, OFFERED);
        offer.validUntil = OFFER_ENDS;
        offer = _signed(offer, solver);
        SettledIntent memory intent =
            _signed(_intent(buyer.addr, intentNonce, units, 2 * units), buyer);
        bytes32 fill = keccak256(abi.encode(offerNonce, intentNonce));
        intent.lines = _list(_line(0, units, units, units, fill));
        _settle(_list(offer), _list(intent), new SettledMandate[](0));
        _assertSettled(fill);
    }
}
