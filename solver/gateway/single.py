"""Signed intents that come one by one, and what is done with them together.

Those that one verifier answered at the same time are bound to their accounts, submitted as
one group, and so written and told as one: nobody waits for that, as they were together
already. Each has its rate, its outcome and its errors for itself. What only an account's
contract can explain goes back to who asked: others do not wait for a chain.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from intents.admission import Verified
from intents.document import Intent
from intents.reject import Reject
from solver.core.command import Authority
from solver.core.document import IntentState, intent_record
from solver.engine.sequencer import Result, Sequencer
from solver.gateway.limit import Buckets, limited
from solver.verifier.batch import Verdict, names_of, read_intent
from solver.verifier.pool import Verifiers
from solver.verifier.record import signed_records

Taken = str | Verified[Intent] | Reject
"""The digest of what is durable; or what no key that is known here explains."""
_Asker = asyncio.Future[Taken]


class Singles:
    """Takes signed intents that come one by one."""

    def __init__(self, sequencer: Sequencer, verifiers: Verifiers, accounts: Buckets) -> None:
        self._sequencer = sequencer
        self._verifiers = verifiers
        self._accounts = accounts
        self._taken: Final = self._verified
        """One for all: those of one `taken` are verified together."""

    def take(self, raw: bytes) -> _Asker:
        """Have the intent of a body verified, bound and submitted. Its contract is not asked."""
        asker: _Asker = asyncio.get_running_loop().create_future()
        now_s = self._sequencer.now_ms() // 1_000
        self._verifiers.enter_intent(raw, now_s, asker, self._taken)
        return asker

    def _verified(self, askers: Sequence[_Asker], verdict: Verdict) -> None:
        """These are verified: submit those that known keys signed."""
        records: list[IntentState] = []
        submitted: list[_Asker] = []
        now_ms = self._sequencer.now_ms()
        found = signed_records(verdict, self._is_session)
        for place, (asker, record) in enumerate(zip(askers, found, strict=True)):
            if asker.done():
                continue  # who has left
            if isinstance(record, IntentState):
                refused = limited(self._accounts, record.account, now_ms)
                if refused is None:
                    records.append(record)
                    submitted.append(asker)
                else:
                    asker.set_result(refused)
            else:
                asker.set_result(record or read_intent(verdict, place, names_of(verdict)))
        applied = self._sequencer.enter(records)
        applied.add_done_callback(partial(_tell, submitted, records))

    def _is_session(self, account: str, signer: str) -> bool:
        """Whether the chain has named the signer as a session key; the core says if it is live."""
        record = self._sequencer.market.state.accounts.get(account)
        return record is not None and signer in record.sessions


def signed_intent(verified: Verified[Intent], signer: str, authority: Authority) -> IntentState:
    """The record of an intent which carries its own signature."""
    return intent_record(
        verified.document,
        digest=verified.digest,
        signer=signer,
        authority=authority,
        signature=verified.signature,
    )


def _tell(
    askers: Sequence[_Asker],
    records: Sequence[IntentState],
    applied: asyncio.Future[list[Result]],
) -> None:
    """What became of each is on disk, or was refused."""
    for asker, record, result in zip(askers, records, applied.result(), strict=True):
        if not asker.done():
            asker.set_result(result if isinstance(result, Reject) else record.digest)
