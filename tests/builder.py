"""Builders that read like a sentence, and a bench on which a market is tried.

bench = a_bench().with_key(bob)
bench.do(an_offer().units(5).limit(50).signed_by(bob))
bench.do(an_intent().units(5).limit(100).signed_by(alice))
"""

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Self, TypeVar

import msgspec
from tiny_keccak import keccak256

from intents import cap_word
from intents.admission import DeclaredDomain, Rules, Unverified
from intents.bound import PERIOD_S_MAX, TICK_UNITS
from intents.bundle import Bundle, UnverifiedBundle, VerifiedBundle, admit_bundle, sign_bundle
from intents.document import (
    Attestation,
    Document,
    Intent,
    Mandate,
    Offer,
    Request,
    SessionGrant,
)
from intents.reject import Reject, RejectCode
from intents.signature import SigningKey
from intents.typed_data import Domain, digest
from solver.core.command import (
    AcceptReceipt,
    ApplyBlocks,
    Authority,
    Command,
    CutBatch,
    CutMetered,
    FinishCall,
    IssueCredits,
    KeyEnd,
    Leg,
    Limit,
    Mode,
    OpenResource,
    Outcome,
    PoolKey,
    RetireKey,
    SetMetering,
    StartCall,
    SubmitBundle,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
    Tick,
)
from solver.core.document import intent_record, offer_record
from solver.core.event import BatchCut, Event, IntentStatus
from solver.core.fact import BatchSettled, Deposited, Fact, FillSettled, FillSkipped, KeyGranted
from solver.core.invariant import check_all
from solver.core.lease import Lease
from solver.core.market import Market
from solver.core.meter import Meter
from solver.core.metering import FILLS_PER_RECEIPT_MAX, document_of, statement
from solver.core.quality import Floor
from solver.core.state import CREDIT, MAY_SIGN, IntentState, MandateState, OfferState, State

USDC: Final = "0x" + "05" * 20
DOMAIN: Final = Domain(chain_id=31_337, verifying_contract="0x" + "5e" * 20)
PREFIX: Final = DOMAIN.prefix()
SEARCH: Final = "tavily/search:call"
TOKENS: Final = "openai/gpt-4o-mini:token"
START_S: Final = 1_800_000_000
HOUR_S: Final = 3_600

E = TypeVar("E", bound=Event)
D = TypeVar("D", bound=Document)

_NONCES: Final = count()


@dataclass(frozen=True)
class Person:
    """Somebody with a name and a signing key made from it."""

    name: str
    key: SigningKey = field(compare=False)

    @property
    def address(self) -> str:
        """The account."""
        return self.key.address

    def __repr__(self) -> str:
        return self.name


def person(name: str) -> Person:
    """The same person for the same name, in every run."""
    return Person(name, SigningKey(keccak256(b"person:" + name.encode())))


alice, bob, carol, dave = (person(name) for name in ("alice", "bob", "carol", "dave"))


@dataclass(frozen=True)
class DocumentBuilder:
    """What intents, offers and mandates have in common."""

    terms: dict[str, Any] = field(default_factory=dict)

    def _with(self, **terms: Any) -> Self:
        return replace(self, terms=self.terms | terms)

    def _terms(self, signer: Person, **usual: Any) -> dict[str, Any]:
        terms = {
            "account": signer.address,
            "resource": SEARCH,
            "asset": USDC,
            "valid_until": START_S + HOUR_S,
            **usual,
            **self.terms,
        }
        terms.setdefault("nonce", next(_NONCES))
        return terms

    def of(self, resource: str) -> Self:
        """Of this resource."""
        return self._with(resource=resource)

    def limit(self, limit: int) -> Self:
        """For this many atoms in all: at most, or of an offer at least."""
        return self._with(limit=limit)

    def paid_in(self, asset: str) -> Self:
        """In this asset."""
        return self._with(asset=asset)

    def not_before(self, seconds: int) -> Self:
        """Good from this many seconds after the start."""
        return self._with(valid_from=START_S + seconds)

    def until(self, seconds: int) -> Self:
        """Good until this many seconds after the start."""
        return self._with(valid_until=START_S + seconds)

    def epoch(self, epoch: int) -> Self:
        """Of this epoch of the account."""
        return self._with(epoch=epoch)

    def nonce(self, nonce: int) -> Self:
        """With this nonce instead of a fresh one."""
        return self._with(nonce=nonce)

    def for_account(self, account: Person) -> Self:
        """For an account other than the signer's."""
        return self._with(account=account.address)


@dataclass(frozen=True)
class IntentBuilder(DocumentBuilder):
    """An intent to be."""

    def units(self, units: int) -> Self:
        """For this many units."""
        return self._with(units=units)

    def at_least(self, units: int) -> Self:
        """With a minimum per execution."""
        return self._with(units_min=units)

    def all_or_none(self) -> Self:
        """With a minimum of all its units."""
        return self._with(units_min=self.terms["units"])

    def immediate(self) -> Self:
        """Fill now or cancel the rest."""
        return self._with(immediate=True)

    def build(self, signer: Person) -> Intent:
        """The document."""
        return Intent(**self._terms(signer, units=1, limit=100))

    def sent_by(self, signer: Person) -> Unverified[Intent]:
        """As it comes from outside."""
        return unverified(self.build(signer), signer)

    def signed_by(self, signer: Person, authority: Authority = Authority.KEY) -> SubmitIntent:
        """As the command that admission makes of it."""
        document = self.build(signer)
        name, signature = _signed(document, signer)
        return SubmitIntent(
            intent=document,
            digest=name,
            signer=signer.address,
            authority=authority,
            signature=signature,
        )

    def under(self, mandate: SubmitMandate, buyer: Person) -> SubmitIntent:
        """As the command that comes under a mandate: nothing is signed."""
        document = self.build(buyer)
        return SubmitIntent(
            intent=document,
            digest="0x" + digest(PREFIX, document).hex(),
            signer=mandate.digest,
            authority=Authority.MANDATE,
            signature="",
        )


@dataclass(frozen=True)
class OfferBuilder(DocumentBuilder):
    """An offer to be."""

    def units(self, units: int) -> Self:
        """This many units."""
        return self._with(units=units)

    def window(self, units: int, seconds: int) -> Self:
        """At most so many units in any so many seconds."""
        return self._with(window_units=units, window_seconds=seconds)

    def from_key(self, key: str) -> Self:
        """Served by this pooled key."""
        return self._with(key=key)

    def build(self, signer: Person) -> Offer:
        """The document."""
        return Offer(**self._terms(signer, key=key_of(signer), units=1, limit=1))

    def sent_by(self, signer: Person) -> Unverified[Offer]:
        """As it comes from outside."""
        return unverified(self.build(signer), signer)

    def signed_by(self, signer: Person, authority: Authority = Authority.KEY) -> SubmitOffer:
        """As the command that admission makes of it."""
        document = self.build(signer)
        name, signature = _signed(document, signer)
        return SubmitOffer(
            offer=document,
            digest=name,
            signer=signer.address,
            authority=authority,
            signature=signature,
        )


@dataclass(frozen=True)
class MandateBuilder(DocumentBuilder):
    """A standing leave to buy, to be."""

    def at_most(self, price: int) -> Self:
        """At this many atoms a unit at most."""
        return self._with(tick_max=price * TICK_UNITS)

    def build(self, signer: Person) -> Mandate:
        """The document."""
        return Mandate(**self._terms(signer, tick_max=100 * TICK_UNITS, limit=1_000))

    def signed_by(self, signer: Person, authority: Authority = Authority.KEY) -> SubmitMandate:
        """As the command that admission makes of it."""
        document = self.build(signer)
        name, signature = _signed(document, signer)
        return SubmitMandate(
            mandate=document,
            digest=name,
            signer=signer.address,
            authority=authority,
            signature=signature,
        )


def a_bundle(
    signer: Person,
    *legs: IntentBuilder,
    any_of: bool = False,
    success_min: int = 0,
    latency_max: int = 0,
    account: Person | None = None,
    authority: Authority = Authority.KEY,
) -> SubmitBundle:
    """Legs in one bundle, as the command that admission makes of it."""
    built = tuple(leg.build(account or signer) for leg in legs)
    bundle = Bundle(any=any_of, success_min=success_min, latency_max=latency_max, legs=built)
    raw = UnverifiedBundle(
        **msgspec.structs.asdict(bundle), signature=sign_bundle(signer.key, DOMAIN, bundle)
    )
    admitted = admit_bundle(raw, Rules(domain=DOMAIN, assets=frozenset({USDC, CREDIT})), START_S)
    assert isinstance(admitted, VerifiedBundle), admitted
    return SubmitBundle(
        digest=admitted.digest,
        any_of=any_of,
        floor=Floor(success_min=success_min, latency_max=latency_max),
        legs=tuple(
            Leg(intent=leg.document, digest=leg.digest, proof=leg.proof) for leg in admitted.legs
        ),
        signer=signer.address,
        authority=authority,
        signature=raw.signature,
    )


def _signed(document: Document, signer: Person) -> tuple[str, str]:
    """A document's digest and the signature over it."""
    hashed = digest(PREFIX, document)
    return "0x" + hashed.hex(), signer.key.sign(hashed)


def offer_record_of(command: SubmitOffer) -> OfferState:
    """The record that may be admitted in the command's place."""
    return offer_record(
        command.offer,
        digest=command.digest,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
    )


def record_of(command: SubmitIntent) -> IntentState:
    """The record that may be submitted in the command's place."""
    return intent_record(
        command.intent,
        digest=command.digest,
        signer=command.signer,
        authority=command.authority,
        signature=command.signature,
        proof=command.proof,
    )


def an_intent() -> IntentBuilder:
    """One search for up to 100 atoms of USDC, good for an hour."""
    return IntentBuilder()


def an_offer() -> OfferBuilder:
    """One search for at least 1 atom of USDC, good for an hour."""
    return OfferBuilder()


def a_mandate() -> MandateBuilder:
    """Leave to buy searches for up to 100 atoms of USDC each and 1,000 in all, for an hour."""
    return MandateBuilder()


def an_attestation(signer: Person) -> Attestation:
    """A contributor's word on its key."""
    return Attestation(
        account=signer.address, provider="tavily", statement="I may.", issued_at=START_S
    )


def a_grant(account: Person, key: Person) -> SessionGrant:
    """Leave for a key to buy up to ten searches, or 2 USDC of them, an hour."""
    return SessionGrant(
        account=account.address,
        key=key.address,
        team=1,
        permissions=0b10010,
        resource=SEARCH,
        tick_max=10**12,
        units=10,
        spend=2_000_000,
        period=3_600,
        expires_at=START_S + 86_400,
        session_epoch=0,
        nonce=1,
    )


def a_request(signer: Person, expires_at: int = START_S + 60) -> Request:
    """A signed GET."""
    return Request(
        account=signer.address,
        method="GET",
        target="/v1/balance",
        body_hash="0x" + keccak256(b"").hex(),
        nonce=1,
        expires_at=expires_at,
    )


def unverified(
    document: D, signer: Person, *, signature: str | None = None, domain: Domain = DOMAIN
) -> Unverified[D]:
    """A document with its signature and the domain it was signed for."""
    if signature is None:
        signature = signer.key.sign(digest(DOMAIN.prefix(), document))
    declared = DeclaredDomain(
        chain_id=domain.chain_id, verifying_contract=domain.verifying_contract
    )
    return Unverified(document=document, signature=signature, domain=declared)


def key_of(owner: Person, number: int = 0) -> str:
    """The id of a person's n-th key."""
    return "0x" + keccak256(f"key:{owner.name}:{number}".encode()).hex()


def key_granted(
    state: State, account: str, session: str, *, permissions: int, expires_at: int, cap: int
) -> KeyGranted:
    """What the registry tells of a grant with a cap in any 91 days: what it charged is kept."""
    record = state.accounts.get(account)
    known = None if record is None else record.sessions.get(session)
    word = 0 if known is None else int(known.word, 16)
    word = cap_word.with_cap(word, cap, PERIOD_S_MAX, state.now_ms // 1_000)
    bearer = cap_word.Bearer(expires_at=expires_at, permissions=permissions)
    return KeyGranted(
        account=account,
        session=session,
        word=hex(cap_word.with_bearer(word, bearer)),
        terms="0x0",
        units="0x0",
    )


class Bench:
    """A market with time in hand. Every command is logged, every state is checked.

    Unless it is not watched: where thousands of commands would each be looked at by all
    invariants, and something else is what the test is about.
    """

    def __init__(self, *, watched: bool = True) -> None:
        self.market = Market(USDC)
        self.watched = watched
        self.now_ms = START_S * 1_000
        self.log: Final[list[Command]] = []
        self._blocks = count(1)
        self._calls = count(1)

    # -- time and commands

    def do(self, command: Command) -> list[Event]:
        """Apply a command that must be accepted."""
        result = self.attempt(command)
        assert not isinstance(result, Reject), result
        return result

    def refuse(self, command: Command) -> RejectCode:
        """Apply a command that must be refused, without a trace; answer its code."""
        self.attempt(Tick())
        before = self.market.state.hash()
        result = self.attempt(command)
        assert isinstance(result, Reject), result
        assert self.market.state.hash() == before, "a reject changes nothing"
        return result.code

    def attempt(self, command: Command) -> list[Event] | Reject:
        """Apply a command at the bench's time."""
        if not isinstance(command, Tick) and self.market.is_due(self.now_ms):
            self._apply(Tick(at_ms=self.now_ms))
        return self._apply(msgspec.structs.replace(command, at_ms=self.now_ms))

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass."""
        self.now_ms += round(seconds * 1_000)
        return self.do(Tick())

    def _apply(self, command: Command) -> list[Event] | Reject:
        self.log.append(command)
        result = self.market.apply(command)
        if self.watched:
            check_all(self.market.state)
        return result

    # -- set-up

    def funded(self, *people: Person, usdc: int = 10**9, credit: int = 10**9) -> Self:
        """Give people money of both assets."""
        for who in people:
            self.chain(Deposited(account=who.address, amount=usdc))
            if credit:
                self.do(IssueCredits(account=who.address, amount=credit, reason="test"))
        return self

    def listing(self, resource: str, mode: Mode = Mode.CONTINUOUS) -> Self:
        """List a resource."""
        self.do(OpenResource(resource=resource, mode=mode))
        return self

    def pooling(
        self,
        *owners: Person,
        number: int = 0,
        limits: tuple[Limit, ...] = (),
        resources: tuple[str, ...] = (SEARCH,),
    ) -> Self:
        """Pool a key of each owner."""
        for owner in owners:
            self.do(
                PoolKey(
                    key=key_of(owner, number),
                    owner=owner.address,
                    provider="tavily",
                    resources=resources,
                    limits=limits,
                )
            )
        return self

    def granting(
        self,
        session: Person,
        account: Person,
        *,
        cap: int = 10**9,
        seconds: int = HOUR_S,
        permissions: int = MAY_SIGN,
    ) -> Self:
        """Give `account` a session key, with a cap in any 91 days."""
        self.chain(
            key_granted(
                self.market.state,
                account.address,
                session.address,
                permissions=permissions,
                expires_at=self.now_ms // 1_000 + seconds,
                cap=cap,
            )
        )
        return self

    # -- what happens to leases and batches

    def chain(self, *facts: Fact) -> list[Event]:
        """Finalise one block with these facts."""
        number = next(self._blocks)
        return self.do(ApplyBlocks(number=number, block_hash="0x" + f"{number:064x}", facts=facts))

    def start(self, lease: Lease, units: int = 1) -> str:
        """Start a call and name it."""
        call = f"call-{next(self._calls)}"
        self.do(StartCall(lease=lease.id, call=call, units=units))
        return call

    def finish(
        self, call: str, units: int = 1, outcome: Outcome = Outcome.DELIVERED
    ) -> list[Event]:
        """Finish a call."""
        return self.do(FinishCall(call=call, outcome=outcome, units=units))

    def use(
        self, lease: Lease, units: int = 1, outcome: Outcome = Outcome.DELIVERED
    ) -> list[Event]:
        """One whole call."""
        return self.finish(self.start(lease, units), units, outcome)

    def retire(self, key: str) -> list[Event]:
        """The key is revoked."""
        return self.do(RetireKey(key=key, reason=KeyEnd.REVOKED))

    def cut(self, fills_max: int = 100) -> BatchCut:
        """Cut a batch."""
        return only(self.do(CutBatch(fills_max=fills_max)), BatchCut)

    def metering(self, payment_max: int = 100, uncovered_max: int = 200) -> Self:
        """From now on small fills are paid by what their buyers sign for."""
        self.do(SetMetering(payment_max=payment_max, uncovered_max=uncovered_max))
        return self

    def meter(self, who: Person) -> Meter:
        """What somebody owes by what is metered."""
        return self.market.state.metering.meters.get(who.address, Meter())

    def receipt(self, who: Person, fills: int = FILLS_PER_RECEIPT_MAX) -> AcceptReceipt:
        """A buyer's word for the first fills that wait; all, unless told otherwise."""
        state = self.market.state
        said = statement(state, self.meter(who), fills)
        document = document_of(state, who.address, said)
        return AcceptReceipt(
            receipt=document,
            fills=said.fills,
            signer=who.address,
            authority=Authority.KEY,
            signature=who.key.sign(digest(PREFIX, document)),
        )

    def cut_metered(self, *, unsigned_s: int = 3_600, fills_max: int = 100) -> BatchCut:
        """Cut a batch of receipts, and of what nobody signed for in so long."""
        command = CutMetered(fills_max=fills_max, unsigned_ms=unsigned_s * 1_000)
        return only(self.do(command), BatchCut)

    def settle(self, batch: BatchCut, *, skipping: tuple[str, ...] = ()) -> list[Event]:
        """The chain settles a batch, but for the fills it skips."""
        facts: list[Fact] = [
            FillSkipped(fill=line.fill, reason=10)
            if line.fill in skipping
            else FillSettled(fill=line.fill, payment=line.payment)
            for line in batch.lines
        ]
        return self.chain(*facts, BatchSettled(number=batch.number, digest=batch.digest))

    # -- what can be seen

    def intent(self, command: SubmitIntent) -> IntentState:
        """The record of a submitted intent."""
        return self.market.state.intents[command.digest]

    def status(self, command: SubmitIntent) -> IntentStatus:
        """Where a submitted intent stands."""
        return self.intent(command).status

    def leases(self, command: SubmitIntent) -> list[Lease]:
        """The leases of a submitted intent, oldest first."""
        return [self.market.state.leases[lease] for lease in self.intent(command).leases]

    def lease(self, command: SubmitIntent) -> Lease:
        """The one lease of a submitted intent."""
        (lease,) = self.leases(command)
        return lease

    def mandate(self, command: SubmitMandate) -> MandateState:
        """The record of a submitted mandate."""
        return self.market.state.mandates[command.digest]

    def is_live(self, command: SubmitOffer) -> bool:
        """Whether a submitted offer still sells."""
        return self.market.state.offers[command.digest].live

    def available(self, who: Person, asset: str = USDC) -> int:
        """What an account may still promise."""
        return self.market.state.ledger.available(who.address, asset)

    def total(self, who: Person, asset: str = USDC) -> int:
        """What an account owns."""
        return self.market.state.ledger.balance(who.address, asset).total

    def closing(self) -> None:
        """End all calls, let all time pass, settle every batch: then everything is final."""
        state = self.market.state
        for call in list(state.calls):
            self.finish(call, 0, Outcome.FAILED)
        due_ms = state.next_due_ms
        while due_ms is not None:
            self.now_ms = max(self.now_ms, due_ms)
            self.do(Tick())
            due_ms = state.next_due_ms
        while state.ready:
            self.cut()
        for batch in list(state.batches.values()):
            if not batch.final:
                cut = BatchCut(number=batch.number, digest=batch.digest, lines=batch.lines)
                self.settle(cut)


def a_bench(*, watched: bool = True) -> Bench:
    """A market that lists searches, with four rich people, of whom bob and carol pool a key."""
    return (
        Bench(watched=watched).listing(SEARCH).funded(alice, bob, carol, dave).pooling(bob, carol)
    )


def only(events: list[Event], kind: type[E]) -> E:
    """The one event of this kind."""
    (event,) = [event for event in events if isinstance(event, kind)]
    return event


def every(events: list[Event], kind: type[E]) -> list[E]:
    """All events of this kind."""
    return [event for event in events if isinstance(event, kind)]


def nothing_is_left(bench: Bench) -> None:
    """P9: every intent is final, no hold is open, nothing is pending."""
    state = bench.market.state
    final = set(IntentStatus) - {IntentStatus.OPEN, IntentStatus.FILLED, IntentStatus.DELIVERED}
    assert [i.digest for i in state.intents.values() if i.status not in final] == []
    withdrawing = sum(account.withdrawal_held for account in state.accounts.values())
    for balance in state.ledger.balances():
        if not balance.owner.startswith("@") and balance.asset == USDC:
            withdrawing -= balance.debits_pending
        else:
            assert balance.debits_pending == 0, balance.owner
    assert withdrawing == 0, "only withdrawals still hold money"
    assert [o.digest for o in state.offers.values() if o.capacity.debits_pending] == []
    for account in state.accounts.values():
        assert [s.committed for s in account.sessions.values() if s.committed] == []
    assert (state.calls, state.executions, list(state.ready)) == ({}, {}, [])
    assert [o.digest for o in state.offers.values() if o.live] == []
    assert [m.digest for m in state.mandates.values() if m.live or m.committed] == []


CREDITS: Final = CREDIT
