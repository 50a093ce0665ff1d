"""Buyers: they demand, call, are done, and move money in and out of the chain."""

import asyncio
from typing import Final

import msgspec

from intents.bound import TICK_UNITS
from intents.bundle import Bundle
from intents.document import Mandate
from simulations.swarm.client import Client, Surroundings
from simulations.swarm.fault import FaultKind
from simulations.swarm.gate import Done, Fetch, PublishBulk, PublishBundle, PublishUnder
from simulations.swarm.owner import WIDE
from simulations.swarm.person import DEPLOYMENT, DORA, Person, bulk, bundled, identity
from simulations.swarm.spender import Spender
from simulations.swarm.upstream import CHAT, RERANK, SEARCH, TRANSLATE
from solver.core.command import Authority
from solver.vault.operation import CallRequest

CALLS_MAX: Final = 8
LATE_SHARE: Final = 0.2
"""How often it calls on what is over."""
AT_ONCE_SHARE: Final = 0.5
"""How often it makes its calls at once, where that could be too much for a window."""
BULK_MAX: Final = 4
SHOPPED_MAX: Final = 2
SHOPS_OFTEN: Final = 75
STALLING_SHARE: Final = 0.7
STALLED_S: Final = (4.0, 7.5)
"""Before it uses what it bought, and before it signs for that: the chain tells for good after ten
seconds that a key has ended, and the operator waits nine for a signature."""
EITHER_SHARE: Final = 0.5
"""How often any leg of a bundle will do."""
FLOOR_SHARE: Final = 0.2
"""How often it asks for a quality."""
REQUESTS: Final = {
    SEARCH: CallRequest(method="GET", path="/search"),
    RERANK: CallRequest(method="GET", path="/rerank"),
    TRANSLATE: CallRequest(method="GET", path="/translate"),
    CHAT: CallRequest(method="POST", path="/chat", body=b'{"q":"why?"}'),
}


class Buyer(Client):
    """Demands, calls, is done; moves money in and out of the chain."""

    def __init__(self, person: Person, around: Surroundings) -> None:
        super().__init__(person, around)
        self._mandate: Mandate | None = None
        self._pen = ""
        """Who signed it."""
        self._spender = Spender(self)
        self._is_metered = around.habit.is_metered
        self._takes_bundles = not self._is_metered and person.authority is not Authority.CONTRACT
        self._has_keys = around.faults.has("session") and person.authority is not Authority.KEY
        self._ends_keys = person.is_session and bool(around.habit.taken_back)
        self.moves = (
            (self.demand, 30 if around.habit.is_bonded else 10),
            (self.demand_many, 0 if person.authority is Authority.CONTRACT else 1),
            (
                self.demand_together,
                20 if len(self.around.habit.auctioned) > 1 and self._takes_bundles else 0,
            ),
            (self.authorize, 0.5),
            (self.demand_under, 4),
            (self.call, 60),
            (self.cancel, 2),
            (self.done, 3),
            (self.move_money, 2),
            (self.shop, (SHOPS_OFTEN if self._has_keys else 25) if self._is_metered else 0),
            (self._spender.acknowledge, 25 if self._is_metered else 0),
            (self._spender.give, 25 if around.habit.gives and person is DORA else 0),
            (self.exceed, 2 if person.is_session else 0),
            (self.renew, 25 if self._ends_keys else 0),
        )

    async def make_up(self) -> None:
        """Sign at last for what is owed."""
        await self._spender.make_up()

    async def demand(self) -> None:
        """Publish an intent."""
        await self.publish(self.fresh_intent(self.asset()))

    async def shop(self) -> None:
        """Buy little, at a price that somebody takes, and use it at once."""
        resource = self.random.choice(self.around.habit.called)
        if not self.around.auditor.is_sold(resource, DEPLOYMENT.usdc, self.person.account):
            return
        units = self.random.randint(1, SHOPPED_MAX)
        intent = msgspec.structs.replace(
            self.fresh_intent(DEPLOYMENT.usdc, resource),
            units=units,
            units_min=1,
            limit=units * self.around.habit.generous_atoms,
            valid_from=0,
        )
        await self.publish(intent)
        if identity(intent) in self.around.auditor.open_fills.get(self.person.account, ()):
            message = Fetch(
                sender=self.person.account, intent=identity(intent), request=REQUESTS[resource]
            )
            stalls = self.owner.has_taken_back and self.random.random() < STALLING_SHARE
            await self._stall(STALLED_S[0] if stalls else 0.0)
            for _ in range(units):
                await self.ask(message)
            await self._stall(STALLED_S[1] if stalls else 0.0)
            await self._spender.acknowledge()
            self.owner.betray()

    async def _stall(self, mean_s: float) -> None:
        """Wait until the market has heard what it took back, and hope to be believed still."""
        if mean_s:
            await asyncio.sleep(self.random.uniform(0.7, 1.3) * mean_s)

    async def renew(self) -> None:
        """Have the key act again."""
        self.owner.renew()

    async def exceed(self) -> None:
        """Ask for more than the caps of the key can ever let through."""
        if self.around.faults.strike(FaultKind.CAP_REACHED):
            intent = self.fresh_intent(DEPLOYMENT.usdc, SEARCH)
            intent = msgspec.structs.replace(intent, limit=4 * WIDE + 1)
            await self.refused(self.signed(intent))

    async def demand_many(self) -> None:
        """Sign some intents at once; one of them may be no good."""
        count, asset = self.random.randint(1, BULK_MAX), self.asset()
        signed = bulk(self.owner.pen, tuple(self.fresh_intent(asset) for _ in range(count)))
        signer, around = self.person.key.address, self.around
        around.registry.note_bulk(signed.digest, signed.signature, signer)
        for paper in signed.papers:
            around.auditor.sign(paper.digest, paper.document, signer)
        await self.insist(PublishBulk(sender=self.person.account, body=signed.body))

    async def demand_together(self) -> None:
        """Sign two intents of which both are bought, or either."""
        first = self.fresh_intent(self.asset(), RERANK)
        second = self.fresh_intent(first.asset, TRANSLATE)
        any_of = self.random.random() < EITHER_SHARE
        shared = {"valid_from": first.valid_from, "valid_until": first.valid_until}
        legs = tuple(
            msgspec.structs.replace(
                leg,
                **shared,
                epoch=first.epoch,
                immediate=False,
                units_min=leg.units_min if any_of else leg.units,
            )
            for leg in (first, second)
        )
        asks = {"success_min": 500} if self.random.random() < FLOOR_SHARE else {}
        signed = bundled(self.owner.pen, Bundle(any=any_of, legs=legs, **asks))
        signer, around = self.person.key.address, self.around
        around.registry.note_bulk(signed.digest, signed.signature, signer)
        for paper in signed.papers:
            around.auditor.sign(paper.digest, paper.document, signer)
        around.auditor.contests.bundles.append(({paper.digest for paper in signed.papers}, any_of))
        await self.insist(PublishBundle(sender=self.person.account, body=signed.body))

    async def authorize(self) -> None:
        """Let the market buy within terms."""
        mandate = Mandate(
            account=self.person.account,
            resource=self.random.choice(("", *self.around.habit.resources)),
            asset=self.asset(),
            tick_max=self.random.choice((900, 1_200, 2_000)) * TICK_UNITS,
            limit=self.random.choice((3_000, 10_000, 40_000)),
            epoch=self.epoch(),
            nonce=self.next_nonce(),
            **self.life(),
        )
        self._mandate, self._pen = mandate, self.owner.pen.key.address
        await self.publish(mandate)

    async def demand_under(self) -> None:
        """Buy under the newest mandate, within its terms or not; nothing is signed."""
        mandate = self._mandate
        if mandate is None or mandate.valid_until <= self.now_s() + 1:
            await self.authorize()
            return
        named, signer = identity(mandate), self._pen
        resource = "" if self.random.random() < 0.1 else mandate.resource  # noqa: PLR2004
        intents = tuple(
            self.fresh_intent(mandate.asset, resource)
            for _ in range(self.random.randint(1, BULK_MAX))
        )
        for intent in intents:
            self.around.auditor.sign(identity(intent), intent, signer, named)
        message = PublishUnder(sender=self.person.account, mandate=named, intents=intents)
        await self.insist(message)

    async def call(self) -> None:
        """Use an intent that was filled, a few times, and seldom after its fills are over.

        Where there are windows to fill, often all at once.
        """
        filled = self.around.auditor.open_fills.get(self.person.account, {})
        if not filled:
            return
        intent = self.random.choice(list(filled))
        request = REQUESTS[self.around.auditor.papers[intent].document.resource]
        message = Fetch(sender=self.person.account, intent=intent, request=request)
        calls = self.random.randint(1, CALLS_MAX)
        if self.around.habit.has_windows and self.random.random() < AT_ONCE_SHARE:
            await asyncio.gather(*(self.ask(message) for _ in range(calls)))
            return
        for _ in range(calls):
            await self.ask(message)
            if intent not in filled and self.random.random() >= LATE_SHARE:
                return

    async def done(self) -> None:
        """End an intent's leases: mostly of one that has some."""
        filled = list(self.around.auditor.open_fills.get(self.person.account, ()))
        if not filled or self.random.random() < 0.2:  # noqa: PLR2004  one in five
            filled = [paper.digest for paper in self.papers]
        if not filled:
            return
        intent = self.random.choice(filled)
        if self.around.faults.strike(FaultKind.FOREIGN_DOCUMENT):
            await self.refused(Done(sender=DEPLOYMENT.usdc, intent=intent))
        else:
            await self.insist(Done(sender=self.person.account, intent=intent))

    async def move_money(self) -> None:
        """Deposit, ask back, take out; or cancel everything, or end a session, or grant it."""
        chain, account = self.around.chain, self.person.account
        changes_keys = self._has_keys and (self._ends_keys or not self.person.is_session)
        act = self.random.choices(
            ("deposit", "request", "take_back", "withdraw", "bump", "keys"),
            (8, 1, 1, 2, 3 if self._is_metered else 0.3, 3 if changes_keys else 0),
        )[0]
        match act:
            case "deposit":
                chain.act(act, account, amount=self.random.randrange(1, 40_000))
            case "request":
                chain.act(act, account, amount=self.random.choice((1, 5_000, 2**70)))
            case "keys":
                self.owner.change(self.random.random())
            case _:
                chain.act(act, account)
