"""The body and the query of a request, read within their bounds."""

import asyncio
from typing import TypeVar

from aiohttp import web

from intents.reject import Reject, RejectCode, reject
from solver.verifier.decode import convert, lower

T = TypeVar("T")


async def read_body(request: web.Request, bytes_max: int, seconds_max: float) -> bytes | Reject:
    """The whole body. Rejects: unsupported_media_type (encoded), too_large, malformed."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return reject(RejectCode.UNSUPPORTED_MEDIA_TYPE, "send the body without an encoding")
    if (request.content_length or 0) > bytes_max:
        return reject(RejectCode.TOO_LARGE, f"a body has at most {bytes_max} bytes")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds_max):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > bytes_max:
                    return reject(RejectCode.TOO_LARGE, f"a body has at most {bytes_max} bytes")
                parts.append(chunk)
    except TimeoutError:
        return reject(RejectCode.MALFORMED, f"the body did not come within {seconds_max:g} s")
    except web.RequestPayloadError:
        return reject(RejectCode.MALFORMED, "the body ended early or was framed wrongly")
    return b"".join(parts)


def is_json(request: web.Request) -> bool:
    """Whether the request says that its body is JSON."""
    return request.content_type == "application/json"


def decode_query(request: web.Request, kind: type[T]) -> T | Reject:
    """The query's parameters as a `kind`. Rejects: malformed (repeated ones too)."""
    query = request.query
    values = {name: lower(value) for name, value in query.items()}
    if len(values) != len(query):
        return reject(RejectCode.MALFORMED, "a query parameter came twice")
    return convert(values, kind, lax=True)
