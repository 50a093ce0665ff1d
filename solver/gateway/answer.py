"""How an outcome becomes an HTTP response: one table of statuses, one form of error."""

from typing import Any, Final

import msgspec

from intents.reject import Reject, RejectCode
from solver.gateway.reply import Reply

STATUS: Final[dict[RejectCode, int]] = {
    RejectCode.MALFORMED: 400,
    RejectCode.TOO_LARGE: 413,
    RejectCode.NOT_FOUND: 404,
    RejectCode.METHOD_NOT_ALLOWED: 405,
    RejectCode.UNSUPPORTED_MEDIA_TYPE: 415,
    RejectCode.UNAUTHENTICATED: 401,
    RejectCode.NOT_AUTHORIZED: 403,
    RejectCode.SESSION_EXPIRED: 403,
    RejectCode.SESSION_TERMS: 403,
    RejectCode.SESSION_CAP_EXCEEDED: 402,
    RejectCode.EPOCH_ENDED: 409,
    RejectCode.NONCE_USED: 409,
    RejectCode.REPLAYED: 409,
    RejectCode.MANDATE_UNKNOWN: 404,
    RejectCode.MANDATE_ENDED: 409,
    RejectCode.MANDATE_EXCEEDED: 402,
    RejectCode.MANDATE_TERMS: 403,
    RejectCode.RESOURCE_UNKNOWN: 404,
    RejectCode.KEY_UNKNOWN: 404,
    RejectCode.KEY_NOT_LIVE: 409,
    RejectCode.KEY_DUPLICATE: 409,
    RejectCode.PROVIDER_UNKNOWN: 404,
    RejectCode.SHARING_FORBIDDEN: 403,
    RejectCode.ATTESTATION_MISSING: 403,
    RejectCode.INSUFFICIENT_FUNDS: 402,
    RejectCode.ACCOUNT_FULL: 409,
    RejectCode.ALREADY_KNOWN: 409,
    RejectCode.NOT_OPEN: 409,
    RejectCode.TOO_LATE: 409,
    RejectCode.AUCTION_UNKNOWN: 404,
    RejectCode.AUCTION_CLOSED: 409,
    RejectCode.SNAPSHOT_MISMATCH: 409,
    RejectCode.SOLUTION_DUPLICATE: 409,
    RejectCode.SOLVER_BENCHED: 403,
    RejectCode.BOND_MISSING: 402,
    RejectCode.BOND_TOO_SMALL: 402,
    RejectCode.BOND_UNSIGNED: 403,
    RejectCode.OUTBID: 409,
    RejectCode.LEASE_UNKNOWN: 404,
    RejectCode.LEASE_ENDED: 409,
    RejectCode.LEASE_EXHAUSTED: 402,
    RejectCode.WINDOW_EXHAUSTED: 429,
    RejectCode.CALL_UNKNOWN: 404,
    RejectCode.RECEIPT_DUE: 402,
    RejectCode.RECEIPT_STALE: 409,
    RejectCode.UNSETTLED_EXCEEDED: 429,
    RejectCode.ACCOUNT_BARRED: 403,
    RejectCode.OPERATION_FORBIDDEN: 403,
    RejectCode.UPSTREAM_FAILED: 502,
    RejectCode.UPSTREAM_TIMEOUT: 504,
    RejectCode.CURSOR_BEHIND: 409,
    RejectCode.NOTHING_TO_SETTLE: 409,
    RejectCode.BATCH_UNKNOWN: 404,
    RejectCode.CURSOR_TOO_OLD: 410,
    RejectCode.BUSY: 429,
    RejectCode.RATE_LIMITED: 429,
    RejectCode.SHUTTING_DOWN: 503,
}
"""What is not named here is a document or solution that does not hold: 422."""
STATUS_ELSE: Final = 422
INTERNAL: Final = "internal"
"""The code of a 500, the one answer that is no Reject."""
RETRY_MS_ELSE: Final = 1_000


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every error: a code to act on, what was seen, what to do about it."""

    code: str
    message: str
    hint: str
    retry_after_ms: int | msgspec.UnsetType = msgspec.UNSET


def status_of(code: RejectCode) -> int:
    """The HTTP status of a refusal."""
    return STATUS.get(code, STATUS_ELSE)


def error_body(refused: Reject) -> ErrorBody:
    """A refusal as it goes on the wire."""
    return ErrorBody(
        code=refused.code,
        message=refused.message,
        hint=refused.hint,
        retry_after_ms=msgspec.UNSET if refused.retry_after_ms is None else refused.retry_after_ms,
    )


def json_response(body: Any, *, status: int = 200) -> Reply:  # noqa: ANN401  whatever msgspec encodes
    """A JSON response."""
    return Reply(status, msgspec.json.encode(body))


def reject_response(refused: Reject) -> Reply:
    """The response that tells of a refusal; 429 and 503 say when to come back."""
    status = status_of(refused.code)
    response = json_response(error_body(refused), status=status)
    if refused.retry_after_ms is not None or status in (429, 503):
        wait_ms = RETRY_MS_ELSE if refused.retry_after_ms is None else refused.retry_after_ms
        response.headers["Retry-After"] = str(-(-wait_ms // 1_000))
    if status == STATUS[RejectCode.UNAUTHENTICATED]:
        response.headers["WWW-Authenticate"] = "Keyfill-Request, Bearer"
    return response


def fault_response() -> Reply:
    """What a user is told of an accident of ours: nothing but that it happened."""
    body = ErrorBody(code=INTERNAL, message="something failed here", hint="It was logged.")
    return json_response(body, status=500)
