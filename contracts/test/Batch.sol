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

struct SettledMandate {
    address account;
    bytes32 resource;
    uint64 tickMax;
    uint96 limit;
    uint40 validFrom;
    uint40 validUntil;
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

    uint8 internal constant MANDATE_FORM = 0x80;
    bytes32 internal constant MANDATE_TYPEHASH = keccak256(
        "Mandate(address account,string resource,address asset,uint64 tickMax,uint96 limit,uint40 validFrom,uint40 validUntil,uint32 epoch,uint64 nonce)"
    );

    function encode(SettledOffer[] memory offers, SettledIntent[] memory intents)
        internal
        pure
        returns (bytes memory)
    {
        return encode(offers, intents, new SettledMandate[](0));
    }

    function encode(
        SettledOffer[] memory offers,
        SettledIntent[] memory intents,
        SettledMandate[] memory mandates
    ) internal pure returns (bytes memory) {
        return encode(offers, intents, mandates, 0, "");
    }

    /// @param awards as {Awards} packs them, of so many fills
    function encode(
        SettledOffer[] memory offers,
        SettledIntent[] memory intents,
        SettledMandate[] memory mandates,
        uint16 awarded,
        bytes memory awards
    ) internal pure returns (bytes memory) {
        bytes32[] memory resources = _resourcesOf(offers, intents, mandates);
        bytes memory packed = abi.encodePacked(uint16(resources.length), resources);
        packed = abi.encodePacked(packed, uint16(offers.length | (awarded == 0 ? 0 : 0x8000)));
        if (awarded != 0) packed = abi.encodePacked(packed, awarded);
        for (uint256 i = 0; i < offers.length; ++i) {
            packed = abi.encodePacked(packed, encode(offers[i], resources));
        }
        packed = abi.encodePacked(packed, awards);
        packed = abi.encodePacked(packed, uint16(intents.length + mandates.length));
        for (uint256 i = 0; i < intents.length; ++i) {
            packed = abi.encodePacked(packed, encode(intents[i], resources));
        }
        for (uint256 i = 0; i < mandates.length; ++i) {
            packed = abi.encodePacked(packed, encode(mandates[i], resources));
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
            intent.signature,
            _encode(intent.lines)
        );
    }

    function encode(SettledMandate memory mandate, bytes32[] memory resources)
        internal
        pure
        returns (bytes memory packed)
    {
        packed = abi.encodePacked(
            mandate.account,
            _indexOf(resources, mandate.resource),
            mandate.tickMax,
            uint64(0),
            mandate.limit,
            mandate.validFrom,
            mandate.validUntil,
            false
        );
        packed = abi.encodePacked(
            packed,
            mandate.epoch,
            mandate.nonce,
            mandate.authority | MANDATE_FORM,
            uint8(mandate.lines.length),
            uint16(mandate.signature.length),
            mandate.signature,
            _encode(mandate.lines)
        );
    }

    function digestOf(SettledMandate memory mandate, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        bytes32 hash = keccak256(
            abi.encode(
                MANDATE_TYPEHASH,
                mandate.account,
                mandate.resource,
                settlement.asset(),
                mandate.tickMax,
                mandate.limit,
                mandate.validFrom,
                mandate.validUntil,
                mandate.epoch,
                mandate.nonce
            )
        );
        return keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), hash));
    }

    function digestOf(SettledIntent memory intent, ISettlement settlement)
        internal
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encodePacked(
                hex"1901", settlement.domainSeparator(), structHashOf(intent, settlement.asset())
            )
        );
    }

    function structHashOf(SettledIntent memory intent, address asset)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                INTENT_TYPEHASH,
                intent.account,
                intent.resource,
                asset,
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

    function _encode(Line[] memory lines) private pure returns (bytes memory packed) {
        for (uint256 i = 0; i < lines.length; ++i) {
            Line memory line = lines[i];
            packed = abi.encodePacked(
                packed, line.offer, line.units, line.delivered, line.payment, line.fill
            );
        }
    }

    function _resourcesOf(
        SettledOffer[] memory offers,
        SettledIntent[] memory intents,
        SettledMandate[] memory mandates
    ) private pure returns (bytes32[] memory resources) {
        resources = new bytes32[](offers.length + intents.length + mandates.length);
        uint256 count;
        for (uint256 i = 0; i < offers.length; ++i) {
            count = _list(resources, count, offers[i].resource);
        }
        for (uint256 i = 0; i < intents.length; ++i) {
            count = _list(resources, count, intents[i].resource);
        }
        for (uint256 i = 0; i < mandates.length; ++i) {
            count = _list(resources, count, mandates[i].resource);
        }
        // Shortens a list that only this function holds.
        assembly ("memory-safe") {
            mstore(resources, count)
        }
    }

    /// @dev Each resource once; returns how many there are.
    function _list(bytes32[] memory resources, uint256 count, bytes32 resource)
        private
        pure
        returns (uint256)
    {
        for (uint256 i = 0; i < count; ++i) {
            if (resources[i] == resource) return count;
        }
        resources[count] = resource;
        return count + 1;
    }

    function _indexOf(bytes32[] memory resources, bytes32 resource) private pure returns (uint16) {
        for (uint16 i = 0; i < resources.length; ++i) {
            if (resources[i] == resource) return i;
        }
        revert("unknown resource");
    }
}
