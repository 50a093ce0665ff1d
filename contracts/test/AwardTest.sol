// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {Batch, Line, SettledIntent, SettledMandate} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title An award, and batches of fills that it is for
/// @dev The buyer's limit is 2 atoms a unit, the seller's 1. Awarded are 10 units at 1.8, 0.5 of it the
/// solver's.
abstract contract AwardTest is MarketTest {
    uint64 internal constant TICK = 1_800_000;
    uint64 internal constant CHARGE = 500_000;
    uint64 internal constant DEADLINE = 1000;
    bytes32 internal constant FILL = "fill";

    Party internal solver;

    function setUp() public virtual override {
        super.setUp();
        solver = _party("solver");
        _fund(buyer.addr, 1000);
    }

    function _fill() internal view returns (AwardedFill memory) {
        return AwardedFill(0, buyer.addr, 1, seller.addr, 1, 10, TICK, CHARGE);
    }

    function _one(AwardedFill memory fill) internal pure returns (AwardedFill[] memory fills) {
        fills = new AwardedFill[](1);
        fills[0] = fill;
    }

    function _award(AwardedFill[] memory fills) internal view returns (SignedAward memory) {
        return SignedAward(3, solver.addr, Awards.rootOf(fills), DEADLINE, CONTRACT, "");
    }

    function _signedAward(AwardedFill[] memory fills)
        internal
        view
        returns (SignedAward memory award)
    {
        award = _award(fills);
        award.signature = _sign(operatorOwner, Awards.digestOf(award, settlement));
    }

    function _settleAwarded(Line memory line) internal {
        _settleAwarded(_one(_fill()), line);
    }

    function _settleAwarded(AwardedFill[] memory fills, Line memory line) internal {
        _settleAwarded(_signedAward(fills), fills, _list(line));
    }

    function _settleAwarded(
        SignedAward memory award,
        AwardedFill[] memory fills,
        Line[] memory lines
    ) internal {
        SettledIntent memory intent = _intentOf(1, lines[0]);
        intent.lines = lines;
        _submit(award, fills, _list(intent), new SettledMandate[](0));
    }

    function _encode(
        SignedAward memory award,
        AwardedFill[] memory fills,
        SettledIntent[] memory intents
    ) internal view returns (bytes memory) {
        return Batch.encode(
            _list(_offerOf(1)),
            intents,
            new SettledMandate[](0),
            uint16(fills.length),
            Awards.encode(award, fills)
        );
    }

    function _submit(
        SignedAward memory award,
        AwardedFill[] memory fills,
        SettledIntent[] memory intents,
        SettledMandate[] memory mandates
    ) internal {
        bytes memory awards = Awards.encode(award, fills);
        _run(Batch.encode(_list(_offerOf(1)), intents, mandates, uint16(fills.length), awards));
    }

    function _run(bytes memory batch) internal {
        vm.recordLogs();
        vm.prank(address(operator));
        settlement.settle(batchNumber++, keccak256("batch"), batch);
        _noteOutcomes();
    }

    /// @dev Of what the buyer paid, the solver's part is its own, and the rest is the seller's.
    function _assertBalances(uint256 paid, uint256 reward) internal view {
        vm.assertEq(_balance(buyer.addr), 1000 - paid);
        vm.assertEq(_balance(seller.addr), paid - reward);
        vm.assertEq(_balance(solver.addr), reward);
    }
}
