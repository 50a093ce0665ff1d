"""What every request passes, in order, before a handler sees it.

rate → size and encoding → query → signature → body. Whatever a handler returns becomes a
response here; whatever it raises becomes a 500 that says nothing, and a log line.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from intents.reject import Reject, RejectCode, reject
from solver.gateway import posted
from solver.gateway.answer import fault_response, json_response, reject_response
from solver.gateway.auth import HEADER, Caller, read_header
from solver.gateway.body import (
    CONTAINERS_MAX,
    body_at_hand,
    body_to_come,
    decode_query,
    is_json,
)
from solver.gateway.call import read_call
from solver.gateway.contract import authenticate
from solver.gateway.document import take_intent
from solver.gateway.gateway import Answer, Gateway, Inbound, Response, network_of, sender_of
from solver.gateway.limit import limited
from solver.gateway.proxy import intent_of, refusal
from solver.gateway.reply import Reply
from solver.gateway.route import Route
from solver.gateway.router import Found, Router
from solver.gateway.wire import CallBody, Nothing
from solver.verifier.decode import decode_json

LOG: Final = structlog.get_logger("solver.gateway")
_NOTHING: Final = Nothing()


class Door:
    """Answers every request."""

    def __init__(self, gateway: Gateway, router: Router) -> None:
        self.gateway: Final = gateway
        self._router = router
        self._posted: Final = router.find(posted.PATH).routes["POST"]

    async def answer(self, request: web.BaseRequest) -> Response:
        """Rate, serve, log, and translate what goes wrong."""
        started = time.monotonic()
        found = self._router.find(request.rel_url.raw_path)
        try:
            response = await self._serve(request, found)
        except Exception:
            LOG.exception("request_failed", method=request.method)
            response = fault_response()
        remote = request.remote or ""
        self.gateway.access_log.note(request.method, found.path, response.status, remote, started)
        return response

    async def answer_posted(self, raw: bytes, remote: str) -> Reply:
        """The same for a signed intent that came in a request like most, and within its size."""
        started = time.monotonic()
        try:
            reply = await self._take_posted(raw, network_of(remote))
        except Exception:
            LOG.exception("request_failed", method="POST")
            reply = fault_response()
        self.gateway.access_log.note("POST", posted.PATH, reply.status, remote, started)
        return reply

    async def _take_posted(self, raw: bytes, sender: str) -> Reply:
        gateway = self.gateway
        refused = limited(gateway.rates.addresses, sender, gateway.now_ms())
        told = refused or await take_intent(gateway, raw, sender)
        if isinstance(told, Reject):
            return reject_response(told)
        return json_response(told, status=self._posted.status)

    async def _serve(self, request: web.BaseRequest, found: Found) -> Response:
        sender = sender_of(request)
        route = found.routes.get(request.method)
        if _counts(self.gateway, route, request):
            refused = limited(self.gateway.rates.addresses, sender, self.gateway.now_ms())
            if refused is not None:
                return reject_response(refused)
        if route is None:
            return _no_route(found)
        inbound = await _enter(self.gateway, route, request, found.named, sender)
        answer: Answer = inbound if isinstance(inbound, Reject) else await route.handler(inbound)
        if isinstance(answer, Reject):
            return refusal(answer) if route.granted else reject_response(answer)
        if isinstance(answer, msgspec.Struct):
            return json_response(answer, status=route.status)
        return answer


def _counts(gateway: Gateway, route: Route | None, request: web.BaseRequest) -> bool:
    """Calls on a lease have bounds of their own: see `proxy`. A bad grant counts as any."""
    if route is None or not route.granted:
        return True
    return isinstance(intent_of(gateway, request), Reject)


def _no_route(found: Found) -> Reply:
    if not found.routes:
        return reject_response(reject(RejectCode.NOT_FOUND, "no such route"))
    response = reject_response(reject(RejectCode.METHOD_NOT_ALLOWED))
    response.headers["Allow"] = ",".join(sorted(found.routes))
    return response


async def _enter(
    gateway: Gateway,
    route: Route,
    request: web.BaseRequest,
    named: Mapping[str, str],
    sender: str,
) -> Inbound[Any, Any] | Reject:
    bytes_max = route.bytes_max(gateway.limits)
    raw = body_at_hand(request, bytes_max)
    if raw is None:
        raw = await body_to_come(request, bytes_max, gateway.limits.body_seconds_max)
    if isinstance(raw, Reject):
        return raw
    if route.body is not None and not is_json(request):
        return reject(RejectCode.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    query = _query(route, request)
    if isinstance(query, Reject):
        return query
    caller = None
    if route.signed or route.granted:
        caller = await _authenticate(gateway, route, request, raw, sender)
    if isinstance(caller, Reject):
        return caller
    body = _decode(route, raw)
    if isinstance(body, Reject):
        return body
    return Inbound(
        gateway=gateway,
        request=request,
        named=named,
        sender=sender,
        raw=raw,
        body=body,
        query=query,
        signed_by=caller,
    )


def _query(route: Route, request: web.BaseRequest) -> Any:  # noqa: ANN401  the route's type, or a Reject
    if route.query is Nothing and not request.query_string:
        return _NOTHING
    return None if route.query is None else decode_query(request, route.query)


async def _authenticate(
    gateway: Gateway, route: Route, request: web.BaseRequest, raw: bytes, sender: str
) -> Caller | Reject | None:
    if route.granted:
        # Before the body is looked at: it may be large, and nobody else need send one.
        granted = intent_of(gateway, request)
        return granted if isinstance(granted, Reject) else None
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
        sender=sender,
    )
    if isinstance(caller, Reject):
        return caller
    return limited(gateway.rates.accounts, caller.account, gateway.now_ms()) or caller


def _decode(route: Route, raw: bytes) -> Any:  # noqa: ANN401  the route's body type, or a Reject
    if route.verified:
        return _NOTHING
    if route.body is CallBody:
        return read_call(raw)
    if route.body is not None:
        return decode_json(raw, route.body, containers_max=CONTAINERS_MAX)
    if raw and not route.raw:
        return reject(RejectCode.MALFORMED, "this request has no body")
    return _NOTHING
