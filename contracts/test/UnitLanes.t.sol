// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {UnitLanes} from "../src/UnitLanes.sol";
import {Test} from "./Test.sol";

contract UnitLanesTest is Test {
    using UnitLanes for uint256;

    /// @dev Any history of a word's four lanes reads back as four separate counters.
    function testFuzz_add_lanesAreIndependent(uint64[4] memory units, uint256 order, uint8 flags)
        public
        pure
    {
        uint256 word;
        for (uint256 i = 0; i < 4; ++i) {
            uint256 lane = (i + order % 4) % 4;
            units[lane] = uint64(units[lane] & UnitLanes.UNITS_MAX);
            word = word.add(lane, units[lane] / 2);
            if (flags >> lane & 1 == 1) word = word.flag(lane);
            word = word.add(lane, units[lane] - units[lane] / 2);
        }
        for (uint256 lane = 0; lane < 4; ++lane) {
            vm.assertEq(word.unitsOf(lane), units[lane]);
            vm.assertTrue(word.isFlagged(lane) == (flags >> lane & 1 == 1));
        }
    }

    function testFuzz_unitsLeft(uint64 settled, uint64 units, uint64 nonce) public pure {
        settled = uint64(settled & UnitLanes.UNITS_MAX);
        uint256 word = uint256(0).add(nonce, settled);
        uint256 left = word.unitsLeft(nonce, units);
        if (settled >= units) vm.assertEq(left, 0);
        else if (units <= UnitLanes.UNITS_MAX) vm.assertEq(left, units - settled);
        else vm.assertEq(left, UnitLanes.UNITS_MAX - settled);
    }

    function testFuzz_keyOf_isUnique(address one, uint64 nonce, address other, uint64 otherNonce)
        public
        pure
    {
        bool isSame = one == other && nonce / 4 == otherNonce / 4;
        vm.assertTrue((UnitLanes.keyOf(one, nonce) == UnitLanes.keyOf(other, otherNonce)) == isSame);
    }
}
