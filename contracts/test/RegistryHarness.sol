// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MarketTypes} from "../src/MarketTypes.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {SessionRegistry} from "../src/SessionRegistry.sol";

/// @title The registry with as much of a ledger as it needs
contract RegistryHarness is SessionRegistry {
    uint256 public constant GRACE_S = 1 hours;

    bool public reentered;
    mapping(address => uint24) public sessionEpoch;
    mapping(address => bool) public rootCapped;

    constructor() EIP712(MarketTypes.DOMAIN_NAME, MarketTypes.DOMAIN_VERSION) {}

    /// @dev As a receipt is charged.
    function charge(address root, address key, uint256 permission, uint256 amount)
        external
        returns (bool)
    {
        uint256[] memory none;
        return charge(root, key, permission, amount, 0, 0, none) == SessionPolicy.Verdict.Allowed;
    }

    /// @dev As a fill is.
    function charge(
        address root,
        address key,
        uint256 permission,
        uint256 amount,
        bytes32 resource,
        uint256 units,
        uint256[] memory lines
    ) public returns (SessionPolicy.Verdict) {
        return _charge(
            root,
            key,
            permission,
            amount,
            sessionEpoch[root],
            rootCapped[root],
            resource,
            units,
            lines
        );
    }

    /// @dev As a ledger does that calls out while it settles.
    function settleThrough(address target, bytes calldata data) external nonReentrant {
        (bool success,) = target.call(data);
        reentered = success;
    }

    function setSessionEpoch(address account, uint24 epoch) external {
        sessionEpoch[account] = epoch;
    }

    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    function _sessionEpochOf(address account) internal view override returns (uint24) {
        return sessionEpoch[account];
    }

    function _bumpSessionEpoch(address account) internal override returns (uint24) {
        return ++sessionEpoch[account];
    }

    function _setRootCapped(address account, bool isCapped) internal override {
        rootCapped[account] = isCapped;
    }

    function _sessionGraceS() internal pure override returns (uint256) {
        return GRACE_S;
    }
}
