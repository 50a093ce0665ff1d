"""Which nonces of an account were used: what was is never forgotten, in bounded memory.

Used nonces are bits of words. That of the newest one is at hand and not in the dict: who counts
up, as nearly everybody does, looks nothing up. Compiled.
"""

import heapq
from typing import Final

from mypy_extensions import i64, mypyc_attr

NONCES_PER_WORD: Final = 60
"""A word is an integer that a machine word holds."""
NONCE_WORDS_MAX: Final = 65_536
"""Words of one account; beyond it the lowest are forgotten, and count as used."""
_NO_WORD: Final = -1
_BITS: Final = tuple(1 << place for place in range(NONCES_PER_WORD))
"""Listed, as compiled code would shift a literal 1 as C's int, of 32 bits."""


@mypyc_attr(acyclic=True)
class Nonces:
    """Those of one account, which is made of this."""

    __slots__ = ("_bits", "_heap", "_word", "_words", "nonce_min")

    _bits: i64
    _word: i64

    def __init__(self) -> None:
        self.nonce_min = 0
        """Lower ones count as used: `NONCE_WORDS_MAX` words of higher ones are."""
        self._words: dict[int, int] = {}
        self._heap: list[int] = []
        """The words' numbers as a heap, once there are as many words as may be."""
        self._word = _NO_WORD
        """The word that is at hand; the dict has it as it was before, or not yet."""
        self._bits = 0

    def has_used(self, nonce: i64) -> bool:
        """Whether a document or a cancellation ever used this nonce, or it is too low to know.

        It is a document's, which is within 53 bits; the chain's may have 64.
        """
        word: i64 = nonce // NONCES_PER_WORD
        bits: i64 = self._bits if word == self._word else self._words.get(word, 0)
        return nonce < self.nonce_min or bool(bits >> (nonce % NONCES_PER_WORD) & 1)

    def use(self, nonce: int) -> None:
        """No document can have this nonce from now on."""
        word = nonce // NONCES_PER_WORD
        if word != self._word:
            self._turn_to(word)
        self._bits |= _BITS[nonce % NONCES_PER_WORD]

    def used(self) -> dict[int, int]:
        """All from `nonce_min` on that are, as bits: word → bits, in the order of first use."""
        if self._word != _NO_WORD:
            self._words[self._word] = self._bits
        return self._words

    def recall(self, words: dict[int, int]) -> None:
        """Know those that `words` told: for who knows none yet."""
        self._words, self._word = words, _NO_WORD
        if len(words) >= NONCE_WORDS_MAX:
            self._forget_low()

    def _turn_to(self, word: int) -> None:
        words = self.used()
        bits = words.get(word)
        self._word, self._bits = word, bits or 0
        if bits is None and len(words) + 1 >= NONCE_WORDS_MAX:
            words[word] = 0
            if self._heap:
                heapq.heappush(self._heap, word)
            self._forget_low()

    def _forget_low(self) -> None:
        """Keep `NONCE_WORDS_MAX` words at most, the highest.

        Nothing that is used may become unused, as the chain takes no document with such a
        nonce: so whatever is below those counts as used. Whoever counts up never sees it.
        """
        self._heap = self._heap or sorted(self._words)
        while len(self._words) > NONCE_WORDS_MAX:
            del self._words[heapq.heappop(self._heap)]
        self.nonce_min = self._heap[0] * NONCES_PER_WORD
        if self._word not in self._words:
            self._word = _NO_WORD
