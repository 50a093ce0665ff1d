"""Builders and real counterparts for the vault's tests: an upstream server, an engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from intents.reject import Reject, RejectCode, reject
from solver.core.command import Outcome
from solver.vault import (
    Answer,
    CallRequest,
    Candidate,
    Catalogue,
    Contributed,
    Egress,
    KeyStore,
    LocalKeyWrapper,
    Proxy,
    Secret,
    StartedCall,
    Vault,
)
from solver.vault.catalogue import parse_provider
from solver.vault.template import Provider, Timeouts
from tests.canary import CANARY

KEY = CANARY.encode()
"""What the plugin in tests/canary.py looks for after every test."""
OTHER_KEY = b"sk-live/aaQ1ws2ED3rf4TG5yh6UJ7ik8OL9p0Zx1c"
OWNER = "0x" + "0a" * 20
BUYER = "0x" + "0b" * 20
INTENT = "0x" + "01" * 32
NOW_MS = 1_800_000_000_000
SEARCH = "echo/search:call"
CHAT = "echo/chat:token"

PROVIDER = """
name = "echo"
title = "Echo"
base_url = "BASE"
private_network = true
sharing = "allowed"
attestation = "It is mine."
request_headers = ["x-echo-mode"]
response_headers = ["x-echo"]
response_bytes_max = 300000
request_bytes_max = 20000
limit = [{ units = 10, seconds = 60 }]
key = { header = "authorization", format = "Bearer {key}" }
probe = { path = "/probe", ok = [200], dead = [401, 403] }
timeouts = { connect_ms = 60_000, headers_ms = 60_000, idle_ms = 60_000, total_ms = 120_000 }

[[resource]]
name = "echo/search:call"
unit = "call"
metering = { rule = "per_call" }
operation = [
  { method = "GET", path = "/search/{index}.json", query_forbidden = ["debug"] },
  { method = "POST", path = "/search" },
]

[[resource]]
name = "echo/chat:token"
unit = "token"
metering = { rule = "usage_tokens" }
operation = [{ method = "POST", path = "/v1/chat/completions", require = { model = "small" } }]
"""


QUICK = Timeouts(connect_ms=60_000, headers_ms=1_000, idle_ms=300, total_ms=120_000)
"""For upstreams that are silent; for all others a time-out would be the machine's."""


def a_provider(base_url: str = "http://127.0.0.1:1", **changes: Any) -> Provider:
    """The test provider at `base_url`, with fields changed."""
    provider = parse_provider(PROVIDER.replace("BASE", base_url), "echo.toml")
    return msgspec.structs.replace(provider, **changes)


def a_search(**changes: Any) -> CallRequest:
    """A request that the search resource covers."""
    return CallRequest(**{"method": "GET", "path": "/search/books.json", **changes})


def a_chat(**fields: Any) -> CallRequest:
    """A request that the chat resource covers."""
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}], **fields}
    return CallRequest(method="POST", path="/v1/chat/completions", body=msgspec.json.encode(body))


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Upstream:
    """A real HTTP server. `handler` answers all but `/probe`, which tells live keys from dead."""

    def __init__(self) -> None:
        self.handler: Handler = _hello
        self.base_url = ""
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.probes = 0
        self.probe_status = 200
        self.dead: set[str] = set()
        self.stop: Callable[[], Awaitable[None]]

    @property
    def authorizations(self) -> list[str]:
        """The Authorization header of each request that was not a probe."""
        return [headers.get("Authorization", "") for _, _, headers, _ in self.requests]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path == "/probe":
            self.probes += 1
            return web.Response(status=401 if key in self.dead else self.probe_status)
        body = await request.read()
        self.requests.append((request.method, request.raw_path, dict(request.headers), body))
        if key in self.dead:
            return web.Response(status=401, text=f"invalid key {key}")
        return await self.handler(request)


async def _hello(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


@asynccontextmanager
async def an_upstream() -> AsyncIterator[Upstream]:
    """A running upstream on a free port of loopback."""
    upstream = Upstream()
    server = web.Server(upstream.answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    upstream.base_url = f"http://127.0.0.1:{port}"
    upstream.stop = runner.cleanup
    try:
        yield upstream
    finally:
        await runner.cleanup()


@asynccontextmanager
async def a_raw_upstream(*pieces: bytes, pause_s: float = 0.0) -> AsyncIterator[str]:
    """The base URL of a server that writes `pieces` after any request, then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Engine:
    """A small engine: leases with units left, calls that are finished at most once."""

    def __init__(self) -> None:
        self.leases: dict[str, Candidate] = {}
        self.refusals: dict[str, Reject] = {}
        self.started: dict[str, StartedCall] = {}
        self.finished: dict[str, tuple[Outcome, int]] = {}
        self.blamed: list[str] = []
        """Calls that ended by the seller's fault."""
        self.refused: list[str] = []
        self.starting = asyncio.Event()
        self.may_start = asyncio.Event()
        self.may_start.set()

    def lease(self, key: str, *, resource: str = SEARCH, units: int = 5) -> str:
        """Open a lease on a key."""
        lease = f"lease-{len(self.leases)}"
        self.leases[lease] = Candidate(lease=lease, key=key, resource=resource, remaining=units)
        return lease

    async def candidates(self, intent: str) -> Sequence[Candidate]:
        """Every open lease."""
        assert intent == INTENT
        return tuple(each for each in self.leases.values() if each.key not in self.refused)

    async def start_call(self, lease: str, units: int) -> StartedCall | Reject:
        """Reserve units, atomically."""
        if lease in self.refusals:
            return self.refusals[lease]
        found = self.leases[lease]
        if found.remaining < units:
            return reject(RejectCode.LEASE_EXHAUSTED)
        self.leases[lease] = msgspec.structs.replace(found, remaining=found.remaining - units)
        call = f"call-{len(self.started)}"
        self.started[call] = StartedCall(
            call=call, lease=lease, key=found.key, resource=found.resource
        )
        self.starting.set()
        await self.may_start.wait()
        return self.started[call]

    async def finish_call(
        self, call: str, outcome: Outcome, units: int, *, sellers_fault: bool = False
    ) -> None:
        """Note the end; a second end of the same call is an error."""
        assert call in self.started
        assert call not in self.finished, "a call was finished twice"
        await asyncio.sleep(0)
        self.finished[call] = (outcome, units)
        if sellers_fault:
            self.blamed.append(call)

    async def report_refused(self, key: str) -> None:
        """A dead key takes its leases along."""
        self.refused.append(key)

    @property
    def ends(self) -> list[tuple[Outcome, int]]:
        """How the calls ended, in the order in which they were started."""
        return [self.finished[call] for call in self.started]


class World:
    """A vault with a real upstream and store, and an engine."""

    def __init__(self, vault: Vault, upstream: Upstream, path: Path) -> None:
        self.vault = vault
        self.upstream = upstream
        self.path = path
        self.engine = Engine()
        self.now_ms = NOW_MS
        self.proxy: Proxy = vault.proxy(self.engine)

    async def pool(self, key: bytes = KEY, *, resource: str = SEARCH, units: int = 5) -> str:
        """Contribute a key and lease it; its id."""
        contributed = await self.vault.contribute(OWNER, "echo", Secret(key), attested=True)
        assert isinstance(contributed, Contributed), contributed
        self.engine.lease(contributed.key_id, resource=resource, units=units)
        return contributed.key_id

    async def call(self, request: CallRequest | None = None, **options: Any) -> Answer | Reject:
        """One call as the buyer."""
        return await self.proxy.call(INTENT, request or a_search(), buyer=BUYER, **options)

    async def fetch(self, request: CallRequest | None = None) -> tuple[Answer, bytes]:
        """One call whose whole body is read."""
        answer = await self.call(request)
        assert isinstance(answer, Answer), answer
        return answer, await read(answer)


async def read(answer: Answer) -> bytes:
    """The whole body."""
    async with answer:
        return b"".join([chunk async for chunk in answer])


@asynccontextmanager
async def a_world(path: Path, **changes: Any) -> AsyncIterator[World]:
    """A running world whose provider has these fields changed."""
    async with an_upstream() as upstream, Egress() as egress:
        provider = a_provider(upstream.base_url, **changes)
        store = KeyStore(path / "keys.sqlite")
        vault = Vault(
            store=store,
            wrapper=LocalKeyWrapper(path / "kek"),
            catalogue=Catalogue({"echo": provider}),
            egress=egress,
            clock_ms=lambda: NOW_MS,
        )
        world = World(vault, upstream, path)
        try:
            yield world
        finally:
            await world.proxy.drain()
            store.close()
            assert world.engine.started.keys() == world.engine.finished.keys()
