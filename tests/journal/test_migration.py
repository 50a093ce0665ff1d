"""A journal of the format before becomes one of today's, and leads to what it led to."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from intents.reject import Reject
from solver.core.auction import Auction
from solver.core.check import Violation
from solver.core.command import ProposeSolution
from solver.core.market import Market
from solver.engine.feed import Feed
from solver.engine.payload import PayloadUnreadable, decode
from solver.engine.recovery import Recovered, replay
from solver.journal import Genesis, Journal, JournalCorrupt, JournalForeign, translation
from solver.journal.migration import OLDEST
from tests.builder import DOMAIN, USDC
from tests.journal.damage import records_of

HERE: Final = Path(__file__).parent
GENESIS: Final = Genesis(chain_id=31_337, settlement=DOMAIN.verifying_contract, usdc=USDC)
TOLD: Final[dict[str, Any]] = json.loads((HERE / "v3.json").read_text())
"""What the version that wrote it had come to."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the kept journal, with its mark: 160 commands of 15 kinds, two auctions won."""
    path = tmp_path / "journal.db"
    shutil.copy(HERE / "v3.db", path)
    shutil.copy(HERE / "v3.mark", path.with_suffix(".mark"))
    return path


@pytest.fixture
def of_format_4(tmp_path: Path) -> Path:
    """A copy of the kept journal of format 4: 160 commands of 16 kinds, stopped cleanly twice."""
    path = tmp_path / "journal.db"
    shutil.copy(HERE / "v4.db", path)
    shutil.copy(HERE / "v4.mark", path.with_suffix(".mark"))
    return path


def recovered(path: Path) -> Recovered:
    journal = Journal.open(path, GENESIS)
    try:
        fresh = Recovered(market=Market(USDC), feed=Feed())
        return replay(fresh, journal.read())
    finally:
        journal.close()


def test_a_migrated_journal_leads_to_what_the_old_one_did(old: Path) -> None:
    """Balances, documents, leases, calls, keys, auctions and batches are as they were."""
    again = recovered(old)
    state = again.market.state
    assert (again.seq, state.now_ms) == (TOLD["commands"], TOLD["now_ms"])
    balances = [[b.owner, b.asset, b.total, b.available] for b in state.ledger.balances()]
    assert sorted(balances) == TOLD["balances"]
    intents = {
        digest: [intent.status, intent.open_units, intent.filled_units]
        for digest, intent in state.intents.items()
    }
    assert intents == TOLD["intents"]
    assert {digest: offer.live for digest, offer in state.offers.items()} == TOLD["offers"]
    leases = {
        name: [lease.status, lease.units, lease.tick, lease.delivered, lease.payment]
        for name, lease in state.leases.items()
    }
    assert leases == TOLD["leases"]
    assert list(state.calls) == TOLD["calls"]
    assert {key: record.live for key, record in state.keys.items()} == TOLD["keys"]
    auctions = {str(number): _outcome(auction) for number, auction in state.auctions.items()}
    assert auctions == TOLD["auctions"]
    batches = {
        str(number): [batch.digest, batch.paid, batch.skipped, batch.final]
        for number, batch in state.batches.items()
    }
    assert batches == TOLD["batches"]


def test_format_4_keeps_all_that_it_noted(of_format_4: Path) -> None:
    """Groups, what each led to, and both state hashes are there again, and replay agrees."""
    told = json.loads((HERE / "v4.json").read_text())
    before = _rows(of_format_4)
    again = recovered(of_format_4)
    assert (again.seq, again.market.state.hash()) == (told["commands"], told["state_hash"])
    assert again.outcome.hex() == told["outcome"]
    balances = [
        [b.owner, b.asset, b.total, b.available] for b in again.market.state.ledger.balances()
    ]
    assert sorted(balances) == told["balances"]
    records = records_of(of_format_4)
    groups = [(r.seq, r.commands, r.payload, r.outcome) for r in records if r.commands]
    assert groups == [row[:4] for row in before]
    assert [record.last for record in records if not record.commands] == [80, 160]
    assert _rows(of_format_4.with_name("journal.db.v4")) == before


def test_a_changed_state_hash_of_format_4_is_found(of_format_4: Path) -> None:
    """What a clean stop noted is still compared after the migration."""
    with sqlite3.connect(of_format_4) as connection:
        connection.execute("UPDATE checkpoint SET state_hash = '00' WHERE seq = 80")
    connection.close()
    with pytest.raises(Violation, match="replay_equal"):
        recovered(of_format_4)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoint SET state_hash = CAST(state_hash AS BLOB) WHERE seq = 80",
        "UPDATE checkpoint SET seq = (SELECT max(seq) FROM record WHERE commands > 1)",
        "UPDATE checkpoint SET seq = 9999 WHERE seq = 160",
    ],
)
def test_a_stop_that_fits_nowhere_is_found(of_format_4: Path, change: str) -> None:
    """What was noted is never left out: it is there after the migration, or there is none."""
    with sqlite3.connect(of_format_4) as connection:
        connection.execute("CREATE TABLE loose AS SELECT * FROM checkpoint")
        connection.execute("DROP TABLE checkpoint")
        connection.execute("ALTER TABLE loose RENAME TO checkpoint")
        connection.execute(change)
    connection.close()
    with pytest.raises(JournalCorrupt):
        Journal.open(of_format_4, GENESIS)
    assert not of_format_4.with_name("journal.db.v4").exists()


def test_a_file_that_says_nothing_becomes_a_new_journal(tmp_path: Path) -> None:
    """A database that a crash left empty holds nothing; with a mark it lost everything."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE genesis (id INTEGER PRIMARY KEY, body BLOB)")
    connection.close()
    empty = path.read_bytes()
    assert recovered(path).seq == 0
    path.write_bytes(empty)
    shutil.copy(HERE / "v4.mark", path.with_suffix(".mark"))
    with pytest.raises(JournalCorrupt, match="everything up to 160 was acknowledged"):
        recovered(path)


@pytest.mark.parametrize("kept", ["v3", "v4"])
def test_a_migration_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """Wherever it is cut off, the next start migrates, or goes on; nothing is lost."""
    path = tmp_path / "journal.db"
    for call in ("hardlink_to", "unlink", "replace"):
        shutil.copy(HERE / f"{kept}.db", path)
        shutil.copy(HERE / f"{kept}.mark", path.with_suffix(".mark"))
        with monkeypatch.context() as patch:
            patch.setattr(Path, call, _cut_off)
            with pytest.raises(PowerCut):
                Journal.open(path, GENESIS)
        assert recovered(path).seq == 160


class PowerCut(Exception):
    """The machine stopped."""


def _cut_off(*_: object, **__: object) -> None:
    raise PowerCut


def test_a_solution_that_lost_a_tie_loses_it_again(old: Path) -> None:
    """Whoever came first won; today a seed decides, so what came later goes without its fills."""
    journal = Journal.open(old, GENESIS)
    commands = [command for record in journal.read() for command in decode(record.payload)]
    journal.close()
    proposals = [command for command in commands if isinstance(command, ProposeSolution)]
    assert proposals
    market, ties = Market(USDC), 0
    for command in commands:
        assert not isinstance(market.apply(command), Reject)
    for auction in market.state.auctions.values():
        full = [p for p in auction.proposed if all(book.fills for book in p.solution.books)]
        ties += len(auction.proposed) - len(full)
        assert len(auction.winners) <= 1
    assert ties


def test_it_is_done_once_and_the_old_file_is_kept(old: Path) -> None:
    """The old journal stays beside the new one, byte for byte what it said."""
    before = _rows(old)
    first = recovered(old)
    kept = old.with_name("journal.db.v3")
    assert _rows(kept) == before
    stamp = kept.stat().st_mtime_ns
    again = recovered(old)
    assert again.market.state.hash() == first.market.state.hash()
    assert kept.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("column", ["payload", "outcome", "chain"])
def test_a_damaged_old_journal_is_not_migrated(old: Path, column: str) -> None:
    """The whole old chain is verified first; where it breaks is named, nothing is changed."""
    with sqlite3.connect(old) as connection:
        connection.execute(
            f"UPDATE record SET {column} = zeroblob(9) WHERE seq = "  # noqa: S608  ours
            "(SELECT max(seq) FROM record WHERE seq < 100)"
        )
        (seq,) = connection.execute("SELECT max(seq) FROM record WHERE seq < 100").fetchone()
    connection.close()
    mark = old.with_suffix(".mark").read_bytes()
    with pytest.raises(JournalCorrupt) as caught:
        Journal.open(old, GENESIS)
    assert caught.value.seq == seq
    assert old.with_suffix(".mark").read_bytes() == mark
    assert not old.with_name("journal.db.v3").exists()


def test_an_old_journal_that_lost_its_end_is_not_migrated(old: Path) -> None:
    """What its mark says was acknowledged is there, or it halts as it did."""
    with sqlite3.connect(old) as connection:
        connection.execute("DELETE FROM record WHERE seq > 100")
    connection.close()
    with pytest.raises(JournalCorrupt, match="was acknowledged"):
        Journal.open(old, GENESIS)
    assert not old.with_name("journal.db.v3").exists()


def test_an_old_journal_of_another_market_is_refused(old: Path) -> None:
    """Migration never turns one market's journal into another's."""
    other = Genesis(chain_id=1, settlement=GENESIS.settlement, usdc=USDC)
    with pytest.raises(JournalForeign):
        Journal.open(old, other)
    assert not old.with_name("journal.db.v3").exists()


def test_an_older_format_is_refused_with_what_to_do(old: Path) -> None:
    """It was made for contracts that are no more: nothing is changed, and the way out is said."""
    older = msgspec.structs.replace(GENESIS, format_version=OLDEST - 1)
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE genesis SET body = ?", (msgspec.json.encode(older),))
    connection.close()
    before = _rows(old)
    with pytest.raises(JournalForeign, match="let the version that wrote it settle"):
        Journal.open(old, GENESIS)
    assert _rows(old) == before


def test_what_todays_market_refuses_is_not_migrated(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command is left out or made up: the old journal stands as it was, with the place named."""
    before = _rows(old)
    monkeypatch.setattr(translation, "_old_digest", lambda _: "0x")
    with pytest.raises(JournalForeign, match="had another snapshot"):
        Journal.open(old, GENESIS)
    assert _rows(old) == before
    assert not old.with_name("journal.db.new").exists()


def test_a_draft_that_a_crash_left_is_thrown_away(old: Path) -> None:
    """Whatever a migration that was cut short left behind, the next one starts anew."""
    old.with_name("journal.db.new").write_bytes(b"half of a file")
    old.with_name("journal.db.v3").write_bytes(b"an older try")
    assert recovered(old).seq == TOLD["commands"]
    assert not old.with_name("journal.db.new").exists()


def test_a_group_that_the_old_format_never_wrote_is_refused() -> None:
    """No command is made from a row of another form."""
    for said in (b"no group", msgspec.msgpack.encode([[], ["OpenAuction"], b"\0", [1], [[[1]]]])):
        with pytest.raises(PayloadUnreadable):
            translation.Translation(USDC).group(1, said)


def _outcome(auction: Auction) -> list[Any]:
    winner = auction.winners[0].solver if auction.winners else ""
    return [winner, auction.closed, auction.score]


def _rows(path: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.execute("SELECT * FROM record ORDER BY seq"))
    finally:
        connection.close()
