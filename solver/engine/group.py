"""What one durable write carries, and what the sequencer asks of who writes it."""

from typing import Protocol

import msgspec


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Commands that share one write: `payload` holds them, `outcome` what they led to."""

    commands: int
    payload: bytes
    outcome: bytes


class RecordedGroup(Protocol):
    """A group as it is read again; an empty outcome means that nobody noted one then."""

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
    """What the sequencer needs of a journal. Both writes block until durable."""

    def append(self, group: Group) -> int:
        """Write a group; the number of its last command. Raises if it may not be on disk."""
        ...

    def checkpoint(self, state_hash: str) -> None:
        """Note the state's hash after the last command, at a clean stop."""
        ...

    def has_room(self) -> bool:
        """Whether the disk takes new work, or only what brings begun work to its end."""
        ...
