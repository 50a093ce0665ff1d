// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "../src/BatchReader.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {Test} from "./Test.sol";

/// @title What the encoder writes is what the reader reads
contract BatchReaderTest is Test {
    using BatchReader for BatchReader.Cursor;
    using BatchReader for BatchReader.Intent;
    using BatchReader for BatchReader.Offer;

    function testFuzz_readOffer(SettledOffer memory offer) public view {
        vm.assume(offer.signature.length < 2 ** 16);
        SettledOffer[] memory offers = new SettledOffer[](1);
        offers[0] = offer;
        (BatchReader.Offer memory read, bytes memory signature) =
            this.offerOf(Batch.encode(offers, new SettledIntent[](0)));
        vm.assertEq(read.account, offer.account);
        vm.assertEq(read.resource, offer.resource);
        vm.assertEq(read.key, offer.key);
        vm.assertEq(read.units, offer.units);
        vm.assertEq(read.limit, offer.limit);
        vm.assertEq(read.windowUnits, offer.windowUnits);
        vm.assertEq(read.windowSeconds, offer.windowSeconds);
        vm.assertEq(read.validFrom, offer.validFrom);
        vm.assertEq(read.validUntil, offer.validUntil);
        vm.assertEq(read.epoch, offer.epoch);
        vm.assertEq(read.nonce, offer.nonce);
        vm.assertEq(read.authority, offer.authority);
        vm.assertEq(keccak256(signature), keccak256(offer.signature));
    }

    function testFuzz_readIntent(SettledIntent memory intent) public view {
        vm.assume(intent.signature.length < 2 ** 16 && intent.lines.length < 2 ** 8);
        intent.authority %= 4;
        SettledIntent[] memory intents = new SettledIntent[](1);
        intents[0] = intent;
        (BatchReader.Intent memory read, BatchReader.Line[] memory lines, bytes memory signature) =
            this.intentOf(Batch.encode(new SettledOffer[](0), intents));
        vm.assertEq(read.account, intent.account);
        vm.assertEq(read.resource, intent.resource);
        vm.assertEq(read.units, intent.units);
        vm.assertEq(read.unitsMin, intent.unitsMin);
        vm.assertEq(read.limit, intent.limit);
        vm.assertEq(read.validFrom, intent.validFrom);
        vm.assertEq(read.validUntil, intent.validUntil);
        vm.assertTrue((read.immediate == 1) == intent.immediate);
        vm.assertEq(read.epoch, intent.epoch);
        vm.assertEq(read.nonce, intent.nonce);
        vm.assertEq(read.authority, intent.authority);
        vm.assertEq(keccak256(signature), keccak256(intent.signature));
        vm.assertEq(lines.length, intent.lines.length);
        for (uint256 i = 0; i < lines.length; ++i) {
            vm.assertEq(keccak256(abi.encode(lines[i])), keccak256(abi.encode(intent.lines[i])));
        }
    }

    /// @dev A proof, of a leg with its terms, stands before the signature, and is not part of it.
    function testFuzz_readIntent_ofTree(
        SettledIntent memory intent,
        uint8 form,
        bytes memory signature
    ) public view {
        vm.assume(signature.length != 0 && signature.length < 2 ** 12);
        vm.assume(intent.lines.length < 2 ** 8);
        form = uint8(_bound(form, 1, 31));
        intent.authority = (intent.authority % 4) | form << 2;
        uint256 termSize = form < 16 ? 0 : 7;
        bytes memory proof = new bytes(termSize + 2 + 32 * uint256(form % 16));
        intent.signature = bytes.concat(proof, signature);
        SettledIntent[] memory intents = new SettledIntent[](1);
        intents[0] = intent;
        (BatchReader.Intent memory read, BatchReader.Line[] memory lines, bytes memory found) =
            this.intentOf(Batch.encode(new SettledOffer[](0), intents));
        vm.assertEq(read.authority, intent.authority);
        vm.assertEq(read.proofAt + proof.length, read.signatureAt);
        vm.assertEq(keccak256(found), keccak256(signature));
        vm.assertEq(keccak256(abi.encode(lines)), keccak256(abi.encode(intent.lines)));
    }

    function test_readIntent_RevertIf_shorterThanItsProof() public {
        SettledIntent[] memory intents = new SettledIntent[](1);
        intents[0].authority = 2 << 2;
        intents[0].signature = new bytes(65);
        bytes memory batch = Batch.encode(new SettledOffer[](0), intents);
        vm.expectRevert(BatchReader.BatchMalformed.selector);
        this.intentOf(batch);
    }

    function testFuzz_readMandate(SettledMandate memory mandate) public view {
        vm.assume(mandate.signature.length < 2 ** 16 && mandate.lines.length < 2 ** 8);
        SettledMandate[] memory mandates = new SettledMandate[](1);
        mandates[0] = mandate;
        mandates[0].authority %= 4;
        (BatchReader.Intent memory read, BatchReader.Line[] memory lines, bytes memory signature) =
            this.intentOf(Batch.encode(new SettledOffer[](0), new SettledIntent[](0), mandates));
        vm.assertEq(read.account, mandate.account);
        vm.assertEq(read.resource, mandate.resource);
        vm.assertEq(read.units, mandate.tickMax);
        vm.assertEq(read.limit, mandate.limit);
        vm.assertEq(read.validFrom, mandate.validFrom);
        vm.assertEq(read.validUntil, mandate.validUntil);
        vm.assertEq(read.epoch, mandate.epoch);
        vm.assertEq(read.nonce, mandate.nonce);
        vm.assertEq(read.authority >> 2, 32);
        vm.assertEq(read.authority & 3, mandate.authority);
        vm.assertEq(keccak256(signature), keccak256(mandate.signature));
        vm.assertEq(keccak256(abi.encode(lines)), keccak256(abi.encode(mandate.lines)));
    }

    /// @dev A million units for the mandate's price, whatever else the entry says.
    function testFuzz_turnToLines(BatchReader.Intent memory mandate) public pure {
        uint256 tickMax = mandate.units;
        bytes32 resource = mandate.resource;
        vm.assume(resource != keccak256(""));
        mandate.turnToLines();
        vm.assertEq(mandate.units, 1_000_000);
        vm.assertEq(mandate.limit, tickMax);
        vm.assertEq(mandate.unitsMin, 0);
        vm.assertEq(mandate.resource, resource);
        mandate.resource = keccak256("");
        mandate.turnToLines();
        vm.assertEq(mandate.resource, 0);
    }

    function offerOf(bytes calldata batch)
        external
        pure
        returns (BatchReader.Offer memory offer, bytes memory signature)
    {
        BatchReader.Cursor memory cursor = BatchReader.open(batch);
        vm.assertEq(cursor.readCount(), 1);
        offer = BatchReader.newOffer(address(1));
        cursor.readOffer(offer);
        vm.assertEq(cursor.readCount(), 0);
        cursor.finish();
        signature = offer.signatureOf();
    }

    function intentOf(bytes calldata batch)
        external
        pure
        returns (
            BatchReader.Intent memory intent,
            BatchReader.Line[] memory lines,
            bytes memory signature
        )
    {
        BatchReader.Cursor memory cursor = BatchReader.open(batch);
        vm.assertEq(cursor.readCount(), 0);
        vm.assertEq(cursor.readCount(), 1);
        intent = BatchReader.newIntent(address(1));
        cursor.readIntent(intent);
        cursor.finish();
        uint256 form = intent.authority >> 2;
        if (form != 0 && form != 32) intent.takeProof(form);
        lines = new BatchReader.Line[](intent.lineCount);
        for (uint256 i = 0; i < lines.length; ++i) {
            intent.readLine(i, lines[i]);
        }
        signature = intent.signatureOf();
    }
}
