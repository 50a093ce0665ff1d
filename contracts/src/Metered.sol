// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {AccountWord} from "./AccountWord.sol";
import {IMetered} from "./IMetered.sol";
import {Ledger} from "./Ledger.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {MeteredReader} from "./MeteredReader.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title The metered settlement of {IMetered}
abstract contract Metered is Ledger, IMetered {
    using AccountWord for uint256;
    using MessageHashUtils for bytes32;
    using MeteredReader for MeteredReader.Books;
    using MeteredReader for MeteredReader.Record;

    /// @dev A batch while it is settled. `credits` has one sum for each of `sellers`; `buyersEnd` is
    /// where in `buyers` the next record is told.
    struct MeteredRun {
        uint64 number;
        bytes32 domain;
        address[] sellers;
        uint256[] credits;
        bytes buyers;
        uint256 buyersEnd;
        uint256 paid;
    }

    /// @dev As many roots are kept, each at its number's place.
    uint256 internal constant ROOTS = 4096;

    /// @dev What is told of a record, and of a seller.
    uint256 private constant BUYER_SIZE = 37;
    uint256 private constant SELLER_SIZE = 28;

    uint256 private constant ROUND_SHIFT = 40;
    uint256 private constant ROOT_SHIFT = 64;

    uint32 public immutable uncoveredCap;

    /// @dev From the lowest bit: time u40 | round u24 | the upper 192 bits of a hash of number and root.
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
        _keepRoot(number, root);
        (MeteredReader.Books memory books, uint256 next) = MeteredReader.open(batch);
        MeteredRun memory run;
        run.number = number;
        run.domain = _domainSeparatorV4();
        (run.sellers, next) = books.readSellers(next);
        run.credits = new uint256[](run.sellers.length);
        MeteredReader.finish(batch, _settleRecords(run, books, next));
        bytes memory sellers = _creditSellers(run);
        paid = run.paid;
        emit MeteredSettled(number, root, paid, run.buyers, sellers);
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
        uint256 kept = _roots[number % ROOTS];
        return kept >> ROUND_SHIFT == _rootWord(number, root) >> ROUND_SHIFT ? uint40(kept) : 0;
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
    function _keepRoot(uint64 number, bytes32 root) private {
        uint256 kept = _roots[number % ROOTS];
        uint256 round = number / ROOTS;
        uint256 roundNext = kept == 0 ? 0 : uint24(kept >> ROUND_SHIFT) + 1;
        require(round == roundNext, MeteredNumberInvalid(number));
        uint256 until = kept == 0 ? 0 : uint40(kept) + uint256(exitDelay);
        require(block.timestamp >= until, MeteredRootStanding(number, until));
        _roots[number % ROOTS] = _rootWord(number, root) | block.timestamp;
    }

    /// @dev Without its time. A hash, cut, so that a place is one slot: it takes 2^96 hashes to find two
    /// roots with one word.
    function _rootWord(uint64 number, bytes32 root) private pure returns (uint256) {
        uint256 hash = uint256(keccak256(abi.encode(number, root)));
        return (hash >> ROOT_SHIFT) << ROOT_SHIFT | (number / ROOTS) << ROUND_SHIFT;
    }

    // ------------------------------------------------------------------ private: records

    function _settleRecords(MeteredRun memory run, MeteredReader.Books memory books, uint256 next)
        private
        returns (uint256)
    {
        MeteredReader.Record memory record = MeteredReader.newRecord();
        uint256 count;
        (count, next) = MeteredReader.readCount(next);
        bytes memory buyers = new bytes(count * BUYER_SIZE);
        run.buyers = buyers;
        uint256 end;
        assembly ("memory-safe") {
            end := add(buyers, 0x20)
            // A word more, since the last record is told by words.
            mstore(0x40, add(mload(0x40), 0x20))
        }
        run.buyersEnd = end;
        for (uint256 i = 0; i < count; ++i) {
            next = books.readRecord(record, next);
            RecordProblem problem = _settleRecord(run, record);
            if (problem != RecordProblem.None) {
                emit RecordSkipped(run.number, record.account, problem);
            }
        }
        end = run.buyersEnd;
        assembly ("memory-safe") {
            mstore(buyers, sub(sub(end, buyers), 0x20))
        }
        return next;
    }

    function _settleRecord(MeteredRun memory run, MeteredReader.Record memory record)
        private
        returns (RecordProblem problem)
    {
        uint256 amount = record.sumLines(run.sellers);
        if (amount == 0) return RecordProblem.LinesInvalid;
        Account storage account = _accounts[record.account];
        uint256 word = account.word;
        if (amount > word.balanceOf()) return RecordProblem.InsufficientBalance;
        uint256 base = word.spentOf();
        // Unchecked: a balance of 72 bits and a sum of 64.
        unchecked {
            if (base + amount > AccountWord.SPENT_MAX) return RecordProblem.SpentOverflow;
            record.base = base;
            record.spent = base + amount;
        }
        if (record.authorityOf() == MeteredReader.AUTHORITY_ATTESTED) {
            problem = _attestedProblem(word, amount);
            if (problem != RecordProblem.None) return problem;
            account.word = word.withAttested(amount);
        } else {
            problem = _recordProblem(run, record, word, amount);
            if (problem != RecordProblem.None) return problem;
            account.word = word.withReceipt(amount);
        }
        record.creditLines(run.credits);
        // Unchecked: payments are taken from balances, which add up to at most 72 bits.
        unchecked {
            run.paid += amount;
        }
        _tellBuyer(run, record, amount);
    }

    /// @dev A claim rests on the base that an attestation would move.
    function _attestedProblem(uint256 word, uint256 amount) private view returns (RecordProblem) {
        if (word.has(AccountWord.CLAIMED)) return RecordProblem.ClaimPending;
        if (word.uncoveredOf() + amount > uncoveredCap) return RecordProblem.UncoveredExceeded;
        return RecordProblem.None;
    }

    function _recordProblem(
        MeteredRun memory run,
        MeteredReader.Record memory record,
        uint256 word,
        uint256 amount
    ) private returns (RecordProblem) {
        uint256 epoch = word.epochOf();
        if (record.flags & MeteredReader.EPOCH_BEFORE != 0) {
            if (epoch == 0 || !_isEpochEnding(record.account, epoch - 1, epoch)) {
                return RecordProblem.EpochEnded;
            }
            epoch -= 1;
        }
        record.epoch = epoch;
        bytes32 digest = run.domain.toTypedDataHash(record.hashOf());
        address account = record.account;
        uint256 authority = record.authorityOf();
        if (authority == AUTHORITY_CONTRACT) {
            bool isSigned = _isSignedByContract(account, digest, record.signatureOf());
            return isSigned ? RecordProblem.None : RecordProblem.BadSignature;
        }
        address signer = SignatureRecovery.recoverAt(digest, record.signatureAt);
        if (signer == address(0)) return RecordProblem.BadSignature;
        if (authority == AUTHORITY_PLAIN) {
            return signer == account ? RecordProblem.None : RecordProblem.BadSignature;
        }
        // Who gets what matters only where the account's root has rules.
        uint256[] memory lines;
        if (word.has(AccountWord.ROOT_CAPPED)) lines = record.linesOf(run.sellers);
        bool isCharged = _chargeReceipt(account, signer, word, amount, lines);
        return isCharged ? RecordProblem.None : RecordProblem.SessionRefused;
    }

    function _tellBuyer(MeteredRun memory run, MeteredReader.Record memory record, uint256 amount)
        private
        pure
    {
        uint256 offset = run.buyersEnd;
        uint256 head = uint256(uint160(record.account)) << 96 | record.spent << 32;
        uint256 tail = amount << 192 | record.authorityOf() << 184;
        // Memory-safe: `buyers` has room for each record, and a word more.
        assembly ("memory-safe") {
            mstore(offset, head)
            mstore(add(offset, 28), tail)
        }
        run.buyersEnd = offset + BUYER_SIZE;
    }

    /// @dev Everything is read again from storage: a seller may have bought in the batch.
    /// @return told what the event says of sellers
    function _creditSellers(MeteredRun memory run) private returns (bytes memory told) {
        uint256 count = run.sellers.length;
        told = new bytes(count * SELLER_SIZE);
        uint256 offset;
        assembly ("memory-safe") {
            offset := add(told, 0x20)
            // A word more, as for buyers.
            mstore(0x40, add(mload(0x40), 0x20))
        }
        for (uint256 i = 0; i < count; ++i) {
            uint256 credit = run.credits[i];
            if (credit == 0) continue;
            address seller = run.sellers[i];
            // Stays within the balance's 72 bits: all balances add up to at most what is held.
            _accounts[seller].word += credit;
            assembly ("memory-safe") {
                mstore(offset, or(shl(96, seller), shl(32, credit)))
                offset := add(offset, SELLER_SIZE)
            }
        }
        assembly ("memory-safe") {
            mstore(told, sub(sub(offset, told), 0x20))
        }
    }
}
