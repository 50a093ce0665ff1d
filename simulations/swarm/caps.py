"""An outsider's view of keys: what each may move, counted from what moved, in any window.

From final blocks alone: what owners did there, and what the chain says that it paid. What the
words of the registry are, and how they count, is not looked at.
"""

from collections import deque
from typing import Any, Final

import msgspec

from contracts.bindings import FillSettled
from contracts.metered import paid_buyers
from intents.bound import ADDRESS_ZERO
from intents.document import SpendReceipt
from intents.policy import Permission
from simulations.swarm.chain import Act, ChainBlock
from simulations.swarm.finding import expect
from simulations.swarm.metered_contract import (
    ATTESTED,
    CLAIMED,
    CONTRACT,
    EXECUTED,
    SESSION,
    SETTLED,
)
from simulations.swarm.paper import Fill, Paper
from simulations.swarm.session_contract import (
    ALL_REVOKED,
    CAP_CHANGED,
    EXIT_DELAY_S,
    GRANTED,
    REVOKED,
)
from solver.core.command import Authority

_CHANGES: Final = frozenset(item.name for item in (GRANTED, CAP_CHANGED, REVOKED, ALL_REVOKED))
Bearer = tuple[str, str | int]
"""An account, and a key or a team of it; team 0 is the account itself."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What its owner last let a key do."""

    permissions: int
    expires_at: int
    team: int


class Window(msgspec.Struct, kw_only=True):
    """What was moved under a cap."""

    cap: int
    period: int
    moved: deque[tuple[int, int]]
    """When, in seconds, and how many atoms; oldest first."""
    total: int = 0
    """Of those in the window."""

    def move(self, time_s: int, amount: int) -> int:
        """What the window holds with so much more."""
        self.moved.append((time_s, amount))
        self.total += amount
        while self.moved[0][0] <= time_s - self.period:
            self.total -= self.moved.popleft()[1]
        return self.total


class Keys:
    """Of all accounts, as of the last block that was read."""

    def __init__(self, papers: dict[str, Paper], fills: dict[str, Fill]) -> None:
        self._papers = papers
        self._fills = fills
        self._live: dict[tuple[str, str], Key] = {}
        self._windows: dict[Bearer, Window] = {}
        self._owners: dict[str, str] = {}
        self._claims: dict[str, tuple[str, int]] = {}
        """By account: the key that was charged for what is claimed, and how much."""
        self.signers: dict[tuple[str, int, int], str] = {}
        """By account, base and sum: the key that signed a receipt."""
        self.ended: set[str] = set()
        """Accounts of which a key ended in the blocks that are being told."""
        self._gifts: set[tuple[str, int, int]] = set()
        """By account, base and sum: receipts that a buyer posts and the market never sees."""
        self._changed: dict[str, int] = {}
        """By account: the last block in which its owner changed what its keys may, or who owns it,
        or a key gave something away under its caps."""

    def speaks(self, account: str, signer: str) -> bool:
        """Whether a key may act for an account now."""
        return (account, signer) in self._live

    def give(self, receipt: SpendReceipt) -> None:
        """A buyer signs something away, for the chain alone."""
        self._gifts.add((receipt.account, receipt.base, receipt.spent))

    def are_as_known(self, account: str, known: int) -> bool:
        """Whether its keys still are what they were in that block, as far as was told.

        Who took a word then has reason to rely on it: the chain refuses it for no cap and no end.
        """
        return self._changed.get(account, 0) <= known

    def read(self, block: ChainBlock) -> None:
        """What a final block says, in its order."""
        # Acts come before batches.
        owned = {act.account: act.terms["owner"] for act in block.acts if act.name == "own"}
        self._owners |= owned
        self._changed |= dict.fromkeys(owned, block.number)
        granted = [act for act in block.acts if _is_granted(act, block.time_s)]
        changed = [act for act in block.acts if act.name == "cap"]
        for (item, values), _ in block.logs:
            gives = item.name == CLAIMED.name and (values[0], *values[2:4]) in self._gifts
            if gives or item.name in _CHANGES:
                self._changed[values[0]] = block.number
            match item.name:
                case GRANTED.name:
                    self._grant(granted.pop(0), values)
                case CAP_CHANGED.name:
                    self._cap(changed.pop(0), values)
                case REVOKED.name:
                    self._end(values[0], values[1])
                case ALL_REVOKED.name:
                    for account, key in [place for place in self._live if place[0] == values[0]]:
                        self._end(account, key)
                case _:
                    self._moved(item.name, values, block.time_s)

    # ---------------------------------------------------------------- what owners do

    def _grant(self, act: Act, values: tuple[Any, ...]) -> None:
        terms = act.terms
        expect((act.account, terms["key"]) == values[:2], "granted_as_asked", key=values[1])
        self._live[act.account, terms["key"]] = Key(
            permissions=terms["permissions"], expires_at=terms["expires_at"], team=terms["team"]
        )
        self._set(act.account, terms["key"], terms["cap"], terms["period"])

    def _cap(self, act: Act, values: tuple[Any, ...]) -> None:
        expect((act.account, act.terms["team"]) == (values[0], values[2]), "capped_as_asked")
        self._set(act.account, act.terms["team"], act.terms["cap"], act.terms["period"])

    def _set(self, account: str, bearer: str | int, cap: int, period: int) -> None:
        window = self._windows.get((account, bearer))
        if window is None:
            self._windows[account, bearer] = Window(cap=cap, period=period, moved=deque())
        else:
            window.cap, window.period = cap, period

    def _end(self, account: str, key: str) -> None:
        self._live.pop((account, key), None)
        self.ended.add(account)

    # ---------------------------------------------------------------- what moved

    def _moved(self, name: str, values: tuple[Any, ...], time_s: int) -> None:
        if name == "FillSettled":
            fill, buyer, seller, amounts = values
            log = FillSettled(fill=fill, buyer=buyer, seller=seller, amounts=amounts)
            self._filled(self._fills[fill], log.payment, time_s)
        elif name == SETTLED.name:
            for told in paid_buyers(values[3]):
                signer = self.signers.get((told.account, told.spent - told.paid, told.spent), "")
                if told.authority == SESSION:
                    self._signed(told.account, signer, told.paid, time_s)
                if told.authority == CONTRACT:
                    self._owned(told.account, signer)
                if told.authority != ATTESTED:
                    self._claims.pop(told.account, None)
        elif name == CLAIMED.name:
            account, signer, base, spent, _, _ = values
            if signer not in (account, ADDRESS_ZERO):
                self._signed(account, signer, spent - base, time_s)
                self._claims[account] = (signer, spent - base)
        elif name == EXECUTED.name:
            self._claims.pop(values[0], None)

    def _filled(self, fill: Fill, payment: int, time_s: int) -> None:
        """A fill is paid: whoever signed for either side may still."""
        for name, amount in ((fill.intent, payment), (fill.offer, 0)):
            paper = self._papers[name]
            if paper.is_session:
                account = paper.document.account
                self._charge(account, paper.signer, Permission.SIGN, amount, time_s)
            elif paper.authority is Authority.CONTRACT:
                self._owned(paper.document.account, paper.signer)

    def _owned(self, account: str, signer: str) -> None:
        """A contract's word is its owner's, as of the batch."""
        owned = self._owners[account] == signer
        expect(owned, "nothing_settles_of_a_former_owner", account=account, signer=signer)

    def _signed(self, account: str, signer: str, amount: int, time_s: int) -> None:
        """A receipt moved this, or will; what its key was charged for a claim is in it."""
        key, charged = self._claims.get(account, ("", 0))
        rest = max(0, amount - charged) if key == signer else amount
        self._charge(account, signer, Permission.RECEIPT, rest, time_s)

    def _charge(self, account: str, signer: str, permission: int, amount: int, time_s: int) -> None:
        key = self._live.get((account, signer))
        expect(key is not None, "nothing_settles_of_a_revoked_key", account=account, key=signer)
        assert key is not None
        good = key.permissions & permission and time_s <= key.expires_at + EXIT_DELAY_S
        expect(bool(good), "keys_do_what_they_may", account=account, key=signer)
        for bearer in (signer, *((key.team,) if key.team else ()), 0):
            window = self._windows.get((account, bearer))
            if window is not None and amount:
                held = window.move(time_s, amount)
                facts = {"account": account, "bearer": bearer, "held": held, "cap": window.cap}
                expect(held <= window.cap, "no_window_holds_more_than_its_cap", **facts)


def _is_granted(act: Act, time_s: int) -> bool:
    return bool(act.name == "grant" and act.terms["expires_at"] > time_s)
