"""Solvers from outside: an honest one, and one that tries everything else."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from tiny_keccak import keccak256

from intents.reject import Reject
from simulations.stream import stream
from simulations.swarm.client import Surroundings
from simulations.swarm.fault import FaultKind
from simulations.swarm.finding import expect
from simulations.swarm.gate import Look, Propose, Seen
from solver.client.record import difference_of, snapshot_of
from solver.core.auction import Snapshot, SnapshotBook, SnapshotBundle, Solution
from solver.core.command import ClearedBook, SolutionFill
from solver.core.difference import DifferenceMisfit, applied
from solver.strategies import STRATEGIES

LOOK_S: Final = 1.5
CHEATS: Final = 6
LATE_S: Final = 8.0
FILLS_TOO_MANY: Final = 4_097
PART_SHARE: Final = 0.1
"""How often a leg is proposed without those that it is bought with."""
REST_SHARE: Final = 0.7
"""The same where those cannot be had."""
KNOWN_MAX: Final = 4
"""Snapshots that a solver keeps to apply differences to."""
TOGETHER_SHARE: Final = 0.3
"""How often all books are bid for at once."""
WRONG_DIGEST: Final = "0x" + "00" * 32


class Eyes:
    """Who follows the auctions by what changed in them, over connections that break.

    An answer that was lost, or one to somebody who says that he is us, leaves the market with
    another notion of what we know. Then a difference is from a snapshot that we do not have, or
    leads to another hash: no such thing is believed, and the next look is anew.
    """

    def __init__(self, name: str, around: Surroundings) -> None:
        self._name = name
        self._around = around
        self._known: dict[int, Snapshot] = {}
        self._lost = False

    async def look(self) -> list[tuple[Snapshot, str]]:
        """Open auctions, each with its hash, as far as they can be made out."""
        was_lost, self._lost = self._lost, False
        answer = await self._around.network.ask(Look(sender=self._name, anew=was_lost))
        told = answer.lines if isinstance(answer, Seen) else ()
        found = []
        for line in told:
            said = msgspec.json.decode(line)
            snapshot = self._made_out(said)
            if snapshot is None or snapshot.digest() != said["snapshotHash"]:
                expect(said["type"] == "delta", "a_whole_snapshot_has_its_hash", line=line)
                self._lost = True
                continue
            self._know(snapshot)
            found.append((snapshot, said["snapshotHash"]))
        return found

    def _made_out(self, said: dict[str, Any]) -> Snapshot | None:
        if said["type"] == "auction":
            return snapshot_of(said["snapshot"])
        base = self._known.get(said["base"])
        try:
            return None if base is None else applied(base, difference_of(said["delta"]))
        except DifferenceMisfit:
            return None

    def _know(self, snapshot: Snapshot) -> None:
        self._known[snapshot.auction] = snapshot
        if len(self._known) > KNOWN_MAX:
            del self._known[min(self._known)]


class Solver:
    """Looks for auctions, answers each; what it proposes may be spoilt."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self._name = "0x" + keccak256(f"swarm:{name}".encode())[:20].hex()
        self._around = around
        self._random = stream(around.seed, f"solver:{name}")
        self._count = 0
        self._eyes = Eyes(self._name, around)
        self._look_s = LOOK_S

    def _seen(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot as far as it is of any use to it."""
        return snapshot

    async def live(self) -> None:
        """As long as the world is alive."""
        faults = self._around.faults
        while faults.active:
            await asyncio.sleep(self._random.expovariate(1 / self._look_s))
            for snapshot, digest in await self._eyes.look():
                if faults.active:
                    await self._answer(snapshot, digest)

    async def _answer(self, snapshot: Snapshot, digest: str) -> None:
        solutions = STRATEGIES[self._random.choice(sorted(STRATEGIES))](self._seen(snapshot))
        if not solutions:
            await self._answer_bundles(snapshot, digest)
            return
        strike = self._around.faults.strike
        if strike(FaultKind.MUTATED_SOLUTION):
            await self._cheat(snapshot, digest, solutions[0])
        if strike(FaultKind.OVERSIZE_SOLUTION):
            await self._oversize(snapshot, digest, solutions[0])
        if strike(FaultKind.LATE_SOLUTION):
            await asyncio.sleep(LATE_S)
        if self._random.random() < TOGETHER_SHARE:
            together = tuple(book for solution in solutions for book in solution.books)
            solutions = [Solution(books=together)]
        for solution in solutions:
            await self._send(self._name, snapshot, digest, solution)
        await self._answer_bundles(snapshot, digest)

    async def _answer_bundles(self, snapshot: Snapshot, digest: str) -> None:
        """Fill each by itself, where one offer has enough for a leg; now and then a part of it."""
        for bundle in snapshot.bundles:
            legs = [cleared for book in snapshot.books for cleared in _cleared_legs(book, bundle)]
            wanted = 1 if bundle.any_of else len(bundle.legs)
            share = PART_SHARE if len(legs) >= wanted else REST_SHARE
            if self._random.random() < share:
                wanted = 1
            if len(legs) >= wanted:
                books = tuple(self._random.sample(legs, wanted))
                await self._send(self._name, snapshot, digest, Solution(books=books))

    async def _cheat(self, snapshot: Snapshot, digest: str, solution: Solution) -> None:
        """Propose what must never count, each under a name of its own."""
        (cleared,) = solution.books
        book = next(book for book in snapshot.books if book.resource == cleared.resource)
        for name in self._random.sample(sorted(MUTATIONS), CHEATS):
            spoilt = MUTATIONS[name](book, cleared)
            if spoilt is not None:
                self._count += 1
                alias = f"{self._name}/{name}/{self._count}"
                self._around.auditor.contests.poisoned.add(alias)
                named = WRONG_DIGEST if name == "wrong-snapshot" else digest
                await self._send(alias, snapshot, named, Solution(books=spoilt))

    async def _oversize(self, snapshot: Snapshot, digest: str, solution: Solution) -> None:
        (cleared,) = solution.books
        many = (cleared.fills * FILLS_TOO_MANY)[:FILLS_TOO_MANY]
        huge = Solution(books=(replace(cleared, fills=many),))
        answer = await self._send(f"{self._name}/oversize", snapshot, digest, huge)
        expect(answer is None or isinstance(answer, Reject), "oversize_is_refused", by=self._name)

    async def _send(
        self, solver: str, snapshot: Snapshot, digest: str, solution: Solution
    ) -> object:
        message = Propose(
            sender=solver,
            auction=snapshot.auction,
            snapshot=digest,
            books=solution.books,
        )
        answer = await self._around.network.ask(message)
        self._around.auditor.hear(message, answer)
        return answer


def _cleared_legs(book: SnapshotBook, bundle: SnapshotBundle) -> Iterator[ClearedBook]:
    """The bundle's legs in a book, each in full from one offer."""
    for leg in book.intents:
        for offer in book.offers if leg.id in bundle.legs else ():
            if offer.tick <= leg.tick and offer.units >= leg.units and offer.account != leg.account:
                fill = SolutionFill(intent=leg.id, offer=offer.id, units=leg.units)
                yield ClearedBook(resource=book.resource, tick=leg.tick, fills=(fill,))
                break


Mutation = Callable[[SnapshotBook, ClearedBook], tuple[ClearedBook, ...] | None]


def _with_first(cleared: ClearedBook, **terms: object) -> tuple[ClearedBook, ...]:
    spoilt = replace(cleared.fills[0], **terms)
    return (replace(cleared, fills=(spoilt, *cleared.fills[1:])),)


def _at(cleared: ClearedBook, tick: int) -> tuple[ClearedBook, ...]:
    return (replace(cleared, tick=tick),)


def _overfill_intent(book: SnapshotBook, cleared: ClearedBook) -> tuple[ClearedBook, ...]:
    first = cleared.fills[0]
    most = next(order.units for order in book.intents if order.id == first.intent)
    return _with_first(cleared, units=most + 1)


def _overfill_offer(book: SnapshotBook, cleared: ClearedBook) -> tuple[ClearedBook, ...]:
    first = cleared.fills[0]
    most = next(order.units for order in book.offers if order.id == first.offer)
    return _with_first(cleared, units=most + 1)


def _too_dear(book: SnapshotBook, cleared: ClearedBook) -> tuple[ClearedBook, ...]:
    dearest = {order.id: order.tick for order in book.intents}
    return _at(cleared, min(dearest[fill.intent] for fill in cleared.fills) + 1)


def _too_cheap(book: SnapshotBook, cleared: ClearedBook) -> tuple[ClearedBook, ...] | None:
    cheapest = {order.id: order.tick for order in book.offers}
    most = max(cheapest[fill.offer] for fill in cleared.fills)
    return _at(cleared, most - 1) if most else None


def _self_deal(book: SnapshotBook, cleared: ClearedBook) -> tuple[ClearedBook, ...] | None:
    for intent in book.intents:
        for offer in book.offers:
            if intent.account == offer.account:
                fill = SolutionFill(intent=intent.id, offer=offer.id, units=1)
                return (replace(cleared, fills=(*cleared.fills, fill)),)
    return None


def _below_minimum(book: SnapshotBook, cleared: ClearedBook) -> tuple[ClearedBook, ...] | None:
    offer = cleared.fills[0].offer
    for intent in book.intents:
        if intent.minimum > 1:
            fill = SolutionFill(intent=intent.id, offer=offer, units=intent.minimum - 1)
            return (replace(cleared, fills=(fill,)),)
    return None


MUTATIONS: Final[dict[str, Mutation]] = {
    "overfill-intent": _overfill_intent,
    "overfill-offer": _overfill_offer,
    "too-dear": _too_dear,
    "too-cheap": _too_cheap,
    "self-deal": _self_deal,
    "below-minimum": _below_minimum,
    "no-books": lambda *_: (),
    "no-fills": lambda _, cleared: (replace(cleared, fills=()),),
    "book-twice": lambda _, cleared: (cleared, cleared),
    "other-book": lambda _, cleared: (replace(cleared, resource="nowhere:call"),),
    "no-units": lambda _, cleared: _with_first(cleared, units=0),
    "negative-units": lambda _, cleared: _with_first(cleared, units=-1),
    "huge-units": lambda _, cleared: _with_first(cleared, units=2**63 - 1),
    "unknown-intent": lambda _, cleared: _with_first(cleared, intent="0x" + "ab" * 32),
    "unknown-offer": lambda _, cleared: _with_first(cleared, offer="0x" + "cd" * 32),
    "swapped-sides": lambda _, cleared: _with_first(
        cleared, intent=cleared.fills[0].offer, offer=cleared.fills[0].intent
    ),
    "empty-names": lambda _, cleared: _with_first(cleared, intent="", offer=""),
    "pair-twice": lambda _, cleared: (replace(cleared, fills=(cleared.fills[0], *cleared.fills)),),
    "free": lambda _, cleared: _at(cleared, 0),
    "price-of-2^62": lambda _, cleared: _at(cleared, 2**62),
    "wrong-snapshot": lambda _, cleared: (cleared,),
}
"""Each must be refused or judged unsound, whatever else is going on."""
