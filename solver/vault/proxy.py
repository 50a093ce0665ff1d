"""One call through a pooled key: select, reserve, send, relay, meter, finish.

The engine journals a call before the upstream hears of it, and hears of its end exactly
once. A key is tried at most once per call, and a call moves on to another key only while
nothing of an answer has been passed on.
"""

import email.utils
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from intents.reject import Reject, RejectCode, reject
from solver.core.command import Outcome
from solver.vault.answer import Answer
from solver.vault.catalogue import Catalogue
from solver.vault.delivery import LOG, Calls, Delivery, OpenCall, StartedCall
from solver.vault.egress import Egress, Exchange
from solver.vault.fault import (
    DestinationForbidden,
    EgressFault,
    UpstreamTimeout,
    UpstreamUnreachable,
    VaultFault,
)
from solver.vault.health import COOL_MS_MAX, Health, Marks, probe_key
from solver.vault.keyring import Keyring
from solver.vault.meter import meter_for
from solver.vault.operation import CallRequest, Plan, plan_call
from solver.vault.scrub import Scrubber
from solver.vault.secret import Secret
from solver.vault.selection import Candidate, Strategy, least_recently_used
from solver.vault.sharing import refuse_sharing
from solver.vault.template import Verdict, is_final

ATTEMPTS_MAX: Final = 4
"""Keys tried for one call."""
CURSORS_MAX: Final = 10_000
CONFIRMED_MS: Final = 5_000
"""How long one probe answers for a key whose requests are refused."""
SECONDS: Final = re.compile(r"[0-9]{1,9}")
LIMITED_MS: Final = 1_000
"""The wait we name when an upstream limits a key and names none."""

FINAL: Final = frozenset(
    {
        RejectCode.BUSY,
        RejectCode.SHUTTING_DOWN,
        RejectCode.RECEIPT_DUE,
        RejectCode.ACCOUNT_BARRED,
        RejectCode.UNSETTLED_EXCEEDED,
    }
)
"""Refusals that another lease would meet too."""


class _Next(NamedTuple):
    """This key did not serve; another may. `refusal` is for the client if none does."""

    refusal: Reject


class Proxy:
    """Serves calls of intents. One per vault; `drain` it before it is dropped."""

    def __init__(
        self,
        *,
        delivery: Delivery,
        keyring: Keyring,
        catalogue: Catalogue,
        egress: Egress,
        clock_ms: Callable[[], int],
        strategy: Strategy = least_recently_used,
    ) -> None:
        self._delivery = delivery
        self._calls = Calls(delivery)
        self._keyring = keyring
        self._catalogue = catalogue
        self._egress = egress
        self._clock_ms = clock_ms
        self._strategy = strategy
        self._marks = Marks()
        self._cursors: OrderedDict[str, str] = OrderedDict()

    async def call(
        self, intent: str, request: CallRequest, *, buyer: str, resource: str = ""
    ) -> Answer | Reject:
        """The upstream's answer to `request` under a lease of `intent`, or why there is none.

        `buyer` is the intent's account. `resource` picks one where several would serve.
        Raises a VaultFault if a sealed key does not open.
        """
        found = await self._delivery.candidates(intent)
        wanted = [each for each in found if resource in ("", each.resource)]
        if not wanted:
            return reject(RejectCode.LEASE_UNKNOWN, "the intent has no open lease")
        planned = self._planned(wanted, request)
        if isinstance(planned, Reject):
            return planned
        refusal: Reject = reject(RejectCode.LEASE_EXHAUSTED, "no lease has enough units left")
        for candidate, plan in self._ordered(intent, planned)[:ATTEMPTS_MAX]:
            tried = await self._try(intent, candidate, plan, buyer)
            if not isinstance(tried, _Next):
                return tried
            refusal = tried.refusal
        return refusal

    async def drain(self) -> None:
        """Wait until every call that is under way in the engine has been finished."""
        await self._calls.drain()

    def _planned(
        self, candidates: Sequence[Candidate], request: CallRequest
    ) -> dict[str, tuple[Candidate, Plan]] | Reject:
        """The candidates that can serve the request, by lease."""
        left: dict[str, int] = {}
        for each in candidates:
            left[each.resource] = max(each.remaining, left.get(each.resource, 0))
        plans = {name: self._plan(name, request, units) for name, units in left.items()}
        served = {
            each.lease: (each, plan)
            for each in candidates
            if isinstance(plan := plans[each.resource], Plan)
        }
        refusals = [plan for plan in plans.values() if isinstance(plan, Reject)]
        return served or refusals[0]

    def _plan(self, name: str, request: CallRequest, units_left: int) -> Plan | Reject:
        found = self._catalogue.resource(name)
        if found is None:
            return reject(RejectCode.RESOURCE_UNKNOWN, name)
        return plan_call(*found, request, units_left)

    def _ordered(
        self, intent: str, planned: dict[str, tuple[Candidate, Plan]]
    ) -> list[tuple[Candidate, Plan]]:
        able = [each for each, plan in planned.values() if each.remaining >= plan.units_max]
        ordered = self._strategy(able, self._cursors.get(intent, ""))
        now_ms = self._clock_ms()
        # Stable: cooling keys keep their order, behind the others.
        ordered = tuple(sorted(ordered, key=lambda each: self._marks.is_cool(each.key, now_ms)))
        return [planned[each.lease] for each in ordered]

    async def _try(
        self, intent: str, candidate: Candidate, plan: Plan, buyer: str
    ) -> Answer | Reject | _Next:
        refusal = self._refuse_key(candidate.key, plan, buyer)
        if refusal is not None:
            return _Next(refusal)
        call = await self._calls.start(candidate.lease, plan.units_max)
        if isinstance(call, Reject):
            return call if call.code in FINAL else _Next(call)
        self._remember(intent, candidate.lease)
        try:
            return await self._serve(call, plan, buyer)
        except EgressFault as fault:
            return await self._explained(call, fault)
        except VaultFault:
            # Nothing was sent: the key did not open.
            await call.finish(Outcome.FAILED, 0)
            raise
        except BaseException:
            # The client went away before the answer; the request may have been sent.
            await call.finish(Outcome.UNKNOWN, 0)
            raise

    def _refuse_moved(self, started: StartedCall, plan: Plan, buyer: str) -> Reject | None:
        """The engine names the key: a lease may have moved since we looked."""
        if started.resource != plan.resource.name:
            return reject(RejectCode.LEASE_UNKNOWN, "the lease is for another resource")
        return self._refuse_key(started.key, plan, buyer)

    def _refuse_key(self, key_id: str, plan: Plan, buyer: str) -> Reject | None:
        """The last gate: whatever was matched, a key serves only whom it may serve."""
        record = self._keyring.record(key_id)
        if record is None or record.host != plan.provider.host:
            return reject(RejectCode.KEY_NOT_LIVE)
        return refuse_sharing(
            plan.provider.sharing,
            owner=record.owner,
            buyer=buyer,
            attested=record.attested,
        )

    async def _serve(self, call: OpenCall, plan: Plan, buyer: str) -> Answer | Reject | _Next:
        refusal = self._refuse_moved(call.started, plan, buyer)
        secret = None if refusal else self._keyring.open(call.started.key)
        if secret is None:
            await call.finish(Outcome.FAILED, 0)
            return _Next(refusal or reject(RejectCode.KEY_NOT_LIVE))
        with secret:
            exchange = await self._egress.send(plan.provider, plan.outbound, secret)
            try:
                return await self._judge(call, plan, exchange, secret)
            except BaseException:
                exchange.close()
                raise

    async def _judge(
        self, call: OpenCall, plan: Plan, exchange: Exchange, secret: Secret
    ) -> Answer | Reject | _Next:
        verdict = plan.provider.verdict(exchange.status)
        if not is_final(exchange.status):
            return await self._dropped(call, exchange, Outcome.FAILED, REDIRECTED)
        if verdict is Verdict.LIMITED:
            return await self._limited(call, exchange)
        if verdict is Verdict.REFUSED and await self._is_dead(call.started, plan, secret):
            await self._dropped(call, exchange, Outcome.FAILED, DEAD)
            await self._calls.report_refused(call.started.key)
            return _Next(DEAD)
        return _answer(call, plan, exchange, secret, OUTCOMES[verdict])

    async def _is_dead(self, started: StartedCall, plan: Plan, secret: Secret) -> bool:
        """Whether the key itself is refused, rather than this client's request."""
        now_ms = self._clock_ms()
        if self._marks.is_confirmed(started.key, now_ms):
            return False
        health = await probe_key(self._egress, plan.provider, secret)
        LOG.info("key_refused", call=started.call, key=started.key, health=health.value)
        if health is Health.HEALTHY:
            self._marks.confirmed(started.key, now_ms + CONFIRMED_MS)
        return health is Health.DEAD

    async def _limited(self, call: OpenCall, exchange: Exchange) -> _Next:
        wait_ms = min(_retry_after_ms(exchange, self._clock_ms()) or LIMITED_MS, COOL_MS_MAX)
        self._marks.cool(call.started.key, self._clock_ms() + wait_ms)
        limited = reject(
            RejectCode.RATE_LIMITED, "the upstream limits this key", retry_after_ms=wait_ms
        )
        await self._dropped(call, exchange, Outcome.FAILED, limited)
        return _Next(limited)

    async def _dropped(
        self, call: OpenCall, exchange: Exchange, outcome: Outcome, refusal: Reject
    ) -> Reject:
        """What the key, or what is behind it, answered is nothing to hand on."""
        exchange.close()
        await call.finish(outcome, 0, sellers_fault=True)
        return refusal

    async def _explained(self, call: OpenCall, fault: EgressFault) -> Reject | _Next:
        """An egress fault as an outcome: only what was surely not sent may be tried again."""
        LOG.warning("upstream_fault", call=call.started.call, fault=type(fault).__name__)
        if isinstance(fault, UpstreamUnreachable | DestinationForbidden):
            await call.finish(Outcome.FAILED, 0, sellers_fault=True)
            return _Next(reject(RejectCode.UPSTREAM_FAILED, "the upstream cannot be reached"))
        await call.finish(Outcome.UNKNOWN, 0, sellers_fault=True)
        if isinstance(fault, UpstreamTimeout):
            return reject(RejectCode.UPSTREAM_TIMEOUT, "no answer in time; nothing is charged")
        return reject(RejectCode.UPSTREAM_FAILED, str(fault))

    def _remember(self, intent: str, lease: str) -> None:
        self._cursors[intent] = lease
        self._cursors.move_to_end(intent)
        while len(self._cursors) > CURSORS_MAX:
            self._cursors.popitem(last=False)


REDIRECTED: Final = reject(RejectCode.UPSTREAM_FAILED, "the upstream answered with a redirect")
DEAD: Final = reject(RejectCode.KEY_NOT_LIVE, "the upstream refuses the key")

OUTCOMES: Final = {
    Verdict.DELIVERED: Outcome.DELIVERED,
    Verdict.FAILED: Outcome.FAILED,
    # A refusal that the probe did not confirm concerns the client's request.
    Verdict.REFUSED: Outcome.FAILED,
    Verdict.UNKNOWN: Outcome.UNKNOWN,
}


def _answer(
    call: OpenCall, plan: Plan, exchange: Exchange, secret: Secret, outcome: Outcome
) -> Answer:
    content_type = dict(exchange.headers).get("content-type", "")
    return Answer(
        exchange=exchange,
        call=call,
        meter=meter_for(plan.resource.metering, content_type, len(plan.outbound.body)),
        scrubber=Scrubber(secret),
        outcome=outcome,
        seconds_max=plan.provider.timeouts.total_ms / 1_000,
    )


def _retry_after_ms(exchange: Exchange, now_ms: int) -> int | None:
    """The upstream's Retry-After: seconds, or a date."""
    text = dict(exchange.headers).get("retry-after", "").strip()
    if SECONDS.fullmatch(text):
        return max(int(text), 1) * 1_000
    try:
        date = email.utils.parsedate_to_datetime(text)
        return max(int(date.timestamp() * 1_000) - now_ms, 1_000)
    except (ValueError, OverflowError):
        return None
