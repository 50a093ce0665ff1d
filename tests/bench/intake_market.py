"""One round of durable intake: bodies, verifiers, a real market, a real journal, the answer.

All is as `keyfill up` runs it but for HTTP, which is measured by itself (`single_post`):
uvloop, a verifier for each core, rates that are checked and never met. An intent counts
once its answer is encoded, which is after its group was synced.
"""

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Final, cast

import msgspec

from intents.admission import Unverified, Verified, admit
from intents.document import Mandate
from intents.reject import Reject
from intents.signature import SigningKey
from solver.core.command import ApplyBlocks, Authority, Command, Mode, OpenResource, SubmitMandate
from solver.core.fact import Deposited
from solver.core.market import Market
from solver.engine.award import AwardSigner
from solver.engine.collector import settle
from solver.engine.feed import Feed
from solver.engine.sequencer import Sequencer
from solver.engine.writer import QuickWriter
from solver.gateway.app import create_app
from solver.gateway.document import take_intent
from solver.gateway.door import Door
from solver.gateway.gateway import Gateway
from solver.gateway.intake import take, told
from solver.gateway.limit import Limits
from solver.gateway.mac import AHEAD_MS_MAX, Mac, mac_of
from solver.gateway.mandate import take_mandated
from solver.gateway.many import OutcomesTold, OutcomeTold
from solver.gateway.port import ContractSignatures, Custody
from solver.journal import Genesis, Journal
from solver.runtime.loop import run
from solver.verifier.batch import Kind
from solver.verifier.pool import Verifiers
from tests.bench.environment import WORK
from tests.bench.intake_bodies import (
    ACCOUNTS,
    BATCH,
    BEGIN_S,
    DOMAIN,
    RESOURCE,
    RULES,
    USDC,
    Bodies,
    key_of,
)
from tests.bench.tick import ticking

VERIFIERS: Final = 2
UNDER_WAY: Final = 32
"""Batches that are sent and not answered: one group is written, one applied, and verifiers have
tasks and what comes next. With half as many they sometimes wait for a write to end."""
SINGLES_UNDER_WAY: Final = 512
"""Single intents that are sent and not answered: as many connections."""
MONEY: Final = 10**15
WARMING_UP: Final = 4_000
"""Single intents that are sent and not timed, in a quarter of a second."""
TICK_SECONDS: Final = 0.0005
"""Between looks at what fell due: to wake for one costs as much as an intent."""
SYNCS: Final = 500
GROUP_BYTES: Final = 16 * 1024
"""Of some thirty intents."""
UNLIMITED: Final = Limits(
    address_documents_per_second=10**9,
    address_documents_burst=10**9,
    account_documents_per_second=10**9,
    account_documents_burst=10**9,
    address_per_second=10**9,
    address_burst=10**9,
    account_per_second=10**9,
    account_burst=10**9,
)


class RunningClock:
    """The machine's clock, moved to where the bodies are good."""

    def __init__(self, begin_ms: int) -> None:
        self._ahead_s = begin_ms / 1_000 - perf_counter()

    def now_ms(self) -> int:
        """The time there."""
        return int((perf_counter() + self._ahead_s) * 1_000)


@asynccontextmanager
async def an_app(folder: Path) -> AsyncIterator[Door]:
    """A furnished market on a journal of its own."""
    clock = RunningClock(BEGIN_S * 1_000)
    genesis = Genesis(chain_id=DOMAIN.chain_id, settlement=DOMAIN.verifying_contract, usdc=USDC)
    journal = Journal.open(folder / "journal.db", genesis)
    sequencer = Sequencer(Market(USDC), journal, clock, Feed(), writer=QuickWriter())
    async with Verifiers(RULES, processes=VERIFIERS).running() as verifiers:
        app = create_app(
            sequencer=sequencer,
            rules=RULES,
            custody=cast("Custody", None),
            contract_signatures=cast("ContractSignatures", None),
            grant_secret=bytes(32),
            receipt_key=SigningKey(bytes([1]) * 32),
            awards=AwardSigner(SigningKey(bytes([1]) * 32), RULES.domain),
            clock=clock,
            limits=UNLIMITED,
            verifiers=verifiers,
        )
        running = asyncio.create_task(sequencer.run())
        await _furnish(sequencer)
        await _start(verifiers)
        settle()
        try:
            yield app
        finally:
            running.cancel()
            await asyncio.wait({running})
            journal.close()


async def _start(verifiers: Verifiers) -> None:
    """Return once each verifier has answered: those of a market that runs have long started."""
    await asyncio.gather(*[verifiers.offer(b"{}", BEGIN_S) for _ in range(VERIFIERS * BATCH)])


async def _furnish(sequencer: Sequencer) -> None:
    deposits = tuple(
        Deposited(account=key_of(number).address, amount=MONEY) for number in range(ACCOUNTS)
    )
    commands: tuple[Command, ...] = (
        OpenResource(resource=RESOURCE, mode=Mode.CONTINUOUS),
        ApplyBlocks(number=1, block_hash="0x" + "01" * 32, facts=deposits),
    )
    for command in commands:
        assert not isinstance(await sequencer.submit(command), Reject)


Send = Callable[[bytes], Awaitable[list[OutcomeTold] | Reject]]


async def _rate_of(bodies: list[bytes], send: Send) -> float:
    """Intents a second from the first body to the last answer."""
    left = iter(bodies)

    async def worker() -> None:
        for body in left:
            outcomes = told(await send(body))
            assert isinstance(outcomes, OutcomesTold), outcomes
            # In the bytes: to look at each outcome would take as much time as to make it.
            assert msgspec.json.encode(outcomes).count(b'"status":201') == BATCH, outcomes

    started = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(UNDER_WAY):
            tasks.create_task(worker())
    return len(bodies) * BATCH / (perf_counter() - started)


async def _ecdsa(gateway: Gateway, bodies: Bodies) -> float:
    return await _rate_of(bodies.batches, lambda body: take(gateway, Kind.BATCH, body, ""))


async def _bulk(gateway: Gateway, bodies: Bodies) -> float:
    return await _rate_of(bodies.bulks, lambda body: take(gateway, Kind.BULK, body, ""))


async def _single(gateway: Gateway, bodies: Bodies) -> float:
    """Intents that come one by one, each as soon as one before it is answered."""
    left = iter(bodies.singles)

    async def worker() -> None:
        for body in left:
            answer = await take_intent(gateway, body, "")
            assert not isinstance(answer, Reject), answer
            msgspec.json.encode(answer)

    started = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(SINGLES_UNDER_WAY):
            tasks.create_task(worker())
    return len(bodies.singles) / (perf_counter() - started)


async def _session(gateway: Gateway, bodies: Bodies) -> float:
    mandate = await _register(gateway, bodies.mandate)
    secret = gateway.macs.secret_of(mandate)
    # A market that has just started takes no counter that it may have seen before.
    await asyncio.sleep(1.1 * AHEAD_MS_MAX / 1_000)
    first = gateway.now_ms()
    macs = {
        body: Mac(counter=first + place, mac=mac_of(secret, first + place, body))
        for place, body in enumerate(bodies.mandated)
    }
    return await _rate_of(
        bodies.mandated, lambda body: take_mandated(gateway, mandate, macs[body], body, "")
    )


async def _register(gateway: Gateway, raw: bytes) -> str:
    unverified = msgspec.json.decode(raw, type=Unverified[Mandate])
    verified = admit(unverified, RULES, BEGIN_S)
    assert isinstance(verified, Verified)
    command = SubmitMandate(
        mandate=verified.document,
        digest=verified.digest,
        signer=verified.document.account,
        authority=Authority.KEY,
        signature=verified.signature,
    )
    assert not isinstance(await gateway.sequencer.submit(command), Reject)
    return verified.digest


async def _latencies(gateway: Gateway, bodies: Bodies, per_second: float) -> list[float]:
    """Milliseconds from when each intent was due to its durable answer; arrivals are random.

    Whatever fell due is sent at the next tick, twice in a millisecond, on connections that stand,
    and timed from when it was due: who is late in sending, because the market has the processor
    or no connection is free, counts that as waiting. The first intents warm the market up: its
    memory grows to what it works with.
    """
    loop = asyncio.get_running_loop()
    random = Random(1)  # noqa: S311  arrivals, no secret
    gaps = (random.expovariate(per_second) for _ in bodies.singles)
    arrivals = deque(zip(accumulate(gaps, initial=perf_counter()), bodies.singles, strict=False))
    idle: deque[asyncio.Future[tuple[float, bytes] | None]] = deque()
    found: list[float] = []
    all_told = asyncio.Event()

    async def connection() -> None:
        while True:
            idle.append(asked := loop.create_future())
            arrival = await asked
            if arrival is None:
                return
            due, body = arrival
            answer = await take_intent(gateway, body, "")
            assert not isinstance(answer, Reject), answer
            msgspec.json.encode(answer)
            found.append((perf_counter() - due) * 1_000)
            if len(found) == len(bodies.singles):
                all_told.set()

    def send() -> None:
        now = perf_counter()
        while arrivals and idle and arrivals[0][0] <= now:
            idle.popleft().set_result(arrivals.popleft())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(SINGLES_UNDER_WAY):
            tasks.create_task(connection())
        with ticking(send, TICK_SECONDS):
            await all_told.wait()
        for asked in idle:
            asked.set_result(None)
    return found[WARMING_UP:]


RATES: Final = {"ecdsa": _ecdsa, "single": _single, "bulk": _bulk, "session": _session}


def rate(kind: str, bodies: Bodies) -> float:
    """Durable intents a second, sent this way."""

    async def measure() -> float:
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            async with an_app(Path(folder)) as app:
                return await RATES[kind](app.gateway, bodies)

    return run(measure())


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds to the durable answer of a single intent, and those of a sync alone."""

    per_second: float
    """Intents: the load."""
    p50_ms: float
    p99_ms: float
    sync_p50_ms: float
    sync_p99_ms: float


def latency(per_second: float, bodies: Bodies) -> Latency:
    """How long single intents wait for their durable answers, at this load."""

    async def measure() -> list[float]:
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            async with an_app(Path(folder)) as app:
                return await _latencies(app.gateway, bodies, per_second)

    p50_ms, p99_ms = _percentiles(run(measure()))
    sync_p50_ms, sync_p99_ms = _percentiles(_syncs())
    return Latency(
        per_second=per_second,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        sync_p50_ms=sync_p50_ms,
        sync_p99_ms=sync_p99_ms,
    )


def _percentiles(found: list[float]) -> tuple[float, float]:
    """The median, and what one in a hundred exceeds."""
    found = sorted(found)
    return found[len(found) // 2], found[len(found) * 99 // 100]


def _syncs() -> list[float]:
    """Milliseconds of writing a group's bytes to this disk and syncing them, each time."""
    found: list[float] = []
    with tempfile.TemporaryFile(dir=WORK) as file:
        for _ in range(SYNCS):
            started = perf_counter()
            file.write(bytes(GROUP_BYTES))
            file.flush()
            os.fsync(file.fileno())
            found.append((perf_counter() - started) * 1_000)
    return found
