"""A market that writes its history to a journal, group by group, without a running loop."""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from intents.reject import Reject
from solver.core.command import Command
from solver.core.event import Event
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.group import Group
from solver.engine.outcome import NOTHING_YET, outcome_after
from solver.engine.payload import encode
from solver.journal import Genesis, Journal
from tests.builder import DOMAIN, USDC
from tests.core.floor import ACTIONS, WEIGHTS, Floor

GENESIS: Final = Genesis(chain_id=31_337, settlement=DOMAIN.verifying_contract, usdc=USDC)


@cache
def a_log(seed: int, steps: int) -> tuple[Command, ...]:
    """The accepted commands of a random walk that stops in the middle of things."""
    random = Random(seed)  # noqa: S311  test data
    floor = Floor()
    names = list(ACTIONS)
    weights = [WEIGHTS.get(name, 1) for name in names]
    for name in random.choices(names, weights, k=steps):
        getattr(floor, name)(*(random.randint(low, high) for low, high in ACTIONS[name]))
    market = Market(USDC)
    return tuple(command for command in floor.log if not isinstance(market.apply(command), Reject))


def in_groups(commands: Iterable[Command], seed: int, longest: int = 12) -> Iterator[list[Command]]:
    """The commands in groups of unlike sizes."""
    random = Random(seed)  # noqa: S311  test data
    rest = iter(commands)
    while group := list(islice(rest, random.randint(1, longest))):
        yield group


class History:
    """A market, the feed beside it, and the journal it writes; `hashes` by command number."""

    def __init__(self, journal: Journal) -> None:
        self.journal: Final = journal
        self.market: Final = Market(USDC)
        self.feed: Final = Feed()
        self.outcome = NOTHING_YET
        self.hashes: Final[dict[int, str]] = {0: self.market.state.hash()}

    @classmethod
    def at(cls, folder: Path) -> "History":
        """In a new journal in this folder."""
        return cls(Journal.open(folder / "journal.db", GENESIS))

    def group_of(self, commands: list[Command]) -> Group:
        """Apply commands and make a group of them."""
        told: list[list[Event]] = []
        for command in commands:
            events = self.market.apply(command)
            assert not isinstance(events, Reject), events
            self.feed.append(command.at_ms, events)
            told.append(events)
        self.outcome = outcome_after(self.outcome, told)
        return Group(commands=len(commands), payload=encode(commands), outcome=self.outcome)

    def play(self, commands: Iterable[Command], seed: int = 1) -> "History":
        """Apply and write commands, group by group, noting the hash after each."""
        for commands_together in in_groups(commands, seed):
            self.journal.append(self.group_of(commands_together))
            self.hashes[self.journal.seq] = self.market.state.hash()
        return self
