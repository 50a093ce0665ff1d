"""How much of a penalty is whose: in proportion, to the atom, and none above what faded costs."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from solver.core.bond import SHARES_MAX, Pledge, Pledged, penalty_of, shares_of
from tests.builder import an_offer, bob

MILLION: Final = 10**6
OFFER: Final = an_offer().signed_by(bob).offer
fades = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5 * MILLION)), max_size=9)


@given(fades, st.integers(0, 30 * MILLION), st.integers(0, 60))
def test_shares_add_up_to_the_penalty(
    drawn: list[tuple[int, int]], reward: int, penalty_max: int
) -> None:
    """In proportion to what faded, rounded down, the rest atom by atom to the first places."""
    fills = {
        3 * place: Pledged(units=4, surplus=surplus, faded=faded, offer=OFFER, signature="0x")
        for place, (faded, surplus) in enumerate(drawn)
    }
    pledge = Pledge(
        auction=1,
        solver=bob.address,
        deadline_block=1,
        reward=reward,
        penalty_max=penalty_max,
        fills=fills,
    )
    weights = {place: one.faded * one.surplus for place, one in fills.items() if one.faded}
    total = sum(weights.values())
    due = min(penalty_max, max(0, -(-(total - reward) // MILLION)))
    shares = shares_of(pledge, dict.fromkeys(fills, 10**9))
    assert sum(share.atoms for share in shares) == due
    floors = {place: due * weight // total for place, weight in weights.items()} if due else {}
    left = due - sum(floors.values())
    expected = {
        place: floor + (number < left) for number, (place, floor) in enumerate(floors.items())
    }
    assert {share.place: share.atoms for share in shares} == {
        place: atoms for place, atoms in expected.items() if atoms
    }
    assert all(share.faded == fills[share.place].faded for share in shares)


def test_a_penalty_pays_those_who_lost_most() -> None:
    """As many as the contract takes; among equals the first places; in the order of places."""
    fills = {
        place: Pledged(units=1, surplus=(1 + (place == 70)) * MILLION, faded=1, offer=OFFER)
        for place in range(SHARES_MAX + 7)
    }
    pledge = Pledge(
        auction=1, solver=bob.address, deadline_block=1, reward=0, penalty_max=65, fills=fills
    )
    shares = shares_of(pledge, dict.fromkeys(fills, 9 * MILLION))
    assert [share.place for share in shares] == [*range(SHARES_MAX - 1), 70]
    assert [share.atoms for share in shares] == [1] * (SHARES_MAX - 1) + [2]


def test_nobody_gets_more_than_what_faded_costs() -> None:
    """The price of its units, rounded down; what that leaves nobody pays."""
    fills = {
        0: Pledged(units=3, surplus=10 * MILLION, faded=3, offer=OFFER),
        1: Pledged(units=3, surplus=10 * MILLION, faded=3, offer=OFFER),
        2: Pledged(units=3, surplus=10 * MILLION, faded=3),
    }
    pledge = Pledge(
        auction=1, solver=bob.address, deadline_block=1, reward=0, penalty_max=90, fills=fills
    )
    shares = shares_of(pledge, {0: MILLION - 1, 1: 99 * MILLION, 2: 99 * MILLION})
    assert [(share.place, share.atoms) for share in shares] == [(0, 2), (1, 30)]
    assert penalty_of(1, 5) == penalty_of(MILLION, 5) == 1
    assert penalty_of(MILLION + 1, 5) == 2
    assert penalty_of(0, 5) == penalty_of(-1, 5) == 0
