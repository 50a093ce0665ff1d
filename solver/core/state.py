"""The market's memory: every record the core keeps, and nothing that decides.

Records are mutable and owned by one `State`; only the modules of `solver.core` change
them. Everything is ordered by construction (dicts in order of arrival), so that the same
commands give the same hash in any process. What is over is kept for readers until
`FINISHED_KEPT_MAX` newer documents are over too, and then forgotten.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from mypy_extensions import mypyc_attr

from intents.bound import ADDRESS_ZERO
from solver.core.auction import Auction
from solver.core.award import AwardState
from solver.core.bond import Bonds
from solver.core.book import Book
from solver.core.bundle import Bundles
from solver.core.check import check
from solver.core.command import Authority, Limit, Mode
from solver.core.conduct import Conduct
from solver.core.deadline import Deadlines
from solver.core.document import (
    Account,
    DocumentState,
    IntentState,
    MandateState,
    OfferState,
    milliseconds,
)
from solver.core.event import Event
from solver.core.exchange import Exchange
from solver.core.lease import Execution, Lease
from solver.core.ledger import Balance, Ledger
from solver.core.meter import Metering
from solver.core.quality import Seen
from solver.core.record import Batch, Call, Session
from solver.core.table import large_dict
from solver.core.window import Window

__all__ = [
    "Account",
    "Batch",
    "Call",
    "DocumentState",
    "Due",
    "IntentState",
    "KeyState",
    "MandateState",
    "OfferState",
    "Session",
    "State",
    "milliseconds",
]

CREDIT: Final = ADDRESS_ZERO
"""The asset "credit": no token, so its address is zero."""
LEASE_MS_MAX: Final = 10 * 60 * 1_000
"""Longest life of a lease; shorter than the contract's exit delay, so it settles in time."""
LEASES_PER_EXECUTION_MAX: Final = 255
"""The contract settles no more lines of one intent at once: it counts them in a byte."""
BATCHES_KEPT_MAX: Final = 256
AUCTIONS_KEPT_MAX: Final = 256
FINISHED_KEPT_MAX: Final = 100_000
"""Documents that are over and can still be asked for; what used their nonces stays known."""
DUE_SPARE_MAX: Final = 1_024
"""Entries of what ended early that may lie in the heap, beyond as many as there are others."""
STANDING_MAX: Final = 100_000
"""Documents of one account that are not over."""
DOCUMENTS_MAX: Final = 1_000_000
"""Documents that are not over, or whose leases are remembered: about 1.5 GB of them."""
LEASES_PER_INTENT_MAX: Final = 4_096
"""An intent that was filled as often ends: it could be filled unit by unit for a year."""

# Bound once: looking an enumeration's member up costs as much as a record.
_MANDATE: Final = Authority.MANDATE
_CONTINUOUS: Final = Mode.CONTINUOUS

MAY_SETTLE: Final = 1
MAY_SIGN: Final = 2
MAY_CANCEL: Final = 4


class Due(StrEnum):
    """What can fall due beside the ends of leases and orders, which come before these.

    Units that leases give back come after all endings of that time: they may be sold at
    once, but to nobody whose time is over.
    """

    END_MANDATE = "end_mandate"
    RETURN_UNITS = "return_units"
    ACTIVATE_INTENT = "activate_intent"
    ACTIVATE_OFFER = "activate_offer"
    CLOSE_AUCTION = "close_auction"


_DUES: Final = list(Due)
_RANK: Final = {due: rank for rank, due in enumerate(_DUES)}
DueEntry = tuple[int, int, int, str]
"""When, the kind's rank, a number in order of scheduling, the subject."""


class Listing:
    """What every order for a resource needs: its books, and where its units come from or go."""

    __slots__ = ("books", "units", "units_asset")

    def __init__(self, resource: str) -> None:
        self.units_asset = capacity_asset(resource)
        """The ledger asset that counts its units."""
        self.books: dict[str, Book] = {}
        """By asset."""
        self.units: dict[str, Balance] = {}
        """By owner: the outside accounts of its units that were used."""


@mypyc_attr(acyclic=True)
class KeyState:
    """A pooled key: public facts only, and its leases; its offers stand with its owner."""

    __slots__ = ("leases", "live", "owner", "provider", "resources", "seen")

    def __init__(self, *, owner: str, provider: str, resources: tuple[str, ...]) -> None:
        self.owner = owner
        self.provider = provider
        self.resources = resources
        self.live = True
        self.seen = Seen()
        self.leases: dict[str, None] = {}
        """Its leases that are not closed, oldest first."""


class State:
    """All of it. `emit` collects the events of the command being applied."""

    def __init__(self, usdc: str) -> None:
        self.usdc: Final = usdc
        self.now_ms = 0
        self.cursor = -1
        self.cursor_hash = ""
        self.ledger: Final = Ledger()
        self.exchange: Final = Exchange()
        self.resources: dict[str, Mode] = {}
        self.books: dict[tuple[str, str], Book] = {}
        self._listings: dict[str, Listing] = {}
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, KeyState] = {}
        self.intents: dict[str, IntentState] = large_dict()
        self.offers: dict[str, OfferState] = large_dict()
        self.mandates: dict[str, MandateState] = {}
        self.bundles = Bundles()
        self.leases: dict[str, Lease] = large_dict()
        self.lease_ends: Final = Deadlines()
        self.executions: dict[int, Execution] = {}
        self.calls: dict[str, Call] = {}
        self.windows: dict[tuple[str, str], list[Window]] = {}
        """By subject (a key or an offer) and resource; a subject's resources share one list."""
        self.auctions: dict[int, Auction] = {}
        self.conduct = Conduct()
        self.bonds = Bonds()
        self.awards: dict[str, AwardState] = {}
        """By id, oldest first."""
        self.ready: deque[int] = deque()
        """Executions that wait for the next batch, oldest first."""
        self.batches: dict[int, Batch] = {}
        self.batch_next = 0
        self.metered_max = 0
        """What an intent may cost in all for its fills to be metered; 0: none is."""
        self.metering = Metering()
        self.finished: deque[DocumentState] = deque()
        """Documents that are over, oldest first."""
        self.events: list[Event] = []
        self.due: list[DueEntry] = []
        """A heap, with some whose subjects have ended: see `awaited`."""
        self._due_max = DUE_SPARE_MAX

    def __del__(self) -> None:
        """Part what stands together: it refers to each other.

        Compiled records have no part in garbage collection, as a million of them would hold a
        market up. So what reference counts do not free of a market that is over, nothing would.
        """
        for book in self.books.values():
            book.part()
        self.exchange.deadlines.part()
        self.lease_ends.part()

    @property
    def seq(self) -> int:
        """The newest number that orders what happens."""
        return self.exchange.seq

    def emit(self, event: Event) -> None:
        """Add to the events of the command being applied."""
        self.events.append(event)

    def next_seq(self) -> int:
        """A number that orders everything that happens."""
        return self.exchange.next_seq()

    def schedule(self, at_ms: int, due: Due, subject: str) -> None:
        """Have `subject` fall due at `at_ms`; what is gone by then is passed over."""
        heapq.heappush(self.due, (at_ms, _RANK[due], self.next_seq(), subject))
        if len(self.due) > self._due_max:
            self.due = self.awaited()
            self._due_max = 2 * len(self.due) + DUE_SPARE_MAX

    def awaited(self) -> list[DueEntry]:
        """What is scheduled and will still do something, in order: all that decides of `due`."""
        return sorted(entry for entry in self.due if self._is_awaited(_DUES[entry[1]], entry[3]))

    def is_due(self, now_ms: int) -> bool:
        """Whether anything falls due by `now_ms`. What is gone by then makes no difference."""
        if self.due and self.due[0][0] <= now_ms:
            self._drop_what_is_gone()
            if self.due and self.due[0][0] <= now_ms:
                return True
        return self.exchange.deadlines.is_due(now_ms) or self.lease_ends.is_due(now_ms)

    @property
    def next_due_ms(self) -> int | None:
        """When the next thing falls due."""
        next_ms = self.exchange.deadlines.next_ms
        lease_ms = self.lease_ends.next_ms
        if lease_ms is not None and (next_ms is None or lease_ms < next_ms):
            next_ms = lease_ms
        self._drop_what_is_gone()
        if self.due:
            due_ms = self.due[0][0]
            if next_ms is None or due_ms < next_ms:
                next_ms = due_ms
        return next_ms

    def pop_due(self) -> tuple[Due, str]:
        """The earliest scheduled thing, in order of time, then kind, then scheduling."""
        _, rank, _, subject = heapq.heappop(self.due)
        return _DUES[rank], subject

    def pop_due_if(self, due: Due) -> str | None:
        """The subject of the earliest thing, if it falls due now and is of this kind."""
        if self.due and self.due[0][0] <= self.now_ms and self.due[0][1] == _RANK[due]:
            return heapq.heappop(self.due)[3]
        return None

    def document(self, digest: str) -> "IntentState | OfferState | MandateState | None":
        """The record of a document that is remembered."""
        return self.intents.get(digest) or self.offers.get(digest) or self.mandates.get(digest)

    def account(self, address: str) -> Account:
        """The account's record, made on first use."""
        account = self.accounts.get(address)
        if account is None:
            account = self.accounts[address] = Account()
        return account

    def listing(self, resource: str) -> Listing:
        """What belongs to a resource, made on first use."""
        listing = self._listings.get(resource)
        if listing is None:
            listing = self._listings[resource] = Listing(resource)
        return listing

    def book(self, resource: str, asset: str) -> Book:
        """The book of a listed resource and an asset, made on first use."""
        books = self.listing(resource).books
        book = books.get(asset)
        if book is None:
            continuous = self.resources[resource] is _CONTINUOUS
            book = books[asset] = self.books[resource, asset] = Book(continuous=continuous)
        return book

    def units(self, owner: str, resource: str) -> Balance:
        """An outside account of a resource's units: where they come from or go to."""
        listing = self.listing(resource)
        units = listing.units.get(owner)
        if units is None:
            units = listing.units[owner] = self.ledger.account(owner, listing.units_asset)
        return units

    def money(self, address: str, asset: str) -> Balance:
        """The ledger's account of whoever has a record here, both made on first use."""
        return self.money_of(self.account(address), address, asset)

    def money_of(self, account: Account, address: str, asset: str) -> Balance:
        """The same for who has the account's record at hand."""
        money = account.money.get(asset)
        if money is None:
            money = account.money[asset] = self.ledger.account(address, asset)
        return money

    def windows_of(self, key: str, offer: str, resource: str) -> list[Window]:
        """Every window that a call through this key and offer must fit."""
        return self.windows.get((key, resource), []) + self.windows.get((offer, resource), [])

    def set_limits(
        self,
        subject: str,
        resources: tuple[str, ...],
        limits: tuple[Limit, ...],
        used: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Give a key or an offer its windows: the same ones, whichever resource is used.

        Units of different resources of one key add up: a limit of 5 is 5 in all. `used` says
        what of it was used before, and when, oldest first.
        """
        windows = [Window(limit, finished=used) for limit in limits]
        for resource in dict.fromkeys(resources if windows else ()):
            check((subject, resource) not in self.windows, "windows_set_once", subject=subject)
            self.windows[subject, resource] = windows

    @property
    def documents_kept(self) -> int:
        """Documents that are not only waiting to be forgotten."""
        kept = len(self.intents) + len(self.offers) + len(self.mandates)
        return kept - len(self.finished)

    def finish(self, record: DocumentState) -> None:
        """A document is over: it is remembered for a while (`forget_finished`)."""
        self.finished.append(record)

    def forget_finished(self) -> None:
        """Forget what was over long ago: between commands, as nobody holds a record then."""
        while len(self.finished) > FINISHED_KEPT_MAX:
            self._forget(self.finished.popleft())

    def hash(self) -> str:
        """32 bytes over everything that decides anything: see `solver.core.snapshot`."""
        from solver.core.snapshot import state_hash  # noqa: PLC0415  the snapshot needs the state

        return state_hash(self)

    def _drop_what_is_gone(self) -> None:
        """So that the head of `due` decides, and nothing that a snapshot leaves out does."""
        while self.due and not self._is_awaited(_DUES[self.due[0][1]], self.due[0][3]):
            heapq.heappop(self.due)

    def _is_awaited(self, due: Due, subject: str) -> bool:
        if due is Due.END_MANDATE:
            mandate = self.mandates.get(subject)
            return mandate is not None and mandate.live
        if due is Due.ACTIVATE_INTENT:
            intent = self.intents.get(subject)
            return intent is not None and intent.open_units > 0
        if due is Due.ACTIVATE_OFFER:
            offer = self.offers.get(subject)
            return offer is not None and offer.live
        return True

    def _forget(self, record: DocumentState) -> None:
        digest = record.digest
        if isinstance(record, IntentState):
            del self.intents[digest]
            self._forget_leases(record)
            self.bundles.forget(digest)
        elif isinstance(record, OfferState):
            del self.offers[digest]
            if record.window_seconds:
                self.windows.pop((digest, record.resource), None)
        else:
            del self.mandates[digest]
        self.accounts[record.account].forget(record)

    def _forget_leases(self, intent: IntentState) -> None:
        for lease_id in intent.leases:
            offer = self.offers[self.leases.pop(lease_id).offer]
            offer.leases_kept -= 1
            if not offer.live and not offer.leases_kept:
                self.finished.append(offer)
        if intent.authority is _MANDATE:
            mandate = self.mandates[intent.signer]
            mandate.intents_kept -= 1
            if not mandate.live and not mandate.intents_kept:
                self.finished.append(mandate)


def capacity_asset(resource: str) -> str:
    """The ledger asset that counts a resource's units."""
    return f"unit:{resource}"
