"""The whole market, command by command: what a journal's replay goes through.

Beside what `ours` measures, each command checks nonces, authority and keys, writes events,
and opens a lease for each fill. No peer does any of this: the figure is for information.
"""

import sys
from collections.abc import Iterator
from typing import Final

from intents.document import Intent, Offer
from solver.core.command import (
    ApplyBlocks,
    Authority,
    CancelDocument,
    Command,
    OpenResource,
    PoolKey,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import Event, Filled
from solver.core.fact import Deposited
from solver.core.market import Market
from tests.bench.engine import Engine, Fill, Told, by_four
from tests.bench.flow import BID, CANCEL, Flow

TRADERS: Final = 32
MONEY: Final = 10**15
TICK_SCALE: Final = 10**6
"""A tick of the flow is an atom for each unit."""
USDC: Final = "0x" + "05" * 20
RESOURCE: Final = "bench/flow:call"
NOW_S: Final = 1_700_000_000
SECONDS: Final = 600
LIFE_S: Final = 60


def buyer(number: int) -> str:
    """An account that only buys."""
    return f"0x{number + 1:040x}"


def seller(number: int) -> str:
    """An account that only sells."""
    return f"0x{number + 1_001:040x}"


def digest_of(order: int) -> str:
    """What names an order of the flow in the market."""
    return f"0x{order:064x}"


def a_market() -> Market:
    """A market that lists the resource, with 32 rich buyers and 32 sellers with a key each."""
    market = Market(USDC)
    do(market, OpenResource(at_ms=NOW_S * 1_000, resource=RESOURCE))
    facts = tuple(Deposited(account=buyer(number), amount=MONEY) for number in range(TRADERS))
    do(market, ApplyBlocks(at_ms=NOW_S * 1_000, number=1, block_hash="0x01", facts=facts))
    for number in range(TRADERS):
        do(market, _key_of(number))
    return market


def do(market: Market, command: Command) -> list[Event]:
    """Apply a command that must be accepted."""
    events = market.apply(command)
    assert isinstance(events, list), events
    return events


def commands(flow: Flow) -> Iterator[Command]:
    """The flow's events as the sequencer would give them to the market."""
    owners: dict[int, str] = {}
    for kind, order, tick, units in flow.events(0, len(flow)):
        if kind == CANCEL:
            yield CancelDocument(
                at_ms=NOW_S * 1_000, account=owners.pop(order), digest=digest_of(order)
            )
        else:
            owners[order] = (buyer if kind == BID else seller)(order % TRADERS)
            yield (_intent if kind == BID else _offer)(order, owners[order], units, tick)


def engine(flow: Flow) -> Engine:
    """A market for this flow; its commands are made before the clock starts."""
    market, told = a_market(), Told()
    submitted, cancels = _sorted_commands(flow)

    def submit(order: int, _tick: int, _units: int) -> None:
        _tell(told, do(market, submitted[order]))

    def cancel(order: int) -> None:
        do(market, cancels[order])

    def fills() -> Iterator[Fill]:
        for intent, offer, units, tick in by_four(told):
            first, second = sorted((int(intent, 16), int(offer, 16)))
            yield second, first, tick, units

    source = str(sys.modules[Market.__module__].__file__)
    return Engine(submit, submit, cancel, fills, source, TICK_SCALE)


def _tell(told: Told, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, Filled):
            told.extend((event.intent, event.offer, event.units, event.tick))


def _sorted_commands(flow: Flow) -> tuple[list[Command], dict[int, Command]]:
    submitted: list[Command] = []
    cancels: dict[int, Command] = {}
    for order, command in zip(flow.orders, commands(flow), strict=True):
        if isinstance(command, CancelDocument):
            cancels[order] = command
        else:
            submitted.append(command)
    return submitted, cancels


def _key_of(number: int) -> PoolKey:
    return PoolKey(
        at_ms=NOW_S * 1_000,
        key=f"0x{number:064x}",
        owner=seller(number),
        provider="bench",
        resources=(RESOURCE,),
    )


def _intent(order: int, account: str, units: int, tick: int) -> SubmitIntent:
    intent = Intent(
        account=account,
        resource=RESOURCE,
        asset=USDC,
        units=units,
        limit=tick * units,
        valid_until=NOW_S + LIFE_S + order % SECONDS,
        nonce=order,
    )
    return SubmitIntent(
        at_ms=NOW_S * 1_000,
        intent=intent,
        digest=digest_of(order),
        signer=account,
        authority=Authority.KEY,
        signature="",
    )


def _offer(order: int, account: str, units: int, tick: int) -> SubmitOffer:
    offer = Offer(
        account=account,
        resource=RESOURCE,
        asset=USDC,
        key=f"0x{order % TRADERS:064x}",
        units=units,
        limit=tick * units,
        valid_until=NOW_S + LIFE_S + order % SECONDS,
        nonce=order,
    )
    return SubmitOffer(
        at_ms=NOW_S * 1_000,
        offer=offer,
        digest=digest_of(order),
        signer=account,
        authority=Authority.KEY,
        signature="",
    )
