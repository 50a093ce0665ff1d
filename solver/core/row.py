"""Each record as the row that `solver.core.snapshot` writes, in the order of `solver.core.image`.

Apart from them so that it can be compiled: a market is written as fast as memory is read.
"""

from solver.core.book import Order
from solver.core.document import seconds
from solver.core.lease import Execution, Lease
from solver.core.ledger import Balance
from solver.core.state import Account, IntentState, KeyState, MandateState, OfferState

Row = tuple[object, ...]


def sums_row(balance: Balance) -> Row:
    """As text: sums of many amounts outgrow the 64 bits of MessagePack."""
    debits, credits_, pending = balance.sums()
    return (str(debits), str(credits_), str(pending))


def balance_row(balance: Balance) -> Row:
    """Whose, of what, how much."""
    return (balance.owner, balance.asset, sums_row(balance))


def account_row(entry: tuple[str, Account]) -> Row:
    """An account beside its balances, and beside the nonces of documents that are remembered."""
    address, account = entry
    return (
        address,
        account.epoch,
        account.sessions,
        account.used(),
        [record.nonce for record in account.standing],
        account.withdrawing,
        account.withdrawal_held,
    )


def key_row(entry: tuple[str, KeyState]) -> Row:
    """A key."""
    name, key = entry
    return (name, key.owner, key.provider, key.resources, key.live, key.seen.calls)


def order_row(order: Order) -> Row:
    """What an order has beside its document."""
    # Most are in no book any more: without a minimum none waits, and nothing has to be looked up.
    in_book = order.level is not None or (order.minimum > 1 and order.book.holds(order))
    return (order.seq, order.units, order.held, order.until_ms, in_book)


def intent_row(intent: IntentState) -> Row:
    """An intent."""
    return (
        intent.account,
        intent.resource,
        intent.asset,
        intent.units,
        intent.units_min,
        intent.limit,
        seconds(intent.starts_ms),
        seconds(intent.until_ms),
        intent.immediate,
        intent.epoch,
        intent.nonce,
        intent.digest,
        intent.signer,
        intent.authority,
        intent.signature,
        intent.proof,
        order_row(intent.order),
        intent.status,
        intent.ended,
        intent.filled_units,
        intent.serving,
        intent.unsettled,
    )


def offer_row(offer: OfferState) -> Row:
    """An offer."""
    return (
        offer.account,
        offer.resource,
        offer.asset,
        offer.key,
        offer.units,
        offer.limit,
        offer.window_units,
        offer.window_seconds,
        seconds(offer.starts_ms),
        seconds(offer.until_ms),
        offer.epoch,
        offer.nonce,
        offer.digest,
        offer.signer,
        offer.authority,
        offer.signature,
        order_row(offer.order),
        sums_row(offer.capacity),
        offer.live,
        offer.leases_kept,
    )


def mandate_row(entry: tuple[MandateState, list[str]]) -> Row:
    """A mandate, and the intents under it that are remembered, oldest first."""
    mandate, intents = entry
    return (
        mandate.document,
        mandate.digest,
        mandate.signer,
        mandate.authority,
        mandate.signature,
        mandate.live,
        mandate.spent,
        mandate.committed,
        intents,
    )


def lease_row(lease: Lease) -> Row:
    """A lease; what it repeats of its documents is left out, and of an award, if it has none."""
    row = (
        lease.id,
        lease.execution,
        lease.intent,
        lease.offer,
        lease.units,
        lease.tick,
        lease.held,
        lease.until_ms,
        lease.filled_ms,
        lease.status,
        lease.reserved,
        lease.delivered,
        lease.lapsed,
        lease.withdrawn,
        lease.returned,
        lease.in_flight,
        lease.last_used_ms,
        lease.batch,
    )
    return (*row, lease.charge, lease.award, lease.award_place) if lease.charge else row


def execution_row(execution: Execution) -> Row:
    """An execution."""
    return (
        execution.id,
        execution.intent,
        execution.metered,
        execution.serving,
        execution.unsettled,
    )
