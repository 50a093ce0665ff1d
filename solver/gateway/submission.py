"""Routes for what is signed: intents, one by one and many at once, mandates and offers."""

from operator import attrgetter
from typing import Final

from intents.admission import Unverified
from intents.bulk import INTENTS_MAX, UnverifiedBulk
from intents.document import Intent, Mandate, Offer
from intents.reject import RejectCode as R
from solver.core.state import MAY_CANCEL, MAY_SIGN
from solver.gateway import (
    document,
    intake,
    mandate,
    stream,
)
from solver.gateway.many import MandateSecretTold, MandateTold, OutcomesTold
from solver.gateway.route import (
    ADMISSION,
    AUTHORITY,
    SEQUENCED,
    Route,
)
from solver.gateway.wire import (
    DocumentsQuery,
    IntentsTold,
    IntentTold,
    OffersTold,
    OfferTold,
    ResultTold,
)
from solver.verifier.batch import BATCH_MAX

SUBMISSION: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/v1/intents",
        handler=document.submit_intent,
        summary="Submit a signed intent",
        body=Unverified[Intent],
        verified=True,
        told=IntentTold,
        status=201,
        rejects=(
            *ADMISSION,
            *AUTHORITY,
            R.INSUFFICIENT_FUNDS,
            R.ACCOUNT_BARRED,
            R.SESSION_TERMS,
            R.SESSION_CAP_EXCEEDED,
            *SEQUENCED,
        ),
    ),
    Route(
        method="POST",
        path="/v1/intents/batch",
        handler=intake.submit_batch,
        summary=f"Submit up to {BATCH_MAX} signed intents; an outcome for each",
        body=tuple[Unverified[Intent], ...],
        verified=True,
        bytes_max=attrgetter("batch_bytes_max"),
        told=OutcomesTold,
        rejects=SEQUENCED,
    ),
    Route(
        method="POST",
        path="/v1/intents/bulk",
        handler=intake.submit_bulk,
        summary=f"Submit up to {INTENTS_MAX} intents over one signature; an outcome for each",
        description="Sign a `BulkIntent`; GET /v1/eip712 has its type for each height of its tree.",
        body=UnverifiedBulk,
        verified=True,
        bytes_max=attrgetter("bulk_bytes_max"),
        told=OutcomesTold,
        rejects=(
            R.WRONG_DOMAIN,
            R.SIGNATURE_MALFORMED,
            R.SIGNATURE_HIGH_S,
            R.SIGNATURE_INVALID,
            *SEQUENCED,
        ),
    ),
    Route(
        method="GET",
        path="/v1/intake",
        handler=stream.intake,
        summary="Submit intents over a WebSocket, answered in order",
        socket=True,
        rejects=(R.BUSY,),
    ),
    Route(
        method="POST",
        path="/v1/mandates",
        handler=mandate.submit_mandate,
        summary="Register a signed mandate; the answer has its secret",
        body=Unverified[Mandate],
        told=MandateSecretTold,
        status=201,
        permissions=MAY_SIGN,
        rejects=(*ADMISSION, *AUTHORITY, *SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/mandates/{digest}",
        handler=mandate.read_mandate,
        summary="One mandate and how far it is used",
        told=MandateTold,
        rejects=(R.MANDATE_UNKNOWN,),
    ),
    Route(
        method="DELETE",
        path="/v1/mandates/{digest}",
        handler=mandate.end_mandate,
        summary="Withdraw a mandate, and what is open under it",
        description=(
            "The market takes no more intents under it and serves none that are open; what was "
            "filled is still settled. This is the market's word alone: on chain the signature "
            "stays good until `validUntil`. To end it there, the account calls `cancel(nonce)` "
            "of the settlement contract, or `cancelAll()` for all that it signed in this epoch; "
            "either takes effect once the contract's exit delay is over."
        ),
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.MANDATE_UNKNOWN, R.NOT_OPEN, *SEQUENCED),
    ),
    Route(
        method="POST",
        path="/v1/mandates/{digest}/secret",
        handler=mandate.replace_secret,
        summary="Replace the secret of a mandate; the one before counts no more",
        description=(
            "For who lost it, or fears that somebody else knows it. Intents that were accepted "
            "stand. If the answer gets lost, POST /v1/mandates tells the same secret again."
        ),
        told=MandateSecretTold,
        status=201,
        permissions=MAY_SIGN,
        rejects=(R.MANDATE_UNKNOWN, R.MANDATE_ENDED),
    ),
    Route(
        method="POST",
        path="/v1/mandates/{digest}/intents",
        handler=mandate.submit_mandated,
        summary=f"Submit up to {BATCH_MAX} intents under a mandate; an outcome for each",
        body=tuple[Intent, ...],
        verified=True,
        maced=True,
        bytes_max=attrgetter("batch_bytes_max"),
        told=OutcomesTold,
        rejects=(
            R.UNAUTHENTICATED,
            R.REPLAYED,
            R.MANDATE_UNKNOWN,
            R.MANDATE_ENDED,
            *SEQUENCED,
        ),
    ),
    Route(
        method="GET",
        path="/v1/intents",
        handler=document.list_intents,
        summary="An account's intents, newest first, page by page",
        query=DocumentsQuery,
        told=IntentsTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/v1/intents/{digest}",
        handler=document.read_intent,
        summary="One intent: status, units, leases, paid so far",
        told=IntentTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/intents/{digest}",
        handler=document.cancel_intent,
        summary="Withdraw what is not filled of an intent",
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.NOT_FOUND, R.TOO_LATE, R.NOT_OPEN, *SEQUENCED),
    ),
    Route(
        method="POST",
        path="/v1/offers",
        handler=document.submit_offer,
        summary="Submit a signed offer",
        body=Unverified[Offer],
        verified=True,
        told=OfferTold,
        status=201,
        rejects=(*ADMISSION, *AUTHORITY, R.KEY_UNKNOWN, R.KEY_NOT_LIVE, *SEQUENCED),
    ),
    Route(
        method="GET",
        path="/v1/offers",
        handler=document.list_offers,
        summary="An account's offers, newest first, page by page",
        query=DocumentsQuery,
        told=OffersTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/v1/offers/{digest}",
        handler=document.read_offer,
        summary="One offer and what is left of it",
        told=OfferTold,
        rejects=(R.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/offers/{digest}",
        handler=document.cancel_offer,
        summary="Withdraw what is not sold of an offer",
        told=ResultTold,
        permissions=MAY_SIGN | MAY_CANCEL,
        rejects=(R.NOT_FOUND, R.NOT_OPEN, *SEQUENCED),
    ),
)
