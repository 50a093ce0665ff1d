"""A journal of an older format becomes one of today's, and leads to what it led to."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from solver.core.command import CutBatch, StartCall
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, replay
from solver.journal import Genesis, Journal, JournalCorrupt, JournalForeign
from solver.journal.translation import DECODER, Translation, Untranslatable, named_leases
from tests.builder import DOMAIN, USDC

HERE: Final = Path(__file__).parent
GENESIS: Final = Genesis(chain_id=31_337, settlement=DOMAIN.verifying_contract, usdc=USDC)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the kept journal: 254 commands of every kind there was."""
    shutil.copy(HERE / "v1.db", tmp_path / "journal.db")
    return tmp_path / "journal.db"


def recovered(path: Path) -> Recovered:
    journal = Journal.open(path, GENESIS)
    try:
        fresh = Recovered(market=Market(USDC), feed=Feed())
        return replay(fresh, journal.read(), journal.checkpoints())
    finally:
        journal.close()


def test_a_migrated_journal_leads_to_what_the_old_one_did(old: Path) -> None:
    """Balances, documents, leases, calls, keys, auctions and batches are as they were."""
    told: dict[str, Any] = json.loads((HERE / "v1.json").read_text())
    again = recovered(old)
    state = again.market.state
    assert (again.seq, again.feed.seq, state.now_ms) == (
        told["records"],
        told["events"],
        told["now_ms"],
    )
    for owner, asset, total, available in told["balances"]:
        if not asset.startswith("unit:"):
            balance = state.ledger.balance(owner, asset)
            assert (balance.total, balance.available) == (total, available), (owner, asset)
    for digest, (status, open_units, filled_units) in told["intents"].items():
        intent = state.intents[digest]
        assert (intent.status, intent.open_units, intent.filled_units) == (
            status,
            open_units,
            filled_units,
        )
    assert {digest: offer.live for digest, offer in state.offers.items()} == told["offers"]
    # Leases, auctions and batches have other names today: they are compared in their order.
    leases = [
        (lease.status, lease.units, lease.delivered, lease.lapsed, lease.payment)
        for lease in state.leases.values()
    ]
    assert leases == [
        (status, units, delivered, lapsed, payment)
        for status, units, delivered, lapsed, _, payment in told["leases"].values()
    ]
    assert list(state.calls) == told["calls"]
    assert {key: record.live for key, record in state.keys.items()} == told["keys"]
    auctions = [
        [auction.winners[0].solver if auction.winners else "", auction.closed]
        for auction in state.auctions.values()
    ]
    assert auctions == list(told["auctions"].values())
    batches = [[batch.paid, batch.skipped, batch.final] for batch in state.batches.values()]
    assert batches == [batch[1:] for batch in told["batches"].values()]


def test_it_is_done_once_and_the_old_file_is_kept(old: Path) -> None:
    """The old journal stays beside the new one, byte for byte what it said."""
    before = _old_rows(old)
    first = recovered(old)
    kept = old.with_name("journal.db.v1")
    assert _old_rows(kept) == before
    stamp = kept.stat().st_mtime_ns
    again = recovered(old)
    assert again.market.state.hash() == first.market.state.hash()
    assert kept.stat().st_mtime_ns == stamp


def test_an_old_journal_that_was_killed_is_migrated_with_its_log(old: Path, tmp_path: Path) -> None:
    """What a killed process left in the old write-ahead log is part of the old journal."""
    connection = sqlite3.connect(old, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    last = connection.execute("SELECT * FROM record WHERE seq > 200").fetchall()
    connection.execute("DELETE FROM record WHERE seq > 200")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.executemany("INSERT INTO record VALUES (?, ?, ?)", last)
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        shutil.copy(tmp_path / name, killed / name)
    connection.close()
    assert (killed / "journal.db-wal").stat().st_size > 0
    assert recovered(killed / "journal.db").seq == 254


@pytest.mark.parametrize("seq", [1, 100, 254])
def test_a_damaged_old_journal_is_not_migrated(old: Path, seq: int) -> None:
    """The whole old chain is verified first; where it breaks is named, nothing is changed."""
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE record SET payload = zeroblob(9) WHERE seq = ?", (seq,))
    connection.close()
    before = old.read_bytes()
    with pytest.raises(JournalCorrupt) as caught:
        Journal.open(old, GENESIS)
    assert caught.value.seq == seq
    assert old.read_bytes()[100:] == before[100:], "all but the header that names the log"
    assert not old.with_name("journal.db.v1").exists()


def test_an_old_journal_of_another_market_is_refused(old: Path) -> None:
    """Migration never turns one market's journal into another's."""
    other = Genesis(chain_id=1, settlement=GENESIS.settlement, usdc=USDC)
    with pytest.raises(JournalForeign):
        Journal.open(old, other)
    assert not old.with_name("journal.db.v1").exists()


def test_a_batch_on_its_way_is_not_renamed(old: Path) -> None:
    """The chain will speak of its fills by their old ids: such a journal is refused, unchanged."""
    cut = _first(old, CutBatch)
    with sqlite3.connect(old) as connection:
        connection.execute("DELETE FROM record WHERE seq > ?", (cut,))
    connection.close()
    before = _old_rows(old)
    with pytest.raises(JournalForeign, match="on its way to the chain"):
        Journal.open(old, GENESIS)
    assert _old_rows(old) == before
    assert [path.name for path in old.parent.iterdir() if "new" in path.name] == []


def test_an_id_that_nothing_had_is_refused(old: Path) -> None:
    """Where today's market has no lease that can have had this id, nothing is made up."""
    commands = [DECODER.decode(payload) for _, payload, _ in _old_rows(old)]
    place = next(n for n, command in enumerate(commands) if isinstance(command, StartCall))
    commands[place] = msgspec.structs.replace(commands[place], lease="0x" + "77" * 32)
    translation = Translation(USDC, named_leases(iter(commands)))
    with pytest.raises(Untranslatable) as caught:
        list(translation.translate(iter(commands)))
    assert caught.value.seq == place + 1


def test_a_draft_that_a_crash_left_is_thrown_away(old: Path) -> None:
    """Whatever a migration that was cut short left behind, the next one starts anew."""
    old.with_name("journal.db.new").write_bytes(b"half of a file")
    old.with_name("journal.db.v1").write_bytes(b"an older try")
    assert recovered(old).seq == 254
    assert not old.with_name("journal.db.new").exists()


def _first(path: Path, kind: type) -> int:
    rows = _old_rows(path)
    return next(seq for seq, payload, _ in rows if isinstance(DECODER.decode(payload), kind))


def _old_rows(path: Path) -> list[tuple[int, bytes, bytes]]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.execute("SELECT seq, payload, chain FROM record ORDER BY seq"))
    finally:
        connection.close()
