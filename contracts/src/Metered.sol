// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {AccountWord} from "./AccountWord.sol";
import {ClaimCharges} from "./ClaimCharges.sol";
import {IMetered} from "./IMetered.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {MeteredReader} from "./MeteredReader.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The metered settlement of {IMetered}
abstract contract Metered is ClaimCharges, IMetered {
    using AccountWord for uint256;
    using MeteredReader for MeteredReader.Books;
    using MeteredReader for MeteredReader.Record;

    /// @dev A batch while it is settled. `sellers` are words of {MeteredReader}.
    struct MeteredRun {
        uint64 number;
        uint256[] sellers;
    }

    /// @dev As many roots are kept, each at its number's place.
    uint256 internal constant ROOTS = 4096;

    /// @dev What is told of a record, and of a seller.
    uint256 private constant BUYER_SIZE = 37;
    uint256 private constant SELLER_SIZE = 28;

    uint256 private constant ROUND_SHIFT = 40;
    uint256 private constant PAID_SHIFT = 64;
    uint256 private constant ROOT_SHIFT = 136;
    /// @dev Of a root's word: all but when it was settled, and what its batch paid.
    uint256 private constant ROOT_MASK =
        (type(uint256).max << ROOT_SHIFT) | uint256(type(uint24).max) << ROUND_SHIFT;

    uint32 public immutable uncoveredCap;

    /// @dev From the lowest bit: time u40 | round u24 | what the batch paid u72 | the upper 120 bits of a hash
    /// of number and root.
    uint256[ROOTS] private _roots;

    constructor(uint32 uncoveredCap_) {
        uncoveredCap = uncoveredCap_;
    }

    /// @inheritdoc IMetered
    function settleMetered(uint64 number, bytes32 root, bytes calldata batch)
        external
        nonReentrant
        onlyOperator
        returns (uint256 paid)
    {
        _takeNumber(number);
        (MeteredReader.Books memory books, uint256 next) = MeteredReader.open(batch);
        MeteredRun memory run;
        run.number = number;
        (run.sellers, next) = books.readSellers(next);
        bytes memory buyers;
        (buyers, next) = _settleRecords(run, books, next);
        MeteredReader.finish(batch, next);
        bytes memory sellers;
        (paid, sellers) = _creditSellers(run.sellers);
        _roots[number % ROOTS] = _rootWord(number, root) | paid << PAID_SHIFT | block.timestamp;
        emit MeteredSettled(number, root, paid, buyers, sellers);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IMetered
    function meterOf(address account) external view nonReentrantView returns (MeterView memory) {
        uint256 word = _accounts[account].word;
        return MeterView({
            // The casts are safe: both fields have these widths.
            spent: uint64(word.spentOf()),
            uncovered: uint32(word.uncoveredOf()),
            epoch: word.epochOf(),
            sessionEpoch: word.sessionEpochOf(),
            isRootCapped: word.has(AccountWord.ROOT_CAPPED),
            isClaimed: word.has(AccountWord.CLAIMED)
        });
    }

    /// @inheritdoc IMetered
    function rootSettledAt(uint64 number, bytes32 root) external view returns (uint40) {
        return uint40(_keptOf(number, root));
    }

    /// @inheritdoc IMetered
    function rootPaid(uint64 number, bytes32 root) external view returns (uint256) {
        return uint72(_keptOf(number, root) >> PAID_SHIFT);
    }

    /// @inheritdoc IMetered
    function receiptDigest(SpendReceipt calldata receipt) external view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    MarketTypes.SPEND_RECEIPT_TYPEHASH,
                    receipt.account,
                    receipt.epoch,
                    receipt.base,
                    receipt.spent,
                    receipt.lines
                )
            )
        );
    }

    // ------------------------------------------------------------------ private: roots

    /// @dev The first number of a place belongs to round 0, and each later one to the next round: so no
    /// number is settled twice, and none can be used to take a place out of use.
    function _takeNumber(uint64 number) private view {
        uint256 kept = _roots[number % ROOTS];
        uint256 round = number / ROOTS;
        uint256 roundNext = kept == 0 ? 0 : uint24(kept >> ROUND_SHIFT) + 1;
        require(round == roundNext, MeteredNumberInvalid(number));
        uint256 until = kept == 0 ? 0 : uint40(kept) + uint256(exitDelay);
        require(block.timestamp >= until, MeteredRootStanding(number, until));
    }

    /// @return kept its root's word; 0 if it is another's
    function _keptOf(uint64 number, bytes32 root) private view returns (uint256 kept) {
        kept = _roots[number % ROOTS];
        if (kept & ROOT_MASK != _rootWord(number, root)) return 0;
    }

    /// @dev Without what else it says. A hash, cut, so that a place is one slot. It takes 2^120 hashes to find a
    /// root that passes for one that is there. Who commits to a root could find two that pass for each
    /// other by 2^60, and gains nothing: whatever it wants to prove could be in one tree.
    function _rootWord(uint64 number, bytes32 root) private pure returns (uint256) {
        uint256 hash = uint256(keccak256(abi.encode(number, root)));
        return (hash >> ROOT_SHIFT) << ROOT_SHIFT | (number / ROOTS) << ROUND_SHIFT;
    }

    // ------------------------------------------------------------------ private: records

    /// @return told what the event says of buyers
    /// @return nextAfter where the records end
    function _settleRecords(MeteredRun memory run, MeteredReader.Books memory books, uint256 next)
        private
        returns (bytes memory told, uint256 nextAfter)
    {
        MeteredReader.Record memory record = MeteredReader.newRecord(_domainSeparatorV4());
        uint256[] memory sellers = run.sellers;
        uint256 count;
        (count, next) = MeteredReader.readCount(next);
        uint256 end;
        (told, end) = _newTold(count * BUYER_SIZE);
        while (count != 0) {
            uint256 amount;
            (amount, next) = books.readRecord(record, sellers, next);
            RecordProblem problem = _settleRecord(run, record, amount);
            bool isSettled;
            // Assembly: see SessionPolicy.isAllowed.
            assembly ("memory-safe") {
                isSettled := iszero(problem)
            }
            if (isSettled) {
                end = _tellBuyer(end, record, amount);
            } else {
                record.revokeLines(sellers);
                emit RecordSkipped(run.number, record.account, problem);
            }
            // Unchecked: it is not 0.
            unchecked {
                --count;
            }
        }
        _endTold(told, end);
        nextAfter = next;
    }

    /// @dev Its steps are not functions of their own where that would cost each buyer of each batch 60 gas.
    function _settleRecord(
        MeteredRun memory run,
        MeteredReader.Record memory record,
        uint256 amount
    ) private returns (RecordProblem) {
        address buyer = record.account;
        Account storage account = _accounts[buyer];
        uint256 word = account.word;
        uint256 base = word.spentOf();
        // Unchecked: nothing minus one is more than any balance, which has 72 bits, and the base 64.
        unchecked {
            if (amount - 1 >= word.balanceOf()) {
                return amount == 0 || amount > MeteredReader.AMOUNT_MAX
                    ? RecordProblem.LinesInvalid
                    : RecordProblem.InsufficientBalance;
            }
            if (base + amount > AccountWord.SPENT_MAX) return RecordProblem.SpentOverflow;
            record.base = base;
            record.spent = base + amount;
        }
        uint256 authority = record.authority;
        if (authority == MeteredReader.AUTHORITY_ATTESTED) {
            return _settleAttested(account, word, amount);
        }
        record.epoch = word.epochOf();
        if (record.isEpochBefore) {
            if (!_turnEpochBack(record)) return RecordProblem.EpochEnded;
        }
        bytes32 digest = record.digestOf();
        if (authority == AUTHORITY_CONTRACT) {
            bool isSigned = _isSignedByContract(buyer, digest, record.signatureOf());
            if (!isSigned) return RecordProblem.BadSignature;
        } else {
            address signer = SignatureRecovery.recoverAt(digest, record.signatureAt);
            if (signer == address(0)) return RecordProblem.BadSignature;
            if (authority == AUTHORITY_SESSION) {
                // Who gets what matters only where the account's root has rules.
                uint256[] memory lines;
                if (word.has(AccountWord.ROOT_CAPPED)) lines = record.linesOf(run.sellers);
                bool isCharged = _chargeReceipt(buyer, signer, word, amount, lines);
                if (!isCharged) return RecordProblem.SessionRefused;
            } else if (signer != buyer) {
                return RecordProblem.BadSignature;
            }
        }
        account.word = word.withReceipt(amount);
        return RecordProblem.None;
    }

    /// @dev A claim rests on the base that an attestation would move.
    function _settleAttested(Account storage account, uint256 word, uint256 amount)
        private
        returns (RecordProblem)
    {
        if (word.has(AccountWord.CLAIMED)) return RecordProblem.ClaimPending;
        if (word.uncoveredOf() + amount > uncoveredCap) return RecordProblem.UncoveredExceeded;
        account.word = word.withAttested(amount);
        return RecordProblem.None;
    }

    /// @return whether receipts of the epoch before the record's still settle
    function _turnEpochBack(MeteredReader.Record memory record) private view returns (bool) {
        uint256 epoch = record.epoch;
        if (epoch == 0) return false;
        record.epoch = epoch - 1;
        return _isEpochEnding(record.account, epoch - 1, epoch);
    }

    // ------------------------------------------------------------------ private: what is told

    /// @dev With a word more than it will have, since what is told last is told by words.
    function _newTold(uint256 size) private pure returns (bytes memory told, uint256 start) {
        told = new bytes(size + 0x20);
        assembly ("memory-safe") {
            start := add(told, 0x20)
        }
    }

    function _endTold(bytes memory told, uint256 end) private pure {
        // Memory-safe: it becomes shorter.
        assembly ("memory-safe") {
            mstore(told, sub(sub(end, told), 0x20))
        }
    }

    function _tellBuyer(uint256 end, MeteredReader.Record memory record, uint256 amount)
        private
        pure
        returns (uint256)
    {
        uint256 head = uint256(uint160(record.account)) << 96 | record.spent << 32;
        uint256 tail = amount << 192 | record.authority << 184;
        // Memory-safe: there is room for each record, and a word more.
        assembly ("memory-safe") {
            mstore(end, head)
            mstore(add(end, 28), tail)
        }
        // Unchecked: a place in memory.
        unchecked {
            return end + BUYER_SIZE;
        }
    }

    // ------------------------------------------------------------------ private: sellers

    /// @dev Everything is read again from storage: a seller may have bought in the batch. No sum overflows:
    /// all was taken from balances, which add up to at most 72 bits.
    /// @return paid all that they get
    /// @return told what the event says of them
    function _creditSellers(uint256[] memory sellers)
        private
        returns (uint256 paid, bytes memory told)
    {
        uint256 count = sellers.length;
        uint256 end;
        (told, end) = _newTold(count * SELLER_SIZE);
        for (uint256 i = 0; i < count; ++i) {
            uint256 word;
            // Memory-safe: one of `count` places, which solc would hold against their number each time.
            assembly ("memory-safe") {
                word := mload(add(add(sellers, 0x20), shl(5, i)))
            }
            uint256 credit = MeteredReader.creditOf(word);
            if (credit == 0) continue;
            address seller = MeteredReader.sellerOf(word);
            // Unchecked: see above, and a place in memory.
            unchecked {
                _accounts[seller].word += credit;
                paid += credit;
                // Memory-safe: as for buyers.
                assembly ("memory-safe") {
                    mstore(end, or(shl(96, seller), shl(32, credit)))
                }
                end += SELLER_SIZE;
            }
        }
        _endTold(told, end);
    }
}
