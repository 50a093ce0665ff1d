// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISettlement} from "../src/ISettlement.sol";

struct SettledOffer {
    address account;
    bytes32 resource;
    bytes32 key;
    uint64 units;
    uint96 limit;
    uint64 windowUnits;
    uint40 windowSeconds;
    uint40 validFrom;
    uint40 validUntil;
    uint32 epoch;
    uint64 nonce;
    uint8 authority;
    bytes signature;
}

struct SettledIntent {
    address account;
    bytes32 resource;
    uint64 units;
    uint64 unitsMin;
    uint96 limit;
    uint40 validFrom;
    uint40 validUntil;
    bool immediate;
    uint32 epoch;
    uint64 nonce;
    uint8 authority;
    bytes signature;
    Line[] lines;
}

struct Line {
    uint16 offer;
    uint64 units;
    uint64 delivered;
    uint96 payment;
    bytes32 fill;
}

/// @title The other side of BatchReader, written independently of it, for tests
library Batch {
    bytes32 internal constant INTENT_TYPEHASH = keccak256(
        "Intent(address account,string resource,address asset,uint64 units,uint64 unitsMin,uint96 limit,uint40 validFrom,uint40 validUntil,bool immediate,uint32 epoch,uint64 nonce)"
    );
    bytes32 internal constant OFFER_TYPEHASH = keccak256(
        "Offer(address account,string resource,address asset,bytes32 key,uint64 units,uint96 limit,uint64 windowUnits,uint40 windowSeconds,uint40 validFrom,uint40 validUntil,uint32 epoch,uint64 nonce)"
    );

    function encode(SettledOffer[] memory offers, SettledIntent[] memory intents)
        internal
        pure
        returns (bytes memory)
    {
        bytes32[] memory resources = _resourcesOf(offers, intents);
        bytes memory packed = abi.encodePacked(uint16(resources.length), resources);
        packed = abi.encodePacked(packed, uint16(offers.length));
        for (uint256 i = 0; i < offers.length; ++i) {
            packed = abi.encodePacked(packed, encode(offers[i], resources));
        }
        packed = abi.encodePacked(packed, uint16(intents.length));
        for (uint256 i = 0; i < intents.length; ++i) {
            packed = abi.encodePacked(packed, encode(intents[i], resources));
        }
        return packed;
    }

    function encode(SettledOffer memory offer, bytes32[] memory resources)
        internal
        pure
        returns (bytes memory packed)
    {
        packed = abi.encodePacked(
            offer.account,
            _indexOf(resources, offer.resource),
            offer.key,
            offer.units,
            offer.limit,
            offer.windowUnits,
            offer.windowSeconds
        );
        packed = abi.encodePacked(
            packed,
            offer.validFrom,
            offer.validUntil,
            offer.epoch,
            offer.nonce,
            offer.authority,
            uint16(offer.signature.length),
            offer.signature
        );
    }

    function encode(SettledIntent memory intent, bytes32[] memory resources)
        internal
        pure
        returns (bytes memory packed)
    {
        packed = abi.encodePacked(
            intent.account,
            _indexOf(resources, intent.resource),
            intent.units,
            intent.unitsMin,
            intent.limit,
            intent.validFrom,
            intent.validUntil,
            intent.immediate
        );
        packed = abi.encodePacked(
            packed,
            intent.epoch,
            intent.nonce,
            intent.authority,
            uint8(intent.lines.length),
            uint16(intent.signature.length),
            intent.signature
        );
        for (uint256 i = 0; i < intent.lines.length; ++i) {
            Line memory line = intent.lines[i];
            packed = abi.encodePacked(
                packed, line.offer, line.units, line.delivered, line.payment, line.fill
            );
        }
    }

    function digestOf(SettledIntent memory intent, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 hash = keccak256(
            abi.encode(
                INTENT_TYPEHASH,
                intent.account,
                intent.resource,
                settlement.asset(),
                intent.units,
                intent.unitsMin,
                intent.limit,
                intent.validFrom,
                intent.validUntil,
                intent.immediate,
                intent.epoch,
                intent.nonce
            )
        );
        return keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
    }

    function digestOf(SettledOffer memory offer, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 hash = keccak256(
            abi.encode(
                OFFER_TYPEHASH,
                offer.account,
                offer.resource,
                settlement.asset(),
                offer.key,
                offer.units,
                offer.limit,
                offer.windowUnits,
                offer.windowSeconds,
                offer.validFrom,
                offer.validUntil,
                offer.epoch,
                offer.nonce
            )
        );
        return keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
    }

    function _resourcesOf(SettledOffer[] memory offers, SettledIntent[] memory intents)
        private
        pure
        returns (bytes32[] memory resources)
    {
        resources = new bytes32[](offers.length + intents.length);
        uint256 count;
        for (uint256 i = 0; i < offers.length + intents.length; ++i) {
            bytes32 resource =
                i < offers.length ? offers[i].resource : intents[i - offers.length].resource;
            uint256 found;
            while (found < count && resources[found] != resource) ++found;
            if (found == count) resources[count++] = resource;
        }
        // Shortens a list that only this function holds.
        assembly ("memory-safe") {
            mstore(resources, count)
        }
    }

    function _indexOf(bytes32[] memory resources, bytes32 resource) private pure returns (uint16) {
        for (uint16 i = 0; i < resources.length; ++i) {
            if (resources[i] == resource) return i;
        }
        revert("unknown resource");
    }
}
