"""Who competes in a world: solvers from outside, and those with bonds, where bids need some."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Final

from msgspec.structs import replace

from simulations.swarm.bond import BOND_MIN
from simulations.swarm.client import Surroundings
from simulations.swarm.fault import FaultKind
from simulations.swarm.person import Person
from simulations.swarm.seller import Seller
from simulations.swarm.solving import Solver
from solver.core.auction import Snapshot, SnapshotOrder
from solver.core.command import Authority

BEGINS_WITH: Final = 4 * BOND_MIN
ENOUGH: Final = 3 * BOND_MIN
"""Below this a solver adds to its bond."""
LOOK_S: Final = 2.5
ADDED_SHARE: Final = 0.2
EARLY_SHARE: Final = 0.1
"""How often it tries to take what was asked back before it may."""


class Guarantor(Solver):
    """Keeps a bond: adds to it, asks it back when an award may cost it, and takes it in time."""

    def begin(self) -> None:
        """Pay in, before the market opens."""
        self._around.chain.act("bond", self._name, amount=BEGINS_WITH)

    async def stand(self) -> None:
        """As long as the world is alive, and until what was asked back has left."""
        chain, faults = self._around.chain, self._around.faults
        asked = 0
        while faults.active or asked:
            await asyncio.sleep(self._random.expovariate(1 / LOOK_S))
            ledger = chain.head.ledger
            held = ledger.bonds.get(self._name, 0)
            asked, leaves_s = ledger.bond_requests.get(self._name, (0, 0))
            is_early = chain.head.time_s < leaves_s
            if asked and (not is_early or self._random.random() < EARLY_SHARE):
                chain.act("bond_withdraw", self._name)
            elif self._is_at_risk() and not asked and faults.strike(FaultKind.ASKED_BACK):
                chain.act("bond_request", self._name, amount=held)
            elif held < ENOUGH and faults.active and self._random.random() < ADDED_SHARE:
                chain.act("bond", self._name, amount=self._random.randint(1, 2 * BOND_MIN))

    def _is_at_risk(self) -> bool:
        return bool(self._around.auditor.bonds.pledged(self._name))


class Modest(Guarantor):
    """Bids for a third of what is asked for: so others win, and could have been replaced."""

    def _seen(self, snapshot: Snapshot) -> Snapshot:
        books = [
            replace(book, intents=tuple(_a_third(order) for order in book.intents))
            for book in snapshot.books
        ]
        return replace(snapshot, books=tuple(books))


class Supplier(Guarantor):
    """A seller that fills from its own offers alone. It may lose the key that it won with."""

    def __init__(self, seller: Seller, around: Surroundings) -> None:
        super().__init__(seller.person.name, around)
        self._seller = seller
        self._name, self._eyes = seller.person.account, seller.eyes
        self._look_s = LOOK_S

    async def stand(self) -> None:
        """Not always."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().stand())
            tasks.create_task(self._default())

    async def _default(self) -> None:
        faults = self._around.faults
        while faults.active:
            await asyncio.sleep(self._random.expovariate(1 / LOOK_S))
            if self._is_at_risk() and faults.strike(FaultKind.UNDELIVERED):
                await self._seller.default()

    def _seen(self, snapshot: Snapshot) -> Snapshot:
        books = [
            replace(book, offers=tuple(one for one in book.offers if one.account == self._name))
            for book in snapshot.books
        ]
        return replace(snapshot, books=tuple(book for book in books if book.offers))


def competing(
    around: Surroundings, sellers: Sequence[Seller]
) -> Iterator[Coroutine[Any, Any, None]]:
    """What solvers of a world do, once it has begun. Where bids need bonds, some have none."""
    names = around.habit.solvers
    if not around.habit.is_bonded:
        yield from (Solver(name, around).live() for name in names)
        return
    own = [seller for seller in sellers if _may_answer(seller.person)]
    for solver in (Modest(names[0], around), *(Supplier(seller, around) for seller in own)):
        solver.begin()
        yield solver.stand()
        yield solver.live()
    yield from (Solver(name, around).live() for name in names[1:])


def _may_answer(person: Person) -> bool:
    """The contract takes no other word for what a solver sells than its own key's."""
    return person.authority is Authority.KEY


def _a_third(order: SnapshotOrder) -> SnapshotOrder:
    return replace(order, units=max(order.minimum, order.units // 3))
