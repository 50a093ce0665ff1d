"""Sellers: they pool keys and offer from them."""

from typing import Final

import msgspec

from intents.bound import TICK_UNITS
from intents.document import Offer
from intents.receipt import ReceiptLine
from intents.rounding import mul_div_floor
from simulations.swarm.client import Client, Surroundings
from simulations.swarm.fault import FaultKind
from simulations.swarm.gate import Contribute, Owe, Propose, Revoke
from simulations.swarm.owner import GRANTED_ABOVE
from simulations.swarm.person import BUYERS, DEPLOYMENT, Person, paperwork
from simulations.swarm.solving import Eyes
from simulations.swarm.upstream import CHAT
from solver.core.command import ClearedBook, SolutionFill
from solver.engine.sequencer import Applied
from solver.gateway.owed import SignedTold, SpendingTold

KEYS_MAX: Final = 8
BROUGHT_S: Final = 30
"""How long an offer is good that is brought: longer than an auction and its lease."""
WANTED_MAX: Final = 4
"""Intents of a book that are looked at, the dearest first."""


class Seller(Client):
    """Pools keys and offers from them."""

    patience = 2.0

    def __init__(self, person: Person, around: Surroundings) -> None:
        super().__init__(person, around)
        self.keys: list[str] = []
        self.eyes: Final = Eyes(person.account, around)
        self.moves = (
            (self.offer, 12),
            (self.bring, 0 if around.habit.is_metered else 4),
            (self.pool, 1),
            (self.cancel, 2),
            (self.retire, 2),
            (self.rekey, 4 if person.is_session and around.faults.has("session") else 0),
            (self.claim, 5 if around.habit.is_metered else 0),
        )

    async def pool(self) -> None:
        """Contribute a key."""
        if len(self.keys) >= KEYS_MAX:
            return
        key = "0x" + self.random.randbytes(32).hex()
        secret = b"sk-" + self.random.randbytes(12).hex().encode()
        self.around.auditor.secrets.append(secret)
        answer = await self.insist(
            Contribute(
                sender=self.person.account,
                key=key,
                secret=secret,
                limits=self.random.choice(self.around.habit.key_limits),
            )
        )
        if isinstance(answer, Applied):
            self.keys.append(key)

    async def offer(self) -> None:
        """Publish an offer."""
        if not self.keys:
            await self.pool()
            return
        units = self.random.choice((1, 2, 4, 8))
        resource = self.around.habit.resource(self.random)
        scale = 4 if resource == CHAT else 1
        units *= scale
        window = scale * self.random.choice((0, 0, 1 + self.random.randrange(3)))
        window *= self.around.habit.has_windows
        price = self.around.habit.price(self.random, -500, 300)
        document = Offer(
            account=self.person.account,
            resource=resource,
            asset=self.asset(),
            key=self.random.choice(self.keys),
            units=units,
            limit=units * price + self.around.habit.rest(self.random, units),
            window_units=window,
            window_seconds=4 * window // scale,
            epoch=self.epoch(),
            nonce=self.next_nonce(),
            **self.life(),
        )
        await self.publish(document)

    async def bring(self) -> None:
        """Offer what an open auction wants, to it alone; now and then as somebody else."""
        auctions = await self.eyes.look()
        wanted = [
            (snapshot, digest, book.resource, intent)
            for snapshot, digest in auctions
            for book in snapshot.books
            for intent in book.intents[:WANTED_MAX]
            if intent.account != self.person.account
        ]
        if not wanted or not self.keys:
            return
        snapshot, digest, resource, intent = self.random.choice(wanted)
        units = intent.units
        price = intent.tick * self.random.choice((80, 95, 100, 105)) // 100
        document = Offer(
            account=self.person.account,
            resource=resource,
            asset=snapshot.asset,
            key=self.random.choice(self.keys),
            units=units,
            limit=mul_div_floor(units, price, TICK_UNITS),
            epoch=self.epoch(),
            nonce=self.next_nonce(),
            valid_until=self.now_s() + BROUGHT_S,
        )
        paper = paperwork(self.person, document)
        signer, around = self.person.key.address, self.around
        around.auditor.sign(paper.digest, document, signer)
        around.auditor.contests.brought.add(paper.digest)
        around.registry.note(document, paper.signature, signer)
        fill = SolutionFill(intent=intent.id, offer=paper.digest, units=units)
        proposal = Propose(
            sender=self.person.account,
            auction=snapshot.auction,
            snapshot=digest,
            books=(ClearedBook(resource=resource, tick=intent.tick, fills=(fill,)),),
            offers=(paper.body,),
        )
        if around.faults.strike(FaultKind.FOREIGN_DOCUMENT):
            await self.refused(msgspec.structs.replace(proposal, sender=DEPLOYMENT.usdc))
        await self.ask(proposal)

    async def claim(self) -> None:
        """Post the last receipt of some buyer that has one, which anyone may read, on chain."""
        signed = [
            buyer.account
            for buyer in BUYERS
            if self.around.auditor.spendings.of(buyer.account).receipt is not None
        ]
        if signed and self.around.faults.may(FaultKind.CLAIMED):
            account = self.random.choice(signed)
            told = await self.ask(Owe(sender=self.person.account, account=account))
            if isinstance(told, SpendingTold) and told.receipt is not None:
                self._claim(told.receipt)

    def _claim(self, receipt: SignedTold) -> None:
        self.around.faults.note(FaultKind.CLAIMED)
        self.around.chain.act(
            "claim",
            self.person.account,
            receipt=receipt.document,
            lines=tuple(
                ReceiptLine(seller=line.seller, amount=line.amount) for line in receipt.lines
            ),
            signature=receipt.signature,
            authority=int(receipt.authority),
        )

    async def rekey(self) -> None:
        """See to the key that signs offers: take it back, or grant it anew."""
        if self.random.random() < 0.5:  # noqa: PLR2004  a coin
            self.owner.betray()
        else:
            self.owner.change(self.random.uniform(GRANTED_ABOVE, 1))

    async def default(self) -> None:
        """Take back a key that something was won with."""
        auditor = self.around.auditor
        for name in auditor.bonds.pledged(self.person.account):
            offer = auditor.papers[auditor.fills[name].offer].document
            if isinstance(offer, Offer) and offer.key in self.keys:
                self.keys.remove(offer.key)
                await self.insist(Revoke(sender=self.person.account, key=offer.key))
                return

    async def retire(self) -> None:
        """Take a key back; now and then somebody else's."""
        if not self.keys:
            return
        key = self.random.choice(self.keys)
        if self.around.faults.strike(FaultKind.FOREIGN_DOCUMENT):
            await self.refused(Revoke(sender=DEPLOYMENT.usdc, key=key))
            return
        self.keys.remove(key)
        await self.insist(Revoke(sender=self.person.account, key=key))
