// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IClaims} from "./IClaims.sol";
import {IDocuments} from "./IDocuments.sol";
import {IEscrow} from "./IEscrow.sol";
import {IMetered} from "./IMetered.sol";
import {IVerified} from "./IVerified.sol";

/// @title Escrow and settlement of the market, in one ERC-20: all that is answered at its address
/// @notice Buyers and sellers hold a balance here. The operator proposes batches; money moves only as far
/// as buyers signed, or within a small cap. Nobody, the operator included, can take money out of
/// another account, and every account can leave without the operator. {ISessionRegistry} is answered
/// here too.
/// @dev Functions are named again where others need them as members of this interface.
interface ISettlement is IEscrow, IDocuments, IVerified, IMetered, IClaims {
    /// @inheritdoc IVerified
    function settle(uint64 number, bytes32 batchHash, bytes calldata batch)
        external
        override
        returns (uint256 paid);

    /// @inheritdoc IMetered
    function settleMetered(uint64 number, bytes32 root, bytes calldata batch)
        external
        override
        returns (uint256 paid);

    /// @inheritdoc IEscrow
    function deposit(address account, uint256 amount) external override;

    /// @inheritdoc IEscrow
    function withdraw(address to) external override returns (uint256 amount);

    /// @inheritdoc IEscrow
    function requestWithdrawal(uint256 amount) external override returns (uint256 availableAt);

    /// @inheritdoc IEscrow
    function cancelWithdrawal() external override;

    /// @inheritdoc IEscrow
    function cancel(uint64 nonce) external override returns (uint256 effectiveAt);

    /// @inheritdoc IEscrow
    function cancelAll() external override returns (uint32 epoch, uint256 effectiveAt);
}
