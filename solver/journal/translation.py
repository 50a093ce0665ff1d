"""Commands of a format-3 journal in today's words.

Auctions were of one resource then, a solution was fills at one price, and among equals the one
that came first won. A solution names the hash of a snapshot, which is another one today:
so the commands are applied to a market as they are read, and it is asked for that hash.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from intents.reject import Reject
from solver.core.auction import Auction, Proposed, SnapshotOrder, Solution
from solver.core.check import Violation
from solver.core.command import ClearedBook, Command, OpenAuction, ProposeSolution, SolutionFill
from solver.core.judge import judge
from solver.core.market import Market
from solver.engine.payload import UNREADABLE, PayloadUnreadable, Said, command_of

NO_SEED: Final = "00" * 32
"""There was none: no two solutions that count may be equal, see `Translation._proposal`."""


class Untranslatable(Exception):
    """Command `seq` cannot be said in today's words, or today's market refuses it."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"record {seq}: {reason}")


class _OldOpenAuction(msgspec.Struct, frozen=True, kw_only=True):
    at_ms: int
    resource: str
    asset: str
    closes_at_ms: int


class _OldProposeSolution(msgspec.Struct, frozen=True, kw_only=True):
    at_ms: int
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


_Old = Command | _OldOpenAuction | _OldProposeSolution
_OLD: Final[dict[str, type[_OldOpenAuction | _OldProposeSolution]]] = {
    "OpenAuction": _OldOpenAuction,
    "ProposeSolution": _OldProposeSolution,
}


class Translation:
    """One pass over an old journal, group by group."""

    def __init__(self, usdc: str) -> None:
        self._market = Market(usdc)
        self._scores: dict[int, list[int]] = {}
        """By auction, what each solution scored when it came."""

    def group(self, seq: int, payload: bytes) -> list[Command]:
        """The commands of the group that begins with `seq`.

        Raises Untranslatable, PayloadUnreadable.
        """
        return [self._command(number, old) for number, old in enumerate(_read(payload), seq)]

    def _command(self, seq: int, old: _Old) -> Command:
        try:
            command = self._in_todays_words(old)
            answer = self._market.apply(command)
        except (LookupError, Violation) as error:
            raise Untranslatable(seq, str(error)) from error
        if isinstance(answer, Reject):
            raise Untranslatable(seq, f"{type(old).__name__} is refused: {answer.code}")
        return command

    def _in_todays_words(self, old: _Old) -> Command:
        if isinstance(old, _OldOpenAuction):
            return OpenAuction(
                at_ms=old.at_ms,
                resources=(old.resource,),
                asset=old.asset,
                closes_at_ms=old.closes_at_ms,
                seed=NO_SEED,
            )
        if isinstance(old, _OldProposeSolution):
            return self._proposal(old)
        return old

    def _proposal(self, old: _OldProposeSolution) -> ProposeSolution:
        """The same solution; without its fills if it lost a tie to one before it."""
        auction = self._market.state.auctions[old.auction]
        if _old_digest(auction) != old.snapshot:
            raise LookupError(f"auction {old.auction} had another snapshot")
        (book,) = auction.snapshot.books
        cleared = ClearedBook(resource=book.resource, tick=old.tick, fills=old.fills)
        books: tuple[ClearedBook, ...] = (cleared,)
        alone = Proposed(solver=old.solver, seq=0, bid="", solution=Solution(books=books))
        (ranked,) = judge(replace(auction, proposed=[alone])).ranking
        before = self._scores.setdefault(old.auction, [])
        if ranked.reason is None and ranked.scored.score in before:
            books = (replace(cleared, fills=()),) * (1 + len(before))
        before.append(ranked.scored.score if ranked.reason is None else -1)
        return ProposeSolution(
            at_ms=old.at_ms,
            auction=old.auction,
            solver=old.solver,
            snapshot=auction.snapshot_digest,
            books=books,
        )


def _read(payload: bytes) -> Iterable[_Old]:
    try:
        said = Said(payload)
        kinds = [block.kind for block in said.blocks]
        rows = [iter(block.rows()) for block in said.blocks]
        return [
            _old_command(kinds[place], next(rows[place]), at_ms, said.names)
            for place, at_ms in zip(said.order, said.times_ms, strict=True)
        ]
    except UNREADABLE as error:
        raise PayloadUnreadable(str(error)) from error


def _old_command(kind: str, row: Sequence[Any], at_ms: int, names: list[str]) -> _Old:
    old = _OLD.get(kind)
    if old is None:
        return command_of(kind, row, at_ms, names)
    values = dict(zip(old.__struct_fields__, (at_ms, *row), strict=True))
    read: _Old = msgspec.convert(values, old)
    return read


def _old_digest(auction: Auction) -> str:
    (book,) = auction.snapshot.books
    was = _OldSnapshot(
        auction=auction.snapshot.auction,
        resource=book.resource,
        asset=auction.snapshot.asset,
        closes_at_ms=auction.snapshot.closes_at_ms,
        intents=book.intents,
        offers=book.offers,
    )
    return "0x" + blake2b(msgspec.msgpack.encode(was), digest_size=32).hexdigest()
