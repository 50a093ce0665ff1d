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
        account = predict(owner, salt);
        if (account.code.length != 0) return account;
        Clones.cloneDeterministic(implementation, _saltFor(owner, salt));
        ISessionAccount(account).initialize(owner);
        emit AccountCreated(account, owner);
    }

    /// @notice The address of `owner`'s account with this salt, created or not.
    function predict(address owner, bytes32 salt) public view returns (address) {
        return Clones.predictDeterministicAddress(implementation, _saltFor(owner, salt));
    }

    function _saltFor(address owner, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }
}
