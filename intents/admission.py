"""Stateless admission: an Unverified document becomes Verified, or gets one exact code.

Checks run in the order of `admit`'s docstring, and a test holds that order: a document
with two faults always gets the earlier code. Nothing here reads a clock or any state.
"""

from typing import Generic, TypeVar

import msgspec
from msgspec.structs import astuple

from intents.bound import (
    PERIOD_S_MAX,
    SIGNATURE_BYTES_MAX,
    TICK_MAX,
    WINDOW_SECONDS_MAX,
)
from intents.document import (
    Attestation,
    Award,
    Document,
    Intent,
    Mandate,
    Offer,
    Receipt,
    Request,
    SessionGrant,
    SpendReceipt,
)
from intents.form import (
    asset_unknown,
    fault_in_expiry,
    fault_in_intent,
    fault_in_trade,
    fault_in_validity,
    is_resource_name,
    resource_invalid,
)
from intents.reject import Reject, RejectCode, reject
from intents.rounding import ask_tick
from intents.signature import COMPACT_BYTES, FULL_BYTES, decode_signature, recover
from intents.typed_data import Domain, digest

D = TypeVar("D", bound=Document)


class DeclaredDomain(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """The domain that a sender says it signed for; optional, it makes the reject exact."""

    chain_id: int
    verifying_contract: str


class Unverified(
    msgspec.Struct,
    Generic[D],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
):
    """A signed document as it came from outside: decoded, and nothing else."""

    document: D
    signature: str
    domain: DeclaredDomain | None = None


class Verified(msgspec.Struct, Generic[D], frozen=True, kw_only=True, gc=False):
    """A document that passed admission.

    `signer` is who signed, or None where the signature has a length that only an
    account contract (EIP-1271) can judge. Whether the signer may speak for the account
    is the core's question.
    """

    document: D
    digest: str
    signer: str | None
    signature: str
    proof: str = ""
    """Where the document stands in what was signed, if that is a bulk (`intents.bulk`)."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What admission holds a document against."""

    domain: Domain
    assets: frozenset[str]


def admit(unverified: Unverified[D], rules: Rules, now_s: int) -> Verified[D] | Reject:
    """Verify one document against the rules at Unix second `now_s`.

    Precedence of codes: wrong_domain, resource_invalid, asset_unknown,
    units_out_of_range, limit_out_of_range, minimum_out_of_range, window_out_of_range,
    price_out_of_range, validity_empty, expired, validity_too_long,
    signature_malformed, signature_high_s, signature_invalid.
    """
    fault = check_domain(unverified.domain, rules.domain) or check_form(
        unverified.document, rules, now_s
    )
    if fault is not None:
        return fault
    hashed = digest(rules.domain.prefix(), unverified.document)
    signed = recover_signer(hashed, unverified.signature)
    if isinstance(signed, Reject):
        return signed
    return Verified(
        document=unverified.document,
        digest="0x" + hashed.hex(),
        signer=signed.signer,
        signature=signed.signature,
    )


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed signature and who made it; None if only an account contract can tell."""

    signer: str | None
    signature: str


def recover_signer(hashed: bytes, signature: str) -> Signed | Reject:
    """Who signed the digest `hashed`.

    Precedence: signature_malformed, signature_high_s, signature_invalid.
    """
    raw = decode_signature(signature)
    if isinstance(raw, Reject):
        return raw
    if not COMPACT_BYTES <= len(raw) <= SIGNATURE_BYTES_MAX:
        return reject(
            RejectCode.SIGNATURE_MALFORMED,
            f"{len(raw)} bytes; a signature has 64 to {SIGNATURE_BYTES_MAX}",
        )
    signer = None if len(raw) > FULL_BYTES else recover(hashed, raw)
    if isinstance(signer, Reject):
        return signer
    return Signed(signer=signer, signature="0x" + raw.hex())


def check_domain(declared: DeclaredDomain | None, domain: Domain) -> Reject | None:
    """What is wrong with the domain that a sender declares. Rejects: wrong_domain."""
    if declared is None:
        return None
    if declared.chain_id != domain.chain_id:
        return reject(
            RejectCode.WRONG_DOMAIN,
            f"signed for chain {declared.chain_id}; this market is on {domain.chain_id}",
        )
    if declared.verifying_contract.lower() != domain.verifying_contract:
        return reject(
            RejectCode.WRONG_DOMAIN, f"this market settles at {domain.verifying_contract}"
        )
    return None


def check_form(document: Document, rules: Rules, now_s: int) -> Reject | None:
    """What is wrong with a document whoever signed it, in the order of `admit`."""
    match document:
        case Intent():
            return check_intent(document, rules, now_s)
        case Offer():
            return _check_offer(document, rules, now_s)
        case Mandate():
            return _check_mandate(document, rules, now_s)
        case SessionGrant():
            return _check_grant(document, now_s)
        case Request():
            return fault_in_expiry(document.expires_at, now_s)
        case Attestation() | Award() | Receipt() | SpendReceipt():
            return None
    raise TypeError(f"no admission rule for {type(document).__name__}")


def check_intent(intent: Intent, rules: Rules, now_s: int) -> Reject | None:
    """`check_form` of what is known to be an intent."""
    return fault_in_intent(astuple(intent), rules.assets, now_s)


def _check_offer(offer: Offer, rules: Rules, now_s: int) -> Reject | None:
    fault = fault_in_trade(offer.resource, offer.asset, offer.units, offer.limit, rules.assets)
    if fault is not None:
        return fault
    if (offer.window_units == 0) != (offer.window_seconds == 0):
        return reject(
            RejectCode.WINDOW_OUT_OF_RANGE, "windowUnits and windowSeconds are both 0 or neither"
        )
    if offer.window_seconds > WINDOW_SECONDS_MAX:
        return reject(
            RejectCode.WINDOW_OUT_OF_RANGE, f"windowSeconds is at most {WINDOW_SECONDS_MAX}"
        )
    if ask_tick(offer.limit, offer.units) > TICK_MAX:
        return reject(RejectCode.PRICE_OUT_OF_RANGE, "limit/units is above any price")
    return fault_in_validity(offer.valid_from, offer.valid_until, now_s)


def _check_mandate(mandate: Mandate, rules: Rules, now_s: int) -> Reject | None:
    # An empty name is not a resource: here it stands for all of them.
    if mandate.resource and not is_resource_name(mandate.resource):
        return resource_invalid()
    if mandate.asset not in rules.assets:
        return asset_unknown(rules.assets)
    if mandate.limit < 1:
        return reject(RejectCode.LIMIT_OUT_OF_RANGE, "limit must be at least 1 atom")
    if mandate.tick_max < 1:
        return reject(RejectCode.PRICE_OUT_OF_RANGE, "tickMax must be at least 1")
    return fault_in_validity(mandate.valid_from, mandate.valid_until, now_s)


def _check_grant(grant: SessionGrant, now_s: int) -> Reject | None:
    if grant.resource and not is_resource_name(grant.resource):
        return resource_invalid()
    if (grant.period == 0) != (grant.spend == 0 and grant.units == 0):
        return reject(
            RejectCode.WINDOW_OUT_OF_RANGE, "a period goes with spend or units, and they with it"
        )
    if grant.period > PERIOD_S_MAX:
        return reject(RejectCode.WINDOW_OUT_OF_RANGE, f"period is at most {PERIOD_S_MAX}")
    return fault_in_expiry(grant.expires_at, now_s)
