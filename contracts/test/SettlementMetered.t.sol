// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {AddressBook} from "../src/AddressBook.sol";
import {BatchReader} from "../src/BatchReader.sol";
import {ILedger} from "../src/ILedger.sol";
import {IMetered} from "../src/IMetered.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {MeteredReader} from "../src/MeteredReader.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {HostileAccount, NeedyAccount, Thrift} from "./Hostile.sol";
import {MeteredLine, MeteredRecord, MeteredTest} from "./MeteredTest.sol";

/// @title Receipts, attestations and roots: what settles, and what does not
contract SettlementMeteredTest is MeteredTest {
    /// @dev Where the ledger's words are; found by `test_ledgerSlot_isKnown`.
    uint256 private constant LEDGER_SLOT = 2;

    // ------------------------------------------------------------------ what settles

    /// @dev A receipt pays each seller of its lines, counts as spent and is told.
    function test_receipt_paysSellers() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        bytes memory batch = _encode(_list(record));
        vm.expectEmit(address(settlement));
        emit IMetered.MeteredSettled(
            0,
            ROOT,
            7,
            abi.encodePacked(buyer.addr, uint64(7), uint64(7), PLAIN),
            abi.encodePacked(low.addr, uint64(3), high.addr, uint64(4))
        );
        vm.assertEq(_meterBytes(batch), 7);
        vm.assertEq(_balance(buyer.addr), 9_999_993);
        vm.assertEq(_balance(low.addr), 3);
        vm.assertEq(_balance(high.addr), 4);
        vm.assertEq(_spent(buyer.addr), 7);
        vm.assertEq(_uncovered(buyer.addr), 0);
    }

    /// @dev Receipts go on from each other: the sum is what was spent, and each pays the difference.
    function test_receipt_goesOnFromTheLast() public {
        _meter(_receipt(BUYER, _lines(3, 4), buyer));
        vm.assertEq(_meter(_receipt(BUYER, _lines(10, 20), buyer)), 30);
        vm.assertEq(_spent(buyer.addr), 37);
        vm.assertEq(_balance(low.addr), 13);
    }

    /// @dev Several buyers and sellers in one batch; a seller without lines is not told.
    function test_receipts_areNetted() public {
        sellers = [OTHER, LOW, HIGH];
        _sortSellers();
        MeteredLine[] memory lines = _linesTo(LOW, 5);
        MeteredRecord memory first = _receipt(BUYER, lines, buyer);
        MeteredRecord memory second = _receipt(OTHER, _linesTo(LOW, 6), other);
        vm.assertEq(_meter(_list(first, second)), 11);
        vm.assertEq(problems.length, 0);
        vm.assertEq(_balance(low.addr), 11);
    }

    /// @dev An account that sells and buys in one batch ends with both.
    function test_account_mayBuyAndSellInOneBatch() public {
        sellers = [OTHER, LOW];
        _sortSellers();
        MeteredRecord memory first = _receipt(BUYER, _linesTo(OTHER, 50), buyer);
        MeteredRecord memory second = _receipt(OTHER, _linesTo(LOW, 20), other);
        _meter(_list(first, second));
        vm.assertEq(_balance(other.addr), 10_000_030);
        vm.assertEq(_spent(other.addr), 20);
    }

    /// @dev Money that a batch brings cannot be spent in it.
    function test_credit_comesAfterAllRecords() public {
        sellers = [LOW, HIGH];
        MeteredRecord memory first = _receipt(BUYER, _lines(50), buyer);
        MeteredRecord memory second = _receipt(LOW, _linesTo(HIGH, 50), low);
        _meter(_list(first, second));
        _assertSkipped(IMetered.RecordProblem.InsufficientBalance);
        vm.assertEq(_balance(low.addr), 50);
        vm.assertEq(_balance(high.addr), 0);
    }

    /// @dev A contract account's receipt counts if ERC-1271 says so.
    function test_receipt_ofContractAccount() public {
        SessionAccount account = _account(buyer);
        _fund(address(account), 100);
        _listAlso(address(account));
        MeteredRecord memory record = _receipt(4, _lines(3, 4), buyer);
        record.flags = CONTRACT;
        vm.assertEq(_meter(record), 7);
        vm.assertEq(_balance(address(account)), 93);

        record = _receipt(4, _lines(1, 1), other);
        record.flags = CONTRACT;
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    /// @dev Through the operator's account, whose session is charged with what was paid.
    function test_operatorAccount_isChargedWhatWasPaid() public {
        _grant(operator, operatorOwner, operatorKey, SETTLE, 100);
        bytes memory batch = _encode(_list(_receipt(BUYER, _lines(3, 4), buyer)));
        bytes memory data = abi.encodeCall(IMetered.settleMetered, (number++, ROOT, batch));
        vm.prank(operatorKey.addr);
        operator.callSettlement(data);
        vm.assertEq(operator.sessionOf(operatorKey.addr).spent, 7);
        vm.assertEq(_balance(low.addr), 3);
    }

    /// @dev Whatever is paid is credited, and no more than there is.
    function testFuzz_sumsAreConserved(uint64[4] memory amounts, uint8 kinds) public {
        for (uint256 i = 0; i < 4; ++i) {
            amounts[i] = uint64(_bound(amounts[i], 0, 6_000_000));
        }
        MeteredRecord memory first = _receipt(BUYER, _lines(amounts[0], amounts[1]), buyer);
        MeteredRecord memory second = _receipt(OTHER, _lines(amounts[2], amounts[3]), other);
        if (kinds & 1 != 0) first = _attested(BUYER, first.lines);
        if (kinds & 2 != 0) second = _attested(OTHER, second.lines);
        uint256 paid = _meter(_list(first, second));
        vm.assertEq(_balance(low.addr) + _balance(high.addr), paid);
        vm.assertEq(_spent(buyer.addr) + _spent(other.addr), paid);
        vm.assertEq(20_000_000 - _balance(buyer.addr) - _balance(other.addr), paid);
        vm.assertLe(_uncovered(buyer.addr), UNCOVERED_CAP);
        vm.assertLe(_uncovered(other.addr), UNCOVERED_CAP);
    }

    // ------------------------------------------------------------------ replay

    /// @dev The same receipt twice in a batch pays once.
    function test_attack_receiptTwiceInOneBatch() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        vm.assertEq(_meter(_list(record, record)), 7);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        vm.assertEq(_spent(buyer.addr), 7);
    }

    /// @dev The same receipt in two batches pays once.
    function test_attack_receiptInTwoBatches() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        _meter(record);
        vm.assertEq(_meter(record), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        vm.assertEq(_balance(low.addr), 3);
    }

    /// @dev Of two receipts from one base the second dies, be it the larger or the smaller.
    function testFuzz_attack_lowerCumulative(uint64 one, uint64 two) public {
        (one, two) = (uint64(_bound(one, 1, 1e6)), uint64(_bound(two, 1, 1e6)));
        MeteredRecord memory first = _receipt(BUYER, _lines(one), buyer);
        MeteredRecord memory second = _receipt(BUYER, _lines(two), buyer);
        _meter(first);
        vm.assertEq(_meter(second), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        vm.assertEq(_spent(buyer.addr), one);
    }

    /// @dev An attestation moves the base, so a receipt signed before it is dead.
    function test_attack_receiptFromBeforeAnAttestation() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        _meter(_attested(BUYER, _lines(1, 1)));
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        vm.assertEq(_spent(buyer.addr), 2);
    }

    /// @dev A buyer listed twice in the books is one account all the same.
    function test_attack_buyerListedTwice() public {
        _listAlso(buyer.addr);
        MeteredRecord memory first = _receipt(BUYER, _lines(3, 4), buyer);
        MeteredRecord memory again = first;
        again.buyer = 4;
        vm.assertEq(_meter(_list(first, again)), 7);
        vm.assertEq(_spent(buyer.addr), 7);
    }

    /// @dev Two attestations of one account in a batch share its uncovered cap.
    function test_attack_attestedTwiceInOneBatch() public {
        _listAlso(buyer.addr);
        MeteredRecord memory first = _attested(BUYER, _lines(UNCOVERED_CAP));
        MeteredRecord memory second = _attested(4, _lines(1));
        _meter(_list(first, second));
        _assertSkipped(IMetered.RecordProblem.UncoveredExceeded);
        vm.assertEq(_balance(low.addr), UNCOVERED_CAP);
    }

    function test_attack_receiptOfOtherAccountWithSameKey() public {
        SessionAccount account = _account(buyer);
        _fund(address(account), 100);
        _listAlso(address(account));
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        record.buyer = 4;
        record.flags = CONTRACT;
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    function test_attack_receiptOfOtherChain() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        vm.chainId(1);
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    function test_attack_receiptOfOtherSettlement() public {
        ISettlement twin = ISettlement(
            _deploy("Settlement", abi.encode(usdc, operator, EXIT_DELAY, UNCOVERED_CAP, desk))
        );
        bytes32 digest = twin.receiptDigest(_receiptOf(BUYER, _lines(3, 4)));
        _meter(MeteredRecord(BUYER, PLAIN, _sign(buyer, digest), _lines(3, 4)));
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    function test_attack_receiptOfOtherEpoch() public {
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, _lines(3, 4));
        receipt.epoch = 1;
        bytes memory signature = _sign(buyer, settlement.receiptDigest(receipt));
        _meter(MeteredRecord(BUYER, PLAIN, signature, _lines(3, 4)));
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        _meter(MeteredRecord(BUYER, EPOCH_BEFORE, signature, _lines(3, 4)));
        _assertSkipped(IMetered.RecordProblem.EpochEnded);
    }

    /// @dev What was signed before `cancelAll` settles until its delay is over, and then no more.
    function test_epochBefore_settlesWithinTheDelay() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        vm.prank(buyer.addr);
        settlement.cancelAll();
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        record.flags = EPOCH_BEFORE;
        vm.warp(NOW + EXIT_DELAY);
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.EpochEnded);
        vm.warp(NOW + EXIT_DELAY - 1);
        vm.assertEq(_meter(record), 7);
        // The new epoch's receipts go on from there.
        vm.assertEq(_meter(_receipt(BUYER, _lines(1, 1), buyer)), 2);
    }

    // ------------------------------------------------------------------ signatures

    function test_attack_signedByAnother() public {
        _meter(_receipt(BUYER, _lines(3, 4), other));
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    /// @dev The other s has no room beside the bit of v: what is cut of it is another signature. For the
    /// few that have, see SignatureRecoveryTest.
    function test_attack_highS() public {
        bytes32 digest = settlement.receiptDigest(_receiptOf(BUYER, _lines(3, 4)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(buyer.key, digest);
        uint256 cut = (CURVE_ORDER - uint256(s)) & type(uint256).max >> 1;
        for (uint256 bit = 0; bit < 2; ++bit) {
            bytes memory signature = abi.encodePacked(r, bytes32(cut | bit << 255));
            _meter(MeteredRecord(BUYER, PLAIN, signature, _lines(3, 4)));
            _assertSkipped(IMetered.RecordProblem.BadSignature);
        }
        vm.assertGe(v, 27, "signed");
    }

    /// @dev What is no signature recovers to zero, and zero is nobody's account.
    function test_attack_zeroSigner() public {
        _listAlso(address(0));
        usdc.mint(address(this), 0);
        _setWord(address(0), 100);
        _meter(MeteredRecord(4, PLAIN, new bytes(64), _lines(3, 4)));
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        _meter(MeteredRecord(4, SESSION, new bytes(64), _lines(3, 4)));
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    /// @dev A key that no one granted signs nothing.
    function test_attack_unknownSessionKey() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), other);
        record.flags = SESSION;
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.SessionRefused);
    }

    /// @dev Whatever field of a record is changed, the receipt is not that one.
    function testFuzz_attack_changedRecord(uint256 change) public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        change %= 4;
        if (change == 0) record.lines[0].amount = 5;
        if (change == 1) record.lines = _lines(7);
        if (change == 2) record.buyer = OTHER;
        if (change == 3) (record.lines[0].amount, record.lines[1].amount) = (4, 3);
        vm.assertEq(_meter(record), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    // ------------------------------------------------------------------ lines

    /// @dev No seller stands in a record twice, and none before another: it cannot be written. Whatever is,
    /// pays the seller that comes next, or none that was paid before.
    function testFuzz_attack_sellerRepeated(uint16 skipped) public {
        bytes memory head = abi.encodePacked(
            uint8(1), book, uint16(2), LOW, HIGH, uint16(1), BUYER, ATTESTED, uint8(2)
        );
        // A batch for which all gas is gone has reverted as well.
        skipped = uint16(_bound(skipped, 1, 1000));
        _expectMalformed(abi.encodePacked(head, uint48(3), uint16(0), uint48(4), skipped));
        _meterBytes(abi.encodePacked(head, uint48(3), uint16(0), uint48(4), uint16(0)));
        vm.assertEq(_balance(low.addr), 3);
        vm.assertEq(_balance(high.addr), 4);
    }

    function test_attack_buyerPaysItself() public {
        sellers = [BUYER];
        _meter(_receipt(BUYER, _lines(3), buyer));
        _assertSkipped(IMetered.RecordProblem.LinesInvalid);
        _meter(_attested(BUYER, _lines(3)));
        _assertSkipped(IMetered.RecordProblem.LinesInvalid);
    }

    function test_lines_mustPaySomething() public {
        _meter(_receipt(BUYER, _lines(0), buyer));
        _assertSkipped(IMetered.RecordProblem.LinesInvalid);
        _meter(_receipt(BUYER, new MeteredLine[](0), buyer));
        _assertSkipped(IMetered.RecordProblem.LinesInvalid);
    }

    /// @dev As much as a line has room for is paid and signed; a line for more is a claim's.
    function test_line_isAsLargeAsItCanBe() public {
        _setWord(buyer.addr, 1 << 60);
        uint64 largest = type(uint48).max;
        vm.assertEq(_meter(_receipt(BUYER, _lines(largest, largest), buyer)), 2 * uint256(largest));
        vm.assertEq(_balance(low.addr), largest);
        vm.assertEq(_balance(high.addr), largest);
    }

    /// @dev A record that is skipped, for whatever reason, takes back from its sellers what it gave, and
    /// only that.
    function testFuzz_skippedRecord_creditsNobody(uint48[3] memory amounts, uint8 kind) public {
        for (uint256 i = 0; i < 3; ++i) {
            amounts[i] = uint48(_bound(amounts[i], 1, 1e6));
        }
        MeteredRecord memory bad = _receipt(BUYER, _lines(amounts[0], amounts[1]), buyer);
        kind %= 4;
        if (kind == 0) bad.signature = new bytes(64);
        if (kind == 1) bad.flags = SESSION;
        if (kind == 2) bad.flags = EPOCH_BEFORE;
        if (kind == 3) bad.lines[1].amount = type(uint48).max;
        MeteredRecord memory good = _receipt(OTHER, _linesTo(HIGH, amounts[2]), other);
        bool isFirst = amounts[0] & 1 == 0;
        vm.assertEq(_meter(isFirst ? _list(bad, good) : _list(good, bad)), amounts[2]);
        vm.assertEq(problems.length, 1);
        vm.assertEq(_balance(low.addr), 0);
        vm.assertEq(_balance(high.addr), amounts[2]);
        vm.assertEq(_balance(buyer.addr), 10_000_000);
    }

    /// @dev A poisoned record takes nothing with it.
    function test_badRecord_leavesOthersAlone() public {
        MeteredRecord memory bad = _receipt(BUYER, _lines(10_000_001), buyer);
        MeteredRecord memory good = _receipt(OTHER, _lines(3, 4), other);
        vm.assertEq(_meter(_list(bad, good)), 7);
        _assertSkipped(IMetered.RecordProblem.InsufficientBalance);
        vm.assertEq(_balance(low.addr), 3);
        vm.assertEq(_balance(buyer.addr), 10_000_000);
    }

    /// @dev The count of what was spent ends where its bits do: it does not begin again.
    function test_attack_cumulativeOverflow() public {
        uint256 spent = type(uint64).max - 6;
        _setWord(buyer.addr, 100 | spent << 72);
        MeteredRecord memory record = _attested(BUYER, _lines(3, 4));
        _meter(record);
        _assertSkipped(IMetered.RecordProblem.SpentOverflow);
        vm.assertEq(_spent(buyer.addr), spent);
        vm.assertEq(_meter(_receipt(BUYER, _lines(3, 3), buyer)), 6);
        vm.assertEq(_spent(buyer.addr), type(uint64).max);
        vm.assertEq(_uncovered(buyer.addr), 0);
    }

    // ------------------------------------------------------------------ attestation

    /// @dev The operator's word moves the uncovered cap once, and again after a receipt.
    function test_attested_upToTheUncoveredCap() public {
        vm.assertEq(_meter(_attested(BUYER, _lines(UNCOVERED_CAP - 1))), UNCOVERED_CAP - 1);
        vm.assertEq(_uncovered(buyer.addr), UNCOVERED_CAP - 1);
        _meter(_attested(BUYER, _lines(2)));
        _assertSkipped(IMetered.RecordProblem.UncoveredExceeded);
        vm.assertEq(_meter(_attested(BUYER, _lines(1))), 1);
        _meter(_receipt(BUYER, _lines(3, 4), buyer));
        vm.assertEq(_uncovered(buyer.addr), 0);
        vm.assertEq(_meter(_attested(BUYER, _lines(UNCOVERED_CAP))), UNCOVERED_CAP);
        vm.assertEq(_spent(buyer.addr), 2 * uint256(UNCOVERED_CAP) + 7);
    }

    /// @dev Without a signature, a thief who has the operator's key takes at most the uncovered cap of
    /// an account, whatever it does and however often.
    function test_mostAnOperatorThiefCanTake_isTheUncoveredCap() public {
        for (uint64 i = 1; i < 30; ++i) {
            _meter(_attested(BUYER, _lines(uint64(UNCOVERED_CAP) / i)));
            vm.warp(block.timestamp + 1 days);
        }
        vm.assertLe(10_000_000 - _balance(buyer.addr), UNCOVERED_CAP);
    }

    // ------------------------------------------------------------------ numbers and roots

    function test_RevertIf_settleMetered_notByOperator() public {
        bytes memory batch = _encode(_list(_attested(BUYER, _lines(1))));
        vm.expectRevert(
            abi.encodeWithSelector(ILedger.SettlementCallerNotOperator.selector, address(this))
        );
        settlement.settleMetered(0, ROOT, batch);
    }

    /// @dev The same batch again: an attestation is replayed by its number alone.
    function test_RevertIf_numberUsed() public {
        _meter(_attested(BUYER, _lines(1)));
        number = 0;
        _expectNumberInvalid(0);
        vm.warp(NOW + 2 * EXIT_DELAY);
        _expectNumberInvalid(0);
    }

    /// @dev A number far ahead would take its place out of use.
    function test_RevertIf_numberAhead() public {
        number = 4096;
        _expectNumberInvalid(4096);
        number = type(uint64).max;
        _expectNumberInvalid(type(uint64).max);
        number = 2 * 4096;
        _meterAt(0);
        _expectNumberInvalid(2 * 4096);
    }

    /// @dev Other numbers of a round may come in any order.
    function test_numbers_ofOneRoundInAnyOrder() public {
        _meterAt(7);
        _meterAt(3);
        _meterAt(4095);
        vm.assertEq(_spent(buyer.addr), 3);
    }

    /// @dev A root can be proven for one exit delay at least; then its place is used again.
    function test_root_standsUntilItsDelayIsOver() public {
        _meterAt(5);
        vm.assertEq(settlement.rootSettledAt(5, ROOT), NOW);
        vm.assertEq(settlement.rootSettledAt(5, keccak256("other")), 0);
        vm.assertEq(settlement.rootSettledAt(5 + 4096, ROOT), 0);
        vm.assertEq(settlement.rootSettledAt(6, ROOT), 0);

        vm.warp(NOW + EXIT_DELAY - 1);
        bytes memory batch = _encode(_list(_attested(BUYER, _lines(1))));
        vm.prank(address(operator));
        vm.expectRevert(
            abi.encodeWithSelector(
                IMetered.MeteredRootStanding.selector, uint64(5 + 4096), NOW + EXIT_DELAY
            )
        );
        settlement.settleMetered(5 + 4096, ROOT, batch);
        vm.warp(NOW + EXIT_DELAY);
        _meterAt(5 + 4096);
        vm.assertEq(settlement.rootSettledAt(5, ROOT), 0);
        vm.assertEq(settlement.rootSettledAt(5 + 4096, ROOT), NOW + EXIT_DELAY);
    }

    // ------------------------------------------------------------------ the operator's mistakes

    function test_RevertIf_sellersUnsorted() public {
        sellers = [HIGH, LOW];
        _expectRevert(_encode(_list(_attested(BUYER, _lines(1)))), _unsorted(1));
        sellers = [LOW, LOW];
        _expectRevert(_encode(_list(_attested(BUYER, _lines(1)))), _unsorted(1));
    }

    /// @dev Address 0 has no key: what it got would be lost.
    function test_RevertIf_sellerIsZero() public {
        _listAlso(address(0));
        sellers = [4];
        _expectRevert(_encode(_list(_attested(BUYER, _lines(1)))), _unsorted(0));
    }

    function test_RevertIf_batchDoesNotEndWhereItsBytesEnd() public {
        bytes memory batch = _encode(_list(_receipt(BUYER, _lines(3, 4), buyer)));
        _expectMalformed(abi.encodePacked(batch, uint8(0)));
        bytes memory short = new bytes(batch.length - 1);
        for (uint256 i = 0; i < short.length; ++i) {
            short[i] = batch[i];
        }
        _expectMalformed(short);
    }

    function test_RevertIf_placeIsInNoBook() public {
        MeteredRecord memory record = _attested(BUYER, _lines(1));
        record.buyer = 4;
        _expectMalformed(_encode(_list(record)));
        record.buyer = type(uint16).max;
        _expectMalformed(_encode(_list(record)));
        record.buyer = BUYER;
        sellers = [4];
        listed.push(address(0));
        _expectMalformed(_encode(_list(record)));
    }

    function test_RevertIf_lineIsOfNoSeller() public {
        MeteredRecord memory record = _attested(BUYER, _lines(1));
        record.lines[0].seller = 2;
        _expectMalformed(_encode(_list(record)));
        record.lines[0].seller = type(uint16).max - 1;
        _expectMalformed(_encode(_list(record)));
    }

    function test_RevertIf_flagsUnknown() public {
        MeteredRecord memory record = _attested(BUYER, _lines(1));
        record.flags = 8 + ATTESTED;
        _expectMalformed(_encode(_list(record)));
    }

    /// @dev No code, only the first byte, or part of an address.
    function test_RevertIf_bookMalformed() public {
        address[3] memory bad = [
            address(0x1234),
            _deployCode(hex"00"),
            _deployCode(abi.encodePacked(hex"0000", low.addr))
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            book = bad[i];
            _expectRevert(
                _encode(_list(_attested(BUYER, _lines(1)))),
                abi.encodeWithSelector(AddressBook.AddressBookMalformed.selector, bad[i])
            );
        }
    }

    /// @dev Places go on from book to book.
    function test_books_areOneList() public {
        address[] memory more = new address[](2);
        (more[0], more[1]) = (low.addr, high.addr);
        bytes memory batch = abi.encodePacked(
            uint8(2),
            book,
            _deployBook(more),
            abi.encodePacked(uint16(1), uint16(5), uint16(1)),
            abi.encodePacked(BUYER, ATTESTED, uint8(1), uint48(9), uint16(0))
        );
        vm.assertEq(_meterBytes(batch), 9);
        vm.assertEq(_balance(high.addr), 9);
    }

    // ------------------------------------------------------------------ hostile accounts

    /// @dev Whatever a contract account answers, only its own record is skipped.
    function test_hostileAccount_harmsOnlyItself() public {
        HostileAccount hostile = new HostileAccount(settlement, IERC1271.isValidSignature.selector);
        _fund(address(hostile), 1_000_000);
        _listAlso(address(hostile));
        for (uint8 mood = 1; mood <= uint8(HostileAccount.Mood.Write); ++mood) {
            // A bomb of returned bytes begins with the right word: it is an answer.
            if (HostileAccount.Mood(mood) == HostileAccount.Mood.ReturnBomb) continue;
            hostile.set(HostileAccount.Mood(mood), "");
            MeteredRecord memory bad = MeteredRecord(4, CONTRACT, "", _lines(1, 1));
            MeteredRecord memory good = _receipt(OTHER, _lines(3, 4), other);
            vm.assertEq(_meter(_list(bad, good)), 7);
            _assertSkipped(IMetered.RecordProblem.BadSignature);
        }
    }

    /// @dev Otherwise a good receipt would be blamed for the operator's thrift.
    function test_RevertIf_gasIsTooLowToAsk() public {
        SessionAccount account = _account(buyer);
        _fund(address(account), 100);
        _listAlso(address(account));
        MeteredRecord memory record = _receipt(4, _lines(3, 4), buyer);
        record.flags = CONTRACT;
        bytes memory batch = _encode(_list(record));
        vm.prank(address(operator));
        vm.expectPartialRevert(ILedger.BatchGasTooLow.selector);
        settlement.settleMetered{gas: 225_000}(0, ROOT, batch);
    }

    /// @dev Whatever gas is left, an account is asked with all that is promised to it, or the batch reverts,
    /// although two signatures of 60 kB cost more to bring before it than what is left over for that.
    function test_attack_longSignaturesAndLittleGas() public {
        address one = address(new NeedyAccount());
        address two = address(new NeedyAccount());
        _fund(one, 1000);
        _fund(two, 1000);
        _listAlso(one);
        _listAlso(two);
        bytes memory signature = new bytes(60_000);
        bytes memory batch = _encode(
            _list(
                MeteredRecord(4, CONTRACT, signature, _lines(1)),
                MeteredRecord(5, CONTRACT, signature, _lines(1))
            )
        );
        vm.etch(address(operator), type(Thrift).runtimeCode);
        for (uint256 gasLimit = 240_000; gasLimit < 420_000; gasLimit += 3000) {
            bytes memory data = abi.encodeCall(IMetered.settleMetered, (number, ROOT, batch));
            if (!Thrift(address(operator)).call(address(settlement), gasLimit, data)) continue;
            ++number;
            vm.assertEq(_spent(one), number, "skipped for want of gas");
            vm.assertEq(_spent(two), number, "skipped for want of gas");
        }
        vm.assertTrue(number != 0, "enough gas");
    }

    /// @dev What a batch paid is kept beside its root, and told of no other.
    function test_root_saysWhatItsBatchPaid() public {
        vm.assertEq(_meter(_list(_attested(BUYER, _lines(3, 4)), _attested(OTHER, _lines(5)))), 12);
        vm.assertEq(settlement.rootPaid(0, ROOT), 12);
        vm.assertEq(settlement.rootPaid(0, keccak256("other")), 0);
        vm.assertEq(settlement.rootPaid(1, ROOT), 0);
        vm.assertEq(settlement.rootPaid(4096, ROOT), 0);
        vm.assertEq(settlement.rootSettledAt(0, ROOT), NOW);
        vm.assertEq(_meter(new MeteredRecord[](0)), 0);
        vm.assertEq(settlement.rootPaid(1, ROOT), 0);
        vm.assertEq(settlement.rootSettledAt(1, ROOT), NOW);
    }

    // ------------------------------------------------------------------ helpers

    /// @dev The canary of `_setWord`.
    function test_ledgerSlot_isKnown() public {
        _setWord(buyer.addr, 5 | 6 << 72);
        vm.assertEq(_balance(buyer.addr), 5);
        vm.assertEq(_spent(buyer.addr), 6);
    }

    function _setWord(address account, uint256 word) private {
        bytes32 slot = keccak256(abi.encode(account, LEDGER_SLOT));
        vm.store(address(settlement), slot, bytes32(word));
    }

    function _listAlso(address account) private {
        listed.push(account);
        book = _deployBook(listed);
    }

    function _sortSellers() private {
        for (uint256 i = 0; i < sellers.length; ++i) {
            for (uint256 j = i + 1; j < sellers.length; ++j) {
                if (listed[sellers[i]] > listed[sellers[j]]) {
                    (sellers[i], sellers[j]) = (sellers[j], sellers[i]);
                }
            }
        }
    }

    /// @dev One line to whoever has this place in the book.
    function _linesTo(uint16 place, uint64 amount)
        private
        view
        returns (MeteredLine[] memory lines)
    {
        lines = _lines(amount);
        while (sellers[lines[0].seller] != place) {
            ++lines[0].seller;
        }
    }

    function _meterAt(uint64 place) private {
        number = place;
        vm.assertEq(_meter(_attested(BUYER, _lines(1))), 1);
    }

    function _expectNumberInvalid(uint64 place) private {
        number = place;
        _expectRevert(
            _encode(_list(_attested(BUYER, _lines(1)))),
            abi.encodeWithSelector(IMetered.MeteredNumberInvalid.selector, place)
        );
    }

    function _expectMalformed(bytes memory batch) private {
        _expectRevert(batch, abi.encodeWithSelector(BatchReader.BatchMalformed.selector));
    }

    function _unsorted(uint256 index) private pure returns (bytes memory) {
        return abi.encodeWithSelector(MeteredReader.BatchSellersUnsorted.selector, index);
    }

    function _expectRevert(bytes memory batch, bytes memory reason) private {
        vm.prank(address(operator));
        vm.expectRevert(reason);
        settlement.settleMetered(number, ROOT, batch);
    }
}
