"""The market's memory: every record the core keeps, and nothing that decides.

Records are mutable and owned by one `State`; only the modules of `solver.core` change
them. Everything is ordered by construction (dicts in arrival order, sorted dumps), so
that the same commands give the same hash in any process.
"""

import heapq
from collections import deque
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final

import msgspec

from intents.bound import ADDRESS_ZERO
from intents.document import Intent, Offer
from intents.rounding import payment_at
from solver.core.auction import Auction
from solver.core.book import Book
from solver.core.check import check
from solver.core.command import Authority, Limit, Mode
from solver.core.event import BatchLine, Event, IntentStatus, LeaseStatus
from solver.core.ledger import Ledger
from solver.core.window import Window

CREDIT: Final = ADDRESS_ZERO
"""The asset "credit": no token, so its address is zero."""
LEASE_MS_MAX: Final = 10 * 60 * 1_000
"""Longest life of a lease; shorter than the contract's exit delay, so it settles in time."""
LEASES_PER_EXECUTION_MAX: Final = 255
"""The contract settles no more lines of one intent at once: it counts them in a byte."""
BATCHES_KEPT_MAX: Final = 256
AUCTIONS_KEPT_MAX: Final = 256

MAY_SETTLE: Final = 1
MAY_SIGN: Final = 2
MAY_CANCEL: Final = 4


class Due(StrEnum):
    """What can fall due. At one time endings come first, so that nothing over is filled.

    Units that leases give back come after them: they may be sold at once, but to nobody
    whose time is over.
    """

    END_LEASE = "end_lease"
    EXPIRE_INTENT = "expire_intent"
    EXPIRE_OFFER = "expire_offer"
    RETURN_UNITS = "return_units"
    ACTIVATE_INTENT = "activate_intent"
    ACTIVATE_OFFER = "activate_offer"
    CLOSE_AUCTION = "close_auction"


_RANK: Final = {due: rank for rank, due in enumerate(Due)}


class Session(msgspec.Struct, kw_only=True):
    """A session key of an account, as the chain last said. Atoms.

    `spent` and `committed` (the most that its open intents and unsettled fills can still
    cost) are ours, and count every asset: an atom of credit uses the cap as one of USDC
    does. The chain's cap is USDC alone, so nothing that passes here is refused there.
    """

    permissions: int
    expires_at: int
    cap: int
    live: bool = True
    spent: int = 0
    committed: int = 0


class Account(msgspec.Struct, kw_only=True):
    """What is remembered of an account beside its balances."""

    epoch: int = 0
    sessions: dict[str, Session] = {}
    nonces: dict[int, str] = {}
    """Nonce → digest of the document that used it; empty if it was cancelled unused."""
    withdrawing: int = 0


class KeyState(msgspec.Struct, kw_only=True):
    """A pooled key: public facts only."""

    owner: str
    provider: str
    resources: tuple[str, ...]
    live: bool = True
    offers: list[str] = []


class IntentState(msgspec.Struct, kw_only=True):
    """An admitted intent. Its unfilled money is held under its digest."""

    document: Intent
    digest: str
    signer: str
    authority: Authority
    signature: str
    tick: int
    status: IntentStatus = IntentStatus.OPEN
    open_units: int
    filled_units: int = 0
    leases: list[str] = []
    unsettled: int = 0
    """Executions that are not final yet."""
    ended: IntentStatus | None = None
    """Why the unfilled rest ended, once it has."""

    @property
    def has_minimum(self) -> bool:
        """Whether an execution must fill more than one unit, and so counts all it filled."""
        return self.document.units_min > 1


class OfferState(msgspec.Struct, kw_only=True):
    """An admitted offer. Its units are an account of the ledger: see `capacity_asset`."""

    document: Offer
    digest: str
    signer: str
    authority: Authority
    signature: str
    tick: int
    live: bool = True


class Lease(msgspec.Struct, kw_only=True):
    """A fill and the right that it gives. Its money is held under its id, its capacity too.

    units = delivered + lapsed + in flight + withdrawn + returned + what may still be served.
    """

    id: str
    execution: int
    intent: str
    offer: str
    key: str
    buyer: str
    seller: str
    resource: str
    asset: str
    units: int
    tick: int
    until_ms: int
    filled_ms: int
    status: LeaseStatus = LeaseStatus.OPEN
    delivered: int = 0
    lapsed: int = 0
    """Used with an unknown outcome: capacity is gone, the buyer does not pay."""
    withdrawn: int = 0
    """Not servable any more, as its key left the pool and nobody took it over."""
    returned: int = 0
    """Unused at its end and back on the offer, for others to buy."""
    in_flight: int = 0
    last_used_ms: int = 0
    batch: int = -1
    """The number of the batch that it is a line of, once it is."""

    @property
    def remaining(self) -> int:
        """Units that a new call may still reserve."""
        gone = self.delivered + self.lapsed + self.withdrawn + self.returned
        return self.units - gone - self.in_flight

    @property
    def payment(self) -> int:
        """Atoms for what was delivered: floor, for the buyer."""
        return payment_at(self.tick, self.delivered)


class Call(msgspec.Struct, kw_only=True):
    """A call in flight."""

    lease: str
    units: int
    started_ms: int


class Execution(msgspec.Struct, kw_only=True):
    """The fills of one intent that were made at once; they settle in one batch."""

    id: int
    intent: str
    leases: list[str] = []


class Batch(msgspec.Struct, kw_only=True):
    """A batch that was cut; `resolved` counts lines that the chain has spoken on."""

    number: int
    digest: str
    lines: tuple[BatchLine, ...]
    resolved: int = 0
    paid: int = 0
    skipped: int = 0
    final: bool = False


class State:
    """All of it. `emit` collects the events of the command being applied."""

    def __init__(self, usdc: str) -> None:
        self.usdc: Final = usdc
        self.now_ms = 0
        self.seq = 0
        self.cursor = -1
        self.cursor_hash = ""
        self.ledger = Ledger()
        self.resources: dict[str, Mode] = {}
        self.books: dict[tuple[str, str], Book] = {}
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, KeyState] = {}
        self.intents: dict[str, IntentState] = {}
        self.offers: dict[str, OfferState] = {}
        self.leases: dict[str, Lease] = {}
        self.executions: dict[int, Execution] = {}
        self.calls: dict[str, Call] = {}
        self.windows: dict[tuple[str, str], list[Window]] = {}
        """By subject (a key or an offer) and resource; a subject's resources share one list."""
        self.auctions: dict[int, Auction] = {}
        self.ready: deque[int] = deque()
        """Executions that wait for the next batch, oldest first."""
        self.batches: dict[int, Batch] = {}
        self.batch_next = 0
        self.events: list[Event] = []
        self._due: list[tuple[int, int, int, Due, str]] = []

    def emit(self, event: Event) -> None:
        """Add to the events of the command being applied."""
        self.events.append(event)

    def next_seq(self) -> int:
        """A number that orders everything that happens."""
        self.seq += 1
        return self.seq

    def schedule(self, at_ms: int, due: Due, subject: str) -> None:
        """Have `subject` fall due at `at_ms`; what is gone by then is passed over."""
        heapq.heappush(self._due, (at_ms, _RANK[due], self.next_seq(), due, subject))

    @property
    def next_due_ms(self) -> int | None:
        """When the next thing falls due."""
        return self._due[0][0] if self._due else None

    def pop_due(self, now_ms: int) -> tuple[int, Due, str] | None:
        """The earliest thing due by `now_ms`, in order of time, then kind, then scheduling."""
        if not self._due or self._due[0][0] > now_ms:
            return None
        at_ms, _, _, due, subject = heapq.heappop(self._due)
        return at_ms, due, subject

    def account(self, address: str) -> Account:
        """The account's record, made on first use."""
        account = self.accounts.get(address)
        if account is None:
            account = self.accounts[address] = Account()
        return account

    def book(self, resource: str, asset: str) -> Book:
        """The book of a resource and asset, made on first use."""
        key = (resource, asset)
        book = self.books.get(key)
        if book is None:
            book = self.books[key] = Book()
        return book

    def windows_of(self, key: str, offer: str, resource: str) -> list[Window]:
        """Every window that a call through this key and offer must fit."""
        return self.windows.get((key, resource), []) + self.windows.get((offer, resource), [])

    def set_limits(
        self, subject: str, resources: tuple[str, ...], limits: tuple[Limit, ...]
    ) -> None:
        """Give a key or an offer its windows: the same ones, whichever resource is used.

        Units of different resources of one key add up: a limit of 5 is 5 in all.
        """
        windows = [Window(limit) for limit in limits]
        for resource in dict.fromkeys(resources if windows else ()):
            check((subject, resource) not in self.windows, "windows_set_once", subject=subject)
            self.windows[(subject, resource)] = windows

    def dump(self) -> object:
        """Everything that decides anything, in canonical order."""
        encode = msgspec.msgpack.encode
        tables: tuple[dict[Any, Any], ...] = (
            self.resources,
            self.accounts,
            self.keys,
            self.intents,
            self.offers,
            self.leases,
            self.calls,
            self.batches,
        )
        return (
            (self.usdc, self.now_ms, self.seq, self.cursor, self.cursor_hash, self.batch_next),
            # As text: sums of many amounts outgrow the 64 bits of MessagePack.
            repr(self.ledger.dump()),
            [[(key, encode(record)) for key, record in sorted(table.items())] for table in tables],
            [(key, self.books[key].dump()) for key in sorted(self.books)],
            [(key, encode(self.executions[key])) for key in sorted(self.executions)],
            [
                (key, [window.dump(self.now_ms) for window in self.windows[key]])
                for key in sorted(self.windows)
            ],
            [(key, encode(self.auctions[key])) for key in sorted(self.auctions)],
            list(self.ready),
            sorted(self._due),
        )

    def hash(self) -> str:
        """32 bytes over `dump`: equal exactly where nothing that decides differs."""
        return blake2b(msgspec.msgpack.encode(self.dump()), digest_size=32).hexdigest()


def withdrawal_hold(account: str) -> str:
    """The id under which money waits that its owner asked the chain for."""
    return f"withdrawal:{account}"


def capacity_asset(resource: str) -> str:
    """The ledger asset that counts a resource's units."""
    return f"unit:{resource}"
