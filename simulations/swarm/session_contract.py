"""Session keys as the contract keeps them, written again from SessionRegistry.sol.

A key stands under its own cap, its team's and its account's, and is charged under all of them or
none. What a word counts is `intents.cap_word`'s; that no window ever holds more than its cap is
counted again by `caps`, from what moved. Accounts with an owner are contracts (ERC-1271).
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from contracts.abi import Item
from contracts.bindings import SETTLEMENT
from intents import cap_word
from intents.document import SessionGrant
from intents.policy import Act, Verdict, Words, evaluate, granted
from simulations.swarm.calldata import Revert

EXIT_DELAY_S: Final = 600
"""For so long after its end a session still settles what it signed before."""
TEAM, ROOT = 1, 2
"""Of the contract's Bearer."""
_NO_NAME: Final = keccak256(b"")

Log = tuple[Item, tuple[Any, ...]]
"""An event of the settlement contract, and its values."""

GRANTED: Final = SETTLEMENT.event("SessionGranted")
REVOKED: Final = SETTLEMENT.event("SessionRevoked")
ALL_REVOKED: Final = SETTLEMENT.event("SessionsRevoked")
CAP_CHANGED: Final = SETTLEMENT.event("CapChanged")


class SessionLedger:
    """What keys may do, and who owns the accounts that are contracts. Words are integers."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], Words] = {}
        """By account and key: what is the key's own."""
        self.caps: dict[tuple[str, int], int] = {}
        """By account and team; 0 is the account itself."""
        self.session_epochs: dict[str, int] = {}
        self.owners: dict[str, str] = {}

    # ---------------------------------------------------------------- what is asked

    def is_live(self, account: str, key: str, permissions: int, now_s: int) -> bool:
        """Whether a key may do all of it now, were it for nothing."""
        return self._verdict(account, key, permissions, 0, now_s, 0)[0] is Verdict.ALLOWED

    def is_charged(self, now_s: int) -> bool:
        """Whether anything counts against the cap of a team or an account."""
        return any(cap_word.spent_at(word, now_s) for word in self.caps.values())

    def charge(self, account: str, key: str, permission: int, amount: int, now_s: int) -> bool:
        """Charge a key and all above it, or nothing."""
        verdict, after = self._verdict(account, key, permission, amount, now_s, EXIT_DELAY_S)
        if verdict is not Verdict.ALLOWED:
            return False
        if amount:
            team = cap_word.team_of(after.key)
            self.keys[account, key] = msgspec.structs.replace(after, team=0, root=0)
            self.caps |= {(account, 0): after.root} | (
                {(account, team): after.team} if team else {}
            )
        return True

    def _verdict(  # noqa: PLR0917  each of another meaning
        self, account: str, key: str, permission: int, amount: int, now_s: int, grace_s: int
    ) -> tuple[Verdict, Words]:
        words = self.keys.get((account, key), Words())
        team = cap_word.team_of(words.key)
        above = msgspec.structs.replace(
            words,
            team=self.caps.get((account, team), 0) if team else 0,
            root=self.caps.get((account, 0), 0),
        )
        act = Act(
            permission=permission,
            amount=amount,
            session_epoch=self.session_epochs.get(account, 0),
            time_s=now_s,
            grace_s=grace_s,
        )
        return evaluate(above, act)

    # ---------------------------------------------------------------- what accounts do

    def _grant(
        self,
        account: str,
        now_s: int,
        *,
        key: str,
        permissions: int,
        expires_at: int,
        team: int,
        cap: int,
        period: int,
    ) -> Iterator[Log]:
        if expires_at <= now_s:
            raise Revert("RegistryExpiryInvalid")
        grant = SessionGrant(
            account=account,
            key=key,
            team=team,
            permissions=permissions,
            resource="",
            tick_max=0,
            units=0,
            spend=cap,
            period=period,
            expires_at=expires_at,
            session_epoch=self.session_epochs.get(account, 0),
            nonce=0,
        )
        words = granted(self.keys.get((account, key), Words()), grant, now_s)
        self.keys[account, key] = words
        yield GRANTED, (account, key, _NO_NAME, words.key, words.terms, words.units)

    def _revoke(self, account: str, _: int, *, key: str) -> Iterator[Log]:
        """No permissions, and an end that is not 0, is what a revoked key looks like."""
        old = self.keys.get((account, key), Words())
        bearer = cap_word.bearer_of(old.key)
        bearer = bearer._replace(permissions=0, expires_at=bearer.expires_at or 1)
        self.keys[account, key] = msgspec.structs.replace(
            old, key=cap_word.with_bearer(old.key, bearer)
        )
        yield REVOKED, (account, key)

    def _revoke_all(self, account: str, _: int) -> Iterator[Log]:
        self.session_epochs[account] = epoch = self.session_epochs.get(account, 0) + 1
        yield ALL_REVOKED, (account, epoch)

    def _cap(self, account: str, now_s: int, *, team: int, cap: int, period: int) -> Iterator[Log]:
        """A cap of a team, or (0) of the whole account."""
        word = cap_word.with_cap(self.caps.get((account, team), 0), cap, period, now_s)
        self.caps[account, team] = word
        yield CAP_CHANGED, (account, TEAM if team else ROOT, team, word)

    def _own(self, account: str, _: int, *, owner: str) -> Iterator[Log]:
        """An account's contract is somebody else's now: the market hears nothing of it."""
        self.owners[account] = owner
        yield from ()
