"""Ghosts: after each command they hold what happened against books of their own.

Nonces, times, prices, minimums, mandates, upstream counts, auction scores, and a chain that
settles by the contract's rules. They remember by themselves what the market may forget.
"""

from collections import Counter
from typing import Final

import msgspec

from intents.document import Intent, Mandate, Offer
from intents.reject import Reject, RejectCode
from solver.core.auction import Auction, Solution
from solver.core.command import (
    DECODER,
    ENCODER,
    Authority,
    Command,
    CutBatch,
    FinishCall,
    Limit,
    Outcome,
    PoolKey,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
)
from solver.core.event import (
    AuctionClosed,
    BatchCut,
    CallFinished,
    CallStarted,
    Event,
    Filled,
    LeaseClosed,
    LeaseMoved,
    PaymentSettled,
    SolutionJudged,
)
from solver.core.market import Market
from tests.builder import CREDITS, USDC, Bench, every, nothing_is_left
from tests.core.fake_chain import FakeChain
from tests.judging import orders_of

Submission = SubmitIntent | SubmitOffer | SubmitMandate
Seen = tuple[int, int]
"""When the upstream saw a call, and how many units it counted."""


class FlyingCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has started, as its gateway would remember it."""

    key: str
    offer: str
    resource: str
    started_ms: int
    units: int


class Ghosts(Bench):
    """A bench that watches every command."""

    def __init__(self) -> None:
        super().__init__()
        self.fake: Final = FakeChain(self.market.state)
        self.submitted: Final[list[Submission]] = []
        self.known: Final[dict[str, Submission]] = {}
        """What was accepted, by digest."""
        self.fills: Final[dict[str, Filled]] = {}
        self.nonces_seen: Final[set[tuple[str, int]]] = set()
        self.executed: Final[dict[int, int]] = {}
        self.upstream: Final[dict[str, list[Seen]]] = {}
        self.calls: Final[dict[str, FlyingCall]] = {}
        self.used: Final[dict[str, int]] = {}
        self.ended: Final[set[str]] = set()
        self.cut_batches: Final[list[BatchCut]] = []
        self.credits_spent: Final[dict[tuple[str, str], int]] = {}
        self.paid_under: Final[dict[str, int]] = {}

    # -- documents

    def submit(self, command: Submission) -> None:
        """Submit, and remember what was accepted."""
        was_known = command.digest in self.known
        if isinstance(self.attempt(command), Reject):
            return
        assert not was_known, "a document counts once"
        self.submitted.append(command)
        document = document_of(command)
        place = (document.account, document.nonce)
        assert place not in self.nonces_seen, "a nonce counts once"
        self.nonces_seen.add(place)
        if isinstance(command, SubmitIntent):
            self._watch_withdrawal(command.intent)
            self._watch_mandate(command)
        authority, signer = self.signer_of(command)
        if authority is Authority.SESSION and not isinstance(command, SubmitOffer):
            self._watch_cap(place[0], signer)

    def end(self, command: Submission) -> None:
        """It was cancelled: nothing more may be filled of it, or under it."""
        self.ended.add(command.digest)
        if isinstance(command, SubmitMandate):
            self.ended.update(c.digest for c in self.submitted if c.signer == command.digest)

    def signer_of(self, command: Submission) -> tuple[Authority, str]:
        """Who signed, and how: the mandate, if it came under one."""
        if command.authority is Authority.MANDATE:
            command = self.known[command.signer]
        return command.authority, command.signer

    # -- what is watched

    def _apply(self, command: Command) -> list[Event] | Reject:
        state = self.market.state
        before = state.hash() if len(self.log) % 8 == 0 else ""
        if isinstance(command, Submission) and command.digest not in self.known:
            self.known[command.digest] = command
            result = super()._apply(command)
            if isinstance(result, Reject):
                del self.known[command.digest]
        else:
            result = super()._apply(command)
        if isinstance(result, Reject):
            assert not before or state.hash() == before, "a reject changes nothing"
            return result
        self._watch(result)
        return result

    def _watch(self, events: list[Event]) -> None:
        moved = {event.to_lease for event in every(events, LeaseMoved)}
        executions: dict[int, list[Filled]] = {}
        for event in events:
            match event:
                case Filled():
                    self.fills[event.fill] = event
                    self._watch_fill(event, moved=event.fill in moved)
                    executions.setdefault(event.execution, []).append(event)
                case CallStarted():
                    self._remember_call(event)
                case CallFinished():
                    self._watch_use(event, self.calls.pop(event.call))
                case LeaseClosed():
                    gone = event.returned + self.used.get(event.lease, 0)
                    assert gone <= event.units, "what may have been used does not return"
                case BatchCut():
                    self.cut_batches.append(event)
                case PaymentSettled():
                    self._watch_payment(event)
        self._watch_auctions(events)
        self._watch_minimums(executions)

    def _watch_minimums(self, executions: dict[int, list[Filled]]) -> None:
        """An execution meets its intent's minimum at once; leases that move are not new ones."""
        for execution, fills in executions.items():
            units = sum(fill.units for fill in fills)
            if execution not in self.executed:
                least = self.intent_of(fills[0]).intent.units_min
                assert units >= least, "a minimum is met"
            self.executed[execution] = self.executed.get(execution, 0) + units

    def _watch_withdrawal(self, intent: Intent) -> None:
        asked, _ = self.fake.withdrawing.get(intent.account, (0, 0))
        if intent.asset == USDC and asked:
            held = self.market.state.accounts[intent.account].withdrawal_held
            available = self.market.state.ledger.available(intent.account, USDC)
            assert available + held >= asked, "money asked back is not promised again"

    def _watch_mandate(self, command: SubmitIntent) -> None:
        """What came under a mandate keeps to it, and all of it together costs no more."""
        if command.authority is not Authority.MANDATE:
            return
        intent, signed = command.intent, self.known[command.signer]
        assert isinstance(signed, SubmitMandate)
        mandate = signed.mandate
        assert signed.digest not in self.ended, "what ended is no leave to buy"
        assert mandate.valid_from <= self.now_ms // 1_000 < mandate.valid_until
        assert intent.account == mandate.account
        assert intent.asset == mandate.asset
        assert mandate.resource in ("", intent.resource)
        assert intent.limit * 10**6 // intent.units <= mandate.tick_max
        used = self.mandate(signed).committed + self.paid_under.get(signed.digest, 0)
        assert used <= mandate.limit, "a mandate bounds all that it may cost"

    def _remember_call(self, event: CallStarted) -> None:
        self.calls[event.call] = FlyingCall(
            key=event.key,
            offer=self.fills[event.lease].offer,
            resource=event.resource,
            started_ms=self.now_ms,
            units=event.units,
        )

    def _watch_use(self, finished: CallFinished, call: FlyingCall) -> None:
        """At least what the upstream may have counted of what the lease had reserved."""
        units = {
            Outcome.DELIVERED: min(finished.units, call.units),
            Outcome.FAILED: 0,
            Outcome.UNKNOWN: call.units,
        }[finished.outcome]
        self.used[finished.lease] = self.used.get(finished.lease, 0) + units

    def _watch_payment(self, event: PaymentSettled) -> None:
        """Count what sessions spend in credits (the fake chain counts their USDC), and mandates."""
        command = self.intent_of(self.fills[event.fill])
        if command.authority is Authority.MANDATE:
            paid = self.paid_under.get(command.signer, 0)
            self.paid_under[command.signer] = paid + event.payment
        authority, signer = self.signer_of(command)
        if command.intent.asset == CREDITS and authority is Authority.SESSION:
            place = (command.intent.account, signer)
            self.credits_spent[place] = self.credits_spent.get(place, 0) + event.payment

    def _watch_cap(self, account: str, signer: str) -> None:
        session = self.market.state.accounts[account].sessions[signer]
        used = self.fake.sessions[account, signer]["spent"] + session.committed
        used += self.credits_spent.get((account, signer), 0)
        assert used <= session.cap, "a session's cap bounds all that it may cost, in any asset"

    def _watch_fill(self, fill: Filled, *, moved: bool) -> None:
        intent, offer = self.intent_of(fill), self.known[fill.offer]
        assert isinstance(offer, SubmitOffer)
        assert fill.buyer != fill.seller, "nobody trades with itself"
        assert fill.offer not in self.ended, "what ended is not filled"
        assert moved or fill.intent not in self.ended, "what ended is not filled"
        assert intent.intent.asset == offer.offer.asset
        assert intent.intent.resource == offer.offer.resource == fill.resource
        lease = self.market.state.leases.get(fill.fill)
        if lease is None:
            return  # it ended, settled and was forgotten within this very command
        assert offer.offer.key == lease.key
        assert fill.until_ms <= lease.filled_ms + 600_000, "no lease lives longer than ten minutes"
        for command in (intent, offer):
            self._watch_times(command, fill, lease.filled_ms)

    def _watch_times(self, command: Submission, fill: Filled, filled_ms: int) -> None:
        document = document_of(command)
        assert document.valid_from * 1_000 <= filled_ms < document.valid_until * 1_000
        assert fill.until_ms <= document.valid_until * 1_000
        if command.authority is Authority.MANDATE:
            self._watch_times(self.known[command.signer], fill, filled_ms)
        if command.authority is Authority.SESSION:
            session = self.market.state.accounts[document.account].sessions[command.signer]
            assert session.live
            assert filled_ms < session.expires_at * 1_000, "an expired session fills nothing"

    # -- auctions

    def _watch_auctions(self, events: list[Event]) -> None:
        """An auction's fills stand between its judging and its close."""
        cleared: list[Filled] = []
        for event in events:
            match event:
                case SolutionJudged():
                    cleared = []
                case Filled():
                    cleared.append(event)
                case AuctionClosed():
                    self._watch_judging(event, every(events, SolutionJudged))
                    self._watch_clearing(event, cleared)

    def _watch_judging(self, closed: AuctionClosed, judged: list[SolutionJudged]) -> None:
        auction = self.market.state.auctions[closed.auction]
        judged = [event for event in judged if event.auction == closed.auction]
        assert len(judged) == len(auction.proposed), "everyone hears"
        counted = [
            event
            for event in judged
            if event.reason is None or event.reason.code is RejectCode.OUTBID
        ]
        scores = [event.score for event in counted]
        sound = Counter(p.solver for p in auction.proposed if _is_sound(auction, p.solution))
        assert Counter(event.solver for event in counted) <= sound, "what is wrong does not count"
        assert closed.score >= max(scores, default=0), "no single bid is better"
        assert bool(closed.winners) == bool(scores)
        assert all(0 <= int(w.reference) <= int(w.score) for w in closed.winners)
        worth = [surplus(auction, proposed.solution) for proposed in auction.proposed]
        assert max(scores, default=0) <= max(worth, default=0), "a score is of what is left"

    def _watch_clearing(self, closed: AuctionClosed, fills: list[Filled]) -> None:
        """What is carried out is worth the winner's score, at its price."""
        if closed.winners:
            auction = self.market.state.auctions[closed.auction]
            ticks = {one.id: one.tick for one in orders_of(auction.snapshot)}
            worth = sum(fill.units * (ticks[fill.intent] - ticks[fill.offer]) for fill in fills)
            assert fills, "a winner has something to carry out"
            assert closed.score == worth, "scores are surplus"
            priced = {(fill.resource, fill.price) for fill in fills}
            for fill in fills:
                assert fill.price <= fill.tick <= ticks[fill.intent], "P2"
                assert fill.price >= fill.tick - fill.charge >= ticks[fill.offer], "P2"
            assert priced == set(closed.ticks.items()), "one price a book"
            charged = sum(fill.units * fill.charge for fill in fills)
            paid = sum(int(won.score) - int(won.reference) for won in closed.winners)
            assert charged <= paid, "charges come to no more than the rewards"

    # -- the end

    def closing(self) -> None:
        """Everything settles, by the chain's rules; then nothing is left (P9)."""
        state = self.market.state
        for call in list(self.calls):
            self.do(FinishCall(call=call, outcome=Outcome.UNKNOWN, units=0))
        while (due_ms := state.next_due_ms) is not None:
            self.now_ms = max(self.now_ms, due_ms)
            self.wait(0)
        while state.ready:
            self.do(CutBatch(fills_max=3))
        while self.cut_batches:
            self.settle_the_oldest(99)
        nothing_is_left(self)
        for account, balance in self.fake.balances.items():
            assert state.ledger.balance(account, USDC).total == balance, "book and chain agree (P7)"
        for place, terms in self.fake.sessions.items():
            spent = terms["spent"] + self.credits_spent.get(place, 0)
            assert state.accounts[place[0]].sessions[place[1]].spent == spent, "P7"
        for mandate in state.mandates.values():
            assert mandate.spent == self.paid_under.get(mandate.digest, 0), "P7"
        for account, nonce in self.nonces_seen:
            assert state.accounts[account].has_used(nonce), "a nonce stays used"

    def settle_the_oldest(self, skipping: int) -> None:
        """The chain settles the oldest batch that is not, but for one execution."""
        self.chain(*self.fake.settle(self.cut_batches.pop(0), skipping))

    def upstream_saw_no_more_than_allowed(self) -> None:
        """P4: at the upstream no sliding window, both ends counted, was over a key's limit.

        Whatever its resource, a call counts against the one key that it used.
        """
        for command in self.log:
            if isinstance(command, PoolKey):
                self._saw_no_more_than(command.limits, command.key)
            elif isinstance(command, SubmitOffer) and command.offer.window_seconds:
                terms = command.offer
                limit = Limit(units=terms.window_units, seconds=terms.window_seconds)
                self._saw_no_more_than((limit,), command.digest)

    def _saw_no_more_than(self, limits: tuple[Limit, ...], subject: str) -> None:
        seen = sorted(self.upstream.get(subject, []))
        for limit in limits:
            assert most_in_any_window(seen, limit.seconds * 1_000) <= limit.units

    def replay(self) -> str:
        """The hash of a fresh market after the same commands, through their encoded form."""
        market = Market(USDC)
        for command in self.log:
            market.apply(DECODER.decode(ENCODER.encode(command)))
        return market.state.hash()

    def intent_of(self, fill: Filled) -> SubmitIntent:
        """The intent of a fill, as it was submitted."""
        command = self.known[fill.intent]
        assert isinstance(command, SubmitIntent)
        return command


def most_in_any_window(seen: list[Seen], span_ms: int) -> int:
    """The most units within any closed interval of this length; brute force."""
    return max(
        (sum(n for at, n in seen if first <= at <= first + span_ms) for first, _ in seen),
        default=0,
    )


def document_of(command: Submission) -> Intent | Offer | Mandate:
    """What was submitted."""
    match command:
        case SubmitIntent():
            return command.intent
        case SubmitOffer():
            return command.offer
        case SubmitMandate():
            return command.mandate


def _is_sound(auction: Auction, solution: Solution) -> bool:
    """Whether a solution kept to the units and the minimums of its snapshot."""
    totals = Counter[str]()
    for fill in (fill for book in solution.books for fill in book.fills):
        totals[fill.intent] += fill.units
        totals[fill.offer] += fill.units
    return all(
        order.minimum <= totals[order.id] <= order.units
        for order in orders_of(auction.snapshot)
        if totals[order.id]
    )


def surplus(auction: Auction, solution: Solution) -> int:
    """What a solution is worth, counted unit by unit."""
    ticks = {order.id: order.tick for order in orders_of(auction.snapshot)}
    fills = [fill for book in solution.books for fill in book.fills]
    return sum(ticks[fill.intent] - ticks[fill.offer] for fill in fills for _ in range(fill.units))
