// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {ISessionAccount} from "./ISessionAccount.sol";

/// @title Creates session accounts at addresses known beforehand
/// @notice The owner is part of the address: whoever creates an account, it belongs to the owner
/// for whom the address was predicted.
contract SessionAccountFactory {
    error FactoryImplementationInvalid(address implementation);

    event AccountCreated(address indexed account, address indexed owner);

    address public immutable implementation;

    constructor(address implementation_) {
        // A clone of an address without code would accept every call and do nothing.
        require(implementation_.code.length != 0, FactoryImplementationInvalid(implementation_));
        implementation = implementation_;
    }

    /// @notice Creates the account, or does nothing if it exists.
    function createAccount(address owner, bytes32 salt) external returns (address account) {
        return _create(abi.encodePacked(owner), salt);
    }

    /// @notice The same for an owner with a key of another kind.
    /// @param signer ERC-7913 verifier (20 bytes) and key; or an address, as above
    function createAccountOf(bytes calldata signer, bytes32 salt)
        external
        returns (address account)
    {
        return _create(signer, salt);
    }

    /// @notice The address of `owner`'s account with this salt, created or not.
    function predict(address owner, bytes32 salt) external view returns (address) {
        return _predict(abi.encodePacked(owner), salt);
    }

    function predictOf(bytes calldata signer, bytes32 salt) external view returns (address) {
        return _predict(signer, salt);
    }

    function _create(bytes memory signer, bytes32 salt) private returns (address account) {
        account = _predict(signer, salt);
        if (account.code.length != 0) return account;
        Clones.cloneDeterministic(implementation, _saltFor(signer, salt));
        ISessionAccount(account).initialize(signer);
        emit AccountCreated(account, address(bytes20(signer)));
    }

    function _predict(bytes memory signer, bytes32 salt) private view returns (address) {
        return Clones.predictDeterministicAddress(implementation, _saltFor(signer, salt));
    }

    function _saltFor(bytes memory signer, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(signer, salt));
    }
}
