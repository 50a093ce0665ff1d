"""What lines cost the transaction that settles them: upper bounds, so that every batch fits one.

Bytes are the widths of the packed layout (contracts/batch.py). Gas is taken from the
contract's bounds and from contracts/gas.json: a new counter word 22,100, a seller's new
balance word as much, `ecrecover` 3,100, an event 2,643; a session's words 23,200 with those
of its terms, team and account (only grants make new ones); a contract account is given
200,000 and may burn them all (`AUTHORITY_GAS` of Settlement). A proof costs a hash for each
of its words, and its type.
"""

from collections.abc import Iterable
from typing import Final

from solver.core.command import Authority
from solver.core.lease import Lease
from solver.core.meter import Record
from solver.core.state import State

BYTES_FIXED: Final = 512
"""Two calls around the batch, its counts, and words filled up."""
RESOURCE_BYTES: Final = 32
INTENT_BYTES: Final = 77
OFFER_BYTES: Final = 112
LINE_BYTES: Final = 62
LINES_MAX: Final = 255
"""The contract counts an entry's lines in a byte; a mandate with more is listed again."""

GAS_FIXED: Final = 600_000
"""45,000 of the contract, 21,000, the account's 20,000, what has to be left for a contract
account to be asked (223,000), and the 64th that the account's call keeps back (260,000)."""
BYTE_GAS: Final = 16
INTENT_GAS: Final = 34_000
OFFER_GAS: Final = 48_000
LINE_GAS: Final = 6_000
RECORD_BYTES_FIXED: Final = 6_000
"""Two calls around the batch, its counts, and as many address books as it may name."""
RECORD_BYTES: Final = 6
PAID_LINE_BYTES: Final = 10
PAID_SELLER_BYTES: Final = 2
RECORD_GAS_FIXED: Final = 2_000_000
"""As `GAS_FIXED`, a root's place, and the code of the address books."""
RECORD_GAS: Final = 9_000
PAID_LINE_GAS: Final = 600
PAID_SELLER_GAS: Final = 24_500
AWARD_BYTES: Final = 138
AWARD_GAS: Final = 60_000
"""The operator's own account is asked for its signature, and the solver has a new balance word."""
AWARDED_BYTES: Final = 29
AWARDED_GAS: Final = 9_000
"""Beside a line's: an event, a standing of its own, and its leaf."""
NODE_BYTES: Final = 32
NODE_GAS: Final = 200
PROOF_GAS: Final = 1_500
PROOF_BYTE_GAS: Final = 6
AUTHORITY_GAS: Final = {
    Authority.KEY: 4_000,
    Authority.SESSION: 30_000,
    Authority.CONTRACT: 210_000,
}


class Load:
    """What a batch's lines cost so far; each document and resource counts once."""

    def __init__(self, bytes_max: int, gas_max: int) -> None:
        self.bytes = BYTES_FIXED
        self.gas = GAS_FIXED
        self._bytes_max = bytes_max
        self._gas_max = gas_max
        self._listed: dict[str, int] = {}
        """What is in the batch, and how many lines it has there."""

    def takes(self, state: State, leases: Iterable[Lease]) -> bool:
        """Add these lines if they fit together; whether they did."""
        found, size, gas = self._listed.copy(), self.bytes, self.gas
        for lease in leases:
            size += LINE_BYTES
            gas += LINE_GAS
            buyer = signed_digest(state, lease.intent)
            if not found.get(buyer, 0) % LINES_MAX:
                bytes_added, gas_added = _entry(state, buyer, found)
                size += bytes_added
                gas += gas_added
            if lease.offer not in found:
                offer = state.offers[lease.offer]
                size += OFFER_BYTES + _bytes(offer.signature) + _resource(lease.resource, found)
                gas += OFFER_GAS + AUTHORITY_GAS[offer.authority]
            if lease.charge:
                bytes_added, gas_added = _awarded(state, lease, found)
                size += bytes_added
                gas += gas_added
            for listed in (buyer, lease.offer):
                found[listed] = found.get(listed, 0) + 1
        gas += BYTE_GAS * (size - self.bytes)
        if size > self._bytes_max or gas > self._gas_max:
            return False
        self._listed, self.bytes, self.gas = found, size, gas
        return True


class RecordLoad:
    """What the records of a metered batch cost so far; each seller counts once."""

    def __init__(self, bytes_max: int, gas_max: int) -> None:
        self.bytes = RECORD_BYTES_FIXED
        self.gas = RECORD_GAS_FIXED
        self._bytes_max = bytes_max
        self._gas_max = gas_max
        self._sellers: set[str] = set()

    def takes(self, record: Record) -> bool:
        """Add a buyer's record if it fits; whether it did."""
        receipt = record.receipt
        size = RECORD_BYTES + (0 if receipt is None else _bytes(receipt.signature))
        gas = RECORD_GAS + (0 if receipt is None else AUTHORITY_GAS[receipt.authority])
        new = {line.seller for line in record.lines} - self._sellers
        size += PAID_LINE_BYTES * len(record.lines) + PAID_SELLER_BYTES * len(new)
        gas += PAID_LINE_GAS * len(record.lines) + PAID_SELLER_GAS * len(new) + BYTE_GAS * size
        if self.bytes + size > self._bytes_max or self.gas + gas > self._gas_max:
            return False
        self.bytes, self.gas = self.bytes + size, self.gas + gas
        self._sellers |= new
        return True


def signed_digest(state: State, intent: str) -> str:
    """What was signed for an intent's lines: the intent, or the mandate that it is under."""
    record = state.intents[intent]
    return record.signer if record.authority is Authority.MANDATE else intent


def _awarded(state: State, lease: Lease, found: dict[str, int]) -> tuple[int, int]:
    """Bytes and gas of proving a fill of an award, and of listing the award if that is new."""
    nodes = (len(state.awards[lease.award].fills) - 1).bit_length()
    size, gas = AWARDED_BYTES + NODE_BYTES * nodes, AWARDED_GAS + NODE_GAS * nodes
    name = f"award:{lease.award}"
    if name in found:
        return size, gas
    found[name] = 1
    return size + AWARD_BYTES, gas + AWARD_GAS


def _entry(state: State, buyer: str, found: dict[str, int]) -> tuple[int, int]:
    """Bytes and gas of listing an intent or a mandate, and its resource if that is new."""
    mandate = state.mandates.get(buyer)
    if mandate is not None:
        size = INTENT_BYTES + _bytes(mandate.signature)
        size += _resource(mandate.document.resource, found)
        return size, INTENT_GAS + AUTHORITY_GAS[mandate.authority]
    intent = state.intents[buyer]
    proof = _bytes(intent.proof)
    size = INTENT_BYTES + _bytes(intent.signature) + proof
    size += _resource(intent.document.resource, found)
    gas = INTENT_GAS + AUTHORITY_GAS[intent.authority]
    return size, gas + (PROOF_GAS + PROOF_BYTE_GAS * proof if proof else 0)


def _resource(resource: str, found: dict[str, int]) -> int:
    """Bytes of listing a resource, none if it is listed; any resource is the empty name."""
    key = f"resource:{resource}"
    if key in found:
        return 0
    found[key] = 1
    return RESOURCE_BYTES


def _bytes(text: str) -> int:
    """How many bytes 0x-hex stands for."""
    return len(text) // 2 - 1 if text else 0
