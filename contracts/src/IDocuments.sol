// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title The documents of verified settlement, and what is signed of each
interface IDocuments {
    /// @notice A signed demand: `units` for at most `limit` atoms in all. So k delivered units never
    /// cost more than floor(k * limit / units).
    /// @dev The fields of the EIP-712 type, with `resource` already hashed and without `asset`, which
    /// is this contract's token.
    /// @param resource keccak256 of the resource's name
    /// @param unitsMin each execution serves at least min(unitsMin, units not yet settled)
    struct Intent {
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
    }

    /// @notice A signed supply: `units` for at least `limit` atoms in all. So k delivered units never
    /// pay less than floor(k * limit / units).
    /// @dev As for Intent.
    struct Offer {
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
    }

    /// @notice A buyer's leave to settle fills that carry no signature of their own: all of them together
    /// cost at most `limit` atoms, and k delivered units of one at most floor(k * tickMax / 10^6).
    /// @dev As for Intent. The hash of an empty name as `resource` means any. The nonce counts atoms.
    struct Mandate {
        address account;
        bytes32 resource;
        uint64 tickMax;
        uint96 limit;
        uint40 validFrom;
        uint40 validUntil;
        uint32 epoch;
        uint64 nonce;
    }

    /// @notice What the intent's account signs.
    function intentDigest(Intent calldata intent) external view returns (bytes32);

    /// @notice What the offer's account signs.
    function offerDigest(Offer calldata offer) external view returns (bytes32);

    /// @notice What the mandate's account signs.
    function mandateDigest(Mandate calldata mandate) external view returns (bytes32);

    /// @notice What is signed once for all intents of a bulk, as this one of them proves it.
    /// @param proof the intent's index in 2 bytes, then a sibling of 32 bytes for each level
    function bulkDigest(Intent calldata intent, bytes calldata proof)
        external
        view
        returns (bytes32);

    /// @notice What is signed once for all legs of a bundle, as this one of them proves it.
    /// @param proof any in 1 byte, successMin in 2, latencyMax in 4, then as for {bulkDigest}
    function bundleDigest(Intent calldata leg, bytes calldata proof) external view returns (bytes32);
}
