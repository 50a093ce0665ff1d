// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title What a rolling cap is held against: every charge that it let pass, and when
/// @dev Also the cap that everyone else has, which starts anew at each full period.
contract CapHistory {
    struct Charge {
        uint256 time;
        uint256 amount;
    }

    Charge[] private _charges;
    mapping(uint256 period => uint256) private _tumbling;

    function add(uint256 time, uint256 amount) external {
        _charges.push(Charge(time, amount));
    }

    function count() external view returns (uint256) {
        return _charges.length;
    }

    /// @dev What was charged at `from` or later.
    function sumSince(uint256 from) public view returns (uint256 sum) {
        for (uint256 i = 0; i < _charges.length; ++i) {
            if (_charges[i].time >= from) sum += _charges[i].amount;
        }
    }

    /// @dev The most that was charged in any window of `period` seconds, both ends of it included:
    /// windows that begin with a charge are enough.
    function worst(uint256 period) external view returns (uint256 most) {
        for (uint256 i = 0; i < _charges.length; ++i) {
            uint256 from = _charges[i].time;
            uint256 sum;
            for (uint256 j = i; j < _charges.length && _charges[j].time <= from + period; ++j) {
                sum += _charges[j].amount;
            }
            if (sum > most) most = sum;
        }
    }

    /// @dev A cap by the calendar: `cap` in each of the periods that begin at multiples of `period`.
    function chargeTumbling(uint256 cap, uint256 period, uint256 amount, uint256 time)
        external
        returns (bool)
    {
        uint256 spent = _tumbling[time / period] + amount;
        if (spent > cap) return false;
        _tumbling[time / period] = spent;
        _charges.push(Charge(time, amount));
        return true;
    }
}
