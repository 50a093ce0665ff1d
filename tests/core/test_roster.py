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
    members = roster.members()
    assert list(roster.before()) == members[::-1]
    for place, member in enumerate(members):
        assert list(roster.before(member)) == members[:place][::-1]


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


@pytest.mark.parametrize(
    ("size", "gone"), [(SPARE_MAX + 1, SPARE_MAX), (4 * SPARE_MAX, 2 * SPARE_MAX)]
)
def test_ranks_are_closed_once_most_places_are_empty(size: int, gone: int) -> None:
    """Not before, as it costs a look at all who stay: so leaving is O(1) in the long run."""
    roster, members = Roster(), [Member() for _ in range(size)]
    for member in members:
        roster.add(member)
    for member in members[:gone]:
        roster.remove(member)
    assert (len(roster), len(roster._places)) == (size - gone, size)
    roster.remove(members[gone])
    assert (len(roster), len(roster._places)) == (size - gone - 1, size - gone - 1)


def test_nobody_leaves_an_empty_roster() -> None:
    """Who never stood anywhere has no place to give back."""
    with pytest.raises(Violation, match="stands_in_its_place"):
        Roster().remove(Member())


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


def test_nobody_leaves_a_roster_of_others() -> None:
    """Who stands at the same place elsewhere is somebody else."""
    here, there, one, other = Roster(), Roster(), Member(), Member()
    assert len(here) == 0
    here.add(one)
    there.add(other)
    with pytest.raises(Violation, match="stands_in_its_place"):
        here.remove(other)
    assert (here.members(), there.members()) == ([one], [other])


def test_who_stays_keeps_a_place_when_ranks_are_closed() -> None:
    """Counted and found as before: each can leave, and others come."""
    roster, members = Roster(), [Member() for _ in range(4 * SPARE_MAX)]
    for member in members:
        roster.add(member)
    gone, stay = members[: 3 * SPARE_MAX], members[3 * SPARE_MAX :]
    for count, member in enumerate(gone, start=1):
        roster.remove(member)
        assert member.place < 0
        assert len(roster) == len(members) - count
    assert roster.members() == stay
    assert len(roster._places) < len(members)
    newest = Member()
    roster.add(newest)
    for member in stay:
        roster.remove(member)
    assert (roster.members(), len(roster)) == ([newest], 1)
