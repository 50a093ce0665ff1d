"""From a client's request to an upstream request that the catalogue allows.

Default deny: what matches no operation of the leased resource is refused. The path's
alphabet has no escape, so nothing can mean one path here and another one upstream.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.vault.body import check_body
from solver.vault.template import Operation, Provider, Resource

PATH_BYTES_MAX: Final = 2_048
QUERY_BYTES_MAX: Final = 8_192
HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 8_190

PLAIN_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]*)+")
PLAIN_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]|-]*")
HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
WILDCARD: Final = re.compile(r"\\\{[a-z_]+\\\}")
# A wildcard starts with a letter or digit: `/-/tokens.json` is no `/{database}/{table}.json`.
SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9._~-]*"

REQUEST_HEADERS: Final = frozenset({"accept", "accept-language", "content-type"})
"""Passed on for every provider; everything else is dropped unless its file names it."""


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: an origin-form path, never a host."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Outbound(msgspec.Struct, frozen=True, kw_only=True):
    """A request that passed: egress adds the key and the destination."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Plan(NamedTuple):
    """How one resource serves one request, and the most units that it can take."""

    provider: Provider
    resource: Resource
    outbound: Outbound
    units_max: int


def plan_call(
    provider: Provider, resource: Resource, request: CallRequest, units_left: int
) -> Plan | Reject:
    """The plan for `request` under `resource`, or OPERATION_FORBIDDEN / TOO_LARGE.

    Output that the client does not bound is bounded so that `units_left` suffice.
    """
    if len(request.body) > provider.request_bytes_max:
        return reject(RejectCode.TOO_LARGE, f"at most {provider.request_bytes_max} bytes")
    problem = _form_problem(request)
    operation = None if problem else _match(resource, request)
    if operation is None:
        return _forbidden(problem or f"{resource.name} has no such operation")
    problem = _query_problem(provider, operation, request.query)
    headers = _headers(provider, request)
    if problem or isinstance(headers, str):
        return _forbidden(problem or str(headers))
    body = check_body(resource, operation, request.body, units_left)
    if isinstance(body, str):
        return _forbidden(body)
    if body.raw:
        headers = [*(pair for pair in headers if pair[0] != "content-type"), JSON_TYPE]
    outbound = Outbound(
        method=request.method,
        path=request.path,
        query=request.query,
        headers=tuple(headers),
        body=body.raw,
    )
    return Plan(provider, resource, outbound, body.units_max)


JSON_TYPE: Final = ("content-type", "application/json")


def _forbidden(message: str) -> Reject:
    return reject(RejectCode.OPERATION_FORBIDDEN, message)


def _form_problem(request: CallRequest) -> str:
    if len(request.path) > PATH_BYTES_MAX or len(request.query) > QUERY_BYTES_MAX:
        return "the path or query is too long"
    if not PLAIN_PATH.fullmatch(request.path) or not PLAIN_QUERY.fullmatch(request.query):
        return "the path or query has characters that are not passed on"
    if any(segment in ("", ".", "..") for segment in request.path.split("/")[1:]):
        return "the path has empty or dot segments"
    if request.method == "GET" and request.body:
        return "a GET has no body"
    return ""


def _match(resource: Resource, request: CallRequest) -> Operation | None:
    for operation in resource.operations:
        if operation.method == request.method and _pattern(operation.path).fullmatch(request.path):
            return operation
    return None


@lru_cache(maxsize=1_024)
def _pattern(path: str) -> re.Pattern[str]:
    """A catalogue path (never a client's) as a pattern."""
    return re.compile(WILDCARD.sub(lambda _: SEGMENT, re.escape(path)))


def _query_problem(provider: Provider, operation: Operation, query: str) -> str:
    forbidden = {name.lower() for name in operation.query_forbidden}
    if provider.key.query is not None:
        forbidden.add(provider.key.query.lower())
    for part in re.split("[&;]", query):
        name = unquote_plus(part.partition("=")[0]).strip().lower()
        # Some frameworks read `key[]` and `key[0]` as `key`.
        if name in forbidden or name.partition("[")[0] in forbidden:
            return f"the parameter {name} is not passed on"
    return ""


def _headers(provider: Provider, request: CallRequest) -> list[tuple[str, str]] | str:
    if len(request.headers) > HEADERS_MAX:
        return "too many headers"
    allowed = REQUEST_HEADERS.union(provider.request_headers)
    kept: dict[str, str] = {}
    for raw_name, value in request.headers:
        name = raw_name.lower()
        if name not in allowed:
            continue
        if name in kept:
            return f"the header {name} came twice"
        if len(value) > HEADER_BYTES_MAX or not HEADER_VALUE.fullmatch(value):
            return f"the header {name} is too long or not visible ASCII"
        kept[name] = value
    return list(kept.items())
