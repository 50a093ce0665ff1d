"""Who may buy: nonces, epochs, sessions and mandates against a model that predicts each refusal."""

from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from intents.reject import Reject, RejectCode
from solver.core import state as state_module
from solver.core.command import Authority, CancelDocument, SubmitIntent, SubmitMandate
from solver.core.event import IntentStatus
from solver.core.fact import EpochBumped, NonceCancelled, SessionRevoked
from solver.core.state import MAY_CANCEL, MAY_SIGN
from tests.builder import (
    CREDITS,
    START_S,
    Person,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    key_granted,
    person,
)
from tests.conftest import MACHINE
from tests.core.sabotage import pure_only

BUYERS: Final = (alice, carol)
SESSIONS: Final = (person("erin"), person("frank"))
KEPT: Final = 4
LATE_S: Final = 3_000
whose = st.integers(0, 1)
nonces = st.integers(0, 12)


@dataclass(eq=False)
class Grant:
    """A session key's terms; `used` is what it may cost and has cost."""

    may_sign: bool
    expires_s: int
    cap: int
    live: bool = True
    used: int = 0


@dataclass(eq=False)
class Paper:
    """An intent of one unit or a mandate. `until_s` is when it ends by itself."""

    command: SubmitIntent | SubmitMandate
    who: int
    limit: int
    until_s: int
    epoch: int
    grant: Grant | None
    mandate: "Paper | None"
    live: bool = True
    used: int = 0
    under: list["Paper"] = field(default_factory=list)


class AuthorityMachine(RuleBasedStateMachine):
    """Two buyers, a session key each, few nonces, a market that forgets soon."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(state_module, "FINISHED_KEPT_MAX", KEPT)
        self.bench = a_bench()
        self.epochs = [0, 0]
        self.nonces: list[set[int]] = [set(), set()]
        self.grants: list[Grant | None] = [None, None]
        self.papers: list[Paper] = []

    def teardown(self) -> None:
        self.patch.undo()

    # -- sessions and what the chain cancels

    @rule(who=whose, seconds=st.integers(1, 200), cap=st.integers(30, 300), may_sign=st.booleans())
    def grant(self, who: int, seconds: int, cap: int, may_sign: bool) -> None:  # noqa: FBT001
        """Terms that take something away end what was signed under the old ones."""
        now_s, old = self._now_s(), self.grants[who]
        self.bench.chain(
            key_granted(
                self.bench.market.state,
                BUYERS[who].address,
                SESSIONS[who].address,
                permissions=MAY_SIGN if may_sign else MAY_CANCEL,
                expires_at=START_S + now_s + seconds,
                cap=cap,
            )
        )
        if old is None:
            self.grants[who] = Grant(may_sign, now_s + seconds, cap)
            return
        worse = not may_sign or now_s + seconds < old.expires_s or cap < old.used
        if old.live and worse:
            self._end_signed_by(old)
        old.may_sign, old.expires_s, old.cap, old.live = may_sign, now_s + seconds, cap, True

    @rule(who=whose)
    def revoke(self, who: int) -> None:
        """At once."""
        account, session = BUYERS[who].address, SESSIONS[who].address
        self.bench.chain(SessionRevoked(account=account, session=session))
        grant = self.grants[who]
        if grant is not None and grant.live:
            grant.live = False
            self._end_signed_by(grant)

    @rule(who=whose, chance=st.integers(0, 4))
    def bump_the_epoch(self, who: int, chance: int) -> None:
        """Sometimes."""
        if not chance:
            self.epochs[who] += 1
            self.bench.chain(EpochBumped(account=BUYERS[who].address, epoch=self.epochs[who]))
            for paper in self.papers:
                if paper.who == who and paper.epoch != self.epochs[who]:
                    self._end(paper)

    @rule(who=whose, nonce=nonces)
    def cancel_a_nonce(self, who: int, nonce: int) -> None:
        """Used or not, remembered or forgotten: from now on it is used."""
        self.bench.chain(NonceCancelled(account=BUYERS[who].address, nonce=nonce))
        self.nonces[who].add(nonce)
        for paper in self.papers:
            if paper.who == who and _nonce(paper) == nonce:
                self._end(paper)

    # -- documents

    @rule(
        who=whose,
        nonce=nonces,
        limit=st.integers(30, 150),
        price=st.integers(20, 60),
        seconds=st.integers(5, 200),
        session=st.booleans(),
        late=st.integers(0, 9),
    )
    def allow(  # noqa: PLR0917
        self,
        who: int,
        nonce: int,
        limit: int,
        price: int,
        seconds: int,
        session: bool,  # noqa: FBT001
        late: int,
    ) -> None:
        """A mandate."""
        now_s = self._now_s()
        builder = a_mandate().for_account(BUYERS[who]).nonce(nonce).limit(limit).at_most(price)
        builder = builder.paid_in(CREDITS).epoch(self.epochs[who] + (not late))
        command = builder.until(now_s + seconds).signed_by(*self._signer(who, session))
        grant = self.grants[who] if session else None
        until_s = now_s + seconds
        if grant is not None:
            until_s = min(until_s, grant.expires_s)
        paper = Paper(command, who, limit, until_s, command.mandate.epoch, grant, None)
        self._submit(paper, self._fault(paper, session=session))

    @rule(
        who=whose,
        nonce=nonces,
        limit=st.integers(10, 70),
        session=st.booleans(),
        late=st.integers(0, 9),
    )
    def bid(self, who: int, nonce: int, limit: int, session: bool, late: int) -> None:  # noqa: FBT001
        """An intent by key or by session."""
        builder = an_intent().for_account(BUYERS[who]).nonce(nonce).limit(limit).paid_in(CREDITS)
        builder = builder.until(LATE_S).epoch(self.epochs[who] + (not late))
        command = builder.signed_by(*self._signer(who, session))
        grant = self.grants[who] if session else None
        until_s = min(LATE_S, grant.expires_s) if grant else LATE_S
        paper = Paper(command, who, limit, until_s, command.intent.epoch, grant, None)
        self._submit(paper, self._fault(paper, session=session))

    @rule(
        which=st.integers(0, 9),
        who=st.integers(0, 11),
        nonce=nonces,
        limit=st.integers(10, 70),
    )
    def bid_under(self, which: int, who: int, nonce: int, limit: int) -> None:
        """An intent under a mandate: nearly always one's own, ended or forgotten as it may be."""
        mandates = [paper for paper in self.papers if isinstance(paper.command, SubmitMandate)]
        if not mandates:
            return
        mandate = mandates[-1 - which % len(mandates)]
        assert isinstance(mandate.command, SubmitMandate)
        buyer = 1 - mandate.who if not who else mandate.who
        builder = an_intent().nonce(nonce).limit(limit).paid_in(CREDITS).until(LATE_S)
        command = builder.epoch(self.epochs[buyer]).under(mandate.command, BUYERS[buyer])
        epoch = command.intent.epoch
        paper = Paper(command, buyer, limit, mandate.until_s, epoch, mandate.grant, mandate)
        self._submit(paper, self._fault(paper, session=mandate.grant is not None))

    @rule(which=st.integers(0, 20))
    def submit_again(self, which: int) -> None:
        """The very same document."""
        if self.papers:
            paper = self.papers[-1 - which % len(self.papers)]
            result = self.bench.attempt(paper.command)
            assert isinstance(result, Reject)
            if paper.live:
                assert result.code is RejectCode.ALREADY_KNOWN

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        """Only what is live can be cancelled."""
        if self.papers:
            paper = self.papers[-1 - which % len(self.papers)]
            account = BUYERS[paper.who].address
            cancel = CancelDocument(account=account, digest=paper.command.digest)
            accepted = not isinstance(self.bench.attempt(cancel), Reject)
            assert accepted == paper.live
            self._end(paper)

    @rule()
    def pay(self) -> None:
        """Somebody sells one unit to the best bid, and delivers it: it costs its limit."""
        bids = [p for p in self.papers if p.live and isinstance(p.command, SubmitIntent)]
        if not bids:
            return
        best = max(bids, key=lambda paper: paper.limit)
        offer = an_offer().limit(best.limit).paid_in(CREDITS).until(LATE_S).signed_by(bob)
        self.bench.do(offer)
        lease = next(iter(self.bench.market.state.keys[offer.offer.key].leases))
        assert self.bench.market.state.leases[lease].intent == best.command.digest
        self.bench.use(self.bench.market.state.leases[lease])
        best.live = False

    @rule(seconds=st.integers(0, 60))
    def pass_time(self, seconds: int) -> None:
        """What has come to its end, or its mandate's, or its session's."""
        self.bench.wait(seconds)
        for paper in self.papers:
            if paper.until_s <= self._now_s():
                self._end(paper)

    @invariant()
    def agrees(self) -> None:
        """What is live is remembered and open; what was used is counted; little is kept."""
        state = self.bench.market.state
        assert len(state.finished) <= KEPT
        for paper in self.papers:
            digest = paper.command.digest
            if isinstance(paper.command, SubmitMandate):
                mandate = state.mandates.get(digest)
                assert (mandate is not None and mandate.live) == paper.live
                assert mandate is None or mandate.spent + mandate.committed == paper.used
            else:
                intent = state.intents.get(digest)
                live = intent is not None and intent.status is IntentStatus.OPEN
                assert live == paper.live
        for who, grant in enumerate(self.grants):
            account = state.accounts.get(BUYERS[who].address)
            assert all(account is not None and account.has_used(n) for n in self.nonces[who])
            if grant is not None:
                assert account is not None
                session = account.sessions[SESSIONS[who].address]
                assert (session.live, session.spent + session.committed) == (grant.live, grant.used)

    # -- the model

    def _now_s(self) -> int:
        return self.bench.now_ms // 1_000 - START_S

    @staticmethod
    def _signer(who: int, session: bool) -> tuple[Person, Authority]:  # noqa: FBT001
        return (SESSIONS[who], Authority.SESSION) if session else (BUYERS[who], Authority.KEY)

    def _submit(self, paper: Paper, expected: RejectCode | None) -> None:
        result = self.bench.attempt(paper.command)
        assert (result.code if isinstance(result, Reject) else None) is expected
        if expected is None:
            self.nonces[paper.who].add(_nonce(paper))
            self.papers.append(paper)
            if isinstance(paper.command, SubmitIntent):
                self._use(paper, paper.limit)
            if paper.mandate is not None:
                paper.mandate.under.append(paper)

    def _fault(self, paper: Paper, *, session: bool) -> RejectCode | None:
        return (
            self._fault_in_authority(paper, session=session)
            or self._fault_in_nonce(paper)
            or self._fault_in_sums(paper)
        )

    def _fault_in_authority(self, paper: Paper, *, session: bool) -> RejectCode | None:
        state, digest = self.bench.market.state, paper.command.digest
        if digest in state.intents or digest in state.mandates:
            return RejectCode.ALREADY_KNOWN
        if paper.mandate is not None:
            return self._fault_in_mandate(paper, paper.mandate)
        return self._fault_in_grant(paper.grant) if session else None

    def _fault_in_mandate(self, paper: Paper, mandate: Paper) -> RejectCode | None:
        """What is remembered is the market's business; what is live has to be."""
        if mandate.command.digest not in self.bench.market.state.mandates:
            assert not mandate.live
            return RejectCode.MANDATE_UNKNOWN
        if mandate.who != paper.who:
            return RejectCode.NOT_AUTHORIZED
        return None if mandate.live else RejectCode.MANDATE_ENDED

    def _fault_in_grant(self, grant: Grant | None) -> RejectCode | None:
        if grant is None or not grant.live or not grant.may_sign:
            return RejectCode.NOT_AUTHORIZED
        return RejectCode.SESSION_EXPIRED if grant.expires_s <= self._now_s() else None

    def _fault_in_nonce(self, paper: Paper) -> RejectCode | None:
        if paper.epoch != self.epochs[paper.who]:
            return RejectCode.EPOCH_ENDED
        used = _nonce(paper) in self.nonces[paper.who]
        return RejectCode.NONCE_USED if used else None

    @staticmethod
    def _fault_in_sums(paper: Paper) -> RejectCode | None:
        if isinstance(paper.command, SubmitMandate):
            return None
        mandate, grant = paper.mandate, paper.grant
        if mandate is not None:
            assert isinstance(mandate.command, SubmitMandate)
            if paper.limit * 10**6 > mandate.command.mandate.tick_max:
                return RejectCode.MANDATE_TERMS
        if grant is not None and grant.used + paper.limit > grant.cap:
            return RejectCode.SESSION_CAP_EXCEEDED
        if mandate is not None and mandate.used + paper.limit > mandate.limit:
            return RejectCode.MANDATE_EXCEEDED
        return None

    def _end_signed_by(self, grant: Grant) -> None:
        for paper in self.papers:
            if paper.grant is grant:
                self._end(paper)

    def _end(self, paper: Paper) -> None:
        """What is open of it costs nothing any more; a mandate takes its intents along."""
        if not paper.live:
            return
        paper.live = False
        if isinstance(paper.command, SubmitIntent):
            self._use(paper, -paper.limit)
        for intent in paper.under:
            self._end(intent)

    @staticmethod
    def _use(paper: Paper, atoms: int) -> None:
        if paper.grant is not None:
            paper.grant.used += atoms
        if paper.mandate is not None:
            paper.mandate.used += atoms


TestAuthorityMachine = pure_only(AuthorityMachine.TestCase)
TestAuthorityMachine.settings = MACHINE


def _nonce(paper: Paper) -> int:
    command = paper.command
    return (command.intent if isinstance(command, SubmitIntent) else command.mandate).nonce
