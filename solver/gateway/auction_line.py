"""Open auctions as solvers are told of them: whole, or by what changed, each encoded once."""

from collections import OrderedDict
from typing import Final

import msgspec

from solver.core.auction import Auction
from solver.core.difference import difference
from solver.core.state import State
from solver.gateway.competition import AuctionMessage, DeltaMessage, DeltaTold
from solver.gateway.view import snapshot_told, tell

LINES_KEPT_MAX: Final = 16
"""Of the newest auctions; each is a few megabytes at most."""


class AuctionLines:
    """Lines that are kept for those who ask at the same time; one for each gateway."""

    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[int, int], str] = OrderedDict()

    def full(self, auction: Auction) -> str:
        """The whole snapshot."""
        key = (auction.snapshot.auction, 0)
        return self._lines.get(key) or self._kept(key, _full(auction))

    def since(self, auction: Auction, base: Auction) -> str:
        """What changed since the base, or all, if that is no longer."""
        key = (auction.snapshot.auction, base.snapshot.auction)
        if key not in self._lines:
            delta, full = _delta(auction, base), self.full(auction)
            self._kept(key, min(delta, full, key=len))
        return self._lines[key]

    def _kept(self, key: tuple[int, int], line: str) -> str:
        self._lines[key] = line
        if len(self._lines) > LINES_KEPT_MAX:
            self._lines.popitem(last=False)
        return line


class Told:
    """What one solver was told: the newest auction of each asset, which differences are from.

    `sender` is its network.
    """

    def __init__(self, lines: AuctionLines, sender: str) -> None:
        self.sender: Final = sender
        self._lines = lines
        self._newest: dict[str, int] = {}
        self._deltas = False
        self._anew = False

    def ask_deltas(self, *, full: bool) -> None:
        """Differences from now on; with `full`, none from an auction before."""
        self._deltas = True
        self._anew = full
        if full:
            self._newest.clear()

    def take_anew(self) -> bool:
        """Whether what is open is to be told again: once, after it was asked for."""
        anew, self._anew = self._anew, False
        return anew

    def line(self, state: State, number: int) -> str:
        """An auction as this solver is told of it; empty if it is forgotten."""
        auction = state.auctions.get(number)
        if auction is None:
            return ""
        asset = auction.snapshot.asset
        base = state.auctions.get(self._newest.get(asset, -1)) if self._deltas else None
        self._newest[asset] = number
        if base is None or base is auction:
            return self._lines.full(auction)
        return self._lines.since(auction, base)


def _full(auction: Auction) -> str:
    return _text(
        AuctionMessage(
            auction=auction.snapshot.auction,
            snapshot=snapshot_told(auction.snapshot),
            snapshot_hash=auction.snapshot_digest,
        )
    )


def _delta(auction: Auction, base: Auction) -> str:
    return _text(
        DeltaMessage(
            auction=auction.snapshot.auction,
            base=base.snapshot.auction,
            delta=tell(difference(base.snapshot, auction.snapshot), DeltaTold),
            snapshot_hash=auction.snapshot_digest,
        )
    )


def _text(message: msgspec.Struct) -> str:
    return msgspec.json.encode(message).decode()
