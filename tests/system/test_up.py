"""`keyfill up` with a chain of its own: started, killed, started again, started twice."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from solver.demo.process import Subprocess
from tests.patience import patiently
from tests.system.load import keyfill

UP = "up --port 0"
POWER_CUTS = 3


async def test_p6_a_local_market_survives_stop_and_kill(tmp_path: Path) -> None:
    """Deposits, and the local chain itself, are there after SIGTERM and after SIGKILL."""
    data_dir = tmp_path / "data"
    async with a_market(data_dir) as market:
        for words in ("account new", "account fund 5", "account deposit 3"):
            code, output = await keyfill(data_dir, words)
            assert code == 0, output
        await _has_deposit(data_dir)
        code, output = await keyfill(data_dir, "account withdraw 3.000001")
        assert (code, "has 3.000000 USDC deposited" in output) == (1, True), output
        await market.kill()
    async with a_market(data_dir) as market:
        await _has_deposit(data_dir)
        code, output = await keyfill(data_dir, "account deposit 2")
        assert code == 0, output
        await market.stop()
    async with a_market(data_dir):
        await _has_deposit(data_dir, "5.000000")


async def test_settings_that_are_not_there_are_told_with_what_to_do(tmp_path: Path) -> None:
    """One line that names the file and both ways on, and nothing is made."""
    data_dir, missing = tmp_path / "data", tmp_path / "missing.toml"
    code, output = await keyfill(data_dir, f"up --config {missing}")
    assert code == 1
    assert output.count("\n") == 1, output
    assert str(missing) in output
    assert "Leave --config out" in output
    assert not data_dir.exists()


async def test_p6_a_power_cut_takes_nothing_that_was_final(tmp_path: Path) -> None:
    """Market and chain are killed together, again and again, in the middle of transactions.

    Each time both come back, and every deposit that the market had seen is still there.
    """
    data_dir = tmp_path / "data"
    async with a_market(data_dir) as market:
        for words in ("account new", "account fund 50"):
            code, output = await keyfill(data_dir, words)
            assert code == 0, output
        await _power_cut(data_dir, market)
    for _ in range(POWER_CUTS):
        async with a_market(data_dir) as market:
            _, before = await keyfill(data_dir, "balance --json")
            deposit = asyncio.create_task(keyfill(data_dir, "account deposit 1"))
            await asyncio.sleep(1 + secrets.randbelow(1_500) / 1_000)
            _, seen = await keyfill(data_dir, "balance --json")
            await _power_cut(data_dir, market)
            await deposit
        async with a_market(data_dir) as market:
            _, after = await keyfill(data_dir, "balance --json")
            assert _usdc(before) <= _usdc(seen) <= _usdc(after) <= _usdc(seen) + 1
            await market.stop()


async def _power_cut(data_dir: Path, market: Subprocess) -> None:
    anvil = int((data_dir / "anvil.pid").read_text())
    os.kill(anvil, signal.SIGKILL)
    await market.kill()


def _usdc(balance: str) -> float:
    return float(json.loads(balance)["usdc available"])


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
        async with patiently():
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
    async with patiently():
        while f'"usdc available": "{amount}"' not in output:
            _, output = await keyfill(data_dir, "balance --json")
