"""A market in which solvers can be tried: live traffic, and three solvers to beat.

The traffic has what a book alone serves badly: intents that are all or none, bundles over both
resources, and any-ofs. It says in words what became of the latter two.
"""

import asyncio
import os
import random
import secrets
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from intents.bound import TICK_UNITS
from intents.rounding import mul_div_floor
from intents.signature import SigningKey
from solver.client import (
    Agent,
    BoughtBundle,
    BoughtIntent,
    Contributor,
    MarketFault,
    NotFilled,
    Purchase,
)
from solver.demo.model_upstream import MODEL
from solver.demo.process import StartFailed
from solver.demo.stage import CHAT, SEARCH, Stage, until_funded

RESOURCES: Final = (CHAT, SEARCH)
NOUNS: Final = {CHAT: "tokens", SEARCH: "searches"}
RIVALS: Final = ("book", "batch", "milp")
BUYERS: Final = 3
BUYING_AT_ONCE: Final = 2
"""Intents of each buyer: so several are in every auction."""
SELLERS: Final = 2
DEPOSIT_ATOMS: Final = 1_000 * 10**6
LIVES_SECONDS: Final = 6
"""Of an intent and of an offer: a few auctions, and the call."""
OFFER_PAUSE_SECONDS: Final = 2
"""So less is offered than is wanted, and who gets it is worth competing for."""
FAULT_PAUSE_SECONDS: Final = 0.5
ANSWER_TOKENS: Final = 32


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a newcomer needs."""

    url: str
    key_file: str
    """Of an account with money in it."""
    capacity_file: str
    """An API key that nobody else sells from."""
    join: str
    """The command that runs a newcomer's solver."""


class Playground:
    """Opens a market on a stage and keeps it busy."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._chance: Final = random.Random()  # noqa: S311  traffic, not a secret

    async def open(self) -> Entry:
        """Chain, contracts, upstreams, market, solvers and parties, in that order."""
        stage = self._stage
        self._console.print("a fresh chain, two upstreams, the market …")
        await stage.start_chain()
        await stage.start_upstreams()
        await stage.start_market()
        self._console.print(f"solvers: {', '.join(RIVALS)}; buyers and sellers …")
        for name in RIVALS:
            await stage.start_strategy(name)
        self._buyers = [await self._buyer() for _ in range(BUYERS)]
        self._sellers = [await self._seller() for _ in range(SELLERS)]
        return await self._entry()

    async def trade(self) -> None:
        """Buy and sell until cancelled. Raises StartFailed where a process ends by itself."""
        async with asyncio.TaskGroup() as tasks:
            for seller, keys in self._sellers:
                tasks.create_task(self._sell(seller, keys))
            for agent in self._buyers * BUYING_AT_ONCE:
                tasks.create_task(self._buy(agent))
            await self._stage.wait_for_processes()
            raise StartFailed(f"a process ended by itself: see {self._stage.folder}/*.log")

    # -- parties

    async def _buyer(self) -> Agent:
        key = SigningKey.generate()
        await self._stage.fund(key, DEPOSIT_ATOMS)
        agent = Agent(self._stage.market, key)
        await until_funded(agent)
        return agent

    async def _seller(self) -> tuple[Contributor, dict[str, str]]:
        """A contributor, and its key for each resource."""
        stage = self._stage
        seller = Contributor(stage.market, SigningKey.generate())
        chat = await seller.contribute("openai-compatible", stage.model_key(), attest=True)
        search = await seller.contribute("datasette", stage.search_token("seller"), attest=True)
        return seller, {CHAT: chat.key, SEARCH: search.key}

    async def _entry(self) -> Entry:
        path, capacity = (self._stage.folder / f"newcomer.{name}" for name in ("key", "capacity"))
        secret = secrets.token_bytes(32)
        _keep_secret(path, secret.hex())
        _keep_secret(capacity, self._stage.model_key())
        await self._stage.fund(SigningKey(secret), DEPOSIT_ATOMS)
        url = self._stage.market.url
        join = f"{sys.executable} -u -m solver.demo.newcomer_solver {url} {path} {capacity}"
        return Entry(url=url, key_file=str(path), capacity_file=str(capacity), join=join)

    # -- traffic

    async def _sell(self, seller: Contributor, keys: dict[str, str]) -> None:
        """Offer a little of each, at another price each time, over and over."""
        while True:
            tokens, searches = self._chance.randint(800, 2_000), self._chance.randint(10, 30)
            worth = {
                CHAT: (tokens, tokens * self._chance.randint(60, 75)),
                SEARCH: (searches, searches * self._chance.randint(2_000, 3_000)),
            }
            try:
                for resource, (units, limit) in worth.items():
                    await seller.offer(
                        resource,
                        key=keys[resource],
                        units=units,
                        limit=limit,
                        valid_seconds=LIVES_SECONDS,
                    )
                await asyncio.sleep(OFFER_PAUSE_SECONDS)
            except (MarketFault, TimeoutError):
                await asyncio.sleep(FAULT_PAUSE_SECONDS)

    async def _buy(self, agent: Agent) -> None:
        """Buy, call and be done, over and over; what is not filled in time lapses."""
        ways = (self._buy_alone, self._buy_alone, self._buy_together, self._buy_either)
        while True:
            try:
                await self._chance.choice(ways)(agent)
            except (MarketFault, TimeoutError):
                await asyncio.sleep(FAULT_PAUSE_SECONDS)

    async def _buy_alone(self, agent: Agent) -> None:
        """Half of these are all or none: what those are worth is for solvers to find."""
        wanted = self._chat()
        intent = await agent.intent(
            CHAT,
            units=wanted.units,
            limit=wanted.limit,
            units_min=self._chance.choice((1, wanted.units)),
            valid_seconds=LIVES_SECONDS,
        )
        await intent.filled(1)
        await _use(intent)

    async def _buy_together(self, agent: Agent) -> None:
        """Look it up and have it told: one is worth nothing without the other."""
        bundle = await agent.buy_bundle([self._chat(), self._searches()])
        await self._follow(bundle, "together")

    async def _buy_either(self, agent: Agent) -> None:
        """An answer, from the model or from the documents."""
        bundle = await agent.buy_bundle([self._chat(), self._searches()], any_of=True)
        await self._follow(bundle, "either")

    def _chat(self) -> Purchase:
        units = self._chance.randint(1_000, 2_500)
        limit = units * self._chance.randint(70, 90)
        return Purchase(resource=CHAT, units=units, limit=limit, valid_seconds=LIVES_SECONDS)

    def _searches(self) -> Purchase:
        units = self._chance.randint(8, 25)
        limit = units * self._chance.randint(2_400, 3_600)
        return Purchase(resource=SEARCH, units=units, limit=limit, valid_seconds=LIVES_SECONDS)

    async def _follow(self, bundle: BoughtBundle, kind: str) -> None:
        """Wait for it, say what became of it, and use it."""
        asked = [f"{leg.state.units:,} {NOUNS[leg.state.resource]}" for leg in bundle.legs]
        wish = (" and " if kind == "together" else " or ").join(asked)
        try:
            filled = await bundle.filled()
        except NotFilled:
            self._say(f"{kind:8}  {wish}: nothing, nobody could serve it in time")
            return
        told = " and ".join([await _told(leg) for leg in filled])
        self._say(f"{kind:8}  {wish}: {told}")
        for leg in filled:
            await _use(leg)

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)


async def _told(leg: BoughtIntent) -> str:
    """What was filled, what it costs if all of that is used, and its part of the limit."""
    state = leg.state
    price = sum(mul_div_floor(lease.units, lease.tick, TICK_UNITS) for lease in await leg.leases())
    limit = mul_div_floor(state.limit, state.filled_units, state.units)
    noun = NOUNS[state.resource]
    return f"{state.filled_units:,} {noun} for {_usdc(price)} USDC (limit {_usdc(limit)})"


def _usdc(atoms: int) -> str:
    whole, rest = divmod(atoms, 10**6)
    return f"{whole}.{rest:06}"


async def _use(intent: BoughtIntent) -> None:
    """One call, and no more."""
    if intent.state.resource == CHAT:
        body = {
            "model": MODEL,
            "max_tokens": ANSWER_TOKENS,
            "messages": [{"role": "user", "content": "What does open return for a file?"}],
        }
        await intent.call("POST", "/v1/chat/completions", json=body)
    else:
        await intent.call("GET", "/docs/pages.json", query={"_search": "file", "_size": 1})
    await intent.done()


def _keep_secret(path: Path, secret: str) -> None:
    """A new file that only its owner may read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret)
