"""A holder for key bytes that is hard to leak by accident."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, NoReturn, Self

from intents.reject import Reject, RejectCode, reject
from solver.vault.escape import ESCAPE

SECRET_BYTES_MIN: Final = 8
"""Shorter keys cannot be told from ordinary text when answers are scrubbed."""
SECRET_BYTES_MAX: Final = 4_096
SECRET_DISTINCT_MIN: Final = 4
"""Fewer distinct bytes are no key, and would make scrubbing slow."""
REPEAT_BYTES: Final = 16
KEY_BYTES: Final = frozenset(range(0x21, 0x7F)) - frozenset(b"[]")
"""Visible ASCII. The mask is `[key]`: a key with brackets could be rebuilt out of masks."""


class Secret:
    """Owns a copy of key bytes; readable only inside `with secret.exposed() as view`.

    It has no text form, equality, hash, copy or pickle. `close` overwrites the bytes;
    a closed secret can no longer be exposed. Views must not outlive their `with`.
    """

    __slots__ = ("_closed", "_value")
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._value = bytearray(value)
        self._closed = False

    @contextmanager
    def exposed(self) -> Iterator[memoryview]:
        """A read-only view of the bytes, released when the block ends."""
        if self._closed:
            raise ValueError("the secret is closed")
        with memoryview(self._value) as writable, writable.toreadonly() as view:
            yield view

    def close(self) -> None:
        """Overwrite the bytes. Calling it again does nothing."""
        self._closed = True
        self._value[:] = bytes(len(self._value))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An interpreter that is shutting down may have dropped our attributes already.
        if hasattr(self, "_value"):
            self.close()

    def __repr__(self) -> str:
        return "<Secret>"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared; compare fingerprints")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("secrets are not copied or pickled")


def refuse_secret(secret: Secret) -> Reject | None:
    """Why these bytes cannot serve as an API key, or None.

    Visible ASCII only: nothing that could end a header line or open a second one.
    """
    with secret.exposed() as view:
        if not SECRET_BYTES_MIN <= len(view) <= SECRET_BYTES_MAX:
            message = f"a key has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        elif any(byte not in KEY_BYTES for byte in view):
            message = "a key is visible ASCII without spaces or square brackets"
        elif len(set(view)) < SECRET_DISTINCT_MIN or _repeats(bytes(view)):
            message = "a key neither repeats itself nor has fewer than four characters"
        elif _looks_escaped(bytes(view)):
            message = "a key holds nothing that reads as an escape, such as %41 or &amp;"
        else:
            return None
    return reject(RejectCode.MALFORMED, message)


def _repeats(key: bytes) -> bool:
    """Whether some 16 bytes come twice: no random key does, and scrubbing would be slow."""
    windows = [key[at : at + REPEAT_BYTES] for at in range(len(key) - REPEAT_BYTES + 1)]
    return len(set(windows)) != len(windows)


def _looks_escaped(key: bytes) -> bool:
    """Whether some of it would read as another byte where the rest of it is escaped.

    Then no reading of an answer has the whole key in it, and it could not be masked.
    """
    return any(ESCAPE.search(run) for run in (key, key[::-1]))
