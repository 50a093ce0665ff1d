"""A provider as data: what one `provider/*.toml` file says.

The annotations are the format. `solver.vault.catalogue` reads files into these and adds
the checks that a type cannot express.
"""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from intents.bound import UNITS_MAX
from solver.core.command import Limit, Mode

MILLISECONDS_MAX: Final = 3_600_000
STATUS_END: Final = 600
BYTES_MAX: Final = 256 * 1024 * 1024

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
HeaderName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
"""Lower case, as everything is compared."""
StatusCode = Annotated[int, Meta(ge=200, le=599)]
StatusPattern = Annotated[str, Meta(pattern=r"^[2-5]([0-9]{2}|xx)$")]
"""`404`, or a whole class as `4xx`."""
Milliseconds = Annotated[int, Meta(ge=1, le=MILLISECONDS_MAX)]
Bytes = Annotated[int, Meta(ge=1, le=BYTES_MAX)]
Path = Annotated[str, Meta(pattern=r"^(/([A-Za-z0-9._~-]|\{[a-z_]+\})*)+$", max_length=512)]
"""Each `{name}` stands for one segment, or a part of one."""


class Sharing(StrEnum):
    """What the provider's terms say about serving others with a key."""

    ALLOWED = "allowed"
    OWN_ORG = "own-org"
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What an upstream's status means for a call and for its key."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    """The key may be dead: a probe decides, never the answer alone."""
    LIMITED = "limited"
    UNKNOWN = "unknown"


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Part of a provider's file."""


class KeyPlace(Template, frozen=True, kw_only=True):
    """Where the key goes: one header, or one query parameter."""

    header: HeaderName | None = None
    query: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    format: Annotated[str, Meta(max_length=128)] = "{key}"


class Probe(Template, frozen=True, kw_only=True):
    """A request that costs nothing and tells a live key from a dead one."""

    method: Literal["GET", "POST"] = "GET"
    path: Path
    query: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.~=&-]*$", max_length=512)] = ""
    ok: tuple[StatusCode, ...] = (200,)
    dead: tuple[StatusCode, ...] = (401,)


class Operation(Template, frozen=True, kw_only=True):
    """One request that a resource covers.

    `require` are top-level JSON fields that must have these values: a lease on a cheap
    model does not open a dear one. `query_forbidden` are parameters nobody may send.
    """

    method: Literal["GET", "POST"]
    path: Path
    require: dict[str, str] = {}
    query_forbidden: tuple[str, ...] = ()


class PerCall(Template, frozen=True, kw_only=True, tag_field="rule", tag="per_call"):
    """Every delivered call is one unit."""


class UsageTokens(Template, frozen=True, kw_only=True, tag_field="rule", tag="usage_tokens"):
    """Units are the answer's `usage.total_tokens`.

    A reservation is the prompt's bound (its bytes / `prompt_bytes_per_token`) plus the
    output's bound: the first of `output_fields` in the body, or `output_default`, which is
    then put into the body so that the upstream keeps to it.
    """

    prompt_bytes_per_token: Annotated[int, Meta(ge=1, le=16)] = 1
    output_fields: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    output_default: Annotated[int, Meta(ge=1, le=UNITS_MAX)] = 1_024
    output_max: Annotated[int, Meta(ge=1, le=UNITS_MAX)] = 32_768


class Resource(Template, frozen=True, kw_only=True, rename={"operations": "operation"}):
    """What is bought: `provider/operation:unit`, and the requests that deliver it."""

    name: Annotated[str, Meta(max_length=128)]
    unit: Literal["call", "token"]
    trading: Mode = Mode.CONTINUOUS
    metering: PerCall | UsageTokens
    operations: Annotated[tuple[Operation, ...], Meta(min_length=1, max_length=64)]


class Answers(Template, frozen=True, kw_only=True):
    """What each status means. An exact status goes before its class; the rest is failed."""

    delivered: tuple[StatusPattern, ...] = ("2xx",)
    failed: tuple[StatusPattern, ...] = ()
    refused: tuple[StatusPattern, ...] = ("401", "403")
    limited: tuple[StatusPattern, ...] = ("429",)
    unknown: tuple[StatusPattern, ...] = ("408", "504")


class Timeouts(Template, frozen=True, kw_only=True):
    """How long egress waits: to connect, for headers, between chunks, and in all."""

    connect_ms: Milliseconds = 5_000
    headers_ms: Milliseconds = 60_000
    idle_ms: Milliseconds = 30_000
    total_ms: Milliseconds = 300_000


class Provider(
    Template,
    frozen=True,
    kw_only=True,
    rename={"resources": "resource", "limits": "limit"},
):
    """One provider. `base_url` empty: a template that the operator points at a server.

    `limits` are the windows of one key. `attestation` is the text that a contributor
    signs before a key serves others.
    """

    name: Name
    title: Annotated[str, Meta(min_length=1, max_length=100)]
    base_url: Annotated[str, Meta(max_length=256)] = ""
    private_network: bool = False
    sharing: Sharing = Sharing.UNKNOWN
    attestation: Annotated[str, Meta(max_length=4_096)]
    key: KeyPlace
    probe: Probe
    answers: Answers = Answers()
    timeouts: Timeouts = Timeouts()
    request_headers: tuple[HeaderName, ...] = ()
    response_headers: tuple[HeaderName, ...] = ()
    request_bytes_max: Bytes = 1024 * 1024
    response_bytes_max: Bytes = 16 * 1024 * 1024
    limits: Annotated[tuple[Limit, ...], Meta(max_length=8)] = ()
    resources: Annotated[tuple[Resource, ...], Meta(min_length=1, max_length=256)]

    @property
    def host(self) -> str:
        """`host[:port]` of the upstream, as keys are bound to it."""
        return self.base_url.partition("://")[2]

    def verdict(self, status: int) -> Verdict:
        """What an answer with this status means. Redirects are failures: nobody follows."""
        if not is_final(status):
            return Verdict.FAILED
        for pattern in (str(status), f"{status // 100}xx"):
            for verdict in Verdict:
                if pattern in getattr(self.answers, verdict.value):
                    return verdict
        return Verdict.FAILED


def is_final(status: int) -> bool:
    """Whether a status answers the request: neither informational nor a redirect."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES or (
        HTTPStatus.BAD_REQUEST <= status < STATUS_END
    )
