"""A trading floor: a bench on which anybody may do anything, watched by ghosts.

Each action takes small integers only, so that Hypothesis and a seeded `Random` can drive
it alike (`ACTIONS` lists the ranges). After each command the ghosts hold what happened
against their own, independent books: nonces, times, prices, minimums, upstream counts,
auction scores, and a chain that settles by the contract's rules.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

import msgspec

from intents.document import Intent, Offer
from intents.reject import Reject, RejectCode
from solver.core.auction import Auction
from solver.core.command import (
    DECODER,
    ENCODER,
    AllSessionsRevoked,
    Authority,
    BatchSettled,
    CancelDocument,
    Command,
    CutBatch,
    Deposited,
    EndLeases,
    EpochBumped,
    Fact,
    FillSettled,
    FillSkipped,
    FinishCall,
    IssueCredits,
    KeyEnd,
    Limit,
    Mode,
    NonceCancelled,
    OpenAuction,
    Outcome,
    PoolKey,
    ProposeSolution,
    RetireKey,
    SessionGranted,
    SessionRevoked,
    SolutionFill,
    StartCall,
    SubmitIntent,
    SubmitOffer,
    WithdrawalRequested,
    Withdrawn,
)
from solver.core.event import (
    AuctionClosed,
    BatchCut,
    BatchLine,
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
from solver.core.state import MAY_SIGN
from tests.builder import (
    CREDITS,
    SEARCH,
    START_S,
    TOKENS,
    USDC,
    Bench,
    Person,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
    key_of,
    nothing_is_left,
    person,
)

PEOPLE: Final = (alice, bob, carol, dave)
SESSIONS: Final = (person("erin"), person("frank"), person("grace"), person("heidi"))
ASSETS: Final = (USDC, CREDITS)
RESOURCES: Final = (SEARCH, TOKENS)
EXIT_DELAY_S: Final = 1_800
KEY_LIMITS: Final = (
    (),
    (Limit(units=3, seconds=30),),
    (Limit(units=2, seconds=5), Limit(units=5, seconds=60)),
)

ACTIONS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "bid": ((0, 3), (0, 2), (0, 2), (1, 12), (8, 40), (0, 6), (0, 9), (0, 900), (0, 30)),
    "ask": ((0, 3), (0, 2), (0, 2), (1, 12), (1, 28), (0, 3), (0, 9), (0, 900), (0, 30)),
    "bid_again": ((0, 9),),
    "cancel": ((0, 9),),
    "start_a_call": ((0, 9), (1, 3)),
    "finish_a_call": ((0, 9), (0, 4), (0, 3)),
    "end_the_leases": ((0, 9),),
    "pool_a_key": ((0, 3), (0, 2)),
    "retire_a_key": ((0, 9),),
    "pass_time": ((0, 300),),
    "pass_milliseconds": ((0, 40_000),),
    "open_an_auction": ((0, 1), (1, 60)),
    "propose": ((0, 3), (8, 30), (0, 99)),
    "issue": ((0, 3), (0, 200)),
    "deposit": ((0, 3), (1, 200)),
    "cut_a_batch": ((1, 6),),
    "settle_a_batch": ((0, 7),),
    "ask_to_withdraw": ((0, 3), (0, 3_000)),
    "withdraw": ((0, 3),),
    "cancel_a_nonce": ((0, 9),),
    "bump_the_epoch": ((0, 3), (0, 9)),
    "grant": ((0, 3), (0, 1_200), (1, 2_000), (0, 3)),
    "revoke": ((0, 3),),
    "revoke_all": ((0, 3),),
}
"""Every action and the range of each of its numbers."""
WEIGHTS: Final = {
    "bid": 12,
    "ask": 12,
    "start_a_call": 9,
    "finish_a_call": 8,
    "propose": 5,
    "open_an_auction": 4,
    "retire_a_key": 2,
    "cut_a_batch": 2,
    "settle_a_batch": 2,
}


Seen = tuple[int, int]
"""When the upstream saw a call, and how many units it counted."""
T = TypeVar("T")


class FlyingCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has started, as its gateway would remember it."""

    key: str
    offer: str
    resource: str
    started_ms: int
    units: int


class FakeChain:
    """The contract's rules, in their plainest form: balances, units per nonce, session caps."""

    def __init__(self, floor: "Floor") -> None:
        self._floor = floor
        self.balances: dict[str, int] = {}
        self.withdrawing: dict[str, tuple[int, int]] = {}
        self.settled: dict[tuple[str, int], int] = {}
        self.sessions: dict[tuple[str, str], dict[str, int]] = {}
        self.revoked: set[str] = set()
        self.left: set[str] = set()

    def settle(self, batch: BatchCut, skipping: int) -> list[Fact]:
        """What the contract says to each line; `skipping` picks one execution to refuse."""
        executions: dict[int, list[BatchLine]] = {}
        for line in batch.lines:
            lease = self._floor.market.state.leases[line.fill]
            executions.setdefault(lease.execution, []).append(line)
        facts: list[Fact] = []
        for place, lines in enumerate(executions.values()):
            reason = "told to" if place == skipping else self._refusal(lines)
            facts += [
                FillSkipped(fill=line.fill, reason=1) if reason else self._paid(line)
                for line in lines
            ]
            if not reason:
                intent = self._floor.market.state.intents[lines[0].intent]
                payment = sum(line.payment for line in lines)
                if intent.authority is Authority.SESSION:
                    self.sessions[intent.document.account, intent.signer]["spent"] += payment
        return [*facts, BatchSettled(number=batch.number, digest=batch.digest)]

    def _paid(self, line: BatchLine) -> Fact:
        state = self._floor.market.state
        buyer, seller = state.intents[line.intent].document, state.offers[line.offer].document
        for signed in (buyer, seller):
            place = (signed.account, signed.nonce)
            self.settled[place] = self.settled.get(place, 0) + line.units
        self.balances[buyer.account] -= line.payment
        self.balances[seller.account] = self.balances.get(seller.account, 0) + line.payment
        return FillSettled(fill=line.fill, payment=line.payment)

    def _refusal(self, lines: list[BatchLine]) -> str:
        """Why the contract refuses an execution. Some reasons are the market's own fault."""
        state = self._floor.market.state
        intent = state.intents[lines[0].intent]
        document = intent.document
        units = self.settled.get((document.account, document.nonce), 0)
        total = sum(line.units for line in lines)
        assert len(lines) <= 256
        assert units + total <= document.units, "UnitsOverfilled"
        assert total >= min(document.units_min, document.units - units), "UnitsBelowMinimum"
        added: dict[str, int] = {}
        for line in lines:
            offer = state.offers[line.offer].document
            added[line.offer] = added.get(line.offer, 0) + line.units
            sold = self.settled.get((offer.account, offer.nonce), 0)
            assert line.units > 0, "UnitsZero"
            assert sold + added[line.offer] <= offer.units, "UnitsOverfilled"
            assert line.delivered <= line.units, "DeliveredAboveUnits"
            assert line.payment * document.units <= line.delivered * document.limit, (
                "PriceAboveLimit"
            )
            assert (line.payment + 1) * offer.units > line.delivered * offer.limit, (
                "PriceBelowLimit"
            )
        payment = sum(line.payment for line in lines)
        signers = {intent.signer, *(state.offers[line.offer].signer for line in lines)}
        if signers & self.revoked:
            return "SessionRefused"
        if intent.authority is Authority.SESSION:
            session = self.sessions[document.account, intent.signer]
            assert session["spent"] + payment <= session["cap"], "SessionCapExceeded"
        if payment > self.balances.get(document.account, 0):
            assert document.account in self.left, "InsufficientBalance"
            return "InsufficientBalance"
        return ""


class Floor(Bench):
    """Everything that anybody can do, by number."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeChain(self)
        self.submitted: list[SubmitIntent | SubmitOffer] = []
        self.keys: list[tuple[str, Person]] = []
        self.nonces_seen: set[tuple[str, int]] = set()
        self.arrived: dict[str, int] = {}
        self.executed: dict[int, int] = {}
        self.upstream: dict[str, list[Seen]] = {}
        self.calls: dict[str, FlyingCall] = {}
        self.used: dict[str, int] = {}
        self.ended: set[str] = set()
        self.cut_batches: list[BatchCut] = []
        self.credits_spent: dict[tuple[str, str], int] = {}
        self._numbers = 0
        self.listing(SEARCH).listing(TOKENS, Mode.EPOCH)
        for who in PEOPLE:
            number = PEOPLE.index(who)
            self.deposit(number, 2_000)
            self.issue(number, 2_000)
            self.pool_a_key(number, number % 3)
            self.grant(number, 1_000, 2_000, 1)

    # -- documents

    def bid(  # noqa: PLR0917  numbers, as a driver draws them
        self,
        who: int,
        resource: int,
        asset: int,
        units: int,
        price: int,
        minimum: int,
        flags: int,
        life: int,
        wait: int,
    ) -> None:
        """Submit an intent; flags pick immediate and by session, wait delays its start."""
        buyer = PEOPLE[who]
        intent = (
            an_intent()
            .for_account(buyer)
            .of(RESOURCES[resource // 2])
            .paid_in(ASSETS[asset // 2])
            .units(units)
            .limit(units * price)
            .at_least(max(1, min(minimum, units)))
            .epoch(self._epoch(buyer))
            .nonce(self._next_nonce())
        )
        intent = intent.until(_on_the_minute(self._now_s() + 1 + life * life // 900, life))
        if wait > 20:
            intent = intent.not_before(_on_the_minute(self._now_s() + wait, 0))
        if flags in (1, 2):
            intent = intent.immediate()
        session = flags > 6
        signer = SESSIONS[who] if session else buyer
        self.submit(intent.signed_by(signer, Authority.SESSION if session else Authority.KEY))

    def ask(  # noqa: PLR0917
        self,
        who: int,
        resource: int,
        asset: int,
        units: int,
        price: int,
        key: int,
        flags: int,
        life: int,
        wait: int,
    ) -> None:
        """Submit an offer from one of the seller's keys."""
        seller = PEOPLE[who]
        mine = [name for name, owner in self.keys if owner == seller] or [key_of(seller)]
        offer = (
            an_offer()
            .for_account(seller)
            .of(RESOURCES[resource // 2])
            .paid_in(ASSETS[asset // 2])
            .units(units)
            .limit(units * price)
            .from_key(mine[key % len(mine)])
            .epoch(self._epoch(seller))
            .nonce(self._next_nonce())
        )
        offer = offer.until(_on_the_minute(self._now_s() + 1 + life * life // 900, life))
        if wait > 20:
            offer = offer.not_before(_on_the_minute(self._now_s() + wait, 0))
        if flags in (1, 2, 3):
            offer = offer.window(flags, 20 * flags)
        session = flags > 7
        signer = SESSIONS[who] if session else seller
        self.submit(offer.signed_by(signer, Authority.SESSION if session else Authority.KEY))

    def bid_again(self, which: int) -> None:
        """Another intent with a nonce that may have been used."""
        command = _pick(self.submitted, which)
        if command is not None:
            buyer = next(p for p in PEOPLE if p.address == _document(command).account)
            intent = an_intent().units(3).limit(60).nonce(_document(command).nonce)
            intent = intent.epoch(self._epoch(buyer)).until(self._now_s() + 50)
            self.submit(intent.signed_by(buyer))

    def submit(self, command: SubmitIntent | SubmitOffer) -> None:
        """Submit, and remember what was accepted."""
        if not isinstance(self.attempt(command), Reject):
            self.submitted.append(command)
            place = (_document(command).account, _document(command).nonce)
            assert place not in self.nonces_seen, "a nonce counts once"
            self.nonces_seen.add(place)
            asked, _ = self.fake.withdrawing.get(place[0], (0, 0))
            if isinstance(command, SubmitIntent) and command.intent.asset == USDC and asked:
                held = self.market.state.accounts[place[0]].withdrawal_held
                available = self.market.state.ledger.available(place[0], USDC)
                assert available + held >= asked, "money asked back is not promised again"
            if isinstance(command, SubmitIntent) and command.authority is Authority.SESSION:
                self._watch_cap(place[0], command.signer)

    def cancel(self, which: int) -> None:
        """Withdraw a document."""
        command = _pick(self.submitted, which)
        if command is not None:
            cancel = CancelDocument(account=_document(command).account, digest=command.digest)
            if not isinstance(self.attempt(cancel), Reject):
                self.ended.add(command.digest)

    # -- delivery

    def start_a_call(self, which: int, units: int) -> None:
        """Use a lease, whatever its state."""
        lease = _pick(list(self.market.state.leases), which)
        if lease is not None:
            self._numbers += 1
            self.attempt(StartCall(lease=lease, call=f"call-{self._numbers}", units=units))

    def finish_a_call(self, which: int, units: int, outcome: int) -> None:
        """Finish a call; the upstream saw it at some time since its start."""
        call = _pick(list(self.calls), which)
        if call is not None:
            flying = self.calls[call]
            reserved = flying.units
            how = (Outcome.DELIVERED, Outcome.DELIVERED, Outcome.FAILED, Outcome.UNKNOWN)[outcome]
            metered = units if outcome == 1 and self._is_limitless(flying) else min(units, reserved)
            seen = metered if how is Outcome.DELIVERED else reserved
            at_ms = Random(self._numbers).randint(flying.started_ms, self.now_ms)  # noqa: S311
            for subject in (flying.key, flying.offer):
                self.upstream.setdefault(subject, []).append((at_ms, seen))
            self.do(FinishCall(call=call, outcome=how, units=metered))

    def end_the_leases(self, which: int) -> None:
        """The buyer is done."""
        command = _pick(self.submitted, which)
        if command is not None:
            self.attempt(EndLeases(account=_document(command).account, intent=command.digest))

    def pool_a_key(self, who: int, limits: int) -> None:
        """Pool one more key."""
        name = key_of(PEOPLE[who], len(self.keys))
        self.keys.append((name, PEOPLE[who]))
        self.do(
            PoolKey(
                key=name,
                owner=PEOPLE[who].address,
                provider="any",
                resources=RESOURCES,
                limits=KEY_LIMITS[limits],
            )
        )

    def retire_a_key(self, which: int) -> None:
        """A key leaves."""
        key = _pick(self.keys, which)
        if key is not None:
            self.attempt(RetireKey(key=key[0], reason=KeyEnd.DEAD))

    # -- time and auctions

    def pass_time(self, seconds: int) -> None:
        """Seconds pass."""
        self.wait(seconds)

    def pass_milliseconds(self, milliseconds: int) -> None:
        """Less than seconds pass."""
        self.wait(milliseconds / 1_000)

    def open_an_auction(self, asset: int, seconds: int) -> None:
        """Cut a snapshot."""
        closes_at_ms = self.now_ms + seconds * 1_000
        self.attempt(OpenAuction(resource=TOKENS, asset=ASSETS[asset], closes_at_ms=closes_at_ms))

    def propose(self, solver: int, price: int, seed: int) -> None:
        """Two solvers' bids, good or bad, at nearby prices."""
        for number, auction in self.market.state.auctions.items():
            for offset in range(0 if auction.closed else 2):
                random = Random(seed + offset)  # noqa: S311  test data
                tick = (price + offset) * 10**6
                self.attempt(
                    ProposeSolution(
                        auction=number,
                        solver=f"solver-{(solver + offset) % 4}",
                        snapshot=auction.snapshot_digest,
                        tick=tick,
                        fills=_solution(auction, tick, random),
                    )
                )

    # -- money and chain

    def issue(self, who: int, amount: int) -> None:
        """Issue credits."""
        self.attempt(IssueCredits(account=PEOPLE[who].address, amount=amount, reason="test"))

    def deposit(self, who: int, amount: int) -> None:
        """Deposit."""
        account = PEOPLE[who].address
        self.fake.balances[account] = self.fake.balances.get(account, 0) + amount
        self.chain(Deposited(account=account, amount=amount))

    def cut_a_batch(self, fills_max: int) -> None:
        """Cut a batch, if there is one."""
        self.attempt(CutBatch(fills_max=fills_max))

    def settle_a_batch(self, skipping: int) -> None:
        """The chain settles the oldest batch; number 0 or 1 of its executions may be refused."""
        if self.cut_batches:
            self.chain(*self.fake.settle(self.cut_batches.pop(0), skipping))

    def ask_to_withdraw(self, who: int, amount: int) -> None:
        """Ask for money, or take the request back (0)."""
        account = PEOPLE[who].address
        self.fake.withdrawing[account] = (amount, self.now_ms)
        self.chain(WithdrawalRequested(account=account, amount=amount))
        if amount:
            self.ended |= {
                c.digest
                for c in self.submitted
                if isinstance(c, SubmitIntent)
                and c.intent.account == account
                and c.intent.asset == USDC
            }

    def withdraw(self, who: int) -> None:
        """Take the money, once the delay is over."""
        account = PEOPLE[who].address
        amount, since_ms = self.fake.withdrawing.get(account, (0, 0))
        if amount and self.now_ms >= since_ms + EXIT_DELAY_S * 1_000:
            self.fake.withdrawing[account] = (0, 0)
            paid = min(amount, self.fake.balances[account])
            self.fake.balances[account] -= paid
            self.fake.left.add(account)
            self.chain(Withdrawn(account=account, amount=paid))

    def cancel_a_nonce(self, which: int) -> None:
        """Cancel on chain."""
        command = _pick(self.submitted, which)
        if command is not None:
            document = _document(command)
            self.chain(NonceCancelled(account=document.account, nonce=document.nonce))
            self.ended.add(command.digest)

    def bump_the_epoch(self, who: int, chance: int) -> None:
        """Cancel everything on chain; rarely."""
        if not chance:
            account = PEOPLE[who]
            self.chain(EpochBumped(account=account.address, epoch=self._epoch(account) + 1))
            self.ended |= {
                c.digest for c in self.submitted if _document(c).account == account.address
            }

    def grant(self, who: int, seconds: int, cap: int, flags: int) -> None:
        """Give or change a session."""
        account, session = PEOPLE[who].address, SESSIONS[who].address
        permissions = MAY_SIGN if flags else MAY_SIGN << 1
        expires_at = self.now_ms // 1_000 + 1 + seconds
        terms = self.fake.sessions.setdefault((account, session), {"spent": 0, "cap": 0})
        # A lower cap or fewer rights refuse at once what was signed under better terms.
        if terms["cap"] > cap or not flags:
            self.fake.revoked.add(session)
        elif session not in self.fake.revoked:
            terms["cap"] = cap
        self.chain(
            SessionGranted(
                account=account,
                session=session,
                permissions=permissions,
                expires_at=expires_at,
                cap=cap,
            )
        )

    def revoke(self, who: int) -> None:
        """Revoke a session."""
        self._revoke(
            who, SessionRevoked(account=PEOPLE[who].address, session=SESSIONS[who].address)
        )

    def revoke_all(self, who: int) -> None:
        """Revoke all sessions of an account."""
        self._revoke(who, AllSessionsRevoked(account=PEOPLE[who].address))

    def _revoke(self, who: int, fact: Fact) -> None:
        signer = SESSIONS[who].address
        self.fake.revoked.add(signer)
        self.chain(fact)
        self.ended |= {c.digest for c in self.submitted if c.signer == signer}
        for lease in self.market.state.leases.values():
            if self.market.state.intents[lease.intent].signer == signer:
                assert lease.status != "open", "a revoked session serves no more calls"

    # -- ghosts

    def _apply(self, command: Command) -> list[Event] | Reject:
        state = self.market.state
        before = state.hash() if len(self.log) % 8 == 0 else ""
        result = super()._apply(command)
        if isinstance(result, Reject):
            assert not before or state.hash() == before, "a reject changes nothing"
            return result
        self._watch(result)
        return result

    def _watch(self, events: list[Event]) -> None:
        state = self.market.state
        moved = {event.to_lease for event in every(events, LeaseMoved)}
        executions: dict[int, int] = {}
        for event in events:
            match event:
                case Filled():
                    self._watch_fill(event, moved=event.fill in moved)
                    executions[event.execution] = executions.get(event.execution, 0) + event.units
                case CallStarted():
                    self.calls[event.call] = FlyingCall(
                        key=event.key,
                        offer=state.leases[event.lease].offer,
                        resource=event.resource,
                        started_ms=self.now_ms,
                        units=event.units,
                    )
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
        for execution, units in executions.items():
            record = state.executions.get(execution)
            if record is not None and execution not in self.executed:
                assert units >= state.intents[record.intent].document.units_min, "a minimum is met"
            self.executed[execution] = self.executed.get(execution, 0) + units

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

    def _watch_use(self, finished: CallFinished, call: FlyingCall) -> None:
        """At least what the upstream may have counted of what the lease had reserved."""
        units = {
            Outcome.DELIVERED: min(finished.units, call.units),
            Outcome.FAILED: 0,
            Outcome.UNKNOWN: call.units,
        }[finished.outcome]
        self.used[finished.lease] = self.used.get(finished.lease, 0) + units

    def _watch_payment(self, event: PaymentSettled) -> None:
        """Count what sessions spend in credits; the fake chain counts their USDC."""
        lease = self.market.state.leases[event.fill]
        intent = self.market.state.intents[lease.intent]
        if lease.asset == CREDITS and intent.authority is Authority.SESSION:
            place = (lease.buyer, intent.signer)
            self.credits_spent[place] = self.credits_spent.get(place, 0) + event.payment

    def _watch_cap(self, account: str, signer: str) -> None:
        session = self.market.state.accounts[account].sessions[signer]
        used = self.fake.sessions[account, signer]["spent"] + session.committed
        used += self.credits_spent.get((account, signer), 0)
        assert used <= session.cap, "a session's cap bounds all that it may cost, in any asset"

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
        sound = Counter(p.solver for p in auction.proposed if _is_sound(auction, p.solution.fills))
        assert Counter(event.solver for event in counted) <= sound, "what is wrong does not count"
        assert closed.score == max(scores, default=0), "the winner is the best"
        assert bool(closed.winner) == bool(scores)
        worth = [surplus(auction, proposed.solution.fills) for proposed in auction.proposed]
        assert max(scores, default=0) <= max(worth, default=0), "a score is of what is left"

    def _watch_clearing(self, closed: AuctionClosed, fills: list[Filled]) -> None:
        """What is carried out is worth the winner's score, at its price."""
        if closed.winner:
            auction = self.market.state.auctions[closed.auction]
            ticks = {o.id: o.tick for o in (*auction.snapshot.intents, *auction.snapshot.offers)}
            worth = sum(fill.units * (ticks[fill.intent] - ticks[fill.offer]) for fill in fills)
            assert fills, "a winner has something to carry out"
            assert closed.score == worth, "scores are surplus"
            assert {fill.tick for fill in fills} == {closed.tick}, "one price"

    def _watch_fill(self, fill: Filled, *, moved: bool) -> None:
        state = self.market.state
        intent, offer = state.intents[fill.intent], state.offers[fill.offer]
        filled_ms = state.leases[fill.fill].filled_ms
        assert fill.buyer != fill.seller, "nobody trades with itself"
        assert fill.offer not in self.ended, "what ended is not filled"
        assert moved or fill.intent not in self.ended, "what ended is not filled"
        assert fill.until_ms <= filled_ms + 600_000, "no lease lives longer than ten minutes"
        for document in (intent.document, offer.document):
            assert document.valid_from * 1_000 <= filled_ms < document.valid_until * 1_000
            assert fill.until_ms <= document.valid_until * 1_000
        assert intent.document.asset == offer.document.asset
        assert intent.document.resource == offer.document.resource == fill.resource
        assert offer.document.key == state.leases[fill.fill].key
        for record in (intent, offer):
            if record.authority is Authority.SESSION:
                session = state.accounts[record.document.account].sessions[record.signer]
                assert session.live
                assert filled_ms < session.expires_at * 1_000, "an expired session fills nothing"

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
            self.settle_a_batch(99)
        nothing_is_left(self)
        for who in PEOPLE:
            assert self.total(who) == self.fake.balances[who.address], "book and chain agree (P7)"
        for place, terms in self.fake.sessions.items():
            spent = terms["spent"] + self.credits_spent.get(place, 0)
            assert state.accounts[place[0]].sessions[place[1]].spent == spent, "P7"

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

    # -- small things

    def _now_s(self) -> int:
        """Seconds since the start, the second that has begun."""
        return self.now_ms // 1_000 - START_S

    def _next_nonce(self) -> int:
        self._numbers += 1
        return self._numbers

    def _epoch(self, who: Person) -> int:
        account = self.market.state.accounts.get(who.address)
        return account.epoch if account else 0

    def _is_limitless(self, call: "FlyingCall") -> bool:
        return not self.market.state.windows_of(call.key, call.offer, call.resource)


def most_in_any_window(seen: list[Seen], span_ms: int) -> int:
    """The most units within any closed interval of this length; brute force."""
    return max(
        (sum(n for at, n in seen if first <= at <= first + span_ms) for first, _ in seen),
        default=0,
    )


def _document(command: SubmitIntent | SubmitOffer) -> Intent | Offer:
    return command.intent if isinstance(command, SubmitIntent) else command.offer


def _solution(auction: Auction, tick: int, random: Random) -> tuple[SolutionFill, ...]:
    """Fills that a random solver would propose: often admissible, sometimes not."""
    left = {
        order.id: order.units for order in (*auction.snapshot.intents, *auction.snapshot.offers)
    }
    fills = []
    for intent in auction.snapshot.intents:
        for offer in auction.snapshot.offers:
            sane = offer.tick <= tick <= intent.tick and intent.account != offer.account
            units = min(left[intent.id], left[offer.id])
            if (sane or random.random() < 0.02) and units and random.random() < 0.8:
                fills.append(SolutionFill(intent=intent.id, offer=offer.id, units=units))
                left[intent.id] -= units
                left[offer.id] -= units
    return tuple(fills)


def _is_sound(auction: Auction, fills: tuple[SolutionFill, ...]) -> bool:
    """Whether a solution kept to the units and the minimums of its snapshot."""
    totals = Counter[str]()
    for fill in fills:
        totals[fill.intent] += fill.units
        totals[fill.offer] += fill.units
    orders = (*auction.snapshot.intents, *auction.snapshot.offers)
    return all(
        order.minimum <= totals[order.id] <= order.units for order in orders if totals[order.id]
    )


def surplus(auction: Auction, fills: tuple[SolutionFill, ...]) -> int:
    """What a solution is worth, counted unit by unit."""
    ticks = {o.id: o.tick for o in (*auction.snapshot.intents, *auction.snapshot.offers)}
    return sum(ticks[fill.intent] - ticks[fill.offer] for fill in fills for _ in range(fill.units))


def a_walk(seed: int, steps: int) -> Floor:
    """A random walk over the floor, closed at its end and checked in every way."""
    random = Random(seed)  # noqa: S311  test data
    floor = Floor()
    names = list(ACTIONS)
    weights = [WEIGHTS.get(name, 1) for name in names]
    for name in random.choices(names, weights, k=steps):
        getattr(floor, name)(*(random.randint(low, high) for low, high in ACTIONS[name]))
    finish(floor)
    return floor


def finish(floor: Floor) -> None:
    """The closing phase and what must hold after it."""
    floor.closing()
    floor.upstream_saw_no_more_than_allowed()
    assert floor.replay() == floor.market.state.hash(), "replay gives the same state (P6)"


def _on_the_minute(seconds: int, chance: int) -> int:
    """Two times out of three the next full minute: things that coincide are where bugs are."""
    return seconds if chance % 3 == 1 else seconds // 60 * 60 + 60


def _pick(things: Sequence[T], which: int) -> T | None:
    """One of the latest things, so that small numbers stay interesting."""
    return things[-1 - which % len(things)] if things else None
