"""Buyers and sellers: what people do with a market, at their own pace, with some mischief."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import msgspec

from intents.bound import ADDRESS_ZERO
from intents.document import Intent, Offer
from intents.reject import Reject
from simulations.stream import stream
from simulations.swarm.auditor import Auditor
from simulations.swarm.chain import Chain
from simulations.swarm.contract import MAY_SIGN, Registry
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.finding import expect
from simulations.swarm.gate import (
    Answer,
    Cancel,
    Contribute,
    Done,
    Fetch,
    Message,
    Publish,
    Revoke,
)
from simulations.swarm.network import Network
from simulations.swarm.person import DEPLOYMENT, Paperwork, Person, paperwork
from simulations.swarm.upstream import CHAT, RERANK, SEARCH
from solver.core.command import Limit
from solver.engine.sequencer import Applied
from solver.vault.operation import CallRequest

PAUSE_S: Final = 0.9
CALLS_MAX: Final = 4
ATTEMPTS_MAX: Final = 3
PAPERS_KEPT_MAX: Final = 24
KEYS_MAX: Final = 8
PRICE_ATOMS: Final = 1_000
SESSION_CAP: Final = 60_000
REQUESTS: Final = {
    SEARCH: CallRequest(method="GET", path="/search"),
    RERANK: CallRequest(method="GET", path="/rerank"),
    CHAT: CallRequest(method="POST", path="/chat", body=b'{"q":"why?"}'),
}
KEY_LIMITS: Final = (
    (),
    (Limit(units=4, seconds=10),),
    (Limit(units=3, seconds=2), Limit(units=12, seconds=20)),
)
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
    seed: int


class Client:
    """One person: `live` until the world is calm. Subclasses say what there is to do."""

    def __init__(self, person: Person, around: Surroundings) -> None:
        self.person: Final = person
        self.around: Final = around
        self.random: Final = stream(around.seed, f"client:{person.name}")
        self.papers: list[Paperwork] = []
        self._nonce = self.random.randrange(1_000)
        self.moves: tuple[tuple[Move, int], ...] = ()

    async def live(self) -> None:
        """Move after move, as long as the world is alive."""
        faults = self.around.faults
        moves, weights = zip(*self.moves, strict=True)
        while faults.active:
            await asyncio.sleep(self.random.expovariate(1 / PAUSE_S))
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

    async def publish(self, document: Intent | Offer) -> None:
        """Sign and send, perhaps spoilt on the way."""
        paper = paperwork(self.person, document)
        around = self.around
        around.auditor.sign(paper.digest, document, self.person.key.address)
        around.registry.note(document, paper.signature, self.person.key.address)
        await self.spoil(paper)
        answer = await self.insist(self.message(paper, paper.body))
        if not isinstance(answer, Reject):
            # Accepted, or nobody knows: it is kept, to be asked about.
            self.papers = [*self.papers[1 - PAPERS_KEPT_MAX :], paper]

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
            await self.refused(Cancel(sender=DEPLOYMENT.usdc, digest=paper.digest))
        else:
            await self.insist(Cancel(sender=self.person.account, digest=paper.digest))

    def asset(self) -> str:
        """Mostly money."""
        return ADDRESS_ZERO if self.random.random() < 0.2 else DEPLOYMENT.usdc  # noqa: PLR2004

    def life(self) -> dict[str, int]:
        """How long a document is good: short, so that worlds come to an end."""
        starts = self.random.choice((0, 0, 0, 0, 1 + self.random.randrange(5)))
        until = self.now_s() + self.random.choice((4, 10, 20, 30))
        return {"valid_from": self.now_s() + starts if starts else 0, "valid_until": until}


class Buyer(Client):
    """Demands, calls, is done; moves money in and out of the chain."""

    def __init__(self, person: Person, around: Surroundings) -> None:
        super().__init__(person, around)
        self.moves = (
            (self.demand, 10),
            (self.call, 16),
            (self.cancel, 2),
            (self.done, 3),
            (self.move_money, 2),
        )

    async def demand(self) -> None:
        """Publish an intent."""
        units = self.random.choice((1, 1, 2, 3, 5, 8))
        resource = self.random.choice((SEARCH, SEARCH, RERANK, CHAT))
        units *= 4 if resource == CHAT else 1
        price = PRICE_ATOMS + self.random.randrange(-300, 500)
        document = Intent(
            account=self.person.account,
            resource=resource,
            asset=self.asset(),
            units=units,
            units_min=self.random.choice((1, 1, 1, units, max(1, units // 2))),
            limit=units * price + self.random.randrange(units),
            immediate=self.random.random() < 0.2,  # noqa: PLR2004  one in five
            epoch=self.epoch(),
            nonce=self.next_nonce(),
            **self.life(),
        )
        await self.publish(document)

    async def call(self) -> None:
        """Use an intent that was filled, a few times."""
        filled = list(self.around.auditor.open_fills.get(self.person.account, ()))
        if not filled:
            return
        intent = self.random.choice(filled)
        request = REQUESTS[self.around.auditor.papers[intent].document.resource]
        message = Fetch(sender=self.person.account, intent=intent, request=request)
        for _ in range(self.random.randint(1, CALLS_MAX)):
            await self.ask(message)

    async def done(self) -> None:
        """End an intent's leases."""
        if not self.papers:
            return
        paper = self.random.choice(self.papers)
        if self.around.faults.strike(FaultKind.FOREIGN_DOCUMENT):
            await self.refused(Done(sender=DEPLOYMENT.usdc, intent=paper.digest))
        else:
            await self.insist(Done(sender=self.person.account, intent=paper.digest))

    async def move_money(self) -> None:
        """Deposit, ask back, take out; or cancel everything, or end a session, or grant it."""
        chain, account = self.around.chain, self.person.account
        act = self.random.choices(
            ("deposit", "request", "take_back", "withdraw", "bump", "session"),
            (8, 1, 1, 2, 0.3, 3 if self.person.is_session else 0),
        )[0]
        match act:
            case "deposit":
                chain.act(act, account, amount=self.random.randrange(1, 40_000))
            case "request":
                chain.act(act, account, amount=self.random.choice((1, 5_000, 2**70)))
            case "session":
                self.change_session()
            case _:
                chain.act(act, account)

    def change_session(self) -> None:
        """Revoke or grant anew, sometimes with worse terms."""
        key = self.person.key.address
        if self.random.random() < 0.3:  # noqa: PLR2004  three in ten
            self.around.auditor.revoked.add(key)
            self.around.chain.act("revoke", self.person.account, key=key)
            return
        cap = SESSION_CAP * self.random.choice((1, 2, 4))
        self.around.auditor.revoked.add(key)  # a lower cap refuses what a higher one let pass
        grant(self.around.chain, self.person, self.now_s(), cap=cap)


class Seller(Client):
    """Pools keys and offers from them."""

    def __init__(self, person: Person, around: Surroundings) -> None:
        super().__init__(person, around)
        self.keys: list[str] = []
        self.moves = (
            (self.offer, 12),
            (self.pool, 1),
            (self.cancel, 2),
            (self.retire, 1),
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
                limits=self.random.choice(KEY_LIMITS),
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
        resource = self.random.choice((SEARCH, SEARCH, RERANK, CHAT))
        units *= 4 if resource == CHAT else 1
        window = self.random.choice((0, 0, 1 + self.random.randrange(3)))
        price = PRICE_ATOMS + self.random.randrange(-500, 300)
        document = Offer(
            account=self.person.account,
            resource=resource,
            asset=self.asset(),
            key=self.random.choice(self.keys),
            units=units,
            limit=units * price + self.random.randrange(units),
            window_units=window,
            window_seconds=4 * window,
            epoch=self.epoch(),
            nonce=self.next_nonce(),
            **self.life(),
        )
        await self.publish(document)

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


def grant(chain: Chain, person: Person, now_s: int, *, cap: int) -> None:
    """An account's owner gives its session key terms."""
    chain.act(
        "grant",
        person.account,
        key=person.key.address,
        permissions=MAY_SIGN,
        expires_at=now_s + 3_600,
        cap=cap,
    )


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
