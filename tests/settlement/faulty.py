"""A node's RPC with a proxy in front of it that does what proxies and nodes do to callers.

It forwards to a real Anvil. `strike` has the next requests of a method fail on the way;
`lie` changes what the node says, until `honest`.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any

import aiohttp
from aiohttp import web

from contracts.anvil import Anvil
from contracts.gas import CHAIN_ID
from solver.settlement.chain import ChainClient
from tests.patience import PATIENCE_S

TIMEOUT_S = 0.5
"""How long the client here waits while the node is about to be silent; else it is patient."""
Lie = Callable[[list[Any], Any], Any]
"""From the parameters of a request and what the node says to what the caller hears; a Refusal
is told as an error."""


class Refusal(str):
    """What a node says that does not answer."""

    __slots__ = ()


class Strike(Enum):
    """What happens to one request."""

    LOST = auto()
    """It never arrives, and there is no answer."""
    REFUSED = auto()
    """The connection ends before it arrives."""
    MUTE = auto()
    """It is carried out, and there is no answer."""
    CUT = auto()
    """It is carried out, and the answer ends in the middle."""
    TWICE = auto()
    """It is carried out twice; the second answer comes back."""
    GARBAGE = auto()
    """It is carried out, and the answer is no JSON."""
    ECHO = auto()
    """It is carried out, and the answer is one that was given before."""
    BUSY = auto()
    """503 of a proxy that does not forward."""
    BROKEN = auto()
    """502 of a proxy that did."""


SILENT = (Strike.LOST, Strike.MUTE)
ARRIVES = (Strike.MUTE, Strike.CUT, Strike.TWICE, Strike.GARBAGE, Strike.ECHO, Strike.BROKEN)


class FaultyNode:
    """The proxy. `seen` counts the requests of each method that arrived at the node."""

    def __init__(self, anvil: Anvil) -> None:
        self._anvil = anvil
        self._strikes: dict[str, deque[Strike | None]] = {}
        self._lies: dict[str, Lie] = {}
        self._before = b'{"jsonrpc":"2.0","id":-1,"result":"0x0"}'
        self._session: aiohttp.ClientSession
        self.url = ""
        self.seen: dict[str, int] = {}

    def strike(self, method: str, kind: Strike | None, times: int = 1) -> None:
        """The next so many requests of a method, or lists that hold one, meet this. None: pass."""
        self._strikes.setdefault(method, deque()).extend([kind] * times)

    def lie(self, method: str, lie: Lie) -> None:
        """From now on the method's answers are told otherwise."""
        self._lies[method] = lie

    def will_be_silent(self) -> bool:
        """Whether the next request of some method gets no answer."""
        return any(waiting and waiting[0] in SILENT for waiting in self._strikes.values())

    def move_to(self, anvil: Anvil) -> None:
        """From now on another node answers."""
        self._anvil = anvil

    def honest(self) -> None:
        """No more of either."""
        self._lies.clear()
        self._strikes.clear()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Forward one request, or a list of them."""
        asked = json.loads(await request.read())
        kind = self._next_strike(asked if isinstance(asked, list) else [asked])
        if kind is Strike.LOST:
            await asyncio.sleep(2 * TIMEOUT_S)
        if kind in (Strike.LOST, Strike.REFUSED):
            return _hang_up(request)
        if kind is Strike.BUSY:
            return web.Response(status=503, text="busy")
        body = await self._forwarded(asked)
        if kind is Strike.TWICE:
            body = await self._forwarded(asked)
        before, self._before = self._before, body
        match kind:
            case Strike.MUTE:
                await asyncio.sleep(2 * TIMEOUT_S)
                return _hang_up(request)
            case Strike.CUT:
                body = body[: len(body) // 2]
            case Strike.GARBAGE:
                body = b"<html>gateway</html>"
            case Strike.ECHO:
                body = before
            case Strike.BROKEN:
                return web.Response(status=502, text="bad gateway")
        return web.Response(body=body, content_type="application/json")

    def _next_strike(self, requests: list[dict[str, Any]]) -> Strike | None:
        for one in requests:
            waiting = self._strikes.get(one["method"])
            if waiting:
                return waiting.popleft()
        return None

    async def _forwarded(self, asked: Any) -> bytes:
        requests = asked if isinstance(asked, list) else [asked]
        for one in requests:
            self.seen[one["method"]] = self.seen.get(one["method"], 0) + 1
        async with self._session.post(self._anvil.url, json=asked) as response:
            answers = await response.json()
        by_id = {one["id"]: one for one in requests}
        for answer in answers if isinstance(answers, list) else [answers]:
            one = by_id[answer["id"]]
            if one["method"] in self._lies and "result" in answer:
                told = self._lies[one["method"]](one["params"], answer.pop("result"))
                if isinstance(told, Refusal):
                    answer["error"] = {"code": -32_005, "message": told}
                else:
                    answer["result"] = told
        return json.dumps(answers).encode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultyNode"]:
        """Serve on a port of its own."""
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/", self.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            async with aiohttp.ClientSession() as self._session:
                yield self
        finally:
            await runner.cleanup()


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


class HastyClient(ChainClient):
    """Does not wait long for a node that is silent, and as long as it takes for any other."""

    def __init__(self, node: FaultyNode) -> None:
        super().__init__(node.url, chain_id=CHAIN_ID, timeout_s=PATIENCE_S)
        self._node = node

    async def _answered(self, name: str, request: Awaitable[Any]) -> Any:
        self._timeout_s = TIMEOUT_S if self._node.will_be_silent() else PATIENCE_S
        return await super()._answered(name, request)


@asynccontextmanager
async def a_faulty_node(anvil: Anvil) -> AsyncIterator[tuple[FaultyNode, ChainClient]]:
    """The proxy, and a client of it that does not wait long."""
    async with FaultyNode(anvil).running() as node:
        chain = HastyClient(node)
        try:
            yield node, chain
        finally:
            await chain.close()


def a_receipt(**fields: str) -> Lie:
    """A lie: the real receipt, or one made of nothing, with some fields of its own."""
    made = {"gasUsed": "0x1", "blockNumber": "0x1", "status": "0x1", "blockHash": "0x" + "00" * 32}

    def lie(asked: list[Any], told: Any) -> Any:
        return {"transactionHash": asked[0], **(told or made), **fields}

    return lie


def nothing(_asked: list[Any], _told: Any) -> Any:
    """A lie: there is no such thing."""
    return None
