// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "../src/CapWord.sol";
import {IEscrow} from "../src/IEscrow.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {ISolverBonds} from "../src/ISolverBonds.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {AwardMarket} from "./AwardMarket.sol";
import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {Line} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";
import {Vm} from "./Vm.sol";

/// @title An operator that settles and penalises whatever it can, and a second set of books
/// @dev Of what settles the books take parties and sums from events, and what of it is the solver's from what
/// was signed.
contract AwardHandler is AwardMarket {
    using CapWord for uint256;

    uint96 private constant KEY_CAP = 4000;
    uint96 private constant MAKER_CAP = 2500;
    uint96 private constant SOLVER_CAP = 1200;
    uint96 private constant PENALTY_MAX = 30;

    /// @dev A line as its event has it, and what of it is a solver's.
    struct Settled {
        address from;
        address to;
        address solver;
        uint256 units;
        uint256 delivered;
        uint256 payment;
        uint256 reward;
    }

    ISolverBonds private _bonds;
    mapping(bytes32 line => bool) private _isSettled;
    mapping(bytes32 placeOfBatch => bool) private _isServed;

    mapping(address => int256) public ghostBalance;
    mapping(address => mapping(uint64 => uint256)) public ghostCounted;
    mapping(address => uint256) public ghostPaidByKey;
    mapping(IVerified.SkipReason => uint256) public skippedFor;
    uint256 public ghostHeld;
    uint256 public ghostBond;
    uint256 public ghostRewards;
    uint256 public ghostRewardsByKey;
    uint256 public ghostPenalties;
    uint256 public awardedSettled;
    uint256 public plainSettled;
    uint256 public batchesSettled;
    uint256 public batchesOversold;
    uint256 public penaltiesRefused;

    constructor() {
        setUp();
        _bonds = ISolverBonds(_deploy("SolverBonds", abi.encode(settlement, PENALTY_MAX)));
        usdc.approve(address(_bonds), type(uint256).max);
        _enable(address(wallet), agent, KEY_CAP);
        _setCap(maker.addr, MAKER_CAP);
        _setCap(solver.addr, SOLVER_CAP);
        vm.prank(address(wallet));
        _registry().setCounterpartyRule(SessionPolicy.CounterpartyRule.Listed);
    }

    // ------------------------------------------------------------------ actions

    function deposit(uint256 who, uint256 amount) external {
        address account = _accountAt(who);
        amount = _bound(amount, 1, 1000);
        _fund(account, amount);
        ghostBalance[account] += int256(amount);
        ghostHeld += amount;
    }

    /// @dev Asks for money, or takes what it asked for.
    function withdraw(uint256 who, uint256 amount) external {
        address account = _accountAt(who);
        IEscrow.AccountView memory stored = settlement.accountOf(account);
        vm.startPrank(account);
        if (stored.withdrawing == 0) {
            settlement.requestWithdrawal(_bound(amount, 1, 300));
        } else if (block.timestamp >= stored.withdrawableAt) {
            uint256 left = settlement.withdraw(address(this));
            ghostBalance[account] -= int256(left);
            ghostHeld -= left;
        }
        vm.stopPrank();
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, 20 minutes));
        vm.roll(block.number + _bound(time >> 32, 0, 60));
    }

    function payBond(uint256 amount) external {
        amount = _bound(amount, 1, 60);
        usdc.mint(address(this), amount);
        _bonds.deposit(solver.addr, amount);
        ghostBond += amount;
    }

    function award(uint256 seed) external {
        _drawAuction(1 + uint64(seed % NONCES), seed);
    }

    function settle(uint256 seed) external {
        seed = _random(seed, bytes32(uint256(batchNumber)));
        uint64 nonce = 1 + uint64(seed % NONCES);
        Section[] memory sections = _drawSections(nonce, seed >> 3);
        Line[][] memory lines = _drawLines(nonce, sections, seed);
        bytes memory data = abi.encodeCall(
            ISettlement.settle, (batchNumber, bytes32(seed), _encode(nonce, sections, lines))
        );
        vm.recordLogs();
        vm.prank(operatorKey.addr);
        try operator.callSettlement(data) returns (bytes memory paid) {
            uint256 entered = _book(vm.getRecordedLogs());
            vm.assertEq(abi.decode(paid, (uint256)), entered, "the return value is what was paid");
            ++batchNumber;
            ++batchesSettled;
        } catch (bytes memory reason) {
            // The operator sold units of one offer by two fills: nothing moves.
            vm.assertTrue(bytes4(reason) == IVerified.BatchNonceShared.selector, "a sound batch");
            ++batchesOversold;
        }
    }

    /// @dev Early and again too, and for more than there is.
    function penalise(uint256 dice) external {
        if (auctions.length == 0) return;
        uint256 number = dice % auctions.length;
        Auction storage auction = auctions[number];
        (ISolverBonds.Share[] memory shares, uint256 worth) = _drawShares(auction, dice);
        if (shares.length == 0) return;
        uint256 answered = _bonds.penalisedUnits(solver.addr, auction.nonce);
        (ISolverBonds.Award memory told, bytes memory signature) = _penalAwardOf(number);
        vm.prank(address(operator));
        try _bonds.penalise(told, signature, shares) returns (uint256 paid) {
            vm.assertTrue(block.number > auction.deadlineBlock, "while it could be delivered");
            vm.assertFalse(auction.isPenalised);
            auction.isPenalised = true;
            vm.assertLe(paid, PENALTY_MAX, "above the cap");
            vm.assertLe(paid, worth, "above the awarded price");
            uint256 units = _bonds.penalisedUnits(solver.addr, auction.nonce);
            if (units != answered) {
                units += settlement.settledUnits(solver.addr, auction.nonce);
                vm.assertLe(units, UNITS, "for units that were delivered");
            }
            _enterPenalty(paid);
        } catch {
            ++penaltiesRefused;
        }
    }

    function _penalAwardOf(uint256 number)
        private
        view
        returns (ISolverBonds.Award memory told, bytes memory signature)
    {
        SignedAward memory signed = _awardOf(number);
        (told.auction, told.solver) = (signed.auction, signed.solver);
        (told.solution, told.deadlineBlock) = (signed.solution, signed.deadlineBlock);
        signature = _sign(operatorOwner, Awards.digestOf(signed, settlement));
    }

    // ------------------------------------------------------------------ books

    /// @dev Enters what the contract says it settled, and holds each line against what it was made from.
    function _book(Vm.Log[] memory logs) private returns (uint256 paid) {
        uint256 due;
        uint256 told;
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 topic = logs[i].topics[0];
            if (topic == IVerified.FillSettled.selector) {
                (uint256 payment, uint256 reward) = _enter(logs[i]);
                paid += payment;
                due += reward;
            } else if (topic == IVerified.RewardPaid.selector) {
                told += abi.decode(logs[i].data, (uint256));
            } else if (topic == IVerified.FillSkipped.selector) {
                ++skippedFor[abi.decode(logs[i].data, (IVerified.SkipReason))];
            }
        }
        vm.assertEq(told, due, "rewards as told are as awarded");
        ghostRewards += due;
    }

    function _enter(Vm.Log memory log) private returns (uint256 payment, uint256 reward) {
        bytes32 id = log.topics[1];
        Made memory told = made[id];
        vm.assertFalse(_isSettled[id]);
        _isSettled[id] = true;
        vm.assertEq(told.batch, batchNumber, "a line of another batch");
        Settled memory line;
        line.from = address(uint160(uint256(log.topics[2])));
        line.to = address(uint160(uint256(log.topics[3])));
        uint256 amounts = abi.decode(log.data, (uint256));
        (line.units, line.delivered) = (uint64(amounts >> 160), uint64(amounts >> 96));
        line.payment = uint96(amounts);
        if (told.fill == 0) ++plainSettled;
        else (line.solver, line.reward) = _rewardOf(told, line);
        _checkPrices(told, line);
        _enterSums(told, line);
        return (line.payment, line.reward);
    }

    /// @dev Of an awarded fill: between whom, how much and for how much, until when, and once a batch.
    function _rewardOf(Made memory told, Settled memory line) private returns (address, uint256) {
        Auction storage auction = auctions[told.auction];
        AwardedFill memory fill = auction.fills[told.index];
        vm.assertEq(uint256(told.fault), 0, "not as it was signed");
        vm.assertTrue(block.number <= auction.deadlineBlock, "past its deadline block");
        vm.assertEq(line.from, fill.buyer);
        vm.assertEq(_nonceOf(told.demand, told.nonce), fill.buyerNonce, "another's");
        vm.assertEq(line.to, fill.seller);
        vm.assertLe(line.delivered, fill.units, "more than was awarded");
        vm.assertEq(line.payment, line.delivered * fill.tick / TICK, "at another price");
        if (line.delivered != 0) {
            bytes32 place = keccak256(abi.encode(told.batch, told.fill));
            vm.assertFalse(_isServed[place]);
            _isServed[place] = true;
        }
        ++awardedSettled;
        return (auction.solver, line.delivered * fill.charge / TICK);
    }

    /// @dev No more than the buyer signed, and to the seller, without the reward, no less than it did.
    function _checkPrices(Made memory told, Settled memory line) private pure {
        uint256 tickMost = told.demand == MANDATE
            ? uint256(MANDATE_TICK) * UNITS
            : _intentLimit(told.demand, told.nonce) * TICK;
        vm.assertLe(line.payment * UNITS * TICK, line.delivered * tickMost, "above the limit");
        uint256 least = line.delivered * _offerLimit(told.offer, told.nonce) / UNITS;
        vm.assertLe(least + line.reward, line.payment, "below the seller's limit");
    }

    /// @dev A mandate's counter is of atoms, an intent's of units, and an offer's of what was delivered.
    function _enterSums(Made memory told, Settled memory line) private {
        uint64 nonce = _nonceOf(told.demand, told.nonce);
        ghostCounted[line.from][nonce] += told.demand == MANDATE ? line.payment : line.units;
        ghostCounted[line.to][told.nonce] += line.delivered;
        uint256 earned = line.payment - line.reward;
        ghostBalance[line.from] -= int256(line.payment);
        ghostBalance[line.to] += int256(earned);
        ghostBalance[line.solver] += int256(line.reward);
        if (line.from != address(wallet)) return;
        ghostPaidByKey[line.to] += earned;
        ghostPaidByKey[line.solver] += line.reward;
        ghostRewardsByKey += line.reward;
    }

    /// @dev Who got how much is the contracts' word; that it is all of it, and from the bond, is not.
    function _enterPenalty(uint256 paid) private {
        uint256 sum;
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            address account = _accountAt(i);
            uint256 arrived = _balance(account) - uint256(ghostBalance[account]);
            ghostBalance[account] += int256(arrived);
            sum += arrived;
        }
        vm.assertEq(sum, paid, "what is taken is paid");
        ghostHeld += paid;
        ghostBond -= paid;
        ghostPenalties += paid;
    }

    function _setCap(address party, uint96 cap) private {
        vm.prank(address(wallet));
        _registry().setCap(SessionPolicy.Bearer.Counterparty, uint160(party), cap, 30 days);
    }

    // ------------------------------------------------------------------ what must hold

    function checkMoney() external view {
        uint256 sum;
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            uint256 balance = _balance(_accountAt(i));
            vm.assertEq(balance, uint256(ghostBalance[_accountAt(i)]), "balance as it was booked");
            sum += balance;
        }
        vm.assertEq(sum, usdc.balanceOf(address(settlement)), "balances sum to what is held");
        vm.assertEq(sum, ghostHeld, "only deposits, withdrawals and penalties change it");
        (uint256 bond,,) = _bonds.bondOf(solver.addr);
        vm.assertEq(bond, ghostBond, "the bond");
        vm.assertEq(bond, usdc.balanceOf(address(_bonds)), "bonds are what is held");
    }

    function checkLimits() external view {
        for (uint64 nonce = 1; nonce <= NONCES; ++nonce) {
            for (uint256 i = 0; i < SELLERS; ++i) {
                _checkCounter(_sellerAt(i).addr, nonce, UNITS);
            }
            for (uint256 i = 0; i < DEMANDS; ++i) {
                _checkCounter(_buyerOf(i), _nonceOf(i, nonce), i == MANDATE ? MANDATE_LIMIT : UNITS);
            }
        }
    }

    function checkSession() external view {
        (uint256 toMaker, uint256 toSolver) =
            (ghostPaidByKey[maker.addr], ghostPaidByKey[solver.addr]);
        vm.assertEq(
            _charged(address(wallet), agent), toMaker + toSolver, "charged is what was paid"
        );
        vm.assertLe(toMaker + toSolver, KEY_CAP, "above the key's cap");
        vm.assertEq(_chargedTo(maker.addr), toMaker, "counted for the maker");
        vm.assertLe(toMaker, MAKER_CAP, "above the maker's cap");
        vm.assertEq(_chargedTo(solver.addr), toSolver, "counted for the solver");
        vm.assertLe(toSolver, SOLVER_CAP, "above the solver's cap");
    }

    function _checkCounter(address account, uint64 nonce, uint256 most) private view {
        uint256 counted = ghostCounted[account][nonce];
        vm.assertEq(settlement.settledUnits(account, nonce), counted, "counter");
        vm.assertLe(counted, most, "overfilled");
    }

    function _chargedTo(address party) private view returns (uint256) {
        return _registry()
            .wordOf(SessionPolicy.Bearer.Counterparty, address(wallet), uint160(party))
            .spentOf(block.timestamp);
    }
}

contract SettlementAwardInvariantTest is MarketTest {
    AwardHandler private _handler;

    function setUp() public override {
        _handler = new AwardHandler();
        _target(address(_handler));
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](11);
        selectors[0] = AwardHandler.deposit.selector;
        selectors[1] = AwardHandler.withdraw.selector;
        selectors[2] = AwardHandler.wait_.selector;
        selectors[3] = AwardHandler.payBond.selector;
        selectors[4] = AwardHandler.penalise.selector;
        for (uint256 i = 5; i < 8; ++i) {
            selectors[i] = AwardHandler.award.selector;
        }
        for (uint256 i = 8; i < 11; ++i) {
            selectors[i] = AwardHandler.settle.selector;
        }
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(_handler), selectors);
    }

    /// @dev All in one campaign: what costs is the calls, and after each of them all of it is looked at.
    function invariant_awardedBooksHold() public view {
        _handler.checkMoney();
        _handler.checkLimits();
        _handler.checkSession();
    }

    /// @dev The canary: runs in which no award is paid, refused or penalised would prove nothing.
    function test_handler_paysAwardsAndRefuses() public {
        for (uint256 i = 0; i < 4; ++i) {
            _handler.deposit(i, 1000);
        }
        for (uint256 i = 0; i < 96; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("canary", i)));
            _handler.deposit(seed, seed >> 8);
            _handler.award(seed >> 16);
            _handler.settle(seed >> 24);
            if (i % 4 == 0) _handler.wait_(seed >> 32);
            if (i % 8 == 0) _handler.payBond(seed >> 40);
            _handler.penalise(seed >> 48);
            invariant_awardedBooksHold();
        }
        _assertBusy();
    }

    function _assertBusy() private view {
        vm.assertGe(_handler.awardedSettled(), 30, "too few awarded fills");
        vm.assertGe(_handler.plainSettled(), 10, "too few other fills");
        vm.assertGe(_handler.ghostRewards(), 50, "too few rewards");
        vm.assertGe(_handler.ghostPenalties(), 50, "too few penalties");
        vm.assertGe(_handler.penaltiesRefused(), 10, "too few penalties refused");
        vm.assertLe(_handler.batchesOversold() * 4, _handler.batchesSettled(), "too much oversold");
        for (
            uint256 reason = uint256(IVerified.SkipReason.AwardExpired);
            reason <= uint256(type(IVerified.SkipReason).max);
            ++reason
        ) {
            vm.assertGe(
                _handler.skippedFor(IVerified.SkipReason(reason)), 5, "too few awards refused"
            );
        }
        vm.assertGe(_handler.ghostRewardsByKey(), 10, "too little by a key");
    }
}
