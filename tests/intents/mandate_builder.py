"""A mandate that reads like a sentence."""

from itertools import count
from typing import Any, Final

from intents.document import Mandate
from tests.builder import HOUR_S, SEARCH, START_S, USDC, Person

_NONCES: Final = count(1 << 40)


def a_mandate(buyer: Person, **terms: Any) -> Mandate:
    """Up to 1,000 atoms for searches at up to 100 atoms each, for an hour, but for `terms`."""
    return Mandate(
        **{
            "account": buyer.address,
            "resource": SEARCH,
            "asset": USDC,
            "tick_max": 100_000_000,
            "limit": 1_000,
            "valid_until": START_S + HOUR_S,
            "nonce": next(_NONCES),
            **terms,
        }
    )
