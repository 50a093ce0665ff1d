// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title The overload of ERC-3009 `receiveWithAuthorization` that takes any signature
/// @dev USDC has it since v2.2; it also serves contract wallets.
interface IERC3009Receiver {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}
