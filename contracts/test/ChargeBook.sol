// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Every charge that a cap let pass, and when
library ChargeBook {
    struct Charge {
        uint256 time;
        uint256 amount;
    }

    function add(Charge[] storage book, uint256 amount) internal {
        book.push(Charge(block.timestamp, amount));
    }

    /// @dev Whoever takes over from a key takes over what it was charged.
    function takeOver(Charge[] storage book, Charge[] storage old) internal {
        for (uint256 i = 0; i < old.length; ++i) {
            book.push(old[i]);
        }
    }

    /// @return sum of what was charged within `period` seconds before now, both ends included
    function sumWithin(Charge[] storage book, uint256 period) internal view returns (uint256 sum) {
        for (uint256 i = book.length; i > 0; --i) {
            if (book[i - 1].time + period < block.timestamp) break;
            sum += book[i - 1].amount;
        }
    }
}
