"""Whether chain and book agree: every account three ways, to the atom."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from contracts.bindings import SETTLEMENT
from intents.rounding import payment_at
from solver.client import BoughtIntent
from solver.client.model import Event
from solver.demo.stage import Buyer, Seller, Stage


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """One account, three ways. Atoms."""

    name: str
    account: str
    before: int
    chain: int
    book: int
    expected: int

    @property
    def agree(self) -> bool:
        """Chain and book are equal to the atom, and what the fills say they should be."""
        return self.chain == self.book == self.expected


class Comparison:
    """Compares once all is settled; `events` are all that the market told."""

    def __init__(self, stage: Stage, events: Iterable[Event], intents: list[BoughtIntent]) -> None:
        self._stage = stage
        self._events = list(events)
        self._intents = intents
        self._paid: dict[str, int] = {}
        """What each buyer should have paid, by its signed receipts."""
        self._earned: dict[str, int] = {}
        """What each seller and solver should have earned, by the leases and what they charge."""

    async def made(
        self, buyers: Iterable[Buyer], deposit: int, sellers: Iterable[Seller]
    ) -> list[Books]:
        """The books of all who had money to move, solvers that won last."""
        await self._add_up()
        books = [await self._buyer(buyer, deposit) for buyer in buyers]
        books += [await self._seller(seller) for seller in sellers]
        rewards = self._rewards()
        return books + [await self._solver(solver, paid) for solver, paid in rewards.items()]

    async def _buyer(self, buyer: Buyer, deposit: int) -> Books:
        account = buyer.owner.account
        told = await buyer.agent.balance()
        return Books(
            name=buyer.name,
            account=account,
            before=deposit,
            chain=await self._on_chain(account),
            book=told.usdc.total,
            expected=deposit - self._paid.get(account, 0),
        )

    async def _seller(self, seller: Seller) -> Books:
        account = seller.contributor.account
        told = await seller.contributor.balance()
        return Books(
            name=seller.name,
            account=account,
            before=0,
            chain=await self._on_chain(account),
            book=told.usdc.total,
            expected=self._earned.get(account, 0),
        )

    async def _solver(self, solver: str, paid: int) -> Books:
        """A winner's, whose key nobody here has: in the book is what the feed said it was paid."""
        return Books(
            name=f"solver {solver[:8]}…",
            account=solver,
            before=0,
            chain=await self._on_chain(solver),
            book=paid,
            expected=self._earned.get(solver, 0),
        )

    async def _on_chain(self, account: str) -> int:
        getter = SETTLEMENT.function("accountOf")
        settlement = self._stage.deployment.settlement
        answer = await self._stage.chain.call(settlement, getter.encode(account))
        ((balance, *_),) = getter.decode_outputs(answer)
        assert isinstance(balance, int)
        return balance

    def _rewards(self) -> dict[str, int]:
        """What each winning solver was paid, as the market told it."""
        rewards: dict[str, int] = {}
        for one in self._facts("PaymentSettled"):
            if "solver" in one:
                rewards[one["solver"]] = rewards.get(one["solver"], 0) + one["reward"]
        return rewards

    async def _add_up(self) -> None:
        """What a fill is charged for the solver that won it is the solver's, not the seller's."""
        charges = {
            one["fill"]: one["bidCharge"] + one["askCharge"]
            for one in self._facts("Filled")
            if "bidCharge" in one
        }
        winners = {
            one["fill"]: one["solver"] for one in self._facts("PaymentSettled") if "solver" in one
        }
        for intent in self._intents:
            receipt = (await intent.receipt()).document
            _add(self._paid, receipt.account, receipt.payment)
            told = await self._stage.market.get("/v1/leases", dict[str, Any], intent=intent.digest)
            for lease in told["leases"]:
                reward = payment_at(charges.get(lease["id"], 0), lease["delivered"])
                _add(self._earned, lease["seller"], lease["payment"] - reward)
                if reward:
                    _add(self._earned, winners.get(lease["id"], ""), reward)

    def _facts(self, event: str) -> Iterator[dict[str, Any]]:
        return (one.facts for one in self._events if one.event == event)


def _add(sums: dict[str, int], account: str, atoms: int) -> None:
    sums[account] = sums.get(account, 0) + atoms
