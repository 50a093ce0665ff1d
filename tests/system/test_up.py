"""`keyfill up` with a chain of its own: started, killed, started again, started twice."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from solver.demo.process import Subprocess
from tests.system.load import keyfill

UP = "up --port 0"


async def test_p6_a_local_market_survives_stop_and_kill(tmp_path: Path) -> None:
    """Deposits, and the local chain itself, are there after SIGTERM and after SIGKILL."""
    data_dir = tmp_path / "data"
    async with a_market(data_dir) as market:
        for words in ("account new", "account fund 5", "account deposit 3"):
            code, output = await keyfill(data_dir, words)
            assert code == 0, output
        await _has_deposit(data_dir)
        await market.kill()
    async with a_market(data_dir) as market:
        await _has_deposit(data_dir)
        code, output = await keyfill(data_dir, "account deposit 2")
        assert code == 0, output
        await market.stop()
    async with a_market(data_dir):
        await _has_deposit(data_dir, "5.000000")


async def test_a_second_market_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """One line says why, and the first goes on undisturbed."""
    data_dir = tmp_path / "data"
    async with a_market(data_dir) as market:
        code, output = await keyfill(data_dir, UP)
        assert code == 1
        assert "another market runs on" in output
        assert "Traceback" not in output
        assert not market.ended
        code, output = await keyfill(data_dir, "key providers")
        assert code == 0, output


@asynccontextmanager
async def a_market(data_dir: Path) -> AsyncIterator[Subprocess]:
    """A market in a process of its own, once it is open; ended with SIGTERM."""
    command = [sys.executable, "-m", "solver.cli", *UP.split(), "--data-dir", str(data_dir)]
    market = await Subprocess.start(command, log=data_dir.parent / "market.log")
    try:
        async with asyncio.timeout(40):
            # A killed market leaves its note behind; it is fresh once it names this process.
            while not _is_noted(data_dir, market):
                assert not market.ended, (data_dir.parent / "market.log").read_text()
                await asyncio.sleep(0.05)
        yield market
    finally:
        await market.stop()


def _is_noted(data_dir: Path, market: Subprocess) -> bool:
    try:
        return bool(msgspec.json.decode((data_dir / "node.json").read_bytes())["pid"] == market.pid)
    except FileNotFoundError:
        return False


async def _has_deposit(data_dir: Path, amount: str = "3.000000") -> None:
    output = ""
    async with asyncio.timeout(40):
        while f'"usdc available": "{amount}"' not in output:
            _, output = await keyfill(data_dir, "balance --json")
