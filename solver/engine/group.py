"""What one durable write carries, what is answered, and what is asked of who writes it."""

from typing import Protocol

import msgspec

from intents.reject import Reject
from solver.core.event import Event


class Applied(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An accepted, durable command: its time, and what happened. Events make no cycles."""

    at_ms: int
    events: list[Event]


Result = Applied | Reject


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Commands that share one write: `payload` holds them, `outcome` what they led to."""

    commands: int
    payload: bytes
    outcome: bytes


class RecordedGroup(Protocol):
    """A group as it is read again; an empty outcome means that nobody noted one then.

    Without commands its payload is the state's hash after all before it.
    """

    @property
    def seq(self) -> int:
        """Number of its first command, from 1."""
        ...

    @property
    def commands(self) -> int: ...  # noqa: D102

    @property
    def payload(self) -> bytes: ...  # noqa: D102

    @property
    def outcome(self) -> bytes: ...  # noqa: D102


class JournalPort(Protocol):
    """What the sequencer needs of a journal. Each write blocks until durable."""

    def append(self, group: Group) -> int:
        """Write a group; the number of its last command. Raises if it may not be on disk."""
        ...

    def checkpoint(self, state_hash: str) -> None:
        """Note the state's hash after the last command, at a clean stop."""
        ...

    def has_room(self) -> bool:
        """Whether the disk takes new work, or only what brings begun work to its end."""
        ...
