"""Leases: what was bought, the grant to use it, and saying that one is done."""

from typing import Final

from intents.document import Receipt
from intents.reject import Reject, RejectCode, reject
from intents.typed_data import digest
from solver.core.command import EndLeases
from solver.core.event import LeaseStatus
from solver.core.state import IntentState
from solver.gateway.document import signed_for
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.view import lease_told
from solver.gateway.wire import (
    FillsQuery,
    FillsTold,
    GrantTold,
    IntentBody,
    IntentQuery,
    LeasesTold,
    Nothing,
    ReceiptTold,
    ResultTold,
)

GRANT_MS_MAX: Final = 3_600_000
"""A grant is good for an hour at most; asking for another one costs nothing."""


async def list_fills(inbound: Inbound[Nothing, FillsQuery]) -> Answer:
    """Fills of an intent or an account."""
    query, gateway = inbound.query, inbound.gateway
    if (query.intent is None) == (query.account is None):
        return reject(RejectCode.MALFORMED, "name an intent or an account")
    if query.account is not None:
        fills = gateway.fills.newest(query.account, query.limit)
    else:
        intent = gateway.state.intents.get(query.intent or "")
        if intent is None:
            return _unknown_intent()
        fills = list(intent.leases[: -query.limit - 1 : -1])
    return FillsTold(fills=tuple(lease_told(gateway.state.leases[fill]) for fill in fills))


async def list_leases(inbound: Inbound[Nothing, IntentQuery]) -> Answer:
    """An intent's leases."""
    state = inbound.gateway.state
    intent = state.intents.get(inbound.query.intent)
    if intent is None:
        return _unknown_intent()
    return LeasesTold(leases=tuple(lease_told(state.leases[lease]) for lease in intent.leases))


async def receipt(inbound: Inbound[Nothing, IntentQuery]) -> Answer:
    """What an intent has used so far, over the market's signature. Only what is on disk."""
    gateway = inbound.gateway
    intent = gateway.state.intents.get(inbound.query.intent)
    if intent is None:
        return _unknown_intent()
    leases = [gateway.state.leases[lease] for lease in intent.leases]
    document = Receipt(
        account=intent.document.account,
        intent=intent.digest,
        delivered=sum(lease.delivered for lease in leases),
        payment=sum(lease.payment for lease in leases if lease.status is not LeaseStatus.SKIPPED),
        issued_at=gateway.now_ms() // 1_000,
    )
    await gateway.sequencer.durable()
    key = gateway.receipt_key
    signature = key.sign(digest(gateway.rules.domain.prefix(), document))
    return ReceiptTold(document=document, signer=key.address, signature=signature)


async def grant_leases(inbound: Inbound[IntentBody, Nothing]) -> Answer:
    """A bearer token for an intent's leases.

    Rejects: not_found, not_authorized, lease_unknown (nothing was filled yet), lease_ended.
    """
    gateway = inbound.gateway
    intent = _intent_of(inbound)
    if isinstance(intent, Reject):
        return intent
    if not intent.leases:
        return reject(RejectCode.LEASE_UNKNOWN, "nothing of this intent was filled yet")
    leases = [gateway.state.leases[lease] for lease in intent.leases]
    if not intent.open_units and all(lease.status is not LeaseStatus.OPEN for lease in leases):
        return reject(RejectCode.LEASE_ENDED, "all its leases have ended")
    return _grant(gateway, intent)


async def end_leases(inbound: Inbound[IntentBody, Nothing]) -> Answer:
    """Close an intent's leases now, release what is unused."""
    intent = _intent_of(inbound)
    if isinstance(intent, Reject):
        return intent
    result = await inbound.gateway.sequencer.submit(
        EndLeases(account=inbound.caller.account, intent=intent.digest)
    )
    return result if isinstance(result, Reject) else ResultTold()


def _grant(gateway: Gateway, intent: IntentState) -> GrantTold:
    until_ms = min(intent.document.valid_until * 1_000, gateway.now_ms() + GRANT_MS_MAX)
    return GrantTold(grant=gateway.grants.issue(intent.digest, until_ms), expires_at_ms=until_ms)


def _intent_of(inbound: Inbound[IntentBody, Nothing]) -> IntentState | Reject:
    intent = inbound.gateway.state.intents.get(inbound.body.intent)
    if intent is None:
        return _unknown_intent()
    if not inbound.caller.may_touch(signed_for(inbound.gateway.state, intent)):
        return reject(RejectCode.NOT_AUTHORIZED, "its leases are not yours")
    return intent


def _unknown_intent() -> Reject:
    return reject(RejectCode.NOT_FOUND, "no such intent")
