"""Deadlines: what ends when, in which order, and what capacity is left then."""

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from solver.core.command import CancelDocument, EndLeases, SubmitOffer
from solver.core.deadline import TIMES_SPARE_MAX, Deadlines, Timed
from solver.core.event import Event, Filled, LeaseStatus
from solver.core.lease import Lease
from tests.builder import START_S, Person, a_bench, alice, an_intent, an_offer, bob, carol, every
from tests.conftest import MACHINE

SELLERS: Final = (bob, carol)


def a_timed() -> Timed:
    """Something without a deadline."""
    timed = Timed()
    timed.due_slot = None
    return timed


class DeadlineMachine(RuleBasedStateMachine):
    """Against a list of (time, number of arrival, entry) that is sorted when asked."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.pool: list[Timed] = []
        self.timed: dict[int, tuple[int, int]] = {}
        """Place in the pool → when it ends, and when that was said."""
        self.number = 0

    @rule(at_ms=st.integers(0, 12), count=st.integers(1, 20))
    def add(self, at_ms: int, count: int) -> None:
        """New entries, at few times, so that they meet."""
        for _ in range(count):
            self.pool.append(a_timed())
            self._add(len(self.pool) - 1, at_ms)

    @rule(which=st.integers(0, 99), count=st.integers(1, 25))
    def remove(self, which: int, count: int) -> None:
        """Neighbours, or what has no deadline: nothing happens to it."""
        for place in range(which, min(which + count, len(self.pool))):
            self.deadlines.remove(self.pool[place])
            self.timed.pop(place, None)

    @rule(which=st.integers(0, 99), at_ms=st.integers(0, 12))
    def set_again(self, which: int, at_ms: int) -> None:
        """Earlier, later or to the very same time: it stands last there."""
        if self.pool:
            place = which % len(self.pool)
            self.deadlines.remove(self.pool[place])
            self._add(place, at_ms)

    @rule(now_ms=st.integers(0, 12))
    def pop(self, now_ms: int) -> None:
        """One entry that is due, the earliest; None once there is none."""
        due = [place for place in self._in_order() if self.timed[place][0] <= now_ms]
        assert self.deadlines.is_due(now_ms) == bool(due)
        entry = self.deadlines.pop(now_ms)
        assert entry is (self.pool[due[0]] if due else None)
        if due:
            del self.timed[due[0]]

    @invariant()
    def agrees(self) -> None:
        """The same entries in the same order, and no more memory than is said."""
        order = self._in_order()
        assert self.deadlines.entries() == [self.pool[place] for place in order]
        assert self.deadlines.next_ms == (self.timed[order[0]][0] if order else None)
        times = {at_ms for at_ms, _ in self.timed.values()}
        assert len(self.deadlines._slots) <= 2 * len(times) + TIMES_SPARE_MAX

    def _add(self, place: int, at_ms: int) -> None:
        self.number += 1
        self.deadlines.add(self.pool[place], at_ms)
        self.timed[place] = (at_ms, self.number)

    def _in_order(self) -> list[int]:
        return sorted(self.timed, key=lambda place: self.timed[place])


TestDeadlineMachine = DeadlineMachine.TestCase
TestDeadlineMachine.settings = MACHINE


class Supply:
    """An offer as the model counts it: units free, reserved and gone."""

    def __init__(self, command: SubmitOffer, place: int) -> None:
        self.command = command
        self.units = self.free = command.offer.units
        self.reserved = 0
        self.place = place
        self.live = True


class CapacityMachine(RuleBasedStateMachine):
    """Offers at one price, bought at once or not at all, used, given back, cancelled, expired."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = a_bench()
        self.supplies: list[Supply] = []
        self.leases: dict[str, tuple[Supply, int]] = {}
        """Those that are open: whose units, and how many are unused."""
        self.used: dict[str, int] = {}
        self.place = 0

    @rule(who=st.integers(0, 1), units=st.integers(1, 6), seconds=st.integers(1, 120))
    def offer(self, who: int, units: int, seconds: int) -> None:
        """More supply."""
        seller: Person = SELLERS[who]
        until = self.bench.now_ms // 1_000 - START_S + seconds
        command = an_offer().units(units).limit(units).until(until).signed_by(seller)
        self.bench.do(command)
        self.place += 1
        self.supplies.append(Supply(command, self.place))

    @rule(units=st.integers(1, 9))
    def buy(self, units: int) -> None:
        """The oldest units first; what is not there is not bought."""
        command = an_intent().units(units).limit(units).immediate().signed_by(alice)
        fills = every(self.bench.do(command), Filled)
        expected = []
        for supply in sorted(self.supplies, key=lambda one: one.place):
            taken = min(units, supply.free)
            if taken:
                units -= taken
                supply.free -= taken
                supply.reserved += taken
                expected.append((supply.command.digest, taken))
        assert [(fill.offer, fill.units) for fill in fills] == expected
        for fill in fills:
            supply = next(one for one in self.supplies if one.command.digest == fill.offer)
            self.leases[fill.fill] = (supply, fill.units)

    @rule(which=st.integers(0, 99), units=st.integers(1, 4))
    def use(self, which: int, units: int) -> None:
        """Calls that are delivered at once."""
        lease = self._lease(which)
        if lease is not None:
            supply, left = self.leases[lease.id]
            units = min(units, left)
            self.bench.use(lease, units)
            self.leases[lease.id] = (supply, left - units)
            if left == units:
                self._close(lease.id)

    @rule(which=st.integers(0, 99))
    def give_back(self, which: int) -> None:
        """The buyer is done: units go back to their offers, behind all others."""
        lease = self._lease(which)
        if lease is not None:
            leases = list(self.bench.market.state.intents[lease.intent].leases)
            self.bench.do(EndLeases(account=alice.address, intent=lease.intent))
            for name in leases:
                if name in self.leases:
                    self._close(name)

    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        """What is free lapses; what is leased goes on."""
        live = [supply for supply in self.supplies if supply.live]
        if live:
            supply = live[which % len(live)]
            offer = supply.command.offer
            self.bench.do(CancelDocument(account=offer.account, digest=supply.command.digest))
            supply.live, supply.free = False, 0

    @rule(seconds=st.integers(0, 40))
    def pass_time(self, seconds: int) -> None:
        """An offer ends at its second, with all its leases."""
        self.bench.wait(seconds)
        now_s = self.bench.now_ms // 1_000
        for name, (supply, _) in list(self.leases.items()):
            if supply.command.offer.valid_until <= now_s:
                self._close(name)
        for supply in self.supplies:
            if supply.command.offer.valid_until <= now_s:
                supply.live, supply.free = False, 0

    @invariant()
    def agrees(self) -> None:
        """Free, reserved and gone are the model's, and nothing is for sale after its end."""
        state = self.bench.market.state
        for supply in self.supplies:
            offer = state.offers[supply.command.digest]
            capacity = offer.capacity
            assert (offer.live, offer.open_units) == (supply.live, supply.free)
            assert (capacity.available, capacity.debits_pending) == (supply.free, supply.reserved)
        open_leases = {one.id for one in state.leases.values() if one.status is LeaseStatus.OPEN}
        assert open_leases == self.leases.keys()

    def _lease(self, which: int) -> Lease | None:
        names = list(self.leases)
        return self.bench.market.state.leases[names[which % len(names)]] if names else None

    def _close(self, name: str) -> None:
        supply, unused = self.leases.pop(name)
        supply.reserved -= self.bench.market.state.leases[name].units
        if unused and supply.live:
            if not supply.free:
                self.place += 1
                supply.place = self.place
            supply.free += unused
        if not supply.free and not supply.reserved:
            supply.live = False


TestCapacityMachine = CapacityMachine.TestCase
TestCapacityMachine.settings = MACHINE


def test_leases_end_before_documents_and_those_in_the_order_of_their_coming() -> None:
    """At one time: leases, then orders in the order in which they came to rest."""
    bench = a_bench()
    offers = [
        an_offer().units(2).limit(2).until(60).signed_by(seller) for seller in (bob, carol, bob)
    ]
    for offer in offers:
        bench.do(offer)
    bench.do(an_intent().units(1).limit(1).signed_by(alice))
    ended = [_subject(event) for event in bench.wait(60)]
    (lease,) = bench.market.state.leases
    closed = [name for name in ended if name in (lease, *(offer.digest for offer in offers))]
    assert closed == [lease, *(offer.digest for offer in offers)]


def test_an_intent_that_waits_for_its_time_can_end_before_it() -> None:
    """A document whose time never comes ends, and what it held is free."""
    bench = a_bench()
    command = an_intent().not_before(50).until(60).signed_by(alice)
    bench.do(command)
    assert bench.available(alice) == 10**9 - 100
    cancelled = an_intent().not_before(50).until(60).signed_by(alice)
    bench.do(cancelled)
    bench.do(CancelDocument(account=alice.address, digest=cancelled.digest))
    bench.wait(60)
    assert (bench.status(command), bench.status(cancelled)) == ("expired", "cancelled")
    assert bench.available(alice) == 10**9


def _subject(event: Event) -> str:
    return str(getattr(event, "lease", "") or getattr(event, "offer", ""))
