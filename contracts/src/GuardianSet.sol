// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {
    AbstractSigner
} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";
import {
    MultiSignerERC7913
} from "@openzeppelin/contracts/utils/cryptography/signers/MultiSignerERC7913.sol";
import {
    MultiSignerERC7913Weighted
} from "@openzeppelin/contracts/utils/cryptography/signers/MultiSignerERC7913Weighted.sol";

/// @title Guardians of an account: enough of them, by weight, sign for all
/// @notice Fixed when it is created; to change its members, an account's owner names another set. It
/// owns nothing and calls nothing. A guardian is an address, or verifier and key (ERC-7913). What they
/// sign is bound to the set and the chain by ERC-7739, and to one account by what an account asks.
contract GuardianSet is ERC7739, MultiSignerERC7913Weighted {
    /// @param threshold weight that has to sign; at most what all have together
    constructor(bytes[] memory guardians, uint64[] memory weights, uint64 threshold)
        EIP712("KeyfillGuardians", "1")
        MultiSignerERC7913Weighted(guardians, weights, threshold)
    {}

    function _rawSignatureValidation(bytes32 hash, bytes calldata signature)
        internal
        view
        override(AbstractSigner, MultiSignerERC7913)
        returns (bool)
    {
        return MultiSignerERC7913._rawSignatureValidation(hash, signature);
    }
}
