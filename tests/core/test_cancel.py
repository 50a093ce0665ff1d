"""10,000 intents, alone and in bundles, some withdrawn: none reported cancelled is then filled."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import pytest

from intents.reject import Reject, RejectCode
from solver.core import cancel
from solver.core.auction import Snapshot
from solver.core.command import (
    CancelDocument,
    ClearedBook,
    Mode,
    OpenAuction,
    ProposeSolution,
    SolutionFill,
)
from solver.core.event import AuctionOpened, Event, Filled
from solver.strategies import STRATEGIES
from tests.builder import (
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    a_bundle,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_of,
)
from tests.core.sabotage import pure_only
from tests.judging import SEED

INTENTS: Final = 10_000
PER_EPOCH: Final = 40
BUYERS: Final = (alice, carol, dave)
BUNDLES_EACH: Final = 2
ASK: Final = 5
"""Atoms for a unit, of every offer."""


class Trade:
    """Epochs in two books: intents come, solvers bid, and cancels fall at any moment."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  test data
        self._bench = Bench(watched=False).funded(*BUYERS, usdc=10**12)
        for resource in (SEARCH, TOKENS):
            self._bench.listing(resource, Mode.EPOCH)
        self._bench.pooling(bob, resources=(SEARCH, TOKENS))
        self._open: list[tuple[str, str, tuple[str, ...]]] = []
        """Account, what a cancel names, and the intents that it withdraws."""
        self.cancelled: dict[str, int] = {}
        """Units that each had filled when it was reported cancelled."""
        self.filled: dict[str, int] = {}
        self.bundled: set[str] = set()
        """Legs that an auction has shown."""
        self.too_late = 0

    def run(self, intents: int) -> None:
        """So many intents, then a last epoch."""
        for _ in range(intents // PER_EPOCH):
            self._submit()
            self._cancel_some()
            self._compete()
            self._cancel_some()
            self._hear(self._bench.wait(1))
            self._cancel_some()

    def _submit(self) -> None:
        for resource in (SEARCH, TOKENS):
            units = self._random.randint(20, 60)
            offer = an_offer().of(resource).from_key(key_of(bob)).units(units).limit(units * ASK)
            self._hear(self._bench.do(offer.signed_by(bob)))
            for _ in range(PER_EPOCH // 2):
                units = self._random.randint(1, 6)
                buyer = self._random.choice(BUYERS)
                intent = an_intent().of(resource).units(units)
                intent = intent.limit(units * self._random.randint(4, 12))
                if self._random.random() < 0.3:
                    intent = intent.at_least(units)
                command = intent.signed_by(buyer)
                self._hear(self._bench.do(command))
                self._open.append((buyer.address, command.digest, (command.digest,)))
        for any_of in (False, True) * BUNDLES_EACH:
            self._submit_bundle(any_of=any_of)

    def _submit_bundle(self, *, any_of: bool) -> None:
        """Worth more than anything alone."""
        buyer, units = self._random.choice(BUYERS), self._random.randint(1, 6)
        leg = an_intent().units(units).limit(units * 20).at_least(units)
        command = a_bundle(buyer, leg.of(SEARCH), leg.of(TOKENS), any_of=any_of)
        self._hear(self._bench.do(command))
        legs = tuple(one.digest for one in command.legs)
        name = self._random.choice((command.digest, *legs))
        self._open.append((buyer.address, name, legs))

    def _cancel_some(self) -> None:
        for account, name, intents in self._random.sample(self._open, min(len(self._open), 4)):
            answer = self._bench.attempt(CancelDocument(account=account, digest=name))
            if isinstance(answer, Reject):
                assert answer.code in {RejectCode.TOO_LATE, RejectCode.NOT_OPEN}
                self.too_late += answer.code is RejectCode.TOO_LATE
            else:
                for intent in intents:
                    self.cancelled.setdefault(intent, self.filled.get(intent, 0))
                self._hear(answer)
        del self._open[: -4 * PER_EPOCH]

    def _compete(self) -> None:
        bench = self._bench
        opening = OpenAuction(
            resources=(SEARCH, TOKENS), asset=USDC, closes_at_ms=bench.now_ms + 1_000, seed=SEED
        )
        answer = bench.attempt(opening)
        if isinstance(answer, Reject):
            return
        for event in answer:
            if isinstance(event, AuctionOpened):
                auction = bench.market.state.auctions[event.auction]
                for proposal in _proposals(auction.snapshot, auction.snapshot_digest):
                    bench.do(proposal)
                self.bundled |= {leg for one in auction.snapshot.bundles for leg in one.legs}

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Filled):
                self.filled[event.intent] = self.filled.get(event.intent, 0) + event.units

    def broken(self) -> list[str]:
        """Those that were reported cancelled and then filled."""
        return [
            digest for digest, had in self.cancelled.items() if self.filled.get(digest, 0) != had
        ]


def _proposals(snapshot: Snapshot, digest: str) -> Iterator[ProposeSolution]:
    for name, strategy in STRATEGIES.items():
        for solution in strategy(snapshot):
            yield ProposeSolution(
                auction=snapshot.auction, solver=name, snapshot=digest, books=solution.books
            )
    yield ProposeSolution(
        auction=snapshot.auction, solver="bundles", snapshot=digest, books=_bundles(snapshot)
    )


def _bundles(snapshot: Snapshot) -> tuple[ClearedBook, ...]:
    """All bundles, as far as the offers go, which all ask the same; of an any-of the first leg."""
    fills: dict[str, list[SolutionFill]] = {book.resource: [] for book in snapshot.books}
    left = {offer.id: offer.units for book in snapshot.books for offer in book.offers}
    home = {order.id: (book, order) for book in snapshot.books for order in book.intents}
    for bundle in snapshot.bundles:
        made = list[tuple[str, SolutionFill]]()
        legs = bundle.legs[:1] if bundle.any_of else bundle.legs
        for book, order in (home[leg] for leg in legs):
            offer = next((one.id for one in book.offers if left[one.id] >= order.units), None)
            if offer is not None:
                fill = SolutionFill(intent=order.id, offer=offer, units=order.units)
                made.append((book.resource, fill))
        if len(made) == len(legs):
            for resource, fill in made:
                fills[resource].append(fill)
                left[fill.offer] -= fill.units
    return tuple(
        ClearedBook(resource=resource, tick=ASK * 10**6, fills=tuple(lines))
        for resource, lines in fills.items()
        if lines
    )


def test_what_was_reported_cancelled_is_never_filled() -> None:
    """Before, during and after auctions; a cancel that came too late is told so."""
    trade = Trade(1)
    trade.run(INTENTS)
    assert trade.broken() == []
    assert len(trade.filled) > INTENTS // 4
    legs = trade.bundled
    assert len(legs & trade.filled.keys()) > INTENTS // 50
    assert len(legs & trade.cancelled.keys()) > INTENTS // 100
    assert len(trade.cancelled) > INTENTS // 20
    assert trade.too_late > INTENTS // 100


@pure_only
@pytest.mark.parametrize("ending", ["_cancel_intent", "_cancel_bundle"])
def test_a_cancel_that_only_says_so_is_found(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """The test above sees a market that reports a cancel and leaves what it names where it was."""

    def only_say_so(*_: Any) -> None:
        """Nothing happens."""

    monkeypatch.setattr(cancel, ending, only_say_so)
    trade = Trade(1)
    trade.run(INTENTS // 5)
    assert trade.broken()
