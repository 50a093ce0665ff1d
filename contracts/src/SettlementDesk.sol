// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {AccountWord} from "./AccountWord.sol";
import {Escrow} from "./Escrow.sol";
import {Ledger} from "./Ledger.sol";
import {SessionRegistry} from "./SessionRegistry.sol";

/// @title What the settlement contract does rarely: escrow, claims, and the registry of session keys
/// @notice Code that {Settlement} runs as its own for whatever it does not know itself, because no
/// contract may be larger than 24,576 bytes. Fixed when the settlement contract is created; nobody can
/// change it. Called at its own address it has an empty ledger and no money.
/// @dev Storage: the words of {Ledger} are where the settlement contract has them, since both inherit it
/// first; all else here has places of its own (ERC-7201).
contract SettlementDesk is Escrow, SessionRegistry {
    using AccountWord for uint256;

    constructor(IERC20 token, address operator_, uint40 exitDelay_)
        Ledger(token, operator_, exitDelay_)
    {}

    /// @inheritdoc SessionRegistry
    function _bumpSessionEpoch(address account) internal override returns (uint24) {
        uint256 word = _accounts[account].word.withNextSessionEpoch();
        _accounts[account].word = word;
        return word.sessionEpochOf();
    }

    /// @inheritdoc SessionRegistry
    function _setRootCapped(address account, bool isCapped) internal override {
        uint256 word = _accounts[account].word;
        uint256 changed = word.withFlag(AccountWord.ROOT_CAPPED, isCapped);
        if (changed != word) _accounts[account].word = changed;
    }
}
