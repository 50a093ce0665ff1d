"""What a buyer does about what it owes: it signs, late, something else, or never."""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec

from intents.bound import HASH_ZERO
from intents.document import SpendReceipt
from intents.receipt import in_order, lines_hash
from intents.reject import Reject
from simulations.swarm.client import Client
from simulations.swarm.fault import FaultKind
from simulations.swarm.gate import Acknowledge, Answer, Owe
from simulations.swarm.habit import TIGHT_ATOMS
from simulations.swarm.person import SELLERS, Person
from solver.gateway.owed import SpendingTold

BODIES_KEPT_MAX: Final = 8
NEVER_SIGNS: Final = 0.3
STRANGERS_SHARE: Final = 0.5
"""How often somebody else signs, of what must be refused."""
LATE_S_MAX: Final = 15.0
MAKE_UP_S: Final = 4.0
AWAY_ATOMS_MAX: Final = 20_000
GIFT_ATOMS_MAX: Final = TIGHT_ATOMS // 2
"""So little that it takes some to meet a cap."""
STRANGER: Final = Person("mallory")


class Spender:
    """One buyer's pen. Some sign nothing, ever, where that is not about who may sign."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._around = client.around
        self._random = client.random
        self._account = client.person.account
        may_sign, will = client.person.signs_receipts, self._random.random() >= NEVER_SIGNS
        self._signs = may_sign and (will or self._around.faults.has("session"))
        self._bodies: list[bytes] = []

    async def acknowledge(self) -> None:
        """Sign for what is owed; or something else, or nothing this time."""
        strike = self._around.faults.strike
        if not self._signs:
            return
        if self._bodies and strike(FaultKind.OLD_RECEIPT):
            await self._client.ask(self._message(self._random.choice(self._bodies)))
        if strike(FaultKind.SIGNED_AWAY):
            self._sign_away(self._random.randint(1, AWAY_ATOMS_MAX))
        if not self._owes() or strike(FaultKind.LEFT_UNSIGNED):
            return
        told = await self._asked()
        if told is None:
            return
        if strike(FaultKind.WRONG_RECEIPT) or strike(FaultKind.BAD_SIGNATURE):
            for body in self._wrong(told):
                await self._client.refused(self._message(body))
        if strike(FaultKind.SIGNED_LATE):
            await asyncio.sleep(self._random.uniform(1, LATE_S_MAX))
        await self._sign(told)
        self._client.owner.betray()

    async def make_up(self) -> None:
        """In the end all who ever sign have signed for what they owe."""
        refused = False
        while self._signs:
            await asyncio.sleep(MAKE_UP_S)
            told = await self._asked() if self._owes() else None
            if told is not None and refused:
                self._client.owner.make_up()
                refused = False
                continue
            if told is not None:
                refused = isinstance(await self._sign(told), Reject)

    def _owes(self) -> bool:
        return self._around.auditor.spendings.owes(self._account)

    async def _asked(self) -> SpendingTold | None:
        """What may be signed for; None if that is nothing new."""
        spendings = self._around.auditor.spendings
        promised = spendings.promised(self._account)
        told = await self._client.ask(Owe(sender=self._account, account=self._account))
        if not isinstance(told, SpendingTold):
            return None
        spendings.heard(self._account, told, promised)
        return told if told.owed else None

    async def _sign(self, told: SpendingTold) -> Answer | None:
        body = self._body(told.document, told.fills)
        self._bodies = [*self._bodies[1 - BODIES_KEPT_MAX :], body]
        return await self._client.insist(self._message(body))

    def _wrong(self, told: SpendingTold) -> Iterator[bytes]:
        """Receipts that differ in one thing from what may be signed, or are another's word."""
        document, fills = told.document, told.fills
        changes: tuple[dict[str, object], ...] = (
            {"spent": document.spent + 1},
            {"spent": document.spent - 1},
            {"base": document.base + 1},
            {"epoch": document.epoch + 1},
            {"lines": HASH_ZERO},
            {},
        )
        if self._random.random() < STRANGERS_SHARE:
            _, signature = STRANGER.sign(document)
            yield _encoded(document, signature, fills)
        change = self._random.choice(changes)
        wrong = msgspec.structs.replace(document, **change)
        _, signature = self._client.owner.pen.sign(wrong)
        yield _encoded(wrong, signature, fills if change else fills + 1)

    async def give(self) -> None:
        """Pay with the account's key, again and again, beside the market."""
        self._sign_away(self._random.randint(1, GIFT_ATOMS_MAX))

    def _sign_away(self, atoms: int) -> None:
        """Post a receipt that nobody asked for: money to a friend, more than was claimed before."""
        ledger = self._around.chain.head.ledger
        base = ledger.spent.get(self._account, 0)
        friend = self._random.choice([one for one in SELLERS if one.account != self._account])
        amount = ledger.claimed(self._account) + atoms
        lines = in_order({friend.account: amount})
        receipt = SpendReceipt(
            account=self._account,
            epoch=self._client.epoch(),
            base=base,
            spent=base + amount,
            lines=lines_hash(lines),
        )
        self._around.auditor.spendings.keys.give(receipt)
        self._around.chain.act(
            "claim",
            self._account,
            receipt=receipt,
            lines=lines,
            signature=self._noted(receipt),
            authority=int(self._client.person.authority),
        )

    def _body(self, receipt: SpendReceipt, fills: int) -> bytes:
        return _encoded(receipt, self._noted(receipt), fills)

    def _noted(self, receipt: SpendReceipt) -> str:
        """Sign; whoever judges knows of it."""
        pen = self._client.owner.pen
        _, signature = pen.sign(receipt)
        self._around.registry.note_receipt(receipt, signature, pen.key.address)
        self._around.auditor.spendings.sign(receipt, pen.key.address)
        return signature

    def _message(self, body: bytes) -> Acknowledge:
        return Acknowledge(sender=self._account, body=body)


def _encoded(receipt: SpendReceipt, signature: str, fills: int) -> bytes:
    sent = {"receipt": {"document": receipt, "signature": signature}, "fills": fills}
    return msgspec.json.encode(sent)
