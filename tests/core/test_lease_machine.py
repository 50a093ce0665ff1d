"""Leases and windows against a model that looks at every call that ever was."""

from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from intents.reject import Reject, RejectCode
from solver.core.command import CancelDocument, EndLeases, FinishCall, Limit, Outcome, StartCall
from solver.core.event import LeaseStatus
from solver.core.state import LEASE_MS_MAX
from tests.builder import CREDITS, START_S, a_bench, alice, an_intent, an_offer, bob, key_of
from tests.conftest import MACHINE

KEY_LIMITS: Final = (Limit(units=5, seconds=10), Limit(units=8, seconds=60))
OFFER_LIMIT: Final = Limit(units=3, seconds=20)
PRICE: Final = 7
which_one = st.integers(0, 99)


@dataclass(eq=False)
class Call:
    """A call as the upstream would remember it; `finished_ms` is −1 while it flies."""

    lease: str
    name: str
    units: int
    used: int = 0
    finished_ms: int = -1


@dataclass(eq=False)
class Right:
    """A lease as the model counts it."""

    intent: str
    units: int
    until_ms: int
    has_window: bool
    delivered: int = 0
    lapsed: int = 0
    draining: bool = False
    closed: bool = False


class LeaseMachine(RuleBasedStateMachine):
    """One key with two limits, offers with and without a window of their own, one buyer."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = a_bench().pooling(bob, number=1, limits=KEY_LIMITS)
        self.rights: dict[str, Right] = {}
        self.calls: list[Call] = []
        self.number = 0

    @rule(units=st.integers(1, 9), window=st.booleans(), seconds=st.integers(5, 900))
    def buy(self, units: int, window: bool, seconds: int) -> None:  # noqa: FBT001
        """An offer, and an intent that takes all of it; what is not used lapses."""
        bench = self.bench
        until = bench.now_ms // 1_000 - START_S + seconds
        offer = an_offer().units(units).limit(PRICE * units).from_key(key_of(bob, 1))
        offer = offer.paid_in(CREDITS).until(until)
        if window:
            offer = offer.window(OFFER_LIMIT.units, OFFER_LIMIT.seconds)
        sold = offer.signed_by(bob)
        bench.do(sold)
        command = an_intent().units(units).limit(PRICE * units).paid_in(CREDITS).until(until)
        signed = command.signed_by(alice)
        bench.do(signed)
        bench.do(CancelDocument(account=bob.address, digest=sold.digest))
        until_ms = min((START_S + until) * 1_000, bench.now_ms + LEASE_MS_MAX)
        lease = bench.lease(signed)
        self.rights[lease.id] = Right(signed.digest, units, until_ms, window)

    @precondition(lambda self: self.rights)
    @rule(which=which_one, units=st.integers(0, 6))
    def start(self, which: int, units: int) -> None:
        """Refused in the documented order, with the exact time to wait."""
        name, right = self._right(which)
        self.number += 1
        call = f"call-{self.number}"
        result = self.bench.attempt(StartCall(lease=name, call=call, units=units))
        left = self._left(name)
        if right.closed or right.draining:
            assert _code(result) is RejectCode.LEASE_ENDED
        elif not units:
            assert _code(result) is RejectCode.FILL_UNITS_INVALID
        elif units > left:
            assert _code(result) is RejectCode.LEASE_EXHAUSTED
        elif any(units > limit.units for limit, _ in self._limits(right)):
            assert _code(result) is RejectCode.FILL_UNITS_INVALID
        elif not self._fits(right, units, self.bench.now_ms):
            assert isinstance(result, Reject)
            assert result.code is RejectCode.WINDOW_EXHAUSTED
            assert result.retry_after_ms == self._wait_ms(right, units)
        else:
            assert not isinstance(result, Reject)
            self.calls.append(Call(name, call, units))

    @precondition(lambda self: any(call.finished_ms < 0 for call in self.calls))
    @rule(which=which_one, used=st.integers(0, 6), outcome=st.sampled_from(Outcome))
    def finish(self, which: int, used: int, outcome: Outcome) -> None:
        """Delivered units are paid, unknown ones lapse, failed ones stay the buyer's."""
        flying = [call for call in self.calls if call.finished_ms < 0]
        call = flying[which % len(flying)]
        self.bench.do(FinishCall(call=call.name, outcome=outcome, units=used))
        call.finished_ms = self.bench.now_ms
        call.used = used if outcome is Outcome.DELIVERED else max(used, call.units)
        right = self.rights[call.lease]
        left = self._left(call.lease)
        if outcome is Outcome.DELIVERED:
            right.delivered += min(used, left)
        elif outcome is Outcome.UNKNOWN:
            right.lapsed += min(max(used, call.units), left)
        self._close_if_over(call.lease)

    @precondition(lambda self: self.rights)
    @rule(which=which_one)
    def end(self, which: int) -> None:
        """The buyer is done: calls in flight may finish, none may start."""
        name, right = self._right(which)
        self.bench.do(EndLeases(account=alice.address, intent=right.intent))
        right.draining = True
        self._close_if_over(name)

    @rule(milliseconds=st.one_of(st.integers(0, 3_000), st.integers(0, 70_000)))
    def pass_time(self, milliseconds: int) -> None:
        """Leases end at their time, to the millisecond."""
        self.bench.wait(milliseconds / 1_000)
        for name, right in self.rights.items():
            if right.until_ms <= self.bench.now_ms:
                right.draining = True
                self._close_if_over(name)

    @invariant()
    def agrees(self) -> None:
        """Every lease stands where the model says; what is delivered costs its price."""
        state = self.bench.market.state
        paid = 0
        for name, right in self.rights.items():
            lease = state.leases[name]
            assert (lease.delivered, lease.lapsed) == (right.delivered, right.lapsed)
            assert lease.in_flight == self._in_flight(name)
            if not right.closed:
                expected = LeaseStatus.DRAINING if right.draining else LeaseStatus.OPEN
                assert lease.status is expected
            else:
                assert lease.status is LeaseStatus.SETTLED
                paid += PRICE * right.delivered
        assert self.bench.total(bob, CREDITS) == 10**9 + paid

    # -- the model

    def _right(self, which: int) -> tuple[str, Right]:
        names = list(self.rights)
        name = names[-1 - which % len(names)]
        return name, self.rights[name]

    def _in_flight(self, lease: str) -> int:
        return sum(c.units for c in self.calls if c.lease == lease and c.finished_ms < 0)

    def _left(self, lease: str) -> int:
        right = self.rights[lease]
        return right.units - right.delivered - right.lapsed - self._in_flight(lease)

    def _close_if_over(self, lease: str) -> None:
        right = self.rights[lease]
        used_up = right.delivered + right.lapsed == right.units
        if (used_up or right.draining) and not self._in_flight(lease):
            right.closed = True

    def _limits(self, right: Right) -> list[tuple[Limit, list[Call]]]:
        """Every limit that a call must keep, and the calls that count against it."""
        limits = [(limit, self.calls) for limit in KEY_LIMITS]
        if right.has_window:
            mine = [call for call in self.calls if self.rights[call.lease] is right]
            limits.append((OFFER_LIMIT, mine))
        return limits

    def _fits(self, right: Right, units: int, at_ms: int) -> bool:
        return all(_fits(limit, calls, units, at_ms) for limit, calls in self._limits(right))

    def _wait_ms(self, right: Right, units: int) -> int:
        """The longest that any limit asks for."""
        now_ms = self.bench.now_ms
        return max(_wait_ms(limit, calls, units, now_ms) for limit, calls in self._limits(right))


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = MACHINE


def _fits(limit: Limit, calls: list[Call], units: int, at_ms: int) -> bool:
    """Whether a limit has room: what flies counts, and what finished within its span."""
    since_ms = max(0, at_ms - limit.seconds * 1_000)
    flying = sum(call.units for call in calls if call.finished_ms < 0)
    recent = sum(call.used for call in calls if call.finished_ms >= since_ms)
    return flying + recent + units <= limit.units


def _wait_ms(limit: Limit, calls: list[Call], units: int, now_ms: int) -> int:
    """Until the first time at which something leaves the window and leaves room enough.

    Where nothing that will leave is enough, it is a whole span: calls in flight may end.
    """
    span_ms = limit.seconds * 1_000 + 1
    if _fits(limit, calls, units, now_ms):
        return 0
    leaving = sorted(call.finished_ms + span_ms for call in calls if call.finished_ms >= 0)
    later = [at_ms for at_ms in leaving if at_ms > now_ms and _fits(limit, calls, units, at_ms)]
    return later[0] - now_ms if later else span_ms


def _code(result: object) -> RejectCode | None:
    return result.code if isinstance(result, Reject) else None
