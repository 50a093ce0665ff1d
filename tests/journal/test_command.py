"""`keyfill journal` on a market's folder: what it prints, and the code it ends with."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from solver.journal.recovery import take_snapshot
from tests.journal.damage import change, records_of
from tests.journal.history import History, a_log

WALK: Final = a_log(5, 200)
LOG: Final = WALK[:-20]


def keyfill(*words: str) -> tuple[int, str]:
    """Run the command; its exit code and all that it printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "solver.cli", "journal", *words],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return finished.returncode, finished.stdout


def told(*words: str) -> dict[str, Any]:
    """The one JSON object that a command printed."""
    code, text = keyfill(*words, "--json")
    assert code == 0, text
    facts: dict[str, Any] = json.loads(text)
    return facts


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A market that has the journal open: it is running."""
    return History.at(tmp_path).play(LOG)


def test_a_running_market_is_verified_replayed_and_counted(
    history: History, tmp_path: Path
) -> None:
    """Chain, state hash and counts are those of the market that holds the journal."""
    where = ("--data-dir", str(tmp_path))
    assert told("verify", *where)["chain"] == history.journal.chain.hex()
    replayed = told("replay", *where)
    assert replayed["state_hash"] == history.market.state.hash()
    assert (replayed["commands"], replayed["events"]) == (len(LOG), history.feed.seq)
    counted = told("stats", *where)
    assert sum(counted["kinds"].values()) == counted["commands"] == len(LOG)
    history.journal.close()


def test_a_snapshot_by_hand_is_used(history: History, tmp_path: Path) -> None:
    """`snapshot` keeps the state, says so, and `replay --from-snapshot` starts from it."""
    where = ("--data-dir", str(tmp_path))
    assert told("snapshot", *where)["state_hash"] == history.market.state.hash()
    assert not told("snapshot", *where)["taken"]
    replayed = told("replay", "--from-snapshot", *where)
    assert (replayed["snapshot"], replayed["state_hash"]) == (
        len(LOG),
        history.market.state.hash(),
    )
    history.journal.close()


def test_damage_is_named_with_its_place(history: History, tmp_path: Path) -> None:
    """A changed group ends `verify` with 65 and its number; other commands trust it no more."""
    take_snapshot(tmp_path)
    history.journal.close()
    seq = records_of(tmp_path / "journal.db")[-1].seq
    change(tmp_path / "journal.db", seq, payload=bytes(9))
    for words in (("verify",), ("replay",), ("stats",), ("snapshot",), ("export",)):
        code, text = keyfill(*words, "--data-dir", str(tmp_path))
        assert code == 65, words
        assert f"record {seq}" in text


def test_another_outcome_is_a_violation(history: History, tmp_path: Path) -> None:
    """A journal that is sound, but whose market went another way, ends `replay` with 70."""
    history.outcome = bytes(32)
    history.play(WALK[len(LOG) :])
    history.journal.close()
    assert keyfill("verify", "--data-dir", str(tmp_path))[0] == 0
    code, text = keyfill("replay", "--data-dir", str(tmp_path))
    assert code == 70
    assert "replay_equal" in text


def test_export_tells_every_command(history: History, tmp_path: Path) -> None:
    """JSON lines: each command with its number and its events; Beancount into a file."""
    history.journal.close()
    code, text = keyfill("export", "--data-dir", str(tmp_path))
    assert code == 0
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(LOG) + 1))
    assert sum(len(line["events"]) for line in lines) == history.feed.seq
    target = tmp_path / "books.beancount"
    words = ("export", "--format", "beancount", "--output", str(target))
    assert keyfill(*words, "--data-dir", str(tmp_path))[0] == 0
    assert target.read_text().startswith("option")


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    """No journal, or one that cannot be read: code 1 and a sentence, never a traceback."""
    code, text = keyfill("verify", "--data-dir", str(tmp_path / "nowhere"))
    assert code == 1
    assert "there is no journal" in text
    (tmp_path / "journal.db").write_bytes(b"rubbish" * 1_000)
    code, text = keyfill("verify", "--data-dir", str(tmp_path))
    assert code == 65
    assert "Traceback" not in text
