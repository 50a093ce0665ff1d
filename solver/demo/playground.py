"""A market in which solvers can be tried: live traffic, and three solvers to beat."""

import asyncio
import os
import random
import secrets
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from intents.signature import SigningKey
from solver.client import Agent, Contributor, MarketFault
from solver.demo.model_upstream import MODEL
from solver.demo.process import StartFailed
from solver.demo.stage import CHAT, Stage, until_funded

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
            for seller, key in self._sellers:
                tasks.create_task(self._sell(seller, key))
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

    async def _seller(self) -> tuple[Contributor, str]:
        seller = Contributor(self._stage.market, SigningKey.generate())
        secret = self._stage.model_key()
        pooled = await seller.contribute("openai-compatible", secret, attest=True)
        return seller, pooled.key

    async def _entry(self) -> Entry:
        path = self._stage.folder / "newcomer.key"
        key = SigningKey(_new_secret(path))
        await self._stage.fund(key, DEPOSIT_ATOMS)
        url = self._stage.market.url
        join = f"{sys.executable} -u -m solver.demo.newcomer_solver {url} {path}"
        return Entry(url=url, key_file=str(path), join=join)

    # -- traffic

    async def _sell(self, seller: Contributor, key: str) -> None:
        """Offer a little, at another price each time, over and over."""
        while True:
            units = self._chance.randint(800, 2_000)
            try:
                await seller.offer(
                    CHAT,
                    key=key,
                    units=units,
                    limit=units * self._chance.randint(60, 75),
                    valid_seconds=LIVES_SECONDS,
                )
                await asyncio.sleep(OFFER_PAUSE_SECONDS)
            except (MarketFault, TimeoutError):
                await asyncio.sleep(FAULT_PAUSE_SECONDS)

    async def _buy(self, agent: Agent) -> None:
        """Buy, call and be done, over and over; what is not filled in time lapses."""
        while True:
            try:
                await self._buy_once(agent)
            except (MarketFault, TimeoutError):
                await asyncio.sleep(FAULT_PAUSE_SECONDS)

    async def _buy_once(self, agent: Agent) -> None:
        """Half of the intents are all or none: what those are worth is for solvers to find."""
        units = self._chance.randint(1_000, 2_500)
        intent = await agent.intent(
            CHAT,
            units=units,
            limit=units * self._chance.randint(70, 90),
            units_min=self._chance.choice((1, units)),
            valid_seconds=LIVES_SECONDS,
        )
        await intent.filled(1)
        body = {
            "model": MODEL,
            "max_tokens": ANSWER_TOKENS,
            "messages": [{"role": "user", "content": "What does open return for a file?"}],
        }
        await intent.call("POST", "/v1/chat/completions", json=body)
        await intent.done()


def _new_secret(path: Path) -> bytes:
    """A new key's bytes, kept in a file that only its owner may read."""
    secret = secrets.token_bytes(32)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret.hex())
    return secret
