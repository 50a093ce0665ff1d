"""Session keys as the chain knows them: what they may still buy, and what the chain counted.

The ledger's registry keeps keys of any account, with caps of key, team and account in one word
each (`intents.cap_word`). Those words are kept here as the chain has them: its events tell them,
and what it charges is charged here, at the time of its block. What may not have been charged
yet, `committed`, comes on top.
"""

from typing import Final, NamedTuple

import msgspec

from intents import cap_word
from intents.policy import TERMED, CounterpartyRule, resource_of, rule_of
from intents.reject import Reject, RejectCode, reject
from intents.rounding import bid_tick
from solver.core.command import Authority
from solver.core.fact import CapChanged, KeyGranted
from solver.core.lease import Lease
from solver.core.meter import Caps, SignedReceipt
from solver.core.record import Session
from solver.core.state import IntentState, State

LAG_S: Final = 60
"""The chain may be so far behind our clock: what its windows still count, we count."""
MAY_RECEIPT: Final = 16
CAP_MAX: Final = 2**63 - 1
"""Shown for no cap at all; a snapshot holds no larger integer."""
_TICK_MASK: Final = 2**64 - 1
_SESSION: Final = Authority.SESSION


class _Cap(NamedTuple):
    """A cap, by its word, and the keys that stand under it."""

    word: int
    keys: dict[str, Session]

    def bought(self, receipt: SignedReceipt) -> int:
        """What of a receipt these keys bought, and so promised."""
        return sum(atoms for key, atoms in receipt.bought.items() if key in self.keys)


# -- what an intent may be


def fault_in_session(state: State, intent: IntentState, signer: str) -> Reject | None:
    """Whether a session key may buy so much of this. Rejects: session_terms, session_cap_exceeded.

    `signer` signed the intent, or the mandate that it is under.
    """
    session = state.accounts[intent.account].sessions[signer]
    fault = _fault_in_terms(state, intent, session)
    if fault is not None:
        return fault
    return fault_in_caps(state, intent.account, signer, intent.limit)


def fault_in_caps(state: State, account: str, signer: str, limit: int) -> Reject | None:
    """Whether a session key may promise so many atoms more. Rejects: session_cap_exceeded."""
    left = left_of(state, account, state.accounts[account].sessions[signer])
    if left >= limit:
        return None
    return reject(
        RejectCode.SESSION_CAP_EXCEEDED,
        f"{left} atoms left under the session's caps, limit {limit}",
    )


def _fault_in_terms(state: State, intent: IntentState, session: Session) -> Reject | None:
    """Whom the account pays, and what its key may buy at which price."""
    if _rule(state, intent.account) != CounterpartyRule.ANY:
        return reject(
            RejectCode.SESSION_TERMS,
            "the account lists whom its keys may pay, and the market picks sellers",
        )
    terms = int(session.terms, 16)
    named = terms & ~_TICK_MASK
    mandate = state.mandates.get(intent.signer)
    resource = intent.resource if mandate is None else mandate.resource
    if named not in (0, resource_of(resource) & ~_TICK_MASK):
        return reject(
            RejectCode.SESSION_TERMS, "it is for another resource, and a mandate has to name it"
        )
    tick_max = terms & _TICK_MASK
    if tick_max and bid_tick(intent.limit, intent.units) > tick_max:
        return reject(
            RejectCode.SESSION_TERMS, f"it pays {tick_max} atoms for a million units at most"
        )
    return None


def fault_in_units(state: State, lease: Lease, units: int) -> Reject | None:
    """Whether a call uses more than the key's units of this period. Rejects: session_terms."""
    session = buyers_session(state, lease)
    if session is None or not session.units:
        return None
    left = cap_word.promisable_at(int(session.units, 16), _now_s(state))
    if left is None or session.units_in_flight + units <= left:
        return None
    return reject(
        RejectCode.SESSION_TERMS, f"{left - session.units_in_flight} units left in its period"
    )


def note_units(state: State, lease: Lease, in_flight: int, delivered: int) -> None:
    """A call began, or ended.

    What is metered no chain counts by units, so it counts here at once. Else it stays promised
    until the chain has counted it, at the time of its block: see `charge_fill`.
    """
    session = buyers_session(state, lease)
    if session is None:
        return
    session.units_in_flight += in_flight
    if lease.metered:
        session.units = _charged(session.units, delivered, state.now_ms // 1_000)
    else:
        session.units_in_flight += delivered


def left_of(state: State, account: str, session: Session) -> int:
    """What a key may still promise, under all caps that it stands under."""
    receipts = _keys_receipts(state, account)
    caps = _caps_over(state, account, session)
    return min((_left(state, cap, receipts) for cap in caps), default=CAP_MAX)


def is_within_caps(state: State, account: str, session: Session) -> bool:
    """Whether the chain can still pay all that a key has promised."""
    if _rule(state, account) != CounterpartyRule.ANY:
        return False
    return left_of(state, account, session) >= 0


# -- what the chain says


def grant(state: State, fact: KeyGranted) -> None:
    """The words of a key in the registry; what was charged is in them."""
    sessions = state.account(fact.account).sessions
    session = sessions.get(fact.session)
    if session is None:
        session = sessions[fact.session] = Session(permissions=0, expires_at=0, cap=0)
    is_termed = cap_word.permissions_of(int(fact.word, 16)) & TERMED
    session.terms, session.units = (fact.terms, fact.units) if is_termed else ("0x0", "")
    _set_word(state, session, fact.word)


def rotate(state: State, account: str, key: str, replacement: str) -> None:
    """Another key takes over all that this one may do and has done.

    It promised nothing itself: the registry takes none that it ever knew.
    """
    sessions = state.account(account).sessions
    old = sessions.get(key)
    if old is not None:
        sessions[replacement] = msgspec.structs.replace(
            old, live=True, committed=0, units_in_flight=0, predecessor=key
        )


def set_cap(state: State, fact: CapChanged) -> None:
    """The registry has another cap of a team, or of the whole account."""
    caps = state.metering.caps.setdefault(fact.account, Caps())
    if fact.team:
        caps.teams[fact.team] = fact.word
    else:
        caps.root = fact.word


def set_rule(state: State, account: str, rule: int) -> None:
    """Whom the keys of an account may pay; its root's word keeps it."""
    caps = state.metering.caps.setdefault(account, Caps())
    word = int(caps.root or "0x0", 16)
    bearer = cap_word.bearer_of(word)._replace(permissions=rule)
    caps.root = hex(cap_word.with_bearer(word, bearer))


def set_team(state: State, account: str, key: str, team: int) -> None:
    """A key stands under another team's cap."""
    session = state.account(account).sessions.get(key)
    if session is not None:
        word = int(session.word, 16)
        bearer = cap_word.bearer_of(word)._replace(team=team)
        _set_word(state, session, hex(cap_word.with_bearer(word, bearer)))


def charge(state: State, account: str, signer: str, amount: int) -> None:
    """The chain charged a key, and all above it."""
    session = state.account(account).sessions.get(signer)
    if session is None:
        return
    time_s, caps = _chain_s(state), state.metering.caps.get(account)
    _set_word(state, session, _charged(session.word, amount, time_s))
    if caps is not None:
        caps.root = _charged(caps.root, amount, time_s)
        if session.team in caps.teams:
            caps.teams[session.team] = _charged(caps.teams[session.team], amount, time_s)


def charge_fill(state: State, lease: Lease, payment: int, units: int) -> None:
    """A fill that is not metered is over: the chain charged its key for what it paid, if it did.

    What no chain sees, a fill for credits, counts against the key as if one had.
    """
    signer = _signer_of(state, lease)
    session = buyers_session(state, lease)
    if session is not None:
        session.units_in_flight -= lease.delivered
        session.units = _charged(session.units, units, _chain_s(state))
        charge(state, lease.buyer, signer, payment)


def charge_purchase(state: State, lease: Lease, payment: int, charged: str) -> None:
    """What a key bought counts against it, even if another key, or nobody, signed the receipt.

    `charged` is the key that the chain has charged already.
    """
    session = buyers_session(state, lease)
    if session is not None and state.accounts[lease.buyer].sessions.get(charged) is not session:
        _set_word(state, session, _charged(session.word, payment, _chain_s(state)))


def buying_key(state: State, lease: Lease) -> str:
    """The session key that a lease was bought with; empty if its account signed itself."""
    signer = _signer_of(state, lease)
    return signer if signer in state.accounts[lease.buyer].sessions else ""


def buyers_session(state: State, lease: Lease) -> Session | None:
    """The key that a lease was bought with, if its account did not sign itself."""
    return state.accounts[lease.buyer].sessions.get(_signer_of(state, lease))


def may_receipt(state: State, account: str, signer: str) -> bool:
    """Whether a key can sign for what it used; what others buy is settled fill by fill."""
    return state.accounts[account].sessions[signer].permissions & MAY_RECEIPT != 0


def may_sign_receipt(state: State, account: str, receipt: SignedReceipt) -> Reject | None:
    """Whether the chain would take a key's receipt, as far as it is known here.

    What keys bought under a cap they promised under it; what others bought has to be promised
    now. Where its owner has lowered it below what was promised, it has to be there at all.
    Of a key that is not known yet the chain is asked alone. Rejects: not_authorized,
    session_terms, session_cap_exceeded.
    """
    session = state.accounts[account].sessions.get(receipt.signer)
    if session is None or receipt.authority is not _SESSION:
        return None
    if not session.live or not session.permissions & MAY_RECEIPT:
        return reject(
            RejectCode.NOT_AUTHORIZED, f"{receipt.signer} may sign no receipts of {account}"
        )
    if _rule(state, account) != CounterpartyRule.ANY:
        return reject(RejectCode.SESSION_TERMS, "the account lists whom its keys may pay")
    caps = _caps_over(state, account, session)
    room = min((_room_for(state, account, cap, receipt) for cap in caps), default=CAP_MAX)
    if receipt.amount <= room:
        return None
    return reject(
        RejectCode.SESSION_CAP_EXCEEDED,
        f"{room} atoms left under the key's caps, the receipt is for {receipt.amount}",
    )


def _room_for(state: State, account: str, cap: _Cap, receipt: SignedReceipt) -> int:
    """How much a receipt may be for, in place of the newest one."""
    under_way = _keys_receipts(state, account, newest=False)
    left = _left(state, cap, under_way)
    if left >= 0:
        return left + cap.bought(receipt)
    uncharged = sum(one.amount for one in under_way if one.signer in cap.keys)
    return _promisable(state, cap) - uncharged


def _keys_receipts(state: State, account: str, *, newest: bool = True) -> list[SignedReceipt]:
    """Receipts that session keys signed and that are not charged yet: under way, and the newest."""
    meter = state.metering.meters.get(account)
    if meter is None:
        return []
    record = meter.record
    receipts = [None if record is None else record.receipt, meter.receipt if newest else None]
    return [one for one in receipts if one is not None and one.authority is _SESSION]


def caps_of(state: State, account: str) -> Caps:
    """What all keys of an account together stand under."""
    return state.metering.caps.get(account, _NO_CAPS)


_NO_CAPS: Final = Caps()


def _signer_of(state: State, lease: Lease) -> str:
    """Who signed its intent, or the mandate that this is under."""
    signer = state.intents[lease.intent].signer
    mandate = state.mandates.get(signer)
    return signer if mandate is None else mandate.signer


def _rule(state: State, account: str) -> int:
    return rule_of(int(caps_of(state, account).root or "0x0", 16))


def _caps_over(state: State, account: str, session: Session) -> list[_Cap]:
    """What bounds a key: its own cap, which is its predecessor's too, its team's, the account's."""
    sessions, caps = state.accounts[account].sessions, caps_of(state, account)
    before, team = session.predecessor, session.team
    own = {name: one for name, one in sessions.items() if one is session or name == before}
    teams = {name: one for name, one in sessions.items() if one.team == team}
    words = (session.word, caps.teams.get(team, ""), caps.root)
    over = [
        _Cap(int(word or "0x0", 16), keys)
        for word, keys in zip(words, (own, teams, sessions), strict=True)
    ]
    return [cap for cap in over if cap_word.is_capped(cap.word)]


def _left(state: State, cap: _Cap, receipts: list[SignedReceipt]) -> int:
    """What may still be promised under a cap, beside what was bought and signed for under it."""
    signed = sum(one.amount - cap.bought(one) for one in receipts if one.signer in cap.keys)
    return _promisable(state, cap) - sum(key.committed for key in cap.keys.values()) - signed


def _promisable(state: State, cap: _Cap) -> int:
    """What may be promised under a cap in all, whenever all of it is charged."""
    return cap_word.promisable_at(cap.word, _now_s(state)) or 0


def _charged(word: str, amount: int, time_s: int) -> str:
    """With so much counted, as far as there is room: beyond that nothing is left anyway."""
    if not word or not amount:
        return word
    number = int(word, 16)
    left = cap_word.left_at(number, time_s)
    after = cap_word.charge(number, amount if left is None else min(amount, left), time_s)
    assert after is not None, "what is left can be charged"
    return hex(after)


def _set_word(state: State, session: Session, word: str) -> None:
    """Everything of a key that is shown follows from its word."""
    number = int(word, 16)
    bearer = cap_word.bearer_of(number)
    session.word = word
    session.permissions = bearer.permissions & ~TERMED
    session.expires_at, session.team = bearer.expires_at, bearer.team
    session.cap = min(CAP_MAX, cap_word.cap_of(number)) if cap_word.is_capped(number) else CAP_MAX
    session.spent = cap_word.spent_at(number, _chain_s(state))


def _chain_s(state: State) -> int:
    """The time of the block that is being applied, or ours where it was not told."""
    return state.metering.chain_s or state.now_ms // 1_000


def _now_s(state: State) -> int:
    return state.now_ms // 1_000 - LAG_S
