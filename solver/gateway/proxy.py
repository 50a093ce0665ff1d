"""Calls on a lease: the client's request in, the upstream's answer out, chunk by chunk.

A grant says which intent's leases pay. Nothing of an answer is held back but for one
case: an answer that is no event stream, and over within `GATHER_SECONDS` of its first
byte, is sent whole, so that it can say in `Keyfill-Units` what it cost. A stream starts
before anyone knows; its units are in the feed (`CallFinished`) and in GET /v1/leases.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final
from urllib.parse import urlencode

import structlog
from aiohttp import web

from intents.reject import Reject, RejectCode, reject
from solver.gateway.answer import reject_response
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import too_fast
from solver.gateway.port import ProxyAnswer, ProxyRequest
from solver.gateway.reply import Reply
from solver.gateway.wire import CallBody, Nothing

LOG: Final = structlog.get_logger("solver.gateway")
GATHER_SECONDS: Final = 0.25
"""Long enough for the call's end to be on disk, which is when its units are known."""
GATHER_BYTES_MAX: Final = 64 * 1024
UNITS_HEADER: Final = "Keyfill-Units"
LEASE_HEADER: Final = "Keyfill-Lease"

_NOT_SENT_ON: Final = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "keyfill-request",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_SENT_BACK: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "keyfill-lease",
        "keyfill-units",
        "server",
        "set-cookie",
        "settlement-overrides",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


async def call(inbound: Inbound[CallBody, Nothing]) -> Answer:
    """A call described in JSON."""
    body = inbound.body
    headers = tuple((name.lower(), value) for name, value in (body.headers or {}).items())
    content = b""
    if isinstance(body.body, str):
        content = body.body.encode()
    elif body.body is not None:
        content = bytes(body.body)
        if not any(name == "content-type" for name, _ in headers):
            headers += (("content-type", "application/json"),)
    query = body.query if isinstance(body.query, str) else urlencode(body.query or {}, doseq=True)
    request = ProxyRequest(
        method=body.method, path=body.path, query=query, headers=_sent_on(headers), body=content
    )
    return await _relay(inbound, request, provider=None)


async def pass_through(inbound: Inbound[Nothing, None]) -> Answer:
    """A call as any HTTP client makes it, with the proxy as its base URL."""
    http = inbound.request
    provider = inbound.named["provider"]
    path, _, query = http.raw_path.partition("?")
    prefix = f"/v1/proxy/{provider}/"
    if not path.startswith(prefix):
        return refusal(reject(RejectCode.OPERATION_FORBIDDEN, "the path is not in plain form"))
    request = ProxyRequest(
        method=http.method,
        path=path[len(prefix) - 1 :],
        query=query,
        headers=_sent_on(tuple((name.lower(), value) for name, value in http.headers.items())),
        body=inbound.raw,
    )
    return await _relay(inbound, request, provider=provider)


def intent_of(gateway: Gateway, http: web.BaseRequest) -> str | Reject:
    """The intent whose grant a request bears. Rejects: unauthenticated, expired."""
    values = http.headers.getall("Authorization", [])
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        token = ""
    return gateway.grants.open(token, gateway.now_ms())


async def _relay(
    inbound: Inbound[CallBody, Nothing] | Inbound[Nothing, None],
    request: ProxyRequest,
    *,
    provider: str | None,
) -> Answer:
    gateway = inbound.gateway
    digest = intent_of(gateway, inbound.request)
    if isinstance(digest, Reject):
        return refusal(digest)
    wait_ms = gateway.rates.refusals.wait_ms(digest, gateway.now_ms())
    if wait_ms:
        return refusal(too_fast(wait_ms))
    answer = _fault_in_grant(gateway, digest, provider) or await gateway.custody.call(
        digest, request
    )
    if isinstance(answer, Reject):
        # What is served is bounded by the units it costs; what is refused costs nothing.
        gateway.rates.refusals.take(digest, gateway.now_ms())
        return refusal(answer)
    try:
        return await _send(inbound.request, answer, gateway.limits.send_seconds_max)
    finally:
        await asyncio.shield(answer.aclose())


def _fault_in_grant(gateway: Gateway, digest: str, provider: str | None) -> Reject | None:
    intent = gateway.state.intents.get(digest)
    if intent is None:
        return reject(RejectCode.LEASE_UNKNOWN, "the grant's intent is not known here")
    bought = intent.document.resource.partition("/")[0]
    if provider not in (None, bought):
        return reject(RejectCode.OPERATION_FORBIDDEN, f"the grant is for {bought}, not {provider}")
    return None


def refusal(refused: Reject) -> Reply:
    """A refusal that stock clients of the upstream's API do not retry in vain."""
    response = reject_response(refused)
    if refused.retry_after_ms is None:
        response.headers["x-should-retry"] = "false"
    return response


async def _send(http: web.BaseRequest, answer: ProxyAnswer, send_seconds_max: float) -> Answer:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers:
        if name.lower() not in _NOT_SENT_BACK:
            response.headers.add(name, value)
    response.headers[LEASE_HEADER] = answer.lease
    chunks = _Chunks(aiter(answer))
    async with aclosing(chunks):
        first, ended = await chunks.gather(wait=not _is_stream(answer))
        if ended:
            response.content_length = len(first)
            response.headers[UNITS_HEADER] = str(answer.units)
        await response.prepare(http)
        try:
            await _write(response, first, send_seconds_max)
            while not ended and (chunk := await chunks.next()) is not None:
                await _write(response, chunk, send_seconds_max)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            LOG.info("client_left", lease=answer.lease)
            _cut(http)
        except Exception as error:  # noqa: BLE001  whatever broke the upstream's body
            # The head is out: only a cut connection tells the client that this is not all.
            LOG.warning("answer_broke", lease=answer.lease, error=type(error).__name__)
            _cut(http)
    return response


async def _write(response: web.StreamResponse, chunk: bytes, seconds_max: float) -> None:
    if chunk:
        async with asyncio.timeout(seconds_max):
            await response.write(chunk)


class _Chunks:
    """An answer's chunks with a look ahead that does not cancel what it waits for."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._pending: asyncio.Task[bytes | None] | None = None

    async def gather(self, *, wait: bool) -> tuple[bytes, bool]:
        """The first chunk, more if it comes at once, and whether that was all."""
        chunk = await self.next()
        if chunk is None:
            return b"", True
        if not wait:
            return chunk, False
        parts, size = [chunk], len(chunk)
        loop = asyncio.get_running_loop()
        until = loop.time() + GATHER_SECONDS
        while size < GATHER_BYTES_MAX:
            self._pending = self._pending or asyncio.ensure_future(self._advance())
            await asyncio.wait({self._pending}, timeout=until - loop.time())
            if not self._pending.done() or self._pending.exception() is not None:
                break
            chunk = await self.next()
            if chunk is None:
                return b"".join(parts), True
            parts.append(chunk)
            size += len(chunk)
        return b"".join(parts), False

    async def next(self) -> bytes | None:
        """The next chunk, or None at the end."""
        pending, self._pending = self._pending, None
        return await (pending or self._advance())

    async def aclose(self) -> None:
        """Stop looking ahead."""
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.wait({self._pending})

    async def _advance(self) -> bytes | None:
        return await anext(self._body, None)


def _is_stream(answer: ProxyAnswer) -> bool:
    kinds = [value for name, value in answer.headers if name.lower() == "content-type"]
    return any(kind.startswith(("text/event-stream", "application/x-ndjson")) for kind in kinds)


def _sent_on(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """What custody may choose from: nothing that is between the client and us."""
    hops = {
        hop.strip().lower()
        for name, value in headers
        if name == "connection"
        for hop in value.split(",")
    }
    return tuple(
        (name, value)
        for name, value in headers
        if name not in _NOT_SENT_ON
        and name not in hops
        and not name.startswith(("proxy-", "x-forwarded-", "keyfill-"))
    )


def _cut(http: web.BaseRequest) -> None:
    if http.transport is not None:
        http.transport.abort()
