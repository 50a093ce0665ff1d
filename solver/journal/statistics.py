"""What a journal is made of, counted while its chain is verified."""

from collections import Counter
from typing import Final

import msgspec

from solver.journal.recovery import Progress, Source


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts, sizes and times of all groups."""

    commands: int
    groups: int
    clean_stops: int
    payload_bytes: int
    group_commands_max: int
    first_ms: int
    last_ms: int
    kinds: dict[str, int]


def statistics(source: Source, progress: Progress | None = None) -> Statistics:
    """Count a whole journal. Raises JournalCorrupt where its chain breaks."""
    kinds: Final[Counter[str]] = Counter()
    groups = stops = payload_bytes = longest = first_ms = last_ms = 0
    for record in source.read():
        commands = record.decoded()
        if not commands:
            stops += 1
            continue
        kinds.update(type(command).__name__ for command in commands)
        groups += 1
        payload_bytes += len(record.payload)
        longest = max(longest, record.commands)
        first_ms = first_ms or commands[0].at_ms
        last_ms = commands[-1].at_ms
        if progress is not None:
            progress(record.last)
    return Statistics(
        commands=kinds.total(),
        groups=groups,
        clean_stops=stops,
        payload_bytes=payload_bytes,
        group_commands_max=longest,
        first_ms=first_ms,
        last_ms=last_ms,
        kinds=dict(kinds.most_common()),
    )
