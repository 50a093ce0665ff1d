"""The store keeps ciphertext durably, and forgets for good."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from intents.reject import Reject, RejectCode
from solver.vault.fault import StoreFault
from solver.vault.store import KeyStore, Resealed, SealedKey
from tests.vault.fixture import NOW_MS, OWNER


def a_sealed_key(number: int = 1, **changes: object) -> SealedKey:
    """A row."""
    key = SealedKey(
        key_id=f"0x{number:064x}",
        owner=OWNER,
        provider="echo",
        host="echo.example",
        version=1,
        attested=True,
        created_at_ms=NOW_MS,
        fingerprint=number.to_bytes(32),
        sealed=f"sealed-blob-{number}-".encode() * 20,
    )
    return msgspec.structs.replace(key, **changes)


def test_rows_survive_a_restart(tmp_path: Path) -> None:
    """What `put` returned for is there when the file is opened again."""
    store = KeyStore(tmp_path / "keys")
    assert store.put(a_sealed_key()) is None
    store.close()
    store = KeyStore(tmp_path / "keys")
    assert store.get(a_sealed_key().key_id) == a_sealed_key()
    assert store.by_fingerprint(a_sealed_key().fingerprint) == a_sealed_key()
    store.close()


def test_the_database_is_durable_erasing_and_private(tmp_path: Path) -> None:
    """The pragmas that the promises rest on are on, and others cannot read the file."""
    store = KeyStore(tmp_path / "keys")
    values = [
        store._database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "secure_delete")
    ]
    assert values == ["wal", 2, 1]
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    store.close()


def test_a_key_is_kept_once(tmp_path: Path) -> None:
    """The same id or the same fingerprint is a duplicate."""
    store = KeyStore(tmp_path / "keys")
    store.put(a_sealed_key(1))
    for again in (a_sealed_key(1), a_sealed_key(2, fingerprint=a_sealed_key(1).fingerprint)):
        refusal = store.put(again)
        assert isinstance(refusal, Reject)
        assert refusal.code is RejectCode.KEY_DUPLICATE
    store.close()


def test_a_deleted_key_is_in_no_file_any_more(tmp_path: Path) -> None:
    """Neither the database nor its log holds a byte of the sealed key."""
    store = KeyStore(tmp_path / "keys")
    store.put(a_sealed_key(1))
    store.put(a_sealed_key(2))
    assert b"sealed-blob-1-" in _bytes(tmp_path)
    assert store.delete(a_sealed_key(1).key_id)
    assert not store.delete(a_sealed_key(1).key_id)
    assert b"sealed-blob-1-" not in _bytes(tmp_path)
    assert store.get(a_sealed_key(1).key_id) is None
    assert store.put(a_sealed_key(1)) is None
    store.close()


def _bytes(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


def test_pages_are_ordered_bounded_and_by_owner(tmp_path: Path) -> None:
    """Pages cover every row once, in order."""
    store = KeyStore(tmp_path / "keys")
    for number in range(5):
        store.put(a_sealed_key(number, owner=OWNER if number % 2 else "0xother"))
    first = store.page(rows_max=2)
    rest = store.page(after=first[-1].key_id)
    assert [*first, *rest] == sorted([*first, *rest], key=lambda key: key.key_id)
    assert len(first) + len(rest) == 5
    assert len(store.page(owner=OWNER)) == 2
    store.close()


def test_a_revoked_key_does_not_come_back_by_rotation(tmp_path: Path) -> None:
    """Swapping an envelope needs the old one to be there still."""
    store = KeyStore(tmp_path / "keys")
    key = a_sealed_key()
    store.put(key)
    assert store.reseal([Resealed(key.key_id, key.sealed, b"new")]) == 1
    assert store.reseal([Resealed(key.key_id, key.sealed, b"newer")]) == 0
    store.delete(key.key_id)
    assert store.reseal([Resealed(key.key_id, b"new", b"newest")]) == 0
    assert store.reseal([]) == 0
    store.close()


@pytest.mark.parametrize("text", ["' OR 1=1 --", "'; DROP TABLE sealed_key; --", "%", "_"])
def test_text_is_never_sql(tmp_path: Path, text: str) -> None:
    """Whatever is asked for is compared and not executed."""
    store = KeyStore(tmp_path / "keys")
    store.put(a_sealed_key())
    assert store.get(text) is None
    assert store.page(owner=text) == []
    assert not store.delete(text)
    assert len(store.page()) == 1
    store.close()


def test_a_broken_database_is_a_fault(tmp_path: Path) -> None:
    """SQLite's errors come out as ours."""
    (tmp_path / "keys").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreFault):
        KeyStore(tmp_path / "keys")
    store = KeyStore(tmp_path / "other")
    store.close()
    with pytest.raises(StoreFault):
        store.get("0x")


def test_threads_take_turns(tmp_path: Path) -> None:
    """Waiting for the disk can happen off the event loop; no call sees half a transaction."""
    store = KeyStore(tmp_path / "keys")
    with ThreadPoolExecutor(4) as threads:
        refusals = list(threads.map(store.put, (a_sealed_key(number) for number in range(20))))
        erased = list(threads.map(store.delete, [key.key_id for key in store.page()]))
    assert refusals == [None] * 20
    assert erased == [True] * 20
    assert store.page() == []
    store.close()
