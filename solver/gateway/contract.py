"""Asks an account's contract about a signature (EIP-1271), within rates and in bounded time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from intents.reject import Reject, RejectCode, reject
from solver.gateway.auth import Caller, Credentials
from solver.gateway.gateway import Gateway
from solver.gateway.limit import limited

LOG: Final = structlog.get_logger("solver.gateway")


async def ask_contract(
    gateway: Gateway, account: str, digest: str, signature: str, sender: str
) -> bool | Reject:
    """Whether the account's contract accepts it. Rejects: rate_limited, busy."""
    return await _ask(
        gateway, lambda: gateway.contract_signatures.is_valid(account, digest, signature), sender
    )


async def ask_registry(
    gateway: Gateway, account: str, key: str, permissions: int, sender: str
) -> bool | Reject:
    """Whether a key may act for the account. Rejects: rate_limited, busy."""
    return await _ask(
        gateway, lambda: gateway.contract_signatures.is_session(account, key, permissions), sender
    )


async def _ask(
    gateway: Gateway, question: Callable[[], Awaitable[bool]], sender: str
) -> bool | Reject:
    refused = limited(gateway.rates.contract_checks, sender, gateway.now_ms())
    if refused is not None:
        return refused
    limits, load = gateway.limits, gateway.load
    if load.contract_checks >= limits.contract_checks_at_once_max:
        return reject(RejectCode.BUSY, "too many contract signatures at once", retry_after_ms=1_000)
    load.contract_checks += 1
    try:
        async with asyncio.timeout(limits.contract_check_seconds_max):
            return await question()
    except Exception as error:  # noqa: BLE001  a node that fails is no fault of the sender's
        LOG.warning("contract_check_failed", error=type(error).__name__)
        return reject(RejectCode.BUSY, "the chain did not answer", retry_after_ms=1_000)
    finally:
        load.contract_checks -= 1


async def authenticate(
    gateway: Gateway,
    credentials: Credentials,
    *,
    method: str,
    target: str,
    body: bytes,
    permissions: int,
    sender: str,
) -> Caller | Reject:
    """Who signed a request. Rejects as `Authenticator.verify`, and rate_limited."""

    async def speaks(account: str, digest: str, signature: str) -> bool | Reject:
        return await ask_contract(gateway, account, digest, signature, sender)

    return await gateway.authenticator.verify(
        credentials,
        method=method,
        target=target,
        body=body,
        now_ms=gateway.now_ms,
        permissions=permissions,
        speaks=speaks,
    )
