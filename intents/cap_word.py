"""A strict rolling cap, and what else is known of its bearer, in one word of the registry.

The same integers as contracts/src/CapWord.sol, which says what each bit is and where is
rounded: in any window of the period's length no more than the cap is charged. A word is a
plain int below 2²⁵⁶; zero has no cap.
"""

from typing import Final, NamedTuple

from intents.bound import PERIOD_S_MAX, SESSION_EPOCH_MAX, TEAM_MAX
from intents.rounding import mul_div_ceil

PERIOD_UNIT_S: Final = 240
BUCKETS: Final = 8
BUCKET_UNIT_S: Final = 30
"""Buckets have an eighth of the period; both are kept in whole units."""
_BUCKET_BITS: Final = 11
_BUCKET_MAX: Final = (1 << _BUCKET_BITS) - 1
_PART_BITS: Final = 11
_MANTISSA_MAX: Final = _BUCKET_MAX << _PART_BITS
_CURRENT_BITS: Final = _BUCKET_BITS + _PART_BITS
_CURRENT_MASK: Final = (1 << _CURRENT_BITS) - 1
_RING_BITS: Final = _CURRENT_BITS + BUCKETS * _BUCKET_BITS
_RING_MASK: Final = (1 << _RING_BITS) - 1
_INDEX_MAX: Final = (1 << 27) - 1
_LENGTH_SHIFT: Final = _RING_BITS + 27
_LENGTH_MAX: Final = (1 << 15) - 1
_EXPONENT_SHIFT: Final = _LENGTH_SHIFT + 15
_EXPONENT_MAX: Final = (1 << 6) - 1
_MANTISSA_SHIFT: Final = _EXPONENT_SHIFT + 6
_CAPPED: Final = 1 << (_MANTISSA_SHIFT + _CURRENT_BITS)
_CAP_MASK: Final = (_CAPPED << 1) - 1
_CHARGED_MASK: Final = (1 << _LENGTH_SHIFT) - 1
_EXPIRES_AT_SHIFT: Final = _MANTISSA_SHIFT + _CURRENT_BITS + 1
_SESSION_EPOCH_SHIFT: Final = _EXPIRES_AT_SHIFT + 32
_PERMISSIONS_SHIFT: Final = _SESSION_EPOCH_SHIFT + 24
_TEAM_SHIFT: Final = _PERMISSIONS_SHIFT + 8

CAP_MAX: Final = _BUCKET_MAX << _EXPONENT_MAX
"""The largest cap; a larger one is rounded down to it. More than any balance."""
CHARGES_MAX: Final = 1 << _PART_BITS
"""Charges whose rounding up to parts is at most a unit: see `promisable_at`."""
EXPIRES_AT_MAX: Final = (1 << 32) - 1
PERMISSION_BITS_MAX: Final = (1 << 8) - 1


class CapPeriodInvalid(ValueError):
    """A period of no seconds, or of more than `PERIOD_S_MAX`."""


class Bearer(NamedTuple):
    """All that a word says besides its cap. `expires_at` is the session's last second."""

    expires_at: int = 0
    session_epoch: int = 0
    permissions: int = 0
    team: int = 0


def bearer_of(word: int) -> Bearer:
    """Read what is not of the cap."""
    return Bearer(
        expires_at=word >> _EXPIRES_AT_SHIFT & EXPIRES_AT_MAX,
        session_epoch=word >> _SESSION_EPOCH_SHIFT & SESSION_EPOCH_MAX,
        permissions=permissions_of(word),
        team=team_of(word),
    )


def permissions_of(word: int) -> int:
    """The permission bits alone, with the mark of terms."""
    return word >> _PERMISSIONS_SHIFT & PERMISSION_BITS_MAX


def team_of(word: int) -> int:
    """The team alone; 0 for none."""
    return word >> _TEAM_SHIFT


def with_bearer(word: int, bearer: Bearer) -> int:
    """Everything but the cap; what was charged stays."""
    return (
        word & _CAP_MASK
        | bearer.expires_at << _EXPIRES_AT_SHIFT
        | bearer.session_epoch << _SESSION_EPOCH_SHIFT
        | bearer.permissions << _PERMISSIONS_SHIFT
        | (bearer.team & TEAM_MAX) << _TEAM_SHIFT
    )


def is_capped(word: int) -> bool:
    """Whether charges are counted at all."""
    return word & _CAPPED != 0


def cap_of(word: int) -> int:
    """The cap as it is kept; means nothing unless it is capped."""
    return _mantissa(word) << _exponent(word) >> _PART_BITS


def period_of(word: int) -> int:
    """The period as it is kept, in seconds."""
    return _length(word) * PERIOD_UNIT_S


def spent_at(word: int, time_s: int) -> int:
    """What counts against the cap at `time_s`, rounded up."""
    ring, _ = _ring_at(word, time_s)
    return _ceil_shift(_parts(ring) << _exponent(word), _PART_BITS)


def left_at(word: int, time_s: int) -> int | None:
    """The most that one charge at `time_s` may be, exactly; None without a cap."""
    if not is_capped(word):
        return None
    ring, index = _ring_at(word, time_s)
    left = _mantissa(word) - _parts(ring)
    return 0 if index > _INDEX_MAX or left < 0 else left << _exponent(word) >> _PART_BITS


def promisable_at(word: int, time_s: int) -> int | None:
    """The most that can be promised at `time_s`, and charged whenever; None without a cap.

    Of what is promised within it no charge is refused, be there up to `CHARGES_MAX` at any times
    that the word has not counted yet. `left_at` is for one charge, now.
    """
    left = left_at(word, time_s)
    return None if left is None else max(0, left - rounding_of(word))


def rounding_of(word: int) -> int:
    """Atoms, rounded up, by which charges to come can count for more than they are.

    Each of the eight ended buckets lacks up to a unit less an atom or, if that is more, a part;
    each charge up to a part, if that is more than an atom. Less than a hundredth of a cap that
    is set on its own, and nothing of one below 2¹¹ atoms.
    """
    exponent = _exponent(word)
    grain = 1 << max(0, _PART_BITS - exponent)
    parts = BUCKETS * ((1 << _PART_BITS) - grain)
    if exponent > _PART_BITS:
        parts += CHARGES_MAX
    return _ceil_shift(parts << exponent, _PART_BITS)


def charge(word: int, amount: int, time_s: int) -> int | None:
    """The word with `amount` counted; None if that is more than is left."""
    if amount == 0 or not is_capped(word):
        return word
    if amount > CAP_MAX:
        return None
    ring, index = _ring_at(word, time_s)
    parts = _ceil_shift(amount << _PART_BITS, _exponent(word))
    if _parts(ring) + parts > _mantissa(word) or index > _INDEX_MAX:
        return None
    return word & ~_CHARGED_MASK | ring + parts | index << _RING_BITS


def with_cap(word: int, cap: int, period_s: int, time_s: int) -> int:
    """Set the cap; never lowers what was charged.

    Raises:
        CapPeriodInvalid: the period is none that a word can keep.
    """
    if not 0 < period_s <= PERIOD_S_MAX:
        raise CapPeriodInvalid(period_s)
    length = mul_div_ceil(period_s, 1, PERIOD_UNIT_S)
    fine = min(cap, CAP_MAX) << _PART_BITS
    ring, index = _ring_at(word, time_s)
    exponent = _exponent(word)
    spent = _parts(ring) << exponent
    needed = _exponent_for(fine, spent)
    if exponent != needed or length != _length(word):
        # What counts now counts as charged now: the unit or the buckets are others.
        exponent = needed
        ring = min(_ceil_shift(spent, exponent), _MANTISSA_MAX)
        index = time_s // (length * BUCKET_UNIT_S)
    return (
        word & ~_CAP_MASK
        | _CAPPED
        | fine >> exponent << _MANTISSA_SHIFT
        | exponent << _EXPONENT_SHIFT
        | length << _LENGTH_SHIFT
        | min(index, _INDEX_MAX) << _RING_BITS
        | ring
    )


def without_cap(word: int) -> int:
    """Lift the cap; what was charged before is remembered, should one be set again."""
    return word & ~_CAPPED


def _mantissa(word: int) -> int:
    return word >> _MANTISSA_SHIFT & _CURRENT_MASK


def _exponent(word: int) -> int:
    return word >> _EXPONENT_SHIFT & _EXPONENT_MAX


def _length(word: int) -> int:
    return word >> _LENGTH_SHIFT & _LENGTH_MAX


def _exponent_for(fine: int, spent: int) -> int:
    for exponent in range(_EXPONENT_MAX):
        if fine >> exponent <= _MANTISSA_MAX and _ceil_shift(spent, exponent) <= _MANTISSA_MAX:
            return exponent
    return _EXPONENT_MAX


def _ring_at(word: int, time_s: int) -> tuple[int, int]:
    """The ring at a time, and the bucket that the time is in."""
    length = _length(word)
    if length == 0:
        return 0, 0
    ring = word & _RING_MASK
    index = word >> _RING_BITS & _INDEX_MAX
    now = time_s // (length * BUCKET_UNIT_S)
    if now <= index:
        return ring, index
    elapsed = now - index
    if elapsed > BUCKETS:
        return 0, now
    ended = _ceil_shift(ring & _CURRENT_MASK, _PART_BITS)
    ring = ring >> _CURRENT_BITS << _BUCKET_BITS | ended
    return ring << (_CURRENT_BITS + _BUCKET_BITS * (elapsed - 1)) & _RING_MASK, now


def _parts(ring: int) -> int:
    ended = ring >> _CURRENT_BITS
    units = sum(ended >> place & _BUCKET_MAX for place in range(0, 88, _BUCKET_BITS))
    return (units << _PART_BITS) + (ring & _CURRENT_MASK)


def _ceil_shift(value: int, bits: int) -> int:
    return -(-value >> bits)
