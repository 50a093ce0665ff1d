"""Intents over one WebSocket: many messages under way, answered in order."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec

from intents.document import Intent
from solver.client.fault import MarketFault, Rejected, Unexpected, Unreachable
from solver.client.mandate import MandateSession
from solver.client.market import Identity, Market
from solver.client.model import Model
from solver.client.purchase import Bought, Outcome, bought, signed_batch, signed_bulk

TARGET: Final = "/v1/intake"
WAITING_MAX: Final = 64
"""Messages without an answer; whoever sends more waits."""


class _Told(Model, frozen=True, kw_only=True):
    id: int
    outcomes: tuple[Outcome, ...] | None = None
    code: str = ""
    message: str = ""
    hint: str = ""
    retry_after_ms: int | None = None


_Waiting = tuple[int, "asyncio.Future[tuple[Outcome, ...]]"]


class Intake:
    """One connection. See `Agent.intake`.

    Each call returns once its answer is there; call side by side to keep the market busy.
    Where the connection ends all who wait get Unreachable: whether their intents came in
    is not known, and submitting them again is safe.
    """

    def __init__(
        self, market: Market, identity: Identity, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._market = market
        self._identity = identity
        self._socket = socket
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._slots = asyncio.Semaphore(WAITING_MAX)
        self._turn = asyncio.Lock()
        self._ended: MarketFault | None = None

    async def submit(self, documents: Sequence[Intent]) -> list[Bought]:
        """Up to 128 intents, each with a signature of its own."""
        body = msgspec.json.encode(signed_batch(self._market, self._identity, documents))
        return bought(self._market, documents, await self._ask({"take": "batch"}, body))

    async def submit_bulk(self, documents: Sequence[Intent]) -> list[Bought]:
        """Up to 1,024 intents over one signature."""
        body = msgspec.json.encode(signed_bulk(self._market, self._identity, documents))
        return bought(self._market, documents, await self._ask({"take": "bulk"}, body))

    async def submit_under(
        self, mandate: MandateSession, documents: Sequence[Intent]
    ) -> list[Bought]:
        """Up to 128 intents under a mandate."""
        body = msgspec.json.encode(documents)
        head = {"take": "mandated", "mandate": mandate.digest}
        return bought(self._market, documents, await self._ask(head, body, mandate))

    async def read(self) -> None:
        """Take in answers until the connection ends. `Agent.intake` runs this."""
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.data)
        except MarketFault as fault:
            self._ended = fault
        finally:
            self._ended = self._ended or Unreachable("the market closed the connection")
            for _, answer in self._waiting:
                if not answer.done():
                    answer.set_exception(self._ended)

    async def _ask(
        self, head: dict[str, Any], body: bytes, mandate: MandateSession | None = None
    ) -> tuple[Outcome, ...]:
        answer: asyncio.Future[tuple[Outcome, ...]] = asyncio.get_running_loop().create_future()
        async with self._slots:
            # Counters must leave in the order in which they are taken.
            async with self._turn:
                if self._ended is not None:
                    raise self._ended
                self._number += 1
                told = {"id": self._number, **head}
                if mandate is not None:
                    told["counter"], told["mac"] = mandate.authenticate(body)
                self._waiting.append((self._number, answer))
                await self._send(msgspec.json.encode(told) + b"\n" + body)
            return await answer

    async def _send(self, message: bytes) -> None:
        try:
            await self._socket.send_bytes(message)
        except ConnectionError as error:
            raise Unreachable("the market closed the connection") from error

    def _take(self, text: str) -> None:
        try:
            told = msgspec.json.decode(text, type=_Told)
            number, answer = self._waiting.popleft()
        except (msgspec.MsgspecError, IndexError) as error:
            raise Unexpected(f"an answer of the intake: {error}") from error
        if told.id != number:
            raise Unexpected(f"an answer to {told.id} where {number} was next")
        if answer.done():
            return
        if told.outcomes is None:
            answer.set_exception(
                Rejected(told.code, told.message, told.hint, retry_after_ms=told.retry_after_ms)
            )
        else:
            answer.set_result(told.outcomes)
