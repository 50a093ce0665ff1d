// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {SignatureRecovery} from "../src/SignatureRecovery.sol";
import {Test} from "./Test.sol";

contract SignatureRecoveryTest is Test {
    function testFuzz_recover_bothEncodings(uint256 key, bytes32 digest) public view {
        Party memory party = _partyOf(key);
        vm.assertEq(this.recover(digest, _sign(party, digest)), party.addr);
        vm.assertEq(this.recover(digest, _sign65(party, digest)), party.addr);
    }

    /// @dev Each signature has a twin in the upper half; plain ecrecover takes both.
    function testFuzz_recover_refusesHighS(uint256 key, bytes32 digest) public view {
        Party memory party = _partyOf(key);
        bytes memory twin = _signHighS(party, digest);
        (bytes32 r, bytes32 s) = abi.decode(twin, (bytes32, bytes32));
        vm.assertEq(ecrecover(digest, uint8(twin[64]), r, s), party.addr);
        vm.assertEq(this.recover(digest, twin), address(0));
    }

    function testFuzz_recover_refusesOtherV(uint256 key, bytes32 digest, uint8 v) public view {
        vm.assume(v != 27 && v != 28);
        bytes memory signature = _sign65(_partyOf(key), digest);
        signature[64] = bytes1(v);
        vm.assertEq(this.recover(digest, signature), address(0));
    }

    function testFuzz_recover_refusesOtherLengths(bytes calldata signature) public view {
        vm.assume(signature.length != 64 && signature.length != 65);
        vm.assertEq(this.recover("digest", signature), address(0));
    }

    function test_recover_refusesZeros() public view {
        vm.assertEq(this.recover(0, new bytes(64)), address(0));
        vm.assertEq(this.recover(0, new bytes(65)), address(0));
    }

    /// @dev 64 bytes of calldata read as `recover` reads them.
    function testFuzz_recoverAt_isRecover(uint256 key, bytes32 digest, bytes32 change) public view {
        Party memory party = _partyOf(key);
        bytes memory signature = _sign(party, digest);
        vm.assertEq(this.recoverAt(digest, signature), party.addr);
        signature[uint256(change) % 64] = bytes1(change);
        vm.assertEq(this.recoverAt(digest, signature), this.recover(digest, signature));
    }

    /// @dev In 64 bytes few upper halves have room. This one is made by choosing s, then the digest: with
    /// k = 1, r is the generator's x and the digest s - r * key.
    function test_recoverAt_refusesHighS() public view {
        uint256 r = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;
        uint256 half = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
        Party memory party = _partyOf(7);
        for (uint256 s = half; s <= half + 1; ++s) {
            bytes32 digest =
                bytes32(addmod(s, CURVE_ORDER - mulmod(r, party.key, CURVE_ORDER), CURVE_ORDER));
            vm.assertEq(ecrecover(digest, 27, bytes32(r), bytes32(s)), party.addr);
            address found = this.recoverAt(digest, abi.encodePacked(r, s));
            vm.assertEq(found, s == half ? party.addr : address(0));
        }
    }

    function recoverAt(bytes32 digest, bytes calldata signature) external view returns (address) {
        uint256 start;
        assembly {
            start := signature.offset
        }
        return SignatureRecovery.recoverAt(digest, start);
    }

    function recover(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return SignatureRecovery.recover(digest, signature);
    }

    function _partyOf(uint256 key) private pure returns (Party memory) {
        key = _bound(key, 1, CURVE_ORDER - 1);
        return Party(vm.addr(key), key);
    }
}
