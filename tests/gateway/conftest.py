"""The world as a fixture; each test has its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from tests.gateway.world import World, a_world


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Refusals by the hundred need not be printed."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest_asyncio.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A market on loopback; whole journeys write a real journal."""
    durable = request.module.__name__.endswith("test_journey")
    async with a_world(tmp_path if durable else None) as made:
        yield made
