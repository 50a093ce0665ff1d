"""A canary in every test: no test may leave a key's bytes where they can be read.

Tests that need an upstream key use `CANARY`. After each test this plugin searches what
the test printed and logged, and every file under its `tmp_path` (journal, databases,
logs), for the canary in each form in which it could leak. A hit fails the test.
"""

import base64
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

CANARY: Final = f"sk-cnry/{secrets.token_hex(8)}+{secrets.token_urlsafe(16)}={secrets.token_hex(4)}"
"""A key that no upstream of ours hands out; new in every run."""


def forms(secret: str) -> frozenset[bytes]:
    """The secret as it could stand in a log, a row, a URL or a payload."""
    raw = secret.encode()
    encoded = {raw, raw.hex().encode(), raw.hex().upper().encode(), quote(secret, "").encode()}
    for shift in range(3):
        # The part of a base64 text that does not depend on the bytes around it.
        text = base64.b64encode(b"\0" * shift + raw)
        core = text[-(-shift * 4 // 3) + (shift > 0) : len(text) // 4 * 4 - 4]
        encoded |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return frozenset(encoded)


CANARY_FORMS: Final = forms(CANARY)


def leaks_in(data: bytes) -> bool:
    """Whether any form of the canary is in `data`."""
    return any(form in data for form in CANARY_FORMS)


def leaks_under(folder: Path) -> Iterator[Path]:
    """Files under `folder` that hold the canary."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and leaks_in(file.read_bytes()):
            yield file


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed, logged or wrote the canary."""
    report = yield
    if call.when == "teardown" and report.passed:
        places = [name for name, text in report.sections if leaks_in(text.encode())]
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        if folder is not None:
            places += [str(file.relative_to(folder)) for file in leaks_under(folder)]
        if places:
            report.outcome = "failed"
            report.longrepr = f"a key's bytes were found in: {', '.join(places)}"
    return report
