// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AddressBook} from "./AddressBook.sol";
import {BatchReader} from "./BatchReader.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {SessionPolicy} from "./SessionPolicy.sol";

/// @title The packed layout of a metered batch
/// @notice Big-endian fields without padding.
///
///   batch  = bookCount u8, book address each, sellerCount u16, seller u16 each,
///            recordCount u16, record each
///   record = buyer u16, authority u8, lineCount u8, signature, line each
///   line   = seller u16, amount u64; signed as seller address, amount u64
///
/// `buyer`, and `seller` in the batch's list, are places in all books together; `seller` in a line is one
/// in the batch's list. Both ascend strictly, by address and by place. The authority's lowest two bits say whose word the record is:
///
///   0  a receipt signed by the account's own key: 64 bytes (EIP-2098)
///   1  a receipt signed by ERC-1271: size u16, then as many bytes
///   2  a receipt signed by a session key: 64 bytes
///   3  the operator's alone: nothing is signed
///
/// and 4 is added for a receipt of the epoch before the account's. What else a receipt says is the
/// ledger's: it starts where the ledger is, and its lines are the record's.
/// @dev As in {BatchReader}: every field is cut to its width, and `finish` reverts if any was beyond the
/// end, because a position only grows.
library MeteredReader {
    /// @dev All the books' addresses, packed, in memory.
    struct Books {
        uint256 start;
        uint256 end;
    }

    /// @dev The first 6 words are the EIP-712 encoding of the receipt, in its order. `signatureAt` is
    /// where in calldata the signature is, which the lines follow up to `linesEnd`.
    struct Record {
        bytes32 typeHash;
        address account;
        uint256 epoch;
        uint256 base;
        uint256 spent;
        bytes32 lines;
        uint256 flags;
        uint256 signatureAt;
        uint256 linesAt;
        uint256 linesEnd;
    }

    uint256 internal constant AUTHORITY_CONTRACT = 1;
    uint256 internal constant AUTHORITY_SESSION = 2;
    uint256 internal constant AUTHORITY_ATTESTED = 3;
    uint256 internal constant EPOCH_BEFORE = 4;

    uint256 private constant AUTHORITY_MASK = 3;
    uint256 private constant FLAGS_MAX = 7;
    uint256 private constant BOOK_SIZE = 20;
    uint256 private constant PARTY_SIZE = 20;
    uint256 private constant PLACE_SIZE = 2;
    uint256 private constant HEADER_SIZE = 4;
    uint256 private constant LINE_SIZE = 10;
    uint256 private constant SIGNATURE_SIZE = 64;
    uint256 private constant RECEIPT_HASHED_BYTES = 6 * 32;

    /// @dev Sellers do not ascend strictly, so that one might be listed twice, or one is zero.
    error BatchSellersUnsorted(uint256 index);

    /// @return books as they are in memory
    /// @return next where the list of sellers begins
    function open(bytes calldata batch) internal view returns (Books memory books, uint256 next) {
        assembly ("memory-safe") {
            next := batch.offset
        }
        uint256 count = _load(next, 1);
        next += 1;
        uint256 written;
        assembly ("memory-safe") {
            written := mload(0x40)
        }
        books.start = written;
        for (uint256 i = 0; i < count; ++i) {
            written = AddressBook.copy(address(uint160(_load(next, BOOK_SIZE))), written);
            next += BOOK_SIZE;
        }
        books.end = written;
        // Memory-safe: allocates what was copied, up to a whole word.
        assembly ("memory-safe") {
            mstore(0x40, and(add(written, 0x3f), not(0x1f)))
        }
    }

    /// @dev Whoever reads a batch must end with this.
    function finish(bytes calldata batch, uint256 next) internal pure {
        uint256 end;
        assembly ("memory-safe") {
            end := add(batch.offset, batch.length)
        }
        require(next == end, BatchReader.BatchMalformed());
    }

    function readCount(uint256 next) internal pure returns (uint256 count, uint256 nextAfter) {
        return (_load(next, PLACE_SIZE), next + PLACE_SIZE);
    }

    /// @dev Strictly ascending, so lines of ascending places are of ascending sellers.
    function readSellers(Books memory books, uint256 next)
        internal
        pure
        returns (address[] memory sellers, uint256 nextAfter)
    {
        (uint256 count, uint256 first) = readCount(next);
        sellers = new address[](count);
        address previous;
        // Unchecked: `next` starts inside calldata and grows by less than 2^17 bytes a record, each of
        // which is paid for with gas.
        unchecked {
            nextAfter = first + PLACE_SIZE * count;
            for (uint256 i = 0; i < count; ++i) {
                address seller = _party(books, _load(first + PLACE_SIZE * i, PLACE_SIZE));
                require(seller > previous, BatchSellersUnsorted(i));
                previous = seller;
                sellers[i] = seller;
            }
        }
    }

    function newRecord() internal pure returns (Record memory record) {
        record.typeHash = MarketTypes.SPEND_RECEIPT_TYPEHASH;
    }

    /// @dev Overwrites what is read; the receipt's other fields are the ledger's.
    function readRecord(Books memory books, Record memory record, uint256 next)
        internal
        pure
        returns (uint256 nextAfter)
    {
        uint256 header = _load(next, HEADER_SIZE);
        // Unchecked for the same reason as in readSellers.
        unchecked {
            next += HEADER_SIZE;
            uint256 flags = header >> 8 & 0xff;
            require(flags <= FLAGS_MAX, BatchReader.BatchMalformed());
            record.account = _party(books, header >> 16);
            record.flags = flags;
            record.signatureAt = next;
            uint256 authority = flags & AUTHORITY_MASK;
            if (authority == AUTHORITY_CONTRACT) {
                next += PLACE_SIZE + _load(next, PLACE_SIZE);
            } else if (authority != AUTHORITY_ATTESTED) {
                next += SIGNATURE_SIZE;
            }
            record.linesAt = next;
            nextAfter = next + (header & 0xff) * LINE_SIZE;
            record.linesEnd = nextAfter;
        }
    }

    function authorityOf(Record memory record) internal pure returns (uint256) {
        return record.flags & AUTHORITY_MASK;
    }

    /// @dev Sums up a record's lines and hashes them as they are signed.
    /// @return amount 0 if they are not as they must be: strictly ascending, the buyer not among them,
    /// something to pay. At most 255 amounts of 64 bits: the sum does not overflow.
    function sumLines(Record memory record, address[] memory sellers)
        internal
        pure
        returns (uint256 amount)
    {
        uint256 placesEnd;
        uint256 isBad;
        // Memory-safe: lines are written beyond what is allocated and hashed before anything else is.
        // A place that is not in the list reads a foreign word; either it is the last one, and all
        // reverts, or places do not ascend.
        assembly ("memory-safe") {
            let list := add(sellers, 0x20)
            let start := mload(0x40)
            let written := start
            let buyer := mload(add(record, 0x20))
            let next := mload(add(record, 0x100))
            let end := mload(add(record, 0x120))
            for {} lt(next, end) { next := add(next, 10) } {
                let line := shr(176, calldataload(next))
                let place := shr(64, line)
                let part := and(line, 0xffffffffffffffff)
                let seller := mload(add(list, shl(5, place)))
                isBad := or(isBad, or(lt(place, placesEnd), eq(seller, buyer)))
                placesEnd := add(place, 1)
                amount := add(amount, part)
                mstore(written, or(shl(96, seller), shl(32, part)))
                written := add(written, 28)
            }
            mstore(add(record, 0xa0), keccak256(start, sub(written, start)))
        }
        require(placesEnd <= sellers.length, BatchReader.BatchMalformed());
        if (isBad != 0) return 0;
    }

    /// @dev Adds a record's lines, which `sumLines` has seen, to what their sellers get. No sum overflows:
    /// all was debited from balances, which add up to at most 72 bits.
    function creditLines(Record memory record, uint256[] memory credits) internal pure {
        // Memory-safe: `sumLines` has held each place against the length of the list of sellers, which
        // is that of `credits`.
        assembly ("memory-safe") {
            let list := add(credits, 0x20)
            let next := mload(add(record, 0x100))
            let end := mload(add(record, 0x120))
            for {} lt(next, end) { next := add(next, 10) } {
                let line := shr(176, calldataload(next))
                let credit := add(list, shl(5, shr(64, line)))
                mstore(credit, add(mload(credit), and(line, 0xffffffffffffffff)))
            }
        }
    }

    /// @return lines a record's, which `sumLines` has seen, as {SessionPolicy} takes them
    function linesOf(Record memory record, address[] memory sellers)
        internal
        pure
        returns (uint256[] memory lines)
    {
        lines = new uint256[]((record.linesEnd - record.linesAt) / LINE_SIZE);
        for (uint256 i = 0; i < lines.length; ++i) {
            uint256 line = _load(record.linesAt + i * LINE_SIZE, LINE_SIZE);
            // The cast cuts the place off.
            lines[i] = SessionPolicy.lineOf(sellers[line >> 64], uint64(line));
        }
    }

    /// @return result the EIP-712 struct hash of the receipt
    function hashOf(Record memory record) internal pure returns (bytes32 result) {
        // A memory struct is its fields in order, a word each: nothing needs to be copied.
        assembly ("memory-safe") {
            result := keccak256(record, RECEIPT_HASHED_BYTES)
        }
    }

    /// @return result what ERC-1271 is asked about
    function signatureOf(Record memory record) internal pure returns (bytes calldata result) {
        uint256 start = record.signatureAt + PLACE_SIZE;
        uint256 size = _load(record.signatureAt, PLACE_SIZE);
        assembly ("memory-safe") {
            result.offset := start
            result.length := size
        }
    }

    function _party(Books memory books, uint256 place) private pure returns (address party) {
        // Unchecked: two bytes of place, and an offset into memory.
        unchecked {
            uint256 start = books.start + place * PARTY_SIZE;
            require(start < books.end, BatchReader.BatchMalformed());
            assembly ("memory-safe") {
                party := shr(96, mload(start))
            }
        }
    }

    /// @dev `size` bytes, 1 to 32, from `start` on, as an integer.
    function _load(uint256 start, uint256 size) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, size)), calldataload(start))
        }
    }
}
