"""What gas comes to: dollars on three chains, and gas and dollars after the Glamsterdam fork.

Prices are fixed, so that figures compare: ether at 3,192.59 dollars, and gas as of 2025-01-30 on
Ethereum and Base. The spike is Base in March 2024, when blobs were scarce. Base charges besides for
the data that it posts: a fixed sum for each compressed byte, here of zlib and some bytes of
envelope, which is near what the chain's own estimate makes of it. Fork prices are Ethereum's
alone, by arithmetic from traces (`contracts.repricing`); Base has not said that it will take them.

Dollars are integers, a thousand millionth each.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.anvil import Anvil
from contracts.deploy import Receipt
from contracts.repricing import glamsterdam_gas

ETHER_CENTS: Final = 319_259
L1_WEI: Final = 1_226_000_000
BASE_WEI: Final = 19_100_000
SPIKE_WEI: Final = 157_000_000
BASE_BYTE_NANODOLLARS: Final = 190
SPIKE_BYTE_NANODOLLARS: Final = 100_000
ENVELOPE_BYTES: Final = 110
"""Signature, nonce, fees and address, which do not compress."""
RATIO_PERCENT_MAX: Final = 250
"""What the fork may make of a figure before the table says so."""
_NANODOLLAR: Final = 10**11
"""Wei times cents that are one."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that one transaction shows: its gas by its fills."""

    name: str
    receipt: Receipt
    fills: int = 1
    target: int = 0

    @property
    def gas(self) -> int:
        """Of each fill."""
        return self.receipt.gas_used // self.fills


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure's gas comes to; all but the last two of today's gas, in nanodollars a fill."""

    name: str
    gas: int
    l1: int
    base: int
    spike: int
    glamsterdam_gas: int
    glamsterdam_percent: int
    glamsterdam_l1: int


def nanodollars(gas: int, wei: int, fills: int = 1) -> int:
    """What so much gas costs each fill, rounded down."""
    return gas * wei * ETHER_CENTS // (_NANODOLLAR * fills)


def costs(anvil: Anvil, shown: Sequence[Shown]) -> list[Cost]:
    """Each figure's, from the traces of their transactions; once where figures share one."""
    once = {one.receipt.transaction_hash: one for one in shown}
    return [_cost(anvil, one) for one in once.values()]


def table(priced: Sequence[Cost]) -> str:
    """The same for people."""
    head = ("", "gas", "L1 $", "Base $", "Base spike $", "Glamsterdam gas", "of today", "L1 $")
    rows = [head, *(_row(cost) for cost in priced)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cost(anvil: Anvil, shown: Shown) -> Cost:
    receipt, fills = shown.receipt, shown.fills
    sent = anvil.rpc("eth_getTransactionByHash", receipt.transaction_hash)["input"]
    size = len(zlib.compress(bytes.fromhex(sent[2:]), 9)) + ENVELOPE_BYTES
    then = glamsterdam_gas(anvil, receipt.transaction_hash)
    return Cost(
        name=f"{shown.name}_cost",
        gas=shown.gas,
        l1=nanodollars(receipt.gas_used, L1_WEI, fills),
        base=nanodollars(receipt.gas_used, BASE_WEI, fills) + size * BASE_BYTE_NANODOLLARS // fills,
        spike=nanodollars(receipt.gas_used, SPIKE_WEI, fills)
        + size * SPIKE_BYTE_NANODOLLARS // fills,
        glamsterdam_gas=then // fills,
        glamsterdam_percent=then * 100 // receipt.gas_used,
        glamsterdam_l1=nanodollars(then, L1_WEI, fills),
    )


def _row(cost: Cost) -> tuple[str, ...]:
    above = " (above 2.5)" if cost.glamsterdam_percent > RATIO_PERCENT_MAX else ""
    return (
        cost.name.removesuffix("_cost"),
        f"{cost.gas:,}",
        _dollars(cost.l1),
        _dollars(cost.base),
        _dollars(cost.spike),
        f"{cost.glamsterdam_gas:,}",
        f"{cost.glamsterdam_percent / 100:.2f}{above}",
        _dollars(cost.glamsterdam_l1),
    )


def _dollars(nano: int) -> str:
    whole, rest = divmod(nano, 10**9)
    return f"{whole}.{rest:09}"
