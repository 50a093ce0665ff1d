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
    /// @return as of `recover`
    function recoverAt(bytes32 digest, uint256 signatureAt) internal pure returns (address) {
        bytes32 r;
        uint256 vs;
        assembly ("memory-safe") {
            r := calldataload(signatureAt)
            vs := calldataload(add(signatureAt, 0x20))
        }
        uint256 s = vs & type(uint256).max >> 1;
        if (s > HALF_ORDER) return address(0);
        // The cast is safe: 27 or 28.
        return ecrecover(digest, uint8((vs >> 255) + 27), r, bytes32(s));
    }
}
