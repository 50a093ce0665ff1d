"""What everybody does with a market, at his own pace, with some mischief."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import ClassVar, Final

import msgspec

from intents.bound import ADDRESS_ZERO
from intents.document import Intent, Mandate, Offer
from intents.reject import Reject
from simulations.stream import stream
from simulations.swarm.auditor import Auditor
from simulations.swarm.chain import Chain
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.finding import expect
from simulations.swarm.gate import (
    Answer,
    Cancel,
    Message,
    Publish,
)
from simulations.swarm.habit import Habit
from simulations.swarm.network import Network
from simulations.swarm.owner import Owner
from simulations.swarm.person import DEPLOYMENT, Paperwork, Person, paperwork
from simulations.swarm.registry import Registry
from simulations.swarm.upstream import CHAT

ATTEMPTS_MAX: Final = 3
PAPERS_KEPT_MAX: Final = 24
RUBBISH: Final = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"document": 1e400}',
    b"\xff\xfe\x00",
    b'{"document": {}, "signature": "0x"}',
    b"[" * 5_000,
    b'{"document": {"account": "' + b"A" * 20_000 + b'"}}',
)
Move = Callable[[], Awaitable[None]]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a client lives in."""

    network: Network
    chain: Chain
    market_ms: Callable[[], int]
    auditor: Auditor
    registry: Registry
    faults: Faults
    habit: Habit
    seed: int


class Client:
    """One person: `live` until the world is calm. Subclasses say what there is to do."""

    def __init__(self, person: Person, around: Surroundings) -> None:
        self.person: Final = person
        self.around: Final = around
        role = type(self).__name__
        self.random: Final = stream(around.seed, f"{role}:{person.name}")
        self.owner: Final = Owner(person, around.chain, around.faults, around.habit)
        self.papers: list[Paperwork] = []
        self._nonce = self.random.randrange(1_000) + (10_000 if role == "Seller" else 0)
        self.moves: tuple[tuple[Move, float], ...] = ()

    patience: ClassVar[float] = 1.0
    """How much longer it pauses than others."""

    async def live(self) -> None:
        """Move after move, as long as the world is alive."""
        faults = self.around.faults
        moves, weights = zip(*self.moves, strict=True)
        pause_s = self.around.habit.pause_s * self.patience
        while faults.active:
            await asyncio.sleep(self.random.expovariate(1 / pause_s))
            if faults.active:
                await self.random.choices(moves, weights)[0]()

    async def ask(self, message: Message) -> Answer | None:
        """Ask once, and let the auditor hear what came back."""
        answer = await self.around.network.ask(message)
        self.around.auditor.hear(message, answer)
        return answer

    async def insist(self, message: Message) -> Answer | None:
        """Ask again where no answer came: it is safe to."""
        for _ in range(ATTEMPTS_MAX):
            answer = await self.ask(message)
            if answer is not None:
                return answer
        return None

    # ---------------------------------------------------------------- documents

    def next_nonce(self) -> int:
        """A fresh nonce, or now and then one that was used."""
        if self.papers and self.around.faults.strike(FaultKind.USED_NONCE):
            return self.random.choice(self.papers).document.nonce
        self._nonce += 1
        return self._nonce

    def epoch(self) -> int:
        """The account's epoch, or now and then another."""
        epoch, _ = self.around.chain.head.ledger.epochs.get(self.person.account, (0, 0))
        return epoch + self.around.faults.strike(FaultKind.WRONG_EPOCH)

    def now_s(self) -> int:
        """The market's time, which anybody may ask for."""
        return self.around.market_ms() // 1_000

    async def publish(self, document: Intent | Offer | Mandate) -> None:
        """Sign and send, perhaps spoilt on the way."""
        paper = self._signed(document)
        await self.spoil(paper)
        answer = await self.insist(self.message(paper, paper.body))
        if not isinstance(answer, Reject):
            # Accepted, or nobody knows: it is kept, to be asked about.
            self.papers = [*self.papers[1 - PAPERS_KEPT_MAX :], paper]
            self.owner.betray()

    def signed(self, document: Intent | Offer | Mandate) -> Publish:
        """A POST of a document, signed."""
        paper = self._signed(document)
        return self.message(paper, paper.body)

    def _signed(self, document: Intent | Offer | Mandate) -> Paperwork:
        """Sign; whoever judges knows of it."""
        pen, around = self.owner.pen, self.around
        paper = paperwork(pen, document)
        around.auditor.sign(paper.digest, document, pen.key.address)
        around.registry.note(document, paper.signature, pen.key.address)
        return paper

    async def spoil(self, paper: Paperwork) -> None:
        """Send what must be refused."""
        strike = self.around.faults.strike
        if strike(FaultKind.MALFORMED):
            rubbish = self.random.choice((*RUBBISH, paper.body[: len(paper.body) // 2]))
            await self.refused(self.message(paper, rubbish))
        if strike(FaultKind.BAD_SIGNATURE):
            await self.refused(self.message(paper, _forged(paper, self.random)))
        if self.papers and strike(FaultKind.REPLAYED_DOCUMENT):
            old = self.random.choice(self.papers)
            await self.ask(self.message(old, old.body))

    async def refused(self, message: Message) -> None:
        """Ask for what must be refused, with a code."""
        answer = await self.ask(message)
        expect(answer is None or isinstance(answer, Reject), "bad_input_is_refused", by=message)

    def fresh_intent(self, asset: str, resource: str = "") -> Intent:
        """A demand of a random size and price."""
        random = self.random
        resource = resource or self.around.habit.resource(random)
        units = random.choice(self.around.habit.sizes) * (4 if resource == CHAT else 1)
        price = self.around.habit.price(random, -300, 500)
        return Intent(
            account=self.person.account,
            resource=resource,
            asset=asset,
            units=units,
            units_min=random.choice((1, 1, 1, units, max(1, units // 2))),
            limit=units * price + self.around.habit.rest(random, units),
            immediate=random.random() < 0.2,  # noqa: PLR2004  one in five
            epoch=self.epoch(),
            nonce=self.next_nonce(),
            **self.life(),
        )

    def message(self, paper: Paperwork, body: bytes) -> Publish:
        """A POST."""
        return Publish(sender=self.person.account, kind=paper.kind, body=body)

    async def cancel(self) -> None:
        """Withdraw a document; now and then somebody else's, or on chain."""
        if not self.papers:
            return
        paper = self.random.choice(self.papers)
        if self.random.random() < 0.1:  # noqa: PLR2004  one in ten
            self.around.chain.act("cancel", self.person.account, nonce=paper.document.nonce)
        elif self.around.faults.strike(FaultKind.FOREIGN_DOCUMENT):
            await self.refused(Cancel(sender=DEPLOYMENT.usdc, digest=self.papers[-1].digest))
        else:
            await self.insist(Cancel(sender=self.person.account, digest=paper.digest))

    def asset(self) -> str:
        """Mostly money."""
        credit = self.random.random() < self.around.habit.credit_share
        return ADDRESS_ZERO if credit else DEPLOYMENT.usdc

    def life(self) -> dict[str, int]:
        """How long a document is good."""
        starts = self.random.choice((0, 0, 0, 0, 1 + self.random.randrange(5)))
        until = self.now_s() + self.random.choice(self.around.habit.lives_s)
        return {"valid_from": self.now_s() + starts if starts else 0, "valid_until": until}


def _forged(paper: Paperwork, random: Random) -> bytes:
    """The same document with a signature that is not its own."""
    bad = random.choice(
        (
            "0x" + "00" * 65,
            "0x" + "ff" * 65,
            paper.signature[:-2] + "05",
            paper.signature[:40] + "0000" + paper.signature[44:],
            "rubbish",
            "0x" + "11" * 3_000,
        )
    )
    return msgspec.json.encode({"document": paper.document, "signature": bad})
