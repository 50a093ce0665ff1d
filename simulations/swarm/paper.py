"""What the auditor remembers of documents, fills, calls and mandates."""

from typing import Final

import msgspec

from intents.document import Intent, Mandate, Offer
from simulations.swarm.finding import expect
from solver.core.command import Authority
from solver.core.event import CallFinished, MandateAccepted, MandateEnded

TICK_UNITS: Final = 10**6


class Paper(msgspec.Struct, kw_only=True):
    """A document as its client and the feed know it."""

    document: Intent | Offer
    signer: str
    authority: Authority = Authority.KEY
    """Whether that is the account's key, one in the registry, or its contract's owner."""
    mandate: str = ""
    """Under which it was sent, unsigned; then `signer` is the mandate's."""
    known: int
    """The block up to which whoever took its signer's word knew what its signer may; -1: none."""
    accepted: bool = False
    ended: bool = False
    units: int = 0
    """Filled or sold, less what came back."""

    @property
    def is_session(self) -> bool:
        """Whether a key in the registry signed it."""
        return self.authority is Authority.SESSION

    @property
    def dearest(self) -> int:
        """The most that a buyer pays, as a tick."""
        return self.document.limit * TICK_UNITS // self.document.units

    @property
    def cheapest(self) -> int:
        """The least that a seller takes, as a tick."""
        return -(-self.document.limit * TICK_UNITS // self.document.units)


class Fill(msgspec.Struct, kw_only=True):
    """A fill, from the feed."""

    intent: str
    offer: str
    units: int
    tick: int
    until_ms: int
    delivered: int = 0
    lapsed: int = 0
    in_flight: int = 0
    served: int = 0
    """Delivered, as far as it was reserved before: what a call delivered beyond may not be owed."""
    closed: bool = False
    payment: int = 0
    batch: int = -1
    over: bool = False
    metered: bool = False
    charge: int = 0
    reward: int = 0
    """What of the payment is the solver's."""
    solver: str = ""
    """Who that is, once its buyer was shown the award."""


class Call(msgspec.Struct, kw_only=True):
    """A call, from the feed."""

    fill: str
    key: str
    units: int
    finished: CallFinished | None = None


class Standing(msgspec.Struct, kw_only=True):
    """A mandate: what it allows, and what was paid under it."""

    document: Mandate
    known: int
    """As of a paper."""
    accepted: bool = False
    ended: bool = False
    paid: int = 0


class Mandates:
    """Every mandate that somebody signed."""

    def __init__(self) -> None:
        self._standing: dict[str, Standing] = {}

    def sign(self, digest: str, document: Mandate, known: int) -> None:
        """A client signs one."""
        self._standing.setdefault(digest, Standing(document=document, known=known))

    def known(self, digest: str) -> int:
        """As of a paper."""
        return self._standing[digest].known

    def accepted(self, at_ms: int, event: MandateAccepted) -> None:
        """The market may buy under it."""
        standing = self._standing.get(event.mandate)
        expect(standing is not None, "accepted_was_signed", digest=event.mandate)
        assert standing is not None
        document = standing.document
        expect(not standing.accepted, "p1_applied_once", digest=event.mandate)
        expect((event.account, event.limit) == (document.account, document.limit), "as_signed")
        expect(at_ms < document.valid_until * 1_000, "accepted_before_its_end")
        standing.accepted = True

    def ended(self, _: int, event: MandateEnded) -> None:
        """Nothing more is bought under it."""
        standing = self._standing[event.mandate]
        expect(standing.accepted and not standing.ended, "ends_once", digest=event.mandate)
        standing.ended = True

    def place(self, digest: str) -> tuple[str, int]:
        """Its account and nonce."""
        document = self._standing[digest].document
        return document.account, document.nonce

    def used(self, digest: str, intent: Intent) -> None:
        """An intent was accepted under it."""
        standing = self._standing[digest]
        terms = standing.document
        expect(standing.accepted and not standing.ended, "mandate_is_live", mandate=digest)
        expect(terms.account == intent.account, "mandate_is_the_buyers", mandate=digest)
        expect(terms.asset == intent.asset, "mandate_is_of_this_asset", mandate=digest)
        expect(terms.resource in ("", intent.resource), "mandate_is_for_this", mandate=digest)

    def filled(self, digest: str, tick: int, *, moved: bool) -> None:
        """A fill under it."""
        standing = self._standing[digest]
        expect(moved or not standing.ended, "i9_no_fill_after_end", mandate=digest)
        expect(tick <= standing.document.tick_max, "p2_no_buyer_pays_more", mandate=digest)

    def paid(self, digest: str, amount: int) -> None:
        """Somebody was paid under it."""
        standing = self._standing[digest]
        standing.paid += amount
        within = standing.paid <= standing.document.limit
        expect(within, "i18_mandate_within_limit", mandate=digest, paid=standing.paid)

    def latest_end_s(self) -> int:
        """When the last that still counts is over."""
        live = (s for s in self._standing.values() if s.accepted and not s.ended)
        return max((s.document.valid_until for s in live), default=0)

    def unfinished(self) -> str:
        """One that never ended; empty if all have."""
        left = (name for name, s in self._standing.items() if s.accepted and not s.ended)
        return next((f"mandate {name}" for name in left), "")
