// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {RegistryTest} from "./RegistryTest.sol";

/// @title Whole transactions of the registry, calldata included, and what a charge adds to one
contract SessionRegistryGasTest is RegistryTest {
    function setUp() public override {
        super.setUp();
        // As where the ledger has a word of the account already.
        registry.setSessionEpoch(owner.addr, 1);
    }

    /// @dev A new key with a cap: one new word.
    function test_grant_gas() public {
        _grant(_grantOf(key));
        _snapshot("registry: grant", 62_000);
        _grant(_termedGrantOf(otherKey));
        _snapshot("registry: grant with terms", 110_000);
    }

    /// @dev The same by a signature, with the account's first word of nonces.
    function test_grantBySignature_gas() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        registry.grantSessionBySignature(grant, _signed(grant, owner));
        _snapshot("registry: grant by signature", 95_000);
    }

    /// @dev One word, whatever it holds.
    function test_revokeSession_gas() public {
        _grant(_termedGrantOf(key));
        _fill(key, RESOURCE, 1, 1);
        _revoke(key);
        _snapshot("registry: revoke one", 35_000);
    }

    /// @dev One word, whatever their number.
    function test_revokeSessions_gas() public {
        uint16[3] memory counts = [1, 99, 900];
        uint256 granted;
        uint64 first;
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = 0; j < counts[i]; ++j) {
                ISessionRegistry.SessionGrant memory grant = _grantOf(key);
                grant.key = address(uint160(uint256(keccak256(abi.encode(++granted)))));
                _grant(grant);
            }
            _revokeAll();
            uint64 used = vm.lastCallGas().gasTotalUsed;
            if (i == 0) first = used;
            vm.assertEq(used, first, "not flat");
        }
        _snapshot("registry: revoke all of 1,000", 32_000);
    }

    /// @dev What each bearer adds to a charge: a word read and written, and at most 950 besides. The first
    /// above a key adds 500 more, which a key that has none above it is not charged.
    function test_charge_gas() public {
        _grantCap(otherKey, 0);
        _charge(otherKey, 1);
        uint256 uncapped = _charged(otherKey);
        _grantCap(key, CAP);
        _charge(key, 1);
        uint256 own = _charged(key);
        _grantTeam(key, CAP, 1);
        _setCap(SessionPolicy.Bearer.Team, 1, CAP);
        _charge(key, 1);
        uint256 team = _charged(key);
        _setCap(SessionPolicy.Bearer.Root, 0, CAP);
        _charge(key, 1);
        uint256 root = _charged(key);
        vm.snapshotValue("Registry", "a charge: the key's own cap", own - uncapped);
        vm.snapshotValue("Registry", "a charge: the team's cap", team - own);
        vm.snapshotValue("Registry", "a charge: the account's cap", root - team);
        // The key's word is read in any case.
        vm.assertLe(own - uncapped, 2900 + 950);
        vm.assertLe(team - own, 5000 + 950 + 500);
        vm.assertLe(root - team, 5000 + 950);
    }

    function _charged(Party memory by) private returns (uint256) {
        vm.warp(block.timestamp + 3 hours);
        vm.assertTrue(_charge(by, 1));
        return vm.lastCallGas().gasTotalUsed;
    }

    function _snapshot(string memory name, uint256 most) private {
        uint64 used = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue("Registry", name, used);
        vm.assertLe(used, most, name);
    }
}
