"""A market is found by its address."""

import pytest

from solver.client import Market, Unreachable


@pytest.mark.parametrize("address", ["nonsense", "", "ftp://there"])
async def test_what_is_no_address_is_named(address: str) -> None:
    """Rather than the path that would have been asked there."""
    with pytest.raises(Unreachable, match=f"'{address}' is no market's address"):
        await Market(address).__aenter__()
