// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BreachBond} from "../src/BreachBond.sol";
import {IBreachBond} from "../src/IBreachBond.sol";
import {IDocuments} from "../src/IDocuments.sol";
import {IMetered} from "../src/IMetered.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {MeteredLine, MeteredRecord, MeteredTest} from "./MeteredTest.sol";

/// @title Fills that break what was signed, made good from the operator's bond
contract BreachBondTest is MeteredTest {
    uint256 private constant BOND = 5000;
    /// @dev More than any harm here.
    uint64 private constant PAID = 10_000;
    uint16 private constant PAYER = 4;

    BreachBond private _bond;
    Party private _payer;

    function setUp() public override {
        super.setUp();
        _payer = _party("payer");
        _fund(_payer.addr, 1_000_000_000);
        listed.push(_payer.addr);
        book = _deployBook(listed);
        _bond = BreachBond(_deploy("BreachBond", abi.encode(settlement)));
        usdc.mint(address(this), BOND);
        usdc.approve(address(_bond), BOND);
        _bond.fund(BOND);
    }

    // ------------------------------------------------------------------ the buyer's side

    /// @dev A fill above the signed price is refunded down to floor(delivered * limit / units), once.
    function test_intentBreach_refundsWhatIsAboveTheLimit() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 33, 100);
        IBreachBond.Proof memory proof = _commit(leaf);
        // 33 of 100 units at up to 200 atoms: 66.
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), 34);
        vm.assertEq(_balance(buyer.addr), 10_000_034);
        vm.assertEq(usdc.balanceOf(address(_bond)), BOND - 34);
        vm.assertEq(_bond.madeGood(proof.number, leaf, true), 34);
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveIntentBreach(leaf, proof, intent);
    }

    /// @dev Whatever keeps the limit is no breach; one atom more is.
    function testFuzz_intentBreach_isExact(uint64 delivered, uint96 limit) public {
        IDocuments.Intent memory intent = _signedIntent();
        delivered = uint64(_bound(delivered, 0, 100));
        intent.limit = uint96(_bound(limit, 0, 5000));
        uint256 due = uint256(delivered) * intent.limit / 100;
        IBreachBond.Leaf memory leaf = _leaf(intent, delivered, uint96(due));
        IBreachBond.Proof memory proof = _commit(leaf);
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveIntentBreach(leaf, proof, intent);
        leaf.payment += 1;
        vm.assertEq(_bond.proveIntentBreach(leaf, _commit(leaf), intent), 1);
    }

    /// @dev Another's intent, another resource, or before it was valid: nothing was due.
    function test_intentBreach_refundsAllOfWhatWasNotSigned() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 50, 100);
        leaf.resource = keccak256("another");
        vm.assertEq(_bond.proveIntentBreach(leaf, _commit(leaf), intent), 100);

        leaf = _leaf(intent, 50, 100);
        leaf.buyer = other.addr;
        vm.assertEq(_bond.proveIntentBreach(leaf, _commit(leaf), intent), 100);
        vm.assertEq(_balance(other.addr), 10_000_100);

        intent.validFrom = NOW + 1;
        leaf = _leaf(intent, 50, 100);
        vm.assertEq(_bond.proveIntentBreach(leaf, _commit(leaf), intent), 100);
    }

    /// @dev A buyer uses what it bought until the last second, and by a claim of one atom keeps the operator
    /// from settling that without its signature. It signs, or lets the claim be paid, when the grace of
    /// its documents is over: what the operator then commits to is late, and breaks nothing.
    function test_attack_buyerMakesItsFillsLate() public {
        IDocuments.Intent memory intent = _signedIntent();
        IDocuments.Mandate memory mandate = _signedMandate();
        (intent.validUntil, mandate.validUntil) = (NOW, NOW);
        MeteredLine[] memory lines = _payment(1);
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, lines);
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        settlement.claimReceipt(receipt, _packed(lines), PLAIN, signature);
        vm.assertEq(_meter(_attested(BUYER, _payment(66))), 0);
        _assertSkipped(IMetered.RecordProblem.ClaimPending);

        vm.warp(NOW + EXIT_DELAY + 1);
        settlement.executeClaim(buyer.addr, _packed(lines));
        IBreachBond.Leaf memory leaf = _leaf(intent, 33, 66);
        IBreachBond.Proof memory proof = _settleOf(leaf, _receipt(BUYER, _payment(66), buyer));
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveIntentBreach(leaf, proof, intent);
        leaf.intent = settlement.mandateDigest(mandate);
        proof = _settleOf(leaf, _attested(BUYER, _payment(66)));
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveMandateBreach(leaf, proof, mandate);
    }

    /// @dev More delivered than committed, or than was asked for, is not paid for.
    function test_intentBreach_countsNoMoreThanWasSigned() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 60, 120);
        leaf.units = 50;
        vm.assertEq(_bond.proveIntentBreach(leaf, _commit(leaf), intent), 20);
        leaf = _leaf(intent, 110, 220);
        leaf.units = 110;
        vm.assertEq(_bond.proveIntentBreach(leaf, _commit(leaf), intent), 20);
    }

    /// @dev A mandate's price, limit and resource, where an empty name is any.
    function test_mandateBreach_refundsWhatIsAboveItsTerms() public {
        IDocuments.Mandate memory mandate = _signedMandate();
        mandate.tickMax = 1_500_000;
        vm.assertEq(_proveMandate(mandate, 33, 49), 0);
        vm.assertEq(_proveMandate(mandate, 33, 50), 1);
        vm.assertEq(_proveMandate(mandate, 1000, 101), 1);
        mandate.resource = keccak256("another");
        vm.assertEq(_proveMandate(mandate, 33, 10), 10);
        mandate.resource = RESOURCE;
        vm.assertEq(_proveMandate(mandate, 33, 10), 0);
        mandate.validFrom = NOW + 1;
        vm.assertEq(_proveMandate(mandate, 33, 10), 10);
        mandate.validFrom = NOW;
        mandate.account = other.addr;
        vm.assertEq(_proveMandate(mandate, 33, 10), 10);
    }

    // ------------------------------------------------------------------ the seller's side

    /// @dev A fill below the offer's price is made up to floor(delivered * limit / units).
    function test_offerBreach_makesUpWhatIsBelowTheLimit() public {
        IDocuments.Offer memory offer = _signedOffer();
        IBreachBond.Leaf memory leaf = _leaf(_signedIntent(), 33, 40);
        leaf.offer = settlement.offerDigest(offer);
        IBreachBond.Proof memory proof = _commit(leaf);
        // 33 of 1,000 units for at least 1,500 atoms: 49.
        vm.assertEq(_bond.proveOfferBreach(leaf, proof, offer), 9);
        vm.assertEq(_balance(low.addr), 9);
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveOfferBreach(leaf, proof, offer);
        leaf.payment = 49;
        proof = _commit(leaf);
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveOfferBreach(leaf, proof, offer);
    }

    /// @dev What a solver gets is not the seller's: 33 of 1,000 units for 60 are 49 for it and 11 for the
    /// solver at most. A reward above all that is paid leaves it nothing.
    function test_offerBreach_isWithoutTheSolversReward() public {
        IDocuments.Offer memory offer = _signedOffer();
        IBreachBond.Leaf memory leaf = _leaf(_signedIntent(), 33, 60);
        leaf.offer = settlement.offerDigest(offer);
        (leaf.auction, leaf.solver, leaf.reward) = (7, high.addr, 11);
        IBreachBond.Proof memory proof = _commit(leaf);
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveOfferBreach(leaf, proof, offer);
        leaf.reward = 14;
        proof = _commit(leaf);
        vm.assertEq(_bond.proveOfferBreach(leaf, proof, offer), 3);
        leaf.reward = type(uint96).max;
        proof = _commit(leaf);
        vm.assertEq(_bond.proveOfferBreach(leaf, proof, offer), 49);
    }

    /// @dev Both sides of one fill can be broken, and each is made good by itself.
    function test_bothSides_areMadeGood() public {
        IDocuments.Offer memory offer = _signedOffer();
        offer.limit = 10_000;
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 10, 30);
        leaf.offer = settlement.offerDigest(offer);
        IBreachBond.Proof memory proof = _commit(leaf);
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), 10);
        vm.assertEq(_bond.proveOfferBreach(leaf, proof, offer), 70);
    }

    function test_RevertIf_offerIsOfAnother() public {
        IDocuments.Offer memory offer = _signedOffer();
        IBreachBond.Leaf memory leaf = _leaf(_signedIntent(), 33, 40);
        leaf.offer = settlement.offerDigest(offer);
        leaf.seller = high.addr;
        IBreachBond.Proof memory proof = _commit(leaf);
        vm.expectRevert(IBreachBond.BreachDocumentOther.selector);
        _bond.proveOfferBreach(leaf, proof, offer);
    }

    // ------------------------------------------------------------------ what proves nothing

    /// @dev A document that the operator did not commit to says nothing about its fills.
    function test_attack_inventedDocument() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 33, 66);
        IBreachBond.Proof memory proof = _commit(leaf);
        intent.limit = 1;
        vm.expectRevert(IBreachBond.BreachDocumentOther.selector);
        _bond.proveIntentBreach(leaf, proof, intent);
        IDocuments.Mandate memory mandate;
        vm.expectRevert(IBreachBond.BreachDocumentOther.selector);
        _bond.proveMandateBreach(leaf, proof, mandate);
        IDocuments.Offer memory offer = _signedOffer();
        vm.expectRevert(IBreachBond.BreachDocumentOther.selector);
        _bond.proveOfferBreach(leaf, proof, offer);
    }

    /// @dev A fill that no batch committed to, or of another batch, or whose root is gone.
    function test_attack_inventedFill() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 33, 100);
        IBreachBond.Proof memory proof = _commit(leaf);
        leaf.payment = 5000;
        vm.expectRevert(IBreachBond.BreachLeafUnknown.selector);
        _bond.proveIntentBreach(leaf, proof, intent);
        leaf.payment = 100;
        proof.number += 1;
        vm.expectRevert(
            abi.encodeWithSelector(IBreachBond.BreachRootUnknown.selector, proof.number)
        );
        _bond.proveIntentBreach(leaf, proof, intent);
        proof.number -= 1;
        proof.root = keccak256("other");
        vm.expectRevert(
            abi.encodeWithSelector(IBreachBond.BreachRootUnknown.selector, proof.number)
        );
        _bond.proveIntentBreach(leaf, proof, intent);
    }

    // ------------------------------------------------------------------ the bond

    /// @dev What the bond cannot pay now can be had when there is more.
    function test_bond_paysTheRestWhenFilledUp() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 0, uint96(BOND + 7));
        IBreachBond.Proof memory proof = _commit(leaf);
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), BOND);
        vm.expectRevert(IBreachBond.BreachNone.selector);
        _bond.proveIntentBreach(leaf, proof, intent);
        usdc.mint(address(this), 100);
        usdc.approve(address(_bond), 100);
        _bond.fund(100);
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), 7);
    }

    /// @dev The bond leaves later than any root that stood when it was asked for.
    function test_release_waitsLongerThanAnyDispute() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 33, 100);
        vm.prank(address(operator));
        uint256 availableAt = _bond.requestRelease(type(uint256).max);
        IBreachBond.Proof memory proof = _commit(leaf);
        vm.warp(availableAt - 1);
        vm.prank(address(operator));
        vm.expectRevert(abi.encodeWithSelector(IBreachBond.BondReleaseEarly.selector, availableAt));
        _bond.release(address(operator));
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), 34);
        vm.assertGe(availableAt, NOW + 2 * uint256(EXIT_DELAY), "two delays");
        vm.warp(availableAt);
        vm.prank(address(operator));
        vm.assertEq(_bond.release(low.addr), BOND - 34);
        vm.assertEq(usdc.balanceOf(low.addr), BOND - 34);
        vm.prank(address(operator));
        vm.expectRevert(IBreachBond.BondReleaseMissing.selector);
        _bond.release(low.addr);
    }

    // ------------------------------------------------------------------ what a thief can have of it

    /// @dev A key that may settle, with nothing left of its cap, commits to a fill that never was: its batch
    /// pays nothing, so nothing is made good.
    function test_thief_withNothingLeftOfItsCap_takesNothingOfTheBond() public {
        _grant(operator, operatorOwner, operatorKey, SETTLE, 0);
        (IBreachBond.Leaf memory leaf, IDocuments.Intent memory intent) = _invented();
        IBreachBond.Proof memory proof = _settleAsThief(leaf, 0);
        vm.expectRevert(abi.encodeWithSelector(IBreachBond.BreachUnpaid.selector, proof.number));
        _bond.proveIntentBreach(leaf, proof, intent);
    }

    /// @dev Whatever a thief commits to, its batches move what is left of its cap and no more; so does the
    /// bond, although the thief pays itself.
    function test_mostAThiefCanTake_withASettlingKey_isItsCapOfTheBond() public {
        uint64 cap = 1000;
        _grant(operator, operatorOwner, operatorKey, SETTLE, cap);
        (IBreachBond.Leaf memory leaf, IDocuments.Intent memory intent) = _invented();
        IBreachBond.Proof memory proof = _settleAsThief(leaf, cap - 300);
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), cap - 300);
        vm.expectRevert(abi.encodeWithSelector(IBreachBond.BreachUnpaid.selector, proof.number));
        _bond.proveIntentBreach(leaf, proof, intent);
        leaf.fill = "another fill that never was";
        proof = _settleAsThief(leaf, 300);
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), 300);
        leaf.fill = "a third";
        bytes memory batch = _encode(_list(_receipt(PAYER, _payment(1), _payer)));
        bytes memory data = abi.encodeCall(IMetered.settleMetered, (number, _hashOf(leaf), batch));
        vm.prank(operatorKey.addr);
        vm.expectPartialRevert(ISessionKeys.SessionCapExceeded.selector);
        operator.callSettlement(data);
        vm.assertEq(usdc.balanceOf(address(_bond)), BOND - cap);
    }

    /// @dev Of all leaves of a batch together no more is made good than it paid, and of another batch as much
    /// again.
    function test_bond_makesGoodWhatABatchPaid() public {
        IDocuments.Intent memory intent = _signedIntent();
        IBreachBond.Leaf memory leaf = _leaf(intent, 0, 60);
        IBreachBond.Leaf memory second = _leaf(intent, 0, 50);
        (bytes32 hash, bytes32 sibling) = (_hashOf(leaf), _hashOf(second));
        IBreachBond.Proof memory proof = _settle(_nodeOf(hash, sibling), 100);
        proof.siblings = new bytes32[](1);
        proof.siblings[0] = sibling;
        vm.assertEq(_bond.proveIntentBreach(leaf, proof, intent), 60);
        proof.siblings[0] = hash;
        vm.assertEq(_bond.proveIntentBreach(second, proof, intent), 40);
        vm.assertEq(_bond.madeGoodOf(proof.number), 100);
        vm.expectRevert(abi.encodeWithSelector(IBreachBond.BreachUnpaid.selector, proof.number));
        _bond.proveIntentBreach(second, proof, intent);
        vm.assertEq(_bond.proveIntentBreach(second, _commit(second), intent), 50);
    }

    function test_RevertIf_release_byAnother() public {
        bytes memory reason =
            abi.encodeWithSelector(IBreachBond.BondCallerNotOperator.selector, address(this));
        vm.expectRevert(reason);
        _bond.requestRelease(1);
        vm.expectRevert(reason);
        _bond.release(address(this));
    }

    function test_RevertIf_bond_ofNothing() public {
        vm.expectRevert(IBreachBond.BondAmountZero.selector);
        _bond.fund(0);
        vm.startPrank(address(operator));
        vm.expectRevert(IBreachBond.BondAmountZero.selector);
        _bond.requestRelease(0);
        vm.expectRevert(IBreachBond.BondZeroAddress.selector);
        _bond.release(address(0));
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ helpers

    function _signedIntent() private view returns (IDocuments.Intent memory) {
        return IDocuments.Intent({
            account: buyer.addr,
            resource: RESOURCE,
            units: 100,
            unitsMin: 1,
            limit: 200,
            validFrom: NOW,
            validUntil: NOW + 1 days,
            immediate: false,
            epoch: 0,
            nonce: 1
        });
    }

    function _signedMandate() private view returns (IDocuments.Mandate memory) {
        return IDocuments.Mandate({
            account: buyer.addr,
            resource: keccak256(""),
            tickMax: 2_000_000,
            limit: 100,
            validFrom: NOW,
            validUntil: NOW + 1 days,
            epoch: 0,
            nonce: 1
        });
    }

    function _signedOffer() private view returns (IDocuments.Offer memory) {
        return IDocuments.Offer({
            account: low.addr,
            resource: RESOURCE,
            key: "key",
            units: 1000,
            limit: 1500,
            windowUnits: 0,
            windowSeconds: 0,
            validFrom: NOW,
            validUntil: NOW + 1 days,
            epoch: 0,
            nonce: 1
        });
    }

    function _leaf(IDocuments.Intent memory intent, uint64 delivered, uint96 payment)
        private
        view
        returns (IBreachBond.Leaf memory)
    {
        return IBreachBond.Leaf({
            fill: keccak256(abi.encode(delivered, payment)),
            intent: settlement.intentDigest(intent),
            offer: "offer",
            buyer: buyer.addr,
            seller: low.addr,
            resource: RESOURCE,
            units: delivered,
            delivered: delivered,
            payment: payment,
            auction: 0,
            solver: address(0),
            reward: 0
        });
    }

    /// @dev Settles a batch whose tree has this leaf and another.
    function _commit(IBreachBond.Leaf memory leaf)
        private
        returns (IBreachBond.Proof memory proof)
    {
        bytes32 sibling = keccak256("another leaf");
        proof = _settle(_nodeOf(_hashOf(leaf), sibling), PAID);
        proof.siblings = new bytes32[](1);
        proof.siblings[0] = sibling;
    }

    /// @dev Settles a batch with this root that pays so much.
    function _settle(bytes32 root, uint64 amount) private returns (IBreachBond.Proof memory proof) {
        bytes memory batch = _encode(_list(_receipt(PAYER, _payment(amount), _payer)));
        proof.number = number;
        proof.root = root;
        vm.prank(address(operator));
        vm.assertEq(settlement.settleMetered(number++, root, batch), amount);
    }

    /// @dev Settles a batch of one record, whose tree has this leaf alone.
    function _settleOf(IBreachBond.Leaf memory leaf, MeteredRecord memory record)
        private
        returns (IBreachBond.Proof memory proof)
    {
        proof.number = number;
        proof.root = _hashOf(leaf);
        bytes memory batch = _encode(_list(record));
        vm.prank(address(operator));
        vm.assertEq(settlement.settleMetered(number++, proof.root, batch), leaf.payment);
    }

    /// @dev By the operator's session key: its batch has one leaf, and pays so much.
    function _settleAsThief(IBreachBond.Leaf memory leaf, uint64 amount)
        private
        returns (IBreachBond.Proof memory proof)
    {
        MeteredRecord[] memory records = new MeteredRecord[](0);
        if (amount != 0) records = _list(_receipt(PAYER, _payment(amount), _payer));
        proof.number = number;
        proof.root = _hashOf(leaf);
        bytes memory batch = _encode(records);
        bytes memory data = abi.encodeCall(IMetered.settleMetered, (number++, proof.root, batch));
        vm.prank(operatorKey.addr);
        operator.callSettlement(data);
    }

    /// @dev A fill that never was, under an intent that nobody signed.
    function _invented()
        private
        view
        returns (IBreachBond.Leaf memory leaf, IDocuments.Intent memory intent)
    {
        intent = _signedIntent();
        intent.account = other.addr;
        leaf = _leaf(intent, 1, type(uint96).max);
        leaf.buyer = other.addr;
    }

    function _payment(uint64 amount) private pure returns (MeteredLine[] memory lines) {
        lines = new MeteredLine[](1);
        lines[0] = MeteredLine(1, amount);
    }

    function _hashOf(IBreachBond.Leaf memory leaf) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(leaf))));
    }

    function _nodeOf(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return
            left < right
                ? keccak256(bytes.concat(left, right))
                : keccak256(bytes.concat(right, left));
    }

    /// @return paid 0 if there is no breach
    function _proveMandate(IDocuments.Mandate memory mandate, uint64 delivered, uint96 payment)
        private
        returns (uint256 paid)
    {
        IBreachBond.Leaf memory leaf = _leaf(_signedIntent(), delivered, payment);
        leaf.intent = settlement.mandateDigest(mandate);
        IBreachBond.Proof memory proof = _commit(leaf);
        try _bond.proveMandateBreach(leaf, proof, mandate) returns (uint256 paid_) {
            return paid_;
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(IBreachBond.BreachNone.selector));
        }
    }
}
