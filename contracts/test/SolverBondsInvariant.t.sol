// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISolverBonds} from "../src/ISolverBonds.sol";
import {AwardedFill} from "./Awards.sol";
import {SolverBondsTest} from "./SolverBondsTest.sol";

/// @title A solver that pays in and out at any time, and an operator that penalises all it can
/// @dev What succeeds is entered in books of its own, and what broke a rule is counted.
contract SolverBondsHandler is SolverBondsTest {
    uint64 private constant AUCTIONS = 16;
    uint64 private constant NONCES = 3;
    uint64 private constant DELIVERIES_MAX = 40;

    uint256 public ghostPaidIn;
    uint256 public ghostPaidOut;
    uint256 public ghostPenalties;
    uint256 public penalties;
    uint256 public penaltiesRefused;
    uint256 public withdrawals;
    uint256 public withdrawalsRefused;
    uint256 public penalisedWrongly;
    uint256 public withdrawnEarly;

    mapping(uint64 auction => bool) private _isTaken;
    uint256 private _requestedAt;
    uint256 private _requested;
    uint64 private _deliveries;

    constructor() {
        setUp();
        _fund(buyer.addr, 10_000);
        usdc.approve(address(bonds), type(uint256).max);
    }

    function payIn(uint256 amount) external {
        amount = _bound(amount, 1, 60);
        usdc.mint(address(this), amount);
        bonds.deposit(solver.addr, amount);
        ghostPaidIn += amount;
    }

    function request(uint256 amount) external {
        amount = _bound(amount, 0, 200);
        vm.prank(solver.addr);
        bonds.requestWithdrawal(amount);
        (_requested, _requestedAt) = (amount, block.timestamp);
    }

    function withdraw() external {
        vm.prank(solver.addr);
        try bonds.withdraw(seller.addr) returns (uint256 amount) {
            ghostPaidOut += amount;
            ++withdrawals;
            bool isEarly = block.timestamp < _requestedAt + 2 * uint256(EXIT_DELAY);
            if (isEarly || amount > _requested) ++withdrawnEarly;
            _requested = 0;
        } catch {
            ++withdrawalsRefused;
        }
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, 90 minutes));
        vm.roll(block.number + _bound(time >> 32, 0, 600));
    }

    /// @dev A unit of an offer is settled as delivered.
    function deliver(uint256 dice) external {
        if (_deliveries == DELIVERIES_MAX || block.timestamp > NOW + 1 days) return;
        ++_deliveries;
        _deliver(1 + uint64(dice % NONCES), 100 + _deliveries, 1);
    }

    /// @dev Early and again too, and for more than there is.
    function penalise(uint256 dice) external {
        uint64 auction = uint64(dice % AUCTIONS);
        AwardedFill[] memory fills = _fills(1 + uint64((dice >> 8) % NONCES));
        ISolverBonds.Award memory award = _award(auction, fills);
        ISolverBonds.Share[] memory shares = _shares(fills);
        for (uint256 i = 0; i < 2; ++i) {
            shares[i].undelivered = uint64((dice >> (16 + 16 * i)) % 14);
            shares[i].amount = uint96((dice >> (24 + 16 * i)) % 30);
        }
        bytes memory signature = _signature(award, operatorOwner);
        uint256 held = _balance(buyer.addr) + _balance(second.addr);
        bool isWrong = _isTaken[auction] || block.number <= DEADLINE;
        vm.prank(address(operator));
        try bonds.penalise(award, signature, shares) returns (uint256 paid) {
            vm.assertEq(_balance(buyer.addr) + _balance(second.addr), held + paid, "what is paid");
            vm.assertLe(paid, PENALTY_MAX, "above the cap");
            if (isWrong) ++penalisedWrongly;
            _isTaken[auction] = true;
            ghostPenalties += paid;
            ++penalties;
        } catch {
            ++penaltiesRefused;
        }
    }

    function check() external view {
        uint256 bond = ghostPaidIn - ghostPaidOut - ghostPenalties;
        vm.assertEq(_bondOf(solver.addr), bond, "the bond");
        vm.assertEq(usdc.balanceOf(address(bonds)), bond, "what is held");
        vm.assertEq(penalisedWrongly, 0, "early or twice");
        vm.assertEq(withdrawnEarly, 0, "withdrawn early");
        for (uint64 nonce = 1; nonce <= NONCES; ++nonce) {
            uint256 answered = bonds.penalisedUnits(solver.addr, nonce);
            vm.assertLe(answered, OFFERED, "more units than were offered");
        }
    }
}

contract SolverBondsInvariantTest is SolverBondsTest {
    SolverBondsHandler private _handler;

    function setUp() public override {
        _handler = new SolverBondsHandler();
        _target(address(_handler));
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](7);
        selectors[0] = SolverBondsHandler.payIn.selector;
        selectors[1] = SolverBondsHandler.request.selector;
        selectors[2] = SolverBondsHandler.withdraw.selector;
        selectors[3] = SolverBondsHandler.wait_.selector;
        selectors[4] = SolverBondsHandler.deliver.selector;
        selectors[5] = SolverBondsHandler.penalise.selector;
        selectors[6] = SolverBondsHandler.penalise.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(_handler), selectors);
    }

    /// @dev Bonds and what was paid are what was paid in; nothing is early, twice or above a bound.
    function invariant_bondsAddUp() public view {
        _handler.check();
    }

    /// @dev The canary: runs in which nothing is paid, withdrawn or refused would prove nothing.
    function test_handler_paysWithdrawsAndRefuses() public {
        for (uint256 i = 0; i < 120; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("canary", i)));
            _handler.payIn(seed);
            if (i % 16 == 0) _handler.request(seed >> 8);
            _handler.withdraw();
            _handler.wait_(seed >> 16);
            if (i % 3 == 0) _handler.deliver(seed >> 24);
            _handler.penalise(seed >> 32);
        }
        _handler.check();
        vm.assertGe(_handler.penalties(), 10, "too few penalties");
        vm.assertGe(_handler.penaltiesRefused(), 30, "too few penalties refused");
        vm.assertGe(_handler.withdrawals(), 2, "too few withdrawals");
        vm.assertGe(_handler.withdrawalsRefused(), 30, "too few withdrawals refused");
        vm.assertGe(_handler.ghostPenalties(), 100, "too little paid");
    }
}
