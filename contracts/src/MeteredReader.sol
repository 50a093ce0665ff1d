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
///   record = buyer u16, authority u8, lineCount u8, line each, signature
///   line   = amount u48, skipped u16; signed as seller address, amount u64
///
/// `buyer`, and `seller` in the batch's list, are places in all books together; sellers ascend
/// strictly by address. A line is to a seller of that list, `skipped` places after the one that follows
/// the line before: so lines ascend too, however they are written. The authority's lowest two bits say
/// whose word the record is:
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

    /// @dev The first 6 words are the EIP-712 encoding of the receipt, in its order, and the last 3 what is
    /// signed: its prefix, the domain, the receipt's hash. Lines are in calldata from `linesAt` up to
    /// `signatureAt`, and there is the signature.
    struct Record {
        bytes32 typeHash;
        address account;
        uint256 epoch;
        uint256 base;
        uint256 spent;
        bytes32 lines;
        uint256 authority;
        bool isEpochBefore;
        uint256 linesAt;
        uint256 signatureAt;
        bytes32 prefix;
        bytes32 domain;
        bytes32 hash;
    }

    uint256 internal constant AUTHORITY_CONTRACT = 1;
    uint256 internal constant AUTHORITY_SESSION = 2;
    uint256 internal constant AUTHORITY_ATTESTED = 3;

    /// @dev No sum of lines is larger.
    uint256 internal constant AMOUNT_MAX = type(uint128).max;

    uint256 private constant AUTHORITY_MASK = 3;
    uint256 private constant FLAGS_MAX = 7;
    uint256 private constant BOOK_SIZE = 20;
    uint256 private constant PARTY_SIZE = 20;
    uint256 private constant PLACE_SIZE = 2;
    uint256 private constant HEADER_SIZE = 4;
    uint256 private constant LINE_SIZE = 8;
    /// @dev A byte for each authority, from the highest on. A contract's is as long as its first two say, and
    /// these.
    uint256 private constant SIGNATURE_SIZES = 0x40024000 << 224;
    uint256 private constant RECEIPT_HASHED_BYTES = 6 * 32;
    bytes32 private constant PREFIX = bytes32(uint256(0x1901));
    /// @dev Where in a record what is signed begins, at the prefix's two bytes.
    uint256 private constant SIGNED_AT = 10 * 32 + 30;
    uint256 private constant SIGNED_BYTES = 2 + 2 * 32;
    uint256 private constant HASH_AT = 12 * 32;
    /// @dev Of a seller's word: what it gets is below, its address above.
    uint256 private constant SELLER_SHIFT = 96;

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
    /// @return sellers a word each, which has room for what the seller gets: see {creditOf}
    function readSellers(Books memory books, uint256 next)
        internal
        pure
        returns (uint256[] memory sellers, uint256 nextAfter)
    {
        uint256 count;
        (count, nextAfter) = readCount(next);
        sellers = new uint256[](count);
        address previous;
        for (uint256 i = 0; i < count; ++i) {
            address seller = _party(books, _load(nextAfter, PLACE_SIZE));
            require(seller > previous, BatchSellersUnsorted(i));
            previous = seller;
            // Memory-safe: one of `count` places.
            assembly ("memory-safe") {
                mstore(add(add(sellers, 0x20), shl(5, i)), shl(SELLER_SHIFT, seller))
            }
            // Unchecked: it starts inside calldata, and each seller is paid for with gas.
            unchecked {
                nextAfter += PLACE_SIZE;
            }
        }
    }

    function newRecord(bytes32 domain) internal pure returns (Record memory record) {
        record.typeHash = MarketTypes.SPEND_RECEIPT_TYPEHASH;
        record.prefix = PREFIX;
        record.domain = domain;
    }

    /// @dev Overwrites what is read; the receipt's other fields are the ledger's. Lines are hashed as they are
    /// signed, and added to what their sellers get: whoever does not settle the record then takes
    /// them back with `revokeLines`. Assembly, since it is 600 gas less for five lines.
    /// @return amount the sum, above AMOUNT_MAX if the buyer is one of the sellers. At most 255 amounts of 48
    /// bits, so even with 2^16 records no seller's word has more than 72 for what it gets.
    /// @return nextAfter inside calldata, or as far beyond it as a record is long
    function readRecord(
        Books memory books,
        Record memory record,
        uint256[] memory sellers,
        uint256 next
    ) internal pure returns (uint256 amount, uint256 nextAfter) {
        bool isMalformed;
        // Memory-safe: what is signed is written beyond what is allocated and hashed before anything else
        // is. Lines ascend, so if any is beyond the list, the last one is; then, and if the buyer is
        // in no book, all reverts, whatever was read or written instead.
        assembly ("memory-safe") {
            let header := calldataload(next)
            let party := add(mload(books), mul(shr(240, header), PARTY_SIZE))
            isMalformed := or(
                iszero(lt(party, mload(add(books, 0x20)))),
                gt(byte(2, header), FLAGS_MAX)
            )
            let buyer := shr(96, mload(party))
            mstore(add(record, 0x20), buyer)
            mstore(add(record, 0xe0), gt(byte(2, header), AUTHORITY_MASK))
            next := add(next, HEADER_SIZE)
            mstore(add(record, 0x100), next)
            nextAfter := add(next, mul(byte(3, header), LINE_SIZE))
            mstore(add(record, 0x120), nextAfter)
            let written := mload(0x40)
            let seller := sellers
            for {} lt(next, nextAfter) { next := add(next, LINE_SIZE) } {
                let line := calldataload(next)
                seller := add(add(seller, 0x20), and(shr(187, line), 0x1fffe0))
                let word := mload(seller)
                let part := shr(208, line)
                mstore(seller, add(word, part))
                // The amount follows the address and two bytes of zero, since no credit has 80 bits; what
                // follows it is written over, or not hashed.
                mstore(written, word)
                mstore(add(written, 22), line)
                written := add(written, 28)
                // No sum has as many bits as mark it as bad.
                amount := add(amount, or(part, shl(128, eq(shr(SELLER_SHIFT, word), buyer))))
            }
            isMalformed := or(isMalformed, gt(seller, add(sellers, shl(5, mload(sellers)))))
            mstore(add(record, 0xa0), keccak256(mload(0x40), sub(written, mload(0x40))))
            let authority := and(byte(2, header), AUTHORITY_MASK)
            mstore(add(record, 0xc0), authority)
            if eq(authority, AUTHORITY_CONTRACT) {
                nextAfter := add(nextAfter, shr(240, calldataload(nextAfter)))
            }
            nextAfter := add(nextAfter, byte(authority, SIGNATURE_SIZES))
        }
        require(!isMalformed, BatchReader.BatchMalformed());
    }

    /// @dev Takes back what `readRecord` added.
    function revokeLines(Record memory record, uint256[] memory sellers) internal pure {
        uint256[] memory lines = linesOf(record, sellers);
        uint256 place;
        for (uint256 i = 0; i < lines.length; ++i) {
            uint256 seller = SessionPolicy.counterpartyOf(lines[i]);
            while (sellers[place] >> SELLER_SHIFT != seller) ++place;
            sellers[place] -= SessionPolicy.amountOf(lines[i]);
        }
    }

    function sellerOf(uint256 word) internal pure returns (address) {
        return address(uint160(word >> SELLER_SHIFT));
    }

    function creditOf(uint256 word) internal pure returns (uint256) {
        return uint96(word);
    }

    /// @return lines a record's, which `readRecord` has seen, as {SessionPolicy} takes them
    function linesOf(Record memory record, uint256[] memory sellers)
        internal
        pure
        returns (uint256[] memory lines)
    {
        lines = new uint256[]((record.signatureAt - record.linesAt) / LINE_SIZE);
        uint256 place;
        for (uint256 i = 0; i < lines.length; ++i) {
            uint256 line = _load(record.linesAt + i * LINE_SIZE, LINE_SIZE);
            place += line & type(uint16).max;
            // The cast is safe: the line's other six bytes.
            lines[i] = SessionPolicy.lineOf(sellerOf(sellers[place++]), uint48(line >> 16));
        }
    }

    /// @return result the EIP-712 digest of the receipt
    function digestOf(Record memory record) internal pure returns (bytes32 result) {
        // A memory struct is its fields in order, a word each: nothing needs to be copied.
        assembly ("memory-safe") {
            mstore(add(record, HASH_AT), keccak256(record, RECEIPT_HASHED_BYTES))
            result := keccak256(add(record, SIGNED_AT), SIGNED_BYTES)
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
