"""What is promised under a cap is never refused, whenever it is charged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents import cap_word
from intents.bound import PERIOD_S_MAX
from tests.builder import START_S

PARTS: Final = 4
UNIT: Final = 2_048
"""Of the cap below, in atoms: a part is one."""
FINE: Final = 2_047 * UNIT
BUCKET_S: Final = 30

Room = Callable[[int, int], int | None]

caps = st.one_of(st.integers(1, 5_000), st.integers(1, 10**9), st.integers(1, 2**70))
periods = st.one_of(st.integers(1, 2_000), st.integers(1, PERIOD_S_MAX))
steps = st.lists(
    st.tuples(
        st.sampled_from(("promise", "charge", "charge", "tell")),
        st.integers(0, 10),
        st.integers(1, PARTS),
    ),
    max_size=60,
)


@dataclass
class Seller:
    """Sells on promises. The chain charges some of them, and it hears of that later."""

    chain: int
    now: int = START_S
    room_of: Room = cap_word.promisable_at
    promised: int = 0
    """What it has not heard to be charged."""
    charged: int = 0
    """Of that, what was."""

    def __post_init__(self) -> None:
        self.heard = self.chain

    def promise(self, part: int) -> None:
        """So many fourths of what there is room for."""
        room = (self.room_of(self.heard, self.now) or 0) - self.promised
        self.promised += max(0, room) * part // PARTS

    def charge(self, amount: int) -> bool:
        """Whether the chain takes it, now."""
        after = cap_word.charge(self.chain, amount, self.now)
        if after is None:
            return False
        self.chain, self.charged = after, self.charged + amount
        return True

    def hear(self) -> None:
        """Of all that was charged."""
        self.heard = self.chain
        self.promised, self.charged = self.promised - self.charged, 0

    @property
    def due(self) -> int:
        """What is still to be charged."""
        return self.promised - self.charged


def a_seller(room_of: Room = cap_word.promisable_at) -> Seller:
    """Under a cap of units that are two thousand atoms, in buckets of half a minute."""
    return Seller(cap_word.with_cap(0, FINE, 8 * BUCKET_S, START_S), room_of=room_of)


@given(steps=steps, cap=caps, period=periods)
def test_no_promise_is_refused(steps: list[tuple[str, int, int]], cap: int, period: int) -> None:
    """Whatever was promised, charged and heard of when: the chain takes each part of it."""
    seller = Seller(cap_word.with_cap(0, cap, period, START_S))
    wait_s = -(-period // 16)
    for kind, waits, part in steps:
        seller.now += waits * wait_s
        if kind == "promise":
            seller.promise(part)
        elif kind == "charge":
            assert seller.charge(seller.due * part // PARTS)
        else:
            seller.hear()
    assert seller.charge(seller.due)


@given(cap=st.integers(1, 2**70), period=periods)
def test_little_of_a_cap_cannot_be_promised(cap: int, period: int) -> None:
    """Less than a hundredth of it, and nothing of a cap that is kept in atoms."""
    word = cap_word.with_cap(0, cap, period, START_S)
    kept = cap - (cap_word.promisable_at(word, START_S) or 0)
    assert kept * 100 < cap
    assert not kept or cap >= UNIT


def _is_paid_in_nine_buckets(seller: Seller, more: int = 0) -> bool:
    """An atom in each bucket that will have ended, and then the rest, `more` than was promised."""
    seller.promise(PARTS)
    for _ in range(cap_word.BUCKETS):
        assert seller.charge(1)
        seller.now += BUCKET_S
    return seller.charge(seller.due + more)


def test_no_more_could_be_promised() -> None:
    """All of it is left after the worst that can be, and no atom more."""
    assert _is_paid_in_nine_buckets(a_seller())
    assert not _is_paid_in_nine_buckets(a_seller(), 1)


def _room_for_one(word: int, time_s: int) -> int | None:
    return cap_word.left_at(word, time_s)


def _room_but_an_atom(word: int, time_s: int) -> int | None:
    return (cap_word.promisable_at(word, time_s) or 0) + 1


@pytest.mark.parametrize("room_of", [_room_for_one, _room_but_an_atom])
def test_who_promises_more_is_not_paid(room_of: Room) -> None:
    """What one charge may be now, or an atom more than there is room for: the chain refuses it."""
    assert not _is_paid_in_nine_buckets(a_seller(room_of))


def test_small_charges_are_rounded_within_the_promise() -> None:
    """A part is 512 atoms here, and as many charges as are reckoned with are of one each."""
    seller = Seller(cap_word.with_cap(0, FINE << 9, 8 * BUCKET_S, START_S))
    seller.promise(PARTS)
    for number in range(cap_word.CHARGES_MAX - 1):
        assert seller.charge(1)
        seller.now += BUCKET_S if number < cap_word.BUCKETS else 0
    assert seller.charge(seller.due)
