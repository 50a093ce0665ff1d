// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IDocuments} from "../src/IDocuments.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {ISolverBonds} from "../src/ISolverBonds.sol";
import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {FeeToken, HookedToken} from "./Hostile.sol";
import {SolverBondsTest} from "./SolverBondsTest.sol";

/// @title What an operator, a solver or a token can try to have of a bond, and how far it gets
contract SolverBondsAttackTest is SolverBondsTest {
    uint256 private constant DELAY = 2 * uint256(EXIT_DELAY);
    uint256 private constant PAID = 18;

    uint64 private _auction = AWARD;

    function setUp() public override {
        super.setUp();
        _bondFor(solver.addr, BOND);
    }

    // ------------------------------------------------------------------ a dishonest operator

    /// @dev Of an award that it made up, at a price that nobody asked, it has `penaltyMax` of each unit that the
    /// solver offers, and nothing two exit delays after the offer ended.
    function test_mostADishonestOperatorTakes_ofABond() public {
        AwardedFill[] memory fills = _fills(1);
        (fills[0].units, fills[1].units) = (1, 1);
        (fills[0].tick, fills[1].tick) = (type(uint64).max, type(uint64).max);
        ISolverBonds.Share[] memory shares = _shares(fills);
        (shares[0].amount, shares[1].amount) = (type(uint96).max, type(uint96).max);
        vm.assertEq(_penalise(_award(AWARD, fills), shares), PENALTY_MAX);
        vm.assertEq(bonds.penalisedUnits(solver.addr, 1), 2);
        vm.prank(solver.addr);
        settlement.cancel(1);
        vm.warp(NOW + DELAY);
        vm.assertEq(_penalise(_award(AWARD + 1, fills), shares), 0);
    }

    function test_attack_offerThatHasNotBegun() public {
        _assertPaid(_offerFrom(NOW), PAID);
        _assertPaid(_offerFrom(NOW + 1), 0);
    }

    function test_attack_offerThatEndedLongAgo() public {
        IDocuments.Offer memory offer = _solversOffer(1);
        vm.warp(offer.validUntil + DELAY);
        _assertPaid(offer, PAID);
        vm.warp(offer.validUntil + DELAY + 1);
        _assertPaid(offer, 0);
    }

    function test_attack_offerThatWasCancelledLongAgo() public {
        vm.prank(solver.addr);
        settlement.cancel(1);
        vm.warp(NOW + DELAY - 1);
        _assertPaid(_solversOffer(1), PAID);
        vm.warp(NOW + DELAY);
        _assertPaid(_solversOffer(1), 0);
    }

    /// @dev Each until two exit delays after it was ended, though the chain knows of the last end alone.
    function test_attack_offerOfAnEpochThatEndedLongAgo() public {
        vm.startPrank(solver.addr);
        settlement.cancelAll();
        vm.warp(NOW + EXIT_DELAY);
        settlement.cancelAll();
        vm.stopPrank();
        vm.warp(NOW + DELAY - 1);
        _assertPaid(_offerInEpoch(0), PAID);
        vm.warp(NOW + DELAY);
        _assertPaid(_offerInEpoch(0), 0);
        vm.warp(NOW + EXIT_DELAY + DELAY - 1);
        _assertPaid(_offerInEpoch(1), PAID);
        vm.warp(NOW + EXIT_DELAY + DELAY);
        _assertPaid(_offerInEpoch(1), 0);
        _assertPaid(_offerInEpoch(2), PAID);
        _assertPaid(_offerInEpoch(3), 0);
    }

    /// @dev Who bonds anew and ends what it offers again answers for none of the epochs that ended before: of the
    /// last of them for an exit delay more, as when that ended is not known any more.
    function test_attack_offerOfAnEpochThatALaterEndRevives() public {
        for (uint256 i = 0; i < 3; ++i) {
            vm.warp(NOW + 1 days * i);
            vm.prank(solver.addr);
            settlement.cancelAll();
        }
        _assertPaid(_offerInEpoch(0), 0);
        _assertPaid(_offerInEpoch(1), PAID);
        vm.warp(NOW + 2 days + EXIT_DELAY);
        _assertPaid(_offerInEpoch(1), 0);
        _assertPaid(_offerInEpoch(2), PAID);
    }

    /// @dev Signed once more, with another deadline and other buyers: one penalty an auction.
    function test_attack_awardSignedAgainWithAnotherDeadline() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        _penalise(award, _shares(_fills(1)));
        --award.deadlineBlock;
        bytes memory signature = _signature(award, operatorOwner);
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        vm.prank(address(operator));
        vm.expectPartialRevert(ISolverBonds.PenaltyTaken.selector);
        bonds.penalise(award, signature, shares);
    }

    /// @dev The same operator has another market, where it awarded the same.
    function test_attack_awardOfAnotherMarket() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        bytes memory signature = _sign(operatorOwner, _digestOf(award, _settlementOf(usdc)));
        _assertUnsigned(award, signature);
    }

    /// @dev A chain that parts from this one has the market, the bonds, and offers signed anew.
    function test_attack_awardOfAnotherChain() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        bytes memory signature = _signature(award, operatorOwner);
        vm.chainId(1);
        _assertUnsigned(award, signature);
    }

    // ------------------------------------------------------------------ a dishonest solver

    /// @dev It asks for its bond and ends its offer as soon as it has won: the penalty is there before.
    function test_attack_solverLeavesAheadOfThePenalty() public {
        vm.startPrank(solver.addr);
        bonds.requestWithdrawal(BOND);
        settlement.cancel(1);
        settlement.cancelAll();
        vm.warp(NOW + DELAY - 1);
        vm.expectPartialRevert(ISolverBonds.BondWithdrawalEarly.selector);
        bonds.withdraw(solver.addr);
        vm.stopPrank();
        _assertPaid(_solversOffer(1), PAID);
        vm.warp(NOW + DELAY);
        _assertPaid(_solversOffer(1), 0);
        vm.prank(solver.addr);
        vm.assertEq(bonds.withdraw(solver.addr), BOND - PAID);
    }

    // ------------------------------------------------------------------ a strange token

    function test_bondDeposit_addsWhatArrives() public {
        FeeToken token = new FeeToken();
        ISolverBonds other = _bondsOf(token);
        token.approve(address(other), 1000);
        other.deposit(solver.addr, 1000);
        (uint256 amount,,) = other.bondOf(solver.addr);
        vm.assertEq(amount, 990);
        vm.assertEq(token.balanceOf(address(other)), 990);
    }

    /// @dev A token that calls back: no door is open until it has answered.
    function test_RevertIf_bondDeposit_isReentered() public {
        HookedToken token = new HookedToken();
        ISolverBonds other = _bondsOf(token);
        token.approve(address(other), 1000);
        other.deposit(address(token), 100);
        token.transfer(address(token), 100);
        bytes[] memory attacks = new bytes[](4);
        attacks[0] = abi.encodeCall(other.deposit, (address(token), 0));
        attacks[1] = abi.encodeCall(other.requestWithdrawal, (1));
        attacks[2] = abi.encodeCall(other.withdraw, (address(token)));
        attacks[3] = abi.encodeCall(
            other.depositWithAuthorization, (address(token), address(token), 1, 0, 0, 0, "")
        );
        for (uint256 i = 0; i < attacks.length; ++i) {
            token.set(address(other), attacks[i]);
            vm.expectPartialRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            other.deposit(solver.addr, 1);
        }
    }

    // ------------------------------------------------------------------ private

    /// @dev What a fresh award of this offer takes: of two shares of 5 units that were not delivered.
    function _assertPaid(IDocuments.Offer memory offer, uint256 paid) private {
        AwardedFill[] memory fills = _fills(offer.nonce);
        ISolverBonds.Share[] memory shares = _shares(fills);
        for (uint256 i = 0; i < 2; ++i) {
            shares[i].offer = offer;
            shares[i].offerSignature = _sign(solver, settlement.offerDigest(offer));
        }
        uint256 units = bonds.penalisedUnits(solver.addr, offer.nonce);
        vm.assertEq(_penalise(_award(++_auction, fills), shares), paid);
        vm.assertTrue(bonds.isPenalised(_auction, solver.addr));
        units += paid == 0 ? 0 : 10;
        vm.assertEq(bonds.penalisedUnits(solver.addr, offer.nonce), units);
    }

    function _assertUnsigned(ISolverBonds.Award memory award, bytes memory signature) private {
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        vm.roll(DEADLINE + 1);
        vm.prank(address(operator));
        vm.expectRevert(ISolverBonds.PenaltyAwardUnsigned.selector);
        bonds.penalise(award, signature, shares);
    }

    function _offerFrom(uint40 time) private view returns (IDocuments.Offer memory offer) {
        offer = _solversOffer(1);
        offer.validFrom = time;
    }

    function _offerInEpoch(uint32 epoch) private view returns (IDocuments.Offer memory offer) {
        offer = _solversOffer(1 + epoch);
        offer.epoch = epoch;
    }

    function _digestOf(ISolverBonds.Award memory award, ISettlement market)
        private
        view
        returns (bytes32)
    {
        SignedAward memory signed;
        (signed.auction, signed.solver) = (award.auction, award.solver);
        (signed.solution, signed.deadlineBlock) = (award.solution, award.deadlineBlock);
        return Awards.digestOf(signed, market);
    }

    function _settlementOf(IERC20 token) private returns (ISettlement) {
        address desk_ = _deploy("SettlementDesk", abi.encode(token, operator, EXIT_DELAY));
        return ISettlement(_deploy("Settlement", abi.encode(token, operator, EXIT_DELAY, 0, desk_)));
    }

    function _bondsOf(IERC20 token) private returns (ISolverBonds) {
        bytes memory arguments = abi.encode(_settlementOf(token), PENALTY_MAX);
        return ISolverBonds(_deploy("SolverBonds", arguments));
    }
}
