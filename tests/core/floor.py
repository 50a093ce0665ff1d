"""A trading floor: a bench on which anybody may do anything, watched by ghosts.

Each action takes small integers only, so that Hypothesis and a seeded `Random` can drive
it alike (`ACTIONS` lists the ranges).
"""

from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

from intents.reject import Reject
from solver.core.auction import Auction, SnapshotBook
from solver.core.command import (
    Authority,
    CancelDocument,
    ClearedBook,
    CutBatch,
    EndLeases,
    FinishCall,
    IssueCredits,
    KeyEnd,
    Limit,
    Mode,
    OpenAuction,
    Outcome,
    PoolKey,
    ProposeSolution,
    RetireKey,
    SolutionFill,
    StartCall,
    SubmitIntent,
    SubmitMandate,
)
from solver.core.fact import (
    AllSessionsRevoked,
    Deposited,
    EpochBumped,
    Fact,
    NonceCancelled,
    SessionRevoked,
    WithdrawalRequested,
    Withdrawn,
)
from solver.core.state import MAY_SIGN
from tests.builder import (
    CREDITS,
    SEARCH,
    START_S,
    TOKENS,
    USDC,
    Person,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_granted,
    key_of,
    person,
)
from tests.core.fake_chain import signer_of
from tests.core.ghost import FlyingCall, Ghosts, document_of
from tests.judging import SEED

PEOPLE: Final = (alice, bob, carol, dave)
SESSIONS: Final = (person("erin"), person("frank"), person("grace"), person("heidi"))
SOLVERS: Final = (person("ivan").address, person("judy").address, "book", "batch")
"""Two who can be paid, and two strategies of the market's own."""
DEADLINE_BLOCK: Final = 1_000
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
    "submit_again": ((0, 40),),
    "allow": ((0, 3), (0, 3), (0, 2), (12, 40), (50, 900), (0, 9), (0, 900)),
    "bid_under": ((0, 3), (1, 12), (8, 40), (0, 6), (0, 30), (0, 900)),
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
    "allow": 3,
    "bid_under": 6,
    "start_a_call": 13,
    "finish_a_call": 12,
    "propose": 7,
    "open_an_auction": 6,
    "ask_to_withdraw": 2,
    "retire_a_key": 2,
    "cut_a_batch": 2,
    "settle_a_batch": 2,
}


T = TypeVar("T")


class Floor(Ghosts):
    """Everything that anybody can do, by number."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[tuple[str, Person]] = []
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
            buyer = next(p for p in PEOPLE if p.address == document_of(command).account)
            intent = an_intent().units(3).limit(60).nonce(document_of(command).nonce)
            intent = intent.epoch(self._epoch(buyer)).until(self._now_s() + 50)
            self.submit(intent.signed_by(buyer))

    def submit_again(self, which: int) -> None:
        """The very same document once more, remembered or forgotten: never accepted."""
        command = _pick(self.submitted, which)
        if command is not None:
            self.submit(command)

    def allow(  # noqa: PLR0917
        self, who: int, resource: int, asset: int, price: int, limit: int, flags: int, life: int
    ) -> None:
        """Submit a mandate; flags pick by session, and a start that has not come."""
        buyer = PEOPLE[who]
        mandate = (
            a_mandate()
            .for_account(buyer)
            .of((*RESOURCES, "", "")[resource])
            .paid_in(ASSETS[asset // 2])
            .at_most(price)
            .limit(limit)
            .epoch(self._epoch(buyer))
            .nonce(self._next_nonce())
        )
        mandate = mandate.until(_on_the_minute(self._now_s() + 1 + life * life // 900, life))
        if flags == 5:
            mandate = mandate.not_before(self._now_s() + 30)
        session = flags > 6
        signer = SESSIONS[who] if session else buyer
        self.submit(mandate.signed_by(signer, Authority.SESSION if session else Authority.KEY))

    def bid_under(  # noqa: PLR0917
        self, which: int, units: int, price: int, minimum: int, flags: int, life: int
    ) -> None:
        """Submit an intent under a mandate, nearly always one that it covers."""
        mandate = _pick([c for c in self.submitted if isinstance(c, SubmitMandate)], which)
        if mandate is None:
            return
        terms = mandate.mandate
        buyer = next(person for person in PEOPLE if person.address == terms.account)
        most = terms.tick_max // 10**6
        intent = (
            an_intent()
            .of(terms.resource or RESOURCES[units % 2])
            .paid_in(terms.asset)
            .units(units)
            .limit(units * min(price, most + (not flags)))
            .at_least(max(1, min(minimum, units)))
            .epoch(self._epoch(buyer))
            .nonce(self._next_nonce())
            .until(_on_the_minute(self._now_s() + 1 + life * life // 900, life))
        )
        if flags in (1, 2):
            intent = intent.immediate()
        self.submit(intent.under(mandate, buyer))

    def cancel(self, which: int) -> None:
        """Withdraw a document."""
        command = _pick(self.submitted, which)
        if command is not None:
            cancel = CancelDocument(account=document_of(command).account, digest=command.digest)
            if not isinstance(self.attempt(cancel), Reject):
                self.end(command)

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
            self.attempt(EndLeases(account=document_of(command).account, intent=command.digest))

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
        self.attempt(
            OpenAuction(
                resources=(TOKENS,),
                asset=ASSETS[asset],
                closes_at_ms=closes_at_ms,
                seed=SEED,
                deadline_block=DEADLINE_BLOCK,
            )
        )

    def propose(self, solver: int, price: int, seed: int) -> None:
        """Two solvers' bids, good or bad, at nearby prices."""
        for number, auction in self.market.state.auctions.items():
            for offset in range(0 if auction.closed else 2):
                random = Random(seed + offset)  # noqa: S311  test data
                tick = (price + offset) * 10**6
                self.attempt(
                    ProposeSolution(
                        auction=number,
                        solver=SOLVERS[(solver + offset) % 4],
                        snapshot=auction.snapshot_digest,
                        books=_solution(auction, tick, random),
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
            self.settle_the_oldest(skipping)

    def ask_to_withdraw(self, who: int, amount: int) -> None:
        """Ask for money, or take the request back (0)."""
        account = PEOPLE[who].address
        self.fake.withdrawing[account] = (amount, self.now_ms)
        self.chain(WithdrawalRequested(account=account, amount=amount))
        if amount:
            self.ended.update(
                c.digest
                for c in self.submitted
                if isinstance(c, SubmitIntent)
                and c.intent.account == account
                and c.intent.asset == USDC
            )

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
            document = document_of(command)
            self.chain(NonceCancelled(account=document.account, nonce=document.nonce))
            self.end(command)

    def bump_the_epoch(self, who: int, chance: int) -> None:
        """Cancel everything on chain; rarely."""
        if not chance:
            account = PEOPLE[who]
            self.chain(EpochBumped(account=account.address, epoch=self._epoch(account) + 1))
            self.ended.update(
                c.digest for c in self.submitted if document_of(c).account == account.address
            )

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
            key_granted(
                self.market.state,
                account,
                session,
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
        for command in self.submitted:
            if self.signer_of(command)[1] == signer:
                self.end(command)
        state = self.market.state
        for lease in state.leases.values():
            if signer_of(state, state.intents[lease.intent])[1] == signer:
                assert lease.status != "open", "a revoked session serves no more calls"

    # -- small things

    def _now_s(self) -> int:
        """Seconds since the start, the second that has begun."""
        return self.now_ms // 1_000 - START_S

    def _next_nonce(self) -> int:
        """Spread over words, and over each word's bits."""
        self._numbers += 1
        return 29 * self._numbers

    def _epoch(self, who: Person) -> int:
        account = self.market.state.accounts.get(who.address)
        return account.epoch if account else 0

    def _is_limitless(self, call: FlyingCall) -> bool:
        return not self.market.state.windows_of(call.key, call.offer, call.resource)


def _solution(auction: Auction, tick: int, random: Random) -> tuple[ClearedBook, ...]:
    """What a random solver would propose: of some books, often admissible, sometimes not."""
    books = auction.snapshot.books
    chosen = [book for book in books if len(books) == 1 or random.random() < 0.7]
    return tuple(
        ClearedBook(resource=book.resource, tick=tick, fills=_fills(book, tick, random))
        for book in chosen
    )


def _fills(book: SnapshotBook, tick: int, random: Random) -> tuple[SolutionFill, ...]:
    left = {order.id: order.units for order in (*book.intents, *book.offers)}
    fills = []
    for intent in book.intents:
        for offer in book.offers:
            sane = offer.tick <= tick <= intent.tick and intent.account != offer.account
            units = min(left[intent.id], left[offer.id])
            if (sane or random.random() < 0.02) and units and random.random() < 0.8:
                fills.append(SolutionFill(intent=intent.id, offer=offer.id, units=units))
                left[intent.id] -= units
                left[offer.id] -= units
    return tuple(fills)


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
