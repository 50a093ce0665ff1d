"""How a market begins, what it remembers exactly, and what comes back from its bytes."""

import msgspec
import pytest

from intents.reject import Reject
from solver.core import settling, state
from solver.core.book import Order
from solver.core.command import (
    Authority,
    CancelDocument,
    CutBatch,
    EndLeases,
    Limit,
    Mode,
    OpenAuction,
    Tick,
)
from solver.core.deadline import Deadlines
from solver.core.event import BatchCut
from solver.core.fact import BatchSettled, FillSettled, WithdrawalRequested
from solver.core.lease import Lease
from solver.core.market import Market
from solver.core.nonce import NONCES_PER_WORD
from solver.core.snapshot import dump, load
from solver.core.state import Account, State
from solver.core.weight import Load
from tests.builder import (
    START_S,
    TOKENS,
    USDC,
    Bench,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_of,
    only,
)
from tests.core.sabotage import pure_only
from tests.judging import SEED


def test_a_market_begins_with_nothing() -> None:
    """No time, no block (not even block 0), no money, nothing due."""
    fresh = State(USDC)
    assert (fresh.now_ms, fresh.cursor, fresh.cursor_hash) == (0, -1, "")
    assert (fresh.seq, fresh.batch_next, fresh.metered_max, fresh.documents_kept) == (0, 0, 0, 0)
    assert (fresh.events, fresh.next_due_ms) == ([], None)
    assert not fresh.is_due(10**15)
    account = fresh.account(alice.address)
    assert (account.epoch, account.withdrawing, account.withdrawal_held) == (0, 0, 0)


def test_a_lease_begins_with_its_units_alone() -> None:
    """Nothing used, nothing lost, never called, in no batch; its offer remembers one lease."""
    bench = a_bench()
    ask = an_offer().units(4).limit(4).signed_by(bob)
    bench.do(ask)
    offer = bench.market.state.offers[ask.digest]
    assert offer.leases_kept == 0
    bid = an_intent().units(3).limit(300).signed_by(alice)
    bench.do(bid)
    lease = bench.lease(bid)
    assert (lease.units, lease.reserved, lease.remaining) == (3, 3, 3)
    assert (lease.delivered, lease.lapsed, lease.withdrawn, lease.returned) == (0, 0, 0, 0)
    assert (lease.in_flight, lease.last_used_ms, lease.batch) == (0, 0, -1)
    assert offer.leases_kept == 1


@pytest.mark.parametrize("used", [0, 1, 2])
def test_a_closed_lease_has_nothing_left(used: int) -> None:
    """What it returned is its offer's again, and no longer its own."""
    bench = a_bench()
    bench.do(an_offer().units(3).limit(30).signed_by(bob))
    bid = an_intent().units(3).limit(30).signed_by(alice)
    bench.do(bid)
    lease = bench.lease(bid)
    for _ in range(used):
        bench.use(lease)
    bench.do(EndLeases(account=alice.address, intent=bid.digest))
    assert (lease.delivered, lease.returned, lease.remaining) == (used, 3 - used, 0)


@pytest.mark.parametrize("nonce", [0, 1, NONCES_PER_WORD - 1, NONCES_PER_WORD, 10**15])
def test_a_nonce_is_used_and_its_neighbours_are_not(nonce: int) -> None:
    """One bit each, wherever a word begins or ends."""
    account = Account()
    others = {0, 1, abs(nonce - 1), nonce + 1, nonce + NONCES_PER_WORD, 2 * nonce + 7} - {nonce}
    assert account.has_used(nonce) is False
    account.use(nonce)
    assert account.has_used(nonce) is True
    assert [other for other in others if account.has_used(other)] == []


def test_a_refusal_takes_no_time() -> None:
    """What was refused in the future leaves the present as it was."""
    bench = a_bench()
    market = bench.market
    now_ms = market.state.now_ms
    absent = CancelDocument(account=alice.address, digest="0x", at_ms=now_ms + 10_000)
    assert isinstance(market.apply(absent), Reject)
    assert market.state.now_ms == now_ms
    assert market.apply(Tick(at_ms=now_ms + 5_000)) == []
    assert market.state.now_ms == now_ms + 5_000


def test_what_fell_due_before_does_not_hold_time_back() -> None:
    """A tick ends at its own time, whatever it had to catch up with."""
    bench = a_bench()
    bench.do(an_intent().until(60).limit(1).signed_by(alice))
    bench.wait(100)
    assert bench.market.state.now_ms == START_S * 1_000 + 100_000


def test_documents_of_each_kind_are_kept() -> None:
    """Intents, offers and mandates count alike, until they are over."""
    bench = a_bench()
    mandate = a_mandate().signed_by(alice)
    bench.do(mandate)
    bench.do(a_mandate().signed_by(carol))
    bench.do(an_offer().limit(50).signed_by(bob))
    bench.do(an_intent().limit(1).signed_by(alice))
    assert bench.market.state.documents_kept == 4
    bench.do(CancelDocument(account=alice.address, digest=mandate.digest))
    assert bench.market.state.documents_kept == 3


@pure_only
def test_what_is_forgotten_falls_due_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document may be over and forgotten before the time at which it would have begun."""
    monkeypatch.setattr(state, "FINISHED_KEPT_MAX", 0)
    bench = a_bench()
    for command, owner in (
        (an_intent().not_before(60).signed_by(alice), alice),
        (an_offer().not_before(60).signed_by(bob), bob),
        (a_mandate().signed_by(alice), alice),
    ):
        bench.do(command)
        bench.do(CancelDocument(account=owner.address, digest=command.digest))
    records = bench.market.state
    assert (records.intents, records.offers, records.mandates) == ({}, {}, {})
    assert bench.wait(4_000) == []


def _by_contracts(bench: Bench, offers: int) -> list[str]:
    """An execution of as many offers of a contract, all used."""
    for _ in range(offers):
        offer = an_offer().limit(10).signed_by(bob, Authority.CONTRACT)
        bench.do(msgspec.structs.replace(offer, signature="0x" + "ab" * 2_048))
    bid = an_intent().units(offers).limit(offers * 10).signed_by(alice)
    bench.do(bid)
    for lease in bench.leases(bid):
        bench.use(lease)
    return [lease.id for lease in bench.leases(bid)]


def test_a_divided_execution_settles_in_order_and_within_bounds() -> None:
    """From the first line on, each as far as a transaction holds, and not a line further."""
    bench = a_bench()
    fills = _by_contracts(bench, 60)
    cut: list[list[str]] = []
    for gas_max in (4_000_000, 4_000_000, 30_000_000):
        bytes_max = 10**7
        events = bench.do(CutBatch(fills_max=250, bytes_max=bytes_max, gas_max=gas_max))
        cut.append([line.fill for line in only(events, BatchCut).lines])
        leases = bench.market.state.leases
        assert Load(bytes_max, gas_max).takes(
            bench.market.state, [leases[fill] for fill in cut[-1]]
        )
    assert [fill for batch in cut for fill in batch] == fills
    assert len(cut[0]) == len(cut[1]) > 1


@pure_only
def test_a_batch_that_is_not_final_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many newer ones are final before it."""
    monkeypatch.setattr(settling, "BATCHES_KEPT_MAX", 1)
    bench = a_bench()
    cuts = []
    for _ in range(4):
        bench.do(an_offer().limit(10).signed_by(bob))
        bid = an_intent().signed_by(alice)
        bench.do(bid)
        bench.use(bench.lease(bid))
        cuts.append(bench.cut())
    for cut in cuts[1:]:
        facts = [FillSettled(fill=line.fill, payment=line.payment) for line in cut.lines]
        bench.chain(*facts, BatchSettled(number=cut.number, digest=cut.digest))
    assert list(bench.market.state.batches) == [0, 3]


def _busy() -> Bench:
    """A market in the middle of everything."""
    bench = a_bench().granting(dave, alice).pooling(dave, limits=(Limit(units=9, seconds=60),))
    bench.listing(TOKENS, Mode.EPOCH).pooling(carol, number=1, resources=(TOKENS,))
    bench.do(an_offer().units(9).limit(90).window(5, 60).signed_by(dave))
    leave = a_mandate().signed_by(alice)
    bench.do(leave)
    for bid in (
        an_intent().units(2).limit(40).for_account(alice).signed_by(dave, Authority.SESSION),
        an_intent().units(2).limit(40).under(leave, alice),
        an_intent().units(2).limit(40).signed_by(carol),
    ):
        bench.do(bid)
        bench.use(bench.lease(bid))
    bench.do(EndLeases(account=carol.address, intent=bid.digest))
    bench.cut()
    bench.do(an_intent().units(8).limit(16).at_least(3).signed_by(carol))
    bench.do(an_intent().units(8).limit(16).not_before(60).signed_by(carol))
    bench.do(an_intent().of(TOKENS).limit(9).signed_by(bob))
    bench.do(an_offer().of(TOKENS).from_key(key_of(carol, 1)).limit(9).signed_by(carol))
    bench.do(
        OpenAuction(resources=(TOKENS,), asset=USDC, closes_at_ms=bench.now_ms + 9_000, seed=SEED)
    )
    bench.chain(WithdrawalRequested(account=bob.address, amount=7))
    bench.start(next(iter(bench.market.state.leases.values())))
    return bench


def _ids(deadlines: Deadlines) -> list[str]:
    return [entry.id for entry in deadlines.entries() if isinstance(entry, Order | Lease)]


def test_everything_comes_back_from_bytes() -> None:
    """The same bytes again, what is due in the same order, the next batch's number, the book."""
    first = _busy().market.state
    second = load(dump(first))
    assert dump(second) == dump(first)
    assert second.batch_next == first.batch_next == 1
    assert [lease.batch for lease in second.leases.values()] == [-1, -1, 0]
    for one in (first, second):
        assert _ids(one.lease_ends) == list(one.leases)[:2]
        assert len(_ids(one.exchange.deadlines)) == 4
    assert _ids(second.exchange.deadlines) == _ids(first.exchange.deadlines)
    assert second.next_due_ms == first.next_due_ms
    assert (second.now_ms, second.cursor, second.cursor_hash, second.seq) == (
        first.now_ms,
        first.cursor,
        first.cursor_hash,
        first.seq,
    )
    for key, book in first.books.items():
        other = second.books[key]
        for old, new in (
            (book.bids(), other.bids()),
            (book.asks(), other.asks()),
            (iter(book.waiting()), iter(other.waiting())),
        ):
            assert [one.id for one in old] == [one.id for one in new]


def test_a_loaded_market_does_what_the_first_would() -> None:
    """The same events to the end, though its records are others."""
    bench = _busy()
    loaded = Market(USDC, load(dump(bench.market.state)))
    for seconds in (10, 60, 600, 4_000):
        events = bench.wait(seconds)
        assert loaded.apply(Tick(at_ms=bench.now_ms)) == events
        assert bench.market.state.hash() == loaded.state.hash()


def test_a_row_too_many_is_no_snapshot() -> None:
    """What this version does not know could have decided something."""
    rows = msgspec.msgpack.decode(dump(State(USDC)))
    assert load(msgspec.msgpack.encode(rows)).hash() == State(USDC).hash()
    with pytest.raises(msgspec.DecodeError):
        load(msgspec.msgpack.encode([*rows, 1]))
