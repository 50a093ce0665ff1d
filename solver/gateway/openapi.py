"""OpenAPI 3.1, made from the route table and the wire types, so that it cannot differ."""

import re
from functools import cache
from typing import Any, Final

import msgspec

from intents.reject import HINTS, RejectCode
from solver.gateway import mac
from solver.gateway.answer import INTERNAL, ErrorBody, status_of
from solver.gateway.auth import HEADER, LIFETIME_SECONDS_MAX, Credentials
from solver.gateway.competition import (
    AcceptedMessage,
    AuctionMessage,
    DeltaMessage,
    DeltasAcceptedMessage,
    DeltasMessage,
    JudgedMessage,
    RejectedMessage,
    SolutionMessage,
)
from solver.gateway.line import LINE_TYPES
from solver.gateway.many import IntakeHead, IntakeRefused, IntakeTold
from solver.gateway.route import ANY, PATTERNS, SIGNED, Route
from solver.gateway.table import ROUTES
from solver.gateway.wire import (
    CursorLine,
    Nothing,
)

PATH: Final = "/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_SOCKETS: Final[dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
    "/v1/feed": ((), (*LINE_TYPES.values(), CursorLine, ErrorBody)),
    "/v1/solve": (
        (Credentials, SolutionMessage, DeltasMessage),
        (
            AuctionMessage,
            DeltaMessage,
            DeltasAcceptedMessage,
            AcceptedMessage,
            RejectedMessage,
            JudgedMessage,
            ErrorBody,
        ),
    ),
    "/v1/intake": ((IntakeHead,), (IntakeTold, IntakeRefused)),
}
"""What a client sends on a socket, and what it is told."""
_SIGNED_HELP: Final = (
    f"base64url of JSON {{account, nonce, expiresAt, signature}}. The signature is EIP-712 "
    "over Request(account, method, target, bodyHash, nonce, expiresAt) for the domain of "
    "GET /v1/eip712, where target is path and query as sent and bodyHash is keccak256 of the "
    f"body. expiresAt is at most {LIFETIME_SECONDS_MAX} s ahead; a nonce is used once."
)


_MAC_HELP: Final = (
    "`counter.mac`, where mac is 64 hex digits of HMAC-SHA256, by the secret of POST "
    f"/v1/mandates, over the counter in {mac.COUNTER_BYTES} bytes (big-endian), then the body. "
    "The counter is Unix milliseconds, or one more than the last; a lower one is refused."
)


@cache
def build(version: str = "1") -> dict[str, Any]:
    """The document; made once, when it is first asked for."""
    types = _types()
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    components["ErrorBody"]["properties"]["code"] = {
        "type": "string",
        "enum": sorted([*RejectCode, INTERNAL]),
    }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Keyfill",
            "version": version,
            "summary": "An open market for API capacity",
            "description": _description(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "signed": {
                    "type": "apiKey",
                    "in": "header",
                    "name": HEADER,
                    "description": _SIGNED_HELP,
                },
                "grant": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A grant of POST /v1/leases/grant.",
                },
                "mandate": {
                    "type": "apiKey",
                    "in": "header",
                    "name": mac.HEADER,
                    "description": _MAC_HELP,
                },
            },
        },
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def _types() -> list[Any]:
    types: list[Any] = [ErrorBody]
    for route in ROUTES:
        types += [kind for kind in (route.body, route.told) if kind is not None]
        types += [] if route.query in (None, Nothing) else [route.query]
    for sent, told in _SOCKETS.values():
        types += [*sent, *told]
    return types


def _description() -> str:
    codes = "\n".join(
        f"- `{code}` ({status_of(code)}){': ' + HINTS[code] if code in HINTS else ''}"
        for code in RejectCode
    )
    return (
        "Agents sign intents, contributors sign offers, calls go through a proxy, and what "
        f"was delivered is settled on chain.\n\n# Authentication\n\n`{HEADER}`: {_SIGNED_HELP}"
        f"\n\n# Mandates\n\n`{mac.HEADER}`: {_MAC_HELP}"
        f"\n\n# Error codes\n\n{codes}\n"
    )


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    paths[PATH] = {
        "get": {
            "operationId": "get_openapi",
            "summary": "This document",
            "responses": {
                "200": {
                    "description": "OpenAPI 3.1",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
            },
        }
    }
    return paths


def _operation(route: Route) -> dict[str, Any]:
    name = re.sub("[^a-z0-9]+", "_", route.path.lower()).strip("_")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{name}",
        "summary": route.summary,
        "description": route.description,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _json_of(route.body)}
    elif route.raw and route.method != "GET":
        operation["requestBody"] = {"content": {"*/*": {}}}
    if route.signed:
        operation["security"] = [{"signed": []}]
    elif route.granted:
        operation["security"] = [{"grant": []}]
    elif route.maced:
        operation["security"] = [{"mandate": []}]
    if route.socket:
        sent, told = _SOCKETS[route.path]
        operation["x-sent"] = [_schema(kind) for kind in sent]
        operation["x-told"] = [_schema(kind) for kind in told]
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _parameter(name)}
        for name in route.parameters
    ]


def _parameter(name: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{PATTERNS[name]}$"}


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query in (None, Nothing):
        return []
    _, components = msgspec.json.schema_components([route.query], ref_template=_REF)
    schema = components[route.query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _not_null(field)}
        for name, field in schema["properties"].items()
    ]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not there is not null, it is not there."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return dict(choices[0])
    return schema


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if route.told is not None:
        responses[str(route.status)] = {
            "description": route.summary,
            "content": _json_of(route.told),
        }
    elif route.socket:
        responses["101"] = {"description": "Switching to WebSocket"}
    else:
        responses["default"] = {
            "description": "The upstream's own answer, with Keyfill-Lease and, unless it is a "
            "stream, Keyfill-Units"
        }
    for status, codes in _codes_by_status(route).items():
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": _json_of(ErrorBody),
        }
    return responses


def _codes_by_status(route: Route) -> dict[int, list[str]]:
    codes = {*ANY, *route.rejects, *(SIGNED if route.signed else ())}
    statuses: dict[int, list[str]] = {}
    for code in sorted(codes):
        statuses.setdefault(status_of(code), []).append(code)
    statuses[500] = [INTERNAL]
    return dict(sorted(statuses.items()))


def _json_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401  any type that msgspec knows
    return {"application/json": {"schema": _schema(kind)}}


def _schema(kind: Any) -> dict[str, Any]:  # noqa: ANN401  any type that msgspec knows
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return dict(schema)
