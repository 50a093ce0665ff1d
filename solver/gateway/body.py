"""The body and the query of a request, read within their bounds."""

import asyncio
from typing import Final, TypeVar

from aiohttp import hdrs, web

from intents.reject import Reject, RejectCode, reject
from solver.verifier.decode import convert, lower

T = TypeVar("T")

JSON: Final = "application/json"
CONTAINERS_MAX: Final = 64
"""Objects and arrays of a body that is read here; verifiers have bounds of their own."""


def body_at_hand(request: web.BaseRequest, bytes_max: int) -> bytes | Reject | None:
    """The whole body, if it came with the head as most do; None while it is still to come.

    Rejects: unsupported_media_type (encoded), too_large.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.lower() != "identity":
        return reject(RejectCode.UNSUPPORTED_MEDIA_TYPE, "send the body without an encoding")
    content = request.content
    if content.is_eof() and content.exception() is None:
        raw = content.read_nowait()
        return raw if len(raw) <= bytes_max else too_large(bytes_max)
    return too_large(bytes_max) if (request.content_length or 0) > bytes_max else None


async def body_to_come(
    request: web.BaseRequest, bytes_max: int, seconds_max: float
) -> bytes | Reject:
    """The whole body, once it is there. Rejects: too_large, malformed."""
    try:
        async with asyncio.timeout(seconds_max):
            await _invite(request)
            return await _received(request, bytes_max)
    except TimeoutError:
        return reject(RejectCode.MALFORMED, f"the body did not come within {seconds_max:g} s")
    except web.RequestPayloadError:
        return reject(RejectCode.MALFORMED, "the body ended early or was framed wrongly")


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client that asks first, as for large bodies, to go on."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _received(request: web.BaseRequest, bytes_max: int) -> bytes | Reject:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > bytes_max:
            return too_large(bytes_max)
        parts.append(chunk)
    return b"".join(parts)


def too_large(bytes_max: int) -> Reject:
    """The Reject of a body that is larger than its route takes."""
    return reject(
        RejectCode.TOO_LARGE, f"a body has at most {bytes_max} bytes", hint="Send less at once."
    )


def is_json(request: web.BaseRequest) -> bool:
    """Whether the request says that its body is JSON."""
    if request.headers.get(hdrs.CONTENT_TYPE) == JSON:
        return True  # most say just this; else the header is taken apart
    return request.content_type == JSON


def decode_query(request: web.BaseRequest, kind: type[T]) -> T | Reject:
    """The query's parameters as a `kind`. Rejects: malformed (repeated ones too)."""
    if not request.query_string:
        return convert({}, kind)
    query = request.query
    values = {name: lower(value) for name, value in query.items()}
    if len(values) != len(query):
        return reject(RejectCode.MALFORMED, "a query parameter came twice")
    return convert(values, kind, lax=True)
