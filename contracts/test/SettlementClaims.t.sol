// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IClaims} from "../src/IClaims.sol";
import {IEscrow} from "../src/IEscrow.sol";
import {IMetered} from "../src/IMetered.sol";
import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {SettledIntent} from "./Batch.sol";
import {MeteredLine, MeteredRecord, MeteredTest} from "./MeteredTest.sol";

/// @title Receipts settled without the operator, and receipts of session keys
contract SettlementClaimsTest is MeteredTest {
    Party private _key;

    function setUp() public override {
        super.setUp();
        _key = _party("session key");
    }

    // ------------------------------------------------------------------ claims

    /// @dev A seller posts the receipt, waits, and is paid, whatever the operator does not do.
    function test_claim_paysSellersWithoutTheOperator() public {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 4));
        bytes memory lines = _packed(_lines(3, 4));
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        vm.expectEmit(address(settlement));
        emit IClaims.ReceiptClaimed(buyer.addr, buyer.addr, 0, 7, NOW + EXIT_DELAY, lines);
        vm.prank(low.addr);
        uint256 executableAt = settlement.claimReceipt(receipt, lines, PLAIN, signature);
        vm.assertEq(executableAt, NOW + EXIT_DELAY);
        vm.assertTrue(settlement.meterOf(buyer.addr).isClaimed);

        vm.warp(executableAt);
        vm.expectEmit(address(settlement));
        emit IClaims.ClaimExecuted(buyer.addr, 7, 7, lines);
        vm.assertEq(settlement.executeClaim(buyer.addr, lines), 7);
        vm.assertEq(_balance(low.addr), 3);
        vm.assertEq(_balance(high.addr), 4);
        vm.assertEq(_balance(buyer.addr), 9_999_993);
        vm.assertEq(_spent(buyer.addr), 7);
        vm.assertFalse(settlement.meterOf(buyer.addr).isClaimed);
    }

    function test_RevertIf_claim_early() public {
        _claim(_lines(3, 4));
        vm.warp(NOW + EXIT_DELAY - 1);
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimEarly.selector, NOW + EXIT_DELAY));
        settlement.executeClaim(buyer.addr, _packed(_lines(3, 4)));
    }

    /// @dev Whatever the buyer asked for before, and however long ago: what is claimed stays.
    function test_attack_buyerWithdrawsWhatIsClaimed() public {
        vm.prank(buyer.addr);
        uint256 availableAt = settlement.requestWithdrawal(type(uint256).max);
        vm.warp(availableAt - 1);
        uint256 executableAt = _claim(_lines(9_000_000));
        vm.warp(availableAt);
        vm.prank(buyer.addr);
        vm.assertEq(settlement.withdraw(buyer.addr), 1_000_000);
        vm.warp(executableAt);
        vm.assertEq(_execute(_lines(9_000_000)), 9_000_000);
    }

    /// @dev A claim holds back what it says, even of a balance that is less, and only while it waits.
    function test_claim_holdsNothingOnceItIsPaid() public {
        vm.prank(buyer.addr);
        settlement.requestWithdrawal(type(uint256).max);
        _claim(_lines(20_000_000));
        vm.warp(NOW + EXIT_DELAY);
        vm.prank(buyer.addr);
        vm.assertEq(settlement.withdraw(buyer.addr), 0);
        vm.assertEq(_execute(_lines(20_000_000)), 10_000_000);
        _fund(buyer.addr, 5);
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(5);
        vm.warp(block.timestamp + EXIT_DELAY);
        vm.assertEq(settlement.withdraw(buyer.addr), 5);
        vm.stopPrank();
    }

    /// @dev A buyer that pays a friend by a claim, who asked for all it may ever get long ago, is out no
    /// sooner than by a withdrawal: the operator settles what was sold within the exit delay.
    function test_attack_claimAsAFasterExit() public {
        vm.prank(low.addr);
        settlement.requestWithdrawal(type(uint256).max);
        vm.warp(NOW + EXIT_DELAY);
        SettledIntent memory intent = _intent(buyer.addr, 1, 100, 10_000_000);
        intent.lines = _list(_line(0, 100, 100, 10_000_000, "fill"));
        uint256 executableAt = _claim(_lines(10_000_000));
        vm.warp(block.timestamp + EXIT_DELAY - 1);
        bytes memory lines = _packed(_lines(10_000_000));
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimEarly.selector, executableAt));
        settlement.executeClaim(buyer.addr, lines);
        _settle(_signed(_offer(seller.addr, 1, 1000, 1000), seller), _signed(intent, buyer));
        _assertSettled("fill");
        vm.warp(executableAt);
        vm.assertEq(_execute(_lines(10_000_000)), 0);
    }

    /// @dev Paid once: the base has moved.
    function test_RevertIf_claim_executedTwice() public {
        _claim(_lines(3, 4));
        vm.warp(NOW + EXIT_DELAY);
        _execute(_lines(3, 4));
        _expectMissing(_lines(3, 4));
        _expectClaimRevert(
            _receiptAt(0, _lines(3, 4)),
            abi.encodeWithSelector(IClaims.ClaimBaseInvalid.selector, uint64(0), uint256(7))
        );
    }

    function test_RevertIf_claim_neverPosted() public {
        _expectMissing(_lines(3, 4));
    }

    /// @dev A later receipt takes the place of an earlier one, and keeps its time.
    function test_claim_isReplacedByALargerOneAtItsTime() public {
        _claim(_lines(3, 4));
        vm.warp(NOW + EXIT_DELAY - 1);
        vm.assertEq(_claim(_lines(5, 4)), NOW + EXIT_DELAY);
        vm.warp(NOW + EXIT_DELAY);
        bytes memory before = _packed(_lines(3, 4));
        vm.expectRevert(IClaims.ClaimLinesInvalid.selector);
        settlement.executeClaim(buyer.addr, before);
        vm.assertEq(_execute(_lines(5, 4)), 9);
    }

    function test_RevertIf_claim_isNotLarger() public {
        _claim(_lines(3, 4));
        bytes memory reason = abi.encodeWithSelector(IClaims.ClaimNotLarger.selector, uint64(7));
        _expectClaimRevert(_receiptOf(BUYER, _lines(4, 3)), _lines(4, 3), reason);
        _expectClaimRevert(_receiptOf(BUYER, _lines(3, 3)), _lines(3, 3), reason);
    }

    /// @dev The operator settling any receipt ends the claim; the next claim has its full time.
    function test_claim_endsWhenAReceiptSettles() public {
        _claim(_lines(3, 4));
        _meter(_receipt(BUYER, _lines(30, 40), buyer));
        vm.warp(NOW + EXIT_DELAY);
        _expectMissing(_lines(3, 4));
        vm.assertEq(_claim(_lines(1, 1)), block.timestamp + EXIT_DELAY);
    }

    /// @dev An older one too: it is the operator who says which of two receipts the buyer meant.
    function test_claim_endsWhenAnOlderReceiptSettles() public {
        _claim(_lines(3, 4));
        vm.assertEq(_meter(_receipt(BUYER, _lines(3, 0), buyer)), 3);
        vm.warp(NOW + EXIT_DELAY);
        _expectMissing(_lines(3, 4));
        bytes memory reason =
            abi.encodeWithSelector(IClaims.ClaimBaseInvalid.selector, uint64(0), uint256(3));
        _expectClaimRevert(_receiptAt(0, _lines(3, 4)), reason);
    }

    /// @dev Of an account that has nothing nothing is paid, and its receipt is as good as before.
    function test_claim_ofAnEmptyAccount_canBePostedAgain() public {
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(type(uint256).max);
        vm.warp(NOW + EXIT_DELAY);
        settlement.withdraw(buyer.addr);
        vm.stopPrank();
        _claim(_lines(3, 4));
        vm.warp(block.timestamp + EXIT_DELAY);
        vm.assertEq(_execute(_lines(3, 4)), 0);
        vm.assertFalse(settlement.meterOf(buyer.addr).isClaimed);
        _fund(buyer.addr, 10);
        vm.assertEq(_claim(_lines(3, 4)), block.timestamp + EXIT_DELAY);
        vm.warp(block.timestamp + EXIT_DELAY);
        vm.assertEq(_execute(_lines(3, 4)), 7);
        vm.assertEq(_spent(buyer.addr), 7);
    }

    /// @dev An attestation would move the base and so kill the claim.
    function test_attack_operatorAttestsToKillAClaim() public {
        _claim(_lines(3, 4));
        _meter(_attested(BUYER, _lines(1)));
        _assertSkipped(IMetered.RecordProblem.ClaimPending);
        vm.warp(NOW + EXIT_DELAY);
        vm.assertEq(_execute(_lines(3, 4)), 7);
        vm.assertEq(_meter(_attested(BUYER, _lines(1))), 1);
    }

    /// @dev A claim covers what was attested before it, as any receipt does.
    function test_claim_covers() public {
        _meter(_attested(BUYER, _lines(5)));
        _claim(_lines(3, 4));
        vm.warp(NOW + EXIT_DELAY);
        _execute(_lines(3, 4));
        vm.assertEq(_uncovered(buyer.addr), 0);
        vm.assertEq(_spent(buyer.addr), 12);
    }

    /// @dev Where there is too little, each seller gets its share, rounded down for the buyer, and the
    /// receipt is done with.
    function testFuzz_claim_isSharedOutWhereThereIsTooLittle(
        uint64 toLow,
        uint64 toHigh,
        uint64 left
    ) public {
        (toLow, toHigh) = (uint64(_bound(toLow, 0, 1e12)), uint64(_bound(toHigh, 1, 1e12)));
        left = uint64(_bound(left, 0, 10_000_000));
        MeteredLine[] memory lines = _lines(toLow, toHigh);
        uint256 owed = uint256(toLow) + toHigh;
        if (left != 10_000_000) {
            vm.prank(buyer.addr);
            settlement.requestWithdrawal(10_000_000 - left);
            vm.warp(NOW + EXIT_DELAY);
            vm.prank(buyer.addr);
            settlement.withdraw(buyer.addr);
        }
        _claim(lines);
        vm.warp(block.timestamp + EXIT_DELAY);
        uint256 paid = _execute(lines);
        uint256 available = left < owed ? left : owed;
        vm.assertEq(_balance(low.addr), uint256(toLow) * available / owed);
        vm.assertEq(_balance(high.addr), uint256(toHigh) * available / owed);
        vm.assertLe(available, paid + 2, "less than an atom of each line is kept");
        vm.assertEq(_balance(buyer.addr), left - paid);
        vm.assertEq(_spent(buyer.addr), paid);
    }

    // ------------------------------------------------------------------ what is no claim

    function test_RevertIf_claim_unsigned() public {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 4));
        bytes32 digest = settlement.receiptDigest(receipt);
        bytes[4] memory signatures =
            [_sign65(other, digest), _signHighS(buyer, digest), new bytes(65), bytes("")];
        bytes memory lines = _packed(_lines(3, 4));
        for (uint256 i = 0; i < signatures.length; ++i) {
            for (uint256 authority = 0; authority < 5; ++authority) {
                vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
                settlement.claimReceipt(receipt, lines, authority, signatures[i]);
            }
        }
        vm.assertFalse(settlement.meterOf(buyer.addr).isClaimed);
    }

    function test_RevertIf_claim_ofOtherChain() public {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 4));
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        bytes memory lines = _packed(_lines(3, 4));
        vm.chainId(1);
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, lines, PLAIN, signature);
    }

    /// @dev Of the epoch before until its delay is over, of no other.
    function test_RevertIf_claim_ofEndedEpoch() public {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 4));
        receipt.epoch = 1;
        bytes memory reason = abi.encodeWithSelector(IClaims.ClaimEpochEnded.selector, uint32(1));
        _expectClaimRevert(receipt, _lines(3, 4), reason);
        receipt.epoch = 0;
        vm.prank(buyer.addr);
        settlement.cancelAll();
        vm.warp(NOW + EXIT_DELAY);
        reason = abi.encodeWithSelector(IClaims.ClaimEpochEnded.selector, uint32(0));
        _expectClaimRevert(receipt, _lines(3, 4), reason);
        vm.warp(NOW + EXIT_DELAY - 1);
        _claimOf(receipt, _lines(3, 4));
    }

    /// @dev What was posted is paid, even if the buyer ends its epoch after that.
    function test_claim_outlivesItsEpoch() public {
        _claim(_lines(3, 4));
        vm.prank(buyer.addr);
        settlement.cancelAll();
        vm.warp(NOW + 2 * EXIT_DELAY);
        vm.assertEq(_execute(_lines(3, 4)), 7);
    }

    /// @dev Lines that are not those signed, not whole, unsorted, repeated, to the buyer, to nobody, of
    /// another sum, of nothing.
    function test_RevertIf_claim_linesInvalid() public {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 4));
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        vm.expectRevert(IClaims.ClaimLinesInvalid.selector);
        settlement.claimReceipt(receipt, abi.encodePacked(low.addr, uint64(7)), PLAIN, signature);
        bytes[7] memory bad = [
            abi.encodePacked(low.addr, uint64(3), high.addr, uint64(4), uint8(0)),
            abi.encodePacked(high.addr, uint64(3), low.addr, uint64(4)),
            abi.encodePacked(low.addr, uint64(3), low.addr, uint64(4)),
            abi.encodePacked(buyer.addr, uint64(7)),
            abi.encodePacked(address(0), uint64(7)),
            abi.encodePacked(low.addr, uint64(8)),
            bytes("")
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            receipt.lines = keccak256(bad[i]);
            signature = _sign65(buyer, settlement.receiptDigest(receipt));
            vm.expectRevert(IClaims.ClaimLinesInvalid.selector);
            settlement.claimReceipt(receipt, bad[i], PLAIN, signature);
        }
        receipt.spent = receipt.base;
        receipt.lines = keccak256(abi.encodePacked(low.addr, uint64(0)));
        signature = _sign65(buyer, settlement.receiptDigest(receipt));
        vm.expectRevert(IClaims.ClaimLinesInvalid.selector);
        settlement.claimReceipt(receipt, abi.encodePacked(low.addr, uint64(0)), PLAIN, signature);
    }

    /// @dev No more lines than a batch takes: what is posted can be paid in one transaction.
    function test_RevertIf_claim_hasTooManyLines() public {
        bytes memory lines;
        for (uint160 i = 1; i <= 255; ++i) {
            lines = abi.encodePacked(lines, address(i), uint64(1));
        }
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(1));
        (receipt.spent, receipt.lines) = (255, keccak256(lines));
        _claimLines(receipt, lines);
        vm.warp(NOW + EXIT_DELAY);
        vm.assertEq(settlement.executeClaim{gas: 16_000_000}(buyer.addr, lines), 255);

        lines = abi.encodePacked(lines, address(256), uint64(1));
        (receipt.base, receipt.spent, receipt.lines) = (255, 511, keccak256(lines));
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        vm.expectRevert(IClaims.ClaimLinesInvalid.selector);
        settlement.claimReceipt(receipt, lines, PLAIN, signature);
    }

    // ------------------------------------------------------------------ session keys

    /// @dev A granted key signs for its account, counted against its cap; above that nothing.
    function test_sessionReceipt_isChargedAgainstItsCap() public {
        _grantKey(10, 1 days);
        vm.assertEq(_meter(_sessionReceipt(_lines(3, 4))), 7);
        _meter(_sessionReceipt(_lines(2, 2)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
        vm.assertEq(_meter(_sessionReceipt(_lines(1, 2))), 3);
        vm.assertEq(_spent(buyer.addr), 10);
        vm.warp(block.timestamp + 2 days);
        vm.assertEq(_meter(_sessionReceipt(_lines(3, 4))), 7);
    }

    /// @dev A refused record leaves caps and ledger as they were.
    function test_sessionReceipt_refusedChargesNothing() public {
        _grantKey(10, 1 days);
        _meter(_sessionReceipt(_lines(10_000_001)));
        _assertSkipped(IMetered.RecordProblem.InsufficientBalance);
        vm.assertEq(_meter(_sessionReceipt(_lines(10))), 10);
    }

    /// @dev A key without the permission, of another account, revoked, expired beyond grace.
    function test_sessionReceipt_needsALiveKey() public {
        _grantKey(1000, 1 days);
        MeteredRecord memory record = _sessionReceipt(_lines(3, 4));
        MeteredRecord memory foreign = _receipt(OTHER, _lines(3, 4), _key);
        foreign.flags = SESSION;
        _meter(foreign);
        _assertSkipped(IMetered.RecordProblem.SessionRefused);

        vm.prank(buyer.addr);
        _registry().revokeSession(buyer.addr, _key.addr);
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.SessionRefused);

        _grantPermitted(SessionPolicy.PERMISSION_SIGN, 1000, 1 days);
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.SessionRefused);

        _grantKey(1000, 1 days);
        vm.warp(NOW + 30 days + EXIT_DELAY + 1);
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
        vm.warp(NOW + 30 days + EXIT_DELAY);
        vm.assertEq(_meter(record), 7);
    }

    /// @dev Revoking all kills receipts that were signed and not yet submitted, at once.
    function test_revokeAll_killsReceiptsNotYetSubmitted() public {
        _grantKey(1000, 1 days);
        MeteredRecord memory record = _sessionReceipt(_lines(3, 4));
        vm.prank(buyer.addr);
        _registry().revokeSessions(buyer.addr);
        vm.assertEq(settlement.meterOf(buyer.addr).sessionEpoch, 1);
        vm.assertEq(_balance(buyer.addr), 10_000_000);
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
    }

    /// @dev The account's own cap holds over all its keys, and its rule for counterparties sees lines.
    function test_sessionReceipt_isHeldToTheRootsRules() public {
        _grantKey(1000, 1 days);
        vm.startPrank(buyer.addr);
        _registry().setCap(SessionPolicy.Bearer.Root, 0, 8, 1 days);
        _registry().setCap(SessionPolicy.Bearer.Counterparty, uint160(low.addr), 3, 1 days);
        vm.stopPrank();
        vm.assertTrue(settlement.meterOf(buyer.addr).isRootCapped);
        _meter(_sessionReceipt(_lines(4, 1)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
        vm.assertEq(_meter(_sessionReceipt(_lines(3, 1))), 4);
        _meter(_sessionReceipt(_lines(0, 5)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
        vm.assertEq(_meter(_sessionReceipt(_lines(0, 4))), 4);
    }

    /// @dev A claim charges the key when it is posted; what was posted is paid even if the key is
    /// revoked after that.
    function test_sessionClaim_isChargedWhenPosted() public {
        _grantKey(10, 1 days);
        MeteredLine[] memory lines = _lines(3, 4);
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, lines);
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        settlement.claimReceipt(receipt, _packed(lines), SESSION, signature);
        vm.assertEq(_charged(buyer.addr, _key), 7);
        vm.prank(buyer.addr);
        _registry().revokeSessions(buyer.addr);
        vm.warp(NOW + EXIT_DELAY);
        vm.assertEq(_execute(lines), 7);
    }

    /// @dev Whoever has an older receipt of a key cannot use up its cap with it: the newest still counts,
    /// for what it adds.
    function test_attack_olderReceiptsUseUpTheCap() public {
        _grantKey(10, 1 days);
        _claimByKey(_lines(1));
        _claimByKey(_lines(2, 4));
        _claimByKey(_lines(3, 7));
        bytes memory more = _packed(_lines(3, 8));
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 8));
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, more, SESSION, signature);
        vm.warp(NOW + EXIT_DELAY);
        vm.assertEq(_execute(_lines(3, 7)), 10);
        _meter(_sessionReceipt(_lines(1)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
    }

    /// @dev What another key, or the account itself, was found good for is not this key's.
    function test_attack_claimOfAnotherKeyIsBuiltUpon() public {
        _grantKey(10, 1 days);
        _claim(_lines(100));
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(101));
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        bytes memory lines = _packed(_lines(101));
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, lines, SESSION, signature);
    }

    /// @dev A claim that is over charges its key for nothing later.
    function test_attack_claimThatIsOverIsBuiltUpon() public {
        _grantKey(10, 1 days);
        _claimByKey(_lines(8));
        _meter(_receipt(BUYER, _lines(1), buyer));
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(8));
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        bytes memory lines = _packed(_lines(8));
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, lines, SESSION, signature);
    }

    /// @dev What a key was charged for its claim, a batch does not charge again; a smaller receipt gives nothing
    /// back.
    function test_sessionReceipt_isNotChargedForWhatWasClaimed() public {
        _grantKey(20, 1 days);
        _claimByKey(_lines(6));
        vm.assertEq(_meter(_sessionReceipt(_lines(6, 1))), 7);
        _claimByKey(_lines(8));
        vm.assertEq(_meter(_sessionReceipt(_lines(5))), 5);
        vm.assertEq(_meter(_sessionReceipt(_lines(5))), 5);
        _meter(_sessionReceipt(_lines(1)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
    }

    /// @dev Nor is what another signed for, or what was claimed before the ledger went on, this receipt's.
    function test_attack_receiptBuildsOnAClaimThatIsNotItsOwn() public {
        _grantKey(10, 1 days);
        _claim(_lines(100));
        _meter(_sessionReceipt(_lines(11)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
        vm.assertEq(_meter(_receipt(BUYER, _lines(1), buyer)), 1);
        _claimByKey(_lines(8));
        vm.assertEq(_meter(_receipt(BUYER, _lines(1), buyer)), 1);
        _meter(_sessionReceipt(_lines(3)));
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
        vm.assertEq(_meter(_sessionReceipt(_lines(2))), 2);
    }

    /// @dev Under a rule for counterparties each claim is charged as a whole, by its own lines.
    function test_sessionClaim_underARuleCountsAsAWhole() public {
        _grantKey(10, 1 days);
        vm.prank(buyer.addr);
        _registry().setCap(SessionPolicy.Bearer.Counterparty, uint160(low.addr), 5, 1 days);
        _claimByKey(_lines(2));
        _claimByKey(_lines(3));
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(4));
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        bytes memory lines = _packed(_lines(4));
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, lines, SESSION, signature);
    }

    /// @dev A stolen key takes at most its cap in any period, by receipts and claims together.
    function test_mostAThiefCanTake_withAReceiptKey_isItsCap() public {
        _grantKey(10, 1 days);
        _meter(_sessionReceipt(_lines(3, 4)));
        MeteredLine[] memory lines = _lines(4);
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, lines);
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        bytes memory packed = _packed(lines);
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, packed, SESSION, signature);
        vm.assertEq(10_000_000 - _balance(buyer.addr), 7);
    }

    // ------------------------------------------------------------------ the desk

    /// @dev At its own address the desk's code has neither money nor accounts.
    function test_desk_isNothingByItself() public {
        vm.expectRevert();
        desk.withdraw(buyer.addr);
        vm.assertEq(desk.accountOf(buyer.addr).balance, 0);
        vm.assertEq(usdc.balanceOf(address(desk)), 0);
    }

    /// @dev What nobody knows is refused, and so is ether.
    function test_RevertIf_nobodyKnowsTheFunction() public {
        (bool success,) = address(settlement).call(abi.encodeWithSignature("nothing()"));
        vm.assertFalse(success);
        vm.deal(address(this), 1);
        (success,) = address(settlement).call{value: 1}("");
        vm.assertFalse(success);
        (success,) =
            address(settlement).call{value: 1}(abi.encodeCall(IEscrow.requestWithdrawal, (1)));
        vm.assertFalse(success);
    }

    // ------------------------------------------------------------------ helpers

    function _grantKey(uint96 spend, uint40 period) private {
        _grantPermitted(SessionPolicy.PERMISSION_RECEIPT, spend, period);
    }

    function _grantPermitted(uint8 permissions, uint96 spend, uint40 period) private {
        vm.prank(buyer.addr);
        _registry()
            .grantSession(
                ISessionRegistry.SessionGrant({
                account: buyer.addr,
                key: _key.addr,
                team: 0,
                permissions: permissions,
                resource: keccak256(""),
                tickMax: 0,
                units: 0,
                spend: spend,
                period: period,
                expiresAt: NOW + 30 days,
                sessionEpoch: 0,
                nonce: 0
            })
            );
    }

    function _sessionReceipt(MeteredLine[] memory lines)
        private
        view
        returns (MeteredRecord memory record)
    {
        record = _receipt(BUYER, lines, _key);
        record.flags = SESSION;
    }

    function _claim(MeteredLine[] memory lines) private returns (uint256) {
        return _claimOf(_receiptOf(BUYER, lines), lines);
    }

    function _claimByKey(MeteredLine[] memory lines) private {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, lines);
        bytes memory signature = _sign65(_key, settlement.receiptDigest(receipt));
        settlement.claimReceipt(receipt, _packed(lines), SESSION, signature);
    }

    function _claimOf(IMetered.SpendReceipt memory receipt, MeteredLine[] memory lines)
        private
        returns (uint256)
    {
        return _claimLines(receipt, _packed(lines));
    }

    function _claimLines(IMetered.SpendReceipt memory receipt, bytes memory lines)
        private
        returns (uint256)
    {
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        return settlement.claimReceipt(receipt, lines, PLAIN, signature);
    }

    function _receiptAt(uint64 base, MeteredLine[] memory lines)
        private
        view
        returns (IMetered.SpendReceipt memory receipt)
    {
        receipt = _receiptOf(BUYER, lines);
        (receipt.base, receipt.spent) = (base, base + _sum(lines));
    }

    function _execute(MeteredLine[] memory lines) private returns (uint256) {
        return settlement.executeClaim(buyer.addr, _packed(lines));
    }

    function _expectClaimRevert(IMetered.SpendReceipt memory receipt, bytes memory reason) private {
        _expectClaimRevert(receipt, _lines(3, 4), reason);
    }

    function _expectClaimRevert(
        IMetered.SpendReceipt memory receipt,
        MeteredLine[] memory lines,
        bytes memory reason
    ) private {
        bytes memory signature = _sign65(buyer, settlement.receiptDigest(receipt));
        bytes memory packed = _packed(lines);
        vm.expectRevert(reason);
        settlement.claimReceipt(receipt, packed, PLAIN, signature);
    }

    function _expectMissing(MeteredLine[] memory lines) private {
        bytes memory packed = _packed(lines);
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimMissing.selector, buyer.addr));
        settlement.executeClaim(buyer.addr, packed);
    }
}
