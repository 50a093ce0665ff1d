"""The whole state as bytes, and back: what recovery starts from, and what the state hash covers.

`dump` is canonical: equal bytes exactly where nothing that decides anything differs, in any
process. `load(dump(state))` goes on as `state` would have. Indexes are left out and built
again: levels from orders, deadlines from the order in which they were set. A name that many
documents say is one string again, as it is after a replay: a loaded market takes no more memory.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from itertools import islice
from sys import intern
from typing import Final, TypeVar

import msgspec

from solver.core.book import Order, ask_order, bid_order
from solver.core.bundle import Bundles
from solver.core.command import Authority, Limit
from solver.core.image import (
    IntentImage,
    LeaseImage,
    MandateImage,
    OfferImage,
    OrderImage,
    StateImage,
    Sums,
    WindowsImage,
)
from solver.core.lease import SERVING, Execution, Lease
from solver.core.ledger import Balance
from solver.core.row import (
    Row,
    account_row,
    balance_row,
    execution_row,
    intent_row,
    key_row,
    lease_row,
    mandate_row,
    offer_row,
)
from solver.core.state import (
    Account,
    DocumentState,
    IntentState,
    KeyState,
    MandateState,
    OfferState,
    State,
)
from solver.core.window import Window

FORMAT_VERSION: Final = 3
NEWEST_FIELDS: Final = 3
"""Of `StateImage`, those at its end that are left out where they are empty: see `_newest`."""
ROWS_AT_ONCE: Final = 64
"""Rows that are encoded together: few enough that nothing of them leaves the processor's cache."""
_ARRAY_16: Final = b"\xdc"
_ARRAY_32: Final = b"\xdd"
"""How MessagePack begins an array whose length follows in 16 or 32 bits."""
_ARRAY_16_BYTES: Final = 3
_FIXED_ARRAY_MAX: Final = 15
"""The longest array whose length is in its first byte."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_encode: Final = _ENCODER.encode
_T = TypeVar("_T")
_Queues = tuple[deque[DocumentState], deque[DocumentState], deque[DocumentState]]
"""An account's mandates, intents and offers, each oldest first."""


def dump(state: State) -> bytes:
    """Everything that decides anything, in canonical form: the fields of `StateImage`, in order."""
    image = bytearray()
    for piece in _pieces(state):
        image += piece
    return bytes(image)


def load(data: bytes) -> State:
    """The state that `dump` was given. Raises msgspec.DecodeError for anything else."""
    image = msgspec.msgpack.decode(data, type=StateImage)
    if image.version != FORMAT_VERSION:
        raise msgspec.ValidationError(f"snapshot format {image.version}, not {FORMAT_VERSION}")
    state = State(image.usdc)
    state.now_ms = image.now_ms
    state.cursor, state.cursor_hash = image.cursor, image.cursor_hash
    state.resources = image.resources
    _load_accounts(state, image)
    for key in image.keys:
        record = KeyState(owner=key.owner, provider=key.provider, resources=key.resources)
        record.live, record.seen.calls = key.live, key.calls
        state.keys[key.key] = record
    orders = _load_documents(state, image)
    state.bundles = Bundles(image.bundles)
    _load_leases(state, image)
    for windows in image.windows:
        shared = [_window_from(one) for one in windows.windows]
        for resource in windows.resources:
            state.windows[windows.subject, resource] = shared
    state.calls, state.auctions, state.batches = image.calls, image.auctions, image.batches
    state.ready = deque(image.ready)
    state.finished = deque(_document(state, digest) for digest in image.finished)
    state.awards = image.awards
    state.batch_next = image.batch_next
    state.metered_max, state.metering = image.metered_max, image.metering
    state.due = image.due
    state.conduct, state.bonds = image.conduct, image.bonds
    for order in image.order_ends:
        state.exchange.deadlines.add(orders[order], orders[order].until_ms)
    state.exchange.seq = image.seq
    return state


def state_hash(state: State) -> str:
    """SHA-256 over `dump`, as hex: equal exactly where nothing that decides differs."""
    hashed = sha256()
    for piece in _pieces(state):
        hashed.update(piece)
    return hashed.hexdigest()


def _pieces(state: State) -> Iterator[bytes | memoryview]:
    """The bytes of `dump` from the first to the last; each is good until the next is asked for."""
    ledger, accounts = state.ledger, state.accounts
    newest = _newest(state)
    fields = len(StateImage.__struct_fields__) - NEWEST_FIELDS + len(newest)
    yield _ARRAY_16 + fields.to_bytes(2, "big")
    yield _encode(FORMAT_VERSION)
    yield _encode(state.usdc)
    yield _encode(state.now_ms)
    yield _encode(state.seq)
    yield _encode(state.cursor)
    yield _encode(state.cursor_hash)
    yield _encode(state.resources)
    yield _encode(list(state.books))
    yield from _rows(ledger.balances(), balance_row)
    yield from _rows(accounts.items(), account_row)
    yield from _rows(state.keys.items(), key_row)
    yield from _rows(state.intents.values(), intent_row)
    yield from _rows(state.offers.values(), offer_row)
    yield from _rows(_mandates(state), mandate_row)
    yield _encode(list(state.bundles.by_digest.values()))
    yield from _rows(state.leases.values(), lease_row)
    yield from _rows(state.executions.values(), execution_row)
    yield _encode(state.calls)
    yield _encode(_windows_rows(state))
    yield _encode(state.auctions)
    yield _encode(list(state.ready))
    yield _encode(state.batches)
    yield _encode(state.batch_next)
    yield _encode(state.metered_max)
    yield _encode(state.metering)
    yield _encode([record.digest for record in state.finished])
    yield _encode(state.awaited())
    ending = state.exchange.deadlines.entries()
    yield _encode([order.id for order in ending if isinstance(order, Order)])
    for field in newest:
        yield _encode(field)


def _newest(state: State) -> list[object]:
    """The last fields, up to the last that says anything: so older states keep their hashes."""
    fields: list[tuple[object, bool]] = [
        (state.conduct, not state.conduct.is_empty),
        (state.awards, bool(state.awards)),
        (state.bonds, not state.bonds.is_empty),
    ]
    while fields and not fields[-1][1]:
        fields.pop()
    return [field for field, _ in fields]


def _mandates(state: State) -> list[tuple[MandateState, list[str]]]:
    """Each with the intents under it, in the order in which they came."""
    under: dict[str, list[str]] = {digest: [] for digest in state.mandates}
    for intent in state.intents.values() if under else ():
        if intent.authority is Authority.MANDATE:
            under[intent.signer].append(intent.digest)
    return [(mandate, under[mandate.digest]) for mandate in state.mandates.values()]


def _rows(records: Collection[_T], row: Callable[[_T], Row]) -> Iterator[bytes | memoryview]:
    """A list of rows as MessagePack has it, a few at a time: they stay in the processor's cache."""
    yield _ARRAY_32 + len(records).to_bytes(4, "big")
    left, encoded = iter(records), bytearray()
    while rows := [row(record) for record in islice(left, ROWS_AT_ONCE)]:
        head = _ARRAY_16_BYTES if len(rows) > _FIXED_ARRAY_MAX else 1
        _ENCODER.encode_into(rows, encoded)
        with memoryview(encoded) as whole, whole[head:] as piece:
            yield piece


def _fill_balance(balance: Balance, sums: Sums) -> None:
    balance.debits_posted, balance.credits_posted = int(sums[0]), int(sums[1])
    balance.debits_pending = int(sums[2])


def _windows_rows(state: State) -> list[WindowsImage]:
    by_subject: dict[str, WindowsImage] = {}
    for (subject, resource), windows in state.windows.items():
        if subject not in by_subject:
            images = [window.image(state.now_ms) for window in windows]
            by_subject[subject] = WindowsImage(subject, [], images)
        by_subject[subject].resources.append(resource)
    return list(by_subject.values())


def _window_from(image: tuple[int, int, int, list[tuple[int, int]]]) -> Window:
    units, seconds, in_flight_units, finished = image
    return Window(Limit(units=units, seconds=seconds), in_flight_units, finished)


def _load_accounts(state: State, image: StateImage) -> None:
    for balance in image.balances:
        _fill_balance(state.ledger.account(balance.owner, balance.asset), balance.sums)
    for resource, asset in image.books:
        state.book(resource, asset)
    for row in image.accounts:
        account = state.account(row.address)
        account.epoch, account.sessions = row.epoch, row.sessions
        account.recall(row.used)
        account.withdrawing, account.withdrawal_held = row.withdrawing, row.withdrawal_held


def _mandate_from(row: MandateImage) -> MandateState:
    mandate = MandateState(
        document=row.document,
        digest=row.digest,
        signer=row.signer,
        authority=row.authority,
        signature=row.signature,
    )
    mandate.live, mandate.spent, mandate.committed = row.live, row.spent, row.committed
    mandate.intents_kept = len(row.intents)
    return mandate


def _load_documents(state: State, image: StateImage) -> dict[str, Order]:
    """All documents and what stands of them; the orders of intents and offers, by digest."""
    for mandate in image.mandates:
        state.mandates[mandate.digest] = _mandate_from(mandate)
    in_book = {row.digest for row in image.intents if row.order.in_book}
    in_book |= {row.digest for row in image.offers if row.order.in_book}
    for intent in _taken(image.intents):
        state.intents[intent.digest] = _intent_from(state, intent)
    for offer in _taken(image.offers):
        state.offers[offer.digest] = _offer_from(state, offer)
    queues = _queues(state)
    for row in image.accounts:
        _give_documents(state.accounts[row.address], queues[row.address], row.standing)
    return _load_orders(state, in_book)


def _queues(state: State) -> dict[str, _Queues]:
    """What is remembered of each account."""
    queues: dict[str, _Queues] = {
        address: (deque(), deque(), deque()) for address in state.accounts
    }
    for mandate in state.mandates.values():
        queues[mandate.account][0].append(mandate)
    for intent in state.intents.values():
        queues[intent.account][1].append(intent)
    for offer in state.offers.values():
        queues[offer.account][2].append(offer)
    return queues


def _give_documents(account: Account, queues: _Queues, standing: list[int]) -> None:
    """An account's documents, oldest first as far as that is known: of a kind, of what stands."""
    queue_of = {record.nonce: queue for queue in queues for record in queue}
    for nonce in standing:
        queue = queue_of[nonce]
        while queue[0].nonce != nonce:
            account.keep(queue.popleft())
        account.stand(queue[0])
        account.keep(queue.popleft())
    for queue in queues:
        for record in queue:
            account.keep(record)


def _document(state: State, digest: str) -> DocumentState:
    record = state.document(digest)
    assert record is not None
    return record


def _taken(rows: list[_T]) -> Iterator[_T]:
    """Rows in their order, each let go of once it is read: the next record takes its memory."""
    rows.reverse()
    while rows:
        yield rows.pop()


def _load_orders(state: State, in_book: set[str]) -> dict[str, Order]:
    """Those that were in a book are again, by age."""
    orders = {digest: record.order for digest, record in state.intents.items()}
    orders |= {digest: record.order for digest, record in state.offers.items()}
    for order in sorted(orders.values(), key=lambda order: order.seq):
        if order.id in in_book:
            _put_back(order)
    return orders


def _put_back(order: Order) -> None:
    book = order.book
    if not order.buys:
        book.sell.append(order)
    elif order.minimum == 1:
        book.buy.append(order)
    else:
        book.wait(order)


def _intent_from(state: State, row: IntentImage) -> IntentState:
    intent = IntentState(
        intern(row.account),
        intern(row.resource),
        intern(row.asset),
        row.units,
        row.units_min,
        row.limit,
        row.valid_from,
        row.valid_until,
        row.immediate,
        row.epoch,
        row.nonce,
        row.digest,
        intern(row.signer),
        row.authority,
        row.signature,
        row.proof,
    )
    intent.order = bid_order(
        order_id=row.digest,
        book=state.book(row.resource, row.asset),
        money=state.money(row.account, row.asset),
        units=row.units,
        limit=row.limit,
        minimum=row.units_min,
        until_ms=row.order.until_ms,
    )
    _fill_order(intent.order, row.order)
    intent.status, intent.ended = row.status, row.ended
    intent.filled_units = row.filled_units
    intent.serving, intent.unsettled = row.serving, row.unsettled
    return intent


def _offer_from(state: State, row: OfferImage) -> OfferState:
    offer = OfferState(
        intern(row.account),
        intern(row.resource),
        intern(row.asset),
        intern(row.key),
        row.units,
        row.limit,
        row.window_units,
        row.window_seconds,
        row.valid_from,
        row.valid_until,
        row.epoch,
        row.nonce,
        row.digest,
        intern(row.signer),
        row.authority,
        row.signature,
    )
    offer.order = ask_order(
        order_id=row.digest,
        book=state.book(row.resource, row.asset),
        money=state.money(row.account, row.asset),
        units=row.units,
        limit=row.limit,
        until_ms=row.order.until_ms,
    )
    _fill_order(offer.order, row.order)
    offer.capacity = Balance(row.digest, state.listing(row.resource).units_asset)
    _fill_balance(offer.capacity, row.capacity)
    offer.live, offer.leases_kept = row.live, row.leases_kept
    return offer


def _fill_order(order: Order, row: OrderImage) -> None:
    order.seq, order.units, order.held = row.seq, row.units, row.held


def _load_leases(state: State, image: StateImage) -> None:
    """Leases and executions; what is listed of leases elsewhere follows from them."""
    for one in image.executions:
        execution = state.executions[one.id] = Execution(one.id, one.intent, metered=one.metered)
        execution.serving, execution.unsettled = one.serving, one.unsettled
    for row in _taken(image.leases):
        lease = _lease_from(state, row)
        state.leases[row.id] = lease
        state.intents[row.intent].add_lease(row.id)
        if row.execution in state.executions:
            state.executions[row.execution].leases.append(row.id)
        if row.status in SERVING:
            state.keys[lease.key].leases[row.id] = None
            if row.until_ms > image.now_ms:
                state.lease_ends.add(lease, row.until_ms)


def _lease_from(state: State, row: LeaseImage) -> Lease:
    lease = Lease(
        id=row.id,
        execution=row.execution,
        intent=state.intents[row.intent],
        offer=state.offers[row.offer],
        units=row.units,
        tick=row.tick,
        held=row.held,
        until_ms=row.until_ms,
        filled_ms=row.filled_ms,
        metered=row.execution in state.executions and state.executions[row.execution].metered,
    )
    lease.status, lease.reserved = row.status, row.reserved
    lease.delivered, lease.lapsed = row.delivered, row.lapsed
    lease.withdrawn, lease.returned = row.withdrawn, row.returned
    lease.in_flight, lease.last_used_ms = row.in_flight, row.last_used_ms
    lease.batch = row.batch
    lease.charge, lease.award, lease.award_place = row.charge, row.award, row.award_place
    return lease
