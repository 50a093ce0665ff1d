"""What every request passes, in order, before a handler sees it.

rate → size and encoding → query → signature → body. Whatever a handler returns becomes a
response here; whatever it raises becomes a 500 that says nothing, and a log line.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import web

from intents.reject import Reject, RejectCode, reject
from solver.gateway.answer import fault_response, json_response, reject_response
from solver.gateway.auth import HEADER, Caller, read_header
from solver.gateway.body import decode_query, is_json, read_body
from solver.gateway.contract import authenticate
from solver.gateway.gateway import GATEWAY, Answer, Gateway, Inbound, limited, sender_of
from solver.gateway.proxy import intent_of, refusal
from solver.gateway.route import Route
from solver.gateway.wire import Nothing
from solver.verifier.decode import decode_json

CONTAINERS_MAX: Final = 64
"""Objects and arrays of a body that is ours; what a grant pays to send on may have more."""
LOG: Final = structlog.get_logger("solver.gateway")
Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: Endpoint) -> web.StreamResponse:
    """Rate, log and translate what goes wrong."""
    started = time.monotonic()
    gateway = request.app[GATEWAY]
    response = await _guarded(gateway, request, handler)
    gateway.access_log.note(request, response.status, started)
    return response


async def _guarded(gateway: Gateway, request: web.Request, handler: Endpoint) -> web.StreamResponse:
    if _counts(request):
        refused = limited(gateway.rates.addresses, sender_of(request), gateway.now_ms())
        if refused is not None:
            return reject_response(refused)
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        response = reject_response(reject(RejectCode.METHOD_NOT_ALLOWED))
        response.headers["Allow"] = error.headers.get("Allow", "")
        return response
    except web.HTTPRequestEntityTooLarge:
        return reject_response(reject(RejectCode.TOO_LARGE))
    except web.HTTPException:
        return reject_response(reject(RejectCode.NOT_FOUND, "no such route"))
    except Exception:
        LOG.exception("request_failed", method=request.method)
        return fault_response()


def _counts(request: web.Request) -> bool:
    """Calls on a lease have bounds of their own: see `proxy`. A bad grant counts as any."""
    if not request.path.startswith(("/v1/proxy/", "/v1/keys/proxy")):
        return True
    values = request.headers.getall("Authorization", [])
    gateway = request.app[GATEWAY]
    token = values[0].partition(" ")[2] if len(values) == 1 else ""
    return isinstance(gateway.grants.open(token, gateway.now_ms()), Reject)


def endpoint(route: Route) -> Endpoint:
    """The route's handler behind the door."""

    async def serve(request: web.Request) -> web.StreamResponse:
        inbound = await _enter(request.app[GATEWAY], route, request)
        answer: Answer = inbound if isinstance(inbound, Reject) else await route.handler(inbound)
        if isinstance(answer, web.StreamResponse):
            return answer
        if isinstance(answer, Reject):
            return refusal(answer) if route.granted else reject_response(answer)
        return json_response(answer, status=route.status)

    return serve


async def _enter(
    gateway: Gateway, route: Route, request: web.Request
) -> Inbound[Any, Any] | Reject:
    limits = gateway.limits
    bytes_max = route.bytes_max(limits)
    raw = await read_body(request, bytes_max, limits.body_seconds_max)
    if isinstance(raw, Reject):
        return raw
    if route.body is not None and not is_json(request):
        return reject(RejectCode.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    query = None if route.query is None else decode_query(request, route.query)
    if isinstance(query, Reject):
        return query
    caller = await _authenticate(gateway, route, request, raw)
    if isinstance(caller, Reject):
        return caller
    body = _decode(route, raw)
    if isinstance(body, Reject):
        return body
    return Inbound(
        gateway=gateway, request=request, raw=raw, body=body, query=query, signed_by=caller
    )


async def _authenticate(
    gateway: Gateway, route: Route, request: web.Request, raw: bytes
) -> Caller | Reject | None:
    if route.granted:
        # Before the body is looked at: it may be large, and nobody else need send one.
        granted = intent_of(gateway, request)
        return granted if isinstance(granted, Reject) else None
    if not route.signed:
        return None
    credentials = read_header(request.headers.getall(HEADER, []))
    if isinstance(credentials, Reject):
        return credentials
    caller = await authenticate(
        gateway,
        credentials,
        method=request.method,
        target=request.raw_path,
        body=raw,
        permissions=route.permissions,
        sender=sender_of(request),
    )
    if isinstance(caller, Reject):
        return caller
    return limited(gateway.rates.accounts, caller.account, gateway.now_ms()) or caller


def _decode(route: Route, raw: bytes) -> Any:  # noqa: ANN401  the route's body type, or a Reject
    if route.verified:
        return Nothing()
    if route.body is not None and route.granted:
        return decode_json(raw, route.body)
    if route.body is not None:
        return decode_json(raw, route.body, containers_max=CONTAINERS_MAX)
    if raw and not route.raw:
        return reject(RejectCode.MALFORMED, "this request has no body")
    return Nothing()
