// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISettlement} from "../src/ISettlement.sol";
import {MarketTypes} from "../src/MarketTypes.sol";
import {Batch, SettledIntent, SettledOffer} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title The generated constants and the digests against a second way of making them
contract MarketTypesTest is MarketTest {
    function test_typeHashes_areOfTheTypes() public pure {
        vm.assertEq(MarketTypes.INTENT_TYPEHASH, Batch.INTENT_TYPEHASH);
        vm.assertEq(MarketTypes.OFFER_TYPEHASH, Batch.OFFER_TYPEHASH);
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

    function testFuzz_intentDigest(ISettlement.Intent memory intent) public view {
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

    function testFuzz_offerDigest(ISettlement.Offer memory offer) public view {
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
}
