"""Commands of a format-1 journal in today's names.

The market of that time counted other things when it numbered executions, fills and
auctions, and a fill's id was a hash over two of its numbers. Commands that name a lease, a
fill, an auction or a batch therefore name what today's market calls otherwise. This
applies them to today's market, finds out by those very hashes which of its leases each
old id was, and says the same in its words. Nothing is guessed: an id that no lease of this
market can have had is a refusal.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, Union, get_args

import msgspec
from msgspec.structs import replace

from intents.reject import Reject
from solver.core.auction import Auction, Proposed, SnapshotOrder, Solution
from solver.core.check import Violation
from solver.core.command import (
    ApplyBlocks,
    Base,
    BatchSettled,
    ClearedBook,
    Command,
    Fact,
    FillSettled,
    FillSkipped,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
    StartCall,
)
from solver.core.event import Event, Filled, LeaseMoved
from solver.core.judge import judge
from solver.core.market import Market

SEARCH_MAX: Final = 100_000
"""Numbers that are tried for one fill: more than any market of that time used in between."""
COUNTED_PER_COMMAND: Final = 4
COUNTED_PER_EVENT: Final = 3
"""What the old market counted at most: orders, deadlines, executions, fills, auctions."""


NO_SEED: Final = "00" * 32


class OldOpenAuction(Base, frozen=True, kw_only=True, tag="OpenAuction"):
    """An auction was of one resource."""

    resource: str
    asset: str
    closes_at_ms: int


class OldProposeSolution(Base, frozen=True, kw_only=True, tag="ProposeSolution"):
    """A solution was of one book."""

    auction: int
    solver: str
    snapshot: str
    tick: int
    fills: tuple[SolutionFill, ...]


class _OldSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What was hashed as a snapshot."""

    auction: int
    resource: str
    asset: str
    closes_at_ms: int
    intents: tuple[SnapshotOrder, ...]
    offers: tuple[SnapshotOrder, ...]

    def digest(self) -> str:
        return "0x" + blake2b(msgspec.msgpack.encode(self), digest_size=32).hexdigest()


_KEPT: Final = tuple(
    kind for kind in get_args(Command) if kind not in {OpenAuction, ProposeSolution}
)
OldCommand = Command | OldOpenAuction | OldProposeSolution
DECODER: Final[msgspec.msgpack.Decoder[OldCommand]] = msgspec.msgpack.Decoder(
    Union[(*_KEPT, OldOpenAuction, OldProposeSolution)]
)
"""Reads the commands of format 1."""


class Untranslatable(Exception):
    """Command `seq` cannot be said in today's names, or today's market refuses it."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"record {seq}: {reason}")
        self.seq = seq


class Translation:
    """One pass over an old journal. `named` are all ids of leases that its commands name."""

    def __init__(self, usdc: str, named: frozenset[str]) -> None:
        self._market = Market(usdc)
        self._named = named
        self._leases: dict[str, str] = {}
        self._scores: dict[int, list[int]] = {}
        """By auction, what each solution scored when it came."""
        self._executions: dict[int, int] = {}
        """Today's number of an execution → the number that it had."""
        self._counted_min = 0
        self._counted_max = 0

    def translate(self, commands: Iterator[OldCommand]) -> Iterator[Command]:
        """The same commands in today's names. Raises Untranslatable."""
        for seq, old in enumerate(commands, 1):
            try:
                command = self._in_todays_names(old)
                events = self._market.apply(command)
            except (LookupError, Violation) as error:
                raise Untranslatable(seq, str(error)) from error
            if isinstance(events, Reject):
                raise Untranslatable(seq, f"{type(old).__name__} is refused: {events.code}")
            self._learn(events)
            yield command
        self._check_nothing_is_on_its_way()

    def _check_nothing_is_on_its_way(self) -> None:
        """The chain would speak of a batch on its way by names that are gone."""
        for batch in self._market.state.batches.values():
            if not batch.final:
                raise Untranslatable(
                    0,
                    f"batch {batch.number} is on its way to the chain under its old name: "
                    "let the version that wrote this journal settle it first",
                )

    def _in_todays_names(self, old: OldCommand) -> Command:
        if isinstance(old, StartCall):
            return replace(old, lease=self._leases[old.lease])
        if isinstance(old, OldOpenAuction):
            return OpenAuction(
                at_ms=old.at_ms,
                resources=(old.resource,),
                asset=old.asset,
                closes_at_ms=old.closes_at_ms,
                seed=NO_SEED,
            )
        if isinstance(old, OldProposeSolution):
            return self._proposal(old)
        if isinstance(old, ApplyBlocks):
            return replace(old, facts=tuple(self._fact(fact) for fact in old.facts))
        return old

    def _proposal(self, old: OldProposeSolution) -> ProposeSolution:
        """The same solution; without its fills if it lost a tie to one before it.

        Ties went to who came first. Today a seed decides them, and might prefer the other.
        """
        auction = self._auction(old)
        (book,) = auction.snapshot.books
        cleared = ClearedBook(resource=book.resource, tick=old.tick, fills=old.fills)
        (scored,) = judge(replace(auction, proposed=[_proposed(old, cleared)])).ranking
        before = self._scores.setdefault(auction.snapshot.auction, [])
        books: tuple[ClearedBook, ...] = (cleared,)
        if scored.reason is None and scored.scored.score in before:
            books = (replace(cleared, fills=()),) * (1 + len(before))
        before.append(scored.scored.score)
        return ProposeSolution(
            at_ms=old.at_ms,
            auction=auction.snapshot.auction,
            solver=old.solver,
            snapshot=auction.snapshot_digest,
            books=books,
        )

    def _fact(self, old: Fact) -> Fact:
        if isinstance(old, FillSettled | FillSkipped):
            return replace(old, fill=self._leases[old.fill])
        if isinstance(old, BatchSettled):
            return replace(old, digest=self._market.state.batches[old.number].digest)
        return old

    def _auction(self, old: OldProposeSolution) -> Auction:
        """The auction whose snapshot, under its old number, had the hash that was given."""
        for auction in self._market.state.auctions.values():
            (book,) = auction.snapshot.books
            was = _OldSnapshot(
                auction=old.auction,
                resource=book.resource,
                asset=auction.snapshot.asset,
                closes_at_ms=auction.snapshot.closes_at_ms,
                intents=book.intents,
                offers=book.offers,
            )
            if was.digest() == old.snapshot:
                return auction
        raise LookupError(f"no auction had the snapshot {old.snapshot}")

    def _learn(self, events: Sequence[Event]) -> None:
        self._counted_max += COUNTED_PER_COMMAND + COUNTED_PER_EVENT * len(events)
        moved = {event.to_lease for event in events if isinstance(event, LeaseMoved)}
        before: dict[int, int] = {}
        for event in events:
            if isinstance(event, Filled):
                place = before.get(event.execution, 0)
                before[event.execution] = place + 1
                self._learn_fill(event, None if event.fill in moved else place)

    def _learn_fill(self, fill: Filled, place: int | None) -> None:
        """Find the two numbers that make one of the ids that are named later on.

        Fills of an execution were numbered right after it, each two after the one before;
        `place` says which of them this is. A lease that moved (None) was numbered later.
        """
        last = min(self._counted_max, self._counted_min + SEARCH_MAX)
        for number in range(self._counted_min + 1, last + 1):
            for execution in self._executions_before(fill, number, place):
                text = f"{fill.intent}{fill.offer}{execution}:{number}"
                old = "0x" + blake2b(text.encode(), digest_size=32).hexdigest()
                if old in self._named:
                    self._leases[old] = fill.fill
                    self._executions[fill.execution] = execution
                    self._counted_min = number
                    return

    def _executions_before(self, fill: Filled, number: int, place: int | None) -> Sequence[int]:
        if fill.execution in self._executions:
            return (self._executions[fill.execution],)
        if place is not None:
            return (number - 1 - 2 * place,)
        return range(max(number - SEARCH_MAX, 1), number)


def _proposed(old: OldProposeSolution, cleared: ClearedBook) -> Proposed:
    return Proposed(solver=old.solver, bid=old.solver, solution=Solution(books=(cleared,)))


def named_leases(commands: Iterator[OldCommand]) -> frozenset[str]:
    """Every id of a lease or fill that these commands name."""
    named: set[str] = set()
    for command in commands:
        if isinstance(command, StartCall):
            named.add(command.lease)
        elif isinstance(command, ApplyBlocks):
            named.update(
                fact.fill for fact in command.facts if isinstance(fact, FillSettled | FillSkipped)
            )
    return frozenset(named)
