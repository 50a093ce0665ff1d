"""What every handler is given: the market, the ports, and one request that passed the door."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Generic, TypeVar

import msgspec
from aiohttp import web

from intents.admission import Rules
from intents.reject import Reject
from intents.signature import SigningKey
from solver.core.state import State
from solver.engine.award import AwardSigner
from solver.engine.feed import Feed
from solver.engine.sequencer import Sequencer
from solver.gateway.access import AccessLog
from solver.gateway.auction_line import AuctionLines
from solver.gateway.auth import Authenticator, Caller
from solver.gateway.fill_index import FillIndex
from solver.gateway.grant import Grants
from solver.gateway.health import Healths
from solver.gateway.limit import Buckets, Limits, Places
from solver.gateway.line import Lines
from solver.gateway.mac import Macs
from solver.gateway.port import ContractSignatures, Custody
from solver.gateway.reply import Reply
from solver.gateway.single import Singles
from solver.verifier.pool import Verifiers

B = TypeVar("B")
Q = TypeVar("Q")

IPV6_HOST_BITS: Final = 64
REMOTES_MAX: Final = 4_096
"""Addresses whose network is remembered: taking one apart costs as much as a small request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The token buckets, one table per kind of sender."""

    addresses: Buckets
    accounts: Buckets
    address_documents: Buckets
    account_documents: Buckets
    refusals: Buckets
    contract_checks: Buckets
    probes: Buckets

    @classmethod
    def of(cls, limits: Limits) -> "Rates":
        """Full buckets."""
        return cls(
            addresses=_buckets(limits.address_per_second, limits.address_burst, limits),
            accounts=_buckets(limits.account_per_second, limits.account_burst, limits),
            address_documents=_buckets(
                limits.address_documents_per_second, limits.address_documents_burst, limits
            ),
            account_documents=_buckets(
                limits.account_documents_per_second, limits.account_documents_burst, limits
            ),
            refusals=_buckets(limits.refusals_per_second, limits.refusals_burst, limits),
            contract_checks=_buckets(
                limits.contract_checks_per_second, limits.contract_checks_burst, limits
            ),
            probes=_buckets(limits.probes_per_second, limits.probes_burst, limits),
        )


@dataclass(kw_only=True, slots=True)
class Load:
    """How much of what is counted is under way right now."""

    connections: Places
    feeds: Places
    solvers: Places
    intakes: Places
    contract_checks: int = 0
    sockets: set[web.WebSocketResponse] = field(default_factory=set)

    @classmethod
    def of(cls, limits: Limits) -> "Load":
        """None yet."""
        return cls(
            connections=Places(limits.connections_max, limits.connections_of_network_max),
            feeds=Places(limits.feed_connections_max, limits.feed_connections_of_network_max),
            solvers=Places(limits.solver_connections_max, limits.solver_connections_of_network_max),
            intakes=Places(limits.intake_connections_max, limits.intake_connections_of_network_max),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """The application's parts. Handlers change state through `sequencer.submit` alone."""

    sequencer: Sequencer
    rules: Rules
    custody: Custody
    contract_signatures: ContractSignatures
    limits: Limits
    rates: Rates
    load: Load
    access_log: AccessLog
    verifiers: Verifiers
    singles: Singles
    macs: Macs
    grants: Grants
    authenticator: Authenticator
    fills: FillIndex
    lines: Lines
    auction_lines: AuctionLines
    healths: Healths
    alarms: Callable[[], Sequence[str]]
    receipt_key: SigningKey
    awards: AwardSigner

    @property
    def state(self) -> State:
        """The market's memory, to read."""
        return self.sequencer.market.state

    @property
    def feed(self) -> Feed:
        """The market's events."""
        return self.sequencer.feed

    def now_ms(self) -> int:
        """The market's time."""
        return self.sequencer.now_ms()


class Inbound(msgspec.Struct, Generic[B, Q], frozen=True, kw_only=True):
    """One request: decoded, within its rates, and signed where its route says so."""

    gateway: Gateway
    request: web.BaseRequest
    named: Mapping[str, str]
    """The parts of the path that have names."""
    sender: str
    """The network that it came from."""
    raw: bytes
    body: B
    query: Q
    signed_by: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who signed it; only on routes that are signed."""
        assert self.signed_by is not None, "the route table says that this route is signed"
        return self.signed_by

    def path(self, name: str) -> str:
        """A part of the path, lower-cased."""
        return self.named[name].lower()


Response = Reply | web.StreamResponse
Answer = msgspec.Struct | Reject | Response
Handler = Callable[[Inbound[Any, Any]], Awaitable[Answer]]


def sender_of(request: web.BaseRequest) -> str:
    """Whom rates count: an IPv4 address, or the /64 that an IPv6 host can choose from."""
    return network_of(request.remote or "")


@lru_cache(REMOTES_MAX)
def network_of(remote: str) -> str:
    """The same, of an address."""
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> IPV6_HOST_BITS << IPV6_HOST_BITS))


def _buckets(per_second: int, burst: int, limits: Limits) -> Buckets:
    return Buckets(per_second=per_second, burst=burst, entries_max=limits.buckets_max)
