// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {
    MODULE_TYPE_EXECUTOR,
    MODULE_TYPE_VALIDATOR
} from "@openzeppelin/contracts/interfaces/draft-IERC7579.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {SessionModule} from "../src/SessionModule.sol";
import {AccountTest} from "./AccountTest.sol";
import {ChargeBook} from "./ChargeBook.sol";
import {ModularAccount} from "./ModularAccount.sol";

/// @title An account whose keys spend all they can, while its owner changes its mind all the time
/// @dev The account has a cap, and so have two of three payees; some keys may pay those two only. Each
/// payment that passes is held, at once, against every bearer of it: all that was charged to it within
/// the period before, and this, are at most its cap.
abstract contract SpendingHandler is AccountTest {
    using ChargeBook for ChargeBook.Charge[];

    uint256 private constant KEYS = 6;
    /// @dev The others are there to be rotated to.
    uint256 private constant PARTIES = 20;
    uint256 private constant PAYEES = 3;
    uint256 private constant WAYS = 3;

    Party[] private _parties;
    address[] private _payees;
    uint256 private _fresh = KEYS;

    /// @dev The account's own is at 0, a payee's at its place and one.
    mapping(uint256 which => uint256) private _capOf;
    mapping(uint256 which => ChargeBook.Charge[]) private _books;
    mapping(address key => uint256) private _keyCap;
    mapping(address key => ChargeBook.Charge[]) private _keyBooks;
    mapping(address key => bool) private _onlyListed;
    mapping(address key => bool) private _live;

    uint256 private _before;
    uint256 private _sum;
    uint256 public spent;
    uint256 public refused;
    uint256 public rotated;
    uint256 public revoked;

    constructor() {
        setUp();
        for (uint256 i = 0; i < PARTIES; ++i) {
            _parties.push(_party(string(abi.encode("spending key", i))));
        }
        for (uint256 i = 0; i < PAYEES; ++i) {
            _payees.push(_party(string(abi.encode("spending payee", i))).addr);
        }
        _before = usdc.balanceOf(_wallet());
        setCap(0, 1000);
        setCap(1, 500);
        setCap(2, 700);
        _grantAll(uint256(keccak256("caps")));
    }

    // ------------------------------------------------------------------ the account's kind

    /// @return the account that pays
    function _wallet() internal view virtual returns (address);

    function _ownerGrants(ISessionKeys.Terms memory terms) internal virtual;

    function _ownerRevokes(address party) internal virtual;

    function _ownerRevokesAll(uint256 dice) internal virtual;

    function _ownerRotates(address party, address replacement) internal virtual;

    function _ownerSetsCap(address bearer, uint88 cap, uint32 period) internal virtual;

    /// @dev Reverts if it is refused. By itself, by a signed order, or by a user operation.
    function pay(Party memory party, address to, uint256 amount, uint256 way) external virtual;

    // ------------------------------------------------------------------ actions

    /// @dev Several at once: a run of payments is what wears a cap down.
    function spend(uint256 seed) external {
        for (uint256 i = 0; i < 8; ++i) {
            _spendOnce(uint256(keccak256(abi.encode(seed, i))));
        }
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, time % 4 == 0 ? 2 * DAY : DAY / 8));
    }

    function grant(uint256 who, uint256 cap) public {
        Party memory party = _parties[who % _fresh];
        ISessionKeys.Terms memory terms = _terms(party);
        terms.cap = uint88(_bound(cap, 1, 1000));
        terms.expiresAt = uint40(block.timestamp + 1000 days);
        _onlyListed[party.addr] = cap % 3 == 0;
        if (_onlyListed[party.addr]) terms.permissions |= LISTED;
        _ownerGrants(terms);
        (_keyCap[party.addr], _live[party.addr]) = (terms.cap, true);
    }

    function revoke(uint256 who) public {
        address party = _parties[who % _fresh].addr;
        _ownerRevokes(party);
        _live[party] = false;
        ++revoked;
    }

    /// @dev What a thief, or a mistaken owner, would do to start anew.
    function revokeAndGrant(uint256 who, uint256 cap) external {
        revoke(who);
        grant(who, cap);
    }

    function revokeAll(uint256 dice) external {
        if (dice % 4 != 0) return;
        _ownerRevokesAll(dice);
        for (uint256 i = 0; i < _fresh; ++i) {
            _live[_parties[i].addr] = false;
        }
        _grantAll(dice);
    }

    /// @dev The books of the old key go on as the new one's.
    function rotate(uint256 who) external {
        address party = _parties[who % _fresh].addr;
        if (_fresh == PARTIES || !_live[party]) return;
        address replacement = _parties[_fresh++].addr;
        _ownerRotates(party, replacement);
        _keyBooks[replacement].takeOver(_keyBooks[party]);
        _keyCap[replacement] = _keyCap[party];
        _onlyListed[replacement] = _onlyListed[party];
        (_live[party], _live[replacement]) = (false, true);
        ++rotated;
    }

    /// @dev Of the account or a listed payee; sometimes lifted and set again.
    function setCap(uint256 which, uint256 cap) public {
        which %= PAYEES;
        cap = _bound(cap, 1, 1500);
        address bearer = which == 0 ? _wallet() : _payees[which - 1];
        if (cap % 3 == 0) _ownerSetsCap(bearer, 0, 0);
        _ownerSetsCap(bearer, uint88(cap), DAY);
        _capOf[which] = cap;
    }

    // ------------------------------------------------------------------ books

    function assertPaid() external view {
        vm.assertEq(_before - usdc.balanceOf(_wallet()), _sum, "what left is what was spent");
    }

    function _grantAll(uint256 dice) private {
        for (uint256 i = 0; i < KEYS; ++i) {
            grant(dice % 97 + i, dice >> i * 8);
        }
    }

    function _spendOnce(uint256 dice) private {
        Party memory party = _parties[dice % _fresh];
        uint256 place = (dice >> 16) % PAYEES;
        uint256 amount = (dice >> 32) % 120;
        try this.pay(party, _payees[place], amount, (dice >> 64) % WAYS) {
            vm.assertTrue(_live[party.addr] && amount != 0, "live, and something");
            vm.assertTrue(place != PAYEES - 1 || !_onlyListed[party.addr], "listed");
        } catch {
            ++refused;
            return;
        }
        ++spent;
        _sum += amount;
        _book(_keyBooks[party.addr], amount, _keyCap[party.addr], "key");
        _book(_books[0], amount, _capOf[0], "account");
        if (place < PAYEES - 1) _book(_books[place + 1], amount, _capOf[place + 1], "payee");
    }

    /// @dev The charge is new: windows that end with earlier ones were looked at then.
    function _book(
        ChargeBook.Charge[] storage book,
        uint256 amount,
        uint256 cap,
        string memory name
    ) private {
        book.add(amount);
        vm.assertLe(book.sumWithin(DAY), cap, name);
    }
}

/// @title The same of {SessionAccount}
contract AccountSpendingHandler is SpendingHandler {
    function pay(Party memory party, address to, uint256 amount, uint256 way) external override {
        if (way == 0) {
            vm.prank(party.addr);
            account.spend(to, amount);
        } else if (way == 1) {
            vm.prank(address(account.entryPoint()));
            account.spendAs(party.addr, to, amount);
        } else {
            ISessionKeys.Session memory session = account.sessionOf(party.addr);
            ISessionKeys.Order memory order = ISessionKeys.Order(
                party.addr, to, amount, session.orderNonce, uint40(block.timestamp)
            );
            bytes32 hash = _orderHash(address(account), order, session.sequence);
            account.spendSigned(order, _sign(party, _digest(account, hash)));
        }
    }

    function _wallet() internal view override returns (address) {
        return address(account);
    }

    /// @dev By the owner, or by what it signed.
    function _ownerGrants(ISessionKeys.Terms memory terms) internal override {
        if (terms.cap % 2 == 0) _grantSigned(terms);
        else _grantTerms(terms);
    }

    function _ownerRevokes(address party) internal override {
        vm.prank(owner.addr);
        account.revokeSession(party);
    }

    function _ownerRevokesAll(uint256) internal override {
        vm.prank(owner.addr);
        account.revokeAllSessions();
    }

    function _ownerRotates(address party, address replacement) internal override {
        vm.prank(owner.addr);
        account.rotateSession(party, replacement);
    }

    function _ownerSetsCap(address bearer, uint88 cap, uint32 period) internal override {
        vm.prank(owner.addr);
        account.setCap(bearer, cap, period);
    }
}

/// @title The same of {SessionModule}, which its account also takes out and installs again
contract ModuleSpendingHandler is SpendingHandler {
    SessionModule private _module;
    ModularAccount private _modular;

    function setUp() public override {
        super.setUp();
        _module = SessionModule(_deploy("SessionModule", abi.encode(usdc)));
        _modular = new ModularAccount(IEntryPoint(address(0xe4)), owner.addr);
        usdc.mint(address(_modular), 1000 * DOLLAR);
        _forEachType(abi.encodeWithSelector(_modular.installModule.selector));
    }

    function pay(Party memory party, address to, uint256 amount, uint256 way) external override {
        if (way == 0) {
            vm.prank(party.addr);
            _module.spend(address(_modular), to, amount);
        } else if (way == 1) {
            vm.prank(address(_modular));
            _module.spendAs(party.addr, to, amount);
        } else {
            ISessionKeys.Session memory session = _module.sessionOf(address(_modular), party.addr);
            ISessionKeys.Order memory order = ISessionKeys.Order(
                party.addr, to, amount, session.orderNonce, uint40(block.timestamp)
            );
            bytes32 hash = _orderHash(address(_modular), order, session.sequence);
            bytes32 digest = keccak256(
                abi.encodePacked(hex"1901", _domainOf("KeyfillSessions", address(_module)), hash)
            );
            _module.spendSigned(address(_modular), order, _sign(party, digest));
        }
    }

    function _wallet() internal view override returns (address) {
        return address(_modular);
    }

    function _ownerGrants(ISessionKeys.Terms memory terms) internal override {
        vm.prank(address(_modular));
        _module.grantTerms(terms);
    }

    function _ownerRevokes(address party) internal override {
        vm.prank(address(_modular));
        _module.revokeSession(party);
    }

    function _ownerRevokesAll(uint256 dice) internal override {
        if (dice % 8 == 0) {
            _forEachType(abi.encodeWithSelector(_modular.uninstallModule.selector));
            _forEachType(abi.encodeWithSelector(_modular.installModule.selector));
        } else {
            vm.prank(address(_modular));
            _module.revokeAllSessions();
        }
    }

    function _ownerRotates(address party, address replacement) internal override {
        vm.prank(address(_modular));
        _module.rotateSession(party, replacement);
    }

    function _ownerSetsCap(address bearer, uint88 cap, uint32 period) internal override {
        vm.prank(address(_modular));
        _module.setCap(bearer, cap, period);
    }

    function _forEachType(bytes memory selector) private {
        for (uint256 kind = MODULE_TYPE_VALIDATOR; kind <= MODULE_TYPE_EXECUTOR; ++kind) {
            vm.prank(address(_modular));
            (bool success,) = address(_modular)
                .call(abi.encodePacked(selector, abi.encode(kind, address(_module), bytes(""))));
            vm.assertTrue(success, "installed or not");
        }
    }
}

abstract contract SpendingInvariantTest is AccountTest {
    SpendingHandler internal handler;

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](12);
        selectors[0] = SpendingHandler.grant.selector;
        selectors[1] = SpendingHandler.revoke.selector;
        selectors[2] = SpendingHandler.revokeAndGrant.selector;
        selectors[3] = SpendingHandler.revokeAll.selector;
        selectors[4] = SpendingHandler.rotate.selector;
        selectors[5] = SpendingHandler.setCap.selector;
        selectors[6] = SpendingHandler.wait_.selector;
        selectors[7] = SpendingHandler.wait_.selector;
        for (uint256 i = 8; i < 12; ++i) {
            selectors[i] = SpendingHandler.spend.selector;
        }
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @dev Each payment was held against all its bearers when it passed; here is what they add up to.
    function invariant_noWindowSpendsMoreThanItsCap() public view {
        handler.assertPaid();
    }

    /// @dev The canary: runs in which nothing is spent, or nothing refused, would prove nothing.
    function test_handler_spendsAndRefuses() public {
        for (uint256 i = 0; i < 60; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("canary", i)));
            handler.spend(seed);
            if (i % 6 == 0) handler.rotate(seed >> 8);
            if (i % 6 == 1) handler.revokeAndGrant(seed >> 8, seed >> 16);
            if (i % 6 == 2) handler.setCap(seed >> 8, seed >> 16);
            if (i % 20 == 4) handler.revokeAll(seed & ~uint256(7));
            handler.wait_(seed);
        }
        vm.assertGe(handler.spent(), 100, "too little spent");
        vm.assertGe(handler.refused(), 100, "too little refused");
        vm.assertGe(handler.rotated(), 5, "too little rotated");
        vm.assertGe(handler.revoked(), 5, "too little revoked");
    }
}

contract AccountSpendingInvariantTest is SpendingInvariantTest {
    function setUp() public override {
        handler = new AccountSpendingHandler();
        _target(address(handler));
    }
}

contract ModuleSpendingInvariantTest is SpendingInvariantTest {
    function setUp() public override {
        handler = new ModuleSpendingHandler();
        _target(address(handler));
    }
}
