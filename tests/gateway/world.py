"""A whole market on loopback: real sequencer and server, a small vault of the test's own.

The vault proxies for real, to an upstream of the test's, so that what reaches a client
went through two HTTP servers; it reserves and meters by commands, as the real one does.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp import web
from tiny_keccak import keccak256
from yarl import URL

from intents.admission import Rules, Verified
from intents.document import Attestation
from intents.reject import Reject, RejectCode, reject
from intents.signature import SigningKey
from solver.client import Agent, Contributor, Market, Solver
from solver.client.market import Identity
from solver.core.command import (
    ApplyBlocks,
    Command,
    FinishCall,
    IssueCredits,
    Limit,
    Mode,
    OpenResource,
    Outcome,
    StartCall,
)
from solver.core.event import LeaseStatus
from solver.core.fact import Deposited, Fact
from solver.core.market import Market as Core
from solver.core.state import CREDIT, MAY_SIGN
from solver.engine.award import AwardSigner
from solver.engine.feed import Feed
from solver.engine.group import Group
from solver.engine.payload import decode
from solver.engine.sequencer import Applied, Sequencer
from solver.gateway import (
    Contributed,
    KeyHealth,
    Limits,
    ProviderInfo,
    ProxyAnswer,
    ProxyRequest,
    create_app,
    serve,
)
from solver.gateway.gateway import Gateway
from solver.journal import Genesis, Journal
from solver.runtime.clock import Clock, SystemClock
from solver.verifier.pool import Verifiers
from tests.builder import DOMAIN, USDC, Person, alice, bob, carol, dave, key_granted
from tests.patience import PATIENCE_S, a_while

RULES: Final = Rules(domain=DOMAIN, assets=frozenset({USDC, CREDIT}))
DOCS: Final = "datasette/docs:call"
CHAT: Final = "openai-compatible/chat:token"
EPOCHS: Final = "datasette/batch:call"
UNLISTED: Final = "datasette/nothing:call"
ATTESTATION: Final = "I may share this."
GRANT_SECRET: Final = bytes(range(32))
RECEIPT_KEY: Final = SigningKey(bytes([9]) * 32)
RICH: Final = 10**9
BODY_LIMIT: Final = 64 * 1024
GENEROUS: Final = Limits(
    address_per_second=10**6,
    address_burst=10**6,
    address_documents_per_second=10**6,
    address_documents_burst=10**6,
    account_documents_per_second=10**6,
    account_documents_burst=10**6,
    account_per_second=10**6,
    account_burst=10**6,
    refusals_per_second=10**4,
    refusals_burst=10**4,
    contract_checks_per_second=10**4,
    contract_checks_burst=10**4,
    contract_check_seconds_max=0.3,
    probes_per_second=10**4,
    probes_burst=10**4,
    heartbeat_seconds=0.3,
    head_seconds_max=PATIENCE_S,
    body_seconds_max=PATIENCE_S,
    send_seconds_max=PATIENCE_S,
)
"""Rates and times that tests do not meet unless they mean to."""


class TestAnswer:
    """An upstream's answer that finishes its call once."""

    __test__ = False

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        lease: str,
        finish: Callable[[Outcome], Awaitable[int]],
    ) -> None:
        self.status = response.status
        self.headers: Sequence[tuple[str, str]] = tuple(response.headers.items())
        self.lease = lease
        self.units: int | None = None
        self.closed = 0
        self._response = response
        self._finish = finish

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_any():
            yield chunk
        self.units = await self._finish(Outcome.DELIVERED)

    async def aclose(self) -> None:
        """Finish with what was handed out."""
        self.closed += 1
        self._response.close()
        if self.units is None:
            self.units = await self._finish(Outcome.UNKNOWN)


@dataclass
class Vault:
    """Custody without sealing. Knobs let a test make it refuse or break."""

    session: aiohttp.ClientSession
    upstream: str
    sequencer: Sequencer
    secrets: dict[str, str] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)
    attested: list[Verified[Attestation] | None] = field(default_factory=list)
    requests: list[ProxyRequest] = field(default_factory=list)
    answers: list[TestAnswer] = field(default_factory=list)
    refusing: Reject | None = None
    breaking: Exception | None = None
    resources: tuple[str, ...] = (DOCS, CHAT, EPOCHS)
    limits: tuple[Limit, ...] = ()
    _calls: Any = field(default_factory=count)

    def providers(self) -> Sequence[ProviderInfo]:
        """Two providers."""
        return [
            ProviderInfo(
                name=name,
                title=name.title(),
                sharing="allowed",
                attestation=ATTESTATION,
                resources=self.resources,
                limits=(Limit(units=100, seconds=60),),
            )
            for name in ("datasette", "openai-compatible")
        ]

    async def contribute(
        self,
        owner: str,  # noqa: ARG002
        provider: str,
        secret: str,
        attestation: Verified[Attestation] | None,
    ) -> Contributed | Reject:
        """Keep the secret, name it by its hash."""
        if self.refusing is not None:
            return self.refusing
        if provider not in {one.name for one in self.providers()}:
            return reject(RejectCode.PROVIDER_UNKNOWN, provider)
        key = "0x" + keccak256(secret.encode()).hex()
        if key in self.secrets:
            return reject(RejectCode.KEY_DUPLICATE)
        self.attested.append(attestation)
        self.secrets[key] = secret
        return Contributed(key=key, provider=provider, resources=self.resources, limits=self.limits)

    async def revoke(self, owner: str, key: str) -> Reject | None:  # noqa: ARG002
        """Forget it."""
        self.secrets.pop(key, None)
        self.erased.append(key)
        return None

    async def health(self, owner: str, key: str) -> KeyHealth | Reject:  # noqa: ARG002
        """Always well."""
        return KeyHealth(key=key, provider="datasette", status="healthy", checked_at_ms=1)

    async def call(self, intent: str, request: ProxyRequest) -> ProxyAnswer | Reject:
        """Reserve, ask the upstream, meter one unit."""
        if self.breaking is not None:
            raise self.breaking
        if self.refusing is not None:
            return self.refusing
        if ".." in request.path:
            return reject(RejectCode.OPERATION_FORBIDDEN)
        started = await self._start(intent)
        if isinstance(started, Reject):
            return started
        lease, call = started
        self.requests.append(request)

        async def finish(outcome: Outcome) -> int:
            await self.sequencer.submit(FinishCall(call=call, outcome=outcome, units=1))
            return 1

        url = self.upstream + request.path + (f"?{request.query}" if request.query else "")
        response = await self.session.request(
            request.method,
            URL(url, encoded=True),
            data=request.body or None,
            headers=[*request.headers, ("X-Test-Key", "secret")],
        )
        answer = TestAnswer(response, lease, finish)
        self.answers.append(answer)
        return answer

    async def _start(self, intent: str) -> tuple[str, str] | Reject:
        state = self.sequencer.market.state
        leases = [state.leases[lease] for lease in state.intents[intent].leases]
        usable = [lease for lease in leases if lease.status is LeaseStatus.OPEN]
        if not usable:
            return reject(RejectCode.LEASE_ENDED)
        call = f"call-{next(self._calls)}"
        started = await self.sequencer.submit(StartCall(lease=usable[0].id, call=call, units=1))
        return started if isinstance(started, Reject) else (usable[0].id, call)


@dataclass
class Contracts:
    """Signatures of contract accounts: accepts what a test says."""

    valid: set[str] = field(default_factory=set)
    sessions: set[tuple[str, str, int]] = field(default_factory=set)
    asked: int = 0
    digests: list[str] = field(default_factory=list)
    breaking: Exception | None = None
    hanging: bool = False

    async def is_valid(self, account: str, digest: str, signature: str) -> bool:
        """Whether the test said so."""
        assert digest.startswith("0x")
        assert signature.startswith("0x")
        self.asked += 1
        self.digests.append(digest)
        if self.breaking is not None:
            raise self.breaking
        if self.hanging:
            await asyncio.Event().wait()
        return account in self.valid

    async def is_session(self, account: str, key: str, permissions: int) -> bool:
        """Whether the test said so."""
        self.asked += 1
        return (account, key, permissions) in self.sessions


class OffsetClock:
    """The system's clock, moved, or stopped: rates then do not depend on the machine's."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._stopped_at_ms: int | None = None

    def now_ms(self) -> int:
        """The time there."""
        now_ms = SystemClock().now_ms() if self._stopped_at_ms is None else self._stopped_at_ms
        return now_ms + self.ahead_ms

    def stop(self) -> None:
        """From now on it moves by hand alone."""
        self._stopped_at_ms = SystemClock().now_ms()


@dataclass
class World:
    """Everything a test needs to hold."""

    url: str
    port: int
    sequencer: Sequencer
    gateway: Gateway
    vault: Vault
    contracts: Contracts
    clock: OffsetClock
    http: aiohttp.ClientSession
    market: Market
    upstream: "Upstream"
    _blocks: Any = field(default_factory=lambda: count(1))

    # -- set-up

    async def do(self, command: Command) -> Applied:
        """Apply a command that must be accepted."""
        result = await self.sequencer.submit(command)
        assert isinstance(result, Applied), result
        return result

    async def chain(self, *facts: Fact) -> Applied:
        """Finalise one block with these facts."""
        number = next(self._blocks)
        return await self.do(ApplyBlocks(number=number, block_hash=f"0x{number:064x}", facts=facts))

    async def granting(
        self,
        session: Person,
        account: Person,
        *,
        permissions: int = MAY_SIGN,
        seconds: int = 3_600,
        cap: int = RICH,
    ) -> Self:
        """Give `account` a session key."""
        await self.chain(
            key_granted(
                self.sequencer.market.state,
                account.address,
                session.address,
                permissions=permissions,
                expires_at=self.sequencer.now_ms() // 1_000 + seconds,
                cap=cap,
            )
        )
        return self

    def stop_clock(self) -> None:
        """Neither the market's time nor its client's goes on: rates refill by hand alone."""
        self.clock.stop()
        numbers = count(self.clock.now_ms())
        self.market.time_s = lambda: self.clock.now_ms() // 1_000  # type: ignore[method-assign]
        self.market.next_ms = lambda: next(numbers)  # type: ignore[method-assign]

    # -- people

    def agent(self, who: Person, account: str | None = None) -> Agent:
        """A buyer."""
        return Agent(self.market, who.key, account)

    def contributor(self, who: Person, account: str | None = None) -> Contributor:
        """A seller."""
        return Contributor(self.market, who.key, account)

    def solver(self, who: Person) -> Solver:
        """A solver."""
        return Solver(self.market, who.key)

    async def key(self, who: Person, name: str = "") -> str:
        """A pooled key of somebody's."""
        return (await self.contributor(who).contribute("datasette", who.name + name)).key

    async def offering(
        self, who: Person, units: int = 10, limit: int = 100, resource: str = DOCS
    ) -> Self:
        """A pooled key and an offer of it."""
        key = await self.key(who, resource)
        await self.contributor(who).offer(resource, key=key, units=units, limit=limit)
        return self

    # -- looking

    def state_hash(self) -> str:
        """The market's state."""
        return self.sequencer.market.state.hash()

    async def raw(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """A request of the test's own making: status, JSON, headers."""
        sent = {"Content-Type": "application/json"} if body else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(
            method, URL(self.url + target, encoded=True), data=body or None, headers=sent
        ) as response:
            content = await response.read()
            told = msgspec.json.decode(content) if content else {}
            return response.status, told, {k.lower(): v for k, v in response.headers.items()}

    async def signed(
        self, who: Person, method: str, target: str, body: object = None, **changes: Any
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """A signed request; `changes` replace what the header says after signing."""
        raw = b"" if body is None else msgspec.json.encode(body)
        header = self.header(who, method, target, raw, **changes)
        return await self.raw(method, target, raw, Keyfill_Request=header)

    def header(
        self,
        who: Person,
        method: str,
        target: str,
        raw: bytes = b"",
        *,
        account: str | None = None,
        **changes: Any,
    ) -> str:
        """The header of a signed request."""
        identity = Identity.of(who.key, account)
        credentials = self.market.credentials(identity, method, target, raw) | changes
        return urlsafe_b64encode(msgspec.json.encode(credentials)).decode()


class Upstream:
    """Somebody's API. `release` lets a held answer go on."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.seen: list[web.BaseRequest] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer by path."""
        self.seen.append(request)
        nasty = {"Set-Cookie": "a=b", "Settlement-Overrides": "0", "Keyfill-Units": "0"}
        match request.path.rpartition("/")[2]:
            case "stream":
                response = await self._stream(request)
            case "completions":
                response = await self._complete(request)
            case "missing":
                response = web.json_response({"error": "no such page"}, status=404)
            case "nasty":
                response = web.json_response({}, headers={**nasty, "Server": "acme"})
            case "cut":
                response = await self._cut(request)
            case "large":
                response = web.Response(body=b"x" * 300_000)
            case _:
                body = await request.text()
                told = {"path": request.path, "query": dict(request.query), "body": body}
                response = web.json_response(told)
        return response

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await self.release.wait()
        await response.write(b"data: 2\n\n")
        return response

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read())
        if not asked.get("stream"):
            return web.json_response(_completion(asked["messages"][-1]["content"]))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in ("kiwi", "fruit"):
            await response.write(b"data: " + msgspec.json.encode(_chunk(word)) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _cut(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"half")
        await a_while()
        assert request.transport is not None
        request.transport.abort()
        return response


def _completion(text: str) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": f"echo {text}"},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


class MemoryJournal:
    """A journal for tests that do not restart."""

    def append(self, group: Group) -> int:
        """Every command must at least be one that can be read again."""
        assert len(decode(group.payload)) == group.commands
        return 0

    def checkpoint(self, state_hash: str) -> None:
        """Nothing to note."""

    def has_room(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def an_engine(path: Path | None, clock: Clock, feed: Feed) -> AsyncIterator[Sequencer]:
    """A running sequencer, on a real journal where a path is given."""
    genesis = Genesis(chain_id=DOMAIN.chain_id, settlement=DOMAIN.verifying_contract, usdc=USDC)
    journal = Journal.open(path / "journal.db", genesis) if path else MemoryJournal()
    sequencer = Sequencer(Core(USDC), journal, clock, feed)
    tasks = [asyncio.create_task(sequencer.run()), asyncio.create_task(sequencer.run_timer())]
    try:
        yield sequencer
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        journal.close()


@asynccontextmanager
async def an_upstream(upstream: Upstream) -> AsyncIterator[str]:
    """The upstream's server."""
    runner = web.ServerRunner(web.Server(upstream), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        upstream.release.set()
        await runner.cleanup()


@asynccontextmanager
async def a_world(
    path: Path | None = None,
    *,
    limits: Limits = GENEROUS,
    feed: Feed | None = None,
    alarms: Callable[[], Sequence[str]] = tuple,
    verifiers: Verifiers | None = None,
) -> AsyncIterator[World]:
    """A market that lists three resources, with four rich people."""
    clock, upstream, contracts = OffsetClock(), Upstream(), Contracts()
    async with AsyncExitStack() as stack:
        sequencer = await stack.enter_async_context(an_engine(path, clock, feed or Feed()))
        upstream_url = await stack.enter_async_context(an_upstream(upstream))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        vault = Vault(http, upstream_url, sequencer)
        clock.ahead_ms = -5_000
        app = create_app(
            sequencer=sequencer,
            rules=RULES,
            custody=vault,
            contract_signatures=contracts,
            grant_secret=GRANT_SECRET,
            receipt_key=RECEIPT_KEY,
            awards=AwardSigner(RECEIPT_KEY, RULES.domain),
            clock=clock,
            limits=limits,
            alarms=alarms,
            verifiers=verifiers,
        )
        clock.ahead_ms = 0
        await _furnish(sequencer)
        port = await stack.enter_async_context(serve(app, "127.0.0.1", 0))
        url = f"http://127.0.0.1:{port}"
        market = await stack.enter_async_context(Market(url, timeout_seconds=PATIENCE_S))
        yield World(
            url=url,
            port=port,
            sequencer=sequencer,
            gateway=app.gateway,
            vault=vault,
            contracts=contracts,
            clock=clock,
            http=http,
            market=market,
            upstream=upstream,
            _blocks=count(100),
        )


async def _furnish(sequencer: Sequencer) -> None:
    for resource, mode in (
        (DOCS, Mode.CONTINUOUS),
        (CHAT, Mode.CONTINUOUS),
        (EPOCHS, Mode.EPOCH),
    ):
        await sequencer.submit(OpenResource(resource=resource, mode=mode))
    people = (alice, bob, carol, dave)
    deposits = tuple(Deposited(account=who.address, amount=RICH) for who in people)
    await sequencer.submit(ApplyBlocks(number=1, block_hash="0x" + "01" * 32, facts=deposits))
    for who in people:
        await sequencer.submit(IssueCredits(account=who.address, amount=RICH, reason="test"))
