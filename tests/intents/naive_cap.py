"""A rolling cap as lists and numbers: what `intents.cap_word` packs, written to be obviously so.

Every width stands here as a literal, as contracts/src/CapWord.sol describes the word.
"""

from dataclasses import dataclass, field
from typing import Self

PARTS = 2_048
"""Of the unit in which an ended bucket is kept; the current one is kept in parts of it."""
PARTS_MAX = 2_047 * PARTS


@dataclass
class NaiveCap:
    """One cap. `ended` are the eight buckets before the current one, the newest first."""

    capped: bool = False
    mantissa: int = 0
    exponent: int = 0
    length: int = 0
    index: int = 0
    current: int = 0
    ended: list[int] = field(default_factory=lambda: [0] * 8)

    def word(self) -> int:
        """Packed, from the lowest bit up."""
        word, at = 0, 0
        fields = [(self.current, 22), *((units, 11) for units in self.ended)]
        fields += [(self.index, 27), (self.length, 15), (self.exponent, 6)]
        fields += [(self.mantissa, 22), (int(self.capped), 1)]
        for value, bits in fields:
            assert 0 <= value < 2**bits
            word |= value << at
            at += bits
        assert at == 181
        return word

    @property
    def counted(self) -> int:
        """What counts now, in parts."""
        return sum(self.ended) * PARTS + self.current

    def spent(self) -> int:
        """The same in atoms, rounded up."""
        return _ceil(self.counted * 2**self.exponent, PARTS)

    def left(self) -> int | None:
        """What one charge may be at most."""
        if not self.capped:
            return None
        left = max(0, self.mantissa - self.counted)
        return 0 if self.index >= 2**27 else left * 2**self.exponent // PARTS

    def roll(self, time_s: int) -> Self:
        """Time passes."""
        if not self.length:
            self.index, self.current, self.ended = 0, 0, [0] * 8
            return self
        while self.index < time_s // (self.length * 30):
            if not self.counted:
                self.index = time_s // (self.length * 30)
                break
            self.index += 1
            self.ended = [_ceil(self.current, PARTS), *self.ended[:7]]
            self.current = 0
        return self

    def charge(self, amount: int) -> bool:
        """Count an amount at the time rolled to, if it fits."""
        parts = _ceil(amount * PARTS, 2**self.exponent)
        if self.counted + parts > self.mantissa or self.index >= 2**27:
            return False
        self.current += parts
        return True

    def set(self, cap: int, period_s: int, time_s: int) -> None:
        """Another cap, at the time rolled to."""
        fine = min(cap, 2_047 * 2**63) * PARTS
        spent = self.counted * 2**self.exponent
        length = _ceil(period_s, 240)
        needed = next(
            (e for e in range(63) if fine >> e <= PARTS_MAX and _ceil(spent, 2**e) <= PARTS_MAX),
            63,
        )
        if (needed, length) != (self.exponent, self.length):
            self.exponent, self.length = needed, length
            self.current = min(_ceil(spent, 2**needed), PARTS_MAX)
            self.ended = [0] * 8
            self.index = time_s // (length * 30)
        self.index = min(self.index, 2**27 - 1)
        self.mantissa = fine >> needed
        self.capped = True


def _ceil(value: int, by: int) -> int:
    return -(-value // by)
