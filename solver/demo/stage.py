"""Everything the demo and the playground run on: a chain, two upstreams, the market, solvers."""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from contracts.anvil import DEV_KEY, Anvil, Options
from contracts.deploy import Deployment, load
from intents.policy import Permission
from intents.signature import SigningKey
from solver.client import Agent, Contributor, Market, Rejected
from solver.demo.model_upstream import ModelUpstream
from solver.demo.process import StartFailed, Subprocess
from solver.demo.search_upstream import SearchUpstream
from solver.settlement.chain import ChainClient
from solver.settlement.owner import AccountOwner, fund_locally
from solver.settlement.wallet import Wallet

SEARCH: Final = "datasette/search:call"
CHAT: Final = "openai-compatible/chat:token"
MARK: Final = ".keyfill-demo"
BLOCK_SECONDS: Final = 0.5
EPOCH_MS: Final = 1_500
CHAIN_ID: Final = 31_337
RATE: Final = 10_000
"""Requests a second that one sender may make: everybody here shares one address."""
SESSION_CAP_ATOMS: Final = 5 * 10**6
DAY_SECONDS: Final = 86_400
METERED_ATOMS_MAX: Final = 50_000
"""What an intent may cost that is paid by a sum that its buyer signs."""
_START_SECONDS_MAX: Final = 120


class Buyer(msgspec.Struct, kw_only=True):
    """An owner with a smart account, and the agent whose session key may spend from it."""

    name: str
    owner: AccountOwner
    agent: Agent


class Seller(msgspec.Struct, kw_only=True):
    """A contributor and the upstream keys that it may put into the pool."""

    name: str
    contributor: Contributor
    wallet_owner: AccountOwner


class Stage:
    """What `stage` set up. Nothing in it is a stand-in: every part is the real one."""

    def __init__(
        self,
        folder: Path,
        market_module: str = "solver.cli",
        epoch_resources: Sequence[str] = (CHAT,),
    ) -> None:
        self.folder: Final = folder
        self._epoch_resources: Final = tuple(epoch_resources)
        self._market_module = market_module
        self.search: Final = SearchUpstream(folder / "upstream")
        self.model = ModelUpstream()
        self.secrets: Final[list[str]] = []
        """Upstream keys that were handed out; none may be found anywhere afterwards."""
        self.anvil: Anvil
        self.deployment: Deployment
        self.chain: ChainClient
        self.wallet: Wallet
        self.market: Market
        self.market_process: Subprocess
        self._funder = SigningKey(DEV_KEY)
        self._processes: list[Subprocess] = []
        self._exit = AsyncExitStack()

    @property
    def data_dir(self) -> Path:
        """The market's data folder."""
        return self.folder / "market"

    async def start_chain(self) -> None:
        """A fresh local chain."""
        await asyncio.to_thread(_empty, self.folder)
        options = Options(block_time_ms=round(BLOCK_SECONDS * 1_000))
        self.anvil = await asyncio.to_thread(Anvil.start, options)
        self._exit.callback(self.anvil.stop)
        self.chain = ChainClient(self.anvil.url, chain_id=CHAIN_ID)
        self._exit.push_async_callback(self.chain.close)
        await self.chain.start()

    async def start_upstreams(self) -> None:
        """Datasette behind tokens, and the model server behind keys."""
        # Before it starts: who is told to end meanwhile ends what has started.
        self._exit.push_async_callback(self.search.stop)
        await self.search.start()
        await self.start_model(self.folder / "upstream" / "docs.db")

    async def start_model(self, corpus: Path) -> None:
        """The model server alone."""
        await self.model.start(corpus)
        self._exit.push_async_callback(self.model.stop)

    async def start_market(self, port: int = 0) -> None:
        """`keyfill up` in a process of its own; the first time it deploys the contracts."""
        config = self.folder / "keyfill.toml"
        config.write_text(self._config(port))
        arguments = ["-m", self._market_module, "up", "--config", str(config)]
        self.market_process = await self._spawn("market", arguments)
        url = await self._market_url(self.market_process)
        self.deployment = load(self.data_dir / "deployment.json")
        self.market = await self._exit.enter_async_context(Market(url))

    async def kill_market(self) -> None:
        """SIGKILL, as a crash or the kernel would; nothing gets to say goodbye."""
        (self.data_dir / "node.json").unlink(missing_ok=True)
        await self.market_process.kill()

    async def start_strategy(self, name: str) -> None:
        """One of our own strategies, which the market treats like anybody's solver."""
        arguments = ("-m", "solver.cli", "solver", "run", "--strategy", name, "--market")
        await self.start_solver(f"solver-{name}", arguments)

    async def start_solver(self, name: str, arguments: Sequence[str]) -> None:
        """A solver in a process of its own: what Python runs, which the market's URL follows."""
        await self._spawn(name, [*arguments, self.market.url])

    async def fund(self, key: SigningKey, atoms: int) -> None:
        """Money in a key's own account."""
        self.wallet = Wallet(self.chain, [self._funder, key])
        await fund_locally(self.wallet, self.deployment, self._funder.address, key.address, atoms)
        await AccountOwner(self.wallet, self.deployment, key).deposit(atoms)

    async def buyer(self, name: str, deposit_atoms: int) -> Buyer:
        """Fund an owner, create its smart account, deposit, grant the agent's session key."""
        owner_key, agent_key = SigningKey.generate(), SigningKey.generate()
        self.wallet = Wallet(self.chain, [self._funder, owner_key])
        await fund_locally(
            self.wallet, self.deployment, self._funder.address, owner_key.address, deposit_atoms
        )
        owner = await AccountOwner.with_session_account(self.wallet, self.deployment, owner_key)
        await owner.deposit(deposit_atoms)
        await owner.grant_session(
            agent_key.address,
            permissions=Permission.SIGN | Permission.CANCEL,
            expires_at=int(time.time()) + DAY_SECONDS,
            cap=SESSION_CAP_ATOMS,
            period_s=DAY_SECONDS,
        )
        return Buyer(name=name, owner=owner, agent=Agent(self.market, agent_key, owner.account))

    async def small_buyer(self, name: str, deposit_atoms: int) -> Buyer:
        """The same, but the agent's key may sign receipts: for what it used, in sums."""
        buyer = await self.buyer(name, deposit_atoms)
        key = SigningKey.generate()
        await buyer.owner.grant_session(
            key.address,
            permissions=Permission.SIGN | Permission.CANCEL | Permission.RECEIPT,
            expires_at=int(time.time()) + DAY_SECONDS,
            cap=SESSION_CAP_ATOMS,
            period_s=DAY_SECONDS,
        )
        agent = Agent(self.market, key, buyer.owner.account)
        return Buyer(name=name, owner=buyer.owner, agent=agent)

    def seller(self, name: str) -> Seller:
        """A contributor with a key of its own and nothing deposited."""
        key = SigningKey.generate()
        wallet = Wallet(self.chain, [self._funder, key])
        return Seller(
            name=name,
            contributor=Contributor(self.market, key),
            wallet_owner=AccountOwner(wallet, self.deployment, key),
        )

    def search_token(self, owner: str) -> str:
        """A new token that Datasette accepts."""
        token = f"{owner}{secrets.token_hex(4)}-{secrets.token_hex(24)}"
        self.search.add_token(token, owner)
        self.secrets.append(token)
        return token

    def model_key(self) -> str:
        """A new key that the model server accepts."""
        key = f"sk-{secrets.token_hex(24)}"
        self.model.add_key(key)
        self.secrets.append(key)
        return key

    async def stop(self) -> None:
        """Stop everything, in reverse."""
        await self._exit.aclose()

    async def wait_for_processes(self) -> None:
        """Until one of the processes ends by itself."""
        waits = [asyncio.create_task(process.wait()) for process in self._processes]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _spawn(self, name: str, arguments: list[str]) -> Subprocess:
        log = self.folder / f"{name}.log"
        process = await Subprocess.start([sys.executable, *arguments], log=log)
        self._processes.append(process)
        self._exit.push_async_callback(process.stop)
        return process

    async def _market_url(self, market: Subprocess) -> str:
        node = self.data_dir / "node.json"
        async with asyncio.timeout(_START_SECONDS_MAX):
            while not node.exists():
                if market.ended:
                    raise StartFailed(f"the market ended: {_tail(self.folder / 'market.log')}")
                await asyncio.sleep(0.05)
        url = str(msgspec.json.decode(node.read_bytes())["url"])
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
                answer.raise_for_status()
        except aiohttp.ClientError as error:
            reason = _tail(self.folder / "market.log")
            raise StartFailed(f"the market ended as soon as it had started: {reason}") from error
        return url

    def _config(self, port: int) -> str:
        return "\n".join(
            [
                f'data_dir = "{self.data_dir}"',
                f"port = {port}",
                'private_networks = ["datasette", "openai-compatible"]',
                "[chain]",
                f'rpc_url = "{self.anvil.url}"',
                f"block_seconds = {BLOCK_SECONDS}",
                "[market]",
                f"epoch_ms = {EPOCH_MS}",
                f"epoch_resources = {msgspec.json.encode(self._epoch_resources).decode()}",
                "batch_interval_ms = 1500",
                f"metered_atoms_max = {METERED_ATOMS_MAX}",
                "metered_interval_ms = 4000",
                "[auction]",
                "strategies = []",
                "[gateway]",
                f"address_per_second = {RATE}",
                f"account_per_second = {RATE}",
                "[upstreams]",
                f'datasette = "{self.search.url}"',
                f'openai-compatible = "{self.model.url}"',
                "",
            ]
        )


@asynccontextmanager
async def stage(
    folder: Path,
    market_module: str = "solver.cli",
    epoch_resources: Sequence[str] = (CHAT,),
) -> AsyncIterator[Stage]:
    """A stage that is taken down at the end, whatever happens.

    `market_module` is what runs as the market; tests plant bugs in it.
    """
    built = Stage(folder, market_module, epoch_resources)
    try:
        yield built
    finally:
        await built.stop()


async def until_funded(agent: Agent) -> None:
    """Wait until the market has seen the deposit, and the session, in a final block."""
    while True:
        # The market does not know a session key before its grant is final.
        with contextlib.suppress(Rejected):
            if (await agent.balance()).usdc.total:
                return
        await asyncio.sleep(0.1)


def _empty(folder: Path) -> None:
    """An empty folder with our mark. Deletes only what carries the mark."""
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise StartFailed(f"{folder} is not empty and not a demo's: name another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(
        "made by `keyfill`, whose demo and playground empty this folder when it starts\n"
    )


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else f"it said nothing (see {os.fspath(log)})"
