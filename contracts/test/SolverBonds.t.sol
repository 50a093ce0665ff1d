// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISolverBonds} from "../src/ISolverBonds.sol";
import {TestUSDC} from "../src/TestUSDC.sol";
import {AwardedFill} from "./Awards.sol";
import {SolverBondsTest} from "./SolverBondsTest.sol";

/// @title Bonds that solvers pay in and take back, and penalties for what they did not deliver
contract SolverBondsUnitTest is SolverBondsTest {
    uint256 private constant DELAY = 2 * uint256(EXIT_DELAY);

    function setUp() public override {
        super.setUp();
        _bondFor(solver.addr, BOND);
    }

    // ------------------------------------------------------------------ money in

    function test_deposit_adds() public {
        usdc.mint(address(this), 5);
        usdc.approve(address(bonds), 5);
        vm.expectEmit(address(bonds));
        emit ISolverBonds.BondDeposited(solver.addr, address(this), 5, BOND + 5);
        bonds.deposit(solver.addr, 5);
        vm.assertEq(_bondOf(solver.addr), BOND + 5);
        vm.assertEq(usdc.balanceOf(address(bonds)), BOND + 5);
    }

    function test_RevertIf_deposit_isOfNothingOrForNobody() public {
        vm.expectRevert(ISolverBonds.BondAmountZero.selector);
        bonds.deposit(solver.addr, 0);
        usdc.mint(address(this), 5);
        usdc.approve(address(bonds), 5);
        vm.expectRevert(ISolverBonds.BondZeroAddress.selector);
        bonds.deposit(address(0), 5);
    }

    function test_RevertIf_deposit_overflows() public {
        usdc.mint(address(this), type(uint96).max);
        usdc.approve(address(bonds), type(uint96).max);
        vm.expectPartialRevert(ISolverBonds.BondOverflow.selector);
        bonds.deposit(solver.addr, type(uint96).max);
    }

    /// @dev The nonce names the solver: the same signature is nothing for anyone else, and once.
    function test_depositWithAuthorization_isForOneSolverAndOnce() public {
        usdc.mint(solver.addr, 18);
        bytes memory signature = _authorization(solver.addr, 9);
        vm.expectRevert(TestUSDC.TestUSDCSignatureInvalid.selector);
        bonds.depositWithAuthorization(solver.addr, buyer.addr, 9, 0, NOW + 1, "salt", signature);
        bonds.depositWithAuthorization(solver.addr, solver.addr, 9, 0, NOW + 1, "salt", signature);
        vm.assertEq(_bondOf(solver.addr), BOND + 9);
        vm.expectPartialRevert(TestUSDC.TestUSDCAuthorizationUsed.selector);
        bonds.depositWithAuthorization(solver.addr, solver.addr, 9, 0, NOW + 1, "salt", signature);
    }

    // ------------------------------------------------------------------ money out

    function test_withdraw_paysAfterTheDelay() public {
        vm.prank(solver.addr);
        vm.expectEmit(address(bonds));
        emit ISolverBonds.BondWithdrawalRequested(solver.addr, 400, NOW + DELAY);
        uint256 availableAt = bonds.requestWithdrawal(400);
        vm.warp(availableAt - 1);
        vm.prank(solver.addr);
        vm.expectPartialRevert(ISolverBonds.BondWithdrawalEarly.selector);
        bonds.withdraw(seller.addr);
        vm.warp(availableAt);
        vm.prank(solver.addr);
        vm.expectEmit(address(bonds));
        emit ISolverBonds.BondWithdrawn(solver.addr, seller.addr, 400);
        bonds.withdraw(seller.addr);
        vm.assertEq(usdc.balanceOf(seller.addr), 400);
        vm.assertEq(_bondOf(solver.addr), BOND - 400);
        vm.prank(solver.addr);
        vm.expectPartialRevert(ISolverBonds.BondWithdrawalMissing.selector);
        bonds.withdraw(seller.addr);
    }

    /// @dev Each request replaces the one before it, and waits its own time; 0 takes it back.
    function test_requestWithdrawal_restartsTheClock() public {
        vm.startPrank(solver.addr);
        bonds.requestWithdrawal(1);
        vm.warp(NOW + DELAY);
        bonds.requestWithdrawal(type(uint256).max);
        vm.expectPartialRevert(ISolverBonds.BondWithdrawalEarly.selector);
        bonds.withdraw(solver.addr);
        bonds.requestWithdrawal(0);
        vm.warp(NOW + 3 * DELAY);
        vm.expectPartialRevert(ISolverBonds.BondWithdrawalMissing.selector);
        bonds.withdraw(solver.addr);
        bonds.requestWithdrawal(type(uint256).max);
        vm.warp(NOW + 5 * DELAY);
        vm.expectRevert(ISolverBonds.BondZeroAddress.selector);
        bonds.withdraw(address(0));
        vm.assertEq(bonds.withdraw(solver.addr), BOND);
        vm.stopPrank();
    }

    /// @dev Nobody but the solver takes its bond: others have one of their own, of nothing.
    function test_attack_bondOfAnotherIsWithdrawn() public {
        vm.startPrank(buyer.addr);
        bonds.requestWithdrawal(BOND);
        vm.warp(NOW + DELAY);
        vm.assertEq(bonds.withdraw(buyer.addr), 0);
        vm.assertEq(_bondOf(solver.addr), BOND);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ penalties

    /// @dev Who bought what was not delivered gets it, in the market where it buys again.
    function test_penalise_paysTheBuyers() public {
        AwardedFill[] memory fills = _fills(1);
        ISolverBonds.Award memory award = _award(AWARD, fills);
        bytes memory signature = _signature(award, operatorOwner);
        ISolverBonds.Share[] memory shares = _shares(fills);
        vm.roll(DEADLINE + 1);
        vm.prank(address(operator));
        vm.expectEmit(address(bonds));
        emit ISolverBonds.SolverPenalised(AWARD, solver.addr, award.solution, 18, BOND - 18);
        vm.assertEq(bonds.penalise(award, signature, shares), 18);
        vm.assertEq(_balance(buyer.addr), 9);
        vm.assertEq(_balance(second.addr), 9);
        vm.assertEq(_bondOf(solver.addr), BOND - 18);
        vm.assertEq(usdc.balanceOf(address(bonds)), BOND - 18);
        vm.assertTrue(bonds.isPenalised(AWARD, solver.addr));
        vm.assertEq(bonds.penalisedUnits(solver.addr, 1), 10);
    }

    /// @dev From what waits to be withdrawn too: that is what the delay is for.
    function test_penalise_takesWhatIsAskedBack() public {
        vm.prank(solver.addr);
        bonds.requestWithdrawal(BOND);
        _penalise(_award(AWARD, _fills(1)), _shares(_fills(1)));
        vm.warp(NOW + DELAY);
        vm.prank(solver.addr);
        vm.assertEq(bonds.withdraw(solver.addr), BOND - 18);
    }

    /// @dev Of the same auction with another solution neither; other auctions are other awards.
    function test_attack_operatorPenalisesTwice() public {
        AwardedFill[] memory fills = _fills(1);
        _penalise(_award(AWARD, fills), _shares(fills));
        fills = _fills(2);
        _assertRefused(_award(AWARD, fills), _shares(fills), ISolverBonds.PenaltyTaken.selector);
        vm.assertEq(_penalise(_award(AWARD + 1, fills), _shares(fills)), 18);
    }

    function test_attack_operatorPenalisesBeforeTheDeadline() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        bytes memory signature = _signature(award, operatorOwner);
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        vm.roll(DEADLINE);
        vm.prank(address(operator));
        vm.expectPartialRevert(ISolverBonds.PenaltyEarly.selector);
        bonds.penalise(award, signature, shares);
    }

    function test_attack_anyoneElsePenalises() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        bytes memory signature = _signature(award, operatorOwner);
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        vm.roll(DEADLINE + 1);
        vm.prank(buyer.addr);
        vm.expectPartialRevert(ISolverBonds.PenaltyCallerNotOperator.selector);
        bonds.penalise(award, signature, shares);
    }

    /// @dev A session key that settles can sign none, and a signature is for one award.
    function test_attack_awardThatWasNotSigned() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        bytes[3] memory signatures = [
            _signature(award, operatorKey),
            _signature(_award(AWARD + 1, _fills(1)), operatorOwner),
            bytes("")
        ];
        vm.roll(DEADLINE + 1);
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(address(operator));
            vm.expectRevert(ISolverBonds.PenaltyAwardUnsigned.selector);
            bonds.penalise(award, signatures[i], shares);
        }
    }

    /// @dev Another buyer, units, price or place than in the solution that was signed.
    function test_attack_fillThatWasNotAwarded() public {
        AwardedFill[] memory fills = _fills(1);
        for (uint256 i = 0; i < 6; ++i) {
            ISolverBonds.Share[] memory shares = _shares(fills);
            if (i == 0) shares[0].buyer = seller.addr;
            if (i == 1) ++shares[0].buyerNonce;
            if (i == 2) ++shares[0].units;
            if (i == 3) ++shares[0].tick;
            if (i == 4) ++shares[0].charge;
            if (i == 5) shares[0].proof = bytes.concat(shares[0].proof, hex"00");
            bytes4 selector = ISolverBonds.PenaltyFillUnknown.selector;
            _assertRefused(_award(AWARD, fills), shares, selector);
        }
    }

    /// @dev The solver answers for what it offered itself, by its own key's word alone.
    function test_attack_offerThatTheSolverDidNotSign() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        shares[0].offer.units += 1;
        _assertRefused(award, shares, ISolverBonds.PenaltyOfferUnsigned.selector);
        shares = _shares(_fills(1));
        shares[0].offerSignature = _sign(seller, settlement.offerDigest(shares[0].offer));
        _assertRefused(award, shares, ISolverBonds.PenaltyOfferUnsigned.selector);
        shares = _shares(_fills(1));
        shares[0].offer.account = seller.addr;
        shares[0].offerSignature = _sign(seller, settlement.offerDigest(shares[0].offer));
        _assertRefused(award, shares, ISolverBonds.PenaltyOfferOther.selector);
    }

    /// @dev One fill cannot take the shares of others, and there is at least one of at most 64.
    function test_RevertIf_sharesAreNotInOrder() public {
        ISolverBonds.Award memory award = _award(AWARD, _fills(1));
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        shares[1] = shares[0];
        bytes4 selector = ISolverBonds.PenaltySharesInvalid.selector;
        _assertRefused(award, shares, selector);
        _assertRefused(award, new ISolverBonds.Share[](0), selector);
        _assertRefused(award, new ISolverBonds.Share[](65), selector);
    }

    /// @dev 20 undelivered units at 1.8 are worth 36; the cap is 30, and the last share gets what is left.
    function test_penalise_keepsTheCap() public {
        AwardedFill[] memory fills = _fills(1);
        ISolverBonds.Share[] memory shares = _shares(fills);
        for (uint256 i = 0; i < 2; ++i) {
            (shares[i].undelivered, shares[i].amount) = (AWARDED, 18);
        }
        vm.assertEq(_penalise(_award(AWARD, fills), shares), PENALTY_MAX);
        vm.assertEq(_balance(buyer.addr), 18);
        vm.assertEq(_balance(second.addr), 12);
    }

    function test_penalise_takesNoMoreThanTheBond() public {
        vm.startPrank(solver.addr);
        bonds.requestWithdrawal(BOND - 12);
        vm.warp(NOW + DELAY);
        bonds.withdraw(solver.addr);
        vm.stopPrank();
        vm.assertEq(_penalise(_award(AWARD, _fills(1)), _shares(_fills(1))), 12);
        vm.assertEq(_bondOf(solver.addr), 0);
        vm.assertEq(_balance(second.addr), 3);
    }

    /// @dev Whatever the operator asks for: no more than the price of the units, nor than the fill has.
    function testFuzz_penalise_isWithinTheFill(uint64 undelivered, uint96 amount) public {
        ISolverBonds.Share[] memory shares = new ISolverBonds.Share[](1);
        shares[0] = _share(_fills(1), 1);
        (shares[0].undelivered, shares[0].amount) = (undelivered, amount);
        uint256 counted = undelivered < AWARDED ? undelivered : AWARDED;
        uint256 due = counted * TICK / 1_000_000;
        uint256 paid = _penalise(_award(AWARD, _fills(1)), shares);
        vm.assertEq(paid, amount < due ? amount : due);
        vm.assertEq(bonds.penalisedUnits(solver.addr, 1), counted);
    }

    /// @dev Of 100 offered units 93 were settled as delivered: for 7 at most it can be made to pay.
    function test_attack_operatorDeniesWhatWasDelivered() public {
        _fund(buyer.addr, 200);
        _deliver(1, 7, 93);
        ISolverBonds.Share[] memory shares = _shares(_fills(1));
        vm.assertEq(_penalise(_award(AWARD, _fills(1)), shares), 9 + 3);
        vm.assertEq(bonds.penalisedUnits(solver.addr, 1), 7);
        // Nothing of it is left, whatever else was awarded of it.
        vm.assertEq(_penalise(_award(AWARD + 1, _fills(1)), shares), 0);
    }

    /// @dev A dozen awards of one offer: its units are paid for once.
    function test_attack_operatorPenalisesAnOfferForEver() public {
        uint256 paid;
        for (uint64 i = 0; i < 12; ++i) {
            paid += _penalise(_award(AWARD + i, _fills(1)), _shares(_fills(1)));
        }
        vm.assertEq(bonds.penalisedUnits(solver.addr, 1), OFFERED);
        vm.assertEq(paid, 10 * 18);
    }

    // ------------------------------------------------------------------ private

    function _assertRefused(
        ISolverBonds.Award memory award,
        ISolverBonds.Share[] memory shares,
        bytes4 selector
    ) private {
        uint256 before = _bondOf(solver.addr);
        bytes memory signature = _signature(award, operatorOwner);
        vm.roll(DEADLINE + 1);
        vm.prank(address(operator));
        vm.expectPartialRevert(selector);
        bonds.penalise(award, signature, shares);
        vm.assertEq(_bondOf(solver.addr), before);
    }

    function _authorization(address solver_, uint256 amount) private view returns (bytes memory) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                solver.addr,
                address(bonds),
                amount,
                0,
                uint256(NOW + 1),
                bonds.authorizationNonce(solver_, "salt")
            )
        );
        return
            _sign65(solver, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), hash)));
    }
}
