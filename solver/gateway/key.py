"""Pooled keys: contributed, looked at, revoked. A secret only passes through to custody."""

import asyncio
from itertools import islice
from typing import Any

from intents.admission import Unverified, Verified, admit
from intents.document import Attestation
from intents.reject import Reject, RejectCode, reject
from solver.core.command import KeyEnd, PoolKey, RetireKey
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.pooled import (
    CapacitiesTold,
    CapacityQuery,
    ContributeBody,
    ContributedTold,
    KeyBody,
    KeyQuery,
    KeysQuery,
    KeysTold,
)
from solver.gateway.port import Contributed
from solver.gateway.view import capacity_told, key_told, unlisted
from solver.gateway.wire import Nothing, ResultTold

ATTESTATION_SECONDS_MAX = 86_400
"""An attestation is signed for this contribution, not long before."""
SKEW_SECONDS_MAX = 60


async def contribute(inbound: Inbound[ContributeBody, Nothing]) -> Answer:
    """Seal a key, have it pooled. Custody and market agree: both have it, or neither.

    Rejects of its own: rate_limited, malformed (the attestation is for something else), expired,
    not_authorized, attestation_missing (another text); then custody's and the market's.
    """
    attestation = _attestation(inbound)
    if isinstance(attestation, Reject):
        return attestation
    refused = _limited(inbound)
    if refused is not None:
        return refused
    # Shielded: a client that hangs up must not leave a sealed key that nobody pooled.
    return await asyncio.shield(_contribute(inbound, attestation))


async def _contribute(
    inbound: Inbound[ContributeBody, Nothing], attestation: Verified[Attestation] | None
) -> Answer:
    gateway, owner, body = inbound.gateway, inbound.caller.account, inbound.body
    sealed = await gateway.custody.contribute(owner, body.provider, body.secret, attestation)
    if isinstance(sealed, Reject):
        return sealed
    refused = await _pool(gateway, owner, sealed)
    if refused is not None:
        return refused
    return ContributedTold(key=sealed.key, provider=sealed.provider, resources=sealed.resources)


async def _pool(gateway: Gateway, owner: str, sealed: Contributed) -> Reject | None:
    result = await gateway.sequencer.submit(
        PoolKey(
            key=sealed.key,
            owner=owner,
            provider=sealed.provider,
            resources=sealed.resources,
            limits=sealed.limits,
        )
    )
    if not isinstance(result, Reject):
        return None
    if result.code is not RejectCode.KEY_DUPLICATE:
        await gateway.custody.revoke(owner, sealed.key)
    return result


async def revoke(inbound: Inbound[KeyBody, Nothing]) -> Answer:
    """Take a key out of the market, then erase it. Asking again is fine.

    Rejects: key_unknown, not_authorized, then custody's.
    """
    refused = _fault_in_owner(inbound.gateway, inbound.caller.account, inbound.body.key)
    if refused is not None:
        return refused
    return await asyncio.shield(_revoke(inbound.gateway, inbound.caller.account, inbound.body.key))


async def _revoke(gateway: Gateway, owner: str, key: str) -> Answer:
    result = await gateway.sequencer.submit(RetireKey(key=key, reason=KeyEnd.REVOKED))
    if isinstance(result, Reject) and result.code is not RejectCode.KEY_NOT_LIVE:
        return result
    gateway.healths.forget(key)
    return await gateway.custody.revoke(owner, key) or ResultTold()


async def keys(inbound: Inbound[Nothing, KeysQuery]) -> Answer:
    """A page of the caller's keys: an account has a thousand in the pool at most."""
    gateway, query = inbound.gateway, inbound.query
    state, owner, now_ms = gateway.state, inbound.caller.account, gateway.now_ms()
    mine = iter([name for name, key in state.keys.items() if key.owner == owner])
    if query.after is not None:
        for name in mine:
            if name == query.after:
                break
    page = list(islice(mine, query.limit + 1))
    told = [key_told(state, name, state.keys[name], now_ms) for name in page[: query.limit]]
    return KeysTold(keys=tuple(told), next=told[-1].key if len(page) > query.limit else None)


async def health(inbound: Inbound[Nothing, KeyQuery]) -> Answer:
    """Whether a key of yours is alive. Rejects: key_unknown, not_authorized, rate_limited."""
    gateway, owner, key = inbound.gateway, inbound.caller.account, inbound.query.key
    refused = _fault_in_owner(gateway, owner, key)
    if refused is not None:
        return refused
    known = gateway.healths.get(key, gateway.now_ms())
    if known is not None:
        return known
    refused = _limited(inbound)
    if refused is not None:
        return refused
    found = await gateway.custody.health(owner, key)
    if not isinstance(found, Reject):
        gateway.healths.put(key, found, gateway.now_ms())
    return found


async def capacity(inbound: Inbound[Nothing, CapacityQuery]) -> Answer:
    """What can be bought, per resource. Rejects: resource_unknown."""
    state, now_ms = inbound.gateway.state, inbound.gateway.now_ms()
    resource = inbound.query.resource
    if resource is None:
        resources = sorted(state.resources)
    elif resource in state.resources:
        resources = [resource]
    else:
        return unlisted(resource)
    return CapacitiesTold(resources=capacity_told(state, resources, now_ms))


def _limited(inbound: Inbound[Any, Any]) -> Reject | None:
    """Accounts are free, so networks are counted: we are no oracle for stolen keys."""
    return limited(inbound.gateway.rates.probes, inbound.sender, inbound.gateway.now_ms())


def _fault_in_owner(gateway: Gateway, owner: str, key: str) -> Reject | None:
    pooled = gateway.state.keys.get(key)
    if pooled is None:
        return reject(RejectCode.KEY_UNKNOWN, f"no pooled key {key}")
    if pooled.owner != owner:
        return reject(RejectCode.NOT_AUTHORIZED, "the key belongs to another account")
    return None


def _attestation(
    inbound: Inbound[ContributeBody, Nothing],
) -> Verified[Attestation] | Reject | None:
    """The attestation, if the account itself signed it for this provider, lately."""
    sent = inbound.body.attestation
    if sent is None:
        return None
    now_s = inbound.gateway.now_ms() // 1_000
    verified = admit(sent, inbound.gateway.rules, now_s)
    if isinstance(verified, Reject):
        return verified
    return _fault_in_attestation(inbound, sent, verified, now_s) or verified


def _fault_in_attestation(
    inbound: Inbound[ContributeBody, Nothing],
    sent: Unverified[Attestation],
    verified: Verified[Attestation],
    now_s: int,
) -> Reject | None:
    account = inbound.caller.account
    if sent.document.account != account or sent.document.provider != inbound.body.provider:
        return reject(RejectCode.MALFORMED, "the attestation is for another account or provider")
    if not now_s - ATTESTATION_SECONDS_MAX < sent.document.issued_at <= now_s + SKEW_SECONDS_MAX:
        return reject(RejectCode.EXPIRED, "issuedAt must be within the last day")
    if verified.signer != account:
        return reject(RejectCode.NOT_AUTHORIZED, "an attestation is signed by the account's key")
    texts = {one.name: one.attestation for one in inbound.gateway.custody.providers()}
    if texts.get(inbound.body.provider, sent.document.statement) != sent.document.statement:
        return reject(RejectCode.ATTESTATION_MISSING, "the statement is not the provider's text")
    return None
