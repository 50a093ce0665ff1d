"""GET /v1/intake: intents over a WebSocket, answered in the order in which they came.

A message is a line of JSON (`IntakeHead`), a newline, and the body that the route of the
same kind takes. A sender that is faster than its rate, or than the market, is not read
from: nothing of its piles up here. At most `intake_messages_max` of its messages are under
way, and one more is read and waits.
"""

import asyncio
from operator import attrgetter
from typing import Any, Final

import msgspec
import structlog
from aiohttp import WSMessage, WSMsgType

from intents.reject import Reject, RejectCode, reject
from solver.gateway.answer import INTERNAL, error_body
from solver.gateway.body import too_large
from solver.gateway.channel import Channel, open_channel
from solver.gateway.gateway import Answer, Inbound
from solver.gateway.intake import take_paid
from solver.gateway.mac import Mac
from solver.gateway.mandate import take_mandated
from solver.gateway.many import IntakeHead, IntakeRefused, IntakeTold, OutcomeTold
from solver.gateway.wire import Nothing
from solver.verifier.batch import Kind
from solver.verifier.decode import Strict
from solver.verifier.line import weight_of

HEAD_BYTES_MAX: Final = 512
_HEADS: Final = Strict(IntakeHead, msgspec.json.encode)
_KINDS: Final = {
    "intent": Kind.INTENT,
    "batch": Kind.BATCH,
    "bulk": Kind.BULK,
    "mandated": Kind.MANDATED,
}
_BYTES_MAX: Final = {
    Kind.INTENT: attrgetter("body_bytes_max"),
    Kind.BATCH: attrgetter("batch_bytes_max"),
    Kind.BULK: attrgetter("bulk_bytes_max"),
    Kind.MANDATED: attrgetter("batch_bytes_max"),
}
"""As the routes of these kinds take."""
LOG: Final = structlog.get_logger("solver.gateway")


async def intake(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Serve one intake socket. Rejects: busy."""
    gateway = inbound.gateway
    bytes_max = gateway.limits.bulk_bytes_max + HEAD_BYTES_MAX
    async with open_channel(inbound, bytes_max, gateway.load.intakes) as channel:
        if isinstance(channel, Reject):
            return channel
        await _Intake(channel, inbound.sender).serve()
        return channel.socket


class _Intake:
    """One sender: its messages are carried out side by side, and answered in order."""

    def __init__(self, channel: Channel, sender: str) -> None:
        self._channel = channel
        self._gateway = channel.gateway
        self._sender = sender
        self._slots = asyncio.Semaphore(self._gateway.limits.intake_messages_max)
        self._answers: asyncio.Queue[asyncio.Task[msgspec.Struct] | None] = asyncio.Queue()
        """As many as there are slots: each is taken before a message is."""

    async def serve(self) -> None:
        """Until the sender leaves; what it sent by then is carried out."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            async for message in self._channel:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue
                await self._slots.acquire()
                head, body = _split(message)
                await self._pace(head, body)
                self._answers.put_nowait(tasks.create_task(self._answer(head, body)))
            self._answers.put_nowait(None)

    async def _tell(self) -> None:
        """Answers as they are ready, in order; to one who has left, nothing."""
        there = True
        while (answer := await self._answers.get()) is not None:
            told = await answer
            self._slots.release()
            if there:
                there = await self._say(told)

    async def _say(self, told: msgspec.Struct) -> bool:
        try:
            return await self._channel.send(msgspec.json.encode(told).decode())
        except ConnectionError:
            return False

    async def _pace(self, head: IntakeHead | Reject, body: bytes) -> None:
        """Wait until the message is within the sender's rate and verifiers have room."""
        cost = 1 if isinstance(head, Reject) else weight_of(_KINDS[head.take], body)
        wait_ms = self._take_tokens(cost)
        while wait_ms:
            await asyncio.sleep(wait_ms / 1_000)
            wait_ms = self._take_tokens(cost)
        # What was read before enters the line first, or this one would not see it there.
        await asyncio.sleep(0)
        await self._gateway.verifiers.room()

    def _take_tokens(self, cost: int) -> int:
        now_ms = self._gateway.now_ms()
        return self._gateway.rates.address_documents.take(self._sender, now_ms, cost)

    async def _answer(self, head: IntakeHead | Reject, body: bytes) -> msgspec.Struct:
        if isinstance(head, Reject):
            return _refusal(0, head)
        try:
            outcomes = await self._outcomes(head, body)
        except Exception:
            LOG.exception("intake_failed", take=head.take)
            return IntakeRefused(id=head.id, code=INTERNAL, message=INTERNAL, hint="It was logged.")
        if isinstance(outcomes, Reject):
            return _refusal(head.id, outcomes)
        return IntakeTold(id=head.id, outcomes=tuple(outcomes))

    async def _outcomes(self, head: IntakeHead, body: bytes) -> list[OutcomeTold] | Reject:
        kind = _KINDS[head.take]
        bytes_max = _BYTES_MAX[kind](self._gateway.limits)
        if len(body) > bytes_max:
            return too_large(bytes_max)
        if kind is not Kind.MANDATED:
            return await take_paid(self._gateway, kind, body, self._sender, patient=True)
        if head.mandate is None or head.counter is None or head.mac is None:
            return reject(RejectCode.MALFORMED, "mandated intents need mandate, counter and mac")
        said = Mac(counter=head.counter, mac=head.mac)
        return await take_mandated(
            self._gateway, head.mandate, said, body, self._sender, patient=True
        )


def _split(message: WSMessage) -> tuple[IntakeHead | Reject, bytes]:
    data: Any = message.data
    raw = data.encode() if isinstance(data, str) else bytes(data)
    line, newline, body = raw.partition(b"\n")
    if not newline or len(line) > HEAD_BYTES_MAX:
        return reject(RejectCode.MALFORMED, "a message is a line of JSON, then a body"), b""
    return _HEADS.decode(line), body


def _refusal(number: int, refused: Reject) -> IntakeRefused:
    told = error_body(refused)
    return IntakeRefused(
        id=number,
        code=told.code,
        message=told.message,
        hint=told.hint,
        retry_after_ms=refused.retry_after_ms,
    )
