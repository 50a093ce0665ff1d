"""Nonces that were used, beside the plainest way to know them: a dict of words of bits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.core import nonce as nonce_module
from solver.core.nonce import NONCES_PER_WORD, Nonces
from tests.core.sabotage import pure_only

NONCES = st.lists(
    st.integers(0, 5 * NONCES_PER_WORD) | st.integers(2**63 - 99, 2**64 - 1), max_size=60
)


def _words(used: list[int]) -> dict[int, int]:
    words: dict[int, int] = {}
    for nonce in used:
        word = nonce // NONCES_PER_WORD
        words[word] = words.get(word, 0) | 1 << nonce % NONCES_PER_WORD
    return words


@given(NONCES)
def test_what_was_used_is_known_whatever_the_order(used: list[int]) -> None:
    """Bit by bit, in the order in which words were first used, between uses as after them."""
    nonces = Nonces()
    for count, nonce in enumerate(used, 1):
        nonces.use(nonce)
        if count % 7 == 0:
            assert list(nonces.used().items()) == list(_words(used[:count]).items())
    assert list(nonces.used().items()) == list(_words(used).items())
    asked = {other for nonce in used for other in (nonce - 1, nonce, nonce + 1)}
    for nonce in (one for one in asked if 0 <= one < 2**53):
        assert nonces.has_used(nonce) == (nonce in used)


@given(NONCES, NONCES)
def test_what_is_recalled_goes_on_as_if_it_had_been_used(
    before: list[int], after: list[int]
) -> None:
    """A snapshot's words lead to the same nonces as the uses that they came of."""
    went_on, recalled = Nonces(), Nonces()
    for nonce in before:
        went_on.use(nonce)
    recalled.recall(dict(went_on.used()))
    for nonce in after:
        went_on.use(nonce)
        recalled.use(nonce)
    assert list(went_on.used().items()) == list(recalled.used().items())


@pure_only
@given(st.lists(st.integers(0, 9 * NONCES_PER_WORD), max_size=20))
def test_what_is_recalled_forgets_as_what_went_on(used: list[int]) -> None:
    """Which nonces count as used follows from the words alone, however many there were."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(nonce_module, "NONCE_WORDS_MAX", 4)
        went_on = Nonces()
        for nonce in used:
            went_on.use(nonce)
            recalled = Nonces()
            recalled.recall(dict(went_on.used()))
            assert recalled.nonce_min == went_on.nonce_min


@pure_only
@given(st.lists(st.integers(0, 40 * NONCES_PER_WORD), max_size=80))
def test_what_is_forgotten_counts_as_used(used: list[int]) -> None:
    """Of more words than may be, the highest are known bit by bit and all below count as used."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(nonce_module, "NONCE_WORDS_MAX", 4)
        nonces = Nonces()
        for nonce in used:
            nonces.use(nonce)
            assert nonces.has_used(nonce)
        kept = nonces.used()
        assert len(kept) <= 4
        for nonce in range(41 * NONCES_PER_WORD):
            known = nonce in used or nonce < nonces.nonce_min
            assert nonces.has_used(nonce) == known
