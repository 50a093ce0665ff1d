// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AccountWord} from "./AccountWord.sol";
import {IClaims} from "./IClaims.sol";
import {Ledger} from "./Ledger.sol";
import {SessionPolicy} from "./SessionPolicy.sol";

/// @title What was claimed, and what of it session keys were charged
/// @dev For both who settle receipts. Its storage has a place of its own (ERC-7201), as the sessions' has.
abstract contract ClaimCharges is Ledger {
    using AccountWord for uint256;
    using SessionPolicy for SessionPolicy.Verdict;

    /// @custom:storage-location erc7201:keyfill.claims
    struct ClaimStorage {
        mapping(address account => IClaims.Claim) claims;
    }

    /// @dev Of "keyfill.claims".
    bytes32 private constant CLAIM_STORAGE =
        0xf7bb7fef9170bd5c6a860f75aaf3e23c5f78b8953aa7969f164fb2969bbaaf00;

    // ------------------------------------------------------------------ internal

    function _claimOf(address account) internal view returns (IClaims.Claim storage) {
        return _claims().claims[account];
    }

    /// @dev Charges a session key of the account, whose word this is, for the receipt that it signed. It
    /// comes last, when nothing else can fail.
    /// @param amount what the receipt takes from the ledger's base on
    function _chargeReceipt(
        address account,
        address key,
        uint256 word,
        uint256 amount,
        uint256[] memory lines
    ) internal returns (bool) {
        if (word.has(AccountWord.CLAIMED)) {
            amount = _restOf(account, key, word, amount);
        }
        SessionPolicy.Verdict verdict = _charge(
            account,
            key,
            SessionPolicy.PERMISSION_RECEIPT,
            amount,
            word.sessionEpochOf(),
            word.has(AccountWord.ROOT_CAPPED),
            0,
            0,
            lines
        );
        return verdict.isAllowed();
    }

    // ------------------------------------------------------------------ private

    /// @dev What the key was charged for the claim that its receipt replaces or settles, it is not charged
    /// again. But a rule for counterparties needs all lines: there the whole receipt counts.
    /// @return what of `amount` is left to charge
    function _restOf(address account, address key, uint256 word, uint256 amount)
        private
        view
        returns (uint256)
    {
        IClaims.Claim storage claim = _claimOf(account);
        if (claim.signer != key) return amount;
        uint256 root =
            word.has(AccountWord.ROOT_CAPPED) ? _wordOf(SessionPolicy.Bearer.Root, account, 0) : 0;
        if (SessionPolicy.ruleOf(root) != SessionPolicy.CounterpartyRule.Any) return amount;
        uint256 charged = claim.spent - claim.base;
        return amount > charged ? amount - charged : 0;
    }

    function _claims() private pure returns (ClaimStorage storage claims) {
        bytes32 slot = CLAIM_STORAGE;
        assembly ("memory-safe") {
            claims.slot := slot
        }
    }
}
