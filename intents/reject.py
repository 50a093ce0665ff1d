"""The one vocabulary of expected refusals, and the value that carries one.

A Reject is *returned*, never raised: it is an answer, not an accident. Its code
goes to the user as it stands here; adding one is an API change.
"""

from enum import StrEnum
from typing import Final

import msgspec


class RejectCode(StrEnum):
    """Why something was refused. Grouped by the stage that says it first."""

    # Form: nothing was looked up yet.
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    # Admission: decided from the document alone.
    WRONG_DOMAIN = "wrong_domain"
    UNITS_OUT_OF_RANGE = "units_out_of_range"
    LIMIT_OUT_OF_RANGE = "limit_out_of_range"
    PRICE_OUT_OF_RANGE = "price_out_of_range"
    MINIMUM_OUT_OF_RANGE = "minimum_out_of_range"
    WINDOW_OUT_OF_RANGE = "window_out_of_range"
    RESOURCE_INVALID = "resource_invalid"
    ASSET_UNKNOWN = "asset_unknown"
    VALIDITY_EMPTY = "validity_empty"
    VALIDITY_TOO_LONG = "validity_too_long"
    EXPIRED = "expired"
    SIGNATURE_MALFORMED = "signature_malformed"
    SIGNATURE_HIGH_S = "signature_high_s"
    SIGNATURE_INVALID = "signature_invalid"
    # Bundles: decided from all legs together.
    QUALITY_OUT_OF_RANGE = "quality_out_of_range"
    BUNDLE_MIXED = "bundle_mixed"
    BUNDLE_NEEDS_EPOCHS = "bundle_needs_epochs"
    # Authority: who may speak for an account.
    UNAUTHENTICATED = "unauthenticated"
    NOT_AUTHORIZED = "not_authorized"
    SESSION_EXPIRED = "session_expired"
    SESSION_TERMS = "session_terms"
    SESSION_CAP_EXCEEDED = "session_cap_exceeded"
    EPOCH_ENDED = "epoch_ended"
    NONCE_USED = "nonce_used"
    REPLAYED = "replayed"
    MANDATE_UNKNOWN = "mandate_unknown"
    MANDATE_ENDED = "mandate_ended"
    MANDATE_TERMS = "mandate_terms"
    MANDATE_EXCEEDED = "mandate_exceeded"
    # Market.
    RESOURCE_UNKNOWN = "resource_unknown"
    KEY_UNKNOWN = "key_unknown"
    KEY_NOT_LIVE = "key_not_live"
    KEY_DUPLICATE = "key_duplicate"
    PROVIDER_UNKNOWN = "provider_unknown"
    SHARING_FORBIDDEN = "sharing_forbidden"
    ATTESTATION_MISSING = "attestation_missing"
    HEALTH_CHECK_FAILED = "health_check_failed"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    ACCOUNT_BARRED = "account_barred"
    ACCOUNT_FULL = "account_full"
    ALREADY_KNOWN = "already_known"
    NOT_OPEN = "not_open"
    TOO_LATE = "too_late"
    # Competition.
    AUCTION_UNKNOWN = "auction_unknown"
    AUCTION_CLOSED = "auction_closed"
    SNAPSHOT_MISMATCH = "snapshot_mismatch"
    SOLVER_BENCHED = "solver_benched"
    BOND_MISSING = "bond_missing"
    BOND_TOO_SMALL = "bond_too_small"
    BOND_UNSIGNED = "bond_unsigned"
    SOLUTION_DUPLICATE = "solution_duplicate"
    SOLUTION_EMPTY = "solution_empty"
    SOLUTION_LIMIT = "solution_limit"
    FILL_UNKNOWN_INTENT = "fill_unknown_intent"
    FILL_UNKNOWN_OFFER = "fill_unknown_offer"
    FILL_DUPLICATE = "fill_duplicate"
    FILL_UNITS_INVALID = "fill_units_invalid"
    FILL_OVERFILL = "fill_overfill"
    FILL_BELOW_MINIMUM = "fill_below_minimum"
    FILL_BELOW_QUALITY = "fill_below_quality"
    FILL_SELF_MATCH = "fill_self_match"
    FILL_PRICE_OUTSIDE_LIMITS = "fill_price_outside_limits"
    BUNDLE_SPLIT = "bundle_split"
    OUTBID = "outbid"
    # Delivery.
    LEASE_UNKNOWN = "lease_unknown"
    LEASE_ENDED = "lease_ended"
    LEASE_EXHAUSTED = "lease_exhausted"
    WINDOW_EXHAUSTED = "window_exhausted"
    CALL_UNKNOWN = "call_unknown"
    RECEIPT_DUE = "receipt_due"
    RECEIPT_STALE = "receipt_stale"
    RECEIPT_INVALID = "receipt_invalid"
    UNSETTLED_EXCEEDED = "unsettled_exceeded"
    OPERATION_FORBIDDEN = "operation_forbidden"
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    # Chain facts that do not follow from what is known.
    CURSOR_BEHIND = "cursor_behind"
    NOTHING_TO_SETTLE = "nothing_to_settle"
    BATCH_UNKNOWN = "batch_unknown"
    CURSOR_TOO_OLD = "cursor_too_old"
    # Load.
    BUSY = "busy"
    RATE_LIMITED = "rate_limited"
    SHUTTING_DOWN = "shutting_down"


HINTS: Final[dict[RejectCode, str]] = {
    RejectCode.MALFORMED: "Send a body of the form that GET /openapi.json describes.",
    RejectCode.WRONG_DOMAIN: "Sign for the chain and contract that GET /v1/eip712 names.",
    RejectCode.BUNDLE_MIXED: "Sign legs that stand and end together as one bundle, others apart.",
    RejectCode.BUNDLE_NEEDS_EPOCHS: (
        "GET /v1/market tells how each resource trades; sign single intents for others."
    ),
    RejectCode.EXPIRED: "Sign again with a later validUntil.",
    RejectCode.SIGNATURE_HIGH_S: "Use the low-s form of the signature (EIP-2).",
    RejectCode.SIGNATURE_MALFORMED: "Send 64 bytes (EIP-2098) or 65 bytes (r, s, v = 27 or 28).",
    RejectCode.NOT_AUTHORIZED: "Sign with the account's own key or a live session key of it.",
    RejectCode.SESSION_TERMS: (
        "Stay within what the key was granted, and within meteredMax of GET /v1/market; or sign"
        " with the account's own key."
    ),
    RejectCode.NONCE_USED: "Pick a nonce that this account has not used yet.",
    RejectCode.INSUFFICIENT_FUNDS: "Deposit to the settlement contract, or lower the limit.",
    RejectCode.ACCOUNT_BARRED: (
        "Grant a session key anew on chain, or end the account's epoch (cancelAll); then what may"
        " wait to be settled is half of what it was. Or sign with the account's own key."
    ),
    RejectCode.ACCOUNT_FULL: "Cancel what you no longer need, or wait until some of it is over.",
    RejectCode.WINDOW_EXHAUSTED: "Retry after the time given; the key's rate window is full.",
    RejectCode.EPOCH_ENDED: "Sign with the account's current epoch, see GET /v1/balance.",
    RejectCode.SHARING_FORBIDDEN: "The provider's terms do not allow sharing this key.",
    RejectCode.ATTESTATION_MISSING: "Sign the attestation that GET /v1/providers names.",
    RejectCode.UNAUTHENTICATED: "Sign the request, see Authentication in GET /openapi.json.",
    RejectCode.REPLAYED: "Sign every request with a nonce of its own.",
    RejectCode.MANDATE_UNKNOWN: "Register the signed mandate first; its digest names it.",
    RejectCode.MANDATE_ENDED: "Sign and register a new mandate.",
    RejectCode.MANDATE_TERMS: "Stay within the mandate's account, resource, asset, price and time.",
    RejectCode.MANDATE_EXCEEDED: "Lower the limit, or sign a mandate with a higher one.",
    RejectCode.SOLVER_BENCHED: (
        "Too much of what your own offers won was not delivered. Wait until the time given; GET"
        " /v1/solvers has your standing and the rule."
    ),
    RejectCode.BOND_MISSING: (
        "Pay a bond in: `keyfill solver bond deposit`. GET /v1/solvers has the rule and the"
        " contract. It stands once its block is final."
    ),
    RejectCode.BOND_TOO_SMALL: (
        "Wait until open awards are over, or add to the bond: GET /v1/solvers has bond, exposure"
        " and the rule."
    ),
    RejectCode.BOND_UNSIGNED: (
        "Sign offers that your own solutions fill from with your account's own key, not a session's"
        " or a contract's: the bond answers for them."
    ),
    RejectCode.FILL_BELOW_QUALITY: (
        "Fill what asks for a quality from offers whose rating in the snapshot meets its floor."
    ),
    RejectCode.BUNDLE_SPLIT: "Fill all legs of a bundle in one solution, of an any-of just one.",
    RejectCode.RECEIPT_DUE: (
        "Sign what GET /v1/spending says is due, and POST it there. What open leases served is"
        " due once they end: POST /v1/leases/end."
    ),
    RejectCode.RECEIPT_STALE: "Sign anew what GET /v1/spending says is due now.",
    RejectCode.RECEIPT_INVALID: "Sign what GET /v1/spending says, and for as many fills.",
    RejectCode.UNSETTLED_EXCEEDED: (
        "Wait until batches are final. What the account's own key signs is not bounded so."
    ),
    RejectCode.CURSOR_TOO_OLD: "Read the state anew, then follow the feed from its cursor.",
    RejectCode.BUSY: "The market's queue is full. Retry after a second.",
    RejectCode.TOO_LATE: "It was filled before the cancel arrived.",
}


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """An expected refusal: a code, what was seen, and what to do about it."""

    code: RejectCode
    message: str
    hint: str = ""
    retry_after_ms: int | None = None


def reject(
    code: RejectCode, message: str = "", *, hint: str = "", retry_after_ms: int | None = None
) -> Reject:
    """A Reject with the code's own words wherever the caller has none of its own."""
    return Reject(
        code=code,
        message=message or code.replace("_", " "),
        hint=hint or HINTS.get(code, ""),
        retry_after_ms=retry_after_ms,
    )
