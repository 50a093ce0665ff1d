// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BulkTree} from "../src/BulkTree.sol";
import {IDocuments} from "../src/IDocuments.sol";
import {IMetered} from "../src/IMetered.sol";
import {MarketTypes} from "../src/MarketTypes.sol";
import {Batch, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";
import {Bundle, Terms} from "./Bundle.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title The generated constants and the digests against a second way of making them
contract MarketTypesTest is MarketTest {
    function test_typeHashes_areOfTheTypes() public pure {
        vm.assertEq(MarketTypes.INTENT_TYPEHASH, Batch.INTENT_TYPEHASH);
        vm.assertEq(MarketTypes.OFFER_TYPEHASH, Batch.OFFER_TYPEHASH);
        vm.assertEq(MarketTypes.MANDATE_TYPEHASH, Batch.MANDATE_TYPEHASH);
        vm.assertEq(
            MarketTypes.SPEND_RECEIPT_TYPEHASH,
            keccak256(
                "SpendReceipt(address account,uint32 epoch,uint64 base,uint64 spent,bytes32 lines)"
            )
        );
        vm.assertEq(MarketTypes.RESOURCE_EMPTY, keccak256(""));
        for (uint256 height = 1; height <= MarketTypes.BULK_HEIGHT_MAX; ++height) {
            vm.assertEq(MarketTypes.bulkTypehash(height), Bulk.typehash(height));
        }
        for (uint256 height = 1; height <= MarketTypes.BUNDLE_HEIGHT_MAX; ++height) {
            vm.assertEq(MarketTypes.bundleTypehash(height), Bundle.typehash(height));
        }
    }

    function test_domainSeparator_isOfTheDomain() public view {
        bytes32 expected = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Keyfill"),
                keccak256("1"),
                block.chainid,
                address(settlement)
            )
        );
        vm.assertEq(settlement.domainSeparator(), expected);
    }

    function testFuzz_intentDigest(IDocuments.Intent memory intent) public view {
        SettledIntent memory same;
        same.account = intent.account;
        same.resource = intent.resource;
        same.units = intent.units;
        same.unitsMin = intent.unitsMin;
        same.limit = intent.limit;
        same.validFrom = intent.validFrom;
        same.validUntil = intent.validUntil;
        same.immediate = intent.immediate;
        same.epoch = intent.epoch;
        same.nonce = intent.nonce;
        vm.assertEq(settlement.intentDigest(intent), Batch.digestOf(same, settlement));
    }

    function testFuzz_offerDigest(IDocuments.Offer memory offer) public view {
        SettledOffer memory same;
        same.account = offer.account;
        same.resource = offer.resource;
        same.key = offer.key;
        same.units = offer.units;
        same.limit = offer.limit;
        same.windowUnits = offer.windowUnits;
        same.windowSeconds = offer.windowSeconds;
        same.validFrom = offer.validFrom;
        same.validUntil = offer.validUntil;
        same.epoch = offer.epoch;
        same.nonce = offer.nonce;
        vm.assertEq(settlement.offerDigest(offer), Batch.digestOf(same, settlement));
    }

    function testFuzz_mandateDigest(IDocuments.Mandate memory mandate) public view {
        SettledMandate memory same;
        same.account = mandate.account;
        same.resource = mandate.resource;
        same.tickMax = mandate.tickMax;
        same.limit = mandate.limit;
        same.validFrom = mandate.validFrom;
        same.validUntil = mandate.validUntil;
        same.epoch = mandate.epoch;
        same.nonce = mandate.nonce;
        vm.assertEq(settlement.mandateDigest(mandate), Batch.digestOf(same, settlement));
    }

    function testFuzz_receiptDigest(IMetered.SpendReceipt memory receipt) public view {
        bytes32 hash = keccak256(
            abi.encode(
                MarketTypes.SPEND_RECEIPT_TYPEHASH,
                receipt.account,
                receipt.epoch,
                receipt.base,
                receipt.spent,
                receipt.lines
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
        vm.assertEq(settlement.receiptDigest(receipt), digest);
    }

    /// @dev Each leaf of a tree of any size proves the same digest.
    function testFuzz_bulkDigest(uint256 seed, uint256 count, uint256 index) public view {
        count = _bound(count, 1, 70);
        SettledIntent[] memory intents = new SettledIntent[](count);
        for (uint256 i = 0; i < count; ++i) {
            intents[i] = _intent(address(uint160(seed)), uint64(i), 1, 1);
        }
        uint16 place = uint16(_bound(index, 0, count - 1));
        bytes32[] memory leaves = Bulk.leavesOf(intents, address(usdc));
        vm.assertEq(
            settlement.bulkDigest(_signedTypeOf(intents[place]), Bulk.proofOf(leaves, place)),
            Bulk.digestOf(intents, settlement)
        );
    }

    function test_bulkDigest_ofTheHighestTree() public view {
        SettledIntent[] memory intents = new SettledIntent[](1024);
        for (uint256 i = 0; i < intents.length; ++i) {
            intents[i] = _intent(address(1), uint64(i), 1, 1);
        }
        bytes32[] memory leaves = Bulk.leavesOf(intents, address(usdc));
        vm.assertEq(
            settlement.bulkDigest(_signedTypeOf(intents[1023]), Bulk.proofOf(leaves, 1023)),
            Bulk.digestOf(intents, settlement)
        );
    }

    /// @dev Height 0 or 11, part of a word, or an index beyond the tree.
    function test_bulkDigest_RevertIf_proofMalformed() public {
        bytes[6] memory proofs = [
            bytes(""),
            new bytes(2),
            new bytes(2 + 31),
            new bytes(2 + 33),
            new bytes(2 + 32 * 11),
            bytes.concat(hex"0002", new bytes(32))
        ];
        for (uint256 i = 0; i < proofs.length; ++i) {
            vm.expectRevert(BulkTree.BulkProofMalformed.selector);
            settlement.bulkDigest(_signedTypeOf(_intent(address(1), 1, 1, 1)), proofs[i]);
        }
    }

    /// @dev Each leg with the terms proves the same digest.
    function testFuzz_bundleDigest(Terms memory terms, uint256 count, uint256 index) public view {
        count = _bound(count, 2, 16);
        SettledIntent[] memory legs = new SettledIntent[](count);
        for (uint256 i = 0; i < count; ++i) {
            legs[i] = _intent(address(1), uint64(i), 1, 1);
        }
        uint16 place = uint16(_bound(index, 0, count - 1));
        bytes32[] memory leaves = Bulk.leavesOf(legs, address(usdc));
        vm.assertEq(
            settlement.bundleDigest(
                _signedTypeOf(legs[place]), Bundle.proofOf(terms, leaves, place)
            ),
            Bundle.digestOf(terms, legs, settlement)
        );
    }

    /// @dev Height 0 or 5, part of a word, a bulk's proof, or an index beyond the tree.
    function test_bundleDigest_RevertIf_proofMalformed() public {
        bytes[7] memory proofs = [
            bytes(""),
            new bytes(9),
            new bytes(9 + 31),
            new bytes(9 + 33),
            new bytes(2 + 32),
            new bytes(9 + 32 * 5),
            bytes.concat(new bytes(7), hex"0002", new bytes(32))
        ];
        for (uint256 i = 0; i < proofs.length; ++i) {
            vm.expectRevert(BulkTree.BulkProofMalformed.selector);
            settlement.bundleDigest(_signedTypeOf(_intent(address(1), 1, 1, 1)), proofs[i]);
        }
    }

    function _signedTypeOf(SettledIntent memory intent)
        private
        pure
        returns (IDocuments.Intent memory)
    {
        return IDocuments.Intent(
            intent.account,
            intent.resource,
            intent.units,
            intent.unitsMin,
            intent.limit,
            intent.validFrom,
            intent.validUntil,
            intent.immediate,
            intent.epoch,
            intent.nonce
        );
    }
}
