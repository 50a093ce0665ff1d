"""Puts the gateway together. `solver.run` gives it its ports and serves it."""

from collections.abc import Callable, Sequence

from aiohttp import web

from intents.admission import Rules
from intents.signature import SigningKey
from solver.engine.sequencer import Sequencer
from solver.gateway import openapi
from solver.gateway.access import AccessLog
from solver.gateway.answer import json_response
from solver.gateway.auth import Authenticator
from solver.gateway.door import Endpoint, endpoint, guard
from solver.gateway.fill_index import FillIndex
from solver.gateway.gateway import GATEWAY, Gateway, Load, Rates
from solver.gateway.grant import Grants
from solver.gateway.health import Healths
from solver.gateway.limit import Limits
from solver.gateway.line import Lines
from solver.gateway.mac import Macs
from solver.gateway.port import ContractSignatures, Custody
from solver.gateway.server import close_sockets, strip_server
from solver.gateway.table import ROUTES
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
    clock: Clock,
    limits: Limits | None = None,
    alarms: Callable[[], Sequence[str]] = tuple,
    verifiers: Verifiers | None = None,
) -> web.Application:
    """The application. `grant_secret`: at least 32 random bytes, one per data directory.

    `verifiers` are running already; without any, signatures are verified here.

    `clock` is read once, for when this process started; all else goes by the market's
    time. `alarms` says, at every GET /healthz, what an operator should see to; anyone may
    read it.
    """
    limits = limits or Limits()
    state = sequencer.market.state
    started_at_ms = max(clock.now_ms(), sequencer.now_ms())
    app = web.Application(middlewares=[guard], client_max_size=limits.proxy_body_bytes_max)
    app[GATEWAY] = Gateway(
        sequencer=sequencer,
        rules=rules,
        custody=custody,
        contract_signatures=contract_signatures,
        limits=limits,
        rates=Rates.of(limits),
        load=Load(),
        access_log=AccessLog(limits.log_lines_per_second),
        verifiers=verifiers or Verifiers(rules),
        macs=Macs(grant_secret, started_at_ms=started_at_ms, mandates_max=limits.mandates_max),
        grants=Grants(grant_secret),
        authenticator=Authenticator(
            state,
            rules,
            started_at_ms=started_at_ms,
            nonces_max=limits.nonces_max,
        ),
        fills=FillIndex(state, sequencer.feed),
        lines=Lines(),
        healths=Healths(cached_ms=limits.health_cached_ms, entries_max=limits.health_cached_max),
        alarms=alarms,
        receipt_key=receipt_key,
    )
    for route in ROUTES:
        app.router.add_route(route.method, route.pattern, endpoint(route))
    app.router.add_route("GET", openapi.PATH, _openapi())
    app.on_response_prepare.append(strip_server)
    app.on_shutdown.append(close_sockets)
    return app


def _openapi() -> Endpoint:
    async def openapi_json(_: web.Request) -> web.StreamResponse:
        return json_response(openapi.build())

    return openapi_json
