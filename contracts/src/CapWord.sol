// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title A strict rolling cap, and what else is known of its bearer, in one storage word
/// @notice At the moment of every charge, what was charged within the period before it, and this
/// charge, are at most the cap: not within a period of the calendar, but in any window of the
/// period's length.
/// @dev From the lowest bit: current u22 | ended 8 x u11 | index u27 | length u15 | exponent u6 |
/// mantissa u22 | capped u1 | expiresAt u32 | sessionEpoch u24 | permissions u8 | team u11.
///
/// Time is cut into buckets of an eighth of the period. The ring holds what was charged in the
/// current bucket (`index` counts them) and in the eight before it, which together cover any window
/// that ends now. Buckets that have ended are kept in units of 2^exponent atoms; the current one and
/// the cap in parts, 2^11 to a unit. All of them count in full, and every rounding is against the
/// bearer, for the account:
/// - the period is rounded up to a multiple of PERIOD_UNIT_S;
/// - the cap is rounded down to whole parts, less than one in two million of it, and not at all below
///   four million atoms;
/// - a charge is rounded up to whole parts;
/// - a bucket that has ended is rounded up to whole units, less than one in a thousand of the cap, and
///   not at all if that is below 2^11 atoms;
/// - what is charged in a bucket counts until eight later ones have ended, up to 9/8 of the period.
///
/// A word of zeros has no cap. Times end in 2097: an index beyond its bits refuses every charge.
library CapWord {
    /// @dev A period of no seconds, or of more than PERIOD_MAX_S.
    error CapPeriodInvalid(uint256 period);

    /// @dev Buckets are measured in units of 30 seconds, so periods in units of eight times that.
    uint256 internal constant PERIOD_UNIT_S = 240;
    /// @dev 91 days.
    uint256 internal constant PERIOD_MAX_S = PERIOD_UNIT_S * LENGTH_MASK;
    /// @dev The largest cap; a larger one is rounded down to it. More than any balance.
    uint256 internal constant CAP_MAX = BUCKET_MASK << EXPONENT_MAX;
    uint256 internal constant SESSION_EPOCH_MAX = type(uint24).max;
    uint256 internal constant TEAM_MAX = (1 << 11) - 1;

    uint256 private constant BUCKETS = 8;
    uint256 private constant BUCKET_UNIT_S = PERIOD_UNIT_S / BUCKETS;
    uint256 private constant BUCKET_BITS = 11;
    uint256 private constant BUCKET_MASK = (1 << BUCKET_BITS) - 1;
    uint256 private constant PART_BITS = 11;
    /// @dev Parts. A bucket with as many, rounded up to units, still has BUCKET_BITS.
    uint256 private constant MANTISSA_MAX = BUCKET_MASK << PART_BITS;

    uint256 private constant CURRENT_BITS = BUCKET_BITS + PART_BITS;
    uint256 private constant CURRENT_MASK = (1 << CURRENT_BITS) - 1;
    uint256 private constant RING_BITS = CURRENT_BITS + BUCKETS * BUCKET_BITS;
    uint256 private constant RING_MASK = (1 << RING_BITS) - 1;
    uint256 private constant INDEX_SHIFT = RING_BITS;
    uint256 private constant INDEX_MAX = (1 << 27) - 1;
    uint256 private constant LENGTH_SHIFT = INDEX_SHIFT + 27;
    uint256 private constant LENGTH_MASK = (1 << 15) - 1;
    uint256 private constant EXPONENT_SHIFT = LENGTH_SHIFT + 15;
    uint256 private constant EXPONENT_MAX = (1 << 6) - 1;
    uint256 private constant MANTISSA_SHIFT = EXPONENT_SHIFT + 6;
    uint256 private constant CAPPED = 1 << (MANTISSA_SHIFT + CURRENT_BITS);
    /// @dev Ring, index, length, exponent, mantissa and the flag.
    uint256 private constant CAP_MASK = (CAPPED << 1) - 1;
    /// @dev Ring and index: all that a charge changes.
    uint256 private constant CHARGED_MASK = (1 << LENGTH_SHIFT) - 1;

    uint256 private constant EXPIRES_AT_SHIFT = MANTISSA_SHIFT + CURRENT_BITS + 1;
    uint256 private constant SESSION_EPOCH_SHIFT = EXPIRES_AT_SHIFT + 32;
    uint256 private constant SESSION_EPOCH_BITS = 24;
    uint256 private constant PERMISSIONS_SHIFT = SESSION_EPOCH_SHIFT + SESSION_EPOCH_BITS;
    uint256 private constant TEAM_SHIFT = PERMISSIONS_SHIFT + 8;

    /// @dev Every second of the ended buckets, so that sums of two have 22 bits each.
    uint256 private constant PAIRS_MASK =
        BUCKET_MASK | BUCKET_MASK << 22 | BUCKET_MASK << 44 | BUCKET_MASK << 66;

    // ------------------------------------------------------------------ the bearer

    /// @return last second of the session
    function expiresAtOf(uint256 word) internal pure returns (uint32) {
        return uint32(word >> EXPIRES_AT_SHIFT);
    }

    function sessionEpochOf(uint256 word) internal pure returns (uint24) {
        return uint24(word >> SESSION_EPOCH_SHIFT);
    }

    function permissionsOf(uint256 word) internal pure returns (uint8) {
        return uint8(word >> PERMISSIONS_SHIFT);
    }

    /// @dev All at once, for each buyer of a metered batch: a branch less for each condition.
    /// @return result whether the session is of this epoch, has all of these permissions, at least one of them,
    /// and has not ended
    function isLive(
        uint256 word,
        uint256 permission,
        uint24 sessionEpoch,
        uint256 time,
        uint256 graceS
    ) internal pure returns (bool result) {
        uint256 permissions = permission << SESSION_EPOCH_BITS;
        bool isGranted = (word >> SESSION_EPOCH_SHIFT) & (permissions | SESSION_EPOCH_MAX)
            == permissions | sessionEpoch;
        bool isEnded;
        // Unchecked: 32 bits, and a delay of the ledger's.
        unchecked {
            isEnded = time > expiresAtOf(word) + graceS;
        }
        assembly ("memory-safe") {
            result := and(and(isGranted, iszero(isEnded)), iszero(iszero(permission)))
        }
    }

    /// @return 0 for none
    function teamOf(uint256 word) internal pure returns (uint16) {
        return uint16(word >> TEAM_SHIFT);
    }

    /// @notice All that a grant says but the cap; what was charged stays.
    /// @dev The caller has checked that the team is at most TEAM_MAX; more would be cut.
    function withSession(
        uint256 word,
        uint32 expiresAt,
        uint24 sessionEpoch,
        uint8 permissions,
        uint16 team
    ) internal pure returns (uint256) {
        return (word & CAP_MASK) | uint256(expiresAt) << EXPIRES_AT_SHIFT | uint256(sessionEpoch)
            << SESSION_EPOCH_SHIFT | uint256(permissions) << PERMISSIONS_SHIFT | uint256(team)
            << TEAM_SHIFT;
    }

    function withPermissions(uint256 word, uint8 permissions) internal pure returns (uint256) {
        return (word & ~(uint256(type(uint8).max) << PERMISSIONS_SHIFT)) | uint256(permissions)
            << PERMISSIONS_SHIFT;
    }

    /// @dev The caller has checked that the team is at most TEAM_MAX; more would be cut.
    function withTeam(uint256 word, uint16 team) internal pure returns (uint256) {
        return (word & ~(TEAM_MAX << TEAM_SHIFT)) | uint256(team) << TEAM_SHIFT;
    }

    // ------------------------------------------------------------------ the cap

    function isCapped(uint256 word) internal pure returns (bool) {
        return word & CAPPED != 0;
    }

    /// @return the cap as it is kept, in atoms, of whole parts; means nothing unless it is capped
    function capOf(uint256 word) internal pure returns (uint256) {
        return _mantissaOf(word) << _exponentOf(word) >> PART_BITS;
    }

    /// @return the period as it is kept, in seconds
    function periodOf(uint256 word) internal pure returns (uint256) {
        return _lengthOf(word) * PERIOD_UNIT_S;
    }

    /// @return atoms, rounded up, that count against the cap at `time`
    function spentOf(uint256 word, uint256 time) internal pure returns (uint256) {
        (uint256 ring,) = _ringAt(word, time);
        return _ceilShift(_partsOf(ring) << _exponentOf(word), PART_BITS);
    }

    /// @return the most that one charge at `time` may be, exactly
    function leftOf(uint256 word, uint256 time) internal pure returns (uint256) {
        if (!isCapped(word)) return type(uint256).max;
        (uint256 ring, uint256 index) = _ringAt(word, time);
        uint256 parts = _partsOf(ring);
        uint256 mantissa = _mantissaOf(word);
        if (index > INDEX_MAX || parts >= mantissa) return 0;
        return (mantissa - parts) << _exponentOf(word) >> PART_BITS;
    }

    /// @notice Counts `amount`, unless that is more than is left.
    /// @dev Without a cap nothing is counted: the word stays as it is, and need not be written.
    /// @return isCharged whether it was within the cap
    /// @return wordAfter the same if it was not
    function charge(uint256 word, uint256 amount, uint256 time)
        internal
        pure
        returns (bool isCharged, uint256 wordAfter)
    {
        if (!isCapped(word)) return (true, word);
        // Unchecked: nothing minus one is more than any cap; else the amount has 74 bits, so no sum or
        // shift exceeds 2^86.
        unchecked {
            if (amount - 1 >= CAP_MAX) return (amount == 0, word);
            (uint256 ring, uint256 index) = _ringAt(word, time);
            uint256 exponent = _exponentOf(word);
            uint256 parts = ((amount << PART_BITS) + (1 << exponent) - 1) >> exponent;
            // In place: see `_ringAt`.
            uint256 mantissa = (word >> MANTISSA_SHIFT) & CURRENT_MASK;
            // An index beyond its bits is also more than any mantissa.
            if (_partsOf(ring) + parts + (index & ~INDEX_MAX) > mantissa) return (false, word);
            // The current bucket is at most the sum, so at most the mantissa: it keeps to its bits.
            return (true, (word & ~CHARGED_MASK) | (ring + parts) | index << INDEX_SHIFT);
        }
    }

    /// @notice Sets the cap, and never lowers what was charged.
    /// @dev If the period or the unit changes, all that counts at `time` counts as charged at `time`.
    /// The unit is the smallest in which both the cap and that can be written: a cap far below what
    /// was charged is rounded down further than one on its own.
    function withCap(uint256 word, uint256 cap, uint256 period, uint256 time)
        internal
        pure
        returns (uint256)
    {
        require(period != 0 && period <= PERIOD_MAX_S, CapPeriodInvalid(period));
        uint256 length = (period + PERIOD_UNIT_S - 1) / PERIOD_UNIT_S;
        // From here on in atoms' 2^-11, of which parts are a power of two.
        cap = _min(cap, CAP_MAX) << PART_BITS;
        (uint256 ring, uint256 index) = _ringAt(word, time);
        uint256 exponent = _exponentOf(word);
        uint256 spent = _partsOf(ring) << exponent;
        uint256 needed = _exponentFor(cap, spent);
        if (exponent != needed || length != _lengthOf(word)) {
            exponent = needed;
            // Cut at the largest cap there is: either way nothing is left until all of it is over.
            ring = _min(_ceilShift(spent, exponent), MANTISSA_MAX);
            index = time / (length * BUCKET_UNIT_S);
        }
        // A time beyond the index's bits is beyond all at which anything is charged.
        index = _min(index, INDEX_MAX);
        return (word & ~CAP_MASK) | CAPPED | (cap >> exponent) << MANTISSA_SHIFT | exponent
            << EXPONENT_SHIFT | length << LENGTH_SHIFT | index << INDEX_SHIFT | ring;
    }

    /// @notice Lifts the cap. What was charged before is remembered, should one be set again.
    function withoutCap(uint256 word) internal pure returns (uint256) {
        return word & ~CAPPED;
    }

    // ------------------------------------------------------------------ private

    function _mantissaOf(uint256 word) private pure returns (uint256) {
        return (word >> MANTISSA_SHIFT) & CURRENT_MASK;
    }

    function _exponentOf(uint256 word) private pure returns (uint256) {
        return (word >> EXPONENT_SHIFT) & EXPONENT_MAX;
    }

    function _lengthOf(uint256 word) private pure returns (uint256) {
        return (word >> LENGTH_SHIFT) & LENGTH_MASK;
    }

    /// @dev The smallest exponent with which neither has more than MANTISSA_MAX parts, or the largest.
    function _exponentFor(uint256 cap, uint256 spent) private pure returns (uint256 exponent) {
        while (
            exponent < EXPONENT_MAX
                && (cap >> exponent > MANTISSA_MAX || _ceilShift(spent, exponent) > MANTISSA_MAX)
        ) {
            ++exponent;
        }
    }

    /// @dev The ring as it is at `time`, and the bucket that `time` is in. A time before the last
    /// charge counts as that charge's.
    function _ringAt(uint256 word, uint256 time)
        private
        pure
        returns (uint256 ring, uint256 index)
    {
        ring = word & RING_MASK;
        index = (word >> INDEX_SHIFT) & INDEX_MAX;
        // Unchecked: a length of 15 bits, and `elapsed` not negative.
        unchecked {
            // In place: `_lengthOf` would cost each charge two jumps.
            uint256 bucketS = ((word >> LENGTH_SHIFT) & LENGTH_MASK) * BUCKET_UNIT_S;
            uint256 indexNow;
            // Assembly divides by zero, and gets zero: what never had a cap has nothing in its ring.
            assembly ("memory-safe") {
                indexNow := div(time, bucketS)
            }
            if (indexNow > index) {
                ring = _ringAfter(ring, indexNow - index);
                index = indexNow;
            }
        }
    }

    /// @dev The ring `elapsed` buckets later, at least one.
    function _ringAfter(uint256 ring, uint256 elapsed) private pure returns (uint256) {
        // Unchecked: the current bucket is at most MANTISSA_MAX, so rounding it up to a unit stays in its 22
        // bits; a bucket has 30 seconds or more, so no number of them times 11 exceeds 2^256.
        unchecked {
            // The bucket that has ended, in units, is then before the older ones, and all move up by
            // `elapsed`: what is older than the ring is cut off. Nothing is in the new current one.
            ring = (ring + (1 << PART_BITS) - 1) >> PART_BITS;
            return (ring << (PART_BITS + BUCKET_BITS * elapsed)) & RING_MASK;
        }
    }

    /// @dev All of the ring. Ended buckets are added two and two in lanes of 22 bits; the lanes' sum,
    /// which is below 2^22 - 1, is what remains of them modulo that.
    function _partsOf(uint256 ring) private pure returns (uint256) {
        // Unchecked: eight buckets of 11 bits, as parts, and one of 22 are below 2^26.
        unchecked {
            uint256 ended = ring >> CURRENT_BITS;
            uint256 pairs = (ended & PAIRS_MASK) + ((ended >> BUCKET_BITS) & PAIRS_MASK);
            return ((pairs % CURRENT_MASK) << PART_BITS) + (ring & CURRENT_MASK);
        }
    }

    function _ceilShift(uint256 value, uint256 bits) private pure returns (uint256) {
        return (value + (1 << bits) - 1) >> bits;
    }

    function _min(uint256 left, uint256 right) private pure returns (uint256) {
        return left < right ? left : right;
    }
}
