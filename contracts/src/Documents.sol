// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BulkTree} from "./BulkTree.sol";
import {BundleTree} from "./BundleTree.sol";
import {IDocuments} from "./IDocuments.sol";
import {Ledger} from "./Ledger.sol";
import {MarketTypes} from "./MarketTypes.sol";

/// @title The digests of {IDocuments}
abstract contract Documents is Ledger, IDocuments {
    /// @inheritdoc IDocuments
    function intentDigest(Intent calldata intent) external view returns (bytes32) {
        return _hashTypedDataV4(_structHash(intent));
    }

    /// @inheritdoc IDocuments
    function bulkDigest(Intent calldata intent, bytes calldata proof)
        external
        view
        returns (bytes32)
    {
        uint256 height = proof.length / 32;
        require(
            height != 0 && proof.length == BulkTree.proofSize(height), BulkTree.BulkProofMalformed()
        );
        return _hashTypedDataV4(BulkTree.structHash(_structHash(intent), height, _start(proof)));
    }

    /// @inheritdoc IDocuments
    function bundleDigest(Intent calldata leg, bytes calldata proof)
        external
        view
        returns (bytes32)
    {
        uint256 height = proof.length / 32;
        require(proof.length == BundleTree.proofSize(height), BulkTree.BulkProofMalformed());
        return _hashTypedDataV4(BundleTree.structHash(_structHash(leg), height, _start(proof)));
    }

    /// @inheritdoc IDocuments
    function mandateDigest(Mandate calldata mandate) external view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    MarketTypes.MANDATE_TYPEHASH,
                    mandate.account,
                    mandate.resource,
                    address(_TOKEN),
                    mandate.tickMax,
                    mandate.limit,
                    mandate.validFrom,
                    mandate.validUntil,
                    mandate.epoch,
                    mandate.nonce
                )
            )
        );
    }

    /// @inheritdoc IDocuments
    function offerDigest(Offer calldata offer) external view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    MarketTypes.OFFER_TYPEHASH,
                    offer.account,
                    offer.resource,
                    address(_TOKEN),
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
            )
        );
    }

    // ------------------------------------------------------------------ private

    function _start(bytes calldata proof) private pure returns (uint256 at) {
        assembly ("memory-safe") {
            at := proof.offset
        }
    }

    function _structHash(Intent calldata intent) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                MarketTypes.INTENT_TYPEHASH,
                intent.account,
                intent.resource,
                address(_TOKEN),
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
}
