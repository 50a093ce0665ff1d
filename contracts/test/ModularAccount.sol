// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {Account} from "@openzeppelin/contracts/account/Account.sol";
import {AccountERC7579} from "@openzeppelin/contracts/account/extensions/draft-AccountERC7579.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {
    AbstractSigner
} from "@openzeppelin/contracts/utils/cryptography/signers/AbstractSigner.sol";
import {SignerECDSA} from "@openzeppelin/contracts/utils/cryptography/signers/SignerECDSA.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";

/// @dev OpenZeppelin's modular account with a plain key as its owner, as its guide puts it together.
contract ModularAccount is AccountERC7579, ERC7739, SignerECDSA {
    IEntryPoint private immutable _ENTRY_POINT;

    constructor(IEntryPoint entryPoint_, address signer_)
        EIP712("ModularAccount", "1")
        SignerECDSA(signer_)
    {
        _ENTRY_POINT = entryPoint_;
    }

    function entryPoint() public view override(Account) returns (IEntryPoint) {
        return _ENTRY_POINT;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature)
        public
        view
        override(AccountERC7579, ERC7739)
        returns (bytes4)
    {
        bytes4 magic = ERC7739.isValidSignature(hash, signature);
        return magic == IERC1271.isValidSignature.selector
            ? magic
            : AccountERC7579.isValidSignature(hash, signature);
    }

    function _rawSignatureValidation(bytes32 hash, bytes calldata signature)
        internal
        view
        override(AbstractSigner, AccountERC7579, SignerECDSA)
        returns (bool)
    {
        return SignerECDSA._rawSignatureValidation(hash, signature);
    }
}
