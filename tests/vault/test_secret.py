"""A secret is hard to leak by accident."""

import copy
import json
import pickle

import msgspec
import pytest
import structlog

from intents.reject import Reject
from solver.vault.secret import Secret, refuse_secret
from tests.vault.fixture import KEY


def test_a_secret_has_no_text_form() -> None:
    """Formatting, logging and encoding a secret show nothing of it."""
    secret = Secret(KEY)
    assert KEY.decode() not in f"{secret} {secret!r} {[secret]} {structlog.stdlib.__name__}"
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_a_secret_is_not_compared_hashed_copied_or_pickled() -> None:
    """Each of these would leave a second copy, or an answer to guesses."""
    secret = Secret(KEY)
    for misuse in (
        lambda: secret == Secret(KEY),
        lambda: hash(secret),
        lambda: copy.deepcopy(secret),
        lambda: pickle.dumps(secret),
    ):
        with pytest.raises(TypeError):
            misuse()


def test_the_bytes_are_readable_inside_the_block_only() -> None:
    """The view is read-only, and dead after its block."""
    secret = Secret(KEY)
    with secret.exposed() as view:
        assert bytes(view) == KEY
        with pytest.raises(TypeError):
            view[0] = 0
    with pytest.raises(ValueError, match="released"):
        view[0]


def test_closing_overwrites_the_bytes() -> None:
    """The memory that held the key holds zeros afterwards."""
    secret = Secret(KEY)
    memory = secret._value
    secret.close()
    assert memory == bytes(len(KEY))
    with pytest.raises(ValueError, match="closed"), secret.exposed():
        pass


@pytest.mark.parametrize(
    "key",
    [
        b"short",
        b"x" * 5_000,
        b"aaaaaaaaaaaaaaaa",
        b"has spaces in it",
        b"line\r\nX-Injected: 1",
        b"caf\xc3\xa9-key-123456",
        b"rebuilds[key]masks",
        b"abcdefghijklmnopqrst" * 2,
        b'quote"then%00',
        b"named&amp;escape1",
        b'backslash\\"quote',
        b"backwards-14%ok",
    ],
)
def test_what_is_no_key_is_refused(key: bytes) -> None:
    """Nothing that could break a header line or the scrubber becomes a key."""
    assert isinstance(refuse_secret(Secret(key)), Reject)
    assert refuse_secret(Secret(KEY)) is None
