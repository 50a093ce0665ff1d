// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {SignatureRecovery} from "../src/SignatureRecovery.sol";

/// @title Every signature with the other s: nobody's
contract SignatureRecoveryProof {
    uint256 private constant HALF_ORDER =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    function recover(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return SignatureRecovery.recover(digest, signature);
    }

    function recoverAt(bytes32 digest, bytes32, bytes32) external view returns (address) {
        // Behind the selector and the digest.
        return SignatureRecovery.recoverAt(digest, 36);
    }

    function check_recover_refusesHighS(bytes32 digest, bytes32 r, uint256 s, uint8 v)
        external
        view
    {
        require(s > HALF_ORDER);
        assert(this.recover(digest, abi.encodePacked(r, s, v)) == address(0));
    }

    function check_recoverAt_refusesHighS(bytes32 digest, bytes32 r, uint256 s, bool isOdd)
        external
        view
    {
        require(s > HALF_ORDER && s >> 255 == 0);
        bytes32 packed = bytes32(s | (isOdd ? 1 << 255 : 0));
        assert(this.recoverAt(digest, r, packed) == address(0));
    }
}
