// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "../src/CapWord.sol";
import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {CapHistory} from "./CapHistory.sol";
import {RegistryTest} from "./RegistryTest.sol";

/// @title The most that a thief can take with each kind of key, before and after it is revoked
/// @dev The thief tries at every twentieth of a day to move as much as can be moved, for three periods.
/// What it gets in any period is the cap, and no atom more; after the revocation it is nothing.
contract SessionTheftTest is RegistryTest {
    using CapWord for uint256;

    uint256 private constant STEP_S = DAY / 20;
    uint256 private constant TRIES = 60;

    CapHistory private _taken;
    Party private _accomplice;

    function setUp() public override {
        super.setUp();
        _taken = new CapHistory();
        _accomplice = _party("accomplice");
    }

    /// @dev A stolen receipt key: its cap in any period.
    function test_theft_receiptKey_takesItsCap() public {
        _grant(_grantOf(key));
        _steal(_keys(key));
        _assertTaken(CAP);
        _revoke(key);
        _assertNothingLeft(_keys(key));
    }

    /// @dev A stolen intent key with terms: its units in any period, at no more than its price, of its
    /// resource alone; its cap is the larger of the two here.
    function test_theft_intentKey_takesItsUnitsAtItsPrice() public {
        _grant(_termedGrantOf(key));
        for (uint256 i = 0; i < TRIES; ++i) {
            uint256 units = _word(SessionPolicy.Bearer.Units, _id(key)).leftOf(block.timestamp);
            _assertVerdict(_fill(key, ANY, units, 0), SessionPolicy.Verdict.ResourceForbidden);
            _assertVerdict(
                _fill(key, RESOURCE, units, 2 * units + 1), SessionPolicy.Verdict.PriceAboveTick
            );
            _assertVerdict(_fill(key, RESOURCE, units, 2 * units), SessionPolicy.Verdict.Allowed);
            _assertVerdict(_fill(key, RESOURCE, 1, 0), SessionPolicy.Verdict.UnitsExceeded);
            _taken.add(block.timestamp, 2 * units);
            vm.warp(block.timestamp + STEP_S);
        }
        _assertTaken(200);
        _revoke(key);
        _assertVerdict(_fill(key, RESOURCE, 1, 0), SessionPolicy.Verdict.NotLive);
    }

    /// @dev All keys of a team, stolen together: the team's cap in any period, not the sum of theirs.
    function test_theft_allKeysOfATeam_takeTheTeamsCap() public {
        _setCap(SessionPolicy.Bearer.Team, 1, CAP * 3 / 2);
        Party[] memory keys = _manyKeys(8, 1);
        _steal(keys);
        _assertTaken(CAP * 3 / 2);
        _revokeAll();
        _assertNothingLeft(keys);
    }

    /// @dev All keys of an account, of all teams and of none: the account's cap in any period.
    function test_theft_allKeysOfAnAccount_takeTheAccountsCap() public {
        _setCap(SessionPolicy.Bearer.Root, 0, CAP * 2);
        _setCap(SessionPolicy.Bearer.Team, 1, CAP * 3 / 2);
        Party[] memory keys = _manyKeys(8, 1);
        for (uint256 i = 4; i < 8; ++i) {
            vm.prank(owner.addr);
            registry.setTeam(keys[i].addr, uint16(i % 2 * 2));
        }
        _steal(keys);
        _assertTaken(CAP * 2);
        _revokeAll();
        _assertNothingLeft(keys);
    }

    /// @dev Where only listed counterparties are paid, an accomplice gets nothing, and a listed one no
    /// more than its cap, whatever keys are stolen.
    function test_theft_withListedCounterparties_paysThemOnly() public {
        Party memory seller = _party("seller");
        _setRule(SessionPolicy.CounterpartyRule.Listed);
        _setCap(SessionPolicy.Bearer.Counterparty, _id(seller), CAP / 2);
        _grantCap(key, 0);
        vm.assertFalse(_charge(key, 1));
        _assertVerdict(
            _pay(key, 1, _lines(_line(_accomplice, 1))), SessionPolicy.Verdict.CounterpartyUnlisted
        );
        for (uint256 i = 0; i < TRIES; ++i) {
            uint96 left = uint96(
                _word(SessionPolicy.Bearer.Counterparty, _id(seller)).leftOf(block.timestamp)
            );
            _assertVerdict(
                _pay(key, left, _lines(_line(seller, left))), SessionPolicy.Verdict.Allowed
            );
            _assertVerdict(
                _pay(key, 1, _lines(_line(seller, 1))),
                SessionPolicy.Verdict.CounterpartyCapExceeded
            );
            _taken.add(block.timestamp, left);
            vm.warp(block.timestamp + STEP_S);
        }
        _assertTaken(CAP / 2);
    }

    /// @dev A stolen key that may only cancel, or only revoke, moves nothing; the worst is silence.
    function test_theft_guardian_takesNothing() public {
        uint8[2] memory permissions = [CANCEL, GUARD];
        for (uint256 i = 0; i < 2; ++i) {
            ISessionRegistry.SessionGrant memory grant = _grantOf(key);
            grant.permissions = permissions[i];
            _grant(grant);
            vm.assertFalse(_charge(key, 0));
            vm.assertFalse(_charge(key, 1));
            _assertVerdict(_fill(key, RESOURCE, 1, 0), SessionPolicy.Verdict.PermissionMissing);
            _assertGivesItselfNothing();
        }
        // What it can do: end every session. The account grants anew at once.
        vm.prank(key.addr);
        registry.revokeSessions(owner.addr);
        _grant(_grantOf(otherKey));
        vm.assertTrue(_charge(otherKey, CAP));
    }

    /// @dev A key of the operator is no key of anyone else's account; nor are permissions of an account's
    /// own (to settle, to spend) granted here at all.
    function test_theft_operatorKey_takesNothing() public {
        ISessionRegistry.SessionGrant memory grant = _grantOf(key);
        grant.account = stranger.addr;
        _grant(grant);
        vm.assertTrue(registry.charge(stranger.addr, key.addr, RECEIPT, 1));
        vm.assertFalse(_charge(key, 0));
        uint8[2] memory permissions =
            [SessionPolicy.PERMISSION_SETTLE, SessionPolicy.PERMISSION_SPEND];
        for (uint256 i = 0; i < 2; ++i) {
            grant = _grantOf(key);
            grant.permissions = permissions[i];
            vm.expectPartialRevert(ISessionRegistry.RegistryPermissionsInvalid.selector);
            vm.prank(owner.addr);
            registry.grantSession(grant);
        }
    }

    /// @dev Whoever sees the revocation coming takes what is left of the period first, and no more: the
    /// thief's best is the cap, the same as without the warning.
    function test_theft_beforeTheRevocation_takesWhatIsLeft() public {
        _grant(_grantOf(key));
        vm.assertTrue(_charge(key, CAP / 4));
        _taken.add(block.timestamp, CAP / 4);
        vm.warp(NOW + DAY / 2);
        _stealOnce(_keys(key));
        _revoke(key);
        _assertNothingLeft(_keys(key));
        _assertTaken(CAP);
    }

    /// @dev What a thief signed before, and has not sent, is dead with the session: also after all
    /// are revoked, and for as long as the expiry would have left a grace.
    function test_theft_unsentSignatures_dieWithTheSession() public {
        _grant(_grantOf(key));
        _grant(_grantOf(otherKey));
        _revoke(key);
        _revokeAll();
        for (uint256 i = 0; i < 3; ++i) {
            _assertNothingLeft(_keys(key));
            _assertNothingLeft(_keys(otherKey));
            vm.warp(block.timestamp + 200 days);
        }
    }

    // ------------------------------------------------------------------ the thief

    function _steal(Party[] memory keys) private {
        for (uint256 i = 0; i < TRIES; ++i) {
            _stealOnce(keys);
            vm.warp(block.timestamp + STEP_S);
        }
        _assertGivesItselfNothing();
    }

    /// @dev As much as each key can move now, to the atom.
    function _stealOnce(Party[] memory keys) private {
        for (uint256 i = 0; i < keys.length; ++i) {
            uint256 word = _keyWord(keys[i]);
            uint256 team = _word(SessionPolicy.Bearer.Team, word.teamOf());
            uint256 root = _word(SessionPolicy.Bearer.Root, 0);
            uint256 now_ = block.timestamp;
            uint256 left = _min(word.leftOf(now_), _min(team.leftOf(now_), root.leftOf(now_)));
            vm.assertTrue(_charge(keys[i], left));
            vm.assertFalse(_charge(keys[i], 1));
            _taken.add(now_, left);
        }
    }

    function _min(uint256 left, uint256 right) private pure returns (uint256) {
        return left < right ? left : right;
    }

    /// @dev No key grants, rotates, moves or lifts anything of the account.
    function _assertGivesItselfNothing() private {
        ISessionRegistry.SessionGrant memory grant = _grantOf(_accomplice);
        vm.expectPartialRevert(ISessionRegistry.RegistryUnauthorized.selector);
        vm.prank(key.addr);
        registry.grantSession(grant);
        bytes memory signature = _signed(grant, key);
        vm.expectPartialRevert(ISessionRegistry.RegistrySignatureInvalid.selector);
        registry.grantSessionBySignature(grant, signature);
        vm.expectPartialRevert(ISessionRegistry.RegistryKeyInvalid.selector);
        vm.prank(key.addr);
        registry.rotateSession(key.addr, _accomplice.addr);
        vm.expectPartialRevert(ISessionRegistry.RegistryKeyInvalid.selector);
        vm.prank(key.addr);
        registry.setTeam(key.addr, 0);
    }

    /// @dev The cap in the worst period, and nearly all of it: the bound is what it says.
    function _assertTaken(uint256 cap) private view {
        uint256 worst = _taken.worst(DAY);
        vm.assertLe(worst, cap, "a thief took more than the cap in a period");
        vm.assertGe(worst, cap - cap / 100, "the thief could have taken more: this proves little");
    }

    function _assertNothingLeft(Party[] memory keys) private {
        for (uint256 i = 0; i < keys.length; ++i) {
            vm.assertFalse(_charge(keys[i], 0));
            vm.assertFalse(_charge(keys[i], 1));
        }
    }

    function _keys(Party memory one) private pure returns (Party[] memory keys) {
        keys = new Party[](1);
        keys[0] = one;
    }

    function _manyKeys(uint256 count, uint16 team) private returns (Party[] memory keys) {
        keys = new Party[](count);
        for (uint256 i = 0; i < count; ++i) {
            keys[i] = _party(string(abi.encode("key", i)));
            _grantTeam(keys[i], CAP, team);
        }
        key = keys[0];
    }
}
