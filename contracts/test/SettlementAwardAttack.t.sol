// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "../src/BatchReader.sol";
import {CapWord} from "../src/CapWord.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {AwardTest} from "./AwardTest.sol";
import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {Line, SettledIntent, SettledMandate} from "./Batch.sol";

/// @title What an operator's key, or a solver with a session key, can try to have by an award
contract SettlementAwardAttackTest is AwardTest {
    using CapWord for uint256;

    Party private _key;

    function setUp() public override {
        super.setUp();
        _key = _party("session key");
    }

    // ------------------------------------------------------------------ fills of fills

    /// @dev A fill of a fill before it, which is none of the offers that are credited: its buyer would pay, and
    /// its seller get nothing, for units that no offer counts.
    function test_attack_awardedFillOfAnotherFill() public {
        AwardedFill[] memory fills = new AwardedFill[](2);
        (fills[0], fills[1]) = (_fill(), _fill());
        fills[0].charge = 0;
        fills[1].offer = 1;
        SettledIntent memory intent = _intentOf(1, _line(2, 10, 10, 18, FILL));
        bytes memory batch = _encode(_signedAward(fills), fills, _list(intent));
        vm.expectRevert(BatchReader.BatchMalformed.selector);
        vm.prank(address(operator));
        settlement.settle(0, "batch", batch);
        _assertBalances(0, 0);
    }

    /// @dev Whatever fills are of, and lines: what settles pays seller and solver all that its buyer pays, the
    /// seller no less than its limit, and is counted.
    function testFuzz_attack_fillsOfAnything(
        uint16[3] memory offers,
        uint64[3] memory charges,
        uint16[3] memory places
    ) public {
        AwardedFill[] memory fills = new AwardedFill[](3);
        SettledIntent memory intent = _signed(_intent(buyer.addr, 1, 100, 200), buyer);
        intent.lines = new Line[](3);
        for (uint16 i = 0; i < 3; ++i) {
            fills[i] = _fill();
            fills[i].offer = uint16(_bound(offers[i], 0, 1 + i));
            fills[i].charge = uint64(_bound(charges[i], 0, 900_000));
            intent.lines[i] = _line(uint16(_bound(places[i], 0, 4)), 10, 10, 18, FILL);
        }
        bytes memory batch = _encode(_signedAward(fills), fills, _list(intent));
        vm.prank(address(operator));
        try settlement.settle(0, "batch", batch) returns (uint256 paid) {
            uint256 sold = settlement.settledUnits(seller.addr, 1);
            vm.assertEq(_balance(buyer.addr), 1000 - paid, "what the buyer paid");
            vm.assertEq(_balance(seller.addr) + _balance(solver.addr), paid, "lost");
            vm.assertEq(sold, settlement.settledUnits(buyer.addr, 1), "not counted");
            vm.assertGe(_balance(seller.addr), sold, "below the seller's limit");
        } catch (bytes memory reason) {
            vm.assertTrue(bytes4(reason) == BatchReader.BatchMalformed.selector);
        }
    }

    // ------------------------------------------------------------------ rewards

    /// @dev A thief of a session key that is a solver too would be paid by awards whom the account pays nothing.
    function test_attack_rewardPastTheCounterparties() public {
        _listSellers(18);
        _settleOfSession(_signedAward(_one(_fill())));
        _assertSkipped(FILL, IVerified.SkipReason.SessionRefused);
        _setCap(solver.addr, 4);
        _settleOfSession(_signedAward(_one(_fill())));
        _assertSkipped(FILL, IVerified.SkipReason.SessionRefused);
        _assertBalances(0, 0);
        _setCap(solver.addr, 5);
        reasons[FILL] = IVerified.SkipReason.None;
        _settleOfSession(_signedAward(_one(_fill())));
        _assertSettled(FILL);
        _assertBalances(18, 5);
        vm.assertEq(_paidTo(seller.addr), 13);
        vm.assertEq(_paidTo(solver.addr), 5);
    }

    /// @dev A solver of its own offers is one counterparty.
    function test_settle_countsSolverThatSellsOnce() public {
        _listSellers(17);
        SignedAward memory award = _award(_one(_fill()));
        award.solver = seller.addr;
        award.signature = _sign(operatorOwner, Awards.digestOf(award, settlement));
        _settleOfSession(award);
        _assertSkipped(FILL, IVerified.SkipReason.SessionRefused);
        _setCap(seller.addr, 18);
        reasons[FILL] = IVerified.SkipReason.None;
        _settleOfSession(award);
        _assertSettled(FILL);
        _assertBalances(18, 0);
        vm.assertEq(_paidTo(seller.addr), 18);
    }

    /// @dev A reward below an atom is nobody's: floor(1 * 0.5).
    function test_settle_countsNoSolverWithoutReward() public {
        _listSellers(18);
        SettledIntent memory intent = _ofSession(_line(1, 10, 1, 1, FILL));
        _submit(_signedAward(_one(_fill())), _one(_fill()), _list(intent), new SettledMandate[](0));
        _assertSettled(FILL);
        _assertBalances(1, 0);
    }

    // ------------------------------------------------------------------ private

    /// @dev Keys of the buyer pay the seller alone, so much at most.
    function _listSellers(uint96 cap) private {
        _enable(buyer.addr, _key, 0);
        _setCap(seller.addr, cap);
        vm.prank(buyer.addr);
        _registry().setCounterpartyRule(SessionPolicy.CounterpartyRule.Listed);
    }

    function _setCap(address party, uint96 cap) private {
        vm.prank(buyer.addr);
        _registry().setCap(SessionPolicy.Bearer.Counterparty, uint160(party), cap, 1 days);
    }

    function _paidTo(address party) private view returns (uint256) {
        return _registry().wordOf(SessionPolicy.Bearer.Counterparty, buyer.addr, uint160(party))
            .spentOf(block.timestamp);
    }

    function _ofSession(Line memory line) private view returns (SettledIntent memory intent) {
        intent = _intent(buyer.addr, 1, 100, 200);
        intent.authority = SESSION;
        intent = _signed(intent, _key);
        intent.lines = _list(line);
    }

    function _settleOfSession(SignedAward memory award) private {
        SettledIntent memory intent = _ofSession(_line(1, 10, 10, 18, FILL));
        _submit(award, _one(_fill()), _list(intent), new SettledMandate[](0));
    }
}
