// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title What every way to settle shares
interface ILedger {
    error SettlementZeroAddress();
    error SettlementExitDelayInvalid(uint40 exitDelay);
    error SettlementCallerNotOperator(address caller);
    /// @dev Too little gas to ask a contract account fairly: the fill would have been blamed for it.
    error BatchGasTooLow(uint256 gasLeft);

    function operator() external view returns (address);

    /// @notice The ERC-20 that every amount is in.
    function asset() external view returns (address);

    /// @notice Seconds between asking for and getting a withdrawal or a cancellation; also the
    /// grace in which a document can be settled after its `validUntil`.
    function exitDelay() external view returns (uint40);
}
