"""Which fills concern an account: derived from the market's leases, never decisive.

What the market forgets is forgotten here too, in time: it is at most half of what is here.
"""

from itertools import islice
from typing import Final

from solver.core.event import Filled
from solver.core.state import State
from solver.engine.feed import CursorTooOld, Feed

STEP_MAX: Final = 10_000
SPARE_MAX: Final = 10_000
"""Fills that the market may have forgotten, beyond as many as it remembers."""


class FillIndex:
    """Fills by buyer and by seller, brought up to date by whoever asks.

    The core keeps leases by id and by intent only, which is all that it needs. This
    reads the feed from where it stopped; a fill that is seen twice is kept once.
    """

    def __init__(self, state: State, feed: Feed) -> None:
        self._state = state
        self._feed = feed
        self._cursor = 0
        self._fills: dict[str, dict[str, None]] = {}
        self._count = 0
        """How many were added since it was built."""
        self._rebuild()

    def newest(self, account: str, at_most: int) -> list[str]:
        """Ids of the account's newest fills that are remembered, newest first."""
        self._catch_up()
        leases = self._state.leases
        mine = reversed(self._fills.get(account, {}))
        return list(islice((fill for fill in mine if fill in leases), at_most))

    def _catch_up(self) -> None:
        try:
            while entries := self._feed.after(self._cursor, STEP_MAX):
                for entry in entries:
                    if isinstance(entry.event, Filled):
                        self._add(entry.event.fill, entry.event.buyer, entry.event.seller)
                self._cursor = entries[-1].seq
        except CursorTooOld:
            self._rebuild()
        if self._count > 2 * len(self._state.leases) + SPARE_MAX:
            self._rebuild()

    def _rebuild(self) -> None:
        self._cursor = self._feed.seq
        self._fills, self._count = {}, 0
        for lease in self._state.leases.values():
            self._add(lease.id, lease.buyer, lease.seller)

    def _add(self, fill: str, buyer: str, seller: str) -> None:
        self._count += 1
        for account in (buyer, seller):
            self._fills.setdefault(account, {})[fill] = None
