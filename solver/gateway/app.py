"""Puts the gateway together. `solver.run` gives it its ports and serves it."""

from collections.abc import Callable, Sequence
from typing import Final

from intents.admission import Rules
from intents.signature import SigningKey
from solver.engine.award import AwardSigner
from solver.engine.sequencer import Sequencer
from solver.gateway import openapi
from solver.gateway.access import AccessLog
from solver.gateway.answer import json_response
from solver.gateway.auction_line import AuctionLines
from solver.gateway.auth import Authenticator
from solver.gateway.door import Door
from solver.gateway.fill_index import FillIndex
from solver.gateway.gateway import Answer, Gateway, Inbound, Load, Rates
from solver.gateway.grant import Grants
from solver.gateway.health import Healths
from solver.gateway.limit import Limits
from solver.gateway.line import Lines
from solver.gateway.mac import Macs
from solver.gateway.port import ContractSignatures, Custody
from solver.gateway.rotation import Rotations
from solver.gateway.route import Route
from solver.gateway.router import Router
from solver.gateway.single import Singles
from solver.gateway.table import ROUTES
from solver.gateway.wire import Nothing
from solver.runtime.clock import Clock
from solver.verifier.pool import Verifiers


def create_app(
    *,
    sequencer: Sequencer,
    rules: Rules,
    custody: Custody,
    contract_signatures: ContractSignatures,
    grant_secret: bytes,
    receipt_key: SigningKey,
    awards: AwardSigner,
    clock: Clock,
    limits: Limits | None = None,
    alarms: Callable[[], Sequence[str]] = tuple,
    verifiers: Verifiers | None = None,
    rotations: Rotations | None = None,
) -> Door:
    """The gateway's door, which `serve` opens.

    `grant_secret` is at least 32 random bytes, one per data directory.

    `verifiers` are running already; without any, signatures are verified here. Without
    `rotations`, secrets of mandates that were replaced count again in the next process.

    `clock` is read once, for when this process started; all else goes by the market's
    time. `alarms` says, at every GET /healthz, what an operator should see to; anyone may
    read it.
    """
    limits = limits or Limits()
    state = sequencer.market.state
    started_at_ms = max(clock.now_ms(), sequencer.now_ms())
    rates = Rates.of(limits)
    verifiers = verifiers or Verifiers(rules)
    gateway = Gateway(
        sequencer=sequencer,
        rules=rules,
        custody=custody,
        contract_signatures=contract_signatures,
        limits=limits,
        rates=rates,
        load=Load.of(limits),
        access_log=AccessLog(limits.log_lines_per_second),
        verifiers=verifiers,
        singles=Singles(sequencer, verifiers, rates.accounts),
        macs=Macs(
            grant_secret,
            rotations or Rotations(),
            started_at_ms=started_at_ms,
            mandates_max=limits.mandates_max,
        ),
        grants=Grants(grant_secret),
        authenticator=Authenticator(
            state,
            rules,
            started_at_ms=started_at_ms,
            nonces_max=limits.nonces_max,
        ),
        fills=FillIndex(state, sequencer.feed),
        lines=Lines(),
        auction_lines=AuctionLines(),
        healths=Healths(cached_ms=limits.health_cached_ms, entries_max=limits.health_cached_max),
        alarms=alarms,
        receipt_key=receipt_key,
        awards=awards,
    )
    return Door(gateway, Router((*ROUTES, _OPENAPI)))


async def _openapi(_: Inbound[Nothing, Nothing]) -> Answer:
    return json_response(openapi.build())


_OPENAPI: Final = Route(method="GET", path=openapi.PATH, handler=_openapi, summary="This document")
