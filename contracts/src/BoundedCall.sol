// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Questions to contracts that may be hostile
/// @dev Solidity's own calls copy whatever comes back. These forward a fixed amount of gas and look
/// at one returned word, so the most a hostile callee can burn is the gas it was given.
library BoundedCall {
    /// @return whether `target`, asked without the right to write, answered with exactly `magic`
    function answers(address target, uint256 gasLimit, bytes memory data, bytes4 magic)
        internal
        view
        returns (bool)
    {
        bool success;
        bytes32 word;
        // Memory-safe: output goes to the scratch space 0x00-0x1f. The word is only looked at when
        // the callee returned at least 32 bytes, so stale scratch is never read as an answer.
        assembly ("memory-safe") {
            success := staticcall(gasLimit, target, add(data, 0x20), mload(data), 0x00, 0x20)
            success := and(success, gt(returndatasize(), 0x1f))
            word := mload(0x00)
        }
        return success && word == bytes32(magic);
    }
}
