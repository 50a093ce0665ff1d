"""Bundles: verified, bound to their account, submitted, read and withdrawn as a whole."""

import msgspec

from intents.bound import LEGS_MAX, LEGS_MIN
from intents.bundle import UnverifiedBundle, VerifiedBundle, admit_bundle
from intents.reject import Reject, RejectCode, reject
from intents.reject import RejectCode as R
from solver.core.bundle import Bundle
from solver.core.command import CancelDocument, Leg, SubmitBundle
from solver.core.quality import SEEN_MAX, SEEN_MIN, Floor
from solver.core.state import MAY_CANCEL, MAY_SIGN, State
from solver.gateway.document import bind, may_withdraw
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.route import ADMISSION, AUTHORITY, SEQUENCED, Route
from solver.gateway.view import intent_told
from solver.gateway.wire import IntentTold, Nothing, ResultTold, Told


class SubmittedBundleTold(Told, frozen=True, kw_only=True):
    """A bundle and its legs that are remembered, as intents; `any`: one of them is bought.

    `cursor`: everything up to this event of the feed is in here.
    """

    digest: str
    account: str
    any: bool
    success_min: int
    latency_max: int
    legs: tuple[IntentTold, ...]
    cursor: int


async def submit_bundle(inbound: Inbound[UnverifiedBundle, Nothing]) -> Answer:
    """Admit and submit a signed bundle, as a whole; one that is known is told again."""
    gateway, cursor = inbound.gateway, inbound.gateway.feed.seq
    admitted = admit_bundle(inbound.body, gateway.rules, gateway.now_ms() // 1_000)
    if isinstance(admitted, Reject):
        return admitted
    found = gateway.state.bundles.by_digest.get(admitted.digest)
    if found is None:
        refused = await _submit(gateway, admitted, inbound.sender)
        if refused is not None:
            return refused
        found = gateway.state.bundles.by_digest[admitted.digest]
    return _told(gateway.state, found, cursor)


async def read_bundle(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """One bundle."""
    found = _find(inbound)
    if isinstance(found, Reject):
        return found
    return _told(inbound.gateway.state, found, inbound.gateway.feed.seq)


async def cancel_bundle(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Withdraw all legs that nothing was filled of."""
    found = _find(inbound)
    if isinstance(found, Reject):
        return found
    intents = inbound.gateway.state.intents
    leg = next(intents[leg] for leg in found.legs if leg in intents)
    if not may_withdraw(inbound.caller, leg):
        return reject(RejectCode.NOT_AUTHORIZED, "it is not yours to withdraw")
    result = await inbound.gateway.sequencer.submit(
        CancelDocument(account=inbound.caller.account, digest=found.digest)
    )
    return result if isinstance(result, Reject) else ResultTold()


async def _submit(gateway: Gateway, admitted: VerifiedBundle, sender: str) -> Reject | None:
    """Bind its one signature to the account, and submit all legs at once."""
    signed = msgspec.structs.replace(admitted.legs[0], digest=admitted.digest)
    bound = await bind(gateway, signed, sender)
    if isinstance(bound, Reject):
        return bound
    rates, account = gateway.rates.account_documents, signed.document.account
    refused = limited(rates, account, gateway.now_ms(), len(admitted.legs))
    if refused is not None:
        return refused
    signer, authority = bound
    result = await gateway.sequencer.submit(
        SubmitBundle(
            digest=admitted.digest,
            any_of=admitted.terms.any,
            floor=Floor(
                success_min=admitted.terms.success_min, latency_max=admitted.terms.latency_max
            ),
            legs=tuple(
                Leg(intent=leg.document, digest=leg.digest, proof=leg.proof)
                for leg in admitted.legs
            ),
            signer=signer,
            authority=authority,
            signature=signed.signature,
        )
    )
    return result if isinstance(result, Reject) else None


def _find(inbound: Inbound[Nothing, Nothing]) -> Bundle | Reject:
    digest = inbound.path("digest")
    return inbound.gateway.state.bundles.by_digest.get(digest) or reject(
        RejectCode.NOT_FOUND, f"no bundle has the digest {digest[:66]}"
    )


def _told(state: State, bundle: Bundle, cursor: int) -> SubmittedBundleTold:
    legs = (state.intents.get(leg) for leg in bundle.legs)
    return SubmittedBundleTold(
        digest=bundle.digest,
        account=bundle.account,
        any=bundle.any_of,
        success_min=bundle.floor.success_min,
        latency_max=bundle.floor.latency_max,
        legs=tuple(intent_told(state, leg, cursor) for leg in legs if leg is not None),
        cursor=cursor,
    )


BUNDLE: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/bundles",
        handler=submit_bundle,
        summary=f"Submit {LEGS_MIN} to {LEGS_MAX} intents that are bought together, or one of them",
        description=(
            "Sign a `Bundle`; GET /v1/eip712 has its type for each height of its tree of legs. All "
            "legs enter or none. With `any` false all of them are filled in one auction, each in "
            "full, or none; with `any` true one is, and the others end. The limits of all legs are "
            "held until then, with `any` true the largest one. Legs are of resources that trade in "
            "epochs, and served from keys alone of whose calls at least `successMin` in a thousand "
            "succeeded, and half took `latencyMax` ms at most. That is held against the newest "
            f"{SEEN_MAX} calls of a key, and no key meets a floor before it served {SEEN_MIN}. 0 "
            "asks for nothing. One leg alone is an intent with such a floor: all or none of it, "
            "or, with `any` true, as much as its `unitsMin` allows."
        ),
        body=UnverifiedBundle,
        told=SubmittedBundleTold,
        status=201,
        rejects=(
            *ADMISSION,
            R.QUALITY_OUT_OF_RANGE,
            R.BUNDLE_MIXED,
            *AUTHORITY,
            R.BUNDLE_NEEDS_EPOCHS,
            R.INSUFFICIENT_FUNDS,
            R.ACCOUNT_BARRED,
            R.SESSION_TERMS,
            R.SESSION_CAP_EXCEEDED,
            *SEQUENCED,
        ),
    ),
    Route(
        method="GET",
        path="/v1/bundles/{digest}",
        handler=read_bundle,
        summary="One bundle and what became of its legs",
        told=SubmittedBundleTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/bundles/{digest}",
        handler=cancel_bundle,
        summary="Withdraw a bundle with all its legs",
        description="Withdrawing one of its legs does the same.",
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.NOT_FOUND, R.TOO_LATE, R.NOT_OPEN, *SEQUENCED),
    ),
)
