// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title The one way in which a plain signature is read
/// @dev 64 bytes (EIP-2098) or 65; an upper-half s is refused, so a document has one signature per
/// key and encoding. Nothing is keyed by signature bytes: replay is stopped by the unit counters.
library SignatureRecovery {
    uint256 private constant HALF_ORDER =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @return who signed `digest`; zero for anything that is not a signature
    function recover(bytes32 digest, bytes calldata signature) internal pure returns (address) {
        (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
        if (uint256(s) > HALF_ORDER) return address(0);
        return ecrecover(digest, v, r, s);
    }

    /// @param signatureAt where in calldata 64 bytes (EIP-2098) are
    /// @return signer as of `recover`
    function recoverAt(bytes32 digest, uint256 signatureAt) internal view returns (address signer) {
        bool isAnswered;
        // Memory-safe: scratch space, and beyond what is allocated. 200 gas less than the built-in function,
        // once for each buyer of a metered batch. Nothing is answered to what is no signature.
        assembly ("memory-safe") {
            let vs := calldataload(add(signatureAt, 0x20))
            let s := shr(1, shl(1, vs))
            let input := mload(0x40)
            mstore(input, digest)
            mstore(add(input, 0x20), add(shr(255, vs), 27))
            mstore(add(input, 0x40), calldataload(signatureAt))
            mstore(add(input, 0x60), s)
            mstore(0x00, 0)
            isAnswered := staticcall(gas(), 1, input, 0x80, 0x00, 0x20)
            signer := mul(mload(0x00), iszero(gt(s, HALF_ORDER)))
        }
        // Only for want of gas: no reason to call the signature a bad one.
        require(isAnswered);
    }
}
