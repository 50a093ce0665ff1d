"""From a client's request to an upstream request that the catalogue allows.

Default deny: what matches no operation of the leased resource is refused. The path's
alphabet has no escape, so nothing can mean one path here and another one upstream.
"""

import json
import re
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.vault.template import Operation, PerCall, Provider, Resource, UsageTokens

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
    body = _body(resource, operation, request.body, units_left)
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


class _Body(NamedTuple):
    raw: bytes
    units_max: int


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


def _body(resource: Resource, operation: Operation, raw: bytes, units_left: int) -> _Body | str:
    """The body to send and the units it may take, or what is wrong with it."""
    try:
        return _checked_body(resource, operation, raw, units_left)
    except RecursionError:
        return "the body is nested too deeply"


def _checked_body(
    resource: Resource, operation: Operation, raw: bytes, units_left: int
) -> _Body | str:
    plain = isinstance(resource.metering, PerCall) and not operation.require
    if plain and not raw:
        return _Body(b"", 1)
    fields = _parse_object(raw)
    if isinstance(fields, str):
        return fields
    for name, wanted in operation.require.items():
        if fields.get(name) != wanted:
            return f"this lease is for {name} = {wanted}"
    if isinstance(resource.metering, PerCall):
        return _Body(json.dumps(fields).encode(), 1)
    return _bounded(resource.metering, fields, units_left)


def _parse_object(raw: bytes) -> dict[str, Any] | str:
    """A JSON object without names that another parser could take for each other.

    What is sent on is written anew from it, so what was checked is what is sent.
    """
    try:
        fields = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except ValueError:
        return "the body is not plain JSON with distinct names"
    return fields if isinstance(fields, dict) else "the body is not a JSON object"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name.lower() for name, _ in pairs}) != len(pairs):
        raise ValueError("repeated name")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _bounded(metering: UsageTokens, fields: dict[str, Any], units_left: int) -> _Body | str:
    """Bounds the output, asks for usage at the end of a stream, and adds it all up."""
    size = len(json.dumps(fields, ensure_ascii=False).encode(errors="surrogatepass"))
    prompt = -(-size // metering.prompt_bytes_per_token)
    choices = 1 if fields.get("n") is None else fields["n"]
    given = (name for name in metering.output_fields if fields.get(name) is not None)
    bounds = {name: fields[name] for name in given}
    for value in (*bounds.values(), choices):
        if type(value) is not int or not 1 <= value <= metering.output_max:
            return f"token bounds and n are whole numbers from 1 to {metering.output_max}"
    room = max(1, (units_left - prompt) // choices)
    output = max(bounds.values(), default=min(metering.output_default, room))
    if not bounds and metering.output_fields:
        bounds = {metering.output_fields[0]: output}
    raw = json.dumps({**_reporting(fields), **bounds}).encode()
    return _Body(raw, prompt + output * choices)


def _reporting(fields: dict[str, Any]) -> dict[str, Any]:
    """The same request, so that a stream ends with its usage."""
    if fields.get("stream") is not True:
        return fields
    options = fields.get("stream_options")
    kept = options if isinstance(options, dict) else {}
    return {**fields, "stream_options": {**kept, "include_usage": True}}
