"""The playground as a newcomer meets it: its commands in processes of their own."""

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from solver.demo.playground import RIVALS, Entry
from solver.demo.process import Subprocess

PLAYGROUND = (sys.executable, "-m", "solver.cli", "playground", "--json", "--seconds", "900")
SHADOW = (sys.executable, "-m", "solver.cli", "solver", "run", "--strategy", "milp", "--shadow")
HANG_SECONDS = 300
"""What is waited for takes some ten seconds; only what will never happen takes so long."""


@pytest.mark.timeout(1_000)
async def test_a_newcomer_wins_an_auction_and_sees_it_settled(tmp_path: Path) -> None:
    """The line that the playground prints is all it takes; three rivals and a shadow look on.

    The newcomer's score, reference and reward add up, it is rewarded on chain for what its rivals
    could not have had, and Ctrl-C ends everything that the playground started.
    """
    folder, said = tmp_path / "playground", tmp_path / "playground.log"
    playground = await Subprocess.start((*PLAYGROUND, "--folder", str(folder)), log=said)
    joined: list[Subprocess] = []
    try:
        await _until(lambda: '"join"' in _text(said), playground)
        (line,) = [line for line in _text(said).splitlines() if line.startswith("{")]
        entry = msgspec.json.decode(line, type=Entry)
        shadow = (*SHADOW, "--json", "--market", entry.url)
        joined.append(await Subprocess.start(shadow, log=tmp_path / "shadow.log"))
        newcomer = tmp_path / "newcomer.log"
        joined.append(await Subprocess.start(shlex.split(entry.join), log=newcomer))
        await _until(lambda: " settled" in _text(newcomer), playground)
        await _until(lambda: "paid on chain" in _text(newcomer), playground)
        await _until(lambda: '"won": 1' in _text(tmp_path / "shadow.log"), playground)
        for name in RIVALS:
            assert "auction" in _text(folder / f"solver-{name}.log"), name
        playground.interrupt()
        assert await asyncio.wait_for(playground.wait(), HANG_SECONDS) == 0
    finally:
        for process in (*joined, playground):
            await process.stop()
    _adds_up(_text(newcomer))
    _agrees(_text(tmp_path / "shadow.log"))
    assert _running(tmp_path) == []


def _text(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def _running(folder: Path) -> list[str]:
    listed = subprocess.run(("/bin/ps", "-eo", "args"), capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


async def _until(condition: Callable[[], bool], playground: Subprocess) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():
            assert not playground.ended
            await asyncio.sleep(0.2)


def _adds_up(text: str) -> None:
    """The settled intent is of an auction that was won, at a reward of its score's."""
    won = [line for line in text.splitlines() if ": won, " in line]
    settled = [line for line in text.splitlines() if line.endswith(" settled")]
    assert {line.split(":")[0] for line in settled} <= {line.split(":")[0] for line in won}
    for line in won:
        score, reference, reward = (int(part.split()[-1]) for part in line.split(",")[1:])
        assert score > 0
        assert reward == score - reference >= 0
    paid = [int(line.split()[3]) for line in text.splitlines() if line.startswith("paid on")]
    assert all(atoms > 0 for atoms in paid)


def _agrees(text: str) -> None:
    """What the shadow judged again is what the market published, in every auction that closed."""
    told = [msgspec.json.decode(line) for line in text.splitlines() if line.startswith("{")]
    assert all(one["shadow"] and one["differs"] == [] for one in told)
