// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {ChargeBook} from "./ChargeBook.sol";
import {RegistryTest} from "./RegistryTest.sol";

/// @title An account whose owner changes its mind all the time, and books of every charge
/// @dev Keys in three teams, or none, under one account, with two counterparties that have caps. Each
/// charge that passes is held, at once, against every bearer of it: all that was charged to it
/// within the period before, and this, are at most its cap.
contract RegistryHandler is RegistryTest {
    using ChargeBook for ChargeBook.Charge[];

    uint256 private constant KEYS = 8;
    /// @dev The others are there to be rotated to.
    uint256 private constant PARTIES = 24;
    uint16 private constant TEAMS = 3;

    Party[] private _parties;
    Party[] private _sellers;
    uint256 private _fresh = KEYS;
    uint64 private _nonce;

    /// @dev By key, team and counterparty; the account's own is at 0.
    mapping(address => ChargeBook.Charge[]) private _byKey;
    mapping(uint256 => ChargeBook.Charge[]) private _byBearer;
    mapping(address => uint256) private _keyCap;
    mapping(uint256 => uint256) private _bearerCap;
    mapping(address => uint16) private _teamOf;
    mapping(address => bool) private _live;

    uint256 public charged;
    uint256 public refused;
    uint256 public rotated;
    uint256 public revoked;

    constructor() {
        setUp();
        for (uint256 i = 0; i < PARTIES; ++i) {
            _parties.push(_party(string(abi.encode("invariant key", i))));
        }
        _sellers.push(_party("invariant seller"));
        _sellers.push(_party("other invariant seller"));
        setCap(0, 1000);
        setCap(1, 700);
        setCap(2, 500);
        setCap(3, 300);
        setCap(4, 600);
        setCap(5, 800);
        for (uint256 i = 0; i < KEYS; ++i) {
            grant(i, 200 + 50 * i, uint16(i), false);
        }
    }

    // ------------------------------------------------------------------ actions

    /// @dev Several at once: a run of charges is what wears a cap down.
    function charge(uint256 seed) external {
        for (uint256 i = 0; i < 8; ++i) {
            _chargeOnce(uint256(keccak256(abi.encode(seed, i))));
        }
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, time % 4 == 0 ? 2 * DAY : DAY / 8));
    }

    /// @dev By the account or by its signature, in any team, with any cap.
    function grant(uint256 who, uint256 cap, uint16 team, bool isSigned) public {
        Party memory party = _parties[who % _fresh];
        ISessionRegistry.SessionGrant memory grant_ = _grantOf(party);
        grant_.spend = uint96(_bound(cap, 1, 1000));
        grant_.team = team % (TEAMS + 1);
        grant_.expiresAt = uint40(block.timestamp + 1000 days);
        grant_.nonce = _nonce++;
        bytes memory signature = _signed(grant_, owner);
        if (isSigned && _live[party.addr]) {
            registry.grantSessionBySignature(grant_, signature);
        } else {
            _grant(grant_);
        }
        _keyCap[party.addr] = grant_.spend;
        _teamOf[party.addr] = grant_.team;
        _live[party.addr] = true;
    }

    function revoke(uint256 who) public {
        Party memory party = _parties[who % _fresh];
        _revoke(party);
        _live[party.addr] = false;
        ++revoked;
    }

    /// @dev What a thief, or a mistaken owner, would do to start anew.
    function revokeAndGrant(uint256 who, uint256 cap, uint16 team) external {
        revoke(who);
        grant(who, cap, team, false);
    }

    function revokeAll(uint256 dice) external {
        if (dice % 4 != 0) return;
        _revokeAll();
        for (uint256 i = 0; i < _fresh; ++i) {
            _live[_parties[i].addr] = false;
        }
        for (uint256 i = 0; i < KEYS; ++i) {
            grant(dice / 4 + i, dice >> i * 8, uint16(dice >> i * 8), false);
        }
    }

    /// @dev The books of the old key go on as the new one's.
    function rotate(uint256 who) external {
        Party memory party = _parties[who % _fresh];
        if (_fresh == PARTIES || !_live[party.addr]) return;
        Party memory replacement = _parties[_fresh++];
        _rotate(party, replacement);
        _byKey[replacement.addr].takeOver(_byKey[party.addr]);
        _keyCap[replacement.addr] = _keyCap[party.addr];
        _teamOf[replacement.addr] = _teamOf[party.addr];
        (_live[party.addr], _live[replacement.addr]) = (false, true);
        ++rotated;
    }

    function setTeam(uint256 who, uint16 team) external {
        Party memory party = _parties[who % _fresh];
        if (!_live[party.addr]) return;
        vm.prank(owner.addr);
        registry.setTeam(party.addr, team % (TEAMS + 1));
        _teamOf[party.addr] = team % (TEAMS + 1);
    }

    /// @dev Of the account, a team, or a counterparty; sometimes lifted and set again.
    function setCap(uint256 which, uint256 cap) public {
        which %= TEAMS + 3;
        cap = _bound(cap, 1, 1500);
        SessionPolicy.Bearer bearer = which == 0
            ? SessionPolicy.Bearer.Root
            : which <= TEAMS ? SessionPolicy.Bearer.Team : SessionPolicy.Bearer.Counterparty;
        uint256 id = which <= TEAMS ? which : _id(_sellers[which - TEAMS - 1]);
        if (cap % 3 == 0) {
            vm.prank(owner.addr);
            registry.setCap(bearer, id, 0, 0);
        }
        _setCap(bearer, id, uint96(cap));
        _bearerCap[which] = cap;
    }

    // ------------------------------------------------------------------ books

    function _chargeOnce(uint256 dice) private {
        Party memory party = _parties[dice % _fresh];
        uint256 amount = (dice >> 16) % 120;
        uint256 first = amount == 0 ? 0 : (dice >> 32) % (amount + 1);
        SessionPolicy.Verdict verdict = _pay(
            party,
            amount,
            _lines(_line(_sellers[0], uint96(first)), _line(_sellers[1], uint96(amount - first)))
        );
        vm.assertTrue(
            _live[party.addr] == (verdict != SessionPolicy.Verdict.NotLive), "live, or not"
        );
        if (verdict != SessionPolicy.Verdict.Allowed) {
            ++refused;
            return;
        }
        ++charged;
        _byKey[party.addr].add(amount);
        _assertWithin(_byKey[party.addr], amount, _keyCap[party.addr], "key");
        _book(0, amount, "account");
        if (_teamOf[party.addr] != 0) _book(_teamOf[party.addr], amount, "team");
        _book(TEAMS + 1, first, "counterparty");
        _book(TEAMS + 2, amount - first, "other counterparty");
    }

    function _book(uint256 which, uint256 amount, string memory name) private {
        _byBearer[which].add(amount);
        uint256 cap = _bearerCap[which];
        if (cap != 0) _assertWithin(_byBearer[which], amount, cap, name);
    }

    /// @dev The charge is new: windows that end with earlier ones were looked at then.
    function _assertWithin(
        ChargeBook.Charge[] storage book,
        uint256 amount,
        uint256 cap,
        string memory name
    ) private view {
        if (amount != 0) vm.assertLe(book.sumWithin(DAY), cap, name);
    }
}

contract SessionRegistryInvariantTest is RegistryTest {
    RegistryHandler private _handler;

    function setUp() public override {
        _handler = new RegistryHandler();
        _target(address(_handler));
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](13);
        selectors[0] = RegistryHandler.grant.selector;
        selectors[1] = RegistryHandler.revoke.selector;
        selectors[2] = RegistryHandler.revokeAndGrant.selector;
        selectors[3] = RegistryHandler.revokeAll.selector;
        selectors[4] = RegistryHandler.rotate.selector;
        selectors[5] = RegistryHandler.setTeam.selector;
        selectors[6] = RegistryHandler.setCap.selector;
        selectors[7] = RegistryHandler.wait_.selector;
        selectors[8] = RegistryHandler.wait_.selector;
        for (uint256 i = 9; i < 13; ++i) {
            selectors[i] = RegistryHandler.charge.selector;
        }
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(_handler), selectors);
    }

    /// @dev Each charge was held against all its bearers when it passed; here is nothing but the count.
    function invariant_noWindowHoldsMoreThanItsCap() public view {
        vm.assertGe(_handler.charged() + _handler.refused(), 0, "charges are counted");
    }

    /// @dev The canary: runs in which nothing is charged, or nothing refused, would prove nothing.
    function test_handler_chargesAndRefuses() public {
        for (uint256 i = 0; i < 60; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("canary", i)));
            _handler.charge(seed);
            if (i % 6 == 0) _handler.rotate(seed >> 8);
            if (i % 6 == 1) _handler.revokeAndGrant(seed >> 8, seed >> 16, uint16(seed));
            if (i % 6 == 2) _handler.setTeam(seed >> 8, uint16(seed));
            if (i % 6 == 3) _handler.setCap(seed >> 8, seed >> 16);
            if (i % 20 == 4) _handler.revokeAll(seed & ~uint256(3));
            _handler.wait_(seed);
        }
        vm.assertGe(_handler.charged(), 100, "too little charged");
        vm.assertGe(_handler.refused(), 100, "too little refused");
        vm.assertGe(_handler.rotated(), 5, "too little rotated");
        vm.assertGe(_handler.revoked(), 5, "too little revoked");
    }
}
