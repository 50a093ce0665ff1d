"""The canary that watches every test can itself catch a leak."""

import base64
from pathlib import Path

import pytest

from tests.canary import CANARY, leaks_in, leaks_under

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    "leak",
    [
        CANARY.encode(),
        CANARY.encode().hex().encode(),
        base64.b64encode(b"x" + CANARY.encode() + b"yz"),
        base64.urlsafe_b64encode(b"xy" + CANARY.encode() + b"y"),
        base64.b64encode(b"abc" + CANARY.encode()),
    ],
)
def test_every_form_of_the_canary_is_found(
    leak: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Raw, hex and base64 at any alignment are found, in bytes and in files."""
    assert leaks_in(b"before " + leak + b" after")
    folder = tmp_path_factory.mktemp("leak")
    (folder / "deep").mkdir()
    (folder / "deep" / "row.db").write_bytes(b"\0" * 100 + leak)
    assert list(leaks_under(folder)) == [folder / "deep" / "row.db"]
    assert not leaks_in(b"nothing here")


@pytest.mark.parametrize(
    "body",
    [
        "print(CANARY)",
        "logging.getLogger('x').warning('key %s', CANARY)",
        "(tmp_path / 'journal.db').write_bytes(CANARY.encode().hex().encode())",
    ],
)
def test_a_planted_leak_fails_the_test_that_leaks(pytester: pytest.Pytester, body: str) -> None:
    """A test that prints, logs or writes a key's bytes fails, whatever it asserts."""
    pytester.makepyfile(
        f"""
        import logging
        from tests.canary import CANARY

        def test_leaks(tmp_path):
            {body}

        def test_is_quiet(tmp_path):
            (tmp_path / "fine").write_text("nothing")
        """
    )
    root = str(Path(__file__).parent.parent)
    pytester.syspathinsert(root)
    result = pytester.runpytest_subprocess(
        "-p", "tests.canary", "-p", "no:randomly", "-p", "no:cacheprovider"
    )
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1
    result.stdout.fnmatch_lines(["*a key's bytes were found in*"])
    assert Path(pytester.path).exists()
