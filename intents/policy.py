"""What a session key may do, evaluated before a call is served as it is at settlement.

The same steps, words and verdicts as contracts/src/SessionPolicy.sol, in plain integers; a
differential test holds the two to each other. A key is asked for an act: either all words
that it touches change, or none. `granted` is what the registry makes of a `SessionGrant`.
"""

from enum import IntEnum, IntFlag
from itertools import pairwise
from typing import Final

import msgspec
from tiny_keccak import keccak256

from intents import cap_word
from intents.bound import TICK_UNITS
from intents.cap_word import Bearer
from intents.document import SessionGrant


class Permission(IntFlag):
    """What a key may do, as bits."""

    SETTLE = 1
    """Propose batches: the operator's key. Kept by the account, not by the registry."""
    SIGN = 2
    """Intents, offers and mandates."""
    CANCEL = 4
    SPEND = 8
    """Of an account's own tokens. Kept by the account, not by the registry."""
    RECEIPT = 16
    GUARD = 32
    """End sessions of the account, and nothing else."""


TERMED: Final = 128
"""Not a permission: beside the key's word there are its terms."""


class Verdict(IntEnum):
    """Whether an act is allowed; of several reasons the first of this order is told."""

    ALLOWED = 0
    NOT_LIVE = 1
    """Never granted, revoked, or of an ended session epoch."""
    EXPIRED = 2
    PERMISSION_MISSING = 3
    RESOURCE_FORBIDDEN = 4
    PRICE_ABOVE_TICK = 5
    UNITS_EXCEEDED = 6
    KEY_CAP_EXCEEDED = 7
    TEAM_CAP_EXCEEDED = 8
    ROOT_CAP_EXCEEDED = 9
    COUNTERPARTIES_INVALID = 10
    """Not told strictly ascending, or not adding up to the act's atoms."""
    COUNTERPARTY_UNLISTED = 11
    COUNTERPARTY_CAP_EXCEEDED = 12


class CounterpartyRule(IntEnum):
    """Whom an account pays, whichever of its keys does."""

    ANY = 0
    CAPPED = 1
    """Within the counterparty's cap, if it has one."""
    LISTED = 2
    """Only who has a cap, and within it."""


class Words(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that an act can touch; zero for what there is not. `team` is that of the key."""

    key: int = 0
    terms: int = 0
    units: int = 0
    team: int = 0
    root: int = 0
    counterparties: tuple[int, ...] = ()
    """One for each line of the act, where the account has a rule."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """Who gets how much of an act's atoms. `counterparty` is the address as a number."""

    counterparty: int
    amount: int


class Act(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a key is asked for.

    `resource` is keccak256 of its name as a number; 0 for a total of unknown acts, as a
    receipt is one. `session_epoch` is the account's; a session settles for `grace_s` after its
    end, and is served not a second longer.
    """

    permission: int
    resource: int = 0
    units: int = 0
    amount: int = 0
    session_epoch: int
    time_s: int
    grace_s: int = 0
    lines: tuple[Line, ...] = ()


_TICK_MASK: Final = 2**64 - 1
_RESOURCE_EMPTY: Final = int.from_bytes(keccak256(b""), "big")


def evaluate(words: Words, act: Act) -> tuple[Verdict, Words]:
    """Whether the act is allowed, and the words after it; the same ones if it is not."""
    verdict = _session_verdict(words.key, act)
    if verdict is not Verdict.ALLOWED:
        return verdict, words
    units = words.units
    if cap_word.permissions_of(words.key) & TERMED and act.resource:
        verdict, units = _terms_verdict(words, act)
    if verdict is not Verdict.ALLOWED:
        return verdict, words
    verdict, key, team, root = _caps_verdict(words, act)
    counterparties = words.counterparties
    if verdict is Verdict.ALLOWED and act.amount and rule_of(words.root) != CounterpartyRule.ANY:
        verdict, counterparties = _counterparties_verdict(words, act)
    if verdict is not Verdict.ALLOWED:
        return verdict, words
    return verdict, Words(
        key=key,
        terms=words.terms,
        units=units,
        team=team,
        root=root,
        counterparties=counterparties,
    )


def granted(words: Words, grant: SessionGrant, time_s: int) -> Words:
    """The words after a valid grant mined at `time_s`; what was charged stays."""
    terms = terms_of(resource_of(grant.resource), grant.tick_max)
    permissions, units = grant.permissions, words.units
    if terms or grant.units:
        permissions |= TERMED
        units = _capped(units, grant.units, grant.period, time_s)
    else:
        terms = words.terms
    bearer = Bearer(
        expires_at=grant.expires_at,
        session_epoch=grant.session_epoch,
        permissions=permissions,
        team=grant.team,
    )
    key = cap_word.with_bearer(_capped(words.key, grant.spend, grant.period, time_s), bearer)
    return msgspec.structs.replace(words, key=key, terms=terms, units=units)


def resource_of(name: str) -> int:
    """A resource as an act names it."""
    return int.from_bytes(keccak256(name.encode()), "big")


def terms_of(resource: int, tick_max: int) -> int:
    """A key's terms in one word: the upper 192 bits of the resource's hash, then the price."""
    named = 0 if resource == _RESOURCE_EMPTY else resource & ~_TICK_MASK
    return named | tick_max


def rule_of(root: int) -> int:
    """The account's rule for counterparties, which its root's word keeps as permissions."""
    return cap_word.permissions_of(root)


def _session_verdict(key: int, act: Act) -> Verdict:
    bearer = cap_word.bearer_of(key)
    if bearer.permissions == 0 or bearer.session_epoch != act.session_epoch:
        return Verdict.NOT_LIVE
    if act.time_s > bearer.expires_at + act.grace_s:
        return Verdict.EXPIRED
    if bearer.permissions & act.permission != act.permission:
        return Verdict.PERMISSION_MISSING
    return Verdict.ALLOWED


def _terms_verdict(words: Words, act: Act) -> tuple[Verdict, int]:
    """The verdict, and the units' word after it; the same one unless it is allowed."""
    named = words.terms & ~_TICK_MASK
    if named not in (0, act.resource & ~_TICK_MASK):
        return Verdict.RESOURCE_FORBIDDEN, words.units
    # p <= ⌊d·t/10⁶⌋ if and only if p·10⁶ <= d·t.
    tick_max = words.terms & _TICK_MASK
    if tick_max and act.amount * TICK_UNITS > act.units * tick_max:
        return Verdict.PRICE_ABOVE_TICK, words.units
    units = cap_word.charge(words.units, act.units, act.time_s)
    if units is None:
        return Verdict.UNITS_EXCEEDED, words.units
    return Verdict.ALLOWED, units


def _caps_verdict(words: Words, act: Act) -> tuple[Verdict, int, int, int]:
    """The verdict, and the caps' words after it; the same ones unless it is allowed."""
    charged = []
    for word, exceeded in (
        (words.key, Verdict.KEY_CAP_EXCEEDED),
        (words.team, Verdict.TEAM_CAP_EXCEEDED),
        (words.root, Verdict.ROOT_CAP_EXCEEDED),
    ):
        after = cap_word.charge(word, act.amount, act.time_s)
        if after is None:
            return exceeded, words.key, words.team, words.root
        charged.append(after)
    key, team, root = charged
    return Verdict.ALLOWED, key, team, root


def _counterparties_verdict(words: Words, act: Act) -> tuple[Verdict, tuple[int, ...]]:
    named = [line.counterparty for line in act.lines]
    ascending = all(low < high for low, high in pairwise(named))
    if not ascending or sum(line.amount for line in act.lines) != act.amount:
        return Verdict.COUNTERPARTIES_INVALID, ()
    is_listed = rule_of(words.root) == CounterpartyRule.LISTED
    charged = []
    for word, line in zip(words.counterparties, act.lines, strict=True):
        if is_listed and not cap_word.is_capped(word):
            return Verdict.COUNTERPARTY_UNLISTED, ()
        after = cap_word.charge(word, line.amount, act.time_s)
        if after is None:
            return Verdict.COUNTERPARTY_CAP_EXCEEDED, ()
        charged.append(after)
    return Verdict.ALLOWED, tuple(charged)


def _capped(word: int, cap: int, period_s: int, time_s: int) -> int:
    return cap_word.with_cap(word, cap, period_s, time_s) if cap else cap_word.without_cap(word)
