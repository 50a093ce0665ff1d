"""10,000 intents, some of them withdrawn: none that was reported cancelled is filled after that."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import pytest

from intents.reject import Reject, RejectCode
from solver.core import cancel
from solver.core.auction import Snapshot
from solver.core.command import CancelDocument, Mode, OpenAuction, ProposeSolution, SubmitIntent
from solver.core.event import AuctionOpened, Event, Filled
from solver.strategies import STRATEGIES
from tests.builder import (
    SEARCH,
    TOKENS,
    USDC,
    Bench,
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


class Trade:
    """Epochs in two books: intents come, solvers bid, and cancels fall at any moment."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  test data
        self._bench = Bench(watched=False).funded(*BUYERS, usdc=10**12)
        for resource in (SEARCH, TOKENS):
            self._bench.listing(resource, Mode.EPOCH)
        self._bench.pooling(bob, resources=(SEARCH, TOKENS))
        self._open: list[SubmitIntent] = []
        self.cancelled: dict[str, int] = {}
        """Units that each had filled when it was reported cancelled."""
        self.filled: dict[str, int] = {}
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
            offer = an_offer().of(resource).from_key(key_of(bob)).units(units).limit(units * 5)
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
                self._open.append(command)

    def _cancel_some(self) -> None:
        for command in self._random.sample(self._open, min(len(self._open), 4)):
            account = command.intent.account
            answer = self._bench.attempt(CancelDocument(account=account, digest=command.digest))
            if isinstance(answer, Reject):
                assert answer.code in {RejectCode.TOO_LATE, RejectCode.NOT_OPEN}
                self.too_late += answer.code is RejectCode.TOO_LATE
            else:
                self.cancelled.setdefault(command.digest, self.filled.get(command.digest, 0))
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


def test_what_was_reported_cancelled_is_never_filled() -> None:
    """Before, during and after auctions; a cancel that came too late is told so."""
    trade = Trade(1)
    trade.run(INTENTS)
    assert trade.broken() == []
    assert len(trade.filled) > INTENTS // 4
    assert len(trade.cancelled) > INTENTS // 20
    assert trade.too_late > INTENTS // 100


@pure_only
def test_a_cancel_that_only_says_so_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees a market that reports a cancel and leaves the intent where it was."""

    def only_say_so(*_: Any) -> None:
        """Nothing happens."""

    monkeypatch.setattr(cancel, "_cancel_intent", only_say_so)
    trade = Trade(1)
    trade.run(400)
    assert trade.broken()
