// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Who owns an account, and who can give it to someone else when the owner's key is lost
/// @notice The owner is an address (a plain key or a contract) or a key of another kind, which an
/// ERC-7913 verifier checks: P-256, WebAuthn. A guardian, which is any such signer and usually a
/// {GuardianSet}, can hand the account to a new owner, after a delay in which the owner can say no.
interface IAccountOwner {
    error SessionAccountInitialized();
    error SessionAccountOwnerInvalid();
    error SessionAccountUnauthorized(address caller);
    error RecoveryDelayInvalid(uint32 delay);
    error RecoveryNotSigned();
    /// @dev None was started, or not long enough ago.
    error RecoveryNotReady(uint256 readyAt);

    /// @param owner the address, or the verifier of the key
    /// @param key empty if the owner is an address
    event OwnerChanged(address indexed owner, bytes key);
    event GuardianChanged(bytes guardian, uint32 delay);
    event RecoveryStarted(bytes signer, uint256 readyAt);
    event RecoveryCancelled();

    /// @notice Hands the account to another owner. Sessions stay; revoke them if that is not meant.
    /// @param signer an address (20 bytes), or ERC-7913 verifier (20 bytes) and key
    function changeOwner(bytes calldata signer) external;

    /// @notice For an EIP-7702 account: another owner beside the account's own key, once, on that key's
    /// word. Until then, and always for transactions that it sends, the account's own key is the owner.
    /// @param signature by the account's own key, 64 or 65 bytes
    function initializeDelegated(bytes calldata signer, bytes calldata signature) external;

    /// @notice Names who may recover the account, and ends a recovery that goes on.
    /// @param guardian an address (20 bytes) or verifier and key; empty for none
    /// @param delay in seconds, an hour to a year
    function setGuardian(bytes calldata guardian, uint32 delay) external;

    /// @notice Starts, or starts anew, the delay after which `signer` owns the account. Anyone may send
    /// it with the guardian's signature.
    function startRecovery(bytes calldata guardian, bytes calldata signer, bytes calldata signature)
        external;

    /// @notice The owner's veto. What the guardian signed before is no longer valid.
    function cancelRecovery() external;

    /// @notice Hands the account over and revokes all sessions. Anyone may send it.
    function finishRecovery(bytes calldata signer) external;

    /// @return the owner's address; zero if the owner is a key of another kind
    function owner() external view returns (address);

    /// @return the owner as an ERC-7913 signer
    function ownerSigner() external view returns (bytes memory);

    /// @return guardian keccak256 of the signer
    /// @return delay in seconds
    /// @return nonce that the next recovery has to be signed with
    /// @return signer keccak256 of who will own the account; zero if no recovery goes on
    /// @return readyAt the first second in which that can be
    function recoveryOf()
        external
        view
        returns (bytes32 guardian, uint32 delay, uint64 nonce, bytes32 signer, uint40 readyAt);
}
