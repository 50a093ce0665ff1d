"""A sealed key opens in exactly one place, with the right key-encryption key."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.vault.fault import KeyFileFault, SealFault
from solver.vault.seal import (
    Binding,
    LocalKeyWrapper,
    fingerprint_of,
    kek_id_of,
    rewrap,
    seal,
    unseal,
)
from solver.vault.secret import Secret
from tests.vault.fixture import KEY, OTHER_KEY, OWNER

BINDING = Binding(account=OWNER, key_id="0x01", version=1, provider="echo", host="echo.example")


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory: pytest.TempPathFactory) -> LocalKeyWrapper:
    """A key-encryption key in a file."""
    return LocalKeyWrapper(tmp_path_factory.mktemp("kek") / "kek")


def opened(sealed: bytes, binding: Binding, wrapper: LocalKeyWrapper) -> bytes:
    """The plaintext."""
    with unseal(sealed, binding, wrapper) as secret, secret.exposed() as view:
        return bytes(view)


@given(key=st.binary(min_size=1, max_size=200))
def test_what_was_sealed_opens(wrapper: LocalKeyWrapper, key: bytes) -> None:
    """Sealing and opening is the identity, and never the same bytes twice."""
    first, second = (seal(Secret(key), BINDING, wrapper) for _ in range(2))
    assert opened(first, BINDING, wrapper) == opened(second, BINDING, wrapper) == key
    assert first != second


@pytest.mark.parametrize("field", Binding.__struct_fields__)
def test_a_moved_key_does_not_open(wrapper: LocalKeyWrapper, field: str) -> None:
    """Changing any one field of the binding refuses: row, tenant, version, provider, host."""
    changed = 2 if field == "version" else "elsewhere"
    sealed = seal(Secret(KEY), BINDING, wrapper)
    with pytest.raises(SealFault):
        unseal(sealed, msgspec.structs.replace(BINDING, **{field: changed}), wrapper)


def test_shifting_text_between_fields_does_not_open(wrapper: LocalKeyWrapper) -> None:
    """The binding is encoded canonically: "ab" + "c" is not "a" + "bc"."""
    binding = msgspec.structs.replace(BINDING, provider="ab", host="c")
    moved = msgspec.structs.replace(BINDING, provider="a", host="bc")
    with pytest.raises(SealFault):
        unseal(seal(Secret(KEY), binding, wrapper), moved, wrapper)


def test_every_flipped_byte_and_every_cut_is_refused(wrapper: LocalKeyWrapper) -> None:
    """No tampered envelope opens, and none raises anything but a SealFault."""
    sealed = seal(Secret(KEY), BINDING, wrapper)
    broken = [sealed[:size] for size in range(len(sealed))]
    broken += [
        sealed[:at] + bytes([sealed[at] ^ 0x80]) + sealed[at + 1 :] for at in range(len(sealed))
    ]
    for each in broken:
        with pytest.raises(SealFault):
            unseal(each, BINDING, wrapper)


def test_plaintext_is_never_taken_for_a_sealed_key(wrapper: LocalKeyWrapper) -> None:
    """There is no fallback to using what does not open."""
    with pytest.raises(SealFault):
        unseal(KEY, BINDING, wrapper)


def test_rotation_makes_the_old_kek_useless(wrapper: LocalKeyWrapper, tmp_path: Path) -> None:
    """After a rewrap only the new key-encryption key opens the key."""
    sealed = seal(Secret(KEY), BINDING, wrapper)
    new = LocalKeyWrapper(tmp_path / "new")
    moved = rewrap(sealed, BINDING, wrapper, new)
    assert kek_id_of(moved) == new.kek_id != wrapper.kek_id
    assert opened(moved, BINDING, new) == KEY
    with pytest.raises(SealFault):
        unseal(moved, BINDING, wrapper)


def test_a_previous_kek_still_opens_while_rotating(tmp_path: Path) -> None:
    """`previous` opens what it sealed, and nothing new is sealed with it."""
    old = LocalKeyWrapper(tmp_path / "old")
    both = LocalKeyWrapper(tmp_path / "new", previous=(tmp_path / "old",))
    assert opened(seal(Secret(KEY), BINDING, old), BINDING, both) == KEY
    assert kek_id_of(seal(Secret(KEY), BINDING, both)) == both.kek_id != old.kek_id


def test_the_key_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """The file is created 0600 and read again at the next start."""
    path = tmp_path / "kek"
    first = LocalKeyWrapper(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert LocalKeyWrapper(path).kek_id == first.kek_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The fault says what to run."""
    path = tmp_path / "kek"
    LocalKeyWrapper(path)
    path.chmod(mode)
    with pytest.raises(KeyFileFault, match="chmod 600"):
        LocalKeyWrapper(path)


def test_a_wrong_key_file_is_refused(tmp_path: Path) -> None:
    """Too short, too long, a link or a directory: no key is made out of it."""
    for name, content in (("short", b"x" * 31), ("long", b"x" * 33)):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "short")
    for name in ("short", "long", "link", ""):
        with pytest.raises(KeyFileFault):
            LocalKeyWrapper(tmp_path / name)


def test_fingerprints_tell_keys_apart_and_nothing_else() -> None:
    """Equal for one key at one host under one pepper; different in every other case."""
    pepper, other = Secret(b"p" * 32), Secret(b"q" * 32)
    base = fingerprint_of(pepper, "echo", "host", Secret(KEY))
    assert base == fingerprint_of(pepper, "echo", "host", Secret(KEY))
    different = [
        fingerprint_of(other, "echo", "host", Secret(KEY)),
        fingerprint_of(pepper, "ech", "ohost", Secret(KEY)),
        fingerprint_of(pepper, "echo", "host2", Secret(KEY)),
        fingerprint_of(pepper, "echo", "host", Secret(OTHER_KEY)),
    ]
    assert len({base, *different}) == 5
