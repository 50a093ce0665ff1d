// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BulkTree} from "./BulkTree.sol";
import {BundleTree} from "./BundleTree.sol";
import {MarketTypes} from "./MarketTypes.sol";

/// @title The packed layout of a batch
/// @notice Big-endian fields without padding, as `abi.encodePacked` writes them. Words of zeros would
/// cost more than the checks themselves: with ABI-encoded structs a fill costs a fifth more gas.
///
///   batch    = resourceCount u16, resource bytes32 each,
///              offerCount u16, offer each, intentCount u16, intent each
///   offer    = account address, resource u16, key bytes32, units u64, limit u96, windowUnits u64,
///              windowSeconds u40, validFrom u40, validUntil u40, epoch u32, nonce u64,
///              authority u8, signatureSize u16, signature
///   intent   = account address, resource u16, units u64, unitsMin u64, limit u96, validFrom u40,
///              validUntil u40, immediate u8 (0 or 1), epoch u32, nonce u64,
///              authority u8, lineCount u8, signatureSize u16, signature, line each
///   line     = offer u16, units u64, delivered u64, payment u96, fill bytes32
///
/// Between offers and intents, awards may stand ({AwardReader}).
/// `resource` and `offer` are indices into the batch's own lists. An intent's `authority` says in its
/// lowest two bits whose signature it is, and above them what it is of:
///
///   0        the intent
///   1 to 10  a bulk of this height. Then `signature` begins with the proof, index u16 and a sibling
///            bytes32 for each level; if nothing follows the proof, the signature is that of the
///            last intent that was in a bulk or a bundle
///   17 to 20 a bundle, of height 1 to 4: the same, with any u8, successMin u16 and latencyMax u32
///            before the proof
///   32       a mandate: `units` is its tickMax, `unitsMin` and `immediate` mean nothing, and the
///            lines are of any of the account's intents under it
/// @dev Every field is cut to its width here, so nothing downstream has to ask again. Reads past the
/// end see foreign or zero bytes; `finish` then reverts the whole batch, because a cursor only grows.
library BatchReader {
    /// @dev Where the next field is, as an offset into calldata.
    struct Cursor {
        uint256 next;
        uint256 end;
        uint256 resourcesAt;
        uint256 resourceCount;
    }

    /// @dev The first 12 words are the EIP-712 encoding of the document, in its order.
    struct Intent {
        bytes32 typeHash;
        address account;
        bytes32 resource;
        address asset;
        uint256 units;
        uint256 unitsMin;
        uint256 limit;
        uint256 validFrom;
        uint256 validUntil;
        uint256 immediate;
        uint256 epoch;
        uint256 nonce;
        uint256 authority;
        uint256 signatureAt;
        uint256 signatureSize;
        uint256 linesAt;
        uint256 lineCount;
        uint256 proofAt;
    }

    /// @dev The first 13 words are the EIP-712 encoding of the document, in its order.
    struct Offer {
        bytes32 typeHash;
        address account;
        bytes32 resource;
        address asset;
        bytes32 key;
        uint256 units;
        uint256 limit;
        uint256 windowUnits;
        uint256 windowSeconds;
        uint256 validFrom;
        uint256 validUntil;
        uint256 epoch;
        uint256 nonce;
        uint256 authority;
        uint256 signatureAt;
        uint256 signatureSize;
    }

    struct Line {
        uint256 offer;
        uint256 units;
        uint256 delivered;
        uint256 payment;
        bytes32 fill;
    }

    /// @dev The bytes are not a batch: too short, too long, or with an unknown resource.
    error BatchMalformed();

    uint256 internal constant AUTHORITY_MASK = 3;
    /// @dev Above the mask: the height of a bulk, 16 and that of a bundle, or that it is a mandate.
    uint256 internal constant FORM_SHIFT = 2;
    uint256 internal constant FORM_BUNDLE = 16;
    uint256 internal constant FORM_MANDATE = 32;

    /// @dev Stands for every resource; no name has this hash.
    bytes32 internal constant RESOURCE_ANY = 0;

    uint256 private constant INTENT_SIZE = 77;
    uint256 private constant OFFER_SIZE = 112;
    uint256 private constant LINE_SIZE = 62;
    uint256 private constant INTENT_HASHED_BYTES = 12 * 32;
    uint256 private constant OFFER_HASHED_BYTES = 13 * 32;

    function open(bytes calldata batch) internal pure returns (Cursor memory cursor) {
        uint256 start;
        assembly ("memory-safe") {
            start := batch.offset
        }
        cursor.next = start;
        cursor.end = start + batch.length;
        cursor.resourceCount = readCount(cursor);
        cursor.resourcesAt = cursor.next;
        cursor.next += cursor.resourceCount * 32;
    }

    /// @dev Whoever reads a batch must end with this.
    function finish(Cursor memory cursor) internal pure {
        require(cursor.next == cursor.end, BatchMalformed());
    }

    function readCount(Cursor memory cursor) internal pure returns (uint256 count) {
        count = _load(cursor.next, 2);
        cursor.next += 2;
    }

    /// @dev Overwrites `intent` but for its type hash and asset, which are the same for all.
    function readIntent(Cursor memory cursor, Intent memory intent) internal pure {
        uint256 start = cursor.next;
        // Unchecked: a cursor starts inside calldata and grows by less than 2^17 bytes a record,
        // each of which is paid for with gas.
        unchecked {
            intent.account = address(uint160(_load(start, 20)));
            intent.resource = _resource(cursor, _load(start + 20, 2));
            intent.units = _load(start + 22, 8);
            intent.unitsMin = _load(start + 30, 8);
            intent.limit = _load(start + 38, 12);
            intent.validFrom = _load(start + 50, 5);
            intent.validUntil = _load(start + 55, 5);
            // A flag that is neither 0 nor 1 needs no check: nobody can have signed it.
            intent.immediate = _load(start + 60, 1);
            intent.epoch = _load(start + 61, 4);
            intent.nonce = _load(start + 65, 8);
            intent.authority = _load(start + 73, 1);
            uint256 lineCount = _load(start + 74, 1);
            uint256 size = _load(start + 75, 2);
            start += INTENT_SIZE;
            intent.lineCount = lineCount;
            intent.linesAt = start + size;
            cursor.next = start + size + lineCount * LINE_SIZE;
            intent.signatureAt = start;
            intent.signatureSize = size;
        }
    }

    /// @dev Overwrites `offer` but for its type hash and asset.
    function readOffer(Cursor memory cursor, Offer memory offer) internal pure {
        uint256 start = cursor.next;
        // Unchecked for the same reason as in readIntent.
        unchecked {
            offer.account = address(uint160(_load(start, 20)));
            offer.resource = _resource(cursor, _load(start + 20, 2));
            offer.key = bytes32(_load(start + 22, 32));
            offer.units = _load(start + 54, 8);
            offer.limit = _load(start + 62, 12);
            offer.windowUnits = _load(start + 74, 8);
            offer.windowSeconds = _load(start + 82, 5);
            offer.validFrom = _load(start + 87, 5);
            offer.validUntil = _load(start + 92, 5);
            offer.epoch = _load(start + 97, 4);
            offer.nonce = _load(start + 101, 8);
            offer.authority = _load(start + 109, 1);
            uint256 size = _load(start + 110, 2);
            offer.signatureSize = size;
            offer.signatureAt = start + OFFER_SIZE;
            cursor.next = start + OFFER_SIZE + size;
        }
    }

    function readLine(Intent memory intent, uint256 index, Line memory line) internal pure {
        // Unchecked for the same reason as in readIntent; index < lineCount.
        unchecked {
            uint256 start = intent.linesAt + index * LINE_SIZE;
            line.offer = _load(start, 2);
            line.units = _load(start + 2, 8);
            line.delivered = _load(start + 10, 8);
            line.payment = _load(start + 18, 12);
            line.fill = bytes32(_load(start + 30, 32));
        }
    }

    /// @dev Takes the proof for a bulk or bundle of this form off the front of the signature.
    function takeProof(Intent memory intent, uint256 form) internal pure {
        uint256 proofSize =
            _isBundle(form) ? BundleTree.proofSize(form ^ FORM_BUNDLE) : BulkTree.proofSize(form);
        require(intent.signatureSize >= proofSize, BatchMalformed());
        intent.proofAt = intent.signatureAt;
        // Unchecked: see above, and the reason in readIntent.
        unchecked {
            intent.signatureAt += proofSize;
            intent.signatureSize -= proofSize;
        }
    }

    function signatureOf(Intent memory intent) internal pure returns (bytes calldata) {
        return _slice(intent.signatureAt, intent.signatureSize);
    }

    function signatureOf(Offer memory offer) internal pure returns (bytes calldata) {
        return _slice(offer.signatureAt, offer.signatureSize);
    }

    /// @return result the EIP-712 struct hash
    function hashOf(Intent memory intent) internal pure returns (bytes32 result) {
        // A memory struct is its fields in order, a word each: nothing needs to be copied.
        assembly ("memory-safe") {
            result := keccak256(intent, INTENT_HASHED_BYTES)
        }
    }

    /// @return the EIP-712 struct hash of the bulk or bundle of this form that the intent is in
    function hashOfTree(Intent memory intent, uint256 form) internal pure returns (bytes32) {
        bytes32 leaf = hashOf(intent);
        return _isBundle(form)
            ? BundleTree.structHash(leaf, form ^ FORM_BUNDLE, intent.proofAt)
            : BulkTree.structHash(leaf, form, intent.proofAt);
    }

    /// @return result the EIP-712 struct hash
    function hashOf(Offer memory offer) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            result := keccak256(offer, OFFER_HASHED_BYTES)
        }
    }

    /// @return the EIP-712 struct hash of the mandate that stands in the intent's place
    function hashOfMandate(Intent memory intent) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                MarketTypes.MANDATE_TYPEHASH,
                intent.account,
                intent.resource,
                intent.asset,
                intent.units,
                intent.limit,
                intent.validFrom,
                intent.validUntil,
                intent.epoch,
                intent.nonce
            )
        );
    }

    /// @dev Makes of a mandate what its lines are held against: a million units for `tickMax`, of any
    /// resource if its name is empty.
    function turnToLines(Intent memory intent) internal pure {
        if (intent.resource == MarketTypes.RESOURCE_EMPTY) intent.resource = RESOURCE_ANY;
        intent.limit = intent.units;
        intent.units = MarketTypes.TICK_UNITS;
        intent.unitsMin = 0;
    }

    function newIntent(address asset) internal pure returns (Intent memory intent) {
        intent.typeHash = MarketTypes.INTENT_TYPEHASH;
        intent.asset = asset;
    }

    function newOffer(address asset) internal pure returns (Offer memory offer) {
        offer.typeHash = MarketTypes.OFFER_TYPEHASH;
        offer.asset = asset;
    }

    /// @dev Of any height below 16.
    function _isBundle(uint256 form) private pure returns (bool) {
        return form / FORM_BUNDLE == 1;
    }

    function _resource(Cursor memory cursor, uint256 index) private pure returns (bytes32) {
        require(index < cursor.resourceCount, BatchMalformed());
        unchecked {
            return bytes32(_load(cursor.resourcesAt + index * 32, 32));
        }
    }

    /// @dev `size` bytes, 1 to 32, from `start` on, as an integer.
    function _load(uint256 start, uint256 size) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, size)), calldataload(start))
        }
    }

    function _slice(uint256 start, uint256 size) private pure returns (bytes calldata result) {
        assembly ("memory-safe") {
            result.offset := start
            result.length := size
        }
    }
}
