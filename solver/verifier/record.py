"""What was verified of many intents, as the records that the core takes.

Compiled, and from row to record in one step: whoever comes with many intents comes with a
Verdict, of which there are no documents unless somebody asks for one (`batch.read_intent`).
"""

from collections.abc import Callable, Sequence
from typing import Final

from intents.place import Place
from intents.reject import Reject, RejectCode, reject
from solver.core.command import Authority
from solver.core.document import IntentState
from solver.verifier.batch import REJECT_FIELDS, Verdict, names_of, read_reject
from solver.verifier.row import Row

# Bound once: looking an enumeration's member up costs as much as a check.
_KEY: Final = Authority.KEY
_SESSION: Final = Authority.SESSION
_MANDATE: Final = Authority.MANDATE

IsSession = Callable[[str, str], bool]
"""Whether an account, the first, is known to have this session key."""


def signed_records(verdict: Verdict, is_session: IsSession) -> list[IntentState | Reject | None]:
    """A record of each intent that its account's key or a session key signed; None of others."""
    told = _Told(verdict)
    names = told.names
    records: list[IntentState | Reject | None] = []
    for row in verdict.rows:
        if len(row) == REJECT_FIELDS:
            records.append(read_reject(row))
            continue
        account, signer = row[0], row[12]
        if signer == account:
            records.append(told.record(row, names[account], _KEY))
        elif signer is not None and is_session(names[account], names[signer]):
            records.append(told.record(row, names[signer], _SESSION))
        else:
            records.append(None)
    return records


def mandated_records(verdict: Verdict, mandate: str, account: str) -> list[IntentState | Reject]:
    """A record of each intent under a mandate of this account. Rejects: not_authorized."""
    told = _Told(verdict)
    names = told.names
    records: list[IntentState | Reject] = []
    for row in verdict.rows:
        if len(row) == REJECT_FIELDS:
            records.append(read_reject(row))
        elif names[row[0]] != account:
            records.append(reject(RejectCode.NOT_AUTHORIZED, "the mandate is another account's"))
        else:
            records.append(told.record(row, mandate, _MANDATE))
    return records


def counts_by_account(records: Sequence[IntentState | Reject]) -> dict[str, int]:
    """How many intents of each account there are."""
    counts: dict[str, int] = {}
    for record in records:
        if isinstance(record, IntentState):
            counts[record.account] = counts.get(record.account, 0) + 1
    return counts


class _Told:
    """What rows refer to, read once: a Struct's field costs compiled code a search each time."""

    def __init__(self, verdict: Verdict) -> None:
        self.names = names_of(verdict)
        self._count = len(verdict.rows)
        self._nodes: str = verdict.nodes
        self._signature: str = verdict.signature

    def record(self, row: Row, signer: str, authority: Authority) -> IntentState:
        """The record of an intent that this signer signed for."""
        (
            account,
            resource,
            asset,
            units,
            units_min,
            limit,
            start,
            end,
            immediate,
            epoch,
            nonce,
            digest,
            _,
            signature,
            leaf,
        ) = row
        names = self.names
        return IntentState(
            names[account],
            names[resource],
            names[asset],
            units,
            units_min,
            limit,
            start,
            end,
            immediate,
            epoch,
            nonce,
            digest,
            signer,
            authority,
            signature or self._signature,
            "" if leaf is None else Place(self._nodes, self._count, leaf),
        )
