"""Who stands somewhere, in order of arrival; each knows its place, so that leaving is O(1).

A dict would do as much, and looks for a place in two tables that are in no cache each time.
"""

from collections.abc import Iterator
from typing import Final

from mypy_extensions import mypyc_attr

from solver.core.check import violate

SPARE_MAX: Final = 64
"""Places of those who left that a roster may have, beyond as many as there are others."""


@mypyc_attr(acyclic=True)
class Member:
    """Whoever can stand in a roster: in one at a time."""

    __slots__ = ("place",)

    def __init__(self) -> None:
        self.place = -1
        """Where it stands; below 0 if nowhere."""


@mypyc_attr(acyclic=True)
class Roster:
    """Members, oldest first."""

    __slots__ = ("_left", "_places")

    def __init__(self) -> None:
        self._places: list[Member | None] = []
        self._left = 0
        """Places of those who left."""

    def __len__(self) -> int:
        return len(self._places) - self._left

    def add(self, member: Member) -> None:
        """Have it stand behind all others."""
        member.place = len(self._places)
        self._places.append(member)

    def remove(self, member: Member) -> None:
        """Have it leave."""
        places, place = self._places, member.place
        if place < 0 or places[place] is not member:
            violate("stands_in_its_place", place=place)
        places[place] = None
        member.place = -1
        self._left += 1
        if self._left > SPARE_MAX and 2 * self._left > len(places):
            self._close_ranks()

    def members(self) -> list[Member]:
        """Who stands now; a copy, as what is done with them changes it."""
        return [member for member in self._places if member is not None]

    def before(self, member: Member | None = None) -> Iterator[Member]:
        """Who stands before one of them, or all, newest first; none may come or go meanwhile."""
        places = self._places
        place = len(places) if member is None else member.place
        while place > 0:
            place -= 1
            found = places[place]
            if found is not None:
                yield found

    def _close_ranks(self) -> None:
        members = self.members()
        for place, member in enumerate(members):
            member.place = place
        self._places = list[Member | None](members)
        self._left = 0
