"""Who stands, in order of arrival."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.core.check import Violation
from solver.core.roster import SPARE_MAX, Member, Roster


@given(st.lists(st.integers(min_value=0, max_value=9), max_size=400))
def test_a_roster_is_an_ordered_set(choices: list[int]) -> None:
    """Whoever comes and leaves, in whatever order: as a dict would have it."""
    roster, expected = Roster(), dict[int, Member]()
    for number, choice in enumerate(choices):
        if choice < 6 or not expected:
            expected[number] = Member()
            roster.add(expected[number])
        else:
            leaving = list(expected)[choice * len(expected) // 10]
            roster.remove(expected.pop(leaving))
        assert roster.members() == list(expected.values())
        assert len(roster) == len(expected)


def test_a_roster_has_no_more_places_than_it_needs() -> None:
    """One that stays among many that come and leave: no place is kept for those."""
    roster, stays = Roster(), Member()
    roster.add(stays)
    for _ in range(100 * SPARE_MAX):
        passer = Member()
        roster.add(passer)
        roster.remove(passer)
    assert roster.members() == [stays]
    assert len(roster._places) <= 2 * SPARE_MAX + 2


def test_nobody_leaves_twice() -> None:
    """A place is given back once, and by whom it belongs to alone."""
    roster, one, other = Roster(), Member(), Member()
    roster.add(one)
    with pytest.raises(Violation, match="stands_in_its_place"):
        roster.remove(other)
    roster.remove(one)
    with pytest.raises(Violation, match="stands_in_its_place"):
        roster.remove(one)
    assert roster.members() == []
