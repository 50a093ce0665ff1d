"""A market is found by its address."""

import time

import pytest

from intents.bound import NONCE_MAX
from solver.client import Market, Unreachable


@pytest.mark.parametrize("address", ["nonsense", "", "ftp://there"])
async def test_what_is_no_address_is_named(address: str) -> None:
    """Rather than the path that would have been asked there."""
    with pytest.raises(Unreachable, match=f"'{address}' is no market's address"):
        await Market(address).__aenter__()


def test_nonces_rise_with_the_markets_time() -> None:
    """Each is above all before it, though many are wanted at once and clocks are set back."""
    market = Market("http://market.invalid")
    market._ahead_s = 3_600.0
    nonces = [market.next_nonce() for _ in range(1_000)]
    market._ahead_s = -3_600.0
    nonces += [market.next_nonce() for _ in range(10)]
    assert nonces == sorted(set(nonces))
    assert abs(nonces[0] / 1_000_000 - time.time() - 3_600) < 60
    assert nonces[-1] < NONCE_MAX
