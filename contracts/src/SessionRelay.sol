// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISessionAccount} from "./ISessionAccount.sol";

/// @title A grant and its first use in one transaction
/// @notice For anyone, and without any right: the account checks both signatures by itself.
contract SessionRelay {
    /// @notice Grants a session on the owner's signature, and carries out an order that its key signed.
    /// @dev Whoever has sent the grant before does not stop the order.
    function grantAndSpend(
        ISessionAccount account,
        ISessionAccount.Terms calldata terms,
        uint16 sequence,
        bytes calldata grantSignature,
        ISessionAccount.Order calldata order,
        bytes calldata orderSignature
    ) external {
        if (account.sessionOf(terms.key).sequence == sequence) {
            account.grantSigned(terms, sequence, grantSignature);
        }
        account.spendSigned(order, orderSignature);
    }
}
