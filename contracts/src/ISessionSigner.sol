// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title A smart account whose session keys sign intents and offers
interface ISessionSigner {
    /// @notice Charges the session that signed `digest` with `amount` atoms, or reverts.
    /// @dev Called by the settlement contract only. Unlike ERC-1271 this may write, so that what a
    /// key signs for counts against the key's cap in the same transaction which moves the money.
    /// @param digest EIP-712 digest of the intent, bulk, mandate or offer; it already binds chain,
    /// settlement and account, which the settlement contract has read from what the digest is of
    /// @param signature 64 (EIP-2098) or 65 bytes by a session key
    /// @param amount atoms that the account pays if this call succeeds; 0 for an offer
    /// @return magic the selector of this function
    function consume(bytes32 digest, bytes calldata signature, uint256 amount)
        external
        returns (bytes4 magic);
}
