"""What happens in the demo, step by step, and what is kept of it for the report."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, Final

import msgspec
from rich.console import Console

from contracts.bindings import SETTLEMENT, BatchSettled, MeteredSettled, decode_log
from contracts.deploy import Receipt
from solver.client import Agent, BoughtIntent, MarketFault, Purchase, Rejected, Stream
from solver.client.model import Event, Pooled
from solver.demo.books import Books, Comparison
from solver.demo.leak import find_secrets
from solver.demo.model_upstream import MODEL
from solver.demo.stage import CHAT, SEARCH, Stage, until_funded

DEPOSIT_ATOMS: Final = 2 * 10**6
CALLS_AT_ONCE: Final = 4
CALLS_BEFORE_DEATH: Final = 12
SMALL_UNITS: Final = 1_000
OURS: Final = ("book", "batch")
EXTERNAL: Final = ("-m", "solver.demo.external_solver")
"""A solver that is not ours."""
SMALL_CALLS: Final = 40
QUERIES: Final = ("socket", "asyncio", "json", "regular expression", "thread", "zip", "hash")
PROMPTS: Final = (
    "What does open return for a file?",
    "Explain the asyncio event loop",
    "When is a TimeoutError raised?",
)
SHORT_SECONDS: Final = 12
"""How long the intents live that will not be filled: the demo waits for their end."""


class Bought(msgspec.Struct, kw_only=True):
    """An intent of the demo and what it is there to show."""

    buyer: str
    shows: str
    intent: BoughtIntent


class Call(msgspec.Struct, kw_only=True):
    """One call that was made."""

    buyer: str
    resource: str
    asked: str
    answer: str
    status: int
    units: int


class Transaction(msgspec.Struct, kw_only=True):
    """A batch on chain; metered ones have numbers of their own."""

    number: int
    metered: bool
    hash: str
    block: int
    gas: int
    settled: int
    skipped: int
    paid: int


class Story(msgspec.Struct, kw_only=True):
    """Everything that the report tells."""

    pages: int = 0
    bought: list[Bought] = []
    small: list[BoughtIntent] = []
    """Intents of one call each, which are paid in sums."""
    events: list[Event] = []
    calls: list[Call] = []
    transactions: list[Transaction] = []
    books: list[Books] = []
    names: dict[str, str] = {}
    leaks: list[str] = []

    @property
    def intents(self) -> list[BoughtIntent]:
        """All of them."""
        return [one.intent for one in self.bought] + self.small

    @property
    def agrees(self) -> bool:
        """Whether every account agrees and no key was found anywhere."""
        return bool(self.books) and all(one.agree for one in self.books) and not self.leaks


class Scenario:
    """Runs the main job on a stage. Steps print one line each as they end."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._keys: dict[str, Pooled] = {}
        self._tokens: dict[str, str] = {}
        self._busy = asyncio.Event()
        """Set once some calls were served, so that the key dies in the middle of them."""
        self.story: Final = Story()

    async def run(self) -> Story:
        """All of it, in order."""
        await self._set_up()
        await self._step("offers: five search keys' and two models' capacity", self._offers())
        await self._step("search: intents cross the book", self._buy_searches())
        await self._step("search: calls through the proxy; one key dies", self._call_searches())
        await self._step("small calls: one signature pays for all of them", self._buy_small())
        await self._step("chat: three solvers compete for an epoch", self._buy_chats())
        await self._step("chat: streamed calls, metered by tokens", self._call_chats())
        await self._step("settlement: batches on chain, final, paid", self._settle())
        await self._step("books: compare chain, book and fills", self._compare())
        return self.story

    async def _set_up(self) -> None:
        stage = self._stage
        await self._step("Anvil: a fresh chain", stage.start_chain())
        await self._step("upstreams: Datasette and a model server", stage.start_upstreams())
        self.story.pages = stage.search.pages
        await self._step("market: contracts deployed, open for business", stage.start_market())
        stage.market.keep(self._follow())
        await self._step("solvers connect: two of ours, one of somebody else's", self._compete())
        await self._step("parties: accounts, deposits, session keys", self._gather_parties())
        await self._step("keys: sealed, health-checked, pooled", self._contribute())

    async def _compete(self) -> None:
        """Nobody competes within the market's process."""
        for name in OURS:
            await self._stage.start_strategy(name)
        await self._stage.start_solver("solver", EXTERNAL)

    async def _step(self, name: str, work: Awaitable[None]) -> None:
        clock = asyncio.get_running_loop()
        started = clock.time()
        with self._console.status(f"{name} …"):
            await work
        self._console.print(f"[green]✓[/] {name} [dim]{clock.time() - started:.1f} s[/]")

    async def _follow(self) -> None:
        with contextlib.suppress(MarketFault):
            async with self._stage.market.feed() as events:
                async for event in events:
                    self.story.events.append(event)

    # -- parties

    async def _gather_parties(self) -> None:
        self.buyers = {
            name: await self._stage.buyer(name, DEPOSIT_ATOMS) for name in ("ana", "ben", "cleo")
        }
        self.sellers = {name: self._stage.seller(name) for name in ("dora", "emil", "fay")}
        self.buyers["gil"] = await self._stage.small_buyer("gil", DEPOSIT_ATOMS)
        for name, buyer in self.buyers.items():
            self.story.names[buyer.owner.account] = name
        for name, seller in self.sellers.items():
            self.story.names[seller.contributor.account] = name
        for buyer in self.buyers.values():
            await until_funded(buyer.agent)

    async def _contribute(self) -> None:
        stage = self._stage
        for key, owner in (("d1", "dora"), ("d2", "dora"), ("e1", "emil"), ("f1", "fay")):
            self._tokens[key] = stage.search_token(owner)
            self._keys[key] = await self._pool(owner, "datasette", self._tokens[key])
        for key, owner in (("e2", "emil"), ("f2", "fay")):
            secret = stage.model_key()
            self._keys[key] = await self._pool(owner, "openai-compatible", secret)
        await self._show_refused_key()

    async def _pool(self, owner: str, provider: str, secret: str) -> Pooled:
        contributor = self.sellers[owner].contributor
        return await contributor.contribute(provider, secret, attest=True)

    async def _show_refused_key(self) -> None:
        """A key that the upstream does not know never enters the pool."""
        with contextlib.suppress(Rejected):
            await self._pool("fay", "datasette", "nobody-knows-this-token")
            raise AssertionError("a dead key was pooled")

    # -- search: continuous trading

    async def _offers(self) -> None:
        await self._offer("dora", SEARCH, "d1", units=40, limit=40_000, window=(40, 60))
        await self._offer("dora", SEARCH, "d2", units=30, limit=36_000)
        await self._offer("emil", SEARCH, "e1", units=60, limit=90_000)
        await self._offer("emil", CHAT, "e2", units=5_000, limit=50_000)
        await self._offer("fay", CHAT, "f2", units=2_500, limit=50_000)

    async def _offer(
        self,
        owner: str,
        resource: str,
        key: str,
        *,
        units: int,
        limit: int,
        window: tuple[int, int] = (0, 0),
    ) -> None:
        await self.sellers[owner].contributor.offer(
            resource, key=self._keys[key].key, units=units, limit=limit, window=window
        )

    async def _buy_searches(self) -> None:
        await self._buy("ana", "fills at once", SEARCH, units=30, limit=60_000)
        await self._buy("ben", "all or none", SEARCH, units=50, limit=100_000, units_min=50)
        await self._buy(
            "cleo", "partial, then done", SEARCH, units=100, limit=160_000, immediate=True
        )
        await self._buy(
            "ana", "too cheap to fill", SEARCH, units=20, limit=2_000, valid_seconds=SHORT_SECONDS
        )
        cancelled = await self._buy("ben", "cancelled", SEARCH, units=10, limit=5_000)
        await cancelled.cancel()
        # Comes after the matching, so it stands by for the key that is going to die.
        await self._offer("fay", SEARCH, "f1", units=40, limit=44_000)

    async def _buy(
        self, buyer: str, shows: str, resource: str, **terms: int | bool
    ) -> BoughtIntent:
        agent: Agent = self.buyers[buyer].agent
        intent = await agent.intent(resource, **terms)  # type: ignore[arg-type]
        self.story.bought.append(Bought(buyer=buyer, shows=shows, intent=intent))
        return intent

    async def _call_searches(self) -> None:
        plan = (("ana", 0, 25), ("ben", 1, 50), ("cleo", 2, 40))
        kill = asyncio.create_task(self._kill_key_soon())
        await asyncio.gather(*(self._search(buyer, at, count) for buyer, at, count in plan))
        await kill
        for _, at, _ in plan:
            await self.story.bought[at].intent.done()

    async def _kill_key_soon(self) -> None:
        """Datasette stops accepting one of dora's tokens while ben's calls run."""
        await self._busy.wait()
        self._stage.search.revoke_token(self._tokens["d2"])

    async def _search(self, buyer: str, at: int, count: int) -> None:
        intent = self.story.bought[at].intent
        gate = asyncio.Semaphore(CALLS_AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                asked = QUERIES[number % len(QUERIES)]
                query: dict[str, str | int] = {"_search": asked, "_size": 1, "_shape": "objects"}
                answer = await intent.call("GET", "/docs/pages.json", query=query)
                self.story.calls.append(
                    Call(
                        buyer=buyer,
                        resource=SEARCH,
                        asked=asked,
                        answer=_first_hit(answer.json()),
                        status=answer.status,
                        units=answer.units if answer.units is not None else 1,
                    )
                )
                if len(self.story.calls) >= CALLS_BEFORE_DEATH:
                    self._busy.set()

        await asyncio.gather(*(one(number) for number in range(count)))

    # -- small calls, paid in sums

    async def _buy_small(self) -> None:
        """A mandate, and under it an intent a call: nothing of them is a line on chain."""
        await self._offer("dora", SEARCH, "d1", units=SMALL_CALLS, limit=SMALL_CALLS * 800)
        agent = self.buyers["gil"].agent
        mandate = await agent.mandate(limit=DEPOSIT_ATOMS // 2, tick_max=1_000 * 10**6)
        purchase = Purchase(resource=SEARCH, units=1, limit=1_000)
        for one in await mandate.buy_many([purchase] * SMALL_CALLS):
            self.story.small.append(await agent.find(one.intent()))
        gate = asyncio.Semaphore(CALLS_AT_ONCE)
        await asyncio.gather(*(self._call_small(gate, intent) for intent in self.story.small))

    async def _call_small(self, gate: asyncio.Semaphore, intent: BoughtIntent) -> None:
        async with gate:
            query: dict[str, str | int] = {"_search": "zip", "_size": 1, "_shape": "objects"}
            answer = await intent.call("GET", "/docs/pages.json", query=query)
            self.story.calls.append(
                Call(
                    buyer="gil",
                    resource=SEARCH,
                    asked="zip",
                    answer=_first_hit(answer.json()),
                    status=answer.status,
                    units=1,
                )
            )

    # -- chat: epochs and competition

    async def _buy_chats(self) -> None:
        """All become tradable in the same instant, so that one auction has them all."""
        start = {"delay_seconds": 3, "valid_seconds": SHORT_SECONDS}
        bids = (
            ("ana", 3_000, 180_000, 3_000, "all or none, dearest"),
            ("ben", 2_500, 137_500, 2_500, "all or none, left over"),
            ("cleo", 3_500, 175_000, 3_500, "all or none, fits better"),
            ("ana", 500, 20_000, 1, "plain"),
        )
        for buyer, units, limit, minimum, shows in bids:
            await self._buy(
                buyer, shows, CHAT, units=units, limit=limit, units_min=minimum, **start
            )
        chats = [one for one in self.story.bought if one.intent.state.resource == CHAT]
        await asyncio.gather(*(chats[at].intent.filled() for at in (0, 2, 3)))

    async def _call_chats(self) -> None:
        chats = [one for one in self.story.bought if one.intent.state.resource == CHAT]
        filled = [one for one in chats if (await one.intent.refresh()).filled_units]
        await asyncio.gather(*(self._chat(one) for one in filled))
        for one in filled:
            await one.intent.done()

    async def _chat(self, bought: Bought) -> None:
        for prompt in PROMPTS if bought.intent.state.units > SMALL_UNITS else PROMPTS[:1]:
            body = {
                "model": MODEL,
                "stream": True,
                "max_tokens": 64,
                "messages": [{"role": "user", "content": prompt}],
            }
            async with bought.intent.stream("POST", "/v1/chat/completions", json=body) as stream:
                text, tokens = await _read_stream(stream)
            self.story.calls.append(
                Call(
                    buyer=bought.buyer,
                    resource=CHAT,
                    asked=prompt,
                    answer=text,
                    status=stream.status,
                    units=tokens,
                )
            )

    # -- settlement

    async def _settle(self) -> None:
        await asyncio.gather(*(intent.settled() for intent in self.story.intents))
        self.story.transactions = await self._transactions()

    async def _transactions(self) -> list[Transaction]:
        """The batches' transactions, from the chain's own logs and receipts."""
        chain, deployment = self._stage.chain, self._stage.deployment
        final = await chain.finalized()
        logs = await chain.logs(
            deployment.deploy_block,
            final.number,
            topics=[SETTLEMENT.event(name).topic for name in ("BatchSettled", "MeteredSettled")],
            addresses=[deployment.settlement],
        )
        transactions = []
        for raw in logs:
            log, receipt = decode_log(raw), await chain.receipt(raw.transaction_hash)
            assert isinstance(log, BatchSettled | MeteredSettled)
            assert receipt is not None
            transactions.append(self._told(log, receipt))
        return transactions

    def _told(self, log: BatchSettled | MeteredSettled, receipt: Receipt) -> Transaction:
        return Transaction(
            number=log.number,
            metered=isinstance(log, MeteredSettled),
            hash=receipt.transaction_hash,
            block=receipt.block_number,
            gas=receipt.gas_used,
            settled=self._fills_under(log.root) if isinstance(log, MeteredSettled) else log.settled,
            skipped=0 if isinstance(log, MeteredSettled) else log.skipped,
            paid=log.paid,
        )

    def _fills_under(self, root: str) -> int:
        """How many fills a metered batch paid for: they are not on chain, their root is."""
        cuts = (one.facts for one in self.story.events if one.event == "BatchCut")
        return sum(len(facts["lines"]) for facts in cuts if facts["digest"] == root)

    # -- books

    async def _compare(self) -> None:
        story = self.story
        comparison = Comparison(self._stage, story.events, story.intents)
        story.books = await comparison.made(
            self.buyers.values(), DEPOSIT_ATOMS, self.sellers.values()
        )
        story.leaks = await asyncio.to_thread(find_secrets, self._stage.folder, self._stage.secrets)


async def _read_stream(stream: Stream) -> tuple[str, int]:
    """The text of a streamed completion, and the tokens that it says it used."""
    words, tokens, buffer = "", 0, b""
    async for chunk in stream:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                event = msgspec.json.decode(line[6:])
                words += event["choices"][0]["delta"].get("content", "")
                tokens = event.get("usage", {}).get("total_tokens", tokens)
    return words.strip(), tokens


def _first_hit(answer: dict[str, Any]) -> str:
    rows = answer.get("rows") or []
    return f"{rows[0]['name']}" if rows else "no hit"
