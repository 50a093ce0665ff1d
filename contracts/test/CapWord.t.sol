// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "../src/CapWord.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {CapHistory} from "./CapHistory.sol";
import {Test} from "./Test.sol";

contract CapWordTest is Test {
    using CapWord for uint256;

    uint256 private constant NOW = 1_800_000_000;
    uint256 private constant DAY = 1 days;

    CapHistory private _history;

    function setUp() public {
        _history = new CapHistory();
    }

    // ------------------------------------------------------------------ any window

    /// @dev In every window of the period's length, what is charged is at most the cap; and whoever is
    /// refused would have exceeded it in 9/8 of the period, but for the named roundings.
    function testFuzz_charge_holdsInEveryWindow(uint256 seed) public {
        uint256 cap = _bound(_random(seed, "cap"), 0, 1 << _random(seed, "size") % 73);
        uint256 period = _bound(_random(seed, "period"), 1, 40 days);
        uint256 word = uint256(0).withCap(cap, period, NOW);
        _assertLe(word.capOf(), cap, "never above what was asked for");
        _assertGe(word.periodOf(), period, "never shorter than what was asked for");
        uint256 time = NOW;
        for (uint256 i = 0; i < 48; ++i) {
            time += _step(seed, i, period);
            uint256 amount = _amount(seed, i, cap);
            uint256 left = word.leftOf(time);
            bool charged;
            (charged, word) = word.charge(amount, time);
            vm.assertTrue(charged == (amount <= left || amount == 0), "what is left is exact");
            if (charged) _history.add(time, amount);
            else _assertRefusalIsDue(word, amount, time);
        }
        vm.assertLe(_history.worst(period), cap, "a window of the period above the cap");
    }

    /// @dev Nine units, of ended buckets, and a part for each charge; and all that time may add.
    function _assertRefusalIsDue(uint256 word, uint256 amount, uint256 time) private view {
        uint256 from = time - word.periodOf() * 9 / 8;
        uint256 slack = word.capOf() / 1000 * 9 + _history.count() * (word.capOf() / 2_000_000 + 1);
        uint256 exceeded = _history.sumSince(from) + amount + slack;
        if (word.capOf() > 1) vm.assertGe(exceeded, word.capOf(), "refused without need");
    }

    /// @dev What gets twice the cap out of a calendar's periods, within a second, gets it once here.
    function test_charge_atThePeriodsEdge_isRefused() public {
        uint256 edge = NOW / DAY * DAY + DAY;
        vm.assertTrue(_history.chargeTumbling(1e9, DAY, 1e9, edge - 1));
        vm.assertTrue(_history.chargeTumbling(1e9, DAY, 1e9, edge));
        vm.assertEq(_history.worst(1), 2e9, "a tumbling window lets twice its cap through");

        uint256 word = uint256(0).withCap(1e9, DAY, NOW);
        bool charged;
        (charged, word) = word.charge(1e9, edge - 1);
        vm.assertTrue(charged);
        // Until the whole period has passed, and on from any bucket's edge.
        for (uint256 later = edge; later < edge + DAY; later += DAY / 48) {
            (charged,) = word.charge(1, later);
            vm.assertFalse(charged);
        }
        (charged,) = word.charge(1e9, edge - 1 + DAY + DAY / 8);
        vm.assertTrue(charged, "after 9/8 of the period all of it is there again");
    }

    /// @dev The whole of a cap, spent evenly, comes back evenly: there is no edge to wait for.
    function test_charge_spentEvenly_comesBackEvenly() public pure {
        uint256 word = uint256(0).withCap(900, DAY, NOW);
        uint256 start = NOW / (DAY / 8) * (DAY / 8);
        bool charged;
        for (uint256 i = 0; i < 64; ++i) {
            (charged, word) = word.charge(100, start + i * DAY / 8);
            vm.assertTrue(charged, "nine buckets of 100");
            (charged,) = word.charge(1, start + (i + 1) * DAY / 8 - 1);
            vm.assertTrue(charged == (i < 8), "and no atom more");
        }
    }

    /// @dev Many small charges cost a small cap no more than they are: nothing is rounded away.
    function testFuzz_charge_smallCapsAreExact(uint256 cap, uint8[32] memory amounts) public pure {
        cap = _bound(cap, 1, 2047);
        uint256 word = uint256(0).withCap(cap, DAY, NOW);
        vm.assertEq(word.capOf(), cap);
        uint256 spent;
        for (uint256 i = 0; i < amounts.length; ++i) {
            uint256 time = NOW + i * DAY / 40;
            bool charged;
            (charged, word) = word.charge(amounts[i], time);
            vm.assertTrue(charged == (amounts[i] == 0 || spent + amounts[i] <= cap));
            if (charged) spent += amounts[i];
            vm.assertEq(word.spentOf(time), spent);
        }
    }

    /// @dev A bucket filled to its last bit keeps all of it when it ends.
    function testFuzz_charge_fullBucketEnds(uint256 cap, uint256 wait) public pure {
        cap = _bound(cap, 1, CapWord.CAP_MAX);
        wait = _bound(wait, 0, DAY);
        uint256 word = uint256(0).withCap(cap, DAY, NOW);
        uint256 most = word.leftOf(NOW);
        vm.assertEq(most, word.capOf(), "the whole cap is left");
        bool charged;
        (charged, word) = word.charge(most, NOW);
        vm.assertTrue(charged);
        vm.assertEq(word.leftOf(NOW + wait), 0);
        vm.assertGe(word.spentOf(NOW + wait), most, "lost when the bucket ended");
        vm.assertEq(word.leftOf(NOW + DAY + DAY / 8), most);
    }

    /// @dev More than any cap, up to the largest integer, is refused and not wrapped.
    function testFuzz_charge_hugeAmountIsRefused(uint256 amount, uint256 cap) public pure {
        uint256 word = uint256(0).withCap(cap, DAY, NOW);
        amount = _bound(amount, word.capOf() + 1, type(uint256).max);
        (bool charged, uint256 after_) = word.charge(amount, NOW);
        vm.assertFalse(charged);
        vm.assertEq(after_, word);
    }

    /// @dev An amount whose shift to parts would leave nothing of it.
    function test_charge_amountThatWouldWrap_isRefused() public pure {
        uint256 word = uint256(0).withCap(100, DAY, NOW);
        for (uint256 bits = 64; bits < 256; ++bits) {
            (bool charged, uint256 wordAfter) = word.charge(1 << bits, NOW);
            vm.assertFalse(charged);
            vm.assertEq(wordAfter, word);
        }
    }

    /// @dev What is refused changes nothing, and a charge nothing but ring and index.
    function testFuzz_charge_keepsTheSession(uint256 seed) public pure {
        uint256 word = _session(uint256(0).withCap(1e9, DAY, NOW), seed);
        (bool charged, uint256 charged_) = word.charge(_random(seed, "amount") % 2e9, NOW + 1);
        if (!charged) vm.assertEq(charged_, word);
        _assertSession(charged_, seed);
        vm.assertEq(charged_.capOf(), word.capOf());
        vm.assertEq(charged_.periodOf(), word.periodOf());
    }

    /// @dev Time that goes back frees nothing, and what is charged then counts like the last charge.
    function testFuzz_charge_timeGoesBack(uint256 back) public pure {
        uint256 word = uint256(0).withCap(1000, DAY, NOW);
        (, word) = word.charge(600, NOW);
        back = _bound(back, 0, NOW);
        bool charged;
        (charged,) = word.charge(401, NOW - back);
        vm.assertFalse(charged);
        (charged, word) = word.charge(400, NOW - back);
        vm.assertTrue(charged);
        vm.assertEq(word.leftOf(NOW + DAY), 0);
    }

    /// @dev Beyond the bits of the index, in 2097 at the earliest, nothing is charged.
    function test_charge_beyondTheIndex_isRefused() public pure {
        uint256 word = uint256(0).withCap(1000, 240, NOW);
        uint256 end = uint256(1 << 27) * 30;
        bool charged;
        (charged,) = word.charge(1, end - 1);
        vm.assertTrue(charged);
        (charged,) = word.charge(1, end);
        vm.assertFalse(charged);
        vm.assertEq(word.leftOf(end), 0);
    }

    /// @dev A word of zeros, and one whose cap was lifted, count nothing and stay as they are.
    function testFuzz_charge_withoutCap(uint256 seed, uint256 amount) public pure {
        uint256 word = _session(0, seed);
        (bool charged, uint256 after_) = word.charge(amount, NOW);
        vm.assertTrue(charged);
        vm.assertEq(after_, word);
        vm.assertEq(word.leftOf(NOW), type(uint256).max);
    }

    // ------------------------------------------------------------------ setting the cap

    /// @dev Whatever cap and period are set, in whatever order, what was charged and still counts under
    /// the old ones counts under the new ones, for as long as it would have within their period.
    function testFuzz_withCap_neverLowersWhatWasSpent(uint256 seed) public pure {
        uint256 time = NOW;
        uint256 word;
        for (uint256 i = 0; i < 12; ++i) {
            uint256 cap = 1 << _random(seed, bytes32(i)) % 73;
            uint256 period = 240 + _random(seed, bytes32(i + 100)) % 10 days;
            uint256 counted = word.spentOf(time);
            if (i % 3 == 2) word = word.withoutCap();
            word = word.withCap(cap, period, time);
            _assertLe(word.capOf(), cap, "above what was asked for");
            // Spent more than any cap is cut at the largest one.
            _assertGe(
                word.spentOf(time), counted < CapWord.CAP_MAX ? counted : CapWord.CAP_MAX, "lowered"
            );
            (, word) = word.charge(_random(seed, bytes32(i + 200)) % cap, time);
            time += _random(seed, bytes32(i + 300)) % period;
        }
    }

    /// @dev While the period stays, every window of its length holds no more than the largest of the
    /// caps that were set: setting one, lower or higher, gives nothing back.
    function testFuzz_withCap_holdsInEveryWindow(uint256 seed) public {
        uint256 time = NOW;
        uint256 word;
        uint256 largest;
        for (uint256 i = 0; i < 48; ++i) {
            if (i % 4 == 0) {
                uint256 cap = _random(seed, bytes32(i)) % (1 << (10 + _random(seed, "size") % 30));
                word = word.withCap(cap, DAY, time);
                if (cap > largest) largest = cap;
            }
            time += _step(seed, i, DAY);
            uint256 amount = _amount(seed, i, largest);
            bool charged;
            (charged, word) = word.charge(amount, time);
            if (charged) {
                _history.add(time, amount);
                vm.assertLe(
                    _history.sumSince(time - DAY), _max(word.capOf(), amount == 0 ? largest : 0)
                );
            }
        }
        vm.assertLe(_history.worst(DAY), largest, "a window above every cap");
    }

    /// @dev The same cap again, even at every charge, changes nothing.
    function testFuzz_withCap_again_isTheSame(uint256 seed) public pure {
        uint256 cap = 1 + _random(seed, "cap") % (1 << _random(seed, "size") % 73);
        uint256 word = uint256(0).withCap(cap, DAY, NOW);
        (, word) = word.charge(_random(seed, "amount") % (cap + 1), NOW);
        vm.assertEq(word.withCap(cap, DAY, NOW), word);
        vm.assertEq(word.withoutCap().withCap(cap, DAY, NOW), word);
    }

    /// @dev A cap far below what was spent keeps both; granted again as it was, nothing is left.
    function test_withCap_farBelowSpent_keepsIt() public pure {
        uint256 word = uint256(0).withCap(1e15, DAY, NOW);
        (, word) = word.charge(1e15 / 2, NOW);
        word = word.withCap(1, DAY, NOW);
        vm.assertLe(word.capOf(), 1);
        vm.assertEq(word.leftOf(NOW), 0);
        word = word.withCap(1e15 / 2, DAY, NOW);
        vm.assertEq(word.leftOf(NOW), 0);
    }

    function testFuzz_withCap_keepsTheSession(uint256 seed, uint256 cap) public pure {
        uint256 word = _session(0, seed).withCap(cap, DAY, NOW);
        _assertSession(word, seed);
        _assertSession(word.withoutCap(), seed);
        vm.assertFalse(word.withoutCap().isCapped());
        vm.assertTrue(word.isCapped());
    }

    /// @dev A cap of up to four million atoms, or a larger one that is round, is kept as it is; any
    /// other loses less than one in two million.
    function testFuzz_withCap_roundCapsAreExact(uint256 cap) public pure {
        uint256 small = _bound(cap, 0, 4_192_256);
        vm.assertEq(uint256(0).withCap(small, DAY, NOW).capOf(), small);
        uint256 round = _bound(cap, 1, 268) * 1e6;
        vm.assertEq(uint256(0).withCap(round, DAY, NOW).capOf(), round);
        cap = _bound(cap, 0, CapWord.CAP_MAX);
        vm.assertGe(uint256(0).withCap(cap, DAY, NOW).capOf(), cap - cap / 2e6, "rounded further");
    }

    /// @dev No seconds, or more than are kept.
    function testFuzz_RevertIf_withCap_periodInvalid(uint256 period) public {
        period = _bound(period, CapWord.PERIOD_MAX_S + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(CapWord.CapPeriodInvalid.selector, period));
        this.withCap(period);
        vm.expectRevert(abi.encodeWithSelector(CapWord.CapPeriodInvalid.selector, 0));
        this.withCap(0);
        vm.assertEq(this.withCap(CapWord.PERIOD_MAX_S).periodOf(), CapWord.PERIOD_MAX_S);
    }

    function withCap(uint256 period) external pure returns (uint256) {
        return uint256(0).withCap(1, period, NOW);
    }

    // ------------------------------------------------------------------ the bearer

    /// @dev The short way, by which ledgers ask first, and the one that tells why not say the same; and
    /// whoever asks for no permission goes the long way.
    function testFuzz_isLive_isWhatItsVerdictAllows(uint256 seed) public pure {
        uint8 held = uint8(_random(seed, "held"));
        uint8 permission = uint8(_random(seed, "permission"));
        uint24 epoch = uint24(_random(seed, "epoch") % 3);
        uint256 graceS = _random(seed, "grace") % 30;
        uint256 word = uint256(0).withSession(uint32(NOW), epoch, held, 0);
        if (seed % 3 == 0) permission &= held;
        uint24 asked = seed % 4 == 0 ? uint24(_random(seed, "asked") % 3) : epoch;
        uint256 time = NOW - 30 + _random(seed, "time") % 100;
        bool isAllowed = SessionPolicy.sessionVerdict(word, permission, asked, time, graceS)
            == SessionPolicy.Verdict.Allowed;
        bool isLive = word.isLive(permission, asked, time, graceS);
        vm.assertTrue(isLive == (isAllowed && permission != 0), "not the same");
        vm.assertFalse(word.isLive(0, epoch, NOW, graceS));
    }

    /// @dev Each field keeps to its bits, whatever is in the others.
    function testFuzz_withSession_fieldsAreIndependent(uint256 word, uint256 seed) public pure {
        _assertSession(_session(word, seed), seed);
        _assertSession(_session(word, seed ^ 1).withPermissions(0).withTeam(0), 0, seed ^ 1);
        uint8 permissions = uint8(_random(seed, "other permissions"));
        uint16 team = uint16(_random(seed, "other team") % (CapWord.TEAM_MAX + 1));
        uint256 changed = _session(word, seed).withPermissions(permissions).withTeam(team);
        vm.assertEq(changed.permissionsOf(), permissions);
        vm.assertEq(changed.teamOf(), team);
        vm.assertEq(changed.expiresAtOf(), uint32(_random(seed, "expires")));
        vm.assertEq(changed.sessionEpochOf(), uint24(_random(seed, "epoch")));
        vm.assertEq(changed << 76, word << 76, "the cap stays");
    }

    // ------------------------------------------------------------------ private

    function _session(uint256 word, uint256 seed) private pure returns (uint256) {
        return word.withSession(
            uint32(_random(seed, "expires")),
            uint24(_random(seed, "epoch")),
            uint8(_random(seed, "permissions")),
            uint16(_random(seed, "team") % (CapWord.TEAM_MAX + 1))
        );
    }

    function _assertSession(uint256 word, uint256 seed) private pure {
        vm.assertEq(word.permissionsOf(), uint8(_random(seed, "permissions")));
        vm.assertEq(word.teamOf(), _random(seed, "team") % (CapWord.TEAM_MAX + 1));
        _assertSession(word, word.permissionsOf(), seed);
    }

    function _assertSession(uint256 word, uint8 permissions, uint256 seed) private pure {
        vm.assertEq(word.permissionsOf(), permissions);
        vm.assertEq(word.expiresAtOf(), uint32(_random(seed, "expires")));
        vm.assertEq(word.sessionEpochOf(), uint24(_random(seed, "epoch")));
    }

    /// @dev Often none, often a bucket's length, sometimes more than the ring holds.
    function _step(uint256 seed, uint256 i, uint256 period) private pure returns (uint256) {
        uint256 dice = _random(seed, keccak256(abi.encode("step", i)));
        if (dice % 4 == 0) return 0;
        if (dice % 4 == 1) return (dice >> 8) % (period / 4 + 1);
        if (dice % 4 == 2) return (period + 7) / 8;
        return dice % 16 == 3 ? period : (dice >> 8) % (period / 8 + 1);
    }

    /// @dev Often small, often most of the cap, sometimes more than it.
    function _amount(uint256 seed, uint256 i, uint256 cap) private pure returns (uint256) {
        uint256 dice = _random(seed, keccak256(abi.encode("amount", i)));
        if (dice % 8 == 0) return (dice >> 8) % (cap + 2);
        if (dice % 8 == 1) return cap + (dice >> 8) % 3;
        return (dice >> 8) % (cap / 8 + 2);
    }

    function _random(uint256 seed, bytes32 purpose) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, purpose)));
    }

    function _max(uint256 left, uint256 right) private pure returns (uint256) {
        return left > right ? left : right;
    }

    /// @dev Without a call where it holds: these stand in loops.
    function _assertLe(uint256 left, uint256 right, string memory message) private pure {
        if (left > right) vm.assertLe(left, right, message);
    }

    function _assertGe(uint256 left, uint256 right, string memory message) private pure {
        if (left < right) vm.assertGe(left, right, message);
    }
}
