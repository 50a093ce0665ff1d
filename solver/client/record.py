"""The record of an auction as the market tells it, and its verdict worked out again.

Nothing that the market says of a winner is believed: the snapshot has to have its hash, the
seed the hash that was told at the opening, each bid the id that its solution gives it; then
`solver.core.judge` says what follows, and it is compared with what was told.
"""

from typing import Any

import msgspec
from msgspec import UNSET

from intents.award import AwardedFill, award_tree
from solver.client.fault import Rejected
from solver.client.model import AuctionTold, AwardTold
from solver.core.auction import (
    Auction,
    BroughtOffer,
    Proposed,
    Snapshot,
    SnapshotBook,
    SnapshotBundle,
    Solution,
    seed_hash,
)
from solver.core.charge import Charge
from solver.core.command import ClearedBook
from solver.core.difference import BookDifference, SnapshotDifference
from solver.core.event import Won
from solver.core.judge import Verdict, judge
from solver.core.quality import Floor


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A solution's rank from 1; `code` is empty if it won. Micro-atoms as text."""

    rank: int
    solver: str
    bid: str
    score: str
    code: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """An auction judged again; `differs` names what the market told otherwise."""

    auction: int
    snapshot_hash: str
    seed: str
    score: str
    gap: str
    ticks: dict[str, int]
    winners: tuple[Won, ...]
    ranking: tuple[Place, ...]
    charges: dict[str, tuple[Charge, ...]] = {}
    """What fills pay for the rewards, by winning bid."""
    differs: tuple[str, ...] = ()

    def text(self) -> bytes:
        """As JSON: of one record the same bytes on any machine."""
        return msgspec.json.encode(self)


def snapshot_of(told: dict[str, Any]) -> Snapshot:
    """A snapshot as strategies take it."""
    return Snapshot(
        auction=told["auction"],
        asset=told["asset"],
        closes_at_ms=told["closesAtMs"],
        seed_hash=told["seedHash"],
        books=msgspec.convert(told["books"], tuple[SnapshotBook, ...]),
        bundles=tuple(map(_bundle_of, told["bundles"])),
    )


def difference_of(told: dict[str, Any]) -> SnapshotDifference:
    """What a snapshot has that the one before had not."""
    return SnapshotDifference(
        auction=told["auction"],
        asset=told["asset"],
        closes_at_ms=told["closesAtMs"],
        seed_hash=told["seedHash"],
        books=msgspec.convert(told["books"], tuple[BookDifference, ...]),
        bundles_went=tuple(told.get("bundlesWent", ())),
        bundles_came=tuple(
            (place, _bundle_of(bundle)) for place, bundle in told.get("bundlesCame", ())
        ),
    )


def _bundle_of(told: dict[str, Any]) -> SnapshotBundle:
    floor = told["floor"]
    return SnapshotBundle(
        id=told["id"],
        any_of=told["anyOf"],
        legs=tuple(told["legs"]),
        floor=Floor(success_min=floor["successMin"], latency_max=floor["latencyMax"]),
    )


def record_of(told: AuctionTold) -> Auction:
    """The record of a closed auction, whose solutions come in any order. Raises Rejected."""
    if not told.closed:
        raise Rejected("not_open", "its solutions are sealed until it closes")
    return Auction(
        snapshot=snapshot_of(told.snapshot),
        snapshot_digest=told.snapshot_hash,
        seed=told.seed,
        proposed=[
            Proposed(
                solver=solution.solver,
                seq=seq,
                bid=solution.bid,
                solution=Solution(
                    books=msgspec.convert(solution.books, tuple[ClearedBook, ...]),
                    brought=msgspec.convert(solution.brought, tuple[BroughtOffer, ...]),
                ),
            )
            for seq, solution in enumerate(told.solutions)
        ],
        closed=True,
        shrunk=told.shrunk,
        winners=told.winners,
        score=told.score,
        gap=told.gap,
        deadline_block=told.deadline_block or UNSET,
    )


def awards_differ(told: AuctionTold) -> bool:
    """Whether an award is for other fills than the record leads to, or names another root.

    Snapshots have no nonces: who is charged is compared by units and prices, and the root is
    worked out again from the fills that were told.
    """
    awarded = {award.solver: _fills_of(award) for award in told.awards}
    found = {
        solver: sorted((fill.units, fill.tick, fill.charge) for fill in fills)
        for solver, fills in awarded.items()
    }
    if found != _due(judge(record_of(told))):
        return True
    return any(award_tree(awarded[one.solver]).root != one.solution for one in told.awards)


def _due(verdict: Verdict) -> dict[str, list[tuple[int, int, int]]]:
    """By solver, units, buyer's price and charge of the fills that it is to be awarded."""
    due: dict[str, list[tuple[int, int, int]]] = {}
    for win in verdict.wins:
        ticks = {fill.intent: book.tick for book in win.solution.books for fill in book.fills}
        for one in verdict.charges.get(win.proposed.bid, ()):
            charge = one.bid_charge + one.ask_charge
            fill = (one.units, ticks[one.intent] + one.bid_charge, charge)
            due.setdefault(win.proposed.solver, []).append(fill)
    return {solver: sorted(fills) for solver, fills in due.items()}


def _fills_of(award: AwardTold) -> list[AwardedFill]:
    return [
        AwardedFill(
            buyer=fill["buyer"],
            buyer_nonce=fill["buyerNonce"],
            seller=fill["seller"],
            seller_nonce=fill["sellerNonce"],
            units=fill["units"],
            tick=fill["tick"],
            charge=fill["charge"],
        )
        for fill in award.fills
    ]


def replayed(record: Auction) -> Replayed:
    """Judge a record again, and hold the verdict against what it says of itself."""
    verdict = judge(record)
    found = {
        "snapshot": (record.snapshot.digest(), record.snapshot_digest),
        "seed": (seed_hash(record.seed), record.snapshot.seed_hash),
        "bids": (
            [one.solution.digest(one.solver) for one in record.proposed],
            [one.bid for one in record.proposed],
        ),
        "winners": (verdict.winners, record.winners),
        "score": (str(verdict.score), record.score),
        "gap": (str(verdict.gap), record.gap),
    }
    return Replayed(
        auction=record.snapshot.auction,
        snapshot_hash=record.snapshot_digest,
        seed=record.seed,
        score=str(verdict.score),
        gap=str(verdict.gap),
        ticks={book.resource: book.tick for win in verdict.wins for book in win.solution.books},
        winners=verdict.winners,
        ranking=tuple(
            Place(
                rank=rank,
                solver=ranked.scored.proposed.solver,
                bid=ranked.scored.proposed.bid,
                score=str(ranked.scored.score),
                code=ranked.reason.code if ranked.reason else "",
            )
            for rank, ranked in enumerate(verdict.ranking, 1)
        ),
        charges=verdict.charges,
        differs=tuple(name for name, (ours, theirs) in found.items() if ours != theirs),
    )
