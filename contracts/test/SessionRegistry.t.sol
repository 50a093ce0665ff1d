// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {CapWord} from "../src/CapWord.sol";
import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {RegistryHarness} from "./RegistryHarness.sol";
import {RegistryTest} from "./RegistryTest.sol";
import {Vm} from "./Vm.sol";

/// @title An account that uses the question for its signature to grant itself more
contract ReentrantAccount {
    ISessionRegistry.SessionGrant private _grant;

    function prepare(ISessionRegistry.SessionGrant calldata grant) external {
        _grant = grant;
    }

    function call(address target, bytes calldata data) external {
        (bool success,) = target.call(data);
        require(success);
    }

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        ISessionRegistry(msg.sender).grantSession(_grant);
        return IERC1271.isValidSignature.selector;
    }
}

/// @title An account whose signature is its owner's, like any ERC-1271 wallet
contract ContractAccount is IERC1271 {
    address private immutable _OWNER;

    constructor(address owner_) {
        _OWNER = owner_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        bytes32 r = bytes32(signature[0:32]);
        bytes32 vs = bytes32(signature[32:64]);
        uint8 v = uint8(uint256(vs) >> 255) + 27;
        bytes32 s = bytes32(uint256(vs) << 1 >> 1);
        return ecrecover(hash, v, r, s) == _OWNER ? this.isValidSignature.selector : bytes4(0);
    }
}

contract SessionRegistryTest is RegistryTest {
    using CapWord for uint256;

    // ------------------------------------------------------------------ granting

    /// @dev A grant is live at once, with what it says and nothing else.
    function test_grantSession_isLiveAtOnce() public {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        grant.team = 7;
        grant.permissions = SIGN | CANCEL;
        _grant(grant);
        uint256 word = _keyWord(key);
        vm.assertEq(word.capOf(), CAP);
        vm.assertEq(word.periodOf(), DAY);
        vm.assertEq(word.expiresAtOf(), grant.expiresAt);
        vm.assertEq(word.teamOf(), 7);
        vm.assertEq(word.permissionsOf(), SIGN | CANCEL | SessionPolicy.TERMED);
        vm.assertTrue(registry.isSessionLive(owner.addr, key.addr, SIGN | CANCEL));
        vm.assertFalse(registry.isSessionLive(owner.addr, key.addr, SIGN | RECEIPT));
        vm.assertFalse(registry.isSessionLive(owner.addr, otherKey.addr, 0));
        vm.assertFalse(registry.isSessionLive(stranger.addr, key.addr, 0));
    }

    /// @dev What a watcher needs is in the event: the words as they are kept.
    function test_grantSession_tellsItsWords() public {
        vm.recordLogs();
        _grant(_termedGrantOf(key));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (bytes32 resource, uint256 word, uint256 terms, uint256 units) =
            abi.decode(logs[0].data, (bytes32, uint256, uint256, uint256));
        vm.assertEq(resource, RESOURCE);
        vm.assertEq(word, _keyWord(key));
        vm.assertEq(terms, _word(SessionPolicy.Bearer.Terms, _id(key)));
        vm.assertEq(units, _word(SessionPolicy.Bearer.Units, _id(key)));
        vm.assertEq(units.capOf(), 100);
    }

    /// @dev Only the account grants by a transaction: not a stranger, not a key with every right.
    function test_RevertIf_grantSession_byAnother() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.permissions = SIGN | RECEIPT | CANCEL | GUARD;
        _grant(grant);
        Party[2] memory others = [stranger, key];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    ISessionRegistry.RegistryUnauthorized.selector, others[i].addr
                )
            );
            vm.prank(others[i].addr);
            registry.grantSession(grant);
        }
    }

    /// @dev Each wrong term has its error.
    function test_RevertIf_grantSession_termInvalid() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.key = address(0);
        _refuses(grant, ISessionRegistry.RegistryKeyInvalid.selector);
        grant.key = owner.addr;
        _refuses(grant, ISessionRegistry.RegistryKeyInvalid.selector);
        grant = _grantOf(key);
        uint8[6] memory permissions = [0, 1, 8, 64, 128, RECEIPT | 1];
        for (uint256 i = 0; i < permissions.length; ++i) {
            grant.permissions = permissions[i];
            _refuses(grant, ISessionRegistry.RegistryPermissionsInvalid.selector);
        }
        grant = _grantOf(key);
        grant.expiresAt = NOW;
        _refuses(grant, ISessionRegistry.RegistryExpiryInvalid.selector);
        grant.expiresAt = uint40(1 << 32);
        _refuses(grant, ISessionRegistry.RegistryExpiryInvalid.selector);
        grant = _grantOf(key);
        grant.team = 2048;
        _refuses(grant, ISessionRegistry.RegistryTeamInvalid.selector);
        grant = _grantOf(key);
        grant.period = 0;
        _refuses(grant, ISessionRegistry.RegistryPeriodInvalid.selector);
        grant = _grantOf(key);
        grant.spend = 0;
        _refuses(grant, ISessionRegistry.RegistryPeriodInvalid.selector);
        grant = _grantOf(key);
        grant.period = uint40(CapWord.PERIOD_MAX_S + 1);
        _refuses(grant, CapWord.CapPeriodInvalid.selector);
        grant = _grantOf(key);
        grant.sessionEpoch = 1;
        _refuses(grant, ISessionRegistry.RegistryEpochEnded.selector);
        _grant(_grantOf(key));
    }

    function _refuses(ISessionRegistry.SessionGrant memory grant, bytes4 selector) private {
        vm.expectPartialRevert(selector);
        vm.prank(grant.account);
        registry.grantSession(grant);
    }

    /// @dev The session is over with its last second; what it signed settles for the grace after it.
    function test_charge_afterExpiry_hasGrace() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.expiresAt = NOW + 100;
        _grant(grant);
        vm.warp(NOW + 100);
        vm.assertTrue(registry.isSessionLive(owner.addr, key.addr, RECEIPT));
        vm.warp(NOW + 101);
        vm.assertFalse(registry.isSessionLive(owner.addr, key.addr, RECEIPT));
        vm.warp(NOW + 100 + registry.GRACE_S());
        vm.assertTrue(_charge(key, 1));
        vm.warp(NOW + 101 + registry.GRACE_S());
        vm.assertFalse(_charge(key, 1));
        vm.assertFalse(_charge(key, 0));
    }

    // ------------------------------------------------------------------ granting by signature

    /// @dev Anyone may send what the account signed, plain or in 65 bytes; it serves once.
    function test_grantBySignature_byAnyone() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        bytes memory signature = _sign65(owner, registry.grantDigest(grant));
        vm.prank(stranger.addr);
        registry.grantSessionBySignature(grant, signature);
        vm.assertTrue(registry.isSessionLive(owner.addr, key.addr, RECEIPT));
        vm.assertTrue(registry.isGrantNonceUsed(owner.addr, grant.nonce));
    }

    /// @dev A contract account signs by ERC-1271; what it would not sign is refused.
    function test_grantBySignature_ofContract() public {
        ContractAccount account = new ContractAccount(owner.addr);
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.account = address(account);
        grant.sessionEpoch = 0;
        bytes memory wrong = _signed(grant, stranger);
        vm.expectPartialRevert(ISessionRegistry.RegistrySignatureInvalid.selector);
        registry.grantSessionBySignature(grant, wrong);
        registry.grantSessionBySignature(grant, _signed(grant, owner));
        vm.assertTrue(registry.isSessionLive(address(account), key.addr, RECEIPT));
    }

    /// @dev The replay matrix of grants: nothing that was signed for another place or time counts.
    function test_RevertIf_grantBySignature_isReplayed() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        bytes memory signature = _signed(grant, owner);

        // Another account, even of the same key.
        ISessionRegistry.SessionGrant memory other = _grantOf(key);
        other.account = address(new ContractAccount(owner.addr));
        _refusesSigned(other, signature, ISessionRegistry.RegistrySignatureInvalid.selector);
        // Another signer, and the same with an upper-half s.
        _refusesSigned(
            grant, _signed(grant, key), ISessionRegistry.RegistrySignatureInvalid.selector
        );
        _refusesSigned(
            grant,
            _signHighS(owner, registry.grantDigest(grant)),
            ISessionRegistry.RegistrySignatureInvalid.selector
        );
        // Another chain.
        vm.chainId(block.chainid + 1);
        _refusesSigned(grant, signature, ISessionRegistry.RegistrySignatureInvalid.selector);
        vm.chainId(block.chainid - 1);
        // Another registry.
        RegistryHarness elsewhere = new RegistryHarness();
        vm.expectPartialRevert(ISessionRegistry.RegistrySignatureInvalid.selector);
        elsewhere.grantSessionBySignature(grant, signature);

        registry.grantSessionBySignature(grant, signature);
        // Resubmitted.
        _refusesSigned(grant, signature, ISessionRegistry.RegistryNonceUsed.selector);
        // Another epoch.
        ISessionRegistry.SessionGrant memory late = _grantOf(otherKey);
        late.nonce = 1;
        signature = _signed(late, owner);
        _revokeAll();
        _refusesSigned(late, signature, ISessionRegistry.RegistryEpochEnded.selector);
    }

    /// @dev Whoever sends a signed grant cannot change one field of it.
    function testFuzz_RevertIf_grantBySignature_isAltered(uint256 which, uint256 to) public {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        bytes memory signature = _signed(grant, owner);
        which %= 9;
        vm.assume(bytes32(to) != RESOURCE && address(uint160(to) | 1) != owner.addr);
        vm.assume(address(uint160(to) | 1) != key.addr);
        if (which == 0) grant.key = address(uint160(to) | 1);
        if (which == 1) grant.team = uint16(1 + to % 2047);
        if (which == 2) grant.permissions = SIGN | GUARD;
        if (which == 3) grant.resource = bytes32(to);
        if (which == 4) grant.tickMax = uint64(to) | 3;
        if (which == 5) grant.units = uint64(101 + to % 1e12);
        if (which == 6) grant.spend = uint96(CAP + 1 + to % 1e12);
        if (which == 7) grant.period = uint40(1 + to % 80_000);
        if (which == 8) grant.expiresAt = uint40(grant.expiresAt + 1 + to % 1e9);
        _refusesSigned(grant, signature, ISessionRegistry.RegistrySignatureInvalid.selector);
    }

    /// @dev No signature is that of nobody.
    function test_RevertIf_grantBySignature_ofZero() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.account = address(0);
        _refusesSigned(grant, new bytes(64), ISessionRegistry.RegistrySignatureInvalid.selector);
        _refusesSigned(grant, "", ISessionRegistry.RegistrySignatureInvalid.selector);
    }

    /// @dev What was signed and not sent dies with its nonce.
    function test_RevertIf_grantBySignature_wasCancelled() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.nonce = 700;
        bytes memory signature = _signed(grant, owner);
        vm.prank(owner.addr);
        registry.cancelGrant(700);
        _refusesSigned(grant, signature, ISessionRegistry.RegistryNonceUsed.selector);
        vm.expectPartialRevert(ISessionRegistry.RegistryNonceUsed.selector);
        vm.prank(owner.addr);
        registry.cancelGrant(700);
        vm.assertFalse(registry.isGrantNonceUsed(owner.addr, 701));
    }

    /// @dev A revoked key does not come back by a grant that was signed before: not one that was
    /// known, not one that never was, not one that was rotated away, not one of an earlier epoch.
    function test_RevertIf_grantBySignature_ofRevokedKey() public {
        Party[4] memory keys = [key, otherKey, stranger, _party("rotated")];
        _grant(_grantOf(key));
        _grant(_grantOf(stranger));
        _revokeAll();
        _grant(_grantOf(keys[3]));
        bytes[4] memory signatures;
        ISessionRegistry.SessionGrant[4] memory grants;
        for (uint64 i = 0; i < 4; ++i) {
            grants[i] = _grantOf(keys[i]);
            grants[i].nonce = i;
            signatures[i] = _signed(grants[i], owner);
        }
        for (uint256 i = 0; i < 3; ++i) {
            _revoke(keys[i]);
        }
        _rotate(keys[3], _party("replacement"));
        for (uint256 i = 0; i < 4; ++i) {
            _refusesSigned(grants[i], signatures[i], ISessionRegistry.RegistryKeyRevoked.selector);
        }
        // The account itself can.
        _grant(grants[0]);
        vm.assertTrue(_charge(key, 1));
    }

    function _refusesSigned(
        ISessionRegistry.SessionGrant memory grant,
        bytes memory signature,
        bytes4 selector
    ) private {
        vm.expectPartialRevert(selector);
        vm.prank(stranger.addr);
        registry.grantSessionBySignature(grant, signature);
    }

    /// @dev Whoever sends a signed grant first, it is the same grant: the one who comes second is told.
    function test_grantBySignature_frontRun_isHarmless() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        bytes memory signature = _signed(grant, owner);
        vm.prank(stranger.addr);
        registry.grantSessionBySignature(grant, signature);
        uint256 word = _keyWord(key);
        vm.expectPartialRevert(ISessionRegistry.RegistryNonceUsed.selector);
        registry.grantSessionBySignature(grant, signature);
        vm.assertEq(_keyWord(key), word);
        vm.assertEq(_keyWord(stranger), 0);
    }

    /// @dev An account asked for its signature cannot write, so it cannot enter half a grant.
    function test_RevertIf_grantBySignature_isReentered() public {
        ReentrantAccount account = new ReentrantAccount();
        ISessionRegistry.SessionGrant memory grant = _grantOf(otherKey);
        grant.account = address(account);
        account.prepare(grant);
        grant.key = key.addr;
        _refusesSigned(grant, new bytes(64), ISessionRegistry.RegistrySignatureInvalid.selector);
        vm.assertFalse(registry.isSessionLive(address(account), key.addr, 0));
        vm.assertFalse(registry.isSessionLive(address(account), otherKey.addr, 0));
    }

    // ------------------------------------------------------------------ what was spent stays

    /// @dev A new grant replaces all that the old one said: nothing of it stays but what was spent.
    function test_grantSession_again_replacesTheRest() public {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        (grant.team, grant.permissions) = (5, SIGN | CANCEL | GUARD);
        _grant(grant);
        _revoke(key);
        _grantCap(key, 10);
        uint256 word = _keyWord(key);
        vm.assertEq(word.permissionsOf(), RECEIPT);
        vm.assertEq(word.teamOf(), 0);
        vm.assertEq(word.capOf(), 10);
        vm.assertFalse(registry.isSessionLive(owner.addr, key.addr, GUARD));
    }

    /// @dev No bearer's word is another's: not of another kind with the same name, not of another account.
    function testFuzz_wordOf_isOfOneBearer(address one, address other, uint16 number) public {
        number = uint16(_bound(number, 1, 2047));
        vm.assume(one != other && uint160(one) > 2047 && uint160(other) > 2047);
        address named = address(uint160(number));
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        (grant.account, grant.key, grant.sessionEpoch) = (one, named, 0);
        _grant(grant);
        vm.prank(one);
        registry.setCap(SessionPolicy.Bearer.Team, number, 1001, DAY);
        vm.prank(one);
        registry.setCap(SessionPolicy.Bearer.Counterparty, number, 1002, DAY);
        vm.prank(one);
        registry.setCap(SessionPolicy.Bearer.Root, 0, 1003, DAY);
        uint96[6] memory caps = [CAP, 1001, 1003, 1002, 100, 0];
        for (uint256 i = 0; i < 5; ++i) {
            SessionPolicy.Bearer bearer = SessionPolicy.Bearer(i);
            uint256 id = bearer == SessionPolicy.Bearer.Root ? 0 : number;
            vm.assertEq(registry.wordOf(bearer, one, id).capOf(), caps[i]);
            vm.assertEq(registry.wordOf(bearer, other, id), 0);
        }
        vm.assertEq(
            registry.wordOf(SessionPolicy.Bearer.Terms, one, number),
            SessionPolicy.termsOf(RESOURCE, 2_000_000)
        );
    }

    /// @dev Revoking and granting again gives nothing back.
    function test_grantSession_again_keepsWhatWasSpent() public {
        _grant(_termedGrantOf(key));
        _assertVerdict(_fill(key, RESOURCE, 60, 100), SessionPolicy.Verdict.Allowed);
        _revoke(key);
        _grant(_termedGrantOf(key));
        _assertVerdict(_fill(key, RESOURCE, 41, 60), SessionPolicy.Verdict.UnitsExceeded);
        _assertVerdict(_fill(key, RESOURCE, 40, 60), SessionPolicy.Verdict.Allowed);
        vm.assertEq(_keyWord(key).spentOf(NOW), 160);
        _revokeAll();
        _grantCap(key, 160);
        vm.assertFalse(_charge(key, 1));
    }

    /// @dev A grant without a cap, and then one with it, gives nothing back either.
    function test_grantSession_withoutCapBetween_keepsWhatWasSpent() public {
        _grantCap(key, 100);
        vm.assertTrue(_charge(key, 100));
        _grantCap(key, 0);
        vm.assertTrue(_charge(key, 1e12));
        _grantCap(key, 100);
        vm.assertFalse(_charge(key, 1));
    }

    /// @dev Terms dropped and set again still count the units.
    function test_grantSession_withoutTermsBetween_keepsUnits() public {
        _grant(_termedGrantOf(key));
        _assertVerdict(_fill(key, RESOURCE, 100, 0), SessionPolicy.Verdict.Allowed);
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.permissions = SIGN;
        _grant(grant);
        _assertVerdict(_fill(key, RESOURCE, 1, 0), SessionPolicy.Verdict.Allowed);
        _rotate(key, otherKey);
        _grant(_termedGrantOf(otherKey));
        _assertVerdict(_fill(otherKey, RESOURCE, 1, 0), SessionPolicy.Verdict.UnitsExceeded);
    }

    /// @dev A rotated key goes on where the old one stopped, with its terms; the old one is dead.
    function test_rotateSession_keepsWhatWasSpent() public {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        grant.team = 3;
        _grant(grant);
        _fill(key, RESOURCE, 99, 150);
        uint256 before = _keyWord(key);
        _rotate(key, otherKey);
        vm.assertEq(_keyWord(otherKey), before);
        _assertVerdict(_fill(key, RESOURCE, 1, 0), SessionPolicy.Verdict.NotLive);
        _assertVerdict(_fill(otherKey, RESOURCE, 2, 0), SessionPolicy.Verdict.UnitsExceeded);
        _assertVerdict(_fill(otherKey, ANY, 1, 0), SessionPolicy.Verdict.ResourceForbidden);
        _assertVerdict(_fill(otherKey, RESOURCE, 1, 0), SessionPolicy.Verdict.Allowed);
        // The old key, granted again, has still spent what it has.
        _grant(_termedGrantOf(key));
        _assertVerdict(_fill(key, RESOURCE, 2, 0), SessionPolicy.Verdict.UnitsExceeded);
    }

    /// @dev Nothing is rotated to a key that was ever granted: its own counters would be lost.
    function test_RevertIf_rotateSession_toKnownKey() public {
        _grant(_grantOf(key));
        _grant(_grantOf(otherKey));
        _revoke(otherKey);
        address[4] memory replacements = [otherKey.addr, key.addr, owner.addr, address(0)];
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    ISessionRegistry.RegistryKeyInvalid.selector, replacements[i]
                )
            );
            vm.prank(owner.addr);
            registry.rotateSession(key.addr, replacements[i]);
        }
    }

    /// @dev A revoked key, or one that never was, has nothing to hand on; nor has a key itself a say.
    function test_RevertIf_rotateSession_ofDeadKey() public {
        _grant(_grantOf(key));
        vm.expectPartialRevert(ISessionRegistry.RegistryKeyInvalid.selector);
        vm.prank(key.addr);
        registry.rotateSession(key.addr, stranger.addr);
        _revoke(key);
        vm.expectPartialRevert(ISessionRegistry.RegistryKeyInvalid.selector);
        vm.prank(owner.addr);
        registry.rotateSession(key.addr, stranger.addr);
        vm.expectPartialRevert(ISessionRegistry.RegistryKeyInvalid.selector);
        vm.prank(owner.addr);
        registry.setTeam(key.addr, 1);
    }

    /// @dev Rotating after all were revoked revives nothing.
    function test_rotateSession_ofEndedEpoch_staysDead() public {
        _grant(_grantOf(key));
        _revokeAll();
        _rotate(key, otherKey);
        vm.assertFalse(_charge(otherKey, 0));
    }

    /// @dev Another team's cap is another bearer's: what the key spent counts on for itself.
    function test_setTeam_keepsWhatWasSpent() public {
        _setCap(SessionPolicy.Bearer.Team, 1, 100);
        _setCap(SessionPolicy.Bearer.Team, 2, 100);
        _grantTeam(key, 150, 1);
        vm.assertTrue(_charge(key, 100));
        vm.assertFalse(_charge(key, 1));
        vm.prank(owner.addr);
        registry.setTeam(key.addr, 2);
        vm.assertFalse(_charge(key, 51));
        vm.assertTrue(_charge(key, 50));
        vm.assertEq(_word(SessionPolicy.Bearer.Team, 1).spentOf(NOW), 100);
        vm.assertEq(_word(SessionPolicy.Bearer.Team, 2).spentOf(NOW), 50);
        vm.expectPartialRevert(ISessionRegistry.RegistryTeamInvalid.selector);
        vm.prank(owner.addr);
        registry.setTeam(key.addr, 2048);
    }

    // ------------------------------------------------------------------ revoking

    /// @dev At once, by the account, the key itself or a guard; by nobody else.
    function test_revokeSession_atOnce() public {
        Party memory guard = _party("guard");
        ISessionRegistry.SessionGrant memory grant = _grantOf(guard);
        grant.permissions = GUARD;
        _grant(grant);
        address[3] memory callers = [owner.addr, key.addr, guard.addr];
        for (uint256 i = 0; i < 3; ++i) {
            _grant(_grantOf(key));
            vm.assertTrue(_charge(key, 1));
            vm.prank(callers[i]);
            registry.revokeSession(owner.addr, key.addr);
            vm.assertFalse(_charge(key, 1));
            vm.assertFalse(_charge(key, 0));
        }
        _grant(_grantOf(key));
        _grant(_grantOf(otherKey));
        _refusesRevoke(stranger.addr);
        _refusesRevoke(otherKey.addr);
        vm.warp(NOW + 366 days);
        _refusesRevoke(guard.addr);
    }

    function _refusesRevoke(address caller) private {
        bytes memory refusal =
            abi.encodeWithSelector(ISessionRegistry.RegistryUnauthorized.selector, caller);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.revokeSession(owner.addr, key.addr);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.revokeSessions(owner.addr);
    }

    /// @dev One word ends them all, guards too, and no other account's.
    function test_revokeSessions_endsAll() public {
        Party memory guard = _party("guard");
        ISessionRegistry.SessionGrant memory grant = _grantOf(guard);
        grant.permissions = GUARD;
        _grant(grant);
        _grant(_grantOf(key));
        _grant(_grantOf(otherKey));
        grant = _grantOf(key);
        (grant.account, grant.sessionEpoch) = (stranger.addr, 0);
        _grant(grant);
        vm.prank(guard.addr);
        registry.revokeSessions(owner.addr);
        vm.assertFalse(_charge(key, 1));
        vm.assertFalse(_charge(otherKey, 0));
        vm.assertTrue(registry.charge(stranger.addr, key.addr, RECEIPT, 1));
        _refusesRevoke(guard.addr);
        // Later epochs do not meet an earlier one again.
        _revokeAll();
        vm.assertFalse(_charge(key, 1));
        _grant(_grantOf(key));
        vm.assertTrue(_charge(key, 1));
    }

    /// @dev The last epoch is refused rather than met again; single keys can still be revoked.
    function test_RevertIf_revokeSessions_atTheLastEpoch() public {
        registry.setSessionEpoch(owner.addr, type(uint24).max - 1);
        _revokeAll();
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        vm.prank(owner.addr);
        registry.revokeSessions(owner.addr);
        _grant(_grantOf(key));
        _revoke(key);
        vm.assertFalse(_charge(key, 0));
    }

    /// @dev An account that is called while the ledger settles cannot change the ledger's word of it,
    /// which would be written back as it was: an epoch or a cap would be lost.
    function test_RevertIf_ledgerWord_isChangedWhileItSettles() public {
        ReentrantAccount account = new ReentrantAccount();
        bytes[3] memory calls = [
            abi.encodeCall(ISessionRegistry.revokeSessions, (address(account))),
            abi.encodeCall(ISessionRegistry.setCap, (SessionPolicy.Bearer.Root, 0, 1, DAY)),
            abi.encodeCall(
                ISessionRegistry.setCounterpartyRule, (SessionPolicy.CounterpartyRule.Listed)
            )
        ];
        for (uint256 i = 0; i < 3; ++i) {
            registry.settleThrough(
                address(account),
                abi.encodeCall(ReentrantAccount.call, (address(registry), calls[i]))
            );
            vm.assertFalse(registry.reentered());
            account.call(address(registry), calls[i]);
        }
    }

    // ------------------------------------------------------------------ the tree

    /// @dev Key, team and account are charged together, and the tightest of them decides.
    function test_charge_tree() public {
        _setCap(SessionPolicy.Bearer.Root, 0, 250);
        _setCap(SessionPolicy.Bearer.Team, 1, 150);
        _grantTeam(key, 100, 1);
        _grantTeam(otherKey, 100, 1);
        _grantCap(stranger, 200);
        vm.assertFalse(_charge(key, 101));
        vm.assertTrue(_charge(key, 100));
        vm.assertFalse(_charge(otherKey, 51));
        vm.assertTrue(_charge(otherKey, 50));
        vm.assertFalse(_charge(stranger, 101));
        vm.assertTrue(_charge(stranger, 100));
        vm.assertEq(_word(SessionPolicy.Bearer.Root, 0).spentOf(NOW), 250);
        vm.assertEq(_word(SessionPolicy.Bearer.Team, 1).spentOf(NOW), 150);
        vm.assertEq(_keyWord(otherKey).spentOf(NOW), 50);
    }

    /// @dev The verdict names the first bearer whose cap is exceeded.
    function test_charge_namesTheBearer() public {
        _setCap(SessionPolicy.Bearer.Root, 0, 50);
        _setCap(SessionPolicy.Bearer.Team, 1, 70);
        _grantTeam(key, 90, 1);
        _assertVerdict(_pay(key, 91, new uint256[](0)), SessionPolicy.Verdict.KeyCapExceeded);
        _assertVerdict(_pay(key, 71, new uint256[](0)), SessionPolicy.Verdict.TeamCapExceeded);
        _assertVerdict(_pay(key, 51, new uint256[](0)), SessionPolicy.Verdict.RootCapExceeded);
        vm.assertEq(_keyWord(key).spentOf(NOW), 0, "charged though refused");
        vm.assertEq(_word(SessionPolicy.Bearer.Team, 1).spentOf(NOW), 0, "charged though refused");
    }

    /// @dev One account's teams, caps and keys are not another's.
    function test_charge_accountsAreApart() public {
        _setCap(SessionPolicy.Bearer.Root, 0, 1);
        _setCap(SessionPolicy.Bearer.Team, 1, 1);
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        (grant.account, grant.team) = (stranger.addr, 1);
        _grant(grant);
        vm.assertTrue(registry.charge(stranger.addr, key.addr, RECEIPT, CAP));
        vm.assertFalse(_charge(key, 0));
    }

    /// @dev A lifted cap holds no more, and is remembered when it is set again.
    function test_setCap_lifted() public {
        _setCap(SessionPolicy.Bearer.Root, 0, 100);
        vm.assertTrue(registry.rootCapped(owner.addr));
        _grantCap(key, 0);
        vm.assertTrue(_charge(key, 100));
        vm.assertFalse(_charge(key, 1));
        vm.prank(owner.addr);
        registry.setCap(SessionPolicy.Bearer.Root, 0, 0, 0);
        vm.assertFalse(registry.rootCapped(owner.addr));
        vm.assertTrue(_charge(key, 1));
        _setCap(SessionPolicy.Bearer.Root, 0, 100);
        vm.assertFalse(_charge(key, 1));
    }

    /// @dev Only what has a cap of its own besides a grant.
    function test_RevertIf_setCap_bearerInvalid() public {
        _refusesCap(SessionPolicy.Bearer.Key, _id(key));
        _refusesCap(SessionPolicy.Bearer.Units, _id(key));
        _refusesCap(SessionPolicy.Bearer.Terms, _id(key));
        _refusesCap(SessionPolicy.Bearer.Root, 1);
        _refusesCap(SessionPolicy.Bearer.Team, 0);
        _refusesCap(SessionPolicy.Bearer.Team, 2048);
        _refusesCap(SessionPolicy.Bearer.Counterparty, 0);
        _refusesCap(SessionPolicy.Bearer.Counterparty, 1 << 160);
    }

    function _refusesCap(SessionPolicy.Bearer bearer, uint256 id) private {
        vm.expectPartialRevert(ISessionRegistry.RegistryBearerInvalid.selector);
        vm.prank(owner.addr);
        registry.setCap(bearer, id, 1, DAY);
    }

    // ------------------------------------------------------------------ counterparties

    /// @dev A counterparty's cap is shared by all keys and holds from when it is set.
    function test_charge_counterpartyCap() public {
        Party memory seller = _party("seller");
        Party memory free = _party("free seller");
        _grantCap(key, 0);
        _grantCap(otherKey, 0);
        _setCap(SessionPolicy.Bearer.Counterparty, _id(seller), 100);
        vm.assertTrue(registry.rootCapped(owner.addr));
        _assertVerdict(_pay(key, 60, _lines(_line(seller, 60))), SessionPolicy.Verdict.Allowed);
        _assertVerdict(
            _pay(otherKey, 41, _lines(_line(seller, 41))),
            SessionPolicy.Verdict.CounterpartyCapExceeded
        );
        // All lines or none.
        _assertVerdict(
            _pay(key, 1041, _lines(_line(seller, 41), _line(free, 1000))),
            SessionPolicy.Verdict.CounterpartyCapExceeded
        );
        _assertVerdict(
            _pay(key, 1040, _lines(_line(seller, 40), _line(free, 1000))),
            SessionPolicy.Verdict.Allowed
        );
        vm.assertEq(_word(SessionPolicy.Bearer.Counterparty, _id(seller)).spentOf(NOW), 100);
    }

    /// @dev Only who is listed is paid, if the account says so; the caps stay if it no longer does.
    function test_charge_listedCounterparties() public {
        Party memory seller = _party("seller");
        _grantCap(key, 0);
        _setRule(SessionPolicy.CounterpartyRule.Listed);
        _assertVerdict(
            _pay(key, 1, _lines(_line(seller, 1))), SessionPolicy.Verdict.CounterpartyUnlisted
        );
        _setCap(SessionPolicy.Bearer.Counterparty, _id(seller), 10);
        vm.assertEq(
            _word(SessionPolicy.Bearer.Root, 0).permissionsOf(),
            uint256(SessionPolicy.CounterpartyRule.Listed),
            "a cap does not loosen the rule"
        );
        _assertVerdict(_pay(key, 10, _lines(_line(seller, 10))), SessionPolicy.Verdict.Allowed);
        _setRule(SessionPolicy.CounterpartyRule.Any);
        vm.assertFalse(registry.rootCapped(owner.addr));
        vm.assertTrue(_charge(key, 1000));
        _setRule(SessionPolicy.CounterpartyRule.Capped);
        _assertVerdict(
            _pay(key, 1, _lines(_line(seller, 1))), SessionPolicy.Verdict.CounterpartyCapExceeded
        );
    }

    /// @dev Lines that repeat someone, are not sorted, or do not add up, charge nothing; nor does a
    /// total without lines, where there is a rule.
    function test_charge_linesInvalid() public {
        Party memory seller = _party("seller");
        Party memory other = _party("other seller");
        _grantCap(key, 0);
        _setCap(SessionPolicy.Bearer.Counterparty, _id(seller), 100);
        uint256[] memory lines = _lines(_line(seller, 60), _line(seller, 60));
        _assertVerdict(_pay(key, 120, lines), SessionPolicy.Verdict.CounterpartiesInvalid);
        lines = _lines(_line(seller, 1), _line(other, 1));
        (lines[0], lines[1]) = (lines[1], lines[0]);
        _assertVerdict(_pay(key, 2, lines), SessionPolicy.Verdict.CounterpartiesInvalid);
        lines = _lines(_line(other, 50));
        _assertVerdict(_pay(key, 51, lines), SessionPolicy.Verdict.CounterpartiesInvalid);
        _assertVerdict(_pay(key, 49, lines), SessionPolicy.Verdict.CounterpartiesInvalid);
        vm.assertFalse(_charge(key, 1));
        vm.assertTrue(_charge(key, 0));
        vm.assertEq(_word(SessionPolicy.Bearer.Counterparty, _id(seller)).spentOf(NOW), 0);
    }

    // ------------------------------------------------------------------ terms

    /// @dev A key buys what its terms name, at no more than their price, so many units in any period.
    function test_charge_terms() public {
        _grant(_termedGrantOf(key));
        bytes32 other = keccak256("other/search:call");
        _assertVerdict(_fill(key, other, 1, 1), SessionPolicy.Verdict.ResourceForbidden);
        _assertVerdict(_fill(key, RESOURCE, 10, 21), SessionPolicy.Verdict.PriceAboveTick);
        _assertVerdict(_fill(key, RESOURCE, 10, 20), SessionPolicy.Verdict.Allowed);
        _assertVerdict(_fill(key, RESOURCE, 91, 0), SessionPolicy.Verdict.UnitsExceeded);
        _assertVerdict(_fill(key, RESOURCE, 90, 180), SessionPolicy.Verdict.Allowed);
        vm.assertEq(_word(SessionPolicy.Bearer.Units, _id(key)).spentOf(NOW), 100);
        vm.warp(NOW + 2 * DAY);
        _assertVerdict(_fill(key, RESOURCE, 100, 200), SessionPolicy.Verdict.Allowed);
    }

    /// @dev Units are not charged where a cap refuses, nor atoms where units do.
    function test_charge_terms_allOrNone() public {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        grant.spend = 50;
        _grant(grant);
        _assertVerdict(_fill(key, RESOURCE, 40, 60), SessionPolicy.Verdict.KeyCapExceeded);
        _assertVerdict(_fill(key, RESOURCE, 101, 10), SessionPolicy.Verdict.UnitsExceeded);
        vm.assertEq(_word(SessionPolicy.Bearer.Units, _id(key)).spentOf(NOW), 0);
        vm.assertEq(_keyWord(key).spentOf(NOW), 0);
    }

    /// @dev Each term alone makes a key termed; zero and the empty name limit nothing.
    function test_charge_eachTermAlone() public {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        (grant.tickMax, grant.units) = (0, 0);
        _grant(grant);
        _assertVerdict(_fill(key, RESOURCE, 1e9, CAP), SessionPolicy.Verdict.Allowed);
        _assertVerdict(_fill(key, ANY, 1, 0), SessionPolicy.Verdict.ResourceForbidden);
        grant = _termedGrantOf(otherKey);
        (grant.resource, grant.units) = (ANY, 0);
        _grant(grant);
        _assertVerdict(_fill(otherKey, keccak256("x"), 1, 3), SessionPolicy.Verdict.PriceAboveTick);
        _assertVerdict(_fill(otherKey, keccak256("x"), 1, 2), SessionPolicy.Verdict.Allowed);
        grant = _termedGrantOf(stranger);
        (grant.resource, grant.tickMax, grant.spend) = (ANY, 0, 0);
        _grant(grant);
        _assertVerdict(_fill(stranger, RESOURCE, 100, 1e15), SessionPolicy.Verdict.Allowed);
        _assertVerdict(_fill(stranger, RESOURCE, 1, 0), SessionPolicy.Verdict.UnitsExceeded);
    }

    // ------------------------------------------------------------------ one policy

    /// @dev The registry takes the steps of SessionPolicy.evaluate: the same verdict, the same words.
    function testFuzz_charge_isEvaluate(uint256 seed) public {
        _makeTree(seed);
        Party memory seller = _party("seller");
        for (uint256 i = 0; i < 12; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            vm.warp(block.timestamp + dice % DAY);
            SessionPolicy.Words memory words = _words(seller);
            SessionPolicy.Act memory act = SessionPolicy.Act({
                permission: dice % 8 == 0 ? RECEIPT : SIGN,
                resource: dice % 7 == 0 ? bytes32(0) : dice % 5 == 0 ? ANY : RESOURCE,
                units: (dice >> 16) % 60,
                amount: (dice >> 24) % 130,
                sessionEpoch: registry.sessionEpoch(owner.addr),
                time: block.timestamp,
                graceS: registry.GRACE_S(),
                lines: new uint256[](0)
            });
            act.lines = _lines(_line(seller, uint96(act.amount + (dice % 11 == 0 ? 1 : 0))));
            SessionPolicy.Verdict verdict = registry.charge(
                owner.addr, key.addr, act.permission, act.amount, act.resource, act.units, act.lines
            );
            _assertVerdict(verdict, SessionPolicy.evaluate(words, act));
            vm.assertEq(keccak256(abi.encode(words)), keccak256(abi.encode(_words(seller))));
        }
    }

    function _makeTree(uint256 seed) private {
        ISessionRegistry.SessionGrant memory grant = _termedGrantOf(key);
        grant.team = uint16(seed % 2);
        if (seed % 4 == 0) (grant.resource, grant.tickMax, grant.units) = (ANY, 0, 0);
        grant.spend = 300;
        grant.expiresAt = NOW + 4 days;
        _grant(grant);
        _setCap(SessionPolicy.Bearer.Team, 1, 280);
        if (seed % 3 == 0) _setCap(SessionPolicy.Bearer.Root, 0, 250);
        Party memory seller = _party("seller");
        if (seed % 5 == 0) _setCap(SessionPolicy.Bearer.Counterparty, _id(seller), 200);
        if (seed % 7 == 0) _setRule(SessionPolicy.CounterpartyRule.Listed);
    }

    function _words(Party memory seller) private view returns (SessionPolicy.Words memory words) {
        words.key = _keyWord(key);
        words.terms = _word(SessionPolicy.Bearer.Terms, _id(key));
        words.units = _word(SessionPolicy.Bearer.Units, _id(key));
        words.team =
            words.key.teamOf() == 0 ? 0 : _word(SessionPolicy.Bearer.Team, words.key.teamOf());
        words.root = _word(SessionPolicy.Bearer.Root, 0);
        words.counterparties = new uint256[](1);
        words.counterparties[0] = _word(SessionPolicy.Bearer.Counterparty, _id(seller));
    }

    /// @dev The place of the storage is the one that its name gives.
    function test_storage_isWhereItsNameSays() public {
        _grant(_grantOf(key));
        bytes32 place = SlotDerivation.erc7201Slot("keyfill.sessions");
        bytes32 slot = keccak256(abi.encode(owner.addr, _id(key), place));
        vm.assertEq(uint256(vm.load(address(registry), slot)), _keyWord(key));
    }
}
