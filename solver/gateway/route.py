"""What a route says of itself, and the refusals that many routes share."""

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from intents.reject import RejectCode as R
from solver.gateway.gateway import Handler
from solver.gateway.limit import Limits
from solver.gateway.wire import Nothing


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method and path. `told` None: a socket, or an upstream's own answer."""

    method: str
    path: str
    handler: Handler
    summary: str
    description: str = ""
    """What the summary leaves out."""
    body: Any = None
    """Type of the JSON body; None: there is none, or it is passed through (`raw`)."""
    query: Any = Nothing
    """Type of the query; None: it is passed through."""
    told: type[msgspec.Struct] | None = None
    status: int = 200
    permissions: int = 0
    """Signed requests only; a session key needs one of these."""
    granted: bool = False
    """Needs a grant."""
    verified: bool = False
    """Its body goes to the verifiers as it came, who decode it."""
    maced: bool = False
    """Needs a MAC under a mandate."""
    bytes_max: Callable[[Limits], int] = attrgetter("body_bytes_max")
    """How large a body may be."""
    raw: bool = False
    socket: bool = False
    rejects: Sequence[R] = ()
    """Codes of its own, beside those that any request can get."""

    @property
    def signed(self) -> bool:
        """Whether it takes signed requests only."""
        return bool(self.permissions)

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return re.findall("{([a-z]+)}", self.path)

    @property
    def pattern(self) -> str:
        """A regular expression of the paths that it serves; a group for each name."""
        return re.sub("{([a-z]+)}", lambda name: f"(?P<{name[1]}>{PATTERNS[name[1]]})", self.path)


PATTERNS: Final = {
    "digest": "0[xX][0-9a-fA-F]{64}",
    "number": "[0-9]{1,15}",
    "provider": "[a-z0-9-]{1,40}",
    "path": ".*",
}
"""What a name in a path stands for."""
ADMISSION: Final = (
    R.WRONG_DOMAIN,
    R.RESOURCE_INVALID,
    R.ASSET_UNKNOWN,
    R.UNITS_OUT_OF_RANGE,
    R.LIMIT_OUT_OF_RANGE,
    R.MINIMUM_OUT_OF_RANGE,
    R.WINDOW_OUT_OF_RANGE,
    R.PRICE_OUT_OF_RANGE,
    R.VALIDITY_EMPTY,
    R.EXPIRED,
    R.VALIDITY_TOO_LONG,
    R.SIGNATURE_MALFORMED,
    R.SIGNATURE_HIGH_S,
    R.SIGNATURE_INVALID,
)
AUTHORITY: Final = (
    R.NOT_AUTHORIZED,
    R.SESSION_EXPIRED,
    R.EPOCH_ENDED,
    R.NONCE_USED,
    R.ALREADY_KNOWN,
    R.RESOURCE_UNKNOWN,
    R.ACCOUNT_FULL,
)
SEQUENCED: Final = (R.BUSY, R.SHUTTING_DOWN)
SIGNED: Final = (
    R.UNAUTHENTICATED,
    R.EXPIRED,
    R.VALIDITY_TOO_LONG,
    R.SIGNATURE_MALFORMED,
    R.SIGNATURE_HIGH_S,
    R.SIGNATURE_INVALID,
    R.NOT_AUTHORIZED,
    R.REPLAYED,
    R.BUSY,
)
"""What any signed request can get."""
ANY: Final = (R.MALFORMED, R.TOO_LARGE, R.UNSUPPORTED_MEDIA_TYPE, R.RATE_LIMITED)
"""What any request can get."""
PROXY: Final = (
    R.UNAUTHENTICATED,
    R.EXPIRED,
    R.LEASE_UNKNOWN,
    R.LEASE_ENDED,
    R.LEASE_EXHAUSTED,
    R.WINDOW_EXHAUSTED,
    R.RECEIPT_DUE,
    R.ACCOUNT_BARRED,
    R.UNSETTLED_EXCEEDED,
    R.SESSION_TERMS,
    R.OPERATION_FORBIDDEN,
    R.SHARING_FORBIDDEN,
    R.UPSTREAM_FAILED,
    R.UPSTREAM_TIMEOUT,
    *SEQUENCED,
)
