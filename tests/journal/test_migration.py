"""A journal of format 1 becomes one of format 2, and leads to what it led to."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest

from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, replay
from solver.journal import Genesis, Journal, JournalCorrupt, JournalForeign
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
    for lease_id, (status, units, delivered, lapsed, returned, payment) in told["leases"].items():
        lease = state.leases[lease_id]
        assert (lease.status, lease.units, lease.delivered) == (status, units, delivered)
        assert (lease.lapsed, lease.returned, lease.payment) == (lapsed, returned, payment)
    assert list(state.calls) == told["calls"]
    assert {key: record.live for key, record in state.keys.items()} == told["keys"]
    for number, (winner, closed) in told["auctions"].items():
        auction = state.auctions[int(number)]
        assert (auction.winner, auction.closed) == (winner, closed)
    for number, (digest, paid, skipped, final) in told["batches"].items():
        batch = state.batches[int(number)]
        assert (batch.digest, batch.paid, batch.skipped, batch.final) == (
            digest,
            paid,
            skipped,
            final,
        )


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


def test_a_draft_that_a_crash_left_is_thrown_away(old: Path) -> None:
    """Whatever a migration that was cut short left behind, the next one starts anew."""
    old.with_name("journal.db.new").write_bytes(b"half of a file")
    old.with_name("journal.db.v1").write_bytes(b"an older try")
    assert recovered(old).seq == 254
    assert not old.with_name("journal.db.new").exists()


def _old_rows(path: Path) -> list[tuple[int, bytes, bytes]]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.execute("SELECT seq, payload, chain FROM record ORDER BY seq"))
    finally:
        connection.close()
