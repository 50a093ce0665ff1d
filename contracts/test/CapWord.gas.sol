// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "../src/CapWord.sol";
import {Test} from "./Test.sol";

contract CapWordGasTest is Test {
    using CapWord for uint256;

    uint256 private constant NOW = 1_800_000_000;
    uint256 private constant DAY = 1 days;

    /// @dev A charge into a ring that moves on, besides the reading and writing of the word.
    function test_charge_gas() public view {
        uint256 word = uint256(0).withCap(1e9, DAY, NOW);
        for (uint256 i = 0; i < 9; ++i) {
            (, word) = word.charge(1e6 + i, NOW + i * DAY / 8);
        }
        uint256 time = NOW + 11 * DAY / 8;
        uint256 before = gasleft();
        (bool charged, uint256 after_) = word.charge(1e6, time);
        uint256 used = before - gasleft();
        vm.assertTrue(charged && after_ != word);
        vm.assertLe(used, 700, "gas of a charge");
    }
}
