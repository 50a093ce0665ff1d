"""An outsider's books: kept from what is public, held against what clients were told.

It knows what clients signed, every answer that reached one, the feed, and the chain's
final blocks. It imports nothing that the market decides with, so that a bug of the
market's cannot hide in both.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from intents.document import Intent, Mandate, Offer
from intents.reject import Reject, RejectCode
from simulations.swarm.award import Awards
from simulations.swarm.bond import Bonds
from simulations.swarm.chain import Chain
from simulations.swarm.competition import Contests
from simulations.swarm.finding import expect
from simulations.swarm.gate import Answer, Cancel, Done, Message, Served, Told
from simulations.swarm.paper import TICK_UNITS, Call, Fill, Mandates, Paper
from simulations.swarm.payment import Payments
from simulations.swarm.person import PEOPLE
from simulations.swarm.rate import Rates
from simulations.swarm.spending import Spendings
from simulations.swarm.trust import Trusts
from solver.core.command import Outcome
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    BalanceChanged,
    BatchCut,
    BatchFinal,
    BondChanged,
    CallFinished,
    CallStarted,
    ChainApplied,
    ClaimMoved,
    Event,
    Filled,
    IntentAccepted,
    IntentEnded,
    KeyPooled,
    KeyRetired,
    LeaseClosed,
    LeaseMoved,
    MandateAccepted,
    MandateEnded,
    MeteringSet,
    OfferAccepted,
    OfferEnded,
    PaymentSettled,
    PaymentSkipped,
    Penalised,
    PenaltyDue,
    ReceiptAccepted,
    ReceiptLapsed,
    SolutionAccepted,
    SolutionJudged,
    TrustChanged,
)
from solver.engine.sequencer import Applied

LEASE_MS_MAX: Final = 600_000
_AUTHORITIES: Final = {person.account: person.authority for person in PEOPLE}


class Auditor:
    """`publish` takes the feed, `hear` takes answers; both raise a Finding."""

    def __init__(self, usdc: str) -> None:
        self._usdc = usdc
        self.entries: list[tuple[int, Event]] = []
        self.papers: dict[str, Paper] = {}
        self.fills: dict[str, Fill] = {}
        self.calls: dict[str, Call] = {}
        self.bonds = Bonds(self.papers, self.fills)
        self.contests = Contests(self.papers, self.bonds)
        self.mandates = Mandates()
        self.trusts = Trusts()
        self._rates = Rates()
        awards = Awards(self.papers, self.fills, self.mandates)
        self.spendings = Spendings(usdc, self.papers, self.fills, awards)
        self.payments = Payments(
            usdc, self.papers, self.fills, self.mandates, self.trusts, self.spendings
        )
        self.open_fills: dict[str, dict[str, int]] = {}
        """By buyer and intent: how many of its fills may be used."""
        self.secrets: list[bytes] = []
        self.on_event: Callable[[Event], None] = lambda _: None
        self._digest = blake2b(digest_size=32)
        self._nonces: dict[tuple[str, int], str] = {}
        self._executions: set[int] = set()
        self._keys: dict[str, bool] = {}
        self._by_ms: dict[int, list[Event]] = {}
        self._told: set[str] = set()
        self.last_ms = 0
        self._moved: set[str] = set()
        self._arrived: set[str] = set()
        self._handlers: Final[dict[type, Callable[[int, Any], None]]] = {
            IntentAccepted: self._accepted,
            OfferAccepted: self._accepted,
            Filled: self._filled,
            LeaseMoved: self._lease_moved,
            IntentEnded: self._intent_ended,
            OfferEnded: self._offer_ended,
            CallStarted: self._call_started,
            CallFinished: self._call_finished,
            LeaseClosed: self._lease_closed,
            BatchCut: self.payments.cut,
            BatchFinal: self.payments.final,
            PaymentSettled: self.payments.settled,
            PaymentSkipped: self.payments.skipped,
            BalanceChanged: self.payments.balance,
            ChainApplied: self._chain_applied,
            KeyPooled: self._key_pooled,
            KeyRetired: self._key_retired,
            MandateAccepted: self._mandated,
            MandateEnded: self.mandates.ended,
            AuctionOpened: self.contests.opened,
            SolutionAccepted: self.contests.accepted,
            SolutionJudged: self.contests.judged,
            AuctionClosed: self.contests.closed,
            TrustChanged: self.trusts.changed,
            MeteringSet: self.spendings.ruled,
            ReceiptAccepted: self.spendings.accepted,
            ReceiptLapsed: self.spendings.lapsed,
            ClaimMoved: self.payments.claim_moved,
            BondChanged: self.bonds.changed,
            PenaltyDue: self.bonds.due,
            Penalised: self.bonds.penalised,
        }

    @property
    def chain_hash(self) -> str:
        """Commits to every event and its time, in order."""
        return self._digest.hexdigest()

    def see(self, chain: Chain) -> None:
        """Whose final blocks it reads."""
        self.payments.chain = self.spendings.chain = self.bonds.chain = chain

    # ---------------------------------------------------------------- what clients know

    def sign(
        self, digest: str, document: Intent | Offer | Mandate, signer: str, mandate: str = ""
    ) -> None:
        """A client signs something, or sends an intent under a mandate."""
        known = self.spendings.rests_on(document.account, signer)
        if mandate:
            known = self.mandates.known(mandate)
        if isinstance(document, Mandate):
            self.mandates.sign(digest, document, known)
        else:
            paper = Paper(
                document=document,
                signer=signer,
                authority=_AUTHORITIES[document.account],
                mandate=mandate,
                known=known,
            )
            before = self.papers.setdefault(digest, paper)
            # Two keys of one account may happen to say the same: it is whose word is taken.
            if not before.accepted:
                before.signer, before.known = signer, min(before.known, known)

    def hear(self, message: Message, answer: Answer | None) -> None:
        """An answer reached its client: from now on it must stay true (P1)."""
        match answer:
            case Told():
                for each in answer.results:
                    self.hear(message, each)
            case Applied():
                self._applied(answer)
            case Reject(code=RejectCode.NOT_FOUND):
                named = ""
                if isinstance(message, Cancel | Done):
                    named = message.digest if isinstance(message, Cancel) else message.intent
                expect(named not in self._told, "p1_acknowledged_is_lost", digest=named)
            case Served():
                self._served(answer)

    def _applied(self, answer: Applied) -> None:
        known = self._by_ms.get(answer.at_ms, [])
        for event in answer.events:
            expect(event in known, "p1_acknowledged_is_published", event=event)
            if isinstance(event, IntentAccepted):
                self._told.add(event.intent)
            if isinstance(event, OfferAccepted):
                self._told.add(event.offer)

    def _served(self, answer: Served) -> None:
        for secret in self.secrets:
            expect(secret not in answer.body, "i13_no_secret_bytes", call=answer.call)
        if answer.units is None:
            return
        call = self.calls.get(answer.call)
        expect(call is not None and call.finished is not None, "p1_call_is_recorded")
        assert call is not None
        assert call.finished is not None
        expect(call.finished.units == answer.units, "p1_call_is_recorded", call=answer.call)

    # ---------------------------------------------------------------- the feed

    def publish(self, seq: int, at_ms: int, events: list[Event]) -> None:
        """Events from number `seq` on: new ones, or the same as ever after a restart (P6)."""
        known = self.entries[seq - 1 : seq - 1 + len(events)]
        for place, event in enumerate(events[: len(known)]):
            expect(known[place] == (at_ms, event), "p6_replay_publishes_the_same", seq=seq + place)
        fresh = events[len(known) :]
        if not fresh:
            return
        expect(not known, "p6_replay_publishes_whole_commands", seq=seq)
        expect(seq == len(self.entries) + 1, "feed_has_no_gap", seq=seq)
        expect(at_ms >= self.last_ms, "time_never_falls", at_ms=at_ms)
        for event in fresh:
            self.on_event(event)
            self.entries.append((at_ms, event))
            self._by_ms.setdefault(at_ms, []).append(event)
            self._digest.update(msgspec.msgpack.encode((at_ms, event)))
        self._command(at_ms, fresh)
        self.last_ms = at_ms

    def recovered(self, newest: int) -> None:
        """A process has replayed its journal: nothing that was published may be missing."""
        expect(newest >= len(self.entries), "p1_published_is_durable", newest=newest)

    def _command(self, at_ms: int, events: list[Event]) -> None:
        self._moved = {event.to_lease for event in events if isinstance(event, LeaseMoved)}
        self._arrived = {
            event.intent if isinstance(event, IntentAccepted) else event.offer
            for event in events
            if isinstance(event, IntentAccepted | OfferAccepted)
        }
        self.spendings.begin(events)
        for event in events:
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(at_ms, event)
        self._minimums(events)
        self.bonds.told()

    def _minimums(self, events: list[Event]) -> None:
        units: dict[tuple[int, str], int] = {}
        for event in events:
            if isinstance(event, Filled) and event.execution not in self._executions:
                key = (event.execution, event.intent)
                units[key] = units.get(key, 0) + event.units
        for (execution, intent), total in units.items():
            document = self.papers[intent].document
            assert isinstance(document, Intent)
            expect(total >= document.units_min, "minimum_is_met", intent=intent, units=total)
            self._executions.add(execution)

    def _chain_applied(self, at_ms: int, event: ChainApplied) -> None:
        self.payments.chain_applied(at_ms, event)
        self.bonds.applied(event.number)

    # ---------------------------------------------------------------- documents

    def _accepted(self, at_ms: int, event: IntentAccepted | OfferAccepted) -> None:
        digest = event.intent if isinstance(event, IntentAccepted) else event.offer
        paper = self.papers.get(digest)
        expect(paper is not None, "accepted_was_signed", digest=digest)
        assert paper is not None
        document = paper.document
        place = (document.account, document.nonce)
        expect(not paper.accepted, "p1_applied_once", digest=digest)
        expect(place not in self._nonces, "i5_nonce_once", place=place)
        in_time = at_ms < document.valid_until * 1_000 or digest in self.contests.brought
        expect(in_time, "accepted_before_its_end", digest=digest)
        named = (event.account, event.resource, event.units, event.limit)
        signed = (document.account, document.resource, document.units, document.limit)
        expect(named == signed, "accepted_as_signed", digest=digest)
        known = not paper.is_session or self.spendings.keys.speaks(document.account, paper.signer)
        expect(known or digest in self.contests.brought, "the_revoked_sign_nothing", digest=digest)
        self._nonces[place] = digest
        paper.accepted = True
        if paper.is_session and digest not in self.contests.brought:
            # What is a contract's the chain was asked about before.
            paper.known = self.spendings.blocks
        if paper.mandate:
            assert isinstance(document, Intent)
            self.mandates.used(paper.mandate, document)

    def _mandated(self, at_ms: int, event: MandateAccepted) -> None:
        self.mandates.accepted(at_ms, event)
        place = self.mandates.place(event.mandate)
        expect(place not in self._nonces, "i5_nonce_once", place=place)
        self._nonces[place] = event.mandate

    def _filled(self, at_ms: int, event: Filled) -> None:
        intent, offer = self.papers[event.intent], self.papers[event.offer]
        moved = event.fill in self._moved
        self._fill_is_allowed(at_ms, event, intent, offer, moved=moved)
        facts = {"fill": event.fill, "tick": event.tick}
        expect(event.tick <= intent.dearest, "p2_no_buyer_pays_more", **facts)
        charge = event.charge
        expect(0 <= (event.bid_charge or 0) <= charge, "charges_are_not_negative", **facts)
        expect(event.tick - charge >= offer.cheapest, "p2_no_seller_gets_less", **facts)
        if intent.mandate:
            self.mandates.filled(intent.mandate, event.tick, moved=moved)
        if not moved:
            intent.units += event.units
            self._maker_sets_the_price(event, intent, offer)
        offer.units += event.units
        for paper in (intent, offer):
            expect(paper.units <= paper.document.units, "i4_no_overfill", **facts)
        expect(event.fill not in self.fills, "fill_is_new", **facts)
        self.fills[event.fill] = Fill(
            intent=event.intent,
            offer=event.offer,
            units=event.units,
            tick=event.tick,
            until_ms=event.until_ms,
            charge=charge,
        )
        self.spendings.filled(event)
        if intent.signer != event.buyer and intent.document.asset == self._usdc:
            self.trusts.bought(event.buyer, event.fill, self.fills[event.fill])
        fills = self.open_fills.setdefault(event.buyer, {})
        fills[event.intent] = fills.get(event.intent, 0) + 1
        if not moved:
            self.contests.filled(event)

    def _fill_is_allowed(
        self, at_ms: int, event: Filled, intent: Paper, offer: Paper, *, moved: bool
    ) -> None:
        bought, sold = intent.document, offer.document
        expect(event.units > 0, "fill_has_units", fill=event.fill)
        expect(intent.accepted and offer.accepted, "fill_of_accepted", fill=event.fill)
        expect(not offer.ended and (moved or not intent.ended), "i9_no_fill_after_end")
        expect((event.buyer, event.seller) == (bought.account, sold.account), "fill_names_parties")
        expect(bought.account != sold.account, "no_self_match", fill=event.fill)
        expect((bought.asset, bought.resource) == (sold.asset, sold.resource), "fill_of_one_kind")
        for document in (bought, sold):
            until_ms = document.valid_until * 1_000
            # A tick may be late, but then nothing else came before it at or after the end.
            expect(self.last_ms < until_ms, "i9_no_fill_after_deadline", fill=event.fill)
            expect(at_ms >= document.valid_from * 1_000, "no_fill_before_time", fill=event.fill)
            expect(event.until_ms <= until_ms, "lease_ends_with_documents", fill=event.fill)
        expect(event.until_ms <= at_ms + LEASE_MS_MAX, "lease_is_bounded", fill=event.fill)

    def _maker_sets_the_price(self, event: Filled, intent: Paper, offer: Paper) -> None:
        if self.contests.trades(event.resource):
            return
        either = {intent.dearest, offer.cheapest}
        document = intent.document
        assert isinstance(document, Intent)
        if event.intent in self._arrived:
            either = {offer.cheapest}
        elif event.offer in self._arrived and document.units_min == 1:
            either = {intent.dearest}
        expect(event.tick in either, "maker_sets_the_price", fill=event.fill, tick=event.tick)

    def _lease_moved(self, _: int, event: LeaseMoved) -> None:
        old, new = self.fills[event.lease], self.fills[event.to_lease]
        self.bonds.moved(event)
        expect(old.intent == new.intent and new.charge == 0, "moved_without_a_charge")
        least = old.tick - old.charge
        expect(least <= new.tick <= old.tick, "moved_at_its_price")
        expect(new.units == event.units <= old.units, "moved_units_are_not_new")
        expect(new.until_ms <= old.until_ms, "moved_lease_lives_no_longer")
        old.units -= event.units
        self.papers[old.offer].units -= event.units

    def _intent_ended(self, _: int, event: IntentEnded) -> None:
        paper = self.papers[event.intent]
        expect(paper.accepted and not paper.ended, "ends_once", digest=event.intent)
        paper.ended = True

    def _offer_ended(self, _: int, event: OfferEnded) -> None:
        paper = self.papers[event.offer]
        known = paper.accepted or event.offer in self.contests.brought
        expect(known and not paper.ended, "ends_once", digest=event.offer)
        paper.ended = True

    def _key_pooled(self, _: int, event: KeyPooled) -> None:
        expect(event.key not in self._keys, "key_pooled_once", key=event.key)
        self._keys[event.key] = True

    def _key_retired(self, _: int, event: KeyRetired) -> None:
        expect(self._keys.get(event.key, False), "key_retired_once", key=event.key)
        self.bonds.key_retired(event.key)
        self._keys[event.key] = False

    # ---------------------------------------------------------------- delivery

    def _call_started(self, at_ms: int, event: CallStarted) -> None:
        fill = self.fills[event.lease]
        gone = fill.delivered + fill.lapsed + fill.in_flight
        expect(event.call not in self.calls, "call_is_new", call=event.call)
        expect(not fill.closed and at_ms < fill.until_ms, "no_call_after_lease", call=event.call)
        expect(self._keys.get(event.key, False), "p4_no_call_on_a_dead_key", key=event.key)
        expect(0 < event.units <= fill.units - gone, "no_call_beyond_lease", call=event.call)
        fill.in_flight += event.units
        paper = self.papers[fill.intent]
        buyer = paper.document.account
        known = not paper.is_session or self.spendings.keys.speaks(buyer, paper.signer)
        expect(known, "the_revoked_are_not_served", account=buyer, call=event.call)
        self.trusts.served(buyer, event.lease)
        self.spendings.served(buyer, event.lease)
        offer = self.papers[fill.offer].document
        assert isinstance(offer, Offer)
        self._rates.started(at_ms, fill.offer, offer, event.units)
        self.calls[event.call] = Call(fill=event.lease, key=event.key, units=event.units)

    def _call_finished(self, at_ms: int, event: CallFinished) -> None:
        call = self.calls[event.call]
        expect(call.finished is None, "call_finishes_once", call=event.call)
        call.finished = event
        fill = self.fills[call.fill]
        self._rates.finished(at_ms, fill.offer, call, event)
        fill.in_flight -= call.units
        left = fill.units - fill.delivered - fill.lapsed - fill.in_flight
        if event.outcome is Outcome.DELIVERED:
            fill.delivered += min(event.units, left)
            fill.served += min(event.units, call.units, left)
        elif event.outcome is Outcome.UNKNOWN:
            fill.lapsed += min(max(event.units, call.units), left)

    def _lease_closed(self, _: int, event: LeaseClosed) -> None:
        fill = self.fills[event.lease]
        expect(not fill.closed and not fill.in_flight, "lease_closes_once", lease=event.lease)
        fill.closed = True
        fill.payment = event.payment
        buyer = self.papers[fill.intent].document.account
        self.spendings.closed(buyer, event.lease)
        fills = self.open_fills[buyer]
        fills[fill.intent] -= 1
        if not fills[fill.intent]:
            del fills[fill.intent]
        expect(event.units == fill.units, "lease_has_its_units", lease=event.lease)
        expect(event.delivered <= fill.delivered, "paid_for_delivered_only", lease=event.lease)
        # A move may withdraw what a later call of an orphan would have used.
        owed = fill.tick * event.delivered // TICK_UNITS
        fill.reward = fill.charge * event.delivered // TICK_UNITS
        expect(event.payment == owed, "payment_is_for_delivery", lease=event.lease, owed=owed)
        document = self.papers[fill.intent].document
        within = event.payment * document.units <= event.delivered * document.limit
        expect(within, "p2_no_buyer_pays_more", lease=event.lease)
        kept = event.delivered + fill.lapsed
        expect(0 <= event.returned <= fill.units - kept, "used_units_do_not_return")
        self.papers[fill.offer].units -= event.returned

    # ---------------------------------------------------------------- the end

    def is_sold(self, resource: str, asset: str, buyer: str) -> bool:
        """Whether anybody else offers it now."""
        return any(
            isinstance(paper.document, Offer)
            and (paper.document.resource, paper.document.asset) == (resource, asset)
            and paper.document.account != buyer
            and paper.accepted
            and not paper.ended
            for paper in self.papers.values()
        )

    def latest_end_ms(self) -> int:
        """When the last of the accepted documents is over."""
        ends = (p.document.valid_until for p in self.papers.values() if p.accepted and not p.ended)
        return max(max(ends, default=0), self.mandates.latest_end_s()) * 1_000

    def unfinished(self) -> str:
        """What has not come to its end yet; empty if all has (P9, I20)."""
        for digest, paper in self.papers.items():
            if paper.accepted and not paper.ended:
                return f"{type(paper.document).__name__} {digest}"
        for name, fill in self.fills.items():
            if not fill.over:
                return f"fill {name}"
        for name, call in self.calls.items():
            if call.finished is None:
                return f"call {name}"
        parts = (self.payments, self.spendings, self.mandates, self.contests, self.bonds)
        return next((left for part in parts if (left := part.unfinished())), "")

    def charged(self, key: str) -> int:
        """Units that buyers pay for, of calls through a key."""
        ended = [call.finished for call in self.calls.values() if call.key == key and call.finished]
        return sum(each.units for each in ended if each.outcome is Outcome.DELIVERED)
