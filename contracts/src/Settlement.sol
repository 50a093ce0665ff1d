// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {AccountWord} from "./AccountWord.sol";
import {AwardReader} from "./AwardReader.sol";
import {BatchReader} from "./BatchReader.sol";
import {Documents} from "./Documents.sol";
import {ILedger} from "./ILedger.sol";
import {IVerified} from "./IVerified.sol";
import {Ledger} from "./Ledger.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {Metered} from "./Metered.sol";
import {SessionPolicy} from "./SessionPolicy.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";
import {UnitLanes} from "./UnitLanes.sol";

/// @title The ledger and checks of {ISettlement}
/// @dev No owner, no upgrade, no configuration after construction.
contract Settlement is Metered, Documents, IVerified {
    using AccountWord for uint256;
    using UnitLanes for uint256;
    using SessionPolicy for SessionPolicy.Verdict;
    using MessageHashUtils for bytes32;
    using AwardReader for AwardReader.Award;
    using AwardReader for AwardReader.Fill;
    using AwardReader for BatchReader.Cursor;
    using BatchReader for BatchReader.Cursor;
    using BatchReader for BatchReader.Intent;
    using BatchReader for BatchReader.Offer;

    /// @dev An offer while its batch is settled. `unitsLeft` is before the batch, `delivered` in it: an offer
    /// counts what was delivered alone.
    struct Standing {
        SkipReason problem;
        address account;
        bytes32 resource;
        uint256 nonce;
        uint256 units;
        uint256 limit;
        uint256 unitsLeft;
        uint256 delivered;
        uint256 earned;
    }

    /// @dev A fill of an award, whose standing comes after those of the offers. `problem` is the award's.
    struct Awarded {
        SkipReason problem;
        uint256 auction;
        address solver;
        bytes32 solution;
        AwardReader.Fill fill;
    }

    /// @dev One intent, or mandate, while its lines are checked. `account` and `lanes` are the words of
    /// its buyer and of its counter; `spendable` is what of the balance it may pay. `accepted` has one
    /// bit for each line that passed; `units`, `delivered` and `payment` are sums over these.
    struct Draft {
        bytes32 digest;
        bool isMandate;
        uint256 account;
        uint256 lanes;
        uint256 spendable;
        uint256 unitsLeft;
        uint256 accepted;
        uint256 units;
        uint256 delivered;
        uint256 payment;
    }

    /// @dev A batch while it is settled. `line` is the one being looked at; `signedBulk` is
    /// what `signedBy` was last found to have signed, and the signature the last one given for a tree.
    /// `standings` are of the offers, then of `awarded`.
    struct Run {
        bytes32 domain;
        bytes32 signedBulk;
        address signedBy;
        uint256 signatureAt;
        uint256 signatureSize;
        BatchReader.Cursor cursor;
        Standing[] standings;
        BatchReader.Line line;
        uint256 paid;
        uint256 settled;
        uint256 skipped;
        Awarded[] awarded;
    }

    /// @inheritdoc IVerified
    address public immutable desk;

    mapping(uint256 word => uint256) private _batches;

    /// @param desk_ of the same token, operator and delay
    constructor(
        IERC20 token,
        address operator_,
        uint40 exitDelay_,
        uint32 uncoveredCap_,
        ILedger desk_
    ) Ledger(token, operator_, exitDelay_) Metered(uncoveredCap_) {
        require(
            desk_.asset() == address(token) && desk_.operator() == operator_
                && desk_.exitDelay() == exitDelay_,
            SettlementDeskInvalid(address(desk_))
        );
        desk = address(desk_);
    }

    // ------------------------------------------------------------------ the desk

    /// @dev Whatever is not known here is the desk's: its code runs as this contract's own.
    fallback() external {
        address code = desk;
        // Memory-safe: beyond what is allocated.
        assembly ("memory-safe") {
            let start := mload(0x40)
            calldatacopy(start, 0x00, calldatasize())
            let success := delegatecall(gas(), code, start, calldatasize(), 0x00, 0x00)
            returndatacopy(start, 0x00, returndatasize())
            if iszero(success) { revert(start, returndatasize()) }
            return(start, returndatasize())
        }
    }

    // ------------------------------------------------------------------ settlement

    /// @inheritdoc IVerified
    function settle(uint64 number, bytes32 batchHash, bytes calldata batch)
        external
        nonReentrant
        onlyOperator
        returns (uint256 paid)
    {
        _useBatchNumber(number);
        Run memory run;
        run.domain = _domainSeparatorV4();
        run.cursor = BatchReader.open(batch);
        _admitOffers(run);
        _settleIntents(run);
        run.cursor.finish();
        if (run.awarded.length != 0) _payAwards(run);
        _creditSellers(run.standings);
        emit BatchSettled(number, batchHash, run.paid, run.settled, run.skipped);
        return run.paid;
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IVerified
    function isBatchSettled(uint64 number) external view returns (bool) {
        return _batches[number >> 8] & (1 << (number & 0xff)) != 0;
    }

    /// @inheritdoc IVerified
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // ------------------------------------------------------------------ private: batch

    function _useBatchNumber(uint64 number) private {
        uint256 word = _batches[number >> 8];
        uint256 bit = 1 << (number & 0xff);
        require(word & bit == 0, BatchAlreadySettled(number));
        _batches[number >> 8] = word | bit;
    }

    // ------------------------------------------------------------------ private: offers

    /// @dev Each offer is checked once, whatever the number of its lines. Strictly ascending
    /// (account, nonce) means that no two standings share a counter.
    function _admitOffers(Run memory run) private {
        BatchReader.Offer memory offer = BatchReader.newOffer(address(_TOKEN));
        uint256 count = run.cursor.readCount();
        uint256 awarded;
        if (count >= AwardReader.FOLLOW) {
            count -= AwardReader.FOLLOW;
            awarded = run.cursor.readCount();
        }
        Standing[] memory standings = new Standing[](count + awarded);
        run.standings = standings;
        uint256 previous;
        for (uint256 i = 0; i < count; ++i) {
            run.cursor.readOffer(offer);
            uint256 current = uint256(uint160(offer.account)) << 64 | offer.nonce;
            require(i == 0 || current > previous, BatchOffersUnsorted(i));
            previous = current;
            _admitOffer(run.domain, offer, standings[i]);
        }
        if (awarded != 0) _admitAwards(run, awarded);
    }

    function _admitOffer(bytes32 domain, BatchReader.Offer memory offer, Standing memory standing)
        private
    {
        standing.account = offer.account;
        standing.resource = offer.resource;
        standing.nonce = offer.nonce;
        standing.units = offer.units;
        standing.limit = offer.limit;
        uint256 word;
        uint256 stored;
        (standing.problem, stored, word) = _termsProblem(
            offer.account, offer.nonce, offer.validFrom, offer.validUntil, offer.epoch
        );
        standing.unitsLeft = word.unitsLeft(offer.nonce, offer.units);
        if (standing.problem != SkipReason.None) return;
        bytes32 digest = domain.toTypedDataHash(offer.hashOf());
        if (offer.authority == AUTHORITY_SESSION) {
            if (!_isOfSession(offer.account, stored, digest, offer.signatureOf())) {
                standing.problem = SkipReason.SessionRefused;
            }
        } else if (!_isSigned(offer.account, offer.authority, digest, offer.signatureOf())) {
            standing.problem = SkipReason.BadSignature;
        }
    }

    /// @dev Sellers' lines were netted per offer. Everything is read again from storage: a seller may
    /// have other offers in the batch, may have bought in it, or may have nonces that share a word.
    function _creditSellers(Standing[] memory standings) private {
        for (uint256 i = 0; i < standings.length; ++i) {
            Standing memory standing = standings[i];
            // What delivers nothing is paid nothing.
            if (standing.delivered == 0) continue;
            address seller = standing.account;
            uint256 nonce = standing.nonce;
            uint256 key = UnitLanes.keyOf(seller, nonce);
            uint256 word = _lanes[key];
            require(
                standing.delivered <= word.unitsLeft(nonce, standing.units),
                BatchNonceShared(seller, uint64(nonce))
            );
            _lanes[key] = word.add(nonce, standing.delivered);
            // Stays within the balance's 72 bits: `earned` was debited from other balances, and all of
            // them add up to at most what is held.
            _accounts[seller].word += standing.earned;
        }
    }

    // ------------------------------------------------------------------ private: awards

    function _admitAwards(Run memory run, uint256 count) private view {
        run.awarded = new Awarded[](count);
        uint256 offers = run.standings.length - count;
        AwardReader.Award memory award = AwardReader.newAward();
        uint256 place;
        uint256 awards = run.cursor.readCount();
        for (uint256 i = 0; i < awards; ++i) {
            run.cursor.readAward(award);
            SkipReason problem = _awardProblem(run.domain, award);
            uint256 fills = run.cursor.readCount();
            for (uint256 j = 0; j < fills; ++j) {
                Awarded memory awarded = run.awarded[place];
                awarded.problem = problem;
                awarded.auction = award.auction;
                awarded.solver = award.solver;
                awarded.solution = award.solution;
                run.cursor.readFill(awarded.fill);
                _admitFill(run.standings, awarded.fill, offers, place);
                ++place;
            }
        }
        require(place == count, BatchReader.BatchMalformed());
    }

    function _awardProblem(bytes32 domain, AwardReader.Award memory award)
        private
        view
        returns (SkipReason)
    {
        if (block.number > award.deadlineBlock) return SkipReason.AwardExpired;
        bytes32 digest = domain.toTypedDataHash(award.hashOf());
        bool signed = _isSigned(operator, award.authority, digest, award.signatureOf());
        return signed ? SkipReason.None : SkipReason.AwardRefused;
    }

    /// @dev The offer as its fill may use it: as many units as were awarded, at no less than its limit and
    /// the charge on top. Until a line proves that it is of the award, it is of none. Nor is it a fill of
    /// another fill: sellers are credited by offers alone.
    ///
    /// Unchecked: units have 64 bits, limits 96 and charges 64.
    function _admitFill(
        Standing[] memory standings,
        AwardReader.Fill memory fill,
        uint256 offers,
        uint256 place
    ) private pure {
        require(fill.offer < offers, BatchReader.BatchMalformed());
        Standing memory offer = standings[fill.offer];
        Standing memory standing = standings[offers + place];
        standing.problem =
            offer.problem == SkipReason.None ? SkipReason.AwardMismatch : offer.problem;
        standing.account = offer.account;
        standing.resource = offer.resource;
        standing.nonce = offer.nonce;
        standing.unitsLeft = Math.min(offer.unitsLeft, fill.units);
        unchecked {
            standing.units = offer.units * MarketTypes.TICK_UNITS;
            standing.limit = offer.limit * MarketTypes.TICK_UNITS + fill.charge * offer.units;
        }
    }

    /// @dev What is wrong with a line of an awarded fill. It has one line, so that its reward is the floor
    /// of what that line delivered: no more than was paid beyond the seller's limit.
    function _awardedProblem(
        Run memory run,
        BatchReader.Intent memory intent,
        Draft memory draft,
        BatchReader.Line memory line,
        Standing memory standing
    ) private pure returns (SkipReason problem) {
        Awarded memory awarded = run.awarded[line.offer + run.awarded.length - run.standings.length];
        if (awarded.problem != SkipReason.None) return awarded.problem;
        AwardReader.Fill memory fill = awarded.fill;
        bytes32 solution =
            fill.rootOf(intent.account, intent.nonce, standing.account, standing.nonce);
        // Unchecked: two integers of 64 bits.
        unchecked {
            bool isAsAwarded = solution == awarded.solution && standing.delivered == 0
                && line.payment == line.delivered * fill.tick / MarketTypes.TICK_UNITS;
            if (!isAsAwarded) return SkipReason.AwardMismatch;
        }
        standing.problem = SkipReason.None;
        problem = _lineProblem(intent, draft, line, standing);
        standing.problem = SkipReason.AwardMismatch;
    }

    /// @dev Parts what awarded fills earned between seller and solver, and leaves the offers' standings.
    function _payAwards(Run memory run) private {
        Standing[] memory standings = run.standings;
        uint256 offers = standings.length - run.awarded.length;
        for (uint256 i = 0; i < run.awarded.length; ++i) {
            Standing memory standing = standings[offers + i];
            if (standing.delivered == 0) continue;
            Awarded memory awarded = run.awarded[i];
            Standing memory offer = standings[awarded.fill.offer];
            uint256 reward = awarded.fill.rewardOf(standing.delivered);
            offer.delivered += standing.delivered;
            offer.earned += standing.earned - reward;
            // Stays within the balance's 72 bits, see _creditSellers.
            _accounts[awarded.solver].word += reward;
            emit RewardPaid(
                uint64(awarded.auction), awarded.solver, standing.account, uint96(reward)
            );
        }
        // Memory-safe: it becomes shorter.
        assembly ("memory-safe") {
            mstore(standings, offers)
        }
    }

    // ------------------------------------------------------------------ private: intents

    function _settleIntents(Run memory run) private {
        BatchReader.Intent memory intent = BatchReader.newIntent(address(_TOKEN));
        Draft memory draft;
        uint256 count = run.cursor.readCount();
        for (uint256 i = 0; i < count; ++i) {
            run.cursor.readIntent(intent);
            _settleIntent(run, intent, draft);
        }
    }

    function _settleIntent(Run memory run, BatchReader.Intent memory intent, Draft memory draft)
        private
    {
        SkipReason problem = intent.authority > BatchReader.AUTHORITY_MASK
            ? _openForm(run, intent, draft)
            : _openIntent(run.domain, intent, draft);
        if (problem != SkipReason.None) return _skipAll(run, intent, problem);
        _draftLines(run, intent, draft);
        if (draft.units == 0) return;
        problem = _draftProblem(run, intent, draft);
        if (problem != SkipReason.None) return _release(run, intent, draft, problem);
        _commit(run, intent, draft);
    }

    /// @dev What is wrong with an intent that is signed alone, whatever its lines are.
    function _openIntent(bytes32 domain, BatchReader.Intent memory intent, Draft memory draft)
        private
        view
        returns (SkipReason problem)
    {
        problem = _openDraft(intent, draft);
        if (problem != SkipReason.None) return problem;
        return _signatureProblem(domain, intent, draft, intent.hashOf());
    }

    /// @dev The same of an intent of a bulk or a bundle, or a mandate.
    function _openForm(Run memory run, BatchReader.Intent memory intent, Draft memory draft)
        private
        view
        returns (SkipReason problem)
    {
        uint256 form = intent.authority >> BatchReader.FORM_SHIFT;
        intent.authority &= BatchReader.AUTHORITY_MASK;
        bool isMandate = form == BatchReader.FORM_MANDATE;
        if (!isMandate) _takeProof(run, intent, form);
        problem = _openDraft(intent, draft);
        if (problem != SkipReason.None) return problem;
        if (isMandate) return _openMandate(run.domain, intent, draft);
        return _bulkProblem(run, intent, draft, intent.hashOfTree(form));
    }

    /// @dev Before anything can be wrong with the intent: the next one may rely on its signature.
    function _takeProof(Run memory run, BatchReader.Intent memory intent, uint256 form)
        private
        pure
    {
        intent.takeProof(form);
        if (intent.signatureSize == 0) {
            intent.signatureAt = run.signatureAt;
            intent.signatureSize = run.signatureSize;
        } else {
            run.signatureAt = intent.signatureAt;
            run.signatureSize = intent.signatureSize;
        }
    }

    /// @dev Neighbours of one bulk or bundle are asked for once: what an account is found to have signed, it has
    /// signed for the whole batch. A session is asked for each, as it is charged for each.
    function _bulkProblem(
        Run memory run,
        BatchReader.Intent memory intent,
        Draft memory draft,
        bytes32 hash
    ) private view returns (SkipReason problem) {
        if (intent.authority == AUTHORITY_SESSION) {
            return _signatureProblem(run.domain, intent, draft, hash);
        }
        if (hash == run.signedBulk && intent.account == run.signedBy) return SkipReason.None;
        problem = _signatureProblem(run.domain, intent, draft, hash);
        if (problem != SkipReason.None) return problem;
        run.signedBulk = hash;
        run.signedBy = intent.account;
    }

    /// @dev A mandate's lines are those of an intent at its highest price, without units of its own. What
    /// its nonce counts is atoms.
    function _openMandate(bytes32 domain, BatchReader.Intent memory intent, Draft memory draft)
        private
        view
        returns (SkipReason)
    {
        bytes32 hash = intent.hashOfMandate();
        uint256 left = draft.lanes.unitsLeft(intent.nonce, intent.limit);
        draft.isMandate = true;
        draft.spendable = Math.min(draft.spendable, left);
        draft.unitsLeft = type(uint256).max;
        intent.turnToLines();
        return _signatureProblem(domain, intent, draft, hash);
    }

    /// @dev Whether the terms are good now; whatever the intent is, its draft starts anew.
    function _openDraft(BatchReader.Intent memory intent, Draft memory draft)
        private
        view
        returns (SkipReason problem)
    {
        uint256 word;
        (problem, draft.account, word) = _termsProblem(
            intent.account, intent.nonce, intent.validFrom, intent.validUntil, intent.epoch
        );
        draft.isMandate = false;
        draft.lanes = word;
        draft.spendable = draft.account.balanceOf();
        draft.unitsLeft = word.unitsLeft(intent.nonce, intent.units);
        draft.accepted = 0;
        draft.units = 0;
        draft.delivered = 0;
        draft.payment = 0;
    }

    /// @dev Skips the bad lines; reserves what the good ones delivered in their standings and sums them up.
    function _draftLines(Run memory run, BatchReader.Intent memory intent, Draft memory draft)
        private
    {
        BatchReader.Line memory line = run.line;
        Standing[] memory standings = run.standings;
        uint256 count = intent.lineCount;
        for (uint256 i = 0; i < count; ++i) {
            intent.readLine(i, line);
            if (line.offer >= standings.length) {
                _skip(run, SkipReason.UnknownOffer);
                continue;
            }
            Standing memory standing = standings[line.offer];
            SkipReason problem = _lineProblem(intent, draft, line, standing);
            if (problem != SkipReason.None) {
                if (problem == SkipReason.AwardMismatch) {
                    problem = _awardedProblem(run, intent, draft, line, standing);
                }
                if (problem != SkipReason.None) {
                    _skip(run, problem);
                    continue;
                }
            }
            // Unchecked: each sum was just checked against the units left and the balance.
            unchecked {
                draft.accepted |= 1 << i;
                draft.units += line.units;
                draft.delivered += line.delivered;
                draft.payment += line.payment;
                standing.delivered += line.delivered;
            }
        }
    }

    /// @dev Unchecked: the reader cuts units to 64 bits and money to 96, sums are bounded by the units
    /// left, or for a mandate by its 255 lines, and the balance. So no sum exceeds 2^97 and no product
    /// 2^161; 2^194 where the standing is an awarded fill's.
    ///
    /// The two rounded limits need no division; for integers and units > 0,
    /// p <= floor(d * l / u) if and only if p * u <= d * l, and
    /// p >= floor(d * l / u) if and only if (p + 1) * u > d * l.
    function _lineProblem(
        BatchReader.Intent memory intent,
        Draft memory draft,
        BatchReader.Line memory line,
        Standing memory standing
    ) private pure returns (SkipReason) {
        SkipReason problem = standing.problem;
        if (problem != SkipReason.None) return problem;
        if (intent.resource != standing.resource && intent.resource != BatchReader.RESOURCE_ANY) {
            return SkipReason.ResourceMismatch;
        }
        if (intent.account == standing.account) return SkipReason.SelfMatch;
        uint256 units = line.units;
        uint256 delivered = line.delivered;
        uint256 payment = line.payment;
        unchecked {
            if (units == 0) return SkipReason.UnitsZero;
            if (draft.units + units > draft.unitsLeft) return SkipReason.UnitsOverfilled;
            if (standing.delivered + delivered > standing.unitsLeft) {
                return SkipReason.UnitsOverfilled;
            }
            if (delivered > units) return SkipReason.DeliveredAboveUnits;
            if (payment * intent.units > delivered * intent.limit) {
                return SkipReason.PriceAboveLimit;
            }
            if ((payment + 1) * standing.units <= delivered * standing.limit) {
                return SkipReason.PriceBelowLimit;
            }
            if (draft.payment + payment > draft.spendable) {
                return draft.spendable == draft.account.balanceOf()
                    ? SkipReason.InsufficientBalance
                    : SkipReason.MandateExceeded;
            }
        }
        return SkipReason.None;
    }

    /// @dev What can only be judged on all good lines together. The session is charged last, when
    /// nothing else can fail: what it is charged is what is then paid.
    function _draftProblem(Run memory run, BatchReader.Intent memory intent, Draft memory draft)
        private
        returns (SkipReason)
    {
        bool isLast = draft.units == draft.unitsLeft;
        if (draft.units < intent.unitsMin && !isLast) return SkipReason.UnitsBelowMinimum;
        if (intent.authority != AUTHORITY_SESSION) return SkipReason.None;
        return _isCharged(run, intent, draft) ? SkipReason.None : SkipReason.SessionRefused;
    }

    function _commit(Run memory run, BatchReader.Intent memory intent, Draft memory draft) private {
        _lanes[UnitLanes.keyOf(intent.account, intent.nonce)] =
            draft.lanes.add(intent.nonce, draft.isMandate ? draft.payment : draft.units);
        // Unchecked: each line was checked against the balance, so payments are below 2^72.
        unchecked {
            _accounts[intent.account].word = draft.account - draft.payment;
            run.paid += draft.payment;
        }
        BatchReader.Line memory line = run.line;
        uint256 count = intent.lineCount;
        for (uint256 i = 0; i < count; ++i) {
            if (draft.accepted & (1 << i) == 0) continue;
            // A single line is still there from when it was drafted.
            if (count != 1) intent.readLine(i, line);
            Standing memory standing = run.standings[line.offer];
            // Unchecked: sums of payments, see above, and a count.
            unchecked {
                standing.earned += line.payment;
                ++run.settled;
            }
            uint256 amounts = line.units << 160 | line.delivered << 96 | line.payment;
            emit FillSettled(line.fill, intent.account, standing.account, amounts);
        }
    }

    /// @dev Gives what was drafted back to its offers and skips the drafted lines.
    function _release(
        Run memory run,
        BatchReader.Intent memory intent,
        Draft memory draft,
        SkipReason problem
    ) private {
        BatchReader.Line memory line = run.line;
        for (uint256 i = 0; i < intent.lineCount; ++i) {
            if (draft.accepted & (1 << i) == 0) continue;
            intent.readLine(i, line);
            run.standings[line.offer].delivered -= line.delivered;
            _skip(run, problem);
        }
    }

    function _skipAll(Run memory run, BatchReader.Intent memory intent, SkipReason problem)
        private
    {
        for (uint256 i = 0; i < intent.lineCount; ++i) {
            intent.readLine(i, run.line);
            _skip(run, problem);
        }
    }

    function _skip(Run memory run, SkipReason problem) private {
        run.skipped += 1;
        emit FillSkipped(run.line.fill, problem);
    }

    // ------------------------------------------------------------------ private: documents

    /// @dev A session's signature waits until it is known what to charge.
    function _signatureProblem(
        bytes32 domain,
        BatchReader.Intent memory intent,
        Draft memory draft,
        bytes32 hash
    ) private view returns (SkipReason) {
        bytes32 digest = domain.toTypedDataHash(hash);
        draft.digest = digest;
        if (intent.authority == AUTHORITY_SESSION) return SkipReason.None;
        bool signed = _isSigned(intent.account, intent.authority, digest, intent.signatureOf());
        return signed ? SkipReason.None : SkipReason.BadSignature;
    }

    /// @dev Time, epoch and cancellation of an intent or offer, and what else its slots say.
    function _termsProblem(
        address account,
        uint256 nonce,
        uint256 validFrom,
        uint256 validUntil,
        uint256 epoch
    ) private view returns (SkipReason problem, uint256 stored, uint256 lanes) {
        if (block.timestamp < validFrom) return (SkipReason.NotYetValid, 0, 0);
        // Unchecked: two times of 40 bits.
        unchecked {
            if (block.timestamp > validUntil + exitDelay) return (SkipReason.Expired, 0, 0);
        }
        stored = _accounts[account].word;
        uint256 current = stored.epochOf();
        if (epoch != current && !_isEpochEnding(account, epoch, current)) {
            return (SkipReason.EpochEnded, 0, 0);
        }
        lanes = _lanes[UnitLanes.keyOf(account, nonce)];
        if (lanes.isFlagged(nonce) && block.timestamp >= _cancelledAt[account][uint64(nonce)]) {
            problem = SkipReason.Cancelled;
        }
    }

    // ------------------------------------------------------------------ private: sessions

    /// @dev Whether a session of the account, whose word is `stored`, signed an offer. It may do so for as
    /// long as its intents settle, and nothing is charged.
    function _isOfSession(address account, uint256 stored, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool)
    {
        address key = SignatureRecovery.recover(digest, signature);
        SessionPolicy.Verdict verdict = SessionPolicy.sessionVerdict(
            _wordOf(SessionPolicy.Bearer.Key, account, _id(key)),
            SessionPolicy.PERMISSION_SIGN,
            stored.sessionEpochOf(),
            block.timestamp,
            _sessionGraceS()
        );
        return verdict.isAllowed();
    }

    /// @dev Charges the session that signed an intent, or a mandate, for its good lines.
    function _isCharged(Run memory run, BatchReader.Intent memory intent, Draft memory draft)
        private
        returns (bool)
    {
        // No name has this hash, and a key's terms are not held against it: it means a total.
        if (intent.resource == 0) return false;
        bool isRootCapped = draft.account.has(AccountWord.ROOT_CAPPED);
        uint256[] memory lines;
        if (isRootCapped) lines = _counterpartiesOf(run, intent, draft.accepted);
        SessionPolicy.Verdict verdict = _charge(
            intent.account,
            SignatureRecovery.recover(draft.digest, intent.signatureOf()),
            SessionPolicy.PERMISSION_SIGN,
            draft.payment,
            draft.account.sessionEpochOf(),
            isRootCapped,
            intent.resource,
            draft.delivered,
            lines
        );
        return verdict.isAllowed();
    }

    /// @return parties who is paid how much by the good lines, as {SessionPolicy.Act} says them. A solver is one of
    /// them, for its reward
    function _counterpartiesOf(Run memory run, BatchReader.Intent memory intent, uint256 accepted)
        private
        pure
        returns (uint256[] memory parties)
    {
        BatchReader.Line memory line = run.line;
        parties = new uint256[](2 * intent.lineCount);
        uint256 count;
        for (uint256 i = 0; i < intent.lineCount; ++i) {
            if (accepted & (1 << i) == 0) continue;
            intent.readLine(i, line);
            address seller = run.standings[line.offer].account;
            (address solver, uint256 reward) = _rewardOf(run, line);
            if (reward != 0) count = _addParty(parties, count, solver, reward);
            count = _addParty(parties, count, seller, line.payment - reward);
        }
        // Memory-safe: it becomes shorter.
        assembly ("memory-safe") {
            mstore(parties, count)
        }
    }

    /// @return solver of a good line's award; zero, as the reward, if it was not awarded
    /// @return reward what of the payment is the solver's
    function _rewardOf(Run memory run, BatchReader.Line memory line)
        private
        pure
        returns (address solver, uint256 reward)
    {
        uint256 offers = run.standings.length - run.awarded.length;
        if (line.offer < offers) return (address(0), 0);
        Awarded memory awarded = run.awarded[line.offer - offers];
        return (awarded.solver, awarded.fill.rewardOf(line.delivered));
    }

    /// @dev By insertion, as most intents have a line or two. Its sums stay below a balance's 72 bits.
    function _addParty(uint256[] memory parties, uint256 count, address added, uint256 amount)
        private
        pure
        returns (uint256)
    {
        uint256 party = uint160(added);
        uint256 place;
        while (place < count && SessionPolicy.counterpartyOf(parties[place]) < party) ++place;
        if (place < count && SessionPolicy.counterpartyOf(parties[place]) == party) {
            parties[place] += amount;
            return count;
        }
        for (uint256 i = count; i > place; --i) {
            parties[i] = parties[i - 1];
        }
        // The cast is safe: no payment exceeds a balance.
        parties[place] = SessionPolicy.lineOf(added, uint96(amount));
        return count + 1;
    }
}
