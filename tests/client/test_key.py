"""Keys from files."""

from pathlib import Path

import pytest

from solver.client import SigningKey, read_key


@pytest.mark.parametrize("form", ["{}", "0x{}", "  {}\n"])
def test_a_key_is_read_from_its_file(tmp_path: Path, form: str) -> None:
    """64 hex digits, with or without 0x and white space, are the key."""
    key = SigningKey.generate()
    path = tmp_path / "key"
    path.write_text(form.format(key.secret().hex()))
    assert read_key(path).address == read_key(str(path)).address == key.address


@pytest.mark.parametrize(
    "content", [b"", b"canary", b"ab" * 31, b"ab" * 33, b"\xff\xfe", b"0" * 64]
)
def test_what_is_no_key_is_named_but_not_quoted(tmp_path: Path, content: bytes) -> None:
    """The error names the file and never its content."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not hold a 32-byte hex key") as caught:
        read_key(path)
    assert str(path) in str(caught.value)
    assert "canary" not in repr(caught.value.__context__)


def test_a_key_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """A missing file is the operating system's error."""
    with pytest.raises(FileNotFoundError):
        read_key(tmp_path / "none")
