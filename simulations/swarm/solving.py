"""Solvers from outside: an honest one, and one that tries everything else."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from intents.reject import Reject
from simulations.stream import stream
from simulations.swarm.client import Surroundings
from simulations.swarm.fault import FaultKind
from simulations.swarm.finding import expect
from simulations.swarm.gate import Look, Propose, Seen
from solver.core.auction import Snapshot, Solution
from solver.core.command import SolutionFill
from solver.strategies import STRATEGIES

LOOK_S: Final = 1.5
CHEATS: Final = 3
LATE_S: Final = 8.0
FILLS_TOO_MANY: Final = 4_097

Fills = tuple[SolutionFill, ...]


class Solver:
    """Looks for auctions, answers each; what it proposes may be spoilt."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self._name = name
        self._around = around
        self._random = stream(around.seed, f"solver:{name}")
        self._count = 0

    async def live(self) -> None:
        """As long as the world is alive."""
        faults = self._around.faults
        while faults.active:
            await asyncio.sleep(self._random.expovariate(1 / LOOK_S))
            seen = await self._around.network.ask(Look(sender=self._name))
            if isinstance(seen, Seen) and faults.active:
                for snapshot, digest in seen.auctions:
                    await self._answer(snapshot, digest)

    async def _answer(self, snapshot: Snapshot, digest: str) -> None:
        strategy = STRATEGIES[self._random.choice(sorted(STRATEGIES))]
        solution = strategy(snapshot)
        if solution is None:
            return
        strike = self._around.faults.strike
        if strike(FaultKind.MUTATED_SOLUTION):
            await self._cheat(snapshot, digest, solution)
        if strike(FaultKind.OVERSIZE_SOLUTION):
            await self._oversize(snapshot, digest, solution)
        if strike(FaultKind.LATE_SOLUTION):
            await asyncio.sleep(LATE_S)
        await self._send(self._name, snapshot, digest, solution)

    async def _cheat(self, snapshot: Snapshot, digest: str, solution: Solution) -> None:
        """Propose what must never count, each under a name of its own."""
        for name in self._random.sample(sorted(MUTATIONS), CHEATS):
            spoilt = MUTATIONS[name](snapshot, solution, self._random)
            if spoilt is not None:
                self._count += 1
                alias = f"{self._name}/{name}/{self._count}"
                self._around.auditor.contests.poisoned.add(alias)
                await self._send(alias, snapshot, digest, spoilt)

    async def _oversize(self, snapshot: Snapshot, digest: str, solution: Solution) -> None:
        many = (solution.fills * FILLS_TOO_MANY)[:FILLS_TOO_MANY]
        huge = Solution(tick=solution.tick, fills=many)
        answer = await self._send(f"{self._name}/oversize", snapshot, digest, huge)
        expect(answer is None or isinstance(answer, Reject), "oversize_is_refused", by=self._name)

    async def _send(
        self, solver: str, snapshot: Snapshot, digest: str, solution: Solution
    ) -> object:
        if solution.tick < 0:
            digest = "0x" + "00" * 32
        message = Propose(
            sender=solver,
            auction=snapshot.auction,
            snapshot=digest,
            tick=abs(solution.tick),
            fills=solution.fills,
        )
        answer = await self._around.network.ask(message)
        self._around.auditor.hear(message, answer)
        return answer


Mutation = Callable[[Snapshot, Solution, Random], Solution | None]


def _with_first(solution: Solution, **terms: object) -> Solution:
    first = solution.fills[0]
    values = {"intent": first.intent, "offer": first.offer, "units": first.units} | terms
    spoilt = SolutionFill(**values)  # type: ignore[arg-type]
    return Solution(tick=solution.tick, fills=(spoilt, *solution.fills[1:]))


def _overfill_intent(snapshot: Snapshot, solution: Solution, _: Random) -> Solution:
    first = solution.fills[0]
    most = next(order.units for order in snapshot.intents if order.id == first.intent)
    return _with_first(solution, units=most + 1)


def _overfill_offer(snapshot: Snapshot, solution: Solution, _: Random) -> Solution:
    first = solution.fills[0]
    most = next(order.units for order in snapshot.offers if order.id == first.offer)
    return _with_first(solution, units=most + 1)


def _too_dear(snapshot: Snapshot, solution: Solution, _: Random) -> Solution:
    dearest = {order.id: order.tick for order in snapshot.intents}
    least = min(dearest[fill.intent] for fill in solution.fills)
    return Solution(tick=least + 1, fills=solution.fills)


def _too_cheap(snapshot: Snapshot, solution: Solution, _: Random) -> Solution | None:
    cheapest = {order.id: order.tick for order in snapshot.offers}
    most = max(cheapest[fill.offer] for fill in solution.fills)
    return Solution(tick=most - 1, fills=solution.fills) if most else None


def _self_deal(snapshot: Snapshot, solution: Solution, _: Random) -> Solution | None:
    for intent in snapshot.intents:
        for offer in snapshot.offers:
            if intent.account == offer.account:
                fill = SolutionFill(intent=intent.id, offer=offer.id, units=1)
                return Solution(tick=solution.tick, fills=(*solution.fills, fill))
    return None


def _below_minimum(snapshot: Snapshot, solution: Solution, _: Random) -> Solution | None:
    offer = solution.fills[0].offer
    for intent in snapshot.intents:
        if intent.minimum > 1:
            fill = SolutionFill(intent=intent.id, offer=offer, units=intent.minimum - 1)
            return Solution(tick=solution.tick, fills=(fill,))
    return None


MUTATIONS: Final[dict[str, Mutation]] = {
    "overfill-intent": _overfill_intent,
    "overfill-offer": _overfill_offer,
    "too-dear": _too_dear,
    "too-cheap": _too_cheap,
    "self-deal": _self_deal,
    "below-minimum": _below_minimum,
    "no-fills": lambda _, solution, __: Solution(tick=solution.tick, fills=()),
    "no-units": lambda _, solution, __: _with_first(solution, units=0),
    "negative-units": lambda _, solution, __: _with_first(solution, units=-1),
    "huge-units": lambda _, solution, __: _with_first(solution, units=2**63 - 1),
    "unknown-intent": lambda _, solution, __: _with_first(solution, intent="0x" + "ab" * 32),
    "unknown-offer": lambda _, solution, __: _with_first(solution, offer="0x" + "cd" * 32),
    "swapped-sides": lambda _, solution, __: _with_first(
        solution, intent=solution.fills[0].offer, offer=solution.fills[0].intent
    ),
    "empty-names": lambda _, solution, __: _with_first(solution, intent="", offer=""),
    "pair-twice": lambda _, solution, __: Solution(
        tick=solution.tick, fills=(solution.fills[0], *solution.fills)
    ),
    "free": lambda _, solution, __: Solution(tick=0, fills=solution.fills),
    "price-of-2^62": lambda _, solution, __: Solution(tick=2**62, fills=solution.fills),
    "wrong-snapshot": lambda _, solution, __: Solution(
        tick=-solution.tick - 1, fills=solution.fills
    ),
}
"""Each must be refused or judged unsound, whatever else is going on."""
