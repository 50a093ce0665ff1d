"""From a metered batch that the core cut to the calldata that settles it."""

from collections.abc import Mapping, Sequence
from typing import Final

from contracts.metered import (
    AUTHORITY_ATTESTED,
    AUTHORITY_CONTRACT,
    AUTHORITY_PLAIN,
    AUTHORITY_SESSION,
    Books,
    books,
    pack,
    settle_metered_call,
)
from contracts.metered import Record as PackedRecord
from solver.core.command import Authority
from solver.core.meter import Record
from solver.core.state import Batch, State
from solver.settlement.fault import BatchTooLarge

BOOKS_MAX: Final = 255
PLACES_MAX: Final = 2**16
_AUTHORITIES: Final = {
    Authority.KEY: AUTHORITY_PLAIN,
    Authority.CONTRACT: AUTHORITY_CONTRACT,
    Authority.SESSION: AUTHORITY_SESSION,
}


def encode_metered(state: State, batch: Batch, shelf: Mapping[str, Sequence[str]]) -> bytes | None:
    """Calldata for the operator's account; None while somebody stands in no book.

    Raises BatchTooLarge.
    """
    parties = {record.account for record in batch.records}
    parties |= {line.seller for record in batch.records for line in record.lines}
    index = _index(parties, shelf)
    if parties - index.places.keys():
        return None
    if len(index.addresses) > BOOKS_MAX or len(index.places) > PLACES_MAX:
        raise BatchTooLarge(f"batch {batch.number} needs {len(index.addresses)} address books")
    packed = pack(index, [_packed(state, record) for record in batch.records])
    return settle_metered_call(batch.root_number, batch.digest, packed)


def _index(parties: set[str], shelf: Mapping[str, Sequence[str]]) -> Books:
    """The books that list any of them: each account once, as nobody is listed again."""
    return books(
        {
            address: accounts
            for address, accounts in shelf.items()
            if not parties.isdisjoint(accounts)
        }
    )


def _packed(state: State, record: Record) -> PackedRecord:
    receipt = record.receipt
    if receipt is None:
        return PackedRecord(
            account=record.account, lines=record.lines, authority=AUTHORITY_ATTESTED
        )
    account = state.accounts.get(record.account)
    epoch = 0 if account is None else account.epoch
    return PackedRecord(
        account=record.account,
        lines=record.lines,
        authority=_AUTHORITIES[receipt.authority],
        signature=receipt.signature,
        is_epoch_before=receipt.epoch + 1 == epoch,
    )
