"""Files of purchases: one JSON object a line, and what became of each."""

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from msgspec import Meta

from intents.bound import UNITS_MAX
from solver.cli.context import CommandFailed, atoms
from solver.client import Bought, Purchase

MINUTES_MAX = 366 * 24 * 60
File = Annotated[Path, Parameter(help="Purchases, one JSON object a line.")]


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A purchase as people write it; `limit` is USDC for all units together, as text."""

    resource: str
    units: Annotated[int, Meta(ge=1, le=UNITS_MAX)]
    limit: str
    minimum: Annotated[int, Meta(ge=1, le=UNITS_MAX)] = 1
    immediate: bool = False
    minutes: Annotated[int, Meta(ge=1, le=MINUTES_MAX)] = 60

    def purchase(self) -> Purchase:
        """As the SDK takes it. Raises CommandFailed."""
        return Purchase(
            resource=self.resource,
            units=self.units,
            limit=atoms(self.limit),
            units_min=self.minimum,
            immediate=self.immediate,
            valid_seconds=self.minutes * 60,
        )


def delay_seconds(not_before: datetime | None, now_s: int) -> int:
    """Seconds from `now_s`, the market's Unix time, until a time. Raises CommandFailed."""
    if not_before is None:
        return 0
    seconds = ceil(not_before.timestamp()) - now_s
    if not 0 < seconds <= MINUTES_MAX * 60:
        raise CommandFailed(f"--not-before {not_before.isoformat()} is not within the next year")
    return seconds


def read_purchases(path: Path) -> list[Purchase]:
    """The purchases of a file. Raises CommandFailed, which names the line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
    purchases = [_read(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not purchases:
        raise CommandFailed(f"{path} has no purchases: one JSON object a line")
    return purchases


def rows_of(bought: Sequence[Bought]) -> list[dict[str, Any]]:
    """What became of each, to print."""
    return [
        {
            "digest": one.digest,
            "resource": one.document.resource,
            "units": one.document.units,
            "result": "accepted" if one.refused is None else one.refused.code,
        }
        for one in bought
    ]


def _read(path: Path, number: int, line: bytes) -> Purchase:
    try:
        return msgspec.json.decode(line, type=Line).purchase()
    except (msgspec.MsgspecError, CommandFailed) as error:
        raise CommandFailed(f"{path}, line {number}: {error}") from error
