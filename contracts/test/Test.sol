// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {Vm} from "./Vm.sol";

/// @title What a test needs of forge, without forge-std (which its authors do not publish on npm)
abstract contract Test {
    /// @dev Someone with a private key.
    struct Party {
        address addr;
        uint256 key;
    }

    /// @dev What forge takes as an answer to targetSelectors.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 internal constant CURVE_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    address[] private _invariantTargets;

    /// @dev forge asks an invariant test which contracts to call.
    function targetContracts() external view returns (address[] memory) {
        return _invariantTargets;
    }

    function _target(address target) internal {
        _invariantTargets.push(target);
    }

    /// @dev One of our contracts, as it was built for the chain: tests are built without the optimiser.
    function _deploy(string memory name, bytes memory arguments)
        internal
        returns (address payable)
    {
        return payable(vm.deployCode(
                string.concat("out/", name, ".sol/", name, ".json"), arguments
            ));
    }

    function _party(string memory name) internal returns (Party memory party) {
        party.key = uint256(keccak256(bytes(name))) % (CURVE_ORDER - 1) + 1;
        party.addr = vm.addr(party.key);
        vm.label(party.addr, name);
    }

    /// @dev `value` folded into [low, high].
    function _bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        if (value >= low && value <= high) return value;
        uint256 size = high - low + 1;
        return size == 0 ? value : low + value % size;
    }

    /// @dev 64 bytes, EIP-2098.
    function _sign(Party memory party, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(party.key, digest);
        return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v) - 27) << 255));
    }

    function _sign65(Party memory party, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(party.key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The other signature that plain ecrecover takes for the same signer.
    function _signHighS(Party memory party, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(party.key, digest);
        return abi.encodePacked(r, bytes32(CURVE_ORDER - uint256(s)), v == 27 ? 28 : 27);
    }
}
