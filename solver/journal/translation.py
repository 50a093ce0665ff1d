"""Commands of a format-3 journal in today's words.

Auctions were of one resource then, a solution was fills at one price, and among equals the one
that came first won. A solution names the hash of a snapshot, which is another one today:
so the commands are applied to a market as they are read, and it is asked for that hash.

An account's contract kept session keys too, with a cap for life. They are the registry's now,
with the same cap in any 91 days; what else the contract told of them is left out.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from intents import cap_word
from intents.bound import PERIOD_S_MAX
from intents.reject import Reject
from solver.core.auction import Auction, Proposed, SnapshotOrder, Solution
from solver.core.check import Violation
from solver.core.command import (
    ApplyBlocks,
    ClearedBook,
    Command,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
)
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


class _OldApplyBlocks(msgspec.Struct, frozen=True, kw_only=True):
    at_ms: int
    number: int
    block_hash: str
    facts: tuple[dict[str, Any], ...]


_Old = Command | _OldApplyBlocks | _OldOpenAuction | _OldProposeSolution
_OLD: Final[dict[str, type[_OldApplyBlocks | _OldOpenAuction | _OldProposeSolution]]] = {
    "ApplyBlocks": _OldApplyBlocks,
    "OpenAuction": _OldOpenAuction,
    "ProposeSolution": _OldProposeSolution,
}


class Translation:
    """One pass over an old journal, group by group."""

    def __init__(self, usdc: str) -> None:
        self._market = Market(usdc)
        self._scores: dict[int, list[int]] = {}
        """By auction, what each solution scored when it came."""
        self._kept: dict[str, dict[str, None]] = {}
        """By account, the keys that its contract kept."""

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
        if isinstance(old, _OldApplyBlocks):
            return self._blocks(old)
        return old

    def _blocks(self, old: _OldApplyBlocks) -> ApplyBlocks:
        facts = [today for fact in old.facts for today in self._facts(fact)]
        blocks = {"number": old.number, "block_hash": old.block_hash, "facts": facts}
        return msgspec.convert({"type": "ApplyBlocks", "at_ms": old.at_ms, **blocks}, ApplyBlocks)

    def _facts(self, fact: dict[str, Any]) -> list[dict[str, Any]]:
        """What today's watcher would tell."""
        kind, account, key = fact["type"], fact.get("account", ""), fact.get("session", "")
        if kind in ("OwnCapChanged", "SessionSpent"):
            return []
        if kind == "SessionGranted":
            self._kept.setdefault(account, {})[key] = None
            return [self._granted(fact)]
        if kind == "KeyGranted":
            self._kept.get(account, {}).pop(key, None)
        elif kind == "SessionRevoked":
            return [{"type": kind, "account": account, "session": key}]
        elif kind == "AllSessionsRevoked" and fact.get("registry"):
            return [{"type": kind, "account": account}]
        elif kind == "AllSessionsRevoked":
            keys = self._kept.get(account, {})
            return [{"type": "SessionRevoked", "account": account, "session": key} for key in keys]
        return [fact]

    def _granted(self, fact: dict[str, Any]) -> dict[str, Any]:
        """The grant as the registry tells it; what the key has spent is kept."""
        state = self._market.state
        record = state.accounts.get(fact["account"])
        known = None if record is None else record.sessions.get(fact["session"])
        word = 0 if known is None else int(known.word, 16)
        word = cap_word.with_cap(word, fact["cap"], PERIOD_S_MAX, state.now_ms // 1_000)
        bearer = cap_word.Bearer(
            expires_at=min(fact["expires_at"], cap_word.EXPIRES_AT_MAX),
            permissions=fact["permissions"],
        )
        words = {"word": hex(cap_word.with_bearer(word, bearer)), "terms": "0x0", "units": "0x0"}
        named = {"account": fact["account"], "session": fact["session"]}
        return {"type": "KeyGranted", **named, **words}

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
