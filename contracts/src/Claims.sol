// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AccountWord} from "./AccountWord.sol";
import {ClaimCharges} from "./ClaimCharges.sol";
import {IClaims} from "./IClaims.sol";
import {IMetered} from "./IMetered.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {SessionPolicy} from "./SessionPolicy.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The claims of {IClaims}
abstract contract Claims is ClaimCharges, IClaims {
    using AccountWord for uint256;

    uint256 private constant LINE_SIZE = 28;
    /// @dev As many as a record of a batch has: so whatever can be posted can be paid.
    uint256 private constant LINES_MAX = 255;

    // ------------------------------------------------------------------ claims

    /// @inheritdoc IClaims
    function claimReceipt(
        IMetered.SpendReceipt calldata receipt,
        bytes calldata lines,
        uint256 authority,
        bytes calldata signature
    ) external nonReentrant returns (uint256 executableAt) {
        address account = receipt.account;
        uint256 word = _accounts[account].word;
        require(receipt.base == word.spentOf(), ClaimBaseInvalid(receipt.base, word.spentOf()));
        uint256 current = word.epochOf();
        require(
            receipt.epoch == current || _isEpochEnding(account, receipt.epoch, current),
            ClaimEpochEnded(receipt.epoch)
        );
        uint256[] memory parts = _partsOf(receipt, lines);

        Claim storage claim = _claimOf(account);
        executableAt = block.timestamp + claimDelay();
        if (word.has(AccountWord.CLAIMED)) {
            require(receipt.spent > claim.spent, ClaimNotLarger(claim.spent));
            executableAt = claim.executableAt;
        }
        address signer = _signerOf(receipt, word, parts, authority, signature);
        _accounts[account].word = word | AccountWord.CLAIMED;
        claim.lines = receipt.lines;
        claim.base = receipt.base;
        claim.spent = receipt.spent;
        // The cast is safe: times are within 40 bits.
        claim.executableAt = uint40(executableAt);
        claim.signer = signer;
        emit ReceiptClaimed(account, signer, receipt.base, receipt.spent, executableAt, lines);
    }

    /// @inheritdoc IClaims
    function executeClaim(address account, bytes calldata lines)
        external
        nonReentrant
        returns (uint256 paid)
    {
        uint256 word = _accounts[account].word;
        Claim storage claim = _claimOf(account);
        // With another base than the claim's the flag is gone: whatever moves the base takes it away.
        require(word.has(AccountWord.CLAIMED), ClaimMissing(account));
        require(block.timestamp >= claim.executableAt, ClaimEarly(claim.executableAt));
        require(keccak256(lines) == claim.lines, ClaimLinesInvalid());

        uint256 owed = claim.spent - claim.base;
        uint256 balance = word.balanceOf();
        bytes memory told;
        (paid, told) = _payLines(lines, owed, balance < owed ? balance : owed);
        word = word.withReceipt(paid);
        // Sellers are not the buyer: its word is still what was read.
        _accounts[account].word = word;
        // The cast is safe: the field has this width.
        emit ClaimExecuted(account, uint64(word.spentOf()), paid, told);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IClaims
    function claimOf(address account) external view returns (Claim memory) {
        return _claimOf(account);
    }

    /// @inheritdoc IClaims
    function claimDelay() public view returns (uint40) {
        return exitDelay;
    }

    // ------------------------------------------------------------------ internal

    /// @dev What of an account, whose word this is, a receipt waits to be paid from.
    function _claimedOf(address account, uint256 word) internal view returns (uint256) {
        if (!word.has(AccountWord.CLAIMED)) return 0;
        Claim storage claim = _claimOf(account);
        return claim.spent - claim.base;
    }

    // ------------------------------------------------------------------ private

    /// @return parts the receipt's lines, as {SessionPolicy} takes them
    function _partsOf(IMetered.SpendReceipt calldata receipt, bytes calldata lines)
        private
        pure
        returns (uint256[] memory parts)
    {
        uint256 count = lines.length / LINE_SIZE;
        require(
            count != 0 && count <= LINES_MAX && lines.length == count * LINE_SIZE
                && keccak256(lines) == receipt.lines,
            ClaimLinesInvalid()
        );
        parts = new uint256[](count);
        uint256 sum;
        address previous;
        for (uint256 i = 0; i < count; ++i) {
            (address seller, uint64 amount) = _line(lines, i);
            require(seller > previous && seller != receipt.account, ClaimLinesInvalid());
            previous = seller;
            sum += amount;
            parts[i] = SessionPolicy.lineOf(seller, amount);
        }
        require(sum != 0 && receipt.base + sum == receipt.spent, ClaimLinesInvalid());
    }

    /// @dev Last, when nothing else can fail: a session is charged.
    function _signerOf(
        IMetered.SpendReceipt calldata receipt,
        uint256 word,
        uint256[] memory parts,
        uint256 authority,
        bytes calldata signature
    ) private returns (address signer) {
        address account = receipt.account;
        bytes32 digest =
            _hashTypedDataV4(keccak256(abi.encode(MarketTypes.SPEND_RECEIPT_TYPEHASH, receipt)));
        bool isSigned;
        if (authority == AUTHORITY_SESSION) {
            signer = SignatureRecovery.recover(digest, signature);
            isSigned = signer != address(0)
                && _chargeReceipt(account, signer, word, receipt.spent - receipt.base, parts);
        } else {
            isSigned = _isSigned(account, authority, digest, signature);
            if (authority == AUTHORITY_PLAIN) signer = account;
        }
        require(isSigned, ClaimUnsigned(account));
    }

    /// @dev Each line's share of `available` is rounded down, for the buyer.
    function _payLines(bytes calldata lines, uint256 owed, uint256 available)
        private
        returns (uint256 paid, bytes memory told)
    {
        uint256 count = lines.length / LINE_SIZE;
        for (uint256 i = 0; i < count; ++i) {
            (address seller, uint256 amount) = _line(lines, i);
            // Below 2^136; the cast is safe: a share is at most the line's amount.
            uint64 share = uint64(amount * available / owed);
            // Stays within the balance's 72 bits: all balances add up to at most what is held.
            _accounts[seller].word += share;
            paid += share;
            told = abi.encodePacked(told, seller, share);
        }
    }

    function _line(bytes calldata lines, uint256 index)
        private
        pure
        returns (address seller, uint64 amount)
    {
        bytes calldata line = lines[index * LINE_SIZE:(index + 1) * LINE_SIZE];
        return (address(bytes20(line)), uint64(bytes8(line[20:])));
    }
}
