// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IMetered} from "../src/IMetered.sol";
import {MarketTest} from "./MarketTest.sol";
import {Vm} from "./Vm.sol";

/// @dev A line by the seller's place in the batch's own list; lines have to ascend.
struct MeteredLine {
    uint16 seller;
    uint64 amount;
}

/// @dev A record by the buyer's place in the book.
struct MeteredRecord {
    uint16 buyer;
    uint8 flags;
    bytes signature;
    MeteredLine[] lines;
}

/// @title A market with an address book, and metered batches written independently of their reader
abstract contract MeteredTest is MarketTest {
    bytes32 internal constant ROOT = keccak256("root");
    uint8 internal constant ATTESTED = 3;
    uint8 internal constant EPOCH_BEFORE = 4;
    uint16 internal constant BUYER = 0;
    uint16 internal constant OTHER = 1;
    uint16 internal constant LOW = 2;
    uint16 internal constant HIGH = 3;

    Party internal other;
    /// @dev Two sellers by ascending address.
    Party internal low;
    Party internal high;
    address[] internal listed;
    address internal book;
    /// @dev The batch's list of sellers: places in the book.
    uint16[] internal sellers;
    uint64 internal number;

    function setUp() public virtual override {
        super.setUp();
        other = _party("other buyer");
        Party memory one = _party("seller one");
        Party memory two = _party("seller two");
        bool isSorted = one.addr < two.addr;
        low = isSorted ? one : two;
        high = isSorted ? two : one;
        listed = [buyer.addr, other.addr, low.addr, high.addr];
        book = _deployBook(listed);
        sellers = [LOW, HIGH];
        _fund(buyer.addr, 10_000_000);
        _fund(other.addr, 10_000_000);
    }

    // ------------------------------------------------------------------ books

    function _deployBook(address[] memory accounts) internal returns (address) {
        bytes memory code = hex"00";
        for (uint256 i = 0; i < accounts.length; ++i) {
            code = abi.encodePacked(code, accounts[i]);
        }
        return _deployCode(code);
    }

    function _deployCode(bytes memory code) internal returns (address created) {
        bytes memory creation =
            abi.encodePacked(hex"61", uint16(code.length), hex"80600a3d393df3", code);
        assembly {
            created := create(0, add(creation, 0x20), mload(creation))
        }
    }

    // ------------------------------------------------------------------ records

    function _lines(uint64 toLow, uint64 toHigh)
        internal
        pure
        returns (MeteredLine[] memory lines)
    {
        lines = new MeteredLine[](2);
        (lines[0], lines[1]) = (MeteredLine(0, toLow), MeteredLine(1, toHigh));
    }

    function _lines(uint64 toLow) internal pure returns (MeteredLine[] memory lines) {
        lines = new MeteredLine[](1);
        lines[0] = MeteredLine(0, toLow);
    }

    function _attested(uint16 place, MeteredLine[] memory lines)
        internal
        pure
        returns (MeteredRecord memory)
    {
        return MeteredRecord(place, ATTESTED, "", lines);
    }

    /// @dev A receipt from where the ledger is, signed by the party.
    function _receipt(uint16 place, MeteredLine[] memory lines, Party memory party)
        internal
        view
        returns (MeteredRecord memory)
    {
        bytes32 digest = settlement.receiptDigest(_receiptOf(place, lines));
        return MeteredRecord(place, PLAIN, _sign(party, digest), lines);
    }

    function _receiptOf(uint16 place, MeteredLine[] memory lines)
        internal
        view
        returns (IMetered.SpendReceipt memory receipt)
    {
        IMetered.MeterView memory meter = settlement.meterOf(listed[place]);
        receipt.account = listed[place];
        receipt.epoch = meter.epoch;
        receipt.base = meter.spent;
        receipt.spent = meter.spent + _sum(lines);
        receipt.lines = keccak256(_packed(lines));
    }

    function _sum(MeteredLine[] memory lines) internal pure returns (uint64 sum) {
        for (uint256 i = 0; i < lines.length; ++i) {
            sum += lines[i].amount;
        }
    }

    /// @dev As they are signed.
    function _packed(MeteredLine[] memory lines) internal view returns (bytes memory packed) {
        for (uint256 i = 0; i < lines.length; ++i) {
            packed = abi.encodePacked(packed, listed[sellers[lines[i].seller]], lines[i].amount);
        }
    }

    // ------------------------------------------------------------------ batches

    function _encode(MeteredRecord[] memory records) internal view returns (bytes memory batch) {
        batch = abi.encodePacked(uint8(1), book, uint16(sellers.length));
        for (uint256 i = 0; i < sellers.length; ++i) {
            batch = abi.encodePacked(batch, sellers[i]);
        }
        batch = abi.encodePacked(batch, uint16(records.length));
        for (uint256 i = 0; i < records.length; ++i) {
            batch = abi.encodePacked(batch, _encode(records[i]));
        }
    }

    function _encode(MeteredRecord memory record) internal pure returns (bytes memory encoded) {
        encoded = abi.encodePacked(record.buyer, record.flags, uint8(record.lines.length));
        uint16 following;
        for (uint256 i = 0; i < record.lines.length; ++i) {
            MeteredLine memory line = record.lines[i];
            encoded = abi.encodePacked(encoded, uint48(line.amount), line.seller - following);
            following = line.seller + 1;
        }
        if (record.flags & 3 == CONTRACT) {
            encoded = abi.encodePacked(encoded, uint16(record.signature.length));
        }
        encoded = abi.encodePacked(encoded, record.signature);
    }

    function _list(MeteredRecord memory record)
        internal
        pure
        returns (MeteredRecord[] memory records)
    {
        records = new MeteredRecord[](1);
        records[0] = record;
    }

    function _list(MeteredRecord memory first, MeteredRecord memory second)
        internal
        pure
        returns (MeteredRecord[] memory records)
    {
        records = new MeteredRecord[](2);
        (records[0], records[1]) = (first, second);
    }

    /// @dev Settles as the operator's account and notes what became of each account's last record.
    function _meter(MeteredRecord[] memory records) internal returns (uint256 paid) {
        return _meterBytes(_encode(records));
    }

    function _meter(MeteredRecord memory record) internal returns (uint256 paid) {
        return _meter(_list(record));
    }

    function _meterBytes(bytes memory batch) internal returns (uint256 paid) {
        vm.recordLogs();
        vm.prank(address(operator));
        paid = settlement.settleMetered(number++, ROOT, batch);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        delete problems;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IMetered.RecordSkipped.selector) continue;
            problems.push(abi.decode(logs[i].data, (IMetered.RecordProblem)));
        }
    }

    /// @dev Of the last batch's skipped records, in order.
    IMetered.RecordProblem[] internal problems;

    function _assertSkipped(IMetered.RecordProblem problem) internal view {
        vm.assertEq(problems.length, 1, "one record skipped");
        vm.assertEq(uint256(problems[0]), uint256(problem), "another problem");
    }

    function _spent(address account) internal view returns (uint256) {
        return settlement.meterOf(account).spent;
    }

    function _uncovered(address account) internal view returns (uint256) {
        return settlement.meterOf(account).uncovered;
    }
}
