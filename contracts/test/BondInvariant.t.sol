// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BreachBond} from "../src/BreachBond.sol";
import {IBreachBond} from "../src/IBreachBond.sol";
import {IDocuments} from "../src/IDocuments.sol";
import {MeteredLine, MeteredTest} from "./MeteredTest.sol";

/// @title An operator that commits to fills that broke what was signed, and numbers that come in any order
/// @dev Everything is tried at any time, also again and too early: what succeeds is entered in books of
/// its own, and what broke a rule is counted.
contract BondHandler is MeteredTest {
    /// @dev A fill at 2 atoms a unit too much for its buyer, or too little for its seller.
    struct Commitment {
        IBreachBond.Leaf leaf;
        uint64 number;
        uint256 harm;
        uint256 settled;
        uint256 paid;
        bool isBuyer;
    }

    /// @dev A place of the ring: the last number that was settled there, and when.
    struct Place {
        uint64 number;
        bytes32 root;
        uint256 settledAt;
    }

    uint64 private constant ROOTS = 4096;
    uint64 private constant PLACES = 3;
    uint64 private constant ROUNDS = 3;
    /// @dev Numbers of commitments, away from the places at which numbers come again.
    uint64 private constant FIRST = 8;
    uint64 private constant UNITS = 100;
    uint96 private constant LIMIT = 200;
    uint64 private constant SETTLED_MAX = 300;

    BreachBond private _bond;
    Commitment[] private _commitments;
    mapping(uint64 place => Place) private _places;
    mapping(uint64 number => bool) private _isSettled;
    uint256 private _requestedAt;
    uint256 private _requested;

    uint256 public ghostBond;
    uint256 public ghostMadeGood;
    uint256 public numbersSettled;
    uint256 public numbersRefused;
    uint256 public breachesPaid;
    uint256 public breachesRefused;
    uint256 public releases;
    uint256 public releasesRefused;

    uint256 public numbersReused;
    uint256 public rootsLostEarly;
    uint256 public releasedEarly;

    constructor() {
        setUp();
        _bond = BreachBond(_deploy("BreachBond", abi.encode(settlement)));
        number = FIRST;
        usdc.approve(address(_bond), type(uint256).max);
    }

    // ------------------------------------------------------------------ the bond

    function fund(uint256 amount) external {
        amount = _bound(amount, 1, 300);
        usdc.mint(address(this), amount);
        _bond.fund(amount);
        ghostBond += amount;
    }

    function requestRelease(uint256 amount) external {
        amount = _bound(amount, 1, 1000);
        vm.prank(address(operator));
        _bond.requestRelease(amount);
        (_requested, _requestedAt) = (amount, block.timestamp);
    }

    function release() external {
        vm.prank(address(operator));
        try _bond.release(seller.addr) returns (uint256 amount) {
            ghostBond -= amount;
            ++releases;
            bool isEarly = block.timestamp < _requestedAt + 2 * uint256(EXIT_DELAY);
            if (isEarly || amount > _requested) ++releasedEarly;
            _requested = 0;
        } catch {
            ++releasesRefused;
        }
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, 40 minutes));
    }

    // ------------------------------------------------------------------ breaches

    /// @dev One leaf, whose root is its hash, in a batch that pays what it pays: nothing, some or more.
    function commit(uint256 dice) external {
        Commitment storage commitment = _commitments.push();
        IBreachBond.Leaf memory leaf = _leaf(dice);
        commitment.isBuyer = dice % 2 == 0;
        uint96 due = uint96(uint256(leaf.delivered) * LIMIT / UNITS);
        commitment.harm = (dice >> 16) % (uint256(due) + 1);
        uint96 harm = uint96(commitment.harm);
        leaf.payment = commitment.isBuyer ? due + harm : due - harm;
        commitment.leaf = leaf;
        commitment.number = number;
        uint64 settled = uint64((dice >> 32) % SETTLED_MAX);
        commitment.settled = settled;
        bytes memory batch = settled == 0 ? _emptyBatch() : _batchOf(settled);
        vm.prank(address(operator));
        settlement.settleMetered(number++, _rootOf(leaf), batch);
    }

    function _batchOf(uint64 amount) private view returns (bytes memory) {
        MeteredLine[] memory lines = new MeteredLine[](1);
        lines[0] = MeteredLine(1, amount);
        return _encode(_list(_receipt(OTHER, lines, other)));
    }

    /// @dev Again and again: what is left of the harm is had once the bond has it.
    function prove(uint256 which) external {
        if (_commitments.length == 0) return;
        Commitment storage commitment = _commitments[which % _commitments.length];
        IBreachBond.Leaf memory leaf = commitment.leaf;
        IBreachBond.Proof memory proof =
            IBreachBond.Proof(commitment.number, _rootOf(leaf), new bytes32[](0));
        address harmed = commitment.isBuyer ? leaf.buyer : leaf.seller;
        uint256 before = _balance(harmed);
        uint256 paid = _prove(commitment.isBuyer, leaf, proof);
        vm.assertEq(_balance(harmed) - before, paid, "the harmed party gets what is paid");
        commitment.paid += paid;
        ghostBond -= paid;
        ghostMadeGood += paid;
    }

    function _prove(bool isBuyer, IBreachBond.Leaf memory leaf, IBreachBond.Proof memory proof)
        private
        returns (uint256)
    {
        if (isBuyer) {
            try _bond.proveIntentBreach(leaf, proof, _signedIntent()) returns (uint256 paid) {
                ++breachesPaid;
                return paid;
            } catch {}
        } else {
            try _bond.proveOfferBreach(leaf, proof, _signedOffer()) returns (uint256 paid) {
                ++breachesPaid;
                return paid;
            } catch {}
        }
        ++breachesRefused;
        return 0;
    }

    // ------------------------------------------------------------------ the ring of roots

    /// @dev Any number of a few places: the next one, one that was used, one of a round to come.
    function settleNumber(uint256 dice) external {
        uint64 index = uint64(dice % PLACES);
        uint64 settled = index + ROOTS * uint64((dice >> 8) % ROUNDS);
        bytes32 root = keccak256(abi.encode(dice));
        vm.prank(address(operator));
        try settlement.settleMetered(settled, root, _emptyBatch()) {
            Place storage place = _places[index];
            bool isFirst = place.settledAt == 0;
            uint64 expected = isFirst ? index : place.number + ROOTS;
            if (_isSettled[settled] || settled != expected) ++numbersReused;
            if (!isFirst && block.timestamp < place.settledAt + EXIT_DELAY) ++rootsLostEarly;
            _isSettled[settled] = true;
            (place.number, place.root, place.settledAt) = (settled, root, block.timestamp);
            ++numbersSettled;
        } catch {
            ++numbersRefused;
        }
    }

    // ------------------------------------------------------------------ documents

    function _leaf(uint256 dice) private view returns (IBreachBond.Leaf memory leaf) {
        leaf.fill = keccak256(abi.encode(dice));
        leaf.intent = settlement.intentDigest(_signedIntent());
        leaf.offer = settlement.offerDigest(_signedOffer());
        (leaf.buyer, leaf.seller) = (buyer.addr, low.addr);
        leaf.resource = RESOURCE;
        leaf.units = UNITS;
        leaf.delivered = uint64((dice >> 8) % (UNITS + 1));
    }

    function _signedIntent() private view returns (IDocuments.Intent memory intent) {
        intent.account = buyer.addr;
        intent.resource = RESOURCE;
        (intent.units, intent.unitsMin, intent.limit) = (UNITS, 1, LIMIT);
        (intent.validFrom, intent.validUntil) = (NOW, NOW + 1000 days);
    }

    function _signedOffer() private view returns (IDocuments.Offer memory offer) {
        offer.account = low.addr;
        offer.resource = RESOURCE;
        (offer.units, offer.limit) = (UNITS, LIMIT);
        (offer.validFrom, offer.validUntil) = (NOW, NOW + 1000 days);
    }

    function _rootOf(IBreachBond.Leaf memory leaf) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(leaf))));
    }

    function _emptyBatch() private pure returns (bytes memory) {
        return abi.encodePacked(uint8(0), uint16(0), uint16(0));
    }

    // ------------------------------------------------------------------ what must hold

    function checkBond() external view {
        vm.assertEq(usdc.balanceOf(address(_bond)), ghostBond, "what is left of the bond");
        uint256 paid;
        for (uint256 i = 0; i < _commitments.length; ++i) {
            Commitment storage commitment = _commitments[i];
            vm.assertLe(commitment.paid, commitment.harm, "a leaf made good twice");
            vm.assertLe(commitment.paid, commitment.settled, "more than its batch paid");
            vm.assertEq(
                _bond.madeGood(commitment.number, commitment.leaf, commitment.isBuyer),
                commitment.paid,
                "what was made good"
            );
            paid += commitment.paid;
        }
        vm.assertEq(paid, ghostMadeGood, "made good, all in all");
    }

    function checkRoots() external view {
        vm.assertEq(numbersReused, 0, "a number that was used, or left another out");
        vm.assertEq(rootsLostEarly, 0, "a root gone before its delay");
        for (uint64 i = 0; i < PLACES; ++i) {
            Place storage place = _places[i];
            uint256 settledAt = settlement.rootSettledAt(place.number, place.root);
            vm.assertEq(settledAt, place.settledAt, "the last root of its place");
        }
    }
}

contract BondInvariantTest is MeteredTest {
    BondHandler private _handler;

    function setUp() public override {
        _handler = new BondHandler();
        _target(address(_handler));
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](9);
        selectors[0] = BondHandler.fund.selector;
        selectors[1] = BondHandler.requestRelease.selector;
        selectors[2] = BondHandler.release.selector;
        selectors[3] = BondHandler.wait_.selector;
        selectors[4] = BondHandler.commit.selector;
        selectors[5] = BondHandler.prove.selector;
        selectors[6] = BondHandler.prove.selector;
        selectors[7] = BondHandler.settleNumber.selector;
        selectors[8] = BondHandler.settleNumber.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(_handler), selectors);
    }

    /// @dev All in one campaign: what costs is the calls, and after each of them all of it is looked at.
    function invariant_bondAndRootsHold() public view {
        _handler.checkBond();
        vm.assertEq(_handler.releasedEarly(), 0, "released before its delay");
        _handler.checkRoots();
    }

    /// @dev The canary: runs in which nothing is paid, released or refused would prove nothing.
    function test_handler_paysReleasesAndRefuses() public {
        for (uint256 i = 0; i < 150; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("canary", i)));
            _handler.settleNumber(seed);
            if (i % 3 == 0) _handler.fund(seed >> 8);
            if (i % 2 == 0) _handler.commit(seed >> 16);
            if (i % 16 == 0) _handler.requestRelease(seed >> 24);
            _handler.prove(seed >> 32);
            _handler.release();
            _handler.wait_(seed >> 40);
        }
        _handler.checkBond();
        _handler.checkRoots();
        vm.assertGe(_handler.numbersSettled(), 2 * 3, "too few numbers settled");
        vm.assertGe(_handler.numbersRefused(), 50, "too few numbers refused");
        vm.assertGe(_handler.breachesPaid(), 20, "too few breaches paid");
        vm.assertGe(_handler.breachesRefused(), 10, "too few breaches refused");
        vm.assertGe(_handler.releases(), 2, "too few releases");
        vm.assertGe(_handler.releasesRefused(), 50, "too few releases refused");
    }
}
