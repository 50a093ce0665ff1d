// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC3009Receiver} from "./IERC3009Receiver.sol";

/// @title How money is paid in, and how much of it really arrives
/// @dev What arrives is what the balance has grown by, so callers keep out who would pay in meanwhile.
library Arrival {
    using SafeERC20 for IERC20;

    /// @notice Takes `amount` of the caller's, who has allowed it.
    /// @return arrived atoms, as many or less
    /// @return held atoms in all, with these
    function fromCaller(IERC20 token, uint256 amount)
        internal
        returns (uint256 arrived, uint256 held)
    {
        uint256 heldBefore = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        return _since(token, heldBefore);
    }

    /// @notice Takes `amount` by an ERC-3009 authorisation, whoever sends it.
    /// @param nonce of {nonceOf} whom it is paid in for
    /// @return arrived as of `fromCaller`
    /// @return held as of `fromCaller`
    function byAuthorization(
        IERC20 token,
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) internal returns (uint256 arrived, uint256 held) {
        uint256 heldBefore = token.balanceOf(address(this));
        IERC3009Receiver(address(token))
            .receiveWithAuthorization(
                from, address(this), amount, validAfter, validBefore, nonce, signature
            );
        return _since(token, heldBefore);
    }

    /// @return nonce of an authorisation to pay in for `account`, so that it is for nobody else
    function nonceOf(address account, bytes32 salt) internal pure returns (bytes32 nonce) {
        return keccak256(abi.encode(account, salt));
    }

    function _since(IERC20 token, uint256 heldBefore)
        private
        view
        returns (uint256 arrived, uint256 held)
    {
        held = token.balanceOf(address(this));
        arrived = held - heldBefore;
    }
}
