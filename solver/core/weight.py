"""What lines cost the transaction that settles them: upper bounds, so that every batch fits one.

Bytes are the widths of the packed layout (contracts/batch.py). Gas is taken from the
contract's bounds and from contracts/gas.json: a new counter word 22,100, a seller's new
balance word as much, `ecrecover` 3,100, an event 2,643; a session adds 11,900; a contract
account is given 200,000 and may burn them all (`AUTHORITY_GAS` of Settlement).
"""

from collections.abc import Iterable
from typing import Final

from solver.core.command import Authority
from solver.core.state import IntentState, Lease, OfferState, State

BYTES_FIXED: Final = 512
"""Two calls around the batch, its counts, and words filled up."""
RESOURCE_BYTES: Final = 32
INTENT_BYTES: Final = 77
OFFER_BYTES: Final = 112
LINE_BYTES: Final = 62

GAS_FIXED: Final = 600_000
"""45,000 of the contract, 21,000, the account's 20,000, what has to be left for a contract
account to be asked (223,000), and the 64th that the account's call keeps back (260,000)."""
BYTE_GAS: Final = 16
INTENT_GAS: Final = 34_000
OFFER_GAS: Final = 48_000
LINE_GAS: Final = 6_000
AUTHORITY_GAS: Final = {
    Authority.KEY: 4_000,
    Authority.SESSION: 18_000,
    Authority.CONTRACT: 210_000,
}


class Load:
    """What a batch's lines cost so far; each document and resource counts once."""

    def __init__(self, bytes_max: int, gas_max: int) -> None:
        self.bytes = BYTES_FIXED
        self.gas = GAS_FIXED
        self._bytes_max = bytes_max
        self._gas_max = gas_max
        self._listed: set[str] = set()

    def takes(self, state: State, leases: Iterable[Lease]) -> bool:
        """Add these lines if they fit together; whether they did."""
        found, size, gas = self._listed.copy(), self.bytes, self.gas
        for lease in leases:
            size += LINE_BYTES
            gas += LINE_GAS
            if lease.resource not in found:
                size += RESOURCE_BYTES
            if lease.intent not in found:
                size += INTENT_BYTES + _signature_bytes(state.intents[lease.intent])
                gas += INTENT_GAS + AUTHORITY_GAS[state.intents[lease.intent].authority]
            if lease.offer not in found:
                size += OFFER_BYTES + _signature_bytes(state.offers[lease.offer])
                gas += OFFER_GAS + AUTHORITY_GAS[state.offers[lease.offer].authority]
            found |= {lease.resource, lease.intent, lease.offer}
        gas += BYTE_GAS * (size - self.bytes)
        if size > self._bytes_max or gas > self._gas_max:
            return False
        self._listed, self.bytes, self.gas = found, size, gas
        return True


def _signature_bytes(record: IntentState | OfferState) -> int:
    return len(record.signature) // 2 - 1
