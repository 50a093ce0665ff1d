// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEscrow} from "../src/IEscrow.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";
import {Vm} from "./Vm.sol";

/// @title A market in which everyone does anything, and a second set of books
/// @dev Half of what it settles is wrong in some way: only what the contract says it settled counts
/// in the books, and these are then held against every signed limit.
contract MarketHandler is MarketTest {
    uint256 private constant TRADERS = 4;
    uint64 private constant NONCES = 6;
    /// @dev Nonces of mandates, after those of intents and offers.
    uint64 private constant MANDATES = 2;
    uint64 private constant TICK_MAX = 100_000_000;

    Party[] private _traders;
    Party private _agent;
    SessionAccount private _wallet;

    /// @dev What was ever signed under a nonce: kept the same for all its fills.
    mapping(address => mapping(uint64 => uint64)) private _units;
    mapping(address => mapping(uint64 => uint96)) private _limit;

    mapping(address => int256) public ghostBalance;
    mapping(address => mapping(uint64 => uint256)) public ghostUnits;
    mapping(address => mapping(uint64 => uint256)) public ghostDelivered;
    mapping(address => mapping(uint64 => uint256)) public ghostPaid;
    mapping(address => mapping(uint64 => uint256)) public ghostFills;
    mapping(bytes32 => Fill) private _fills;
    uint256 public ghostSession;
    uint256 public ghostOperator;
    uint256 public ghostHeld;
    uint256 public batchesSettled;
    uint256 public linesSettled;
    uint256 public ghostMandates;
    uint256 public replaysRefused;

    struct Fill {
        uint64 buyerNonce;
        uint64 sellerNonce;
        bool settled;
    }

    constructor() {
        setUp();
        _agent = _party("invariant agent");
        for (uint256 i = 0; i < TRADERS; ++i) {
            _traders.push(_party(string(abi.encode("trader", i))));
        }
        _wallet = _account(_traders[0]);
        _enable(address(_wallet), _agent, 500_000);
        // A cap of this size counts every atom (see CapWord), and all documents allow less than it.
        _grant(operator, operatorOwner, operatorKey, SETTLE, 4_000_000);
    }

    // ------------------------------------------------------------------ actions

    function deposit(uint256 who, uint256 amount) external {
        amount = _bound(amount, 1, 1e6);
        address account = _address(who);
        _fund(account, amount);
        ghostBalance[account] += int256(amount);
        ghostHeld += amount;
    }

    function requestWithdrawal(uint256 who, uint256 amount) external {
        vm.prank(_address(who));
        settlement.requestWithdrawal(_bound(amount, 1, 2e6));
    }

    function withdraw(uint256 who) external {
        address account = _address(who);
        IEscrow.AccountView memory stored = settlement.accountOf(account);
        if (stored.withdrawing == 0 || block.timestamp < stored.withdrawableAt) return;
        vm.prank(account);
        uint256 amount = settlement.withdraw(address(this));
        vm.assertLe(amount, stored.withdrawing);
        ghostBalance[account] -= int256(amount);
        ghostHeld -= amount;
    }

    function cancel(uint256 who, uint64 nonce) external {
        address account = _address(who);
        nonce %= NONCES + MANDATES;
        if (settlement.cancelledAt(account, nonce) != 0) return;
        vm.prank(account);
        settlement.cancel(nonce);
    }

    function cancelAll(uint256 who) external {
        // Rarely: an ended epoch ends all trading of that account.
        if (who % 16 != 0) return;
        address account = _address(who >> 4);
        if (block.timestamp < settlement.accountOf(account).epochEffectiveAt) return;
        vm.prank(account);
        settlement.cancelAll();
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, 20 minutes));
    }

    function revokeSession(uint256 dice) external {
        if (dice % 8 != 0) return;
        _disable(address(_wallet), _agent);
        _enable(address(_wallet), _agent, 500_000);
    }

    function settle(uint256 seed) external {
        SettledOffer[] memory offers = new SettledOffer[](1 + seed % 2);
        if (offers.length == 1) {
            offers[0] = _makeOffer(_random(seed, "offer 0"));
        } else {
            offers =
                _list(_makeOffer(_random(seed, "offer 0")), _makeOffer(_random(seed, "offer 1")));
            // The same offer twice is refused as a whole; leave that to its own test.
            if (offers[0].account == offers[1].account && offers[0].nonce == offers[1].nonce) {
                return;
            }
        }
        SettledIntent[] memory intents = new SettledIntent[](2);
        intents[0] = _makeIntent(_random(seed, "intent 0"), offers);
        intents[1] = _makeIntent(_random(seed, "intent 1"), offers);

        SettledMandate[] memory mandates = _list(_makeMandate(_random(seed, "mandate"), offers));

        bytes memory data = abi.encodeCall(
            ISettlement.settle,
            (batchNumber++, bytes32(seed), Batch.encode(offers, intents, mandates))
        );
        vm.recordLogs();
        vm.prank(operatorKey.addr);
        uint256 paid = abi.decode(operator.callSettlement(data), (uint256));
        ghostOperator += paid;
        ++batchesSettled;
        vm.assertEq(_book(vm.getRecordedLogs()), paid, "the return value is what was paid");

        vm.prank(operatorKey.addr);
        try operator.callSettlement(data) {
            vm.assertTrue(false, "a batch settled twice");
        } catch {
            ++replaysRefused;
        }
    }

    // ------------------------------------------------------------------ books

    /// @dev Enters what the contract says it settled, from its events alone.
    function _book(Vm.Log[] memory logs) private returns (uint256 paid) {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IVerified.FillSettled.selector) continue;
            Fill storage fill = _fills[logs[i].topics[1]];
            vm.assertFalse(fill.settled);
            fill.settled = true;
            address from = address(uint160(uint256(logs[i].topics[2])));
            address to = address(uint160(uint256(logs[i].topics[3])));
            uint256 amounts = abi.decode(logs[i].data, (uint256));
            (uint64 units, uint64 delivered) = (uint64(amounts >> 160), uint64(amounts >> 96));
            uint96 payment = uint96(amounts);
            _enter(from, fill.buyerNonce, units, delivered, payment);
            // An offer counts what was delivered alone.
            _enter(to, fill.sellerNonce, delivered, delivered, payment);
            ghostBalance[from] -= int256(uint256(payment));
            ghostBalance[to] += int256(uint256(payment));
            if (from == address(_wallet)) ghostSession += payment;
            if (fill.buyerNonce >= NONCES) ghostMandates += payment;
            paid += payment;
            ++linesSettled;
        }
    }

    function _enter(
        address account,
        uint64 nonce,
        uint256 units,
        uint256 delivered,
        uint256 payment
    ) private {
        ghostUnits[account][nonce] += units;
        ghostDelivered[account][nonce] += delivered;
        ghostPaid[account][nonce] += payment;
        ++ghostFills[account][nonce];
    }

    // ------------------------------------------------------------------ documents

    /// @dev Buyers use the lower half of their nonces and sellers the upper one.
    function _makeOffer(uint256 seed) private returns (SettledOffer memory offer) {
        Party memory party = _traders[seed % TRADERS];
        uint64 nonce = uint64(NONCES / 2 + _random(seed, "nonce") % (NONCES / 2));
        (uint64 units, uint96 limit) = _terms(party.addr, nonce, seed);
        offer = _offer(party.addr, nonce, units, limit);
        offer.validUntil = NOW + 30 days;
        offer.epoch = settlement.accountOf(party.addr).epochSettleable;
        offer = _signed(offer, party);
        if (_random(seed, "bad") % 16 == 0) offer.limit += 1;
    }

    function _makeIntent(uint256 seed, SettledOffer[] memory offers)
        private
        returns (SettledIntent memory intent)
    {
        bool isSession = seed % (TRADERS + 1) == TRADERS;
        Party memory party = isSession ? _agent : _traders[seed % TRADERS];
        address account = isSession ? address(_wallet) : party.addr;
        uint64 nonce = uint64(_random(seed, "nonce") % (NONCES / 2));
        (uint64 units, uint96 limit) = _terms(account, nonce, seed);
        intent = _intent(account, nonce, units, limit * 2);
        intent.unitsMin = uint64(_random(seed, "least") % 20);
        intent.validUntil = NOW + 30 days;
        intent.epoch = settlement.accountOf(account).epochSettleable;
        intent.authority = isSession ? SESSION : PLAIN;
        // Signed alone, or as a bulk of its own.
        intent = _random(seed, "bulk") % 2 == 0
            ? _signed(intent, party)
            : _bulkSigned(_list(intent), party)[0];
        intent.lines = new Line[](1 + seed % 3);
        for (uint256 i = 0; i < intent.lines.length; ++i) {
            intent.lines[i] = _makeLine(_random(seed, bytes32(i)), intent, offers);
        }
        if (_random(seed, "bad") % 16 == 0) intent.unitsMin += 1;
    }

    function _makeMandate(uint256 seed, SettledOffer[] memory offers)
        private
        returns (SettledMandate memory mandate)
    {
        bool isSession = seed % (TRADERS + 1) == TRADERS;
        Party memory party = isSession ? _agent : _traders[seed % TRADERS];
        address account = isSession ? address(_wallet) : party.addr;
        uint64 nonce = uint64(NONCES + _random(seed, "nonce") % MANDATES);
        (, uint96 limit) = _terms(account, nonce, seed);
        mandate = _mandate(account, nonce, limit);
        mandate.tickMax = TICK_MAX;
        mandate.validUntil = NOW + 30 days;
        mandate.epoch = settlement.accountOf(account).epochSettleable;
        mandate.authority = isSession ? SESSION : PLAIN;
        mandate = _signed(mandate, party);
        // Its lines are drawn as those of an intent at its price.
        SettledIntent memory priced = _intent(account, nonce, 1_000_000, TICK_MAX);
        mandate.lines = new Line[](1 + seed % 3);
        for (uint256 i = 0; i < mandate.lines.length; ++i) {
            mandate.lines[i] = _makeLine(_random(seed, bytes32(i)), priced, offers);
        }
        if (_random(seed, "bad") % 16 == 0) mandate.limit += 1;
    }

    function _makeLine(uint256 seed, SettledIntent memory intent, SettledOffer[] memory offers)
        private
        returns (Line memory line)
    {
        line.fill = bytes32(seed);
        line.offer = uint16(_random(seed, "offer") % offers.length);
        SettledOffer memory offer = offers[line.offer];
        line.units = uint64(_random(seed, "units") % 40);
        line.delivered = uint64(_random(seed, "delivered") % (uint256(line.units) + 2));
        uint256 least = uint256(line.delivered) * offer.limit / offer.units;
        uint256 most = uint256(line.delivered) * intent.limit / intent.units;
        // Anywhere from one below the seller's limit to one above the buyer's.
        uint256 width = most > least ? most - least : 0;
        uint256 payment = least + _random(seed, "payment") % (width + 3);
        line.payment = uint96(payment == 0 ? 0 : payment - 1);
        _fills[line.fill] = Fill(intent.nonce, offer.nonce, false);
    }

    /// @dev Drawn once for each nonce.
    function _terms(address account, uint64 nonce, uint256 seed)
        private
        returns (uint64 units, uint96 limit)
    {
        if (_units[account][nonce] == 0) {
            _units[account][nonce] = uint64(50 + _random(seed, "of nonce") % 500);
            _limit[account][nonce] = uint96(_random(seed, "limit of nonce") % 20_000);
        }
        return (_units[account][nonce], _limit[account][nonce]);
    }

    function _random(uint256 seed, bytes32 purpose) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, purpose)));
    }

    function _address(uint256 who) private view returns (address) {
        who %= TRADERS + 1;
        return who == TRADERS ? address(_wallet) : _traders[who].addr;
    }

    // ------------------------------------------------------------------ what must hold

    function checkBalances() external view {
        uint256 sum;
        for (uint256 i = 0; i <= TRADERS; ++i) {
            address account = _address(i);
            uint256 balance = settlement.accountOf(account).balance;
            vm.assertEq(balance, uint256(ghostBalance[account]), "balance as rebuilt from events");
            sum += balance;
        }
        vm.assertEq(sum, usdc.balanceOf(address(settlement)), "balances sum to what is held");
        vm.assertEq(sum, ghostHeld, "only deposits and withdrawals change what is held");
    }

    function checkLimits() external view {
        for (uint256 i = 0; i <= TRADERS; ++i) {
            address account = _address(i);
            for (uint64 nonce = 0; nonce < NONCES; ++nonce) {
                uint256 units = _units[account][nonce];
                if (units == 0) continue;
                uint256 settled = ghostUnits[account][nonce];
                vm.assertEq(settlement.settledUnits(account, nonce), settled, "counter");
                vm.assertLe(settled, units, "overfilled");
                uint256 delivered = ghostDelivered[account][nonce];
                uint256 limit = _limit[account][nonce];
                uint256 paid = ghostPaid[account][nonce];
                if (nonce < NONCES / 2) {
                    vm.assertLe(paid, delivered * limit * 2 / units, "paid above the limit");
                } else {
                    // Each fill rounds down once: less than an atom a fill.
                    vm.assertLe(
                        delivered * limit / units, paid + ghostFills[account][nonce], "sold below"
                    );
                }
            }
        }
    }

    function checkMandates() external view {
        for (uint256 i = 0; i <= TRADERS; ++i) {
            address account = _address(i);
            for (uint64 nonce = NONCES; nonce < NONCES + MANDATES; ++nonce) {
                uint256 paid = ghostPaid[account][nonce];
                vm.assertEq(settlement.settledUnits(account, nonce), paid, "atoms counted");
                vm.assertLe(paid, _limit[account][nonce], "above the mandate's limit");
                uint256 delivered = ghostDelivered[account][nonce];
                vm.assertLe(paid, delivered * TICK_MAX / 1_000_000, "above the mandate's price");
            }
        }
    }

    function checkSessions() external view {
        IEscrow.AccountView memory wallet = settlement.accountOf(address(_wallet));
        vm.assertLe(ghostSession, 500_000, "spent above the cap");
        vm.assertEq(_charged(address(_wallet), _agent), ghostSession, "charged is what was paid");
        vm.assertEq(operator.sessionOf(operatorKey.addr).spent, ghostOperator, "moved");
        vm.assertLe(wallet.epoch, 1000);
    }

    function checkBatches() external view {
        vm.assertEq(replaysRefused, batchesSettled, "each batch once");
        for (uint64 number = 0; number < batchNumber; ++number) {
            vm.assertTrue(settlement.isBatchSettled(number));
        }
        vm.assertFalse(settlement.isBatchSettled(batchNumber));
    }
}

contract SettlementInvariantTest is MarketTest {
    MarketHandler private _handler;

    function setUp() public override {
        _handler = new MarketHandler();
        _target(address(_handler));
    }

    /// @dev Only the market's actions, not the handler's checks and views.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](11);
        selectors[0] = MarketHandler.deposit.selector;
        selectors[1] = MarketHandler.requestWithdrawal.selector;
        selectors[2] = MarketHandler.withdraw.selector;
        selectors[3] = MarketHandler.cancel.selector;
        selectors[4] = MarketHandler.cancelAll.selector;
        selectors[5] = MarketHandler.wait_.selector;
        selectors[6] = MarketHandler.revokeSession.selector;
        for (uint256 i = 7; i < 11; ++i) {
            selectors[i] = MarketHandler.settle.selector;
        }
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(_handler), selectors);
    }

    /// @dev All in one campaign: what costs is the calls, and after each of them all of it is looked at.
    function invariant_verifiedBooksHold() public view {
        _handler.checkBalances();
        _handler.checkLimits();
        _handler.checkMandates();
        _handler.checkSessions();
        _handler.checkBatches();
    }

    /// @dev The canary: runs in which nothing settles would prove nothing.
    function test_handler_settlesAndSkips() public {
        for (uint256 i = 0; i < 5; ++i) {
            _handler.deposit(i, 1e6);
        }
        for (uint256 i = 0; i < 64; ++i) {
            _handler.settle(uint256(keccak256(abi.encode("canary", i))));
        }
        _handler.checkBalances();
        _handler.checkLimits();
        _handler.checkMandates();
        _handler.checkSessions();
        _handler.checkBatches();
        vm.assertGe(_handler.linesSettled(), 20, "too few lines settled");
        vm.assertLe(_handler.linesSettled(), 300, "too few lines skipped");
        vm.assertGe(_handler.ghostMandates(), 1, "no mandate paid");
        vm.assertGe(_handler.ghostSession(), 1, "no session paid");
    }
}
