// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {RegistryHarness} from "./RegistryHarness.sol";
import {Test} from "./Test.sol";

/// @title A registry, an owner with keys, and grants that read like sentences
abstract contract RegistryTest is Test {
    uint40 internal constant NOW = 1_800_000_000;
    uint40 internal constant DAY = 1 days;
    uint96 internal constant CAP = 1_000_000;
    bytes32 internal constant ANY = keccak256("");
    bytes32 internal constant RESOURCE = keccak256("tavily/search:call");
    uint8 internal constant SIGN = SessionPolicy.PERMISSION_SIGN;
    uint8 internal constant RECEIPT = SessionPolicy.PERMISSION_RECEIPT;
    uint8 internal constant CANCEL = SessionPolicy.PERMISSION_CANCEL;
    uint8 internal constant GUARD = SessionPolicy.PERMISSION_GUARD;

    RegistryHarness internal registry;
    Party internal owner;
    Party internal key;
    Party internal otherKey;
    Party internal stranger;

    function setUp() public virtual {
        vm.warp(NOW);
        registry = new RegistryHarness();
        owner = _party("owner");
        key = _party("key");
        otherKey = _party("other key");
        stranger = _party("stranger");
    }

    // ------------------------------------------------------------------ grants

    /// @dev To sign receipts, of up to CAP atoms in any day.
    function _grantOf(Party memory to)
        internal
        view
        returns (ISessionRegistry.SessionGrant memory grant)
    {
        grant.account = owner.addr;
        grant.key = to.addr;
        grant.permissions = RECEIPT;
        grant.resource = ANY;
        grant.spend = CAP;
        grant.period = DAY;
        grant.expiresAt = NOW + 365 days;
        grant.sessionEpoch = registry.sessionEpoch(owner.addr);
    }

    /// @dev To buy searches at up to 2 atoms, 100 in any day.
    function _termedGrantOf(Party memory to)
        internal
        view
        returns (ISessionRegistry.SessionGrant memory grant)
    {
        grant = _grantOf(to);
        grant.permissions = SIGN;
        grant.resource = RESOURCE;
        grant.tickMax = 2_000_000;
        grant.units = 100;
    }

    function _grant(ISessionRegistry.SessionGrant memory grant) internal {
        vm.prank(grant.account);
        registry.grantSession(grant);
    }

    function _grantCap(Party memory to, uint96 cap) internal {
        ISessionRegistry.SessionGrant memory grant = _grantOf(to);
        (grant.spend, grant.period) = (cap, cap == 0 ? 0 : DAY);
        _grant(grant);
    }

    function _grantTeam(Party memory to, uint96 cap, uint16 team) internal {
        ISessionRegistry.SessionGrant memory grant = _grantOf(to);
        (grant.spend, grant.period, grant.team) = (cap, cap == 0 ? 0 : DAY, team);
        _grant(grant);
    }

    function _signed(ISessionRegistry.SessionGrant memory grant, Party memory signer)
        internal
        view
        returns (bytes memory)
    {
        return _sign(signer, registry.grantDigest(grant));
    }

    // ------------------------------------------------------------------ the owner

    function _setCap(SessionPolicy.Bearer bearer, uint256 id, uint96 cap) internal {
        vm.prank(owner.addr);
        registry.setCap(bearer, id, cap, DAY);
    }

    function _setRule(SessionPolicy.CounterpartyRule rule) internal {
        vm.prank(owner.addr);
        registry.setCounterpartyRule(rule);
    }

    function _revoke(Party memory party) internal {
        vm.prank(owner.addr);
        registry.revokeSession(owner.addr, party.addr);
    }

    function _revokeAll() internal {
        vm.prank(owner.addr);
        registry.revokeSessions(owner.addr);
    }

    function _rotate(Party memory from, Party memory to) internal {
        vm.prank(owner.addr);
        registry.rotateSession(from.addr, to.addr);
    }

    // ------------------------------------------------------------------ charges

    function _charge(Party memory by, uint256 amount) internal returns (bool) {
        return registry.charge(owner.addr, by.addr, RECEIPT, amount);
    }

    /// @dev Searches by intent, paid to nobody in particular.
    function _fill(Party memory by, bytes32 resource, uint256 units, uint256 amount)
        internal
        returns (SessionPolicy.Verdict)
    {
        return registry.charge(owner.addr, by.addr, SIGN, amount, resource, units, new uint256[](0));
    }

    function _pay(Party memory by, uint256 amount, uint256[] memory lines)
        internal
        returns (SessionPolicy.Verdict)
    {
        return registry.charge(owner.addr, by.addr, RECEIPT, amount, 0, 0, lines);
    }

    function _line(Party memory to, uint96 amount) internal pure returns (uint256) {
        return SessionPolicy.lineOf(to.addr, amount);
    }

    function _lines(uint256 line) internal pure returns (uint256[] memory lines) {
        lines = new uint256[](1);
        lines[0] = line;
    }

    function _lines(uint256 first, uint256 second) internal pure returns (uint256[] memory lines) {
        lines = new uint256[](2);
        (lines[0], lines[1]) = first < second ? (first, second) : (second, first);
    }

    // ------------------------------------------------------------------ words

    function _keyWord(Party memory of_) internal view returns (uint256) {
        return registry.wordOf(SessionPolicy.Bearer.Key, owner.addr, _id(of_));
    }

    function _word(SessionPolicy.Bearer bearer, uint256 id) internal view returns (uint256) {
        return registry.wordOf(bearer, owner.addr, id);
    }

    function _id(Party memory party) internal pure returns (uint256) {
        return uint160(party.addr);
    }

    function _assertVerdict(SessionPolicy.Verdict verdict, SessionPolicy.Verdict expected)
        internal
        pure
    {
        vm.assertEq(uint256(verdict), uint256(expected), "another verdict");
    }
}
