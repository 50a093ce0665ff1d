"""One Anvil per module; a deployment of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.anvil import Anvil, Options
from tests.settlement.world import World, a_world


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    """A chain that mines a block per transaction and no other."""
    with Anvil.start(Options(block_time_ms=None)) as running:
        yield running


@pytest.fixture
async def world(anvil: Anvil, tmp_path: Path) -> AsyncIterator[World]:
    """A deployed market that mines at once, whatever the test before left behind."""
    anvil.rpc("evm_setAutomine", True)
    async with a_world(anvil, tmp_path) as made:
        yield made
